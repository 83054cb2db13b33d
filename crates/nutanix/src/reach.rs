//! Whether one machine reaches another, asked of that machine: what we reach from outside says nothing about the
//! network between CVMs, and it is between them that a cluster is formed.

use std::net::Ipv4Addr;

/// What a machine finds at another one's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// Whether that answers a ping.
    pub ping: bool,
    /// The ports asked for, in that order.
    pub ports: Vec<(u16, PortSeen)>,
}

impl Reach {
    /// What was found at this port, if it was asked for.
    pub fn port(&self, port: u16) -> Option<PortSeen> {
        self.ports.iter().find(|(asked, _)| *asked == port).map(|(_, seen)| *seen)
    }

    /// Whether anything answers at the address. A refusal is no proof: on the own network, where nobody has the address,
    /// the machine that was asked says so itself after a while ("No route to host"), and that reads the same.
    pub fn anything_answers(&self) -> bool {
        self.ping || self.ports.iter().any(|(_, seen)| *seen == PortSeen::Open)
    }
}

/// What a TCP port does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortSeen {
    /// Accepts connections.
    Open,
    /// Refuses them, or there is no way there and the machine asked knows it.
    Refused,
    /// Doesn't answer: nobody is there, or somebody on the way drops what we send.
    Silent,
}

impl Reach {
    /// Asks a machine for it. Needs ping, timeout and bash there, and nothing that has to be installed.
    pub(crate) fn question(ip: Ipv4Addr, ports: &[u16]) -> String {
        let mut question = format!("ping -c 1 -W 2 {ip} >/dev/null 2>&1; echo ping $?");
        for port in ports {
            question += &format!("; timeout 3 bash -c '</dev/tcp/{ip}/{port}' 2>/dev/null; echo {port} $?");
        }
        question
    }

    /// Reads the answer.
    pub(crate) fn parse(text: &str, ports: &[u16]) -> Option<Self> {
        /// What `timeout` exits with.
        const TIMED_OUT: u32 = 124;
        let status = |name: &str| -> Option<u32> {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
            // 126 and 127: there is no such program, so nothing was tried.
            line.trim().parse().ok().filter(|status| !matches!(status, 126 | 127))
        };
        let ping = status("ping")? == 0;
        let ports = ports.iter().map(|port| {
            let seen = match status(&port.to_string())? {
                0 => PortSeen::Open,
                TIMED_OUT => PortSeen::Silent,
                _ => PortSeen::Refused,
            };
            Some((*port, seen))
        });
        Some(Self { ping, ports: ports.collect::<Option<_>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_asked_for_in_one_command() {
        assert_eq!(
            Reach::question(Ipv4Addr::new(10, 0, 0, 2), &[22, 2100]),
            "ping -c 1 -W 2 10.0.0.2 >/dev/null 2>&1; echo ping $?; \
             timeout 3 bash -c '</dev/tcp/10.0.0.2/22' 2>/dev/null; echo 22 $?; \
             timeout 3 bash -c '</dev/tcp/10.0.0.2/2100' 2>/dev/null; echo 2100 $?"
        );
    }

    #[test]
    fn open_refused_and_silent_are_told_apart() {
        let reach = Reach::parse("ping 0\n22 0\n2100 1\n9440 124\n", &[22, 2100, 9440]).unwrap();
        assert!(reach.ping);
        assert_eq!(reach.ports, [(22, PortSeen::Open), (2100, PortSeen::Refused), (9440, PortSeen::Silent)]);
        assert_eq!(reach.port(2100), Some(PortSeen::Refused));
        assert_eq!(reach.port(80), None);
    }

    #[test]
    fn an_address_is_free_when_nothing_answers_there() {
        let answers = |text| Reach::parse(text, &[22]).unwrap().anything_answers();
        assert!(!answers("ping 1\n22 124\n"));
        assert!(!answers("ping 1\n22 1\n"), "nobody there, as the machine asked found out itself");
        assert!(answers("ping 0\n22 124\n"));
        assert!(answers("ping 1\n22 0\n"));
    }

    #[test]
    fn an_answer_with_a_part_missing_is_none() {
        for text in ["", "ping 0\n", "22 0\n", "ping 127\n22 0\n", "ping 0\n22 127\n", "ping 0\n220 0\n"] {
            assert_eq!(Reach::parse(text, &[22]), None, "{text}");
        }
    }
}
