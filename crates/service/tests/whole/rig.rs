//! The service and a simulated world, driven by hand: the clock jumps from one thing that is due to the next.

use super::transports::{ToCloud, ToCvms, Wire};
use async_trait::async_trait;
use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::{HeaderMap, Request, StatusCode, header},
    response::Response,
};
use bytes::Bytes;
use http_body_util::BodyExt;
use metalform_boot::{BootHost, Channel};
use metalform_ibm_cloud::Pause;
use metalform_model::{Clock, Event, Timestamp};
use metalform_orchestrator::Passwords;
use metalform_service::{Assembly, Config, Outside, Secrets, assemble};
use metalform_simulator::{
    cvm::CvmProfile,
    fault::{Fault, builtin},
    fetch::{Answer, FetchResult},
    machine::Http,
    world::{Fetch, World, WorldSettings},
};
use metalform_store::{ClusterState, Sealer, Store};
use rand::{SeedableRng, rngs::StdRng};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use secrecy::SecretString;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use uuid::Uuid;

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An answer of the control plane with everything.
pub struct Answered {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// Null, where it is no JSON.
    pub body: Value,
    /// As it came.
    pub text: String,
}

/// Addresses without end, each another.
pub fn sources() -> impl Iterator<Item = String> {
    (0..=u16::MAX).map(|n| Ipv4Addr::from(0x0a00_0000 | u32::from(n)).to_string())
}

/// A clock that stands still until it is set.
pub struct VirtualClock(AtomicI64);

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

impl VirtualClock {
    fn set(&self, to: Timestamp) {
        self.0.fetch_max(to.0, Ordering::SeqCst);
    }
}

struct NoPause;

#[async_trait]
impl Pause for NoPause {
    async fn pause(&self, _: Duration) {}
}

/// Passwords by the rules of the real ones, the same in every run: different every time, over every restart.
#[derive(Default)]
struct CountedPasswords;

static PASSWORDS: AtomicU32 = AtomicU32::new(0);

impl Passwords for CountedPasswords {
    fn generate(&self) -> SecretString {
        let seed = PASSWORDS.fetch_add(1, Ordering::SeqCst).into();
        metalform_nutanix::password::generate(&mut StdRng::seed_from_u64(seed))
    }
}

/// A folder of its own, gone afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("metalform-whole-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::SeqCst));
        // In memory where that is possible: a store that waits for the disk at each step makes a run ten times longer.
        let memory = PathBuf::from("/dev/shm");
        let path = if memory.is_dir() { memory } else { std::env::temp_dir() }.join(name);
        std::fs::create_dir_all(path.join("images")).unwrap();
        Folder(path)
    }
}

