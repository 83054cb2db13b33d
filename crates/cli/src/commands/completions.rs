//! `metalform completions`: a script that makes a shell complete our commands and flags.

use crate::{cli::Cli, context::Context, error::CliError};
use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

/// Print a completion script for a shell
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    shell: Shell,
}

/// Runs it.
pub fn run(context: &Context, args: &Completions) -> Result<(), CliError> {
    let mut script = Vec::new();
    generate(args.shell, &mut Cli::command(), "metalform", &mut script);
    context.out.raw(&String::from_utf8_lossy(&script))
}
