//! Addresses and routes, told to the kernel over rtnetlink (RFC 3549): what `ip link set`, `ip address add` and
//! `ip route add` do. Four messages; a library for it would bring all of them.

use rustix::{
    io::Errno,
    net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with},
};
use std::{io, net::Ipv4Addr, os::fd::OwnedFd};

const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const NLMSG_ERROR: u16 = 2;

const REQUEST_AND_ACKNOWLEDGE: u16 = 0x1 | 0x4;
const CREATE_OR_REPLACE: u16 = 0x400 | 0x100;

const AF_INET: u8 = 2;
const IFF_UP: u32 = 1;
const IFLA_MTU: u16 = 4;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
/// The gateway is on the link, whatever the interface's prefix says: clouds give addresses with a prefix of 32.
const RTNH_F_ONLINK: u32 = 4;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_BOOT: u8 = 3;
const RTN_UNICAST: u8 = 1;

/// A connection to the kernel.
pub struct Netlink {
    socket: OwnedFd,
    seq: u32,
}

impl Netlink {
    /// Opens one.
    pub fn open() -> io::Result<Netlink> {
        // No protocol is number 0, which is rtnetlink.
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        Ok(Netlink { socket, seq: 0 })
    }

    /// `ip link set … up`.
    pub fn set_up(&mut self, index: u32) -> io::Result<()> {
        self.ask(RTM_NEWLINK, 0, &link(index, IFF_UP, IFF_UP))
    }

    /// `ip link set … down`.
    pub fn set_down(&mut self, index: u32) -> io::Result<()> {
        self.ask(RTM_NEWLINK, 0, &link(index, 0, IFF_UP))
    }

    /// `ip link set … mtu …`.
    pub fn set_mtu(&mut self, index: u32, mtu: u16) -> io::Result<()> {
        let mut body = link(index, 0, 0);
        attribute(&mut body, IFLA_MTU, u32::from(mtu).to_ne_bytes());
        self.ask(RTM_NEWLINK, 0, &body)
    }

    /// `ip address add …`; the same one again is fine.
    pub fn add_address(&mut self, index: u32, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
        self.ask(RTM_NEWADDR, CREATE_OR_REPLACE, &address_body(index, address, prefix))
    }

    /// `ip route add default via …`.
    pub fn add_default_route(&mut self, index: u32, gateway: Ipv4Addr) -> io::Result<()> {
        self.ask(RTM_NEWROUTE, CREATE_OR_REPLACE, &route_body(index, gateway))
    }

    fn ask(&mut self, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
        self.seq += 1;
        let message = message(kind, REQUEST_AND_ACKNOWLEDGE | flags, self.seq, body);
        send(&self.socket, &message, SendFlags::empty())?;
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let (read, _) = recv(&self.socket, buffer.as_mut_slice(), RecvFlags::empty())?;
            if let Some(outcome) = acknowledged(&buffer[..read], self.seq) {
                return outcome;
            }
        }
    }
}

