//! Sessions in browsers: who gets one, what it opens, when it ends, and that no other site gets anything by it.

use super::rig::{Answered, Rig};
use metalform_model::Clock;
use metalform_service::WallClock;
use metalform_store::PasswordHash;
use serde_json::{Value, json};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
const PASSWORD: &str = "kupfer lampe 7";
const HOST: &str = "metalform.example.com:8443";

/// A browser that has logged in.
pub struct Browser {
    pub cookie: String,
    pub csrf: String,
    from: String,
}

impl Browser {
    /// A call as the page's script makes it.
    pub async fn call(&self, rig: &Rig, method: &str, path: &str, body: Value) -> Answered {
        let headers = [("cookie", self.cookie.as_str()), ("x-csrf-token", &self.csrf), ("host", HOST)];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        rig.call_with(method, path, &body, &headers, &self.from).await
    }

    pub async fn status(&self, rig: &Rig, path: &str) -> u16 {
        self.call(rig, "GET", path, Value::Null).await.status.as_u16()
    }
}

pub async fn make_user(rig: &Rig, name: &str, role: &str) {
    let wanted = json!({"name": name, "role": role, "password": PASSWORD});
    let (status, answer) = rig.call("POST", "/api/v1/users", &wanted.to_string()).await;
    assert_eq!(status.as_u16(), 201, "{answer}");
}

pub async fn log_in(rig: &Rig, name: &str, password: &str, from: &str) -> Answered {
    let body = json!({"name": name, "password": password}).to_string();
    rig.call_with("POST", "/api/v1/session", &body, &[("host", HOST)], from).await
}

/// The cookie that an answer sets, as the browser will show it.
pub fn cookie_of(answer: &Answered) -> String {
    let line = answer.headers["set-cookie"].to_str().unwrap();
    line.split(';').next().unwrap().to_owned()
}

pub async fn browser(rig: &Rig, name: &str, from: &str) -> Browser {
    let answer = log_in(rig, name, PASSWORD, from).await;
    assert_eq!(answer.status.as_u16(), 201, "{}", answer.text);
    let csrf = answer.body["csrf_token"].as_str().unwrap().to_owned();
    Browser { cookie: cookie_of(&answer), csrf, from: from.to_owned() }
}

/// What the audit gained, as `who action target outcome`.
async fn audited(rig: &Rig, after: i64) -> Vec<String> {
    let lines = rig.store.audit(after, 1000).await.unwrap();
    lines.into_iter().map(|l| format!("{} {} {} {}", l.who, l.action, l.target, l.outcome)).collect()
}

async fn last_audit(rig: &Rig) -> i64 {
    rig.store.audit(0, 1_000_000).await.unwrap().last().map_or(0, |line| line.seq)
}

fn code(answer: &Answered) -> (u16, &str) {
    (answer.status.as_u16(), answer.body["error"]["code"].as_str().unwrap_or_default())
}

#[tokio::test]
async fn a_login_opens_what_the_users_role_says_until_it_is_logged_out() {
    let rig = Rig::new(100).await;
    rig.deploy(&rig.plan("c", 1)).await;
    make_user(&rig, "ann", "viewer").await;
    let before = last_audit(&rig).await;
    let answer = log_in(&rig, "ann", PASSWORD, "10.0.0.1").await;
    assert_eq!(answer.status.as_u16(), 201, "{}", answer.text);
    let set = answer.headers["set-cookie"].to_str().unwrap();
    assert!(
        set.starts_with("__Host-metalform=") && set.ends_with("; Path=/; HttpOnly; SameSite=Strict; Secure"),
        "{set}"
    );
    let told = &answer.body;
    assert_eq!((&told["name"], &told["role"], &told["clusters"]), (&json!("ann"), &json!("viewer"), &Value::Null));
    assert_eq!((&told["by"], &told["idle_seconds"]), (&json!("session"), &json!(1800)));
    assert!(told["until"].as_str().unwrap() > "2027-01-15T19:", "twelve hours: {told}");

    let ann = Browser {
        cookie: cookie_of(&answer),
        csrf: told["csrf_token"].as_str().unwrap().into(),
        from: "10.0.0.1".into(),
    };
    assert_eq!(ann.call(&rig, "GET", "/api/v1/session", Value::Null).await.body, *told);
    assert_eq!(ann.status(&rig, "/api/v1/clusters/c").await, 200);
    let refused = ann.call(&rig, "DELETE", "/api/v1/clusters/c", Value::Null).await;
    assert_eq!(code(&refused), (403, "role_insufficient"));

    let out = ann.call(&rig, "DELETE", "/api/v1/session", Value::Null).await;
    assert_eq!(out.status.as_u16(), 200);
    assert!(out.headers["set-cookie"].to_str().unwrap().contains("__Host-metalform=; "), "the browser forgets it");
    let over = ann.call(&rig, "GET", "/api/v1/clusters/c", Value::Null).await;
    assert_eq!(code(&over), (401, "session_over"));
    assert_eq!(
        audited(&rig, before).await,
        [
            "user:ann session.login ann ok",
            "user:ann api.get /api/v1/session ok",
            "user:ann api.get /api/v1/clusters/c ok",
            "user:ann api.delete /api/v1/clusters/c refused:role_insufficient",
            "user:ann session.logout ann ok",
            "user:ann api.delete /api/v1/session ok",
            "anonymous api.get /api/v1/clusters/c refused:session_unknown",
        ]
    );
}

