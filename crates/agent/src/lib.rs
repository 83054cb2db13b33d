//! The program that runs on a machine while it is installed. Begin with [`flow`]: it is the whole, top to bottom.
//!
//! Static and small, since it lives in an initrd; it needs a kernel, and no program but the installer's own.

mod arizona;
pub mod boot_plane;
pub mod check;
pub mod cli;
pub mod clock;
pub mod config;
pub mod console;
pub mod disks;
pub mod download;
pub mod drives;
pub mod farewell;
pub mod finding;
pub mod flow;
pub mod http;
pub mod installer;
pub mod inventory;
pub mod kernel_args;
pub mod limits;
pub mod machine;
pub mod modules;
pub mod network;
pub mod recipe;
pub mod reporter;
pub mod retry;
pub mod session;
pub mod signature;
pub mod system;
#[cfg(test)]
mod testing;
pub mod tls;
pub mod wipe;
