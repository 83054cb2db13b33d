//! What the flow does to the machine it runs on, as few and as small things as there are. Tests bring a machine of
//! their own, with a made tree for a root; the real one is [`crate::system::System`].

use crate::{kernel_args::KernelArgs, limits::Limits, network::Attached, network::NetworkError};
use std::{io, path::Path};

/// The machine.
pub trait Machine: Send + Sync {
    /// Where `/proc`, `/sys`, `/dev` and `/metalform` are; `/` on a real machine.
    fn root(&self) -> &Path;

    /// Mounts `/proc`, `/sys`, `/dev` and a file system in memory at `/run`, where they aren't there.
    fn mount_basics(&self) -> io::Result<()>;

    /// Loads a kernel module; one that is in already is fine.
    fn load_module(&self, file: &Path) -> io::Result<()>;

    /// Gets an address, by what the command line says.
    fn attach(&self, args: &KernelArgs, limits: &Limits, told: &dyn Fn(&str)) -> Result<Attached, NetworkError>;

    /// 32 bytes that nobody can guess.
    fn random(&self) -> io::Result<[u8; 32]>;

    /// The kernel's name of this machine.
    fn set_host_name(&self, name: &str) -> io::Result<()>;

    /// Makes one of a set's mounts.
    fn mount(&self, mount: &Mount) -> io::Result<()>;

    /// A text, on every console there is.
    fn console(&self, text: &str);

    /// Writes what is in memory to the disks and starts the machine anew.
    fn restart(&self) -> io::Result<()>;

    /// What a machine does that has failed: stays, so that a person can look. A real one never comes back from it.
    fn stay(&self, reminder: &str, limits: &Limits);
}

/// A mount, as data: a plan of them can be looked at before any is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mount {
    /// An image file, read-only, through a loop device.
    Image {
        /// The file.
        file: String,
        /// `squashfs`.
        kind: &'static str,
        /// Where.
        at: String,
    },
    /// A file system in memory.
    Memory {
        /// Where.
        at: String,
        /// Limit, as the kernel takes it: `75%`.
        size: &'static str,
    },
    /// A read-only tree with a writable one over it.
    Overlay {
        /// Read-only.
        lower: String,
        /// Takes the changes.
        upper: String,
        /// The kernel's own; on the same file system as `upper`.
        work: String,
        /// Where.
        at: String,
    },
    /// A part of the tree at a second place, with what is mounted below it.
    Bind {
        /// What.
        from: String,
        /// Where.
        at: String,
    },
}
