//! A boot plane on loopback, for tests: strict where the real one is (token, numbers, the order of phases), and with faults
//! that are told to it beforehand. Like the real one it takes TLS on the same port, if it is given a certificate.

use ed25519_dalek::{Signature, VerifyingKey};
use metalform_model::{Report, ReportPhase, RequestSignature, SessionKey, signed_text};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

pub const TOKEN: &str = "s3cr3ttoken";

/// What goes wrong with the next requests whose path begins so.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// The connection is closed without a word.
    Close,
    /// A refusal.
    Status(u16),
    /// Busy, with `Retry-After: 1`.
    Busy,
    /// The body ends after so many bytes.
    CutAfter(usize),
    /// One byte of the body is another.
    Corrupt,
    /// It is done, and the reply is lost.
    LoseReply,
    /// Another file than before, from now on, under another ETag.
    Replaced,
}

#[derive(Default)]
pub struct State {
    pub config: Value,
    pub files: BTreeMap<String, Vec<u8>>,
    pub reports: Vec<Report>,
    pub last_seq: u64,
    pub last_phase: Option<ReportPhase>,
    /// Reports of this phase, once so many of it were taken, are refused with 409.
    pub ends_at: Option<(ReportPhase, usize)>,
    pub faults: Vec<(&'static str, Fault)>,
    /// Method, path and `Range`.
    pub heard: Vec<String>,
    /// Those of them that came without TLS.
    pub heard_in_clear: Vec<String>,
    /// What it shows within TLS; without it TLS isn't spoken.
    pub tls: Option<Arc<ServerConfig>>,
    pub date: String,
    /// A release that knows no sessions.
    pub is_older: bool,
    /// Bound to the first key that was shown.
    pub session: Option<SessionKey>,
    /// Number of the last request that was signed.
    pub signed: u64,
    generation: u32,
}

/// Ends with its owner's process.
#[derive(Clone)]
pub struct Plane {
    pub authority: String,
    pub state: Arc<Mutex<State>>,
}

impl Plane {
    pub fn start() -> Plane {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let state = Arc::new(Mutex::new(State::default()));
        let plane = Plane { authority, state: state.clone() };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = state.clone();
                thread::spawn(move || answer(stream, &state));
            }
        });
        plane
    }

    pub fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().unwrap())
    }

    /// The next so many requests of paths that begin with `path` meet that.
    pub fn fault(&self, path: &'static str, fault: Fault, times: usize) {
        self.with(|state| state.faults.extend(vec![(path, fault); times]));
    }

    pub fn phases(&self) -> Vec<ReportPhase> {
        let mut phases: Vec<ReportPhase> = self.with(|state| state.reports.iter().map(|each| each.phase).collect());
        phases.dedup();
        phases
    }

    pub fn last(&self) -> Report {
        self.with(|state| state.reports.last().cloned().expect("a report"))
    }

    pub fn heard(&self, beginning: &str) -> Vec<String> {
        self.with(|state| state.heard.iter().filter(|each| each.starts_with(beginning)).cloned().collect())
    }
}

struct Asked {
    method: String,
    path: String,
    token: Option<String>,
    range: Option<usize>,
    if_range: Option<String>,
    signature: Option<RequestSignature>,
    body: Vec<u8>,
}

enum Connection {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Connection {
    fn take(stream: TcpStream, tls: Option<Arc<ServerConfig>>) -> Option<Connection> {
        stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        let mut first = [0];
        stream.peek(&mut first).ok()?;
        Some(match tls {
            Some(config) if first[0] == 22 => {
                Connection::Tls(Box::new(StreamOwned::new(ServerConnection::new(config).unwrap(), stream)))
            }
            _ => Connection::Plain(stream),
        })
    }

    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Connection::Plain(stream) => stream.read(buffer),
            Connection::Tls(stream) => stream.read(buffer),
        }
    }

    fn end_with(mut self, bytes: &[u8]) {
        let _ = match &mut self {
            Connection::Plain(stream) => stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write)),
            Connection::Tls(stream) => {
                let written = stream.write_all(bytes).and_then(|()| stream.flush());
                stream.conn.send_close_notify();
                written.and_then(|()| stream.flush())
            }
        };
    }
}

