//! Who shows no valid credential too often waits, by source address, and for passwords by account as well; longer each time.
//! Pure: the time is an argument.
//!
//! What a lock-out of a source is for: 256 random bits aren't guessed, but each failure is a line of the audit, and a stranger
//! is not to fill the disk. So the first refusal of a lock-out is recorded, those after it are counted, and the count goes into
//! the audit with the source's next refusal that is recorded. Passwords are guessed, from many addresses at once: that is what
//! the lock-out of an account is for.
//!
//! A valid token or session is let in from a locked-out source: else any program of a machine, or any neighbour behind the same
//! address, could lock the operator out. Held in memory alone: a restart forgets it.

use crate::places::network_of;
use metalform_model::Timestamp;
use std::{collections::HashMap, hash::Hash, net::IpAddr, time::Duration};

/// So many failures …
const FAILURES: u32 = 10;
/// … within so long lock a source out.
const WINDOW: Duration = Duration::from_secs(60);
/// The first time for so long, and each time after it for twice as long …
const FIRST: Duration = Duration::from_secs(30);
/// … up to this.
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// After so long without a failure a source is like any other again.
const FORGOTTEN: Duration = Duration::from_secs(60 * 60);
/// How many are remembered at once, of some 100 bytes each. Above that those that failed longest ago are forgotten.
const REMEMBERED: usize = 10_000;

/// Where calls come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Source(IpAddr);

impl Source {
    pub(crate) fn of(address: IpAddr) -> Source {
        Source(network_of(address))
    }
}

/// Those that failed lately: sources, or accounts.
#[derive(Debug)]
pub(crate) struct Lockout<K> {
    failed: HashMap<K, Record>,
}

impl<K> Default for Lockout<K> {
    fn default() -> Self {
        Lockout { failed: HashMap::new() }
    }
}

#[derive(Debug, Clone, Copy)]
struct Record {
    /// Failures in the present window, and when that began. While they lock out they stay: one of them may be taken back.
    failures: u32,
    window: Timestamp,
    /// How often it was locked out.
    lockouts: u32,
    until: Timestamp,
    last: Timestamp,
    /// Refusals of the present lock-out that nobody recorded; `None`: not even the first is.
    unrecorded: Option<u32>,
}

/// A failure that was counted, so that it can be taken back: which window it is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counted(Timestamp);

/// What a failed call is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Refused for what it is; to be recorded.
    Refused {
        /// Refusals of a lock-out before it that stand in no line yet.
        unrecorded: u32,
        /// What was counted.
        counted: Counted,
    },
    /// Refused unread until then.
    LockedOut {
        /// From now on.
        wait: Duration,
        /// Whether it is the first of this lock-out, and to be recorded.
        is_first: bool,
    },
}

impl<K: Eq + Hash> Lockout<K> {
    /// Takes a failure in.
    pub(crate) fn fail(&mut self, who: K, now: Timestamp) -> Failure {
        if !self.failed.contains_key(&who) {
            self.make_room(now);
        }
        let new = Record { failures: 0, window: now, lockouts: 0, until: now, last: now, unrecorded: Some(0) };
        let entry = self.failed.entry(who).or_insert(new);
        if now.since(entry.last) >= FORGOTTEN {
            *entry = Record { unrecorded: entry.unrecorded, ..new };
        }
        entry.last = now;
        // Later than that it can't be, unless the clock was set back.
        entry.until = entry.until.min(now + LONGEST);
        entry.window = entry.window.min(now);
        if now < entry.until {
            let is_first = entry.unrecorded.is_none();
            entry.unrecorded = Some(entry.unrecorded.map_or(0, |n| n.saturating_add(1)));
            return Failure::LockedOut { wait: entry.until.since(now), is_first };
        }
        if entry.failures >= FAILURES {
            // The lock-out is over. Those that made it don't count towards another.
            (entry.window, entry.failures) = (entry.until, 0);
        }
        if now.since(entry.window) >= WINDOW {
            (entry.window, entry.failures) = (now, 0);
        }
        entry.failures += 1;
        let unrecorded = entry.unrecorded.take().unwrap_or(0);
        entry.unrecorded = Some(0);
        if entry.failures >= FAILURES {
            let longer = 1u32.checked_shl(entry.lockouts).unwrap_or(u32::MAX);
            entry.until = now + FIRST.saturating_mul(longer).min(LONGEST);
            entry.lockouts = entry.lockouts.saturating_add(1);
            entry.unrecorded = None;
        }
        Failure::Refused { unrecorded, counted: Counted(entry.window) }
    }

