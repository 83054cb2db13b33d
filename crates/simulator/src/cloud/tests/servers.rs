use super::*;

const SERVERS: &str = "/bare_metal_servers";

/// A create body with one thing changed: the value at that pointer, or without it for null.
fn changed(body: &Value, pointer: &str, value: Value) -> Option<Value> {
    let mut body = body.clone();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = body.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    if value.is_null() {
        parent.remove(key)
    } else {
        parent.insert(key.into(), value)
    };
    Some(body)
}

#[test]
fn a_server_goes_from_pending_over_starting_to_running_and_boots_after_24_minutes() {
    let mut rig = Rig::new();
    let (id, vni) = rig.server("node-1", "10.240.0.11");
    assert_eq!(rig.status(&id), "pending");
    let mut seen = Vec::new();
    let mut booted = None;
    for minute in 1..=30 {
        rig.minutes(1);
        let status = rig.status(&id);
        if seen.last() != Some(&status) {
            seen.push(status);
        }
        for event in rig.cloud.take_power_events() {
            booted = Some((minute, event));
        }
    }
    assert_eq!(seen, ["pending", "starting", "running"]);
    let (minute, event) = booted.unwrap();
    assert!((21..=27).contains(&minute), "iPXE began in minute {minute}");
    let PowerEvent::On(on) = event else { panic!("{event:?}") };
    let mac = rig.get(&format!("/virtual_network_interfaces/{vni}")).1["mac_address"].clone();
    assert_eq!(on.mac, mac.as_str().unwrap());
    assert_eq!((on.server_id, on.name, on.profile), (id, "node-1".into(), "bx2d-metal-96x384".into()));
    assert_eq!(on.user_data, "http://10.240.0.4:8080/boot/ipxe/server-001?t=secret");
    assert_eq!((on.address.to_string(), on.gateway.to_string()), ("10.240.0.11".into(), "10.240.0.1".into()));
    assert_eq!((on.cores, on.memory_gib, on.network_boot, on.boot_disk_writes), (48, 384, true, 1));
    let drives: Vec<(u64, bool)> = on.drives.iter().map(|drive| (drive.size_gb, drive.boot)).collect();
    assert_eq!((drives.len(), drives[0], drives[8]), (9, (960, true), (3200, false)));
}

#[test]
fn the_speed_divides_the_worlds_durations_only() {
    let mut rig = Rig::with(CloudSettings { speed: 60.0, ..CloudSettings::default() });
    let (id, _) = rig.server("node-1", "10.240.0.11");
    rig.wait(12);
    assert_eq!(rig.status(&id), "running");
    rig.wait(16);
    assert!(matches!(rig.cloud.take_power_events().as_slice(), [PowerEvent::On(_)]));
    rig.wait(3600 - 28 - 1);
    assert_eq!(rig.get("/vpcs").0, 200, "a token lives an hour of the wall clock");
}

#[test]
fn the_answer_to_a_create_is_the_server_and_never_its_user_data() {
    let mut rig = Rig::new();
    let vni = rig.vni("node-1-vni", "10.240.0.11");
    let body = rig.server_body("node-1", &vni);
    let (_, json) = rig.post(SERVERS, body);
    let text = json.to_string();
    assert!(!text.contains("secret") && !text.contains("initialization"), "{text}");
    assert_eq!(json["primary_network_attachment"]["virtual_network_interface"]["id"], vni.as_str());
    assert_eq!(json["network_attachments"].as_array().unwrap().len(), 1);
    let (mirror, attachment) = (&json["primary_network_interface"], &json["primary_network_attachment"]);
    assert_eq!((&mirror["id"], &mirror["name"]), (&attachment["id"], &attachment["name"]));
    assert_eq!(
        mirror["href"].as_str().unwrap(),
        attachment["href"].as_str().unwrap().replace("/network_attachments", "/network_interfaces")
    );
    assert_eq!(json["cpu"]["core_count"], 48);
    let (_, shown) = rig.get(&format!("/virtual_network_interfaces/{vni}"));
    assert_eq!(shown["target"]["id"], attachment["id"]);
    let id = json["id"].as_str().unwrap();
    let (_, json) = rig.get(&format!("{SERVERS}/{id}/initialization"));
    assert_eq!(json.get("user_data"), None);
    assert_eq!(
        (json["image"]["name"].as_str(), &json["user_accounts"]),
        (Some("ibm-ipxe-20240326-amd64-1"), &json!([]))
    );
}

