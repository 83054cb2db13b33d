//! A boot plane with one node, a directory and a recorder that can be made to fail.

use async_trait::async_trait;
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::ConnectInfo,
    http::{HeaderMap, Method, Request},
};
use metalform_boot::{
    BootAttemptRef, BootNode, BootPlane, BootSession, BootSettings, Bound, Directory, Instruction, Recorder,
    RequestCounted, Sessions, TokenKey, Unavailable, router,
};
use metalform_model::{AuditEntry, Clock, Evidence, Seen, SessionKey, Timestamp};
use serde_json::{Value, json};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tower::ServiceExt;
use uuid::Uuid;

pub const NODE_IP: Ipv4Addr = Ipv4Addr::new(10, 240, 0, 11);
pub const ATTEMPT: Uuid = Uuid::from_u128(1);
pub const NOW: Timestamp = Timestamp::from_seconds(1_767_322_445);
pub const KEY: [u8; 32] = [7; 32];

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mode {
    Answers,
    Fails,
    Hangs,
}

impl Mode {
    async fn pass(self) -> Result<(), Unavailable> {
        match self {
            Mode::Answers => Ok(()),
            Mode::Fails => Err(Unavailable(None)),
            Mode::Hangs => std::future::pending().await,
        }
    }
}

/// Directory and recorder in one.
pub struct Store {
    pub node: Mutex<BootNode>,
    pub directory: Mutex<Mode>,
    pub recorder: Mutex<Mode>,
    evidence: Mutex<Vec<Evidence>>,
    audit: Mutex<Vec<AuditEntry>>,
    counter: Mutex<u64>,
    documents: Mutex<u32>,
}

/// As far as one round goes; the rest is the business of the store, and tested there.
#[async_trait]
impl Sessions for Store {
    async fn bind(&self, evidence: Evidence, session: BootSession, line: AuditEntry) -> Result<Bound, Unavailable> {
        let BootSession { key, round, .. } = session;
        let mode = *self.recorder.lock().unwrap();
        mode.pass().await?;
        let mut node = self.node.lock().unwrap();
        match node.session {
            Some(session) if session.key == key => Ok(Bound::Same),
            Some(session) if session.round >= round => Ok(Bound::Refused),
            _ => {
                node.session = Some(session);
                *self.counter.lock().unwrap() = 0;
                self.evidence.lock().unwrap().push(evidence);
                self.audit.lock().unwrap().push(line);
                Ok(Bound::New)
            }
        }
    }

    async fn count_request(&self, _: Uuid, _: SessionKey, counter: u64) -> Result<RequestCounted, Unavailable> {
        let mode = *self.recorder.lock().unwrap();
        mode.pass().await?;
        let mut last = self.counter.lock().unwrap();
        if counter <= *last {
            return Ok(RequestCounted::Stale { last: *last });
        }
        *last = counter;
        Ok(RequestCounted::New)
    }

    async fn count_document(&self, _: Uuid, _: u32, most: u32) -> Result<bool, Unavailable> {
        let mode = *self.recorder.lock().unwrap();
        mode.pass().await?;
        let mut documents = self.documents.lock().unwrap();
        *documents += 1;
        Ok(*documents <= most)
    }
}

#[async_trait]
impl Directory for Store {
    async fn by_server_id(&self, server_id: &str) -> Result<Option<BootNode>, Unavailable> {
        let mode = *self.directory.lock().unwrap();
        mode.pass().await?;
        Ok(Some(self.node.lock().unwrap().clone()).filter(|node| node.server_id == server_id))
    }

    async fn by_address(&self, mgmt_ip: Ipv4Addr) -> Result<Option<BootNode>, Unavailable> {
        let mode = *self.directory.lock().unwrap();
        mode.pass().await?;
        Ok(Some(self.node.lock().unwrap().clone()).filter(|node| node.mgmt_ip == Some(mgmt_ip)))
    }
}

#[async_trait]
impl Recorder for Store {
    async fn evidence(&self, evidence: Evidence) -> Result<(), Unavailable> {
        let mode = *self.recorder.lock().unwrap();
        mode.pass().await?;
        self.evidence.lock().unwrap().push(evidence);
        Ok(())
    }

    async fn audit(&self, entry: AuditEntry) -> Result<(), Unavailable> {
        let mode = *self.recorder.lock().unwrap();
        mode.pass().await?;
        self.audit.lock().unwrap().push(entry);
        Ok(())
    }
}

struct StoppedClock;

impl Clock for StoppedClock {
    fn now(&self) -> Timestamp {
        NOW
    }
}

pub struct World {
    pub store: Arc<Store>,
    pub plane: Arc<BootPlane>,
    pub router: Router,
    pub images: TempDir,
}

pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap().to_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

pub fn node() -> BootNode {
    BootNode {
        cluster_id: Uuid::from_u128(99),
        server_id: "server-001".to_owned(),
        mgmt_ip: Some(NODE_IP),
        attempt: Some(BootAttemptRef { id: ATTEMPT, open: true }),
        round: 1,
        is_pinned: false,
        session: None,
        instruction: Instruction::Install,
        config: json!({"server_info": {"server_id": "server-001"}, "network_config": {}}),
        unreadable_set: None,
        is_recalled: false,
        arizona: Some(json!({"hyp_type": "kvm"})),
        network: None,
        last_report: None,
        template: None,
        image_set: None,
        squashfs: None,
        has_agent: false,
        kernel_sha256: None,
        initrd_sha256: None,
        manifest_sha256: None,
        inline: false,
        inline_pins_ca: false,
    }
}

pub fn token_of(attempt: Uuid) -> String {
    TokenKey::new(KEY).token(attempt).expose().to_owned()
}

pub fn token() -> String {
    token_of(ATTEMPT)
}

pub fn progress_token() -> String {
    TokenKey::new(KEY).progress_token(ATTEMPT).expose().to_owned()
}

pub fn checked_token() -> String {
    TokenKey::new(KEY).checked_token(ATTEMPT).expose().to_owned()
}

pub fn script_path() -> String {
    format!("/boot/ipxe/server-001?t={}", token())
}

pub fn config_path() -> String {
    format!("/boot/server/{NODE_IP}?t={}", token())
}

pub fn report_path() -> String {
    format!("/boot/report/server-001?t={}", token())
}

impl World {
    pub fn new() -> World {
        World::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut BootSettings)) -> World {
        let images = TempDir::new();
        std::fs::write(images.path().join("vmlinuz-foundation"), "kernel").unwrap();
        std::fs::write(images.path().join("initrd-foundation.img"), "initrd!").unwrap();
        let store = Arc::new(Store {
            node: Mutex::new(node()),
            directory: Mutex::new(Mode::Answers),
            recorder: Mutex::new(Mode::Answers),
            evidence: Mutex::default(),
            audit: Mutex::default(),
            counter: Mutex::default(),
            documents: Mutex::default(),
        });
        let host = "http://10.240.0.5:8080".parse().unwrap();
        let mut settings = BootSettings::new(host, images.path().to_owned());
        settings.deadline = Duration::from_millis(100);
        change(&mut settings);
        let (key, clock) = (TokenKey::new(KEY), Arc::new(StoppedClock));
        let plane = BootPlane::start(store.clone(), store.clone(), store.clone(), key, settings, clock);
        World { router: router(plane.clone()), plane, store, images }
    }

    pub fn change_node(&self, change: impl FnOnce(&mut BootNode)) {
        change(&mut self.store.node.lock().unwrap());
    }

    pub async fn open(&self, request: Request<Body>, from: impl Into<IpAddr>) -> axum::response::Response {
        let mut request = request;
        request.extensions_mut().insert(ConnectInfo(SocketAddr::new(from.into(), 40_000)));
        self.router.clone().oneshot(request).await.unwrap()
    }

    pub async fn send(&self, request: Request<Body>, from: impl Into<IpAddr>) -> Answer {
        let (parts, body) = self.open(request, from).await.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap().to_vec();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(request(Method::GET, path, &[]), NODE_IP).await
    }

    pub async fn post(&self, path: &str, body: impl Into<Body>) -> Answer {
        self.send(Request::post(path).body(body.into()).unwrap(), NODE_IP).await
    }

    /// Everything observed so far.
    pub async fn seen(&self) -> Vec<Seen> {
        assert_eq!(self.plane.flush(Duration::from_secs(10)).await, 0, "records are left");
        self.evidence().into_iter().map(|evidence| evidence.seen).collect()
    }

    pub fn evidence(&self) -> Vec<Evidence> {
        self.store.evidence.lock().unwrap().clone()
    }

    /// Every audit record so far, as `who action target source outcome`.
    pub async fn audit(&self) -> Vec<String> {
        assert_eq!(self.plane.flush(Duration::from_secs(10)).await, 0, "records are left");
        let line = |e: &AuditEntry| format!("{} | {} | {} | {} | {}", e.who, e.action, e.target, e.source, e.outcome);
        self.store.audit.lock().unwrap().iter().map(line).collect()
    }
}

pub fn request(method: Method, path: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).unwrap()
}

/// A folder of its own for one test, gone afterwards.
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("metalform-boot-plane-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        TempDir(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}
