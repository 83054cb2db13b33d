//! Nothing is done unrecorded, whenever the caller hangs up: a connection's future, and with it what it waits for, is dropped
//! when its peer goes away.

use super::{audit::Folder, rig::Rig};
use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};
use metalform_model::{ApiRole, AuditEntry, Clock, Scope, Timestamp, User};
use metalform_service::{Config, serve};
use metalform_store::{PasswordHash, Store};
use serde_json::json;
use sqlx::{Connection, SqliteConnection};
use std::{
    fs,
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_util::sync::CancellationToken;

/// More than any call takes.
const MOST: usize = 1000;

/// Looks after a call so often, and then drops it. Says whether it was answered before.
async fn answered_in(polls: usize, call: impl Future) -> bool {
    let mut call = pin!(call);
    let mut left = polls;
    poll_fn(|context| {
        if left > 0 {
            left -= 1;
            if call.as_mut().poll(context).is_ready() {
                return Poll::Ready(true);
            }
        }
        if left == 0 { Poll::Ready(false) } else { Poll::Pending }
    })
    .await
}

fn request(rig: &Rig, method: &str, path: &str, body: String) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::AUTHORIZATION, bearer(rig))
        .body(Body::from(body))
        .unwrap()
}

/// How many lines of the audit have that action and a target that begins so.
async fn lines(rig: &Rig, action: &str, target: &str) -> usize {
    let lines = rig.store.audit(0, 100_000).await.unwrap();
    let is_it = |found: &str| found == target || (!target.ends_with(char::is_numeric) && found.starts_with(target));
    lines.iter().filter(|l| l.action == action && is_it(&l.target) && l.outcome == "ok").count()
}