#[test]
fn a_create_is_checked_field_by_field() {
    let mut rig = Rig::new();
    let vni = rig.vni("node-1-vni", "10.240.0.11");
    let body = rig.server_body("node-1", &vni);
    let of_status = |rig: &mut Rig, status: &str| {
        rig.get(&format!("/images?status={status}&user_data_format=cloud_init")).1["images"][0]["id"].clone()
    };
    let obsolete = of_status(&mut rig, "obsolete");
    let virtual_only = rig.get("/images?name=ibm-centos-stream-1-amd64-2").1["images"][0]["id"].clone();
    let windows = rig.get("/images?user_data_format=cloudbase_init&status=available").1["images"][0]["id"].clone();
    for (code, pointer, value) in [
        ("missing_field", "/profile", Value::Null),
        ("missing_field", "/zone", Value::Null),
        ("missing_field", "/initialization", Value::Null),
        ("missing_field", "/initialization/image", Value::Null),
        ("missing_field", "/initialization/keys", Value::Null),
        ("missing_field", "/primary_network_attachment", Value::Null),
        ("missing_field", "/primary_network_attachment/virtual_network_interface", Value::Null),
        ("unknown_field", "/user_data", json!("http://x")),
        ("unknown_field", "/image", json!({"id": "x"})),
        ("unknown_field", "/initialization/userdata", json!("http://x")),
        ("unknown_field", "/profile/family", json!("balanced")),
        ("invalid_value", "/name", json!("Node")),
        ("invalid_value", "/name", json!("1node")),
        ("invalid_value", "/profile", json!("bx2d-metal-96x384")),
        ("not_found", "/profile/name", json!("bx2d-metal-24x96")),
        ("not_found", "/zone/name", json!("eu-de-1")),
        ("invalid_value", "/zone/name", json!("us-south-2")),
        ("not_found", "/vpc/id", json!("r006-no")),
        ("not_found", "/initialization/image", json!({"id": "r006-no"})),
        ("invalid_value", "/initialization/image", json!({"id": obsolete})),
        ("invalid_value", "/initialization/image", json!({"id": virtual_only})),
        ("not_found", "/initialization/keys", json!([{"id": "r006-no"}])),
        ("invalid_value", "/initialization/keys", json!("key")),
        ("invalid_value", "/initialization/user_data", json!("x".repeat(64 * 1024 + 1))),
        ("invalid_value", "/initialization/user_data", json!({"url": "http://x"})),
        ("not_found", "/primary_network_attachment/virtual_network_interface", json!({"id": "0717-no"})),
        ("invalid_value", "/primary_network_attachment/interface_type", json!("vlan")),
        ("invalid_value", "/bandwidth", json!(1)),
        ("invalid_value", "/enable_secure_boot", json!("no")),
        ("invalid_value", "/trusted_platform_module", json!({"mode": "tpm_1"})),
        ("missing_field", "/network_attachments", json!([{"virtual_network_interface": {"id": "x"}}])),
        ("invalid_value", "/primary_network_interface", json!({"subnet": {"id": "x"}})),
    ] {
        rig.refused(400, code, "POST", SERVERS, changed(&body, pointer, value));
    }
    let mut keyless = body.clone();
    keyless["initialization"] = json!({"image": {"id": windows}, "keys": []});
    rig.refused(400, "invalid_value", "POST", SERVERS, Some(keyless));
    let mut old_style = body.clone();
    let map = old_style.as_object_mut().unwrap();
    map.remove("primary_network_attachment");
    map.insert("primary_network_interface".into(), json!({"subnet": {"id": rig.ids.subnet}}));
    rig.refused(501, "not_simulated", "POST", SERVERS, Some(old_style));

    assert_eq!(rig.get(SERVERS).1["total_count"], 0);
    let longest = changed(&body, "/initialization/user_data", json!("x".repeat(64 * 1024)));
    assert_eq!(rig.call("POST", SERVERS, longest).0, 201);
}

