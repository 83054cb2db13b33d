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
    fn a_network_that_is_not_here_is_refused() {
        let elsewhere = "192.0.2.0/24".parse().unwrap();
        assert!(matches!(Block::claim(Some(elsewhere), 22), Err(SimulatorError::Subnet { .. })));
    }
}
