//! The database, without opening it as the service does: a look changes nothing.

use super::check::Check;
use indicatif::HumanBytes;
use metalform_service::Config;
use metalform_store::{Schema, Store};
use std::path::Path;

const NAME: &str = "store";

/// Also whether a process works on the folder.
pub async fn check(config: &Config, thorough: bool) -> (Check, bool) {
    let file = config.data_dir.join("metalform.db");
    let seen = match Store::inspect(&config.data_dir, thorough).await {
        Ok(seen) => seen,
        Err(error) => return (Check::failed(NAME, &error, error.hint()), false),
    };
    let shown = file.display();
    let running = if seen.in_use { ", a service works on it" } else { "" };
    let check = match seen.schema {
        None => Check::ok(NAME, format!("{shown} isn't there yet; the first start makes it")),
        _ if !seen.damage.is_empty() => {
            let message = format!("{shown} is damaged: {}", seen.damage.join("; "));
            Check::problem(NAME, message, "stop the service and restore the data folder from a backup")
        }
        Some(Schema::Foreign) => {
            let message = format!("{shown} was written by another version of Metalform");
            Check::problem(NAME, message, "use that version, or a newer one than both")
        }
        Some(Schema::Behind(steps)) => {
            let message = format!("{shown} is of an older version, by {steps} steps{running}");
            Check::warning(
                NAME,
                message,
                "make a backup; the next start brings it up to date, and the older version can't go back",
            )
        }
        Some(Schema::Current) => {
            let sizes = ["metalform.db", "metalform.db-wal"].map(|name| config.data_dir.join(name).metadata());
            let size = sizes.into_iter().filter_map(Result::ok).map(|file| file.len()).sum();
            Check::ok(NAME, format!("{shown} is whole, {}{running}", HumanBytes(size)))
        }
    };
    (check, seen.in_use)
}

const ENOUGH: u64 = 1 << 30;
const TOO_LITTLE: u64 = 100 << 20;

/// What is free where the state grows.
pub fn check_space(config: &Config) -> Check {
    const NAME: &str = "disk";
    let there = config.data_dir.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("."));
    let there = if there.as_os_str().is_empty() { Path::new(".") } else { there };
    let free = match rustix::fs::statvfs(there) {
        Ok(disk) => disk.f_bavail.saturating_mul(disk.f_frsize),
        Err(error) => return Check::problem(NAME, format!("{}: {error}", there.display()), "mount its disk"),
    };
    say_space(there, free)
}

fn say_space(there: &Path, free: u64) -> Check {
    const NAME: &str = "disk";
    let message = format!("{} free at {}", HumanBytes(free), there.display());
    let hint = "make room: nothing is ordered or configured while nothing can be recorded";
    match free {
        ENOUGH.. => Check::ok(NAME, message),
        TOO_LITTLE.. => Check::warning(NAME, message, hint),
        _ => Check::problem(NAME, message, hint),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::check::Verdict;

    #[test]
    fn little_space_is_told_before_there_is_none() {
        for (free, verdict) in
            [(5 << 30, Verdict::Ok), (1 << 30, Verdict::Ok), (200 << 20, Verdict::Warning), (0, Verdict::Problem)]
        {
            assert_eq!(say_space(Path::new("/"), free).verdict, verdict, "{free}");
        }
    }
}
