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
    display::Display,
    error::CliError,
    lab::{FirmwareChoice, Lab},
    output::clean,
    plan_text::PlanText,
    server::Server,
    stop_signal::StopSignal,
    watch::Outcome,
};
use clap::{
    Args, ValueEnum,
    builder::{PossibleValue, PossibleValuesParser},
};
use futures_util::future::join_all;
use metalform_model::{ClusterPhase, ClusterStatus, PlanFormat};
use metalform_service::{Config, Running, serve};
use metalform_simulator::{
    cvm::CvmProfile,
    faces::{PlanShape, RunningSimulator, SimulatorSettings, start},
    fault::{BUILTINS, CvmFault, Fault, FaultEffect, MachineFault, builtin},
    temporary_folder::TemporaryFolder,
};
use serde::Serialize;
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio_util::sync::CancellationToken;
use toml::Table;

/// Addresses of a subnet that no plan may have: those the cloud keeps, and some beside.
const SPARE_ADDRESSES: u32 = 32;

/// For an emulated machine to ask for its script, and for it to become a node. One minute is usual, and five were seen on a
/// computer with five times as much to do as it has processors.
const EMULATED_MACHINE_SECS: f64 = 15.0 * 60.0;

const FREE_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// See whole deployments in seconds, against a simulated IBM Cloud
#[derive(Debug, Args)]
pub struct Demo {
    /// Nodes of each cluster: 1, or 3 and more
    #[arg(long, default_value = "3", value_parser = cluster_size)]
    nodes: u32,
    /// Clusters
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    clusters: u32,
    /// What the machines are
    #[arg(long, value_enum, default_value_t)]
    pub machines: Machines,
    /// Firmware of emulated machines: bios or uefi, or SERVER=uefi for one of them
    #[arg(long, value_name = "FIRMWARE")]
    firmware: Vec<FirmwareChoice>,
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

impl Demo {
    /// Faults that could not strike, and flags without an effect.
    pub fn check(&self) -> Result<(), CliError> {
        if !self.firmware.is_empty() && !self.machines.are_emulated() {
            return Err(CliError::NotEmulated("--firmware"));
        }
        check_faults(self)
    }
}

/// What the machines are.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub enum Machines {
    /// Simulated in this process.
    #[default]
    Virtual,
    /// Emulated by QEMU: real iPXE, a real kernel and Metalform's own agent, in a network namespace. Takes minutes.
    Qemu,
}

impl Machines {
    /// Whether they are emulated.
    pub fn are_emulated(self) -> bool {
        matches!(self, Machines::Qemu)
    }
}

/// How the CVMs behave.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub enum Cvm {
    /// REST from the start, as the first design has it; current releases differ.
    Documented,
    /// What users of current releases see: nothing on port 9440 before a cluster exists, `cluster create` over SSH.
    #[default]
    Observed,
}

impl Cvm {
    /// The simulator's name for it.
    pub fn profile(self) -> CvmProfile {
        match self {
            Cvm::Documented => CvmProfile::Documented,
            Cvm::Observed => CvmProfile::Observed,
        }
    }
}

/// Runs it.
pub async fn run(context: &Context, args: &Demo, lab: Option<Lab>) -> Result<(), CliError> {
    let mut signals = StopSignal::listen()?;
    let folder = TemporaryFolder::create("demo").map_err(CliError::Simulator)?;
    let stop = CancellationToken::new();
    let settings = settings(args, lab.as_ref());
    let simulator = start(settings, Arc::new(context.clock), stop.child_token()).await;
    let simulator = simulator.map_err(CliError::Simulator)?;
    let plans = plans(args, &simulator);
    let (running, config_file) = start_service(&simulator, args, folder.path(), stop.child_token()).await?;
    let client = Client::new(&Server::at(&running)?, context.connect_for)?;

    let deployed = tokio::select! {
        deployed = deploy_all(context, &client, &plans) => deployed,
        () = signals.next() => Err(CliError::Interrupted),
    };
    let concluded = match deployed {
        Ok(outcomes) => {
            conclude(context, args, &outcomes)?;
            let failed = failures(&outcomes);
            let enter = lab.as_ref().map(|lab| lab.enter_command() + " ").unwrap_or_default();
            let next = format!("{enter}metalform status --config {}", config_file.display());
            next_steps(context, args, &running, &next, &failed);
            if args.keep {
                signals.next().await;
            }
            verdict(failed)
        }
        Err(error) => Err(error),
    };
    stop.cancel();
    let stopped = running.finished().await.map_err(CliError::Serve);
    simulator.stop().await;
    let done = concluded.and(stopped);
    if let (Err(_), Some(lab)) = (&done, lab) {
        context.out.note(&format!("consoles of the machines: {}", lab.keep_consoles(args.keep).display()));
    }
    done
}

