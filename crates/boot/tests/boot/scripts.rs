//! `GET /boot/ipxe/{server_id}`.

use crate::support::*;
use axum::http::Method;
use metalform_boot::{BootAttemptRef, BootNode, Instruction, SourceCheck};
use metalform_model::{Evidence, Seen};
use std::net::{IpAddr, Ipv4Addr};
use uuid::Uuid;

#[tokio::test]
async fn a_node_gets_its_script_and_it_is_recorded_once_all_of_it_was_taken() {
    let world = World::new();
    let answer = world.get(&script_path()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(answer.header("content-length"), Some(answer.body.len().to_string().as_str()));
    assert!(answer.text().starts_with("#!ipxe\necho Starting Nutanix Foundation for server server-001...\n"));
    assert!(answer.text().contains("set base-url http://10.240.0.5:8080/pxe\n"));
    assert!(answer.text().contains(&format!(" boot_token={} || goto error\n", token())));

    assert_eq!(world.seen().await, [Seen::ScriptServed]);
    let evidence = Evidence {
        cluster_id: Uuid::from_u128(99),
        server_id: "server-001".to_owned(),
        attempt_id: ATTEMPT,
        at: NOW,
        source: IpAddr::V4(NODE_IP),
        seen: Seen::ScriptServed,
    };
    assert_eq!(world.evidence(), [evidence]);
    assert_eq!(world.audit().await, ["node server-001 | boot.script | server-001 | 10.240.0.11 | ok"]);
}

#[tokio::test]
async fn a_script_that_nobody_read_to_its_end_is_no_evidence() {
    let world = World::new();
    drop(world.open(request(Method::GET, &script_path(), &[]), NODE_IP).await);
    let head = world.send(request(Method::HEAD, &script_path(), &[]), NODE_IP).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert!(head.header("content-length").unwrap().parse::<usize>().unwrap() > 500);
    assert_eq!(world.seen().await, []);
    assert_eq!(world.audit().await.len(), 2);
}

#[tokio::test]
async fn a_token_mangled_by_a_console_is_still_read() {
    let world = World::new();
    for more in ["@mgmt_ip=10.240.0.11", "&mgmt_ip=10.240.0.11"] {
        let answer = world.get(&format!("{}{more}", script_path())).await;
        assert!(answer.text().contains("\nkernel "), "{more}");
    }
}

#[tokio::test]
async fn a_peer_in_ipv6_clothes_is_the_same_peer() {
    let world = World::new();
    let answer = world.send(request(Method::GET, &script_path(), &[]), NODE_IP.to_ipv6_mapped()).await;
    assert!(answer.text().contains("\nkernel "));
}

#[tokio::test]
async fn the_nodes_template_and_image_set_are_used() {
    let world = World::new();
    world.change_node(|node| node.image_set = Some("ce-2.1".to_owned()));
    assert!(world.get(&script_path()).await.text().contains("kernel ${base-url}/images/ce-2.1/vmlinuz-foundation "));
}

type Change = fn(&mut BootNode);

/// What a machine sees, that nothing but one audit record comes of it, and that the record holds no token.
async fn check_refusal(change: Change, path: &str, from: impl Into<IpAddr>, status: u16, code: &str) {
    let world = World::new();
    world.change_node(change);
    let before = world.store.node.lock().unwrap().clone();
    let from = from.into();
    let answer = world.send(request(Method::GET, path, &[]), from).await;
    let case = format!("{code} for {path} from {from}");
    assert_eq!(answer.status, status, "{case}");
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"), "{case}");
    assert_eq!(answer.header("retry-after").is_some(), status == 503, "{case}");
    assert!(answer.text().starts_with("#!ipxe\necho Metalform: "), "{case}: {}", answer.text());
    assert!(answer.text().contains(&format!(" [{code}]\n")), "{case}: {}", answer.text());
    assert!(!answer.text().contains("kernel"), "{case}");
    assert_eq!(world.seen().await, [], "{case}");
    assert_eq!(*world.store.node.lock().unwrap(), before, "{case}");
    let audit = world.audit().await;
    assert_eq!(audit.len(), 1, "{case}: {audit:?}");
    assert!(audit[0].starts_with("anonymous | boot.script | "), "{case}: {audit:?}");
    assert!(audit[0].ends_with(&format!(" | {from} | refused:{code}")), "{case}: {audit:?}");
    assert!(!audit[0].contains(&token()), "{case}");
}

#[tokio::test]
async fn every_refusal_is_a_script_that_says_why_and_changes_nothing() {
    let as_is: Change = |_| {};
    let finished: Change = |node| node.attempt = Some(BootAttemptRef { id: ATTEMPT, open: false });
    let installed: Change = |node| {
        node.instruction = Instruction::BootFromDisk;
        node.attempt = Some(BootAttemptRef { id: ATTEMPT, open: false });
    };
    let parked: Change = |node| node.instruction = Instruction::NotNow { reason: "|| reboot".to_owned() };
    let no_address: Change = |node| node.mgmt_ip = None;
    let not_begun: Change = |node| node.attempt = None;
    let strange_template: Change = |node| node.template = Some("nope".to_owned());
    let strange_set: Change = |node| node.image_set = Some("a || reboot".to_owned());
    let foreign = Ipv4Addr::new(10, 240, 0, 12);
    let outside = Ipv4Addr::new(8, 8, 8, 8);
    let wrong = format!("/boot/ipxe/server-001?t={}", token_of(Uuid::from_u128(2)));
    let good = script_path();

    check_refusal(as_is, "/boot/ipxe/server-001", NODE_IP, 200, "token_missing").await;
    check_refusal(as_is, "/boot/ipxe/server-001?t=", NODE_IP, 200, "token_missing").await;
    check_refusal(as_is, &wrong, NODE_IP, 200, "token_wrong").await;
    check_refusal(as_is, "/boot/ipxe/server-001?t=0", NODE_IP, 200, "token_wrong").await;
    check_refusal(finished, &good, NODE_IP, 200, "not_installing").await;
    check_refusal(not_begun, &good, NODE_IP, 200, "not_installing").await;
    check_refusal(as_is, &good, foreign, 200, "foreign_address").await;
    check_refusal(as_is, &good, std::net::Ipv6Addr::LOCALHOST, 200, "foreign_address").await;
    check_refusal(as_is, &good, outside, 200, "network_not_allowed").await;
    check_refusal(as_is, &format!("/boot/ipxe/server-002?t={}", token()), NODE_IP, 200, "unknown_server").await;
    for path in ["/boot/ipxe", "/boot/ipxe/", "/boot/ipxe/a/b", "/boot/ipxe/..", "/boot/ipxe/server%2d001"] {
        check_refusal(as_is, path, NODE_IP, 200, "unknown_server").await;
    }
    check_refusal(installed, &good, NODE_IP, 200, "installed").await;
    check_refusal(installed, "/boot/ipxe/server-001", NODE_IP, 200, "installed").await;
    check_refusal(parked, &good, NODE_IP, 503, "not_now").await;
    check_refusal(parked, &wrong, NODE_IP, 200, "token_wrong").await;
    check_refusal(no_address, &good, NODE_IP, 503, "not_now").await;
    check_refusal(strange_template, &good, NODE_IP, 200, "no_script").await;
    check_refusal(strange_set, &good, NODE_IP, 200, "no_script").await;
}

#[tokio::test]
async fn an_installed_node_boots_from_its_disk() {
    let world = World::new();
    world.change_node(|node| node.instruction = Instruction::BootFromDisk);
    assert!(world.get(&script_path()).await.text().ends_with("\nsanboot --no-describe --drive 0x80 || exit 0\n"));
}

#[tokio::test]
async fn a_server_id_of_hostile_text_reaches_neither_script_nor_audit_as_it_is() {
    let world = World::new();
    let path = "/boot/ipxe/x%0Areboot||;$%7Bx%7D";
    let answer = world.get(path).await;
    assert!(!answer.text().contains("reboot||"));
    assert_eq!(
        world.audit().await,
        ["anonymous | boot.script | x?0Areboot?????7Bx?7D | 10.240.0.11 | refused:unknown_server"]
    );
}

#[tokio::test]
async fn another_method_is_answered_with_a_script_too() {
    let world = World::new();
    let answer = world.post(&script_path(), "").await;
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains("[no_script]"));
}

#[tokio::test]
async fn without_the_source_check_the_token_alone_decides_and_that_is_recorded() {
    let world = World::with(|settings| settings.source_check = SourceCheck::Off);
    let elsewhere = Ipv4Addr::new(10, 9, 9, 9);
    let answer = world.send(request(Method::GET, &script_path(), &[]), elsewhere).await;
    assert!(answer.text().contains("\nkernel "));
    let refused = world.send(request(Method::GET, "/boot/ipxe/server-001", &[]), elsewhere).await;
    assert!(refused.text().contains("[token_missing]"));
    assert_eq!(
        world.audit().await,
        [
            "service | boot.source_check_off | 10.240.0.5:8080 | configuration | ok",
            "node server-001 | boot.script | server-001 | 10.9.9.9 | ok",
            "anonymous | boot.script | server-001 | 10.9.9.9 | refused:token_missing",
        ]
    );
}
