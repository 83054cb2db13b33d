//! The arguments of `cluster create`, and how arguments get through a shell.
//!
//! The parser is Python's gflags: flags first, the verb last, and flags after the verb are ignored without a word (so
//! every published example has it, and a published orchestrator that puts them after gets an unnamed cluster). The
//! redundancy factor is always said: its default has changed between releases. There is no flag for a time zone.

use std::net::Ipv4Addr;

/// What a cluster is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateArguments {
    /// Its name.
    pub name: String,
    /// Its CVMs.
    pub svm_ips: Vec<Ipv4Addr>,
    /// Its own address.
    pub external_ip: Ipv4Addr,
    /// Copies of all data.
    pub redundancy_factor: u8,
    /// Name servers; the command takes IPv4 addresses alone.
    pub dns_servers: Vec<Ipv4Addr>,
    /// Time servers, by name or address.
    pub ntp_servers: Vec<String>,
}

/// A value that the command would or could take for something else.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {value:?} can't be given to the cluster command: {why}")]
pub struct RefusedArgument {
    /// Which value.
    pub what: &'static str,
    /// The value.
    pub value: String,
    /// Why not.
    pub why: &'static str,
}

impl CreateArguments {
    /// The arguments of `cluster`, unquoted.
    pub fn arguments(&self) -> Result<Vec<String>, RefusedArgument> {
        let refuse = |what, value: &str, why| Err(RefusedArgument { what, value: value.to_owned(), why });
        if self.svm_ips.is_empty() {
            return refuse("the list of CVMs", "", "it is empty");
        }
        for (at, ip) in self.svm_ips.iter().enumerate() {
            if self.svm_ips[..at].contains(ip) {
                return refuse("CVM", &ip.to_string(), "it is named twice");
            }
        }
        check("the cluster's name", &self.name)?;
        for server in &self.ntp_servers {
            check("NTP server", server)?;
            if server.contains(char::is_whitespace) {
                return refuse("NTP server", server, "a host's name has no spaces");
            }
        }
        let mut arguments = vec![
            format!("--svm_ips={}", list(&self.svm_ips)),
            format!("--redundancy_factor={}", self.redundancy_factor),
            format!("--cluster_name={}", self.name),
            format!("--cluster_external_ip={}", self.external_ip),
        ];
        if !self.dns_servers.is_empty() {
            arguments.push(format!("--dns_servers={}", list(&self.dns_servers)));
        }
        if !self.ntp_servers.is_empty() {
            arguments.push(format!("--ntp_servers={}", self.ntp_servers.join(",")));
        }
        arguments.push("create".to_owned());
        Ok(arguments)
    }
}

/// A value stands behind `--flag=`, so a leading dash could not be taken for a flag; but a name that looks like one is a
/// slip of the hand, and the next tool it is given to may take it for one. A comma would make two values of it.
fn check(what: &'static str, value: &str) -> Result<(), RefusedArgument> {
    let why = if value.is_empty() {
        "it is empty"
    } else if value.starts_with('-') {
        "it starts with a dash"
    } else if value.contains(',') {
        "it has a comma"
    } else if value.contains(char::is_control) {
        "it has a control character"
    } else if value.trim() != value {
        "it starts or ends with a space"
    } else {
        return Ok(());
    };
    Err(RefusedArgument { what, value: value.to_owned(), why })
}

fn list(addresses: &[Ipv4Addr]) -> String {
    addresses.iter().map(Ipv4Addr::to_string).collect::<Vec<_>>().join(",")
}

/// The argument as a POSIX shell reads it back unchanged. Holds for every text without NUL.
pub(crate) fn quoted(argument: &str) -> String {
    format!("'{}'", argument.replace('\'', r"'\''"))
}

/// A program and its arguments for a shell.
pub(crate) fn command_line(program: &str, arguments: &[String]) -> String {
    std::iter::once(quoted(program)).chain(arguments.iter().map(|a| quoted(a))).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::process::Command;

    fn create() -> CreateArguments {
        CreateArguments {
            name: "Lab 1".to_owned(),
            svm_ips: vec![Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(10, 0, 0, 3)],
            external_ip: Ipv4Addr::new(10, 0, 0, 9),
            redundancy_factor: 2,
            dns_servers: vec![Ipv4Addr::new(8, 8, 8, 8), Ipv4Addr::new(9, 9, 9, 9)],
            ntp_servers: vec!["0.pool.ntp.org".to_owned(), "10.0.0.254".to_owned()],
        }
    }

    #[test]
    fn flags_come_first_and_the_verb_last() {
        assert_eq!(
            create().arguments().unwrap(),
            [
                "--svm_ips=10.0.0.1,10.0.0.2,10.0.0.3",
                "--redundancy_factor=2",
                "--cluster_name=Lab 1",
                "--cluster_external_ip=10.0.0.9",
                "--dns_servers=8.8.8.8,9.9.9.9",
                "--ntp_servers=0.pool.ntp.org,10.0.0.254",
                "create",
            ]
        );
    }

    #[test]
    fn one_node_is_told_everything_too() {
        let one = CreateArguments {
            svm_ips: vec![Ipv4Addr::new(10, 0, 0, 1)],
            redundancy_factor: 1,
            dns_servers: vec![],
            ntp_servers: vec![],
            ..create()
        };
        assert_eq!(
            one.arguments().unwrap(),
            [
                "--svm_ips=10.0.0.1",
                "--redundancy_factor=1",
                "--cluster_name=Lab 1",
                "--cluster_external_ip=10.0.0.9",
                "create",
            ]
        );
    }

    #[test]
    fn what_could_be_misread_is_refused() {
        for name in ["", "-x", "--help", "a,b", "a\nb", "a\0b", "\u{1b}[1m", " a", "a "] {
            let refused = CreateArguments { name: name.to_owned(), ..create() }.arguments().unwrap_err();
            assert_eq!((refused.what, refused.value.as_str()), ("the cluster's name", name));
        }
        for server in ["", "-x", "a,b", "a b", "a\tb"] {
            let refused = CreateArguments { ntp_servers: vec![server.to_owned()], ..create() }.arguments().unwrap_err();
            assert_eq!((refused.what, refused.value.as_str()), ("NTP server", server));
        }
        let twice = vec![Ipv4Addr::new(10, 0, 0, 1); 2];
        assert!(CreateArguments { svm_ips: twice, ..create() }.arguments().is_err());
        assert!(CreateArguments { svm_ips: vec![], ..create() }.arguments().is_err());
    }

    /// What a real shell makes of a command line, each argument ended by NUL.
    fn parsed_by_sh(line: &str) -> Vec<u8> {
        let output = Command::new("/bin/sh").args(["-c", line]).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_shell_reads_back_what_was_quoted(arguments in prop::collection::vec("[^\0]{0,12}|['\"$`\\\\ \n*!~#]{1,8}", 1..4)) {
            let line = command_line("printf", &[&["%s\\0".to_owned()], arguments.as_slice()].concat());
            let expected: Vec<u8> = arguments.iter().flat_map(|a| [a.as_bytes(), b"\0"].concat()).collect();
            prop_assert_eq!(parsed_by_sh(&line), &expected[..]);
            // And once more inside, as a job's command is.
            let nested = format!("sh -c {}", quoted(&format!("{{ {line}; }}")));
            prop_assert_eq!(parsed_by_sh(&nested), expected);
        }
    }
}
