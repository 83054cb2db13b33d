//! What the cloud tells the machines: power, and what a machine finds when it comes up. This is all that crosses from
//! the simulated cloud to simulated (or emulated) machines.

use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

/// Something the cloud did to a machine.
#[derive(Debug, Clone, PartialEq)]
pub enum PowerEvent {
    /// The machine is past its firmware and boots: at create, start, restart and reinitialize.
    On(Box<PoweredOn>),
    /// Power is cut.
    Off {
        /// Of the server.
        server_id: String,
    },
    /// The server is deleted: the machine with all its disks belongs to somebody else now.
    Gone {
        /// Of the server.
        server_id: String,
    },
}

/// A machine that boots.
#[derive(Debug, Clone, PartialEq)]
pub struct PoweredOn {
    /// Of the server; one machine through all its boots.
    pub server_id: String,
    /// The server's name.
    pub name: String,
    /// Profile name.
    pub profile: String,
    /// Physical cores.
    pub cores: u64,
    /// GiB.
    pub memory_gib: u64,
    /// The boot disk first.
    pub drives: Vec<Drive>,
    /// Of the primary interface, lower case with colons. The VPC's DHCP answers this address only.
    pub mac: String,
    /// What DHCP gives to the primary interface.
    pub address: Ipv4Addr,
    /// All addresses of the primary interface, the first included.
    pub addresses: Vec<Ipv4Addr>,
    /// The network of `address`.
    pub subnet: Ipv4Net,
    /// DHCP's router: the second address of the subnet.
    pub gateway: Ipv4Addr,
    /// DHCP's name servers.
    pub resolvers: Vec<Ipv4Addr>,
    /// The server's user data, empty if it has none. For the iPXE image: one URL, or a script beginning `#!ipxe`.
    pub user_data: String,
    /// Whether the boot disk still holds the iPXE image. Otherwise the machine boots what an installer left there.
    pub network_boot: bool,
    /// How often the cloud has written the boot disk: 1 after create, one more after each reinitialization.
    pub boot_disk_writes: u32,
    /// Secure boot: an unsigned kernel is refused.
    pub secure_boot: bool,
}

/// A drive of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drive {
    /// `sata` or `nvme`.
    pub interface: &'static str,
    /// In 10^9 bytes.
    pub size_gb: u64,
    /// The boot disk: a RAID 1 pair that shows as one device.
    pub boot: bool,
}
