use crate::script::{Script, empty_reply, json_reply};
use metalform_ibm_cloud::{
    BareMetalServerPrototype, ErrorKind, ImageStatus, InitializationPrototype, LifecycleState, ReservedIpPrototype,
    ServerStatus, StopType, VirtualNetworkInterfacePrototype, vpc_url,
};
use serde_json::{Value, json};
use std::net::Ipv4Addr;

const SCRIPT_URL: &str = "http://10.240.0.4:8080/boot/ipxe/server-001?t=s3cret";

fn server(name: &str) -> Value {
    json!({
        "id": format!("id-{name}"), "name": name, "status": "pending", "status_reasons": [],
        "lifecycle_state": "pending", "created_at": "2026-11-22T10:00:00.123Z",
        "profile": { "name": "bx2d-metal-96x384", "href": "https://x" }, "zone": { "name": "us-south-1" },
        "vpc": { "id": "r006-v" }, "disks": [{ "id": "d1", "interface_type": "sata", "size": 960 }],
        "primary_network_attachment": {
            "id": "a1", "name": "eth0", "primary_ip": { "address": "10.240.0.11", "id": "ip1", "name": "n" },
            "virtual_network_interface": { "id": "vni1", "name": "vni" },
        },
    })
}

fn initialization() -> InitializationPrototype {
    InitializationPrototype {
        image: "r006-ipxe".into(),
        keys: vec!["r006-k1".into(), "r006-k2".into()],
        user_data: Some(SCRIPT_URL.into()),
    }
}

fn prototype() -> BareMetalServerPrototype {
    BareMetalServerPrototype {
        name: "server-001".into(),
        profile: "bx2d-metal-96x384".into(),
        zone: "us-south-1".into(),
        vpc: Some("r006-v".into()),
        resource_group: None,
        virtual_network_interface: "0717-vni".into(),
        initialization: initialization(),
    }
}

#[tokio::test]
async fn a_server_is_ordered_with_its_attachment_and_its_user_data() {
    let script = Script::new([json_reply(201, server("server-001"))]);
    let made = script.client().create_bare_metal_server(&prototype()).await.unwrap();
    assert_eq!(
        script.only_vpc_request(),
        (
            "POST",
            "/bare_metal_servers".to_string(),
            Some(json!({
                "name": "server-001",
                "profile": { "name": "bx2d-metal-96x384" },
                "zone": { "name": "us-south-1" },
                "vpc": { "id": "r006-v" },
                "initialization": {
                    "image": { "id": "r006-ipxe" },
                    "keys": [{ "id": "r006-k1" }, { "id": "r006-k2" }],
                    "user_data": SCRIPT_URL,
                },
                "primary_network_attachment": { "name": "eth0", "virtual_network_interface": { "id": "0717-vni" } },
            }))
        )
    );
    assert_eq!((made.id.as_str(), made.status.clone()), ("id-server-001", ServerStatus::Pending));
    assert_eq!(made.virtual_network_interface(), Some("vni1"));
    assert_eq!(made.created_at.unwrap().to_string(), "2026-11-22T10:00:00.123000Z");
    assert_eq!(made.disks[0].size, Some(960));
}

#[tokio::test]
async fn a_server_without_vpc_keys_and_user_data_says_nothing_of_them() {
    let script = Script::new([json_reply(201, server("server-001"))]);
    let bare = BareMetalServerPrototype {
        vpc: None,
        resource_group: Some("rg".into()),
        initialization: InitializationPrototype { image: "i".into(), keys: vec![], user_data: None },
        ..prototype()
    };
    script.client().create_bare_metal_server(&bare).await.unwrap();
    let body = script.only_vpc_request().2.unwrap();
    assert_eq!(body["initialization"], json!({ "image": { "id": "i" }, "keys": [] }));
    assert_eq!((body.get("vpc"), &body["resource_group"]), (None, &json!({ "id": "rg" })));
}