#[tokio::test]
async fn a_users_clusters_limit_the_session_like_a_token() {
    let rig = Rig::new(101).await;
    rig.deploy(&rig.plan("c", 1)).await;
    let wanted = json!({"name": "bob", "role": "auditor", "clusters": ["other"], "password": PASSWORD}).to_string();
    assert_eq!(rig.call("POST", "/api/v1/users", &wanted).await.0.as_u16(), 201);
    let bob = browser(&rig, "bob", "10.0.0.1").await;
    assert_eq!(bob.call(&rig, "GET", "/api/v1/clusters", Value::Null).await.body["clusters"], json!([]));
    assert_eq!(bob.status(&rig, "/api/v1/clusters/c").await, 404);
    assert_eq!(code(&bob.call(&rig, "GET", "/api/v1/audit", Value::Null).await), (403, "scope_insufficient"));
}

#[tokio::test]
async fn an_unknown_name_and_a_wrong_password_are_told_the_same_and_the_audit_tells_them_apart() {
    let rig = Rig::new(102).await;
    make_user(&rig, "ann", "viewer").await;
    let before = last_audit(&rig).await;
    let mut told = Vec::new();
    for (name, password) in [("ann", "wrong"), ("eve", PASSWORD), ("ann", ""), ("My Password 1!", "x"), ("", "")] {
        let answer = log_in(&rig, name, password, "10.0.0.1").await;
        assert!(answer.headers.get("set-cookie").is_none());
        told.push((answer.status.as_u16(), answer.text));
    }
    assert_eq!(told[0].0, 401);
    assert!(told[0].1.contains("\"login_wrong\"") && told.iter().all(|one| *one == told[0]), "{told:?}");
    assert_eq!(
        audited(&rig, before).await,
        [
            "anonymous session.login ann refused:password_wrong",
            "anonymous session.login eve refused:user_unknown",
            "anonymous session.login ann refused:password_wrong",
            // It may be the password, in the wrong field.
            "anonymous session.login (no name) refused:user_unknown",
            "anonymous session.login (no name) refused:user_unknown",
        ]
    );
}

/// Both compute one hash, of some tenths of a second; without it the answer would come two hundred times as early. The times
/// are compared loosely: the machine has other work. That the two hashes are of the same parameters a test beside them holds.
#[tokio::test]
async fn an_unknown_name_is_answered_as_late_as_a_known_one() {
    let rig = Rig::new(103).await;
    make_user(&rig, "ann", "viewer").await;
    let time = async |name: &str, from: &str| {
        let start = WallClock.now();
        assert_eq!(log_in(&rig, name, "wrong", from).await.status.as_u16(), 401);
        WallClock.now().since(start)
    };
    let (mut known, mut unknown) = (Duration::MAX, Duration::MAX);
    for n in 0..4 {
        known = known.min(time("ann", &format!("10.0.1.{n}")).await);
        unknown = unknown.min(time("eve", &format!("10.0.2.{n}")).await);
    }
    assert!(10 * unknown > known, "{known:?} {unknown:?}");
}

