//! What can be chosen about simulated machines. What no source settles is a setting, so a finding on real servers changes
//! a default and nothing else.

use crate::ipxe::{Firmware, Generation, Platform};
use std::time::Duration;

/// Settings of all machines of a world.
#[derive(Debug, Clone)]
pub struct MachineSettings {
    /// The same seed, servers and answers give the same run.
    pub seed: u64,
    /// Divides the durations; `Retry-After` is obeyed to the letter.
    pub speed: f64,
    /// Firmware and iPXE build. IBM publishes no iPXE version; the default is the one that forgives least.
    pub platform: Platform,
    /// Whether a machine still starts iPXE after its boot disk has been installed on. Not documented for IBM's bare metal
    /// servers; if it does, only the boot script keeps it from being installed again.
    pub network_boot_after_install: bool,
    /// Whether the installer exchanges its boot token for a session, as Metalform's own agent does. One that doesn't shows the
    /// token with everything it asks for, as every other installer would.
    pub exchanges_token: bool,
    /// Whether machines are emulated outside of the world, which then only orders their power
    /// ([`crate::world::World::take_emulator_orders`]).
    pub emulated: bool,
    /// How long things take at speed 1.
    pub durations: MachineDurations,
}

impl Default for MachineSettings {
    fn default() -> Self {
        MachineSettings {
            seed: 1,
            speed: 1.0,
            platform: Platform { firmware: Firmware::Uefi, generation: Generation::Old },
            network_boot_after_install: false,
            exchanges_token: true,
            emulated: false,
            durations: MachineDurations::default(),
        }
    }
}

/// Durations at speed 1. Kernel and images: measured with real iPXE under QEMU (8 to 25 s for 14 MB); installer, reboot:
/// Foundation's own estimates for AHV; CVM: "about 10 min from host reboot until CVM components are ready", reported by
/// a user.
#[derive(Debug, Clone)]
pub struct MachineDurations {
    /// One DHCP exchange.
    pub dhcp: Duration,
    /// Until the machine asks for its boot script again.
    pub ask_again: Duration,
    /// Download of one boot image, beyond what the transfer itself takes.
    pub download: Duration,
    /// From kernel start to the installer.
    pub kernel: Duration,
    /// Comparing hardware and configuration.
    pub checking: Duration,
    /// Writing the disks.
    pub installing: Duration,
    /// From a restart until the installed system is up.
    pub reboot: Duration,
    /// From there until the CVM's services answer.
    pub cvm: Duration,
}

impl Default for MachineDurations {
    fn default() -> Self {
        let minutes = |m: u64| Duration::from_secs(60 * m);
        MachineDurations {
            dhcp: Duration::from_secs(3),
            ask_again: Duration::from_secs(10),
            download: Duration::from_secs(8),
            kernel: Duration::from_secs(30),
            checking: Duration::from_secs(20),
            installing: minutes(15),
            reboot: minutes(6),
            cvm: minutes(8),
        }
    }
}
