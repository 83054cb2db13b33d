use super::*;
use crate::{
    fault::{Fault, FaultEffect, Matches},
    testing::{basic, create_body, request},
};
use serde_json::{Value, json};

const START: Timestamp = Timestamp::from_seconds(1_795_000_000);
const VIP: Ipv4Addr = Ipv4Addr::new(10, 240, 0, 200);
const V1: &str = "/PrismGateway/services/rest/v1/cluster";
const CLUSTER: &str = "/PrismGateway/services/rest/v2.0/cluster";
const CLUSTERS: &str = "/PrismGateway/services/rest/v2.0/clusters";
const HOSTS: &str = "/PrismGateway/services/rest/v2.0/hosts";

fn cvm_ip(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 240, 0, 100 + n)
}

fn host(n: u8, cluster: &str) -> CvmHost {
    CvmHost {
        server_id: format!("0717-{n}"),
        server_name: format!("server-{n}"),
        node_uuid: crate::pace::uuid(1, &format!("node {n}")),
        mgmt_ip: Ipv4Addr::new(10, 240, 0, 10 + n),
        install: 1,
        config: NodeConfig {
            cluster_name: cluster.into(),
            cluster_external_ip: VIP,
            redundancy_factor: 2,
            cvm_ips: (1..=3).map(cvm_ip).collect(),
            hypervisor_ip: Ipv4Addr::new(10, 240, 0, 50 + n),
            cvm_ip: cvm_ip(n),
            cidr: "10.240.0.0/24".parse().unwrap(),
            hostname: format!("server-{n}"),
            node_position: "A".into(),
            dns_servers: Vec::new(),
            ntp_servers: Vec::new(),
        },
    }
}

/// Three prepared nodes whose Prism answers.
struct Rack {
    fleet: Fleet,
    faults: Faults,
    now: Timestamp,
}

impl Rack {
    fn with(settings: CvmSettings, faults: Vec<CvmFault>) -> Self {
        let mut rack = Rack { fleet: Fleet::new(settings), faults: Faults::default(), now: START };
        faults.into_iter().for_each(|effect| rack.arm(effect));
        for n in 1..=3 {
            rack.fleet.start(START, host(n, "prod"), &mut rack.faults);
        }
        rack.seconds(30);
        rack
    }

    fn new() -> Self {
        Rack::with(CvmSettings::default(), Vec::new())
    }

    fn arm(&mut self, effect: CvmFault) {
        let effect = FaultEffect::Cvm(effect);
        self.faults.add(Fault { name: "f".into(), matches: Matches::default(), skip: 0, times: Some(1), effect });
    }

    fn seconds(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
    }

    fn send(&mut self, ip: Ipv4Addr, port: u16, request: &Request) -> Option<Reply> {
        self.fleet.handle(self.now, ip, port, request, &mut self.faults)
    }

    /// Asks Prism with the right credentials; `None`: the connection is refused.
    fn ask(&mut self, method: &str, ip: Ipv4Addr, path: &str, body: Option<&Value>) -> Option<(u16, Value)> {
        let request = request(method, path, basic("admin", "admin"), body);
        self.send(ip, 9440, &request).map(|reply| match reply {
            Reply::Answer(response) => (response.status, serde_json::from_slice(&response.body).unwrap_or_default()),
            other => panic!("{other:?}"),
        })
    }

    fn get(&mut self, ip: Ipv4Addr, path: &str) -> (u16, Value) {
        self.ask("GET", ip, path, None).expect("refused")
    }

    fn create(&mut self, body: &Value) -> (u16, Value) {
        self.ask("POST", cvm_ip(1), CLUSTERS, Some(body)).expect("refused")
    }

    fn status(&mut self, ip: Ipv4Addr) -> Option<String> {
        self.ask("GET", ip, CLUSTER, None).map(|(_, json)| json["cluster_status"].as_str().unwrap_or("-").to_owned())
    }
}

