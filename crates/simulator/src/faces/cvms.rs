//! The listeners of CVMs, hypervisors and VIPs: bound while the world says that somebody answers there, closed as soon as
//! nobody does, so that a client meets refused connections exactly when it would.

use super::{
    Shared,
    installed::Relays,
    server::{self, Door, Tls},
    ssh,
};
use crate::cvm::{CertificateName, Listener, Service};
use rustls::{ServerConfig, crypto::CryptoProvider, pki_types::PrivateKeyDer};
use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

struct Open {
    service: Service,
    certificate: CertificateName,
    /// What TLS shows, where that is spoken.
    tls: Option<Tls>,
    close: CancellationToken,
}

impl Open {
    /// Whether it may stay open as that listener. A host key is for good: with another one, connections end, as they
    /// do when a node is installed anew. TLS may come to show another key.
    fn can_be(&self, wanted: &Listener) -> bool {
        self.service == wanted.service && (self.service != Service::Ssh || self.certificate == wanted.certificate)
    }
}

/// What is open now, and every key made so far.
pub(super) struct CvmListeners {
    open: BTreeMap<(Ipv4Addr, u16), Open>,
    keys: BTreeMap<CertificateName, Arc<ServerConfig>>,
    /// A CVM and the hypervisor under it share a name, and no key.
    host_keys: BTreeMap<(CertificateName, Ipv4Addr), Arc<russh::server::Config>>,
    provider: Arc<CryptoProvider>,
}

impl CvmListeners {
    pub fn new(provider: Arc<CryptoProvider>) -> Self {
        CvmListeners { open: BTreeMap::new(), keys: BTreeMap::new(), host_keys: BTreeMap::new(), provider }
    }

    /// Opens and closes until it is as `wanted`. `false`: an address is still taken, look again soon.
    pub async fn become_like(&mut self, shared: &Arc<Shared>, wanted: Vec<Listener>) -> bool {
        let wanted: BTreeMap<_, _> = wanted.into_iter().map(|l| ((l.ip, l.port), l)).collect();
        self.open.retain(|at, open| wanted.get(at).is_some_and(|l| open.can_be(l)) || close(open));
        let mut is_done = true;
        for (at, listener) in wanted {
            if !self.open.contains_key(&at) {
                let place = shared.relays.as_ref().map_or(SocketAddr::from(at), Relays::place);
                match TcpListener::bind(place).await {
                    Ok(bound) => {
                        if let Some(relays) = &shared.relays {
                            relays.opened(at, &bound);
                        }
                        self.answer(shared, bound, listener);
                    }
                    Err(error) => {
                        is_done = false;
                        tracing::debug!(%error, ?at, "a CVM can't listen yet");
                    }
                }
            } else if listener.service == Service::Https {
                self.show(&at, listener.certificate);
            }
        }
        is_done
    }

    /// Has an open TLS listener show that certificate.
    fn show(&mut self, at: &(Ipv4Addr, u16), certificate: CertificateName) {
        if self.open.get(at).is_none_or(|open| open.certificate == certificate) {
            return;
        }
        let config = self.config(&certificate, at.0);
        if let (Some(config), Some(open)) = (config, self.open.get_mut(at)) {
            open.certificate = certificate;
            if let Some(tls) = &open.tls {
                *tls.lock().unwrap_or_else(PoisonError::into_inner) = config;
            }
        }
    }

    /// Answers on a bound port.
    fn answer(&mut self, shared: &Arc<Shared>, bound: TcpListener, listener: Listener) {
        let Listener { ip, port, service, certificate } = listener;
        let close = shared.stop.child_token();
        let door = Door::Cvm(ip, port);
        let mut tls = None;
        match service {
            Service::Https => {
                let Some(config) = self.config(&certificate, ip) else { return };
                let shown = Arc::new(Mutex::new(config));
                tls = Some(shown.clone());
                spawn_until(shared, &close, server::accept(shared.clone(), bound, door, Some(shown)));
            }
            Service::Http => spawn_until(shared, &close, server::accept(shared.clone(), bound, door, None)),
            Service::Ssh => {
                let Some(config) = self.ssh_config(&certificate, ip) else { return };
                let accepting = ssh::accept(shared.clone(), bound, (ip, port), config, close.clone());
                spawn_until(shared, &close, accepting);
            }
        }
        self.open.insert((ip, port), Open { service, certificate, tls, close });
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

    /// The host key of that name and address, made at its first use.
    fn ssh_config(&mut self, name: &CertificateName, ip: Ipv4Addr) -> Option<Arc<russh::server::Config>> {
        let name = (name.clone(), ip);
        if let Some(config) = self.host_keys.get(&name) {
            return Some(config.clone());
        }
        match ssh::config() {
            Ok(config) => Some(self.host_keys.entry(name).or_insert(config).clone()),
            Err(error) => {
                tracing::error!(%error, %ip, "no host key could be made for a CVM");
                None
            }
        }
    }
}

fn spawn_until(shared: &Shared, close: &CancellationToken, task: impl Future<Output = ()> + Send + 'static) {
    let until = close.clone();
    shared.spawn(async move {
        tokio::select! {
            () = until.cancelled() => {}
            () = task => {}
        }
    });
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
