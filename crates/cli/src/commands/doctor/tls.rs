//! The certificates that the configuration names.

use super::check::Check;
use metalform_model::Timestamp;
use metalform_service::{Config, look_at_certificates};

const NAME: &str = "tls";

/// As a start would take them.
pub fn check(config: &Config, now: Timestamp) -> Vec<Check> {
    let seen = look_at_certificates(config, now);
    if seen.is_empty() {
        return vec![Check::ok(NAME, "the configuration names no certificate")];
    }
    let check =
        |(key, found): (&str, Result<metalform_service::CertificateSeen, metalform_service::BadCertificate>)| {
            match found {
                Err(error) => {
                    let Check { message, hint, .. } = Check::failed(NAME, &error, error.hint());
                    Check::problem(NAME, format!("{key}: {message}"), hint.unwrap_or_default())
                }
                Ok(seen) => match (seen.reminder, seen.until) {
                    (Some(text), Some(until)) => Check::warning(
                        NAME,
                        format!("{key}: {text} ({until})"),
                        "have it renewed, and name the new files",
                    ),
                    (_, Some(until)) => Check::ok(NAME, format!("{key}: good until {until}")),
                    (_, None) => Check::ok(NAME, format!("{key}: holds certificates")),
                },
            }
        };
    seen.into_iter().map(check).collect()
}