fn message(kind: u16, flags: u16, seq: u32, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(16 + body.len()).unwrap_or(u32::MAX);
    let mut message = Vec::with_capacity(16 + body.len());
    message.extend(len.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend(seq.to_ne_bytes());
    message.extend([0; 4]);
    message.extend(body);
    message
}

/// `struct ifinfomsg`; `changed` says which of the flags are meant.
fn link(index: u32, flags: u32, changed: u32) -> Vec<u8> {
    let mut body = vec![0; 4];
    body.extend(index.to_ne_bytes());
    body.extend(flags.to_ne_bytes());
    body.extend(changed.to_ne_bytes());
    body
}

/// `struct ifaddrmsg`.
fn address_body(index: u32, address: Ipv4Addr, prefix: u8) -> Vec<u8> {
    let mut body = vec![AF_INET, prefix, 0, 0];
    body.extend(index.to_ne_bytes());
    attribute(&mut body, IFA_LOCAL, address.octets());
    attribute(&mut body, IFA_ADDRESS, address.octets());
    if prefix < 31 {
        let host = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
        attribute(&mut body, IFA_BROADCAST, (u32::from(address) | host).to_be_bytes());
    }
    body
}

/// `struct rtmsg`.
fn route_body(index: u32, gateway: Ipv4Addr) -> Vec<u8> {
    let mut body = vec![AF_INET, 0, 0, 0, RT_TABLE_MAIN, RTPROT_BOOT, 0, RTN_UNICAST];
    body.extend(RTNH_F_ONLINK.to_ne_bytes());
    attribute(&mut body, RTA_GATEWAY, gateway.octets());
    attribute(&mut body, RTA_OIF, index.to_ne_bytes());
    body
}

fn attribute(body: &mut Vec<u8>, kind: u16, value: [u8; 4]) {
    body.extend(8u16.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
}

/// Looks for the acknowledgement of `seq`: an error message with the number 0 for none.
fn acknowledged(bytes: &[u8], seq: u32) -> Option<io::Result<()>> {
    let mut rest = bytes;
    while let Some((header, _)) = rest.split_first_chunk::<16>() {
        let number = |at: usize| header.get(at..at + 4)?.first_chunk::<4>().copied().map(u32::from_ne_bytes);
        let (len, got) = (number(0)? as usize, number(8)?);
        let kind = u16::from_ne_bytes([header[4], header[5]]);
        if kind == NLMSG_ERROR && got == seq {
            let code = rest.get(16..20)?.first_chunk::<4>().copied().map(i32::from_ne_bytes)?;
            return Some(match code {
                0 => Ok(()),
                code => Err(Errno::from_raw_os_error(code.saturating_neg()).into()),
            });
        }
        rest = rest.get(len.max(16).next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_goes_out_with_its_broadcast_address_and_a_route_with_its_interface() {
        let body = address_body(2, Ipv4Addr::new(10, 240, 0, 11), 24);
        assert_eq!(body[..4], [2, 24, 0, 0]);
        assert!(body.ends_with(&[10, 240, 0, 255]));
        assert!(!address_body(2, Ipv4Addr::new(10, 0, 0, 1), 32).windows(4).any(|four| four == [255, 255, 255, 255]));
        let route = route_body(7, Ipv4Addr::new(10, 240, 0, 1));
        assert_eq!(route.len(), 12 + 8 + 8);
        assert!(route.windows(4).any(|four| four == [10, 240, 0, 1]));
    }

    #[test]
    fn an_interface_goes_down_by_the_one_flag_that_is_meant() {
        let up = IFF_UP.to_ne_bytes();
        assert_eq!((&link(3, IFF_UP, IFF_UP)[8..12], &link(3, IFF_UP, IFF_UP)[12..]), (&up[..], &up[..]));
        assert_eq!((&link(3, 0, IFF_UP)[8..12], &link(3, 0, IFF_UP)[12..]), (&[0; 4][..], &up[..]));
    }

    #[test]
    fn the_acknowledgement_is_found_among_other_messages_and_an_error_has_its_number() {
        let other = message(RTM_NEWLINK, 0, 4, &[0; 17]);
        let mut bytes = other.clone();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend(message(NLMSG_ERROR, 0, 5, &(-17i32).to_ne_bytes()));
        assert_eq!(acknowledged(&bytes, 5).unwrap().unwrap_err().raw_os_error(), Some(17));
        assert!(acknowledged(&bytes, 6).is_none());
        assert!(acknowledged(&message(NLMSG_ERROR, 0, 5, &[0; 4]), 5).unwrap().is_ok());
        assert!(acknowledged(&[0; 40], 5).is_none(), "a message of no length ends nothing, and is passed over");
    }

    #[test]
    fn the_kernel_itself_answers() {
        let refused = Netlink::open().unwrap().add_address(u32::MAX, Ipv4Addr::LOCALHOST, 8);
        assert!(refused.is_err(), "there is no such interface");
    }
}
