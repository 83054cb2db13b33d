//! Logins that are under way at the provider. In memory, by the SHA-256 of what the browser will bring back: a restart ends
//! them, and they begin again. Pure: the time is an argument.

use metalform_model::Timestamp;
use secrecy::SecretString;
use sha2::{Digest, Sha256};
use std::{collections::HashMap, time::Duration};
use subtle::ConstantTimeEq;

/// A login takes so long at most: a password, a second factor.
const LONGEST: Duration = Duration::from_secs(10 * 60);
/// Remembered at once, of some 300 bytes each; above that those that began first are forgotten. One source begins about 220
/// in ten minutes.
const REMEMBERED: usize = 10_000;

/// What we know of a login, and nobody else.
pub(crate) struct Started {
    /// Must stand in the ID token.
    pub nonce: String,
    /// Shows the provider that whoever redeems the code began the login (PKCE).
    pub verifier: SecretString,
    /// The id of the session that the browser had when it began: the new one takes its place.
    pub former: Option<String>,
}

struct Pending {
    browser: [u8; 32],
    started: Started,
    until: Timestamp,
}

/// Those under way.
#[derive(Default)]
pub(crate) struct PendingLogins {
    by_state: HashMap<[u8; 32], Pending>,
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

impl PendingLogins {
    /// Remembers one, by its state and the cookie of the browser that began it.
    pub(crate) fn begin(&mut self, state: &str, browser: &str, started: Started, now: Timestamp) {
        if self.by_state.len() >= REMEMBERED {
            self.by_state.retain(|_, pending| pending.until > now);
        }
        if self.by_state.len() >= REMEMBERED {
            // Half of them at once, so that the work of a look at all is done once in thousands.
            let mut ends: Vec<Timestamp> = self.by_state.values().map(|pending| pending.until).collect();
            let (_, middle, _) = ends.select_nth_unstable(REMEMBERED / 2);
            let middle = *middle;
            self.by_state.retain(|_, pending| pending.until > middle);
        }
        let pending = Pending { browser: digest(browser), started, until: now + LONGEST };
        self.by_state.insert(digest(state), pending);
    }

    /// Gives it out, once, to the browser that began it.
    pub(crate) fn take(&mut self, state: &str, browser: &str, now: Timestamp) -> Option<Started> {
        let key = digest(state);
        let pending = self.by_state.get(&key)?;
        let is_same: bool = pending.browser.ct_eq(&digest(browser)).into();
        // Later than that it can't end, unless the clock was set back.
        let is_now = pending.until > now && pending.until <= now + LONGEST;
        if !is_same || !is_now {
            return None;
        }
        self.by_state.remove(&key).map(|pending| pending.started)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn started(nonce: &str) -> Started {
        Started { nonce: nonce.into(), verifier: "v".to_owned().into(), former: None }
    }

    #[test]
    fn a_login_ends_once_in_the_browser_that_began_it_and_in_time() {
        let mut logins = PendingLogins::default();
        logins.begin("state", "browser", started("n"), T0);
        assert!(logins.take("state", "another", T0).is_none() && logins.take("other", "browser", T0).is_none());
        assert!(logins.take("state", "browser", T0 + LONGEST).is_none());
        assert!(logins.take("state", "browser", T0 - Duration::from_secs(1)).is_none());
        assert_eq!(logins.take("state", "browser", T0 + LONGEST - Duration::from_secs(1)).unwrap().nonce, "n");
        assert!(logins.take("state", "browser", T0).is_none(), "once");
    }

    #[test]
    fn a_flood_of_logins_takes_no_more_than_its_room_and_the_newest_are_remembered() {
        let mut logins = PendingLogins::default();
        for n in 0..30_000u64 {
            logins.begin(&n.to_string(), "browser", started(&n.to_string()), T0 + Duration::from_millis(n));
            assert!(logins.by_state.len() <= REMEMBERED);
        }
        let now = T0 + Duration::from_secs(30);
        assert!(logins.take("29999", "browser", now).is_some() && logins.take("0", "browser", now).is_none());
    }
}
