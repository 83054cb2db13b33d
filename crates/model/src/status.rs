//! The documents of `status`: what people and programs see of a cluster.

use crate::{ClusterRecord, NodeRecord, Timestamp};
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// One cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// Its name.
    pub name: String,
    /// Its phase.
    pub phase: String,
    /// Since when.
    pub since: Timestamp,
    /// Whether it stays in it longer than usual.
    pub late: bool,
    /// What is awaited, or why it stopped.
    pub reason: String,
    /// The stable word of a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Its nodes.
    pub nodes: Vec<NodeStatus>,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its id.
    pub server_id: String,
    /// Its phase.
    pub phase: String,
    /// The machine's own address.
    pub mgmt_ip: Option<Ipv4Addr>,
    /// The controller VM's address.
    pub cvm_ip: Option<Ipv4Addr>,
    /// Since when it is in its phase.
    pub since: Timestamp,
    /// Whether it stays in it longer than usual.
    pub late: bool,
    /// What is awaited, or why it failed.
    pub reason: String,
    /// The stable word of a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// 0 to 100 of the installation, where the node says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<f64>,
}

impl NodeStatus {
    /// The document of a record.
    pub fn of(record: &NodeRecord, now: Timestamp) -> Self {
        NodeStatus {
            server_id: record.server_id.clone(),
            phase: record.phase.as_str().into(),
            mgmt_ip: record.mgmt_ip,
            cvm_ip: record.cvm_ip,
            since: record.since,
            late: record.is_late(now),
            reason: record.failure.as_ref().map_or(&record.reason, |f| &f.reason).clone(),
            failure: record.failure.as_ref().map(|f| f.code.clone()),
            hint: record.failure.as_ref().map(|f| f.hint.clone()),
            percent: record.boot.report.as_ref().and_then(|r| r.percent),
        }
    }
}

impl ClusterStatus {
    /// The document of a cluster and its nodes.
    pub fn of<'a>(record: &ClusterRecord, nodes: impl IntoIterator<Item = &'a NodeRecord>, now: Timestamp) -> Self {
        ClusterStatus {
            name: record.name.clone(),
            phase: record.phase.as_str().into(),
            since: record.since,
            late: record.is_late(now),
            reason: record.failure.as_ref().map_or(&record.reason, |f| &f.reason).clone(),
            failure: record.failure.as_ref().map(|f| f.code.clone()),
            hint: record.failure.as_ref().map(|f| f.hint.clone()),
            nodes: nodes.into_iter().map(|n| NodeStatus::of(n, now)).collect(),
        }
    }
}
