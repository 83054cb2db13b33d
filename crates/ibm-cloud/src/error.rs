//! What went wrong with one call, in a form that decides what comes next.
//!
//! IBM publishes no complete list of its error codes and documents them as open-ended. So the HTTP status leads; text
//! and code only refine it where the difference matters (name taken, over quota, in use).
//! Schema: <https://cloud.ibm.com/apidocs/vpc#error-handling>.

use crate::transport::{Method, Response, TransportError};
use serde_json::Value;
use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

/// Longest message kept, in characters.
const MAX_MESSAGE_CHARS: usize = 1000;

/// The kinds of failure a caller tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// 404: the resource of the path does not exist (any more). A missing resource named in the *body* is `Invalid`.
    NotFound,
    /// The name is taken: look it up and adopt what is there.
    NotUnique,
    /// 409: something else still holds the resource.
    InUse,
    /// 409 or 412: not possible in the resource's present state.
    Conflict,
    /// 401, or IAM refused the credentials.
    Unauthorized,
    /// 403: known, but not allowed to.
    Forbidden,
    /// The account's quota is used up.
    OverQuota,
    /// The request is wrong and stays wrong.
    Invalid,
    /// 429: nothing was done, try later.
    RateLimited,
    /// The service is in trouble; the call did nothing, or may be repeated without harm.
    Unavailable,
    /// The request never left: nothing was done.
    NotSent,
    /// It may have been carried out: the reply was lost or unreadable, or a 5xx answered a call that must not be
    /// repeated blindly. Look before anything else.
    Ambiguous,
    /// The other side does not speak the protocol this client knows.
    Protocol,
}

/// One failed call. Holds no secret: neither header nor body of the request.
#[derive(Clone)]
pub struct Error(Box<Details>);

#[derive(Debug, Clone)]
struct Details {
    kind: ErrorKind,
    operation: &'static str,
    request: String,
    status: Option<u16>,
    code: Option<String>,
    field: Option<String>,
    message: String,
    trace: Option<String>,
    retry_after: Option<Duration>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// What repeating a call would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Reads (and token requests, which change nothing that matters).
    None,
    /// Repeating does no more: DELETE.
    Repeatable,
    /// Repeating may do it twice.
    Once,
}

impl Effect {
    pub(crate) fn of(method: Method) -> Self {
        match method {
            Method::Get => Effect::None,
            Method::Delete => Effect::Repeatable,
            Method::Post | Method::Put => Effect::Once,
        }
    }
}

/// What an error is about.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    /// `create bare metal server`
    pub name: &'static str,
    /// `POST /bare_metal_servers`
    pub request: String,
    pub effect: Effect,
}

