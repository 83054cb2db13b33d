//! Secrets at rest: sealed under a key that isn't in the database, so that neither the file nor a copy of it tells one.
//!
//! AES-256-GCM with a fresh random nonce for each seal; where the secret belongs (deployment and account, or its name) is
//! authenticated along with it, so a row that is moved to another cluster or account doesn't open. Each key is derived from
//! the service's secret with a context of its own (HKDF-SHA256): whatever else that secret is for, nothing of it is shared.
//!
//! Rejected: a second secret file. Two files that are of use only together get lost one at a time.

mod key;
mod named;
mod secret_key_name;

pub use named::{NamedSealError, NamedSealer};
pub use secret_key_name::SecretKeyName;

use aws_lc_rs::error::Unspecified;
use key::{OpenFault, SealKey};
use metalform_model::Account;
use secrecy::{ExposeSecret, SecretString};
use std::fmt;
use thiserror::Error;
use uuid::Uuid;

/// Keeps the key apart from every other use of the same secret. A change of it makes every sealed password unreadable.
const KEY: &[u8] = b"metalform sealed password v1: key";
/// The same for the key's name.
const KEY_NAME: &[u8] = b"metalform sealed password v1: key name";
/// Begins what is authenticated along with a password.
const ROW: &[u8] = b"metalform sealed password v1: row\0";

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
                "the secret key (secret.key of the data folder, or what `[secrets] key` names) isn't the one that it was sealed \
                 with: restore that from a backup"
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
pub struct Sealer(SealKey);

impl Sealer {
    /// Takes the service's secret, 32 random bytes. They may serve other purposes beside this one.
    pub fn new(secret: &[u8; 32]) -> Self {
        Sealer(SealKey::derive(secret, KEY, KEY_NAME))
    }

    /// Seals the password of an account of that deployment. Twice the same is never the same.
    pub fn seal(&self, cluster_id: Uuid, account: Account, password: &SecretString) -> Result<Sealed, SealError> {
        let sealed = self.0.seal(&row(cluster_id, account), password.expose_secret().as_bytes());
        sealed.map(Sealed).map_err(|source| SealError::Seal { account, source })
    }

    /// Opens what was sealed for that account of that deployment.
    pub fn open(&self, cluster_id: Uuid, account: Account, sealed: &Sealed) -> Result<SecretString, SealError> {
        let opened = self.0.open(&row(cluster_id, account), &sealed.0);
        opened.map_err(|fault| match fault {
            OpenFault::OtherKey => SealError::OtherKey { account },
            OpenFault::Changed(source) => SealError::Changed { account, source },
            OpenFault::Unknown => SealError::Unknown { account },
        })
    }

    /// Whether that names this key as the one it was sealed under. Says nothing of whether it opens.
    pub fn is_key_of(&self, sealed: &Sealed) -> bool {
        self.0.is_key_of(&sealed.0)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(..)")
    }
}

/// Where the password belongs. A UUID has one length, so no two places give the same bytes.
fn row(cluster_id: Uuid, account: Account) -> Vec<u8> {
    [ROW, cluster_id.as_bytes(), account.as_str().as_bytes()].concat()
}

#[cfg(test)]
mod tests;
