//! One request to one peer, as values: what the drivers need of the network, and nothing that tests or a simulated
//! world could not answer themselves.
//!
//! The one thing that every implementation must get right is how a failure is told: whether the request can have
//! reached the peer or not. A cluster create whose answer is lost must not be sent again blindly.

use crate::{Fingerprint, PinRule};
use async_trait::async_trait;
use bytes::Bytes;
use secrecy::SecretString;
use serde_json::Value;
use std::{net::Ipv4Addr, time::Duration};

/// Sends requests. No redirects, no proxies, no repeats.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Sends one request and reads the answer, whatever its status, within the request's limit. A peer whose key the
    /// rule refuses is told nothing: no path, no credentials.
    async fn send(&self, peer: Peer, request: Request) -> Result<Response, TransportError>;

    /// Sends one request in plain HTTP, to whoever answers there, and reads the answer as [`Transport::send`] does. For
    /// the one service that has neither TLS nor accounts, Foundation: a request that could hold credentials or a pin can't
    /// be sent this way.
    async fn send_plain(
        &self,
        address: Ipv4Addr,
        port: u16,
        request: PlainRequest,
    ) -> Result<PlainResponse, TransportError>;

    /// Opens TCP and TLS and closes again, within `limit`: is there anybody, and with which key? Sends no request.
    async fn knock(&self, peer: Peer, limit: Duration) -> Result<Fingerprint, TransportError>;
}

/// Whom to talk to, and how to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Address of a CVM or of the cluster.
    pub address: Ipv4Addr,
    /// TCP port.
    pub port: u16,
    /// Which keys it may show.
    pub pin: PinRule,
}

impl Peer {
    /// Where it is.
    pub(crate) fn place(&self) -> (Ipv4Addr, u16) {
        (self.address, self.port)
    }
}

/// The HTTP methods in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Asks for a change.
    Post,
    /// Replaces something.
    Put,
}

/// One HTTP request.
#[derive(Debug, Clone)]
pub struct Request {
    /// GET or POST.
    pub method: Method,
    /// Path with its leading slash. Never holds a secret.
    pub path: String,
    /// Credentials, if any are to be sent.
    pub auth: Option<BasicAuth>,
    /// A JSON body, if any.
    pub body: Option<Value>,
    /// From the first packet to the last byte of the answer.
    pub limit: Duration,
}

/// Credentials for HTTP basic authentication. Its `Debug` hides the password.
#[derive(Debug, Clone)]
pub struct BasicAuth {
    /// User name.
    pub user: String,
    /// Password.
    pub password: SecretString,
}

/// An HTTP answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// The body; implementations may cut it off after some megabytes.
    pub body: Bytes,
    /// The key that the peer showed.
    pub fingerprint: Fingerprint,
}

/// A request that anybody on the way may read and that shows nobody's credentials.
#[derive(Debug, Clone)]
pub struct PlainRequest {
    /// GET or POST.
    pub method: Method,
    /// Path with its leading slash, and query.
    pub path: String,
    /// A JSON body, if any.
    pub body: Option<Value>,
    /// From the first packet to the last byte of the answer.
    pub limit: Duration,
}

/// An answer that anybody on the way may have written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlainResponse {
    /// HTTP status.
    pub status: u16,
    /// The body; implementations may cut it off after some megabytes.
    pub body: Bytes,
}

/// Whatever an implementation knows of a failure. Anything that turns into a boxed error will do, a plain text too.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The peer's machine is there, and nothing listens on the port.
    #[error("connection refused")]
    Refused,
    /// No connection came about, or it broke off before the request was sent.
    #[error("no connection")]
    Unreachable(#[source] Cause),
    /// The time was up before the request was sent.
    #[error("no connection within {0:?}")]
    ConnectTimeout(Duration),
    /// The peer speaks no TLS that we can follow. Nothing was sent.
    #[error("no TLS connection")]
    Tls(#[source] Cause),
    /// The peer showed another key than the pinned ones. Nothing was sent.
    #[error("the peer shows the key {seen}, which is not the pinned one")]
    PinMismatch {
        /// The pinned keys.
        expected: Vec<Fingerprint>,
        /// The key that was shown.
        seen: Fingerprint,
    },
    /// The connection broke after the request may have been sent, before the answer was complete.
    #[error("the connection broke before the answer was complete")]
    Lost(#[source] Cause),
    /// The time was up after the request may have been sent, before the answer was complete.
    #[error("no complete answer within {0:?}")]
    ReplyTimeout(Duration),
}

impl TransportError {
    /// Whether the request may have reached the peer, and so may have been carried out.
    pub fn may_have_been_sent(&self) -> bool {
        match self {
            TransportError::Lost(_) | TransportError::ReplyTimeout(_) => true,
            TransportError::Refused
            | TransportError::Unreachable(_)
            | TransportError::ConnectTimeout(_)
            | TransportError::Tls(_)
            | TransportError::PinMismatch { .. } => false,
        }
    }
}
