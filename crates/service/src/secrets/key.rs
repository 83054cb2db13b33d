//! The secret key itself.

use super::random_hex;
use metalform_boot::TokenKey;
use metalform_store::{NamedSealer, SealedUnder, Sealer, SecretKeyName};
use secrecy::{ExposeSecret, SecretBox, SecretString};
use std::fmt;

/// 32 random bytes, which everything else is sealed under or made from. Can't be printed.
pub(super) struct SecretKey(SecretBox<[u8; 32]>);

impl SecretKey {
    /// From 64 hex digits.
    pub fn from_hex(text: &SecretString) -> Option<SecretKey> {
        from_hex(text).map(|bytes| SecretKey(SecretBox::new(Box::new(bytes))))
    }

    /// A new one, and its text.
    pub fn random() -> Option<(SecretKey, SecretString)> {
        let text = random_hex();
        SecretKey::from_hex(&text).map(|key| (key, text))
    }

    /// As a file holds it.
    pub fn to_hex(&self) -> SecretString {
        hex::encode(self.0.expose_secret()).into()
    }

    /// What boot tokens are made from: the key as it is.
    pub fn token_key(&self) -> TokenKey {
        TokenKey::new(*self.0.expose_secret())
    }

    /// What seals the clusters' passwords, under a key that it shares with nothing else.
    pub fn sealer(&self) -> Sealer {
        Sealer::new(self.0.expose_secret())
    }

    /// What seals everything that has a name.
    pub fn named_sealer(&self) -> NamedSealer {
        NamedSealer::new(self.0.expose_secret())
    }

    /// What it is called where it may be seen.
    pub fn name(&self) -> SecretKeyName {
        SecretKeyName::of(self.0.expose_secret())
    }

    /// Whether a database is sealed under this one; one that isn't sealed at all is under none.
    pub fn is_key_of(&self, under: &SealedUnder) -> bool {
        match under {
            SealedUnder::NoKey => false,
            SealedUnder::Named(name) => *name == self.name(),
            SealedUnder::Password(sealed) => self.sealer().is_key_of(sealed),
        }
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

/// 32 bytes of 64 hex digits.
pub(super) fn from_hex(text: &SecretString) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text.expose_secret(), &mut bytes).ok().map(|()| bytes)
}
