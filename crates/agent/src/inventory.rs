//! What the machine has, as its kernel shows it below `/proc` and `/sys`. The root of those is an argument: tests bring
//! a made tree.

use crate::disks::{self, Disk};
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeSet,
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

/// The machine.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inventory {
    /// Memory that the kernel can use, in KiB: a little less than what is built in.
    pub memory_kib: u64,
    /// What is free of it, in KiB.
    pub available_kib: u64,
    /// Processor cores, threads not counted.
    pub cores: u64,
    /// Whether the processor has Intel VT-x or AMD-V.
    pub virtualization: bool,
    /// Drives that an installer could use, in the order of their names.
    pub disks: Vec<Disk>,
    /// Network interfaces with hardware behind them.
    pub nics: Vec<Nic>,
    /// What the firmware says of the machine.
    pub firmware: Firmware,
}

/// A network interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nic {
    /// `eth0`.
    pub name: String,
    /// Lower case, with colons.
    pub mac: String,
    /// A cable is in it, and something at the cable's other end.
    pub link: bool,
    /// Addresses it has now.
    pub addresses: Vec<Ipv4Addr>,
}

/// SMBIOS, as far as the kernel shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Firmware {
    /// Lower case.
    pub uuid: Option<String>,
    /// Serial number of the system.
    pub serial: Option<String>,
    /// Maker and product.
    pub product: Option<String>,
}

impl Inventory {
    /// Reads everything; what can't be read counts as not there, and the checks say so.
    pub fn read(root: &Path) -> Inventory {
        let text = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
        let (memory, cpus) = (text("proc/meminfo"), text("proc/cpuinfo"));
        Inventory {
            memory_kib: meminfo(&memory, "MemTotal").unwrap_or(0),
            available_kib: meminfo(&memory, "MemAvailable").unwrap_or(0),
            cores: cores(&cpus),
            virtualization: has_virtualization(&cpus),
            disks: disks::read(root),
            nics: nics(root),
            firmware: firmware(root),
        }
    }

    /// Whole GiB, rounded to the nearest: what a person calls the machine's memory.
    pub fn memory_gib(&self) -> u64 {
        (self.memory_kib + 512 * 1024) / (1024 * 1024)
    }

    /// As facts of a report.
    pub fn facts(&self) -> Map<String, Value> {
        let disk = |disk: &Disk| {
            json!({
                "name": disk.device, "size_bytes": disk.size_bytes, "model": disk.model, "serial": disk.serial,
            })
        };
        let facts = json!({
            "node_uuid": self.firmware.uuid,
            "serial": self.firmware.serial,
            "product": self.firmware.product,
            "cores": self.cores,
            "memory_gib": self.memory_gib(),
            "macs": self.nics.iter().map(|nic| &nic.mac).collect::<Vec<_>>(),
            "disks": self.disks.iter().map(disk).collect::<Vec<_>>(),
        });
        match facts {
            // What isn't known isn't said.
            Value::Object(facts) => facts.into_iter().filter(|(_, fact)| !fact.is_null()).collect(),
            _ => Map::new(),
        }
    }
}

fn meminfo(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Distinct pairs of socket and core; where the kernel names none, as on some virtual machines, its processors.
fn cores(cpuinfo: &str) -> u64 {
    let value = |line: &str, key: &str| Some(line.strip_prefix(key)?.trim_start().strip_prefix(':')?.trim().to_owned());
    let (mut pairs, mut processors, mut socket) = (BTreeSet::new(), 0u64, String::new());
    for line in cpuinfo.lines() {
        if value(line, "processor").is_some() {
            processors += 1;
        } else if let Some(id) = value(line, "physical id") {
            socket = id;
        } else if let Some(id) = value(line, "core id") {
            pairs.insert((socket.clone(), id));
        }
    }
    if pairs.is_empty() { processors } else { pairs.len() as u64 }
}

fn has_virtualization(cpuinfo: &str) -> bool {
    cpuinfo
        .lines()
        .filter(|line| line.starts_with("flags"))
        .any(|line| line.split_whitespace().any(|flag| flag == "vmx" || flag == "svm"))
}

/// Interfaces with a device behind them: no loopback, bridges, or bonds.
pub fn nics(root: &Path) -> Vec<Nic> {
    let (addresses, routes) = (local_addresses(root), routes(root));
    let mut nics: Vec<Nic> = names_in(&root.join("sys/class/net"))
        .into_iter()
        .filter_map(|name| {
            let folder = root.join("sys/class/net").join(&name);
            if !folder.join("device").exists() || word(&folder.join("type")).as_deref() != Some("1") {
                return None;
            }
            let on_it = |address: &Ipv4Addr| routes.iter().any(|route| route.reaches(&name, *address));
            Some(Nic {
                mac: word(&folder.join("address")).unwrap_or_default(),
                link: word(&folder.join("carrier")).as_deref() == Some("1"),
                addresses: addresses.iter().copied().filter(on_it).collect(),
                name,
            })
        })
        .collect();
    nics.sort_by(|a, b| a.name.cmp(&b.name));
    nics
}

/// The machine's own addresses: each stands in the routing trie above a line `/32 host LOCAL`.
fn local_addresses(root: &Path) -> BTreeSet<Ipv4Addr> {
    let text = fs::read_to_string(root.join("proc/net/fib_trie")).unwrap_or_default();
    let mut found = BTreeSet::new();
    let mut leaf: Option<Ipv4Addr> = None;
    for line in text.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse().ok();
        } else if line == "/32 host LOCAL" {
            found.extend(leaf);
        }
    }
    found
}