#[test]
fn generation_three_is_not_in_every_zone() {
    let mut rig = Rig::with(CloudSettings { zone: "us-south-3".into(), ..CloudSettings::default() });
    let vni = rig.vni("a", "10.240.0.11");
    let mut body = rig.server_body("node-1", &vni);
    body["zone"]["name"] = json!("us-south-3");
    body["profile"]["name"] = json!("cx3d-metal-48x128");
    rig.refused(400, "invalid_value", "POST", SERVERS, Some(body.clone()));
    body["profile"]["name"] = json!("cx2d-metal-96x192");
    assert_eq!(rig.post(SERVERS, body).0, 201);
}

#[test]
fn server_names_are_unique_in_the_region_until_the_server_is_gone() {
    let mut rig = Rig::new();
    let (id, _) = rig.server("node-1", "10.240.0.11");
    let vni = rig.vni("other", "10.240.0.12");
    let body = rig.server_body("node-1", &vni);
    let message = rig.refused(400, "validation_unique_failed", "POST", SERVERS, Some(body.clone()));
    assert_eq!(message, "Provided Name (node-1) is not unique");
    rig.minutes(30);
    rig.act(&id, "stop-hard");
    rig.minutes(1);
    assert_eq!(rig.delete(&format!("{SERVERS}/{id}")), 202);
    rig.refused(400, "validation_unique_failed", "POST", SERVERS, Some(body.clone()));
    rig.minutes(2);
    assert_eq!(rig.post(SERVERS, body).0, 201);
}

#[test]
fn an_interface_is_on_one_server_only() {
    let mut rig = Rig::new();
    let (id, vni) = rig.server("node-1", "10.240.0.11");
    let body = rig.server_body("node-2", &vni);
    rig.refused(409, "resource_in_use", "POST", SERVERS, Some(body));
    let message = rig.refused(409, "resource_in_use", "DELETE", &format!("/virtual_network_interfaces/{vni}"), None);
    assert!(message.contains("in use"));
    let (_, json) = rig.get(&format!("{SERVERS}/{id}/network_attachments"));
    assert_eq!(json["network_attachments"][0]["virtual_network_interface"]["id"], vni.as_str());
    assert_eq!(json["network_attachments"][0]["interface_type"], "pci");
    let (_, json) = rig.get(&format!("{SERVERS}/{id}/network_interfaces"));
    assert_eq!(json["network_interfaces"][0]["status"], "pending");
}

#[test]
fn the_quota_counts_every_server_that_is_not_gone() {
    let mut rig = Rig::with(CloudSettings { quota: 2, ..CloudSettings::default() });
    rig.server("node-1", "10.240.0.11");
    rig.server("node-2", "10.240.0.12");
    let vni = rig.vni("node-3-vni", "10.240.0.13");
    let body = rig.server_body("node-3", &vni);
    let message = rig.refused(400, "over_quota", "POST", SERVERS, Some(body));
    assert!(message.contains("will put user over quota"), "{message}");
}

/// Every action that is not among the allowed ones is refused in that status, and changes nothing.
fn check_actions(rig: &mut Rig, id: &str, status: &str, allowed: &[&str]) {
    assert_eq!(rig.status(id), status);
    for action in ["start", "restart", "stop-soft", "reinitialize", "delete"] {
        if !allowed.contains(&action) {
            assert_eq!(act(rig, id, action), 409, "{action} while {status}");
            assert_eq!(rig.status(id), status);
        }
    }
}

fn act(rig: &mut Rig, id: &str, action: &str) -> u16 {
    match action {
        "reinitialize" => {
            let body = rig.initialization();
            rig.call("PUT", &format!("{SERVERS}/{id}/initialization"), Some(body)).0
        }
        "delete" => rig.delete(&format!("{SERVERS}/{id}")),
        other => rig.act(id, other),
    }
}

