//! A transport for tests: answers from a list, and remembers what it was asked.

use crate::{Fingerprint, Method, Peer, PlainRequest, PlainResponse, Request, Response, Transport, TransportError};
use async_trait::async_trait;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    net::Ipv4Addr,
    sync::{Arc, Mutex},
    time::Duration,
};

pub(crate) const CVM: Ipv4Addr = Ipv4Addr::new(10, 240, 0, 11);
pub(crate) const KEY: Fingerprint = Fingerprint([0xab; 32]);

pub(crate) type Answer = Result<(u16, &'static str), TransportError>;

#[derive(Default)]
pub(crate) struct Scripted {
    answers: Mutex<VecDeque<Answer>>,
    asked: Mutex<Vec<Value>>,
}

impl Scripted {
    /// Gives these answers in turn. A knock takes one too; its status and body don't matter.
    pub(crate) fn answering(answers: impl IntoIterator<Item = Answer>) -> Arc<Self> {
        Arc::new(Self { answers: Mutex::new(answers.into_iter().collect()), asked: Mutex::default() })
    }

    /// What was asked, in turn, in a form that a test can compare as a whole.
    pub(crate) fn asked(&self) -> Vec<Value> {
        self.asked.lock().unwrap().clone()
    }

    fn answer(&self, asked: Value) -> Answer {
        self.asked.lock().unwrap().push(asked);
        self.answers.lock().unwrap().pop_front().expect("the script has an answer for every request")
    }
}

#[async_trait]
impl Transport for Scripted {
    async fn send(&self, peer: Peer, request: Request) -> Result<Response, TransportError> {
        let method = word(request.method);
        let (status, body) = self.answer(json!({
            "request": format!("{method} https://{}:{}{}", peer.address, peer.port, request.path),
            "pin": peer.pin,
            "auth": request.auth.map(|a| format!("{}:{}", a.user, a.password.expose_secret())),
            "body": request.body,
            "limit": request.limit.as_secs_f64(),
        }))?;
        Ok(Response { status, body: body.into(), fingerprint: KEY })
    }

    async fn send_plain(
        &self,
        address: Ipv4Addr,
        port: u16,
        request: PlainRequest,
    ) -> Result<PlainResponse, TransportError> {
        let (status, body) = self.answer(json!({
            "request": format!("{} http://{address}:{port}{}", word(request.method), request.path),
            "body": request.body,
            "limit": request.limit.as_secs_f64(),
        }))?;
        Ok(PlainResponse { status, body: body.into() })
    }

    async fn knock(&self, peer: Peer, limit: Duration) -> Result<Fingerprint, TransportError> {
        let asked = json!({
            "knock": format!("{}:{}", peer.address, peer.port),
            "pin": peer.pin,
            "limit": limit.as_secs_f64(),
        });
        self.answer(asked).map(|_| KEY)
    }
}

fn word(method: Method) -> &'static str {
    match method {
        Method::Get => "GET",
        Method::Post => "POST",
        Method::Put => "PUT",
    }
}
