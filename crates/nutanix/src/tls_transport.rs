//! The real [`Transport`]: HTTPS to a pinned key, through reqwest and rustls; and plain HTTP where nothing is at stake.
//!
//! Every request has a client, a verifier and a connection of its own. So no pooled connection or resumed TLS session
//! outlives the rule it was made under, and the verifier's memory belongs to exactly one request: when that fails, the
//! verifier knows whether the peer had proven its key, before which nothing is sent. That is firmer ground than
//! reqwest's error chain alone, which does not tell a time-out before the request from one after it. Rejected: a
//! client for each peer, which would save a handshake every few seconds and cost both properties.

use crate::{
    Fingerprint, Method, Peer, PlainRequest, PlainResponse, Request, Response, Transport, TransportError,
    pin::{PinRule, PinVerifier},
};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use rustls::{ClientConfig, client::Resumption, crypto::CryptoProvider, pki_types::ServerName};
use secrecy::ExposeSecret;
use std::{
    error::Error as StdError,
    io,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// No answer that we read is larger than some kilobytes; what goes beyond this is cut off.
const BODY_LIMIT: usize = 4 << 20;

/// HTTPS with pinned keys. Holds no state.
#[derive(Debug, Clone)]
pub struct TlsTransport {
    provider: Arc<CryptoProvider>,
}

impl TlsTransport {
    /// A transport over aws-lc-rs, whichever crypto provider the process has installed.
    pub fn new() -> Self {
        Self { provider: Arc::new(rustls::crypto::aws_lc_rs::default_provider()) }
    }

    fn config(&self, rule: PinRule) -> (ClientConfig, Arc<PinVerifier>) {
        let verifier = Arc::new(PinVerifier::new(rule, self.provider.clone()));
        let mut config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .expect("aws-lc-rs supports the default TLS versions")
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone())
            .with_no_client_auth();
        // A resumed session shows no certificate: there would be nothing to compare.
        config.resumption = Resumption::disabled();
        (config, verifier)
    }
}

impl Default for TlsTransport {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Transport for TlsTransport {
    async fn send(&self, peer: Peer, request: Request) -> Result<Response, TransportError> {
        let limit = request.limit;
        let (config, verifier) = self.config(peer.pin);
        let exchange = async {
            let client = lone_client(config).https_only(true).timeout(limit).build()?;
            let url = format!("https://{}:{}{}", peer.address, peer.port, request.path);
            let mut call = client.request(method_of(request.method), url).header("accept", "application/json");
            if let Some(auth) = &request.auth {
                call = call.basic_auth(&auth.user, Some(auth.password.expose_secret()));
            }
            if let Some(body) = &request.body {
                call = call.json(body);
            }
            read(call.send().await?).await
        };
        match exchange.await {
            Ok((status, body)) => {
                let fingerprint = verifier.proven().expect("no answer comes before the peer has proven its key");
                Ok(Response { status, body, fingerprint })
            }
            Err(error) => {
                let error: reqwest::Error = error;
                let stage = if error.is_connect() { None } else { verifier.proven() };
                Err(match (verifier.mismatch(), stage) {
                    (Some((expected, seen)), _) => TransportError::PinMismatch { expected, seen },
                    (None, Some(_)) if error.is_timeout() => TransportError::ReplyTimeout(limit),
                    (None, Some(_)) => TransportError::Lost(error.without_url().into()),
                    (None, None) if error.is_timeout() => TransportError::ConnectTimeout(limit),
                    (None, None) => unsent(error.without_url()),
                })
            }
        }
    }

    async fn send_plain(
        &self,
        address: Ipv4Addr,
        port: u16,
        request: PlainRequest,
    ) -> Result<PlainResponse, TransportError> {
        let limit = request.limit;
        // The rule that no key satisfies: should anything here ever come to speak TLS, it ends there.
        let (config, _) = self.config(PinRule::OneOf(Vec::new()));
        let exchange = async {
            // Without TLS nothing proves that a connection stood when the time was up. So connecting has a limit of its
            // own, well below the whole: what runs into the whole limit was connected, and may have been sent.
            let client = lone_client(config).connect_timeout(limit / 2).timeout(limit).build()?;
            let url = format!("http://{address}:{port}{}", request.path);
            let mut call = client.request(method_of(request.method), url);
            if let Some(body) = &request.body {
                call = call.json(body);
            }
            read(call.send().await?).await
        };
        exchange.await.map(|(status, body)| PlainResponse { status, body }).map_err(|error: reqwest::Error| {
            let is_unsent = error.is_connect() || error.is_builder();
            match (is_unsent, error.is_timeout()) {
                (true, true) => TransportError::ConnectTimeout(limit / 2),
                (true, false) => unsent(error.without_url()),
                (false, true) => TransportError::ReplyTimeout(limit),
                (false, false) => TransportError::Lost(error.without_url().into()),
            }
        })
    }

    async fn knock(&self, peer: Peer, limit: Duration) -> Result<Fingerprint, TransportError> {
        let (config, verifier) = self.config(peer.pin);
        let handshake = async {
            let stream = TcpStream::connect((peer.address, peer.port)).await?;
            let name = ServerName::IpAddress(IpAddr::V4(peer.address).into());
            TlsConnector::from(Arc::new(config)).connect(name, stream).await
        };
        match (tokio::time::timeout(limit, handshake).await, verifier.mismatch()) {
            (_, Some((expected, seen))) => Err(TransportError::PinMismatch { expected, seen }),
            (Ok(Ok(_)), None) => Ok(verifier.proven().expect("no handshake ends before the peer has proven its key")),
            (Ok(Err(error)), None) => Err(unsent(error)),
            (Err(_), None) => Err(TransportError::ConnectTimeout(limit)),
        }
    }
}

/// A client for one request: no redirects, proxies, repeats or second connections.
fn lone_client(config: ClientConfig) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(concat!("metalform/", env!("CARGO_PKG_VERSION")))
        .tls_backend_preconfigured(config)
        .http1_only()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .pool_max_idle_per_host(0)
}

/// Status and body, which is cut off at [`BODY_LIMIT`].
async fn read(mut response: reqwest::Response) -> Result<(u16, Bytes), reqwest::Error> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk[..chunk.len().min(BODY_LIMIT - body.len())]);
        if body.len() == BODY_LIMIT {
            break;
        }
    }
    Ok((response.status().as_u16(), body.freeze()))
}

fn method_of(method: Method) -> reqwest::Method {
    match method {
        Method::Get => reqwest::Method::GET,
        Method::Post => reqwest::Method::POST,
        Method::Put => reqwest::Method::PUT,
    }
}

/// What kept a request from being sent. reqwest and hyper say only "connect error"; the reason stands deeper in the
/// chain, within `io::Error`s, whose `source()` skips what they wrap.
fn unsent<E: StdError + Send + Sync + 'static>(error: E) -> TransportError {
    let mut link: Option<&(dyn StdError + 'static)> = Some(&error);
    while let Some(current) = link {
        if current.is::<rustls::Error>() {
            return TransportError::Tls(error.into());
        }
        let io = current.downcast_ref::<io::Error>();
        if io.is_some_and(|io| io.kind() == io::ErrorKind::ConnectionRefused) {
            return TransportError::Refused;
        }
        link = match io.and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => current.source(),
        };
    }
    TransportError::Unreachable(error.into())
}
