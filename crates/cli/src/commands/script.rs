//! `metalform script`: what a node is given to boot. Its token is left out: a script that is looked at ends up in tickets.

use crate::{context::Context, error::CliError};
use clap::Args;
use serde_json::json;

/// Show the boot script of a node, its token left out
#[derive(Debug, Args)]
pub struct Script {
    /// The node's server id
    server_id: String,
}

/// Runs it.
pub async fn run(context: &Context, args: &Script) -> Result<(), CliError> {
    let script = context.client().await?.script(&args.server_id).await?;
    match context.json {
        true => context.out.json(&json!({"server_id": args.server_id, "script": script})),
        false => context.out.raw(&script),
    }
}
