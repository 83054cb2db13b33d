//! `GET /boot/step/{server_id}/{step}`.

use crate::support::*;
use axum::http::Method;
use metalform_boot::BootAttemptRef;
use metalform_model::{BootStep, Seen};
use std::net::Ipv4Addr;

fn step_path(step: &str) -> String {
    format!("/boot/step/server-001/{step}?t={}", token())
}

#[tokio::test]
async fn a_step_is_evidence() {
    let world = World::new();
    for step in ["boot", "error-0x3e0f6095"] {
        let answer = world.get(&step_path(step)).await;
        assert_eq!((answer.status, answer.text()), (200, "ok\n"), "an image of no bytes was never tried");
        assert_eq!(answer.header("content-length"), Some("3"));
    }
    let errno = BootStep::Error(0x3e0f_6095);
    assert_eq!(world.seen().await, [Seen::StepReached { step: BootStep::Boot }, Seen::StepReached { step: errno }]);
}

/// By every word that the script gives `step`.
#[tokio::test]
async fn the_script_asks_for_the_steps_that_are_known_here() {
    let world = World::new();
    let script = world.get(&script_path()).await.text().to_owned();
    let mut proof = "";
    let mut asked = Vec::new();
    for line in script.lines() {
        if let Some(shown) = line.strip_prefix("set proof ") {
            proof = shown;
        } else if let Some(step) = line.strip_prefix("set step ") {
            let step = step.replace("${errno}", "0x40ee119");
            let shown = if step == "boot-checked" { checked_token() } else { token() };
            let path = format!("/boot/step/server-001/{step}?t={shown}");
            assert_eq!(world.get(&path).await.status, 200, "{path}");
            asked.push(step);
        }
    }
    assert_eq!(proof, checked_token(), "the last one, which stands behind both comparisons");
    let all =
        ["boot", "boot-unchecked", "error-kernel-digest", "error-initrd-digest", "boot-checked", "error-0x40ee119"];
    assert_eq!(asked, all);
    let beacons: Vec<&str> = script.split_whitespace().filter(|word| word.contains("/boot/step/")).collect();
    let of = |shown: &str| format!("http://10.240.0.5:8080/boot/step/server-001/${{step}}?t={shown}");
    assert_eq!(beacons, [of("${proof}"), of(&token())]);
}

/// Whoever has read the boot token on the network can tell of anything but a comparison.
#[tokio::test]
async fn a_comparison_is_told_with_a_token_of_its_own() {
    let world = World::new();
    let other = token_of(uuid::Uuid::from_u128(2));
    for (shown, status) in [(token(), 403), (progress_token(), 403), (other, 403), (checked_token(), 200)] {
        let answer = world.get(&format!("/boot/step/server-001/boot-checked?t={shown}")).await;
        assert_eq!(answer.status, status);
    }
    assert_eq!(world.get(&format!("/boot/step/server-001/boot?t={}", checked_token())).await.status, 403);
    assert_eq!(world.get("/boot/step/server-001/boot-checked").await.status, 401);
    assert_eq!(world.seen().await, [Seen::StepReached { step: BootStep::BootChecked }]);
}

#[tokio::test]
async fn no_refusal_of_a_step_makes_ipxe_come_again() {
    let finished = |world: &World| {
        world.change_node(|node| node.attempt = Some(BootAttemptRef { id: ATTEMPT, open: false }));
    };
    let away = |world: &World| *world.store.directory.lock().unwrap() = Mode::Fails;
    let as_is = |_: &World| {};
    type Change = fn(&World);
    let elsewhere = Ipv4Addr::new(10, 240, 0, 12);
    for (change, path, from, status, code) in [
        (as_is as Change, step_path("boots"), NODE_IP, 400, "bad_step"),
        (as_is, step_path("boot/x"), NODE_IP, 404, "unknown_path"),
        (as_is, "/boot/step/server-001".to_owned(), NODE_IP, 404, "unknown_path"),
        (as_is, "/boot/step/server-001/boot".to_owned(), NODE_IP, 401, "token_missing"),
        (as_is, "/boot/step/server-001/boot?t=x".to_owned(), NODE_IP, 403, "token_wrong"),
        (as_is, step_path("boot").replace("001", "002"), NODE_IP, 404, "unknown_server"),
        (as_is, step_path("boot"), elsewhere, 403, "foreign_address"),
        (finished, step_path("boot"), NODE_IP, 409, "not_installing"),
        (away, step_path("boot"), NODE_IP, 503, "store_away"),
    ] {
        let world = World::new();
        change(&world);
        let answer = world.send(request(Method::GET, &path, &[]), from).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{path}");
        assert_eq!(answer.header("retry-after"), None, "{path}");
        assert_eq!(world.seen().await, []);
        let audit = world.audit().await;
        assert!(audit[0].starts_with("anonymous | boot.step | ") && !audit[0].contains(&token()), "{audit:?}");
    }
}

#[tokio::test]
async fn a_step_is_answered_while_the_store_is_away() {
    let world = World::new();
    *world.store.recorder.lock().unwrap() = Mode::Fails;
    assert_eq!(world.get(&step_path("boot")).await.status, 200);
    *world.store.recorder.lock().unwrap() = Mode::Answers;
    assert_eq!(world.seen().await, [Seen::StepReached { step: BootStep::Boot }]);
}
