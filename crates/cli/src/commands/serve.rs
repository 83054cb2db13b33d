//! `metalform serve`: the service itself, until it is told to stop.

use crate::{context::Context, error::CliError, stop_signal::StopSignal};
use clap::Args;
use metalform_service::serve;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Run the service
#[derive(Debug, Args)]
pub struct Serve {}

/// Runs it. A hang-up has the certificate's files looked at, as is usual for services. The first other signal lets what is under way come to its end; a second one doesn't wait for that.
pub async fn run(context: &Context, _: &Serve) -> Result<(), CliError> {
    let mut signals = StopSignal::listen()?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(CliError::Start)?;
    let stop = CancellationToken::new();
    let running = serve(context.load_config()?, stop.clone()).await.map_err(CliError::Serve)?;
    let (control, boot) = (&running.control_url, &running.boot_url);
    match context.json {
        true => {
            context.out.json(&json!({"control_url": control, "boot_url": boot, "token_file": running.token_file,
            "ca_file": running.ca_file}))?
        }
        false => {
            let token = running.token_file.display();
            let ca = running.ca_file.iter().map(|file| format!(", certificate to trust in {}", file.display()));
            let ca: String = ca.collect();
            context.out.data(&format!("control plane {control} (token in {token}{ca})\nboot plane    {boot}"))?;
        }
    }
    let reload = running.reload.clone();
    let finished = running.finished();
    tokio::pin!(finished);
    loop {
        tokio::select! {
            ended = &mut finished => return ended.map_err(CliError::Serve),
            () = signals.next() => break stop.cancel(),
            _ = hang_up.recv() => reload.notify_one(),
        }
    }
    context.out.note("stopping; what is recorded goes on at the next start");
    tokio::select! {
        ended = finished => ended.map_err(CliError::Serve),
        () = signals.next() => Err(CliError::Interrupted),
    }
}