impl Error {
    /// What to do about it depends on this.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What was tried, in words: `create bare metal server`.
    pub fn operation(&self) -> &'static str {
        self.0.operation
    }

    /// Method and path: `POST /bare_metal_servers`.
    pub fn request(&self) -> &str {
        &self.0.request
    }

    /// HTTP status, if there was a reply.
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// The first error's `code`, if there was one.
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// The field, parameter or header the cloud complains about.
    pub fn field(&self) -> Option<&str> {
        self.0.field.as_deref()
    }

    /// The cloud's words, or ours where it said nothing.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// IBM's id of the exchange; its support asks for it.
    pub fn trace(&self) -> Option<&str> {
        self.0.trace.as_deref()
    }

    /// How long the cloud asks to wait, as it said it (only the form in whole seconds is understood).
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// 404 on the path: for a deletion, done.
    pub fn is_not_found(&self) -> bool {
        self.kind() == ErrorKind::NotFound
    }

    /// Whether it can pass without anybody doing something: look at the world again later, and decide anew. It is not
    /// by itself a leave to repeat the call; see [`ErrorKind::Ambiguous`].
    pub fn is_transient(&self) -> bool {
        match self.kind() {
            ErrorKind::InUse
            | ErrorKind::Conflict
            | ErrorKind::RateLimited
            | ErrorKind::Unavailable
            | ErrorKind::NotSent
            | ErrorKind::Ambiguous => true,
            ErrorKind::NotFound
            | ErrorKind::NotUnique
            | ErrorKind::Unauthorized
            | ErrorKind::Forbidden
            | ErrorKind::OverQuota
            | ErrorKind::Invalid
            | ErrorKind::Protocol => false,
        }
    }

    /// Whether the same read may be sent again at once.
    pub(crate) fn is_worth_another_try(&self) -> bool {
        matches!(self.kind(), ErrorKind::RateLimited | ErrorKind::Unavailable | ErrorKind::NotSent)
    }

    /// What the operator can do.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match (self.kind(), self.operation()) {
            (ErrorKind::Forbidden | ErrorKind::NotFound, crate::iam::READ_IDENTITY) => {
                "enable the metadata service of the machine this runs on, or use an API key"
            }
            (ErrorKind::NotFound, _) => "check that the id exists in this region and account",
            (ErrorKind::NotUnique, _) => "delete or rename the resource that has this name, or choose another name",
            (ErrorKind::InUse, _) => "release whatever still uses it",
            (ErrorKind::Unauthorized, _) => "check the API key or the trusted profile",
            (ErrorKind::Forbidden, _) => "give the API key's or trusted profile's IAM access policy the missing role",
            (ErrorKind::OverQuota, _) => "delete what is no longer needed, or have IBM support raise the quota",
            (ErrorKind::Invalid, _) => "correct the plan or the configuration",
            (ErrorKind::NotSent, _) => "check the address, name resolution and the route to IBM Cloud",
            (ErrorKind::Ambiguous, _) => "look in the cloud whether it happened before repeating it",
            (ErrorKind::Protocol, _) => "check the configured URL, and that no proxy answers in its place",
            (ErrorKind::Conflict | ErrorKind::RateLimited | ErrorKind::Unavailable, _) => return None,
        })
    }

    /// The cloud answered with something else than 2xx.
    pub(crate) fn answered(operation: &Operation, response: &Response) -> Error {
        let text = String::from_utf8_lossy(&response.body);
        let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        let string = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        // IAM says `errorCode` and `errorMessage`, VPC `errors[]`.
        let code = string("/errors/0/code").or_else(|| string("/errorCode"));
        let all = body.pointer("/errors").and_then(Value::as_array).map(|errors| {
            errors.iter().filter_map(|e| e.get("message").and_then(Value::as_str)).collect::<Vec<_>>().join("; ")
        });
        let message = all
            .filter(|m| !m.is_empty())
            .or_else(|| string("/errorMessage"))
            .or_else(|| string("/message"))
            .or_else(|| string("/error"))
            .unwrap_or_else(|| if body.is_null() { text.trim().to_owned() } else { String::new() });
        let header = |name: &str| response.header(name).map(str::to_owned);
        Error(Box::new(Details {
            kind: classify(response.status, code.as_deref(), &text, operation.effect),
            operation: operation.name,
            request: operation.request.clone(),
            status: Some(response.status),
            field: string("/errors/0/target/name"),
            message: printable(if message.is_empty() { "no reason given" } else { &message }),
            trace: string("/trace").or_else(|| header("x-request-id")).or_else(|| header("x-correlation-id")),
            retry_after: header("retry-after").and_then(|s| s.trim().parse().ok()).map(Duration::from_secs),
            code,
            source: None,
        }))
    }

    /// There was no reply.
    pub(crate) fn unanswered(operation: &Operation, source: TransportError) -> Error {
        let (kind, message) = match (&source, operation.effect) {
            (TransportError::NotSent { .. }, _) => (ErrorKind::NotSent, "the request could not be sent"),
            (TransportError::Unknown { .. }, Effect::None) => (ErrorKind::Unavailable, "the reply was lost"),
            (TransportError::Unknown { .. }, _) => {
                (ErrorKind::Ambiguous, "the reply was lost; it may have been carried out")
            }
        };
        // Both texts of the transport's own layer are in `message` already: the chain goes on with its cause.
        let (TransportError::NotSent { source } | TransportError::Unknown { source }) = source;
        Error(Box::new(Details { source: Some(source), ..Details::new(kind, operation, message.into()) }))
    }

    /// The reply was 2xx and could not be understood.
    pub(crate) fn unreadable(operation: &Operation, response: &Response, why: impl fmt::Display) -> Error {
        let kind = if operation.effect == Effect::None { ErrorKind::Protocol } else { ErrorKind::Ambiguous };
        let trace = response.header("x-request-id").map(str::to_owned);
        let message = printable(&format!("the reply can't be read: {why}"));
        Error(Box::new(Details { status: Some(response.status), trace, ..Details::new(kind, operation, message) }))
    }

    /// Found wrong before anything was sent.
    pub(crate) fn unsendable(operation: &Operation, why: String) -> Error {
        Error(Box::new(Details::new(ErrorKind::Invalid, operation, why)))
    }

    /// IAM answers wrong credentials with 400, where the VPC API says 401.
    pub(crate) fn refused_credentials(mut self) -> Error {
        if self.kind() == ErrorKind::Invalid {
            self.0.kind = ErrorKind::Unauthorized;
        }
        self
    }
}

