//! What went wrong with a command on a CVM or a hypervisor, and what that means for asking again. The same questions
//! as those of [`Error`](crate::Error), for the other way in.

use crate::{Cause, Fingerprint, SshError};
use std::{fmt, net::Ipv4Addr};

/// What was asked of a machine's shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShellOperation {
    /// Log in.
    LogIn,
    /// `genesis status`.
    ReadGenesis,
    /// `cluster status`.
    ReadClusterStatus,
    /// Start a detached job.
    StartJob,
    /// Look at a job.
    ReadJob,
    /// End a job.
    EndJob,
    /// Ask for what one machine sees of another.
    Reach,
    /// Read the clock.
    ReadClock,
    /// Read who the node is.
    ReadIdentity,
    /// `cluster destroy`.
    Destroy,
    /// `genesis restart`.
    RestartGenesis,
    /// `ncli cluster set-timezone`.
    SetTimezone,
    /// Look whether an account exists.
    LookForAccount,
    /// Set an account's password.
    ChangePassword,
}

impl ShellOperation {
    fn changes_the_world(self) -> bool {
        use ShellOperation as O;
        match self {
            O::StartJob | O::EndJob | O::Destroy | O::RestartGenesis | O::SetTimezone | O::ChangePassword => true,
            O::LogIn
            | O::ReadGenesis
            | O::ReadClusterStatus
            | O::ReadJob
            | O::Reach
            | O::ReadClock
            | O::ReadIdentity
            | O::LookForAccount => false,
        }
    }
}

impl fmt::Display for ShellOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use ShellOperation as O;
        f.write_str(match self {
            O::LogIn => "log in",
            O::ReadGenesis => "read the state of genesis",
            O::ReadClusterStatus => "read the state of the cluster",
            O::StartJob => "start a job",
            O::ReadJob => "look at a job",
            O::EndJob => "end a job",
            O::Reach => "ask what is reached from there",
            O::ReadClock => "read the clock",
            O::ReadIdentity => "read who the node is",
            O::Destroy => "destroy the cluster",
            O::RestartGenesis => "restart genesis",
            O::SetTimezone => "set the time zone",
            O::LookForAccount => "look for an account",
            O::ChangePassword => "change a password",
        })
    }
}

/// A command that did not do what it should. The kind is the next link of the chain.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} over SSH at {address}:{port}")]
pub struct ShellError {
    /// What was asked.
    pub operation: ShellOperation,
    /// Whom.
    pub address: Ipv4Addr,
    /// On which port.
    pub port: u16,
    /// What went wrong.
    #[source]
    pub kind: Box<ShellErrorKind>,
}

/// The kinds of failure.
#[derive(Debug, thiserror::Error)]
pub enum ShellErrorKind {
    /// No login, or no end of the command: see [`SshError::may_have_run`].
    #[error(transparent)]
    Ssh(SshError),
    /// The command ran and failed.
    #[error("the command failed ({}): {said}", status.map_or("no exit status".to_owned(), |s| format!("exit status {s}")))]
    Failed {
        /// Exit status.
        status: Option<u32>,
        /// The end of what it said, without password hashes.
        said: String,
    },
    /// What was to be asked can't be put into a command. Nothing was sent.
    #[error("it can't be asked: {0}")]
    Unfit(&'static str),
    /// The command succeeded and said something that is not understood.
    #[error("an answer that is not understood: {said}")]
    NotUnderstood {
        /// The beginning of what it said, without password hashes.
        said: String,
        /// Why it could not be read, where that is known.
        #[source]
        cause: Option<Cause>,
    },
}

impl ShellError {
    /// Whether the world may have changed: the end of a command that changes it is not known, or it was ended from
    /// outside, as everything is when a machine restarts. Look before it is asked for again. Never true of a read.
    pub fn is_ambiguous(&self) -> bool {
        self.operation.changes_the_world()
            && match &*self.kind {
                ShellErrorKind::Ssh(error) => error.may_have_run(),
                ShellErrorKind::Failed { status, .. } => status.is_none(),
                ShellErrorKind::NotUnderstood { .. } | ShellErrorKind::Unfit(_) => false,
            }
    }

    /// Whether the same command may succeed later. An ambiguous one is not transient in this sense: look first.
    ///
    /// A command that failed counts as transient: a CVM that starts has neither genesis nor `ncli` ready, and says so
    /// in words that vary by release. The caller's deadline ends the attempts. A refused password never does: repeating
    /// it locks the account.
    pub fn is_transient(&self) -> bool {
        !self.is_ambiguous()
            && match &*self.kind {
                ShellErrorKind::Ssh(SshError::Denied | SshError::PinMismatch { .. }) => false,
                ShellErrorKind::Ssh(_) | ShellErrorKind::Failed { .. } => true,
                ShellErrorKind::NotUnderstood { .. } | ShellErrorKind::Unfit(_) => false,
            }
    }

    /// Whether user or password were refused.
    pub fn is_denied(&self) -> bool {
        matches!(&*self.kind, ShellErrorKind::Ssh(SshError::Denied))
    }

    /// The host key that was shown in place of the pinned one.
    pub fn other_key(&self) -> Option<Fingerprint> {
        match &*self.kind {
            ShellErrorKind::Ssh(SshError::PinMismatch { seen, .. }) => Some(*seen),
            _ => None,
        }
    }

    /// What a person may do about it.
    pub fn hint(&self) -> Option<&'static str> {
        if self.is_ambiguous() {
            return Some("look what has come of it before it is asked for again");
        }
        match &*self.kind {
            ShellErrorKind::Ssh(SshError::Denied) => {
                Some("check the user and its password file; repeated failures may lock the account")
            }
            ShellErrorKind::Ssh(SshError::PinMismatch { .. }) => Some(
                "a machine has a new host key after imaging; at any other time find out who answers at this address",
            ),
            ShellErrorKind::Ssh(SshError::NotSsh(_)) => Some("check that the port is that of SSH"),
            ShellErrorKind::Ssh(SshError::Refused | SshError::Unreachable(_) | SshError::ConnectTimeout(_)) => {
                Some("check the route, the security groups and that the machine is up")
            }
            ShellErrorKind::Ssh(_) => None,
            ShellErrorKind::Failed { status: Some(127), .. } => {
                Some("the program is not where it was looked for: see the paths in the configuration")
            }
            ShellErrorKind::Failed { .. } | ShellErrorKind::NotUnderstood { .. } | ShellErrorKind::Unfit(_) => None,
        }
    }
}
