//! The boot plane as this machine asks it: configuration, image set, reports. Each call is made once here; who calls
//! decides what a failure means.

use crate::{
    http::{Head, HttpClient, HttpError, HttpUrl, Request, Response},
    kernel_args::{BootToken, KernelArgs},
};
use metalform_model::{ImageManifest, MANIFEST_FILE, MANIFEST_FORMAT, Report};
use serde::Deserialize;
use std::time::Duration;

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
    /// An answer that isn't what was asked for.
    #[error("{what}: the answer can't be read")]
    Unreadable {
        /// What was asked for.
        what: String,
        /// Why.
        source: serde_json::Error,
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
            PlaneError::Http { .. } => true,
            PlaneError::Refused { status, .. } => *status >= 500 || matches!(status, 408 | 425 | 429),
            PlaneError::Unreadable { .. } | PlaneError::AnotherFormat { .. } => false,
        }
    }

    /// Whether this boot attempt is over: the boot plane knows it no longer, or not this machine.
    pub fn ends_attempt(&self) -> bool {
        matches!(self, PlaneError::Refused { status: 401 | 403 | 404 | 409 | 410, .. })
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            PlaneError::Http { .. } => "see that the service runs and that this machine reaches it",
            PlaneError::Refused { .. } => {
                "`metalform status` and `metalform events` show what the service knows of this node"
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
    config_url: HttpUrl,
    images_url: HttpUrl,
    token: BootToken,
}

impl BootPlane {
    /// By what the kernel's command line says.
    pub fn new(http: HttpClient, args: &KernelArgs) -> BootPlane {
        BootPlane {
            http,
            node_id: args.node_id.clone(),
            mgmt_ip: args.mgmt_ip,
            config_url: args.config_url.clone(),
            images_url: args.images_url.clone(),
            token: args.boot_token.clone(),
        }
    }

    /// A number that differs between nodes, to spread calls of machines that started together.
    pub fn salt(&self) -> u32 {
        self.node_id.bytes().fold(0u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)))
    }

    /// The node's configuration, and the server's time in seconds since 1970.
    pub fn config(&self) -> Result<(Vec<u8>, Option<i64>), PlaneError> {
        let (head, body) = self.get("the configuration", &self.config_url, Some(&self.token), LONGEST_CONFIG)?;
        Ok((body, head.date))
    }

    /// What the image set is made of, and how its installer is run.
    pub fn manifest(&self) -> Result<ImageManifest, PlaneError> {
        let what = format!("the image set's {MANIFEST_FILE}");
        let (_, body) = self.get(&what, &self.images_url.join(MANIFEST_FILE), None, LONGEST_MANIFEST)?;
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
        Ok(self.get("the Arizona document", &url, Some(&self.token), LONGEST_CONFIG)?.1)
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
        let request = Request { method: "POST", url: &url, token: Some(&self.token), headers: &[], body: Some(&body) };
        let mut response = self.send(&what, &request)?;
        let reply = self.whole(&what, &mut response, LONGEST_REPLY)?;
        serde_json::from_slice(&reply).map_err(unreadable)
    }

    fn get(
        &self,
        what: &str,
        url: &HttpUrl,
        token: Option<&BootToken>,
        limit: usize,
    ) -> Result<(Head, Vec<u8>), PlaneError> {
        let mut response = self.send(what, &Request { method: "GET", url, token, headers: &[], body: None })?;
        let body = self.whole(what, &mut response, limit)?;
        Ok((response.head, body))
    }

    fn send(&self, what: &str, request: &Request<'_>) -> Result<Response, PlaneError> {
        let http = |source| PlaneError::Http { what: what.to_owned(), source };
        let mut response = self.http.send(request).map_err(http)?;
        if matches!(response.head.status, 200..=299) {
            return Ok(response);
        }
        // Its words are worth having, but a refusal whose body breaks off is a refusal all the same.
        let body = self.http.read_small(&mut response, LONGEST_REPLY).unwrap_or_default();
        let (code, message) = refusal(&body);
        let Head { status, retry_after, .. } = response.head;
        Err(PlaneError::Refused { what: what.to_owned(), status, code, message, retry_after })
    }

    fn whole(&self, what: &str, response: &mut Response, limit: usize) -> Result<Vec<u8>, PlaneError> {
        self.http.read_small(response, limit).map_err(|source| PlaneError::Http { what: what.to_owned(), source })
    }
}

/// `{"error":{"code","message"}}`, or the beginning of whatever it is.
fn refusal(body: &[u8]) -> (String, String) {
    #[derive(Deserialize)]
    struct Document {
        error: Error,
    }
    #[derive(Deserialize)]
    struct Error {
        code: String,
        message: String,
    }
    match serde_json::from_slice(body) {
        Ok(Document { error }) => (error.code, error.message),
        Err(_) => {
            let text = String::from_utf8_lossy(body);
            let line = text.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).take(120).collect();
            ("-".into(), line)
        }
    }
}