fn read_request(stream: &mut Connection) -> Option<Asked> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    let head = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&buffer[..read]);
    };
    let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
    let header = |name: &str| {
        let line = text.lines().find(|line| line.to_lowercase().starts_with(&format!("{name}:")))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let length: usize = header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = bytes[head + 4..].to_vec();
    while body.len() < length {
        let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
        body.extend_from_slice(&buffer[..read]);
    }
    let mut words = text.lines().next()?.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (path, query) = target.split_once('?').map_or((target.clone(), None), |(p, q)| (p.to_owned(), Some(q)));
    Some(Asked {
        method,
        path,
        token: query.and_then(|query| query.strip_prefix("t=")).map(str::to_owned),
        range: header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()),
        if_range: header("if-range"),
        signature: header("metalform-signature").map(|text| text.parse().expect("a signature")),
        body,
    })
}

fn answer(stream: TcpStream, state: &Mutex<State>) {
    let tls = state.lock().unwrap().tls.clone();
    let speaks_no_tls = tls.is_none();
    let Some(mut stream) = Connection::take(stream, tls) else { return };
    let Some(asked) = read_request(&mut stream) else {
        if speaks_no_tls {
            stream.end_with(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
        return;
    };
    let mut state = state.lock().unwrap();
    let range = asked.range.map(|from| format!(" from {from}")).unwrap_or_default();
    let line = format!("{} {}{range}", asked.method, asked.path);
    if matches!(stream, Connection::Plain(_)) {
        state.heard_in_clear.push(line.clone());
    }
    state.heard.push(line);
    let at = state.faults.iter().position(|(path, _)| asked.path.starts_with(path));
    let fault = at.map(|at| state.faults.remove(at).1);
    let refusal = |code: &str| json!({"error": {"code": code, "message": "no"}}).to_string().into_bytes();
    if fault == Some(Fault::Replaced) {
        state.generation += 1;
    }
    let (status, mut body, mut headers) = match fault {
        Some(Fault::Close) => return,
        Some(Fault::Status(status)) => (status, refusal("told_to"), String::new()),
        Some(Fault::Busy) => (503, refusal("store_away"), "Retry-After: 1\r\n".into()),
        _ => {
            let path = asked.path.clone();
            if path == "/boot/session/node-1" && !state.is_older {
                exchange(&mut state, &asked)
            } else if path.starts_with("/boot/session/") {
                (404, refusal("unknown_path"), String::new())
            } else if path.starts_with("/boot/step/node-1/") {
                (200, b"ok\n".to_vec(), String::new())
            } else if let Some(refused) = refused(&mut state, &asked) {
                refused
            } else if let Some(name) = path.strip_prefix("/pxe/images/") {
                assert_eq!(asked.token, None, "images need no token, so none is sent");
                image(&state, name, &asked)
            } else if path == "/boot/server/127.0.0.1" {
                (200, state.config.to_string().into_bytes(), String::new())
            } else if path == "/boot/report/node-1" {
                report(&mut state, &asked.body)
            } else if path == "/boot/arizona/127.0.0.1" {
                (200, br#"{"hyp_type":"kvm"}"#.to_vec(), String::new())
            } else {
                (404, refusal("unknown_path"), String::new())
            }
        }
    };
    if !state.date.is_empty() {
        headers += &format!("Date: {}\r\n", state.date);
    }
    drop(state);
    let length = body.len();
    match fault {
        Some(Fault::LoseReply) => return,
        Some(Fault::CutAfter(after)) => body.truncate(after),
        Some(Fault::Corrupt) => body[length / 2] ^= 1,
        _ => {}
    }
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n{headers}Connection: close\r\n\r\n");
    stream.end_with(&[head.as_bytes(), &body].concat());
}

fn refusal(status: u16, code: &str, details: Value) -> (u16, Vec<u8>, String) {
    let document = json!({"error": {"code": code, "message": "no", "details": details}});
    (status, document.to_string().into_bytes(), String::new())
}

fn exchange(state: &mut State, asked: &Asked) -> (u16, Vec<u8>, String) {
    #[derive(serde::Deserialize)]
    struct Exchange {
        key: SessionKey,
    }
    if asked.token.as_deref() != Some(TOKEN) {
        return refusal(403, "token_wrong", json!({}));
    }
    let Exchange { key } = serde_json::from_slice(&asked.body).expect("a key");
    match *state.session.get_or_insert(key) == key {
        true => (200, json!({"key": key}).to_string().into_bytes(), String::new()),
        false => refusal(409, "session_taken", json!({})),
    }
}

/// Why what the node alone may ask for is refused, if it is.
fn refused(state: &mut State, asked: &Asked) -> Option<(u16, Vec<u8>, String)> {
    if !asked.path.starts_with("/boot/") {
        assert_eq!(asked.signature, None, "images need no signature, so none is sent");
        return None;
    }
    match (state.session, asked.signature) {
        (None, _) if asked.token.as_deref() != Some(TOKEN) => Some(refusal(403, "token_wrong", json!({}))),
        (None, _) => None,
        (Some(_), None) => Some(refusal(403, "session_needed", json!({}))),
        (Some(key), Some(signed)) => {
            assert_eq!(asked.token, None, "once it is exchanged, the token is not shown any more");
            let text = signed_text(&asked.method, &asked.path, signed.counter, &asked.body);
            let key = VerifyingKey::from_bytes(&key.0).unwrap();
            if key.verify_strict(text.as_bytes(), &Signature::from_bytes(&signed.signature)).is_err() {
                return Some(refusal(403, "signature_wrong", json!({})));
            }
            if signed.counter <= state.signed {
                return Some(refusal(409, "signature_stale", json!({ "last": state.signed })));
            }
            state.signed = signed.counter;
            None
        }
    }
}

fn image(state: &State, name: &str, asked: &Asked) -> (u16, Vec<u8>, String) {
    let Some(bytes) = state.files.get(name) else { return (404, b"{}".to_vec(), String::new()) };
    let etag = format!("\"g{}\"", state.generation);
    let from = asked.range.filter(|_| asked.if_range.as_ref().is_none_or(|wanted| *wanted == etag));
    let (status, from) = from.map_or((200, 0), |from| (206, from));
    let headers = format!("ETag: {etag}\r\nContent-Range: bytes {from}-{}/{}\r\n", bytes.len() - 1, bytes.len());
    (status, bytes[from..].to_vec(), headers)
}

fn report(state: &mut State, body: &[u8]) -> (u16, Vec<u8>, String) {
    assert!(body.len() <= 64 * 1024, "the boot plane takes no longer report");
    let report: Report = serde_json::from_slice(body).expect("a report");
    let reply = |recorded: bool, last_seq: u64| {
        (200, json!({"recorded": recorded, "last_seq": last_seq}).to_string().into_bytes(), String::new())
    };
    if report.seq <= state.last_seq {
        return reply(false, state.last_seq);
    }
    let refuse =
        |code: &str| (409, json!({"error": {"code": code, "message": "no"}}).to_string().into_bytes(), String::new());
    if let Some((phase, after)) = state.ends_at
        && report.phase >= phase
        && state.reports.iter().filter(|each| each.phase == phase).count() >= after
    {
        return refuse("not_installing");
    }
    if state.last_phase.is_some_and(|last| report.phase < last && report.phase != ReportPhase::Booting) {
        return refuse("phase_backwards");
    }
    (state.last_seq, state.last_phase) = (report.seq, Some(report.phase));
    state.reports.push(report);
    reply(true, state.last_seq)
}