#[test]
fn three_prepared_nodes_form_a_cluster() {
    let mut rack = Rack::new();
    for n in 1..=3 {
        assert_eq!(rack.get(cvm_ip(n), V1).0, 200);
        assert_eq!(rack.get(cvm_ip(n), CLUSTER).0, 404);
    }
    let (status, reply) = rack.create(&create_body(VIP));
    assert_eq!((status, &reply["cluster_external_ip"], &reply["num_nodes"]), (200, &json!(VIP), &json!(3)));
    assert_eq!(rack.status(cvm_ip(3)).as_deref(), Some("STARTING"));
    assert_eq!(rack.status(VIP), None, "the VIP is refused at first");
    rack.seconds(320);
    assert_eq!(rack.status(VIP).as_deref(), Some("STARTING"));
    rack.seconds(80);
    let (_, cluster) = rack.get(VIP, CLUSTER);
    assert_eq!(cluster["cluster_status"], "UP");
    assert_eq!((&cluster["uuid"], &cluster["name"]), (&reply["uuid"], &json!("prod")));
    assert_eq!((&cluster["num_nodes"], &cluster["cluster_external_ipaddress"]), (&json!(3), &json!(VIP)));
    rack.seconds(60);
    let (_, cluster) = rack.get(VIP, CLUSTER);
    assert_eq!(cluster["cluster_redundancy_state"]["current_redundancy_factor"], 2);
    let (_, hosts) = rack.get(VIP, HOSTS);
    let well = |host: &Value| host["metadata_store_status"] == "kNormalMode" && host["is_degraded"] == false;
    assert_eq!(hosts["entities"].as_array().unwrap().iter().filter(|host| well(host)).count(), 3);
    assert_eq!(hosts["metadata"]["total_entities"], 3);
}

#[test]
fn a_second_create_is_refused_while_forming_and_after() {
    let mut rack = Rack::new();
    assert_eq!(rack.create(&create_body(VIP)).0, 200);
    for wait in [1, 600] {
        rack.seconds(wait);
        let (status, error) = rack.create(&create_body(VIP));
        assert_eq!(status, 409);
        assert_eq!(error["message"], "This node belongs to the cluster \"prod\" already.");
    }
}

#[test]
fn a_create_is_checked_to_the_letter() {
    let table = [
        ("name", json!("other"), "prepared for the cluster \"prod\""),
        ("name", json!(""), "name: not a text"),
        ("external_ip", json!("10.240.0.102"), "in use by the CVM of server-2"),
        ("external_ip", json!("10.240.0.52"), "in use by the hypervisor of server-2"),
        ("external_ip", json!("10.240.0.12"), "in use by the machine of server-2"),
        ("external_ip", json!("10.250.0.200"), "not in the subnet"),
        ("external_ip", json!("10.240.0.201"), "prepared for 10.240.0.200"),
        ("external_ip", json!("vip"), "Invalid IPv4 address"),
        ("redundancy_factor", json!(1), "Invalid redundancy factor 1 for 3 nodes"),
        ("redundancy_factor", json!(3), "At least 5 nodes required"),
        ("redundancy_factor", json!("2"), "redundancy_factor: not a number"),
        ("redundancy_factor", Value::Null, "redundancy_factor: not a number"),
        ("cluster_functions", json!(["NDFS"]), "cluster_functions"),
        ("cluster_functions", json!("AOS"), "cluster_functions"),
        ("timezone", json!("somewhere else"), "timezone"),
        ("nodes", json!([]), "\"nodes\" is not a known field"),
    ];
    let mut rack = Rack::new();
    for (key, value, told) in table {
        let mut body = create_body(VIP);
        body[key] = value;
        let (status, error) = rack.create(&body);
        assert_eq!(status, 400, "{key}");
        assert!(error["message"].as_str().unwrap().contains(told), "{key}: {error}");
        assert_eq!(error["error_code"]["help_url"], "http://my.nutanix.com");
    }
    for key in ["name", "external_ip", "redundancy_factor", "cluster_functions", "timezone"] {
        let mut body = create_body(VIP);
        body.as_object_mut().unwrap().remove(key);
        assert_eq!(rack.create(&body).1["message"], format!("{key} is required."));
    }
    let request = Request { headers: Vec::new(), ..request("POST", CLUSTERS, None, Some(&create_body(VIP))) };
    let Some(Reply::Answer(response)) = rack.send(cvm_ip(1), 9440, &request) else { panic!() };
    assert_eq!(response.status, 401, "nothing without credentials");
    assert_eq!(rack.create(&create_body(VIP)).0, 200, "nothing of it had an effect");
}

