//! Machines that really boot: QEMU with Debian's iPXE ROM in its network card, in a segment of their own with a bridge and
//! Debian's dnsmasq as the VPC's DHCP. The cloud in front of them is the simulated one; what it powers on is emulated here.
//!
//! Only inside a new network namespace that was made for it: a bridge with the addresses of a VPC, and a DHCP server, have no
//! business on anybody's real network (looked at before anything is made). Plain emulation (TCG): KVM hangs in the
//! BIOS ROM of iPXE on some hosts.
//!
//! Nothing here outlives the process, however it ends: machines and DHCP die with it, bridge and taps go with the namespace.

mod dhcp;
mod emulator;
mod hardware;
mod network;
mod programs;

pub(crate) use dhcp::boot_file;
pub use emulator::Emulator;
pub use programs::{Missing, missing_programs};

use crate::ipxe::Firmware;
use ipnet::Ipv4Net;
use std::{
    fs, io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

/// How machines are emulated.
#[derive(Debug, Clone)]
pub struct QemuSettings {
    /// Drives, consoles and logs: a folder for every server, by its name, and `dnsmasq.log`. Consoles and logs stay.
    pub folder: PathBuf,
    /// The image set that they boot: `[images] dir` of the configuration for `serve`.
    pub images_dir: PathBuf,
    /// The boot scripts of emulated machines: `[boot] templates_dir` of that configuration.
    pub templates_dir: PathBuf,
    /// Firmware of the machines that `firmware_of` doesn't name.
    pub firmware: Firmware,
    /// Firmware of single machines, by server name.
    pub firmware_of: Vec<(String, Firmware)>,
    /// What machines boot from first.
    pub boot_order: BootOrder,
}

/// What a machine boots from first. Not documented for IBM's bare metal servers: what is known is that a new server runs its
/// script, and that its boot drive holds the image `ipxe` until something else is written there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootOrder {
    /// The boot drive, if it can be booted, else the network: what is on the drive decides, as the image on it suggests.
    DriveFirst,
    /// The network, always: then only the boot script keeps an installed machine from being installed again.
    NetworkFirst,
}

impl QemuSettings {
    /// BIOS throughout.
    pub fn new(folder: PathBuf, images_dir: PathBuf, templates_dir: PathBuf) -> Self {
        QemuSettings {
            folder,
            images_dir,
            templates_dir,
            firmware: Firmware::Bios,
            firmware_of: Vec::new(),
            boot_order: BootOrder::DriveFirst,
        }
    }

    fn firmware_for(&self, server: &str) -> Firmware {
        self.firmware_of.iter().find(|(name, _)| name == server).map_or(self.firmware, |(_, firmware)| *firmware)
    }
}

/// Why machines can't be emulated.
#[derive(Debug, thiserror::Error)]
pub enum QemuError {
    /// Somebody else's network is reachable from here.
    #[error(
        "machines are emulated only in a new network namespace of their own, and in this one the interface {0} is up"
    )]
    NotPrivate(String),
    /// Programs or files of Debian's packages.
    #[error("the emulation of machines lacks {}", names(.0))]
    Missing(Vec<Missing>),
    /// A program can't be started.
    #[error("can't start {program}")]
    Start {
        /// Which.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// A program failed.
    #[error("`{command}` failed: {said}")]
    Failed {
        /// With its arguments.
        command: String,
        /// What it said.
        said: String,
    },
    /// The kernel's maker of network cards.
    #[error("can't open /dev/net/tun, which makes the machines' network cards")]
    Tun(#[source] io::Error),
    /// A file or folder.
    #[error("can't make or remove {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn names(missing: &[Missing]) -> String {
    missing.iter().map(|missing| missing.what).collect::<Vec<_>>().join(", ")
}

impl QemuError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            QemuError::NotPrivate(_) => {
                "start the simulator in a new network namespace, as `metalform demo` and `metalform simulate` make one"
                    .into()
            }
            QemuError::Missing(missing) => {
                let mut packages: Vec<&str> = missing.iter().map(|missing| missing.package).collect();
                packages.dedup();
                format!("as root: apt-get install --no-install-recommends {}", packages.join(" "))
            }
            QemuError::Start { .. } => "is it there, and may it be executed?".into(),
            QemuError::Failed { .. } => "in a namespace it needs root, or a user namespace with /dev/net/tun".into(),
            QemuError::Tun(_) => {
                "be root; or, as root once: modprobe tun; chmod 0666 /dev/net/tun (as Debian has it)".into()
            }
            QemuError::File { .. } => "is the disk full, is the folder writable?".into(),
        }
    }

    fn file(path: &Path) -> impl FnOnce(io::Error) -> QemuError {
        let path = path.to_owned();
        move |source| QemuError::File { path, source }
    }
}

/// Removes the drives of all machines, once none of them runs, and leaves consoles and logs. `folder` is that of
/// [`QemuSettings`]; where no machine was made it may not be there.
///
/// # Errors
/// A file can't be removed; those before it are gone.
pub fn remove_drives(folder: &Path) -> Result<(), QemuError> {
    let machines = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        machines => machines.map_err(QemuError::file(folder))?,
    };
    for machine in machines {
        let machine = machine.map_err(QemuError::file(folder))?.path();
        if machine.is_dir() {
            hardware::remove_drives(&machine)?;
        }
    }
    Ok(())
}

/// The addresses of the segment that are this side's.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// The VPC's router, and the simulator's own face towards machines.
    pub router: Ipv4Addr,
    /// Where `metalform serve` listens for machines.
    pub service: Ipv4Addr,
}

impl Addresses {
    /// The second and the sixth address of the subnet: IBM reserves the first four and the last.
    pub fn of(subnet: Ipv4Net) -> Addresses {
        let nth = |n: u32| Ipv4Addr::from(u32::from(subnet.network()) + n);
        Addresses { router: nth(1), service: nth(5) }
    }
}
