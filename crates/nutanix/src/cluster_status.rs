//! What `cluster status` prints, read: the table of every CVM's services.
//!
//! Shape, from published transcripts of three-node CE clusters (2023): `The state of the cluster: start`, `Lockdown
//! mode: Disabled`, then for each CVM `CVM: <ip> Up[, ZeusLeader]` or `Down` and rows of
//! `<Service> UP|DOWN|ERROR [pids] [last error]`. Which services there are varies by release (45 in that run), so no
//! name is known here. "start" is what the cluster was told, not what it has come to.
//!
//! Rejected: looking for the word "UP" in the text, as a published orchestrator does. The line of a CVM says "Up" while
//! every one of its services is down.

use crate::genesis_status::pids_of;
use std::net::Ipv4Addr;

/// What a CVM says of its cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterWord {
    /// It belongs to none.
    Unconfigured,
    /// It belongs to one, whose services are these.
    Configured(ClusterServices),
}

/// The services of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClusterServices {
    /// What the cluster was told to do, `start` or `stop`; empty if it doesn't say.
    pub target_state: String,
    /// One a CVM, in the order told.
    pub cvms: Vec<CvmServices>,
}

/// The services of one CVM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CvmServices {
    /// The CVM.
    pub ip: Ipv4Addr,
    /// Whether the one that was asked reaches it. Says nothing about its services.
    pub is_up: bool,
    /// Its services.
    pub services: Vec<ServiceRow>,
}

/// One service of one CVM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceRow {
    /// Name.
    pub name: String,
    /// `UP`, `DOWN`, `ERROR`, or what a release we don't know says.
    pub state: String,
    /// Its processes.
    pub pids: Vec<u32>,
    /// What it last failed with.
    pub last_error: Option<String>,
}

impl ServiceRow {
    /// A row of the table: name and state, the processes in brackets, then the error. The brackets may be missing.
    /// None for a line that is none, as those that the command logs.
    fn parse(line: &str) -> Option<Self> {
        let (head, tail) = match line.split_once('[') {
            Some((head, tail)) => (head, Some(tail)),
            None => (line, None),
        };
        let (name, state) = head.trim().rsplit_once(char::is_whitespace)?;
        if name.is_empty() || !state.chars().all(|c| c.is_ascii_uppercase() || c == '_') {
            return None;
        }
        // What can't be read as processes counts as none: a service is never called up on a guess.
        let (pids, rest) = tail.and_then(|tail| tail.split_once(']')).unwrap_or_default();
        let pids = pids_of(&format!("[{pids}]")).unwrap_or_default();
        let error = rest.trim().trim_start_matches('[').trim_end_matches(']').trim();
        Some(Self {
            name: name.trim().to_owned(),
            state: state.to_owned(),
            pids,
            last_error: (!error.is_empty()).then(|| error.to_owned()),
        })
    }

    /// Whether it runs: it has processes, no error, and is called up.
    pub fn is_up(&self) -> bool {
        self.state.eq_ignore_ascii_case("up") && !self.pids.is_empty() && self.last_error.is_none()
    }
}

impl ClusterServices {
    /// Reads the table. None if this is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut services = Self::default();
        for line in text.lines().map(str::trim) {
            if let Some(state) = line.strip_prefix("The state of the cluster:") {
                services.target_state = state.trim().to_owned();
            } else if let Some(cvm) = line.strip_prefix("CVM:") {
                let mut words = cvm.split([' ', '\t', ',']).filter(|word| !word.is_empty());
                let ip = words.next()?.parse().ok()?;
                let is_up = words.next() == Some("Up");
                services.cvms.push(CvmServices { ip, is_up, services: Vec::new() });
            } else if let Some(cvm) = services.cvms.last_mut() {
                cvm.services.extend(ServiceRow::parse(line));
            }
        }
        (!services.cvms.is_empty()).then_some(services)
    }

    /// The CVMs of the cluster.
    pub fn member_ips(&self) -> Vec<Ipv4Addr> {
        self.cvms.iter().map(|cvm| cvm.ip).collect()
    }

    /// Whether the cluster was told to run and every service of every CVM does. A CVM that tells of no service is not
    /// up: that is how one looks before its services are known.
    pub fn all_up(&self) -> bool {
        self.waiting_for().is_empty()
    }

    /// What [`ClusterServices::all_up`] waits for, in words. Empty if for nothing.
    pub fn waiting_for(&self) -> Vec<String> {
        let mut waits = Vec::new();
        if self.target_state != "start" {
            waits.push(format!("the cluster's state is {:?}, not \"start\"", self.target_state));
        }
        if self.cvms.is_empty() {
            waits.push("no CVM is named".to_owned());
        }
        waits.extend(self.cvms.iter().filter_map(CvmServices::waiting_for));
        waits
    }
}

