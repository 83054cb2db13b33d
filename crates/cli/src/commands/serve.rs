//! `metalform serve`: the service itself, until it is told to stop.

use crate::{context::Context, error::CliError, stop_signal::StopSignal};
use clap::Args;
use metalform_service::serve;
use serde_json::json;
use tokio_util::sync::CancellationToken;

/// Run the service
#[derive(Debug, Args)]
pub struct Serve {}

/// Runs it. The first signal lets what is under way come to its end; a second one doesn't wait for that.
pub async fn run(context: &Context, _: &Serve) -> Result<(), CliError> {
    let mut signals = StopSignal::listen()?;
    let stop = CancellationToken::new();
    let running = serve(context.load_config()?, stop.clone()).await.map_err(CliError::Serve)?;
    let (control, boot, token) = (&running.control_url, &running.boot_url, running.token_file.display());
    match context.json {
        true => {
            context.out.json(&json!({"control_url": control, "boot_url": boot, "token_file": running.token_file}))?
        }
        false => context.out.data(&format!("control plane {control} (token in {token})\nboot plane    {boot}"))?,
    }
    let finished = running.finished();
    tokio::pin!(finished);
    tokio::select! {
        ended = &mut finished => return ended.map_err(CliError::Serve),
        () = signals.next() => stop.cancel(),
    }
    context.out.note("stopping; what is recorded goes on at the next start");
    tokio::select! {
        ended = finished => ended.map_err(CliError::Serve),
        () = signals.next() => Err(CliError::Interrupted),
    }
}
