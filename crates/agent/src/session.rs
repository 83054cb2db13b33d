//! The machine's session with the boot plane: a key that is made here and never leaves the machine, and the number of the
//! last request it has signed.
//!
//! The key ends with the machine's memory. Only the document of an installer holds it (`METALFORM_REPORT`), so that the
//! installed system can say that it is up: it is the same machine, in the same boot attempt, and the boot plane takes its
//! word for as long as that is open.

use ed25519_dalek::{Signer, SigningKey};
use metalform_model::{RequestSignature, SessionKey, signed_text};
use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Where an installed system begins to count: far above what the agent before it can have reached, so that its first
/// report needs no second try.
const INSTALLED_FROM: u64 = 1 << 32;

/// A session's key. It can't be printed.
pub struct Session {
    key: SigningKey,
    last: Mutex<u64>,
}

impl Session {
    /// Of 32 random bytes.
    pub fn new(seed: &[u8; 32]) -> Session {
        Session { key: SigningKey::from_bytes(seed), last: Mutex::new(0) }
    }

    /// In a system that was installed, from what the agent left.
    pub fn of_installed(secret_text: &str) -> Option<Session> {
        let seed: [u8; 32] = hex::decode(secret_text).ok()?.try_into().ok()?;
        Some(Session { key: SigningKey::from_bytes(&seed), last: Mutex::new(INSTALLED_FROM) })
    }

    /// The secret itself, for the document that an installer leaves to the system it installs.
    pub fn secret_text(&self) -> String {
        hex::encode(self.key.as_bytes())
    }

    /// What the boot plane knows it by.
    pub fn public(&self) -> SessionKey {
        SessionKey(self.key.verifying_key().to_bytes())
    }

    /// The right to sign: one request at a time.
    pub(crate) fn numbers(&self) -> Numbers<'_> {
        Numbers { key: &self.key, last: self.last.lock().unwrap_or_else(PoisonError::into_inner) }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({})", self.public().short())
    }
}

/// Signs, each time with a greater number.
pub(crate) struct Numbers<'a> {
    key: &'a SigningKey,
    last: MutexGuard<'a, u64>,
}

impl Numbers<'_> {
    /// The header's value for a request.
    pub fn sign(&mut self, method: &str, path: &str, body: &[u8]) -> String {
        *self.last = self.last.saturating_add(1).min(RequestSignature::MOST);
        let counter = *self.last;
        let signature = self.key.sign(signed_text(method, path, counter, body).as_bytes()).to_bytes();
        RequestSignature { counter, signature }.to_string()
    }

    /// Goes on after a number that the boot plane has seen.
    pub fn follow(&mut self, last: u64) {
        *self.last = last.max(*self.last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_installed_system_has_the_same_key_and_later_numbers() {
        let session = Session::new(&[7; 32]);
        let installed = Session::of_installed(&session.secret_text()).unwrap();
        assert_eq!(installed.public(), session.public());
        let number = |session: &Session| {
            let text = session.numbers().sign("GET", "/", b"");
            text.parse::<RequestSignature>().unwrap().counter
        };
        assert_eq!((number(&session), number(&session)), (1, 2));
        assert!(number(&installed) > 1_000_000_000);
        assert!(Session::of_installed("").is_none() && Session::of_installed("07").is_none());
    }

    #[test]
    fn its_secret_can_not_be_printed() {
        let session = Session::new(&[7; 32]);
        assert!(!format!("{session:?}").contains(&session.secret_text()[..8]));
    }
}
