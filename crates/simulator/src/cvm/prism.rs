//! Prism's REST API on a CVM, port 9440.
//!
//! Errors have the v2.0 shape `{message, detailed_message, error_code}` (API definitions in github.com/nutanix/Automation).
//! Every request is checked to the letter: a field that is missing, unknown or of the wrong kind is refused, so a client
//! that forgets the redundancy factor finds out here.

use super::{
    BeforeCreate, Cvm, Fleet, Front, NewCluster, auth::Denied, check_redundancy, cluster, services::ServiceState,
};
use crate::{
    fault::{CvmFault, Faults},
    http::{Reply, Request, Response},
};
use metalform_model::Timestamp;
use serde_json::{Map, Value, json};
use std::net::Ipv4Addr;

const BASE: &str = "/PrismGateway/services/rest/";
const CREATE_FIELDS: [&str; 5] = ["name", "external_ip", "redundancy_factor", "cluster_functions", "timezone"];

/// A refusal in Prism's shape.
fn refuse(status: u16, message: impl Into<String>) -> Response {
    let message = message.into();
    let code = 1000 + status;
    let mut response = Response::json(
        status,
        &json!({
            "message": message,
            "detailed_message": message,
            "error_code": {"code": code, "help_url": "http://my.nutanix.com"},
        }),
    );
    response.headers.extend([("server".into(), "Nutanix Prism".into()), ("x-ntnx-env".into(), "PE".into())]);
    response
}

/// What stands in front of Prism until its services are up.
fn starting_page() -> Response {
    Response {
        status: 503,
        headers: vec![("content-type".into(), "text/html".into())],
        body:
            b"<html><head><title>503 Service Unavailable</title></head><body>Prism services are starting.</body></html>"
                .to_vec(),
    }
}

impl Fleet {
    pub(super) fn handle_prism(
        &mut self,
        now: Timestamp,
        server_id: &str,
        request: &Request,
        faults: &mut Faults,
    ) -> Reply {
        let Some(cvm) = self.cvms.get(server_id) else { return Reply::Lost };
        match (self.is_observed(), self.front(now, cvm)) {
            (true, Front::Refused | Front::Reset) => return Reply::Lost,
            (true, Front::Page) => return Reply::Answer(starting_page()),
            (true, Front::Prism) => {}
            (false, _) if now < cvm.prism_at => return Reply::Answer(starting_page()),
            (false, _) => {}
        }
        let (account, lockout) = (self.prism_account(now, cvm), self.settings.lockout_after);
        let is_observed = self.is_observed();
        let Some(cvm) = self.cvms.get_mut(server_id) else { return Reply::Lost };
        if let Err(denied) = cvm.guard.admit(request, &account, lockout) {
            let mut response = refuse(401, denied.message());
            if denied != Denied::Locked {
                response.headers.push(("www-authenticate".into(), "Basic realm=\"Nutanix\"".into()));
            }
            return Reply::Answer(response);
        }
        let path = request.path.strip_prefix(BASE).unwrap_or_default();
        let is_first = match (request.method.as_str(), path) {
            ("POST", "v1/utils/change_default_system_password") => Some(true),
            ("PUT", "v1/users/change_password") => Some(false),
            _ => None,
        };
        if let Some(is_first) = is_first {
            return Reply::Answer(self.change_prism_password(now, server_id, &account.password, request, is_first));
        }
        if is_observed {
            return Reply::Answer(self.answer_observed(now, server_id, &request.method, path));
        }
        // It gives this answer, and then no other.
        let name = cvm.host.server_name.clone();
        let is_look = request.method == "GET" && matches!(path, "v1/cluster" | "v2.0/cluster");
        if is_look && faults.take_cvm(&name, |fault| *fault == CvmFault::Dead).is_some() {
            cvm.is_dead = true;
            self.changes += 1;
        }
        let response = match (request.method.as_str(), path) {
            ("GET", "v1/cluster") => {
                self.cvms.get(server_id).map(|cvm| Response::json(200, &cluster::show_v1(cvm, self.cluster_of(cvm))))
            }
            ("GET", "v2.0/cluster") => self.cvms.get(server_id).map(|cvm| self.show_cluster(now, cvm)),
            ("GET", "v2.0/hosts") => self.cvms.get(server_id).map(|cvm| self.show_hosts(now, cvm)),
            ("POST", "v2.0/clusters") => return self.create_through_prism(now, server_id, request, faults),
            (_, "v1/cluster" | "v2.0/cluster" | "v2.0/hosts" | "v2.0/clusters") => {
                Some(refuse(405, format!("Method {} is not allowed.", request.method)))
            }
            _ => None,
        };
        Reply::Answer(response.unwrap_or_else(|| refuse(404, format!("{} is not known.", request.path))))
    }

