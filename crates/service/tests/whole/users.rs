//! Users: made, listed, removed, given another password, and by whom.

use super::{
    rig::{Answered, Rig},
    sessions::{browser, log_in, make_user},
};
use serde_json::{Value, json};

const PASSWORD: &str = "kupfer lampe 7";
const ANOTHER: &str = "messing kanne 9";

fn code(answer: &Answered) -> (u16, &str) {
    (answer.status.as_u16(), answer.body["error"]["code"].as_str().unwrap_or_default())
}

async fn last_lines(rig: &Rig, count: usize) -> Vec<String> {
    let lines = rig.store.audit(0, 1_000_000).await.unwrap();
    let last =
        lines.into_iter().rev().take(count).map(|l| format!("{} {} {} {}", l.who, l.action, l.target, l.outcome));
    let mut last: Vec<String> = last.collect();
    last.reverse();
    last
}

#[tokio::test]
async fn a_user_is_made_listed_and_removed_and_their_sessions_end_with_them() {
    let rig = Rig::new(120).await;
    let wanted = json!({"name": "ann", "role": "operator", "clusters": ["b", "a"], "password": PASSWORD}).to_string();
    let (status, made) = rig.call("POST", "/api/v1/users", &wanted).await;
    assert_eq!(
        (status.as_u16(), &made["clusters"], &made["created_by"]),
        (201, &json!(["a", "b"]), &json!("bootstrap"))
    );
    assert_eq!(
        last_lines(&rig, 2).await,
        ["bootstrap user.create user:ann: operator of a b ok", "bootstrap api.post /api/v1/users ok"]
    );
    let (status, again) = rig.call("POST", "/api/v1/users", &wanted).await;
    assert_eq!((status.as_u16(), &again["error"]["code"]), (409, &json!("user_name_taken")));
    let ann = browser(&rig, "ann", "10.0.0.1").await;
    let listed = rig.call("GET", "/api/v1/users", "").await.1;
    assert_eq!((&listed["users"][0]["name"], listed["users"][0]["last_login_at"].is_string()), (&json!("ann"), true));
    assert!(!listed.to_string().contains("argon2"));
    assert_eq!(rig.call("DELETE", "/api/v1/users/ann", "").await.0.as_u16(), 200);
    assert_eq!(
        last_lines(&rig, 2).await,
        ["bootstrap user.remove user:ann: operator of a b ok", "bootstrap api.delete /api/v1/users/ann ok"]
    );
    assert_eq!(ann.status(&rig, "/api/v1/nodes").await, 401);
    assert_eq!(log_in(&rig, "ann", PASSWORD, "10.0.0.1").await.status.as_u16(), 401);
    let (status, gone) = rig.call("DELETE", "/api/v1/users/ann", "").await;
    assert_eq!((status.as_u16(), &gone["error"]["code"]), (404, &json!("unknown_user")));
}

