use super::*;

#[test]
fn the_first_page_of_images_misses_the_one_that_boots_ipxe() {
    let mut rig = Rig::new();
    let (_, json) = rig.get("/images");
    assert_eq!((json["limit"].as_u64(), json["images"].as_array().unwrap().len()), (Some(50), 50));
    assert!(json["total_count"].as_u64().unwrap() > 1100);
    assert!(!json.to_string().contains("ibm-ipxe"));
    let (_, json) = rig.get("/images?user_data_format=ipxe,esxi_kickstart&visibility=public&status=available");
    assert_eq!((json["total_count"].as_u64(), json.get("next")), (Some(1), None));
    assert_eq!(json["images"][0]["name"], "ibm-ipxe-20240326-amd64-1");
    assert_eq!(json["images"][0]["id"], "r006-bfef819d-11af-4252-9bd3-bae1d9dd8e1d");
    assert_eq!(rig.get("/images/r006-bfef819d-11af-4252-9bd3-bae1d9dd8e1d").1, json["images"][0]);
}

#[test]
fn following_next_lists_everything_once() {
    let mut rig = Rig::new();
    let mut names = Vec::new();
    let mut path = "/images?limit=100".to_string();
    let mut pages = 0;
    loop {
        let (status, json) = rig.get(&path);
        assert_eq!(status, 200, "{json}");
        pages += 1;
        names.extend(json["images"].as_array().unwrap().iter().map(|image| image["name"].as_str().unwrap().to_owned()));
        let Some(next) = json["next"]["href"].as_str() else { break };
        let next = url::Url::parse(next).unwrap();
        let start = next.query_pairs().find(|(key, _)| key == "start").unwrap().1.into_owned();
        path = format!("/images?limit=100&start={start}");
    }
    let total = names.len();
    names.sort();
    names.dedup();
    assert_eq!((pages, names.len()), (12, total), "image names are unique and none is missed");
}

#[test]
fn next_survives_a_deletion_in_between() {
    let mut rig = Rig::new();
    let path = rig.reserved_ips();
    let ids: Vec<String> = (0..4).map(|_| rig.post(&path, json!({})).1["id"].as_str().unwrap().into()).collect();
    let (_, json) = rig.get(&format!("{path}?limit=7"));
    let next = url::Url::parse(json["next"]["href"].as_str().unwrap()).unwrap();
    let start = next.query_pairs().find(|(key, _)| key == "start").unwrap().1.into_owned();
    assert_eq!(rig.delete(&format!("{path}/{}", ids[0])), 204);
    assert_eq!(rig.delete(&format!("{path}/{}", ids[2])), 204);
    let (_, json) = rig.get(&format!("{path}?limit=7&start={start}"));
    let rest: Vec<&str> =
        json["reserved_ips"].as_array().unwrap().iter().map(|ip| ip["id"].as_str().unwrap()).collect();
    assert_eq!(rest, [ids[3].as_str()]);
}

#[test]
fn limits_and_starts_that_make_no_sense_are_refused() {
    let mut rig = Rig::new();
    for query in ["limit=0", "limit=101", "limit=x", "start=x", "start=0"] {
        rig.refused(400, "invalid_value", "GET", &format!("/keys?{query}"), None);
    }
}

#[test]
fn a_filter_the_operation_does_not_have_is_refused() {
    let mut rig = Rig::new();
    rig.refused(400, "invalid_value", "GET", "/virtual_network_interfaces?name=a", None);
    rig.refused(400, "invalid_value", "GET", "/keys?name=a", None);
    let vpc = rig.ids.vpc.clone();
    rig.refused(400, "invalid_value", "GET", &format!("/vpcs/{vpc}?limit=1"), None);
    assert_eq!(rig.get("/virtual_network_interfaces?resource_group.id=other").1["total_count"], 0);
}

