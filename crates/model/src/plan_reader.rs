//! Reads a plan and tells all that is wrong with it at once, each fault with its line (TOML) or pointer (JSON).
//!
//! Both formats become one tree ([`tree`]); one walk over it ([`walker`]) takes every key, with a file for each kind of
//! table; the rules over several keys are [`crate::plan_rules`]. `serde` derives on [`Plan`] were rejected for reading:
//! they stop at the first fault. A plan that was accepted, written out again, reads back as the same plan.

mod cloud;
mod cluster;
mod drives;
mod node;
mod tree;
mod walker;

use crate::{
    FormationChoice, NodePlan, Place, Plan, PlanFault, Profiles, Severity,
    plan_rules::{self, MAX_NODES},
};
use cloud::{CLOUD, CloudKeys};
use cluster::CLUSTER;
use drives::DriveFault;
use node::NODE;
use std::{collections::BTreeMap, net::Ipv4Addr};
use tree::{Located, Places, Value, parse_json, parse_toml};
use walker::{Section, Table, Walker};

/// Largest plan in bytes.
pub const MAX_PLAN_BYTES: usize = 256 * 1024;

/// Most faults told of one plan; a document that isn't a plan at all has no end of them.
const MAX_FAULTS: usize = 200;

/// How a plan is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanFormat {
    /// TOML.
    Toml,
    /// JSON.
    Json,
}

impl PlanFormat {
    /// By the file's name where that tells, else by the first character: only JSON begins with a brace.
    pub fn detect(file_name: Option<&str>, text: &str) -> PlanFormat {
        match file_name
            .and_then(|name| name.rsplit_once('.'))
            .map(|(_, extension)| extension.to_ascii_lowercase())
            .as_deref()
        {
            Some("toml") => PlanFormat::Toml,
            Some("json") => PlanFormat::Json,
            _ if text.trim_start_matches('\u{feff}').trim_start().starts_with('{') => PlanFormat::Json,
            _ => PlanFormat::Toml,
        }
    }
}

/// A plan without errors.
#[derive(Debug, Clone)]
pub struct CheckedPlan {
    /// The plan, every default filled in.
    pub plan: Plan,
    /// What the operator should know of it.
    pub warnings: Vec<PlanFault>,
    places: Places,
}

impl CheckedPlan {
    /// Where a path such as `nodes[1].mgmt_ip` stands in the text it was read from: a line of TOML, a pointer into
    /// JSON. For what doesn't stand there itself, the nearest above it.
    pub fn pointer_or_line(&self, path: &str) -> Place {
        self.places.find(path).1
    }

    /// Gives faults that were found later (against the cloud's subnet, for example) their places, and sorts them.
    pub fn locate(&self, faults: Vec<PlanFault>) -> Vec<PlanFault> {
        locate(&self.places, faults)
    }
}

/// Reads and checks a plan. The error holds every fault, warnings included, in the text's order; at least one is an
/// error.
pub fn read_plan(text: &str, format: PlanFormat, profiles: &Profiles) -> Result<CheckedPlan, Vec<PlanFault>> {
    if text.len() > MAX_PLAN_BYTES {
        let why = format!("the plan has {} bytes", text.len());
        return Err(vec![PlanFault::error("too_large", "", why, format!("keep it within {MAX_PLAN_BYTES}"))]);
    }
    let text = text.trim_start_matches('\u{feff}');
    let (tree, toml) = match format {
        PlanFormat::Toml => (parse_toml(text), Some(text)),
        PlanFormat::Json => (parse_json(text), None),
    };
    let tree = tree.map_err(|fault| vec![*fault])?;
    let places = Places::of(&tree, toml);
    let mut reader = PlanReader {
        walker: Walker::default(),
        profiles,
        formation: None,
        claims: Claims::default(),
        drive_faults: BTreeMap::new(),
    };
    let plan = reader.read(&tree);
    let faults = locate(&places, reader.walker.faults);
    match plan {
        Some(plan) if !faults.iter().any(PlanFault::is_error) => Ok(CheckedPlan { plan, warnings: faults, places }),
        _ => Err(faults),
    }
}

fn locate(places: &Places, faults: Vec<PlanFault>) -> Vec<PlanFault> {
    let mut placed: Vec<(usize, PlanFault)> = faults
        .into_iter()
        .map(|fault| {
            let (order, place) = places.find(&fault.path);
            (order, PlanFault { place, ..fault })
        })
        .collect();
    placed.sort_by_key(|(order, _)| *order);
    let mut faults: Vec<PlanFault> = placed.into_iter().map(|(_, fault)| fault).collect();
    if faults.len() > MAX_FAULTS {
        let why = format!("{} more faults are not listed", faults.len() - MAX_FAULTS);
        let severity = if faults.iter().any(PlanFault::is_error) { Severity::Error } else { Severity::Warning };
        faults.truncate(MAX_FAULTS);
        let more = PlanFault::error("more_faults", "", why, "mend these first");
        faults.push(PlanFault { place: places.find("").1, severity, ..more });
    }
    faults
}

