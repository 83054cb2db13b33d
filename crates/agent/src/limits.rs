//! How long the agent waits for what. One place, so that tests can be quick and a reader sees them together.

use std::time::Duration;

/// Durations, and nothing else.
#[derive(Debug, Clone)]
pub struct Limits {
    /// For a TCP connection to the boot plane.
    pub connect: Duration,
    /// Between two pieces of an answer.
    pub idle: Duration,
    /// For a whole answer that is no image file.
    pub answer: Duration,
    /// After the first call that failed; doubled with each one after it.
    pub first_pause: Duration,
    /// No pause between two tries is longer, whatever `Retry-After` says.
    pub longest_pause: Duration,
    /// For drivers to show the machine's network interfaces and drives.
    pub devices: Duration,
    /// Without a new drive, until all are taken to be there: a later one could change which drive a size means.
    pub settle: Duration,
    /// For an interface to get a link.
    pub link: Duration,
    /// Rounds over all interfaces before the network counts as failed.
    pub network_rounds: u32,
    /// For the first answer of a DHCP server; asked two to four times a round, each time with twice the patience.
    pub dhcp_answer: Duration,
    /// Without a byte of an image file.
    pub image_stall: Duration,
    /// For the boot plane to confirm that this boot attempt is still meant, before disks are touched.
    pub confirmation: Duration,
    /// For the installer.
    pub installer: Duration,
    /// For what an installer leaves running behind it to let go of its output.
    pub installer_tail: Duration,
    /// For the last reports to be taken before the machine restarts.
    pub farewell: Duration,
    /// Between two reports that only say how far it is.
    pub between_reports: Duration,
    /// Without a word to say. Then the last one is said again, so that a boot attempt that is over ends a silent installer.
    pub silence: Duration,
    /// Between two reminders on the console of a machine that has failed.
    pub reminder: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let (seconds, minutes) = (Duration::from_secs, |minutes: u64| Duration::from_secs(60 * minutes));
        Limits {
            connect: seconds(10),
            idle: seconds(30),
            answer: seconds(60),
            first_pause: seconds(1),
            longest_pause: seconds(30),
            devices: seconds(30),
            settle: seconds(5),
            link: seconds(30),
            // Some 20 min: a rack that got its power back has its DHCP server last.
            network_rounds: 40,
            dhcp_answer: seconds(1),
            image_stall: minutes(30),
            confirmation: minutes(30),
            installer: minutes(90),
            installer_tail: seconds(5),
            farewell: minutes(10),
            between_reports: seconds(3),
            silence: seconds(30),
            reminder: minutes(5),
        }
    }
}

impl Limits {
    /// The pause before the next try when `failures` have gone before, at least one. Machines of a rack start together:
    /// `salt`, anything that differs between them, spreads them over a quarter of the pause.
    pub fn pause(&self, failures: u32, asked_for: Option<Duration>, salt: u32) -> Duration {
        let doubled = self.first_pause.saturating_mul(1 << failures.saturating_sub(1).min(16));
        let pause = doubled.max(asked_for.unwrap_or_default()).min(self.longest_pause);
        pause + pause / 4 * (salt % 64) / 64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_a_server_may_ask_for_more() {
        let limits = Limits::default();
        let seconds =
            |failures, asked: Option<u64>| limits.pause(failures, asked.map(Duration::from_secs), 0).as_secs();
        assert_eq!([1, 2, 3, 4, 5, 6, 40].map(|failures| seconds(failures, None)), [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(seconds(1, Some(7)), 7);
        assert_eq!(seconds(1, Some(3600)), 30, "a machine is never parked for an hour");
    }

    #[test]
    fn machines_that_start_together_do_not_ask_together() {
        let limits = Limits::default();
        let spread = |salt| limits.pause(10, None, salt);
        assert!(spread(0) < spread(17) && spread(17) < spread(63) && spread(63) < Duration::from_secs(38));
    }
}
