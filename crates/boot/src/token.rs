//! Boot tokens: what a machine shows to get its script and configuration, and to report.
//!
//! A token is an HMAC over the boot attempt's id, so it is the same on every replica and after every crash, and is stored
//! nowhere. Rejected: random tokens in the store (a boot would need the store to be there) and a token over the server id
//! (it would outlive the attempt).
//!
//! When the key is changed, machines still have tokens of the old one. Those of the attempts that are open then are kept, each
//! by itself, and the old key isn't: whoever knows it can make no other.

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretBox, SecretString};
use sha2::{Digest, Sha256};
use std::{collections::HashMap, fmt};
use subtle::ConstantTimeEq;
use uuid::Uuid;

/// Keeps the HMAC apart from every other use of the same key. A change of it invalidates all tokens.
const DOMAIN: &[u8] = b"metalform boot token v1\0";
/// Of the token in the URL that an installer reports its progress to.
const PROGRESS: &[u8] = b"metalform progress token v1\0";
/// Of the word that tells a script in user data to go on.
const OPEN: &[u8] = b"metalform open word v1\0";
/// Of the token that iPXE shows once it has compared what it boots.
const CHECKED: &[u8] = b"metalform checked token v1\0";

/// The service's secret. Can't be printed.
pub struct TokenKey {
    key: SecretBox<[u8; 32]>,
    kept: HashMap<Uuid, KeptTokens>,
}

impl TokenKey {
    /// Takes 32 random bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        TokenKey { key: SecretBox::new(Box::new(bytes)), kept: HashMap::new() }
    }

    /// The same, and these attempts have the tokens that they had under an earlier key.
    pub fn keeping(mut self, kept: impl IntoIterator<Item = (Uuid, KeptTokens)>) -> Self {
        self.kept.extend(kept);
        self
    }

    /// The attempt's tokens, to be kept when this key isn't any more.
    pub fn tokens_to_keep(&self, attempt: Uuid) -> KeptTokens {
        KeptTokens {
            boot: self.token(attempt),
            progress: self.progress_token(attempt),
            checked: self.checked_token(attempt),
            open: self.open_word(attempt),
        }
    }

    /// The token of a boot attempt.
    pub fn token(&self, attempt: Uuid) -> BootToken {
        self.kept.get(&attempt).map_or_else(|| self.derived(DOMAIN, attempt), |kept| kept.boot.clone())
    }

    /// What an installer shows with its progress. It knows neither keys nor headers, but gets its URL from a document that
    /// only the node gets, so the token in it is another than the one on the kernel's command line.
    pub fn progress_token(&self, attempt: Uuid) -> BootToken {
        self.kept.get(&attempt).map_or_else(|| self.derived(PROGRESS, attempt), |kept| kept.progress.clone())
    }

    /// What a boot script shows with the step `boot-checked`, and with nothing else. A script in user data holds it and sends it
    /// after the comparison alone, so that who listens can't tell of one that wasn't made.
    pub fn checked_token(&self, attempt: Uuid) -> BootToken {
        self.kept.get(&attempt).map_or_else(|| self.derived(CHECKED, attempt), |kept| kept.checked.clone())
    }

    /// Whether `shown` is that.
    pub fn is_checked_token_of(&self, shown: &str, attempt: Uuid) -> bool {
        self.checked_token(attempt).is(shown)
    }

    /// The word that tells a script in user data that its attempt is open.
    pub(crate) fn open_word(&self, attempt: Uuid) -> BootToken {
        self.kept.get(&attempt).map_or_else(|| self.derived(OPEN, attempt), |kept| kept.open.clone())
    }

    /// The digest of that word, as it stands in the script: 64 of `[0-9a-f]`. No secret.
    pub fn open_sha256(&self, attempt: Uuid) -> String {
        hex::encode(Sha256::digest(self.open_word(attempt).expose()))
    }

    fn derived(&self, domain: &[u8], attempt: Uuid) -> BootToken {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.expose_secret())
            .expect("HMAC takes a key of any length (RFC 2104)");
        mac.update(domain);
        mac.update(attempt.as_bytes());
        BootToken(hex::encode(mac.finalize().into_bytes()).into())
    }

    /// Whether `shown` is the attempt's token. Takes as long for a nearly right token as for a wrong one.
    pub fn is_token_of(&self, shown: &str, attempt: Uuid) -> bool {
        self.token(attempt).is(shown)
    }

    /// The same for what an installer shows.
    pub fn is_progress_token_of(&self, shown: &str, attempt: Uuid) -> bool {
        self.progress_token(attempt).is(shown)
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(..)")
    }
}