const ROOT: Section = Section { name: "a plan", keys: &["cluster", "cloud", "nodes"] };

struct PlanReader<'p> {
    walker: Walker,
    profiles: &'p Profiles,
    /// Known once `[cluster]` has been read; existing nodes are asked for more when Foundation forms the cluster.
    formation: Option<FormationChoice>,
    claims: Claims,
    /// Faults of profile and drives, by where they are told. A profile that all nodes take from `[cloud]` is one fault.
    drive_faults: BTreeMap<(String, &'static str, bool), DriveFault>,
}

/// What has to be unique, with who claims it; kept apart from the plan, so that one node's fault hides no other's.
#[derive(Default)]
struct Claims {
    addresses: Vec<(String, Ipv4Addr)>,
    server_ids: Vec<(String, String)>,
    server_names: Vec<(String, String)>,
    /// Subnets of nodes that are ordered.
    subnets: Vec<(usize, String)>,
    /// Nodes that are ordered.
    ordered: usize,
    /// Cloud keys that neither `[cloud]` nor the node has.
    missing: BTreeMap<&'static str, Vec<usize>>,
}

impl PlanReader<'_> {
    fn read(&mut self, tree: &Located) -> Option<Plan> {
        let root = self.walker.table(tree, String::new(), &ROOT, &[&CLUSTER, &CLOUD, &NODE])?;
        let nodes = self.node_items(&root);
        let cluster = match root.get("cluster") {
            Some(at) => self.cluster(at, nodes),
            None => {
                self.walker.missing("cluster".into(), "a [cluster] table with at least name and external_ip");
                None
            }
        };
        let cloud = match root.get("cloud") {
            Some(at) => match self.walker.table(at, "cloud".into(), &CLOUD, &[&CLUSTER, &NODE]) {
                Some(table) => self.cloud_keys(&table),
                None => CloudKeys::BAD,
            },
            None => CloudKeys::NONE,
        };
        let read: Vec<Option<NodePlan>> =
            nodes.unwrap_or_default().iter().enumerate().map(|(i, at)| self.node(i, at, &cloud)).collect();
        self.tell_missing_cloud_keys();
        self.tell_drive_faults();
        self.check_claims();
        Some(Plan { cluster: cluster?, nodes: read.into_iter().collect::<Option<_>>()? })
    }

    /// The entries of `nodes`, at most [`MAX_NODES`].
    fn node_items<'t>(&mut self, root: &Table<'t>) -> Option<&'t [Located]> {
        let example = "one [[nodes]] table for each node";
        match root.get("nodes").map(|at| &at.value) {
            None => self.walker.missing("nodes".into(), example),
            Some(Value::List(items)) if items.is_empty() => {
                self.walker.fault(PlanFault::error(
                    "empty_list",
                    "nodes",
                    "a cluster has at least one node",
                    format!("write {example}"),
                ));
            }
            Some(Value::List(items)) => {
                self.walker.faults.extend(plan_rules::check_size(items.len()));
                return Some(&items[..items.len().min(MAX_NODES)]);
            }
            Some(other) => {
                let why = format!("{} where a list of tables is needed", other.kind());
                let instead = "write [[nodes]] with two brackets, once for each node (JSON: \"nodes\": [{…}])";
                self.walker.fault(PlanFault::error("wrong_type", "nodes", why, instead).with_value(other));
            }
        }
        None
    }

    fn check_claims(&mut self) {
        let Claims { addresses, server_ids, server_names, subnets, .. } = &self.claims;
        let mut faults = plan_rules::check_unique(addresses, "machine, hypervisor, controller VM and the cluster");
        let ids = plan_rules::check_unique(server_ids, "node");
        // Equal ids without names are one fault, not two.
        let named = plan_rules::check_unique(server_names, "node");
        faults.extend(named.into_iter().filter(|fault| !ids.iter().any(|id| id.path == fault.path)));
        faults.extend(ids);
        if let Some((first, subnet)) = subnets.first() {
            for (index, other) in subnets.iter().filter(|(_, other)| other != subnet) {
                let why =
                    format!("nodes[{first}] is in {subnet}, and all controller VMs of a cluster share one subnet");
                let fault = PlanFault::error(
                    "different_subnets",
                    format!("nodes[{index}].subnet"),
                    why,
                    "give all nodes the same subnet",
                );
                faults.push(fault.with_value(other));
            }
        }
        self.walker.faults.extend(faults);
    }
}
