//! How many calls one credential may make: a bucket of tokens for each, refilled all the time. Far above what the command
//! line and a page in a browser ask; it keeps a program in a loop from taking the service's time from everybody else.
//! Pure: the time is an argument.

use metalform_model::Timestamp;
use std::{collections::HashMap, time::Duration};

/// Calls at once.
const BURST: u32 = 1000;
/// One more after so long: 100 a second.
const EACH: Duration = Duration::from_millis(10);
/// Credentials above which those that rest are forgotten.
const REMEMBERED: usize = 1000;

/// The credentials that called lately; the key is what names them.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// When each one's bucket is full again (the generic cell rate algorithm), and whether its last call was refused.
    callers: HashMap<String, (Timestamp, bool)>,
}

/// A call too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooFast {
    /// After how long the next is taken.
    pub wait: Duration,
    /// Whether the call before was taken: the first refusal of a row is recorded, or each would cost what it is to save.
    pub is_first: bool,
}

impl Pace {
    /// Takes a call in, or says when it would be taken.
    pub(crate) fn take(&mut self, who: &str, now: Timestamp) -> Result<(), TooFast> {
        if self.callers.len() >= REMEMBERED && !self.callers.contains_key(who) {
            self.callers.retain(|_, (full_at, _)| *full_at > now);
        }
        let (full_at, is_refusing) = self.callers.entry(who.to_owned()).or_insert((now, false));
        // Later than that it can't be, unless the clock was set back.
        let emptiest = now + EACH * BURST;
        *full_at = (*full_at).clamp(now, emptiest);
        let after = *full_at + EACH;
        let over = after.since(emptiest);
        if !over.is_zero() {
            let is_first = !std::mem::replace(is_refusing, true);
            return Err(TooFast { wait: over, is_first });
        }
        (*full_at, *is_refusing) = (after, false);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Timestamp = Timestamp::from_seconds(1_800_000_000);

    #[test]
    fn a_burst_is_taken_and_then_one_call_in_ten_milliseconds() {
        let mut pace = Pace::default();
        for _ in 0..BURST {
            assert_eq!(pace.take("a", T0), Ok(()));
        }
        assert_eq!(pace.take("a", T0), Err(TooFast { wait: EACH, is_first: true }));
        assert_eq!(pace.take("a", T0), Err(TooFast { wait: EACH, is_first: false }));
        assert_eq!(pace.take("b", T0), Ok(()), "another credential isn't held up");
        assert_eq!(pace.take("a", T0 + EACH), Ok(()));
        assert_eq!(pace.take("a", T0 + EACH), Err(TooFast { wait: EACH, is_first: true }));
        let rested = T0 + Duration::from_secs(60);
        for _ in 0..BURST {
            assert_eq!(pace.take("a", rested), Ok(()));
        }
        assert!(pace.take("a", rested).is_err());
    }

    #[test]
    fn a_clock_that_is_set_back_holds_nobody_up() {
        let mut pace = Pace::default();
        for _ in 0..BURST {
            pace.take("a", T0).unwrap();
        }
        let earlier = T0 - Duration::from_secs(3600);
        assert_eq!(pace.take("a", earlier), Err(TooFast { wait: EACH, is_first: true }));
        assert_eq!(pace.take("a", earlier + EACH), Ok(()));
    }

    #[test]
    fn who_rests_is_forgotten() {
        let mut pace = Pace::default();
        for n in 0..5000u64 {
            pace.take(&n.to_string(), T0 + Duration::from_secs(n)).unwrap();
        }
        assert!(pace.callers.len() <= REMEMBERED);
    }
}