/// With boot images and an API key.
fn furnished_folder() -> Folder {
    let folder = Folder::new();
    let images = folder.0.join("images");
    std::fs::write(images.join("vmlinuz-foundation"), vec![7u8; 70_000]).unwrap();
    std::fs::write(images.join("initrd-foundation.img"), vec![9u8; 300_000]).unwrap();
    let key_file = folder.0.join("api-key");
    std::fs::write(&key_file, "an api key").unwrap();
    std::fs::set_permissions(&key_file, std::fs::Permissions::from_mode(0o600)).unwrap();
    folder
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

const EPOCH: Timestamp = Timestamp::from_seconds(1_800_000_000);
/// Begins a line of `more` that belongs to `[boot]`.
const TEMPLATES: &str = "templates_dir = ";
const BOOT_HOST: &str = "10.240.0.5:8080";

pub struct Rig {
    pub world: Arc<Mutex<World>>,
    pub clock: Arc<VirtualClock>,
    pub wire: Arc<Wire>,
    pub store: Store,
    service: Assembly,
    boot: Router,
    due: HashMap<Uuid, Timestamp>,
    folder: Folder,
    more: String,
    token: String,
    /// How often the process has died.
    pub deaths: u32,
    /// What machines have asked the boot plane for, without the images: as somebody who listens on their network has it.
    pub overheard: Mutex<Vec<Http>>,
}

impl Rig {
    /// A world whose controller VMs are as the product's first design has them.
    pub async fn new(seed: u64) -> Rig {
        Rig::with(seed, |_| {}).await
    }

    /// A world whose installers know no sessions: they show the boot token with everything.
    pub async fn by_token(seed: u64) -> Rig {
        Rig::with(seed, |settings| settings.machines.exchanges_token = false).await
    }

    /// A world whose image set holds the agent: boot scripts pin our authority, and machines ask over TLS.
    pub async fn pinned(seed: u64) -> Rig {
        let rig = Rig::new(seed).await;
        let files = [("initrd-foundation.img", "initrd"), ("vmlinuz-foundation", "kernel")].map(|(name, role)| {
            let bytes = std::fs::read(rig.image(name)).unwrap();
            json!({"name": name, "role": role, "size": bytes.len(), "sha256": hex::encode(Sha256::digest(&bytes))})
        });
        let recipe = json!({"kind": "command", "command": ["/installer"]});
        let manifest = json!({"format": 1, "name": "set", "source": "a test", "recipe": recipe, "files": files});
        std::fs::write(rig.image("manifest.json"), manifest.to_string()).unwrap();
        rig
    }

    /// What its boot scripts pin.
    pub fn ca_sha256(&self) -> String {
        hex::encode(self.authority())
    }

    /// What a machine that trusts this authority is answered with.
    fn authority(&self) -> [u8; 32] {
        let pem = std::fs::read(self.folder.0.join("tls/ca.pem")).unwrap();
        Sha256::digest(CertificateDer::from_pem_slice(&pem).unwrap()).into()
    }

    /// A world whose controller VMs are as users of current releases see them.
    pub async fn observed(seed: u64) -> Rig {
        Rig::with(seed, |settings| settings.cvms.profile = CvmProfile::Observed).await
    }

    /// A world of one's own.
    pub async fn with(seed: u64, change: impl FnOnce(&mut WorldSettings)) -> Rig {
        Rig::configured(seed, "", change).await
    }

    /// With further keys of `[ibm_cloud]` and a folder of script templates.
    pub async fn with_templates(seed: u64, more: &str, templates: &std::path::Path) -> Rig {
        // The first line of what follows `[boot]`'s own keys.
        let more = format!("{TEMPLATES}{templates:?}\n{more}");
        Rig::configured(seed, &more, |_| {}).await
    }

    /// The same, with further lines of `[ibm_cloud]`.
    pub async fn configured(seed: u64, more: &str, change: impl FnOnce(&mut WorldSettings)) -> Rig {
        let subnet = "10.240.0.0/24".parse().unwrap();
        let mut settings = WorldSettings::new(seed, 1.0, subnet);
        change(&mut settings);
        settings.cloud.iam_url = "https://iam.test".into();
        settings.cloud.vpc_url = "https://vpc.test/v1".into();
        let folder = furnished_folder();
        let world = Arc::new(Mutex::new(World::new(settings, EPOCH)));
        let clock = Arc::new(VirtualClock(AtomicI64::new(EPOCH.0)));
        let wire = Arc::new(Wire::default());
        let store = Store::open(&folder.0).await.unwrap();
        let service = start(&folder, more, &store, &world, &clock, &wire).await;
        let boot = metalform_boot::router(service.plane.clone());
        let token = std::fs::read_to_string(folder.0.join("token")).unwrap();
        Rig {
            world,
            clock,
            wire,
            store,
            service,
            boot,
            due: HashMap::new(),
            folder,
            more: more.to_owned(),
            token,
            deaths: 0,
            overheard: Mutex::default(),
        }
    }

    /// What a new process would do: nothing in memory survives, everything in the store does.
    pub async fn start_again(&mut self) {
        self.deaths += 1;
        self.service = start(&self.folder, &self.more, &self.store, &self.world, &self.clock, &self.wire).await;
        self.boot = metalform_boot::router(self.service.plane.clone());
        self.due = self.store.schedule().await.unwrap().into_iter().map(|(id, _)| (id, Timestamp(0))).collect();
    }

    /// The service begins anew, without any memory, in a world that goes on.
    pub async fn lose_the_store(&mut self) {
        let folder = furnished_folder();
        self.store = Store::open(&folder.0).await.unwrap();
        self.service = start(&folder, &self.more, &self.store, &self.world, &self.clock, &self.wire).await;
        self.boot = metalform_boot::router(self.service.plane.clone());
        self.token = std::fs::read_to_string(folder.0.join("token")).unwrap();
        self.due.clear();
        self.folder = folder;
    }

    /// The service is stopped, everything is sealed under another key, and it is started again. On a copy of the folder: the
    /// store of the process before is held as long as this one lives.
    pub async fn change_the_secret_key(&mut self) {
        self.store.clone().close().await;
        let folder = furnished_folder();
        for entry in std::fs::read_dir(&self.folder.0).unwrap().map(Result::unwrap) {
            if entry.path().is_file() {
                std::fs::copy(entry.path(), folder.0.join(entry.file_name())).unwrap();
            }
        }
        metalform_service::rotate_secret_key(&config_of(&folder, &self.more), None, &*self.clock).await.unwrap();
        self.store = Store::open(&folder.0).await.unwrap();
        self.folder = folder;
        self.start_again().await;
    }

    /// Arms a built-in fault.
    pub fn fault(&self, name: &str) {
        let fault = builtin(name).unwrap_or_else(|| panic!("no built-in fault is named {name}"));
        lock(&self.world).add_fault(fault);
    }

    /// Arms a built-in fault against one server, for ever.
    pub fn fault_of(&self, name: &str, server: &str) {
        let mut fault: Fault = builtin(name).unwrap_or_else(|| panic!("no built-in fault is named {name}"));
        fault.matches.name = Some(server.to_owned());
        fault.times = None;
        lock(&self.world).add_fault(fault);
    }

    /// Ends a fault.
    pub fn mend(&self, name: &str) {
        lock(&self.world).end_fault(name);
    }

    /// A call of the control plane, as the operator.
    pub async fn call(&self, method: &str, path: &str, body: &str) -> (StatusCode, Value) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .body(Body::from(body.to_owned()))
            .unwrap();
        self.raw_call(request).await
    }

    pub async fn raw_call(&self, request: Request<Body>) -> (StatusCode, Value) {
        let response = self.response(request).await;
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    /// A call of the control plane, and its answer with everything.
    pub async fn response(&self, mut request: Request<Body>) -> Response {
        request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 4000))));
        self.service.control.clone().oneshot(request).await.unwrap()
    }

    /// A call of the control plane with that `Authorization`, from that address.
    pub async fn call_as(&self, method: &str, path: &str, body: &str, shown: Option<&str>, from: &str) -> Answered {
        let headers: Vec<(&str, &str)> = shown.map(|shown| ("authorization", shown)).into_iter().collect();
        self.call_with(method, path, body, &headers, from).await
    }

    /// A call of the control plane with those headers, from that address.
    pub async fn call_with(
        &self,
        method: &str,
        path: &str,
        body: &str,
        headers: &[(&str, &str)],
        from: &str,
    ) -> Answered {
        let peer = SocketAddr::new(from.parse().unwrap(), 4000);
        let mut request = Request::builder().method(method).uri(path).extension(ConnectInfo(peer));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = self.service.control.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answered { status: parts.status, headers: parts.headers, body, text }
    }

    /// Waits until every call has ended, also those whose caller has hung up.
    pub async fn calls_ended(&self) {
        self.service.calls.close();
        self.service.calls.wait().await;
        self.service.calls.reopen();
    }

    /// A stream of the control plane, opened.
    pub async fn stream(&self, path: &str, token: &str) -> Body {
        self.stream_with(path, ("authorization", &format!("Bearer {token}"))).await
    }

    /// The same, opened by what that header shows.
    pub async fn stream_with(&self, path: &str, (name, value): (&str, &str)) -> Body {
        let request = Request::get(path)
            .header(name, value)
            .header(header::ACCEPT, "text/event-stream")
            .body(Body::empty())
            .unwrap();
        let response = self.response(request).await;
        assert_eq!(response.status(), StatusCode::OK);
        response.into_body()
    }

    /// Lets time pass in which nobody does anything.
    pub fn pass_time(&self, time: Duration) {
        self.clock.set(self.clock.now() + time);
    }

    /// A machine's call of the boot plane, from that address.
    pub async fn boot_call(&self, method: &str, path: &str, from: &str, body: &str) -> (StatusCode, String) {
        self.boot_call_with(method, path, from, &[], body).await
    }

    /// The same over TLS.
    pub async fn boot_call_over_tls(&self, method: &str, path: &str, from: &str, body: &str) -> (StatusCode, String) {
        self.boot_call_by(Channel::Tls, method, path, from, &[], body).await
    }

    /// The same with further headers.
    pub async fn boot_call_with(
        &self,
        method: &str,
        path: &str,
        from: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> (StatusCode, String) {
        self.boot_call_by(Channel::Plain, method, path, from, headers, body).await
    }

    async fn boot_call_by(
        &self,
        channel: Channel,
        method: &str,
        path: &str,
        from: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> (StatusCode, String) {
        let peer = SocketAddr::new(from.parse().unwrap(), 40000);
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .header(header::CONTENT_TYPE, "application/json")
            .extension(ConnectInfo(peer))
            .extension(channel)
            .body(Body::from(body.to_owned()))
            .unwrap();
        let response = self.boot.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The answer of the control plane as it is.
    pub async fn text(&self, path: &str) -> String {
        let request = Request::get(path)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .extension(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 4000))))
            .body(Body::empty())
            .unwrap();
        let response = self.service.control.clone().oneshot(request).await.unwrap();
        assert!(response.status().is_success(), "{path}: {}", response.status());
        String::from_utf8_lossy(&response.into_body().collect().await.unwrap().to_bytes()).into_owned()
    }

    /// The token in the user data of the machine behind the server of that name.
    pub fn boot_token(&self, server: &str) -> String {
        let world = lock(&self.world);
        let url = &world.machine(server).expect("it was powered on").powered_on().user_data;
        let (_, token) = url.split_once("?t=").expect("the URL carries the token");
        token.chars().take_while(char::is_ascii_alphanumeric).collect()
    }

    /// What the machine behind the server of that name has as user data.
    pub fn user_data(&self, server: &str) -> String {
        lock(&self.world).machine(server).expect("it was powered on").powered_on().user_data.clone()
    }

    /// Runs until the first so many nodes have their configuration. The installation that follows takes a quarter of an hour.
    pub async fn run_until_configured(&mut self, name: &str, nodes: usize) {
        let end = self.clock.now() + Duration::from_secs(3600);
        while self.state(name).await.nodes[..nodes].iter().any(|n| n.record.boot.config_at.is_none()) {
            assert!(self.clock.now() < end, "{}", self.story(name).await);
            self.run_for(Duration::from_secs(10)).await;
        }
    }

    /// Runs until the machine behind that server is powered on.
    pub async fn run_until_powered_on(&mut self, server: &str) {
        let end = self.clock.now() + Duration::from_secs(3600);
        while lock(&self.world).machine(server).is_none() {
            assert!(self.clock.now() < end, "{server} is never powered on");
            self.run_for(Duration::from_secs(10)).await;
        }
    }

    /// The operator's token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Everything in the store's files.
    pub fn database(&self) -> Vec<u8> {
        let files = ["metalform.db", "metalform.db-wal"].map(|name| std::fs::read(self.folder.0.join(name)));
        files.into_iter().filter_map(Result::ok).flatten().collect()
    }

    /// What the service seals passwords with.
    pub fn sealer(&self) -> Sealer {
        let key = hex::decode(std::fs::read_to_string(self.folder.0.join("secret.key")).unwrap()).unwrap();
        Sealer::new(&key.try_into().unwrap())
    }

    /// Where the database is.
    pub fn database_file(&self) -> PathBuf {
        self.folder.0.join("metalform.db")
    }

    /// Waits until everything seen so far is recorded and taken in.
    pub async fn settled(&mut self) {
        self.settle().await;
    }

    /// How much evidence the loop hasn't taken in, once everything seen so far is recorded.
    pub async fn evidence_waiting(&self, name: &str) -> usize {
        self.service.plane.flush(Duration::from_secs(5)).await;
        self.store.unfolded_evidence(self.state(name).await.record.id, 1000).await.unwrap().len()
    }

    /// A plan of `nodes` nodes for this world.
    pub fn plan(&self, name: &str, nodes: usize) -> Value {
        let ids = lock(&self.world).plan_ids();
        let node = |i: usize| {
            json!({"server_id": format!("{name}-{i}"), "mgmt_ip": format!("10.240.0.{}", 10 + i),
                "ahv_ip": format!("10.240.0.{}", 50 + i), "cvm_ip": format!("10.240.0.{}", 100 + i)})
        };
        json!({
            "cluster": {"name": name, "external_ip": "10.240.0.200", "redundancy_factor": if nodes == 1 { 1 } else { 2 },
                "dns_servers": ["161.26.0.10"], "ntp_servers": ["time.adn.networklayer.com"]},
            "cloud": {"vpc": ids.vpc, "subnet": ids.subnet, "zone": ids.zone, "ssh_keys": [ids.key]},
            "nodes": (1..=nodes).map(node).collect::<Vec<_>>(),
        })
    }

    pub async fn deploy(&self, plan: &Value) {
        let (status, answer) = self.call("POST", "/api/v1/clusters", &plan.to_string()).await;
        assert_eq!(status, StatusCode::CREATED, "{answer:#}");
    }

    pub async fn state(&self, name: &str) -> ClusterState {
        self.store.cluster_named(name).await.unwrap().expect("the cluster exists")
    }

    pub async fn phase(&self, name: &str) -> &'static str {
        self.state(name).await.record.phase.as_str()
    }

    /// The phase of its node at that place.
    pub async fn phase_of(&self, name: &str, node: usize) -> &'static str {
        self.state(name).await.nodes[node].record.phase.as_str()
    }

    /// Runs until the cluster is in that phase; fails with its timeline when it settles in another or takes longer.
    pub async fn run_to(&mut self, name: &str, phase: &str, limit: Duration) {
        let end = self.clock.now() + limit;
        loop {
            self.settle().await;
            let now_in = self.phase(name).await;
            if now_in == phase {
                return;
            }
            if self.clock.now() >= end || !self.anything_due(end) {
                panic!("{name} is in {now_in} and not in {phase}:\n{}", self.story(name).await);
            }
            self.jump(end);
        }
    }

    /// Like [`Rig::run_to`], for a cluster that is in that phase already and is to come back to it.
    pub async fn run_to_again(&mut self, name: &str, phase: &str, limit: Duration) {
        self.settle().await;
        self.run_to(name, phase, limit).await;
    }

    /// Runs until nothing more happens to the cluster by itself.
    pub async fn run_to_settled(&mut self, name: &str, limit: Duration) {
        let end = self.clock.now() + limit;
        loop {
            self.settle().await;
            if self.state(name).await.record.phase.is_settled() {
                return;
            }
            assert!(self.clock.now() < end, "{name} never settles:\n{}", self.story(name).await);
            self.jump(end);
        }
    }

    /// How often machines asked for boot scripts, all together.
    pub fn script_fetches(&self) -> u64 {
        lock(&self.world).machines().map(|m| m.script_fetches()).sum()
    }

    /// The path of a boot image.
    pub fn image(&self, name: &str) -> PathBuf {
        self.folder.0.join("images").join(name)
    }

    /// Runs for so long.
    pub async fn run_for(&mut self, time: Duration) {
        let end = self.clock.now() + time;
        while self.clock.now() < end {
            self.settle().await;
            self.jump(end);
        }
    }

    fn anything_due(&self, end: Timestamp) -> bool {
        self.due.values().any(|at| *at < end) || lock(&self.world).next_event_at() < end
    }

    /// Does everything that is due now.
    async fn settle(&mut self) {
        loop {
            self.service.plane.flush(Duration::from_secs(5)).await;
            for id in self.service.wakes.take() {
                self.due.insert(id, Timestamp(0));
            }
            let now = self.clock.now();
            let ready: Vec<Uuid> = self.due.iter().filter(|(_, at)| **at <= now).map(|(id, _)| *id).collect();
            if !ready.is_empty() {
                for id in ready {
                    self.pass(id).await;
                }
                continue;
            }
            let fetches = lock(&self.world).advance(now);
            if fetches.is_empty() {
                return;
            }
            for fetch in fetches {
                let result = self.fetch(&fetch).await;
                lock(&self.world).fetched(now, fetch.id, result);
            }
        }
    }

    /// Lets the clock jump to what is due next.
    fn jump(&self, end: Timestamp) {
        let loop_next = self.due.values().copied().min().unwrap_or(Timestamp::NEVER);
        let next = loop_next.min(lock(&self.world).next_event_at()).min(end);
        self.clock.set(next.max(self.clock.now() + Duration::from_millis(1)));
    }

    /// One pass of the loop, unless the process dies in it.
    async fn pass(&mut self, id: Uuid) {
        let died = tokio::select! {
            next_at = self.service.orchestrator.reconcile(id) => {
                self.due.insert(id, next_at.expect("the store answers"));
                false
            }
            () = self.wire.died.notified() => true,
        };
        if died {
            self.start_again().await;
        }
    }

    /// A machine's request to the boot plane, from its own address.
    async fn fetch(&self, fetch: &Fetch) -> FetchResult {
        let http = &fetch.http;
        let (channel, rest) = match http.url.strip_prefix(&format!("https://{BOOT_HOST}")) {
            Some(_) if http.trusts != Some(self.authority()) => return FetchResult::Untrusted("another's".into()),
            Some(rest) => (Channel::Tls, rest),
            None => match http.url.strip_prefix(&format!("http://{BOOT_HOST}")) {
                Some(rest) => (Channel::Plain, rest),
                None => return FetchResult::Refused,
            },
        };
        if !rest.starts_with("/pxe/") {
            lock(&self.overheard).push(http.clone());
        }
        let peer = SocketAddr::new(IpAddr::from(http.from), 40000);
        let mut request = Request::builder().method(http.method).uri(rest);
        for (name, value) in &http.headers {
            request = request.header(*name, value);
        }
        let request = request
            .header(header::USER_AGENT, http.user_agent)
            .header(header::CONTENT_TYPE, "application/json")
            .extension(ConnectInfo(peer))
            .extension(channel)
            .body(Body::from(http.body.clone().unwrap_or_default()))
            .unwrap();
        let response = self.boot.clone().oneshot(request).await.unwrap();
        let header = |name| response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let (retry_after, location) = (header(header::RETRY_AFTER), header(header::LOCATION));
        let length = header(header::CONTENT_LENGTH).and_then(|l| l.parse().ok());
        let status = response.status().as_u16();
        let body: Bytes = match response.into_body().collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => return FetchResult::Broken(error.to_string()),
        };
        let mut answer = Answer::new(status, body);
        answer.content_length = length.or(answer.content_length);
        FetchResult::Answered(Answer { retry_after, location, ..answer })
    }

    pub async fn events(&self, name: &str) -> Vec<Event> {
        let id = self.state(name).await.record.id;
        let mut all: Vec<Event> = Vec::new();
        loop {
            let more = self.store.events(id, all.last().map_or(0, |e| e.seq), 1000).await.unwrap();
            if more.is_empty() {
                return all;
            }
            all.extend(more);
        }
    }

    /// The timeline as a person reads it, for failures.
    pub async fn story(&self, name: &str) -> String {
        let events = self.events(name).await;
        let line = |e: &Event| {
            let since = e.at.since(EPOCH).as_secs_f64();
            format!("{since:9.1}s {:20} {:22} {}", e.server_id.as_deref().unwrap_or(""), e.kind, e.message)
        };
        events.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// Names of what the cloud still holds, by kind.
    pub fn alive(&self) -> Vec<(&'static str, String)> {
        let ledger = lock(&self.world).ledger();
        ledger.into_iter().filter(|e| e.deleted_at.is_none()).map(|e| (e.kind, e.name)).collect()
    }

    /// How often each server was ordered, by name.
    pub fn servers_ordered(&self) -> HashMap<String, usize> {
        let mut count = HashMap::new();
        for entry in lock(&self.world).ledger() {
            if entry.kind == "bare_metal_server" {
                *count.entry(entry.name).or_default() += 1;
            }
        }
        count
    }

    /// Requests of that method whose path ends so, and their statuses.
    pub fn requests(&self, method: &str, path_end: &str) -> Vec<u16> {
        let world = lock(&self.world);
        let hits = world.requests().filter(|r| r.method == method && r.path.ends_with(path_end));
        hits.map(|r| r.status.unwrap_or(0)).collect()
    }
}