    fn show_cluster(&self, now: Timestamp, cvm: &Cvm) -> Response {
        match (self.cluster_of(cvm), cvm.foreign_cluster, self.settings.before_create) {
            (Some(cluster), ..) => Response::json(200, &cluster.show(now)),
            (None, Some(uuid), _) => Response::json(200, &cluster::show_foreign(uuid)),
            (None, None, BeforeCreate::Unnamed) => Response::json(200, &cluster::show_unnamed()),
            (None, None, BeforeCreate::NotConfigured) => refuse(404, "Cluster is currently unconfigured."),
        }
    }

    fn show_hosts(&self, now: Timestamp, cvm: &Cvm) -> Response {
        let Some(cluster) = self.cluster_of(cvm) else { return refuse(404, "Cluster is currently unconfigured.") };
        let members = cluster.members.iter().filter_map(|id| self.cvms.get(id)).enumerate();
        let is_well = |index: usize, cvm: &Cvm| {
            let is_sick = index == 0 && cluster.service_down;
            now >= cluster.up_at && !is_sick && cvm.answers()
        };
        list(members.map(|(index, cvm)| cluster.show_host(is_well(index, cvm), index, cvm)).collect())
    }

    /// What Prism of a formed cluster answers, by the API definitions: no field `cluster_status`, no POST of clusters.
    fn answer_observed(&self, now: Timestamp, server_id: &str, method: &str, path: &str) -> Response {
        let cvm = self.cvms.get(server_id);
        let Some((cvm, cluster)) = cvm.and_then(|cvm| Some((cvm, self.cluster_of(cvm)?))) else {
            return refuse(500, "Cluster is currently unconfigured.");
        };
        let (nodes, is_settled, hosts) = self.progress(now, cluster);
        match (method, path) {
            ("GET", "v1/cluster") => Response::json(200, &cluster::show_v1(cvm, Some(cluster))),
            ("GET", "v2.0/cluster") => Response::json(200, &cluster.show_published(nodes, is_settled)),
            ("GET", "v2.0/clusters") => list(vec![cluster.show_published(nodes, is_settled)]),
            ("GET", "v2.0/hosts") => {
                let is_well = |cvm: &Cvm| self.services(now, cvm).iter().all(|each| each.state == ServiceState::Up);
                let show = |(index, cvm): (usize, &&Cvm)| cluster.show_host(is_well(cvm), index, cvm);
                list(hosts.iter().enumerate().map(show).collect())
            }
            ("POST", "v2.0/clusters") => refuse(self.settings.observed.post_clusters, "POST is not supported here."),
            (_, "v1/cluster" | "v2.0/cluster" | "v2.0/hosts" | "v2.0/clusters") => {
                refuse(405, format!("Method {method} is not allowed."))
            }
            _ => refuse(404, format!("{BASE}{path} is not known.")),
        }
    }

