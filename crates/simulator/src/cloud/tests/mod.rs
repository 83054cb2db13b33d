//! The rules of the simulated cloud, each by requests alone.

mod addresses;
mod dns;
mod faults;
mod interfaces;
mod life;
mod lists;
mod required;
mod servers;
mod tokens;

use super::*;
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr};

/// A cloud, a client with a token, and a time that only moves when told.
struct Rig {
    cloud: Cloud,
    now: Timestamp,
    token: String,
    ids: PlanIds,
}

const START: Timestamp = Timestamp::from_seconds(1_790_000_000);

/// The request as a client sends it; `target` is the path with its query.
fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Request {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Request {
        method: method.into(),
        path: path.into(),
        query: url::form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
        headers: headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        body: body.into(),
        from: IpAddr::V4(Ipv4Addr::LOCALHOST),
    }
}

fn answer(reply: Reply) -> (u16, Value) {
    let Reply::Answer(response) = reply else { panic!("no answer: {reply:?}") };
    (response.status, serde_json::from_slice(&response.body).unwrap_or_default())
}

impl Rig {
    fn new() -> Self {
        Rig::with(CloudSettings::default())
    }

    fn with(settings: CloudSettings) -> Self {
        let mut cloud = Cloud::new(settings, START);
        let ids = cloud.plan_ids();
        let token = tokens::log_in(&mut cloud, START);
        Rig { cloud, now: START, token, ids }
    }

    /// Sends a request to the VPC API.
    fn send(&mut self, method: &str, path: &str, body: Option<Value>) -> Reply {
        let joint = if path.contains('?') { '&' } else { '?' };
        let target = format!("/v1{path}{joint}version=2026-10-06&generation=2");
        let bearer = format!("Bearer {}", self.token);
        let body = body.map_or_else(Vec::new, |body| body.to_string().into_bytes());
        let request = request(method, &target, &[("authorization", &bearer)], &body);
        self.cloud.handle(self.now, Face::Vpc, &request)
    }

    fn call(&mut self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        answer(self.send(method, path, body))
    }

    fn get(&mut self, path: &str) -> (u16, Value) {
        self.call("GET", path, None)
    }

    fn post(&mut self, path: &str, body: Value) -> (u16, Value) {
        self.call("POST", path, Some(body))
    }

    fn delete(&mut self, path: &str) -> u16 {
        self.call("DELETE", path, None).0
    }

    /// A request that must be refused so: status, code.
    #[track_caller]
    fn refused(&mut self, status: u16, code: &str, method: &str, path: &str, body: Option<Value>) -> String {
        let (got, json) = self.call(method, path, body);
        assert_eq!((got, json["errors"][0]["code"].as_str().unwrap_or_default()), (status, code), "{json}");
        json["errors"][0]["message"].as_str().unwrap_or_default().into()
    }

    fn wait(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
        self.cloud.advance(self.now);
    }

    fn minutes(&mut self, minutes: u64) {
        self.wait(60 * minutes);
    }

    fn reserved_ips(&self) -> String {
        format!("/subnets/{}/reserved_ips", self.ids.subnet)
    }

    /// A new interface with that name and address; its id.
    fn vni(&mut self, name: &str, address: &str) -> String {
        let subnet = self.ids.subnet.clone();
        let body = json!({"name": name, "subnet": {"id": subnet}, "primary_ip": {"address": address}});
        let (status, json) = self.post("/virtual_network_interfaces", body);
        assert_eq!(status, 201, "{json}");
        json["id"].as_str().unwrap().into()
    }

    fn ipxe_image(&mut self) -> String {
        let (_, json) = self.get("/images?user_data_format=ipxe&visibility=public&status=available");
        json["images"][0]["id"].as_str().unwrap().into()
    }

    fn initialization(&mut self) -> Value {
        let image = self.ipxe_image();
        json!({
            "image": {"id": image}, "keys": [{"id": self.ids.key}],
            "user_data": "http://10.240.0.4:8080/boot/ipxe/server-001?t=secret",
        })
    }

    /// The body of a server create on that interface.
    fn server_body(&mut self, name: &str, vni: &str) -> Value {
        json!({
            "name": name,
            "profile": {"name": "bx2d-metal-96x384"},
            "zone": {"name": "us-south-1"},
            "vpc": {"id": self.ids.vpc},
            "initialization": self.initialization(),
            "primary_network_attachment": {"name": "eth0", "virtual_network_interface": {"id": vni}},
        })
    }

    /// A new server on a new interface; the ids of both.
    fn server(&mut self, name: &str, address: &str) -> (String, String) {
        let vni = self.vni(&format!("{name}-vni"), address);
        let body = self.server_body(name, &vni);
        let (status, json) = self.post("/bare_metal_servers", body);
        assert_eq!((status, json["status"].as_str()), (201, Some("pending")), "{json}");
        (json["id"].as_str().unwrap().into(), vni)
    }

    fn status(&mut self, server: &str) -> String {
        let (status, json) = self.get(&format!("/bare_metal_servers/{server}"));
        if status == 404 { "gone".into() } else { json["status"].as_str().unwrap().into() }
    }

    fn act(&mut self, server: &str, action: &str) -> u16 {
        let body = action.strip_prefix("stop-").map(|how| json!({"type": how}));
        let action = action.split('-').next().unwrap();
        self.call("POST", &format!("/bare_metal_servers/{server}/{action}"), body).0
    }

    fn ledger(&self) -> Vec<(&'static str, String, bool)> {
        self.cloud.ledger().into_iter().map(|e| (e.kind, e.name, e.deleted_at.is_some())).collect()
    }
}
