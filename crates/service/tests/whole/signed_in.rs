//! Who is signed in, seen by an admin, and signed out by one; and what of single sign-on is left when it is taken away.

use super::{
    rig::{Answered, Rig},
    sessions::{browser, make_user},
};
use metalform_model::{ApiRole, AuditEntry, Clock, Scope, SingleSignOn, WebSession, audit_action};
use metalform_store::TokenHash;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

fn code(answer: &Answered) -> (u16, &str) {
    (answer.status.as_u16(), answer.body["error"]["code"].as_str().unwrap_or_default())
}

/// A session of somebody whom the provider knows, as a login would have begun it; its cookie.
async fn of_single_sign_on(rig: &Rig, n: u8, name: &str, subject: &str) -> String {
    let text = hex::encode([n; 32]);
    let now = rig.clock.now();
    let session = WebSession {
        id: format!("{n:016x}"),
        who: format!("oidc:{name} ({subject})"),
        name: name.into(),
        user: None,
        single_sign_on: Some(SingleSignOn { subject: subject.into(), provider: "another".into() }),
        role: ApiRole::Admin,
        clusters: Scope::All,
        created_at: now,
        last_used_at: now,
        ends_at: now + 12 * HOUR,
    };
    let hash = TokenHash(hex::encode(Sha256::digest(&text)));
    let line = AuditEntry {
        at: now,
        who: session.who.clone(),
        action: audit_action::SESSION_LOGIN.into(),
        target: name.into(),
        source: "10.0.0.1".into(),
        outcome: "ok".into(),
    };
    assert!(rig.store.begin_web_session(&session, &hash, None, 10, HOUR, &line).await.unwrap());
    format!("__Host-metalform={text}")
}

async fn status(rig: &Rig, cookie: &str) -> u16 {
    rig.call_with("GET", "/api/v1/nodes", "", &[("cookie", cookie)], "10.0.0.1").await.status.as_u16()
}

async fn audited(rig: &Rig, action: &str) -> Vec<String> {
    let lines = rig.store.audit(0, 1000).await.unwrap();
    let of_action = lines.into_iter().filter(|line| line.action == action);
    of_action.map(|l| format!("{} {} {} {}", l.who, l.target, l.source, l.outcome)).collect()
}

#[tokio::test]
async fn an_admin_sees_who_is_signed_in_and_ends_all_sessions_of_one_person() {
    let rig = Rig::new(150).await;
    make_user(&rig, "ann", "viewer").await;
    let ann = browser(&rig, "ann", "10.0.0.1").await;
    rig.pass_time(Duration::from_secs(60));
    // Of two names: the provider calls somebody otherwise from one day to the next.
    let first = of_single_sign_on(&rig, 1, "olga", "7/a").await;
    let second = of_single_sign_on(&rig, 2, "olga.new", "7/a").await;
    let other = of_single_sign_on(&rig, 3, "7/a", "8").await;
    for cookie in [&first, &second, &other] {
        assert_eq!(status(&rig, cookie).await, 200);
    }

    let (got, listed) = rig.call("GET", "/api/v1/sessions", "").await;
    assert_eq!(got.as_u16(), 200, "{listed}");
    let listed = listed["sessions"].as_array().unwrap().clone();
    let whose: Vec<&str> = listed.iter().map(|one| one["who"].as_str().unwrap()).collect();
    assert_eq!(whose, ["oidc:7/a (8)", "oidc:olga (7/a)", "oidc:olga.new (7/a)", "user:ann"]);
    let of_ann = &listed[3];
    assert_eq!((&of_ann["role"], &of_ann["clusters"]), (&json!("viewer"), &Value::Null));
    for at in ["created_at", "last_used_at", "ends_at"] {
        assert!(of_ann[at].as_str().unwrap().starts_with("2027-01-15T"), "{of_ann}");
    }

    let (got, ended) = rig.call("DELETE", "/api/v1/sessions/oidc%3Aolga%20%287%2Fa%29", "").await;
    assert_eq!((got.as_u16(), ended["sessions"].as_array().map(Vec::len)), (200, Some(2)), "{ended}");
    assert_eq!([status(&rig, &first).await, status(&rig, &second).await, status(&rig, &other).await], [401, 401, 200]);
    assert_eq!(
        audited(&rig, "session.end").await,
        ["bootstrap oidc:olga (7/a): 1 session 127.0.0.1 ok", "bootstrap oidc:olga.new (7/a): 1 session 127.0.0.1 ok"]
    );
    // By the name that a user logs in as, and by the subject that the provider knows somebody by.
    assert_eq!(ann.status(&rig, "/api/v1/nodes").await, 200);
    assert_eq!(rig.call("DELETE", "/api/v1/sessions/ann", "").await.0.as_u16(), 200);
    assert_eq!(ann.status(&rig, "/api/v1/nodes").await, 401);
    assert_eq!(rig.call("DELETE", "/api/v1/sessions/8", "").await.0.as_u16(), 200);
    assert_eq!(status(&rig, &other).await, 401);
    let (got, answer) = rig.call("DELETE", "/api/v1/sessions/8", "").await;
    assert_eq!((got.as_u16(), &answer["error"]["code"]), (404, &json!("not_signed_in")));
    assert_eq!(rig.call("GET", "/api/v1/sessions", "").await.1, json!({"sessions": []}));
}