async fn deploy_all(context: &Context, client: &Client, plans: &[PlanText]) -> Result<Vec<Outcome>, CliError> {
    let display = Display::new(&context.out, context.json, plans.len());
    let deployments = plans.iter().map(|plan| deploy_and_watch(context, client, plan, &display));
    let outcomes = join_all(deployments).await.into_iter().collect();
    display.close();
    outcomes
}

/// A world with room for all that is asked for.
fn settings(args: &Demo, lab: Option<&Lab>) -> SimulatorSettings {
    let mut settings = SimulatorSettings::new(args.seed, args.speed);
    settings.world.cvms.profile = args.cvm.profile();
    settings.qemu = lab.map(|lab| lab.settings(&args.firmware));
    settings.faults = args.fault.iter().filter_map(|name| builtin(name)).collect();
    let quota = &mut settings.world.cloud.quota;
    *quota = (*quota).max(args.nodes as usize * args.clusters as usize);
    let addresses = SPARE_ADDRESSES + args.clusters * PlanShape::addresses(args.nodes);
    let prefix_len = u32::BITS - addresses.next_power_of_two().trailing_zeros();
    settings.prefix_len = settings.prefix_len.min(u8::try_from(prefix_len).unwrap_or_default());
    settings
}

fn plans(args: &Demo, simulator: &RunningSimulator) -> Vec<PlanText> {
    let plan = |place: u32| {
        let own = PlanShape::default();
        let shape = match args.clusters {
            1 => PlanShape { nodes: args.nodes, ..own },
            _ => PlanShape {
                cluster: format!("{}-{}", own.cluster, place + 1),
                server_prefix: format!("{}-{}", own.server_prefix, place + 1),
                nodes: args.nodes,
                offset: place * PlanShape::addresses(args.nodes),
            },
        };
        let name = format!("the plan of {}", shape.cluster);
        PlanText { name, text: simulator.plan(&shape), format: PlanFormat::Toml }
    };
    (0..args.clusters).map(plan).collect()
}

/// The service as `serve` starts it, on the world's own configuration, with its state in `folder` and ports of its own.
/// Also writes the configuration down as it came out, so that every other command can be pointed at it.
async fn start_service(
    simulator: &RunningSimulator,
    args: &Demo,
    folder: &Path,
    stop: CancellationToken,
) -> Result<(Running, PathBuf), CliError> {
    let text = simulator.config_toml(Some(&folder.join("data")));
    let mut table: Table = text.parse().map_err(CliError::SimulatorConfig)?;
    set_deadlines(&mut table, args);
    let timeouts_alone = |name: &str| variable(name).filter(|_| name.starts_with("METALFORM_TIMEOUTS_"));
    let mut config = Config::parse(&table.to_string(), &timeouts_alone).map_err(CliError::Config)?;
    if !args.machines.are_emulated() {
        config.boot.public_url = None;
        config.boot.listen = FREE_PORT;
    }
    config.control.listen = FREE_PORT;
    let running = serve(config, stop).await.map_err(CliError::Serve)?;

    set(&mut table, "control", "listen", running.control_url.trim_start_matches("https://"));
    if !args.machines.are_emulated() {
        set(&mut table, "boot", "listen", running.boot_url.trim_start_matches("http://"));
        set(&mut table, "boot", "public_url", &running.boot_url);
    }
    let file = folder.join("metalform.toml");
    let failed = |source| CliError::File { doing: "write", path: file.clone(), source };
    std::fs::write(&file, table.to_string()).map_err(failed)?;
    Ok((running, file))
}

