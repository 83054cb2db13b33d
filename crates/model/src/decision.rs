//! The shape of every decision, and how patience works.

use crate::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What comes next, for a node or a cluster.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision<Action, Phase> {
    /// Nothing to do before `until`, unless something wakes the loop earlier.
    Wait {
        /// What is awaited, in words for a person.
        reason: String,
        /// When to look again.
        until: Timestamp,
    },
    /// Do this one thing to the world, then decide anew.
    Do(Action),
    /// Enter a phase.
    MoveTo(Phase, String),
    /// Only a person can go on from here.
    NeedsOperator(Failure),
}

/// No wait is shorter. What a wait in the past stood for was due before it was decided on; if that changed nothing, the
/// loop must not spin on it.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);

impl<Action, Phase> Decision<Action, Phase> {
    /// A wait ends at `latest` at the latest, and always after now.
    pub(crate) fn bounded(self, now: Timestamp, latest: Timestamp) -> Self {
        match self {
            Decision::Wait { reason, until } => {
                Decision::Wait { reason, until: until.min(latest).max(now + SHORTEST_WAIT) }
            }
            other => other,
        }
    }

    /// Whether what is known settles it: neither time nor trouble counts against it.
    pub(crate) fn is_settled(&self) -> bool {
        matches!(self, Decision::MoveTo(..) | Decision::NeedsOperator(_))
    }
}

/// Why something ended badly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The phase it happened in.
    pub in_phase: String,
    /// A stable word: `deadline`, `cloud_refused`, `installer_failed`, …
    pub code: String,
    /// What happened.
    pub reason: String,
    /// What to do about it.
    pub hint: String,
}

impl Failure {
    /// The code of a passed deadline; the command line ends with 3 for it.
    pub const DEADLINE: &'static str = "deadline";

    /// The code of a driver that is asked for and not offered.
    pub const NOT_OFFERED: &'static str = "formation_not_offered";

    /// The code of a key that isn't the one remembered.
    pub const KEY_CHANGED: &'static str = "cvm_key_changed";

    /// The code of an account that is locked: whatever is shown to it, it says no.
    pub const LOCKED: &'static str = "account_locked";

    /// Whether a deadline passed.
    pub fn is_deadline(&self) -> bool {
        self.code == Self::DEADLINE
    }
}

/// A call that keeps failing in a way that may pass.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trouble {
    /// What was tried.
    pub doing: String,
    /// What came back the last time.
    pub error: String,
    /// How often in a row.
    pub failures: u32,
    /// When it is tried again.
    pub next_at: Timestamp,
}

impl Trouble {
    /// Backoff: 1 s, 2 s, 4 s … at most 60 s, and never earlier than the other side asked for.
    pub fn again(
        before: Option<&Trouble>,
        doing: String,
        error: String,
        retry_after: Option<Duration>,
        now: Timestamp,
    ) -> Trouble {
        let failures = before.map_or(0, |t| t.failures) + 1;
        let backoff = Duration::from_secs(1 << failures.min(7).saturating_sub(1)).min(Duration::from_secs(60));
        Trouble { doing, error, failures, next_at: now + backoff.max(retry_after.unwrap_or_default()) }
    }

    /// What a person reads while it lasts.
    pub fn in_words(&self) -> String {
        format!("{}: {} (tried {} times)", self.doing, self.error, self.failures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_is_bounded_and_honours_what_the_other_side_asked() {
        let now = Timestamp::from_seconds(1000);
        let mut trouble = None;
        let mut waits = Vec::new();
        for _ in 0..8 {
            let t = Trouble::again(trouble.as_ref(), "x".into(), "y".into(), None, now);
            waits.push(t.next_at.since(now).as_secs());
            trouble = Some(t);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        let asked = Trouble::again(None, "x".into(), "y".into(), Some(Duration::from_secs(90)), now);
        assert_eq!(asked.next_at.since(now).as_secs(), 90);
    }
}
