//! A session in a browser: what a login is good for until its end.

use crate::{ApiRole, Scope, Timestamp};
use std::time::Duration;

/// A session, without the text that opens it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebSession {
    /// What it is ended by; tells nothing of its text. 16 hexadecimal digits.
    pub id: String,
    /// How the audit calls whose it is: `user:NAME`, or `oidc:NAME (SUBJECT)`.
    pub who: String,
    /// Their name, for people.
    pub name: String,
    /// The user it is of; `None`: somebody whom the OpenID provider knows, and we don't.
    pub user: Option<String>,
    /// What it may do.
    pub role: ApiRole,
    /// Of which clusters.
    pub clusters: Scope,
    /// When it began.
    pub created_at: Timestamp,
    /// When it was last used, to a part of the time after which it ends unused.
    pub last_used_at: Timestamp,
    /// When it ends, however much it is used.
    pub ends_at: Timestamp,
}

/// Whether a session opens anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionStanding {
    /// It does.
    Active,
    /// Nobody used it for too long.
    Idle,
    /// Its time is over.
    Over,
}

impl WebSession {
    /// Whether it opens anything at that moment, if it may rest for so long.
    pub fn standing(&self, now: Timestamp, idle: Duration) -> SessionStanding {
        if self.ends_at <= now {
            SessionStanding::Over
        } else if now.since(self.last_used_at) >= idle {
            SessionStanding::Idle
        } else {
            SessionStanding::Active
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_when_it_rests_too_long_and_at_its_end_however_busy_it_is() {
        let idle = Duration::from_secs(1800);
        let from = Timestamp::from_seconds(1_800_000_000);
        let session = |last_used_at| WebSession {
            id: String::new(),
            who: "user:ann".into(),
            name: "ann".into(),
            user: Some("ann".into()),
            role: ApiRole::Viewer,
            clusters: Scope::All,
            created_at: from,
            last_used_at,
            ends_at: from + 24 * idle,
        };
        let at = |seconds| from + Duration::from_secs(seconds);
        assert_eq!(session(from).standing(at(1799), idle), SessionStanding::Active);
        assert_eq!(session(from).standing(at(1800), idle), SessionStanding::Idle);
        assert_eq!(session(at(1700)).standing(at(1800), idle), SessionStanding::Active);
        assert_eq!(session(at(43_199)).standing(at(43_200), idle), SessionStanding::Over);
        assert_eq!(session(at(60)).standing(from, idle), SessionStanding::Active, "a clock that was set back");
    }
}
