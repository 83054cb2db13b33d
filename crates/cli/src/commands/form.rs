//! `metalform form`: the word that a plan with `start = "on-command"` waits for.

use crate::{context::Context, error::CliError, output::clean};
use clap::Args;

/// Form a cluster whose plan waits for the command
#[derive(Debug, Args)]
pub struct Form {
    /// The cluster's name
    cluster: String,
}

/// Runs it.
pub async fn run(context: &Context, args: &Form) -> Result<(), CliError> {
    let status = context.client().await?.form(&args.cluster).await?;
    if context.json {
        return context.out.json(&status);
    }
    let name = clean(&status.name);
    context.out.data(&format!("{name}: is formed once its nodes are ready"))?;
    context.out.note(&format!("next: metalform events {name} --follow"));
    Ok(())
}
