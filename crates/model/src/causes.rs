//! An error with what caused it, on one line: for reasons that are stored and shown. Whoever prints an error for a person
//! prints the chain line by line instead.

use std::error::Error;

/// `what failed: why: and why that`.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
