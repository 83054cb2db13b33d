//! A machine that is emulated outside of the world (QEMU): real firmware, real iPXE, a real kernel and whatever that kernel
//! starts. The world keeps of it what a data centre would know: its power, its drives, and, once its installed system
//! speaks up from the machine's own address, that there is a hypervisor with a controller VM.
//!
//! The installed system says again and again that it is there ([`Machine::system_is_up`]); when it falls silent, the
//! controller VM is gone with it. Power alone would not do: a machine that resets itself keeps its power.

use super::{Disk, Machine, MachineEffect, Stage, System, Timer, config};
use crate::{
    cloud::PoweredOn,
    fault::{Faults, HardwareFault, MachineFault},
};
use metalform_model::Timestamp;
use serde_json::Value;
use std::time::Duration;
use uuid::Uuid;

/// An installed system that says nothing for so long is down; wall clock.
const SILENCE: Duration = Duration::from_secs(15);

/// What whoever emulates machines has to do.
#[derive(Debug, Clone, PartialEq)]
pub enum EmulatorOrder {
    /// Power on, from the firmware on.
    On(Box<EmulatedMachine>),
    /// Cut the power.
    Off {
        /// Of the server.
        server_id: String,
    },
    /// The machine with all its drives is somebody else's now.
    Gone {
        /// Of the server.
        server_id: String,
    },
}

/// A machine to be emulated.
#[derive(Debug, Clone, PartialEq)]
pub struct EmulatedMachine {
    /// What the cloud says of it.
    pub on: PoweredOn,
    /// SMBIOS UUID.
    pub uuid: Uuid,
    /// SMBIOS serial number.
    pub serial: String,
    /// Its drives, the boot drive first.
    pub disks: Vec<Disk>,
    /// What is wrong with its hardware.
    pub faults: Vec<HardwareFault>,
}

impl Machine {
    /// Power comes on, outside. `None`: it stays silent.
    pub fn power_on_emulated(&mut self, on: &PoweredOn, faults: &mut Faults) -> Option<EmulatedMachine> {
        if !self.take_power(on, faults) {
            return None;
        }
        self.stage = Stage::Ipxe;
        let mut hardware = Vec::new();
        let is_new = |fault: &MachineFault, known: &[HardwareFault]| matches!(fault, MachineFault::Hardware(fault) if !known.contains(fault));
        while let Some(MachineFault::Hardware(fault)) =
            faults.take_machine(&self.on.name, |fault| is_new(fault, &hardware))
        {
            hardware.push(fault);
        }
        let (uuid, serial) = (self.identity.uuid, self.identity.serial.clone());
        Some(EmulatedMachine { on: on.clone(), uuid, serial, disks: self.disks.clone(), faults: hardware })
    }

    /// The installed system says that it is up, with the configuration it was installed with. `install` is another text
    /// for every installation.
    ///
    /// # Errors
    /// Everything that a node configuration must not be, as the simulated installer sees it.
    pub fn system_is_up(&mut self, now: Timestamp, install: &str, text: &str) -> Result<(), Vec<String>> {
        self.silent_at = Some(now + SILENCE);
        let is_known = self.install.as_deref() == Some(install);
        if is_known && matches!(self.stage, Stage::HostUp | Stage::CvmUp) {
            return Ok(());
        }
        let document: Value = serde_json::from_str(text).unwrap_or_default();
        let expected = config::Expected {
            server_id: document["server_info"]["server_id"].as_str().unwrap_or_default(),
            mgmt_ip: self.on.address,
            profile: &self.on.profile,
            disks: &self.disks,
        };
        let config = config::check(text, &expected)?;
        if !is_known {
            self.install = Some(install.to_owned());
            self.installs += 1;
            self.on.network_boot = false;
            self.effects.push(MachineEffect::BootDiskOverwritten);
        }
        self.system = Some(System { config: config.clone(), installer: None });
        self.stage = Stage::HostUp;
        self.print(format!("{} login:", config.hostname));
        self.timer = Some((now + self.pace.about(self.settings.durations.cvm), Timer::CvmUp));
        self.effects.push(MachineEffect::HostUp { config: Box::new(config), install: self.installs });
        Ok(())
    }

    /// The system has fallen silent, or was told to: its controller VM is gone with it.
    pub(super) fn notice_silence(&mut self, now: Timestamp) {
        if self.silent_at.take_if(|at| *at <= now).is_some() {
            self.lose_memory();
            self.print("-- the installed system is silent");
            self.stage = Stage::Rebooting;
        }
    }
}
