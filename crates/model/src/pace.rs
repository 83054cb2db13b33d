//! How often somebody may ask: a bucket of tokens for each, refilled all the time (the generic cell rate algorithm). Rejected:
//! `governor`, whose clock may not be set back, as a wall clock is.

use crate::Timestamp;
use std::{collections::HashMap, time::Duration};

/// Names above which those that rest are forgotten.
const REMEMBERED: usize = 1000;

/// Those who asked lately, by what names them. Kept in memory, and so by each replica for itself: it protects the service, and
/// decides nothing about anybody.
#[derive(Debug)]
pub struct Pace {
    at_once: u32,
    apart: Duration,
    /// When each one's bucket is full again, and whether its last call was refused.
    callers: HashMap<String, (Timestamp, bool)>,
}

/// A call too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooFast {
    /// After how long the next is taken.
    pub wait: Duration,
    /// Whether the call before was taken: the first refusal of a row is recorded, or each would cost what it is to save.
    pub is_first: bool,
}

impl Pace {
    /// So many at once, and then one in so long.
    pub fn new(at_once: u32, apart: Duration) -> Pace {
        Pace { at_once, apart, callers: HashMap::new() }
    }

    /// Takes a call in, or says when it would be taken.
    pub fn take(&mut self, who: &str, now: Timestamp) -> Result<(), TooFast> {
        if self.callers.len() >= REMEMBERED && !self.callers.contains_key(who) {
            self.callers.retain(|_, (full_at, _)| *full_at > now);
        }
        let (full_at, is_refusing) = self.callers.entry(who.to_owned()).or_insert((now, false));
        // Later than that it can't be, unless the clock was set back.
        let emptiest = now + self.apart * self.at_once;
        *full_at = (*full_at).clamp(now, emptiest);
        let after = *full_at + self.apart;
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

    const BURST: u32 = 1000;
    const EACH: Duration = Duration::from_millis(10);
    const T0: Timestamp = Timestamp::from_seconds(1_800_000_000);

    #[test]
    fn a_burst_is_taken_and_then_one_call_in_ten_milliseconds() {
        let mut pace = Pace::new(BURST, EACH);
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
    fn what_was_not_used_comes_back_up_to_what_may_be_at_once() {
        let mut pace = Pace::new(20, Duration::from_secs(3));
        let mut taken =
            |seconds| (0..100).filter(|_| pace.take("a", T0 + Duration::from_secs(seconds)).is_ok()).count();
        assert_eq!([0, 2, 3, 33, 3600].map(&mut taken), [20, 0, 1, 10, 20]);
        assert_eq!(pace.take("b", T0), Ok(()));
    }

    #[test]
    fn a_clock_that_is_set_back_by_an_hour_parks_nobody_for_longer_than_one_call_takes() {
        let mut pace = Pace::new(20, Duration::from_secs(3));
        assert!((0..20).all(|_| pace.take("a", T0 + Duration::from_secs(3600)).is_ok()));
        assert!(pace.take("a", T0).is_err());
        assert_eq!(pace.take("a", T0 + Duration::from_secs(3)), Ok(()));
    }

    #[test]
    fn a_clock_that_is_set_back_holds_nobody_up() {
        let mut pace = Pace::new(BURST, EACH);
        for _ in 0..BURST {
            pace.take("a", T0).unwrap();
        }
        let earlier = T0 - Duration::from_secs(3600);
        assert_eq!(pace.take("a", earlier), Err(TooFast { wait: EACH, is_first: true }));
        assert_eq!(pace.take("a", earlier + EACH), Ok(()));
    }

    #[test]
    fn who_rests_is_forgotten() {
        let mut pace = Pace::new(BURST, EACH);
        for n in 0..5000u64 {
            pace.take(&n.to_string(), T0 + Duration::from_secs(n)).unwrap();
        }
        assert!(pace.callers.len() <= REMEMBERED);
    }
}
