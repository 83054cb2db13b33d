//! Port 9440 of a cluster that was created over SSH.

use super::*;

/// What a connection finds, without a password.
fn front(rack: &mut Rack, ip: Ipv4Addr) -> &'static str {
    let request = request("GET", "/PrismGateway/services/rest/v1/cluster", None, None);
    match rack.world.cvm_request(rack.now, ip, 9440, &request) {
        None => "refused",
        Some(Reply::Answer(Response { status: 503, .. })) => "page",
        Some(Reply::Answer(Response { status: 401, .. })) => "401",
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_port_refuses_then_shows_a_page_then_asks_for_a_password_and_the_vip_is_last() {
    let mut rack = Rack::new();
    rack.job(1, "create-1", &format!("{CLUSTER} {CREATE}"));
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for _ in 0..700 {
        rack.seconds(1);
        let now = (front(&mut rack, cvm_ip(2)), front(&mut rack, VIP));
        if seen.last() != Some(&now) {
            seen.push(now);
        }
    }
    assert_eq!(seen, [("refused", "refused"), ("page", "refused"), ("401", "refused"), ("401", "401")]);
}

#[test]
fn listeners_come_and_go_and_whoever_listens_is_told() {
    let mut rack = Rack::new();
    let https = |rack: &Rack| rack.world.listeners().iter().filter(|l| l.service == Service::Https).count();
    assert_eq!(https(&rack), 0);
    rack.job(1, "create-1", &format!("{CLUSTER} {CREATE}"));
    let end = rack.now + Duration::from_secs(700);
    let (mut mark, mut before) = (rack.world.listeners_mark(), rack.world.listeners());
    while rack.world.next_event_at() < end {
        rack.now = rack.world.next_event_at();
        rack.world.advance(rack.now);
        let (new_mark, listeners) = (rack.world.listeners_mark(), rack.world.listeners());
        assert!(new_mark != mark || listeners == before, "they changed and the mark did not");
        (mark, before) = (new_mark, listeners);
    }
    assert_eq!(https(&rack), 4);
}

#[test]
fn a_create_makes_new_certificates_on_all_members_and_no_new_host_keys() {
    for new in [true, false] {
        let mut rack = Rack::with(3, |settings| settings.new_certificate_at_create = new);
        let ssh = |rack: &Rack| -> Vec<_> {
            rack.world.listeners().into_iter().filter(|listener| listener.service == Service::Ssh).collect()
        };
        let before = ssh(&rack);
        rack.create();
        assert_eq!(ssh(&rack), before);
        let https = rack.world.listeners().into_iter().filter(|listener| listener.service == Service::Https);
        assert!(https.map(|listener| listener.certificate.generation).all(|made| made == u32::from(new)));
    }
}

#[test]
fn the_payload_is_the_published_one_and_what_lags_behind_fills_in() {
    let mut rack = Rack::new();
    rack.job(1, "create-1", &format!("{CLUSTER} {CREATE}"));
    let (mut nodes, mut factors, mut hosts) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..70 {
        rack.seconds(10);
        if front(&mut rack, cvm_ip(1)) != "401" {
            continue;
        }
        let (status, cluster) = rack.get(cvm_ip(1), "v2.0/cluster");
        assert_eq!((status, cluster.get("cluster_status")), (200, None));
        nodes.push(cluster["num_nodes"].as_u64().unwrap());
        factors.push(cluster["cluster_redundancy_state"]["current_redundancy_factor"].as_u64().unwrap());
        hosts.push(rack.get(cvm_ip(1), "v2.0/hosts").1["entities"].as_array().unwrap().len());
    }
    assert!(nodes.is_sorted() && nodes[0] == 1 && nodes.last() == Some(&3), "{nodes:?}");
    assert!(factors.is_sorted() && factors[0] == 1 && factors.last() == Some(&2), "{factors:?}");
    assert!(hosts.is_sorted() && hosts[0] == 0 && hosts.last() == Some(&3), "{hosts:?}");
    let first_full = |counts: &[u64], full| counts.iter().position(|count| *count == full);
    assert!(first_full(&nodes, 3) <= first_full(&factors, 2), "redundancy comes after the nodes");

    let (_, cluster) = rack.get(VIP, "v2.0/cluster");
    for (key, value) in [
        ("name", json!("prod")),
        ("cluster_external_ipaddress", json!(VIP)),
        ("name_servers", json!(["8.8.8.8"])),
        ("ntp_servers", json!(["pool.ntp.org"])),
        ("timezone", json!("UTC")),
        ("operation_mode", json!("Normal")),
        ("cluster_functions", json!(["NDFS"])),
        ("ncc_version", Value::Null),
    ] {
        assert_eq!(cluster[key], value, "{key}");
    }
    assert_eq!(cluster["stats"]["hypervisor_cpu_usage_ppm"], "-1");
    let (_, hosts) = rack.get(VIP, "v2.0/hosts");
    let well = |host: &Value| host["metadata_store_status"] == "kNormalMode" && host["is_degraded"] == false;
    assert!(hosts["entities"].as_array().unwrap().iter().all(well), "{hosts}");
    assert_eq!(rack.get(VIP, "v1/cluster").1["clusterExternalIPAddress"], json!(VIP));
    assert_eq!(rack.get(VIP, "v2.0/clusters").1["entities"][0]["uuid"], cluster["uuid"]);
}

#[test]
fn nothing_is_created_over_rest() {
    for status in [405, 404] {
        let mut rack = Rack::with(3, |settings| settings.observed.post_clusters = status);
        rack.create();
        let body = crate::testing::create_body(VIP);
        assert_eq!(rack.ask(cvm_ip(1), "nutanix/4u", "POST", "v2.0/clusters", Some(&body)).unwrap().0, status);
        assert_eq!(rack.get(cvm_ip(1), "v2.0/vms").0, 404);
    }
}

#[test]
fn prism_begins_with_a_default_or_with_the_cvms_password() {
    let first = |seeds: bool, changed: bool, flag: &str| {
        let mut rack = Rack::with(3, |settings| {
            settings.observed.seeds_prism_password = seeds;
            settings.observed.prism_password = "Nutanix/4u".into();
        });
        if changed {
            rack.try_run(cvm_ip(1), "nutanix", "sudo chpasswd", "nutanix:New.1-pass\n", false);
        }
        rack.wait(1, &format!("{CLUSTER} {flag} {CREATE}"), "", false);
        rack.seconds(60);
        let candidates = ["nutanix/4u", "Nutanix/4u", "New.1-pass"];
        let takes =
            |rack: &mut Rack, password| rack.ask(cvm_ip(3), password, "GET", "v1/cluster", None).unwrap().0 == 200;
        candidates.into_iter().find(|password| takes(&mut rack, password)).unwrap()
    };
    assert_eq!(first(true, false, ""), "Nutanix/4u");
    assert_eq!(first(true, true, ""), "New.1-pass");
    assert_eq!(first(false, true, ""), "Nutanix/4u");
    assert_eq!(first(true, true, "--noseed_prism_password"), "Nutanix/4u");
}

const CHANGE: &str = "v1/utils/change_default_system_password";

fn change(rack: &mut Rack, ip: Ipv4Addr, with: &str, old: &str, new: &str) -> (u16, Value) {
    rack.ask(ip, with, "POST", CHANGE, Some(&json!({"oldPassword": old, "newPassword": new}))).unwrap()
}

#[test]
fn a_new_prism_password_reaches_the_members_one_by_one() {
    let mut rack = Rack::formed();
    let new = "Kz7.pq-Wm2";
    assert_eq!(change(&mut rack, cvm_ip(2), "nutanix/4u", "nutanix/4u", new), (200, json!({"value": true})));
    let takes = |rack: &mut Rack, password: &str| {
        [1, 2, 3].map(|n| rack.world.accepted_passwords(&[password]).contains(&format!("prism {} admin", cvm_ip(n))))
    };
    assert_eq!((takes(&mut rack, new), takes(&mut rack, "nutanix/4u")), ([false, true, false], [true, false, true]));
    rack.seconds(20);
    assert_eq!(takes(&mut rack, new), [true, true, false], "mixed answers in between");
    rack.seconds(20);
    assert_eq!((takes(&mut rack, new), takes(&mut rack, "nutanix/4u")), ([true; 3], [false; 3]));
    assert_eq!(rack.ask(VIP, new, "GET", "v1/cluster", None).unwrap().0, 200);
    assert_eq!(rack.ask(VIP, "nutanix/4u", "GET", "v1/cluster", None).unwrap().0, 401);
}

#[test]
fn a_change_of_the_password_is_checked() {
    let mut rack = Rack::formed();
    for (old, new, status, told) in [
        ("wrong", "Kz7.pq-Wm2", 500, "The old password is not correct."),
        ("nutanix/4u", "shor1.A", 500, "8 characters"),
        ("nutanix/4u", "nutanix/4u", 500, "Password requirements"),
        ("nutanix/4u", "", 400, "newPassword"),
    ] {
        let (is, error) = change(&mut rack, cvm_ip(1), "nutanix/4u", old, new);
        assert_eq!(is, status, "{new}: {error}");
        assert!(error["message"].as_str().unwrap().contains(told) && error["detailedMessage"].is_string(), "{error}");
        assert!(error["errorCode"]["code"].is_number());
    }
    let extra = json!({"oldPassword": "nutanix/4u", "newPassword": "Kz7.pq-Wm2", "user": "admin"});
    assert_eq!(rack.ask(cvm_ip(1), "nutanix/4u", "POST", CHANGE, Some(&extra)).unwrap().0, 400);
    assert_eq!(rack.ask(cvm_ip(1), "nutanix/4u", "GET", CHANGE, None).unwrap().0, 404);
    let (status, _) = change(&mut rack, cvm_ip(1), "wrong", "nutanix/4u", "Kz7.pq-Wm2");
    assert_eq!(status, 401, "without the right credentials it isn't looked at");
    assert_eq!(change(&mut rack, cvm_ip(1), "nutanix/4u", "nutanix/4u", "Kz7.pq-Wm2").0, 200);
    let (status, error) = change(&mut rack, cvm_ip(1), "Kz7.pq-Wm2", "Kz7.pq-Wm2", "tR9_vd+Xn4");
    assert!(status == 500 && error["message"].as_str().unwrap().contains("changed already"), "{error}");
}

#[test]
fn by_setting_a_password_that_is_no_default_is_changed_too() {
    let mut rack = Rack::with(3, |settings| settings.changes_only_default_password = false);
    rack.create();
    assert_eq!(change(&mut rack, cvm_ip(1), "nutanix/4u", "nutanix/4u", "Kz7.pq-Wm2").0, 200);
    assert_eq!(change(&mut rack, cvm_ip(1), "Kz7.pq-Wm2", "Kz7.pq-Wm2", "tR9_vd+Xn4").0, 200);
}

#[test]
fn wrong_passwords_lock_prisms_account_too() {
    let mut rack = Rack::with(3, |settings| settings.lockout_after = Some(2));
    rack.create();
    for _ in 0..2 {
        assert_eq!(rack.ask(cvm_ip(1), "wrong", "GET", "v1/cluster", None).unwrap().0, 401);
    }
    let (status, error) = rack.ask(cvm_ip(1), "nutanix/4u", "GET", "v1/cluster", None).unwrap();
    assert_eq!((status, &error["message"]), (401, &json!("Account Locked")));
}
