//! The service's HTTP API, as far as the command line uses it.
//!
//! A refused connection is tried again for a while: a service that is being restarted is nobody's error. Nothing else is:
//! a request that may have arrived is the operator's to repeat, and every request here is safe to repeat.

use crate::{
    error::{CliError, Refusal, RootCause, TlsFault},
    server::Server,
};
use metalform_model::{
    ApiRole, ApiToken, ClusterStatus, Event, Explanation, FormationChoice, PlanFormat, Scope, Timestamp, User,
};
use metalform_store::{AuditHead, AuditLine};
use reqwest::{Certificate, Method, RequestBuilder, Response, Url, header};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::{collections::BTreeSet, io, time::Duration};

/// How long one request may take. Accepting a plan reads the cloud, which answers slowly at times.
const REQUEST_LIMIT: Duration = Duration::from_secs(120);
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(200);

/// A client of one service.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    url: Url,
    token: SecretString,
    connect_for: Duration,
}

/// What became of a plan.
#[derive(Debug)]
pub enum Deployed {
    /// It is a new deployment.
    New(ClusterStatus),
    /// The same plan lives already.
    Same(ClusterStatus),
}

/// The passwords of a cluster's accounts. They are shown to whoever asked and to nobody else: `Debug` is left out.
#[derive(Serialize, Deserialize)]
pub struct ClusterCredentials {
    /// The cluster.
    pub cluster: String,
    /// Its accounts.
    pub accounts: Vec<Credential>,
}

/// One account.
#[derive(Serialize, Deserialize)]
pub struct Credential {
    /// Which.
    pub account: String,
    /// The name it logs in with.
    pub user: String,
    /// Where it logs in, in words.
    #[serde(rename = "where")]
    pub place: String,
    /// Its password.
    pub password: String,
    /// How far the account is with it.
    pub state: String,
}

/// What a new token is to be.
#[derive(Debug, Serialize)]
pub struct NewToken {
    /// What it is called.
    pub name: String,
    /// What it may do.
    pub role: ApiRole,
    /// The clusters it is limited to; `None`: all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clusters: Option<BTreeSet<String>>,
    /// `30d`, `12h`, …, or `never`.
    pub expires: String,
}

/// A new token, with its text: shown to whoever made it and to nobody else. `Debug` is left out.
#[derive(Serialize, Deserialize)]
pub struct MadeToken {
    /// Its text.
    pub token: String,
    /// The rest.
    #[serde(flatten)]
    pub of: ApiToken,
}

/// Who a new user is to be. `Debug` is left out.
#[derive(Serialize)]
pub struct NewUser<'a> {
    /// What they log in as.
    pub name: &'a str,
    /// What they may do.
    pub role: ApiRole,
    /// The clusters they are limited to; `None`: all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clusters: Option<BTreeSet<String>>,
    /// Their password.
    pub password: &'a str,
}

#[derive(Deserialize)]
struct Users {
    users: Vec<User>,
}

/// A session in a browser.
#[derive(Debug, Serialize, Deserialize)]
pub struct SignedIn {
    /// Whose, as the audit calls them.
    pub who: String,
    /// Their name.
    pub name: String,
    /// What it may do.
    pub role: ApiRole,
    /// Of which clusters.
    pub clusters: Scope,
    /// When it began.
    pub created_at: Timestamp,
    /// When it was last used, to a thirtieth of the time after which it ends unused.
    pub last_used_at: Timestamp,
    /// When it ends, however much it is used.
    pub ends_at: Timestamp,
}

#[derive(Deserialize)]
struct Sessions {
    sessions: Vec<SignedIn>,
}

#[derive(Deserialize)]
struct Tokens {
    tokens: Vec<ApiToken>,
}

#[derive(Deserialize)]
struct ErrorDocument {
    error: ErrorBody,
}

#[derive(Deserialize)]
struct ErrorBody {
    code: String,
    message: String,
    #[serde(default)]
    hint: Option<String>,
    #[serde(default)]
    details: Value,
}

#[derive(Deserialize)]
struct Events {
    events: Vec<Event>,
}

#[derive(Deserialize)]
struct AuditLines {
    lines: Vec<AuditLine>,
}

/// The newest signed head of the service's audit.
#[derive(Deserialize)]
pub struct SignedHead {
    /// `None`: nothing is recorded.
    pub head: Option<AuditHead>,
}

#[derive(Deserialize)]
struct Clusters {
    clusters: Vec<ClusterStatus>,
}