fn config_of(folder: &Folder, more: &str) -> Config {
    let (of_boot, more): (Vec<&str>, Vec<&str>) = more.lines().partition(|line| line.starts_with(TEMPLATES));
    let lines = |lines: Vec<&str>| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let (of_boot, more) = (lines(of_boot), lines(more));
    // Looks are rarer than by default: a run is mostly looking, and a sweep is hundreds of runs.
    let text = format!(
        "data_dir = {:?}\n[boot]\nlisten = \"127.0.0.1:0\"\npublic_url = \"http://{BOOT_HOST}\"\n{of_boot}[ibm_cloud]\n\
         api_key_file = {:?}\niam_url = \"https://iam.test\"\nvpc_url = \"https://vpc.test/v1\"\n\
         {more}[timeouts]\nserver_poll = \"60s\"\nprobe = \"20s\"\nformation_poll = \"20s\"\n",
        folder.0,
        folder.0.join("api-key")
    );
    Config::parse(&text, &|_| None).unwrap()
}

async fn start(
    folder: &Folder,
    more: &str,
    store: &Store,
    world: &Arc<Mutex<World>>,
    clock: &Arc<VirtualClock>,
    wire: &Arc<Wire>,
) -> Assembly {
    let config = config_of(folder, more);
    let outside = Outside {
        clock: clock.clone(),
        ibm: Arc::new(ToCloud { world: world.clone(), clock: clock.clone(), wire: wire.clone() }),
        pause: Arc::new(NoPause),
        nutanix: Arc::new(ToCvms { world: world.clone(), clock: clock.clone(), wire: wire.clone() }),
        ssh: Arc::new(ToCvms { world: world.clone(), clock: clock.clone(), wire: wire.clone() }),
        passwords: Arc::new(CountedPasswords),
    };
    let host: BootHost = BOOT_HOST.parse().unwrap();
    let secrets = Secrets::open(&config, store, &**clock).await.unwrap();
    assemble(&config, &secrets, host, store.clone(), outside, CancellationToken::new()).await.unwrap()
}
