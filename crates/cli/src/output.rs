//! Where everything is written: data to standard output, the rest to standard error.
//!
//! A reader that went away (`| head`) is no error: what is written after that is dropped, and whoever would write for
//! ever asks [`Output::reader_is_gone`]. Text that came from a machine or over the network passes [`clean`], so that it
//! can't steer the reader's terminal.

use crate::error::CliError;
use serde::Serialize;
use std::{
    io::{self, IsTerminal, Write},
    sync::atomic::{AtomicBool, Ordering},
};

/// Standard output and standard error.
#[derive(Debug, Default)]
pub struct Output {
    gone: AtomicBool,
}

impl Output {
    /// One line of data, or several.
    pub fn data(&self, text: &str) -> Result<(), CliError> {
        self.raw(&format!("{text}\n"))
    }

    /// One document, on a line of its own.
    pub fn json(&self, document: &impl Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string(document).map_err(|e| CliError::Output(e.into()))?;
        self.data(&text)
    }

    /// Data exactly as it is.
    pub fn raw(&self, text: &str) -> Result<(), CliError> {
        if self.reader_is_gone() {
            return Ok(());
        }
        let mut stdout = io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {
                self.gone.store(true, Ordering::Relaxed);
                Ok(())
            }
            other => other.map_err(CliError::Output),
        }
    }

    /// A line for the person at the terminal. That it can't be written is nothing anybody could be told.
    pub fn note(&self, text: &str) {
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// Whether nobody reads the data any more.
    pub fn reader_is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// Whether a person looks at both streams: only then is anything redrawn.
    pub fn is_terminal(&self) -> bool {
        io::stdout().is_terminal() && io::stderr().is_terminal()
    }
}

/// The text without control characters; they are shown escaped.
pub fn clean(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control() {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_machine_says_cannot_steer_the_terminal() {
        assert_eq!(clean("disk \u{1b}[2Jgone\r\nready ✓"), "disk \\u{1b}[2Jgone\\r\\nready ✓");
    }
}