#[test]
fn actions_are_allowed_in_their_states_only() {
    let mut rig = Rig::new();
    let (id, _) = rig.server("node-1", "10.240.0.11");
    check_actions(&mut rig, &id, "pending", &[]);
    rig.minutes(9);
    check_actions(&mut rig, &id, "starting", &[]);
    rig.minutes(3);
    check_actions(&mut rig, &id, "running", &["restart", "stop-soft"]);
    assert_eq!(act(&mut rig, &id, "stop-soft"), 204);
    check_actions(&mut rig, &id, "stopping", &[]);
    rig.minutes(2);
    check_actions(&mut rig, &id, "stopped", &["start", "reinitialize", "delete"]);
    assert_eq!(act(&mut rig, &id, "reinitialize"), 200);
    check_actions(&mut rig, &id, "reinitializing", &[]);
    rig.minutes(13);
    check_actions(&mut rig, &id, "running", &["restart", "stop-soft"]);
    assert_eq!(act(&mut rig, &id, "restart"), 204);
    check_actions(&mut rig, &id, "restarting", &[]);
    rig.minutes(2);
    assert_eq!(act(&mut rig, &id, "stop-hard"), 204);
    rig.wait(20);
    assert_eq!(act(&mut rig, &id, "start"), 204);
    check_actions(&mut rig, &id, "starting", &[]);
    rig.minutes(3);
    assert_eq!(act(&mut rig, &id, "stop-hard"), 204);
    rig.wait(20);
    assert_eq!(act(&mut rig, &id, "delete"), 202);
    check_actions(&mut rig, &id, "deleting", &[]);
    rig.minutes(2);
    assert_eq!(rig.status(&id), "gone");
    rig.refused(404, "not_found", "POST", &format!("{SERVERS}/{id}/start"), None);
}

#[test]
fn start_says_why_it_is_refused() {
    let mut rig = Rig::new();
    let (id, _) = rig.server("node-1", "10.240.0.11");
    let message = rig.refused(409, "invalid_state", "POST", &format!("{SERVERS}/{id}/start"), None);
    assert_eq!(message, "Failed to start the bare metal server because the server is not in the STOPPED status.");
    rig.refused(400, "invalid_request", "POST", &format!("{SERVERS}/{id}/start"), Some(json!({})));
}

#[test]
fn stop_needs_its_type() {
    let mut rig = Rig::new();
    let (id, _) = rig.server("node-1", "10.240.0.11");
    rig.minutes(12);
    let path = format!("{SERVERS}/{id}/stop");
    rig.refused(400, "missing_value", "POST", &path, None);
    rig.refused(400, "missing_field", "POST", &path, Some(json!({})));
    rig.refused(400, "invalid_value", "POST", &path, Some(json!({"type": "now"})));
    rig.refused(400, "unknown_field", "POST", &path, Some(json!({"type": "soft", "force": true})));
}

#[test]
fn stopping_is_shown_or_not_as_the_setting_says() {
    for (stopping_status, expected) in [(true, "stopping"), (false, "running")] {
        let mut rig = Rig::with(CloudSettings { stopping_status, ..CloudSettings::default() });
        let (id, _) = rig.server("node-1", "10.240.0.11");
        rig.minutes(12);
        rig.act(&id, "stop-soft");
        assert_eq!(rig.status(&id), expected);
        assert_eq!(rig.act(&id, "stop-soft"), 409);
        assert_eq!(rig.act(&id, "stop-hard"), 204, "a hard stop may follow a soft one");
        rig.wait(12);
        assert_eq!(rig.status(&id), "stopped");
    }
}

#[test]
fn a_pending_server_can_be_deleted_only_by_a_setting() {
    let mut rig = Rig::with(CloudSettings { delete_while_pending: true, ..CloudSettings::default() });
    let (id, vni) = rig.server("node-1", "10.240.0.11");
    assert_eq!(rig.delete(&format!("{SERVERS}/{id}")), 202);
    rig.minutes(40);
    assert_eq!(rig.status(&id), "gone");
    assert_eq!(rig.cloud.take_power_events(), [PowerEvent::Gone { server_id: id }], "it never started");
    assert_eq!(rig.get(&format!("/virtual_network_interfaces/{vni}")).1.get("target"), None);
}

#[test]
fn power_follows_stop_start_and_restart() {
    let mut rig = Rig::new();
    let (id, _) = rig.server("node-1", "10.240.0.11");
    rig.minutes(30);
    assert!(matches!(rig.cloud.take_power_events().as_slice(), [PowerEvent::On(_)]));
    let off = PowerEvent::Off { server_id: id.clone() };

    rig.act(&id, "restart");
    assert_eq!(rig.cloud.take_power_events(), std::slice::from_ref(&off));
    rig.minutes(7);
    assert!(matches!(rig.cloud.take_power_events().as_slice(), [PowerEvent::On(_)]), "a later boot is faster");

    rig.act(&id, "stop-soft");
    assert_eq!(rig.cloud.take_power_events(), []);
    rig.minutes(2);
    assert_eq!(rig.cloud.take_power_events(), std::slice::from_ref(&off));
    rig.act(&id, "start");
    rig.minutes(8);
    assert!(matches!(rig.cloud.take_power_events().as_slice(), [PowerEvent::On(_)]));
}

