//! What a `cluster create` that ended says of its end, read.
//!
//! A success here is what the command says, and decides nothing alone: the nodes are looked at. Its exit status decides
//! even less: its question "Do you want to proceed? (Y/[N])" has No as its default, and No exits with 0.

use crate::excerpt;
use std::net::Ipv4Addr;

/// How a create ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CreateEnd {
    /// Its last line is "Success!".
    Success,
    /// Anything else.
    Failed {
        /// What went wrong.
        failure: CreateFailure,
        /// The line that says so, without password hashes; may be empty.
        line: String,
        /// What to do.
        advice: Advice,
    },
}

/// What went wrong. The texts are those of published transcripts and old vendor material.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CreateFailure {
    /// "Could not discover all nodes specified": down, in another network, with a wrong clock, or in a cluster already.
    NotDiscovered {
        /// The CVMs it names.
        cvms: Vec<Ipv4Addr>,
    },
    /// "SVM x is already configured".
    AlreadyConfigured {
        /// The CVMs it names.
        cvms: Vec<Ipv4Addr>,
    },
    /// "Node x is not reachable. Aborting."
    NotReachable {
        /// The CVMs it names.
        cvms: Vec<Ipv4Addr>,
    },
    /// "Invalid redundancy factor", "At least N nodes required to support redundancy factor".
    RedundancyFactor,
    /// "Cannot create one node backup cluster as not enough boot ssds".
    NotEnoughBootSsds,
    /// "Provide unique IPs", "Invalid IPv4 addresses".
    Addresses,
    /// gflags did not understand the command line.
    CommandLine,
    /// "Failed to configure iptables".
    Iptables,
    /// "Failed to configure Zeus mapping".
    ZeusMapping,
    /// "Cluster initialization on x failed".
    Initialization,
    /// It ended while it waited for Zeus, for which it waits without limit.
    ZeusNotReady,
    /// Exit status 0 without "Success!": a question was asked and nobody was there to say yes.
    Declined,
    /// A text not known here.
    Unknown,
}

/// What to do after a failed create.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// The request is wrong, and would be next time.
    DontRetry,
    /// Nothing was changed: see to what is missing, then create again.
    Wait,
    /// Some nodes may have been changed: stop, destroy, create again.
    CleanUpAndRetry,
}

/// Reads the output of a create that ended with this status.
pub fn classify(output: &str, exit: Option<u32>) -> CreateEnd {
    let lines: Vec<&str> = output.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = lines.last().copied().unwrap_or_default();
    if last.split_whitespace().next_back() == Some("Success!") {
        return CreateEnd::Success;
    }
    let known = lines.iter().rev().find_map(|line| Some((CreateFailure::known(line)?, *line)));
    let (failure, line) = match known {
        Some(found) => found,
        None if exit == Some(0) => (CreateFailure::Declined, last),
        None if says(last, "zeus is not ready yet") => (CreateFailure::ZeusNotReady, last),
        None => (CreateFailure::Unknown, worst(&lines).unwrap_or(last)),
    };
    let advice = failure.advice();
    CreateEnd::Failed { failure, line: excerpt::of_text(line), advice }
}

impl CreateFailure {
    fn known(line: &str) -> Option<Self> {
        Some(match line {
            l if says(l, "could not discover all nodes") => CreateFailure::NotDiscovered { cvms: addresses(l) },
            l if says(l, "is already configured") => CreateFailure::AlreadyConfigured { cvms: addresses(l) },
            l if says(l, "is not reachable") => CreateFailure::NotReachable { cvms: addresses(l) },
            l if says(l, "invalid redundancy factor") || says(l, "required to support redundancy factor") => {
                CreateFailure::RedundancyFactor
            }
            l if says(l, "not enough boot ssds") => CreateFailure::NotEnoughBootSsds,
            l if says(l, "provide unique ips") || says(l, "invalid ipv4 address") => CreateFailure::Addresses,
            l if says(l, "unknown command line flag") || says(l, "flags parsing error") => CreateFailure::CommandLine,
            l if says(l, "failed to configure") && says(l, "iptables") => CreateFailure::Iptables,
            l if says(l, "failed to configure") && says(l, "zeus mapping") => CreateFailure::ZeusMapping,
            l if says(l, "cluster initialization") && says(l, "failed") => CreateFailure::Initialization,
            _ => return None,
        })
    }

    /// What to do. A text not known here may have left anything behind.
    pub fn advice(&self) -> Advice {
        match self {
            CreateFailure::RedundancyFactor
            | CreateFailure::NotEnoughBootSsds
            | CreateFailure::Addresses
            | CreateFailure::CommandLine
            | CreateFailure::Declined => Advice::DontRetry,
            CreateFailure::NotDiscovered { .. } | CreateFailure::NotReachable { .. } => Advice::Wait,
            CreateFailure::AlreadyConfigured { .. }
            | CreateFailure::Iptables
            | CreateFailure::ZeusMapping
            | CreateFailure::Initialization
            | CreateFailure::ZeusNotReady
            | CreateFailure::Unknown => Advice::CleanUpAndRetry,
        }
    }
}