#[test]
fn servers_are_found_by_name() {
    let mut rig = Rig::new();
    let (id, _) = rig.server("node-1", "10.240.0.11");
    rig.server("node-2", "10.240.0.12");
    let (_, json) = rig.get("/bare_metal_servers?name=node-1");
    assert_eq!(
        (json["total_count"].as_u64(), json["bare_metal_servers"][0]["id"].as_str()),
        (Some(1), Some(id.as_str()))
    );
    assert_eq!(rig.get("/bare_metal_servers?name=node").1["total_count"], 0);
    let vpc = rig.ids.vpc.clone();
    assert_eq!(rig.get(&format!("/bare_metal_servers?vpc.id={vpc}")).1["total_count"], 2);
    assert_eq!(rig.get("/bare_metal_servers?vpc.name=other").1["total_count"], 0);
}

#[test]
fn the_fixtures_agree_with_each_other() {
    let mut rig = Rig::new();
    let ids = rig.ids.clone();
    let (_, vpc) = rig.get(&format!("/vpcs/{}", ids.vpc));
    assert_eq!(vpc["dns"]["resolver"]["servers"][0]["address"], "161.26.0.10");
    assert_eq!(vpc["default_security_group"]["id"], ids.security_group.as_str());
    let (_, group) = rig.get(&format!("/vpcs/{}/default_security_group", ids.vpc));
    assert_eq!(group, rig.get(&format!("/security_groups/{}", ids.security_group)).1);
    let (_, subnet) = rig.get(&format!("/subnets/{}", ids.subnet));
    assert_eq!(
        (subnet["ipv4_cidr_block"].as_str(), subnet["zone"]["name"].as_str()),
        (Some("10.240.0.0/24"), Some("us-south-1"))
    );
    assert_eq!(subnet["vpc"]["id"], ids.vpc.as_str());
    assert_eq!(rig.get("/subnets?zone.name=us-south-2").1["total_count"], 0);
    assert_eq!(rig.get("/keys").1["keys"][0]["id"], ids.key.as_str());
    assert_eq!(rig.get("/regions/us-south/zones").1["zones"].as_array().unwrap().len(), 3);
    for path in [
        "/vpcs/x",
        "/subnets/x",
        "/keys/x",
        "/images/x",
        "/security_groups/x",
        "/bare_metal_servers/x",
        "/virtual_network_interfaces/x",
        "/bare_metal_server/profiles/x",
        "/regions/x",
        "/regions/us-south/zones/x",
    ] {
        rig.refused(404, "not_found", "GET", path, None);
    }
}

#[test]
fn profiles_carry_drives_and_zones() {
    let mut rig = Rig::new();
    let (_, json) = rig.get("/bare_metal_server/profiles");
    assert_eq!((json["total_count"].as_u64(), json.get("next")), (Some(29), None));
    let (_, profile) = rig.get("/bare_metal_server/profiles/cx3d-metal-48x128");
    assert_eq!(profile["cpu_core_count"], json!({"type": "fixed", "value": 24}));
    assert_eq!(
        (profile["disks"][0]["size"]["value"].as_u64(), profile["disks"][1]["quantity"]["value"].as_u64()),
        (Some(480), Some(4))
    );
    assert_eq!(profile["zones"].as_array().unwrap().len(), 2);
    let (_, profile) = rig.get("/bare_metal_server/profiles/bx2-metal-96x384");
    assert_eq!(profile["disks"].as_array().unwrap().len(), 1, "no data drives");
}

#[test]
fn what_is_not_simulated_is_named() {
    let mut rig = Rig::new();
    for (method, path) in [
        ("GET", "/bare_metal_server/capacities?profile.name=x"),
        ("POST", "/vpcs"),
        ("GET", "/floating_ips"),
        ("DELETE", "/subnets/x"),
        ("POST", "/bare_metal_servers/x/firmware/update"),
    ] {
        let message = rig.refused(501, "not_simulated", method, path, None);
        let path = path.split('?').next().unwrap();
        assert_eq!(message, format!("{method} /v1{path} is not simulated."));
    }
}