impl Client {
    /// A client of that service; a refused connection is tried again for `connect_for`.
    pub fn new(server: &Server, connect_for: Duration) -> Result<Client, CliError> {
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_LIMIT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("metalform/", env!("CARGO_PKG_VERSION")));
        if server.is_local() {
            builder = builder.no_proxy();
        }
        if let (Some(host), Some(address)) = (server.url.host_str(), server.at) {
            builder = builder.resolve(host, address);
        }
        let mut trusted = Vec::new();
        for path in &server.ca_files {
            let bad = |source| CliError::BadCertificates { path: path.clone(), source };
            let pem = std::fs::read(path).map_err(|e| bad(e.into()))?;
            let certificates = Certificate::from_pem_bundle(&pem).map_err(|e| bad(e.into()))?;
            if certificates.is_empty() {
                return Err(bad("it holds no certificate".into()));
            }
            trusted.extend(certificates);
        }
        builder = match server.trusts_system {
            true => builder.tls_certs_merge(trusted),
            false => builder.tls_certs_only(trusted),
        };
        let unusable = |e: reqwest::Error| match server.ca_files.last() {
            Some(path) => CliError::BadCertificates { path: path.clone(), source: e.into() },
            None => CliError::Start(io::Error::other(e)),
        };
        let http = builder.build().map_err(unusable)?;
        Ok(Client { http, url: server.url.clone(), token: server.token.clone(), connect_for })
    }

    /// Gives a plan over.
    pub async fn deploy(&self, plan: &str, format: PlanFormat) -> Result<Deployed, CliError> {
        let response = self.post_plan(plan, format, false).await?;
        let is_new = response.status() == reqwest::StatusCode::CREATED;
        let status = self.document("deploy the plan", response).await?;
        Ok(if is_new { Deployed::New(status) } else { Deployed::Same(status) })
    }

    /// Has a plan checked, against the cloud too; nothing is created.
    pub async fn check(&self, plan: &str, format: PlanFormat) -> Result<Value, CliError> {
        let response = self.post_plan(plan, format, true).await?;
        self.document("check the plan", response).await
    }

    async fn post_plan(&self, plan: &str, format: PlanFormat, dry_run: bool) -> Result<Response, CliError> {
        let kind = match format {
            PlanFormat::Toml => "application/toml",
            PlanFormat::Json => "application/json",
        };
        let mut request = self.request(Method::POST, &["clusters"]);
        if dry_run {
            request = request.query(&[("dry_run", "true")]);
        }
        let doing = if dry_run { "check the plan" } else { "deploy the plan" };
        self.send(doing, request.header(header::CONTENT_TYPE, kind).body(plan.to_owned())).await
    }

    /// One cluster.
    pub async fn cluster(&self, name: &str) -> Result<ClusterStatus, CliError> {
        self.get("read the cluster's status", &["clusters", name]).await
    }

    /// All living clusters.
    pub async fn clusters(&self) -> Result<Vec<ClusterStatus>, CliError> {
        let all: Clusters = self.get("list the clusters", &["clusters"]).await?;
        Ok(all.clusters)
    }

    /// Asks for a stopped deployment to go on.
    pub async fn retry(&self, name: &str, formation: Option<FormationChoice>) -> Result<ClusterStatus, CliError> {
        let doing = "have the cluster tried again";
        let mut request = self.request(Method::POST, &["clusters", name, "retry"]);
        if let Some(choice) = formation {
            request = request.json(&serde_json::json!({"formation": choice}));
        }
        let response = self.send(doing, request).await?;
        self.document(doing, response).await
    }

    /// Asks for a cluster to be formed whose plan waits for that.
    pub async fn form(&self, name: &str) -> Result<ClusterStatus, CliError> {
        self.ask("have the cluster formed", Method::POST, &["clusters", name, "form"]).await
    }

    /// Asks for everything that was made for a cluster to be deleted.
    pub async fn destroy(&self, name: &str) -> Result<ClusterStatus, CliError> {
        self.ask("have the cluster destroyed", Method::DELETE, &["clusters", name]).await
    }

    /// The passwords of a cluster's accounts. The service records that they were read.
    pub async fn credentials(&self, name: &str) -> Result<ClusterCredentials, CliError> {
        self.get("read the passwords", &["clusters", name, "credentials"]).await
    }

    /// Makes an API token.
    pub async fn create_token(&self, wanted: &NewToken) -> Result<MadeToken, CliError> {
        let doing = "make a token";
        let response = self.send(doing, self.request(Method::POST, &["tokens"]).json(wanted)).await?;
        self.document(doing, response).await
    }

    /// Every API token there ever was.
    pub async fn tokens(&self) -> Result<Vec<ApiToken>, CliError> {
        let all: Tokens = self.get("list the tokens", &["tokens"]).await?;
        Ok(all.tokens)
    }

    /// Lets the token of that id open nothing any more.
    pub async fn revoke_token(&self, id: &str) -> Result<ApiToken, CliError> {
        self.ask("revoke the token", Method::DELETE, &["tokens", id]).await
    }

    /// Makes a user.
    pub async fn create_user(&self, wanted: &NewUser<'_>) -> Result<User, CliError> {
        let doing = "make a user";
        let response = self.send(doing, self.request(Method::POST, &["users"]).json(wanted)).await?;
        self.document(doing, response).await
    }

    /// Every user that the token may know of.
    pub async fn users(&self) -> Result<Vec<User>, CliError> {
        let all: Users = self.get("list the users", &["users"]).await?;
        Ok(all.users)
    }

    /// Gives a user another password.
    pub async fn set_password(&self, name: &str, password: &str) -> Result<User, CliError> {
        let doing = "change the password";
        let request = self.request(Method::POST, &["users", name, "password"]);
        let response = self.send(doing, request.json(&serde_json::json!({"password": password}))).await?;
        self.document(doing, response).await
    }

    /// Removes a user.
    pub async fn remove_user(&self, name: &str) -> Result<User, CliError> {
        self.ask("remove the user", Method::DELETE, &["users", name]).await
    }

    /// Every session in a browser that the token may know of.
    pub async fn sessions(&self) -> Result<Vec<SignedIn>, CliError> {
        let all: Sessions = self.get("list the sessions", &["sessions"]).await?;
        Ok(all.sessions)
    }

    /// Ends all sessions of one person; gives those that it ended.
    pub async fn sign_out(&self, who: &str) -> Result<Vec<SignedIn>, CliError> {
        let ended: Sessions = self.ask("end the sessions", Method::DELETE, &["sessions", who]).await?;
        Ok(ended.sessions)
    }

    /// A page of the timeline: what comes after `after`; empty at the end.
    pub async fn events(&self, name: &str, after: i64) -> Result<Vec<Event>, CliError> {
        let doing = "read the timeline";
        let request = self.request(Method::GET, &["clusters", name, "events"]).query(&[("after", after)]);
        let page: Events = self.document(doing, self.send(doing, request).await?).await?;
        Ok(page.events)
    }

    /// The timeline as it grows. The response has no end of its own: whoever reads it sets a limit on silence.
    pub async fn stream(&self, name: &str, after: i64) -> Result<Response, CliError> {
        let request = self.request(Method::GET, &["clusters", name, "events"]).query(&[("after", after)]);
        self.streamed("follow the timeline", request).await
    }

    async fn streamed(&self, doing: &str, request: RequestBuilder) -> Result<Response, CliError> {
        // The limit of a request holds until the end of its body; here it is on the answer's beginning alone.
        let request = request.header(header::ACCEPT, "text/event-stream").timeout(Duration::from_secs(24 * 3600));
        match tokio::time::timeout(REQUEST_LIMIT, self.send(doing, request)).await {
            Ok(answer) => self.accepted(doing, answer?).await,
            Err(_) => Err(CliError::Silent { doing: doing.to_owned(), server: self.server() }),
        }
    }

    /// Lines of the audit: what comes after `after` and passes the filter, oldest first.
    pub async fn audit(&self, filter: &[(&str, String)], after: i64) -> Result<Vec<AuditLine>, CliError> {
        let doing = "read the audit";
        let request = self.request(Method::GET, &["audit"]).query(filter).query(&[("after", after)]);
        let page: AuditLines = self.document(doing, self.send(doing, request).await?).await?;
        Ok(page.lines)
    }

    /// The newest signed head.
    pub async fn audit_head(&self) -> Result<SignedHead, CliError> {
        self.get("read the audit's newest head", &["audit", "head"]).await
    }

    /// The audit as it grows; see [`Client::stream`].
    pub async fn audit_stream(&self, filter: &[(&str, String)], after: i64) -> Result<Response, CliError> {
        let request = self.request(Method::GET, &["audit"]).query(filter).query(&[("after", after)]);
        self.streamed("follow the audit", request).await
    }

    /// Where a node stands, and why.
    pub async fn explain(&self, server_id: &str) -> Result<Explanation, CliError> {
        self.get("have the node explained", &["nodes", server_id, "explain"]).await
    }

    /// What a node is given to boot, its token left out.
    pub async fn script(&self, server_id: &str) -> Result<String, CliError> {
        let doing = "read the boot script";
        let response = self.send(doing, self.request(Method::GET, &["nodes", server_id, "script"])).await?;
        let response = self.accepted(doing, response).await?;
        response.text().await.map_err(|e| self.broken(doing, e))
    }

    /// Whether the service answers. It needs no token and leaves no line in the audit, so none is sent.
    pub async fn is_alive(&self) -> Result<(), CliError> {
        let (doing, mut url) = ("ask whether it answers", self.url.clone());
        url.set_path("/healthz");
        let response = self.send(doing, self.http.get(url).timeout(REQUEST_LIMIT)).await?;
        self.document::<Value>(doing, response).await.map(drop)
    }

    async fn get<T: DeserializeOwned>(&self, doing: &str, path: &[&str]) -> Result<T, CliError> {
        self.ask(doing, Method::GET, path).await
    }

    async fn ask<T: DeserializeOwned>(&self, doing: &str, method: Method, path: &[&str]) -> Result<T, CliError> {
        let response = self.send(doing, self.request(method, path)).await?;
        self.document(doing, response).await
    }

    /// Names come from the operator: each is one segment, whatever it holds.
    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.clear().extend(["api", "v1"]).extend(path);
        }
        self.http.request(method, url).bearer_auth(self.token.expose_secret()).timeout(REQUEST_LIMIT)
    }

    async fn send(&self, doing: &str, request: RequestBuilder) -> Result<Response, CliError> {
        let mut waited = Duration::ZERO;
        loop {
            let again = request.try_clone().expect("bodies here are whole texts, which can be sent again");
            match again.send().await {
                Ok(response) => return Ok(response),
                Err(e) if is_refused(&e) && waited < self.connect_for => {
                    tracing::debug!(server = %self.server(), "refused; tried again");
                    tokio::time::sleep(BETWEEN_ATTEMPTS).await;
                    waited += BETWEEN_ATTEMPTS;
                }
                Err(e) if e.is_connect() => {
                    if let Some(fault) = tls_fault(&e) {
                        return Err(CliError::Tls { server: self.server(), fault, source: RootCause(e) });
                    }
                    return Err(CliError::Unreachable { server: self.server(), source: RootCause(e) });
                }
                Err(e) => return Err(self.broken(doing, e)),
            }
        }
    }

    async fn document<T: DeserializeOwned>(&self, doing: &str, response: Response) -> Result<T, CliError> {
        let response = self.accepted(doing, response).await?;
        let status = response.status().as_u16();
        let text = response.text().await.map_err(|e| self.broken(doing, e))?;
        serde_json::from_str(&text).map_err(|_| self.foreign(doing, status))
    }

    /// The response, unless it is an error.
    async fn accepted(&self, doing: &str, response: Response) -> Result<Response, CliError> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = response.text().await.map_err(|e| self.broken(doing, e))?;
        match serde_json::from_str::<ErrorDocument>(&text) {
            Ok(ErrorDocument { error }) => Err(CliError::Refused(Refusal {
                status: status.as_u16(),
                code: error.code,
                message: error.message,
                hint: error.hint,
                details: error.details,
            })),
            Err(_) => Err(self.foreign(doing, status.as_u16())),
        }
    }

    fn foreign(&self, doing: &str, status: u16) -> CliError {
        CliError::Foreign { doing: doing.to_owned(), server: self.server(), status }
    }

    fn broken(&self, doing: &str, e: reqwest::Error) -> CliError {
        CliError::Broken { doing: doing.to_owned(), server: self.server(), source: RootCause(e) }
    }

    fn server(&self) -> String {
        self.url.origin().ascii_serialization()
    }
}

/// Nobody listens there: the request can't have arrived. A network that is silent isn't asked again.
fn is_refused(error: &reqwest::Error) -> bool {
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        if cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::ConnectionRefused) {
            return true;
        }
        next = cause.source();
    }
    false
}

/// Why no TLS connection came about, where somebody listens and it was that.
fn tls_fault(error: &reqwest::Error) -> Option<TlsFault> {
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        if let Some(fault) = cause.downcast_ref::<rustls::Error>() {
            return Some(TlsFault::of(fault));
        }
        // It was connected, and then hung up on in the middle of the handshake.
        if cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::UnexpectedEof) {
            return Some(TlsFault::NoTls);
        }
        // An I/O error skips what it wraps when it is asked for its source.
        next = match cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => cause.source(),
        };
    }
    None
}
