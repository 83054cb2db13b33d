//! The operator reads a cluster's passwords: never unrecorded, and nobody else ever.

use super::rig::Rig;
use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};
use http_body_util::BodyExt;
use metalform_model::{Account, Clock, ClusterPhase};
use metalform_store::{AuditLine, Changes, SealedCredential, Sealer};
use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use std::time::Duration;

const PATH: &str = "/api/v1/clusters/c/credentials";
const PASSWORDS: [(Account, &str); 2] =
    [(Account::PrismAdmin, "first-Secret-1"), (Account::AhvRoot, "second-Secret-2")];

/// A cluster that is under way, and two passwords that its loop has written down.
async fn with_passwords(seed: u64) -> Rig {
    let rig = Rig::new(seed).await;
    rig.deploy(&rig.plan("c", 3)).await;
    let sealer = rig.sealer();
    write_down(&rig, &sealer).await;
    rig
}

async fn write_down(rig: &Rig, sealer: &Sealer) {
    let id = rig.state("c").await.record.id;
    let now = rig.clock.now();
    let sealed = |(account, password): (Account, &str)| SealedCredential {
        account,
        user: account.user().into(),
        sealed: sealer.seal(id, account, &password.into()).unwrap(),
        created_at: now,
    };
    let credentials = PASSWORDS.map(sealed).to_vec();
    commit(rig, Changes { credentials, ..Changes::default() }).await;
}

async fn commit(rig: &Rig, changes: Changes<'_>) {
    let id = rig.state("c").await.record.id;
    let lease = rig.store.acquire(id, rig.clock.now(), Duration::from_secs(60)).await.unwrap().unwrap();
    rig.store.commit(&lease, changes).await.unwrap();
}

/// The lines of the audit about passwords.
async fn readings(rig: &Rig) -> Vec<AuditLine> {
    let lines = rig.store.audit(0, 1000).await.unwrap();
    lines.into_iter().filter(|line| line.action == "credentials.read").collect()
}

fn holds_none(answer: &Value) -> bool {
    let text = answer.to_string();
    PASSWORDS.iter().all(|(_, password)| !text.contains(password))
}

#[tokio::test]
async fn the_operator_reads_them_and_each_reading_is_in_the_audit_without_them() {
    let rig = with_passwords(60).await;
    let request = Request::get(PATH)
        .header(header::AUTHORIZATION, format!("Bearer {}", rig.token()))
        .body(Body::empty())
        .unwrap();
    let response = rig.response(request).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let answer: Value = serde_json::from_slice(&body).unwrap();
    let first = json!({"account": "prism_admin", "user": "admin", "where": "Prism, and the CVMs' user admin",
        "password": "first-Secret-1", "state": "default"});
    let second = json!({"account": "ahv_root", "user": "root", "where": "every AHV host",
        "password": "second-Secret-2", "state": "default"});
    assert_eq!(answer, json!({"cluster": "c", "accounts": [first, second]}));

    let lines = readings(&rig).await;
    assert_eq!(lines.len(), 1);
    let line = &lines[0];
    assert_eq!((line.who.as_str(), line.source.as_str(), line.outcome.as_str()), ("bootstrap", "127.0.0.1", "ok"));
    assert_eq!((line.target.as_str(), line.at), ("c: prism_admin ahv_root", rig.clock.now()));
    rig.call("GET", PATH, "").await;
    assert_eq!(readings(&rig).await.len(), 2);
    let mut left = rig.text("/api/v1/audit").await + &rig.text("/api/v1/clusters/c").await + &rig.story("c").await;
    left += &String::from_utf8_lossy(&rig.database());
    assert!(holds_none(&left.into()));
}

#[tokio::test]
async fn without_the_operators_token_no_password_is_shown() {
    let rig = with_passwords(61).await;
    for token in [None, Some("Bearer not-it")] {
        let mut request = Request::get(PATH);
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, token);
        }
        let (status, answer) = rig.raw_call(request.body(Body::empty()).unwrap()).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        assert!(holds_none(&answer));
    }
    assert_eq!(readings(&rig).await, []);
}

