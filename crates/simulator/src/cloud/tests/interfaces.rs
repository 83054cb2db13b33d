use super::*;

const VNIS: &str = "/virtual_network_interfaces";

fn prototype(rig: &Rig, more: Value) -> Option<Value> {
    let mut body = json!({"subnet": {"id": rig.ids.subnet}});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Some(body)
}

#[test]
fn an_interface_is_pending_without_a_mac_address_and_soon_stable_with_one() {
    let mut rig = Rig::new();
    let id = rig.vni("node-1-vni", "10.240.0.11");
    let (_, json) = rig.get(&format!("{VNIS}/{id}"));
    assert_eq!((json["lifecycle_state"].as_str(), json.get("mac_address")), (Some("pending"), None));
    assert_eq!((json["auto_delete"].as_bool(), json.get("target")), (Some(false), None));
    rig.wait(2);
    let (_, json) = rig.get(&format!("{VNIS}/{id}"));
    assert_eq!(json["lifecycle_state"], "stable");
    assert_eq!(json["mac_address"].as_str().unwrap().len(), 17);
}

#[test]
fn an_interface_takes_an_address_reserved_before_and_no_other_can() {
    let mut rig = Rig::new();
    let path = rig.reserved_ips();
    let ip = rig.post(&path, json!({"address": "10.240.0.11", "name": "node-1"})).1["id"].clone();
    let (status, json) = rig.post(VNIS, json!({"name": "a", "primary_ip": {"id": ip}}));
    assert_eq!((status, json["primary_ip"]["address"].as_str()), (201, Some("10.240.0.11")));
    assert_eq!(json["ips"], json!([json["primary_ip"]]));
    assert_eq!(json["subnet"]["id"], rig.ids.subnet.as_str(), "the subnet follows from the address");
    rig.refused(409, "resource_in_use", "POST", VNIS, Some(json!({"name": "b", "primary_ip": {"id": ip}})));
}

#[test]
fn interfaces_are_checked_field_by_field() {
    let mut rig = Rig::new();
    rig.vni("taken", "10.240.0.11");
    for (code, more) in [
        ("unknown_field", json!({"vpc": {"id": "x"}})),
        ("validation_unique_failed", json!({"name": "taken"})),
        ("invalid_value", json!({"name": "ibm-mine"})),
        ("invalid_value", json!({"name": "Mine"})),
        ("invalid_value", json!({"auto_delete": true})),
        ("invalid_value", json!({"enable_infrastructure_nat": false, "allow_ip_spoofing": true})),
        ("invalid_value", json!({"protocol_state_filtering_mode": "on"})),
        ("invalid_value", json!({"security_groups": []})),
        ("not_found", json!({"security_groups": [{"id": "r006-no"}]})),
        ("not_found", json!({"resource_group": {"id": "no"}})),
        ("validation_unique_failed", json!({"primary_ip": {"address": "10.240.0.11"}})),
        ("invalid_value", json!({"primary_ip": {"address": "10.250.0.11"}})),
        ("not_found", json!({"primary_ip": {"id": "0717-no"}})),
        ("unknown_field", json!({"primary_ip": {"id": "0717-no", "address": "10.240.0.12"}})),
        ("not_found", json!({"subnet": {"id": "0717-no"}})),
        ("missing_field", json!({"subnet": {}})),
    ] {
        let body = prototype(&rig, more);
        rig.refused(400, code, "POST", VNIS, body);
    }
    rig.refused(400, "missing_field", "POST", VNIS, Some(json!({"name": "a"})));
    assert_eq!(rig.ledger().len(), 2, "refused requests leave nothing behind");
    assert_eq!(rig.get(&rig.reserved_ips()).1["total_count"], 6);
}

#[test]
fn a_subnet_may_be_named_by_crn_or_href_if_all_agree() {
    let mut rig = Rig::new();
    let subnet = rig.get(&format!("/subnets/{}", rig.ids.subnet.clone())).1;
    for reference in [json!({"crn": subnet["crn"]}), json!({"href": subnet["href"], "id": subnet["id"]})] {
        assert_eq!(rig.post(VNIS, json!({"subnet": reference})).0, 201);
    }
    let mixed = json!({"subnet": {"id": subnet["id"], "crn": "crn:other"}});
    rig.refused(400, "not_found", "POST", VNIS, Some(mixed));
}

