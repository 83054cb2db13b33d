//! SSH to one machine, as values: what the shell client needs of the network, and nothing that tests or a simulated
//! world could not answer themselves. No shell and no file transfer: commands alone (RFC 4254 §6.5).
//!
//! As with [`Transport`](crate::Transport), the one thing that every implementation must get right is how a failure is
//! told: whether the command can have run or not. A `cluster create` whose answer is lost must not be started again
//! blindly.

use crate::{Cause, Fingerprint, PinRule, excerpt};
use async_trait::async_trait;
use secrecy::SecretString;
use std::{fmt, net::Ipv4Addr, time::Duration};

/// Opens connections. No repeats, no second password, no agent, no key of ours.
#[async_trait]
pub trait Ssh: Send + Sync {
    /// Connects and reads the identification line alone (RFC 4253 §4.2): no key exchange, no login. So it costs the
    /// machine nothing and no attempt at a password.
    async fn greet(&self, address: Ipv4Addr, port: u16, limit: Duration) -> Result<(), SshError>;

    /// Connects, compares the host key, logs in with the password: one attempt. A machine whose key the rule refuses is
    /// told neither user nor password.
    async fn open(&self, login: SshLogin) -> Result<Box<dyn SshSession>, SshError>;
}

/// A connection that is logged in. Dropping it closes it.
#[async_trait]
pub trait SshSession: Send + Sync {
    /// SHA-256 of the host key that the machine proved to have.
    fn fingerprint(&self) -> Fingerprint;

    /// Runs one command in the user's login shell and waits for its end.
    async fn exec(&self, exec: Exec) -> Result<ExecOutput, SshError>;
}

/// Whom to log in to, and how to know it.
#[derive(Debug, Clone)]
pub struct SshLogin {
    /// Address of a CVM or of a hypervisor.
    pub address: Ipv4Addr,
    /// TCP port.
    pub port: u16,
    /// User name.
    pub user: String,
    /// Its password, tried once.
    pub password: SecretString,
    /// Which host keys the machine may show: SHA-256 of the key's blob, which is what `ssh-keygen -l` prints in base64.
    pub pin: PinRule,
    /// From the first packet to the end of the login.
    pub limit: Duration,
}

/// One command.
#[derive(Clone)]
pub struct Exec {
    /// Text for the login shell. Never holds a secret: it stands in process lists and logs.
    pub command: String,
    /// What the command reads, then it reads the end. Secrets go here.
    pub stdin: Vec<u8>,
    /// Whether the command gets a terminal. It then sees standard output and error as one, and input is not ended.
    pub pty: bool,
    /// From asking for it to its end.
    pub limit: Duration,
}

/// Hides what the command reads: that may be a password.
impl fmt::Debug for Exec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exec")
            .field("command", &self.command)
            .field("stdin", &format_args!("[{} bytes]", self.stdin.len()))
            .field("pty", &self.pty)
            .field("limit", &self.limit)
            .finish()
    }
}

/// What came of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOutput {
    /// Its exit status; none if a signal ended it or the machine doesn't say.
    pub status: Option<u32>,
    /// What it wrote, see [`ExecOutput::new`].
    pub stdout: String,
    /// What it wrote as errors.
    pub stderr: String,
}

impl ExecOutput {
    /// Bytes of each stream that are kept; the rest is read and thrown away.
    pub const LIMIT: usize = 1 << 20;

    /// Makes text of what came: password hashes hidden, what is not UTF-8 replaced by `?`, cut off at
    /// [`ExecOutput::LIMIT`].
    ///
    /// The text has exactly as many bytes as came (up to the limit): whoever follows a growing file counts in it where
    /// to go on. So a hash becomes as many asterisks, and the usual replacement character, which has three bytes, is
    /// not used.
    pub fn new(status: Option<u32>, stdout: Vec<u8>, stderr: Vec<u8>) -> Self {
        let text = |mut bytes: Vec<u8>| {
            bytes.truncate(Self::LIMIT);
            excerpt::starred(&utf8_of_same_length(bytes))
        };
        Self { status, stdout: text(stdout), stderr: text(stderr) }
    }
}

fn utf8_of_same_length(bytes: Vec<u8>) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| '?'));
    }
    text
}

/// Why there is no session or no output.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// The machine is there, and nothing listens on the port.
    #[error("connection refused")]
    Refused,
    /// No connection came about, or it broke off before the login was done.
    #[error("no connection")]
    Unreachable(#[source] Cause),
    /// The time was up before the login was done.
    #[error("no login within {0:?}")]
    ConnectTimeout(Duration),
    /// Something listens that speaks no SSH, or none that we can follow.
    #[error("no SSH connection")]
    NotSsh(#[source] Cause),
    /// The machine showed another host key than the pinned ones. It was told neither user nor password.
    #[error("the machine shows the host key {seen}, which is not the pinned one")]
    PinMismatch {
        /// The pinned keys.
        expected: Vec<Fingerprint>,
        /// The key that was shown.
        seen: Fingerprint,
    },
    /// User or password refused.
    #[error("user or password refused")]
    Denied,
    /// The machine won't start commands, or the connection was gone before this one was asked for. It has not run.
    #[error("the command was not started")]
    NotStarted(#[source] Cause),
    /// The connection broke before the command's end was told. It may have run, and may be running.
    #[error("the connection broke before the command's end was told")]
    Lost(#[source] Cause),
    /// The time was up before the command's end was told. It may have run, and may be running.
    #[error("the command did not end within {0:?}")]
    ReplyTimeout(Duration),
}

impl SshError {
    /// Whether the command may have run.
    pub fn may_have_run(&self) -> bool {
        match self {
            SshError::Lost(_) | SshError::ReplyTimeout(_) => true,
            SshError::Refused
            | SshError::Unreachable(_)
            | SshError::ConnectTimeout(_)
            | SshError::NotSsh(_)
            | SshError::PinMismatch { .. }
            | SshError::Denied
            | SshError::NotStarted(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_as_many_bytes_as_came() {
        let raw = b"caf\xc3\xa9 \xff\xfe cut \xe2\x82".to_vec();
        let output = ExecOutput::new(Some(0), raw.clone(), vec![]);
        assert_eq!(output.stdout, "café ?? cut ??");
        assert_eq!(output.stdout.len(), raw.len());
    }

    #[test]
    fn a_hash_is_hidden_and_keeps_its_length() {
        let raw = b"Will seed prism with password hash $6$ab$cdef and go on".to_vec();
        let output = ExecOutput::new(Some(0), vec![], raw.clone());
        assert_eq!(output.stderr, "Will seed prism with password hash ********** and go on");
        assert_eq!(output.stderr.len(), raw.len());
    }

    #[test]
    fn no_more_than_the_limit_is_kept() {
        let output = ExecOutput::new(None, vec![b'a'; ExecOutput::LIMIT + 1], vec![]);
        assert_eq!(output.stdout.len(), ExecOutput::LIMIT);
    }

    #[test]
    fn what_a_command_reads_is_not_shown() {
        let exec = Exec {
            command: "sudo chpasswd".into(),
            stdin: b"nutanix:geheim".to_vec(),
            pty: false,
            limit: Duration::from_secs(1),
        };
        let shown = format!("{exec:?}");
        assert!(
            shown.contains("sudo chpasswd") && shown.contains("[14 bytes]") && !shown.contains("geheim"),
            "{shown}"
        );
    }
}