#[test]
fn a_cluster_takes_the_nodes_that_are_up_and_were_prepared_for_it() {
    let mut rack = Rack::new();
    rack.fleet.start(rack.now, host(4, "other"), &mut rack.faults);
    assert_eq!(rack.create(&create_body(VIP)).1["num_nodes"], 3);
    let mut rack = Rack::new();
    rack.fleet.stop("0717-3");
    let (status, error) = rack.create(&create_body(VIP));
    assert_eq!(status, 400);
    assert_eq!(error["message"], "At least 3 nodes required to support redundancy factor 2, 2 are prepared");
}

#[test]
fn the_right_factor_for_the_number_of_nodes() {
    for (factor, nodes, good) in [(1, 1, true), (1, 3, false), (2, 2, false), (2, 3, true), (3, 4, false), (3, 5, true)]
    {
        assert_eq!(check_redundancy(factor, nodes).is_ok(), good, "RF{factor} on {nodes}");
    }
}

#[test]
fn connections_are_refused_until_the_services_run_and_then_prism_needs_a_while() {
    let mut rack = Rack { fleet: Fleet::new(CvmSettings::default()), faults: Faults::default(), now: START };
    assert_eq!(rack.ask("GET", cvm_ip(1), V1, None), None);
    rack.fleet.start(START, host(1, "prod"), &mut rack.faults);
    let page = request("GET", V1, None, None);
    let Some(Reply::Answer(response)) = rack.send(cvm_ip(1), 9440, &page) else { panic!() };
    assert_eq!((response.status, response.headers[0].1.as_str()), (503, "text/html"));
    rack.seconds(30);
    assert_eq!(rack.get(cvm_ip(1), V1).0, 200);
    assert_eq!(rack.ask("GET", VIP, V1, None), None);
    rack.fleet.stop("0717-1");
    assert_eq!(rack.ask("GET", cvm_ip(1), V1, None), None);
}

#[test]
fn wrong_passwords_lock_the_account_and_none_at_all_do_not() {
    let settings = CvmSettings { lockout_after: Some(3), ..CvmSettings::default() };
    let mut rack = Rack::with(settings, Vec::new());
    let status = |rack: &mut Rack, authorization| {
        let request = request("GET", V1, authorization, None);
        match rack.send(cvm_ip(1), 9440, &request) {
            Some(Reply::Answer(response)) => {
                (response.status, String::from_utf8_lossy(&response.body).contains("Account Locked"))
            }
            other => panic!("{other:?}"),
        }
    };
    for _ in 0..10 {
        assert_eq!(status(&mut rack, None), (401, false));
    }
    assert_eq!(status(&mut rack, basic("admin", "wrong")), (401, false));
    assert_eq!(status(&mut rack, basic("admin", "wrong")), (401, false));
    assert_eq!(status(&mut rack, basic("admin", "admin")), (200, false), "a right one sets the count back");
    for _ in 0..3 {
        assert_eq!(status(&mut rack, Some("Bearer x".into())), (401, false));
    }
    assert_eq!(status(&mut rack, basic("admin", "admin")), (401, true));
}

