//! The commands and the flags that all of them share.

use crate::{commands::*, context::Context, error::CliError, lab::Lab};
use clap::{Parser, Subcommand};
use std::{path::PathBuf, time::Duration};

/// From a plan to a healthy Nutanix cluster on IBM Cloud bare metal servers.
///
/// Exit codes: 0 done, 1 failed, 2 wrong usage or bad plan, 3 a deadline passed.
#[derive(Debug, Parser)]
#[command(name = "metalform", version, arg_required_else_help = true, subcommand_required = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    /// The service's configuration [default: metalform.toml in this folder, if there is one]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Write documents for a program to standard output, one a line
    #[arg(long, global = true)]
    pub json: bool,
    /// Seconds for which a refused connection is tried again
    #[arg(long, global = true, hide = true, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub connect_for: Duration,
}

/// One command.
#[derive(Debug, Subcommand)]
pub enum Command {
    Demo(demo::Demo),
    Serve(serve::Serve),
    Simulate(simulate::Simulate),
    Validate(validate::Validate),
    Deploy(deploy::Deploy),
    Form(form::Form),
    Status(status::Status),
    Events(events::Events),
    Explain(explain::Explain),
    Script(script::Script),
    Credentials(credentials::Credentials),
    Retry(retry::Retry),
    Destroy(destroy::Destroy),
    Token(token::Token),
    User(user::User),
    Image(image::Image),
    Audit(audit::Audit),
    Secret(secret::Secret),
    Doctor(doctor::Doctor),
    Completions(completions::Completions),
}

impl Command {
    /// What is logged by default: a service logs what it does, a client only what a person should know.
    pub fn default_log(&self) -> &'static str {
        match self {
            Command::Serve(_) | Command::Simulate(_) => "info",
            // The library that knows the system's certificates logs each one that it refuses; our errors say it.
            _ => "error,rustls_platform_verifier=off",
        }
    }

    /// What flags don't say of each other: told before anything is downloaded or started.
    pub fn check(&self) -> Result<(), CliError> {
        match self {
            Command::Demo(args) => args.check(),
            Command::Simulate(args) => args.check(),
            _ => Ok(()),
        }
    }

    /// Whether it wants a lab of emulated machines.
    pub fn emulates_machines(&self) -> bool {
        match self {
            Command::Demo(args) => args.machines.are_emulated(),
            Command::Simulate(args) => args.machines.are_emulated(),
            _ => false,
        }
    }

    /// Whether there is nothing to do once the files of that lab are there.
    pub fn only_downloads(&self) -> bool {
        matches!(self, Command::Simulate(args) if args.download_only)
    }

    /// Carries the command out.
    pub async fn run(&self, context: &Context, lab: Option<Lab>) -> Result<(), CliError> {
        match self {
            Command::Demo(args) => demo::run(context, args, lab).await,
            Command::Serve(args) => serve::run(context, args).await,
            Command::Simulate(args) => simulate::run(context, args, lab).await,
            Command::Validate(args) => validate::run(context, args),
            Command::Deploy(args) => deploy::run(context, args).await,
            Command::Form(args) => form::run(context, args).await,
            Command::Status(args) => status::run(context, args).await,
            Command::Events(args) => events::run(context, args).await,
            Command::Explain(args) => explain::run(context, args).await,
            Command::Script(args) => script::run(context, args).await,
            Command::Credentials(args) => credentials::run(context, args).await,
            Command::Retry(args) => retry::run(context, args).await,
            Command::Destroy(args) => destroy::run(context, args).await,
            Command::Token(args) => token::run(context, args).await,
            Command::User(args) => user::run(context, args).await,
            Command::Image(args) => image::run(context, args).await,
            Command::Audit(args) => audit::run(context, args).await,
            Command::Secret(args) => secret::run(context, args).await,
            Command::Doctor(args) => doctor::run(context, args).await,
            Command::Completions(args) => completions::run(context, args),
        }
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse().ok().and_then(|s| Duration::try_from_secs_f64(s).ok()).ok_or_else(|| "not a number of seconds".into())
}
