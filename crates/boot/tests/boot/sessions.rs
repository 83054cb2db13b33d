//! The exchange of a boot token for a session, and what is asked for with its signature.

use crate::support::*;
use axum::{body::Body, http::Request};
use ed25519_dalek::{Signer, SigningKey};
use metalform_boot::BootAttemptRef;
use metalform_model::{RequestSignature, SIGNATURE_HEADER, Seen, SessionKey, signed_text};
use serde_json::json;
use std::{
    future::{Future, poll_fn},
    net::Ipv4Addr,
    pin::pin,
    task::Poll,
};

pub const CONFIG: &str = "/boot/server/10.240.0.11";
pub const ARIZONA: &str = "/boot/arizona/10.240.0.11";
pub const REPORT: &str = "/boot/report/server-001";

pub fn key_of(byte: u8) -> SigningKey {
    SigningKey::from_bytes(&[byte; 32])
}

fn public(key: &SigningKey) -> SessionKey {
    SessionKey(key.verifying_key().to_bytes())
}

pub fn exchange(key: &SigningKey) -> String {
    json!({"key": public(key)}).to_string()
}

pub fn session_path() -> String {
    format!("/boot/session/server-001?t={}", token())
}

fn signature(key: &SigningKey, method: &str, path: &str, counter: u64, body: &str) -> String {
    let signature = key.sign(signed_text(method, path, counter, body.as_bytes()).as_bytes()).to_bytes();
    RequestSignature { counter, signature }.to_string()
}

fn request_with(method: &str, path: &str, signature: &str, body: &str) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(SIGNATURE_HEADER, signature)
        .body(Body::from(body.to_owned()))
        .unwrap()
}

/// A request that is signed as it should be.
pub fn signed(key: &SigningKey, method: &str, path: &str, counter: u64, body: &str) -> Request<Body> {
    request_with(method, path, &signature(key, method, path, counter, body), body)
}

async fn in_session() -> World {
    let world = World::new();
    assert_eq!(world.post(&session_path(), exchange(&key_of(1))).await.status, 200);
    world
}

#[tokio::test]
async fn the_token_is_exchanged_for_a_session_and_worth_nothing_but_another_exchange_from_then_on() {
    let world = World::new();
    assert_eq!(world.get(&config_path()).await.status, 200, "before the exchange the token is enough");
    let answer = world.post(&session_path(), exchange(&key_of(1))).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"server_id": "server-001", "key": public(&key_of(1))})));
    let begun = Seen::SessionBegun { key: public(&key_of(1)), round: 1 };
    assert_eq!(world.seen().await, [Seen::ConfigServed, begun]);
    assert_eq!(world.audit().await[1], "node server-001 | boot.session | server-001 | 10.240.0.11 | ok");
    let report = r#"{"seq":1,"phase":"installed","status":"ok"}"#;
    let progress = format!("/boot/progress/server-001?t={}&step=fatal", token());
    for (path, body) in [
        (config_path(), None),
        (format!("{ARIZONA}?t={}", token()), None),
        (report_path(), Some(report)),
        (progress, Some("")),
    ] {
        let answer = match body {
            None => world.get(&path).await,
            Some(body) => world.post(&path, body).await,
        };
        assert_eq!((answer.status, answer.code().as_str()), (403, "session_needed"), "{path}");
    }
    assert_eq!(world.seen().await.len(), 2);
    // The script was fetched again: a machine that has lost its key exchanges anew, and nobody gets around that.
    world.change_node(|node| node.round = 2);
    assert_eq!(world.get(&config_path()).await.code(), "session_needed");
    assert_eq!(world.post(&session_path(), exchange(&key_of(2))).await.status, 200);
}

/// Looks after a call so often, and then drops it, as a connection does whose machine hangs up. Says whether it was answered.
async fn answered_in(polls: usize, call: impl Future<Output = Answer>) -> bool {
    let mut call = pin!(call);
    let mut left = polls;
    poll_fn(|context| {
        if left > 0 {
            left -= 1;
            if let Poll::Ready(answer) = call.as_mut().poll(context) {
                return Poll::Ready(answer.status == 200);
            }
        }
        if left == 0 { Poll::Ready(false) } else { Poll::Pending }
    })
    .await
}

