//! Sessions: what a machine gets for its boot token, and what is remembered of them.

use crate::Unavailable;
use async_trait::async_trait;
use ed25519_dalek::{Signature, VerifyingKey};
use metalform_model::{AuditEntry, Evidence, RequestSignature, SessionKey, signed_text};
use uuid::Uuid;

/// The session of a boot attempt: that of the last round which has one. It holds until another takes its place, so a script
/// that is fetched by the way ends nothing that works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootSession {
    /// Bound to this key.
    pub key: SessionKey,
    /// In this round.
    pub round: u32,
    /// It was begun over TLS, and is continued over nothing else.
    pub over_tls: bool,
}

/// What became of a key that asked to be a session's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// It is from now on.
    New,
    /// It was before: the answer may have been lost.
    Same,
    /// The round has another, or this one was an earlier session's. Nothing changed.
    Refused,
}

/// What became of the number of a signed request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestCounted {
    /// It is greater than all before it.
    New,
    /// It isn't: the request was made before, or overtaken by another.
    Stale {
        /// The greatest so far.
        last: u64,
    },
}

/// Keeps sessions, the same for all replicas. `Ok` means committed.
#[async_trait]
pub trait Sessions: Send + Sync {
    /// Begins a session of the attempt that the evidence is of, and records the evidence and the line of the audit: all or
    /// nothing. Where nothing is begun, there is no line. The first key of a round stays; so does a later round's.
    async fn bind(&self, evidence: Evidence, session: BootSession, line: AuditEntry) -> Result<Bound, Unavailable>;
    /// Remembers the number of a signed request, if it is greater than all before it.
    async fn count_request(&self, attempt: Uuid, key: SessionKey, counter: u64) -> Result<RequestCounted, Unavailable>;
    /// Counts a document for the boot token alone; `false` once there were `most` in that round.
    async fn count_document(&self, attempt: Uuid, round: u32, most: u32) -> Result<bool, Unavailable>;
}

impl BootSession {
    /// Whether the session's key has signed exactly this request. Strict (RFC 8032 and no weak key): only one signature
    /// of a request counts as its own.
    pub(crate) fn has_signed(&self, signed: &RequestSignature, method: &str, path: &str, body: &[u8]) -> bool {
        let text = signed_text(method, path, signed.counter, body);
        let signature = Signature::from_bytes(&signed.signature);
        VerifyingKey::from_bytes(&self.key.0).is_ok_and(|key| key.verify_strict(text.as_bytes(), &signature).is_ok())
    }
}

/// Whether a key can be a session's: a point of the curve, and none that would take anybody's signature.
pub(crate) fn is_usable(key: &SessionKey) -> bool {
    VerifyingKey::from_bytes(&key.0).is_ok_and(|key| !key.is_weak())
}
