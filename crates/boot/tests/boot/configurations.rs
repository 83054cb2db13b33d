//! `GET /boot/server/{mgmt_ip}`, and what is the same on all routes but the script's.

use crate::support::*;
use axum::{
    body::Body,
    http::{Method, Request},
};
use metalform_boot::{BootAttemptRef, BootNode, Instruction};
use metalform_model::Seen;
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr};
use uuid::Uuid;

#[tokio::test]
async fn a_node_gets_its_configuration_as_it_is() {
    let world = World::new();
    let answer = world.get(&config_path()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.json(), node().config);
    assert_eq!(world.seen().await, [Seen::ConfigServed]);
    assert_eq!(world.audit().await, ["node server-001 | boot.config | 10.240.0.11 | 10.240.0.11 | ok"]);
}

#[tokio::test]
async fn a_configuration_that_nobody_read_to_its_end_is_recorded_as_asked_for_only() {
    let world = World::new();
    drop(world.open(request(Method::GET, &config_path(), &[]), NODE_IP).await);
    assert_eq!(world.seen().await, []);
    assert_eq!(world.audit().await.len(), 1);
}

#[tokio::test]
async fn a_parked_node_that_runs_its_installer_already_still_gets_its_configuration() {
    let world = World::new();
    world.change_node(|node| node.instruction = Instruction::NotNow { reason: "others first".to_owned() });
    assert_eq!(world.get(&config_path()).await.status, 200);
}

async fn check_refusal(change: fn(&mut BootNode), path: &str, from: impl Into<IpAddr>, status: u16, code: &str) {
    let world = World::new();
    world.change_node(change);
    let before = world.store.node.lock().unwrap().clone();
    let answer = world.send(request(Method::GET, path, &[]), from).await;
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{path}");
    assert_eq!(world.seen().await, [], "{path}");
    assert_eq!(*world.store.node.lock().unwrap(), before, "{path}");
    let audit = world.audit().await;
    assert_eq!(audit.len(), 1, "{audit:?}");
    assert!(audit[0].starts_with("anonymous | boot.config | ") && audit[0].ends_with(&format!(" | refused:{code}")));
    assert!(!audit[0].contains(&token()));
}

#[tokio::test]
async fn every_refusal_is_an_error_document_that_changes_nothing() {
    let as_is: fn(&mut BootNode) = |_| {};
    let finished: fn(&mut BootNode) = |node| node.attempt = Some(BootAttemptRef { id: ATTEMPT, open: false });
    let newer: fn(&mut BootNode) = |node| node.attempt = Some(BootAttemptRef { id: Uuid::from_u128(2), open: true });
    let not_begun: fn(&mut BootNode) = |node| node.attempt = None;
    let unknown: fn(&mut BootNode) = |node| node.mgmt_ip = None;
    let good = config_path();
    check_refusal(as_is, "/boot/server/10.240.0.11", NODE_IP, 401, "token_missing").await;
    check_refusal(as_is, "/boot/server/10.240.0.11?t=abc", NODE_IP, 403, "token_wrong").await;
    check_refusal(newer, &good, NODE_IP, 403, "token_wrong").await;
    check_refusal(finished, &good, NODE_IP, 409, "not_installing").await;
    check_refusal(not_begun, &good, NODE_IP, 409, "not_installing").await;
    check_refusal(unknown, &good, NODE_IP, 404, "unknown_server").await;
    check_refusal(as_is, &good, Ipv4Addr::new(10, 240, 0, 12), 403, "foreign_address").await;
    check_refusal(as_is, &good, Ipv4Addr::new(8, 8, 8, 8), 403, "network_not_allowed").await;
    check_refusal(as_is, &format!("{good}&x=1"), NODE_IP, 400, "unknown_parameter").await;
    for address in ["server-001", "10.240.0", "10.240.0.011", "::1"] {
        check_refusal(as_is, &format!("/boot/server/{address}?t=a"), NODE_IP, 400, "bad_address").await;
    }
}

#[tokio::test]
async fn an_error_document_has_code_message_hint_and_details() {
    let world = World::new();
    assert_eq!(
        world.get("/boot/server/10.240.0.11").await.json(),
        json!({"error": {
            "code": "token_missing",
            "message": "the boot token is missing",
            "hint": "the URL in the server's user data ends in `?t=TOKEN`",
            "details": {},
        }})
    );
}

#[tokio::test]
async fn other_paths_and_methods_are_error_documents() {
    let world = World::new();
    for (method, path, status, code) in [
        (Method::GET, "/", 404, "unknown_path"),
        (Method::GET, "/boot/server", 404, "unknown_path"),
        (Method::GET, "/boot/ipxes/server-001", 404, "unknown_path"),
        (Method::GET, "/boot/report/server-001", 405, "wrong_method"),
        (Method::DELETE, "/pxe/images/vmlinuz-foundation", 405, "wrong_method"),
    ] {
        let answer = world.send(request(method, path, &[]), NODE_IP).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{path}");
    }
    assert_eq!(world.audit().await.len(), 5);
}

#[tokio::test]
async fn nobody_outside_of_the_allowed_networks_gets_anything() {
    let world = World::new();
    let paths = ["/healthz", "/readyz", "/pxe/images/vmlinuz-foundation", "/boot/report/server-001", "/nothing"];
    for path in paths {
        let answer = world.send(request(Method::GET, path, &[]), Ipv4Addr::new(203, 0, 113, 9)).await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "network_not_allowed"), "{path}");
    }
    assert_eq!(world.audit().await.len(), paths.len());
}

#[tokio::test]
async fn a_request_without_a_peer_address_is_refused() {
    use tower::ServiceExt;
    let world = World::new();
    let answer = world.router.clone().oneshot(Request::get("/healthz").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(answer.status().as_u16(), 403);
}

#[tokio::test]
async fn health_and_readiness_are_told() {
    let world = World::new();
    assert_eq!(world.get("/healthz").await.json(), json!({"status": "ok"}));
    assert_eq!(world.get("/readyz").await.json(), json!({"status": "ready", "store": "ok", "queued_records": 0}));
    assert!(world.plane.prepare_images().await.is_ok());
    std::fs::remove_file(world.images.path().join("vmlinuz-foundation")).unwrap();
    let answer = world.get("/readyz").await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "not_ready"));
    assert!(answer.json()["error"]["message"].as_str().unwrap().contains("vmlinuz-foundation is missing"));
    assert!(world.plane.prepare_images().await.is_err());
}
