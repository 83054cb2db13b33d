//! Named points at which a test may end the process, as a power cut would. Without the cargo feature they are nothing.

/// Ends the process at once if the environment names this point: `METALFORM_CRASH_AT=answer.server` (the first time it is
/// reached) or `answer.server:3` (the third time). Points are `intent.*` (recorded, nothing sent), `answer.*` (answered,
/// nothing recorded) and `recorded.*`.
#[cfg(feature = "crash-points")]
pub fn crash_point(name: &str) {
    use std::sync::{Mutex, OnceLock, atomic::AtomicU32, atomic::Ordering};
    static REACHED: AtomicU32 = AtomicU32::new(0);
    static AT: OnceLock<Option<(String, u32)>> = OnceLock::new();
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let at = AT.get_or_init(|| {
        let wanted = std::env::var("METALFORM_CRASH_AT").ok()?;
        let (point, nth) = wanted.split_once(':').unwrap_or((&wanted, "1"));
        Some((point.to_owned(), nth.parse().ok()?))
    });
    let Some((point, nth)) = at else { return };
    let _guard = ONE_AT_A_TIME.lock();
    if point == name && REACHED.fetch_add(1, Ordering::SeqCst) + 1 == *nth {
        std::process::abort();
    }
}

/// Nothing: the cargo feature is off.
#[cfg(not(feature = "crash-points"))]
pub fn crash_point(_name: &str) {}