#[tokio::test]
async fn a_machine_that_hangs_up_at_any_moment_leaves_no_session_without_its_line() {
    for n in 0..1000 {
        let world = World::new();
        let answered = answered_in(n, world.post(&session_path(), exchange(&key_of(1)))).await;
        let bound = usize::from(world.seen().await.iter().any(|seen| matches!(seen, Seen::SessionBegun { .. })));
        let lines = world.audit().await.iter().filter(|line| line.contains("| boot.session |")).count();
        assert_eq!(lines, bound, "left at moment {n}");
        if answered {
            assert_eq!(bound, 1);
            return;
        }
    }
    panic!("no answer");
}

#[tokio::test]
async fn the_same_key_again_is_answered_again_and_another_one_is_told_that_it_is_late() {
    let world = in_session().await;
    let again = world.post(&session_path(), exchange(&key_of(1))).await;
    assert_eq!((again.status, again.json()["key"].clone()), (200, json!(public(&key_of(1)))));
    let late = world.post(&session_path(), exchange(&key_of(2))).await;
    assert_eq!((late.status, late.code().as_str()), (409, "session_taken"));
    assert_eq!(world.seen().await.len(), 1);
    assert!(world.audit().await[2].ends_with("| boot.session | server-001 | 10.240.0.11 | refused:session_taken"));
    world.change_node(|node| node.round = 2);
    assert_eq!(world.post(&session_path(), exchange(&key_of(2))).await.status, 200);
    // The earlier key has nothing to say any more.
    let answer = world.send(signed(&key_of(1), "GET", CONFIG, 9, ""), NODE_IP).await;
    assert_eq!((answer.status, answer.code().as_str()), (403, "signature_wrong"));
}

#[tokio::test]
async fn what_the_sessions_key_has_signed_is_granted() {
    let world = in_session().await;
    let key = key_of(1);
    assert_eq!(world.send(signed(&key, "GET", CONFIG, 1, ""), NODE_IP).await.status, 200);
    assert_eq!(world.send(signed(&key, "HEAD", CONFIG, 2, ""), NODE_IP).await.status, 200);
    let arizona = world.send(signed(&key, "GET", ARIZONA, 5, ""), NODE_IP).await;
    let root = arizona.json()["monitoring_url_root"].as_str().unwrap().to_owned();
    assert!(root.ends_with(&progress_token()) && !root.contains(&token()), "{root}");
    let report = r#"{"seq":1,"phase":"booting","status":"running"}"#;
    let answer = world.send(signed(&key, "POST", REPORT, 6, report), NODE_IP).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"recorded": true, "last_seq": 1})));
    // The installer's callbacks go by the token of its document.
    let progress = format!("/boot/progress/server-001?t={}&step=Running+CVM+Installer", progress_token());
    assert_eq!(world.post(&progress, "").await.status, 200);
    // An older script by the way doesn't end a session that works.
    world.change_node(|node| node.round = 2);
    assert_eq!(world.send(signed(&key, "GET", CONFIG, 7, ""), NODE_IP).await.status, 200);
}

#[tokio::test]
async fn a_signature_is_good_for_one_request_and_once() {
    let world = in_session().await;
    let key = key_of(1);
    let report = r#"{"seq":1,"phase":"booting","status":"running"}"#;
    let good = || signed(&key, "POST", REPORT, 7, report);
    assert_eq!(world.send(good(), NODE_IP).await.status, 200);
    let replayed = world.send(good(), NODE_IP).await;
    assert_eq!((replayed.status, replayed.code().as_str()), (409, "signature_stale"));
    assert_eq!(replayed.json()["error"]["details"], json!({"last": 7}));
    let other = r#"{"seq":2,"phase":"installed","status":"ok"}"#;
    let of_report = |counter| signature(&key, "POST", REPORT, counter, report);
    for (method, path, signature, body) in [
        ("POST", REPORT, of_report(8), other),
        ("POST", REPORT, of_report(8).replace("v1 8", "v1 9"), report),
        ("POST", REPORT, of_report(8).replace("v1", "v2"), report),
        ("POST", REPORT, "v1".to_owned(), report),
        ("POST", REPORT, signature(&key, "GET", REPORT, 8, report), report),
        ("POST", REPORT, signature(&key, "POST", CONFIG, 8, report), report),
        ("POST", REPORT, signature(&key_of(2), "POST", REPORT, 8, report), report),
        ("GET", CONFIG, signature(&key_of(2), "GET", CONFIG, 8, ""), ""),
        ("GET", ARIZONA, signature(&key, "GET", CONFIG, 8, ""), ""),
    ] {
        let answer = world.send(request_with(method, path, &signature, body), NODE_IP).await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "signature_wrong"), "{method} {path} {signature}");
    }
    assert_eq!(world.seen().await.len(), 2, "the session and the one report");
    // None of these has used a number up.
    assert_eq!(world.send(signed(&key, "POST", REPORT, 8, other), NODE_IP).await.status, 200);
}

