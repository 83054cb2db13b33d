//! Carries out what the world orders of its emulated machines.

use super::{
    Addresses, QemuError, QemuSettings, dhcp::Dhcp, hardware, missing_programs, network::Network, programs::tied_to_us,
};
use crate::machine::{EmulatedMachine, EmulatorOrder};
use ipnet::Ipv4Net;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    net::SocketAddr,
    path::PathBuf,
    process::Stdio,
};
use tokio::process::Child;

/// A machine that was powered on at least once.
#[derive(Debug)]
struct Powered {
    folder: PathBuf,
    tap: String,
    boot_disk_writes: u32,
    /// While it has power.
    qemu: Option<Child>,
}

/// All emulated machines, and their network. Everything ends with it.
#[derive(Debug)]
pub struct Emulator {
    settings: QemuSettings,
    network: Network,
    dhcp: Dhcp,
    /// Where machines reach the simulator.
    face: SocketAddr,
    /// By server id.
    machines: BTreeMap<String, Powered>,
}

impl Emulator {
    /// Makes the network of machines; no machine has power yet. `face` is taken once the network stands.
    ///
    /// # Errors
    /// Something is missing, or this process is not in a network namespace of its own.
    pub async fn start(settings: QemuSettings, subnet: Ipv4Net) -> Result<Emulator, QemuError> {
        let missing = missing_programs();
        if !missing.is_empty() {
            return Err(QemuError::Missing(missing));
        }
        let addresses = Addresses::of(subnet);
        fs::create_dir_all(&settings.folder).map_err(QemuError::file(&settings.folder))?;
        let network = Network::create(subnet, addresses).await?;
        let dhcp = Dhcp::start(&settings.folder, subnet, addresses)?;
        let face = SocketAddr::from((addresses.router, 0));
        Ok(Emulator { settings, network, dhcp, face, machines: BTreeMap::new() })
    }

    /// Where machines reach the simulator from now on.
    pub fn set_face(&mut self, face: SocketAddr) {
        self.face = face;
    }

    /// Carries an order out. One that fails is told to the log: the machine then stays silent, as a broken one would.
    pub async fn carry_out(&mut self, order: EmulatorOrder) {
        let (server_id, done) = match order {
            EmulatorOrder::On(machine) => (machine.on.server_id.clone(), self.power_on(&machine).await),
            EmulatorOrder::Off { server_id } => {
                self.power_off(&server_id).await;
                return;
            }
            EmulatorOrder::Gone { server_id } => {
                let done = self.forget(&server_id).await;
                (server_id, done)
            }
        };
        if let Err(error) = done {
            tracing::error!(%error, cause = ?std::error::Error::source(&error), server_id, "an emulated machine failed");
        }
    }

    async fn power_on(&mut self, machine: &EmulatedMachine) -> Result<(), QemuError> {
        let on = &machine.on;
        self.power_off(&on.server_id).await;
        if !self.machines.contains_key(&on.server_id) {
            let folder = self.settings.folder.join(&on.name);
            fs::create_dir_all(&folder).map_err(QemuError::file(&folder))?;
            // A folder of that name may be left of a server that is gone; its drives were removed with it.
            let powered = Powered { folder, tap: self.network.new_tap().await?, boot_disk_writes: 0, qemu: None };
            self.machines.insert(on.server_id.clone(), powered);
        }
        self.dhcp.add(on, self.face).await?;
        let firmware = self.settings.firmware_for(&on.name);
        let Some(powered) = self.machines.get_mut(&on.server_id) else { return Ok(()) };
        let is_reinitialized = powered.boot_disk_writes != on.boot_disk_writes;
        hardware::make_drives(machine, &powered.folder, is_reinitialized)?;
        powered.boot_disk_writes = on.boot_disk_writes;
        let arguments =
            hardware::arguments(machine, &powered.folder, firmware, self.settings.boot_order, &powered.tap)?;
        let log = powered.folder.join("qemu.log");
        let file = File::options().create(true).append(true).open(&log).map_err(QemuError::file(&log))?;
        let also = file.try_clone().map_err(QemuError::file(&log))?;
        let mut qemu = tied_to_us("qemu-system-x86_64");
        qemu.args(arguments).stdin(Stdio::null()).stdout(file).stderr(also);
        let started =
            qemu.spawn().map_err(|source| QemuError::Start { program: "qemu-system-x86_64".into(), source })?;
        powered.qemu = Some(started);
        Ok(())
    }

    async fn power_off(&mut self, server_id: &str) {
        let qemu = self.machines.get_mut(server_id).and_then(|powered| powered.qemu.take());
        if let Some(mut qemu) = qemu
            && let Err(error) = qemu.kill().await
        {
            tracing::debug!(%error, server_id, "an emulated machine had ended by itself");
        }
    }

    async fn forget(&mut self, server_id: &str) -> Result<(), QemuError> {
        self.power_off(server_id).await;
        let Some(powered) = self.machines.remove(server_id) else { return Ok(()) };
        // The drives go whatever comes of the address.
        let removed = hardware::remove_drives(&powered.folder);
        self.dhcp.remove(server_id).await.and(removed)
    }
}
