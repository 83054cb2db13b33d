//! What simulated machines fetch, over real connections from their own addresses.

use crate::{
    fetch::{Answer, BodyHasher, FetchResult},
    machine::Http,
};
use std::{
    collections::HashMap,
    error::Error,
    io,
    net::{IpAddr, Ipv4Addr},
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// iPXE keeps an unused connection so long (`httpconn.c`).
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// One client per source address: a client's connections all come from one.
pub(super) struct Fetcher {
    clients: Mutex<HashMap<Ipv4Addr, reqwest::Client>>,
    tls: rustls::ClientConfig,
}

impl Fetcher {
    /// Machines speak plain HTTP only, so no certificate is trusted, and none has to be loaded for each client.
    pub fn new(tls: rustls::ClientConfig) -> Self {
        Fetcher { clients: Mutex::default(), tls }
    }

    fn client(&self, from: Ipv4Addr) -> reqwest::Result<reqwest::Client> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&from) {
            return Ok(client.clone());
        }
        let client = reqwest::Client::builder()
            .local_address(IpAddr::V4(from))
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .pool_idle_timeout(KEEP_ALIVE)
            .tls_backend_preconfigured(self.tls.clone())
            .build()?;
        clients.insert(from, client.clone());
        Ok(client)
    }

    /// Fetches; gives up when nothing came for `http.timeout`.
    pub async fn fetch(&self, http: Http) -> FetchResult {
        let client = match self.client(http.from) {
            Ok(client) => client,
            Err(error) => return FetchResult::Broken(error.to_string()),
        };
        let method = if http.method == "POST" { reqwest::Method::POST } else { reqwest::Method::GET };
        let mut request = client.request(method, &http.url).header("user-agent", http.user_agent);
        for (name, value) in &http.headers {
            request = request.header(*name, value);
        }
        if let Some(body) = http.body {
            request = request.header("content-type", "application/json").body(body);
        }
        let mut response = match tokio::time::timeout(http.timeout, request.send()).await {
            Err(_) => return FetchResult::TimedOut,
            Ok(Err(error)) => return failed(&error),
            Ok(Ok(response)) => response,
        };
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(String::from);
        let (retry_after, location) = (header("retry-after"), header("location"));
        let content_length = header("content-length").and_then(|text| text.parse().ok());
        let status = response.status().as_u16();
        let mut body = BodyHasher::default();
        loop {
            match tokio::time::timeout(http.timeout, response.chunk()).await {
                Err(_) => return FetchResult::TimedOut,
                Ok(Err(error)) => return failed(&error),
                Ok(Ok(Some(piece))) => body.add(&piece),
                Ok(Ok(None)) => break,
            }
        }
        FetchResult::Answered(Answer { status, retry_after, location, content_length, body: body.finish() })
    }
}

fn failed(error: &reqwest::Error) -> FetchResult {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(inner) = cause {
        if inner.downcast_ref::<io::Error>().is_some_and(|io| io.kind() == io::ErrorKind::ConnectionRefused) {
            return FetchResult::Refused;
        }
        cause = inner.source();
    }
    FetchResult::Broken(error.to_string())
}
