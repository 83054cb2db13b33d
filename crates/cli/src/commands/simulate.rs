//! `metalform simulate`: a simulated IBM Cloud with machines and CVMs, on loopback, until it is told to stop.

use crate::{
    commands::demo::{Cvm, Machines, positive},
    context::Context,
    error::CliError,
    stop_signal::StopSignal,
    temporary_folder::TemporaryFolder,
};
use clap::Args;
use ipnet::Ipv4Net;
use metalform_simulator::faces::{SimulatorSettings, start};
use serde_json::json;
use std::{net::SocketAddr, sync::Arc};
use tokio_util::sync::CancellationToken;

/// Run a simulated IBM Cloud, with machines and CVMs
///
/// The first line on standard output is a document: where it answers, and a plan and a configuration that fit.
#[derive(Debug, Args)]
pub struct Simulate {
    /// Where the cloud answers; port 0 chooses one
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// The network of the machines, within 127.128.0.0/9 [default: a free one]
    #[arg(long, value_name = "CIDR")]
    subnet: Option<Ipv4Net>,
    /// What the machines are
    #[arg(long, value_enum, default_value_t)]
    machines: Machines,
    /// How the CVMs behave
    #[arg(long, value_enum, default_value_t)]
    cvm: Cvm,
    /// Divides the durations of the simulated world; 1 is as real
    #[arg(long, default_value = "60", value_parser = positive)]
    speed: f64,
    /// The same seed gives the same world
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Runs it. The configuration it prints keeps the service's state in a folder that is gone with the world: what a service
/// remembers of one world is of no use in the next.
pub async fn run(context: &Context, args: &Simulate) -> Result<(), CliError> {
    let mut signals = StopSignal::listen()?;
    let folder = TemporaryFolder::create("metalform-simulate")?;
    let mut settings = SimulatorSettings { subnet: args.subnet, ..SimulatorSettings::new(args.seed, args.speed) };
    settings.world.cvms.profile = args.cvm.profile();
    if let Some(listen) = args.listen {
        settings.listen = listen;
    }
    let stop = CancellationToken::new();
    let simulator = start(settings, Arc::new(context.clock), stop).await.map_err(CliError::Simulator)?;
    context.out.json(&json!({
        "iam_url": simulator.iam_url,
        "vpc_url": simulator.vpc_url,
        "dns_url": simulator.dns_url,
        "metadata_url": simulator.metadata_url,
        "control_url": simulator.control_url,
        "images_dir": simulator.images_dir,
        "plan": simulator.plan_toml,
        "config": simulator.config_toml(Some(&folder.path().join("data"))),
    }))?;
    signals.next().await;
    simulator.stop().await;
    Ok(())
}
