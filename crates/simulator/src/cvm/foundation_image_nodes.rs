//! Foundation on a CVM as the published clients know it: plain HTTP without authentication, `POST image_nodes` begins a
//! session, `GET progress` tells how far it is. Names and types are those of the Terraform provider and the Ansible
//! collection (verified in their source). Only forming is simulated, `image_now: false`.
//!
//! Status 500 with `{"error": {message, details, session_id}}` for every fault, and the answer of an idle Foundation, are
//! from older material and not confirmed. A session lives in its Foundation: it is lost when the CVM goes down. What is
//! malformed is refused at once; what only shows on the nodes stops the session. The latter is inferred: clients do get
//! session ids for requests that then fail.

use super::{Cvm, Fleet, NewCluster, check_redundancy};
use crate::{
    fault::{CvmFault, Faults},
    http::{Reply, Request, Response},
};
use metalform_model::Timestamp;
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    time::Duration,
};
use uuid::Uuid;

const FIELDS: &[&str] = &[
    "blocks",
    "clusters",
    "cvm_gateway",
    "cvm_netmask",
    "eos_metadata",
    "fc_settings",
    "hypervisor_gateway",
    "hypervisor_iso",
    "hypervisor_nameserver",
    "hypervisor_netmask",
    "hypervisor_password",
    "ipmi_gateway",
    "ipmi_netmask",
    "ipmi_password",
    "ipmi_user",
    "nos_package",
    "skip_hypervisor",
    "tests",
];
const BLOCK_FIELDS: &[&str] = &["block_id", "nodes"];
const NODE_FIELDS: &[&str] = &[
    "bond_lacp_rate",
    "bond_mode",
    "bond_uplinks",
    "cluster_id",
    "current_cvm_vlan_tag",
    "current_network_interface",
    "cvm_gb_ram",
    "cvm_ip",
    "cvm_num_vcpus",
    "device_hint",
    "exlude_boot_serial",
    "hypervisor",
    "hypervisor_hostname",
    "hypervisor_ip",
    "image_delay",
    "image_now",
    "image_successful",
    "ipmi_configure_now",
    "ipmi_gateway",
    "ipmi_ip",
    "ipmi_mac",
    "ipmi_netmask",
    "ipmi_password",
    "ipmi_user",
    "ipv6_address",
    "ipv6_interface",
    "mitigate_low_boot_space",
    "node_position",
    "node_serial",
    "rdma_mac_addr",
    "rdma_passthrough",
    "vswitches",
];
const CLUSTER_FIELDS: &[&str] = &[
    "backplane_netmask",
    "backplane_subnet",
    "backplane_vlan",
    "cluster_external_ip",
    "cluster_init_now",
    "cluster_init_successful",
    "cluster_members",
    "cluster_name",
    "cvm_dns_servers",
    "cvm_ntp_servers",
    "enable_ns",
    "hypervisor_ntp_servers",
    "redundancy_factor",
    "single_node_cluster",
    "timezone",
];
const VERSION: &str = "foundation-5.6-simulated\n";
/// How long a session looks for nodes before it stops.
const SEARCH: Duration = Duration::from_secs(120);

/// The sessions of all CVMs' Foundations.
#[derive(Debug, Clone, Default)]
pub(super) struct Sessions {
    /// Oldest first.
    list: Vec<Session>,
    made: u64,
}

impl Sessions {
    /// The Foundation of that CVM ends; what goes on elsewhere because of it goes on.
    pub fn lose(&mut self, server_id: &str) {
        self.list.retain(|session| session.server_id != server_id);
    }
}

#[derive(Debug, Clone)]
struct Session {
    id: Uuid,
    /// Whose Foundation it is.
    server_id: String,
    begun_at: Timestamp,
    cluster_name: String,
    members: Vec<Ipv4Addr>,
    course: Course,
}