#[test]
fn user_data_is_in_no_debug_text() {
    let text = format!("{:?}", prototype());
    assert!(text.contains("server-001") && !text.contains("s3cret"), "{text}");
}

#[tokio::test]
async fn a_server_of_the_future_is_still_read() {
    let reply =
        json!({ "id": "s1", "name": "n", "status": "levitating", "created_at": "soon", "lifecycle_state": "odd" });
    let script = Script::new([json_reply(200, reply)]);
    let server = script.client().get_bare_metal_server("s1").await.unwrap();
    assert_eq!(server.status, ServerStatus::Other("levitating".into()));
    assert_eq!(server.status.to_string(), "levitating");
    assert_eq!(server.lifecycle_state, Some(LifecycleState::Other("odd".into())));
    assert_eq!((server.created_at, server.virtual_network_interface()), (None, None));
    assert_eq!(script.only_vpc_request(), ("GET", "/bare_metal_servers/s1".into(), None));
}

#[tokio::test]
async fn a_server_says_why_it_failed() {
    let mut reply = server("s");
    reply["status"] = json!("failed");
    reply["status_reasons"] = json!([{ "code": "cannot_start_capacity", "message": "no machine left" }]);
    let script = Script::new([json_reply(200, reply)]);
    let server = script.client().get_bare_metal_server("s").await.unwrap();
    assert_eq!(server.status, ServerStatus::Failed);
    assert_eq!(server.status_reasons[0].code, "cannot_start_capacity");
}

#[tokio::test]
async fn a_server_is_found_by_its_exact_name() {
    let both = json!({ "bare_metal_servers": [server("server-0010"), server("server-001")] });
    let script = Script::new([json_reply(200, both)]);
    let found = script.client().find_bare_metal_server("server-001").await.unwrap();
    assert_eq!(found.unwrap().name, "server-001");
    assert_eq!(script.only_vpc_request().1, "/bare_metal_servers&name=server-001&limit=100");

    let script = Script::new([json_reply(200, json!({ "bare_metal_servers": [] }))]);
    assert_eq!(script.client().find_bare_metal_server("server-001").await.unwrap(), None);
}

#[tokio::test]
async fn power_calls_are_to_the_letter() {
    let script = Script::new([empty_reply(204)]);
    script.client().start_bare_metal_server("s1").await.unwrap();
    assert_eq!(script.only_vpc_request(), ("POST", "/bare_metal_servers/s1/start".into(), None));

    for (how, word) in [(StopType::Soft, "soft"), (StopType::Hard, "hard")] {
        let script = Script::new([empty_reply(204)]);
        script.client().stop_bare_metal_server("s1", how).await.unwrap();
        let path = "/bare_metal_servers/s1/stop".to_string();
        assert_eq!(script.only_vpc_request(), ("POST", path, Some(json!({ "type": word }))));
    }
}

#[tokio::test]
async fn a_reinitialization_has_image_keys_and_user_data_at_its_top() {
    let reply =
        json!({ "image": { "id": "r006-ipxe", "name": "i" }, "keys": [{ "id": "r006-k1" }], "user_accounts": [] });
    let script = Script::new([json_reply(200, reply.clone())]);
    let done = script.client().reinitialize_bare_metal_server("s1", &initialization()).await.unwrap();
    assert_eq!(done.image.unwrap().id, "r006-ipxe");
    assert_eq!(
        script.only_vpc_request(),
        (
            "PUT",
            "/bare_metal_servers/s1/initialization".to_string(),
            Some(json!({
                "image": { "id": "r006-ipxe" },
                "keys": [{ "id": "r006-k1" }, { "id": "r006-k2" }],
                "user_data": SCRIPT_URL,
            }))
        )
    );

    let script = Script::new([json_reply(200, reply)]);
    let read = script.client().get_bare_metal_server_initialization("s1").await.unwrap();
    assert_eq!(read.keys[0].id, "r006-k1");
    assert_eq!(script.only_vpc_request(), ("GET", "/bare_metal_servers/s1/initialization".into(), None));
}

