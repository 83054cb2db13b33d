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
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError, RwLock},
};
use tokio_rustls::TlsAcceptor;

/// What an authority offers as the only protocol when it looks for us, RFC 8737.
pub(crate) const ACME_TLS: &[u8] = b"acme-tls/1";

/// A certificate with its key for whatever name is asked for, and another for a few names.
#[derive(Debug)]
pub(super) struct Presented(RwLock<Shown>);

#[derive(Debug)]
struct Shown {
    any: Arc<CertifiedKey>,
    named: Option<(BTreeSet<String>, Arc<CertifiedKey>)>,
    /// To an authority that looks for us behind a name.
    challenges: BTreeMap<String, Arc<CertifiedKey>>,
}

impl Presented {
    pub fn new(key: Arc<CertifiedKey>) -> Arc<Presented> {
        Arc::new(Presented(RwLock::new(Shown { any: key, named: None, challenges: BTreeMap::new() })))
    }

    /// What is shown now to whoever asks for no name of note.
    pub fn now(&self) -> Arc<CertifiedKey> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).any.clone()
    }

    /// Shows another one from now on.
    pub fn replace(&self, key: Arc<CertifiedKey>) {
        self.change(|shown| shown.any = key);
    }

    /// Shows this one to those who ask for one of these names.
    pub fn show_for(&self, names: BTreeSet<String>, key: Arc<CertifiedKey>) {
        self.change(|shown| shown.named = Some((names, key)));
    }

    /// Shows this one to an authority that looks for us behind a name.
    pub fn show_challenge(&self, name: String, key: Arc<CertifiedKey>) {
        self.change(|shown| drop(shown.challenges.insert(name, key)));
    }

    /// No authority is looking any more.
    pub fn end_challenges(&self) {
        self.change(|shown| shown.challenges.clear());
    }

    fn change(&self, change: impl FnOnce(&mut Shown)) {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }
}

impl ResolvesServerCert for Presented {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let shown = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if hello.alpn().is_some_and(|offered| offered.eq([ACME_TLS])) {
            return shown.challenges.get(&name?).cloned();
        }
        let named = shown.named.as_ref().filter(|(names, _)| name.is_some_and(|name| names.contains(&name)));
        Some(named.map_or(&shown.any, |(_, key)| key).clone())
    }
}

/// TLS 1.2 and 1.3, HTTP/1.1, no client certificates: iPXE gives up where one is asked for, even as an option.
pub(super) fn acceptor(presented: Arc<Presented>, with_acme: bool) -> Result<TlsAcceptor, TlsError> {
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_protocol_versions(&[&TLS13, &TLS12]).map_err(TlsError::Setup)?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(presented);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    if with_acme {
        config.alpn_protocols.push(ACME_TLS.to_vec());
    }
    // A session that is resumed shows no certificate: clients would go on with the one before, perhaps the very one that
    // was replaced because its key got out. A whole handshake takes a millisecond, and people open few connections.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
