//! A `[[nodes]]` entry.

use super::{
    PlanReader,
    cloud::{CLOUD, CloudKeys},
    cluster::CLUSTER,
    tree::Located,
    walker::{Field, Section, Table},
};
use crate::{ChosenBy, FormationChoice, NodePlan, PlanFault, Role, plan_rules::words};
use std::net::Ipv4Addr;

pub(super) const NODE: Section = Section {
    name: "[[nodes]]",
    keys: &[
        "server_id",
        "server_name",
        "mgmt_ip",
        "ahv_ip",
        "cvm_ip",
        "role",
        "data_drives",
        "data_drives_by",
        "node_position",
        "existing",
        "vpc",
        "subnet",
        "zone",
        "profile",
        "ssh_keys",
        "security_groups",
    ],
};

impl PlanReader<'_> {
    pub(super) fn node(&mut self, index: usize, at: &Located, cloud: &CloudKeys) -> Option<NodePlan> {
        let t = self.walker.table(at, format!("nodes[{index}]"), &NODE, &[&CLUSTER, &CLOUD])?;
        let w = &mut self.walker;
        let server_id = w.text(&t, "server_id", words::server_id);
        match &server_id {
            Field::Absent => w.missing(t.key("server_id"), &format!("server_id = \"server-{:03}\"", index + 1)),
            Field::Good(id) => self.claims.server_ids.push((t.key("server_id"), id.clone())),
            Field::Bad => {}
        }
        let server_name = w.text(&t, "server_name", words::server_name);
        let name_key = if server_name.is_absent() { "server_id" } else { "server_name" };
        let server_name = server_name.or_field(&server_id).good();
        self.claims.server_names.extend(server_name.iter().map(|name| (t.key(name_key), name.clone())));
        let [mgmt_ip, ahv_ip, cvm_ip] = ["mgmt_ip", "ahv_ip", "cvm_ip"].map(|key| {
            let ip = w.address(&t, key);
            if let Field::Good(ip) = ip {
                self.claims.addresses.push((t.key(key), ip));
            }
            ip
        });
        let role = w
            .word(&t, "role", &[Role::ComputeStorage, Role::Storage, Role::Compute].map(|role| (role.as_str(), role)))
            .or(Role::ComputeStorage);
        let node_position = w.text(&t, "node_position", words::node_position).or("A".into());
        let existing = w.boolean(&t, "existing").or(false);
        let drives = self.data_drives(&t);
        let usual = if drives.is_absent() && existing == Some(false) { ChosenBy::Profile } else { ChosenBy::Plan };
        let by =
            self.walker.word(&t, "data_drives_by", &[ChosenBy::Plan, ChosenBy::Profile].map(|by| (by.as_str(), by)));
        let says_profile = matches!(by, Field::Good(ChosenBy::Profile));
        let data_drives_by = by.or(usual);
        let (placement, data_drives) = match existing {
            // Whether it is ordered can't be told: what that asks for isn't missed.
            None => (None, None),
            Some(true) => {
                self.existing_node(&t, &ahv_ip, &cvm_ip);
                if says_profile {
                    self.not_by_profile(&t, "an existing node was not ordered by a profile", "leave the key out");
                }
                if matches!(&drives, Field::Good(drives) if !drives.is_empty()) {
                    let why = "an existing node is imaged already, and keeps the drives it has";
                    let instead = "leave data_drives out, or write existing = false";
                    let path = t.key("data_drives");
                    self.walker.fault(PlanFault::error("key_has_no_effect", path, why, instead).as_warning());
                }
                (Some(None), drives.or(vec![]))
            }
            Some(false) => {
                self.claims.ordered += 1;
                let (placement, profile_path) = self.placement(index, &t, cloud);
                let drives = match (&placement.profile, role) {
                    (Some(profile), Some(role)) => self.resolve_drives(&t, role, drives, profile, &profile_path),
                    _ => None,
                };
                if let (true, Some(profile), Some(role), Some(drives)) =
                    (says_profile, placement.profile.as_deref(), role, drives.as_deref())
                {
                    self.check_drives_of_profile(&t, profile, role, drives);
                }
                (placement.whole().map(Some), drives)
            }
        };
        if let (Some(Role::Compute), Some([_, ..])) = (role, data_drives.as_deref()) {
            let (why, instead) = (
                "a node with the role compute holds no data",
                "leave data_drives out, or write role = \"compute-storage\"",
            );
            self.walker.fault(PlanFault::error("drives_on_compute_node", t.key("data_drives"), why, instead));
        }
        let optional = |ip: Field<Ipv4Addr>| match ip {
            Field::Good(ip) => Some(Some(ip)),
            Field::Absent => Some(None),
            Field::Bad => None,
        };
        Some(NodePlan {
            server_id: server_id.good()?,
            server_name: server_name?,
            mgmt_ip: optional(mgmt_ip)?,
            ahv_ip: optional(ahv_ip)?,
            cvm_ip: optional(cvm_ip)?,
            role: role?,
            data_drives: data_drives?,
            data_drives_by: data_drives_by?,
            node_position: node_position?,
            existing: existing?,
            placement: placement?,
        })
    }

    /// An imaged node is found by its controller VM; nothing of it is ordered, so keys about ordering are idle.
    fn existing_node(&mut self, t: &Table<'_>, ahv_ip: &Field<Ipv4Addr>, cvm_ip: &Field<Ipv4Addr>) {
        if cvm_ip.is_absent() {
            self.walker.missing(t.key("cvm_ip"), "cvm_ip = \"…\": an existing node is found by its controller VM");
        }
        if ahv_ip.is_absent() && self.formation == Some(FormationChoice::Foundation) {
            self.walker.missing(t.key("ahv_ip"), "ahv_ip = \"…\": Foundation is told every hypervisor's address");
        } else if ahv_ip.is_absent() {
            let why = "its hypervisor isn't found without an address, and keeps the passwords it was born with";
            let instead = "add ahv_ip = \"…\"";
            self.walker.fault(PlanFault::error("hypervisor_unknown", t.key("ahv_ip"), why, instead).as_warning());
        }
        for key in CLOUD.keys.iter().filter(|key| t.get(key).is_some()) {
            let why = "an existing node is never ordered";
            let instead = format!("leave {key} out, or write existing = false");
            self.walker.fault(PlanFault::error("key_has_no_effect", t.key(key), why, instead).as_warning());
        }
    }
}
