//! Authorities and certificates, as the service makes them, and as somebody in between would.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// An authority with one name, as all of the service's are.
pub struct Authority {
    key: KeyPair,
    params: CertificateParams,
    pub certificate: CertificateDer<'static>,
}

impl Authority {
    pub fn new() -> Authority {
        Authority::over(KeyPair::generate().unwrap(), 2034)
    }

    fn over(key: KeyPair, until: i32) -> Authority {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "Metalform");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_after = date_time_ymd(until, 1, 1);
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Authority { key, params, certificate }
    }

    /// Another certificate over the same key.
    pub fn renewed(&self) -> Authority {
        Authority::over(KeyPair::from_pem(&self.key.serialize_pem()).unwrap(), 2040)
    }

    /// What a boot script pins.
    pub fn pin(&self) -> String {
        hex::encode(Sha256::digest(&self.certificate))
    }

    /// A server for that address in those years, shown with the authority's own certificate.
    pub fn server(&self, address: &str, years: [i32; 2]) -> Arc<ServerConfig> {
        self.server_shown_with(address, years, std::slice::from_ref(&self.certificate))
    }

    pub fn server_shown_with(
        &self,
        address: &str,
        [from, until]: [i32; 2],
        shown: &[CertificateDer<'static>],
    ) -> Arc<ServerConfig> {
        let mut params = CertificateParams::new(vec![address.to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = params.signed_by(&key, &issuer).unwrap().der().clone();
        let chain = [&[certificate], shown].concat();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap())
    }
}