impl Details {
    fn new(kind: ErrorKind, operation: &Operation, message: String) -> Self {
        Details {
            kind,
            operation: operation.name,
            request: operation.request.clone(),
            status: None,
            code: None,
            field: None,
            message,
            trace: None,
            retry_after: None,
            source: None,
        }
    }
}

fn classify(status: u16, code: Option<&str>, body: &str, effect: Effect) -> ErrorKind {
    let code = code.unwrap_or_default().to_ascii_lowercase();
    let text = body.to_ascii_lowercase();
    // Seen as "Provided Name (x) is not unique" (IBM/vpc-python-sdk, pull request 65) and as an outer `bad_field` around
    // `validation_unique_failed`, "Another VNI with the requested name already exists" (terraform-provider-ibm, issue
    // 5389); the inner error may be nested as JSON or as text, hence the search in the whole body.
    let not_unique =
        ["validation_unique_failed", "not unique", "already exists"].iter().any(|words| text.contains(words));
    // "…will put user over quota" (fedora-copr, issue 2829). With its blank: a quoted resource name may hold the word.
    let over_quota = code.contains("quota") || text.contains(" quota");
    match status {
        401 => ErrorKind::Unauthorized,
        403 if over_quota => ErrorKind::OverQuota,
        403 => ErrorKind::Forbidden,
        404 | 410 => ErrorKind::NotFound,
        429 => ErrorKind::RateLimited,
        501 => ErrorKind::Protocol,
        408 | 500.. if effect == Effect::Once => ErrorKind::Ambiguous,
        408 | 500.. => ErrorKind::Unavailable,
        400 | 409 | 422 if not_unique => ErrorKind::NotUnique,
        400 | 409 | 422 if over_quota => ErrorKind::OverQuota,
        409 if code.contains("in_use") || text.contains("in use") => ErrorKind::InUse,
        409 | 412 => ErrorKind::Conflict,
        400.. => ErrorKind::Invalid,
        _ => ErrorKind::Protocol,
    }
}

/// Fit for a terminal and a log line.
fn printable(text: &str) -> String {
    text.chars().take(MAX_MESSAGE_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Details { operation, request, status, code, field, message, trace, .. } = &*self.0;
        write!(f, "can't {operation}: ")?;
        if let Some(status) = status {
            write!(f, "{status} ")?;
        }
        if let Some(code) = code {
            write!(f, "{code}: ")?;
        }
        write!(f, "{message} ({request}")?;
        if let Some(field) = field {
            write!(f, ", field {field}")?;
        }
        if let Some(trace) = trace {
            write!(f, ", trace {trace}")?;
        }
        f.write_str(")")
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_ref().map(|source| &**source as &(dyn StdError + 'static))
    }
}