/// What becomes of a session.
#[derive(Debug, Clone)]
enum Course {
    /// It ends when that cluster is up.
    Forms(Uuid),
    /// It gives up.
    Stops { at: Timestamp, why: String },
    /// Nobody asked for a cluster: it ends at once, and says that all is done.
    Nothing,
}

/// A request that makes sense.
struct Order {
    cluster_name: String,
    members: Vec<Ipv4Addr>,
    /// To be formed, or why that can't work.
    wanted: Option<Result<NewCluster, String>>,
}

fn refuse(status: u16, message: &str) -> Reply {
    Reply::Answer(Response::json(status, &json!({"error": {"message": message, "details": {}, "session_id": null}})))
}

impl Fleet {
    pub(super) fn handle_image_nodes(
        &mut self,
        now: Timestamp,
        server_id: &str,
        request: &Request,
        faults: &mut Faults,
    ) -> Reply {
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/foundation/version") => Reply::Answer(Response {
                status: 200,
                headers: vec![("content-type".into(), "text/plain".into())],
                body: VERSION.into(),
            }),
            ("POST", "/foundation/image_nodes") => self.begin_session(now, server_id, request, faults),
            ("GET", "/foundation/progress") => self.show_progress(now, server_id, request.query("session_id")),
            (_, "/foundation/version" | "/foundation/image_nodes" | "/foundation/progress") => {
                refuse(405, "method not allowed")
            }
            _ => refuse(404, "no such method"),
        }
    }

    fn begin_session(&mut self, now: Timestamp, server_id: &str, request: &Request, faults: &mut Faults) -> Reply {
        let asked = self.cvms.get(server_id).map_or_else(String::new, |cvm| cvm.host.server_name.clone());
        let order = match self.check_image_nodes(now, server_id, request) {
            Ok(order) => order,
            Err(why) => return refuse(500, &why),
        };
        let stops = |why: String, after: Duration| Course::Stops { at: now + after, why };
        let course = match order.wanted {
            None => Course::Nothing,
            Some(Err(why)) => stops(why, self.pace.about(SEARCH)),
            Some(Ok(_)) if faults.take_cvm(&asked, |fault| *fault == CvmFault::FormationFails).is_some() => {
                stops("Could not discover all nodes specified.".into(), self.pace.about(SEARCH))
            }
            Some(Ok(wanted)) => Course::Forms(self.form(now, wanted, faults, &asked).uuid),
        };
        let sessions = &mut self.foundation_sessions;
        sessions.made += 1;
        let id = crate::pace::uuid(self.settings.seed, &format!("foundation session {}", sessions.made));
        let Order { cluster_name, members, .. } = order;
        let server_id = server_id.to_owned();
        sessions.list.push(Session { id, server_id, begun_at: now, cluster_name, members, course });
        if faults.take_cvm(&asked, |fault| *fault == CvmFault::CreateReplyLost).is_some() {
            return Reply::Lost;
        }
        Reply::Answer(Response::json(200, &json!({"session_id": id})))
    }

    fn show_progress(&self, now: Timestamp, server_id: &str, wanted: Option<&str>) -> Reply {
        let mut own = self.foundation_sessions.list.iter().rev().filter(|session| session.server_id == server_id);
        let session = match wanted {
            None => own.next(),
            Some(id) => match own.find(|session| session.id.to_string() == id) {
                Some(session) => Some(session),
                None => return refuse(500, &format!("Session {id} not found")),
            },
        };
        let Some(session) = session else {
            return Reply::Answer(Response::json(
                200,
                &json!({
                    "session_id": null, "imaging_stopped": true, "aggregate_percent_complete": 0.0,
                    "action": "", "results": [], "nodes": [], "clusters": [],
                }),
            ));
        };
        let (has_stopped, percent, status, messages) = self.stand_of(now, session);
        let elapsed = now.since(session.begun_at).as_secs_f64();
        let times = json!({"percent_complete": percent, "time_elapsed": elapsed, "time_total": null});
        let entry = |fields: Value| -> Value {
            let parts = [fields, times.clone()].into_iter().filter_map(|part| part.as_object().cloned());
            parts.flatten().collect::<Map<_, _>>().into()
        };
        let nodes: Vec<Value> = session
            .members
            .iter()
            .map(|cvm_ip| {
                let cvm = self.cvms.values().find(|cvm| cvm.ip() == *cvm_ip);
                let hypervisor_ip = cvm.map(|cvm| cvm.host.config.hypervisor_ip);
                entry(json!({"cvm_ip": cvm_ip, "hypervisor_ip": hypervisor_ip, "status": "", "messages": []}))
            })
            .collect();
        let cluster = entry(json!({
            "cluster_name": session.cluster_name, "cluster_members": session.members, "status": status,
            "messages": messages,
        }));
        Reply::Answer(Response::json(
            200,
            // No `abort_session`: not every release has it, and a client must do without.
            &json!({
                "session_id": session.id, "imaging_stopped": has_stopped, "aggregate_percent_complete": percent,
                "action": "", "results": [], "nodes": nodes, "clusters": [cluster],
            }),
        ))
    }

    /// Whether a session has stopped, its percentage, and what it says. The texts are those that users have seen.
    fn stand_of(&self, now: Timestamp, session: &Session) -> (bool, f64, &'static str, Vec<String>) {
        // Nears 100, and never gets there by time alone.
        let guess = |soon: Duration| {
            let elapsed = now.since(session.begun_at).as_secs_f64();
            (99.0 * elapsed / (elapsed + soon.as_secs_f64().max(0.001))).round()
        };
        match &session.course {
            Course::Nothing => (true, 100.0, "", Vec::new()),
            Course::Stops { at, why } if now >= *at => (true, 20.0, "", vec![why.clone()]),
            Course::Stops { .. } => (false, guess(SEARCH * 20), "Waiting for CVM to boot", Vec::new()),
            Course::Forms(uuid) => match self.clusters.get(uuid) {
                None => (true, 50.0, "", vec!["The cluster is gone".into()]),
                Some(cluster) if now >= cluster.up_at => (true, 100.0, "Cluster creation complete", Vec::new()),
                Some(_) => {
                    let takes = self.pace.exactly(self.settings.durations.create);
                    (false, guess(takes), "Initializing cluster", Vec::new())
                }
            },
        }
    }

    fn check_image_nodes(&self, now: Timestamp, server_id: &str, request: &Request) -> Result<Order, String> {
        let Ok(Value::Object(body)) = serde_json::from_slice(&request.body) else {
            return Err("the body is no JSON object".into());
        };
        check_known(&body, FIELDS)?;
        if !body.contains_key("nos_package") {
            return Err("nos_package is required.".into());
        }
        let [_, netmask, ..] = ["cvm_gateway", "cvm_netmask", "hypervisor_gateway", "hypervisor_netmask"]
            .map(|key| address(&body, key))
            .into_iter()
            .collect::<Result<Vec<_>, _>>()?[..]
        else {
            return Err("a netmask is missing".into());
        };
        let nodes = read_nodes(&body)?;
        let clusters = body.get("clusters").map_or(Ok(&[][..]), |list| objects(list, "clusters"))?;
        let cluster = match clusters {
            [] => return Ok(Order { cluster_name: String::new(), members: Vec::new(), wanted: None }),
            [Value::Object(cluster)] => cluster,
            _ => return Err("one cluster at a time is simulated".into()),
        };
        let (mut wanted, members, is_for_now) = self.read_cluster(server_id, cluster, &nodes)?;
        let reach = |ip: &Ipv4Addr| self.find_free(now, server_id, *ip);
        let found: Result<Vec<&Cvm>, String> = members.iter().map(reach).collect();
        let found = found.and_then(|cvms| same_as_said(&cvms, &nodes, netmask));
        let cluster_name = wanted.name.clone();
        let wanted = is_for_now.then(|| {
            found.map(|server_ids| {
                wanted.members = server_ids;
                wanted
            })
        });
        Ok(Order { cluster_name, members, wanted })
    }

    /// What is said of the cluster, still without its nodes; its CVMs; and whether to form it.
    fn read_cluster(
        &self,
        server_id: &str,
        cluster: &Map<String, Value>,
        nodes: &BTreeMap<Ipv4Addr, &Map<String, Value>>,
    ) -> Result<(NewCluster, Vec<Ipv4Addr>, bool), String> {
        check_known(cluster, CLUSTER_FIELDS)?;
        let name = text(cluster, "cluster_name")?;
        let vip = match cluster.get("cluster_external_ip") {
            None => return Err("cluster_external_ip is required.".into()),
            Some(Value::Null) => None,
            Some(_) => Some(address(cluster, "cluster_external_ip")?),
        };
        let factor = cluster.get("redundancy_factor").ok_or("redundancy_factor is required.")?;
        let redundancy_factor = factor.as_u64().ok_or("redundancy_factor: not a number")?;
        let list = cluster.get("cluster_members").ok_or("cluster_members is required.")?;
        let list = list.as_array().filter(|list| !list.is_empty()).ok_or("cluster_members: not a list of addresses")?;
        let members = list.iter().map(|ip| ip.as_str().and_then(|ip| ip.parse().ok())).collect::<Option<Vec<_>>>();
        let members: Vec<Ipv4Addr> = members.ok_or("cluster_members: not a list of addresses")?;
        if let Some(stranger) = members.iter().find(|ip| !nodes.contains_key(ip)) {
            return Err(format!("cluster_members: {stranger} is no node of a block"));
        }
        let unique: BTreeSet<_> = members.iter().collect();
        if unique.len() < members.len() {
            return Err("Provide unique IPs".into());
        }
        let flag = |key: &str| cluster.get(key).map(|value| value.as_bool().ok_or(format!("{key}: not true or false")));
        let now = flag("cluster_init_now").ok_or("cluster_init_now is required.")??;
        if flag("single_node_cluster").transpose()?.unwrap_or(false) != (members.len() == 1) {
            return Err(format!("single_node_cluster does not fit {} members", members.len()));
        }
        let servers = |key: &str| texts(cluster, key);
        let (name_servers, ntp_servers) = (servers("cvm_dns_servers")?, servers("cvm_ntp_servers")?);
        servers("hypervisor_ntp_servers")?;
        if name_servers.iter().any(|server| server.parse::<Ipv4Addr>().is_err()) {
            return Err("cvm_dns_servers: Invalid IPv4 addresses".into());
        }
        let timezone = cluster.get("timezone").map_or(Ok("UTC".into()), |_| text(cluster, "timezone"))?;
        check_redundancy(redundancy_factor, members.len())?;
        if let (Some(vip), Some(cvm)) = (vip, self.cvms.get(server_id)) {
            self.check_vip(vip, cvm)?;
        }
        let drops = self.settings.foundation_drops_servers;
        let wanted = NewCluster {
            name,
            vip,
            redundancy_factor,
            timezone: if drops { "UTC".into() } else { timezone },
            name_servers: if drops { Vec::new() } else { name_servers },
            ntp_servers: if drops { Vec::new() } else { ntp_servers },
            members: Vec::new(),
            uuid: None,
        };
        Ok((wanted, members, now))
    }

    /// A CVM that genesis finds from the CVM that was asked, and that belongs to no cluster.
    fn find_free(&self, now: Timestamp, asked: &str, ip: Ipv4Addr) -> Result<&Cvm, String> {
        let found = match self.is_observed() {
            true => self.genesis_reaches(now, asked, ip),
            false => self.cvms.values().find(|cvm| cvm.answers() && cvm.ip() == ip),
        };
        let cvm = found.ok_or(format!("Could not discover all nodes specified. Undiscovered ips : {ip}"))?;
        if cvm.cluster.is_some() || cvm.foreign_cluster.is_some() {
            return Err(format!("SVM {ip} is already configured"));
        }
        Ok(cvm)
    }
}

