//! The node configuration as the simulated installer reads it: exactly five parts, every field there and of the right
//! kind, addresses that can work together, drives that exist. What a real installer would stumble over in the middle of
//! writing disks is refused here, before anything is written, with all faults at once.

use super::hardware::{Choice, Disk};
use ipnet::Ipv4Net;
use serde_json::{Map, Value};
use std::net::Ipv4Addr;

/// What the installed system knows of its node and cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeConfig {
    /// Name of the cluster to be.
    pub cluster_name: String,
    /// Its VIP.
    pub cluster_external_ip: Ipv4Addr,
    /// The redundancy factor it is planned with.
    pub redundancy_factor: u64,
    /// All its CVMs.
    pub cvm_ips: Vec<Ipv4Addr>,
    /// The hypervisor's address.
    pub hypervisor_ip: Ipv4Addr,
    /// The CVM's address.
    pub cvm_ip: Ipv4Addr,
    /// The subnet they are in.
    pub cidr: Ipv4Net,
    /// Host name.
    pub hostname: String,
    /// Position in its block.
    pub node_position: String,
    /// The name servers its cluster is to have.
    pub dns_servers: Vec<Ipv4Addr>,
    /// The time servers its cluster is to have.
    pub ntp_servers: Vec<String>,
}

/// What the machine knows about itself, to compare with.
pub(super) struct Expected<'a> {
    pub server_id: &'a str,
    pub mgmt_ip: Ipv4Addr,
    pub profile: &'a str,
    pub disks: &'a [Disk],
}

const PARTS: [&str; 5] = ["server_info", "cluster_config", "node_config", "storage_config", "network_config"];

/// Keys of `node_config` that may be missing.
const LEAST: [&str; 2] = ["min_memory_gib", "min_cores"];

/// Reserved by Nutanix for traffic between a host and its CVM; the CE installer refuses it.
fn is_reserved(ip: Ipv4Addr) -> bool {
    ip.octets()[..3] == [192, 168, 5]
}