#[tokio::test]
async fn a_session_ends_unused_after_half_an_hour_and_used_after_twelve() {
    let rig = Rig::new(104).await;
    make_user(&rig, "ann", "viewer").await;
    let ann = browser(&rig, "ann", "10.0.0.1").await;
    let idle = browser(&rig, "ann", "10.0.0.2").await;
    for _ in 0..24 {
        rig.pass_time(29 * MINUTE);
        assert_eq!(ann.status(&rig, "/api/v1/nodes").await, 200);
    }
    assert_eq!(idle.status(&rig, "/api/v1/nodes").await, 401);
    // 696 minutes are over; the last use was just now.
    rig.pass_time(23 * MINUTE);
    assert_eq!(ann.status(&rig, "/api/v1/nodes").await, 200);
    rig.pass_time(MINUTE);
    assert_eq!(ann.status(&rig, "/api/v1/nodes").await, 401);
    let lines = audited(&rig, 0).await;
    let refused: Vec<&str> = lines.iter().filter(|l| l.contains("refused")).map(String::as_str).collect();
    assert_eq!(
        refused,
        ["user:ann api.get /api/v1/nodes refused:session_idle", "user:ann api.get /api/v1/nodes refused:session_over"]
    );
}

#[tokio::test]
async fn each_login_has_a_session_of_its_own_and_gives_up_the_one_before() {
    let rig = Rig::new(105).await;
    make_user(&rig, "ann", "viewer").await;
    let first = browser(&rig, "ann", "10.0.0.1").await;
    let body = json!({"name": "ann", "password": PASSWORD}).to_string();
    let headers = [("cookie", first.cookie.as_str()), ("host", HOST)];
    let again = rig.call_with("POST", "/api/v1/session", &body, &headers, "10.0.0.1").await;
    assert_eq!(again.status.as_u16(), 201);
    assert_ne!(cookie_of(&again), first.cookie);
    assert_eq!(first.status(&rig, "/api/v1/nodes").await, 401);
    // A text that an attacker chose doesn't become a session.
    let chosen = format!("__Host-metalform={}", "ab".repeat(32));
    let headers = [("cookie", chosen.as_str()), ("host", HOST)];
    let login = rig.call_with("POST", "/api/v1/session", &body, &headers, "10.0.0.1").await;
    assert_ne!(cookie_of(&login), chosen);
    assert_eq!(rig.call_with("GET", "/api/v1/nodes", "", &headers, "10.0.0.3").await.status.as_u16(), 401);
}

#[tokio::test]
async fn one_person_has_ten_sessions_at_most_and_the_oldest_ends() {
    let rig = Rig::new(106).await;
    make_user(&rig, "ann", "viewer").await;
    let mut all = Vec::new();
    for n in 0..11 {
        rig.pass_time(Duration::from_secs(1));
        all.push(browser(&rig, "ann", &format!("10.0.0.{n}")).await);
    }
    let mut open = Vec::new();
    for ann in &all {
        open.push(ann.status(&rig, "/api/v1/nodes").await);
    }
    assert_eq!((open[0], &open[1..]), (401, &[200; 10][..]));
}

#[tokio::test]
async fn no_cookie_and_no_password_is_in_the_store_the_audit_or_an_answer() {
    let rig = Rig::new(107).await;
    make_user(&rig, "ann", "admin").await;
    let ann = browser(&rig, "ann", "10.0.0.1").await;
    let mut said = String::new();
    for path in ["/api/v1/session", "/api/v1/users", "/api/v1/audit", "/"] {
        said.push_str(&ann.call(&rig, "GET", path, Value::Null).await.text);
    }
    let stored = String::from_utf8_lossy(&rig.database()).into_owned();
    assert!(said.contains("ann") && stored.contains("$argon2id$v=19$m=65536,t=3,p=4$"));
    let cookie = ann.cookie.split_once('=').unwrap().1;
    for secret in [cookie, PASSWORD] {
        assert!(!said.contains(secret) && !stored.contains(secret), "{secret}");
    }
    assert!(!stored.contains(&ann.csrf) && !said.contains("argon2"));
}

