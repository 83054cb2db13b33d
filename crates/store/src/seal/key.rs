//! What every kind of seal shares: a key, its name, and how the bytes are laid out.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    error::Unspecified,
    hkdf::{HKDF_SHA256, Prk, Salt},
};
use secrecy::{SecretString, zeroize::Zeroizing};

/// The first byte of what is sealed: how the rest is laid out.
const VERSION: u8 = 1;
pub(super) const KEY_NAME_LEN: usize = 4;
/// Version, name of the key, nonce; then the sealed text and its tag.
pub(super) const HEAD: usize = 1 + KEY_NAME_LEN + NONCE_LEN;

/// Why something doesn't open.
pub(super) enum OpenFault {
    /// It was sealed under another secret.
    OtherKey,
    /// It isn't as it was written, or belongs elsewhere.
    Changed(Unspecified),
    /// It isn't laid out in a way this version knows.
    Unknown,
}

/// A key of AES-256 for one purpose.
pub(super) struct SealKey {
    key: RandomizedNonceKey,
    /// Tells a wrong key from a changed text; says nothing about the key.
    name: [u8; KEY_NAME_LEN],
}

impl SealKey {
    /// Derived from the service's secret, and shared with no other purpose.
    pub fn derive(secret: &[u8; 32], key_context: &[u8], name_context: &[u8]) -> SealKey {
        let secret = extract(secret);
        let name = expand(&secret, name_context);
        let key = RandomizedNonceKey::new(&AES_256_GCM, &*expand(&secret, key_context));
        let key = key.expect("32 bytes are a key of AES-256");
        SealKey { key, name: std::array::from_fn(|i| name[i]) }
    }

    /// Seals a text for the place that `belongs` tells.
    pub fn seal(&self, belongs: &[u8], text: &[u8]) -> Result<Vec<u8>, Unspecified> {
        // Sealed where it lies, and with room for the tag, so that no copy of the text is left behind.
        let mut sealed = Vec::with_capacity(text.len() + AES_256_GCM.tag_len());
        sealed.extend_from_slice(text);
        let nonce = self.key.seal_in_place_append_tag(Aad::from(belongs), &mut sealed)?;
        let mut bytes = Vec::with_capacity(HEAD + sealed.len());
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.name);
        bytes.extend_from_slice(nonce.as_ref());
        bytes.append(&mut sealed);
        Ok(bytes)
    }

    /// Opens what was sealed for that place.
    pub fn open(&self, belongs: &[u8], sealed: &[u8]) -> Result<SecretString, OpenFault> {
        let (head, text) = sealed.split_at_checked(HEAD).ok_or(OpenFault::Unknown)?;
        let (name, nonce) = match head.split_first() {
            Some((&VERSION, rest)) => rest.split_at(KEY_NAME_LEN),
            _ => return Err(OpenFault::Unknown),
        };
        if name != self.name {
            return Err(OpenFault::OtherKey);
        }
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(OpenFault::Changed)?;
        let mut text = Zeroizing::new(text.to_vec());
        let text = self.key.open_in_place(nonce, Aad::from(belongs), &mut text).map_err(OpenFault::Changed)?;
        // Only texts are sealed, so only a text can come out.
        let text = std::str::from_utf8(text).map_err(|_| OpenFault::Unknown)?;
        Ok(text.into())
    }

    /// Whether it says that it was sealed under this key.
    pub fn is_key_of(&self, sealed: &[u8]) -> bool {
        sealed.first() == Some(&VERSION) && sealed.get(1..=KEY_NAME_LEN) == Some(&self.name[..])
    }
}

pub(super) fn extract(secret: &[u8; 32]) -> Prk {
    Salt::none(HKDF_SHA256).extract(secret)
}

pub(super) fn expand(secret: &Prk, context: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut bytes = Zeroizing::new([0; 32]);
    secret
        .expand(&[context], &AES_256_GCM)
        .and_then(|derived| derived.fill(&mut *bytes))
        .expect("HKDF-SHA256 gives up to 8160 bytes (RFC 5869)");
    bytes
}