#[test]
fn network_boot_ends_when_the_boot_disk_is_written_and_returns_with_reinitialize() {
    let mut rig = Rig::new();
    let (id, _) = rig.server("node-1", "10.240.0.11");
    rig.minutes(30);
    rig.cloud.boot_disk_overwritten(&id);
    rig.act(&id, "restart");
    rig.minutes(8);
    let boots = |rig: &mut Rig| -> Vec<(bool, u32, String)> {
        let events = rig.cloud.take_power_events();
        let on = events.into_iter().filter_map(|event| match event {
            PowerEvent::On(on) => Some((on.network_boot, on.boot_disk_writes, on.user_data)),
            _ => None,
        });
        on.collect()
    };
    let url = "http://10.240.0.4:8080/boot/ipxe/server-001?t=secret".to_string();
    assert_eq!(boots(&mut rig), [(true, 1, url.clone()), (false, 1, url)]);

    rig.act(&id, "stop-hard");
    rig.minutes(1);
    let mut body = rig.initialization();
    body["user_data"] = json!("#!ipxe\necho again\n");
    let (status, json) = rig.call("PUT", &format!("{SERVERS}/{id}/initialization"), Some(body.clone()));
    assert_eq!((status, json.get("user_data")), (200, None));
    rig.minutes(13);
    assert_eq!(rig.status(&id), "running", "it starts by itself");
    rig.minutes(5);
    assert_eq!(boots(&mut rig), [(true, 2, "#!ipxe\necho again\n".into())]);

    body["image"] = json!({"id": rig.get("/images?name=ibm-ubuntu-1-amd64-2").1["images"][0]["id"]});
    rig.act(&id, "stop-hard");
    rig.minutes(1);
    assert_eq!(rig.call("PUT", &format!("{SERVERS}/{id}/initialization"), Some(body)).0, 200);
    rig.minutes(18);
    assert!(!boots(&mut rig)[0].0, "another image does not boot from the network");
}

#[test]
fn an_interface_made_with_the_server_goes_with_it() {
    let mut rig = Rig::new();
    let mut body = rig.server_body("node-1", "none");
    body["primary_network_attachment"]["virtual_network_interface"] =
        json!({"name": "inline", "subnet": {"id": rig.ids.subnet}, "primary_ip": {"address": "10.240.0.11"}});
    let (status, json) = rig.post(SERVERS, body.clone());
    assert_eq!(status, 201, "{json}");
    let id = json["id"].as_str().unwrap().to_owned();
    let vni = json["primary_network_attachment"]["virtual_network_interface"]["id"].as_str().unwrap().to_owned();
    assert_eq!(rig.get(&format!("/virtual_network_interfaces/{vni}")).1["auto_delete"], true);

    body["name"] = json!("node-2");
    body["primary_network_attachment"]["virtual_network_interface"]["primary_ip"] = json!({"address": "10.240.0.12"});
    let (_, refusal) = rig.post(SERVERS, body.clone());
    let error = &refusal["errors"][0];
    assert_eq!(error["code"], "bad_field");
    let inner = r#"{"errors":[{"code":"validation_unique_failed","message":"Another VNI with the requested name already exists"}]"#;
    assert!(error["message"].as_str().unwrap().starts_with(&format!("Handler Error: Status=400, JSON={inner}")));
    assert_eq!(rig.ledger().len(), 3, "nothing of the refused create is left");
    body["primary_network_attachment"]["virtual_network_interface"]["name"] = json!("inline-2");
    body["zone"]["name"] = json!("us-south-2");
    rig.refused(400, "invalid_value", "POST", SERVERS, Some(body));
    assert_eq!(rig.ledger().len(), 3, "nothing of the refused create is left");
    assert_eq!(rig.get("/virtual_network_interfaces").1["total_count"], 1);

    rig.minutes(30);
    rig.act(&id, "stop-hard");
    rig.minutes(1);
    rig.delete(&format!("{SERVERS}/{id}"));
    rig.minutes(2);
    assert_eq!(rig.get(&format!("/virtual_network_interfaces/{vni}")).0, 404);
    assert!(rig.ledger().iter().all(|(_, _, gone)| *gone), "{:?}", rig.ledger());
}

