//! Whether the cloud lets us work, and what time it is there.

use super::check::Check;
use metalform_service::{Config, FoundKey, check_cloud};

/// Signatures and tokens bear some difference; more than this, and certificates and tokens are refused somewhere.
const FAR_OFF_SECS: u64 = 60;
const OFF_SECS: u64 = 10;

/// Asks IAM for a token, and the region's API for its profiles.
pub async fn check(config: &Config, found: Option<&FoundKey>) -> Vec<Check> {
    let Some(found) = found else {
        return vec![
            Check::skipped("cloud", "without the secret key"),
            Check::skipped("clock", "the cloud wasn't asked"),
        ];
    };
    let seen = check_cloud(config, found).await;
    let region = &config.ibm_cloud.region;
    let cloud = match &seen.profiles {
        Ok(0) => Check::warning(
            "cloud",
            format!("{region} answers, and has no bare metal servers"),
            "choose another [ibm_cloud] region",
        ),
        Ok(n) => Check::ok("cloud", format!("{region} answers, with {n} profiles of bare metal servers")),
        Err(error) => Check::failed("cloud", error, error.hint()),
    };
    vec![cloud, clock(seen.clock_ahead_secs)]
}

fn clock(ahead: Option<i64>) -> Check {
    const NAME: &str = "clock";
    let Some(ahead) = ahead else { return Check::skipped(NAME, "the cloud didn't say what time it is") };
    let off = ahead.unsigned_abs();
    let which = if ahead < 0 { "behind" } else { "ahead of" };
    let message = format!("this machine's clock is {off} s {which} the cloud's");
    let hint = "have it set by NTP: `timedatectl set-ntp true`";
    if off <= OFF_SECS {
        Check::ok(NAME, "this machine's clock is the cloud's")
    } else if off <= FAR_OFF_SECS {
        Check::warning(NAME, message, hint)
    } else {
        Check::problem(NAME, message, hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::check::Verdict;

    #[test]
    fn a_clock_that_is_far_off_is_a_problem_whichever_way() {
        for (ahead, verdict) in [
            (Some(0), Verdict::Ok),
            (Some(-10), Verdict::Ok),
            (Some(11), Verdict::Warning),
            (Some(-61), Verdict::Problem),
            (Some(3600), Verdict::Problem),
            (None, Verdict::Skipped),
        ] {
            assert_eq!(clock(ahead).verdict, verdict, "{ahead:?}");
        }
        assert!(clock(Some(-61)).message.contains("61 s behind the cloud's"));
    }
}
