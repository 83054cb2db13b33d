//! The session of a simulated installer: a key for each start of it, and a signature on everything it asks for and says
//! after the exchange. Written from the documents of the boot plane and apart from the agent, so that a mistake in the
//! agent's or the boot plane's own reading of them shows.

use super::Http;
use ed25519_dalek::{Signer, SigningKey};
use sha2::{Digest, Sha256};
use url::Url;

/// Where an installed system begins to count.
const INSTALLED_FROM: u64 = 1 << 32;

/// A key, and the number of the last request that it has signed.
#[derive(Debug, Clone)]
pub(super) struct Session {
    key: SigningKey,
    last: u64,
}

/// The same run makes the same keys.
pub(super) fn seed(world: u64, server_id: &str, start: u64) -> [u8; 32] {
    Sha256::digest(format!("{world} {server_id} {start}")).into()
}

/// What is sent to exchange the token.
pub(super) fn exchange(seed: &[u8; 32]) -> Vec<u8> {
    let key = SigningKey::from_bytes(seed).verifying_key();
    format!(r#"{{"key":"{}"}}"#, hex::encode(key.as_bytes())).into_bytes()
}

impl Session {
    pub fn new(seed: &[u8; 32]) -> Session {
        Session { key: SigningKey::from_bytes(seed), last: 0 }
    }

    /// What the installer leaves to the system it installs.
    pub fn of_installed(self) -> Session {
        Session { last: INSTALLED_FROM, ..self }
    }

    /// Signs a request, and takes the token from it.
    pub fn sign(&mut self, http: &mut Http) {
        let Ok(mut url) = Url::parse(&http.url) else { return };
        url.set_query(None);
        self.last += 1;
        let body = hex::encode(Sha256::digest(http.body.as_deref().unwrap_or_default()));
        let lines = ["metalform session v1", http.method, url.path(), &self.last.to_string(), &body];
        let signature = self.key.sign(lines.map(|line| format!("{line}\n")).concat().as_bytes());
        let value = format!("v1 {} {}", self.last, hex::encode(signature.to_bytes()));
        http.headers.push(("metalform-signature", value));
        http.url = url.into();
    }
}
