//! HTTP as values. The simulated world is a pure state machine: it is handed requests and gives back replies, so the
//! same world stands behind sockets (`faces`) and behind an in-process test.

use serde_json::Value;
use std::{net::IpAddr, time::Duration};

/// A request as the world sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Upper case.
    pub method: String,
    /// Decoded path, beginning with `/`.
    pub path: String,
    /// Decoded query pairs, in order.
    pub query: Vec<(String, String)>,
    /// Header names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body; empty if there was none.
    pub body: Vec<u8>,
    /// The peer.
    pub from: IpAddr,
}

impl Request {
    /// The first header of that (lower-case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The first query value of that name.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Headers to add; `content-length` is the face's business.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// A JSON answer.
    pub fn json(status: u16, body: &Value) -> Self {
        Response {
            status,
            headers: vec![("content-type".into(), "application/json".into())],
            body: body.to_string().into_bytes(),
        }
    }

    /// An answer without a body.
    pub fn empty(status: u16) -> Self {
        Response { status, headers: Vec::new(), body: Vec::new() }
    }
}

/// What becomes of a request on the way back.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// Answered.
    Answer(Response),
    /// Answered late.
    After(Duration, Response),
    /// What was asked for has happened (or not), but the answer never arrives: the connection is closed without one.
    Lost,
}
