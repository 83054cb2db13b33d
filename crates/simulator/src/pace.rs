//! How fast the simulated world runs, and how much its durations vary: seeded, so a run can be repeated.

use rand::{RngExt, SeedableRng, rngs::StdRng};
use sha2::{Digest, Sha256};
use std::time::Duration;

/// However fast the world runs, a machine that asks again does not ask more often than this: what it asks is real.
const SHORTEST_RETRY: Duration = Duration::from_millis(200);

/// Turns durations at speed 1 into those of this world, for one machine.
#[derive(Debug)]
pub(crate) struct Pace {
    speed: f64,
    rng: StdRng,
}

impl Pace {
    pub fn new(seed: u64, name: &str, speed: f64) -> Self {
        Pace { speed, rng: StdRng::from_seed(digest(seed, name)) }
    }

    /// Within a tenth of `duration`, in this world's time.
    pub fn about(&mut self, duration: Duration) -> Duration {
        let factor = self.rng.random_range(0.9..1.1) / self.speed;
        duration.mul_f64(factor)
    }

    /// Exactly `duration`, in this world's time.
    pub fn exactly(&self, duration: Duration) -> Duration {
        duration.mul_f64(1.0 / self.speed)
    }

    /// The wait before something is asked again.
    pub fn retry(&self, duration: Duration) -> Duration {
        self.exactly(duration).max(SHORTEST_RETRY.min(duration))
    }
}

/// A value that depends on the world's seed and a name, and on nothing else.
pub(crate) fn digest(seed: u64, name: &str) -> [u8; 32] {
    Sha256::new().chain_update(seed.to_be_bytes()).chain_update(name).finalize().into()
}

/// A UUID that depends on the world's seed and a name.
pub(crate) fn uuid(seed: u64, name: &str) -> uuid::Uuid {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest(seed, name)[..16]);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}
