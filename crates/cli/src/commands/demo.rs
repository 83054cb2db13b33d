//! `metalform demo`: whole deployments in seconds. It starts a simulated world and the service side by side, and gives
//! plans over through the HTTP API exactly as `deploy --watch` does: no step of a deployment is the demo's own.
//!
//! Everything lives in a temporary folder of its own, which is removed at the end; after a crash it stays in the system's
//! temporary folder, and nothing of it is looked at again. Of the environment's configuration only `METALFORM_TIMEOUTS_*`
//! is heeded: whatever real service is set up on the machine, a demo never touches it.

use crate::{
    client::Client,
    commands::deploy::deploy_and_watch,
    context::{Context, variable},
    demo_plans::demo_plans,
    display::Display,
    error::CliError,
    plan_text::PlanText,
    server::Server,
    simulated::{self, Wish},
    stop_signal::StopSignal,
    temporary_folder::TemporaryFolder,
    watch::Outcome,
};
use clap::{
    Args, ValueEnum,
    builder::{PossibleValue, PossibleValuesParser},
};
use futures_util::future::join_all;
use metalform_model::{ClusterPhase, ClusterStatus};
use metalform_service::{Config, Running, serve};
use metalform_simulator::fault::{BUILTINS, Fault, builtin};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tokio_util::sync::CancellationToken;
use toml::Table;

/// See whole deployments in seconds, against a simulated IBM Cloud
#[derive(Debug, Args)]
pub struct Demo {
    /// Nodes of each cluster: 1, or 3 and more
    #[arg(long, default_value = "3", value_parser = cluster_size)]
    nodes: usize,
    /// Clusters
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    clusters: u16,
    /// What the machines are
    #[arg(long, value_enum, default_value_t)]
    machines: Machines,
    /// How the CVMs behave
    #[arg(long, value_enum, default_value_t)]
    cvm: Cvm,
    /// Something that goes wrong; may be given several times. A wrong name lists all there are
    #[arg(long, value_name = "NAME", value_parser = faults(), hide_possible_values = true)]
    fault: Vec<String>,
    /// Divides the durations of the simulated world; 1 is as real
    #[arg(long, default_value = "600", value_parser = positive)]
    speed: f64,
    /// The same seed gives the same world
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Keep everything running afterwards, until Ctrl-C
    #[arg(long)]
    keep: bool,
}

/// What the machines are.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub enum Machines {
    /// Simulated in this process.
    #[default]
    Virtual,
}

/// How the CVMs behave.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub enum Cvm {
    /// As Nutanix documents it.
    #[default]
    Documented,
}

/// Runs it.
pub async fn run(context: &Context, args: &Demo) -> Result<(), CliError> {
    let mut signals = StopSignal::listen()?;
    let folder = TemporaryFolder::create("metalform-demo")?;
    let stop = CancellationToken::new();
    let clusters = usize::from(args.clusters);
    let wish = Wish {
        listen: None,
        subnet: None,
        speed: args.speed,
        seed: args.seed,
        quota: Some(args.nodes * clusters),
        faults: args.fault.iter().filter_map(|name| builtin(name)).collect::<Vec<Fault>>(),
    };
    let world = simulated::start(wish, stop.child_token()).await?;
    let plans = demo_plans(&world.plan, world.subnet, clusters, args.nodes)?;
    let (running, config_file) = start_service(&world.config, folder.path(), stop.child_token()).await?;
    let client = Client::new(&Server::at(&running.control_url, &running.token_file)?, context.connect_for)?;

    let deployed = tokio::select! {
        deployed = deploy_all(context, &client, &plans) => deployed,
        () = signals.next() => Err(CliError::Interrupted),
    };
    let concluded = match deployed {
        Ok(outcomes) => {
            conclude(context, args, &outcomes)?;
            next_steps(context, args, &running, &config_file);
            if args.keep {
                signals.next().await;
            }
            verdict(outcomes, args.keep)
        }
        Err(error) => Err(error),
    };
    stop.cancel();
    let stopped = running.finished().await.map_err(CliError::Serve);
    world.finished().await;
    concluded.and(stopped)
}