#[tokio::test]
async fn a_call_that_changes_something_needs_the_csrf_token_of_its_own_session() {
    let rig = Rig::new(108).await;
    make_user(&rig, "ann", "admin").await;
    make_user(&rig, "bob", "admin").await;
    let ann = browser(&rig, "ann", "10.0.0.1").await;
    let bob = browser(&rig, "bob", "10.0.0.2").await;
    let wanted = json!({"name": "ci", "role": "viewer"}).to_string();
    let call = async |csrf: Option<&str>| {
        let mut headers = vec![("cookie", ann.cookie.as_str()), ("host", HOST)];
        headers.extend(csrf.map(|token| ("x-csrf-token", token)));
        rig.call_with("POST", "/api/v1/tokens", &wanted, &headers, "10.0.0.1").await
    };
    let cookie = ann.cookie.split_once('=').unwrap().1;
    for csrf in [None, Some(""), Some("wrong"), Some(bob.csrf.as_str()), Some(&ann.csrf[1..]), Some(cookie)] {
        assert_eq!(code(&call(csrf).await), (403, "csrf_wrong"), "{csrf:?}");
    }
    assert_eq!(rig.store.api_tokens().await.unwrap(), []);
    assert_eq!(call(Some(&ann.csrf)).await.status.as_u16(), 201);
    assert_eq!(rig.store.api_tokens().await.unwrap()[0].created_by, "user:ann");
}

#[tokio::test]
async fn a_call_that_another_site_makes_is_refused_though_it_shows_cookie_and_token() {
    let rig = Rig::new(109).await;
    make_user(&rig, "ann", "admin").await;
    let ann = browser(&rig, "ann", "10.0.0.1").await;
    let own = format!("https://{HOST}");
    let call = async |method: &str, path: &str, more: &[(&str, &str)]| {
        let headers = [("cookie", ann.cookie.as_str()), ("x-csrf-token", &ann.csrf), ("host", HOST)];
        rig.call_with(method, path, "", &[&headers[..], more].concat(), "10.0.0.1").await
    };
    for foreign in [
        &[("origin", "https://evil.example")][..],
        &[("origin", "null")],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site"), ("origin", &own)],
    ] {
        for (method, path) in [("DELETE", "/api/v1/session"), ("GET", "/api/v1/nodes")] {
            let before = last_audit(&rig).await;
            assert_eq!(code(&call(method, path, foreign).await), (403, "cross_site"), "{method} {foreign:?}");
            let line = format!("user:ann api.{} {path} refused:cross_site", method.to_lowercase());
            assert_eq!(audited(&rig, before).await, [line]);
        }
    }
    let own = [("origin", own.as_str()), ("sec-fetch-site", "same-origin")];
    assert_eq!(call("GET", "/api/v1/nodes", &own).await.status.as_u16(), 200);
    assert_eq!(call("DELETE", "/api/v1/session", &own).await.status.as_u16(), 200);
}

#[tokio::test]
async fn another_site_cannot_log_a_browser_in() {
    let rig = Rig::new(110).await;
    make_user(&rig, "mallory", "viewer").await;
    let body = json!({"name": "mallory", "password": PASSWORD}).to_string();
    for foreign in [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")] {
        let before = last_audit(&rig).await;
        let answer = rig.call_with("POST", "/api/v1/session", &body, &[("host", HOST), foreign], "10.0.0.1").await;
        assert_eq!(code(&answer), (403, "cross_site"));
        assert!(answer.headers.get("set-cookie").is_none());
        assert_eq!(audited(&rig, before).await, ["anonymous session.login mallory refused:cross_site"]);
    }
}

