use super::*;

fn call(rig: &mut Rig, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
    let target = format!("/v1/instances/{}/dnszones{path}", rig.ids.dns_instance);
    let bearer = format!("Bearer {}", rig.token);
    let body = body.map_or_else(Vec::new, |body| body.to_string().into_bytes());
    let request = request(method, &target, &[("authorization", &bearer)], &body);
    answer(rig.cloud.handle(rig.now, Face::Dns, &request))
}

#[test]
fn a_record_lives_and_a_pointer_needs_its_host() {
    let mut rig = Rig::new();
    let (_, zones) = call(&mut rig, "GET", "", None);
    assert_eq!(zones["dnszones"][0]["id"], rig.ids.dns_zone.as_str());
    let records = format!("/{}/resource_records", rig.ids.dns_zone);
    let pointer = json!({"type": "PTR", "name": "10.240.0.11", "rdata": {"ptrdname": "node-1.metalform.example"}});
    assert_eq!(call(&mut rig, "POST", &records, Some(pointer.clone())).0, 400, "no A record yet");
    let host = json!({"type": "A", "name": "node-1", "rdata": {"ip": "10.240.0.11"}});
    let (status, json) = call(&mut rig, "POST", &records, Some(host.clone()));
    assert_eq!(
        (status, json["name"].as_str(), json["ttl"].as_u64()),
        (200, Some("node-1.metalform.example"), Some(900))
    );
    let id = json["id"].as_str().unwrap().to_owned();
    assert!(id.starts_with("A:"));
    assert_eq!(call(&mut rig, "POST", &records, Some(host)).0, 409);
    let (status, json) = call(&mut rig, "POST", &records, Some(pointer.clone()));
    assert_eq!((status, json["id"].as_str().unwrap()), (200, id.replacen("A:", "PTR:", 1).as_str()));
    assert_eq!(call(&mut rig, "POST", &records, Some(pointer)).0, 409, "one pointer for an address");

    let (_, json) = call(&mut rig, "GET", &format!("{records}?type=A&limit=1"), None);
    assert_eq!((json["total_count"].as_u64(), json["count"].as_u64()), (Some(1), Some(1)));
    let one = format!("{records}/{id}");
    assert_eq!(call(&mut rig, "PUT", &one, Some(json!({"ttl": 60}))).1["ttl"], 60);
    assert_eq!(call(&mut rig, "DELETE", &one, None).0, 204);
    assert_eq!(call(&mut rig, "GET", &one, None).0, 404);
    assert_eq!(
        rig.ledger(),
        [("dns_record", "node-1.metalform.example".into(), true), ("dns_record", "10.240.0.11".into(), false)]
    );
}

#[test]
fn records_are_checked() {
    let mut rig = Rig::new();
    let records = format!("/{}/resource_records", rig.ids.dns_zone);
    for body in [
        json!({"type": "A", "name": "n", "rdata": {"ip": "ten"}}),
        json!({"type": "A", "name": "n", "rdata": {"ptr": "x"}}),
        json!({"type": "A", "name": "n"}),
        json!({"type": "A", "name": "n", "rdata": {"ip": "10.0.0.1"}, "ttl": 59}),
        json!({"type": "A", "name": "n", "rdata": {"ip": "10.0.0.1"}, "zone": "x"}),
    ] {
        assert_eq!(call(&mut rig, "POST", &records, Some(body)).0, 400);
    }
    assert_eq!(call(&mut rig, "GET", "/example.com:1", None).0, 404);
    rig.token = "none".into();
    assert_eq!(call(&mut rig, "GET", "", None).0, 401);
}