impl CvmServices {
    fn waiting_for(&self) -> Option<String> {
        /// More names than this help nobody.
        const NAMED: usize = 4;
        if !self.is_up {
            return Some(format!("CVM {} is down", self.ip));
        }
        if self.services.is_empty() {
            return Some(format!("CVM {} tells of no service yet", self.ip));
        }
        let missing: Vec<&ServiceRow> = self.services.iter().filter(|row| !row.is_up()).collect();
        if missing.is_empty() {
            return None;
        }
        let named: Vec<String> = missing
            .iter()
            .take(NAMED)
            .map(|row| match &row.last_error {
                Some(error) => format!("{} ({error})", row.name),
                None => row.name.clone(),
            })
            .collect();
        let more = match missing.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Some(format!("CVM {}: {}{more}", self.ip, named.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three of the 45 services, in the shape of the published transcripts.
    const TABLE: &str = "\
2023-08-24 12:41:05,123Z INFO MainThread cluster:2943 Executing action status on SVMs 10.0.0.1,10.0.0.2
The state of the cluster: start
Lockdown mode: Disabled

\tCVM: 10.0.0.1 Up, ZeusLeader
                                Zeus   UP\t[3167, 3208, 3209]
                           Scavenger   UP\t[3334]
                            Stargate   UP\t[4001, 4002]

\tCVM: 10.0.0.2 Up
                                Zeus   UP\t[2167]
                           Scavenger   UP\t[2334]
                            Stargate   UP\t[3001]
2023-08-24 12:41:07,456Z INFO MainThread cluster:3000 Success!
";

    fn read(text: &str) -> ClusterServices {
        ClusterServices::parse(text).unwrap()
    }

    #[test]
    fn a_table_is_read() {
        let services = read(TABLE);
        assert_eq!(services.target_state, "start");
        assert_eq!(services.member_ips(), [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)]);
        assert_eq!(services.cvms[0].services.len(), 3);
        assert_eq!(
            services.cvms[0].services[0],
            ServiceRow { name: "Zeus".into(), state: "UP".into(), pids: vec![3167, 3208, 3209], last_error: None }
        );
        assert!(services.all_up());
        assert_eq!(services.waiting_for(), [""; 0]);
    }

    #[test]
    fn a_cluster_is_not_up_because_its_cvms_are() {
        for (from, to, waits) in [
            ("UP\t[4001, 4002]", "DOWN\t[]", "CVM 10.0.0.1: Stargate"),
            ("UP\t[4001, 4002]", "UP\t[]", "CVM 10.0.0.1: Stargate"),
            ("UP\t[4001, 4002]", "UP", "CVM 10.0.0.1: Stargate"),
            ("UP\t[4001, 4002]", "DOWN\t[4001]", "CVM 10.0.0.1: Stargate"),
            ("UP\t[4001, 4002]", "UP\t[?]", "CVM 10.0.0.1: Stargate"),
            ("UP\t[3001]", "ERROR\t[3001]\t[crashed twice]", "CVM 10.0.0.2: Stargate (crashed twice)"),
            ("UP\t[3001]", "UP\t[3001]\tcrashed", "CVM 10.0.0.2: Stargate (crashed)"),
            ("10.0.0.2 Up", "10.0.0.2 Down", "CVM 10.0.0.2 is down"),
            ("cluster: start", "cluster: stop", "the cluster's state is \"stop\", not \"start\""),
        ] {
            assert!(TABLE.contains(from));
            let services = read(&TABLE.replace(from, to));
            assert!(!services.all_up(), "{to}");
            assert_eq!(services.waiting_for(), [waits]);
        }
    }

    #[test]
    fn a_cvm_without_services_is_not_up() {
        let services = read("The state of the cluster: start\nCVM: 10.0.0.1 Up, ZeusLeader\n");
        assert_eq!(services.waiting_for(), ["CVM 10.0.0.1 tells of no service yet"]);
    }

    #[test]
    fn many_missing_services_are_not_all_named() {
        let rows: String =
            ["Zeus", "Medusa", "Stargate", "Prism", "Ergon", "CIM"].map(|s| format!("{s} DOWN []\n")).concat();
        let services = read(&format!("The state of the cluster: start\nCVM: 10.0.0.1 Up\n{rows}"));
        assert_eq!(services.waiting_for(), ["CVM 10.0.0.1: Zeus, Medusa, Stargate, Prism and 2 more"]);
    }

    #[test]
    fn other_text_is_no_table() {
        for text in ["", "UP UP UP", "The state of the cluster: start", "CVM: here Up"] {
            assert_eq!(ClusterServices::parse(text), None, "{text}");
        }
    }
}
