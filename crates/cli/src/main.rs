//! The `metalform` binary: parses, runs one command, tells its error once, and ends with the exit code of §"Exit codes"
//! in `--help`.

mod audit_stream;
mod cli;
mod client;
mod commands;
mod context;
mod display;
mod error;
mod event_stream;
mod image_progress;
mod lab;
mod output;
mod plan_faults;
mod plan_text;
mod server;
mod server_events;
mod stop_signal;
mod table;
mod timeline;
mod watch;

use clap::{Parser, error::ErrorKind};
use cli::{Cli, Command};
use context::Context;
use error::CliError;
use lab::{Lab, PreparedLab};
use output::Output;
use serde_json::json;
use std::io::IsTerminal;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    // Before anything makes a TLS connection; that one is installed already could only be our own doing.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return tell_usage(&error),
    };
    start_log(&cli);
    let Cli { command, config, json, connect_for } = cli;
    let context = Context { config, json, connect_for, out: Output::default(), clock: metalform_service::WallClock };
    let done = prepare(&command, &context).and_then(|lab| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        runtime.map_err(CliError::Start)?.block_on(command.run(&context, lab))
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error.tell(&context.out, json);
            ExitCode::from(error.exit_code())
        }
    }
}

/// What must be done while this process has one thread: emulated machines want a network namespace. Before that, because
/// nothing can be downloaded in there, their files.
fn prepare(command: &Command, context: &Context) -> Result<Option<Lab>, CliError> {
    command.check()?;
    if !command.emulates_machines() {
        return Ok(None);
    }
    let lab = PreparedLab::prepare(&context.out)?;
    if command.only_downloads() {
        return Ok(None);
    }
    lab.enter_namespace().map(Some).map_err(CliError::Lab)
}

/// Help and version are what was asked for; anything else is wrong usage, told to a program as well.
fn tell_usage(error: &clap::Error) -> ExitCode {
    // Whoever can't be told can't be helped.
    let _ = error.print();
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return ExitCode::SUCCESS;
    }
    if std::env::args_os().any(|arg| arg == "--json") {
        let text = error.to_string();
        let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        let details = json!({"causes": []});
        let error = json!({"code": "usage", "message": message, "hint": "see `metalform --help`", "details": details});
        let _ = Output::default().json(&json!({"error": error}));
    }
    ExitCode::from(2)
}

/// To standard error, as `METALFORM_LOG` says.
fn start_log(cli: &Cli) {
    let filter = EnvFilter::try_from_env("METALFORM_LOG").unwrap_or_else(|_| EnvFilter::new(cli.command.default_log()));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match cli.json {
        true => log.json().init(),
        false => log.init(),
    }
}
