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
    /// By what single sign-on they are in; `None`: by a password.
    pub single_sign_on: Option<SingleSignOn>,
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

/// What a session by the OpenID provider rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SingleSignOn {
    /// What the provider calls them, unchanging; their name may change.
    pub subject: String,
    /// A digest of what was configured of the provider and of its groups' roles: under another configuration they might have
    /// another role, or none.
    pub provider: String,
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
    /// Whether that is how they are called: as the audit does, by the name that a user logs in as, or by the subject that the
    /// provider knows somebody by.
    pub fn is_of(&self, who: &str) -> bool {
        let subject = self.single_sign_on.as_ref().map(|by| by.subject.as_str());
        self.who == who || self.user.as_deref() == Some(who) || subject == Some(who)
    }

    /// Whether both are of one person: of one user, or of one subject, however the provider called them each time.
    pub fn is_of_the_same(&self, other: &WebSession) -> bool {
        let by = |other: &SingleSignOn| self.single_sign_on.as_ref().is_some_and(|own| own.subject == other.subject);
        self.who == other.who || other.single_sign_on.as_ref().is_some_and(by)
    }

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
            single_sign_on: None,
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

    #[test]
    fn a_person_is_known_by_name_or_subject_and_is_the_same_under_another_name() {
        let session = |who: &str, user: Option<&str>, subject: Option<&str>| WebSession {
            id: String::new(),
            who: who.into(),
            name: String::new(),
            user: user.map(str::to_owned),
            single_sign_on: subject.map(|subject| SingleSignOn { subject: subject.into(), provider: String::new() }),
            role: ApiRole::Viewer,
            clusters: Scope::All,
            created_at: Timestamp(0),
            last_used_at: Timestamp(0),
            ends_at: Timestamp(0),
        };
        let ann = session("user:ann", Some("ann"), None);
        let olga = session("oidc:olga (7)", None, Some("7"));
        let renamed = session("oidc:ann (7)", None, Some("7"));
        let (old, older) = (session("oidc:olga (7)", None, None), session("oidc:eve (8)", None, None));
        for (session, who) in [(&ann, "ann"), (&ann, "user:ann"), (&olga, "7"), (&olga, "oidc:olga (7)")] {
            assert!(session.is_of(who), "{who}");
        }
        assert!(!renamed.is_of("ann") && !olga.is_of("olga") && !old.is_of("7"), "a name is anybody's choice");
        assert!(olga.is_of_the_same(&renamed) && olga.is_of_the_same(&old) && ann.is_of_the_same(&ann));
        assert!(!ann.is_of_the_same(&renamed) && !renamed.is_of_the_same(&old) && !older.is_of_the_same(&old));
    }
}
