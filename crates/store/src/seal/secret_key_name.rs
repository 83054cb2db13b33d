//! What a secret key is called where it may be seen: enough to know it again, nothing to find it by.

use super::key::{expand, extract};
use std::fmt;

/// Keeps the name apart from every key that is derived from the same secret.
const NAME: &[u8] = b"metalform secret key v1: name";

/// The name of a secret key: 32 hex digits, derived from it one way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretKeyName(String);

impl SecretKeyName {
    /// Of the service's secret.
    pub fn of(secret: &[u8; 32]) -> Self {
        SecretKeyName(hex::encode(&expand(&extract(secret), NAME)[..16]))
    }

    /// As it was written down.
    pub(crate) fn from_text(text: String) -> Self {
        SecretKeyName(text)
    }

    /// As it is written down.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SecretKeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed by another implementation of HKDF: a change of it refuses the right key of every data folder.
    #[test]
    fn a_keys_name_is_what_it_was() {
        assert_eq!(SecretKeyName::of(&[1; 32]).as_str(), "3daea320fd90c620373973747ae0170c");
        assert_ne!(SecretKeyName::of(&[2; 32]), SecretKeyName::of(&[1; 32]));
    }
}
