//! One HTTP exchange as a value in and a value out.
//!
//! The trait is what a test or a simulated cloud implements; nothing else of the crate touches a socket. Its error
//! keeps apart what decides everything later: whether the request can have reached the other side.

use async_trait::async_trait;
use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

/// Carries requests. Implementations return within about [`Request::timeout`] and follow no redirect.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Sends one request and reads its whole reply, whatever its status.
    async fn send(&self, request: Request) -> Result<Response, TransportError>;
}

/// The HTTP methods this crate uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// Reads.
    Get,
    /// Creates, or starts an action.
    Post,
    /// Replaces.
    Put,
    /// Deletes.
    Delete,
}

impl Method {
    /// As on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
        }
    }
}

/// A request. Its `Debug` shows neither header values nor the body: they carry tokens and keys.
#[derive(Clone, PartialEq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Absolute, with its query. Never holds a secret.
    pub url: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body; `None` sends none and no content type.
    pub body: Option<Vec<u8>>,
    /// From first byte sent to last byte received, connecting included.
    pub timeout: Duration,
}

impl Request {
    /// The first header of that lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("url", &self.url)
            .field("headers", &self.headers.iter().map(|(name, _)| name).collect::<Vec<_>>())
            .field("body_bytes", &self.body.as_ref().map(Vec::len))
            .field("timeout", &self.timeout)
            .finish()
    }
}

/// A reply. Its `Debug` does not show the body: IAM's holds a token.
#[derive(Clone, PartialEq)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Names in any case.
    pub headers: Vec<(String, String)>,
    /// The whole body; empty if there was none.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of that name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// Any 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("headers", &self.headers)
            .field("body_bytes", &self.body.len())
            .finish()
    }
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
}

/// Why there is no reply.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TransportError {
    /// The request never left: no address for the name, connection refused, TLS not established. Certainly nothing
    /// happened.
    #[error("not sent")]
    NotSent {
        /// What stopped it.
        source: Arc<dyn StdError + Send + Sync>,
    },
    /// The reply was lost: timeout, or the connection broke. It may have been carried out.
    #[error("no reply")]
    Unknown {
        /// What broke.
        source: Arc<dyn StdError + Send + Sync>,
    },
}

impl TransportError {
    /// A request that never left.
    pub fn not_sent(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        TransportError::NotSent { source: Arc::from(cause.into()) }
    }

    /// A lost reply.
    pub fn unknown(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        TransportError::Unknown { source: Arc::from(cause.into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_in_the_debug_text_of_request_and_response() {
        let request = Request {
            method: Method::Post,
            url: "https://iam.cloud.ibm.com/identity/token".into(),
            headers: vec![("authorization".into(), "Bearer s3cret".into())],
            body: Some(b"apikey=s3cret".to_vec()),
            timeout: Duration::from_secs(1),
        };
        let response = Response { status: 200, headers: vec![], body: br#"{"access_token":"s3cret"}"#.to_vec() };
        let text = format!("{request:?} {response:?}");
        assert!(!text.contains("s3cret"), "{text}");
        assert!(text.contains("authorization"), "{text}");
    }
}