#[test]
fn an_interface_holds_eight_addresses() {
    let mut rig = Rig::new();
    let id = rig.vni("node-1-vni", "10.240.0.11");
    let path = rig.reserved_ips();
    let mut ips = Vec::new();
    for _ in 0..8 {
        ips.push(rig.post(&path, json!({})).1["id"].as_str().unwrap().to_owned());
    }
    for ip in &ips[..7] {
        assert_eq!(rig.call("PUT", &format!("{VNIS}/{id}/ips/{ip}"), None).0, 200);
    }
    assert_eq!(rig.call("PUT", &format!("{VNIS}/{id}/ips/{}", ips[0]), None).0, 200, "again is fine");
    rig.refused(400, "invalid_value", "PUT", &format!("{VNIS}/{id}/ips/{}", ips[7]), None);
    let (_, json) = rig.get(&format!("{VNIS}/{id}/ips"));
    assert_eq!((json["total_count"].as_u64(), json["ips"][1]["id"].as_str()), (Some(8), Some(ips[0].as_str())));

    let other = rig.vni("node-2-vni", "10.240.0.22");
    rig.refused(409, "resource_in_use", "PUT", &format!("{VNIS}/{other}/ips/{}", ips[0]), None);
    assert_eq!(rig.delete(&format!("{VNIS}/{id}/ips/{}", ips[0])), 204);
    assert_eq!(rig.get(&format!("{VNIS}/{id}/ips/{}", ips[0])).0, 404);
    assert_eq!(rig.call("PUT", &format!("{VNIS}/{other}/ips/{}", ips[0]), None).0, 200);
    let primary = rig.get(&format!("{VNIS}/{id}")).1["primary_ip"]["id"].as_str().unwrap().to_owned();
    rig.refused(409, "resource_in_use", "DELETE", &format!("{VNIS}/{id}/ips/{primary}"), None);
}

#[test]
fn a_reserved_ip_may_be_made_for_an_interface() {
    let mut rig = Rig::new();
    let id = rig.vni("node-1-vni", "10.240.0.11");
    let path = rig.reserved_ips();
    let (status, json) = rig.post(&path, json!({"target": {"id": id}, "auto_delete": true}));
    assert_eq!((status, json["target"]["id"].as_str()), (201, Some(id.as_str())));
    assert_eq!(rig.get(&format!("{VNIS}/{id}")).1["ips"].as_array().unwrap().len(), 2);
}

#[test]
fn addresses_go_with_their_interface_only_if_they_say_so() {
    let mut rig = Rig::new();
    let path = rig.reserved_ips();
    let kept = rig.post(&path, json!({"name": "kept"})).1["id"].as_str().unwrap().to_owned();
    let body = json!({"name": "a", "primary_ip": {"id": kept}, "ips": [{"name": "goes"}, {"name": "stays", "auto_delete": false}]});
    let id = rig.post(VNIS, body).1["id"].as_str().unwrap().to_owned();
    let (status, json) = rig.call("DELETE", &format!("{VNIS}/{id}"), None);
    assert_eq!((status, json["lifecycle_state"].as_str()), (202, Some("deleting")));
    rig.refused(409, "resource_in_use", "DELETE", &format!("{path}/{kept}"), None);
    rig.wait(5);
    assert_eq!(rig.get(&format!("{VNIS}/{id}")).0, 404);
    let state: Vec<(String, bool)> =
        rig.ledger().into_iter().filter(|e| e.0 == "reserved_ip").map(|e| (e.1, e.2)).collect();
    assert_eq!(state, [("kept".into(), false), ("goes".into(), true), ("stays".into(), false)]);
    assert_eq!(rig.delete(&format!("{path}/{kept}")), 204);
}

#[test]
fn an_interface_is_patched_under_its_etag() {
    let mut rig = Rig::new();
    let id = rig.vni("node-1-vni", "10.240.0.11");
    let Reply::Answer(response) = rig.send("GET", &format!("{VNIS}/{id}"), None) else { panic!() };
    let etag = response.headers.iter().find(|(name, _)| name == "etag").unwrap().1.clone();
    let bearer = format!("Bearer {}", rig.token);
    let mut patch = |etag: &str, body: Value| {
        let target = format!("/v1{VNIS}/{id}?version=2026-10-06&generation=2");
        let headers = [("authorization", bearer.as_str()), ("if-match", etag)];
        answer(rig.cloud.handle(rig.now, Face::Vpc, &request("PATCH", &target, &headers, body.to_string().as_bytes())))
    };
    assert_eq!(patch(&etag, json!({"name": "renamed"})).1["name"], "renamed");
    assert_eq!(patch(&etag, json!({"name": "again"})).0, 412);
    assert_eq!(patch("W/\"x\"", json!({"name": "again"})).0, 412);
    rig.refused(400, "invalid_value", "PATCH", &format!("{VNIS}/{id}"), Some(json!({"auto_delete": true})));
    assert_eq!(rig.ledger()[1].1, "renamed");
}