async fn deploy_all(context: &Context, client: &Client, plans: &[PlanText]) -> Result<Vec<Outcome>, CliError> {
    let display = Display::new(&context.out, context.json, plans.len());
    let deployments = plans.iter().map(|plan| deploy_and_watch(context, client, plan, &display));
    let outcomes = join_all(deployments).await.into_iter().collect();
    display.close();
    outcomes
}

/// The service as `serve` starts it, on the world's own configuration, its state in `folder`. Also writes the
/// configuration down as it came out, so that every other command can be pointed at it.
async fn start_service(
    world_config: &str,
    folder: &Path,
    stop: CancellationToken,
) -> Result<(Running, PathBuf), CliError> {
    let mut table: Table = world_config.parse().map_err(CliError::SimulatorPlan)?;
    table.insert("data_dir".into(), folder.join("data").display().to_string().into());
    set_control_listen(&mut table, "127.0.0.1:0");
    let timeouts_alone = |name: &str| variable(name).filter(|_| name.starts_with("METALFORM_TIMEOUTS_"));
    let config = Config::parse(&table.to_string(), &timeouts_alone).map_err(CliError::Config)?;
    let running = serve(config, stop).await.map_err(CliError::Serve)?;

    set_control_listen(&mut table, running.control_url.trim_start_matches("http://"));
    let file = folder.join("metalform.toml");
    let failed = |source| CliError::File { doing: "write", path: file.clone(), source };
    std::fs::write(&file, table.to_string()).map_err(failed)?;
    Ok((running, file))
}

fn set_control_listen(table: &mut Table, address: &str) {
    let control = table.entry("control").or_insert_with(|| Table::new().into());
    if let Some(control) = control.as_table_mut() {
        control.insert("listen".into(), address.into());
    }
}

/// The last line for a program; for a person what was built and how long each phase took.
fn conclude(context: &Context, args: &Demo, outcomes: &[Outcome]) -> Result<(), CliError> {
    if context.json {
        let clusters: Vec<Value> = outcomes.iter().map(|outcome| in_short(&outcome.status)).collect();
        return context.out.json(&json!({"clusters": clusters}));
    }
    context.out.data("")?;
    for outcome in outcomes {
        context.out.data(&outcome.timeline.summary(&outcome.status))?;
    }
    let minutes = args.speed / 60.0;
    context.out.data(&format!("the simulated world ran at speed {}: a second here is {minutes:.1} min there", args.speed))
}

fn in_short(status: &ClusterStatus) -> Value {
    let nodes = status.nodes.iter().map(|node| json!({"server_id": node.server_id, "phase": node.phase}));
    json!({"name": status.name, "phase": status.phase, "nodes": nodes.collect::<Vec<_>>()})
}

fn next_steps(context: &Context, args: &Demo, running: &Running, config_file: &Path) {
    if !args.keep {
        context.out.note("next: `metalform demo --keep` leaves the world standing, to look around in it");
        return;
    }
    let file = config_file.display();
    context.out.note(&format!(
        "kept until Ctrl-C: {}\nnext: metalform status --config {file}",
        running.control_url
    ));
}

/// Whether every cluster became ready.
fn verdict(outcomes: Vec<Outcome>, kept: bool) -> Result<(), CliError> {
    let failed = outcomes.into_iter().map(|outcome| outcome.status).filter(|s| s.phase != ClusterPhase::Ready.as_str());
    let failed: Vec<ClusterStatus> = failed
        .map(|status| match kept {
            true => status,
            // What there is to do about it, there was to do while the world stood.
            false => ClusterStatus { hint: Some("`metalform demo --keep` leaves the world standing, to look around in it \
                and to try `metalform retry`".into()), ..status },
        })
        .collect();
    if failed.is_empty() { Ok(()) } else { Err(CliError::NotReady(failed)) }
}

/// The names of all faults there are.
fn faults() -> PossibleValuesParser {
    PossibleValuesParser::new(BUILTINS.iter().map(|fault| PossibleValue::new(fault.name).help(fault.what)))
}

fn cluster_size(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(nodes) if nodes == 1 || (3..=64).contains(&nodes) => Ok(nodes),
        _ => Err("a cluster has 1 node, or 3 to 64".into()),
    }
}

/// A speed.
pub fn positive(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|n: &f64| n.is_finite() && *n > 0.0).ok_or_else(|| "not a number above 0".into())
}
