//! `metalform doctor`: looks at everything that the service needs, on its own machine, and says what to do. Changes nothing,
//! unless it is told to mend modes; works beside a running service.

mod check;
mod cloud;
mod images;
mod modes;
mod network;
mod secrets;
mod store;
mod tls;

use crate::{context::Context, error::CliError};
use check::{Check, Verdict};
use clap::Args;
use metalform_model::Clock;
use serde_json::json;

/// Check everything that the service needs, and say what to do
///
/// Exit code 1 if there is a problem. Run it as the user that the service runs as, with its configuration.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Don't ask the cloud
    #[arg(long)]
    offline: bool,
    /// Read all of the default image set and of the database
    #[arg(long)]
    thorough: bool,
    /// Set the modes that are wrong
    #[arg(long)]
    fix_modes: bool,
}

/// Runs it.
pub async fn run(context: &Context, args: &Doctor) -> Result<(), CliError> {
    let checks = look(context, args).await?;
    let problems = checks.iter().filter(|check| check.verdict == Verdict::Problem).count();
    match context.json {
        true => context.out.json(&json!({"healthy": problems == 0, "checks": checks}))?,
        false => checks.iter().try_for_each(|check| context.out.data(&check.in_words()))?,
    }
    if problems == 0 { Ok(()) } else { Err(CliError::Unwell(problems)) }
}

/// In the order in which one thing needs the other.
async fn look(context: &Context, args: &Doctor) -> Result<Vec<Check>, CliError> {
    const CONFIGURATION: &str = "configuration";
    let config = match context.load_config() {
        Ok(config) => config,
        Err(error) => {
            let hint = error.hint().unwrap_or_default();
            return Ok(vec![
                Check::failed(CONFIGURATION, &error, hint),
                Check::skipped("everything", "it is the configuration that says where everything is"),
            ]);
        }
    };
    let mut checks = vec![Check::ok(
        CONFIGURATION,
        match context.config_file() {
            Some(file) => file.display().to_string(),
            None => "no file: defaults and environment".to_owned(),
        },
    )];
    checks.extend(modes::check(&config, args.fix_modes));
    let (found_secrets, key) = secrets::check(&config).await;
    checks.extend(found_secrets);
    checks.extend(tls::check(&config, context.clock.now()));
    let (found_store, running) = store::check(&config, args.thorough).await;
    checks.push(found_store);
    checks.push(store::check_space(&config));
    checks.push(images::check(&config, args.thorough).await?);
    checks.extend(network::check_listeners(context, &config, running).await);
    checks.push(network::check_public_url(&config, running).await);
    match args.offline {
        true => checks.extend(["cloud", "clock"].map(|name| Check::skipped(name, "--offline"))),
        false => checks.extend(cloud::check(&config, key.as_ref()).await),
    }
    Ok(checks)
}
