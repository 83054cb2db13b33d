//! Time as a value: microseconds since the Unix epoch, and the clock as an argument.
//!
//! `model` never reads the wall clock; whoever runs a loop hands one in. So a test, or a simulated world, decides what
//! time it is.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, ops, str::FromStr, time::Duration};

/// Microseconds since 1970-01-01T00:00:00Z. Shown and sent as RFC 3339 in UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// A moment no wait reaches: "nothing to do until something wakes me".
    pub const NEVER: Timestamp = Timestamp(i64::MAX);

    /// A whole number of seconds since the epoch.
    pub const fn from_seconds(seconds: i64) -> Self {
        Timestamp(seconds * 1_000_000)
    }

    /// Seconds since the epoch, rounded down.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// How long ago `earlier` was; zero if it lies in the future.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

impl ops::Add<Duration> for Timestamp {
    type Output = Timestamp;
    fn add(self, duration: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(micros(duration)))
    }
}

impl ops::Sub<Duration> for Timestamp {
    type Output = Timestamp;
    fn sub(self, duration: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(micros(duration)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(t) => write!(f, "{t:.6}"),
            Err(_) => f.write_str("never"),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Timestamp {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let t: jiff::Timestamp = text.parse().map_err(|e| format!("{text:?} is no RFC 3339 time: {e}"))?;
        Ok(Timestamp(t.as_microsecond()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "never" {
            return Ok(Timestamp::NEVER);
        }
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Where the time comes from. The one implementation over the wall clock lives in the service; tests and simulated
/// worlds bring their own.
pub trait Clock: Send + Sync {
    /// The present moment. Never goes back by more than the operating system's own corrections.
    fn now(&self) -> Timestamp;
}

/// `1h 02m`, `3m 05s`, `12s`, `0.4s`: a duration the way a person reads it.
pub fn in_words(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..10 => format!("{:.1}s", duration.as_secs_f64()),
        10..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h {:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_shown_and_read_as_rfc_3339() {
        let t = Timestamp(1_767_322_445_006_000);
        assert_eq!(t.to_string(), "2026-01-02T02:54:05.006000Z");
        assert_eq!(t.to_string().parse::<Timestamp>().unwrap(), t);
        assert_eq!(serde_json::from_str::<Timestamp>(&serde_json::to_string(&t).unwrap()).unwrap(), t);
    }

    #[test]
    fn never_survives_its_own_text() {
        let text = serde_json::to_string(&Timestamp::NEVER).unwrap();
        assert_eq!(serde_json::from_str::<Timestamp>(&text).unwrap(), Timestamp::NEVER);
        assert_eq!(Timestamp::NEVER + Duration::from_secs(1), Timestamp::NEVER);
    }

    #[test]
    fn durations_read_like_a_person_says_them() {
        for (seconds, text) in [(0.4, "0.4s"), (12.0, "12s"), (185.0, "3m 05s"), (3725.0, "1h 02m")] {
            assert_eq!(in_words(Duration::from_secs_f64(seconds)), text);
        }
    }
}
