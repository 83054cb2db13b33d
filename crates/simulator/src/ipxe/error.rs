//! Errors as iPXE prints them: a short text and the address of the page that explains it.

use std::fmt;

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpxeError {
    /// The text on the console; empty for commands that fail without a word, such as `iseq`.
    pub text: String,
    /// The value of `${errno}`.
    pub errno: u32,
}

impl IpxeError {
    /// An error with its own number.
    pub(super) fn new(text: impl Into<String>, errno: u32) -> Self {
        IpxeError { text: text.into(), errno }
    }

    /// A failure without a word.
    pub(super) fn silent(errno: u32) -> Self {
        Self::new("", errno)
    }

    pub(super) fn command_not_found(command: &str) -> Self {
        Self::new(format!("{command}: command not found"), 0x2e85_2001)
    }

    pub(super) fn invalid(what: impl Into<String>) -> Self {
        Self::new(format!("{}: Invalid argument", what.into()), 0x1c06_2083)
    }

    pub(super) fn usage(usage: &str) -> Self {
        Self::new(format!("Usage: {usage}"), 0x1c05_2101)
    }

    pub(super) fn no_such(what: impl Into<String>) -> Self {
        Self::new(format!("{}: No such file or directory", what.into()), 0x2d0c_613b)
    }

    /// What an HTTP status becomes. The body of such an answer is thrown away: the operator sees only this.
    pub(super) fn status(status: u16) -> Self {
        match status {
            404 => Self::new("No such file or directory", 0x2d0c_618e),
            401 | 403 => Self::new("Permission denied", 0x0221_8d7a),
            _ => Self::new("Input/output error", 0x1d0c_6539),
        }
    }
}

impl fmt::Display for IpxeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (https://ipxe.org/{:08x})", self.text, self.errno)
    }
}

impl std::error::Error for IpxeError {}
