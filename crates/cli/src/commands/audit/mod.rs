//! `metalform audit`: who did what. `list` and `export` ask the service; `verify` needs none.

mod export;
mod list;
mod verify;

use crate::{context::Context, error::CliError};
use clap::{Args, Subcommand};

/// Look at the audit, take it elsewhere, and check that nobody changed it
#[derive(Debug, Args)]
pub struct Audit {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(Box<list::List>),
    Verify(verify::Verify),
    Export(export::Export),
}

/// Runs it.
pub async fn run(context: &Context, args: &Audit) -> Result<(), CliError> {
    match &args.command {
        Command::List(args) => list::run(context, args).await,
        Command::Verify(args) => verify::run(context, args).await,
        Command::Export(args) => export::run(context, args).await,
    }
}
