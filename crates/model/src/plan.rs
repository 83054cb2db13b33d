//! The plan: what the operator declares. Plain data once it has been checked; reading one with its faults is
//! [`crate::plan_reader`], the rules are [`crate::plan_rules`].

use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// A checked plan: every default filled in, every rule that needs no cloud held. Written out it is a plan again, with
/// all defaults explicit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The cluster to be.
    pub cluster: ClusterPlan,
    /// Its nodes, in the plan's order.
    pub nodes: Vec<NodePlan>,
}

/// The `[cluster]` part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterPlan {
    /// Unique among the living clusters.
    pub name: String,
    /// The VIP: the address under which the formed cluster answers.
    pub external_ip: Ipv4Addr,
    /// 1 (one node), 2 (three and more) or 3 (five and more).
    pub redundancy_factor: u8,
    /// As Nutanix names them; `["AOS"]` by default.
    pub cluster_functions: Vec<String>,
    /// A name of the tz database.
    pub timezone: String,
    /// Name servers the cluster uses.
    pub dns_servers: Vec<Ipv4Addr>,
    /// Time servers the cluster uses: names or addresses.
    pub ntp_servers: Vec<String>,
    /// How the cluster is created.
    pub formation: FormationChoice,
    /// With at least so many nodes ready when the others have failed, the cluster is formed without them.
    pub min_nodes: usize,
    /// When it is formed.
    pub start: Start,
}

/// Which formation driver is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FormationChoice {
    /// Look at what the nodes offer and choose.
    Auto,
    /// `POST …/rest/v2.0/clusters` on a CVM.
    Prism,
    /// `POST …:8000/foundation/clusters` on a CVM.
    Foundation,
    /// `cluster create` over SSH on a CVM.
    CvmSsh,
}

/// When the cluster is formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// As soon as the nodes are ready.
    WhenReady,
    /// When the operator says `metalform form`.
    OnCommand,
}

/// One `[[nodes]]` entry, with the `[cloud]` defaults merged in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodePlan {
    /// At most 40 characters; unique among the living nodes.
    pub server_id: String,
    /// The cloud server's name and the host name.
    pub server_name: String,
    /// The machine's own address, which it boots from. Taken from the subnet when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mgmt_ip: Option<Ipv4Addr>,
    /// The hypervisor's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ahv_ip: Option<Ipv4Addr>,
    /// The controller VM's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cvm_ip: Option<Ipv4Addr>,
    /// What the node gives to the cluster.
    pub role: Role,
    /// The drives the node's storage is made of; empty for the role `compute`.
    pub data_drives: Vec<DataDrive>,
    /// Who chose them. Not written out where the plan did: that is what a written list means. No part of the plan's hash.
    #[serde(default, skip_serializing_if = "ChosenBy::is_plan")]
    pub data_drives_by: ChosenBy,
    /// Position in its block, `A` by default.
    pub node_position: String,
    /// Imaged already: phase two alone. Such a node has no [`Placement`] and nothing of it is ever ordered or deleted.
    pub existing: bool,
    /// Where it is ordered. `None` exactly for existing nodes. In documents its keys stand in the node itself.
    #[serde(flatten)]
    pub placement: Option<Placement>,
}

/// What a node gives to the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Compute and storage.
    ComputeStorage,
    /// Storage alone.
    Storage,
    /// Compute alone.
    Compute,
}

impl Role {
    /// The word in plans and configurations.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::ComputeStorage => "compute-storage",
            Role::Storage => "storage",
            Role::Compute => "compute",
        }
    }

    /// Whether the node holds data.
    pub fn has_storage(self) -> bool {
        !matches!(self, Role::Compute)
    }
}

/// How a data drive is named: by device path, or by what it is. Each entry stands for one drive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum DataDrive {
    /// `/dev/nvme2n1`. Device names follow probe order: prefer a selector where the machines differ.
    Device(String),
    /// Any drive that has all of what is stated; also a path whose contents may go.
    Selector(DriveSelector),
}

/// Who chose a node's data drives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChosenBy {
    /// The plan lists them: one that holds something stops the node, unless its entry says `wipe`.
    #[default]
    Plan,
    /// The machine was ordered as a whole, and its drives are those of its profile: what is on them, an earlier try of ours
    /// left.
    Profile,
}

impl ChosenBy {
    /// The word in plans and configurations.
    pub fn as_str(self) -> &'static str {
        match self {
            ChosenBy::Plan => "plan",
            ChosenBy::Profile => "profile",
        }
    }

    fn is_plan(&self) -> bool {
        *self == ChosenBy::Plan
    }
}

/// A drive by what it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DriveSelector {
    /// Path, where it stands beside `wipe` alone; a path without `wipe` is a [`DataDrive::Device`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Exact serial number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Part of the model name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// At least this size, in 10^9 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_gb: Option<u64>,
    /// What is on the drive may go. Without it a drive that holds something stops the node. Not written out where it is
    /// false: plans of before it hash as they did.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub wipe: bool,
}

/// Where a node's server is ordered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Placement {
    /// Id of the VPC.
    pub vpc: String,
    /// Id of the subnet.
    pub subnet: String,
    /// Zone name.
    pub zone: String,
    /// Name of the bare metal profile.
    pub profile: String,
    /// Ids of SSH keys.
    pub ssh_keys: Vec<String>,
    /// Ids of security groups; empty: the VPC's default group.
    pub security_groups: Vec<String>,
}
