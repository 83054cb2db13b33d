//! A control plane that says what a test has written down, and keeps what it was asked.

use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// What was asked: the first line without the protocol, the bearer token, the body.
#[derive(Debug, Clone)]
pub struct Asked {
    pub line: String,
    pub token: String,
    /// Whether a stream of events is wanted.
    pub streams: bool,
    pub body: String,
}

/// Status, content type, body.
pub type Answer = (u16, &'static str, String);

/// See the module.
pub struct Scripted {
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

pub fn document(status: u16, body: Value) -> Answer {
    (status, "application/json", body.to_string())
}

/// Events as they are streamed; the connection ends after them.
pub fn stream(events: &[Value]) -> Answer {
    let text = events.iter().map(|e| format!("id: {}\nevent: {}\ndata: {e}\n\n", e["seq"], e["kind"])).collect();
    (200, "text/event-stream", text)
}

pub fn event(seq: i64, kind: &str) -> Value {
    json!({"seq": seq, "at": format!("2026-01-02T03:04:{seq:02}Z"), "cluster": "alpha", "kind": kind,
        "message": format!("message {seq}"), "data": {}})
}

/// A cluster with one node. Since a time to come: how long it has been so is always `0.0s`.
pub fn cluster(phase: &str, failure: Option<(&str, &str)>) -> Value {
    let node = json!({"server_id": "server-001", "phase": "imaging", "mgmt_ip": "10.240.0.11", "cvm_ip": null,
        "since": "2126-01-02T03:04:05Z", "late": true, "reason": "installing", "percent": 40.0});
    let mut cluster = json!({"name": "alpha", "phase": phase, "since": "2126-01-02T03:04:05Z", "late": false,
        "reason": "0/1 nodes ready", "nodes": [node]});
    if let Some((code, reason)) = failure {
        cluster["failure"] = json!(code);
        cluster["reason"] = json!(reason);
        cluster["hint"] = json!("`metalform retry alpha`");
    }
    cluster
}

pub fn refusal(status: u16, code: &str, details: Value) -> Answer {
    let error = json!({"code": code, "message": format!("it is {code}"), "hint": "mend it", "details": details});
    document(status, json!({"error": error}))
}

impl Scripted {
    /// Answers every request by that function, in the order they come.
    pub fn start(answer: impl Fn(&Asked) -> Answer + Send + 'static) -> Scripted {
        Scripted::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), answer)
    }

    pub fn start_at(address: SocketAddr, answer: impl Fn(&Asked) -> Answer + Send + 'static) -> Scripted {
        let listener = TcpListener::bind(address).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let kept = asked.clone();
        thread::spawn(move || {
            for connection in listener.incoming() {
                let mut connection = connection.unwrap();
                let Some(request) = read(&connection) else { continue };
                kept.lock().unwrap().push(request.clone());
                let (status, kind, body) = answer(&request);
                let head = format!("HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\nconnection: close\r\n\r\n");
                // A client that has enough hangs up.
                let _ = connection.write_all((head + &body).as_bytes());
            }
        });
        Scripted { url, asked }
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn read(connection: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(connection);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let (mut token, mut streams, mut length) = (String::new(), false, 0);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => token = value.trim_start_matches("Bearer ").to_owned(),
            "accept" => streams = value == "text/event-stream",
            "content-length" => length = value.parse().ok()?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let line = line.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
    Some(Asked { line, token, streams, body: String::from_utf8(body).ok()? })
}
