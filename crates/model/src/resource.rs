//! What we have in the cloud, or are about to have: one row a thing, written before the call that makes it.

use crate::Timestamp;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// Which of a node's or cluster's cloud resources. One node has each at most once, so the slot is part of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Slot {
    /// The reserved address the machine boots from.
    Mgmt,
    /// The reserved address of the hypervisor.
    Ahv,
    /// The reserved address of the controller VM.
    Cvm,
    /// The virtual network interface that holds the three.
    Interface,
    /// The bare metal server.
    Server,
    /// The reserved address of the cluster itself.
    Vip,
}

impl Slot {
    /// The word used in resource names and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Slot::Mgmt => "mgmt",
            Slot::Ahv => "ahv",
            Slot::Cvm => "cvm",
            Slot::Interface => "vni",
            Slot::Server => "server",
            Slot::Vip => "vip",
        }
    }

    /// The reverse of [`Slot::as_str`].
    pub fn parse(word: &str) -> Option<Slot> {
        [Slot::Mgmt, Slot::Ahv, Slot::Cvm, Slot::Interface, Slot::Server, Slot::Vip]
            .into_iter()
            .find(|s| s.as_str() == word)
    }

    /// What a person calls it.
    pub fn in_words(self) -> &'static str {
        match self {
            Slot::Mgmt => "management address",
            Slot::Ahv => "hypervisor address",
            Slot::Cvm => "controller VM address",
            Slot::Interface => "virtual network interface",
            Slot::Server => "bare metal server",
            Slot::Vip => "cluster address",
        }
    }

    /// Whether it is a reserved address.
    pub fn is_address(self) -> bool {
        matches!(self, Slot::Mgmt | Slot::Ahv | Slot::Cvm | Slot::Vip)
    }
}

/// How far a resource has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResourceState {
    /// About to be made, or made without our knowing: the name must be looked up before anything else is done.
    Intended,
    /// Exists under `cloud_id`.
    Created,
    /// Its deletion was accepted; not yet seen gone.
    Deleting,
    /// Seen gone, or never made.
    Gone,
}

/// One cloud resource of ours.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Resource {
    /// The node it belongs to; `None` for the cluster's own.
    pub server_id: Option<String>,
    /// Which one.
    pub slot: Slot,
    /// Its name in the cloud: deterministic, so that it can be found again after a lost answer.
    pub name: String,
    /// How far it has come.
    pub state: ResourceState,
    /// The cloud's id, once known. Nothing is ever deleted by anything else.
    pub cloud_id: Option<String>,
    /// The subnet it lies in; reserved addresses can only be reached through it.
    pub subnet: String,
    /// The address, for reserved ones.
    pub address: Option<Ipv4Addr>,
    /// Whether a create was sent whose outcome is not known.
    #[serde(default)]
    pub in_doubt: bool,
    /// Look-ups by name still to be made before a create may be sent (again): lists may lag behind a lost answer.
    #[serde(default)]
    pub lookups_left: u8,
    /// When this row last changed.
    pub changed_at: Timestamp,
}

impl Resource {
    /// Whether it exists, as far as we know, and may be used.
    pub fn is_created(&self) -> bool {
        self.state == ResourceState::Created
    }

    /// Whether nothing is left of it.
    pub fn is_gone(&self) -> bool {
        self.state == ResourceState::Gone
    }
}

/// The name of a resource in the cloud: at most 63 characters of `[a-z0-9-]`, and it carries the deployment, so that a
/// thing found under it is ours.
///
/// The last ten hex digits of the deployment's id are its random part (UUIDv7 begins with the time).
pub fn resource_name(deployment: uuid::Uuid, server_id: Option<&str>, slot: Slot) -> String {
    let id = deployment.simple().to_string();
    format!("mf-{}-{}-{}", &id[22..], server_id.unwrap_or("cluster"), slot.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_name_fits_the_cloud() {
        let id = uuid::Uuid::from_u128(u128::MAX);
        let name = resource_name(id, Some(&"a".repeat(40)), Slot::Mgmt);
        assert!(name.len() <= 63, "{} characters", name.len());
        assert!(name.starts_with("mf-ffffffffff-"));
    }

    #[test]
    fn every_slot_is_found_by_its_word() {
        for slot in [Slot::Mgmt, Slot::Ahv, Slot::Cvm, Slot::Interface, Slot::Server, Slot::Vip] {
            assert_eq!(Slot::parse(slot.as_str()), Some(slot));
        }
        assert_eq!(Slot::parse("other"), None);
    }
}
