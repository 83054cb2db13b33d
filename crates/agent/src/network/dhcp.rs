//! An address by DHCP (RFC 2131, 2132), over an ordinary UDP socket that is bound to the interface. The server is asked to
//! answer by broadcast, which reaches an interface without an address; raw sockets are not needed.

use crate::clock::Clock;
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    time::Duration,
};

const CLIENT_PORT: u16 = 68;
const SERVER_PORT: u16 = 67;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
const FIXED: usize = 236;
const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;
const NAK: u8 = 6;

/// What a server gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The address.
    pub address: Ipv4Addr,
    /// Length of the network's prefix.
    pub prefix: u8,
    /// Default gateway.
    pub gateway: Option<Ipv4Addr>,
    /// Name servers.
    pub dns_servers: Vec<Ipv4Addr>,
    /// Largest packet.
    pub mtu: Option<u16>,
    /// Who gave it.
    pub server: Ipv4Addr,
}

/// Where messages go and come from.
pub trait Wire {
    /// To everybody on the link.
    fn send(&mut self, message: &[u8]) -> io::Result<()>;

    /// The next message, within the time.
    fn receive(&mut self, limit: Duration) -> io::Result<Option<Vec<u8>>>;
}

/// A socket on one interface.
pub struct DhcpSocket(UdpSocket);

impl DhcpSocket {
    /// Needs the right to bind to a port below 1024 and to an interface.
    pub fn open(interface: &str) -> io::Result<DhcpSocket> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_reuse_address(true)?;
        socket.set_broadcast(true)?;
        socket.bind_device(Some(interface.as_bytes()))?;
        socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT_PORT).into())?;
        Ok(DhcpSocket(socket.into()))
    }
}

