//! The store doesn't answer: machines go on as far as nothing goes out unrecorded.

use crate::support::*;
use metalform_boot::BootSession;
use metalform_model::{Seen, SessionKey};
use std::{net::Ipv4Addr, time::Duration};

const REPORT: &str = r#"{"seq":1,"phase":"booting","status":"running"}"#;

#[tokio::test]
async fn scripts_and_images_go_on_and_are_recorded_in_order_when_the_store_is_back() {
    for mode in [Mode::Fails, Mode::Hangs] {
        let world = World::new();
        *world.store.recorder.lock().unwrap() = mode;
        assert!(world.get(&script_path()).await.text().contains("\nkernel "));
        assert_eq!(world.get("/pxe/images/initrd-foundation.img").await.text(), "initrd!");
        assert_eq!(world.plane.flush(Duration::from_millis(1)).await, 4, "{mode:?}");
        assert_eq!(world.evidence(), []);

        *world.store.recorder.lock().unwrap() = Mode::Answers;
        let image = Seen::ImageServed { file: "initrd-foundation.img".to_owned(), sent: 7, of: 7 };
        assert_eq!(world.seen().await, [Seen::ScriptServed, image], "{mode:?}");
        assert_eq!(
            world.audit().await,
            [
                "node server-001 | boot.script | server-001 | 10.240.0.11 | ok",
                "node server-001 | boot.image | initrd-foundation.img | 10.240.0.11 | ok",
            ]
        );
    }
}

#[tokio::test]
async fn configurations_and_reports_wait_for_the_store() {
    for mode in [Mode::Fails, Mode::Hangs] {
        let world = World::new();
        *world.store.recorder.lock().unwrap() = mode;
        for answer in [world.get(&config_path()).await, world.post(&report_path(), REPORT).await] {
            assert_eq!((answer.status, answer.code().as_str()), (503, "store_away"), "{mode:?}");
            assert_eq!(answer.header("retry-after"), Some("10"));
            assert!(!answer.text().contains("server_info"));
        }
        *world.store.recorder.lock().unwrap() = Mode::Answers;
        // The refusals were queued; what was refused was not done afterwards.
        assert_eq!(world.seen().await, []);
        assert_eq!(
            world.audit().await,
            [
                "anonymous | boot.config | 10.240.0.11 | 10.240.0.11 | refused:store_away",
                "anonymous | boot.report | server-001 | 10.240.0.11 | refused:store_away",
            ],
            "{mode:?}"
        );
        assert_eq!(world.get(&config_path()).await.json(), node().config);
        assert_eq!(world.post(&report_path(), REPORT).await.status, 200);
    }
}

#[tokio::test]
async fn without_a_directory_machines_are_parked_and_images_still_served() {
    for mode in [Mode::Fails, Mode::Hangs] {
        let world = World::new();
        *world.store.directory.lock().unwrap() = mode;
        let script = world.get(&script_path()).await;
        assert_eq!((script.status, script.header("retry-after")), (503, Some("10")));
        assert!(script.text().starts_with("#!ipxe\n") && script.text().contains("[store_away]"));
        assert_eq!(world.get(&config_path()).await.code(), "store_away");
        assert_eq!(world.post(&report_path(), REPORT).await.code(), "store_away");
        assert_eq!(world.get("/pxe/images/vmlinuz-foundation").await.text(), "kernel");
        assert_eq!(world.seen().await, [], "{mode:?}");
        assert_eq!(world.audit().await.len(), 4, "{mode:?}");
    }
}

#[tokio::test]
async fn readiness_tells_that_the_store_is_away() {
    let world = World::new();
    *world.store.recorder.lock().unwrap() = Mode::Fails;
    assert_eq!(world.post(&report_path(), REPORT).await.status, 503);
    let ready = world.get("/readyz").await;
    assert_eq!((ready.status, ready.json()["store"].as_str().unwrap().to_owned()), (200, "away".to_owned()));
    assert_eq!(world.send(request(axum::http::Method::GET, "/healthz", &[]), Ipv4Addr::LOCALHOST).await.status, 200);
}

/// A machine that starts again without anybody knowing of it is refused its next session. So what begins a round is written
/// first where something would be lost with it: a session, or another pin than the round before has.
#[tokio::test]
async fn what_begins_a_round_after_a_session_or_changes_the_pin_is_recorded_before_it_goes_out() {
    let open = format!("/boot/attempt/server-001/open?t={}", token());
    let session = BootSession { key: SessionKey([1; 32]), round: 1, over_tls: false };
    for (path, has_session, was_pinned, inline, waits) in [
        (script_path(), false, false, false, false),
        (script_path(), true, false, false, true),
        (script_path(), false, true, false, true),
        (open.clone(), false, false, true, false),
        (open.clone(), true, false, true, true),
        (open, false, true, true, true),
    ] {
        let world = World::new();
        world.change_node(|node| {
            (node.session, node.is_pinned, node.inline) = (has_session.then_some(session), was_pinned, inline);
        });
        *world.store.recorder.lock().unwrap() = Mode::Fails;
        let answer = world.get(&path).await;
        let expected = if waits { 503 } else { 200 };
        assert_eq!(answer.status, expected, "{path} {has_session} {was_pinned}: {}", answer.text());
        if waits {
            assert!(answer.text().contains("store_away") && !answer.text().contains("kernel"), "{}", answer.text());
        }
        *world.store.recorder.lock().unwrap() = Mode::Answers;
        assert_eq!(world.seen().await.len(), usize::from(!waits), "{path}");

        // To ask how long it is begins nothing.
        let before = world.seen().await.len();
        world.send(request(axum::http::Method::HEAD, &path, &[]), NODE_IP).await;
        assert_eq!(world.seen().await.len(), before, "{path}");
        assert_eq!(world.get(&path).await.status, 200);
        assert_eq!(world.seen().await.len(), before + 1, "{path}");
    }
}

/// The memory of a node may be older than its session. An agent that is told that there is none ends its installer.
#[tokio::test]
async fn a_session_that_memory_does_not_know_is_not_denied() {
    use crate::sessions::signed;
    let (key, path) = (ed25519_dalek::SigningKey::from_bytes(&[1; 32]), "/boot/report/server-001");
    let world = World::new();
    for (is_recalled, code) in [(true, "store_away"), (false, "session_unknown")] {
        world.change_node(|node| node.is_recalled = is_recalled);
        let answer = world.send(signed(&key, "POST", path, 1, REPORT), NODE_IP).await;
        assert_eq!(answer.code(), code);
    }
}

#[tokio::test]
async fn a_report_cannot_use_up_the_numbers_of_all_that_come_after_it() {
    let world = World::new();
    let report = |seq: u64| format!(r#"{{"seq":{seq},"phase":"booting","status":"running"}}"#);
    let far = world.post(&report_path(), report(u64::MAX)).await;
    assert_eq!((far.status, far.code().as_str()), (400, "bad_report"));
    assert_eq!(world.post(&report_path(), report(1000)).await.status, 200);
}