fn says(line: &str, phrase: &str) -> bool {
    line.to_lowercase().contains(phrase)
}

/// The last line that calls itself bad and says more than "Operation failed", which only ends what was said above it.
fn worst<'a>(lines: &[&'a str]) -> Option<&'a str> {
    let bad = |line: &&&str| line.split_whitespace().any(|word| ["ERROR", "FATAL", "CRITICAL"].contains(&word));
    let generic = |line: &&&str| says(line, "operation failed");
    lines.iter().rev().filter(bad).find(|line| !generic(line)).or_else(|| lines.iter().rev().find(bad)).copied()
}

fn addresses(line: &str) -> Vec<Ipv4Addr> {
    line.split(|c: char| !(c.is_ascii_digit() || c == '.'))
        .filter_map(|word| word.trim_matches('.').parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: &str =
        "2023-08-24 12:00:00,001Z INFO MainThread cluster:2943 Executing action create on SVMs 10.0.0.1\n";

    fn failed(output: &str, exit: Option<u32>) -> (CreateFailure, Advice, String) {
        match classify(&format!("{BEGIN}{output}"), exit) {
            CreateEnd::Failed { failure, line, advice } => (failure, advice, line),
            CreateEnd::Success => panic!("{output}"),
        }
    }

    #[test]
    fn success_is_the_last_line() {
        let done = format!("{BEGIN}2023-08-24 12:05:58,001Z INFO MainThread cluster:3000 Success!\n\n");
        assert_eq!(classify(&done, Some(0)), CreateEnd::Success);
        let later = format!("{done}2023-08-24 12:05:59,001Z ERROR MainThread cluster:3001 Operation failed\n");
        assert_ne!(classify(&later, Some(1)), CreateEnd::Success);
    }

    #[test]
    fn exit_status_0_without_success_is_a_question_nobody_answered() {
        let (failure, advice, line) = failed("... Do you want to proceed? (Y/[N])", Some(0));
        assert_eq!((failure, advice), (CreateFailure::Declined, Advice::DontRetry));
        assert_eq!(line, "... Do you want to proceed? (Y/[N])");
    }

    #[test]
    fn every_known_text_has_its_advice() {
        let ip = |last| Ipv4Addr::new(10, 0, 0, last);
        use CreateFailure as F;
        for (text, failure, advice) in [
            (
                "Could not discover all nodes specified. Please verify that the SVMs are up. \
                 Undiscovered ips : 10.0.0.2,10.0.0.3",
                F::NotDiscovered { cvms: vec![ip(2), ip(3)] },
                Advice::Wait,
            ),
            ("Node 10.0.0.2 is not reachable. Aborting.", F::NotReachable { cvms: vec![ip(2)] }, Advice::Wait),
            ("SVM 10.0.0.2 is already configured", F::AlreadyConfigured { cvms: vec![ip(2)] }, Advice::CleanUpAndRetry),
            ("Invalid redundancy factor 7", F::RedundancyFactor, Advice::DontRetry),
            ("At least 3 nodes required to support redundancy factor 2", F::RedundancyFactor, Advice::DontRetry),
            (
                "Cannot create one node backup cluster as not enough boot ssds 1",
                F::NotEnoughBootSsds,
                Advice::DontRetry,
            ),
            ("Provide unique IPs", F::Addresses, Advice::DontRetry),
            ("Invalid IPv4 addresses: x", F::Addresses, Advice::DontRetry),
            ("Flags parsing error: Unknown command line flag 'cluster-name'", F::CommandLine, Advice::DontRetry),
            ("Failed to configure iptables on SVM 10.0.0.2", F::Iptables, Advice::CleanUpAndRetry),
            (
                "Failed to configure Zeus mapping ({10.0.0.1: 1}) on SVM node 10.0.0.1",
                F::ZeusMapping,
                Advice::CleanUpAndRetry,
            ),
            ("Cluster initialization on 10.0.0.1 failed", F::Initialization, Advice::CleanUpAndRetry),
            ("Something new", F::Unknown, Advice::CleanUpAndRetry),
        ] {
            let line = format!("2023-08-24 12:00:03,001Z ERROR MainThread cluster:2950 {text}");
            let output = format!("{line}\n2023-08-24 12:00:04,001Z ERROR MainThread cluster:2951 Operation failed\n");
            assert_eq!(failed(&output, Some(1)), (failure, advice, line));
        }
    }

    #[test]
    fn zeus_that_is_waited_for_is_no_failure_until_it_is_the_end() {
        let waiting = "Zeus is not ready yet, trying again in 5 seconds\n";
        assert_eq!(failed(waiting, Some(143)).0, CreateFailure::ZeusNotReady);
        assert_eq!(failed(waiting, None).0, CreateFailure::ZeusNotReady);
        let then = format!("{waiting}Cluster initialization on 10.0.0.1 failed\n");
        assert_eq!(failed(&then, Some(1)).0, CreateFailure::Initialization);
    }

    #[test]
    fn no_output_is_unknown() {
        assert_eq!(
            classify("", Some(1)),
            CreateEnd::Failed { failure: CreateFailure::Unknown, line: String::new(), advice: Advice::CleanUpAndRetry }
        );
    }
}