/// Checks a configuration; all faults at once.
pub(super) fn check(text: &str, expected: &Expected<'_>) -> Result<NodeConfig, Vec<String>> {
    let document = match serde_json::from_str(text) {
        Ok(Value::Object(map)) => map,
        Ok(_) => return Err(vec!["the configuration is no JSON object".into()]),
        Err(error) => return Err(vec![format!("the configuration is no JSON: {error}")]),
    };
    let mut reader = Reader::default();
    reader.keys("", &document, &PARTS);
    let part = |name: &str| document.get(name).and_then(Value::as_object).cloned().unwrap_or_default();
    let [server, cluster, node, storage, network] = PARTS.map(part);

    reader.keys("server_info", &server, &["server_id", "server_name", "mgmt_ip", "profile", "zone"]);
    reader.equal("server_info.server_id", server.get("server_id"), expected.server_id);
    reader.equal("server_info.mgmt_ip", server.get("mgmt_ip"), &expected.mgmt_ip.to_string());
    reader.equal("server_info.profile", server.get("profile"), expected.profile);

    reader.keys(
        "cluster_config",
        &cluster,
        &[
            "cluster_name",
            "cluster_external_ip",
            "redundancy_factor",
            "cluster_functions",
            "timezone",
            "dns_servers",
            "ntp_servers",
            "cvm_ips",
        ],
    );
    let cluster_name = reader.text("cluster_config.cluster_name", cluster.get("cluster_name"));
    let cluster_external_ip = reader.ip("cluster_config.cluster_external_ip", cluster.get("cluster_external_ip"));
    let redundancy_factor = cluster.get("redundancy_factor").and_then(Value::as_u64).unwrap_or(0);
    reader.require((1..=3).contains(&redundancy_factor), "cluster_config.redundancy_factor is not 1, 2 or 3");
    reader.texts("cluster_config.cluster_functions", cluster.get("cluster_functions"));
    reader.text("cluster_config.timezone", cluster.get("timezone"));
    let dns_servers = reader.ips("cluster_config.dns_servers", cluster.get("dns_servers"));
    let ntp_servers = reader.texts("cluster_config.ntp_servers", cluster.get("ntp_servers"));
    let cvm_ips = reader.ips("cluster_config.cvm_ips", cluster.get("cvm_ips"));

    reader.keys(
        "node_config",
        &node,
        &["hypervisor", "hypervisor_ip", "cvm_ip", "netmask", "gateway", "hostname", "role", "node_position"],
    );
    // Only where the profile is known.
    for key in LEAST {
        let value = node.get(key);
        let whole = value.is_none_or(|value| value.as_u64().is_some_and(|least| least > 0));
        reader.require(whole, &format!("node_config.{key} is no number of at least 1"));
    }
    reader.equal("node_config.hypervisor", node.get("hypervisor"), "ahv");
    let hypervisor_ip = reader.ip("node_config.hypervisor_ip", node.get("hypervisor_ip"));
    let cvm_ip = reader.ip("node_config.cvm_ip", node.get("cvm_ip"));
    let hostname = reader.text("node_config.hostname", node.get("hostname"));
    reader.require(is_hostname(&hostname), &format!("node_config.hostname {hostname:?} is no host name"));
    let role = reader.text("node_config.role", node.get("role"));
    let roles = ["compute-storage", "storage", "compute"];
    reader.require(roles.contains(&role.as_str()), &format!("node_config.role {role:?} is unknown"));
    let node_position = reader.text("node_config.node_position", node.get("node_position"));

    reader.keys("network_config", &network, &["cidr", "netmask", "gateway", "dns_servers", "interfaces"]);
    let cidr: Ipv4Net = match reader.text("network_config.cidr", network.get("cidr")).parse() {
        Ok(cidr) => cidr,
        Err(_) => {
            reader.require(false, "network_config.cidr is no network");
            Ipv4Net::default()
        }
    };
    for (part, name) in [(&network, "network_config"), (&node, "node_config")] {
        reader.equal(&format!("{name}.netmask"), part.get("netmask"), &cidr.netmask().to_string());
        let gateway = reader.ip(&format!("{name}.gateway"), part.get("gateway"));
        reader.require(cidr.contains(&gateway), &format!("{name}.gateway {gateway} is outside of {cidr}"));
    }
    reader.ips("network_config.dns_servers", network.get("dns_servers"));
    let interfaces = network.get("interfaces").and_then(Value::as_array).map_or(0, Vec::len);
    reader.require(interfaces > 0, "network_config.interfaces is no list of at least one interface");

    let own = [
        ("server_info.mgmt_ip", expected.mgmt_ip),
        ("node_config.hypervisor_ip", hypervisor_ip),
        ("node_config.cvm_ip", cvm_ip),
        ("cluster_config.cluster_external_ip", cluster_external_ip),
    ];
    for (index, (name, ip)) in own.iter().enumerate() {
        reader.require(cidr.contains(ip), &format!("{name} {ip} is outside of {cidr}"));
        reader.require(!is_reserved(*ip), &format!("{name} {ip} is in 192.168.5.0/24, which Nutanix reserves"));
        if let Some((other, _)) = own[..index].iter().find(|(_, earlier)| earlier == ip) {
            reader.require(false, &format!("{name} and {other} are both {ip}"));
        }
    }
    reader.require(cvm_ips.contains(&cvm_ip), "cluster_config.cvm_ips lacks this node's cvm_ip");

    reader.keys(
        "storage_config",
        &storage,
        &["boot_device", "hypervisor_device", "cvm_device", "data_devices", "data_devices_by"],
    );
    let by = reader.text("storage_config.data_devices_by", storage.get("data_devices_by"));
    reader.require(
        by.is_empty() || ["plan", "profile"].contains(&by.as_str()),
        &format!("storage_config.data_devices_by {by:?} is unknown"),
    );
    check_drives(&mut reader, &storage, expected.disks, role != "compute");

    if !reader.faults.is_empty() {
        return Err(reader.faults);
    }
    Ok(NodeConfig {
        cluster_name,
        cluster_external_ip,
        redundancy_factor,
        cvm_ips,
        hypervisor_ip,
        cvm_ip,
        cidr,
        hostname,
        node_position,
        dns_servers,
        ntp_servers,
    })
}