/// The servers of these CVMs, if they are what was said of them.
fn same_as_said(
    cvms: &[&Cvm],
    nodes: &BTreeMap<Ipv4Addr, &Map<String, Value>>,
    netmask: Ipv4Addr,
) -> Result<Vec<String>, String> {
    for cvm in cvms {
        let (ip, config) = (cvm.ip(), &cvm.host.config);
        let said = |key: &str| nodes.get(&ip).and_then(|node| node[key].as_str()).unwrap_or_default();
        for (key, is) in [
            ("hypervisor_ip", config.hypervisor_ip.to_string()),
            ("hypervisor_hostname", config.hostname.clone()),
            ("node_position", config.node_position.clone()),
        ] {
            if said(key) != is {
                return Err(format!("{key} of the node with CVM {ip} is {is}"));
            }
        }
        if netmask != config.cidr.netmask() {
            return Err(format!("cvm_netmask of the node with CVM {ip} is {}", config.cidr.netmask()));
        }
    }
    Ok(cvms.iter().map(|cvm| cvm.host.server_id.clone()).collect())
}

/// All nodes of all blocks, by CVM.
fn read_nodes(body: &Map<String, Value>) -> Result<BTreeMap<Ipv4Addr, &Map<String, Value>>, String> {
    let mut nodes = BTreeMap::new();
    let blocks = objects(body.get("blocks").ok_or("blocks is required.")?, "blocks")?;
    for block in blocks.iter().filter_map(Value::as_object) {
        check_known(block, BLOCK_FIELDS)?;
        let list = objects(block.get("nodes").ok_or("nodes is required.")?, "nodes")?;
        for node in list.iter().filter_map(Value::as_object) {
            check_known(node, NODE_FIELDS)?;
            text(node, "hypervisor_hostname")?;
            text(node, "node_position")?;
            address(node, "hypervisor_ip")?;
            if text(node, "hypervisor")? != "kvm" {
                return Err("hypervisor: only kvm is simulated".into());
            }
            if !node.contains_key("ipmi_ip") {
                return Err("ipmi_ip is required.".into());
            }
            match node.get("image_now").map(Value::as_bool) {
                Some(Some(false)) => {}
                Some(Some(true)) => return Err("nos_package is required to image a node".into()),
                Some(None) => return Err("image_now: not true or false".into()),
                None => return Err("image_now is required.".into()),
            }
            if nodes.insert(address(node, "cvm_ip")?, node).is_some() {
                return Err("Provide unique IPs".into());
            }
        }
    }
    if nodes.is_empty() { Err("blocks: no nodes".into()) } else { Ok(nodes) }
}

