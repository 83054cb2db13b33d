//! Against a real authority: Pebble, which Let's Encrypt's own people write for clients to be tried with. It refuses nonces and
//! reorders what it sends, as a client must bear.

use super::*;
use crate::{
    Config, WallClock,
    listener::{self, Limits, Speaks},
    secrets::SealedFiles,
    tls::{
        ServerTls,
        leaf::{Leaf, Plane},
        testing,
        tests::Folder,
    },
};
use axum::{Router, routing::get};
use metalform_model::Clock;
use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU8, Ordering},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
};
use tokio_util::sync::CancellationToken;

const NAME: &str = "metalform.example.com";
const LONG: Duration = Duration::from_secs(60);

/// A program that ends with the test.
struct Program(Child);

impl Program {
    fn start(command: &mut Command) -> Program {
        let started = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Program(started.expect("Debian's package pebble is installed; `cargo xtask test` does it"))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An authority, its DNS and we, at a loopback address of our own: the authority's ports can't be left to the system.
struct Site {
    folder: Folder,
    ip: Ipv4Addr,
    port: u16,
    /// Where names lead.
    leads_to: Ipv4Addr,
    listener: Option<TcpListener>,
}

impl Site {
    async fn new() -> Site {
        static COUNT: AtomicU8 = AtomicU8::new(0);
        let [_, a, b, c] = std::process::id().to_be_bytes();
        let ip = Ipv4Addr::new(127, (a << 5 | COUNT.fetch_add(1, Ordering::Relaxed)) + 1, b, c.clamp(1, 254));
        let folder = Folder::new();
        let names = [ip.to_string()].into();
        let authority = folder.0.join("authority");
        Leaf::load_or_make(&authority, &SealedFiles::for_tests(), Plane::Control, &names, WallClock.now()).unwrap();
        let listener = TcpListener::bind((ip, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        Site { folder, ip, port, leads_to: ip, listener: Some(listener) }
    }

    fn directory(&self) -> String {
        format!("https://{}:14000/dir", self.ip)
    }

    fn acme(&self, more: &str) -> AcmeConfig {
        let ca = self.folder.0.join("authority/ca.pem");
        let text = format!("domains = [\"{NAME}\"]\naccept_terms = true\ndirectory = \"{}\"\n", self.directory());
        toml::from_str(&format!("{text}ca_file = \"{}\"\n{more}", ca.display())).unwrap()
    }

    fn config(&self) -> Config {
        let text = format!("data_dir = \"{}\"\n[boot]\nlisten = \"127.0.0.1:8080\"\n", self.folder.0.display());
        let mut config = Config::parse(&text, &|_| None).unwrap();
        config.control.acme = Some(self.acme(""));
        config
    }

    fn tls(&self, config: &Config) -> ServerTls {
        let listen = SocketAddr::from((self.ip, self.port));
        ServerTls::start(config, &SealedFiles::for_tests(), listen, WallClock.now()).unwrap().unwrap()
    }

    /// Answers as the control plane does.
    fn answer(&mut self, tls: &ServerTls, stop: &CancellationToken) {
        let router = Router::new().route("/", get(|| async { "here" }));
        let speaks = Speaks::Https(tls.acceptor().unwrap());
        listener::answer("test", self.listener.take().unwrap(), speaks, router, Limits::default(), stop.clone());
    }

    async fn authority(&self, more: serde_json::Value) -> [Program; 2] {
        let (ip, pem) = (self.ip, self.folder.0.join("authority/server.pem"));
        let mut config = serde_json::json!({
            "listenAddress": format!("{ip}:14000"), "managementListenAddress": format!("{ip}:15000"),
            "certificate": pem, "privateKey": pem, "httpPort": 1, "tlsPort": self.port, "ocspResponderURL": "",
        });
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let file = self.folder.0.join("pebble.json");
        fs::write(&file, serde_json::json!({"pebble": config}).to_string()).unwrap();
        let mut names = Command::new("pebble-challtestsrv");
        names.args(["-defaultIPv6", "", "-http01", "", "-https01", "", "-tlsalpn01", ""]);
        names.args(["-defaultIPv4", &self.leads_to.to_string(), "-dns01", &format!("{ip}:8053")]);
        names.args(["-management", &format!("{ip}:8055")]);
        let mut pebble = Command::new("pebble");
        pebble.arg("-config").arg(file).args(["-dnsserver", &format!("{ip}:8053")]).env("PEBBLE_VA_NOSLEEP", "1");
        let programs = [Program::start(&mut names), Program::start(&mut pebble)];
        for port in [14000, 15000, 8055] {
            let listening = async {
                while TcpStream::connect((ip, port)).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            tokio::time::timeout(LONG, listening).await.expect("the authority listens");
        }
        programs
    }

    /// What the authority's clients trust.
    async fn root(&self) -> PathBuf {
        let client = crate::https_client::https_client(Some(&self.folder.0.join("authority/ca.pem")), LONG).unwrap();
        let asked = client.get(format!("https://{}:15000/roots/0", self.ip)).send().await.unwrap();
        let file = self.folder.0.join("root.pem");
        fs::write(&file, asked.bytes().await.unwrap()).unwrap();
        file
    }

    /// The certificate that somebody is shown who asks for that name and trusts that authority; the answer must come, too.
    async fn shown(&self, name: &str, trusts: &Path) -> Option<Vec<u8>> {
        let stream = TcpStream::connect((self.ip, self.port)).await.unwrap();
        let name = name.to_owned().try_into().unwrap();
        let mut stream = testing::connector(trusts).connect(name, stream).await.ok()?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.ok()?;
        let mut heard = String::new();
        stream.read_to_string(&mut heard).await.ok()?;
        assert!(heard.ends_with("here"), "{heard}");
        Some(stream.get_ref().1.peer_certificates()?.first()?.to_vec())
    }

    /// Only the way to the authority, and what is presented meanwhile.
    async fn start(&mut self, config: AcmeConfig, stop: &CancellationToken) -> (Acme, Arc<Presented>) {
        let folder = self.folder.0.join("tls");
        let names = ["localhost".to_owned()].into();
        let (leaf, _) =
            Leaf::load_or_make(&folder, &SealedFiles::for_tests(), Plane::Control, &names, WallClock.now()).unwrap();
        let presented = Presented::new(leaf.key);
        let speaks = Speaks::Https(super::super::presented::acceptor(presented.clone(), true).unwrap());
        let router = Router::new();
        listener::answer("test", self.listener.take().unwrap(), speaks, router, Limits::default(), stop.clone());
        let acme = Acme::start(folder, SealedFiles::for_tests(), config, &presented, WallClock.now()).unwrap();
        (acme, presented)
    }
}

#[tokio::test]
async fn a_certificate_is_issued_once_shown_for_its_name_and_kept() {
    let mut site = Site::new().await;
    let (config, stop, reload) = (site.config(), CancellationToken::new(), Arc::new(Notify::new()));
    let tls = site.tls(&config);
    site.answer(&tls, &stop);
    let own = site.folder.0.join("tls/ca.pem");
    // The authority isn't there yet: ours is shown for each name.
    let keeping = tokio::spawn(tls.keep(Arc::new(WallClock), reload.clone(), stop.clone()));
    assert!(site.shown(NAME, &own).await.is_some());

    let authority = site.authority(serde_json::json!({})).await;
    let root = site.root().await;
    let issued = async {
        loop {
            reload.notify_one();
            match site.shown(NAME, &root).await {
                Some(shown) => break shown,
                None => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    };
    let issued = tokio::time::timeout(LONG, issued).await.expect("a certificate is issued");
    assert!(site.shown("localhost", &own).await.is_some(), "for other names it is ours");
    assert_eq!(site.folder.mode("tls/acme.pem"), 0o600);
    let account = fs::read_to_string(site.folder.0.join("tls/acme-account.json")).unwrap();
    assert!(account.starts_with("metalform-sealed:"), "{account}");

    // The next start needs nobody.
    drop(authority);
    stop.cancel();
    keeping.await.unwrap();
    let stop = CancellationToken::new();
    site.listener = Some(TcpListener::bind((site.ip, 0)).await.unwrap());
    site.port = site.listener.as_ref().unwrap().local_addr().unwrap().port();
    site.answer(&site.tls(&config), &stop);
    assert_eq!(site.shown(NAME, &root).await, Some(issued));
    stop.cancel();

    // What one authority issued isn't taken for another's.
    let mut other = config.clone();
    other.control.acme.as_mut().unwrap().directory += "/other";
    let stop = CancellationToken::new();
    site.listener = Some(TcpListener::bind((site.ip, 0)).await.unwrap());
    site.port = site.listener.as_ref().unwrap().local_addr().unwrap().port();
    site.answer(&site.tls(&other), &stop);
    assert_eq!(site.shown(NAME, &root).await, None);
    assert!(site.shown(NAME, &own).await.is_some());
    stop.cancel();
}

#[tokio::test]
async fn an_authority_that_does_not_find_us_behind_the_name_says_so_and_nothing_is_kept() {
    let mut site = Site::new().await;
    site.leads_to = Ipv4Addr::new(127, 255, 255, 254);
    let stop = CancellationToken::new();
    let (acme, presented) = site.start(site.acme(""), &stop).await;
    let _authority = site.authority(serde_json::json!({})).await;
    let error = acme.order(&presented, WallClock.now()).await.unwrap_err();
    let AcmeError::NotFound { domain, why } = &error else { panic!("{error:?}") };
    assert_eq!(domain, NAME);
    assert!(why.contains("connect") && error.hint().contains("443"), "{why}");
    assert!(!site.folder.0.join("tls/acme.pem").exists());
    stop.cancel();
}

#[tokio::test]
async fn an_authority_with_accounts_of_its_own_is_shown_ours_there() {
    let mut site = Site::new().await;
    let stop = CancellationToken::new();
    let file = site.folder.0.join("external.key");
    let key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    secrets::write_whole(&file, format!("{key}\n").as_bytes(), 0o600).unwrap();
    let external = format!("external_account = {{ key_id = \"kid-1\", key_file = \"{}\" }}", file.display());
    let (acme, presented) = site.start(site.acme(&external), &stop).await;
    let keys = serde_json::json!({"externalAccountBindingRequired": true, "externalAccountMACKeys": {"kid-1": key}});
    let _authority = site.authority(keys).await;
    let unknown = unbound(&acme);
    let error = unknown.order(&presented, WallClock.now()).await.unwrap_err();
    assert!(matches!(&error, AcmeError::Asked { what: "make an account", .. }), "{error:?}");
    acme.order(&presented, WallClock.now()).await.unwrap();
    stop.cancel();
}

#[tokio::test]
async fn an_account_that_the_authority_has_forgotten_is_made_anew() {
    let mut site = Site::new().await;
    let stop = CancellationToken::new();
    let (acme, presented) = site.start(site.acme(""), &stop).await;
    let authority = site.authority(serde_json::json!({})).await;
    acme.order(&presented, WallClock.now()).await.unwrap();
    let account = || fs::read_to_string(site.folder.0.join("tls/acme-account.json")).unwrap();
    let first = account();
    drop(authority);
    let authority = site.authority(serde_json::json!({})).await;
    acme.order(&presented, WallClock.now()).await.unwrap();
    assert_ne!(first, account());

    // The certificate that there is stays until there is another, whatever becomes of the order for it.
    drop(authority);
    site.leads_to = Ipv4Addr::new(127, 255, 255, 254);
    let kept = fs::read_to_string(site.folder.0.join("tls/acme.pem")).unwrap();
    let _authority = site.authority(serde_json::json!({})).await;
    let failed = acme.order(&presented, WallClock.now()).await.unwrap_err();
    assert!(matches!(failed, AcmeError::NotFound { .. }), "{failed:?}");
    assert_eq!(fs::read_to_string(site.folder.0.join("tls/acme.pem")).unwrap(), kept);
    stop.cancel();
}

#[tokio::test]
async fn a_failed_order_is_tried_again_later_and_later_and_at_once_when_somebody_asks() {
    let mut site = Site::new().await;
    let stop = CancellationToken::new();
    // Nobody listens there.
    let (mut acme, presented) = site.start(site.acme(""), &stop).await;
    let mut now = WallClock.now();
    for pause in [15, 30, 60, 120, 240, 360, 360] {
        acme.look(&presented, now, false).await;
        assert_eq!(acme.next_try, now + Duration::from_secs(pause * 60));
        let failures = acme.failures;
        acme.look(&presented, acme.next_try - Duration::from_secs(1), false).await;
        assert_eq!(acme.failures, failures, "not before its time");
        now = acme.next_try;
    }
    let failures = acme.failures;
    acme.look(&presented, now - Duration::from_secs(60), true).await;
    assert_eq!(acme.failures, failures + 1);
    // The clock was a year ahead.
    acme.look(&presented, now - Duration::from_secs(365 * 24 * 3600), false).await;
    assert_eq!(acme.failures, failures + 2);
    stop.cancel();
}

/// The same, without the account that we have there.
fn unbound(acme: &Acme) -> Acme {
    Acme {
        folder: acme.folder.clone(),
        sealed: acme.sealed.clone(),
        config: acme.config.clone(),
        domains: acme.domains.clone(),
        http: acme.http.clone(),
        external: None,
        facts: None,
        failures: 0,
        next_try: Timestamp(0),
    }
}
