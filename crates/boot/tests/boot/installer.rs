//! `GET /boot/arizona/{mgmt_ip}` and `POST /boot/progress/{server_id}`: what the installer of Nutanix CE is told, and what
//! it tells.

use crate::support::*;
use axum::http::Method;
use metalform_boot::BootAttemptRef;
use metalform_model::{InstallerCall, ReportPhase, Seen};
use serde_json::json;
use std::net::Ipv4Addr;

fn arizona_path() -> String {
    format!("/boot/arizona/{NODE_IP}?t={}", token())
}

/// As the installer makes it of the URL that it was given.
fn progress_path(step: &str, offset: &str) -> String {
    format!("/boot/progress/server-001?t={}&step={step}&offset={offset}", token())
}

fn called(step: &str, offset: u64, text: &str) -> Seen {
    Seen::InstallerCalled(InstallerCall { step: step.into(), offset, text: text.into() })
}

#[tokio::test]
async fn the_arizona_document_says_where_to_report_to() {
    let world = World::new();
    let answer = world.get(&arizona_path()).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    let root = format!("http://10.240.0.5:8080/boot/progress/server-001?t={}", progress_token());
    assert_eq!(answer.json(), json!({"hyp_type": "kvm", "monitoring_url_root": root}));
    assert_eq!(world.seen().await, [Seen::ArizonaServed]);
    assert_eq!(world.audit().await, ["node server-001 | boot.arizona | 10.240.0.11 | 10.240.0.11 | ok"]);
    // What the installer makes of it is what is taken.
    let path = format!("{}&step=info&offset=1", root.strip_prefix("http://10.240.0.5:8080").unwrap());
    assert_eq!(world.post(&path, "hello").await.status, 200);
}

#[tokio::test]
async fn an_arizona_document_is_guarded_as_the_configuration_is() {
    for (change, path, from, status, code) in [
        (false, format!("/boot/arizona/{NODE_IP}"), NODE_IP, 401, "token_missing"),
        (false, format!("/boot/arizona/{NODE_IP}?t=x"), NODE_IP, 403, "token_wrong"),
        (false, format!("{}&x=1", arizona_path()), NODE_IP, 400, "unknown_parameter"),
        (false, "/boot/arizona/server-001?t=x".to_owned(), NODE_IP, 400, "bad_address"),
        (false, arizona_path(), Ipv4Addr::new(10, 240, 0, 12), 403, "foreign_address"),
        (true, arizona_path(), NODE_IP, 404, "no_arizona"),
    ] {
        let world = World::new();
        if change {
            world.change_node(|node| node.arizona = None);
        }
        let answer = world.send(request(Method::GET, &path, &[]), from).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{path}");
        assert_eq!(world.seen().await, []);
        assert!(!world.audit().await[0].contains(&token()));
    }
    let world = World::new();
    world.change_node(|node| node.attempt = Some(BootAttemptRef { id: ATTEMPT, open: false }));
    assert_eq!(world.get(&arizona_path()).await.code(), "not_installing");
}

#[tokio::test]
async fn a_callback_is_recorded_as_the_installer_sends_it() {
    let world = World::new();
    let posted = world.post(&progress_path("Running%20CVM+Installer", "7"), "half\u{2026}\n").await;
    assert_eq!((posted.status, posted.json()), (200, json!({"recorded": true})));
    assert_eq!(world.post(&progress_path("info", "8"), "x".repeat(200_000)).await.status, 200, "cut, not refused");
    world.post(&format!("/boot/progress/server-001?t={}&step=fatal", token()), vec![b'n', b'o', 0xff]).await;
    let cut = "x".repeat(InstallerCall::LONGEST_TEXT);
    let expected = [
        called("Running CVM Installer", 7, "half\u{2026}\n"),
        called("info", 8, &cut),
        called("fatal", 0, "no\u{fffd}"),
    ];
    assert_eq!(world.seen().await, expected);
    assert_eq!(world.post(&progress_path("info", "9"), "x".repeat((1 << 20) + 1)).await.code(), "report_too_large");
}

#[tokio::test]
async fn what_is_no_callback_of_the_node_is_refused() {
    let elsewhere = Ipv4Addr::new(10, 240, 0, 12);
    let with_token = |rest: &str| format!("/boot/progress/server-001?t={}{rest}", token());
    for (path, from, status, code) in [
        (with_token(""), NODE_IP, 400, "bad_progress"),
        (with_token("&step=&offset=1"), NODE_IP, 400, "bad_progress"),
        (with_token("&step=a%0Ab&offset=1"), NODE_IP, 400, "bad_progress"),
        (progress_path(&"a".repeat(201), "1"), NODE_IP, 400, "bad_progress"),
        (progress_path("info", "-1"), NODE_IP, 400, "bad_progress"),
        (progress_path("info", "1").replace("?t=", "?u="), NODE_IP, 401, "token_missing"),
        (progress_path("info", "1").replace(&token(), "x"), NODE_IP, 403, "token_wrong"),
        (progress_path("info", "1").replace("001", "002"), NODE_IP, 404, "unknown_server"),
        (progress_path("info", "1"), elsewhere, 403, "foreign_address"),
    ] {
        let world = World::new();
        let posted = request(Method::POST, &path, &[]);
        let answer = world.send(posted, from).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{path}");
        assert_eq!(world.seen().await, []);
        assert!(!world.audit().await[0].contains(&token()));
    }
}

#[tokio::test]
async fn a_callback_after_the_last_step_is_well_meant() {
    let world = World::new();
    world.change_node(|node| {
        node.attempt = Some(BootAttemptRef { id: ATTEMPT, open: false });
        node.last_report = Some((9, ReportPhase::Installed));
    });
    let answer = world.post(&progress_path("Last%20reboot%20complete", "9"), "").await;
    assert_eq!((answer.status, answer.json()), (200, json!({"recorded": false})));
    world.change_node(|node| node.last_report = Some((9, ReportPhase::Failed)));
    assert_eq!(world.post(&progress_path("info", "9"), "").await.code(), "not_installing");
    assert_eq!(world.seen().await, []);
}

/// The installer never asks again after a 503, so what it said must not be lost with it.
#[tokio::test]
async fn a_callback_outlives_a_store_that_is_away() {
    for mode in [Mode::Fails, Mode::Hangs] {
        let world = World::new();
        *world.store.recorder.lock().unwrap() = mode;
        let answer = world.post(&progress_path("Last%20reboot%20complete", "9"), "").await;
        assert_eq!((answer.status, answer.code().as_str()), (503, "store_away"), "{mode:?}");
        *world.store.recorder.lock().unwrap() = Mode::Answers;
        assert_eq!(world.seen().await, [called("Last reboot complete", 9, "")], "{mode:?}");
    }
}
