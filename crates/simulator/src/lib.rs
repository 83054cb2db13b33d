//! A simulated world for Metalform: IBM Cloud, machines and CVMs, with faults as data. Shares no wire type with the
//! clients, so a mistake in those can show.

pub mod cloud;
pub mod cvm;
pub mod faces;
pub mod fault;
pub mod fetch;
pub mod http;
pub mod ipxe;
pub mod machine;
mod pace;
pub mod qemu;
pub mod ssh;
pub mod temporary_folder;
#[cfg(test)]
mod testing;
pub mod world;
