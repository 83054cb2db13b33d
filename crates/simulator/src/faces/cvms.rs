//! The HTTPS listeners of CVMs and VIPs: bound while the world says that somebody answers there, closed as soon as nobody
//! does, so that a client meets refused connections exactly when it would.

use super::{
    Shared,
    server::{self, Door, Tls},
};
use crate::cvm::{CertificateName, Listener};
use rustls::{ServerConfig, crypto::CryptoProvider, pki_types::PrivateKeyDer};
use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

struct Open {
    certificate: CertificateName,
    tls: Tls,
    close: CancellationToken,
}

/// What is open now, and every key made so far.
pub(super) struct CvmListeners {
    open: BTreeMap<(Ipv4Addr, u16), Open>,
    keys: BTreeMap<CertificateName, Arc<ServerConfig>>,
    provider: Arc<CryptoProvider>,
}

impl CvmListeners {
    pub fn new(provider: Arc<CryptoProvider>) -> Self {
        CvmListeners { open: BTreeMap::new(), keys: BTreeMap::new(), provider }
    }

    /// Opens and closes until it is as `wanted`. `false`: an address is still taken, look again soon.
    pub async fn become_like(&mut self, shared: &Arc<Shared>, wanted: Vec<Listener>) -> bool {
        let wanted: BTreeMap<_, _> = wanted.into_iter().map(|l| ((l.ip, l.port), l.certificate)).collect();
        self.open.retain(|at, open| wanted.contains_key(at) || close(open));
        let mut is_done = true;
        for ((ip, port), certificate) in wanted {
            let Some(config) = self.config(&certificate, ip) else { continue };
            if let Some(open) = self.open.get_mut(&(ip, port)) {
                if open.certificate != certificate {
                    open.certificate = certificate;
                    *open.tls.lock().unwrap_or_else(PoisonError::into_inner) = config;
                }
                continue;
            }
            match TcpListener::bind(SocketAddr::from((ip, port))).await {
                Ok(listener) => {
                    let (tls, close) = (Arc::new(Mutex::new(config)), CancellationToken::new());
                    let accepting = server::accept(shared.clone(), listener, Door::Cvm(ip, port), Some(tls.clone()));
                    let until = close.clone();
                    shared.spawn(async move {
                        tokio::select! {
                            () = until.cancelled() => {}
                            () = accepting => {}
                        }
                    });
                    self.open.insert((ip, port), Open { certificate, tls, close });
                }
                Err(error) => {
                    is_done = false;
                    tracing::debug!(%error, %ip, port, "a CVM can't listen yet");
                }
            }
        }
        is_done
    }

    /// The key pair of that name, made at its first use.
    fn config(&mut self, name: &CertificateName, ip: Ipv4Addr) -> Option<Arc<ServerConfig>> {
        if let Some(config) = self.keys.get(name) {
            return Some(config.clone());
        }
        match make(&self.provider) {
            Ok(config) => Some(self.keys.entry(name.clone()).or_insert(Arc::new(config)).clone()),
            Err(error) => {
                tracing::error!(%error, %ip, "no certificate could be made for a CVM");
                None
            }
        }
    }
}

/// Closes; for `retain`, which then forgets it.
fn close(open: &Open) -> bool {
    open.close.cancel();
    false
}

#[derive(Debug, thiserror::Error)]
enum MakeError {
    #[error(transparent)]
    Certificate(#[from] rcgen::Error),
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

/// Self-signed, and for a name that is not the CVM's address, as fresh installations have it.
fn make(provider: &Arc<CryptoProvider>) -> Result<ServerConfig, MakeError> {
    let key = rcgen::KeyPair::generate()?;
    let certificate = rcgen::CertificateParams::new(vec!["nutanix.local".to_owned()])?.self_signed(&key)?;
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    Ok(ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)?)
}