#[tokio::test]
async fn a_deletion_is_accepted_with_any_2xx_with_and_without_a_body() {
    for answer in [
        empty_reply(200),
        empty_reply(202),
        empty_reply(204),
        json_reply(202, json!({ "id": "x", "lifecycle_state": "deleting" })),
    ] {
        let script = Script::new([answer.clone(), answer.clone(), answer]);
        let client = script.client();
        client.delete_bare_metal_server("s1").await.unwrap();
        client.delete_virtual_network_interface("v1").await.unwrap();
        client.delete_reserved_ip("sn1", "ip1").await.unwrap();
        let urls: Vec<_> = script
            .vpc_requests()
            .into_iter()
            .map(|r| format!("{} {}", r.method.as_str(), r.url.split(['?']).next().unwrap()))
            .collect();
        assert_eq!(
            urls,
            [
                "DELETE http://vpc.test/v1/bare_metal_servers/s1",
                "DELETE http://vpc.test/v1/virtual_network_interfaces/v1",
                "DELETE http://vpc.test/v1/subnets/sn1/reserved_ips/ip1",
            ]
        );
    }
}

#[tokio::test]
async fn an_empty_id_is_refused_and_nothing_is_sent() {
    for id in ["", ".", ".."] {
        let script = Script::new([]);
        let error = script.client().delete_bare_metal_server(id).await.unwrap_err();
        assert_eq!((error.kind(), script.vpc_requests().len()), (ErrorKind::Invalid, 0));
    }
}

#[tokio::test]
async fn an_id_can_not_leave_its_place_in_the_path() {
    let script = Script::new([json_reply(200, json!({ "id": "k", "name": "n" }))]);
    script.client().get_key("a/../b?c#d").await.unwrap();
    assert_eq!(script.only_vpc_request().1, "/keys/a%2F..%2Fb%3Fc%23d");
}

#[tokio::test]
async fn an_address_is_reserved_unbound_and_for_good() {
    let reply = json!({ "id": "ip1", "name": "n-mgmt", "address": "10.240.0.11", "auto_delete": false,
        "owner": "user", "lifecycle_state": "stable" });
    for (address, body) in [
        (
            Some(Ipv4Addr::new(10, 240, 0, 11)),
            json!({ "name": "n-mgmt", "auto_delete": false, "address": "10.240.0.11" }),
        ),
        (None, json!({ "name": "n-mgmt", "auto_delete": false })),
    ] {
        let script = Script::new([json_reply(201, reply.clone())]);
        let made = script
            .client()
            .create_reserved_ip("sn1", &ReservedIpPrototype { name: "n-mgmt".into(), address })
            .await
            .unwrap();
        assert_eq!(made.address, Ipv4Addr::new(10, 240, 0, 11));
        assert_eq!(made.target, None);
        assert_eq!(script.only_vpc_request(), ("POST", "/subnets/sn1/reserved_ips".into(), Some(body)));
    }
}

#[tokio::test]
async fn a_reserved_ip_is_found_by_name_on_a_later_page() {
    let entry = |name: &str, owner: &str| json!({ "id": name, "name": name, "address": "10.0.0.1", "owner": owner });
    let script = Script::new([
        json_reply(
            200,
            json!({ "reserved_ips": [entry("ibm-default-gateway", "provider")], "next": { "href": "/v1/x?start=2" } }),
        ),
        json_reply(200, json!({ "reserved_ips": [entry("mine", "user")] })),
    ]);
    let found = script.client().find_reserved_ip("sn1", "mine").await.unwrap().unwrap();
    assert_eq!(found.owner.as_deref(), Some("user"));
}

