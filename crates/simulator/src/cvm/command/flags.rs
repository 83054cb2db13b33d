//! Flags as the library gflags takes them (its published documentation): they come first, the first word that is none ends
//! them, an unambiguous prefix is enough, and a flag that is not known is an error.

use std::collections::BTreeMap;

const TEXTS: [&str; 14] = [
    "backplane_netmask",
    "backplane_subnet",
    "backplane_vlan",
    "cluster_external_ip",
    "cluster_function_list",
    "cluster_name",
    "cluster_uuid",
    "container_name",
    "dns_servers",
    "ntp_servers",
    "password_lockdown_mode",
    "redundancy_factor",
    "svm_ips",
    "timeout",
];
const SWITCHES: [&str; 6] =
    ["block_aware", "clean_debug_data", "rack_aware", "seed_prism_password", "skip_discovery", "wait"];

/// A command line.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Flags {
    values: BTreeMap<&'static str, String>,
    /// What follows it is ignored.
    pub verb: Option<String>,
}

fn find(given: &str, known: &[&'static str]) -> Option<&'static str> {
    let exact = known.iter().find(|name| **name == given);
    let mut starting = known.iter().filter(|name| name.starts_with(given));
    exact.or_else(|| starting.next().filter(|_| starting.next().is_none())).copied()
}

impl Flags {
    pub fn parse(arguments: &[String]) -> Result<Flags, String> {
        let mut flags = Flags::default();
        let mut rest = arguments.iter();
        let all: Vec<&'static str> = TEXTS.iter().chain(&SWITCHES).copied().collect();
        while let Some(argument) = rest.next() {
            let Some(flag) = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-')) else {
                flags.verb = Some(argument.clone());
                return Ok(flags);
            };
            let (given, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (flag, None),
            };
            let unknown = || format!("Unknown command line flag '{given}'");
            let name = if given == "s" { Some("svm_ips") } else { find(given, &all) };
            let Some(name) = name else {
                let name = given.strip_prefix("no").and_then(|given| find(given, &SWITCHES)).ok_or_else(unknown)?;
                flags.values.insert(name, "false".into());
                continue;
            };
            let value = match value {
                Some(value) => value,
                None if SWITCHES.contains(&name) => "true".into(),
                None => rest.next().cloned().ok_or_else(|| format!("Missing value for flag --{name}"))?,
            };
            if SWITCHES.contains(&name) && !["true", "false"].contains(&value.as_str()) {
                return Err(format!("flag --{name}={value}: Non-boolean argument to boolean flag"));
            }
            flags.values.insert(name, value);
        }
        Ok(flags)
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }

    pub fn list(&self, name: &str) -> Vec<String> {
        let split = |text: &str| text.split(',').map(|item| item.trim().to_owned()).collect();
        self.text(name).map(split).unwrap_or_default()
    }

    pub fn switch(&self, name: &str, default: bool) -> bool {
        self.values.get(name).map_or(default, |value| value == "true")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Flags, String> {
        Flags::parse(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn flags_come_first_and_what_follows_the_verb_is_ignored() {
        let flags =
            parse("-s a,b --cluster_name=n --skip_discovery create --cluster-name x --redundancy_factor=2").unwrap();
        assert_eq!((flags.verb.as_deref(), flags.text("cluster_name")), (Some("create"), Some("n")));
        assert_eq!((flags.list("svm_ips"), flags.text("redundancy_factor")), (vec!["a".into(), "b".into()], None));
        assert!(flags.switch("skip_discovery", false) && flags.switch("seed_prism_password", true));
        assert!(!parse("--noseed_prism_password create").unwrap().switch("seed_prism_password", true));
    }

    #[test]
    fn an_unambiguous_prefix_is_enough_and_an_unknown_flag_is_an_error() {
        assert_eq!(parse("--svm_ip=a create").unwrap().list("svm_ips"), ["a"]);
        for (line, told) in [
            ("--cluster-name=x create", "Unknown command line flag 'cluster-name'"),
            ("--cluster=x create", "Unknown command line flag 'cluster'"),
            ("--timezone=UTC create", "Unknown command line flag 'timezone'"),
            ("--cluster_name", "Missing value for flag --cluster_name"),
            ("--wait=perhaps create", "Non-boolean"),
        ] {
            assert!(parse(line).is_err_and(|why| why.contains(told)), "{line}");
        }
        assert_eq!(parse("--skip_discovery").unwrap().verb, None);
    }
}
