//! A cluster and how Prism v2.0 shows it. Field names, types and oddities (statistics as texts, `"-1"` for "not
//! available", nulls) follow the API definitions in github.com/nutanix/Automation and the payload of AOS 5.10 in virt-who's
//! tests; `cluster_status` is not in them, it is the product's first design that has it.

use super::{Cvm, PrismPassword};
use metalform_model::Timestamp;
use serde_json::{Value, json};
use std::{net::Ipv4Addr, time::Duration};
use uuid::Uuid;

const VERSION: &str = "6.8.1";

/// What a cluster's services are to be. `cluster status` calls it the state of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Start,
    Stop,
}

#[derive(Debug, Clone)]
pub(super) struct Cluster {
    pub uuid: Uuid,
    pub name: String,
    pub vip: Option<Ipv4Addr>,
    pub redundancy_factor: u64,
    pub timezone: String,
    pub name_servers: Vec<String>,
    pub ntp_servers: Vec<String>,
    /// Server ids.
    pub members: Vec<String>,
    pub begun_at: Timestamp,
    pub up_at: Timestamp,
    /// Data has its redundancy a little after the cluster is up.
    pub settled_at: Timestamp,
    pub vip_at: Timestamp,
    pub service_down: bool,
    // What follows is of the profile `observed`, where services come and go with what is done to the cluster.
    pub target: Target,
    /// Zeus never gets ready (a fault).
    pub never_starts: bool,
    /// For so long one service comes and goes (a fault).
    pub flaps_for: Duration,
    /// How much later than the first member's Prism the VIP answers.
    pub vip_after: Duration,
    pub prism: PrismPassword,
}

impl Cluster {
    pub fn status(&self, now: Timestamp) -> &'static str {
        if now >= self.up_at { "UP" } else { "STARTING" }
    }

    /// `GET v2.0/cluster` as the first design has it.
    pub fn show(&self, now: Timestamp) -> Value {
        let is_settled = now >= self.settled_at && !self.service_down;
        let nodes = if now >= self.up_at { self.members.len() } else { 1 };
        let mut shown = self.show_published(nodes, is_settled);
        shown["cluster_status"] = self.status(now).into();
        shown
    }

    /// `GET v2.0/cluster` as published.
    pub fn show_published(&self, nodes: usize, is_settled: bool) -> Value {
        let current = if is_settled { self.redundancy_factor } else { 1 };
        json!({
            "id": format!("{}::1", self.uuid),
            "uuid": self.uuid,
            "cluster_uuid": self.uuid,
            "cluster_incarnation_id": self.begun_at.0,
            "name": self.name,
            "cluster_external_ipaddress": self.vip,
            "cluster_external_data_services_ipaddress": null,
            "timezone": self.timezone,
            "operation_mode": "Normal",
            "encrypted": false,
            "storage_type": "all_flash",
            "cluster_functions": ["NDFS"],
            "num_nodes": nodes,
            "version": VERSION,
            "full_version": format!("el8.5-release-ganges-{VERSION}-stable-simulated"),
            "ncc_version": null,
            "name_servers": self.name_servers,
            "ntp_servers": self.ntp_servers,
            "hypervisor_types": ["kKvm"],
            "cluster_arch": "X86_64",
            "fault_tolerance_domain_type": "NODE",
            "cluster_redundancy_state": {
                "current_redundancy_factor": current,
                "desired_redundancy_factor": self.redundancy_factor,
                "redundancy_status": {"kCassandraPrepareDone": is_settled, "kZookeeperPrepareDone": is_settled},
            },
            "is_upgrade_in_progress": false,
            "stats": {"hypervisor_cpu_usage_ppm": "-1"},
            "usage_stats": {"storage.capacity_bytes": "192559243264000", "storage.usage_bytes": "-1"},
        })
    }

    /// An entry of `GET v2.0/hosts`.
    pub fn show_host(&self, is_well: bool, index: usize, cvm: &Cvm) -> Value {
        json!({
            "uuid": cvm.host.node_uuid,
            "name": cvm.host.config.hostname,
            "service_vmid": format!("{}::{}", self.uuid, index + 2),
            "service_vmexternal_ip": cvm.ip(),
            "hypervisor_address": cvm.host.config.hypervisor_ip,
            "controller_vm_backplane_ip": cvm.ip(),
            "ipmi_address": null,
            "state": "NORMAL",
            "metadata_store_status": if is_well { "kNormalMode" } else { "kMetadataToBeRemoved" },
            "hypervisor_state": "kAcropolisNormal",
            "hypervisor_type": "kKvm",
            "is_degraded": !is_well,
            "host_in_maintenance_mode": null,
            "removal_status": ["NA"],
            "cluster_uuid": self.uuid,
            "disk_hardware_configs": null,
        })
    }
}

/// A cluster that was on a node's drives before we came.
pub(super) fn show_foreign(uuid: Uuid) -> Value {
    json!({
        "uuid": uuid,
        "cluster_uuid": uuid,
        "name": "somebody-elses-cluster",
        "cluster_status": "UP",
        "cluster_external_ipaddress": null,
        "num_nodes": 1,
        "version": VERSION,
        "cluster_redundancy_state": {"current_redundancy_factor": 1, "desired_redundancy_factor": 1},
    })
}

/// `GET v2.0/cluster` on a node without a cluster, where that answers 200.
pub(super) fn show_unnamed() -> Value {
    json!({"uuid": null, "name": "Unnamed", "cluster_status": "UNCONFIGURED", "num_nodes": 1, "version": VERSION})
}

/// `GET v1/cluster`: camelCase.
pub(super) fn show_v1(cvm: &Cvm, cluster: Option<&Cluster>) -> Value {
    json!({
        "uuid": cluster.map(|cluster| cluster.uuid),
        "name": cluster.map_or("Unnamed", |cluster| cluster.name.as_str()),
        "clusterExternalIPAddress": cluster.and_then(|cluster| cluster.vip),
        "numNodes": cluster.map_or(1, |cluster| cluster.members.len()),
        "version": VERSION,
        "hypervisorTypes": ["kKvm"],
        "blockSerials": [cvm.host.server_name],
    })
}
