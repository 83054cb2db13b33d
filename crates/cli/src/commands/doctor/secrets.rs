//! The secret key, and what is sealed under it.

use super::check::Check;
use metalform_service::{Config, FoundKey, SecretError};

const NAME: &str = "secrets";

/// Gets the key as a start would, and opens what is sealed. Changes nothing.
pub async fn check(config: &Config) -> (Vec<Check>, Option<FoundKey>) {
    let found = match FoundKey::load(config).await {
        Ok(found) => found,
        Err(error) => return (vec![failed(&error)], None),
    };
    let seen = found.look();
    let mut checks: Vec<Check> = seen
        .broken
        .iter()
        .map(|(name, error)| {
            let Check { message, hint, .. } = failed(error);
            Check::problem(NAME, format!("{name}: {message}"), hint.unwrap_or_default())
        })
        .collect();
    if seen.half_changed {
        let message = "a change of the secret key was cut short";
        checks.push(Check::warning(
            NAME,
            message,
            "start the service, or run `metalform secret rotate`: either ends it",
        ));
    }
    if !seen.plain.is_empty() {
        let message = format!("not sealed yet: {}", seen.plain.join(", "));
        checks.push(Check::warning(NAME, message, "start the service: it seals what lies there as it is"));
    }
    if checks.is_empty() {
        checks.push(Check::ok(
            NAME,
            match seen.to_be_made {
                true => format!("{} isn't there yet; the first start makes it", seen.source),
                false => format!("the key from {} is the right one, and every sealed file opens", seen.source),
            },
        ));
    }
    (checks, Some(found))
}

fn failed(error: &SecretError) -> Check {
    Check::failed(NAME, error, error.hint())
}