#[test]
fn a_create_makes_new_keys_and_a_new_installation_too() {
    let mut rack = Rack::new();
    let before = rack.fleet.listeners(rack.now);
    rack.create(&create_body(VIP));
    rack.seconds(600);
    let after = rack.fleet.listeners(rack.now);
    assert_eq!((before.len(), after.len()), (6, 7));
    assert!(before.iter().all(|listener| after.iter().all(|other| other.certificate != listener.certificate)));
    let vip = after.iter().find(|listener| listener.ip == VIP).unwrap();
    assert!(after.iter().any(|other| other.ip != VIP && other.certificate == vip.certificate));

    let again = CvmHost { install: 2, ..host(1, "prod") };
    rack.fleet.start(rack.now, again, &mut rack.faults);
    let fresh = rack.fleet.listeners(rack.now);
    let of = |listeners: &[Listener]| listeners.iter().find(|l| l.ip == cvm_ip(1)).unwrap().certificate.clone();
    assert_eq!((of(&fresh).install, of(&fresh).generation), (2, 0));
    rack.seconds(60);
    assert_eq!(rack.get(cvm_ip(1), CLUSTER).0, 404, "a node that was installed anew is in no cluster");

    let keep = CvmSettings { new_certificate_at_create: false, ..CvmSettings::default() };
    let mut rack = Rack::with(keep, Vec::new());
    let before = rack.fleet.listeners(rack.now);
    rack.create(&create_body(VIP));
    assert_eq!(rack.fleet.listeners(rack.now), before);
}

#[test]
fn a_member_that_restarts_is_a_member_still_and_the_vip_survives_it() {
    let mut rack = Rack::new();
    rack.create(&create_body(VIP));
    rack.seconds(600);
    rack.fleet.stop("0717-1");
    assert_eq!(rack.status(VIP).as_deref(), Some("UP"));
    rack.fleet.start(rack.now, host(1, "prod"), &mut rack.faults);
    rack.seconds(60);
    assert_eq!(rack.status(cvm_ip(1)).as_deref(), Some("UP"));
    for id in ["0717-1", "0717-2", "0717-3"] {
        rack.fleet.forget(id);
    }
    assert_eq!(rack.fleet.listeners(rack.now), []);
}

#[test]
fn an_unconfigured_node_may_also_say_unnamed() {
    let settings = CvmSettings { before_create: BeforeCreate::Unnamed, ..CvmSettings::default() };
    let (status, cluster) = Rack::with(settings, Vec::new()).get(cvm_ip(1), CLUSTER);
    assert_eq!((status, &cluster["name"]), (200, &json!("Unnamed")));
    assert_ne!(cluster["cluster_status"], "UP");
}

#[test]
fn what_prism_does_not_know_it_refuses() {
    let mut rack = Rack::new();
    for (method, path, status) in [
        ("POST", CLUSTER, 405),
        ("GET", CLUSTERS, 405),
        ("GET", "/PrismGateway/services/rest/v2.0/vms", 404),
        ("GET", "/", 404),
        ("GET", "/PrismGateway/services/rest/v1/cluster/", 404),
    ] {
        assert_eq!(rack.ask(method, cvm_ip(1), path, None).unwrap().0, status, "{method} {path}");
    }
}

fn foundation_body() -> Value {
    let node = |n: u8| {
        let host = host(n, "prod");
        json!({
            "node_uuid": host.node_uuid, "hypervisor_ip": host.config.hypervisor_ip, "cvm_ip": cvm_ip(n),
            "node_position": "A",
        })
    };
    json!({
        "cluster_name": "prod", "cluster_external_ip": VIP, "dns_servers": ["8.8.8.8"],
        "ntp_servers": ["pool.ntp.org"], "nodes": [node(1), node(2), node(3)],
    })
}

