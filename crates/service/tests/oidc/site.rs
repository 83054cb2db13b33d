//! The service, the provider, and the certificates of both.

use super::browser::Browser;
use metalform_service::{Config, Running, serve};
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    process::{Child, Command},
};
use tokio_util::sync::CancellationToken;
use url::Url;

pub const CLIENT: &str = "metalform";
pub const OTHER_CLIENT: &str = "another";
pub const SECRET: &str = "a secret: of 100% & more";

/// Gone with the test.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

pub struct Site {
    running: Option<Running>,
    stop: CancellationToken,
    token: String,
    url: Url,
    issuer: Url,
    client: reqwest::Client,
    provider: Option<Child>,
    /// The service's configuration.
    text: String,
    folder: Folder,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn write_secret(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

impl Site {
    /// Both.
    pub async fn start() -> Site {
        let mut site = Site::without_provider().await;
        site.start_provider().await;
        site
    }

    /// The service alone: the provider's address is configured, and nobody listens there.
    pub async fn without_provider() -> Site {
        Site::at(&format!("https://127.0.0.1:{}", free_port())).await
    }

    /// The service with that provider.
    pub async fn at(issuer: &str) -> Site {
        // That one is installed already could only be another test's doing.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("oidc-{}", uuid::Uuid::new_v4()));
        fs::create_dir_all(&folder).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
        fs::write(folder.join("provider.pem"), certificate.pem()).unwrap();
        write_secret(&folder.join("provider.key"), &key.serialize_pem());
        write_secret(&folder.join("client-secret"), SECRET);
        write_secret(&folder.join("api-key"), "an api key");
        let port = free_port();
        let text = format!(
            "data_dir = {data:?}\n[ibm_cloud]\napi_key_file = {key:?}\n[boot]\nlisten = \"127.0.0.1:0\"\n\
             [control]\nlisten = \"127.0.0.1:{port}\"\n[control.oidc]\nissuer = \"{issuer}\"\nclient_id = \"{CLIENT}\"\n\
             client_secret_file = {secret:?}\nca_file = {ca:?}\nscopes = [\"profile\", \"groups\"]\n\
             roles = {{ admin = [\"root\"], operator = [\"ops\"], auditor = [\"audit\"] }}\n",
            data = folder.join("data"),
            key = folder.join("api-key"),
            secret = folder.join("client-secret"),
            ca = folder.join("provider.pem"),
        );
        let stop = CancellationToken::new();
        let running = serve(Config::parse(&text, &|_| None).unwrap(), stop.clone()).await.unwrap();
        let token = fs::read_to_string(&running.token_file).unwrap().trim().to_owned();
        let trusted = [folder.join("provider.pem"), running.ca_file.clone().unwrap()];
        let trusted = trusted.iter().map(|path| reqwest::Certificate::from_pem(&fs::read(path).unwrap()).unwrap());
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .tls_certs_only(trusted)
            .timeout(Duration::from_secs(60))
            .build()
            .unwrap();
        let url = running.control_url.parse().unwrap();
        let issuer = issuer.parse().unwrap();
        Site { running: Some(running), stop, token, url, issuer, client, provider: None, text, folder: Folder(folder) }
    }

    /// The service stops, and begins again with a configuration that is changed.
    pub async fn restart(&mut self, change: impl FnOnce(&str) -> String) {
        let changed = change(&self.text);
        assert_ne!(changed, self.text);
        self.stop.cancel();
        self.running.take().unwrap().finished().await.unwrap();
        self.stop = CancellationToken::new();
        self.running = Some(serve(Config::parse(&changed, &|_| None).unwrap(), self.stop.clone()).await.unwrap());
        self.text = changed;
    }

    pub async fn start_provider(&mut self) {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oidc/provider.mjs");
        let modules = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("oidc").join("node_modules");
        assert!(
            modules.join("oidc-provider").is_dir(),
            "oidc-provider is missing ({}): `cargo xtask test` (or `cargo xtask oidc`) installs it",
            modules.display()
        );
        let back = self.url("/login/oidc/callback");
        let clients = [CLIENT, OTHER_CLIENT].map(|id| {
            json!({"client_id": id, "client_secret": SECRET, "redirect_uris": [back.as_str()],
                "scope": "openid profile groups"})
        });
        let settings = json!({"port": self.issuer.port(), "key": self.folder.0.join("provider.key"),
            "cert": self.folder.0.join("provider.pem"), "clients": clients});
        let mut command = Command::new("node");
        command.arg(here).arg(modules).arg(settings.to_string()).kill_on_drop(true);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
        let mut provider = command.spawn().expect("node is missing: `cargo xtask test` installs it");
        let mut lines = BufReader::new(provider.stdout.take().unwrap()).lines();
        let listens = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if line.starts_with("listening ") {
                    return true;
                }
            }
            false
        };
        let listens = tokio::time::timeout(Duration::from_secs(60), listens).await;
        assert_eq!(listens, Ok(true), "the provider doesn't start: run node on tests/oidc/provider.mjs to see why");
        // What it says later is read, or it would wait for somebody who does.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        self.provider = Some(provider);
    }

    pub fn browser(&self) -> Browser {
        Browser::new(self.client.clone())
    }

    pub fn url(&self, path: &str) -> Url {
        self.url.join(path).unwrap()
    }

    pub fn provider_url(&self) -> &Url {
        &self.issuer
    }

    /// What the bootstrap token reads there.
    pub async fn api(&self, path: &str) -> Value {
        let answer = self.client.get(self.url(path)).bearer_auth(&self.token).send().await.unwrap();
        serde_json::from_str(&answer.text().await.unwrap()).unwrap()
    }

    pub async fn post(&self, path: &str, body: &Value, with_token: bool) -> (u16, String) {
        let mut request = self.client.post(self.url(path)).body(body.to_string());
        if with_token {
            request = request.bearer_auth(&self.token);
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    pub async fn stop(mut self) {
        self.stop.cancel();
        if let Some(running) = self.running.take() {
            running.finished().await.unwrap();
        }
        if let Some(mut provider) = self.provider.take() {
            provider.kill().await.unwrap();
        }
    }
}

/// Somebody who listens on loopback, gives everybody the same answer, and counts them.
pub struct Listener {
    pub url: String,
    answer: Arc<Mutex<String>>,
    asked: Arc<AtomicUsize>,
}

impl Listener {
    pub async fn start() -> Listener {
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", socket.local_addr().unwrap());
        let listener = Listener { url, answer: Arc::default(), asked: Arc::default() };
        let (answer, asked) = (listener.answer.clone(), listener.asked.clone());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = socket.accept().await {
                asked.fetch_add(1, Ordering::SeqCst);
                let mut seen = [0; 4096];
                let _ = stream.read(&mut seen).await;
                let answer = answer.lock().unwrap().clone();
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        listener
    }

    pub fn answer(&self, head: &str, body: &str) {
        *self.answer.lock().unwrap() = format!("HTTP/1.1 {head}\r\nconnection: close\r\n\r\n{body}");
    }

    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}