#[tokio::test]
async fn a_vni_carries_its_addresses_and_outlives_its_server() {
    let reply = json!({ "id": "vni1", "name": "n", "lifecycle_state": "stable", "mac_address": "02:00:04:00:4D:6A",
        "primary_ip": { "id": "ip1", "address": "10.240.0.11" }, "ips": [{ "id": "ip1", "address": "10.240.0.11" }],
        "subnet": { "id": "sn1" }, "vpc": { "id": "v" }, "zone": { "name": "us-south-1" }, "auto_delete": false });
    let full = VirtualNetworkInterfacePrototype {
        name: "n".into(),
        subnet: "sn1".into(),
        primary_ip: Some("ip1".into()),
        ips: vec!["ip2".into(), "ip3".into()],
        security_groups: vec!["sg1".into()],
        allow_ip_spoofing: Some(true),
        enable_infrastructure_nat: Some(true),
    };
    let plain = VirtualNetworkInterfacePrototype { name: "n".into(), subnet: "sn1".into(), ..Default::default() };
    for (prototype, body) in [
        (
            full,
            json!({ "name": "n", "subnet": { "id": "sn1" }, "primary_ip": { "id": "ip1" },
                "ips": [{ "id": "ip2" }, { "id": "ip3" }], "security_groups": [{ "id": "sg1" }],
                "allow_ip_spoofing": true, "enable_infrastructure_nat": true, "auto_delete": false }),
        ),
        (plain, json!({ "name": "n", "subnet": { "id": "sn1" }, "auto_delete": false })),
    ] {
        let script = Script::new([json_reply(201, reply.clone())]);
        let made = script.client().create_virtual_network_interface(&prototype).await.unwrap();
        assert_eq!(script.only_vpc_request(), ("POST", "/virtual_network_interfaces".into(), Some(body)));
        assert_eq!(made.mac_address.as_deref(), Some("02:00:04:00:4D:6A"));
        assert_eq!((made.lifecycle_state, made.target), (Some(LifecycleState::Stable), None));
    }
}

#[tokio::test]
async fn a_vni_is_found_by_name_unless_several_bear_it() {
    let listed = |names: &[&str]| {
        let vnis: Vec<_> =
            names.iter().enumerate().map(|(n, name)| json!({ "id": format!("v{n}"), "name": name })).collect();
        Script::new([json_reply(200, json!({ "virtual_network_interfaces": vnis }))])
    };
    let script = listed(&["a", "b"]);
    assert_eq!(script.client().find_virtual_network_interface("b").await.unwrap().unwrap().id, "v1");
    assert_eq!(listed(&["a"]).client().find_virtual_network_interface("b").await.unwrap(), None);
    let error = listed(&["b", "b"]).client().find_virtual_network_interface("b").await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Invalid, "several bear the name b: v0, v1"));
}

fn image(id: &str, status: &str, format: &str, created_at: &str) -> Value {
    json!({ "id": id, "name": format!("ibm-{format}-{id}"), "status": status, "user_data_format": format,
        "created_at": created_at })
}

#[tokio::test]
async fn the_ipxe_image_is_the_newest_that_is_available() {
    let images = json!({ "images": [
        image("old", "available", "ipxe", "2024-03-26T00:00:00Z"),
        image("new", "available", "ipxe", "2026-01-26T00:00:00Z"),
        image("newer", "deprecated", "ipxe", "2026-02-26T00:00:00Z"),
        image("newest", "obsolete", "ipxe", "2026-03-26T00:00:00Z"),
        image("other", "available", "cloud_init", "2026-04-26T00:00:00Z"),
    ]});
    let script = Script::new([json_reply(200, images)]);
    let found = script.client().find_ipxe_image().await.unwrap().unwrap();
    assert_eq!((found.id.as_str(), found.status), ("new", ImageStatus::Available));
    assert_eq!(script.only_vpc_request().1, "/images&visibility=public&user_data_format=ipxe&limit=100");
}

