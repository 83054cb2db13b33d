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
    seed: [u8; 32],
    rng: StdRng,
    /// How often the generator was asked.
    drawn: u32,
}

/// The generator can't be copied, but it can be brought to the same point again.
impl Clone for Pace {
    fn clone(&self) -> Self {
        let mut copy = Pace { speed: self.speed, seed: self.seed, rng: StdRng::from_seed(self.seed), drawn: 0 };
        while copy.drawn < self.drawn {
            copy.draw();
        }
        copy
    }
}

impl Pace {
    pub fn new(seed: u64, name: &str, speed: f64) -> Self {
        let seed = digest(seed, name);
        Pace { speed, seed, rng: StdRng::from_seed(seed), drawn: 0 }
    }

    fn draw(&mut self) -> f64 {
        self.drawn += 1;
        self.rng.random_range(0.9..1.1)
    }

    /// Within a tenth of `duration`, in this world's time.
    pub fn about(&mut self, duration: Duration) -> Duration {
        let factor = self.draw() / self.speed;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_goes_on_where_the_original_stands() {
        let mut pace = Pace::new(7, "copy", 1.0);
        for _ in 0..5 {
            pace.about(Duration::from_secs(100));
        }
        let mut copy = pace.clone();
        let three = |pace: &mut Pace| [(); 3].map(|()| pace.about(Duration::from_secs(100)));
        assert_eq!(three(&mut copy), three(&mut pace));
    }
}