#[tokio::test]
async fn what_cannot_be_recorded_is_not_shown() {
    let rig = with_passwords(62).await;
    // From outside: the database can be read, and the audit can't be written.
    let options = SqliteConnectOptions::new().filename(rig.database_file());
    let mut outside = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query("ALTER TABLE audit RENAME TO away").execute(&mut outside).await.unwrap();
    let (status, answer) = rig.call("GET", PATH, "").await;
    assert_eq!((status, &answer["error"]["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("store_unavailable")));
    assert!(holds_none(&answer), "{answer}");
    sqlx::query("ALTER TABLE away RENAME TO audit").execute(&mut outside).await.unwrap();
    let (status, answer) = rig.call("GET", PATH, "").await;
    assert!(status.is_success() && !holds_none(&answer), "{answer}");
}

#[tokio::test]
async fn before_there_are_any_and_after_the_cluster_is_gone_it_says_so() {
    let rig = Rig::new(63).await;
    let (status, answer) = rig.call("GET", "/api/v1/clusters/nobody/credentials", "").await;
    assert_eq!((status, &answer["error"]["code"]), (StatusCode::NOT_FOUND, &json!("unknown_cluster")));
    rig.deploy(&rig.plan("c", 3)).await;
    let (status, answer) = rig.call("GET", PATH, "").await;
    assert_eq!((status, &answer["error"]["code"]), (StatusCode::CONFLICT, &json!("no_credentials_yet")));
    assert!(answer["error"]["hint"].as_str().unwrap().contains("metalform status c"));

    write_down(&rig, &rig.sealer()).await;
    let mut record = rig.state("c").await.record;
    record.enter(ClusterPhase::Released, "gone".into(), rig.clock.now());
    commit(&rig, Changes { cluster: Some(&record), forget_credentials: true, ..Changes::default() }).await;
    let (status, answer) = rig.call("GET", PATH, "").await;
    assert_eq!((status, &answer["error"]["code"]), (StatusCode::CONFLICT, &json!("credentials_forgotten")));
    assert_eq!(readings(&rig).await, [], "nothing was read");
}

#[tokio::test]
async fn passwords_sealed_under_another_key_are_an_error_that_names_the_file() {
    let rig = Rig::new(64).await;
    rig.deploy(&rig.plan("c", 3)).await;
    write_down(&rig, &Sealer::new(&[0; 32])).await;
    let (status, answer) = rig.call("GET", PATH, "").await;
    let error = &answer["error"];
    assert_eq!((status, &error["code"]), (StatusCode::INTERNAL_SERVER_ERROR, &json!("credentials_unreadable")));
    assert_eq!(error["message"], "the password of prism_admin was sealed under another secret key");
    assert!(error["hint"].as_str().unwrap().contains("secret.key"));
}

/// Machines have tokens of the old key in their user data, and boot with them long after.
#[tokio::test]
async fn a_cluster_that_is_on_its_way_gets_there_though_the_secret_key_is_changed_meanwhile() {
    let mut rig = Rig::new(65).await;
    rig.deploy(&rig.plan("c", 3)).await;
    while rig.servers_ordered().len() < 3 {
        rig.run_for(Duration::from_secs(10)).await;
    }
    let before = rig.sealer();
    assert_eq!(rig.script_fetches(), 0, "no machine has come up yet");
    rig.change_the_secret_key().await;
    rig.run_to("c", "ready", Duration::from_secs(3 * 3600)).await;
    rig.change_the_secret_key().await;
    let id = rig.state("c").await.record.id;
    let credentials = rig.store.credentials(id).await.unwrap();
    assert!(credentials.iter().all(|c| rig.sealer().open(id, c.account, &c.sealed).is_ok()));
    assert!(!credentials.is_empty() && credentials.iter().all(|c| before.open(id, c.account, &c.sealed).is_err()));
    let (status, _) = rig.call("GET", PATH, "").await;
    assert!(status.is_success());
    assert_eq!(rig.requests("PUT", "/initialization"), [] as [u16; 0], "none needed another token");
}
