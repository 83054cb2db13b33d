//! Time as the agent sees it. It counts from the start of the kernel, because the machine's wall clock may be years off
//! and is set by us in the middle of the work.

use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};
use std::{io, thread, time::Duration};

/// Where time comes from. Tests bring one whose sleeps are short.
pub trait Clock: Send + Sync {
    /// Since the kernel started; never goes back, and knows nothing of the wall clock.
    fn uptime(&self) -> Duration;

    /// Waits.
    fn sleep(&self, duration: Duration);

    /// The wall clock, in seconds since 1970.
    fn wall_clock(&self) -> i64;

    /// Sets the wall clock.
    fn set_wall_clock(&self, seconds: i64) -> io::Result<()>;
}

/// The kernel's.
#[derive(Debug, Clone, Copy, Default)]
pub struct KernelClock;

impl Clock for KernelClock {
    fn uptime(&self) -> Duration {
        let time = clock_gettime(ClockId::Boottime);
        Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
    }

    fn sleep(&self, duration: Duration) {
        thread::sleep(duration);
    }

    fn wall_clock(&self) -> i64 {
        clock_gettime(ClockId::Realtime).tv_sec
    }

    fn set_wall_clock(&self, seconds: i64) -> io::Result<()> {
        Ok(clock_settime(ClockId::Realtime, Timespec { tv_sec: seconds, tv_nsec: 0 })?)
    }
}
