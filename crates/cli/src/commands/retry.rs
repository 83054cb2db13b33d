//! `metalform retry`: gives what failed another try, without doing again what has worked.

use crate::{
    commands::deploy::{conclude, next_steps},
    context::Context,
    error::CliError,
    output::clean,
    watch::{Until, last_event, watch_alone},
};
use clap::Args;
use metalform_model::FormationChoice;

/// Give a deployment that stopped another try
#[derive(Debug, Args)]
pub struct Retry {
    /// The cluster's name
    cluster: String,
    /// Form the cluster this way from now on, whatever its plan says: auto, prism, foundation or cvm-ssh
    #[arg(long, value_name = "DRIVER", value_parser = driver)]
    formation: Option<FormationChoice>,
    /// Stay until the cluster stands, and show how it comes about
    #[arg(long)]
    watch: bool,
}

/// Runs it.
pub async fn run(context: &Context, args: &Retry) -> Result<(), CliError> {
    let client = context.client().await?;
    let before = client.cluster(&args.cluster).await?;
    let seen = if args.watch { last_event(&client, &args.cluster).await? } else { 0 };
    let status = client.retry(&args.cluster, args.formation).await?;
    if args.watch {
        let anew = Until::SettledAnew(before.since);
        let outcome = watch_alone(context, &client, &args.cluster, seen, anew).await?;
        conclude(context, &outcome)?;
        let outcome = outcome.into_deployed()?;
        next_steps(context, &outcome.status, None);
        return Ok(());
    }
    if context.json {
        return context.out.json(&status);
    }
    let name = clean(&status.name);
    context.out.data(&format!("{name}: another try is under way"))?;
    context.out.note(&format!("next: metalform events {name} --follow"));
    Ok(())
}

fn driver(word: &str) -> Result<FormationChoice, String> {
    FormationChoice::parse(word).ok_or_else(|| "one of auto, prism, foundation, cvm-ssh".into())
}