#[tokio::test]
async fn a_session_that_is_over_is_not_listed() {
    let rig = Rig::new(151).await;
    make_user(&rig, "ann", "viewer").await;
    browser(&rig, "ann", "10.0.0.1").await;
    let count = async || rig.call("GET", "/api/v1/sessions", "").await.1["sessions"].as_array().map(Vec::len);
    assert_eq!(count().await, Some(1));
    rig.pass_time(Duration::from_secs(30 * 60));
    assert_eq!(count().await, Some(0));
    let (status, told) = rig.call("DELETE", "/api/v1/sessions/ann", "").await;
    assert_eq!((status.as_u16(), &told["error"]["code"]), (404, &json!("not_signed_in")), "nor ended");
    assert_eq!(audited(&rig, "session.end").await, [""; 0]);
}

#[tokio::test]
async fn an_admin_of_some_clusters_sees_and_ends_no_session_that_reaches_further() {
    let rig = Rig::new(152).await;
    for (name, clusters) in [("wide", json!(["a", "b"])), ("near", json!(["a"]))] {
        let user = json!({"name": name, "role": "viewer", "clusters": clusters, "password": "kupfer lampe 7"});
        assert_eq!(rig.call("POST", "/api/v1/users", &user.to_string()).await.0.as_u16(), 201);
        browser(&rig, name, "10.0.0.1").await;
    }
    let olga = of_single_sign_on(&rig, 1, "olga", "7").await;
    let (_, token) = rig.call("POST", "/api/v1/tokens", r#"{"name":"of-a","role":"admin","clusters":["a"]}"#).await;
    let bearer = format!("Bearer {}", token["token"].as_str().unwrap());
    let call = async |method: &str, path: &str| rig.call_as(method, path, "", Some(&bearer), "10.0.0.1").await;
    let listed = call("GET", "/api/v1/sessions").await.body;
    assert_eq!((listed["sessions"].as_array().unwrap().len(), &listed["sessions"][0]["who"]), (1, &json!("user:near")));
    for who in ["wide", "7", "nobody"] {
        let refused = call("DELETE", &format!("/api/v1/sessions/{who}")).await;
        assert_eq!(code(&refused), (404, "not_signed_in"), "{who}");
    }
    assert_eq!(status(&rig, &olga).await, 200);
    assert_eq!(code(&call("DELETE", "/api/v1/sessions/near").await), (200, ""));
}

/// A trigger of the database stands for a disk that takes no more.
#[tokio::test]
async fn a_sign_out_that_cannot_be_recorded_is_refused_and_changes_nothing() {
    let rig = Rig::new(153).await;
    let olga = of_single_sign_on(&rig, 1, "olga", "7").await;
    let url = format!("sqlite://{}", rig.database_file().display());
    let mut other = <sqlx::SqliteConnection as sqlx::Connection>::connect(&url).await.unwrap();
    let trigger = "CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'no more'); END";
    sqlx::query(trigger).execute(&mut other).await.unwrap();
    let (got, answer) = rig.call("DELETE", "/api/v1/sessions/7", "").await;
    assert_eq!((got.as_u16(), &answer["error"]["code"]), (503, &json!("store_unavailable")));
    sqlx::query("DROP TRIGGER full").execute(&mut other).await.unwrap();
    assert_eq!(status(&rig, &olga).await, 200);
}

/// That they stay while the provider's configuration does is seen with a real provider.
#[tokio::test]
async fn without_single_sign_on_in_the_configuration_its_sessions_end_at_the_next_start() {
    let mut rig = Rig::new(154).await;
    make_user(&rig, "ann", "viewer").await;
    let ann = browser(&rig, "ann", "10.0.0.1").await;
    let olga = [of_single_sign_on(&rig, 1, "olga", "7").await, of_single_sign_on(&rig, 2, "olga", "7").await];
    rig.start_again().await;
    assert_eq!([status(&rig, &olga[0]).await, status(&rig, &olga[1]).await], [401, 401]);
    assert_eq!(ann.status(&rig, "/api/v1/nodes").await, 200, "a user's session has nothing to do with it");
    let line = "service oidc:olga (7): 2 sessions, of another [control.oidc] than the present one service ok";
    assert_eq!(audited(&rig, "session.end").await, [line]);
    rig.start_again().await;
    assert_eq!(audited(&rig, "session.end").await.len(), 1, "once");
}