#[tokio::test]
async fn a_session_is_begun_by_the_node_itself_in_an_open_attempt_and_by_nobody_else() {
    let good = exchange(&key_of(1));
    for (path, from, body, status, code) in [
        (session_path(), Ipv4Addr::new(10, 240, 0, 12), good.clone(), 403, "foreign_address"),
        (session_path(), Ipv4Addr::new(8, 8, 8, 8), good.clone(), 403, "network_not_allowed"),
        ("/boot/session/server-001".into(), NODE_IP, good.clone(), 401, "token_missing"),
        ("/boot/session/server-001?t=abc".into(), NODE_IP, good.clone(), 403, "token_wrong"),
        (format!("/boot/session/server-001?t={}", progress_token()), NODE_IP, good.clone(), 403, "token_wrong"),
        (session_path().replace("001", "002"), NODE_IP, good.clone(), 404, "unknown_server"),
        (format!("{}&x=1", session_path()), NODE_IP, good.clone(), 400, "unknown_parameter"),
        (session_path(), NODE_IP, "{}".into(), 400, "bad_session"),
        (session_path(), NODE_IP, good.replace('}', ",\"x\":1}"), 400, "bad_session"),
        (session_path(), NODE_IP, json!({"key": "abc"}).to_string(), 400, "bad_session"),
        // The neutral point: it takes signatures that nobody has made.
        (session_path(), NODE_IP, json!({"key": format!("01{}", "00".repeat(31))}).to_string(), 400, "bad_session"),
        (session_path(), NODE_IP, " ".repeat(64 * 1024 + 1), 413, "report_too_large"),
    ] {
        let world = World::new();
        let answer = world.send(Request::post(&path).body(Body::from(body.clone())).unwrap(), from).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{path} {body:.80}");
        assert_eq!(world.seen().await, []);
        let audit = world.audit().await;
        assert_eq!(audit.len(), 1);
        assert!(audit[0].contains("| boot.session |") && audit[0].ends_with(&format!("refused:{code}")), "{audit:?}");
        assert_eq!(world.store.node.lock().unwrap().session, None);
    }
    let world = World::new();
    world.change_node(|node| node.attempt = Some(BootAttemptRef { id: ATTEMPT, open: false }));
    assert_eq!(world.post(&session_path(), good).await.code(), "not_installing");
    assert_eq!(world.get(&session_path()).await.status, 405);
}

#[tokio::test]
async fn a_signature_without_a_session_or_in_a_finished_attempt_gets_nothing() {
    let world = World::new();
    let answer = world.send(signed(&key_of(1), "GET", CONFIG, 1, ""), NODE_IP).await;
    assert_eq!((answer.status, answer.code().as_str()), (403, "session_unknown"));
    let world = in_session().await;
    world.change_node(|node| node.attempt = Some(BootAttemptRef { id: ATTEMPT, open: false }));
    let answer = world.send(signed(&key_of(1), "GET", CONFIG, 1, ""), NODE_IP).await;
    assert_eq!((answer.status, answer.code().as_str()), (409, "not_installing"));
    let answer = world.send(signed(&key_of(1), "GET", CONFIG, 2, ""), Ipv4Addr::new(10, 240, 0, 12)).await;
    assert_eq!((answer.status, answer.code().as_str()), (403, "foreign_address"));
}

