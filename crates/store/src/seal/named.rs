//! Secrets that belong to no account: keys in files, a cloud's API key, boot tokens. Each is sealed for its name.

use super::key::{OpenFault, SealKey};
use aws_lc_rs::error::Unspecified;
use secrecy::{ExposeSecret, SecretString};
use std::fmt;
use thiserror::Error;

/// Keeps the key apart from every other use of the same secret. A change of it makes everything sealed by name unreadable.
const KEY: &[u8] = b"metalform sealed by name v1: key";
/// The same for the key's name.
const KEY_NAME: &[u8] = b"metalform sealed by name v1: key name";
/// Begins what is authenticated along with a secret.
const NAME: &[u8] = b"metalform sealed by name v1: name\0";

/// A named secret that can't be sealed or opened. All are permanent but [`NamedSealError::Seal`].
#[derive(Debug, Error)]
pub enum NamedSealError {
    /// The machine's cryptography failed.
    #[error("{name} could not be sealed")]
    Seal {
        /// Of the secret.
        name: String,
        /// Why.
        source: Unspecified,
    },
    /// It was sealed under another secret.
    #[error("{name} was sealed under another secret key")]
    OtherKey {
        /// Of the secret.
        name: String,
    },
    /// It isn't as it was written.
    #[error("{name} was changed since it was sealed, or was sealed as another file")]
    Changed {
        /// Of the secret.
        name: String,
        /// Why.
        source: Unspecified,
    },
    /// It isn't laid out in a way this version knows.
    #[error("{name} is sealed in a way that this version can't read")]
    Unknown {
        /// Of the secret.
        name: String,
    },
}

impl NamedSealError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            NamedSealError::Seal { .. } => "check that the system's random numbers and memory are there",
            NamedSealError::OtherKey { .. } => {
                "if the secret key is being changed, run `metalform secret rotate --old …` to its end; else restore the file and \
                 the key from the same backup"
            }
            NamedSealError::Changed { .. } => "restore it from a backup",
            NamedSealError::Unknown { .. } => {
                "the data folder was written by another version of Metalform; use that version"
            }
        }
    }

    /// Whether the same call may work later.
    pub fn is_transient(&self) -> bool {
        matches!(self, NamedSealError::Seal { .. })
    }
}

/// Seals secrets by their names, and opens them again. Can't be printed.
pub struct NamedSealer(SealKey);

impl NamedSealer {
    /// Takes the service's secret, 32 random bytes.
    pub fn new(secret: &[u8; 32]) -> Self {
        NamedSealer(SealKey::derive(secret, KEY, KEY_NAME))
    }

    /// Seals a secret for that name. Twice the same is never the same.
    pub fn seal(&self, name: &str, secret: &SecretString) -> Result<Vec<u8>, NamedSealError> {
        let sealed = self.0.seal(&belongs(name), secret.expose_secret().as_bytes());
        sealed.map_err(|source| NamedSealError::Seal { name: name.to_owned(), source })
    }

    /// Opens what was sealed for that name.
    pub fn open(&self, name: &str, sealed: &[u8]) -> Result<SecretString, NamedSealError> {
        let name = || name.to_owned();
        self.0.open(&belongs(&name()), sealed).map_err(|fault| match fault {
            OpenFault::OtherKey => NamedSealError::OtherKey { name: name() },
            OpenFault::Changed(source) => NamedSealError::Changed { name: name(), source },
            OpenFault::Unknown => NamedSealError::Unknown { name: name() },
        })
    }
}

impl fmt::Debug for NamedSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NamedSealer(..)")
    }
}

fn belongs(name: &str) -> Vec<u8> {
    [NAME, name.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "tls/ca.key";

    fn sealer() -> NamedSealer {
        NamedSealer::new(&[1; 32])
    }

    fn sealed() -> Vec<u8> {
        sealer().seal(NAME, &"a key".into()).unwrap()
    }

    #[test]
    fn what_was_sealed_for_a_name_opens_for_that_name_alone() {
        assert_eq!(sealer().open(NAME, &sealed()).unwrap().expose_secret(), "a key");
        let error = sealer().open("audit.key", &sealed()).unwrap_err();
        assert!(matches!(error, NamedSealError::Changed { .. }), "{error:?}");
    }

    /// Computed by another implementation of HKDF and AES-GCM (Python's `cryptography`).
    #[test]
    fn what_an_earlier_version_sealed_opens() {
        let bytes = hex::decode(FIRST_VERSION).unwrap();
        assert_eq!(sealer().open(NAME, &bytes).unwrap().expose_secret(), "a key");
    }

    const FIRST_VERSION: &str = "01e1aa2748000102030405060708090a0bc7a9920c32620e0bc50c8dfdb945ce01635f792126";

    #[test]
    fn under_another_secret_nothing_opens_and_the_key_is_named_as_the_cause() {
        let error = NamedSealer::new(&[2; 32]).open(NAME, &sealed()).unwrap_err();
        assert!(matches!(error, NamedSealError::OtherKey { .. }), "{error:?}");
    }

    #[test]
    fn whatever_byte_is_changed_or_missing_it_does_not_open() {
        let whole = sealed();
        for at in 0..whole.len() {
            let mut edited = whole.clone();
            edited[at] ^= 1;
            let error = sealer().open(NAME, &edited).unwrap_err();
            assert!(!error.hint().is_empty() && !error.is_transient(), "{at}: {error:?}");
            assert!(sealer().open(NAME, &whole[..at]).is_err(), "{at}");
        }
    }

    #[test]
    fn a_password_is_no_file_and_a_file_no_password() {
        use crate::{Sealed, Sealer};
        use metalform_model::Account;
        use uuid::Uuid;
        let (cluster, account) = (Uuid::nil(), Account::AhvRoot);
        let password = Sealer::new(&[1; 32]).seal(cluster, account, &"x".into()).unwrap();
        assert!(sealer().open("ahv_root", password.as_bytes()).is_err());
        assert!(Sealer::new(&[1; 32]).open(cluster, account, &Sealed::from_bytes(sealed())).is_err());
    }
}
