//! The boot plane as this machine asks it: configuration, image set, reports. Each call is made once here; who calls
//! decides what a failure means.
//!
//! Where the boot script pins whom to trust, all of it goes over TLS but for the image files, which are large and compared with
//! the manifest; and a call that finds no TLS isn't made without.

use crate::{
    finding::Code,
    http::{Head, HttpClient, HttpError, HttpUrl, Request, Response},
    kernel_args::{BootToken, KernelArgs},
    session::Session,
    tls::TlsError,
};
use metalform_model::{BootStep, ImageManifest, MANIFEST_FILE, MANIFEST_FORMAT, Report, SIGNATURE_HEADER};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::{sync::Arc, time::Duration};

const LONGEST_CONFIG: usize = 1024 * 1024;
const LONGEST_MANIFEST: usize = 4 * 1024 * 1024;
const LONGEST_REPLY: usize = 64 * 1024;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum PlaneError {
    /// No answer, or a broken one.
    #[error("{what} did not get through")]
    Http {
        /// What was asked for.
        what: String,
        /// Why.
        source: HttpError,
    },
    /// An answer that is a refusal.
    #[error("{what}: the boot plane answers {status} {code}: {message}")]
    Refused {
        /// What was asked for.
        what: String,
        /// HTTP status.
        status: u16,
        /// The boot plane's stable word; `-` where the answer isn't its own.
        code: String,
        /// For a person.
        message: String,
        /// `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// A refusal for a signature whose number isn't greater than that of an earlier request.
    #[error("{what}: the boot plane answers signature_stale: it has seen request {last} of this session")]
    Stale {
        /// What was asked for.
        what: String,
        /// The greatest number that it has seen.
        last: u64,
    },
    /// An answer that isn't what was asked for.
    #[error("{what}: the answer can't be read")]
    Unreadable {
        /// What was asked for.
        what: String,
        /// Why.
        source: serde_json::Error,
    },
    /// A manifest that isn't the one that the boot script names.
    #[error("{what} has the SHA-256 {found}, and the boot script says {expected}")]
    OtherManifest {
        /// What was asked for.
        what: String,
        /// What came.
        found: String,
        /// What should have come.
        expected: String,
    },
    /// A manifest of another release.
    #[error("{what} is of format {format}, and this agent reads {MANIFEST_FORMAT}")]
    AnotherFormat {
        /// What was asked for.
        what: String,
        /// Its format.
        format: u32,
    },
}

impl PlaneError {
    /// Whether the same call may succeed later: the way was the trouble, or a server that is away or overloaded.
    pub fn is_transient(&self) -> bool {
        match self {
            PlaneError::Http { .. } => self.tls_failure().is_none(),
            PlaneError::Refused { status, .. } => *status >= 500 || matches!(status, 408 | 425 | 429),
            PlaneError::Stale { .. }
            | PlaneError::Unreadable { .. }
            | PlaneError::OtherManifest { .. }
            | PlaneError::AnotherFormat { .. } => false,
        }
    }

    /// What is found of TLS, where it came to nothing for good.
    pub fn tls_failure(&self) -> Option<Code> {
        let PlaneError::Http { source: HttpError::Tls { source, .. }, .. } = self else { return None };
        match source {
            TlsError::Untrusted(_) => Some(Code::TlsUntrusted),
            TlsError::Refused(_) => Some(Code::TlsFailed),
            TlsError::Broken(_) => None,
        }
    }

    /// Whether this boot attempt is over: the boot plane knows it no longer, or not this machine.
    pub fn ends_attempt(&self) -> bool {
        matches!(self, PlaneError::Refused { status: 401 | 403 | 404 | 409 | 410, .. } | PlaneError::Stale { .. })
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        if let Some(code) = self.tls_failure() {
            return code.hint();
        }
        match self {
            PlaneError::Http { .. } => "see that the service runs and that this machine reaches it",
            PlaneError::Refused { .. } | PlaneError::Stale { .. } => {
                "`metalform status` and `metalform events` show what the service knows of this node"
            }
            PlaneError::OtherManifest { .. } => {
                "something between service and machine changes files, or the set was changed on the disk: `metalform image verify`"
            }
            PlaneError::Unreadable { .. } | PlaneError::AnotherFormat { .. } => {
                "service and image set are of different releases: make the image set anew"
            }
        }
    }

    /// How long the server asked to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            PlaneError::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// The reply to a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct ReportReply {
    /// It is new, and committed.
    pub recorded: bool,
    /// The last number that is committed.
    pub last_seq: u64,
}

/// One node's view of the boot plane.
#[derive(Clone)]
pub struct BootPlane {
    http: HttpClient,
    node_id: String,
    mgmt_ip: std::net::Ipv4Addr,
    /// In the clear, whatever the others are.
    plain_url: HttpUrl,
    config_url: HttpUrl,
    manifest_url: HttpUrl,
    images_url: HttpUrl,
    manifest_sha256: Option<String>,
    token: BootToken,
    session: Option<Arc<Session>>,
}

/// How often a request is signed anew because its number was taken.
const MOST_SIGNATURES: u32 = 3;

impl BootPlane {
    /// By what the kernel's command line says.
    pub fn new(http: HttpClient, args: &KernelArgs) -> BootPlane {
        let is_pinned = args.ca_sha256.is_some();
        let pinned = |url: &HttpUrl| if is_pinned { url.over_tls() } else { url.clone() };
        BootPlane {
            http,
            node_id: args.node_id.clone(),
            mgmt_ip: args.mgmt_ip,
            plain_url: args.config_url.clone(),
            config_url: pinned(&args.config_url),
            manifest_url: pinned(&args.images_url.join(MANIFEST_FILE)),
            images_url: args.images_url.clone(),
            manifest_sha256: args.manifest_sha256.clone(),
            token: args.boot_token.clone(),
            session: None,
        }
    }

    /// The same with a session: everything is signed from here on, and the token shown no more.
    pub fn with_session(self, session: Session) -> BootPlane {
        BootPlane { session: Some(Arc::new(session)), ..self }
    }

    /// The session, once there is one.
    pub fn session(&self) -> Option<&Session> {
        self.session.as_deref()
    }

    /// Exchanges the token for a session of this key. `false`: the boot plane is of a release that knows no sessions.
    pub fn exchange(&self, session: &Session) -> Result<bool, PlaneError> {
        let what = "the session";
        let url = self.config_url.with_path(&format!("/boot/session/{}", self.node_id));
        let body = json!({ "key": session.public() }).to_string();
        let token = Some(&self.token);
        let request = Request { method: "POST", url: &url, token, headers: &[], body: Some(body.as_bytes()) };
        match self.send(what, &request) {
            Ok(mut response) => self.whole(what, &mut response, LONGEST_REPLY).map(|_| true),
            Err(PlaneError::Refused { status: 405, .. }) => Ok(false),
            Err(PlaneError::Refused { status: 404, code, .. }) if code == "unknown_path" || code == "-" => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Tells a step in the clear, as boot scripts do: it moves nothing, and is all that can be said without TLS.
    pub fn tell(&self, step: BootStep) -> Result<(), PlaneError> {
        let what = format!("the step {step}");
        let url = self.plain_url.with_path(&format!("/boot/step/{}/{step}", self.node_id));
        let request = Request { method: "GET", url: &url, token: Some(&self.token), headers: &[], body: None };
        self.send(&what, &request).map(drop)
    }

    /// A number that differs between nodes, to spread calls of machines that started together.
    pub fn salt(&self) -> u32 {
        self.node_id.bytes().fold(0u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)))
    }

    /// The node's configuration, and the server's time in seconds since 1970.
    pub fn config(&self) -> Result<(Vec<u8>, Option<i64>), PlaneError> {
        let (head, body) = self.get_as_node("the configuration", &self.config_url)?;
        Ok((body, head.date))
    }

    /// What the image set is made of, and how its installer is run.
    pub fn manifest(&self) -> Result<ImageManifest, PlaneError> {
        let what = format!("the image set's {MANIFEST_FILE}");
        let request = Request { method: "GET", url: &self.manifest_url, token: None, headers: &[], body: None };
        let mut response = self.send(&what, &request)?;
        let body = self.whole(&what, &mut response, LONGEST_MANIFEST)?;
        if let Some(expected) = &self.manifest_sha256 {
            let found = hex::encode(Sha256::digest(&body));
            if found != *expected {
                return Err(PlaneError::OtherManifest { what, found, expected: expected.clone() });
            }
        }
        let value: serde_json::Value =
            serde_json::from_slice(&body).map_err(|source| PlaneError::Unreadable { what: what.clone(), source })?;
        // Before its keys are looked at: a later format may have others.
        let format = value.get("format").and_then(serde_json::Value::as_u64).unwrap_or_default();
        if format != u64::from(MANIFEST_FORMAT) {
            return Err(PlaneError::AnotherFormat { what, format: u32::try_from(format).unwrap_or(u32::MAX) });
        }
        serde_json::from_value(value).map_err(|source| PlaneError::Unreadable { what, source })
    }

    /// The node's flat installer document, for Nutanix' Phoenix.
    pub fn arizona(&self) -> Result<Vec<u8>, PlaneError> {
        let url = self.config_url.with_path(&format!("/boot/arizona/{}", self.mgmt_ip));
        Ok(self.get_as_node("the Arizona document", &url)?.1)
    }

    /// Opens an image file, from byte `from` on; the answer's head says whether the server does begin there. With
    /// `etag`, a file that was changed in between comes from its beginning.
    pub fn image(&self, name: &str, from: u64, etag: Option<&str>) -> Result<Response, PlaneError> {
        let mut headers = Vec::new();
        if from > 0 {
            headers.push(("Range", format!("bytes={from}-")));
            headers.extend(etag.map(|etag| ("If-Range", etag.to_owned())));
        }
        let url = self.images_url.join(name);
        let what = format!("image file {name}");
        self.send(&what, &Request { method: "GET", url: &url, token: None, headers: &headers, body: None })
    }

    /// Sends a report.
    pub fn report(&self, report: &Report) -> Result<ReportReply, PlaneError> {
        let what = format!("report {}", report.seq);
        let unreadable = |source| PlaneError::Unreadable { what: what.clone(), source };
        let url = self.config_url.with_path(&format!("/boot/report/{}", self.node_id));
        let body = serde_json::to_vec(report).map_err(unreadable)?;
        let mut response = self.send_as_node(&what, "POST", &url, Some(&body))?;
        let reply = self.whole(&what, &mut response, LONGEST_REPLY)?;
        serde_json::from_slice(&reply).map_err(unreadable)
    }

    fn get_as_node(&self, what: &str, url: &HttpUrl) -> Result<(Head, Vec<u8>), PlaneError> {
        let mut response = self.send_as_node(what, "GET", url, None)?;
        let body = self.whole(what, &mut response, LONGEST_CONFIG)?;
        Ok((response.head, body))
    }

    /// With the session's signature; without a session, with the token.
    fn send_as_node(
        &self,
        what: &str,
        method: &'static str,
        url: &HttpUrl,
        body: Option<&[u8]>,
    ) -> Result<Response, PlaneError> {
        let Some(session) = &self.session else {
            return self.send(what, &Request { method, url, token: Some(&self.token), headers: &[], body });
        };
        // Held until the head of the answer is here: numbers arrive in their order, whichever thread asks.
        let mut numbers = session.numbers();
        let mut left = MOST_SIGNATURES;
        loop {
            let signature = numbers.sign(method, url.path(), body.unwrap_or_default());
            let headers = [(SIGNATURE_HEADER, signature)];
            match self.send(what, &Request { method, url, token: None, headers: &headers, body }) {
                // An earlier system of this machine, or one it has installed, goes on with the same key.
                Err(PlaneError::Stale { last, .. }) if left > 1 => numbers.follow(last),
                answer => return answer,
            }
            left -= 1;
        }
    }

    fn send(&self, what: &str, request: &Request<'_>) -> Result<Response, PlaneError> {
        let http = |source| PlaneError::Http { what: what.to_owned(), source };
        let mut response = self.http.send(request).map_err(http)?;
        if matches!(response.head.status, 200..=299) {
            return Ok(response);
        }
        // Its words are worth having, but a refusal whose body breaks off is a refusal all the same.
        let body = self.http.read_small(&mut response, LONGEST_REPLY).unwrap_or_default();
        let (code, message, last) = refusal(&body);
        let Head { status, retry_after, .. } = response.head;
        let what = what.to_owned();
        match last {
            Some(last) if code == "signature_stale" => Err(PlaneError::Stale { what, last }),
            _ => Err(PlaneError::Refused { what, status, code, message, retry_after }),
        }
    }

    fn whole(&self, what: &str, response: &mut Response, limit: usize) -> Result<Vec<u8>, PlaneError> {
        self.http.read_small(response, limit).map_err(|source| PlaneError::Http { what: what.to_owned(), source })
    }
}

/// `{"error":{"code","message","details":{"last"}}}`, or the beginning of whatever it is.
fn refusal(body: &[u8]) -> (String, String, Option<u64>) {
    #[derive(Deserialize)]
    struct Document {
        error: Error,
    }
    #[derive(Deserialize)]
    struct Error {
        code: String,
        message: String,
        #[serde(default)]
        details: Details,
    }
    #[derive(Default, Deserialize)]
    struct Details {
        last: Option<u64>,
    }
    match serde_json::from_slice(body) {
        Ok(Document { error }) => (error.code, error.message, error.details.last),
        Err(_) => {
            let text = String::from_utf8_lossy(body);
            let line = text.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).take(120).collect();
            ("-".into(), line, None)
        }
    }
}
