//! What stands in the audit, and how it is read.

use super::rig::Rig;
use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};
use http_body_util::BodyExt;
use metalform_model::{Clock, ClusterPhase, audit_action};
use metalform_service::{Config, WallClock, rotate_secret_key, serve};
use metalform_store::{AuditFilter, AuditHead, AuditKey, AuditReader, Changes};
use serde_json::Value;
use sqlx::{Connection, SqliteConnection};
use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

const HOUR: Duration = Duration::from_secs(3600);

/// A folder for a service with sockets, gone afterwards.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        let path = std::env::temp_dir().join(format!("metalform-audit-{}", uuid::Uuid::new_v4()));
        fs::create_dir_all(&path).unwrap();
        let key = path.join("api-key");
        fs::write(&key, "an api key").unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        Folder(path)
    }

    pub fn data(&self) -> PathBuf {
        self.0.join("data")
    }

    /// Starts the service and stops it in good order. `more`: keys of `[boot]` and what follows it.
    async fn serve_once(&self, more: &str) {
        let stop = CancellationToken::new();
        let running = serve(self.config(more), stop.clone()).await.unwrap();
        stop.cancel();
        running.finished().await.unwrap();
    }

    pub fn config(&self, more: &str) -> Config {
        let text = format!(
            "data_dir = {:?}\n[ibm_cloud]\napi_key_file = {:?}\n[control]\nlisten = \"127.0.0.1:0\"\n\
             [boot]\nlisten = \"127.0.0.1:0\"\n{more}",
            self.data(),
            self.0.join("api-key")
        );
        Config::parse(&text, &|_| None).unwrap()
    }

    async fn edit(&self, statements: &[&str]) {
        let url = format!("sqlite://{}", self.data().join("metalform.db").display());
        let mut connection = SqliteConnection::connect(&url).await.unwrap();
        for statement in statements {
            sqlx::query(sqlx::AssertSqlSafe((*statement).to_owned())).execute(&mut connection).await.unwrap();
        }
        connection.close().await.unwrap();
    }

    pub async fn audit(&self) -> Vec<metalform_store::AuditLine> {
        AuditReader::open(&self.data()).await.unwrap().lines(&Default::default()).await.unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// One scenario for each word, and every word that the scenarios bring up is one of the list.
#[tokio::test]
async fn every_action_is_recorded_and_every_action_recorded_is_a_known_one() {
    let mut rig = Rig::new(70).await;
    rig.deploy(&rig.plan("c", 3)).await;
    rig.run_to("c", "ready", 3 * HOUR).await;
    rig.call("GET", "/api/v1/clusters/c/credentials", "").await;
    for (method, path) in [
        ("GET", "/boot/arizona/10.240.0.11"),
        ("GET", "/boot/attempt/c-1/open"),
        ("GET", "/boot/step/c-1/dhcp"),
        ("POST", "/boot/report/c-1"),
        ("POST", "/boot/progress/c-1?step=x"),
        ("GET", "/elsewhere"),
    ] {
        rig.boot_call(method, path, "10.240.0.11", "{}").await;
    }
    rig.call("DELETE", "/api/v1/clusters/c", "").await;
    rig.call("PUT", "/api/v1/clusters/c", "").await;
    ask_for_a_cluster(&rig).await;
    let (_, made) = rig.call("POST", "/api/v1/tokens", r#"{"name":"ci","role":"viewer"}"#).await;
    rig.call("DELETE", &format!("/api/v1/tokens/{}", made["id"].as_str().unwrap()), "").await;
    for wait in [Duration::ZERO, HOUR] {
        rig.pass_time(wait);
        for _ in 0..15 {
            rig.call_as("GET", "/api/v1/clusters", "", Some("Bearer wrong"), "10.9.9.9").await;
        }
    }
    log_in_and_out(&rig).await;
    lose_records(&mut rig).await;
    let mut lines = rig.store.audit(0, 100_000).await.unwrap();

    let folder = Folder::new();
    folder.serve_once("source_check = \"off\"\n").await;
    folder.edit(&["DROP TRIGGER audit_is_never_deleted", "DELETE FROM audit WHERE seq > 1"]).await;
    folder.serve_once("").await;
    rotate_secret_key(&folder.config(""), None, &WallClock).await.unwrap();
    lines.extend(folder.audit().await);

    let seen: BTreeSet<&str> = lines.iter().map(|line| line.action.as_str()).collect();
    // What was cut off above was the first stop, and with it the line of the source check.
    let seen: BTreeSet<&str> = seen.into_iter().chain(source_check_off().await).collect();
    assert_eq!(seen, BTreeSet::from(audit_action::ALL));
}

/// What an operator may ask for while a cluster is on its way.
async fn ask_for_a_cluster(rig: &Rig) {
    let mut plan = rig.plan("d", 1);
    plan["cluster"]["start"] = "on-command".into();
    plan["cluster"]["external_ip"] = "10.240.0.201".into();
    for (key, ip) in [("mgmt_ip", "10.240.0.31"), ("ahv_ip", "10.240.0.32"), ("cvm_ip", "10.240.0.33")] {
        plan["nodes"][0][key] = ip.into();
    }
    rig.deploy(&plan).await;
    for (phase, path) in [(ClusterPhase::WaitingForNodes, "form"), (ClusterPhase::Failed, "retry")] {
        let mut record = rig.state("d").await.record;
        record.enter(phase, "as if".into(), rig.clock.now());
        let lease = rig.store.acquire(record.id, rig.clock.now(), HOUR).await.unwrap().unwrap();
        rig.store.commit(&lease, Changes { cluster: Some(&record), ..Changes::default() }).await.unwrap();
        let (status, answer) = rig.call("POST", &format!("/api/v1/clusters/d/{path}"), "").await;
        assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    }
}

/// Everything that is recorded of a user.
async fn log_in_and_out(rig: &Rig) {
    let user = r#"{"name":"ann","role":"viewer","password":"kupfer lampe 7"}"#;
    assert_eq!(rig.call("POST", "/api/v1/users", user).await.0.as_u16(), 201);
    let login = r#"{"name":"ann","password":"kupfer lampe 7"}"#;
    let answer = rig.call_with("POST", "/api/v1/session", login, &[], "10.9.9.8").await;
    let cookie = answer.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let headers = [("cookie", cookie.as_str()), ("x-csrf-token", answer.body["csrf_token"].as_str().unwrap())];
    assert_eq!(rig.call_with("DELETE", "/api/v1/session", "", &headers, "10.9.9.8").await.status.as_u16(), 200);
    rig.call_with("POST", "/api/v1/session", login, &[], "10.9.9.8").await;
    assert_eq!(rig.call("DELETE", "/api/v1/sessions/ann", "").await.0.as_u16(), 200);
    // From as many addresses as it takes to lock the account out, and then another one.
    for n in 0..13 {
        let wrong = r#"{"name":"nobody","password":"wrong"}"#;
        rig.call_with("POST", "/api/v1/session", wrong, &[], &format!("10.9.8.{n}")).await;
    }
    rig.pass_time(HOUR);
    rig.call_with("POST", "/api/v1/session", r#"{"name":"nobody","password":"wrong"}"#, &[], "10.9.8.99").await;
    rig.call("POST", "/api/v1/users/ann/password", r#"{"password":"messing kanne 9"}"#).await;
    rig.call("DELETE", "/api/v1/users/ann", "").await;
}

/// More requests than wait in memory, while the audit can't be written.
async fn lose_records(rig: &mut Rig) {
    rig.settled().await;
    let url = format!("sqlite://{}", rig.database_file().display());
    let mut outside = SqliteConnection::connect(&url).await.unwrap();
    sqlx::query("ALTER TABLE audit RENAME TO away").execute(&mut outside).await.unwrap();
    for _ in 0..1_100 {
        rig.boot_call("GET", "/elsewhere", "10.240.0.11", "").await;
    }
    sqlx::query("ALTER TABLE away RENAME TO audit").execute(&mut outside).await.unwrap();
    // Each waits some seconds for what is queued to be written.
    for _ in 0..12 {
        rig.settled().await;
        let wanted = AuditFilter { action: Some(audit_action::RECORDS_LOST.into()), ..AuditFilter::default() };
        if !rig.store.audit_lines(&wanted).await.unwrap().is_empty() {
            return;
        }
    }
    panic!("nothing was said of the records that were dropped");
}

async fn source_check_off() -> Option<&'static str> {
    let folder = Folder::new();
    folder.serve_once("source_check = \"off\"\n").await;
    folder
        .audit()
        .await
        .iter()
        .any(|line| line.action == audit_action::SOURCE_CHECK_OFF)
        .then_some(audit_action::SOURCE_CHECK_OFF)
}

#[test]
fn the_document_lists_every_action_and_no_other() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/audit.md")).unwrap();
    let table = text.split("## Actions").nth(1).expect("a section of actions");
    let table = table.split("\n## ").next().unwrap();
    let rows: Vec<&str> = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert_eq!(rows, audit_action::ALL);
}

#[tokio::test]
async fn a_boot_attempt_is_recorded_when_it_opens_and_when_it_ends() {
    let mut rig = Rig::new(71).await;
    rig.deploy(&rig.plan("c", 3)).await;
    rig.run_to("c", "ready", 3 * HOUR).await;
    let lines = rig.store.audit(0, 1000).await.unwrap();
    for node in ["c-1", "c-2", "c-3"] {
        let of_node: Vec<String> = lines
            .iter()
            .filter(|line| line.action.starts_with("boot.attempt_") && line.target.starts_with(node))
            .map(|line| format!("{} {} {} {}", line.who, line.action, line.target, line.outcome))
            .collect();
        let opened = format!("service boot.attempt_opened {node} attempt 1 ok");
        let closed = format!("service boot.attempt_closed {node} attempt 1 ok");
        assert_eq!(of_node, [opened, closed]);
        // Its script and its configuration, and no image more than once.
        for action in ["boot.script", "boot.config"] {
            let who = format!("node {node}");
            assert!(lines.iter().any(|l| l.action == action && l.who == who && l.outcome == "ok"), "{node} {action}");
        }
    }
}

#[tokio::test]
async fn a_clean_stop_leaves_every_line_signed_and_the_next_start_says_what_was_done_meanwhile() {
    let folder = Folder::new();
    folder.serve_once("").await;
    let data = folder.data();
    let mode = |name: &str| fs::metadata(data.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!([mode("audit.key"), mode("audit.pub"), mode("audit.heads")], [0o600, 0o644, 0o600]);
    let key = fs::read_to_string(data.join("audit.pub")).unwrap().parse().unwrap();
    let report = AuditReader::open(&data).await.unwrap().check(&[key], &[], |_| {}).await.unwrap();
    assert_eq!((report.is_whole(), report.unsigned(), report.lines), (true, 0, 2), "{report:?}");

    folder
        .edit(&["DROP TRIGGER audit_is_never_deleted", "DELETE FROM audit WHERE seq = 2", "DELETE FROM audit_heads"])
        .await;
    folder.serve_once("").await;
    let told: Vec<String> =
        folder.audit().await.iter().map(|line| format!("{} {}: {}", line.action, line.target, line.outcome)).collect();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        told,
        [
            format!("service.started {version}: ok"),
            "audit.checked line 2 was signed, the audit ends at 1: failed:audit_set_back".into(),
            format!("service.started {version}: ok"),
            format!("service.stopped {version}: ok"),
        ]
    );
    let report = AuditReader::open(&data).await.unwrap().check(&[key], &[], |_| {}).await.unwrap();
    // Whether the first line was signed by itself before the stop is a matter of time.
    assert!(matches!(report.first_broken(), Some(1 | 2)), "{report:?}");
}

/// Also the very last: that the service stopped, and the head that signs it.
#[tokio::test]
async fn a_syslog_receiver_hears_from_the_first_line_to_the_last() {
    let folder = Folder::new();
    let path = folder.0.join("log");
    let receiver = tokio::net::UnixDatagram::bind(&path).unwrap();
    folder.serve_once(&format!("[audit]\nsyslog = \"unix:{}\"\n", path.display())).await;
    let mut heard = Vec::new();
    let mut buffer = [0; 8192];
    while let Ok(length) = receiver.try_recv(&mut buffer) {
        heard.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
    }
    let lines: Vec<&String> = heard.iter().filter(|message| message.contains("[audit@")).collect();
    assert_eq!(lines.len(), 2, "{heard:#?}");
    assert!(lines[0].contains("service.started") && lines[1].contains("service.stopped"), "{heard:#?}");
    let last = heard.last().unwrap();
    assert!(last.contains("[auditHead@32473 seq=\"2\""), "{heard:#?}");
}

async fn lines(rig: &Rig, query: &str) -> Vec<String> {
    let (status, answer) = rig.call("GET", &format!("/api/v1/audit{query}"), "").await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let line = |line: &Value| format!("{} {}", line["action"].as_str().unwrap(), line["target"].as_str().unwrap());
    answer["lines"].as_array().unwrap().iter().map(line).collect()
}

#[tokio::test]
async fn the_list_is_narrowed_by_filters_and_refuses_what_it_does_not_know() {
    let rig = Rig::new(72).await;
    rig.call("GET", "/api/v1/clusters/nobody", "").await;
    rig.call("POST", "/api/v1/clusters", "{").await;
    let request = Request::get("/api/v1/nodes").body(Body::empty()).unwrap();
    rig.raw_call(request).await;
    let first = ["api.get /api/v1/clusters/nobody", "api.post /api/v1/clusters", "api.get /api/v1/nodes"];
    assert_eq!(lines(&rig, "").await, first);
    assert_eq!(lines(&rig, "?action=api.post").await, first[1..2]);
    assert_eq!(lines(&rig, "?who=anonymous").await, first[2..3]);
    assert_eq!(lines(&rig, "?outcome=refused:*&limit=2").await, first[..2]);
    assert_eq!(lines(&rig, "?outcome=refused:*&last=1").await, first[2..]);
    assert_eq!(lines(&rig, "?target=/api/v1/clusters*&after=1&source=127.0.0.1").await, first[1..2]);
    assert_eq!(lines(&rig, "?since=2100-01-01T00:00:00Z").await, [""; 0]);
    for wrong in ["?whom=x", "?since=now", "?limit=0", "?limit=1&last=1"] {
        let (status, answer) = rig.call("GET", &format!("/api/v1/audit{wrong}"), "").await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{wrong}: {answer}");
        assert!(!answer["error"]["hint"].as_str().unwrap().is_empty());
    }
}

#[tokio::test]
async fn the_newest_head_signs_what_is_recorded_at_that_moment() {
    let rig = Rig::new(73).await;
    let (_, nothing) = rig.call("GET", "/api/v1/audit/head", "").await;
    assert_eq!(nothing["head"], Value::Null);
    let (_, answer) = rig.call("GET", "/api/v1/audit/head", "").await;
    let head: AuditHead = serde_json::from_value(answer["head"].clone()).unwrap();
    let public: metalform_store::AuditPublicKey = answer["public_key"].as_str().unwrap().parse().unwrap();
    let line = rig.store.audit(0, 1).await.unwrap().remove(0);
    assert_eq!((head.seq, &head.hash), (1, &line.hash));
    assert!(public.signed(&head));
    assert!(!AuditKey::from_seed(&[1; 32]).unwrap().public().signed(&head));
}

/// Its own request is one line, however long it follows.
#[tokio::test]
async fn a_stream_goes_on_with_what_comes_and_starts_again_where_it_broke_off() {
    let rig = Rig::new(74).await;
    rig.call("GET", "/api/v1/clusters/one", "").await;
    let follow = async |resumed: Option<&str>| {
        let mut request = Request::get("/api/v1/audit?target=/api/v1/clusters/*")
            .header(header::AUTHORIZATION, format!("Bearer {}", rig.token()))
            .header(header::ACCEPT, "text/event-stream");
        if let Some(id) = resumed {
            request = request.header("last-event-id", id);
        }
        rig.response(request.body(Body::empty()).unwrap()).await.into_body()
    };
    let mut stream = follow(None).await;
    let mut next = async |wanted: &str| {
        let frame = tokio::time::timeout(Duration::from_secs(30), stream.frame()).await.unwrap().unwrap().unwrap();
        let text = String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap();
        assert!(text.contains(wanted), "{text}");
        text
    };
    next("/api/v1/clusters/one").await;
    rig.call("GET", "/api/v1/nodes", "").await;
    rig.call("GET", "/api/v1/clusters/two", "").await;
    let second = next("/api/v1/clusters/two").await;
    assert!(second.contains("event: audit") && second.contains("id: 4"), "{second}");
    rig.call("GET", "/api/v1/clusters/three", "").await;
    let mut stream = follow(Some("4")).await;
    let frame = stream.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(String::from_utf8_lossy(&frame).contains("/api/v1/clusters/three"));
}
