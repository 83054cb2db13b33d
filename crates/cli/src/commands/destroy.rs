//! `metalform destroy`: has everything deleted that was made for a cluster, and nothing else.

use crate::{
    commands::deploy::conclude,
    context::Context,
    error::CliError,
    output::clean,
    watch::{Until, last_event, watch_alone},
};
use clap::Args;

/// Delete a cluster and everything that was made for it
#[derive(Debug, Args)]
pub struct Destroy {
    /// The cluster's name
    cluster: String,
    /// Stay until nothing of it is left
    #[arg(long)]
    watch: bool,
}

/// Runs it.
pub async fn run(context: &Context, args: &Destroy) -> Result<(), CliError> {
    let client = context.client().await?;
    let seen = if args.watch { last_event(&client, &args.cluster).await? } else { 0 };
    let status = client.destroy(&args.cluster).await?;
    if args.watch {
        let outcome = watch_alone(context, &client, &args.cluster, seen, Until::Released).await?;
        return conclude(context, &outcome);
    }
    if context.json {
        return context.out.json(&status);
    }
    let name = clean(&status.name);
    context.out.data(&format!("{name}: what was made for it is being deleted"))?;
    context.out.note(&format!("next: metalform events {name} --follow"));
    Ok(())
}
