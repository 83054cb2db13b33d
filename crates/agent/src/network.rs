//! The machine's way onto its network. No program of the installer environment takes part: which ones it has, and what
//! their handler scripts do, differs from one to the next (a `udhcpc` without its script gets a lease and configures
//! nothing).
//!
//! Every interface with a link is tried, and the one on which this machine gets its own management address is the one.
//! A lease isn't renewed: the address stays for the hour that an installation takes.

pub mod dhcp;
pub mod netlink;

use crate::{
    clock::Clock,
    inventory::{Nic, nics},
    kernel_args::{KernelArgs, NetworkSource},
    limits::Limits,
};
use dhcp::{Client, DhcpSocket, Lease};
use netlink::Netlink;
use std::{fs, io, net::Ipv4Addr, path::Path};

/// The network as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// The interface.
    pub interface: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Length of its network's prefix.
    pub prefix: u8,
}

/// Why the machine is not on its network.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// No interface with hardware behind it.
    #[error("the machine shows no network interface")]
    NoInterface,
    /// None has a link.
    #[error("no network interface has a link: {0}")]
    NoLink(String),
    /// Nobody gives it an address.
    #[error("no DHCP server gave an address on {interfaces}, {rounds} times over")]
    NoAnswer {
        /// Those with a link.
        interfaces: String,
        /// How often all of them were asked.
        rounds: u32,
    },
    /// Somebody gives it another one.
    #[error("{interface} is given {given}, and this machine is to have {wanted}")]
    AddressDiffers {
        /// The interface.
        interface: String,
        /// By the DHCP server.
        given: Ipv4Addr,
        /// By the command line.
        wanted: Ipv4Addr,
    },
    /// The kernel refused.
    #[error("{interface} can't be configured")]
    Configure {
        /// The interface.
        interface: String,
        /// Why.
        source: io::Error,
    },
}

/// Gets an address.
pub fn attach(
    root: &Path,
    clock: &dyn Clock,
    args: &KernelArgs,
    limits: &Limits,
    told: &dyn Fn(&str),
) -> Result<Attached, NetworkError> {
    let configure = |interface: &str| {
        let interface = interface.to_owned();
        move |source| NetworkError::Configure { interface, source }
    };
    let mut netlink = Netlink::open().map_err(configure("netlink"))?;
    wait_for(clock, limits.devices, || !nics(root).is_empty());
    for nic in nics(root) {
        let up = index(root, &nic.name).and_then(|index| netlink.set_up(index));
        up.map_err(configure(&nic.name))?;
    }
    // The loopback has no hardware behind it; an installer may want it, and it is always the first.
    drop(netlink.set_up(1));
    if nics(root).is_empty() {
        return Err(NetworkError::NoInterface);
    }
    wait_for(clock, limits.link, || nics(root).iter().any(|nic| nic.link));

    let lease = match &args.network {
        NetworkSource::Static(fixed) => {
            let all = nics(root);
            let named = |nic: &&Nic| fixed.device.as_ref().is_none_or(|device| nic.name == *device);
            let nic = all.iter().filter(named).find(|nic| nic.link).ok_or_else(|| no_link(&all))?;
            Found {
                interface: nic.name.clone(),
                lease: Lease {
                    address: fixed.address,
                    prefix: fixed.prefix,
                    gateway: fixed.gateway,
                    dns_servers: fixed.dns_servers.clone(),
                    mtu: None,
                    server: Ipv4Addr::UNSPECIFIED,
                },
            }
        }
        NetworkSource::Dhcp => ask(root, clock, args.mgmt_ip, limits, told)?,
    };
    let Found { interface, lease } = lease;
    index(root, &interface).and_then(|index| apply(&mut netlink, index, &lease)).map_err(configure(&interface))?;
    write_resolver(root, &lease.dns_servers, told);
    Ok(Attached { interface, address: lease.address, prefix: lease.prefix })
}

