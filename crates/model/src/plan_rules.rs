//! The rules of a plan that need more than one key, or the cloud's answer. What one key may hold is in `words`.
//!
//! Rules name paths only; the reader turns these into lines and pointers. Sources of the Nutanix facts: the public
//! requirements for Nutanix CE 2.1 and the `cluster` command of a CVM; of the cloud's: IBM Cloud's VPC documentation.

pub(crate) mod words;

use crate::{Plan, PlanFault};
use ipnet::Ipv4Net;
use std::{collections::HashMap, fmt::Debug, hash::Hash, net::Ipv4Addr};

/// Most nodes of a plan.
pub const MAX_NODES: usize = 64;

/// Largest cluster the `cluster` command of a CVM says it forms, on AHV.
const CLUSTER_COMMAND_LIMIT: usize = 32;

/// Whether a plan may call its cluster that.
pub fn is_cluster_name(text: &str) -> bool {
    words::cluster_name(text).is_ok()
}

/// Nodes that hold data which a redundancy factor needs: metadata and ZooKeeper keep 1, 3 or 5 copies.
pub fn nodes_needed(redundancy_factor: u8) -> usize {
    match redundancy_factor {
        0 | 1 => 1,
        2 => 3,
        _ => 5,
    }
}

/// Redundancy factor against node count. `storage_nodes` are those of `nodes` whose role holds data.
pub(crate) fn check_topology(redundancy_factor: u8, nodes: usize, storage_nodes: usize) -> Vec<PlanFault> {
    let mut faults = Vec::new();
    let needed = nodes_needed(redundancy_factor);
    let path = "cluster.redundancy_factor";
    if redundancy_factor == 1 && nodes > 1 {
        let why = format!("redundancy factor 1 is for a single node, and the plan has {nodes}");
        faults.push(PlanFault::error(
            "too_many_nodes",
            path,
            why,
            "write redundancy_factor = 2 (3 nodes or more), or list one node",
        ));
    }
    if storage_nodes < needed {
        let why = format!(
            "redundancy factor {redundancy_factor} needs {needed} nodes that hold data, and the plan has {storage_nodes}"
        );
        let instead = match storage_nodes {
            1 | 2 if redundancy_factor > 1 => {
                format!("list {needed} nodes or more; one node alone takes redundancy_factor = 1")
            }
            3.. => format!("list {needed} nodes or more, or write redundancy_factor = 2"),
            _ => format!("list {needed} nodes or more with the role compute-storage or storage"),
        };
        faults.push(PlanFault::error("too_few_nodes", path, why, instead));
    }
    faults.into_iter().map(|fault| fault.with_value(redundancy_factor)).collect()
}

/// Too many nodes for us, or by what the `cluster` command says.
pub(crate) fn check_size(nodes: usize) -> Option<PlanFault> {
    if nodes > MAX_NODES {
        let instead = format!("list {MAX_NODES} at most");
        return Some(PlanFault::error("too_many_nodes", "nodes", format!("{nodes} nodes"), instead));
    }
    let why = format!("{nodes} nodes, and the `cluster` command of a CVM names {CLUSTER_COMMAND_LIMIT} as its limit");
    let instead =
        format!("make sure that your release forms such a cluster, or list {CLUSTER_COMMAND_LIMIT} nodes at most");
    (nodes > CLUSTER_COMMAND_LIMIT).then(|| PlanFault::error("too_many_nodes", "nodes", why, instead).as_warning())
}

/// Every value once: each later occurrence is a fault that names the first.
pub(crate) fn check_unique<T: Eq + Hash + Debug>(claims: &[(String, T)], what: &str) -> Vec<PlanFault> {
    let mut first: HashMap<&T, &str> = HashMap::new();
    let mut faults = Vec::new();
    for (path, value) in claims {
        match first.get(value) {
            Some(earlier) => {
                let why = format!("{earlier} has the same value");
                let instead = format!("give each {what} its own");
                faults.push(PlanFault::error("duplicate_value", path, why, instead).with_value(value));
            }
            None => {
                first.insert(value, path);
            }
        }
    }
    faults
}

/// What the plan alone can't show: whether its addresses lie in the subnet, and none is the cloud's own. IBM Cloud
/// keeps the first four addresses of a subnet and the last. Nodes in other subnets are left out; nodes that are not
/// ordered, and the VIP, share the subnet of the others. Paths only: see [`crate::CheckedPlan::locate`].
pub fn check_against_subnet(plan: &Plan, subnet_id: &str, cidr: Ipv4Net) -> Vec<PlanFault> {
    let mut addresses = vec![("cluster.external_ip".to_owned(), plan.cluster.external_ip)];
    for (index, node) in plan.nodes.iter().enumerate() {
        if node.placement.as_ref().is_some_and(|placement| placement.subnet != subnet_id) {
            continue;
        }
        let keys = [("mgmt_ip", node.mgmt_ip), ("ahv_ip", node.ahv_ip), ("cvm_ip", node.cvm_ip)];
        addresses.extend(keys.into_iter().filter_map(|(key, ip)| Some((format!("nodes[{index}].{key}"), ip?))));
    }
    addresses.into_iter().filter_map(|(path, ip)| check_in_subnet(path, ip, subnet_id, cidr)).collect()
}

fn check_in_subnet(path: String, ip: Ipv4Addr, subnet_id: &str, cidr: Ipv4Net) -> Option<PlanFault> {
    let cidr = cidr.trunc();
    let (first, last) = (u32::from(cidr.network()).saturating_add(4), u32::from(cidr.broadcast()).saturating_sub(1));
    let instead = match first <= last {
        true => format!("write an address from {} to {}", Ipv4Addr::from(first), Ipv4Addr::from(last)),
        false => "choose a larger subnet".to_owned(),
    };
    let (code, why) = if !cidr.contains(&ip) {
        ("outside_subnet", format!("not in the subnet {subnet_id} ({cidr})"))
    } else if !(first..=last).contains(&u32::from(ip)) {
        (
            "cloud_address",
            format!("the cloud keeps the first four addresses and the last of the subnet {subnet_id} ({cidr})"),
        )
    } else {
        return None;
    };
    Some(PlanFault { value: Some(format!("\"{ip}\"")), ..PlanFault::error(code, path, why, instead) })
}
