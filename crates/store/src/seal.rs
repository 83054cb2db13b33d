//! Passwords at rest: sealed under a key that isn't in the database, so that neither the file nor a copy of it tells one.
//!
//! AES-256-GCM with a fresh random nonce for each seal; deployment and account are authenticated along with it, so a row
//! that is moved to another cluster or account doesn't open. The key is derived from the service's secret with a context
//! of its own (HKDF-SHA256): whatever else that secret is for, nothing of it is shared.
//!
//! Rejected: a second secret file. Two files that are of use only together get lost one at a time.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    error::Unspecified,
    hkdf::{HKDF_SHA256, Prk, Salt},
};
use metalform_model::Account;
use secrecy::{ExposeSecret, SecretString, zeroize::Zeroizing};
use std::fmt;
use thiserror::Error;
use uuid::Uuid;

/// Keeps the key apart from every other use of the same secret. A change of it makes every sealed password unreadable.
const KEY: &[u8] = b"metalform sealed password v1: key";
/// The same for the key's name.
const KEY_NAME: &[u8] = b"metalform sealed password v1: key name";
/// Begins what is authenticated along with a password.
const ROW: &[u8] = b"metalform sealed password v1: row\0";

/// The first byte of what is sealed: how the rest is laid out.
const VERSION: u8 = 1;
const KEY_NAME_LEN: usize = 4;
/// Version, name of the key, nonce; then the sealed text and its tag.
const HEAD: usize = 1 + KEY_NAME_LEN + NONCE_LEN;

/// A password that can't be sealed or opened.
#[derive(Debug, Error)]
pub enum SealError {
    /// The machine's cryptography failed.
    #[error("the password of {} could not be sealed", account.as_str())]
    Seal {
        /// Whose.
        account: Account,
        /// Why.
        source: Unspecified,
    },
    /// It was sealed under another secret.
    #[error("the password of {} was sealed under another secret key", account.as_str())]
    OtherKey {
        /// Whose.
        account: Account,
    },
    /// The row isn't as it was written.
    #[error("the sealed password of {} was changed, or belongs to another cluster or account", account.as_str())]
    Changed {
        /// Whose.
        account: Account,
        /// Why.
        source: Unspecified,
    },
    /// It isn't laid out in a way this version knows.
    #[error("the sealed password of {} can't be read by this version", account.as_str())]
    Unknown {
        /// Whose.
        account: Account,
    },
}

impl SealError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            SealError::Seal { .. } => "check that the system's random numbers and memory are there",
            SealError::OtherKey { .. } => {
                "secret.key of the data folder isn't the one that it was sealed with: restore that from a backup"
            }
            SealError::Changed { .. } => "somebody edited the database: restore metalform.db from a backup",
            SealError::Unknown { .. } => {
                "the data folder was written by another version of Metalform; use that version"
            }
        }
    }

    /// Whether the same call may work later.
    pub fn is_transient(&self) -> bool {
        matches!(self, SealError::Seal { .. })
    }
}

/// A sealed password: worth nothing without the key, and shown to nobody all the same.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(Vec<u8>);

impl Sealed {
    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Self {
        Sealed(bytes)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed(..)")
    }
}

/// Seals passwords, and opens them again. Can't be printed.
pub struct Sealer {
    key: RandomizedNonceKey,
    /// Tells a wrong key from a changed row; says nothing about the key.
    key_name: [u8; KEY_NAME_LEN],
}

impl Sealer {
    /// Takes the service's secret, 32 random bytes. They may serve other purposes beside this one.
    pub fn new(secret: &[u8; 32]) -> Self {
        let secret = Salt::none(HKDF_SHA256).extract(secret);
        let key = derive(&secret, KEY);
        let name = derive(&secret, KEY_NAME);
        let mut key_name = [0; KEY_NAME_LEN];
        key_name.copy_from_slice(&name[..KEY_NAME_LEN]);
        let key = RandomizedNonceKey::new(&AES_256_GCM, &*key).expect("32 bytes are a key of AES-256");
        Sealer { key, key_name }
    }

    /// Seals the password of an account of that deployment. Twice the same is never the same.
    pub fn seal(&self, cluster_id: Uuid, account: Account, password: &SecretString) -> Result<Sealed, SealError> {
        let text = password.expose_secret().as_bytes();
        // Sealed where it lies, and with room for the tag, so that no copy of the text is left behind.
        let mut sealed = Vec::with_capacity(text.len() + AES_256_GCM.tag_len());
        sealed.extend_from_slice(text);
        let nonce = self
            .key
            .seal_in_place_append_tag(Aad::from(row(cluster_id, account)), &mut sealed)
            .map_err(|source| SealError::Seal { account, source })?;
        let mut bytes = Vec::with_capacity(HEAD + sealed.len());
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.key_name);
        bytes.extend_from_slice(nonce.as_ref());
        bytes.append(&mut sealed);
        Ok(Sealed(bytes))
    }

    /// Opens what was sealed for that account of that deployment.
    pub fn open(&self, cluster_id: Uuid, account: Account, sealed: &Sealed) -> Result<SecretString, SealError> {
        let unknown = || SealError::Unknown { account };
        let (head, text) = sealed.0.split_at_checked(HEAD).ok_or_else(unknown)?;
        let (key_name, nonce) = match head.split_first() {
            Some((&VERSION, rest)) => rest.split_at(KEY_NAME_LEN),
            _ => return Err(unknown()),
        };
        if key_name != self.key_name {
            return Err(SealError::OtherKey { account });
        }
        let changed = |source| SealError::Changed { account, source };
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(changed)?;
        let mut text = Zeroizing::new(text.to_vec());
        let text = self.key.open_in_place(nonce, Aad::from(row(cluster_id, account)), &mut text).map_err(changed)?;
        // Only texts are sealed, so only a text can come out.
        let text = std::str::from_utf8(text).map_err(|_| unknown())?;
        Ok(text.into())
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(..)")
    }
}

fn derive(secret: &Prk, context: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut bytes = Zeroizing::new([0; 32]);
    secret
        .expand(&[context], &AES_256_GCM)
        .and_then(|derived| derived.fill(&mut *bytes))
        .expect("HKDF-SHA256 gives up to 8160 bytes (RFC 5869)");
    bytes
}

/// Where the password belongs. A UUID has one length, so no two places give the same bytes.
fn row(cluster_id: Uuid, account: Account) -> Vec<u8> {
    [ROW, cluster_id.as_bytes(), account.as_str().as_bytes()].concat()
}

#[cfg(test)]
mod tests;
