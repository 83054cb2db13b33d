//! The names that the control plane goes by: those that our own certificate is for.

use nix::{ifaddrs::getifaddrs, net::if_::InterfaceFlags, unistd::gethostname};
use rustls::pki_types::ServerName;
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// What the machine says of itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Host {
    name: Option<String>,
    addresses: Vec<IpAddr>,
}

impl Host {
    /// This machine, now. What it doesn't say is left out: the names of the configuration can stand in for it.
    pub fn here() -> Host {
        let name = gethostname().ok().and_then(|name| name.into_string().ok());
        let interfaces = getifaddrs().into_iter().flatten();
        let up = interfaces.filter(|interface| interface.flags.contains(InterfaceFlags::IFF_UP));
        let addresses = up.filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
        });
        Host { name, addresses: addresses.collect() }
    }
}

/// Loopback under each of its names, the machine's name, the address that is listened on, or where that is every one, each
/// that the machine has; and those that the operator adds. Link-local addresses are left out: they mean another machine
/// on every link.
pub(super) fn names(listen: SocketAddr, added: &[String], host: &Host) -> BTreeSet<String> {
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let listened = match listen.ip().is_unspecified() {
        true => host.addresses.iter().copied().filter(|ip| !is_link_local(*ip)).collect(),
        false => vec![listen.ip()],
    };
    let addresses = loopback.into_iter().chain(listened).map(|ip| ip.to_string());
    let host_name = host.name.iter().filter(|name| is_host(name)).cloned();
    let names = ["localhost".to_owned()].into_iter().chain(host_name).chain(added.iter().cloned());
    addresses.chain(names.map(|name| in_one_form(&name))).collect()
}

/// Whether that is a DNS name or an IP address. No wildcard, no port.
pub(crate) fn is_host(name: &str) -> bool {
    ServerName::try_from(name).is_ok()
}

/// As certificates write them: a DNS name has no dot at its end there.
fn in_one_form(name: &str) -> String {
    let name = name.trim_end_matches('.');
    name.parse::<IpAddr>().map_or_else(|_| name.to_ascii_lowercase(), |ip| ip.to_string())
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(listen: &str, added: &[&str], host: &Host) -> Vec<String> {
        let added: Vec<String> = added.iter().map(|name| (*name).to_owned()).collect();
        names(listen.parse().unwrap(), &added, host).into_iter().collect()
    }

    #[test]
    fn a_service_goes_by_loopback_its_host_its_address_and_what_the_operator_adds() {
        let addresses = ["127.0.0.1", "10.240.0.5", "169.254.1.1", "fe80::1", "fd00::5"].map(|ip| ip.parse().unwrap());
        let host = Host { name: Some("Builder-7".into()), addresses: addresses.into() };
        assert_eq!(named("127.0.0.1:8443", &[], &host), ["127.0.0.1", "::1", "builder-7", "localhost"]);
        assert_eq!(
            named("10.240.0.9:1", &["Metalform.example.com.", "FD00:0::7"], &host),
            ["10.240.0.9", "127.0.0.1", "::1", "builder-7", "fd00::7", "localhost", "metalform.example.com"]
        );
        assert_eq!(
            named("0.0.0.0:1", &[], &host),
            ["10.240.0.5", "127.0.0.1", "::1", "builder-7", "fd00::5", "localhost"]
        );
        let odd = Host { name: Some("not a name".into()), addresses: Vec::new() };
        assert_eq!(named("[::]:1", &[], &odd), ["127.0.0.1", "::1", "localhost"]);
    }

    #[test]
    fn this_machine_has_a_loopback_address() {
        assert!(Host::here().addresses.contains(&IpAddr::V4(Ipv4Addr::LOCALHOST)));
    }
}
