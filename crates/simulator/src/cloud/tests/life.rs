use super::*;

#[test]
fn a_server_lives_from_reservation_to_an_empty_account() {
    let mut rig = Rig::new();
    let ips = rig.reserved_ips();
    let (status, ip) = rig.post(&ips, json!({"name": "demo-node-1", "address": "10.240.0.11"}));
    assert_eq!(status, 201);
    let ip = ip["id"].as_str().unwrap().to_owned();
    let (status, vni) = rig.post(
        "/virtual_network_interfaces",
        json!({"name": "demo-node-1", "primary_ip": {"id": ip}, "allow_ip_spoofing": true}),
    );
    assert_eq!(status, 201);
    let vni = vni["id"].as_str().unwrap().to_owned();
    let body = rig.server_body("demo-node-1", &vni);
    let (status, json) = rig.post("/bare_metal_servers", body);
    assert_eq!(status, 201);
    let id = json["id"].as_str().unwrap().to_owned();
    let server = format!("/bare_metal_servers/{id}");

    rig.minutes(28);
    assert_eq!(rig.status(&id), "running");
    assert!(matches!(rig.cloud.take_power_events().as_slice(), [PowerEvent::On(on)] if on.network_boot));
    rig.cloud.boot_disk_overwritten(&id);

    assert_eq!(rig.delete(&server), 409, "running");
    assert_eq!(rig.act(&id, "stop-soft"), 204);
    rig.minutes(2);
    let initialization = rig.initialization();
    assert_eq!(rig.call("PUT", &format!("{server}/initialization"), Some(initialization)).0, 200);
    rig.minutes(20);
    assert_eq!(rig.status(&id), "running");
    let events = rig.cloud.take_power_events();
    assert!(matches!(events.as_slice(), [PowerEvent::Off { .. }, PowerEvent::On(on)] if on.network_boot), "{events:?}");

    assert_eq!(rig.act(&id, "stop-hard"), 204);
    rig.minutes(1);
    assert_eq!(rig.delete(&format!("/virtual_network_interfaces/{vni}")), 409);
    assert_eq!(rig.delete(&server), 202);
    assert_eq!(rig.status(&id), "deleting");
    rig.minutes(2);
    assert_eq!(rig.status(&id), "gone");
    assert_eq!(rig.cloud.take_power_events().pop(), Some(PowerEvent::Gone { server_id: id }));

    let (_, json) = rig.get(&format!("/virtual_network_interfaces/{vni}"));
    assert_eq!(
        (json["primary_ip"]["id"].as_str(), json.get("target")),
        (Some(ip.as_str()), None),
        "it outlives the server"
    );
    assert_eq!(rig.delete(&format!("{ips}/{ip}")), 409);
    assert_eq!(rig.delete(&format!("/virtual_network_interfaces/{vni}")), 202);
    rig.minutes(1);
    assert_eq!(rig.delete(&format!("{ips}/{ip}")), 204);

    assert_eq!(
        rig.ledger(),
        [
            ("reserved_ip", "demo-node-1".into(), true),
            ("virtual_network_interface", "demo-node-1".into(), true),
            ("bare_metal_server", "demo-node-1".into(), true),
        ]
    );
    assert_eq!(rig.cloud.next_event_at(), None);
}

#[test]
fn the_same_seed_and_requests_give_the_same_world() {
    let run = |seed: u64| {
        let mut rig = Rig::with(CloudSettings { seed, ..CloudSettings::default() });
        for n in 1..4 {
            rig.server(&format!("node-{n}"), &format!("10.240.0.1{n}"));
        }
        rig.minutes(30);
        (rig.cloud.take_power_events(), rig.cloud.ledger(), rig.get("/bare_metal_servers").1)
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}

#[test]
fn time_passes_in_one_leap_as_in_small_steps() {
    let run = |steps: u64| {
        let mut rig = Rig::new();
        rig.server("node-1", "10.240.0.11");
        for _ in 0..steps {
            rig.wait(2400 / steps);
        }
        (rig.cloud.take_power_events(), rig.cloud.ledger())
    };
    assert_eq!(run(1), run(240));
}

#[test]
fn a_servers_jitter_stays_within_a_tenth() {
    let mut rig = Rig::new();
    for n in 1..=20 {
        rig.server(&format!("node-{n}"), &format!("10.240.0.{}", n + 10));
    }
    let mut booted = Vec::new();
    while let Some(at) = rig.cloud.next_event_at() {
        rig.cloud.advance(at);
        booted.extend(rig.cloud.take_power_events().iter().map(|_| at.since(START).as_secs_f64() / 60.0));
    }
    assert_eq!(booted.len(), 20);
    assert!(booted[0] >= 24.0 * 0.9 && booted[19] <= 24.0 * 1.1, "{booted:?}");
    assert!(booted[19] - booted[0] > 1.0, "they differ: {booted:?}");
}
