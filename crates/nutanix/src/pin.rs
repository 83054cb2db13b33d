//! Trust in a CVM: the SHA-256 of its public key.
//!
//! The key and not the certificate is pinned, so a certificate that is renewed for the same key changes nothing. The
//! certificate's name, dates and issuer are not looked at: on a fresh CVM they say nothing. The signature of the
//! handshake is verified all the same, otherwise a peer could show a key that it does not have.

use rustls::{
    CertificateError, DigitallySignedStruct, OtherError, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use std::{
    fmt,
    str::FromStr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

/// SHA-256 of a public key (its DER-encoded SubjectPublicKeyInfo, RFC 5280 §4.1). Shown and stored as 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// The fingerprint of a DER-encoded SubjectPublicKeyInfo.
    pub fn of_spki(der: &[u8]) -> Self {
        Fingerprint(Sha256::digest(der).into())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not 64 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a key fingerprint has 64 hex digits")]
pub struct NotAFingerprint;

impl FromStr for Fingerprint {
    type Err = NotAFingerprint;
    fn from_str(text: &str) -> Result<Self, NotAFingerprint> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| NotAFingerprint)?;
        Ok(Fingerprint(bytes))
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Which keys a peer may show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PinRule {
    /// Any key: first use. The caller remembers the one it is told of.
    TrustFirst,
    /// One of these. A VIP may show the key of any member.
    OneOf(Vec<Fingerprint>),
}

impl PinRule {
    /// Whether a peer with this key is to be talked to.
    pub fn accepts(&self, seen: &Fingerprint) -> bool {
        match self {
            PinRule::TrustFirst => true,
            PinRule::OneOf(known) => known.contains(seen),
        }
    }
}

/// Holds one connection's peer to a [`PinRule`], and remembers what the peer showed. One verifier, one connection:
/// what it remembers is how a failed request is told from one that may have been carried out.
#[derive(Debug)]
pub(crate) struct PinVerifier {
    rule: PinRule,
    provider: Arc<CryptoProvider>,
    shown: OnceLock<Fingerprint>,
    proven: AtomicBool,
}

impl PinVerifier {
    pub(crate) fn new(rule: PinRule, provider: Arc<CryptoProvider>) -> Self {
        Self { rule, provider, shown: OnceLock::new(), proven: AtomicBool::new(false) }
    }

    /// The key of the peer, once it has proven that it owns it. Until then no byte of a request has left us: both TLS
    /// versions have the client check that proof before its first byte of application data.
    pub(crate) fn proven(&self) -> Option<Fingerprint> {
        self.shown.get().copied().filter(|_| self.proven.load(Ordering::Acquire))
    }

    /// Which keys were expected, and the other one that was shown.
    pub(crate) fn mismatch(&self) -> Option<(Vec<Fingerprint>, Fingerprint)> {
        match (&self.rule, self.shown.get()) {
            (PinRule::OneOf(expected), Some(seen)) if !expected.contains(seen) => Some((expected.clone(), *seen)),
            _ => None,
        }
    }

    fn remember_proof(
        &self,
        outcome: Result<HandshakeSignatureValid, rustls::Error>,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.proven.store(outcome.is_ok(), Ordering::Release);
        outcome
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the peer's key is not the pinned one")]
struct KeyNotPinned;

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let seen = *self.shown.get_or_init(|| Fingerprint::of_spki(&certificate.subject_public_key_info()));
        if self.rule.accepts(&seen) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::Other(OtherError(Arc::new(KeyNotPinned))).into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        self.remember_proof(verify_tls12_signature(message, cert, dss, algorithms))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        self.remember_proof(verify_tls13_signature(message, cert, dss, algorithms))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_survives_its_own_text() {
        let fingerprint = Fingerprint::of_spki(b"key");
        let text = "2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683";
        assert_eq!(fingerprint.to_string(), text);
        assert_eq!(text.parse(), Ok(fingerprint));
        assert_eq!(serde_json::to_string(&fingerprint).unwrap(), format!("{text:?}"));
        assert_eq!("2c70".parse::<Fingerprint>(), Err(NotAFingerprint));
    }

    #[test]
    fn a_rule_without_any_key_accepts_none() {
        assert!(!PinRule::OneOf(vec![]).accepts(&Fingerprint([7; 32])));
        assert!(PinRule::TrustFirst.accepts(&Fingerprint([7; 32])));
    }
}