fn ask_foundation(rack: &mut Rack, body: &Value) -> (u16, Value) {
    let request = request("POST", "/foundation/clusters", basic("admin", "nutanix/4u"), Some(body));
    match rack.send(cvm_ip(2), 8000, &request) {
        Some(Reply::Answer(response)) => (response.status, serde_json::from_slice(&response.body).unwrap()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn foundation_forms_the_nodes_it_is_given() {
    let mut rack = Rack::new();
    let (status, reply) = ask_foundation(&mut rack, &foundation_body());
    assert_eq!((status, &reply["cluster_external_ip"]), (200, &json!(VIP)));
    rack.seconds(600);
    let (_, cluster) = rack.get(VIP, CLUSTER);
    assert_eq!((&cluster["cluster_status"], &cluster["ntp_servers"]), (&json!("UP"), &json!(["pool.ntp.org"])));
}

#[test]
fn foundation_answers_500_and_says_why() {
    let table = [
        ("/nodes/0/node_uuid", json!("6d1b6f5e-0000-4000-8000-000000000001"), "node_uuid of the node"),
        ("/nodes/0/cvm_ip", json!("10.240.0.109"), "Undiscovered ips : 10.240.0.109"),
        ("/nodes/1/hypervisor_ip", json!("10.240.0.99"), "hypervisor_ip of the node"),
        ("/nodes/1/node_position", json!("B"), "node_position of the node"),
        ("/nodes/1/extra", json!(1), "\"extra\" is not a known field"),
        ("/nodes", json!([]), "nodes is no list"),
        ("/dns_servers", json!("8.8.8.8"), "dns_servers is no list"),
        ("/cluster_external_ip", json!("10.240.0.101"), "in use by the CVM"),
        ("/redundancy_factor", json!(2), "\"redundancy_factor\" is not a known field"),
        ("/cluster_name", json!("other"), "was prepared for \"prod\""),
    ];
    let mut rack = Rack::new();
    for (place, value, told) in table {
        let mut body = foundation_body();
        let (parent, key) = place.rsplit_once('/').unwrap();
        body.pointer_mut(parent).unwrap()[key] = value;
        let (status, error) = ask_foundation(&mut rack, &body);
        assert_eq!(status, 500, "{place}");
        assert!(error["error"]["message"].as_str().unwrap().contains(told), "{place}: {error}");
    }
    let twice = json!([foundation_body()["nodes"][0], foundation_body()["nodes"][0]]);
    let mut body = foundation_body();
    body["nodes"] = twice;
    assert_eq!(ask_foundation(&mut rack, &body).1["error"]["message"], "Provide unique IPs");
}

#[test]
fn each_fault_of_a_cvm_shows_as_what_it_is() {
    let mut rack = Rack::with(CvmSettings::default(), vec![CvmFault::NeverReady]);
    assert_eq!(rack.ask("GET", cvm_ip(1), V1, None), None);
    assert!(rack.ask("GET", cvm_ip(2), V1, None).is_some());

    let mut rack = Rack::with(CvmSettings::default(), vec![CvmFault::HtmlErrors]);
    assert_eq!((rack.get(cvm_ip(1), V1).0, rack.get(cvm_ip(2), V1).0), (503, 200));

    let mut rack = Rack::new();
    rack.arm(CvmFault::Dead);
    assert_eq!(rack.get(cvm_ip(1), V1).0, 200, "it was ready once");
    assert_eq!(rack.ask("GET", cvm_ip(1), V1, None), None);

    let mut rack = Rack::new();
    rack.arm(CvmFault::FormationFails);
    assert_eq!(rack.create(&create_body(VIP)).0, 500);
    assert_eq!(rack.get(cvm_ip(1), CLUSTER).0, 404);
    assert_eq!(rack.create(&create_body(VIP)).0, 200);

    let mut rack = Rack::new();
    rack.arm(CvmFault::FormationHangs);
    assert_eq!(rack.create(&create_body(VIP)).0, 200);
    rack.seconds(86_400);
    assert_eq!((rack.status(cvm_ip(1)).as_deref(), rack.status(VIP)), (Some("STARTING"), None));

    let mut rack = Rack::new();
    rack.arm(CvmFault::CreateReplyLost);
    let create = request("POST", CLUSTERS, basic("admin", "admin"), Some(&create_body(VIP)));
    assert_eq!(rack.send(cvm_ip(1), 9440, &create), Some(Reply::Lost));
    assert_eq!(rack.status(cvm_ip(2)).as_deref(), Some("STARTING"));

    let mut rack = Rack::new();
    rack.arm(CvmFault::VipLate { seconds: 600.0 });
    rack.create(&create_body(VIP));
    rack.seconds(420);
    assert_eq!((rack.status(cvm_ip(1)).as_deref(), rack.status(VIP)), (Some("UP"), None));
    rack.seconds(600);
    assert_eq!(rack.status(VIP).as_deref(), Some("UP"));

    let mut rack = Rack::with(CvmSettings::default(), vec![CvmFault::AlreadyConfigured]);
    assert_eq!(rack.get(cvm_ip(1), CLUSTER).1["name"], "somebody-elses-cluster");
    let (status, error) = rack.create(&create_body(VIP));
    assert_eq!((status, &error["message"]), (500, &json!("SVM 10.240.0.101 is already configured")));

    let mut rack = Rack::new();
    rack.arm(CvmFault::ServiceDown);
    rack.create(&create_body(VIP));
    rack.seconds(86_400);
    assert_eq!(rack.status(VIP).as_deref(), Some("UP"), "only a closer look shows it");
    assert_eq!(rack.get(VIP, CLUSTER).1["cluster_redundancy_state"]["current_redundancy_factor"], 1);
    assert_eq!(rack.get(VIP, HOSTS).1["entities"][0]["is_degraded"], true);
}

const CHANGE: &str = "/PrismGateway/services/rest/v1/utils/change_default_system_password";

fn status_with(rack: &mut Rack, ip: Ipv4Addr, password: &str) -> u16 {
    match rack.send(ip, 9440, &request("GET", V1, basic("admin", password), None)) {
        Some(Reply::Answer(response)) => response.status,
        other => panic!("{other:?}"),
    }
}

#[test]
fn prisms_password_is_changed_cvm_by_cvm_before_a_create_and_everywhere_after_it() {
    let change = json!({"oldPassword": "admin", "newPassword": "Kz7.pq-Wm2"});
    let mut rack = Rack::new();
    let (status, answer) = rack.ask("POST", cvm_ip(1), CHANGE, Some(&change)).unwrap();
    assert_eq!((status, answer), (200, json!({"value": true})));
    assert_eq!(
        (status_with(&mut rack, cvm_ip(1), "Kz7.pq-Wm2"), status_with(&mut rack, cvm_ip(1), "admin")),
        (200, 401)
    );
    assert_eq!(status_with(&mut rack, cvm_ip(2), "admin"), 200);

    let mut rack = Rack::new();
    rack.create(&create_body(VIP));
    rack.seconds(600);
    assert_eq!(rack.ask("POST", cvm_ip(1), CHANGE, Some(&change)).unwrap().0, 200);
    let takes = |rack: &mut Rack| [1, 2, 3].map(|n| status_with(rack, cvm_ip(n), "Kz7.pq-Wm2"));
    assert_eq!(takes(&mut rack), [200, 401, 401]);
    rack.seconds(60);
    assert_eq!(takes(&mut rack), [200; 3]);
    assert_eq!(
        rack.fleet.accepted_passwords(rack.now, &["Kz7.pq-Wm2", "admin", "nutanix/4u"]),
        [1, 2, 3].map(|n| format!("prism {} admin", cvm_ip(n)))
    );
}

#[test]
fn there_is_no_ssh_in_this_profile() {
    let mut rack = Rack::new();
    assert_eq!(rack.fleet.ssh_login(rack.now, cvm_ip(1), 22, "nutanix", "nutanix/4u", &mut rack.faults), None);
    assert!(rack.fleet.listeners(rack.now).iter().all(|listener| listener.service == Service::Https));
}