#[tokio::test]
async fn of_a_token_and_a_session_at_once_the_token_counts_and_needs_no_csrf_token() {
    let rig = Rig::new(111).await;
    make_user(&rig, "ann", "viewer").await;
    let ann = browser(&rig, "ann", "10.0.0.1").await;
    let bearer = format!("Bearer {}", rig.token());
    let call = async |method: &str, path: &str, shown: &str| {
        let headers = [("cookie", ann.cookie.as_str()), ("authorization", shown), ("origin", "https://evil.example")];
        rig.call_with(method, path, r#"{"name":"ci","role":"viewer"}"#, &headers, "10.0.0.1").await
    };
    let who = call("GET", "/api/v1/session", &bearer).await.body;
    assert_eq!(
        (&who["name"], &who["by"], &who["csrf_token"]),
        (&json!("bootstrap"), &json!("bootstrap"), &Value::Null)
    );
    assert_eq!(call("POST", "/api/v1/tokens", &bearer).await.status.as_u16(), 201);
    assert_eq!(code(&call("GET", "/api/v1/nodes", "Bearer wrong").await), (401, "token_wrong"));
    assert_eq!(code(&call("DELETE", "/api/v1/session", &bearer).await), (409, "no_session"));
    assert_eq!(ann.status(&rig, "/api/v1/nodes").await, 200, "the session is left alone");
}

#[tokio::test]
async fn an_account_that_is_guessed_at_is_locked_out_longer_each_time_and_its_owner_goes_on() {
    let rig = Rig::new(112).await;
    make_user(&rig, "ann", "viewer").await;
    let ann = browser(&rig, "ann", "10.1.0.1").await;
    // From another address each time, so that no source is locked out.
    let mut sources = super::rig::sources();
    for wait in ["30", "60"] {
        for _ in 0..10 {
            let from = sources.next().unwrap();
            assert_eq!(code(&log_in(&rig, "ann", "wrong", &from).await), (401, "login_wrong"));
        }
        let refused = log_in(&rig, "ann", PASSWORD, &sources.next().unwrap()).await;
        assert_eq!(code(&refused), (429, "locked_out"), "the right password is not looked at either");
        assert_eq!(refused.headers["retry-after"], wait);
        let lines = last_audit(&rig).await;
        for _ in 0..7 {
            assert_eq!(log_in(&rig, "ann", PASSWORD, &sources.next().unwrap()).await.status.as_u16(), 429);
        }
        assert_eq!(last_audit(&rig).await, lines, "a locked-out account can't fill the disk");
        assert_eq!(ann.status(&rig, "/api/v1/nodes").await, 200, "the session goes on");
        assert_eq!(rig.call("GET", "/api/v1/nodes", "").await.0.as_u16(), 200, "and so does the token");
        rig.pass_time(Duration::from_secs(wait.parse().unwrap()));
    }
    let before = last_audit(&rig).await;
    browser(&rig, "ann", &sources.next().unwrap()).await;
    assert_eq!(
        audited(&rig, before).await,
        ["anonymous session.locked_out 7 more logins as ann refused:locked_out", "user:ann session.login ann ok"]
    );
    // The owner was there: a stranger begins anew.
    for _ in 0..10 {
        log_in(&rig, "ann", "wrong", &sources.next().unwrap()).await;
    }
    let refused = log_in(&rig, "ann", PASSWORD, &sources.next().unwrap()).await;
    assert_eq!((code(&refused), &refused.headers["retry-after"]), ((429, "locked_out"), &"30".parse().unwrap()));
}

#[tokio::test]
async fn a_name_that_nobody_has_is_locked_out_like_one_that_somebody_has() {
    let rig = Rig::new(113).await;
    make_user(&rig, "ann", "viewer").await;
    let mut sources = super::rig::sources();
    let mut told = Vec::new();
    for name in ["ann", "eve"] {
        let mut answers = Vec::new();
        for _ in 0..12 {
            let answer = log_in(&rig, name, "wrong", &sources.next().unwrap()).await;
            answers.push((answer.status.as_u16(), answer.text));
        }
        told.push(answers);
    }
    assert_eq!(told[0], told[1]);
    assert_eq!(told[0].iter().filter(|(status, _)| *status == 429).count(), 2);
}

#[tokio::test]
async fn a_source_of_wrong_passwords_is_locked_out_for_all_accounts_and_not_for_sessions() {
    let rig = Rig::new(114).await;
    make_user(&rig, "ann", "viewer").await;
    let (from, elsewhere) = ("10.0.0.9", "10.0.0.10");
    let ann = browser(&rig, "ann", from).await;
    for n in 0..10 {
        assert_eq!(log_in(&rig, &format!("guess-{n}"), "wrong", from).await.status.as_u16(), 401);
    }
    assert_eq!(code(&log_in(&rig, "ann", PASSWORD, from).await), (429, "locked_out"));
    assert_eq!(ann.status(&rig, "/api/v1/nodes").await, 200);
    browser(&rig, "ann", elsewhere).await;
    rig.pass_time(Duration::from_secs(30));
    // As often as wanted: who knows the password fails at nothing.
    for _ in 0..15 {
        browser(&rig, "ann", from).await;
    }
}

/// All of them are under way before the first has failed.
#[tokio::test]
async fn a_hundred_guesses_at_once_are_not_a_hundred_looks_at_the_password() {
    let rig = Rig::new(115).await;
    make_user(&rig, "ann", "viewer").await;
    let froms: Vec<String> = super::rig::sources().take(100).collect();
    let guesses = froms.iter().map(|from| log_in(&rig, "ann", "wrong", from));
    let answers = futures_util::future::join_all(guesses).await;
    let looked_at = answers.iter().filter(|answer| answer.status.as_u16() == 401).count();
    assert_eq!((looked_at, answers.iter().filter(|answer| answer.status.as_u16() == 429).count()), (10, 90));
}

#[tokio::test]
async fn a_login_that_cannot_be_recorded_begins_no_session() {
    let rig = Rig::new(116).await;
    make_user(&rig, "ann", "viewer").await;
    let url = format!("sqlite://{}", rig.database_file().display());
    let mut other = <sqlx::SqliteConnection as sqlx::Connection>::connect(&url).await.unwrap();
    let trigger = "CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'no more'); END";
    sqlx::query(trigger).execute(&mut other).await.unwrap();
    let answer = log_in(&rig, "ann", PASSWORD, "10.0.0.1").await;
    assert_eq!(code(&answer), (503, "store_unavailable"));
    assert!(answer.headers.get("set-cookie").is_none());
    let (sessions,): (i64,) = sqlx::query_as("SELECT count(*) FROM web_sessions").fetch_one(&mut other).await.unwrap();
    assert_eq!(sessions, 0);
}

#[tokio::test]
async fn a_stream_ends_with_the_session_that_opened_it() {
    use http_body_util::BodyExt;
    let rig = Rig::new(117).await;
    rig.deploy(&rig.plan("c", 1)).await;
    make_user(&rig, "ann", "auditor").await;
    for path in ["/api/v1/clusters/c/events", "/api/v1/audit"] {
        let ann = browser(&rig, "ann", "10.0.0.1").await;
        let mut stream = rig.stream_with(path, ("cookie", &ann.cookie)).await;
        stream.frame().await.expect("it begins").unwrap();
        assert_eq!(ann.call(&rig, "DELETE", "/api/v1/session", Value::Null).await.status.as_u16(), 200);
        tokio::time::timeout(Duration::from_secs(60), stream.collect()).await.expect("the stream ends").unwrap();
    }
}

#[tokio::test]
async fn the_page_is_a_login_form_and_then_says_who_is_logged_in() {
    let rig = Rig::new(118).await;
    make_user(&rig, "ann", "operator").await;
    let page = rig.call_with("GET", "/", "", &[], "10.0.0.1").await;
    assert!(page.text.contains("id=\"login\" method=\"post\" action=\"/api/v1/session\""), "{}", page.text);
    assert!(!page.text.contains("id=\"logout\"") && !page.text.contains("/login/oidc"));
    let ann = browser(&rig, "ann", "10.0.0.1").await;
    let page = ann.call(&rig, "GET", "/", Value::Null).await;
    assert!(page.text.contains("You are <b>ann</b>, operator of all clusters."), "{}", page.text);
    assert!(page.text.contains(&format!("data-csrf=\"{}\"", ann.csrf)) && !page.text.contains("id=\"login\""));
    ann.call(&rig, "DELETE", "/api/v1/session", Value::Null).await;
    let lines = last_audit(&rig).await;
    let page = ann.call(&rig, "GET", "/", Value::Null).await;
    assert!(page.text.contains("id=\"login\"") && page.headers["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
    assert_eq!(last_audit(&rig).await, lines, "a page that is opened is no failure");
}

/// The hash was computed by Debian's `argon2`, with parameters of other times.
#[tokio::test]
async fn a_hash_of_lesser_parameters_is_written_anew_when_its_owner_logs_in() {
    let rig = Rig::new(119).await;
    make_user(&rig, "ann", "viewer").await;
    let stored = async || rig.store.user("ann").await.unwrap().unwrap().1;
    let old = "$argon2id$v=19$m=4096,t=2,p=1$c29tZXNhbHRzYWx0$sVF3ChZtXibkwi+2Ci6h3NqqSav3XSOgqGu1LcOLecM";
    assert!(rig.store.rehash_password("ann", &stored().await, &PasswordHash(old.into())).await.unwrap());
    assert_eq!(code(&log_in(&rig, "ann", "wrong", "10.0.0.1").await), (401, "login_wrong"));
    assert_eq!(stored().await.0, old, "a guess changes nothing");
    browser(&rig, "ann", "10.0.0.1").await;
    assert!(stored().await.0.starts_with("$argon2id$v=19$m=65536,t=3,p=4$"));
    browser(&rig, "ann", "10.0.0.1").await;
}

#[tokio::test]
async fn a_right_login_after_nine_wrong_ones_does_not_lock_its_address_out() {
    let rig = Rig::new(155).await;
    make_user(&rig, "ann", "viewer").await;
    let from = "10.0.0.9";
    for n in 0..9 {
        assert_eq!(log_in(&rig, &format!("guess-{n}"), "wrong", from).await.status.as_u16(), 401);
    }
    for _ in 0..3 {
        browser(&rig, "ann", from).await;
    }
    assert_eq!(log_in(&rig, "guess", "wrong", from).await.status.as_u16(), 401, "the tenth that is wrong");
    assert_eq!(code(&log_in(&rig, "ann", PASSWORD, from).await), (429, "locked_out"));
}

/// Of a flood of them the first ten are recorded, and then as many as of any other failed logins.
#[tokio::test]
async fn a_login_that_cannot_be_read_is_recorded_and_counts_as_failed() {
    let rig = Rig::new(156).await;
    let mut sources = super::rig::sources();
    let large = format!("{{\"name\": \"{}\"}}", "a".repeat(300_000));
    for (body, status, told, recorded) in [
        ("", 400, "bad_request", "bad_request"),
        ("{", 400, "bad_request", "bad_request"),
        ("[\"ann\", \"x\"]", 400, "bad_request", "bad_request"),
        ("{\"name\": \"ann\"}", 400, "bad_request", "bad_request"),
        ("{\"name\": \"ann\", \"password\": \"x\", \"more\": 1}", 400, "bad_request", "bad_request"),
        (&large, 413, "too_large", "too_large"),
    ] {
        let from = sources.next().unwrap();
        let before = last_audit(&rig).await;
        let answer = rig.call_with("POST", "/api/v1/session", body, &[("host", HOST)], &from).await;
        assert_eq!(code(&answer), (status, told), "{}", answer.text);
        let line = format!("anonymous session.login (unread) refused:{recorded}");
        assert_eq!(audited(&rig, before).await, [line]);
    }
    let from = sources.next().unwrap();
    let before = last_audit(&rig).await;
    for n in 0..100 {
        let answer = rig.call_with("POST", "/api/v1/session", "{", &[("host", HOST)], &from).await;
        assert_eq!(answer.status.as_u16(), if n < 10 { 400 } else { 429 }, "{n}");
    }
    assert_eq!(last_audit(&rig).await - before, 11, "ten, and the first that is locked out");
}

/// As where too many passwords are being looked at, which takes twenty seconds to see: nobody looked at this one.
#[tokio::test]
async fn a_password_that_nobody_could_look_at_is_recorded_and_counts_for_the_address_alone() {
    let rig = Rig::new(157).await;
    make_user(&rig, "ann", "viewer").await;
    let stored = rig.store.user("ann").await.unwrap().unwrap().1;
    assert!(rig.store.rehash_password("ann", &stored, &PasswordHash("no hash".into())).await.unwrap());
    let mut sources = super::rig::sources();
    for _ in 0..12 {
        let before = last_audit(&rig).await;
        let answer = log_in(&rig, "ann", PASSWORD, &sources.next().unwrap()).await;
        assert_eq!(code(&answer), (500, "password_unreadable"));
        assert_eq!(audited(&rig, before).await, ["anonymous session.login ann refused:password_unreadable"]);
    }
    let from = sources.next().unwrap();
    for n in 0..12 {
        let status = log_in(&rig, "ann", PASSWORD, &from).await.status.as_u16();
        assert_eq!(status, if n < 10 { 500 } else { 429 }, "{n}");
    }
}
