//! What goes over TLS once the script has pinned our authority, and what doesn't have to.

use crate::{
    sessions::{ARIZONA, CONFIG, REPORT, exchange, key_of, session_path, signed},
    support::*,
};
use axum::{
    body::Body,
    http::{Method, Request},
};
use metalform_boot::{CaPin, Channel};
use metalform_model::Seen;
use std::net::Ipv4Addr;

const BOOTING: &str = r#"{"seq":1,"phase":"booting","status":"running"}"#;

fn pin() -> CaPin {
    CaPin::new([0xca; 32])
}

/// A boot plane that speaks TLS, too, and a node whose image set holds the agent.
fn pinning() -> World {
    let world = World::with(|settings| settings.ca_pin = Some(pin()));
    world.change_node(|node| node.has_agent = true);
    world
}

/// The same, once the machine has its script.
async fn pinned() -> World {
    let world = pinning();
    let script = world.get(&script_path()).await;
    assert!(script.text().contains(&format!(" ca_sha256={} ", "ca".repeat(32))), "{}", script.text());
    assert_eq!(world.seen().await, [Seen::PinnedScriptServed]);
    // What the loop makes of it.
    world.change_node(|node| node.is_pinned = true);
    world
}

fn over_tls(mut request: Request<Body>) -> Request<Body> {
    request.extensions_mut().insert(Channel::Tls);
    request
}

fn post(path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path).body(body.into()).unwrap()
}

/// In the clear, with the token or with the session's signature.
fn in_the_clear() -> Vec<Request<Body>> {
    let key = key_of(1);
    vec![
        post(&session_path(), exchange(&key)),
        request(Method::GET, &config_path(), &[]),
        request(Method::HEAD, &config_path(), &[]),
        request(Method::GET, &format!("{ARIZONA}?t={}", token()), &[]),
        post(&report_path(), BOOTING),
        signed(&key, "GET", CONFIG, 90, ""),
        signed(&key, "GET", ARIZONA, 91, ""),
        signed(&key, "POST", REPORT, 92, BOOTING),
    ]
}

#[tokio::test]
async fn what_a_pinned_rounds_agent_asks_for_goes_over_tls_or_not_at_all() {
    let world = pinned().await;
    // Before the exchange there is no session that could have signed.
    for asked in in_the_clear().into_iter().take(5) {
        let case = format!("{} {}", asked.method(), asked.uri().path());
        let is_head = asked.method() == Method::HEAD;
        let answer = world.send(asked, NODE_IP).await;
        assert_eq!(answer.status, 403, "{case}");
        assert!(is_head || answer.code() == "tls_required", "{case}: {}", answer.text());
    }
    assert_eq!(world.seen().await, [Seen::PinnedScriptServed], "nothing was changed");
    let audit = world.audit().await;
    assert_eq!(audit.iter().filter(|line| line.ends_with("| refused:tls_required")).count(), 5, "{audit:#?}");

    assert_eq!(world.send(over_tls(post(&session_path(), exchange(&key_of(1)))), NODE_IP).await.status, 200);
    for asked in in_the_clear() {
        let case = format!("{} {}", asked.method(), asked.uri().path());
        let is_head = asked.method() == Method::HEAD;
        let answer = world.send(asked, NODE_IP).await;
        assert!(answer.status == 403 && (is_head || answer.code() == "tls_required"), "{case}: {}", answer.text());
    }
    assert_eq!(world.seen().await.len(), 2);
    // No number was used up by what came in the clear.
    let key = key_of(1);
    for (asked, number) in [("GET", 1), ("GET", 2), ("POST", 3)] {
        let (path, body) = match number {
            1 => (CONFIG, ""),
            2 => (ARIZONA, ""),
            _ => (REPORT, BOOTING),
        };
        let answer = world.send(over_tls(signed(&key, asked, path, number, body)), NODE_IP).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
}

/// The callbacks' token stands in the Arizona document: whoever has that has the token. So in a round it is told to the key
/// that was first, and to no other; not to the boot token alone either, over TLS or not.
#[tokio::test]
async fn what_is_secret_in_a_document_is_told_to_one_key_of_a_round() {
    let world = pinned().await;
    let by_token = [config_path(), format!("{ARIZONA}?t={}", token())];
    for path in &by_token {
        let answer = world.send(over_tls(request(Method::GET, path, &[])), NODE_IP).await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "session_needed"), "{path}");
    }
    assert_eq!(world.send(over_tls(post(&report_path(), BOOTING)), NODE_IP).await.code(), "session_needed");
    let progress = format!("/boot/progress/server-001?t={}&step=fatal", token());
    assert_eq!(world.post(&progress, "").await.code(), "session_needed");

    assert_eq!(world.send(over_tls(post(&session_path(), exchange(&key_of(1)))), NODE_IP).await.status, 200);
    let second = world.send(over_tls(post(&session_path(), exchange(&key_of(2)))), NODE_IP).await;
    assert_eq!(second.code(), "session_taken");
    let stranger = world.send(over_tls(signed(&key_of(2), "GET", ARIZONA, 1, "")), NODE_IP).await;
    assert_eq!(stranger.code(), "signature_wrong");
    let told = world.send(over_tls(signed(&key_of(1), "GET", ARIZONA, 1, "")), NODE_IP).await;
    assert!(told.text().contains(&progress_token()), "{}", told.text());
    for path in &by_token {
        let answer = world.send(over_tls(request(Method::GET, path, &[])), NODE_IP).await;
        assert!(answer.code() == "session_needed" && !answer.text().contains(&progress_token()), "{path}");
    }
    let arizonas = world.seen().await.iter().filter(|seen| **seen == Seen::ArizonaServed).count();
    assert_eq!(arizonas, 1);
}

