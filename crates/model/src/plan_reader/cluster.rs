//! The `[cluster]` table.

use super::{
    PlanReader,
    cloud::CLOUD,
    node::NODE,
    tree::{Located, Value},
    walker::{Field, Section, Walker},
};
use crate::{
    ClusterPlan, FormationChoice, PlanFault, Role, Start,
    plan_rules::{self, MAX_NODES, nodes_needed, words},
};

pub(super) const CLUSTER: Section = Section {
    name: "[cluster]",
    keys: &[
        "name",
        "external_ip",
        "redundancy_factor",
        "cluster_functions",
        "timezone",
        "dns_servers",
        "ntp_servers",
        "formation",
        "min_nodes",
        "start",
    ],
};

impl PlanReader<'_> {
    pub(super) fn cluster(&mut self, at: &Located, nodes: Option<&[Located]>) -> Option<ClusterPlan> {
        let t = self.walker.table(at, "cluster".into(), &CLUSTER, &[&CLOUD, &NODE])?;
        let w = &mut self.walker;
        let name = w.text(&t, "name", words::cluster_name);
        if name.is_absent() {
            w.missing(t.key("name"), "name = \"my-nutanix-cluster\"");
        }
        let external_ip = w.address(&t, "external_ip");
        match external_ip {
            Field::Absent => {
                w.missing(t.key("external_ip"), "external_ip = \"…\", a free address of the nodes' subnet")
            }
            Field::Good(ip) => self.claims.addresses.push((t.key("external_ip"), ip)),
            Field::Bad => {}
        }
        let count = nodes.map_or(0, <[Located]>::len);
        // Nutanix' own default: one copy on a single node, else two.
        let redundancy_factor = w
            .integer(&t, "redundancy_factor", 1..=3)
            .or(if count == 1 { 1 } else { 2 })
            .and_then(|rf| u8::try_from(rf).ok());
        if let (Some(rf), Some(nodes)) = (redundancy_factor, nodes) {
            let storage = nodes.iter().filter(|node| !is_compute(node)).count();
            w.faults.extend(plan_rules::check_topology(rf, nodes.len(), storage));
        }
        let functions = w.set(&t, "cluster_functions", |w, path, at| w.text_item(path, at, words::cluster_function));
        if matches!(&functions, Field::Good(list) if list.is_empty()) {
            let why = "a cluster has at least one function";
            w.fault(PlanFault::error(
                "empty_list",
                t.key("cluster_functions"),
                why,
                "write [\"AOS\"], or leave the key out",
            ));
        }
        let timezone = w.text(&t, "timezone", words::timezone).or("UTC".into());
        let dns_servers = w.set(&t, "dns_servers", Walker::address_item).or(vec![]);
        let ntp_servers = w.set(&t, "ntp_servers", |w, path, at| w.text_item(path, at, words::host)).or(vec![]);
        if dns_servers.as_ref().is_some_and(Vec::is_empty) {
            let why = "the cluster gets no name server, and a single node doesn't come up without one";
            w.fault(
                PlanFault::error("no_dns_servers", t.key("dns_servers"), why, "write dns_servers = [\"8.8.8.8\"]")
                    .as_warning(),
            );
        }
        if ntp_servers.as_ref().is_some_and(Vec::is_empty) {
            let why = "the cluster gets no time server, and its nodes' clocks must keep in step";
            w.fault(
                PlanFault::error("no_ntp_servers", t.key("ntp_servers"), why, "write ntp_servers = [\"pool.ntp.org\"]")
                    .as_warning(),
            );
        }
        let formations = [
            ("auto", FormationChoice::Auto),
            ("prism", FormationChoice::Prism),
            ("foundation", FormationChoice::Foundation),
            ("cvm-ssh", FormationChoice::CvmSsh),
        ];
        let formation = w.word(&t, "formation", &formations).or(FormationChoice::Auto);
        self.formation = formation;
        if redundancy_factor == Some(1) && formation == Some(FormationChoice::Foundation) {
            let why = "Foundation was seen not to create clusters of one node";
            let instead = "write formation = \"auto\"";
            w.fault(PlanFault::error("foundation_one_node", t.key("formation"), why, instead).as_warning());
        }
        let start = w
            .word(&t, "start", &[("when-ready", Start::WhenReady), ("on-command", Start::OnCommand)])
            .or(Start::WhenReady);
        let min_nodes = match (redundancy_factor, count) {
            (Some(rf), 1..) if count >= nodes_needed(rf) => {
                let needed = nodes_needed(rf);
                w.integer(&t, "min_nodes", needed as u64..=count as u64).or(needed as u64)
            }
            // Nothing to compare with: that fault is told.
            _ => w.integer(&t, "min_nodes", 1..=MAX_NODES as u64).or(1),
        };
        Some(ClusterPlan {
            name: name.good()?,
            external_ip: external_ip.good()?,
            redundancy_factor: redundancy_factor?,
            cluster_functions: functions.or(vec!["AOS".into()])?,
            timezone: timezone?,
            dns_servers: dns_servers?,
            ntp_servers: ntp_servers?,
            formation: formation?,
            min_nodes: usize::try_from(min_nodes?).ok()?,
            start: start?,
        })
    }
}

/// Looks at the role before the node is read: a faulty one counts as storage, so that it makes no second fault.
fn is_compute(node: &Located) -> bool {
    let Value::Table(entries) = &node.value else { return false };
    entries
        .iter()
        .any(|e| e.key == "role" && matches!(&e.value.value, Value::Text(role) if role == Role::Compute.as_str()))
}