#[tokio::test]
async fn a_cloud_without_the_format_is_searched_by_name() {
    let all = json!({ "images": [
        image("debian", "available", "cloud_init", "2026-04-26T00:00:00Z"),
        json!({ "id": "x", "name": "ibm-ipxe-20240326-amd64-1", "status": "available" }),
    ]});
    let script = Script::new([json_reply(200, json!({ "images": [] })), json_reply(200, all)]);
    assert_eq!(script.client().find_ipxe_image().await.unwrap().unwrap().id, "x");
    assert!(script.vpc_requests()[1].url.ends_with("&visibility=public&limit=100"));

    let none = || json_reply(200, json!({ "images": [] }));
    assert_eq!(Script::new([none(), none()]).client().find_ipxe_image().await.unwrap(), None);
}

#[tokio::test]
async fn a_profile_tells_its_disks_and_zones() {
    let profile = json!({ "name": "bx2d-metal-96x384", "family": "balanced", "memory": { "type": "fixed", "value": 384 },
        "cpu_core_count": { "type": "enum", "default": 48, "values": [48] },
        "disks": [
            { "quantity": { "type": "fixed", "value": 1 }, "size": { "type": "fixed", "value": 960 } },
            { "quantity": { "type": "fixed", "value": 8 }, "size": { "type": "dependent" } },
        ],
        "zones": [{ "name": "us-south-1", "href": "https://x" }] });
    let script = Script::new([json_reply(200, profile.clone())]);
    let read = script.client().get_bare_metal_server_profile("bx2d-metal-96x384").await.unwrap();
    assert_eq!(script.only_vpc_request().1, "/bare_metal_server/profiles/bx2d-metal-96x384");
    assert_eq!((read.memory, read.cpu_core_count), (Some(384), Some(48)));
    assert_eq!((read.disks[1].quantity, read.disks[1].size), (Some(8), None));
    assert_eq!((read.is_offered_in("us-south-1"), read.is_offered_in("us-south-2")), (Some(true), Some(false)));

    let script = Script::new([json_reply(200, json!({ "profiles": [profile, { "name": "other" }] }))]);
    let all = script.client().list_bare_metal_server_profiles().await.unwrap();
    assert_eq!((all.len(), all[1].is_offered_in("us-south-1")), (2, None));
}

#[tokio::test]
async fn the_surroundings_are_read() {
    let script = Script::new([json_reply(
        200,
        json!({ "id": "sn1", "name": "s", "ipv4_cidr_block": "10.240.0.0/24",
        "status": "available", "available_ipv4_address_count": 200, "vpc": { "id": "v" }, "zone": { "name": "us-south-1" } }),
    )]);
    let subnet = script.client().get_subnet("sn1").await.unwrap();
    assert_eq!((subnet.ipv4_cidr_block.as_str(), subnet.zone.name.as_str()), ("10.240.0.0/24", "us-south-1"));
    assert_eq!(script.only_vpc_request().1, "/subnets/sn1");

    let script = Script::new([json_reply(
        200,
        json!({ "id": "v", "name": "n", "default_security_group": { "id": "sg" },
        "dns": { "resolver": { "type": "system", "servers": [{ "address": "161.26.0.10" }, { "address": "161.26.0.11" }] } } }),
    )]);
    let vpc = script.client().get_vpc("v").await.unwrap();
    assert_eq!(vpc.dns_servers(), [Ipv4Addr::new(161, 26, 0, 10), Ipv4Addr::new(161, 26, 0, 11)]);
    assert_eq!(script.only_vpc_request().1, "/vpcs/v");

    let script = Script::new([json_reply(200, json!({ "id": "sg", "name": "n", "vpc": { "id": "v" } }))]);
    assert_eq!(script.client().get_security_group("sg").await.unwrap().vpc.id, "v");
    assert_eq!(script.only_vpc_request().1, "/security_groups/sg");
}

#[test]
fn a_region_has_its_address() {
    assert_eq!(vpc_url("us-south"), "https://us-south.iaas.cloud.ibm.com/v1");
}