fn check_drives(reader: &mut Reader, storage: &Map<String, Value>, disks: &[Disk], has_storage: bool) {
    let Some(data) = storage.get("data_devices").and_then(Value::as_array) else {
        return reader.require(false, "storage_config.data_devices is no list");
    };
    reader.require(!has_storage || !data.is_empty(), "storage_config.data_devices is empty on a node with storage");
    let absent = Value::Null;
    let [boot, hypervisor, cvm] =
        ["boot_device", "hypervisor_device", "cvm_device"].map(|name| storage.get(name).unwrap_or(&absent));
    let mut choice = Choice::new(disks);
    let entries: Vec<&Value> = std::iter::once(boot).chain(data).collect();
    let chosen = choice.take_all(&entries).and_then(|chosen| {
        choice.take_or_share(hypervisor)?;
        choice.take_or_share(cvm)?;
        Ok(chosen)
    });
    match chosen {
        Err(why) => reader.require(false, &format!("storage_config: {why}")),
        Ok(chosen) => reader.require(disks[chosen[0]].boot, "storage_config.boot_device is not the boot disk"),
    }
}

/// RFC 1123, one label.
fn is_hostname(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

#[derive(Default)]
struct Reader {
    faults: Vec<String>,
}

impl Reader {
    fn require(&mut self, holds: bool, fault: &str) {
        if !holds {
            self.faults.push(fault.to_owned());
        }
    }

    fn keys(&mut self, place: &str, map: &Map<String, Value>, known: &[&str]) {
        let path = |key: &str| if place.is_empty() { key.to_owned() } else { format!("{place}.{key}") };
        for key in known.iter().filter(|key| !map.contains_key(**key)) {
            self.faults.push(format!("{} is missing", path(key)));
        }
        let may_be = |key: &str| known.contains(&key) || (place == "node_config" && LEAST.contains(&key));
        for key in map.keys().filter(|key| !may_be(key)) {
            self.faults.push(format!("{} is not known", path(key)));
        }
    }

    fn text(&mut self, place: &str, value: Option<&Value>) -> String {
        let text = value.and_then(Value::as_str).unwrap_or_default();
        if value.is_some() {
            self.require(!text.is_empty(), &format!("{place} is no text, or empty"));
        }
        text.to_owned()
    }

    fn equal(&mut self, place: &str, value: Option<&Value>, wanted: &str) {
        if let Some(value) = value {
            self.require(value.as_str() == Some(wanted), &format!("{place} is {value}, not {wanted:?}"));
        }
    }

    fn ip(&mut self, place: &str, value: Option<&Value>) -> Ipv4Addr {
        let ip = value.and_then(Value::as_str).and_then(|text| text.parse().ok());
        if value.is_some() {
            self.require(ip.is_some(), &format!("{place} is no IPv4 address"));
        }
        ip.unwrap_or(Ipv4Addr::UNSPECIFIED)
    }

    fn texts(&mut self, place: &str, value: Option<&Value>) -> Vec<String> {
        let read = |item: &Value| item.as_str().map(String::from);
        let texts = value.and_then(Value::as_array).and_then(|list| list.iter().map(read).collect());
        self.require(texts.is_some() || value.is_none(), &format!("{place} is no list of texts"));
        texts.unwrap_or_default()
    }

    fn ips(&mut self, place: &str, value: Option<&Value>) -> Vec<Ipv4Addr> {
        let read = |item: &Value| item.as_str().and_then(|text| text.parse().ok());
        let ips = value.and_then(Value::as_array).and_then(|list| list.iter().map(read).collect());
        self.require(ips.is_some() || value.is_none(), &format!("{place} is no list of IPv4 addresses"));
        ips.unwrap_or_default()
    }
}
