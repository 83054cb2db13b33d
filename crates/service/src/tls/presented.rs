//! What a client that connects is shown. The certificate is looked up at each handshake, so a new one is shown from the next
//! connection on, and those that stand notice nothing.

use super::TlsError;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use std::sync::{Arc, PoisonError, RwLock};
use tokio_rustls::TlsAcceptor;

/// One certificate with its key, whatever name is asked for.
#[derive(Debug)]
pub(super) struct Presented(RwLock<Arc<CertifiedKey>>);

impl Presented {
    pub fn new(key: Arc<CertifiedKey>) -> Arc<Presented> {
        Arc::new(Presented(RwLock::new(key)))
    }

    /// What is shown now.
    pub fn now(&self) -> Arc<CertifiedKey> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Shows another one from now on.
    pub fn replace(&self, key: Arc<CertifiedKey>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = key;
    }
}

impl ResolvesServerCert for Presented {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.now())
    }
}

/// TLS 1.2 and 1.3, HTTP/1.1, no client certificates: iPXE gives up where one is asked for, even as an option.
pub(super) fn acceptor(presented: Arc<Presented>) -> Result<TlsAcceptor, TlsError> {
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_protocol_versions(&[&TLS13, &TLS12]).map_err(TlsError::Setup)?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(presented);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A session that is resumed shows no certificate: clients would go on with the one before, perhaps the very one that
    // was replaced because its key got out. A whole handshake takes a millisecond, and people open few connections.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
