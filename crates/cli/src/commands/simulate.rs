//! `metalform simulate`: a simulated IBM Cloud with machines and CVMs, on loopback, until it is told to stop.

use crate::{
    commands::demo::{Cvm, Machines, positive},
    context::Context,
    error::CliError,
    lab::{FirmwareChoice, Lab},
    stop_signal::StopSignal,
};
use clap::{Args, ValueEnum};
use ipnet::Ipv4Net;
use metalform_simulator::{
    faces::{SimulatorSettings, start},
    qemu::BootOrder,
    temporary_folder::TemporaryFolder,
};
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
    /// The network of the machines, within 127.128.0.0/9 [default: a free one; 10.240.0.0/24 for emulated ones]
    #[arg(long, value_name = "CIDR")]
    subnet: Option<Ipv4Net>,
    /// What the machines are
    #[arg(long, value_enum, default_value_t)]
    pub machines: Machines,
    /// Firmware of emulated machines: bios or uefi, or SERVER=uefi for one of them
    #[arg(long, value_name = "FIRMWARE")]
    firmware: Vec<FirmwareChoice>,
    /// What emulated machines boot from first [default: drive]
    #[arg(long, value_enum)]
    boot_order: Option<FirstBoot>,
    /// Download what emulated machines take into the user's cache, and end
    #[arg(long)]
    pub download_only: bool,
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

impl Simulate {
    /// Flags without an effect.
    pub fn check(&self) -> Result<(), CliError> {
        let flags = [
            ("--firmware", !self.firmware.is_empty()),
            ("--boot-order", self.boot_order.is_some()),
            ("--download-only", self.download_only),
        ];
        match flags.into_iter().find(|(_, is_given)| *is_given && !self.machines.are_emulated()) {
            Some((flag, _)) => Err(CliError::NotEmulated(flag)),
            None => Ok(()),
        }
    }
}

/// What a machine boots from first.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum FirstBoot {
    /// The boot drive, if it can be booted, else the network.
    Drive,
    /// The network, always.
    Network,
}

/// Runs it. The configuration it prints keeps the service's state in a folder that is gone with the world: what a service
/// remembers of one world is of no use in the next.
pub async fn run(context: &Context, args: &Simulate, lab: Option<Lab>) -> Result<(), CliError> {
    if args.download_only {
        return Ok(());
    }
    let mut signals = StopSignal::listen()?;
    let folder = TemporaryFolder::create("simulate").map_err(CliError::Simulator)?;
    let mut settings = SimulatorSettings { subnet: args.subnet, ..SimulatorSettings::new(args.seed, args.speed) };
    settings.world.cvms.profile = args.cvm.profile();
    settings.qemu = lab.as_ref().map(|lab| lab.settings(&args.firmware));
    if let Some(qemu) = &mut settings.qemu {
        qemu.boot_order = match args.boot_order {
            None | Some(FirstBoot::Drive) => BootOrder::DriveFirst,
            Some(FirstBoot::Network) => BootOrder::NetworkFirst,
        };
    }
    let consoles = settings.qemu.as_ref().map(|qemu| qemu.folder.clone());
    if let Some(listen) = args.listen {
        settings.listen = listen;
    }
    let stop = CancellationToken::new();
    let simulator = start(settings, Arc::new(context.clock), stop).await.map_err(CliError::Simulator)?;
    let mut document = json!({
        "iam_url": simulator.iam_url,
        "vpc_url": simulator.vpc_url,
        "dns_url": simulator.dns_url,
        "metadata_url": simulator.metadata_url,
        "control_url": simulator.control_url,
        "images_dir": simulator.images_dir,
        "plan": simulator.plan_toml,
        "config": simulator.config_toml(Some(&folder.path().join("data"))),
    });
    // Everything above is in a network namespace then, and `serve` has to be, too.
    if let (Some(lab), Some(consoles)) = (&lab, consoles) {
        document["enter"] = lab.enter_command().into();
        document["consoles_dir"] = json!(consoles);
    }
    context.out.json(&document)?;
    signals.next().await;
    simulator.stop().await;
    Ok(())
}
