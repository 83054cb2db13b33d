//! What a `cluster create` is asked to make, checked as far as that goes without looking at any node.
//!
//! Rules and messages: published command lines (equinix-labs' Terraform module, vendor documentation) and transcripts; most
//! messages come from older material and are not confirmed.

use super::flags::Flags;
use crate::cvm::{check_redundancy, settings::ObservedSettings};
use std::net::Ipv4Addr;
use uuid::Uuid;

/// The printed limit for AHV ("Maximum node limit").
const MOST_NODES: usize = 32;

/// A checked order.
#[derive(Debug, Clone)]
pub struct Order {
    pub svm_ips: Vec<Ipv4Addr>,
    pub name: String,
    pub vip: Option<Ipv4Addr>,
    pub redundancy_factor: u64,
    pub function: String,
    pub uuid: Option<Uuid>,
    pub name_servers: Vec<String>,
    pub ntp_servers: Vec<String>,
    pub skips_discovery: bool,
    pub seeds_password: bool,
    /// Not one of the known ways to make a small cluster: a question is asked first.
    pub is_doubtful: bool,
}

fn addresses(flags: &Flags, name: &str) -> Result<Vec<Ipv4Addr>, String> {
    let parse = |text: &String| text.parse().map_err(|_| format!("Invalid IPv4 addresses: {text}"));
    flags.list(name).iter().map(parse).collect()
}

impl Order {
    pub fn read(flags: &Flags, settings: &ObservedSettings) -> Result<Order, String> {
        let svm_ips = addresses(flags, "svm_ips")?;
        let mut unique = svm_ips.clone();
        unique.sort_unstable();
        unique.dedup();
        if svm_ips.is_empty() {
            return Err("The flag --svm_ips is required for the action create".into());
        }
        if unique.len() < svm_ips.len() {
            return Err("Provide unique IPs".into());
        }
        if svm_ips.len() > MOST_NODES {
            return Err(format!("Maximum node limit for hypervisor kKvm : {MOST_NODES}"));
        }
        let name_servers = addresses(flags, "dns_servers")?.iter().map(ToString::to_string).collect();
        let vip = match &addresses(flags, "cluster_external_ip")?[..] {
            [] => None,
            [vip] => Some(*vip),
            _ => return Err("Invalid IPv4 addresses: one external address at most".into()),
        };
        let function = flags.text("cluster_function_list").unwrap_or("ndfs").to_owned();
        if !["ndfs", "one_node_cluster", "two_node_cluster"].contains(&function.as_str()) {
            return Err(format!("Invalid cluster function: {function}"));
        }
        let default = if svm_ips.len() == 1 { settings.one_node_redundancy_factor } else { 2 };
        let invalid = |text: &str| format!("Invalid redundancy factor {text}");
        let redundancy_factor = match flags.text("redundancy_factor") {
            None => default,
            Some(text) => text.parse().map_err(|_| invalid(text))?,
        };
        if !(1..=3).contains(&redundancy_factor) {
            return Err(invalid(&redundancy_factor.to_string()));
        }
        let uuid =
            flags.text("cluster_uuid").map(|text| Uuid::parse_str(text).map_err(|_| format!("Invalid uuid {text}")));
        let is_doubtful = match (svm_ips.len(), redundancy_factor) {
            (1, 1 | 2) => function == "two_node_cluster",
            (2, 2) => function != "two_node_cluster",
            (1 | 2, _) => true,
            _ => false,
        };
        Ok(Order {
            svm_ips,
            name: flags.text("cluster_name").unwrap_or("Unnamed").to_owned(),
            vip,
            redundancy_factor,
            function,
            uuid: uuid.transpose()?.filter(|_| settings.heeds_cluster_uuid),
            name_servers,
            ntp_servers: flags.list("ntp_servers"),
            skips_discovery: flags.switch("skip_discovery", false),
            seeds_password: flags.switch("seed_prism_password", true),
            is_doubtful,
        })
    }

