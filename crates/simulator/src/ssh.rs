//! SSH as values, as [`crate::http`] is HTTP: password logins and commands, each with its standard input in full. There
//! are no sessions in here: a face logs in, then hands over each command that comes over the connection.

use std::time::Duration;

/// A command to be executed, as a client's `exec` request says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshExec {
    /// What the user's login shell is told with `-c`.
    pub command: String,
    /// All that the client sent until its end-of-file; may hold a password, so it is never logged.
    pub stdin: Vec<u8>,
    /// A pseudo terminal was requested before.
    pub pty: bool,
}

/// What becomes of a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SshAdmission {
    /// It is right.
    Admitted,
    /// It is wrong, the account is unknown, or it is locked: a client can't tell these apart.
    Denied,
}

/// What becomes of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SshReply {
    /// It ended.
    Output {
        /// Standard output; with a terminal, standard error too, in order. Lines end in LF: a terminal's ways are the
        /// face's business.
        stdout: Vec<u8>,
        /// Standard error; empty with a terminal.
        stderr: Vec<u8>,
        /// Exit status.
        status: u32,
        /// The answer comes so much later, wall clock; what the command did has happened at once.
        after: Duration,
    },
    /// What the command did has happened, but the connection is cut without an answer.
    Lost,
}
