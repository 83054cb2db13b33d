//! How often a node gets its boot script. Any number of times while its attempt is open, but not in a tight loop: each
//! fetch is a round, an event and two records. A machine that is too fast is parked, as one that has to wait.
//!
//! Kept in memory and so for each replica apart: the limit protects the service and decides nothing about a node.

use metalform_model::Timestamp;
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// So many in a row.
const AT_ONCE: u32 = 20;
/// And then one in so long. iPXE, parked or going round in a script of ours, asks every 10 s.
const APART: Duration = Duration::from_secs(3);

/// By node, when as many fetches as it has made would be due at that pace.
#[derive(Default)]
pub(crate) struct ScriptPace(Mutex<HashMap<String, Timestamp>>);

impl ScriptPace {
    /// Counts a fetch, unless it comes too soon. Only nodes that have shown their token get here, so the table is no longer
    /// than the list of nodes; those whose time has passed go all the same.
    pub fn allows(&self, server_id: &str, now: Timestamp) -> bool {
        let mut due = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        due.retain(|_, at| *at > now);
        let at = due.get(server_id).copied().unwrap_or(now);
        // A clock that was set back must not park a node for long.
        let ahead = at.since(now).min(APART * AT_ONCE);
        if ahead + APART > APART * AT_ONCE {
            due.insert(server_id.to_owned(), now + ahead);
            return false;
        }
        due.insert(server_id.to_owned(), now + ahead + APART);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_at_once_and_then_one_after_the_other_each_node_for_itself() {
        let pace = ScriptPace::default();
        let t0 = Timestamp::from_seconds(1_800_000_000);
        let allowed = |at: Timestamp| (0..100).filter(|_| pace.allows("a", at)).count();
        assert_eq!(allowed(t0), 20);
        assert_eq!(allowed(t0 + Duration::from_secs(2)), 0);
        assert_eq!(allowed(t0 + Duration::from_secs(3)), 1);
        assert_eq!(allowed(t0 + Duration::from_secs(33)), 10);
        assert!(pace.allows("b", t0));
        assert_eq!(allowed(t0 + Duration::from_secs(3600)), 20);
    }

    #[test]
    fn a_clock_that_is_set_back_parks_nobody_for_longer_than_a_minute() {
        let pace = ScriptPace::default();
        let t0 = Timestamp::from_seconds(1_800_000_000);
        let later = t0 + Duration::from_secs(3600);
        assert!((0..20).all(|_| pace.allows("a", later)));
        assert!(!pace.allows("a", t0));
        assert!(pace.allows("a", t0 + Duration::from_secs(3)));
    }
}
