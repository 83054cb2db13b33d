//! The text of a web session: 256 random bits as hex, in a cookie that scripts don't see. The store knows its SHA-256.
//!
//! From it comes the session's CSRF token, by SHA-256 with a prefix of its own: nothing more has to be stored, it is bound to
//! the session, and neither leads back to the cookie nor to the hash in the store.

use metalform_store::TokenHash;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

const BYTES: usize = 32;
const CSRF_PREFIX: &str = "metalform csrf token v1\n";

/// A session's text. It can't be printed; it is written out once, into the cookie.
pub(crate) struct SessionText(SecretString);

impl SessionText {
    /// A new one, of so many random bytes.
    pub(crate) fn new(bytes: [u8; BYTES]) -> SessionText {
        SessionText(hex::encode(bytes).into())
    }

    /// What was shown, if it has the form of one.
    pub(crate) fn parse(shown: &str) -> Option<SessionText> {
        let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        (shown.len() == 2 * BYTES && shown.bytes().all(is_hex)).then(|| SessionText(shown.to_owned().into()))
    }

    /// What the store finds it by.
    pub(crate) fn hash(&self) -> TokenHash {
        TokenHash(hex::encode(Sha256::digest(self.0.expose_secret())))
    }

    /// What calls of this session that change something must show beside the cookie.
    pub(crate) fn csrf_token(&self) -> CsrfToken {
        let mut digest = Sha256::new_with_prefix(CSRF_PREFIX);
        digest.update(self.0.expose_secret());
        CsrfToken(hex::encode(digest.finalize()).into())
    }

    /// The text, for the cookie.
    pub(crate) fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

/// A session's CSRF token: for the page's own script, which no other site can read.
#[derive(Debug, Clone)]
pub(crate) struct CsrfToken(SecretString);

impl CsrfToken {
    /// Whether this is it, in the same time whatever differs.
    pub(crate) fn matches(&self, shown: &[u8]) -> bool {
        self.0.expose_secret().as_bytes().ct_eq(shown).into()
    }

    /// The text, for whoever has the session.
    pub(crate) fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both digests were computed by `sha256sum`.
    #[test]
    fn a_sessions_hash_and_csrf_token_come_from_its_text_and_differ() {
        let text = SessionText::new(std::array::from_fn(|i| i as u8));
        assert_eq!(text.expose(), "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
        assert_eq!(text.hash().0, HASH);
        assert_eq!(text.csrf_token().expose(), CSRF);
        assert!(text.csrf_token().matches(CSRF.as_bytes()) && !text.csrf_token().matches(HASH.as_bytes()));
        assert!(!text.csrf_token().matches(b""));
        assert_eq!(SessionText::parse(text.expose()).unwrap().hash(), text.hash());
    }

    #[test]
    fn no_other_text_is_one() {
        let text = SessionText::new([7; 32]);
        for other in ["", &text.expose()[1..], &format!("{}0", text.expose()), &text.expose().replace("07", "0G")] {
            assert!(SessionText::parse(other).is_none(), "{other}");
        }
    }

    const HASH: &str = "6c86c6aac5fb24bcf5d9939cb7d7d5645ce39418f449e03b262dd4fa14b4b92b";
    const CSRF: &str = "e2ef8eaa0a13a465c3b32b9b7532dac8b871c7dcae9f57acb7a4e7ae33d99c4c";
}