/// A boot attempt's token: 64 characters of `[0-9a-f]`. Can't be printed by accident.
#[derive(Clone)]
pub struct BootToken(SecretString);

impl BootToken {
    /// The text, for the machine it belongs to and nobody else: user data, and its boot script.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    fn is(&self, shown: &str) -> bool {
        self.expose().as_bytes().ct_eq(shown.as_bytes()).into()
    }

    /// Stands where the token would, in a script shown to a person.
    pub fn hidden() -> Self {
        BootToken("hidden".into())
    }
}

impl fmt::Debug for BootToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BootToken(..)")
    }
}

/// The tokens of one boot attempt, as an earlier key gave them.
#[derive(Debug, Clone)]
pub struct KeptTokens {
    boot: BootToken,
    progress: BootToken,
    checked: BootToken,
    open: BootToken,
}

impl KeptTokens {
    /// As a text, to be sealed.
    pub fn to_text(&self) -> SecretString {
        [&self.boot, &self.progress, &self.checked, &self.open].map(BootToken::expose).join(" ").into()
    }

    /// From that text; `None`: it is none.
    pub fn from_text(text: &SecretString) -> Option<KeptTokens> {
        let token = |text: &str| {
            let is_one = text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            is_one.then(|| BootToken(text.into()))
        };
        let tokens: Option<Vec<BootToken>> = text.expose_secret().split(' ').map(token).collect();
        let [boot, progress, checked, open] = tokens?.try_into().ok()?;
        Some(KeptTokens { boot, progress, checked, open })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> TokenKey {
        TokenKey::new([byte; 32])
    }

    #[test]
    fn a_token_is_the_same_on_every_replica_and_fits_a_kernel_argument() {
        let attempt = Uuid::from_u128(7);
        let token = key(1).token(attempt);
        assert_eq!(token.expose(), key(1).token(attempt).expose());
        assert_eq!(token.expose().len(), 64);
        assert!(token.expose().bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase()));
    }

    #[test]
    fn a_token_belongs_to_one_attempt_and_one_key() {
        let (attempt, other) = (Uuid::from_u128(7), Uuid::from_u128(8));
        let token = key(1).token(attempt);
        assert!(key(1).is_token_of(token.expose(), attempt));
        assert!(!key(1).is_token_of(token.expose(), other));
        assert!(!key(2).is_token_of(token.expose(), attempt));
        let progress = key(1).progress_token(attempt);
        assert!(key(1).is_progress_token_of(progress.expose(), attempt));
        assert!(
            !key(1).is_token_of(progress.expose(), attempt) && !key(1).is_progress_token_of(token.expose(), attempt)
        );
        for wrong in ["", &token.expose()[..63], &format!("{}0", token.expose()), &token.expose().to_uppercase()] {
            assert!(!key(1).is_token_of(wrong, attempt), "{wrong}");
        }
    }

    #[test]
    fn tokens_that_are_kept_stay_good_under_the_next_key_and_no_others_do() {
        let (open, later) = (Uuid::from_u128(7), Uuid::from_u128(8));
        let kept = KeptTokens::from_text(&key(1).tokens_to_keep(open).to_text()).unwrap();
        let next = key(2).keeping([(open, kept)]);
        assert!(next.is_token_of(key(1).token(open).expose(), open));
        assert!(next.is_progress_token_of(key(1).progress_token(open).expose(), open));
        assert!(next.is_checked_token_of(key(1).checked_token(open).expose(), open));
        assert_eq!(next.open_sha256(open), key(1).open_sha256(open), "it stands in user data");
        assert!(!next.is_token_of(key(2).token(open).expose(), open), "the machine has one, not two");
        assert!(!next.is_token_of(key(1).token(later).expose(), later));
        assert!(next.is_token_of(key(2).token(later).expose(), later));
        let again = KeptTokens::from_text(&next.tokens_to_keep(open).to_text()).unwrap();
        assert!(key(3).keeping([(open, again)]).is_token_of(key(1).token(open).expose(), open), "and once more");
        for wrong in [
            "",
            "a b",
            &"0".repeat(64),
            &format!("{0} {0} {0} {0}x", "0".repeat(64)),
            &format!("{0} {0} {0} {0}", "G".repeat(64)),
        ] {
            assert!(KeptTokens::from_text(&wrong.to_owned().into()).is_none(), "{wrong}");
        }
    }

    #[test]
    fn neither_key_nor_token_can_be_printed() {
        let shown = format!("{:?} {:?}", key(9), key(9).token(Uuid::from_u128(1)));
        assert_eq!(shown, "TokenKey(..) BootToken(..)");
    }
}
