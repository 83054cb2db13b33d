//! Calls that are made until the boot plane answers: a machine that is up has nothing better to do, and a service that
//! is restarted must not cost an installation.

use crate::{boot_plane::PlaneError, clock::Clock, limits::Limits};
use metalform_model::with_causes;

/// Calls until there is an answer or a refusal for good. `told` hears of the first failure and of every twentieth.
pub fn until_answered<T>(
    clock: &dyn Clock,
    limits: &Limits,
    salt: u32,
    told: impl Fn(&str),
    mut call: impl FnMut() -> Result<T, PlaneError>,
) -> Result<T, PlaneError> {
    let mut failures = 0;
    loop {
        match call() {
            Err(error) if error.is_transient() => {
                failures += 1;
                if failures == 1 || failures % 20 == 0 {
                    told(&format!("{}; it is tried again", with_causes(&error)));
                }
                clock.sleep(limits.pause(failures, error.retry_after(), salt));
            }
            answer => return answer,
        }
    }
}