#[tokio::test]
async fn installers_and_boot_scripts_know_no_tls_and_go_on_without() {
    let world = pinned().await;
    let world_over_tls = over_tls(post(&session_path(), exchange(&key_of(1))));
    assert_eq!(world.send(world_over_tls, NODE_IP).await.status, 200);
    assert_eq!(world.get(&script_path()).await.status, 200);
    assert_eq!(world.get(&format!("/boot/step/server-001/boot?t={}", token())).await.status, 200);
    assert_eq!(world.get(&format!("/boot/step/server-001/tls-failed?t={}", token())).await.status, 200);
    assert_eq!(world.get("/pxe/images/vmlinuz-foundation").await.status, 200);
    let callback = format!("/boot/progress/server-001?t={}&step=Running+CVM+Installer", progress_token());
    assert_eq!(world.post(&callback, "").await.status, 200);
    // And all of it may come over TLS.
    for path in [script_path(), "/pxe/images/vmlinuz-foundation".to_owned(), "/readyz".to_owned()] {
        assert_eq!(world.send(over_tls(request(Method::GET, &path, &[])), NODE_IP).await.status, 200, "{path}");
    }
}

/// Between the order of the machine and its first request somebody else could ask, with a token from the user data.
#[tokio::test]
async fn before_the_first_script_nobody_is_quicker_in_the_clear() {
    let world = pinning();
    world.change_node(|node| node.round = 0);
    for asked in in_the_clear().into_iter().take(5).filter(|asked| asked.method() != Method::HEAD) {
        let path = asked.uri().path().to_owned();
        assert_eq!(world.send(asked, NODE_IP).await.code(), "tls_required", "{path}");
    }
}

#[tokio::test]
async fn a_script_without_a_pin_asks_for_no_tls() {
    let agent_without_tls = World::new();
    agent_without_tls.change_node(|node| node.has_agent = true);
    let without_agent = World::with(|settings| settings.ca_pin = Some(pin()));
    for (world, rounds) in [(agent_without_tls, [0, 1]), (without_agent, [0, 1])] {
        assert!(!world.get(&script_path()).await.text().contains("ca_sha256"));
        for round in rounds {
            world.change_node(|node| node.round = round);
            assert_eq!(world.get(&config_path()).await.status, 200);
            assert_eq!(world.post(&report_path(), BOOTING).await.status, 200);
        }
        assert_eq!(world.post(&session_path(), exchange(&key_of(1))).await.status, 200);
        assert_eq!(world.seen().await[0], Seen::ScriptServed);
        assert_eq!(world.send(signed(&key_of(1), "GET", CONFIG, 1, ""), NODE_IP).await.status, 200);
    }
}

/// The service was updated in the middle of an installation, and then somebody fetched the script.
#[tokio::test]
async fn a_session_that_began_in_the_clear_is_not_ended_by_a_later_script() {
    let world = World::new();
    world.change_node(|node| node.has_agent = true);
    assert_eq!(world.post(&session_path(), exchange(&key_of(1))).await.status, 200);
    world.change_node(|node| (node.round, node.is_pinned) = (2, true));
    assert_eq!(world.send(signed(&key_of(1), "POST", REPORT, 1, BOOTING), NODE_IP).await.status, 200);
    // Whoever wants the later round's goes by its script.
    assert_eq!(world.post(&session_path(), exchange(&key_of(2))).await.code(), "tls_required");
}

#[tokio::test]
async fn a_stranger_hears_nothing_of_tls() {
    let world = pinned().await;
    let elsewhere = Ipv4Addr::new(10, 240, 0, 12);
    let wrong = format!("/boot/session/server-001?t={}", "0".repeat(64));
    assert_eq!(world.send(post(&wrong, exchange(&key_of(1))), NODE_IP).await.code(), "token_wrong");
    assert_eq!(world.send(post(&session_path(), exchange(&key_of(1))), elsewhere).await.code(), "foreign_address");
}
