//! One thing that was looked at, and how it was found.

use crate::output::clean;
use serde::Serialize;
use std::error::Error as StdError;

/// How it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// The service works, and somebody should know.
    Warning,
    /// The service doesn't start, or not all of it works, or a secret is open to others.
    Problem,
    /// Not looked at.
    Skipped,
}

/// A line of the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at: a stable word.
    pub name: &'static str,
    /// How it was found.
    pub verdict: Verdict,
    /// What was found.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Check {
    pub fn ok(name: &'static str, message: impl Into<String>) -> Check {
        Check { name, verdict: Verdict::Ok, message: message.into(), hint: None }
    }

    pub fn skipped(name: &'static str, why: impl Into<String>) -> Check {
        Check { name, verdict: Verdict::Skipped, message: why.into(), hint: None }
    }

    pub fn warning(name: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Check {
        Check { name, verdict: Verdict::Warning, message: message.into(), hint: Some(hint.into()) }
    }

    pub fn problem(name: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Check {
        Check { name, verdict: Verdict::Problem, message: message.into(), hint: Some(hint.into()) }
    }

    /// An error with all its causes.
    pub fn failed(name: &'static str, error: &dyn StdError, hint: impl Into<String>) -> Check {
        let (mut told, mut next) = (vec![error.to_string()], error.source());
        while let Some(cause) = next {
            told.push(cause.to_string());
            next = cause.source();
        }
        told.dedup();
        Check::problem(name, told.join(": "), hint)
    }

    /// For a person: one line, what to do about it at its end.
    pub fn in_words(&self) -> String {
        let verdict = match self.verdict {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Problem => "PROBLEM",
            Verdict::Skipped => "skipped",
        };
        let hint = self.hint.as_ref().map(|hint| format!("; to do: {hint}")).unwrap_or_default();
        clean(&format!("{verdict:<8} {:<14} {}{hint}", self.name, self.message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_one_line_whatever_it_has_to_say() {
        let error = std::io::Error::other(std::io::Error::other("disk\ngone"));
        let line = Check::failed("store", &error, "replace it").in_words();
        assert_eq!(line, "PROBLEM  store          disk\\ngone; to do: replace it");
        assert_eq!(Check::ok("disk", "2 GiB free").in_words(), "ok       disk           2 GiB free");
    }
}
