//! An API token as everybody may see it who may list tokens: all of it but the secret.

use crate::{ApiRole, Scope, Timestamp};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr, time::Duration};
use thiserror::Error;

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiToken {
    /// What it is revoked by; part of its text. 16 hexadecimal digits.
    pub id: String,
    /// What its owner calls it. No two that aren't revoked have the same.
    pub name: String,
    /// What it may do.
    pub role: ApiRole,
    /// Of which clusters.
    #[serde(default)]
    pub clusters: Scope,
    /// When it was made.
    pub created_at: Timestamp,
    /// By whom: `bootstrap`, or `token:NAME (ID)`.
    pub created_by: String,
    /// From when on it opens nothing; `never`: it doesn't end by itself.
    pub expires_at: Timestamp,
    /// When it was last let in, to some minutes; a write for each call would be as many writes as calls.
    #[serde(default)]
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked.
    #[serde(default)]
    pub revoked_at: Option<Timestamp>,
}

/// Whether a token opens anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenStanding {
    /// It does.
    Active,
    /// Its time is over.
    Expired,
    /// Somebody revoked it.
    Revoked,
}

impl TokenStanding {
    /// The word for people.
    pub fn as_str(self) -> &'static str {
        match self {
            TokenStanding::Active => "active",
            TokenStanding::Expired => "expired",
            TokenStanding::Revoked => "revoked",
        }
    }
}

impl ApiToken {
    /// Longest name of a token, in characters.
    pub const MAX_NAME: usize = 40;

    /// Whether it opens anything at that moment.
    pub fn standing(&self, now: Timestamp) -> TokenStanding {
        match self.revoked_at {
            Some(_) => TokenStanding::Revoked,
            None if self.expires_at <= now => TokenStanding::Expired,
            None => TokenStanding::Active,
        }
    }

    /// How it is called in the audit. The name is for people; the id stays its own when a name is used again.
    pub fn who(&self) -> String {
        format!("token:{} ({})", self.name, self.id)
    }

    /// Whether a token may be called that: names stand in audit lines and on command lines, so they are plain words.
    pub fn is_name(text: &str) -> bool {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
        (1..=Self::MAX_NAME).contains(&text.len())
            && text.chars().all(is_plain)
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
    }
}

/// How long a token opens anything: `30d`, `12h`, `90m`, `6w`, or `never`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// From a minute to ten years.
    For(Duration),
    /// Until it is revoked. Never the default: whoever wants that has to say so.
    Never,
}

/// A text that is no lifetime.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is no lifetime such as 30d, 12h or 90m, of a minute to ten years, nor is it `never`")]
pub struct LifetimeError(pub String);

const MINUTE: u64 = 60;
const DAY: u64 = 24 * 60 * MINUTE;
const LONGEST: u64 = 3650 * DAY;

impl Default for Lifetime {
    /// 90 days.
    fn default() -> Self {
        Lifetime::For(Duration::from_secs(90 * DAY))
    }
}

impl Lifetime {
    /// When what begins then is over.
    pub fn end(self, from: Timestamp) -> Timestamp {
        match self {
            Lifetime::For(duration) => from + duration,
            Lifetime::Never => Timestamp::NEVER,
        }
    }
}

impl FromStr for Lifetime {
    type Err = LifetimeError;
    fn from_str(text: &str) -> Result<Self, LifetimeError> {
        if text == "never" {
            return Ok(Lifetime::Never);
        }
        let units = [('m', MINUTE), ('h', 60 * MINUTE), ('d', DAY), ('w', 7 * DAY)];
        let seconds = units.into_iter().find_map(|(unit, seconds)| {
            // `parse` would take a sign.
            let number = text.strip_suffix(unit).filter(|digits| digits.chars().all(|c| c.is_ascii_digit()))?;
            number.parse::<u64>().ok()?.checked_mul(seconds)
        });
        let seconds = seconds.filter(|seconds| (MINUTE..=LONGEST).contains(seconds));
        seconds.map(|s| Lifetime::For(Duration::from_secs(s))).ok_or_else(|| LifetimeError(text.to_owned()))
    }
}

impl fmt::Display for Lifetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lifetime::Never => f.write_str("never"),
            Lifetime::For(duration) => match duration.as_secs() {
                s if s % DAY == 0 => write!(f, "{}d", s / DAY),
                s if s % (60 * MINUTE) == 0 => write!(f, "{}h", s / (60 * MINUTE)),
                s => write!(f, "{}m", s / MINUTE),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(expires_at: Timestamp, revoked_at: Option<Timestamp>) -> ApiToken {
        ApiToken {
            id: "0123456789abcdef".into(),
            name: "ci".into(),
            role: ApiRole::Viewer,
            clusters: Scope::All,
            created_at: Timestamp(0),
            created_by: "bootstrap".into(),
            expires_at,
            last_used_at: None,
            revoked_at,
        }
    }

    #[test]
    fn a_token_is_over_at_its_end_and_revoked_for_ever() {
        let end = Timestamp(10);
        assert_eq!(token(end, None).standing(Timestamp(9)), TokenStanding::Active);
        assert_eq!(token(end, None).standing(Timestamp(10)), TokenStanding::Expired);
        assert_eq!(token(end, Some(Timestamp(1))).standing(Timestamp(2)), TokenStanding::Revoked);
        assert_eq!(token(Timestamp::NEVER, None).standing(Timestamp(i64::MAX - 1)), TokenStanding::Active);
    }

    #[test]
    fn a_lifetime_is_a_number_with_its_unit_or_never() {
        for (text, seconds) in
            [("30d", 30 * DAY), ("12h", 12 * 3600), ("90m", 5400), ("6w", 42 * DAY), ("3650d", LONGEST)]
        {
            assert_eq!(text.parse(), Ok(Lifetime::For(Duration::from_secs(seconds))), "{text}");
        }
        assert_eq!("never".parse(), Ok(Lifetime::Never));
        for text in
            ["", "d", "0d", "-1d", "+1d", "1.5d", "30", "30s", "3651d", "30 d", "99999999999999999999d", "Never"]
        {
            assert_eq!(text.parse::<Lifetime>(), Err(LifetimeError(text.to_owned())));
        }
        assert_eq!(Lifetime::default().to_string(), "90d");
        for text in ["30d", "12h", "90m", "never"] {
            assert_eq!(text.parse::<Lifetime>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_tokens_name_is_a_plain_word() {
        for name in ["ci", "a", "backup.2", "team-a_1", &"x".repeat(40)] {
            assert!(ApiToken::is_name(name), "{name}");
        }
        for name in ["", "CI", "a b", "-a", "a\n", "ü", "a)", &"x".repeat(41)] {
            assert!(!ApiToken::is_name(name), "{name}");
        }
    }
}