impl Wire for DhcpSocket {
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        self.0.send_to(message, SocketAddrV4::new(Ipv4Addr::BROADCAST, SERVER_PORT)).map(drop)
    }

    fn receive(&mut self, limit: Duration) -> io::Result<Option<Vec<u8>>> {
        self.0.set_read_timeout(Some(limit.max(Duration::from_millis(1))))?;
        let mut buffer = vec![0; 1500];
        match self.0.recv(&mut buffer) {
            Ok(read) => {
                buffer.truncate(read);
                Ok(Some(buffer))
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Who asks, and how long.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    /// Tells our messages from others'.
    pub number: u32,
    /// The interface's.
    pub mac: [u8; 6],
    /// How often a message is sent; at most 16.
    pub tries: u32,
    /// For the first answer; doubled with each try.
    pub patience: Duration,
}

/// Asks for `wanted`, and takes what is given; none when nobody answers.
pub fn ask(wire: &mut impl Wire, clock: &dyn Clock, client: Client, wanted: Ipv4Addr) -> io::Result<Option<Lease>> {
    let Client { number, mac, .. } = client;
    let discover = message(DISCOVER, number, mac, wanted, None);
    let Some(offer) = exchange(wire, clock, client, &discover, &[OFFER])? else { return Ok(None) };
    let server = offer.lease.server;
    let request = message(REQUEST, number, mac, offer.lease.address, Some(server));
    let answer = exchange(wire, clock, client, &request, &[ACK, NAK])?;
    Ok(answer.filter(|answer| answer.kind == ACK).map(|answer| answer.lease))
}

fn exchange(
    wire: &mut impl Wire,
    clock: &dyn Clock,
    client: Client,
    message: &[u8],
    expected: &[u8],
) -> io::Result<Option<Answer>> {
    for attempt in 0..client.tries.min(16) {
        wire.send(message)?;
        let limit = client.patience * (1 << attempt);
        let started = clock.uptime();
        while let Some(left) = limit.checked_sub(clock.uptime().saturating_sub(started)).filter(|left| !left.is_zero())
        {
            let Some(bytes) = wire.receive(left)? else { break };
            match read(&bytes, client.number, client.mac) {
                Some(answer) if expected.contains(&answer.kind) => return Ok(Some(answer)),
                // Another machine's, or a late one.
                _ => {}
            }
        }
    }
    Ok(None)
}

/// A hardware address as sysfs writes it.
pub fn mac(text: &str) -> Option<[u8; 6]> {
    let bytes: Vec<u8> = text.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect::<Result<_, _>>().ok()?;
    bytes.try_into().ok()
}

fn message(kind: u8, number: u32, mac: [u8; 6], address: Ipv4Addr, server: Option<Ipv4Addr>) -> Vec<u8> {
    let mut bytes = vec![0; FIXED];
    // A request over Ethernet; the flag asks for a broadcast answer.
    bytes[..4].copy_from_slice(&[1, 1, 6, 0]);
    bytes[4..8].copy_from_slice(&number.to_be_bytes());
    bytes[10] = 0x80;
    bytes[28..34].copy_from_slice(&mac);
    bytes.extend(COOKIE);
    bytes.extend([53, 1, kind]);
    bytes.extend([61, 7, 1]);
    bytes.extend(mac);
    bytes.extend([50, 4]);
    bytes.extend(address.octets());
    if let Some(server) = server {
        bytes.extend([54, 4]);
        bytes.extend(server.octets());
    }
    // Netmask, gateway, name servers, MTU.
    bytes.extend([55, 4, 1, 3, 6, 26]);
    bytes.push(255);
    // Some relays drop what is shorter than BOOTP's 300 bytes.
    bytes.resize(bytes.len().max(300), 0);
    bytes
}

#[derive(Debug, PartialEq)]
struct Answer {
    kind: u8,
    lease: Lease,
}

fn read(bytes: &[u8], number: u32, mac: [u8; 6]) -> Option<Answer> {
    let address = |at: usize| bytes.get(at..at + 4)?.first_chunk::<4>().copied().map(Ipv4Addr::from);
    let ours = bytes.first() == Some(&2)
        && bytes.get(4..8) == Some(&number.to_be_bytes())
        && bytes.get(28..34) == Some(&mac)
        && bytes.get(FIXED..FIXED + 4) == Some(&COOKIE);
    if !ours {
        return None;
    }
    let mut answer = Answer {
        kind: 0,
        lease: Lease {
            address: address(16)?,
            prefix: 0,
            gateway: None,
            dns_servers: vec![],
            mtu: None,
            server: address(20)?,
        },
    };
    let mut rest = bytes.get(FIXED + 4..)?;
    while let [code, more @ ..] = rest {
        match code {
            0 => rest = more,
            255 => break,
            _ => {
                let [length, more @ ..] = more else { break };
                let (value, after) = more.split_at_checked(usize::from(*length))?;
                option(&mut answer, *code, value);
                rest = after;
            }
        }
    }
    if answer.lease.prefix == 0 {
        // Without a netmask, that of the address's class, as hosts did when servers left it out.
        answer.lease.prefix = match answer.lease.address.octets()[0] {
            0..128 => 8,
            128..192 => 16,
            _ => 24,
        };
    }
    Some(answer)
}

fn option(answer: &mut Answer, code: u8, value: &[u8]) {
    let first = || value.first_chunk::<4>().copied().map(Ipv4Addr::from);
    let lease = &mut answer.lease;
    match code {
        53 => answer.kind = value.first().copied().unwrap_or(0),
        1 => lease.prefix = first().map_or(0, |mask| u8::try_from(u32::from(mask).leading_ones()).unwrap_or(0)),
        3 => lease.gateway = first(),
        6 => lease.dns_servers = value.as_chunks::<4>().0.iter().copied().map(Ipv4Addr::from).collect(),
        26 => lease.mtu = value.first_chunk::<2>().copied().map(u16::from_be_bytes).filter(|mtu| *mtu >= 576),
        54 => lease.server = first().unwrap_or(lease.server),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::KernelClock;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    const MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 1];
    const OURS: Ipv4Addr = Ipv4Addr::new(10, 240, 0, 11);

    fn reply(kind: u8, number: u32, address: Ipv4Addr) -> Vec<u8> {
        let mut bytes = message(kind, number, MAC, address, Some(Ipv4Addr::new(10, 240, 0, 1)));
        bytes[0] = 2;
        bytes[16..20].copy_from_slice(&address.octets());
        bytes.truncate(FIXED + 4);
        bytes.extend([53, 1, kind, 54, 4, 10, 240, 0, 1, 1, 4, 255, 255, 255, 0, 0, 3, 4, 10, 240, 0, 1]);
        bytes.extend([6, 8, 161, 26, 0, 10, 161, 26, 0, 11, 26, 2, 0x23, 0x28, 255]);
        bytes
    }

    /// Answers each message with the next of its list; none: silence.
    struct Server {
        answers: VecDeque<Option<Vec<u8>>>,
        heard: Vec<Vec<u8>>,
        ready: Option<Vec<u8>>,
    }

    impl Server {
        fn new(answers: impl IntoIterator<Item = Option<Vec<u8>>>) -> Server {
            Server { answers: answers.into_iter().collect(), heard: vec![], ready: None }
        }
    }

    impl Wire for Server {
        fn send(&mut self, message: &[u8]) -> io::Result<()> {
            self.heard.push(message.to_owned());
            self.ready = self.answers.pop_front().flatten();
            Ok(())
        }

        fn receive(&mut self, _: Duration) -> io::Result<Option<Vec<u8>>> {
            Ok(self.ready.take())
        }
    }

    fn asked(server: &mut Server) -> Option<Lease> {
        ask(server, &KernelClock, Client { number: 7, mac: MAC, tries: 4, patience: Duration::from_millis(20) }, OURS)
            .unwrap()
    }

    #[test]
    fn an_offer_is_asked_for_and_what_is_acknowledged_is_the_lease() {
        let mut server = Server::new([Some(reply(OFFER, 7, OURS)), Some(reply(ACK, 7, OURS))]);
        let lease = asked(&mut server).unwrap();
        assert_eq!((lease.address, lease.prefix, lease.mtu), (OURS, 24, Some(9000)));
        assert_eq!(lease.gateway, Some(Ipv4Addr::new(10, 240, 0, 1)));
        assert_eq!(lease.dns_servers.len(), 2);
        let kinds: Vec<u8> = server.heard.iter().map(|message| message[FIXED + 6]).collect();
        assert_eq!(kinds, [DISCOVER, REQUEST]);
        assert!(server.heard.iter().all(|message| message[10] == 0x80 && message.len() >= 300));
    }

    #[test]
    fn a_lost_message_is_sent_again_and_silence_ends() {
        let mut server = Server::new([None, Some(reply(OFFER, 7, OURS)), None, None, Some(reply(ACK, 7, OURS))]);
        assert!(asked(&mut server).is_some());
        let mut silent = Server::new([]);
        assert_eq!(asked(&mut silent), None);
        assert_eq!(silent.heard.len(), 4);
    }

    #[test]
    fn answers_to_others_and_refusals_are_no_leases() {
        let mut others = Server::new([Some(reply(OFFER, 8, OURS))]);
        assert_eq!(asked(&mut others), None);
        let mut refusing = Server::new([Some(reply(OFFER, 7, OURS)), Some(reply(NAK, 7, OURS))]);
        assert_eq!(asked(&mut refusing), None);
    }

    #[test]
    fn a_hardware_address_is_six_bytes() {
        assert_eq!(mac("52:54:00:00:00:01"), Some(MAC));
        assert_eq!(mac("52:54:00:00:00"), None);
        assert_eq!(mac("00:00:zz:00:00:01"), None);
    }

    proptest! {
        #[test]
        fn no_answer_makes_the_reader_panic(cut in 0usize..320, at in 0usize..320, byte: u8, tail in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut bytes = reply(ACK, 7, OURS);
            if let Some(place) = bytes.get_mut(at) { *place = byte; }
            bytes.truncate(cut);
            bytes.extend(tail);
            let _ = read(&bytes, 7, MAC);
        }
    }
}
