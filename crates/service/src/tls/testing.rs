//! A server and a client that trust each other, for the tests of other modules.

use super::{
    leaf::Leaf,
    presented::{Presented, acceptor},
    tests::Folder,
};
use crate::clock::WallClock;
use metalform_model::Clock;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject},
};
use std::sync::Arc;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// A certificate for `localhost`, valid now.
pub(crate) fn pair() -> (TlsAcceptor, TlsConnector) {
    let folder = Folder::new();
    let names = ["localhost".to_owned()].into();
    let (leaf, _) = Leaf::load_or_make(&folder.0, &names, WallClock.now()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.0.join("ca.pem")).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    (acceptor(Presented::new(leaf.key)).unwrap(), TlsConnector::from(Arc::new(config)))
}