/// The world's deadlines at its speed: thrice as long as real ones would be there and a minute at least. A fault that only a
/// deadline ends would otherwise keep a demo of seconds waiting for the better part of an hour. Emulated machines boot as
/// fast as the computer lets them, whatever the speed.
fn set_deadlines(table: &mut Table, args: &Demo) {
    let speed = args.speed;
    for (key, minutes) in [("order_to_script", 45.0), ("node_ready", 60.0), ("formation", 30.0)] {
        let real: f64 = minutes * 60.0;
        let seconds = match args.machines {
            Machines::Qemu if key != "formation" => EMULATED_MACHINE_SECS,
            Machines::Qemu | Machines::Virtual => (real * 3.0 / speed).max(60.0).min(real),
        };
        set(table, "timeouts", key, &format!("{seconds:.0}s"));
    }
    let shorter = [
        ("formation_settle", 30.0, 2.0),
        ("check", 180.0, 15.0),
        ("clean", 600.0, 30.0),
        ("clean_step", 120.0, 5.0),
        ("password_sync", 30.0, 1.0),
        ("probe_after_refusal", 60.0, 2.0),
        ("not_offered", 1200.0, 15.0),
    ];
    for (key, real, least) in shorter {
        let seconds: f64 = real * 3.0 / speed;
        set(table, "timeouts", key, &format!("{:.0}s", seconds.clamp(least, real)));
    }
}

fn set(table: &mut Table, section: &str, key: &str, value: &str) {
    if let Some(section) = table.entry(section).or_insert_with(|| Table::new().into()).as_table_mut() {
        section.insert(key.into(), value.into());
    }
}

/// The last line for a program; for a person what was built and how long each phase took.
fn conclude(context: &Context, args: &Demo, outcomes: &[Outcome]) -> Result<(), CliError> {
    if context.json {
        return context
            .out
            .json(&InShort { clusters: outcomes.iter().map(|o| ClusterInShort::of(&o.status)).collect() });
    }
    context.out.data("")?;
    for outcome in outcomes {
        context.out.data(&outcome.timeline.summary(&outcome.status))?;
    }
    let minutes = args.speed / 60.0;
    context
        .out
        .data(&format!("the simulated world ran at speed {}: a second here is {minutes:.1} min there", args.speed))
}

/// The last line for a program: these keys and no others.
#[derive(Debug, Serialize)]
struct InShort<'a> {
    clusters: Vec<ClusterInShort<'a>>,
}

#[derive(Debug, Serialize)]
struct ClusterInShort<'a> {
    name: &'a str,
    phase: &'a str,
    nodes: Vec<NodeInShort<'a>>,
}

#[derive(Debug, Serialize)]
struct NodeInShort<'a> {
    server_id: &'a str,
    phase: &'a str,
}

impl<'a> ClusterInShort<'a> {
    fn of(status: &'a ClusterStatus) -> Self {
        let nodes = status.nodes.iter().map(|n| NodeInShort { server_id: &n.server_id, phase: &n.phase }).collect();
        ClusterInShort { name: &status.name, phase: &status.phase, nodes }
    }
}

/// What a person can do while the world stands, and how to make it stand.
fn next_steps(context: &Context, args: &Demo, running: &Running, next: &str, failed: &[ClusterStatus]) {
    if args.keep {
        for cluster in failed {
            context.out.note(&clean(&format!("{}: {}", cluster.name, cluster.reason)));
        }
        let ca: String = running.ca_file.iter().map(|file| format!(" (trust {})", file.display())).collect();
        context.out.note(&format!("kept until Ctrl-C: {}{ca}\nnext: {next}", running.control_url));
    } else if failed.is_empty() {
        context.out.note("next: `metalform demo --keep` leaves the world standing, to look around in it");
    }
}

/// The clusters that did not become ready.
fn failures(outcomes: &[Outcome]) -> Vec<ClusterStatus> {
    let statuses = outcomes.iter().map(|outcome| &outcome.status);
    statuses.filter(|status| status.phase != ClusterPhase::Ready.as_str()).cloned().collect()
}

/// What there is to do about them is true of a world that stands; this one is gone by the time it is read.
fn verdict(mut failed: Vec<ClusterStatus>) -> Result<(), CliError> {
    for cluster in &mut failed {
        cluster.hint = Some(
            "`metalform demo --keep` leaves the world standing, to look around in it and to try `metalform retry`"
                .into(),
        );
    }
    if failed.is_empty() { Ok(()) } else { Err(CliError::NotReady(failed)) }
}

/// The names of all faults there are.
fn faults() -> PossibleValuesParser {
    PossibleValuesParser::new(BUILTINS.iter().map(|fault| PossibleValue::new(fault.name).help(fault.what)))
}

