//! What a simulated machine gets when it fetches something, as a value: the machine never sees a socket, so the same
//! machine runs behind real sockets and in a virtual-time test.

use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::time::Duration;

/// Bodies up to this many bytes are kept; of larger ones (boot images) only length and digest remain, so that a thousand
/// machines do not hold a thousand images.
pub const KEPT_BYTES: usize = 256 * 1024;

/// How a fetch ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchResult {
    /// An HTTP answer arrived, whole as far as its framing can tell.
    Answered(Answer),
    /// Nobody listens there.
    Refused,
    /// Nothing came in time.
    TimedOut,
    /// The connection broke before the answer was whole, or the answer was no HTTP.
    Broken(String),
    /// Who answered over TLS isn't trusted; nothing was asked.
    Untrusted(String),
}

/// An HTTP answer, reduced to what a machine looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// `Retry-After` as it came.
    pub retry_after: Option<String>,
    /// `Location` as it came.
    pub location: Option<String>,
    /// `Content-Length`, if there was one. Without it an early close looks like success.
    pub content_length: Option<u64>,
    /// The body.
    pub body: Body,
}

impl Answer {
    /// An answer with a body of known length.
    pub fn new(status: u16, body: impl Into<Bytes>) -> Self {
        let body = Body::new(body.into());
        Answer { status, retry_after: None, location: None, content_length: Some(body.len), body }
    }

    /// Whether the status is a 2xx.
    pub fn is_ok(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// How long the server asks to wait: whole seconds, and 5 s for a date, as iPXE reads it.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after.as_ref().map(|text| Duration::from_secs(text.trim().parse().unwrap_or(5)))
    }
}

/// A body: always its length and digest, the bytes only while they are few.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// Length in bytes.
    pub len: u64,
    /// SHA-256 of the whole body.
    pub sha256: [u8; 32],
    bytes: Option<Bytes>,
}

impl Body {
    /// The body of these bytes.
    pub fn new(bytes: Bytes) -> Self {
        let mut hasher = BodyHasher::default();
        hasher.add(&bytes);
        hasher.finish()
    }

    /// The body as text, if it is short and UTF-8.
    pub fn text(&self) -> Option<&str> {
        self.bytes.as_ref().and_then(|b| std::str::from_utf8(b).ok())
    }
}

/// Collects a body that arrives in pieces.
#[derive(Debug, Default)]
pub struct BodyHasher {
    hasher: Sha256,
    len: u64,
    kept: Vec<u8>,
}

impl BodyHasher {
    /// Takes the next piece.
    pub fn add(&mut self, piece: &[u8]) {
        self.hasher.update(piece);
        self.len += piece.len() as u64;
        if self.kept.len() + piece.len() <= KEPT_BYTES {
            self.kept.extend_from_slice(piece);
        }
    }

    /// The whole body.
    pub fn finish(self) -> Body {
        let bytes = (self.len == self.kept.len() as u64).then(|| Bytes::from(self.kept));
        Body { len: self.len, sha256: self.hasher.finalize().into(), bytes }
    }
}
