//! IBM Cloud as a list of replies; time and waiting as values.

use async_trait::async_trait;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use metalform_ibm_cloud::{Credentials, Iam, Method, Pause, Request, Response, Transport, TransportError, VpcClient};
use metalform_model::{Clock, Timestamp};
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::Semaphore;

pub type Answer = Result<Response, TransportError>;

pub const API_KEY: &str = "k3y&with=signs";
pub const TOKEN_LIFE_SECS: i64 = 3600;

/// Answers the VPC's requests from a list, and IAM's from a list or, when that is empty, with a good token.
pub struct Script {
    vpc: Mutex<VecDeque<Answer>>,
    iam: Mutex<VecDeque<Answer>>,
    seen: Mutex<Vec<Request>>,
    pauses: Mutex<Vec<Duration>>,
    now: Mutex<Timestamp>,
    tokens: Mutex<u32>,
    /// IAM answers only while it has permits.
    pub iam_gate: Semaphore,
}

impl Script {
    pub fn new(vpc: impl IntoIterator<Item = Answer>) -> Arc<Self> {
        Arc::new(Script {
            vpc: Mutex::new(vpc.into_iter().collect()),
            iam: Mutex::default(),
            seen: Mutex::default(),
            pauses: Mutex::default(),
            now: Mutex::new(Timestamp::from_seconds(1_800_000_000)),
            tokens: Mutex::new(0),
            iam_gate: Semaphore::new(Semaphore::MAX_PERMITS),
        })
    }

    pub fn iam_answers(&self, answers: impl IntoIterator<Item = Answer>) {
        self.iam.lock().unwrap().extend(answers);
    }

    pub fn advance(&self, seconds: u64) {
        let mut now = self.now.lock().unwrap();
        *now = *now + Duration::from_secs(seconds);
    }

    pub fn iam(self: &Arc<Self>, credentials: Credentials) -> Iam {
        Iam::new(credentials, "http://iam.test", self.clone(), self.clone()).unwrap()
    }

    pub fn client(self: &Arc<Self>) -> VpcClient {
        let iam = Arc::new(self.iam(Credentials::ApiKey(API_KEY.into())));
        VpcClient::new("http://vpc.test/v1", iam, self.clone(), self.clone()).unwrap()
    }

    /// Requests to IAM and metadata so far.
    pub fn iam_requests(&self) -> Vec<Request> {
        self.seen.lock().unwrap().iter().filter(|r| !r.url.starts_with("http://vpc.test")).cloned().collect()
    }

    /// Requests to the VPC so far.
    pub fn vpc_requests(&self) -> Vec<Request> {
        self.seen.lock().unwrap().iter().filter(|r| r.url.starts_with("http://vpc.test")).cloned().collect()
    }

    /// The only request to the VPC: method, path with query but without what every call carries, body.
    pub fn only_vpc_request(&self) -> (&'static str, String, Option<Value>) {
        let mut seen = self.vpc_requests();
        let request = seen.pop().unwrap();
        assert_eq!(seen, [], "more than one request");
        let rest = request.url.strip_prefix("http://vpc.test/v1").unwrap();
        let path = rest.replace("?version=2026-10-06&generation=2", "");
        assert_eq!(rest.len() - path.len(), 32, "version and generation stand in {rest}");
        let content_type = request.header("content-type");
        assert_eq!(content_type, request.body.as_ref().map(|_| "application/json"));
        (request.method.as_str(), path, request.body.map(|body| serde_json::from_slice(&body).unwrap()))
    }

    pub fn pauses(&self) -> Vec<Duration> {
        self.pauses.lock().unwrap().clone()
    }

    /// A token's text with the times of a new one; every one is another.
    pub fn jwt(&self) -> String {
        let mut number = self.tokens.lock().unwrap();
        *number += 1;
        let iat = self.now().seconds();
        let claims = json!({ "iat": iat, "exp": iat + TOKEN_LIFE_SECS, "jti": *number });
        format!("e30.{}.{number}", BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()))
    }
}

#[async_trait]
impl Transport for Script {
    async fn send(&self, request: Request) -> Answer {
        let is_vpc = request.url.starts_with("http://vpc.test");
        let what = format!("{request:?}");
        self.seen.lock().unwrap().push(request);
        if is_vpc {
            return self.vpc.lock().unwrap().pop_front().unwrap_or_else(|| panic!("not in the script: {what}"));
        }
        let _permit = self.iam_gate.acquire().await.unwrap();
        let scripted = self.iam.lock().unwrap().pop_front();
        scripted.unwrap_or_else(|| json_reply(200, json!({ "access_token": self.jwt(), "token_type": "Bearer" })))
    }
}

#[async_trait]
impl Pause for Script {
    async fn pause(&self, duration: Duration) {
        self.pauses.lock().unwrap().push(duration);
    }
}

impl Clock for Script {
    fn now(&self) -> Timestamp {
        *self.now.lock().unwrap()
    }
}

pub fn json_reply(status: u16, body: Value) -> Answer {
    let headers = vec![("Content-Type".into(), "application/json".into())];
    Ok(Response { status, headers, body: body.to_string().into_bytes() })
}

pub fn empty_reply(status: u16) -> Answer {
    Ok(Response { status, headers: vec![], body: vec![] })
}

pub fn error_reply(status: u16, code: &str, message: &str) -> Answer {
    json_reply(status, json!({ "errors": [{ "code": code, "message": message }], "trace": "tr-1" }))
}

pub fn with_header(answer: Answer, name: &str, value: &str) -> Answer {
    answer.map(|mut response| {
        response.headers.push((name.into(), value.into()));
        response
    })
}

pub fn lost() -> Answer {
    Err(TransportError::unknown("connection reset"))
}

pub fn refused() -> Answer {
    Err(TransportError::not_sent("connection refused"))
}

pub fn methods(requests: &[Request]) -> Vec<Method> {
    requests.iter().map(|r| r.method).collect()
}