    /// `POST v1/utils/change_default_system_password` (`is_first`) and `PUT v1/users/change_password`, for later changes
    /// (yuichi110/nutanix_japan_poc_mgmt): in v1, names are in camel case, in its errors too.
    fn change_prism_password(
        &mut self,
        now: Timestamp,
        server_id: &str,
        current: &str,
        request: &Request,
        is_first: bool,
    ) -> Response {
        let refuse = |status: u16, message: &str| {
            let error_code = json!({"code": 1000 + status, "helpUrl": "http://my.nutanix.com"});
            let body = json!({"message": message, "detailedMessage": message, "errorCode": error_code});
            Response::json(status, &body)
        };
        let Ok(Value::Object(body)) = serde_json::from_slice(&request.body) else {
            return refuse(400, "The body is no JSON object.");
        };
        if let Err(why) = check_keys(&body, &["oldPassword", "newPassword"]) {
            return refuse(400, &why);
        }
        let (old, new) = match (text(&body, "oldPassword"), text(&body, "newPassword")) {
            (Ok(old), Ok(new)) => (old, new),
            (Err(why), _) | (_, Err(why)) => return refuse(400, &why),
        };
        if old != current {
            return refuse(500, "The old password is not correct.");
        }
        let members: Vec<String> = match self.cvms.get(server_id).and_then(|cvm| self.cluster_of(cvm)) {
            Some(cluster) => cluster.members.iter().filter(|id| *id != server_id).cloned().collect(),
            None => Vec::new(),
        };
        // Who was asked knows it at once, the last one when all is done.
        let sync = self.pace.about(self.settings.durations.password_sync);
        let count = u32::try_from(members.len()).unwrap_or(1).max(1);
        let taken_at = (1..).zip(members).map(|(nth, id)| (id, now + sync * nth / count)).collect();
        let only_default = is_first && self.settings.changes_only_default_password;
        let Some(cvm) = self.cvms.get_mut(server_id) else { return refuse(500, "No such node.") };
        let cluster = cvm.cluster.and_then(|uuid| self.clusters.get_mut(&uuid));
        let password = cluster.map_or(&mut cvm.prism, |cluster| &mut cluster.prism);
        if only_default && !password.is_default() {
            return refuse(500, "The default password has been changed already.");
        }
        if let Err(why) = password.check(&new) {
            return refuse(500, why);
        }
        password.change(&new, taken_at);
        Response::json(200, &json!({"value": true}))
    }

    fn create_through_prism(
        &mut self,
        now: Timestamp,
        server_id: &str,
        request: &Request,
        faults: &mut Faults,
    ) -> Reply {
        let (wanted, asked) = match self.check_create(server_id, request) {
            Ok(checked) => checked,
            Err(response) => return Reply::Answer(response),
        };
        if faults.take_cvm(&asked, |fault| *fault == CvmFault::FormationFails).is_some() {
            return Reply::Answer(refuse(500, "Could not discover all nodes specified."));
        }
        let lost = faults.take_cvm(&asked, |fault| *fault == CvmFault::CreateReplyLost).is_some();
        let cluster = self.form(now, wanted, faults, &asked);
        if lost {
            return Reply::Lost;
        }
        Reply::Answer(Response::json(
            200,
            &json!({
                "uuid": cluster.uuid,
                "name": cluster.name,
                "cluster_external_ip": cluster.vip,
                "num_nodes": cluster.members.len(),
                "cluster_status": cluster.status(now),
            }),
        ))
    }