/// A fault that can't strike would show a deployment without one and call it survived.
fn check_faults(args: &Demo) -> Result<(), CliError> {
    let idle = |cannot_strike: &dyn Fn(&Fault) -> bool| -> Vec<String> {
        args.fault.iter().filter(|name| builtin(name).is_some_and(|fault| cannot_strike(&fault))).cloned().collect()
    };
    let (for_machines, whom, hint): (fn(&Fault) -> bool, _, _) = match args.machines {
        Machines::Virtual => (needs_emulated, "machines that are simulated", "add `--machines qemu`"),
        Machines::Qemu => (needs_simulated, "machines that are emulated", "leave out `--machines qemu`"),
    };
    let names = idle(&for_machines);
    if !names.is_empty() {
        return Err(CliError::IdleFaults { names, whom, hint });
    }
    let names = if matches!(args.cvm, Cvm::Documented) { idle(&needs_observed) } else { Vec::new() };
    let whom = "CVMs that behave as documented";
    let hint = "leave out `--cvm documented`: it takes a system to log in to, and a create that is a command there";
    if names.is_empty() { Ok(()) } else { Err(CliError::IdleFaults { names, whom, hint }) }
}

/// Whether it strikes hardware, which only emulated machines have.
fn needs_emulated(fault: &Fault) -> bool {
    matches!(fault.effect, FaultEffect::Machine(MachineFault::Hardware(_)))
}

/// Whether it strikes what happens inside of a machine, where the simulator has no hand in an emulated one.
fn needs_simulated(fault: &Fault) -> bool {
    match &fault.effect {
        FaultEffect::Machine(fault) => !matches!(fault, MachineFault::Hardware(_) | MachineFault::NeverBoots),
        FaultEffect::Cloud(_) | FaultEffect::Cvm(_) => false,
    }
}

/// Whether it strikes what only CVMs as they are observed have: systems to log in to, and a create that is a command there.
fn needs_observed(fault: &Fault) -> bool {
    match &fault.effect {
        FaultEffect::Cloud(_) | FaultEffect::Machine(_) => false,
        FaultEffect::Cvm(fault) => match fault {
            CvmFault::NeverReady
            | CvmFault::Dead
            | CvmFault::HtmlErrors
            | CvmFault::FormationFails
            | CvmFault::FormationHangs
            | CvmFault::CreateReplyLost
            | CvmFault::VipLate { .. }
            | CvmFault::AlreadyConfigured
            | CvmFault::ServiceDown => false,
            CvmFault::BlockedPair
            | CvmFault::ClockSkew { .. }
            | CvmFault::DuplicateAddress
            | CvmFault::VipTaken
            | CvmFault::Undiscovered
            | CvmFault::CreateSays { .. }
            | CvmFault::ZeusNeverReady
            | CvmFault::RebootsInCreate { .. }
            | CvmFault::SshCut
            | CvmFault::DestroyLeavesNode
            | CvmFault::ServiceFlaps { .. } => true,
        },
    }
}

fn cluster_size(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(nodes) if nodes == 1 || (3..=64).contains(&nodes) => Ok(nodes),
        _ => Err("a cluster has 1 node, or 3 to 64".into()),
    }
}

/// A speed.
pub fn positive(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|n: &f64| n.is_finite() && *n > 0.0).ok_or_else(|| "not a number above 0".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        demo: Demo,
    }

    /// `order_to_script`, `node_ready`, `formation`.
    fn deadlines(words: &[&str]) -> [String; 3] {
        let line = Line::parse_from([&["demo"], words].concat());
        let mut table = Table::new();
        set_deadlines(&mut table, &line.demo);
        ["order_to_script", "node_ready", "formation"].map(|key| table["timeouts"][key].as_str().unwrap().to_owned())
    }

    #[test]
    fn an_emulated_machine_has_a_quarter_of_an_hour_at_any_speed() {
        assert_eq!(deadlines(&["--machines", "qemu"]), ["900s", "900s", "60s"]);
        assert_eq!(deadlines(&["--machines", "qemu", "--speed", "1"]), ["900s", "900s", "1800s"]);
    }

    #[test]
    fn a_simulated_machine_has_thrice_its_time_a_minute_at_least_and_never_more_than_a_real_one() {
        assert_eq!(deadlines(&[]), ["60s", "60s", "60s"]);
        assert_eq!(deadlines(&["--speed", "60"]), ["135s", "180s", "90s"]);
        assert_eq!(deadlines(&["--speed", "1"]), ["2700s", "3600s", "1800s"]);
    }
}