struct Route {
    interface: String,
    network: u32,
    mask: u32,
}

impl Route {
    /// A default route reaches everything and says nothing of whose an address is.
    fn reaches(&self, interface: &str, address: Ipv4Addr) -> bool {
        self.interface == interface && self.mask != 0 && u32::from(address) & self.mask == self.network
    }
}

/// `/proc/net/route`: numbers are hexadecimal, in the byte order of the machine.
fn routes(root: &Path) -> Vec<Route> {
    let text = fs::read_to_string(root.join("proc/net/route")).unwrap_or_default();
    let number = |field: Option<&&str>| u32::from_str_radix(field?, 16).ok().map(u32::from_be);
    text.lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (network, mask) = (number(fields.get(1))?, number(fields.get(7))?);
            Some(Route { interface: (*fields.first()?).to_owned(), network, mask })
        })
        .collect()
}

fn firmware(root: &Path) -> Firmware {
    let id = |name: &str| word(&root.join("sys/class/dmi/id").join(name));
    let product = [id("sys_vendor"), id("product_name")].into_iter().flatten().collect::<Vec<_>>().join(" ");
    Firmware {
        uuid: id("product_uuid").map(|uuid| uuid.to_lowercase()),
        serial: id("product_serial"),
        product: Some(product).filter(|product| !product.is_empty()),
    }
}

/// The trimmed text of a file; none when it is empty or can't be read.
pub(crate) fn word(path: &PathBuf) -> Option<String> {
    let text = String::from_utf8_lossy(&fs::read(path).ok()?).trim_matches(['\0', '\n', ' ']).to_owned();
    Some(text).filter(|text| !text.is_empty())
}

/// Names of what is in a folder, sorted; none when it can't be read.
pub(crate) fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;

    #[test]
    fn threads_of_a_core_count_once() {
        let cpu = |n: u32, socket: u32, core: u32| {
            format!("processor\t: {n}\nphysical id\t: {socket}\ncore id\t\t: {core}\nflags\t\t: fpu vmx sse\n\n")
        };
        let text = cpu(0, 0, 0) + &cpu(1, 0, 0) + &cpu(2, 0, 1) + &cpu(3, 1, 0);
        assert_eq!(cores(&text), 3);
        assert!(has_virtualization(&text));
        assert_eq!(cores("processor\t: 0\nflags\t: fpu\n\nprocessor\t: 1\n"), 2);
        assert!(!has_virtualization("flags\t: fpu\nbugs\t: vmx\n"));
    }

    #[test]
    fn interfaces_have_hardware_behind_them_and_the_addresses_of_their_network() {
        let tree = Tree::new("interfaces");
        tree.nic("eth0", "52:54:00:00:00:01", true);
        tree.nic("eth1", "52:54:00:00:00:02", false);
        tree.write("sys/class/net/lo/type", "772\n");
        tree.write("sys/class/net/br0/type", "1\n");
        tree.addresses(&[("eth0", "10.240.0.11", "10.240.0.0", "255.255.255.0")]);
        let [first, second] = &nics(tree.root())[..] else { panic!("two interfaces") };
        assert_eq!(
            (first.name.as_str(), first.link, &first.addresses[..]),
            ("eth0", true, &[Ipv4Addr::new(10, 240, 0, 11)][..])
        );
        assert_eq!((second.mac.as_str(), second.link, second.addresses.len()), ("52:54:00:00:00:02", false, 0));
    }

    #[test]
    fn facts_say_what_is_known_and_nothing_else() {
        let tree = Tree::new("facts");
        tree.write("proc/meminfo", "MemTotal:       16298756 kB\nMemAvailable:   16000000 kB\n");
        tree.write("sys/class/dmi/id/product_uuid", "4C4C4544-0042-3510-8052-B4C04F4E5332\n");
        let facts = Inventory::read(tree.root()).facts();
        assert_eq!(facts["node_uuid"], "4c4c4544-0042-3510-8052-b4c04f4e5332");
        assert_eq!(facts["memory_gib"], 16);
        assert!(!facts.contains_key("serial"));
    }
}
