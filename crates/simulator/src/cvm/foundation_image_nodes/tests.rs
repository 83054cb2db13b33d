use crate::{
    cvm::{CvmHost, CvmProfile, CvmSettings, Fleet, FoundationApi, Listener, Service},
    fault::{CvmFault, Fault, FaultEffect, Faults, Matches},
    http::Reply,
    machine::NodeConfig,
    testing::{basic, request},
};
use metalform_model::Timestamp;
use serde_json::{Value, json};
use std::{net::Ipv4Addr, time::Duration};

const START: Timestamp = Timestamp::from_seconds(1_795_000_000);
const VIP: Ipv4Addr = Ipv4Addr::new(10, 240, 0, 200);

fn cvm_ip(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 240, 0, 100 + n)
}

fn host(n: u8) -> CvmHost {
    CvmHost {
        server_id: format!("0717-{n}"),
        server_name: format!("server-{n}"),
        node_uuid: crate::pace::uuid(1, &format!("node {n}")),
        mgmt_ip: Ipv4Addr::new(10, 240, 0, 10 + n),
        install: 1,
        config: NodeConfig {
            cluster_name: "prod".into(),
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

/// Three prepared nodes whose Foundation answers in plain HTTP.
struct Rack {
    fleet: Fleet,
    faults: Faults,
    now: Timestamp,
}

impl Rack {
    fn with(settings: CvmSettings) -> Self {
        let settings = CvmSettings { foundation_api: Some(FoundationApi::ImageNodes), ..settings };
        let mut rack = Rack { fleet: Fleet::new(settings), faults: Faults::default(), now: START };
        for n in 1..=3 {
            rack.fleet.start(START, host(n), &mut rack.faults);
        }
        rack.seconds(30);
        rack
    }

    fn new() -> Self {
        Rack::with(CvmSettings::default())
    }

    fn arm(&mut self, effect: CvmFault) {
        let effect = FaultEffect::Cvm(effect);
        self.faults.add(Fault { name: "f".into(), matches: Matches::default(), skip: 0, times: Some(1), effect });
    }

    fn seconds(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
    }

    /// What the first CVM's Foundation answers to a request without credentials.
    fn ask(&mut self, method: &str, target: &str, body: Option<&Value>) -> Option<Reply> {
        let request = request(method, &format!("/foundation/{target}"), None, body);
        self.fleet.handle(self.now, cvm_ip(1), 8000, &request, &mut self.faults)
    }

    fn answer(&mut self, method: &str, target: &str, body: Option<&Value>) -> (u16, Value) {
        match self.ask(method, target, body) {
            Some(Reply::Answer(response)) => {
                (response.status, serde_json::from_slice(&response.body).unwrap_or_default())
            }
            other => panic!("{other:?}"),
        }
    }

    fn begin(&mut self, body: &Value) -> String {
        let (status, answer) = self.answer("POST", "image_nodes", Some(body));
        assert_eq!(status, 200, "{answer}");
        answer["session_id"].as_str().unwrap().to_owned()
    }

    fn progress(&mut self, session: &str) -> Value {
        let (status, answer) = self.answer("GET", &format!("progress?session_id={session}"), None);
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// `(imaging_stopped, is it 100 percent)`
    fn stand(&mut self, session: &str) -> (bool, bool) {
        let progress = self.progress(session);
        (progress["imaging_stopped"].as_bool().unwrap(), progress["aggregate_percent_complete"] == 100.0)
    }

    /// What is spoken on Prism's port of the third CVM.
    fn prism_port(&mut self) -> Option<Service> {
        let listeners = self.fleet.listeners(self.now);
        listeners.iter().find(|l| (l.ip, l.port) == (cvm_ip(3), 9440)).map(|l| l.service)
    }

    fn cluster(&mut self) -> Value {
        let path = "/PrismGateway/services/rest/v2.0/cluster";
        let request = request("GET", path, basic("admin", "admin"), None);
        match self.fleet.handle(self.now, cvm_ip(3), 9440, &request, &mut self.faults) {
            Some(Reply::Answer(response)) => serde_json::from_slice(&response.body).unwrap(),
            other => panic!("{other:?}"),
        }
    }
}

/// What the Terraform provider sends for three imaged nodes, with the fields that the Ansible collection adds.
fn body() -> Value {
    let node = |n: u8| {
        json!({
            "node_position": "A", "hypervisor_hostname": format!("server-{n}"), "hypervisor": "kvm", "ipmi_ip": "",
            "hypervisor_ip": format!("10.240.0.{}", 50 + n), "cvm_ip": cvm_ip(n), "image_now": false,
        })
    };
    json!({
        "cvm_gateway": "10.240.0.1", "cvm_netmask": "255.255.255.0", "hypervisor_gateway": "10.240.0.1",
        "hypervisor_netmask": "255.255.255.0", "hypervisor_nameserver": "8.8.8.8", "hypervisor_iso": {},
        "nos_package": null, "skip_hypervisor": true,
        "blocks": [{"block_id": "b1", "nodes": [node(1), node(2)]}, {"block_id": "b2", "nodes": [node(3)]}],
        "clusters": [{
            "cluster_name": "prod", "cluster_external_ip": VIP, "redundancy_factor": 2,
            "cluster_members": [cvm_ip(1), cvm_ip(2), cvm_ip(3)], "cluster_init_now": true,
            "single_node_cluster": false, "cvm_dns_servers": "8.8.8.8,1.1.1.1",
            "cvm_ntp_servers": "0.pool.ntp.org,1.pool.ntp.org", "timezone": "Europe/Berlin",
        }],
    })
}

#[test]
fn imaged_nodes_become_a_cluster_without_being_imaged_again() {
    let mut rack = Rack::new();
    let session = rack.begin(&body());
    let mut last = 0.0;
    for _ in 0..4 {
        rack.seconds(60);
        let progress = rack.progress(&session);
        let percent = progress["aggregate_percent_complete"].as_f64().unwrap();
        assert!(percent > last && percent < 100.0, "{percent} after {last}");
        assert_eq!((&progress["session_id"], &progress["imaging_stopped"]), (&json!(session), &json!(false)));
        assert_eq!(progress["clusters"][0]["status"], "Initializing cluster");
        last = percent;
    }
    rack.seconds(300);
    assert_eq!(rack.stand(&session), (true, true));
    let progress = rack.progress(&session);
    assert_eq!(progress["clusters"][0]["status"], "Cluster creation complete");
    assert_eq!(progress["nodes"][2]["hypervisor_ip"], "10.240.0.53");
    assert_eq!(progress.get("abort_session"), None);
    let cluster = rack.cluster();
    assert_eq!((&cluster["name"], &cluster["num_nodes"]), (&json!("prod"), &json!(3)));
    assert_eq!(cluster["timezone"], "Europe/Berlin");
    assert_eq!(cluster["name_servers"], json!(["8.8.8.8", "1.1.1.1"]));
    assert_eq!(cluster["ntp_servers"], json!(["0.pool.ntp.org", "1.pool.ntp.org"]));
}

#[test]
fn where_prism_starts_only_with_a_cluster_foundation_forms_one_all_the_same() {
    let settings = CvmSettings { profile: CvmProfile::Observed, ..CvmSettings::default() };
    let mut rack = Rack::with(settings);
    rack.seconds(3600);
    assert_eq!(rack.prism_port(), None, "no Prism before a cluster");
    let session = rack.begin(&body());
    rack.seconds(60);
    assert_eq!(rack.stand(&session), (false, false));
    rack.seconds(900);
    assert_eq!(rack.stand(&session), (true, true));
    assert_eq!(rack.prism_port(), Some(Service::Https));
}

#[test]
fn servers_and_time_zone_are_dropped_without_a_word_where_that_is_so() {
    let mut rack = Rack::with(CvmSettings { foundation_drops_servers: true, ..CvmSettings::default() });
    let session = rack.begin(&body());
    rack.seconds(600);
    assert_eq!(rack.stand(&session), (true, true));
    let cluster = rack.cluster();
    assert_eq!(
        (&cluster["name_servers"], &cluster["ntp_servers"], &cluster["timezone"]),
        (&json!([]), &json!([]), &json!("UTC"))
    );
}

#[test]
fn an_idle_foundation_looks_as_if_it_had_stopped() {
    let mut rack = Rack::new();
    let (status, idle) = rack.answer("GET", "progress", None);
    assert_eq!(
        (status, &idle["session_id"], &idle["imaging_stopped"], &idle["aggregate_percent_complete"]),
        (200, &Value::Null, &json!(true), &json!(0.0))
    );
    let (status, error) = rack.answer("GET", "progress?session_id=unheard-of", None);
    assert_eq!((status, &error["error"]["message"]), (500, &json!("Session unheard-of not found")));
    let session = rack.begin(&body());
    assert_eq!(rack.answer("GET", "progress", None).1["session_id"], json!(session));
}

#[test]
fn a_session_is_lost_when_its_foundation_goes_down_and_the_cluster_is_not() {
    let mut rack = Rack::new();
    let session = rack.begin(&body());
    rack.fleet.stop("0717-1");
    assert_eq!(rack.ask("GET", "version", None), None);
    rack.fleet.start(rack.now, host(1), &mut rack.faults);
    assert_eq!(rack.answer("GET", &format!("progress?session_id={session}"), None).0, 500);
    rack.seconds(600);
    assert_eq!(rack.cluster()["num_nodes"], 3);
}

#[test]
fn what_only_the_nodes_can_tell_stops_the_session_short_of_100() {
    let mut rack = Rack::new();
    rack.arm(CvmFault::FormationFails);
    let failed = rack.begin(&body());
    assert_eq!(rack.stand(&failed), (false, false));

    rack.fleet.stop("0717-3");
    let undiscovered = rack.begin(&body());
    rack.fleet.start(rack.now, host(3), &mut rack.faults);

    let mut other = body();
    other["blocks"][0]["nodes"][1]["hypervisor_ip"] = json!("10.240.0.99");
    let misnamed = rack.begin(&other);

    rack.seconds(300);
    for (session, told) in [
        (failed, "Could not discover all nodes specified."),
        (undiscovered, "Could not discover all nodes specified. Undiscovered ips : 10.240.0.103"),
        (misnamed, "hypervisor_ip of the node with CVM 10.240.0.102 is 10.240.0.52"),
    ] {
        assert_eq!(rack.stand(&session), (true, false));
        assert_eq!(rack.progress(&session)["clusters"][0]["messages"], json!([told]));
    }
    assert_eq!(rack.cluster()["error_code"]["code"], 1404, "none of it made a cluster");

    let done = rack.begin(&body());
    rack.seconds(600);
    assert_eq!(rack.stand(&done), (true, true));
    let mut again = body();
    again["clusters"][0]["cluster_external_ip"] = Value::Null;
    let again = rack.begin(&again);
    rack.seconds(600);
    assert_eq!(rack.stand(&again), (true, false));
    assert_eq!(rack.progress(&again)["clusters"][0]["messages"], json!(["SVM 10.240.0.101 is already configured"]));
}

#[test]
fn a_cluster_that_is_not_to_be_formed_now_is_done_at_once_and_not_there() {
    let mut rack = Rack::new();
    let mut later = body();
    later["clusters"][0]["cluster_init_now"] = json!(false);
    let mut without = body();
    without.as_object_mut().unwrap().remove("clusters");
    for request in [later, without] {
        let session = rack.begin(&request);
        assert_eq!(rack.stand(&session), (true, true));
    }
    rack.seconds(600);
    assert_eq!(rack.cluster()["error_code"]["code"], 1404);
}

#[test]
fn a_formation_that_hangs_never_gets_to_100() {
    let mut rack = Rack::new();
    rack.arm(CvmFault::FormationHangs);
    let session = rack.begin(&body());
    rack.seconds(86_400);
    assert_eq!(rack.stand(&session), (false, false));
}

#[test]
fn a_lost_answer_has_had_its_effect() {
    let mut rack = Rack::new();
    rack.arm(CvmFault::CreateReplyLost);
    assert_eq!(rack.ask("POST", "image_nodes", Some(&body())), Some(Reply::Lost));
    rack.seconds(600);
    assert_eq!(rack.cluster()["num_nodes"], 3);
}

#[test]
fn a_request_is_checked_to_the_letter_and_every_fault_is_a_500() {
    let table = [
        ("/nodes", json!([]), "\"nodes\" is not a known field."),
        ("/cluster_name", json!("prod"), "\"cluster_name\" is not a known field."),
        ("/dns_servers", json!(["8.8.8.8"]), "\"dns_servers\" is not a known field."),
        ("/blocks", json!([]), "blocks: no nodes"),
        ("/blocks", json!({}), "blocks: not a list of objects"),
        ("/blocks/0/nodes/0/node_uuid", json!("x"), "\"node_uuid\" is not a known field."),
        ("/blocks/0/nodes/0/hypervisor", json!("ahv"), "hypervisor: only kvm is simulated"),
        ("/blocks/0/nodes/0/image_now", json!(true), "nos_package is required to image a node"),
        ("/blocks/0/nodes/0/image_now", json!("false"), "image_now: not true or false"),
        ("/blocks/0/nodes/1/cvm_ip", json!("10.240.0.101"), "Provide unique IPs"),
        ("/blocks/0/nodes/1/cvm_ip", json!("cvm"), "cvm_ip: Invalid IPv4 addresses"),
        ("/clusters/0/nodes", json!([]), "\"nodes\" is not a known field."),
        ("/clusters/0/cluster_functions", json!(["AOS"]), "\"cluster_functions\" is not a known field."),
        ("/clusters/0/cvm_dns_servers", json!(["8.8.8.8"]), "cvm_dns_servers: not a text"),
        ("/clusters/0/cvm_dns_servers", json!("dns.example"), "cvm_dns_servers: Invalid IPv4 addresses"),
        ("/clusters/0/cvm_ntp_servers", json!(["a"]), "cvm_ntp_servers: not a text"),
        ("/clusters/0/cluster_members", json!("10.240.0.101"), "cluster_members: not a list of addresses"),
        ("/clusters/0/cluster_members", json!(["10.240.0.109"]), "cluster_members: 10.240.0.109 is no node of a block"),
        ("/clusters/0/single_node_cluster", json!(true), "single_node_cluster does not fit 3 members"),
        ("/clusters/0/redundancy_factor", json!("2"), "redundancy_factor: not a number"),
        ("/clusters/0/redundancy_factor", json!(1), "Invalid redundancy factor 1 for 3 nodes"),
        ("/clusters/0/redundancy_factor", json!(3), "At least 5 nodes required"),
        ("/clusters/0/cluster_external_ip", json!("10.240.0.102"), "in use by the CVM of server-2"),
        ("/clusters/0/cluster_init_now", Value::Null, "cluster_init_now: not true or false"),
        ("/cvm_netmask", json!("/24"), "cvm_netmask: Invalid IPv4 addresses"),
    ];
    let mut rack = Rack::new();
    let mut refuse = |body: &Value, told: &str| {
        let (status, error) = rack.answer("POST", "image_nodes", Some(body));
        assert_eq!((status, &error["error"]["session_id"]), (500, &Value::Null), "{told}");
        assert!(error["error"]["message"].as_str().unwrap().contains(told), "{told}: {error}");
    };
    for (place, value, told) in table {
        let mut body = body();
        let (parent, key) = place.rsplit_once('/').unwrap();
        body.pointer_mut(parent).unwrap()[key] = value;
        refuse(&body, told);
    }
    for place in [
        "/nos_package",
        "/blocks",
        "/cvm_gateway",
        "/blocks/0/nodes/0/ipmi_ip",
        "/blocks/0/nodes/0/hypervisor_hostname",
        "/blocks/0/nodes/0/image_now",
        "/clusters/0/cluster_name",
        "/clusters/0/cluster_external_ip",
        "/clusters/0/redundancy_factor",
        "/clusters/0/cluster_members",
        "/clusters/0/cluster_init_now",
    ] {
        let mut body = body();
        let (parent, key) = place.rsplit_once('/').unwrap();
        body.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(key);
        refuse(&body, &format!("{key} is required."));
    }
    refuse(&json!("text"), "the body is no JSON object");
    rack.seconds(600);
    assert_eq!(rack.cluster()["error_code"]["code"], 1404, "nothing of it had an effect");
}

#[test]
fn methods_that_it_lacks_are_404_the_one_of_the_first_design_too() {
    let mut rack = Rack::new();
    assert_eq!(rack.answer("POST", "clusters", Some(&json!({}))).0, 404);
    assert_eq!(rack.answer("GET", "image_nodes", None).0, 405);
    assert_eq!(rack.answer("POST", "version", None).0, 405);
    let Some(Reply::Answer(version)) = rack.ask("GET", "version", None) else { panic!() };
    assert_eq!(version.body, b"foundation-5.6-simulated\n");
}

#[test]
fn a_foundation_speaks_tls_plain_http_or_not_at_all() {
    for (api, service) in [
        (FoundationApi::Documented, Some(Service::Https)),
        (FoundationApi::ImageNodes, Some(Service::Http)),
        (FoundationApi::Absent, None),
    ] {
        let settings = CvmSettings { foundation_api: Some(api), ..CvmSettings::default() };
        let (mut fleet, mut faults) = (Fleet::new(settings), Faults::default());
        fleet.start(START, host(1), &mut faults);
        let now = START + Duration::from_secs(3600);
        let on_8000 = |listener: &Listener| (listener.port == 8000).then_some(listener.service);
        assert_eq!(fleet.listeners(now).iter().find_map(on_8000), service, "{api:?}");
        let version = request("GET", "/foundation/version", None, None);
        assert_eq!(fleet.handle(now, cvm_ip(1), 8000, &version, &mut faults).is_some(), service.is_some(), "{api:?}");
    }
}
