//! `metalform simulate`: a simulated IBM Cloud with machines and CVMs, on loopback, until it is told to stop.

use crate::{
    commands::demo::{Cvm, Machines, positive},
    context::Context,
    error::CliError,
    simulated::{self, Wish},
    stop_signal::StopSignal,
};
use clap::Args;
use ipnet::Ipv4Net;
use std::net::SocketAddr;
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

/// Runs it.
pub async fn run(context: &Context, args: &Simulate) -> Result<(), CliError> {
    let mut signals = StopSignal::listen()?;
    let stop = CancellationToken::new();
    let wish = Wish {
        listen: args.listen,
        subnet: args.subnet,
        speed: args.speed,
        seed: args.seed,
        quota: None,
        faults: Vec::new(),
    };
    let world = simulated::start(wish, stop.clone()).await?;
    context.out.json(&world.first_line)?;
    signals.next().await;
    stop.cancel();
    world.finished().await;
    Ok(())
}
