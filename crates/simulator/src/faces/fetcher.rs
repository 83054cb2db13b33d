//! What simulated machines fetch, over real connections from their own addresses.

use crate::{
    fetch::{Answer, BodyHasher, FetchResult},
    machine::Http,
};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    error::Error,
    io,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// iPXE keeps an unused connection so long (`httpconn.c`).
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// From where, and who is trusted: a client's connections all come from one address, and trust one authority.
type Way = (Ipv4Addr, Option<[u8; 32]>);

pub(super) struct Fetcher {
    clients: Mutex<HashMap<Way, reqwest::Client>>,
    provider: Arc<CryptoProvider>,
}

impl Fetcher {
    pub fn new(provider: Arc<CryptoProvider>) -> Self {
        Fetcher { clients: Mutex::default(), provider }
    }

    fn client(&self, from: Ipv4Addr, trusts: Option<[u8; 32]>) -> Result<reqwest::Client, Box<dyn Error>> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&(from, trusts)) {
            return Ok(client.clone());
        }
        let tls = ClientConfig::builder_with_provider(self.provider.clone()).with_safe_default_protocol_versions()?;
        let tls = match trusts {
            // iPXE, and installers without a pin: no certificate here is one of a public authority.
            None => tls.with_root_certificates(RootCertStore::empty()),
            Some(digest) => {
                let verifier = Arc::new(Pinned { digest, provider: self.provider.clone() });
                tls.dangerous().with_custom_certificate_verifier(verifier)
            }
        };
        let client = reqwest::Client::builder()
            .local_address(IpAddr::V4(from))
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .pool_idle_timeout(KEEP_ALIVE)
            .tls_backend_preconfigured(tls.with_no_client_auth())
            .build()?;
        clients.insert((from, trusts), client.clone());
        Ok(client)
    }

    /// Fetches; gives up when nothing came for `http.timeout`.
    pub async fn fetch(&self, http: Http) -> FetchResult {
        let client = match self.client(http.from, http.trusts) {
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

/// Trusts one authority, by the digest of its certificate, which the server must show. Written from the documents of the boot
/// plane and apart from the agent.
#[derive(Debug)]
struct Pinned {
    digest: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        server: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let digest = |certificate: &CertificateDer<'_>| <[u8; 32]>::from(Sha256::digest(certificate));
        let authority = chain.iter().find(|certificate| digest(certificate) == self.digest);
        let authority = authority.ok_or(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), self.provider.clone()).build();
        let verifier = verifier.map_err(|error| rustls::Error::General(error.to_string()))?;
        verifier.verify_server_cert(server, chain, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn failed(error: &reqwest::Error) -> FetchResult {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            if io.kind() == io::ErrorKind::ConnectionRefused {
                return FetchResult::Refused;
            }
            let tls = io.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            if let Some(error @ rustls::Error::InvalidCertificate(_)) = tls {
                return FetchResult::Untrusted(error.to_string());
            }
        }
        cause = inner.source();
    }
    FetchResult::Broken(error.to_string())
}
