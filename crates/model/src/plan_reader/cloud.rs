//! Where servers are ordered: the `[cloud]` table, and the same keys in a node, which win.

use super::{
    PlanReader,
    walker::{Field, Section, Table},
};
use crate::{Placement, PlanFault, Profiles, plan_rules::words};
use std::collections::BTreeMap;

pub(super) const CLOUD: Section =
    Section { name: "[cloud]", keys: &["vpc", "subnet", "zone", "profile", "ssh_keys", "security_groups"] };
/// `[cloud]`, or the same keys of a node.
pub(super) struct CloudKeys {
    pub(super) vpc: Field<String>,
    pub(super) subnet: Field<String>,
    pub(super) zone: Field<String>,
    pub(super) profile: Field<String>,
    pub(super) ssh_keys: Field<Vec<String>>,
    pub(super) security_groups: Field<Vec<String>>,
}

impl CloudKeys {
    /// No `[cloud]` at all: what nodes lack is missing.
    pub(super) const NONE: CloudKeys = CloudKeys {
        vpc: Field::Absent,
        subnet: Field::Absent,
        zone: Field::Absent,
        profile: Field::Absent,
        ssh_keys: Field::Absent,
        security_groups: Field::Absent,
    };

    /// A `[cloud]` that is no table: that fault is told, and what nodes lack isn't told again.
    pub(super) const BAD: CloudKeys = CloudKeys {
        vpc: Field::Bad,
        subnet: Field::Bad,
        zone: Field::Bad,
        profile: Field::Bad,
        ssh_keys: Field::Bad,
        security_groups: Field::Bad,
    };
}

impl PlanReader<'_> {
    pub(super) fn cloud_keys(&mut self, t: &Table<'_>) -> CloudKeys {
        let w = &mut self.walker;
        let keys = CloudKeys {
            vpc: w.text(t, "vpc", words::cloud_id),
            subnet: w.text(t, "subnet", words::cloud_id),
            zone: w.text(t, "zone", words::zone),
            profile: w.text(t, "profile", |_| Ok(())),
            ssh_keys: w.set(t, "ssh_keys", |w, path, at| w.text_item(path, at, words::cloud_id)),
            security_groups: w.set(t, "security_groups", |w, path, at| w.text_item(path, at, words::cloud_id)),
        };
        if matches!(&keys.ssh_keys, Field::Good(list) if list.is_empty()) {
            let why = "the cloud creates no server without an SSH key";
            self.walker.fault(PlanFault::error(
                "empty_list",
                t.key("ssh_keys"),
                why,
                "write ssh_keys = [\"…\"], the id of a key",
            ));
        }
        match &keys.profile {
            Field::Good(name) if self.profiles.get(name).is_none() => {
                let known: Vec<&str> = self.profiles.iter().map(|profile| profile.name.as_str()).collect();
                let instead = match nearest_profiles(name, &known).as_slice() {
                    [] => format!(
                        "write a profile such as {:?}, or add yours to the file of server profiles",
                        Profiles::DEFAULT
                    ),
                    near => format!("write {}, or add yours to the file of server profiles", near.join(" or ")),
                };
                let why = "no server profile of this name is known";
                self.walker.fault(PlanFault::error("unknown_profile", t.key("profile"), why, instead).with_value(name));
                CloudKeys { profile: Field::Bad, ..keys }
            }
            _ => keys,
        }
    }

    /// Merges the node's own cloud keys with those of `[cloud]`; also says where the profile stands.
    pub(super) fn placement(&mut self, index: usize, t: &Table<'_>, cloud: &CloudKeys) -> (PlacementDraft, String) {
        let own = self.cloud_keys(t);
        let profile_path = if own.profile.is_absent() { "cloud.profile".to_owned() } else { t.key("profile") };
        let missing = &mut self.claims.missing;
        fn need<T>(
            key: &'static str,
            field: Field<T>,
            index: usize,
            missing: &mut BTreeMap<&'static str, Vec<usize>>,
        ) -> Option<T> {
            if field.is_absent() {
                missing.entry(key).or_default().push(index);
            }
            field.good()
        }
        let draft = PlacementDraft {
            vpc: need("vpc", own.vpc.or_field(&cloud.vpc), index, missing),
            subnet: need("subnet", own.subnet.or_field(&cloud.subnet), index, missing),
            zone: need("zone", own.zone.or_field(&cloud.zone), index, missing),
            profile: own.profile.or_field(&cloud.profile).or(Profiles::DEFAULT.into()),
            ssh_keys: need("ssh_keys", own.ssh_keys.or_field(&cloud.ssh_keys), index, missing),
            security_groups: own.security_groups.or_field(&cloud.security_groups).or(vec![]),
        };
        self.claims.subnets.extend(draft.subnet.iter().map(|subnet| (index, subnet.clone())));
        (draft, profile_path)
    }

    /// A cloud key that no node has is missing once, in `[cloud]`.
    pub(super) fn tell_missing_cloud_keys(&mut self) {
        for (key, nodes) in std::mem::take(&mut self.claims.missing) {
            let value = match key {
                "ssh_keys" => "[\"r006-…\"]",
                "zone" => "\"us-south-1\"",
                "subnet" => "\"0717-…\"",
                _ => "\"r006-…\"",
            };
            if nodes.len() == self.claims.ordered {
                self.walker
                    .missing(format!("cloud.{key}"), &format!("{key} = {value} into [cloud], or into each node"));
            } else {
                for index in nodes {
                    self.walker
                        .missing(format!("nodes[{index}].{key}"), &format!("{key} = {value} here, or into [cloud]"));
                }
            }
        }
    }
}

fn nearest_profiles(name: &str, known: &[&str]) -> Vec<String> {
    let nearest = words::nearest(name, known);
    let family = name.split_once("-metal-").map(|(family, _)| format!("{family}-metal-"));
    let same_family = known.iter().filter(|k| family.as_ref().is_some_and(|family| k.starts_with(family.as_str())));
    let mut near: Vec<&str> = nearest.into_iter().chain(same_family.copied()).collect();
    let mut seen = std::collections::HashSet::new();
    near.retain(|name| seen.insert(*name));
    near.into_iter().take(3).map(|name| format!("{name:?}")).collect()
}

/// A [`Placement`] some keys of which may be missing.
pub(super) struct PlacementDraft {
    vpc: Option<String>,
    subnet: Option<String>,
    zone: Option<String>,
    pub(super) profile: Option<String>,
    ssh_keys: Option<Vec<String>>,
    security_groups: Option<Vec<String>>,
}

impl PlacementDraft {
    pub(super) fn whole(self) -> Option<Placement> {
        Some(Placement {
            vpc: self.vpc?,
            subnet: self.subnet?,
            zone: self.zone?,
            profile: self.profile?,
            ssh_keys: self.ssh_keys?,
            security_groups: self.security_groups?,
        })
    }
}