/// Takes the machine off its network. What fails can't be helped: the next thing is a restart.
pub fn detach(root: &Path) {
    let Ok(mut netlink) = Netlink::open() else { return };
    for nic in nics(root) {
        drop(index(root, &nic.name).and_then(|index| netlink.set_down(index)));
    }
}

struct Found {
    interface: String,
    lease: Lease,
}

/// Round after round over all interfaces with a link.
fn ask(
    root: &Path,
    clock: &dyn Clock,
    wanted: Ipv4Addr,
    limits: &Limits,
    told: &dyn Fn(&str),
) -> Result<Found, NetworkError> {
    let mut another = None;
    let mut asked = String::new();
    for round in 1..=limits.network_rounds.max(1) {
        let linked: Vec<Nic> = nics(root).into_iter().filter(|nic| nic.link).collect();
        if !linked.is_empty() {
            asked = linked.iter().map(|nic| nic.name.as_str()).collect::<Vec<_>>().join(", ");
        }
        for nic in &linked {
            let answer = dhcp::mac(&nic.mac)
                .ok_or_else(|| io::Error::other(format!("{:?} is no hardware address", nic.mac)))
                .and_then(|mac| {
                    let number = clock.uptime().subsec_nanos() ^ u32::from(wanted);
                    // Little patience at first: the interface that matters may be the next one.
                    let client = Client { number, mac, tries: (round + 1).min(4), patience: limits.dhcp_answer };
                    dhcp::ask(&mut DhcpSocket::open(&nic.name)?, clock, client, wanted)
                });
            match answer {
                Ok(Some(lease)) if lease.address == wanted => {
                    return Ok(Found { interface: nic.name.clone(), lease });
                }
                Ok(Some(lease)) => another = Some((nic.name.clone(), lease.address)),
                Ok(None) => {}
                Err(error) => told(&format!("DHCP on {} failed: {error}", nic.name)),
            }
        }
        told(&format!("round {round}: no DHCP server has given {wanted} on {asked}"));
        clock.sleep(limits.pause(round, None, 0));
    }
    match another {
        Some((interface, given)) => Err(NetworkError::AddressDiffers { interface, given, wanted }),
        None if asked.is_empty() => Err(no_link(&nics(root))),
        None => Err(NetworkError::NoAnswer { interfaces: asked, rounds: limits.network_rounds }),
    }
}

fn no_link(all: &[Nic]) -> NetworkError {
    NetworkError::NoLink(all.iter().map(|nic| format!("{} ({})", nic.name, nic.mac)).collect::<Vec<_>>().join(", "))
}

fn apply(netlink: &mut Netlink, index: u32, lease: &Lease) -> io::Result<()> {
    if let Some(mtu) = lease.mtu {
        // Worth having, and no reason to stay off the network.
        drop(netlink.set_mtu(index, mtu));
    }
    netlink.add_address(index, lease.address, lease.prefix)?;
    match lease.gateway {
        Some(gateway) => netlink.add_default_route(index, gateway),
        None => Ok(()),
    }
}

/// For the installer; the agent itself looks no names up.
fn write_resolver(root: &Path, servers: &[Ipv4Addr], told: &dyn Fn(&str)) {
    if servers.is_empty() {
        return;
    }
    let text: String = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    let etc = root.join("etc");
    let written = fs::create_dir_all(&etc).and_then(|()| fs::write(etc.join("resolv.conf"), text));
    if let Err(error) = written {
        told(&format!("/etc/resolv.conf can't be written: {error}"));
    }
}

fn index(root: &Path, interface: &str) -> io::Result<u32> {
    let text = fs::read_to_string(root.join("sys/class/net").join(interface).join("ifindex"))?;
    text.trim().parse().map_err(|_| io::Error::other(format!("{interface} has no number")))
}

fn wait_for(clock: &dyn Clock, limit: std::time::Duration, holds: impl Fn() -> bool) {
    let started = clock.uptime();
    while !holds() && clock.uptime().saturating_sub(started) < limit {
        clock.sleep(std::time::Duration::from_millis(100));
    }
}
