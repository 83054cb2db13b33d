//! Foundation on a CVM, port 8000: a cluster from a list of nodes (the first design's option 1). Published clients speak
//! plain HTTP without authentication there and know no such method; its errors, HTTP 500 for everything, are theirs.

use super::{
    Fleet, NewCluster, check_redundancy,
    prism::{check_keys, text},
};
use crate::{
    fault::{CvmFault, Faults},
    http::{Reply, Request, Response},
};
use metalform_model::Timestamp;
use serde_json::{Value, json};
use std::net::Ipv4Addr;

const FIELDS: [&str; 5] = ["cluster_name", "cluster_external_ip", "dns_servers", "ntp_servers", "nodes"];
const NODE_FIELDS: [&str; 4] = ["node_uuid", "hypervisor_ip", "cvm_ip", "node_position"];

fn refuse(status: u16, message: &str) -> Response {
    Response::json(status, &json!({"error": {"message": message, "details": {}, "session_id": null}}))
}

impl Fleet {
    pub(super) fn handle_foundation(
        &mut self,
        now: Timestamp,
        server_id: &str,
        request: &Request,
        faults: &mut Faults,
    ) -> Reply {
        let (account, lockout) = (self.settings.foundation.clone(), self.settings.lockout_after);
        let Some(cvm) = self.cvms.get_mut(server_id) else { return Reply::Lost };
        if let Err(denied) = cvm.foundation_guard.admit(request, &account, lockout) {
            return Reply::Answer(refuse(401, denied.message()));
        }
        if request.path != "/foundation/clusters" {
            return Reply::Answer(refuse(404, "no such method"));
        }
        if request.method != "POST" {
            return Reply::Answer(refuse(405, "method not allowed"));
        }
        let asked = cvm.host.server_name.clone();
        let wanted = match self.check_foundation_create(server_id, request) {
            Ok(wanted) => wanted,
            Err(why) => return Reply::Answer(refuse(500, &why)),
        };
        if faults.take_cvm(&asked, |fault| *fault == CvmFault::FormationFails).is_some() {
            return Reply::Answer(refuse(500, "Could not discover all nodes specified."));
        }
        let lost = faults.take_cvm(&asked, |fault| *fault == CvmFault::CreateReplyLost).is_some();
        let cluster = self.form(now, wanted, faults, &asked);
        if lost {
            return Reply::Lost;
        }
        let body =
            json!({"session_id": cluster.uuid, "cluster_name": cluster.name, "cluster_external_ip": cluster.vip});
        Reply::Answer(Response::json(200, &body))
    }

    fn check_foundation_create(&self, server_id: &str, request: &Request) -> Result<NewCluster, String> {
        let Ok(Value::Object(body)) = serde_json::from_slice(&request.body) else {
            return Err("the body is no JSON object".into());
        };
        check_keys(&body, &FIELDS)?;
        let cvm = self.cvms.get(server_id).ok_or("no such node")?;
        let name = text(&body, "cluster_name")?;
        let vip: Ipv4Addr =
            text(&body, "cluster_external_ip")?.parse().map_err(|_| "cluster_external_ip is no address")?;
        let texts = |key: &str| -> Result<Vec<String>, String> {
            let list = body[key].as_array().ok_or(format!("{key} is no list"))?;
            list.iter()
                .map(|item| item.as_str().map(Into::into).ok_or(format!("{key} holds more than texts")))
                .collect()
        };
        let (name_servers, ntp_servers) = (texts("dns_servers")?, texts("ntp_servers")?);
        let nodes = body["nodes"].as_array().filter(|nodes| !nodes.is_empty()).ok_or("nodes is no list of nodes")?;
        let mut members = Vec::new();
        for node in nodes {
            let Value::Object(node) = node else { return Err("a node is no object".into()) };
            check_keys(node, &NODE_FIELDS)?;
            let field = |key: &str| text(node, key);
            let cvm_ip = field("cvm_ip")?;
            let known = self.cvms.values().find(|cvm| cvm.answers() && cvm.ip().to_string() == cvm_ip);
            let known = known.ok_or(format!("Could not discover all nodes specified. Undiscovered ips : {cvm_ip}"))?;
            let config = &known.host.config;
            for (key, is) in [
                ("node_uuid", known.host.node_uuid.to_string()),
                ("hypervisor_ip", config.hypervisor_ip.to_string()),
                ("node_position", config.node_position.clone()),
            ] {
                if field(key)? != is {
                    return Err(format!("{key} of the node with CVM {cvm_ip} is {is}"));
                }
            }
            if known.cluster.is_some() || known.foreign_cluster.is_some() {
                return Err(format!("SVM {cvm_ip} is already configured"));
            }
            if config.cluster_name != name {
                return Err(format!("the node with CVM {cvm_ip} was prepared for {:?}", config.cluster_name));
            }
            members.push(known.host.server_id.clone());
        }
        let listed = members.len();
        members.sort();
        members.dedup();
        if members.len() < listed {
            return Err("Provide unique IPs".into());
        }
        self.check_vip(vip, cvm)?;
        let redundancy_factor = if listed == 1 { 1 } else { 2 };
        check_redundancy(redundancy_factor, listed)?;
        let timezone = "UTC".into();
        let (vip, uuid) = (Some(vip), None);
        Ok(NewCluster { name, vip, redundancy_factor, timezone, name_servers, ntp_servers, members, uuid })
    }
}
