//! A certificate and its key, as the operator has them: two files.

use super::{TlsError, certificate::Facts};
use crate::secrets;
use metalform_model::Timestamp;
use rustls::{
    InconsistentKeys,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use secrecy::{ExposeSecret, SecretString};
use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

/// Where the two are.
#[derive(Debug, Clone)]
pub(super) struct PairFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// What the two hold.
pub(super) struct PairText {
    cert: Vec<u8>,
    key: SecretString,
}

impl PairText {
    /// Where one text holds both.
    pub fn of_one(text: &SecretString) -> PairText {
        PairText { cert: text.expose_secret().as_bytes().to_vec(), key: text.clone() }
    }
}

impl PartialEq for PairText {
    fn eq(&self, other: &Self) -> bool {
        self.cert == other.cert && self.key.expose_secret() == other.key.expose_secret()
    }
}

impl PairFiles {
    /// Reads both. A key that others may read is refused.
    pub fn read(&self) -> Result<PairText, TlsError> {
        let failed = |source| TlsError::File { doing: "read", path: self.cert.clone(), source };
        Ok(PairText { cert: std::fs::read(&self.cert).map_err(failed)?, key: secrets::read(&self.key)? })
    }

    /// Whether clients could take what was read.
    pub fn check(&self, text: &PairText, now: Timestamp) -> Result<(CertifiedKey, Facts), TlsError> {
        let path = || self.cert.clone();
        let key = certified(&text.cert, &self.cert, text.key.expose_secret().as_bytes(), &self.key)?;
        let facts = key.cert.first().and_then(|der| Facts::of(der));
        let facts = facts.ok_or_else(|| TlsError::Content { path: path(), what: "X.509 certificate" })?;
        let (not_before, not_after) = (facts.validity.not_before, facts.validity.not_after);
        if now > not_after {
            return Err(TlsError::Expired { path: path(), not_after });
        }
        if now < not_before {
            return Err(TlsError::NotYetValid { path: path(), not_before, now });
        }
        if facts.names.is_empty() {
            return Err(TlsError::Nameless { path: path() });
        }
        Ok((key, facts))
    }
}

/// The chain of one text with the key of another, which must be its first certificate's.
pub(super) fn certified(cert: &[u8], cert_path: &Path, key: &[u8], key_path: &Path) -> Result<CertifiedKey, TlsError> {
    let no_chain = || TlsError::Content { path: cert_path.to_owned(), what: "certificate" };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(cert).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or_else(no_chain)?;
    let no_key = |_| TlsError::Content { path: key_path.to_owned(), what: "private key without a passphrase" };
    let key = PrivateKeyDer::from_pem_slice(key).map_err(no_key)?;
    CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(|source| match source {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            TlsError::Mismatch { cert: cert_path.to_owned(), key: key_path.to_owned() }
        }
        source => TlsError::Unusable { path: cert_path.to_owned(), source },
    })
}

/// Whether the two texts are a pair that could be presented.
#[cfg(feature = "fuzzing")]
pub(crate) fn is_usable_pair(cert: &[u8], key: &[u8], now: Timestamp) -> bool {
    let files = PairFiles { cert: "cert.pem".into(), key: "key.pem".into() };
    let text = PairText { cert: cert.to_vec(), key: String::from_utf8_lossy(key).into_owned().into() };
    files.check(&text, now).is_ok()
}

/// The name that a client on the service's own machine asks for, when the certificate in that file isn't for the address that
/// it connects to. `None`: it is, or it can't be read, or names no host.
pub fn name_to_ask_for(cert: &Path, address: IpAddr) -> Option<String> {
    let names = Facts::of(&CertificateDer::from_pem_file(cert).ok()?)?.names;
    if names.contains(&address.to_string()) {
        return None;
    }
    // A wildcard is no host to ask for; any name below it is.
    names.into_iter().find(|name| name.parse::<IpAddr>().is_err()).map(|name| name.replace('*', "metalform"))
}