fn check_known(body: &Map<String, Value>, known: &[&str]) -> Result<(), String> {
    let unknown = body.keys().find(|key| !known.contains(&key.as_str()));
    unknown.map_or(Ok(()), |key| Err(format!("{key:?} is not a known field.")))
}

fn text(body: &Map<String, Value>, key: &str) -> Result<String, String> {
    let value = body.get(key).ok_or_else(|| format!("{key} is required."))?;
    let text = value.as_str().filter(|text| !text.trim().is_empty());
    text.map(Into::into).ok_or_else(|| format!("{key}: not a text"))
}

fn objects<'a>(value: &'a Value, key: &str) -> Result<&'a [Value], String> {
    let list = value.as_array().filter(|list| list.iter().all(Value::is_object));
    list.map(Vec::as_slice).ok_or(format!("{key}: not a list of objects"))
}

fn address(body: &Map<String, Value>, key: &str) -> Result<Ipv4Addr, String> {
    text(body, key)?.parse().map_err(|_| format!("{key}: Invalid IPv4 addresses"))
}

/// A text with commas as a list. A JSON list is refused: every published client sends a text.
fn texts(body: &Map<String, Value>, key: &str) -> Result<Vec<String>, String> {
    match body.get(key) {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => {
            Ok(text.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect())
        }
        Some(_) => Err(format!("{key}: not a text")),
    }
}

#[cfg(test)]
mod tests;
