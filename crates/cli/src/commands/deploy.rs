//! `metalform deploy`: gives a plan over; with `--watch` stays until the cluster stands.

use crate::{
    client::{Client, Deployed},
    context::Context,
    display::Display,
    error::CliError,
    output::clean,
    plan_faults::fault_line,
    plan_text::PlanText,
    watch::{Outcome, Until, waits_for_form, watch, watch_alone},
};
use clap::Args;
use metalform_model::{ClusterPhase, ClusterStatus};

/// Turn a plan into a cluster
#[derive(Debug, Args)]
pub struct Deploy {
    /// The plan, TOML or JSON; `-` reads standard input
    plan: String,
    /// Stay until the cluster stands, and show how it comes about
    #[arg(long, conflicts_with = "dry_run")]
    watch: bool,
    /// Check everything, also against the cloud, and create nothing
    #[arg(long)]
    dry_run: bool,
}

/// Runs it.
pub async fn run(context: &Context, args: &Deploy) -> Result<(), CliError> {
    let plan = PlanText::read(&args.plan)?;
    let client = context.client().await?;
    if args.dry_run {
        return check(context, &client, &plan).await;
    }
    if args.watch {
        let (Deployed::New(status) | Deployed::Same(status)) = client.deploy(&plan.text, plan.format).await?;
        let outcome = watch_alone(context, &client, &status.name, 0, Until::Settled).await?;
        conclude(context, &outcome)?;
        let outcome = outcome.into_deployed()?;
        next_steps(context, &outcome.status, plan.external_ip().as_deref());
        return Ok(());
    }
    let (status, how) = match client.deploy(&plan.text, plan.format).await? {
        Deployed::New(status) => (status, "accepted"),
        Deployed::Same(status) => (status, "this plan is deployed already"),
    };
    if context.json {
        return context.out.json(&status);
    }
    context.out.data(&format!("{}: {how}, {}: {}", clean(&status.name), status.phase, clean(&status.reason)))?;
    context.out.note(&format!("next: metalform events {0} --follow, or metalform status {0}", clean(&status.name)));
    Ok(())
}

/// The same for one of several plans, which share a display.
pub async fn deploy_and_watch(
    context: &Context,
    client: &Client,
    plan: &PlanText,
    display: &Display<'_>,
) -> Result<Outcome, CliError> {
    let (Deployed::New(status) | Deployed::Same(status)) = client.deploy(&plan.text, plan.format).await?;
    watch(context, client, &status.name, 0, Until::Settled, display).await
}

/// The last line for a program; for a person what was built and how long it took.
pub fn conclude(context: &Context, outcome: &Outcome) -> Result<(), CliError> {
    match context.json {
        true => context.out.json(&outcome.status),
        false => context.out.data(&outcome.timeline.summary(&outcome.status)),
    }
}

/// What a person does next with what was built.
pub fn next_steps(context: &Context, status: &ClusterStatus, external_ip: Option<&str>) {
    let name = clean(&status.name);
    let next = if waits_for_form(status) {
        format!("every node is ready; `metalform form {name}` forms the cluster")
    } else if status.phase == ClusterPhase::Ready.as_str() {
        let at = external_ip.map(|ip| format!(" at https://{}:9440", clean(ip))).unwrap_or_default();
        format!("open Prism{at} as admin; `metalform credentials {name}` shows the passwords")
    } else {
        format!("metalform status {name}")
    };
    context.out.note(&format!("next: {next}"));
}

async fn check(context: &Context, client: &Client, plan: &PlanText) -> Result<(), CliError> {
    let answer = client.check(&plan.text, plan.format).await?;
    if context.json {
        return context.out.json(&answer);
    }
    for warning in answer["warnings"].as_array().into_iter().flatten() {
        context.out.data(&clean(&fault_line(warning)))?;
    }
    // A plan that lives already is answered with its status.
    match answer["phase"].as_str() {
        Some(phase) => context.out.data(&format!("{}: this plan is deployed already, {}", plan.name, clean(phase))),
        None => context.out.data(&format!("{}: would be accepted; nothing was created", plan.name)),
    }
}
