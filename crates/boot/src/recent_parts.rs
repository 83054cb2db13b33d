//! Who fetches a file in parts asks many times and is one line of the audit.

use metalform_model::Timestamp;
use std::{
    collections::VecDeque,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// After so long the next part is a line again.
const ONE_LINE: Duration = Duration::from_secs(600);
/// Files and addresses that are remembered; of more, the one recorded longest ago is forgotten, and recorded again.
const CAPACITY: usize = 512;

#[derive(Debug, Default)]
pub(crate) struct RecentParts(Mutex<VecDeque<(IpAddr, String, Timestamp)>>);

impl RecentParts {
    /// Whether that part is to be recorded: it is the first of its file for that address, or the first in a while.
    pub fn is_first(&self, source: IpAddr, file: &str, now: Timestamp) -> bool {
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Nor is one of a time to come remembered: the clock was set back.
        recent.retain(|(_, _, at)| *at <= now && now.since(*at) < ONE_LINE);
        if recent.iter().any(|(from, name, _)| *from == source && name == file) {
            return false;
        }
        if recent.len() >= CAPACITY {
            recent.pop_front();
        }
        recent.push_back((source, file.to_owned(), now));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_one_file_for_one_address_are_one_line_in_ten_minutes() {
        let (recent, at) = (RecentParts::default(), Timestamp::from_seconds);
        let [one, other] = [1, 2].map(|n| IpAddr::from([10, 0, 0, n]));
        assert!(recent.is_first(one, "initrd", at(0)));
        assert!(!recent.is_first(one, "initrd", at(599)));
        assert!(recent.is_first(other, "initrd", at(599)) && recent.is_first(one, "vmlinuz", at(599)));
        assert!(recent.is_first(one, "initrd", at(600)));
        assert!(recent.is_first(one, "initrd", at(10)), "the clock was set back");
    }

    #[test]
    fn no_flood_of_addresses_makes_it_grow() {
        let recent = RecentParts::default();
        for n in 0..10_000_u32 {
            assert!(recent.is_first(std::net::Ipv4Addr::from(n).into(), "initrd", Timestamp(0)));
        }
        assert_eq!(recent.0.lock().unwrap().len(), CAPACITY);
    }
}
