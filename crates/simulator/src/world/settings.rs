//! The settings of a whole world.

use crate::{cloud::CloudSettings, cvm::CvmSettings, machine::MachineSettings};
use ipnet::Ipv4Net;

/// Settings of each part of a [`super::World`].
#[derive(Debug, Clone, Default)]
pub struct WorldSettings {
    /// The cloud's.
    pub cloud: CloudSettings,
    /// The machines'.
    pub machines: MachineSettings,
    /// The CVMs'.
    pub cvms: CvmSettings,
}

impl WorldSettings {
    /// The defaults, with one seed, one speed (1: real durations; 60: a minute in a second) and one subnet throughout.
    pub fn new(seed: u64, speed: f64, subnet: Ipv4Net) -> Self {
        WorldSettings {
            cloud: CloudSettings { seed, speed, subnet, ..CloudSettings::default() },
            machines: MachineSettings { seed, speed, ..MachineSettings::default() },
            cvms: CvmSettings { seed, speed, ..CvmSettings::default() },
        }
    }
}