#[tokio::test]
async fn what_can_be_no_user_is_refused_with_what_to_write() {
    let rig = Rig::new(121).await;
    for (body, status, code) in [
        ("", 400, "bad_request"),
        ("{}", 400, "bad_request"),
        (r#"{"name":"A B","role":"viewer","password":"kupfer lampe 7"}"#, 400, "bad_request"),
        (r#"{"name":"a","role":"rita","password":"kupfer lampe 7"}"#, 400, "bad_request"),
        (r#"{"name":"a","role":"viewer","clusters":[],"password":"kupfer lampe 7"}"#, 400, "bad_request"),
        (r#"{"name":"a","role":"viewer","password":"short"}"#, 422, "bad_password"),
        (r#"{"name":"a","role":"viewer","password":"Password2026!"}"#, 422, "bad_password"),
        (r#"{"name":"annika.berg","role":"viewer","password":"annika.berg2026"}"#, 422, "bad_password"),
    ] {
        let (got, answer) = rig.call("POST", "/api/v1/users", body).await;
        assert_eq!((got.as_u16(), &answer["error"]["code"]), (status, &json!(code)), "{body}: {answer}");
        assert!(!answer["error"]["hint"].as_str().unwrap().is_empty());
    }
    assert_eq!(rig.store.users().await.unwrap(), []);
}

#[tokio::test]
async fn everybody_changes_their_own_password_by_showing_the_present_one_and_is_logged_out_everywhere() {
    let rig = Rig::new(122).await;
    make_user(&rig, "ann", "viewer").await;
    let (ann, other) = (browser(&rig, "ann", "10.0.0.1").await, browser(&rig, "ann", "10.0.0.2").await);
    let change = async |body: Value| ann.call(&rig, "POST", "/api/v1/users/ann/password", body).await;
    let refused = change(json!({"password": ANOTHER})).await;
    assert_eq!(code(&refused), (400, "old_password_missing"));
    let refused = change(json!({"password": ANOTHER, "old_password": "wrong"})).await;
    assert_eq!(code(&refused), (403, "old_password_wrong"));
    let refused = change(json!({"password": "short", "old_password": PASSWORD})).await;
    assert_eq!(code(&refused), (422, "bad_password"));
    assert_eq!(other.status(&rig, "/api/v1/nodes").await, 200);
    let changed = change(json!({"password": ANOTHER, "old_password": PASSWORD})).await;
    assert_eq!(changed.status.as_u16(), 200, "{}", changed.text);
    assert_eq!(last_lines(&rig, 2).await[0], "user:ann user.password ann ok");
    for session in [&ann, &other] {
        assert_eq!(session.status(&rig, "/api/v1/nodes").await, 401);
    }
    assert_eq!(log_in(&rig, "ann", PASSWORD, "10.0.0.3").await.status.as_u16(), 401);
    assert_eq!(log_in(&rig, "ann", ANOTHER, "10.0.0.3").await.status.as_u16(), 201);
}

/// Whoever sits down at an open browser can't try passwords there for ever.
#[tokio::test]
async fn the_present_password_is_not_guessed_through_an_open_session() {
    let rig = Rig::new(123).await;
    make_user(&rig, "ann", "viewer").await;
    let ann = browser(&rig, "ann", "10.0.0.1").await;
    let guess = json!({"password": ANOTHER, "old_password": "wrong"});
    for _ in 0..10 {
        let refused = ann.call(&rig, "POST", "/api/v1/users/ann/password", guess.clone()).await;
        assert_eq!(code(&refused), (403, "old_password_wrong"));
    }
    let right = json!({"password": ANOTHER, "old_password": PASSWORD});
    let refused = ann.call(&rig, "POST", "/api/v1/users/ann/password", right).await;
    assert_eq!(code(&refused), (429, "locked_out"));
}

#[tokio::test]
async fn somebody_elses_password_is_for_an_admin_alone() {
    let rig = Rig::new(124).await;
    for (name, role) in [("ann", "operator"), ("bob", "viewer"), ("rita", "admin")] {
        make_user(&rig, name, role).await;
    }
    let body = json!({"password": ANOTHER, "old_password": PASSWORD});
    let ann = browser(&rig, "ann", "10.0.0.1").await;
    for name in ["bob", "rita", "nobody"] {
        let refused = ann.call(&rig, "POST", &format!("/api/v1/users/{name}/password"), body.clone()).await;
        assert_eq!(code(&refused), (403, "role_insufficient"), "{name}");
    }
    let (_, token) = rig.call("POST", "/api/v1/tokens", r#"{"name":"ann","role":"operator"}"#).await;
    let bearer = format!("Bearer {}", token["token"].as_str().unwrap());
    let path = "/api/v1/users/ann/password";
    let refused = rig.call_as("POST", path, &body.to_string(), Some(&bearer), "10.0.0.1").await;
    assert_eq!(code(&refused), (403, "role_insufficient"), "a token of the same name isn't the user");

    let rita = browser(&rig, "rita", "10.0.0.2").await;
    let bob = browser(&rig, "bob", "10.0.0.3").await;
    let given = rita.call(&rig, "POST", "/api/v1/users/bob/password", json!({"password": ANOTHER})).await;
    assert_eq!(given.status.as_u16(), 200, "{}", given.text);
    assert_eq!(bob.status(&rig, "/api/v1/nodes").await, 401);
    assert_eq!(log_in(&rig, "bob", ANOTHER, "10.0.0.3").await.status.as_u16(), 201);
    let own = rita.call(&rig, "POST", "/api/v1/users/rita/password", json!({"password": ANOTHER})).await;
    assert_eq!(code(&own), (400, "old_password_missing"), "an admin's own too");
}

#[tokio::test]
async fn an_admin_of_some_clusters_knows_of_no_user_of_others() {
    let rig = Rig::new(125).await;
    make_user(&rig, "wide", "viewer").await;
    let (_, token) = rig.call("POST", "/api/v1/tokens", r#"{"name":"of-a","role":"admin","clusters":["a"]}"#).await;
    let bearer = format!("Bearer {}", token["token"].as_str().unwrap());
    let call = async |method: &str, path: &str, body: Value| {
        rig.call_as(method, path, &body.to_string(), Some(&bearer), "10.0.0.1").await
    };
    assert_eq!(call("GET", "/api/v1/users", json!(null)).await.body, json!({"users": []}));
    for (method, path) in [("DELETE", "/api/v1/users/wide"), ("POST", "/api/v1/users/wide/password")] {
        assert_eq!(code(&call(method, path, json!({"password": ANOTHER})).await), (404, "unknown_user"), "{path}");
    }
    let more = json!({"name": "more", "role": "viewer", "password": PASSWORD});
    assert_eq!(code(&call("POST", "/api/v1/users", more).await), (403, "scope_insufficient"));
    let less = json!({"name": "less", "role": "operator", "clusters": ["a"], "password": PASSWORD});
    assert_eq!(call("POST", "/api/v1/users", less).await.status.as_u16(), 201);
}

/// A trigger of the database stands for a disk that takes no more.
#[tokio::test]
async fn what_cannot_be_recorded_of_a_user_is_not_done() {
    let rig = Rig::new(126).await;
    make_user(&rig, "ann", "viewer").await;
    let url = format!("sqlite://{}", rig.database_file().display());
    let mut other = <sqlx::SqliteConnection as sqlx::Connection>::connect(&url).await.unwrap();
    let trigger = "CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'no more'); END";
    sqlx::query(trigger).execute(&mut other).await.unwrap();
    let wanted = json!({"name": "bob", "role": "admin", "password": PASSWORD}).to_string();
    assert_eq!(rig.call("POST", "/api/v1/users", &wanted).await.0.as_u16(), 503);
    let body = json!({"password": ANOTHER}).to_string();
    assert_eq!(rig.call("POST", "/api/v1/users/ann/password", &body).await.0.as_u16(), 503);
    sqlx::query("DROP TRIGGER full").execute(&mut other).await.unwrap();
    assert_eq!(rig.store.users().await.unwrap().len(), 1);
    assert_eq!(log_in(&rig, "ann", PASSWORD, "10.0.0.1").await.status.as_u16(), 201);
}