    /// The cluster that a create request means, and the name of the server that was asked.
    fn check_create(&self, server_id: &str, request: &Request) -> Result<(NewCluster, String), Response> {
        let bad = |why: String| refuse(400, why);
        let is_json = request.header("content-type").is_some_and(|kind| kind.starts_with("application/json"));
        if !is_json {
            return Err(refuse(415, "Content-Type must be application/json."));
        }
        let body = match serde_json::from_slice(&request.body) {
            Ok(Value::Object(body)) => body,
            _ => return Err(bad("The body is no JSON object.".into())),
        };
        let cvm = self.cvms.get(server_id).ok_or_else(|| refuse(404, "No such node."))?;
        let config = &cvm.host.config;
        check_keys(&body, &CREATE_FIELDS).map_err(bad)?;
        let name = text(&body, "name").map_err(bad)?;
        let vip: Ipv4Addr = text(&body, "external_ip")
            .map_err(bad)?
            .parse()
            .map_err(|_| bad("external_ip: Invalid IPv4 address.".into()))?;
        let factor =
            body["redundancy_factor"].as_u64().ok_or_else(|| bad("redundancy_factor: not a number.".into()))?;
        if body["cluster_functions"] != json!(["AOS"]) {
            return Err(bad("cluster_functions: only [\"AOS\"] can be created here.".into()));
        }
        let timezone = text(&body, "timezone").map_err(bad)?;
        if !is_timezone(&timezone) {
            return Err(bad(format!("timezone: {timezone:?} is unknown.")));
        }
        if let Some(cluster) = self.cluster_of(cvm) {
            return Err(refuse(409, format!("This node belongs to the cluster {:?} already.", cluster.name)));
        }
        if name != config.cluster_name || name.len() > 75 {
            return Err(bad(format!("name: this node was prepared for the cluster {:?}.", config.cluster_name)));
        }
        self.check_vip(vip, cvm).map_err(bad)?;
        let members: Vec<&Cvm> = self
            .cvms
            .values()
            .filter(|cvm| cvm.answers() && cvm.cluster.is_none() && cvm.host.config.cluster_name == name)
            .collect();
        check_redundancy(factor, members.len()).map_err(bad)?;
        if let Some(taken) = members.iter().find(|cvm| cvm.foreign_cluster.is_some()) {
            return Err(refuse(500, format!("SVM {} is already configured", taken.ip())));
        }
        let wanted = NewCluster {
            vip: Some(vip),
            uuid: None,
            redundancy_factor: factor,
            timezone,
            // The request names none: the nodes were installed with them.
            name_servers: config.dns_servers.iter().map(ToString::to_string).collect(),
            ntp_servers: config.ntp_servers.clone(),
            members: members.iter().map(|cvm| cvm.host.server_id.clone()).collect(),
            name,
        };
        Ok((wanted, cvm.host.server_name.clone()))
    }

    /// The VIP must be free, in the CVMs' subnet, and the one the nodes were told.
    pub(super) fn check_vip(&self, vip: Ipv4Addr, cvm: &Cvm) -> Result<(), String> {
        let config = &cvm.host.config;
        if let Some(owner) = self.owner_of(vip) {
            return Err(format!("external_ip: {vip} is in use by {owner}."));
        }
        if !config.cidr.contains(&vip) {
            return Err(format!("external_ip: {vip} is not in the subnet {} of the CVMs.", config.cidr));
        }
        if vip != config.cluster_external_ip {
            return Err(format!("external_ip: this node was prepared for {}.", config.cluster_external_ip));
        }
        Ok(())
    }
}

/// How v2.0 shows many of a kind.
fn list(entities: Vec<Value>) -> Response {
    let count = entities.len();
    let metadata = json!({"grand_total_entities": count, "total_entities": count, "count": count, "page": 1});
    Response::json(200, &json!({"metadata": metadata, "entities": entities}))
}

/// Exactly these keys.
pub(super) fn check_keys(body: &Map<String, Value>, known: &[&str]) -> Result<(), String> {
    if let Some(missing) = known.iter().find(|key| !body.contains_key(**key)) {
        return Err(format!("{missing} is required."));
    }
    match body.keys().find(|key| !known.contains(&key.as_str())) {
        Some(unknown) => Err(format!("{unknown:?} is not a known field.")),
        None => Ok(()),
    }
}

pub(super) fn text(body: &Map<String, Value>, key: &str) -> Result<String, String> {
    match body.get(key).and_then(Value::as_str) {
        Some(text) if !text.is_empty() => Ok(text.to_owned()),
        _ => Err(format!("{key}: not a text, or empty.")),
    }
}

/// A name as in the tz database: `UTC`, `Europe/Berlin`, `Etc/GMT+3`.
pub(super) fn is_timezone(name: &str) -> bool {
    let plain = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_uppercase())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "_+-".contains(c))
    };
    name.split('/').count() <= 3 && name.split('/').all(plain)
}