#[test]
fn further_attachments_need_a_type_and_a_vlan_that_is_allowed() {
    let mut rig = Rig::new();
    let (first, second) = (rig.vni("a", "10.240.0.11"), rig.vni("b", "10.240.0.12"));
    let mut body = rig.server_body("node-1", &first);
    let vlan =
        json!({"interface_type": "vlan", "vlan": 4, "name": "storage", "virtual_network_interface": {"id": second}});
    body["network_attachments"] = json!([vlan]);
    rig.refused(400, "invalid_value", "POST", SERVERS, Some(body.clone()));
    body["primary_network_attachment"]["allowed_vlans"] = json!([4, 4095]);
    rig.refused(400, "invalid_value", "POST", SERVERS, Some(body.clone()));
    body["primary_network_attachment"]["allowed_vlans"] = json!([4]);
    let mut twice = body.clone();
    twice["network_attachments"][0]["virtual_network_interface"]["id"] = json!(first);
    rig.refused(409, "resource_in_use", "POST", SERVERS, Some(twice));
    let mut same_name = body.clone();
    same_name["network_attachments"][0]["name"] = json!("eth0");
    rig.refused(400, "validation_unique_failed", "POST", SERVERS, Some(same_name));
    let mut many = body.clone();
    many["network_attachments"] = (0..8)
        .map(|_| json!({"interface_type": "pci", "virtual_network_interface": {"subnet": {"id": rig.ids.subnet}}}))
        .collect();
    rig.refused(400, "invalid_value", "POST", SERVERS, Some(many));
    let (status, json) = rig.post(SERVERS, body);
    assert_eq!(status, 201, "{json}");
    let id = json["id"].as_str().unwrap();
    let (_, json) = rig.get(&format!("{SERVERS}/{id}/network_attachments"));
    assert_eq!(json["network_attachments"][1]["vlan"], 4);
    assert_eq!(json["network_attachments"][1]["type"], "secondary");
}

#[test]
fn a_server_is_patched_within_the_rules() {
    let mut rig = Rig::new();
    let (id, _) = rig.server("node-1", "10.240.0.11");
    rig.server("node-2", "10.240.0.12");
    let one = format!("{SERVERS}/{id}");
    assert_eq!(rig.call("PATCH", &one, Some(json!({"name": "node-9"}))).1["name"], "node-9");
    rig.refused(400, "validation_unique_failed", "PATCH", &one, Some(json!({"name": "node-2"})));
    rig.refused(400, "unknown_field", "PATCH", &one, Some(json!({"user_data": "http://x"})));
    rig.refused(409, "invalid_state", "PATCH", &one, Some(json!({"enable_secure_boot": true})));
    rig.minutes(12);
    rig.act(&id, "stop-hard");
    rig.minutes(1);
    let (_, json) = rig.call(
        "PATCH",
        &one,
        Some(json!({"enable_secure_boot": true, "trusted_platform_module": {"mode": "tpm_2"}})),
    );
    assert_eq!(
        (json["enable_secure_boot"].as_bool(), json["trusted_platform_module"]["enabled"].as_bool()),
        (Some(true), Some(true))
    );
}

#[test]
fn disks_and_console_are_there() {
    let mut rig = Rig::new();
    let (id, _) = rig.server("node-1", "10.240.0.11");
    let (_, json) = rig.get(&format!("{SERVERS}/{id}/disks"));
    let disks = json["disks"].as_array().unwrap().clone();
    assert_eq!(
        (disks.len(), disks[0]["size"].as_u64(), disks[8]["interface_type"].as_str()),
        (9, Some(960), Some("nvme"))
    );
    assert!(disks[0].get("allowed_use").is_some() && disks[1].get("allowed_use").is_none());
    let disk = disks[3]["id"].as_str().unwrap();
    assert_eq!(rig.get(&format!("{SERVERS}/{id}/disks/{disk}")).1, disks[3]);
    let console = format!("{SERVERS}/{id}/console_access_token");
    rig.refused(409, "invalid_state", "POST", &console, Some(json!({"console_type": "vnc"})));
    rig.minutes(12);
    assert_eq!(rig.post(&console, json!({"console_type": "serial"})).1["force"], false);
    rig.refused(400, "missing_field", "POST", &console, Some(json!({})));
}