    /// Takes a failure back: it was counted before its password was looked at, so that a hundred guesses at once are a hundred,
    /// and the password was right. What other failures there were stays; if it takes this one for them to lock out, they
    /// don't, and never did. One whose window is over is past already, and takes nothing from the next.
    pub(crate) fn take_back(&mut self, who: &K, counted: Counted) {
        let Some(entry) = self.failed.get_mut(who) else { return };
        if entry.failures == 0 || entry.window != counted.0 {
            return;
        }
        if entry.failures == FAILURES {
            // The window began before the lock-out did, so that it ends nothing else.
            entry.until = entry.window;
            entry.lockouts = entry.lockouts.saturating_sub(1);
            entry.unrecorded = Some(entry.unrecorded.unwrap_or(0));
        }
        entry.failures -= 1;
    }

    /// Forgives everything: the account's owner was there. What nobody recorded yet is still counted.
    pub(crate) fn forgive(&mut self, who: &K, now: Timestamp) {
        if let Some(entry) = self.failed.get_mut(who) {
            (entry.failures, entry.lockouts) = (0, 0);
            (entry.window, entry.until) = (now, now);
            entry.unrecorded = Some(entry.unrecorded.unwrap_or(0));
        }
    }

    fn make_room(&mut self, now: Timestamp) {
        if self.failed.len() < REMEMBERED {
            return;
        }
        self.failed.retain(|_, entry| now.since(entry.last) < FORGOTTEN);
        if self.failed.len() < REMEMBERED {
            return;
        }
        // Half of them at once, so that the work of a look at all is done once in thousands of failures.
        let mut last: Vec<Timestamp> = self.failed.values().map(|entry| entry.last).collect();
        let (_, middle, _) = last.select_nth_unstable(REMEMBERED / 2);
        let middle = *middle;
        self.failed.retain(|_, entry| entry.last > middle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Timestamp = Timestamp::from_seconds(1_800_000_000);
    /// To be recorded, with nothing from before.
    fn is_recorded(failure: Failure) -> bool {
        matches!(failure, Failure::Refused { unrecorded: 0, .. })
    }

    /// Fails and gives what was counted.
    fn fail<K: Eq + Hash>(lockout: &mut Lockout<K>, who: K, now: Timestamp) -> Counted {
        match lockout.fail(who, now) {
            Failure::Refused { counted, .. } => counted,
            Failure::LockedOut { wait, .. } => panic!("locked out for {wait:?}"),
        }
    }

    fn at(seconds: u64) -> Timestamp {
        T0 + Duration::from_secs(seconds)
    }

    fn source(n: u16) -> Source {
        let [a, b] = n.to_be_bytes();
        Source::of(IpAddr::from([10, 0, a, b]))
    }

    /// Fails until locked out.
    fn lock_out(lockout: &mut Lockout<Source>, who: Source, now: Timestamp) {
        for _ in 0..FAILURES {
            assert!(matches!(lockout.fail(who, now), Failure::Refused { .. }));
        }
    }

    #[test]
    fn ten_failures_in_a_minute_lock_their_source_out_and_no_other() {
        let mut lockout = Lockout::default();
        lock_out(&mut lockout, source(1), T0);
        let wait = |seconds| Duration::from_secs(seconds);
        assert_eq!(lockout.fail(source(1), T0), Failure::LockedOut { wait: wait(30), is_first: true });
        assert_eq!(lockout.fail(source(1), at(29)), Failure::LockedOut { wait: wait(1), is_first: false });
        assert!(is_recorded(lockout.fail(source(2), at(29))));
        assert!(matches!(lockout.fail(source(1), at(30)), Failure::Refused { unrecorded: 1, .. }));
        assert!(is_recorded(lockout.fail(source(1), at(31))));
    }

    #[test]
    fn slower_failures_lock_nobody_out() {
        let mut lockout = Lockout::default();
        for n in 0..200 {
            assert!(is_recorded(lockout.fail(source(1), at(7 * n))), "{n}");
        }
    }

    #[test]
    fn each_lock_out_is_twice_as_long_up_to_a_quarter_of_an_hour_and_an_hour_of_peace_is_forgiven() {
        let mut lockout = Lockout::default();
        let (mut now, mut waits) = (T0, Vec::new());
        for _ in 0..8 {
            lock_out(&mut lockout, source(1), now);
            let Failure::LockedOut { wait, .. } = lockout.fail(source(1), now) else { panic!("not locked out") };
            waits.push(wait.as_secs());
            now = now + wait;
        }
        assert_eq!(waits, [30, 60, 120, 240, 480, 900, 900, 900]);
        now = now + FORGOTTEN;
        lock_out(&mut lockout, source(1), now);
        assert!(matches!(lockout.fail(source(1), now), Failure::LockedOut { wait, .. } if wait == FIRST));
    }

    #[test]
    fn a_clock_that_is_set_back_prolongs_no_lock_out_beyond_the_longest() {
        let mut lockout = Lockout::default();
        lock_out(&mut lockout, source(1), T0);
        let earlier = T0 - Duration::from_secs(24 * 3600);
        assert_eq!(lockout.fail(source(1), earlier), Failure::LockedOut { wait: LONGEST, is_first: true });
        assert!(matches!(lockout.fail(source(1), earlier + LONGEST), Failure::Refused { .. }));
    }

    #[test]
    fn every_refusal_of_a_lock_out_is_recorded_or_counted() {
        let mut lockout = Lockout::default();
        let (mut told, mut calls) = (0, 0);
        for tenth in 0..6000u64 {
            calls += 1;
            match lockout.fail(source(1), T0 + Duration::from_millis(100 * tenth)) {
                Failure::Refused { unrecorded, .. } => told += 1 + unrecorded,
                Failure::LockedOut { is_first, .. } => told += u32::from(is_first),
            }
        }
        let left = lockout.failed[&source(1)].unrecorded.unwrap_or(0);
        assert_eq!(told + left, calls);
        assert!(left > 0 && told > left, "{told} {left}");
    }

    #[test]
    fn the_addresses_of_one_ipv6_network_are_one_source_and_mapped_ones_are_their_ipv4() {
        let mut lockout = Lockout::default();
        let six = |text: &str| Source::of(text.parse().unwrap());
        for n in 0..FAILURES {
            lockout.fail(six(&format!("2001:db8::{n}")), T0);
        }
        assert!(matches!(lockout.fail(six("2001:db8::ffff:1"), T0), Failure::LockedOut { .. }));
        assert!(is_recorded(lockout.fail(six("2001:db8:0:1::1"), T0)));
        lock_out(&mut lockout, source(1), T0);
        assert!(matches!(lockout.fail(six("::ffff:10.0.0.1"), T0), Failure::LockedOut { .. }));
    }

    #[test]
    fn a_flood_of_sources_takes_no_more_than_its_room_and_the_newest_are_remembered() {
        let mut lockout = Lockout::default();
        for n in 0..40_000u32 {
            let [_, a, b, c] = n.to_be_bytes();
            lockout.fail(Source::of(IpAddr::from([10, a, b, c])), T0 + Duration::from_millis(n.into()));
            assert!(lockout.failed.len() <= REMEMBERED);
        }
        let now = at(41);
        lock_out(&mut lockout, source(1), now);
        for n in 0..100 {
            lockout.fail(Source::of(IpAddr::from([192, 0, 2, n])), now);
        }
        assert!(matches!(lockout.fail(source(1), now), Failure::LockedOut { .. }));
    }

    #[test]
    fn whoever_knows_the_password_is_forgiven_and_what_others_failed_at_from_the_same_source_is_not() {
        let mut accounts = Lockout::default();
        for _ in 0..FAILURES - 1 {
            accounts.fail("ann", T0);
        }
        // Right at the tenth try: as such it locks the account out, until it is seen to be right.
        assert!(is_recorded(accounts.fail("ann", T0)));
        accounts.forgive(&"ann", T0);
        for _ in 0..FAILURES {
            assert!(is_recorded(accounts.fail("ann", T0)));
        }
        assert_eq!(
            accounts.fail("ann", T0),
            Failure::LockedOut { wait: FIRST, is_first: true },
            "lock-outs count from one again"
        );
        let mut sources = Lockout::default();
        for _ in 0..10 * FAILURES {
            let right = fail(&mut sources, source(1), T0);
            sources.take_back(&source(1), right);
        }
        for _ in 0..FAILURES - 1 {
            sources.fail(source(1), T0);
            let right = fail(&mut sources, source(1), T0);
            sources.take_back(&source(1), right);
        }
        sources.fail(source(1), T0);
        assert!(matches!(sources.fail(source(1), T0), Failure::LockedOut { .. }));
    }

    #[test]
    fn a_right_login_that_was_the_tenth_failure_while_it_was_looked_at_locks_nobody_out() {
        let mut sources = Lockout::default();
        for _ in 0..FAILURES - 1 {
            fail(&mut sources, source(1), T0);
        }
        for _ in 0..3 {
            let right = fail(&mut sources, source(1), T0);
            // Until it is seen to be right; whoever came meanwhile was refused, and is counted.
            assert_eq!(sources.fail(source(1), T0), Failure::LockedOut { wait: FIRST, is_first: true });
            assert_eq!(sources.fail(source(1), T0), Failure::LockedOut { wait: FIRST, is_first: false });
            sources.take_back(&source(1), right);
        }
        assert!(
            matches!(sources.fail(source(1), T0), Failure::Refused { unrecorded: 1, .. }),
            "the tenth that is wrong"
        );
        let first = Failure::LockedOut { wait: FIRST, is_first: true };
        assert_eq!(sources.fail(source(1), T0), first, "the first lock-out, not the fourth");
    }

    #[test]
    fn a_right_login_that_was_counted_before_the_tenth_failure_opens_the_lock_out_as_well() {
        let mut sources = Lockout::default();
        let right = [fail(&mut sources, source(1), T0), fail(&mut sources, source(1), at(1))];
        for _ in 0..FAILURES - 2 {
            fail(&mut sources, source(1), at(2));
        }
        assert!(matches!(sources.fail(source(1), at(2)), Failure::LockedOut { .. }));
        for counted in right {
            sources.take_back(&source(1), counted);
        }
        // Eight are wrong: two more, and not a third.
        fail(&mut sources, source(1), at(3));
        fail(&mut sources, source(1), at(3));
        assert_eq!(sources.fail(source(1), at(3)), Failure::LockedOut { wait: FIRST, is_first: true });
    }

    /// Else whoever has a login of their own could have others' wrong ones forgiven, by one that ends in the next window.
    #[test]
    fn a_failure_of_a_window_that_is_over_takes_nothing_from_another() {
        let mut sources = Lockout::default();
        let late = fail(&mut sources, source(1), T0);
        for _ in 0..FAILURES {
            fail(&mut sources, source(1), at(60));
        }
        sources.take_back(&source(1), late);
        assert!(matches!(sources.fail(source(1), at(60)), Failure::LockedOut { .. }));
        // Nor after a lock-out that was served, from what is counted then.
        let mut sources = Lockout::default();
        let late = fail(&mut sources, source(1), T0);
        for _ in 0..FAILURES - 1 {
            fail(&mut sources, source(1), T0);
        }
        for _ in 0..FAILURES {
            fail(&mut sources, source(1), at(30));
        }
        sources.take_back(&source(1), late);
        assert!(matches!(
            sources.fail(source(1), at(31)),
            Failure::LockedOut { wait, .. } if wait == Duration::from_secs(59)
        ));
    }
}
