//! A server and a client that trust each other, for the tests of other modules.

use super::{
    leaf::{Leaf, Plane},
    presented::{Presented, acceptor},
    tests::Folder,
};
use crate::{clock::WallClock, secrets::SealedFiles};
use metalform_model::Clock;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject},
};
use std::{path::Path, sync::Arc};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// A certificate for `localhost`, valid now.
pub(crate) fn pair() -> (TlsAcceptor, TlsConnector) {
    let folder = Folder::new();
    let names = ["localhost".to_owned()].into();
    let (leaf, _) =
        Leaf::load_or_make(&folder.0, &SealedFiles::for_tests(), Plane::Control, &names, WallClock.now()).unwrap();
    let connector = connector(&folder.0.join("ca.pem"));
    (acceptor(Presented::new(leaf.key), false).unwrap(), connector)
}

/// A client that trusts that authority and no other.
pub(crate) fn connector(ca: &Path) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap();
    TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}
