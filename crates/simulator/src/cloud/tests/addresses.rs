use super::*;

#[test]
fn five_addresses_of_a_subnet_are_the_providers() {
    let mut rig = Rig::new();
    let path = rig.reserved_ips();
    let (_, json) = rig.get(&format!("{path}?sort=address"));
    let listed: Vec<(&str, &str)> = json["reserved_ips"]
        .as_array()
        .unwrap()
        .iter()
        .map(|ip| (ip["address"].as_str().unwrap(), ip["owner"].as_str().unwrap()))
        .collect();
    let expected = ["10.240.0.0", "10.240.0.1", "10.240.0.2", "10.240.0.3", "10.240.0.255"];
    assert_eq!(listed, expected.map(|address| (address, "provider")));
    let id = json["reserved_ips"][1]["id"].as_str().unwrap().to_owned();
    rig.refused(403, "not_authorized", "DELETE", &format!("{path}/{id}"), None);
}

#[test]
fn an_address_is_reserved_once_and_inside_of_the_subnet() {
    let mut rig = Rig::new();
    let path = rig.reserved_ips();
    let (status, json) = rig.post(&path, json!({"address": "10.240.0.11", "name": "node-1"}));
    assert_eq!(status, 201);
    assert_eq!(
        (json["owner"].as_str(), json["auto_delete"].as_bool(), json.get("target")),
        (Some("user"), Some(false), None)
    );
    for (address, code) in [
        ("10.240.0.11", "validation_unique_failed"),
        ("10.240.0.1", "validation_unique_failed"),
        ("10.240.1.11", "invalid_value"),
        ("ten", "invalid_value"),
    ] {
        rig.refused(400, code, "POST", &path, Some(json!({"address": address})));
    }
    let (_, subnet) = rig.get(&format!("/subnets/{}", rig.ids.subnet.clone()));
    assert_eq!(subnet["available_ipv4_address_count"], 256 - 6);
}

#[test]
fn without_an_address_the_lowest_free_one_is_taken_until_there_is_none() {
    let mut rig = Rig::with(CloudSettings { subnet: "10.9.0.0/29".parse().unwrap(), ..CloudSettings::default() });
    let path = rig.reserved_ips();
    for expected in ["10.9.0.4", "10.9.0.5", "10.9.0.6"] {
        assert_eq!(rig.post(&path, json!({})).1["address"], expected);
    }
    rig.refused(409, "insufficient_address", "POST", &path, Some(json!({})));
}

#[test]
fn names_of_reserved_ips_are_unique_in_the_subnet() {
    let mut rig = Rig::new();
    let path = rig.reserved_ips();
    rig.post(&path, json!({"name": "node-1"}));
    let message = rig.refused(400, "validation_unique_failed", "POST", &path, Some(json!({"name": "node-1"})));
    assert_eq!(message, "Provided Name (node-1) is not unique");
    for name in ["Node", "1node", "node-", "ibm-node", ""] {
        rig.refused(400, "invalid_value", "POST", &path, Some(json!({"name": name})));
    }
    assert_eq!(rig.ledger().len(), 1, "a refused request leaves nothing behind");
}

#[test]
fn unknown_and_mistyped_fields_are_refused_by_name() {
    let mut rig = Rig::new();
    let path = rig.reserved_ips();
    let (_, json) = rig.post(&path, json!({"adress": "10.240.0.11"}));
    assert_eq!(json["errors"][0]["target"], json!({"type": "field", "name": "adress"}));
    rig.refused(400, "unknown_field", "POST", &path, Some(json!({"adress": "10.240.0.11"})));
    rig.refused(400, "invalid_value", "POST", &path, Some(json!({"name": 7})));
    rig.refused(400, "invalid_value", "POST", &path, Some(json!({"name": null})));
    rig.refused(400, "invalid_value", "POST", &path, Some(json!({"auto_delete": true})));
    rig.refused(400, "missing_value", "POST", &path, None);
    rig.refused(404, "not_found", "POST", "/subnets/0717-no/reserved_ips", Some(json!({})));
}

#[test]
fn a_reserved_ip_is_renamed_and_deleted() {
    let mut rig = Rig::new();
    let path = rig.reserved_ips();
    let (_, json) = rig.post(&path, json!({"name": "node-1"}));
    let one = format!("{path}/{}", json["id"].as_str().unwrap());
    assert_eq!(rig.call("PATCH", &one, Some(json!({"name": "node-2"}))).1["name"], "node-2");
    rig.refused(400, "invalid_value", "PATCH", &one, Some(json!({"auto_delete": true})));
    rig.refused(400, "unknown_field", "PATCH", &one, Some(json!({"address": "10.240.0.12"})));
    assert_eq!(rig.delete(&one), 204);
    assert_eq!(rig.get(&one).0, 404);
    assert_eq!(rig.delete(&one), 404);
    assert_eq!(rig.ledger(), [("reserved_ip", "node-2".into(), true)]);
}

#[test]
fn a_bound_address_is_in_use_and_shows_its_target() {
    let mut rig = Rig::new();
    let path = rig.reserved_ips();
    let vni = rig.vni("node-1-vni", "10.240.0.11");
    let (_, json) = rig.get(&format!("{path}?target.id={vni}"));
    assert_eq!(json["total_count"], 1);
    let ip = &json["reserved_ips"][0];
    assert_eq!((ip["address"].as_str(), ip["target"]["id"].as_str()), (Some("10.240.0.11"), Some(vni.as_str())));
    let one = format!("{path}/{}", ip["id"].as_str().unwrap());
    let message = rig.refused(409, "resource_in_use", "DELETE", &one, None);
    assert!(message.contains("in use"), "{message}");
}
