//! The certificate by which a machine knows that it talks to us: boot scripts pin it, and the agent trusts nothing else.
//!
//! The pin is the digest of a whole certificate and not of its key: `openssl x509 -outform DER | sha256sum` shows it to
//! anybody. The price is that it is another one after the certificate was renewed over the same key, once in six years.

use std::sync::{Arc, PoisonError, RwLock};

/// SHA-256 of the present certificate of our authority. All copies change together.
#[derive(Debug, Clone)]
pub struct CaPin(Arc<RwLock<[u8; 32]>>);

impl CaPin {
    /// Of a certificate with that digest.
    pub fn new(sha256: [u8; 32]) -> Self {
        CaPin(Arc::new(RwLock::new(sha256)))
    }

    /// The certificate was renewed: later scripts pin another one.
    pub fn replace(&self, sha256: [u8; 32]) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = sha256;
    }

    /// 64 hex digits in lower case.
    pub fn digits(&self) -> String {
        hex::encode(*self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renewed_certificate_is_the_pin_of_every_copy() {
        let pin = CaPin::new([0; 32]);
        let copy = pin.clone();
        assert_eq!(copy.digits(), "0".repeat(64));
        pin.replace([0xab; 32]);
        assert_eq!(copy.digits(), "ab".repeat(32));
    }
}
