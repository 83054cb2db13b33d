//! A signed head: how far the audit reached at a moment and, by the hash of that line, everything it held up to there.
//!
//! Ed25519 (RFC 8032) of aws-lc-rs, which seals the passwords as well. Heads are chained, too: each is signed together with
//! the signature of the one before, so none can be taken out from between.

use super::line::framed;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use metalform_model::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{fmt, str::FromStr};
use thiserror::Error;

/// Begins what is signed, so that a signature of ours is good for nothing else.
const CONTEXT: &str = "metalform audit head v1";
const KEY_LEN: usize = 32;

/// A signed head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditHead {
    /// The newest line at that moment.
    pub seq: i64,
    /// Its hash.
    pub hash: String,
    /// When it was signed.
    pub at: Timestamp,
    /// Signature of the head before; empty for the first.
    pub prev: String,
    /// Which key signed: [`AuditPublicKey::id`].
    pub key_id: String,
    /// Over all of these, as hex.
    pub signature: String,
}

impl AuditHead {
    fn signed_bytes(&self) -> Vec<u8> {
        let (seq, at) = (self.seq.to_string(), self.at.0.to_string());
        framed(&[CONTEXT, &seq, &self.hash, &at, &self.prev, &self.key_id])
    }
}

/// What signs heads. Can't be printed.
pub struct AuditKey(Ed25519KeyPair);

impl AuditKey {
    /// From 32 random bytes. `None`: the machine's cryptography failed.
    pub fn from_seed(seed: &[u8; KEY_LEN]) -> Option<AuditKey> {
        Ed25519KeyPair::from_seed_unchecked(seed).ok().map(AuditKey)
    }

    /// What its signatures are checked with.
    pub fn public(&self) -> AuditPublicKey {
        let mut bytes = [0; KEY_LEN];
        // Ed25519 has public keys of 32 bytes (RFC 8032, 5.1.5).
        bytes.copy_from_slice(self.0.public_key().as_ref());
        AuditPublicKey(bytes)
    }

    /// Signs that the audit reached that line at `at`. `prev`: the signature of the head before.
    pub fn sign(&self, seq: i64, hash: String, at: Timestamp, prev: String) -> AuditHead {
        let mut head = AuditHead { seq, hash, at, prev, key_id: self.public().id(), signature: String::new() };
        head.signature = hex::encode(self.0.sign(&head.signed_bytes()));
        head
    }
}

impl fmt::Debug for AuditKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuditKey(..)")
    }
}

/// What heads are checked with. No secret. Written as 64 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditPublicKey([u8; KEY_LEN]);

/// A text that is no public key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("that is no public key of the audit: one is 64 hex digits")]
pub struct BadPublicKey;

impl AuditPublicKey {
    /// Its short name: the first 8 bytes of its SHA-256, as hex.
    pub fn id(&self) -> String {
        hex::encode(&Sha256::digest(self.0)[..8])
    }

    /// Whether this key signed that head as it is.
    pub fn signed(&self, head: &AuditHead) -> bool {
        let Ok(signature) = hex::decode(&head.signature) else { return false };
        head.key_id == self.id()
            && UnparsedPublicKey::new(&ED25519, self.0).verify(&head.signed_bytes(), &signature).is_ok()
    }
}

impl fmt::Display for AuditPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl FromStr for AuditPublicKey {
    type Err = BadPublicKey;

    fn from_str(text: &str) -> Result<Self, BadPublicKey> {
        let bytes = hex::decode(text.trim()).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(AuditPublicKey).ok_or(BadPublicKey)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8032, 7.1, test 1: key and public key.
    #[test]
    fn keys_are_those_of_the_standard() {
        let seed = hex::decode("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").unwrap();
        let key = AuditKey::from_seed(&seed.try_into().unwrap()).unwrap();
        let public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        assert_eq!(key.public().to_string(), public);
        assert_eq!(public.parse(), Ok(key.public()));
        assert_eq!(format!("{key:?}"), "AuditKey(..)");
        assert_eq!("d75a".parse::<AuditPublicKey>(), Err(BadPublicKey));
    }

    #[test]
    fn a_head_with_any_field_changed_was_not_signed() {
        let key = AuditKey::from_seed(&[7; 32]).unwrap();
        let head = key.sign(12, "ab".into(), Timestamp(5), "cd".into());
        assert!(key.public().signed(&head));
        assert!(!AuditKey::from_seed(&[8; 32]).unwrap().public().signed(&head));
        let edits: [fn(&mut AuditHead); 7] = [
            |h| h.seq += 1,
            |h| h.hash.push('0'),
            |h| h.at = Timestamp(6),
            |h| h.prev.clear(),
            |h| h.key_id.push('0'),
            |h| h.signature.replace_range(..2, "zz"),
            // What was the end of one field is the beginning of the next.
            |h| (h.hash, h.prev) = ("abc".into(), "d".into()),
        ];
        for edit in edits {
            let mut edited = head.clone();
            edit(&mut edited);
            assert!(!key.public().signed(&edited), "{edited:?}");
        }
    }
}