#[tokio::test]
async fn the_token_alone_gets_ten_documents_in_a_round() {
    let world = World::new();
    for n in 1..=10 {
        let path = if n % 2 == 0 { config_path() } else { format!("{ARIZONA}?t={}", token()) };
        assert_eq!(world.get(&path).await.status, 200, "{n}");
    }
    let answer = world.get(&config_path()).await;
    assert_eq!((answer.status, answer.code().as_str()), (429, "too_many_documents"));
    assert_eq!(answer.header("retry-after"), Some("60"));
    // The session is still to be had, and has no such limit.
    assert_eq!(world.post(&session_path(), exchange(&key_of(1))).await.status, 200);
    for n in 1..=12 {
        assert_eq!(world.send(signed(&key_of(1), "GET", CONFIG, n, ""), NODE_IP).await.status, 200, "{n}");
    }
}

#[tokio::test]
async fn a_script_that_is_asked_for_in_a_tight_loop_parks_the_machine() {
    let world = World::new();
    for n in 1..=20 {
        assert_eq!(world.get(&script_path()).await.status, 200, "{n}");
    }
    let answer = world.get(&script_path()).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("10")));
    assert!(answer.text().contains("[too_many_scripts]") && !answer.text().contains(&token()));
    assert_eq!(world.seen().await.len(), 20);
}

#[tokio::test]
async fn without_the_store_no_session_is_begun_and_nothing_signed_is_taken() {
    let world = World::new();
    *world.store.recorder.lock().unwrap() = Mode::Fails;
    let answer = world.post(&session_path(), exchange(&key_of(1))).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "store_away"));
    assert!(answer.header("retry-after").is_some());
    *world.store.recorder.lock().unwrap() = Mode::Answers;
    let world = in_session().await;
    *world.store.recorder.lock().unwrap() = Mode::Fails;
    let answer = world.send(signed(&key_of(1), "GET", CONFIG, 1, ""), NODE_IP).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "store_away"));
}

#[tokio::test]
async fn who_may_not_begin_a_session_is_told_so_before_anything_waits_for_the_store() {
    let world = World::new();
    *world.store.recorder.lock().unwrap() = Mode::Fails;
    let stranger = Request::post(session_path()).body(Body::from(exchange(&key_of(1)))).unwrap();
    assert_eq!(world.send(stranger, Ipv4Addr::new(10, 0, 0, 8)).await.code(), "foreign_address");
    let wrong = "/boot/session/server-001?t=wrong";
    assert_eq!(world.post(wrong, exchange(&key_of(1))).await.code(), "token_wrong");
}

#[tokio::test]
async fn what_a_machine_says_of_its_own_address_is_not_believed() {
    let forwarded = || {
        let request = Request::get(config_path()).header("X-Forwarded-For", NODE_IP.to_string());
        request.body(Body::empty()).unwrap()
    };
    let proxy = Ipv4Addr::new(10, 0, 0, 8);
    let world = World::new();
    assert_eq!(world.send(forwarded(), proxy).await.code(), "foreign_address");
    let world = World::with(|settings| settings.trusted_proxies = vec!["10.0.0.8/32".parse().unwrap()]);
    assert_eq!(world.send(forwarded(), proxy).await.status, 200);
    assert_eq!(world.audit().await, ["node server-001 | boot.config | 10.240.0.11 | 10.240.0.11 | ok"]);
    assert_eq!(world.send(forwarded(), Ipv4Addr::new(10, 240, 0, 12)).await.code(), "foreign_address");
    // Within TLS no proxy can write: the header is the machine's own.
    let mut over_tls = forwarded();
    over_tls.extensions_mut().insert(metalform_boot::Channel::Tls);
    assert_eq!(world.send(over_tls, proxy).await.code(), "foreign_address");
    // Behind a proxy, too, only allowed networks are let in.
    let outside = Request::get(config_path()).header("X-Forwarded-For", "8.8.8.8").body(Body::empty()).unwrap();
    assert_eq!(world.send(outside, proxy).await.code(), "network_not_allowed");
}
