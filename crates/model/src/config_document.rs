//! What a node is told about itself: the body of `GET /boot/server/{mgmt_ip}`. Exactly five top-level keys, and no
//! secret in any of them, since it goes over plain HTTP.
//!
//! **Drives.** A drive is a text, the path of a device, where the plan says one; else an object that says what the
//! drive is: any of `serial`, `model` (part of it), `min_gb`, `max_gb` (10^9 bytes). Paths for everything were rejected: the
//! same boot disk was seen as `sda` and as `nvme0n1`, because names follow probe order. In an object a `device` is a path,
//! and `wipe: true` says that what is on the drive may go; without it an installer leaves a data drive that the plan lists
//! and that holds something alone, and gives up. `data_devices_by` tells those (`plan`) from the drives of a machine that
//! was ordered as a whole (`profile`), on which nothing can be but what an earlier try of ours left.
//!
//! **Roles.** The boot disk (a RAID1 pair, which the system sees as one device) is the hypervisor's: `boot_device` and
//! `hypervisor_device` are the same drive. `data_devices` are the plan's, to the letter, each another drive. Nutanix CE
//! wants a third disk for the controller VM: `cvm_device` is a further drive of the profile; the first data drive, when
//! the plan lists them all; the boot disk, when there is none.
//!
//! **How an installer resolves them.** What is a path or has a serial number first, so that no size takes a drive that is
//! named elsewhere; then the boot device, then the other data devices in order, each to a drive that matches and that none
//! before took; without one, it gives up. The controller VM's comes last: a matching drive that none took, else the first
//! taken one that matches, which is shared.
//!
//! **What the machine must have**: `node_config.min_memory_gib` and `min_cores`, nine tenths of the profile's, where that is
//! known. Cores, not threads: whether a core shows as one or two is the firmware's choice.

use crate::{DataDrive, NodePlan, Plan, Profile, profile::nine_tenths};
use ipnet::Ipv4Net;
use serde_json::{Value, json};
use std::net::Ipv4Addr;

/// Smallest disk Nutanix CE 2.1 boots a hypervisor from, in 10^9 bytes.
const SMALLEST_BOOT_GB: u64 = 64;

/// What the plan leaves to the cloud: the node's addresses as they were reserved, and its subnet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeNetwork {
    /// The machine's own address.
    pub mgmt_ip: Ipv4Addr,
    /// The hypervisor's address.
    pub ahv_ip: Ipv4Addr,
    /// The controller VM's address.
    pub cvm_ip: Ipv4Addr,
    /// The subnet.
    pub cidr: Ipv4Net,
    /// The subnet's gateway.
    pub gateway: Ipv4Addr,
    /// The controller VMs of all nodes of the cluster, in the plan's order, this one's included.
    pub cvm_ips: Vec<Ipv4Addr>,
    /// Name servers of the VPC; empty: the cluster's are used while installing, too.
    pub dns_servers: Vec<Ipv4Addr>,
}

/// The configuration document of one node. `profile` is `None` for nodes that were not ordered, and for a profile
/// nobody knows.
pub fn node_config(plan: &Plan, node: &NodePlan, network: &NodeNetwork, profile: Option<&Profile>) -> Value {
    let cluster = &plan.cluster;
    let placement = node.placement.as_ref();
    let (cidr, netmask, gateway) = (network.cidr.trunc(), network.cidr.netmask(), network.gateway);
    let dns_servers = if network.dns_servers.is_empty() { &cluster.dns_servers } else { &network.dns_servers };
    let boot_device = boot_device(profile);
    let mut document = json!({
        "server_info": {
            "server_id": node.server_id,
            "server_name": node.server_name,
            "mgmt_ip": network.mgmt_ip,
            "profile": placement.map(|placement| &placement.profile),
            "zone": placement.map(|placement| &placement.zone),
        },
        "cluster_config": {
            "cluster_name": cluster.name,
            "cluster_external_ip": cluster.external_ip,
            "redundancy_factor": cluster.redundancy_factor,
            "cluster_functions": cluster.cluster_functions,
            "timezone": cluster.timezone,
            "dns_servers": cluster.dns_servers,
            "ntp_servers": cluster.ntp_servers,
            "cvm_ips": network.cvm_ips,
        },
        "node_config": {
            "hypervisor": "ahv",
            "hypervisor_ip": network.ahv_ip,
            "cvm_ip": network.cvm_ip,
            "netmask": netmask,
            "gateway": gateway,
            "hostname": node.server_name,
            "role": node.role,
            "node_position": node.node_position,
        },
        "storage_config": {
            "boot_device": boot_device,
            "hypervisor_device": boot_device,
            "cvm_device": cvm_device(node, profile, &boot_device),
            "data_devices": node.data_drives,
            "data_devices_by": node.data_drives_by.as_str(),
        },
        "network_config": {
            "cidr": cidr,
            "netmask": netmask,
            "gateway": gateway,
            "dns_servers": dns_servers,
            "interfaces": [{ "name": "eth0", "ip": network.mgmt_ip, "netmask": netmask, "gateway": gateway }],
        },
    });
    if let Some(profile) = profile {
        document["node_config"]["min_memory_gib"] = json!(nine_tenths(profile.memory_gib.into()));
        document["node_config"]["min_cores"] = json!(nine_tenths(u64::from(profile.vcpu) / 2).max(1));
    }
    document
}

/// By size, a tenth to either side of the nominal one. A disk of 480 GB was seen with 447 GiB: sizes are of 10^9 bytes.
fn boot_device(profile: Option<&Profile>) -> Value {
    match profile {
        Some(profile) => {
            json!({ "min_gb": nine_tenths(profile.boot_gb), "max_gb": profile.boot_gb + profile.boot_gb / 10 })
        }
        None => json!({ "min_gb": SMALLEST_BOOT_GB }),
    }
}

pub(crate) fn cvm_device(node: &NodePlan, profile: Option<&Profile>, boot_device: &Value) -> Value {
    match (profile, node.data_drives.first()) {
        (Some(profile), _) if profile.data_quantity > node.data_drives.len() => {
            json!({ "min_gb": nine_tenths(profile.data_gb) })
        }
        (_, Some(DataDrive::Device(path))) => json!(path),
        (_, Some(DataDrive::Selector(selector))) => json!(selector),
        (_, None) => boot_device.clone(),
    }
}
