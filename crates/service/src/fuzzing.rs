//! What the targets of `fuzz/` call of what is nobody else's business. With the feature `fuzzing` alone.

use crate::{tls, token_text::TokenText};
use metalform_model::Timestamp;

/// The id of an API token, if a text has the form of one.
pub fn token_id(shown: &str) -> Option<String> {
    TokenText::parse(shown).map(|token| token.id().to_owned())
}

/// Whether a certificate and a key of these texts would be presented to clients from now on, as a reload decides it.
pub fn is_usable_pair(cert: &[u8], key: &[u8], now: Timestamp) -> bool {
    tls::is_usable_pair(cert, key, now)
}