    /// What is checked after the question.
    pub fn check(&self, settings: &ObservedSettings) -> Result<(), String> {
        match (self.svm_ips.len(), self.redundancy_factor, self.function.as_str()) {
            (1, 2, _) if settings.boot_ssds < 2 => Err(format!(
                "Cannot create one node backup cluster as not enough boot ssds found on SVM {}, expected: 2, found: {}",
                self.svm_ips[0], settings.boot_ssds
            )),
            (1, 1 | 2, _) | (2, 1, _) | (2, 2, "two_node_cluster") => Ok(()),
            (nodes, factor, _) => check_redundancy(factor, nodes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(line: &str) -> Result<Order, String> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        Order::read(&Flags::parse(&words).unwrap(), &ObservedSettings::default())
    }

    fn checked(line: &str) -> Result<(), String> {
        order(line)?.check(&ObservedSettings { boot_ssds: 2, ..ObservedSettings::default() })
    }

    #[test]
    fn an_order_that_makes_no_sense_is_refused() {
        for (line, told) in [
            ("create", "--svm_ips is required"),
            ("-s 10.0.0.1,10.0.0.1 create", "Provide unique IPs"),
            ("-s 10.0.0.1,host create", "Invalid IPv4 addresses"),
            ("-s 10.0.0.1 --dns_servers=dns.example create", "Invalid IPv4 addresses"),
            ("-s 10.0.0.1 --cluster_external_ip=vip create", "Invalid IPv4 addresses"),
            ("-s 10.0.0.1 --redundancy_factor=4 create", "Invalid redundancy factor 4"),
            ("-s 10.0.0.1 --redundancy_factor=two create", "Invalid redundancy factor two"),
            ("-s 10.0.0.1 --cluster_function_list=AOS create", "Invalid cluster function"),
            ("-s 10.0.0.1,10.0.0.2,10.0.0.3 --redundancy_factor=3 create", "At least 5 nodes required"),
            ("-s 10.0.0.1,10.0.0.2 --redundancy_factor=2 create", "At least 3 nodes required"),
            ("-s 10.0.0.1,10.0.0.2,10.0.0.3 --redundancy_factor=1 create", "Invalid redundancy factor"),
        ] {
            assert!(checked(line).is_err_and(|why| why.contains(told)), "{line}: {:?}", checked(line));
        }
        assert_eq!(checked("-s 10.0.0.1 --redundancy_factor=2 --ntp_servers=pool.ntp.org create"), Ok(()));
    }

    #[test]
    fn only_known_ways_to_make_a_small_cluster_are_not_asked_about() {
        for (line, is_doubtful) in [
            ("-s 10.0.0.1 --redundancy_factor=1 create", false),
            ("-s 10.0.0.1 --redundancy_factor=2 create", false),
            ("-s 10.0.0.1 --redundancy_factor=3 create", true),
            ("-s 10.0.0.1,10.0.0.2 --redundancy_factor=2 create", true),
            ("-s 10.0.0.1,10.0.0.2 --redundancy_factor=2 --cluster_function_list=two_node_cluster create", false),
            ("-s 10.0.0.1,10.0.0.2 --redundancy_factor=1 create", true),
            ("-s 10.0.0.1,10.0.0.2,10.0.0.3 create", false),
        ] {
            assert_eq!(order(line).unwrap().is_doubtful, is_doubtful, "{line}");
        }
    }

    #[test]
    fn what_is_not_said_has_a_default_and_each_setting_shows() {
        let three = order("-s 10.0.0.1,10.0.0.2,10.0.0.3 create").unwrap();
        assert_eq!((three.name.as_str(), three.redundancy_factor, three.vip), ("Unnamed", 2, None));
        let flags = Flags::parse(&["-s".into(), "10.0.0.1".into(), "create".into()]).unwrap();
        for factor in [1, 2] {
            let settings = ObservedSettings { one_node_redundancy_factor: factor, ..ObservedSettings::default() };
            assert_eq!(Order::read(&flags, &settings).unwrap().redundancy_factor, factor);
        }
        let one_ssd = Order::read(&flags, &ObservedSettings::default()).unwrap();
        assert!(one_ssd.check(&ObservedSettings::default()).is_err_and(|why| why.contains("not enough boot ssds")));
        assert_eq!(one_ssd.check(&ObservedSettings { boot_ssds: 2, ..ObservedSettings::default() }), Ok(()));

        let line = "--cluster_uuid=6d1b6f5e-0000-4000-8000-000000000001 -s 10.0.0.1 create";
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        for heeds in [true, false] {
            let settings = ObservedSettings { heeds_cluster_uuid: heeds, ..ObservedSettings::default() };
            assert_eq!(Order::read(&Flags::parse(&words).unwrap(), &settings).unwrap().uuid.is_some(), heeds);
        }
    }
}
