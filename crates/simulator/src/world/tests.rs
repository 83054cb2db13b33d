mod emulated;

use super::*;
use crate::{
    cvm::{CvmProfile, Service},
    http::Response,
    machine::Stage,
    testing::{BootServer, Node, basic, create_body, request},
};
use ipnet::Ipv4Net;
use serde_json::{Value, json};
use std::time::Duration;

const START: Timestamp = Timestamp::from_seconds(1_795_000_000);

/// A world, a boot server and a client of the cloud, in virtual time.
struct Scene {
    world: World,
    boot: BootServer,
    now: Timestamp,
}

fn answer(reply: Reply) -> (u16, Value) {
    let Reply::Answer(Response { status, body, .. }) = reply else { panic!("no answer: {reply:?}") };
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

impl Scene {
    fn new() -> Self {
        Scene::with(CvmProfile::Documented)
    }

    fn with(profile: CvmProfile) -> Self {
        let subnet: Ipv4Net = "10.240.0.0/24".parse().unwrap();
        let mut settings = WorldSettings::new(7, 1.0, subnet);
        settings.cvms.profile = profile;
        let world = World::new(settings, START);
        Scene { world, boot: BootServer::new("10.240.0.2", subnet, 3), now: START }
    }

    /// A fresh token each time: they live for an hour.
    fn log_in(&mut self) -> String {
        let log_in = Request {
            headers: vec![("content-type".into(), "application/x-www-form-urlencoded".into())],
            body: b"grant_type=urn%3Aibm%3Aparams%3Aoauth%3Agrant-type%3Aapikey&apikey=cloud-secret".to_vec(),
            ..request("POST", "/identity/token", None, None)
        };
        let (_, token) = answer(self.world.cloud_request(self.now, Face::Iam, &log_in));
        format!("Bearer {}", token["access_token"].as_str().unwrap())
    }

    fn cloud(&mut self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let joint = if path.contains('?') { '&' } else { '?' };
        let target = format!("/v1{path}{joint}version=2026-10-06&generation=2");
        let request = request(method, &target, Some(self.log_in()), body);
        answer(self.world.cloud_request(self.now, Face::Vpc, &request))
    }

    fn order(&mut self, node: &Node) -> String {
        let ids = self.world.plan_ids();
        let vni =
            json!({"name": node.server_id, "subnet": {"id": ids.subnet}, "primary_ip": {"address": node.mgmt_ip}});
        let vni = self.cloud("POST", "/virtual_network_interfaces", Some(&vni)).1["id"].clone();
        let images = self.cloud("GET", "/images?user_data_format=ipxe&visibility=public&status=available", None).1;
        let server = json!({
            "name": node.server_id,
            "profile": {"name": "bx2d-metal-96x384"},
            "zone": {"name": ids.zone},
            "vpc": {"id": ids.vpc},
            "initialization": {
                "image": {"id": images["images"][0]["id"]}, "keys": [{"id": ids.key}],
                "user_data": self.boot.script_url(node),
            },
            "primary_network_attachment": {"name": "eth0", "virtual_network_interface": {"id": vni}},
        });
        let (status, server) = self.cloud("POST", "/bare_metal_servers", Some(&server));
        assert_eq!(status, 201, "{server}");
        server["id"].as_str().unwrap().to_owned()
    }

    fn order_all(&mut self) -> Vec<String> {
        self.boot.nodes.clone().iter().map(|node| self.order(node)).collect()
    }

    /// Lets the world run until `done`, at most a day.
    fn until(&mut self, done: impl Fn(&World) -> bool) {
        let end = self.now + Duration::from_secs(86_400);
        while !done(&self.world) {
            assert!(self.now < end, "it never came to it");
            for fetch in self.world.advance(self.now) {
                let result = self.boot.fetch(&fetch.http);
                self.world.fetched(self.now, fetch.id, result);
            }
            if !done(&self.world) {
                self.now = self.now.max(self.world.next_event_at()).min(end);
            }
        }
    }

    fn prism(&mut self, ip: Ipv4Addr, method: &str, path: &str, body: Option<&Value>) -> Option<(u16, Value)> {
        let path = format!("/PrismGateway/services/rest/{path}");
        let request = request(method, &path, basic("admin", "admin"), body);
        self.world.cvm_request(self.now, ip, 9440, &request).map(answer)
    }
}

fn all_up(world: &World) -> bool {
    world.machines().count() == 3 && world.machines().all(|machine| *machine.stage() == Stage::CvmUp)
}

#[test]
fn three_ordered_servers_become_a_cluster_in_about_an_hour() {
    let mut scene = Scene::new();
    scene.order_all();
    scene.until(all_up);
    let took = scene.now.since(START).as_secs() / 60;
    assert!((45..70).contains(&took), "{took} min");
    assert_eq!(scene.world.listeners().len(), 6);
    scene.now = scene.now + Duration::from_secs(30);
    let (vip, cvm) = (scene.boot.vip, scene.boot.nodes[1].cvm_ip);
    assert_eq!(scene.prism(cvm, "POST", "v2.0/clusters", Some(&create_body(vip))).unwrap().0, 200);
    scene.until(|world| world.listeners().len() == 7);
    scene.now = scene.now + Duration::from_secs(120);
    assert_eq!(scene.prism(vip, "GET", "v2.0/cluster", None).unwrap().1["cluster_status"], "UP");
    assert_eq!(scene.world.script_fetches("server-002"), 1);
    let reports = scene.boot.reports.lock().unwrap();
    assert_eq!(reports.iter().filter(|(_, report)| report["phase"] == "installed").count(), 3);
}

#[test]
fn the_request_log_has_everything_but_secrets() {
    let mut scene = Scene::new();
    scene.order_all();
    scene.until(all_up);
    scene.prism(scene.boot.nodes[0].cvm_ip, "GET", "v1/cluster", None);
    let log: Vec<Value> = scene.world.requests().map(|entry| serde_json::to_value(entry).unwrap()).collect();
    let create = log.iter().find(|entry| entry["path"] == "/v1/bare_metal_servers").unwrap();
    assert_eq!((&create["method"], &create["status"], &create["face"]), (&json!("POST"), &json!(201), &json!("vpc")));
    assert_eq!(create["body"]["initialization"]["user_data"], "http://10.240.0.2/boot/ipxe/server-001?t=***");
    assert_eq!(log.last().unwrap()["target"], "10.240.0.101:9440");
    let text = serde_json::to_string(&log).unwrap();
    for secret in ["cloud-secret", "boot-secret", "Basic", "Bearer"] {
        assert!(!text.contains(secret), "{secret}");
    }
}

#[test]
fn a_deleted_server_takes_its_cvm_along_and_a_reinitialized_one_is_installed_anew() {
    let mut scene = Scene::new();
    let servers = scene.order_all();
    scene.until(all_up);
    let server = format!("/bare_metal_servers/{}", servers[0]);
    assert_eq!(scene.cloud("POST", &format!("{server}/stop"), Some(&json!({"type": "hard"}))).0, 204);
    scene.until(|world| world.listeners().len() == 4);
    assert_eq!(*scene.world.machine("server-001").unwrap().stage(), Stage::Off);
    let images = scene.cloud("GET", "/images?user_data_format=ipxe&visibility=public&status=available", None).1;
    let again = json!({
        "image": {"id": images["images"][0]["id"]}, "keys": [{"id": scene.world.plan_ids().key}],
        "user_data": scene.boot.script_url(&scene.boot.nodes[0]),
    });
    assert_eq!(scene.cloud("PUT", &format!("{server}/initialization"), Some(&again)).0, 200);
    scene.until(all_up);
    assert_eq!(scene.world.script_fetches("server-001"), 2);
    assert_eq!(scene.world.listeners().iter().map(|listener| listener.certificate.install).max(), Some(2));

    scene.cloud("POST", &format!("{server}/stop"), Some(&json!({"type": "hard"})));
    scene.until(|world| *world.machine("server-001").unwrap().stage() == Stage::Off);
    assert_eq!(scene.cloud("DELETE", &server, None).0, 202);
    scene.until(|world| world.machines().count() == 2);
    assert_eq!(scene.world.listeners().len(), 4);
}

#[test]
fn the_same_seed_and_the_same_requests_give_the_same_world() {
    let run = || {
        let mut scene = Scene::new();
        scene.order_all();
        scene.until(all_up);
        let consoles: Vec<Vec<String>> = scene.world.machines().map(|machine| machine.console().to_vec()).collect();
        (scene.now, consoles, scene.boot.reports.into_inner().unwrap())
    };
    assert_eq!(run(), run());
}

#[test]
fn in_the_observed_profile_machines_grow_to_hypervisors_then_cvms_then_genesis() {
    let mut scene = Scene::with(CvmProfile::Observed);
    let servers = scene.order_all();
    let (ahv, cvm) = (scene.boot.nodes[0].ahv_ip, scene.boot.nodes[0].cvm_ip);
    let genesis =
        SshExec { command: "'/usr/local/nutanix/cluster/bin/genesis' status".into(), stdin: Vec::new(), pty: false };
    scene.until(|world| world.listeners().iter().any(|listener| listener.ip == ahv));
    let host_up = scene.now;
    assert_eq!(*scene.world.machine("server-001").unwrap().stage(), Stage::HostUp);
    assert_eq!(scene.world.ssh_login(scene.now, ahv, 22, "root", "nutanix/4u"), Some(SshAdmission::Admitted));
    assert_eq!(scene.world.ssh_login(scene.now, cvm, 22, "nutanix", "nutanix/4u"), None);
    scene.until(|world| world.listeners().iter().any(|listener| listener.ip == cvm));
    let cvm_up = scene.now;
    scene.until(all_up);
    scene.now = scene.now + Duration::from_secs(90);
    let told = scene.world.ssh_exec(scene.now, cvm, 22, "nutanix", &genesis);
    let Some(SshReply::Output { stdout, .. }) = told else { panic!("{told:?}") };
    assert!(String::from_utf8(stdout).unwrap().starts_with("genesis: [2187"));
    assert!(host_up + Duration::from_secs(120) < cvm_up && cvm_up + Duration::from_secs(120) < scene.now);
    let listeners = scene.world.listeners();
    assert_eq!(listeners.len(), 6, "no Prism, no Foundation: {listeners:?}");
    assert!(listeners.iter().all(|listener| listener.service == Service::Ssh && listener.port == 22));

    let server = format!("/bare_metal_servers/{}", servers[0]);
    assert_eq!(scene.cloud("POST", &format!("{server}/stop"), Some(&json!({"type": "hard"}))).0, 204);
    scene.until(|world| world.listeners().len() == 4);
    assert_eq!(scene.world.ssh_login(scene.now, ahv, 22, "root", "nutanix/4u"), None);
}
