//! The machines' network: a block of loopback addresses that no other simulator on this computer uses.
//!
//! Held by a listening socket on the first address of each /24 of it, at a port nobody else uses; the operating system
//! gives it back however the process ends. A lock file was rejected: it outlives a crash.

use super::SimulatorError;
use ipnet::Ipv4Net;
use std::{
    io,
    net::{Ipv4Addr, TcpListener},
};

/// Where the blocks are: 127.128.0.0/9.
const RANGE: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(127, 128, 0, 0), 9);
const LOCK_PORT: u16 = 41_900;

/// A claimed network.
#[derive(Debug)]
pub(super) struct Block {
    pub subnet: Ipv4Net,
    _locks: Vec<TcpListener>,
}

impl Block {
    /// Claims `subnet`, or else any free block of that size.
    pub fn claim(subnet: Option<Ipv4Net>, prefix_len: u8) -> Result<Block, SimulatorError> {
        if let Some(subnet) = subnet.map(|subnet| subnet.trunc()) {
            return lock(subnet).map_err(|source| SimulatorError::Subnet { subnet, source });
        }
        let blocks = 1_u32 << prefix_len.clamp(10, 28).saturating_sub(RANGE.prefix_len());
        let size = 1_u32 << (32 - prefix_len.clamp(10, 28));
        // Simulators that start together begin their search at different places.
        let first = std::process::id().wrapping_mul(2_654_435_761) % blocks;
        for n in 0..blocks {
            let network = u32::from(RANGE.network()) + (first + n) % blocks * size;
            let subnet = Ipv4Net::new_assert(Ipv4Addr::from(network), prefix_len.clamp(10, 28));
            if let Ok(block) = lock(subnet) {
                return Ok(block);
            }
        }
        Err(SimulatorError::NoFreeBlock(prefix_len))
    }
}

impl Block {
    /// A port on which all machines of the block can answer: `wanted`, unless this process may not open it (a port below
    /// 1024 takes a privilege) or something of this computer listens on it at every address (an SSH server does). Looked
    /// for once, on the block's first address; another is tried then, and at last the system is asked for any.
    pub fn port_like(&self, wanted: u16) -> io::Result<u16> {
        let first = Ipv4Addr::from(u32::from(self.subnet.network()) + 1);
        let mut refused = None;
        // Another for each wanted one, so that two of them never fall back on the same.
        for port in [wanted, wanted.saturating_add(22_000), 0] {
            match TcpListener::bind((first, port)).and_then(|listener| listener.local_addr()) {
                Ok(at) => return Ok(at.port()),
                Err(error) if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::AddrInUse) => {
                    refused = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(refused.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()))
    }
}

fn lock(subnet: Ipv4Net) -> io::Result<Block> {
    let first = |net: Ipv4Net| Ipv4Addr::from(u32::from(net.network()) + 1);
    let nets: Vec<Ipv4Net> = match subnet.subnets(24) {
        Ok(nets) => nets.collect(),
        Err(_) => vec![subnet],
    };
    let locks = nets.into_iter().map(|net| TcpListener::bind((first(net), LOCK_PORT))).collect::<io::Result<_>>()?;
    Ok(Block { subnet, _locks: locks })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_worlds_never_share_an_address() {
        let one = Block::claim(None, 22).unwrap();
        let other = Block::claim(None, 22).unwrap();
        assert!(!one.subnet.contains(&other.subnet.network()));
        let inside = Ipv4Net::new(one.subnet.network(), 24).unwrap();
        assert!(matches!(Block::claim(Some(inside), 22), Err(SimulatorError::Subnet { .. })));
        drop(one);
        assert_eq!(Block::claim(Some(inside), 22).unwrap().subnet, inside);
    }

    #[test]
    fn a_port_that_is_taken_at_every_address_is_replaced_by_one_that_is_free() {
        let block = Block::claim(None, 28).unwrap();
        let everywhere = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let taken = everywhere.local_addr().unwrap().port();
        let other = block.port_like(taken).unwrap();
        assert!(other != taken && other > 1024, "{other}");
        let free = block.port_like(0).unwrap();
        assert_eq!(block.port_like(free).unwrap(), free);
    }

    #[test]
    fn a_network_that_is_not_here_is_refused() {
        let elsewhere = "192.0.2.0/24".parse().unwrap();
        assert!(matches!(Block::claim(Some(elsewhere), 22), Err(SimulatorError::Subnet { .. })));
    }
}
