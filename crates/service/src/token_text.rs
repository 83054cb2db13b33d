//! The text of an API token: `mf_ID_SECRET`, all of it lower-case hex but the prefix.
//!
//! The id is 8 random bytes and finds the token in the store; the secret is 32 random bytes and 4 of checksum, so that a
//! scanner that looks for leaked secrets can tell a token from a text that only looks like one, without asking us:
//! `mf_[0-9a-f]{16}_[0-9a-f]{72}`, the last eight digits the CRC-32 (as of zlib and PNG) of what stands before them.
//!
//! Rejected: a signed token that carries its role. It couldn't be revoked without a list of those that are, which is the
//! look-up that it would have saved. And a slow hash: 256 random bits are not guessed, however fast the guesses are.

use metalform_store::TokenHash;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

const PREFIX: &str = "mf_";
const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;
const CHECKSUM_DIGITS: usize = 8;

/// A token's text. It can't be printed; it is written out once, to whoever made it.
pub(crate) struct TokenText {
    id: String,
    text: SecretString,
}

impl TokenText {
    /// A new one, of so many random bytes.
    pub(crate) fn new(id: [u8; ID_BYTES], secret: [u8; SECRET_BYTES]) -> TokenText {
        let id = hex::encode(id);
        let head = format!("{PREFIX}{id}_{}", hex::encode(secret));
        let text = format!("{head}{}", checksum(&head)).into();
        TokenText { id, text }
    }

    /// What was shown, if it has the form of a token and its checksum.
    pub(crate) fn parse(shown: &str) -> Option<TokenText> {
        let (id, secret) = shown.strip_prefix(PREFIX)?.split_once('_')?;
        let is_hex = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let has_form = id.len() == 2 * ID_BYTES
            && secret.len() == 2 * SECRET_BYTES + CHECKSUM_DIGITS
            && is_hex(id)
            && is_hex(secret);
        if !has_form {
            return None;
        }
        let (head, sum) = shown.split_at(shown.len() - CHECKSUM_DIGITS);
        (checksum(head) == sum).then(|| TokenText { id: id.to_owned(), text: shown.to_owned().into() })
    }

    /// What finds it in the store.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// What the store knows it by.
    pub(crate) fn hash(&self) -> TokenHash {
        TokenHash(hex::encode(Sha256::digest(self.text.expose_secret())))
    }

    /// Whether the hash is this one's, in the same time whatever differs.
    pub(crate) fn is_known_by(&self, hash: &TokenHash) -> bool {
        self.hash().0.as_bytes().ct_eq(hash.0.as_bytes()).into()
    }

    /// The text, for the one answer that shows it.
    pub(crate) fn expose(&self) -> &str {
        self.text.expose_secret()
    }
}

fn checksum(head: &str) -> String {
    format!("{:08x}", crc32fast::hash(head.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checksum and hash were computed by other implementations (zlib's `crc32`, `sha256sum`): scanners and stored hashes
    /// rely on them.
    const KNOWN: &str = "mf_0001020304050607_000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f2f112091";
    const KNOWN_HASH: &str = "463a804d3aaa96d1df09c4aafdfed1c6c353c84ceec84cf960be0d89209c94e8";

    #[test]
    fn a_tokens_text_is_what_scanners_look_for() {
        let token = TokenText::new(std::array::from_fn(|i| i as u8), std::array::from_fn(|i| i as u8));
        assert_eq!(token.expose(), KNOWN);
        assert_eq!((token.id(), token.hash().0.as_str()), ("0001020304050607", KNOWN_HASH));
        let read = TokenText::parse(KNOWN).unwrap();
        assert_eq!((read.id(), read.hash()), (token.id(), token.hash()));
        assert!(read.is_known_by(&token.hash()));
    }

    #[test]
    fn no_other_text_is_one() {
        for at in 0..KNOWN.len() {
            for other in ['0', '1', 'A', '_', 'é'] {
                let changed: String = KNOWN.chars().enumerate().map(|(i, c)| if i == at { other } else { c }).collect();
                assert!(changed == KNOWN || TokenText::parse(&changed).is_none(), "{changed}");
            }
            assert!(TokenText::parse(&KNOWN[..at]).is_none());
        }
        assert!(TokenText::parse(&format!("{KNOWN}0")).is_none());
        let other = TokenText::new([0; 8], [0; 32]);
        assert!(!other.is_known_by(&TokenHash(KNOWN_HASH.into())) && !other.is_known_by(&TokenHash(String::new())));
    }
}