/// Makes the n-th call and leaves it at its n-th moment, for each there is: what it does is done with one line, or not at all.
async fn at_every_moment(
    rig: &Rig,
    call: impl Fn(usize) -> Request<Body>,
    is_done: impl AsyncFn(usize) -> bool,
    line: impl Fn(usize) -> (&'static str, String),
) {
    let mut done_in_vain = 0;
    for n in 0..MOST {
        let answered = answered_in(n, rig.response(call(n))).await;
        rig.calls_ended().await;
        let (action, target) = line(n);
        let done = is_done(n).await;
        assert_eq!(lines(rig, action, &target).await, usize::from(done), "{action} {target}: left at moment {n}");
        if answered {
            assert!(done, "{action} {target}");
            assert!(done_in_vain > 0, "{action}: nobody was left by their caller");
            return;
        }
        done_in_vain += usize::from(done);
    }
    panic!("no answer after {MOST} moments");
}

fn user(name: String, now: Timestamp) -> User {
    User {
        name,
        role: ApiRole::Viewer,
        clusters: Scope::All,
        created_at: now,
        created_by: "bootstrap".into(),
        password_set_at: now,
        last_login_at: None,
    }
}

/// Users `NAME0` to `NAME29`.
async fn add_users(rig: &Rig, name: &str) {
    let now = rig.clock.now();
    for n in 0..30 {
        let (line, hash) = (before(now), PasswordHash("none".into()));
        rig.store.add_user(&user(format!("{name}{n}"), now), &hash, &line).await.unwrap();
    }
}

/// A line of what was there before.
fn before(at: Timestamp) -> AuditEntry {
    let [who, action, target, source, outcome] = ["test"; 5].map(str::to_owned);
    AuditEntry { at, who, action, target, source, outcome }
}

#[tokio::test]
async fn whoever_hangs_up_at_any_moment_leaves_no_token_made_or_revoked_without_its_line() {
    let rig = Rig::new(80).await;
    at_every_moment(
        &rig,
        |n| request(&rig, "POST", "/api/v1/tokens", format!(r#"{{"name":"t{n}","role":"viewer"}}"#)),
        async |n| rig.store.api_tokens().await.unwrap().iter().any(|token| token.name == format!("t{n}")),
        |n| ("token.create", format!("token:t{n} ")),
    )
    .await;
    let mut ids = Vec::new();
    for n in 0..30 {
        let (_, made) = rig.call("POST", "/api/v1/tokens", &format!(r#"{{"name":"r{n}","role":"viewer"}}"#)).await;
        ids.push(made["id"].as_str().unwrap().to_owned());
    }
    at_every_moment(
        &rig,
        |n| request(&rig, "DELETE", &format!("/api/v1/tokens/{}", ids[n]), String::new()),
        async |n| rig.store.api_token(&ids[n]).await.unwrap().unwrap().0.revoked_at.is_some(),
        |n| ("token.revoke", format!("token:r{n} ")),
    )
    .await;
}

#[tokio::test]
async fn whoever_hangs_up_at_any_moment_leaves_no_user_made_changed_or_removed_without_its_line() {
    let rig = Rig::new(81).await;
    let new = |n: usize| format!(r#"{{"name":"n{n}","role":"viewer","password":"kupfer lampe 7"}}"#);
    at_every_moment(
        &rig,
        |n| request(&rig, "POST", "/api/v1/users", new(n)),
        async |n| rig.store.user(&format!("n{n}")).await.unwrap().is_some(),
        |n| ("user.create", format!("user:n{n}:")),
    )
    .await;
    add_users(&rig, "p").await;
    at_every_moment(
        &rig,
        |n| {
            let body = r#"{"password":"messing kanne 9"}"#.to_owned();
            request(&rig, "POST", &format!("/api/v1/users/p{n}/password"), body)
        },
        async |n| rig.store.user(&format!("p{n}")).await.unwrap().unwrap().1.0 != "none",
        |n| ("user.password", format!("p{n}")),
    )
    .await;
    add_users(&rig, "r").await;
    at_every_moment(
        &rig,
        |n| request(&rig, "DELETE", &format!("/api/v1/users/r{n}"), String::new()),
        async |n| rig.store.user(&format!("r{n}")).await.unwrap().is_none(),
        |n| ("user.remove", format!("user:r{n}:")),
    )
    .await;
}

/// A plan of one node that is there already: the cloud isn't asked.
fn plan(name: &str, n: usize) -> String {
    json!({
        "cluster": {"name": format!("{name}{n}"), "external_ip": format!("10.1.{n}.4"), "redundancy_factor": 1},
        "nodes": [{"server_id": format!("{name}-{n}"), "existing": true, "mgmt_ip": format!("10.1.{n}.1"),
            "ahv_ip": format!("10.1.{n}.2"), "cvm_ip": format!("10.1.{n}.3")}],
    })
    .to_string()
}

#[tokio::test]
async fn whoever_hangs_up_at_any_moment_leaves_no_cluster_begun_or_ended_without_its_line() {
    let rig = Rig::new(82).await;
    at_every_moment(
        &rig,
        |n| request(&rig, "POST", "/api/v1/clusters", plan("c", n)),
        async |n| rig.store.cluster_named(&format!("c{n}")).await.unwrap().is_some(),
        |n| ("cluster.deploy", format!("c{n}")),
    )
    .await;
    for n in 100..130 {
        let (status, answer) = rig.call("POST", "/api/v1/clusters", &plan("d", n)).await;
        assert_eq!(status, StatusCode::CREATED, "{answer}");
    }
    at_every_moment(
        &rig,
        |n| request(&rig, "DELETE", &format!("/api/v1/clusters/d{}", 100 + n), String::new()),
        async |n| rig.state(&format!("d{}", 100 + n)).await.intents.absent,
        |n| ("cluster.destroy", format!("d{}", 100 + n)),
    )
    .await;
}

/// Each login has a line, and so has each session.
#[tokio::test]
async fn whoever_hangs_up_at_any_moment_leaves_no_login_without_its_line() {
    let rig = Rig::new(83).await;
    let ann = r#"{"name":"ann","role":"viewer","password":"kupfer lampe 7"}"#;
    assert_eq!(rig.call("POST", "/api/v1/users", ann).await.0, StatusCode::CREATED);
    let login = || {
        let body = r#"{"name":"ann","password":"kupfer lampe 7"}"#;
        Request::post("/api/v1/session").body(Body::from(body)).unwrap()
    };
    let mut outside = SqliteConnection::connect(&format!("sqlite://{}", rig.database_file().display())).await.unwrap();
    for n in 0..MOST {
        let answered = answered_in(n, rig.response(login())).await;
        rig.calls_ended().await;
        let (sessions,): (i64,) =
            sqlx::query_as("SELECT count(*) FROM web_sessions").fetch_one(&mut outside).await.unwrap();
        assert_eq!(lines(&rig, "session.login", "ann").await, sessions as usize, "left at moment {n}");
        if answered {
            assert!(sessions > 1, "nobody was left by their caller");
            return;
        }
        assert!(sessions < 10, "the oldest end, and can't be counted");
    }
    panic!("no answer after {MOST} moments");
}

/// Else tokens could be tried without a trace.
#[tokio::test]
async fn whoever_is_refused_stands_in_the_audit_though_they_do_not_wait_for_it() {
    let rig = Rig::new(86).await;
    for n in 1..MOST {
        let wrong = Request::get("/api/v1/clusters").header(header::AUTHORIZATION, "Bearer wrong");
        let answered = answered_in(n, rig.response(wrong.body(Body::empty()).unwrap())).await;
        rig.calls_ended().await;
        let refused: Vec<String> = rig.store.audit(0, 1000).await.unwrap().into_iter().map(|l| l.outcome).collect();
        assert_eq!(refused, vec!["refused:token_wrong"; n]);
        if answered {
            assert!(n > 1, "nobody was left by their caller");
            return;
        }
    }
    panic!("no answer after {MOST} moments");
}

/// The head of its answer ends the call; the stream is the connection's business.
#[tokio::test]
async fn an_open_stream_is_no_call_that_a_stop_waits_for() {
    let rig = Rig::new(87).await;
    let _stream = rig.stream("/api/v1/audit", rig.token()).await;
    tokio::time::timeout(Duration::from_secs(60), rig.calls_ended()).await.expect("no call is under way");
    assert_eq!(lines(&rig, "api.get", "/api/v1/audit").await, 1);
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused_and_recorded() {
    let rig = Rig::new(88).await;
    let call = request(&rig, "POST", "/api/v1/clusters", " ".repeat(1 << 20));
    let (status, answer) = rig.raw_call(call).await;
    assert_eq!((status, &answer["error"]["code"]), (StatusCode::PAYLOAD_TOO_LARGE, &json!("too_large")));
    assert_eq!(rig.store.audit(0, 10).await.unwrap()[0].outcome, "refused:too_large");
}

/// Over sockets, with a stop in the midst of it: each call that came in has both its lines.
#[tokio::test]
async fn clients_that_send_and_close_at_once_leave_as_many_lines_as_tokens() {
    let folder = Folder::new();
    let stop = CancellationToken::new();
    let config = format!(
        "data_dir = {:?}
[ibm_cloud]
api_key_file = {:?}
[control]
listen = \"127.0.0.1:0\"
tls = \"off\"
\
         [boot]
listen = \"127.0.0.1:0\"
",
        folder.data(),
        folder.data().with_file_name("api-key")
    );
    let config = Config::parse(&config, &|_| None).unwrap();
    let running = serve(config, stop.clone()).await.unwrap();
    let address = running.control_url.strip_prefix("http://").unwrap().to_owned();
    let token = fs::read_to_string(&running.token_file).unwrap();
    for n in 0..120 {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let body = format!(r#"{{"name":"t{n}","role":"viewer"}}"#);
        let head = format!("POST /api/v1/tokens HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}");
        let length = body.len();
        stream.write_all(format!("{head}\r\ncontent-length: {length}\r\n\r\n{body}").as_bytes()).await.unwrap();
        for _ in 0..n % 40 {
            tokio::task::yield_now().await;
        }
    }
    stop.cancel();
    running.finished().await.unwrap();
    let lines = folder.audit().await;
    let count = |action: &str| lines.iter().filter(|l| l.action == action && l.outcome == "ok").count();
    let store = Store::open(&folder.data()).await.unwrap();
    let tokens = store.api_tokens().await.unwrap().len();
    assert!(tokens > 0);
    assert_eq!((count("token.create"), count("api.post")), (tokens, tokens));
}

/// Another process holds the database's write lock.
#[tokio::test]
async fn what_cannot_be_recorded_is_neither_done_nor_told() {
    let rig = Rig::new(84).await;
    rig.call("POST", "/api/v1/clusters", &plan("c", 1)).await;
    let url = format!("sqlite://{}", rig.database_file().display());
    let mut outside = SqliteConnection::connect(&url).await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut outside).await.unwrap();
    let shown = bearer(&rig);
    let headers = [("authorization", shown.as_str())];
    let (read, made) = tokio::join!(
        rig.call_with("GET", "/api/v1/clusters/c1", "", &headers, "127.0.0.1"),
        rig.call("POST", "/api/v1/tokens", r#"{"name":"ci","role":"admin"}"#),
    );
    assert_eq!((read.status, &read.headers["retry-after"]), (StatusCode::SERVICE_UNAVAILABLE, &"5".parse().unwrap()));
    assert_eq!(
        read.body,
        json!({"error": {
            "code": "store_unavailable",
            "message": "the database failed to record an audit line",
            "hint": "check that the disk isn't full and the data folder is writable",
            "details": {},
        }})
    );
    assert_eq!((made.0, &made.1["error"]["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("store_unavailable")));
    sqlx::query("ROLLBACK").execute(&mut outside).await.unwrap();
    assert_eq!(rig.store.api_tokens().await.unwrap(), []);
    assert_eq!(lines(&rig, "token.create", "").await, 0);
    assert_eq!(rig.call("GET", "/api/v1/clusters/c1", "").await.0, StatusCode::OK);
}

/// The line of the call can't be written any more, and that of the deed stands: a token that exists is shown.
#[tokio::test]
async fn a_deed_that_was_recorded_is_answered_though_its_call_is_not() {
    let rig = Rig::new(85).await;
    super::sessions::make_user(&rig, "ann", "viewer").await;
    super::sessions::browser(&rig, "ann", "10.0.0.1").await;
    let url = format!("sqlite://{}", rig.database_file().display());
    let mut outside = SqliteConnection::connect(&url).await.unwrap();
    let refused = "CREATE TRIGGER refused BEFORE INSERT ON audit WHEN new.action LIKE 'api.%' \
                   BEGIN SELECT RAISE(ABORT, 'not now'); END";
    sqlx::query(refused).execute(&mut outside).await.unwrap();
    let (status, made) = rig.call("POST", "/api/v1/tokens", r#"{"name":"ci","role":"admin"}"#).await;
    assert_eq!((status, made["token"].is_string()), (StatusCode::CREATED, true), "{made}");
    assert_eq!(lines(&rig, "token.create", "token:ci ").await, 1);
    let (status, ended) = rig.call("DELETE", "/api/v1/sessions/ann", "").await;
    assert_eq!((status, ended["sessions"].as_array().map(Vec::len)), (StatusCode::OK, Some(1)), "{ended}");
    for path in ["/api/v1/tokens", "/api/v1/clusters/nobody", "/api/v1/nowhere"] {
        let (status, answer) = rig.call("GET", path, "").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{path}: {answer}");
    }
}

fn bearer(rig: &Rig) -> String {
    format!("Bearer {}", rig.token())
}

/// Whoever was let in by a token and holds the body back does nothing by it once the token is revoked.
#[tokio::test]
async fn a_call_whose_body_comes_after_its_token_was_revoked_does_nothing() {
    let rig = Rig::new(89).await;
    let (_, made) = rig.call("POST", "/api/v1/tokens", r#"{"name":"stolen","role":"admin"}"#).await;
    let (send, receive) = tokio::sync::oneshot::channel::<&'static str>();
    let body = futures_util::stream::once(async move { Ok::<_, std::convert::Infallible>(receive.await.unwrap()) });
    let held = Request::post("/api/v1/tokens")
        .header(header::AUTHORIZATION, format!("Bearer {}", made["token"].as_str().unwrap()))
        .body(Body::from_stream(body))
        .unwrap();
    let mut answer = Box::pin(rig.response(held));
    while lines(&rig, "token.create", "").await < 1 || rig.store.api_tokens().await.unwrap()[0].last_used_at.is_none() {
        assert!(futures_util::poll!(answer.as_mut()).is_pending());
    }
    let path = format!("/api/v1/tokens/{}", made["id"].as_str().unwrap());
    assert_eq!(rig.call("DELETE", &path, "").await.0, StatusCode::OK);
    send.send(r#"{"name":"another","role":"admin"}"#).unwrap();
    assert_eq!(answer.await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(rig.store.api_tokens().await.unwrap().len(), 1);
    let last = rig.store.audit(0, 1000).await.unwrap().pop().unwrap();
    assert_eq!((last.action.as_str(), last.outcome.as_str()), ("api.post", "refused:token_revoked"));
}

/// A method is any text that a stranger likes, and the audit is sent in datagrams.
#[tokio::test]
async fn a_method_of_a_strangers_own_making_is_not_written_down() {
    let rig = Rig::new(94).await;
    let method = "LOCKED_OUT".repeat(1000);
    let (status, _) = rig.call(&method, "/api/v1/nodes", "").await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    let last = rig.store.audit(0, 1000).await.unwrap().pop().unwrap();
    assert_eq!((last.action.as_str(), last.target.as_str()), ("api.other", "/api/v1/nodes"));
}
