//! `GET /boot/attempt/{server_id}/open` and `…/done`: what a script in user data asks.

use crate::support::*;
use axum::http::Method;
use metalform_boot::{BootAttemptRef, BootNode, Instruction, TokenKey};
use metalform_model::Seen;
use sha2::{Digest, Sha256};
use std::net::Ipv4Addr;
use uuid::Uuid;

const DONE: &str = "/boot/attempt/server-001/done";

fn open_path() -> String {
    format!("/boot/attempt/server-001/open?t={}", token())
}

fn inline_world() -> World {
    let world = World::new();
    world.change_node(|node| node.inline = true);
    world
}

#[tokio::test]
async fn an_open_attempt_is_told_by_a_word_whose_digest_stands_in_the_script_and_begins_a_round() {
    let world = inline_world();
    let answer = world.get(&open_path()).await;
    assert_eq!((answer.status, answer.header("content-length")), (200, Some("64")));
    let digest = hex::encode(Sha256::digest(&answer.body));
    assert_eq!(digest, TokenKey::new(KEY).open_sha256(ATTEMPT));
    assert!(!answer.text().contains(&token()) && !answer.text().contains(&checked_token()));
    assert_eq!(world.seen().await, [Seen::AttemptAsked]);
    assert_eq!(world.audit().await, ["node server-001 | boot.attempt | server-001/open | 10.240.0.11 | ok"]);
    let other = TokenKey::new(KEY).open_sha256(Uuid::from_u128(2));
    assert_ne!(digest, other, "another attempt has another word");
}

#[tokio::test]
async fn nobody_is_told_that_it_is_open_who_would_get_no_script() {
    type Change = fn(&mut BootNode);
    let as_is: Change = |_| {};
    let url: Change = |node| node.inline = false;
    let installed: Change = |node| node.instruction = Instruction::BootFromDisk;
    let waits: Change = |node| node.instruction = Instruction::NotNow { reason: "it failed".into() };
    let finished: Change = |node| node.attempt = Some(BootAttemptRef { id: ATTEMPT, open: false });
    let newer: Change = |node| node.attempt = Some(BootAttemptRef { id: Uuid::from_u128(2), open: true });
    let elsewhere = Ipv4Addr::new(10, 240, 0, 12);
    let bare = "/boot/attempt/server-001/open".to_owned();
    for (change, path, from, status, code) in [
        (as_is, bare.clone(), NODE_IP, 401, "token_missing"),
        (as_is, format!("{bare}?t=x"), NODE_IP, 403, "token_wrong"),
        (as_is, format!("{bare}?t={}", checked_token()), NODE_IP, 403, "token_wrong"),
        (as_is, open_path(), elsewhere, 403, "foreign_address"),
        (as_is, open_path().replace("001", "002"), NODE_IP, 404, "unknown_server"),
        (as_is, open_path().replace("open", "run"), NODE_IP, 404, "unknown_path"),
        (as_is, DONE.to_owned(), NODE_IP, 409, "not_installed"),
        (as_is, DONE.to_owned(), elsewhere, 403, "foreign_address"),
        (url, open_path(), NODE_IP, 409, "other_user_data"),
        (installed, open_path(), NODE_IP, 409, "installed"),
        (waits, open_path(), NODE_IP, 503, "not_now"),
        (waits, DONE.to_owned(), NODE_IP, 409, "not_installed"),
        (finished, open_path(), NODE_IP, 409, "not_installing"),
        (newer, open_path(), NODE_IP, 403, "token_wrong"),
    ] {
        let world = inline_world();
        world.change_node(change);
        let answer = world.send(request(Method::GET, &path, &[]), from).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{path}");
        assert_eq!(answer.header("retry-after"), None, "the script asks again by itself: {path}");
        assert_eq!(world.seen().await, []);
        let audit = world.audit().await;
        assert!(audit[0].starts_with("anonymous | boot.attempt | ") && !audit[0].contains(&token()), "{audit:?}");
    }
}

#[tokio::test]
async fn an_installed_machine_is_told_so_by_its_address_alone() {
    let world = inline_world();
    world.change_node(|node| node.instruction = Instruction::BootFromDisk);
    let answer = world.get(DONE).await;
    assert_eq!((answer.status, answer.text()), (200, "done\n"));
    assert_eq!(world.seen().await, []);
}

/// It holds what must not cross the network.
#[tokio::test]
async fn a_script_that_stands_in_user_data_is_not_fetched() {
    let world = inline_world();
    let answer = world.get(&script_path()).await;
    assert!(answer.text().contains("[other_user_data]"), "{}", answer.text());
    assert!(!answer.text().contains(&checked_token()) && !answer.text().contains(&token()));
    assert_eq!(world.seen().await, []);
}

#[tokio::test]
async fn a_machine_that_asks_too_often_is_not_counted_every_time() {
    let world = inline_world();
    let mut answers = Vec::new();
    for _ in 0..25 {
        answers.push(world.get(&open_path()).await.status);
    }
    assert_eq!(answers.iter().filter(|status| **status == 200).count(), 20);
    assert_eq!(answers.last(), Some(&503));
}
