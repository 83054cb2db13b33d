//! A secret that can't be made or used.

use super::KeySource;
use metalform_store::{NamedSealError, ResealError, StoreError};
use std::{io::ErrorKind, path::PathBuf, process::ExitStatus, time::Duration};
use thiserror::Error;

/// Why a secret can't be made or used. Nothing was changed, unless the variant says so.
#[derive(Debug, Error)]
pub enum SecretError {
    /// It can't be read or written.
    #[error("can't use the secret file {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another process changes secrets.
    #[error("another process changes the secrets of {}", data_dir.display())]
    Changing {
        /// The folder.
        data_dir: PathBuf,
    },
    /// Others may read it.
    #[error("the secret file {} may be read by others (mode {mode:o})", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It doesn't hold what it should.
    #[error("the secret file {} doesn't hold {what}", path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// The audit's two keys don't belong together.
    #[error("{} isn't the public key of audit.key", path.display())]
    OtherPublicKey {
        /// The public one's file.
        path: PathBuf,
    },
    /// The environment doesn't have the key.
    #[error("the secret key should be in the environment's {name}, which isn't set")]
    NoVariable {
        /// The variable.
        name: String,
    },
    /// The service wasn't started by systemd, or without credentials.
    #[error("the secret key should be systemd's credential {name}, and $CREDENTIALS_DIRECTORY isn't set")]
    NoCredentials {
        /// The credential.
        name: String,
    },
    /// The command gave no key.
    #[error("the command {program} gave no secret key")]
    Command {
        /// What was started.
        program: String,
        /// What became of it.
        source: CommandFault,
    },
    /// What is there is no key.
    #[error("{from} doesn't give a secret key: 64 hex digits")]
    NoKey {
        /// Where it should come from.
        from: KeySource,
    },
    /// The data folder's own key is gone.
    #[error("{} is gone, and {} was sealed with it", path.display(), data_dir.display())]
    KeyLost {
        /// Where it should be.
        path: PathBuf,
        /// The data folder.
        data_dir: PathBuf,
    },
    /// It is a key, and another one.
    #[error("the secret key from {from} isn't the one that {} was sealed with", data_dir.display())]
    OtherKey {
        /// Where it came from.
        from: KeySource,
        /// The data folder.
        data_dir: PathBuf,
    },
    /// A new key that is the old one.
    #[error("{new} and {old} give the same secret key")]
    SameKey {
        /// Where the new one should come from.
        new: KeySource,
        /// Where the old one came from.
        old: KeySource,
    },
    /// Somebody would give up what can be opened.
    #[error("the secret key isn't lost: {} opens with the one from {from}, or isn't sealed at all", data_dir.display())]
    NotLost {
        /// Where it comes from.
        from: KeySource,
        /// The data folder.
        data_dir: PathBuf,
    },
    /// The key isn't in a file, so it isn't ours to write.
    #[error("the secret key comes from {from}, and only a file can be written anew")]
    NotOurs {
        /// Where it comes from.
        from: KeySource,
    },
    /// Whoever runs the command isn't who runs the service.
    #[error("{} belongs to the user {owner}, and this runs as {us}", data_dir.display())]
    Owner {
        /// The data folder.
        data_dir: PathBuf,
        /// Its owner's id.
        owner: u32,
        /// This process's.
        us: u32,
    },
    /// A sealed file.
    #[error("a sealed file can't be used")]
    Sealed(#[from] NamedSealError),
    /// The cloud's key was never set.
    #[error("no {name} is stored in {}", data_dir.display())]
    NotSet {
        /// Which.
        name: &'static str,
        /// The data folder.
        data_dir: PathBuf,
    },
    /// What should be stored can't be.
    #[error("what was given is no {name}: {why}")]
    Given {
        /// Which.
        name: &'static str,
        /// Why.
        why: &'static str,
    },
    /// Kept boot tokens that aren't what they should be.
    #[error("boot tokens that were kept from an earlier key can't be read")]
    KeptTokens,
    /// The database fails.
    #[error("the database can't be looked at for the secret key")]
    Store(#[from] StoreError),
    /// Something sealed can't be sealed anew.
    #[error("not everything can be sealed under the new key")]
    Reseal(#[from] ResealError),
}

impl SecretError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            SecretError::File { .. } => "check the owner and mode of the data folder and of the file".into(),
            SecretError::Changing { .. } => "wait for it: `metalform secret rotate`, or another `secret set`".into(),
            SecretError::Open { path, .. } => format!("chmod 600 {}", path.display()),
            SecretError::Content { .. } => "restore it from a backup".into(),
            SecretError::OtherPublicKey { .. } => {
                "restore audit.key from a backup; if it is lost, rename audit.pub (what was signed until now is checked with \
                 it) and start again: there is a new pair then"
                    .into()
            }
            SecretError::NoVariable { .. } => "set it for the service, or let `[secrets] key` name another place".into(),
            SecretError::NoCredentials { name } => format!(
                "write LoadCredentialEncrypted={name} into the unit, and start it by systemd: docs/secrets.md"
            ),
            SecretError::Command { source, .. } => source.hint().into(),
            SecretError::NoKey { .. } => {
                "`openssl rand -hex 32` makes a key; put it there and nothing else, without quotes".into()
            }
            SecretError::KeyLost { .. } => {
                "restore it from a backup of the same data folder; no new one is made, since nothing sealed could be opened \
                 with it. If it is lost for good: `metalform secret rotate --lost`, after docs/secrets.md"
                    .into()
            }
            SecretError::OtherKey { .. } => {
                "restore the key that belongs to this data folder; if it was changed on purpose, run \
                 `metalform secret rotate --old SOURCE` with where the old one is"
                    .into()
            }
            SecretError::SameKey { .. } => "put a new key where `[secrets] key` says, and name the old one with --old".into(),
            SecretError::NotLost { .. } => "`metalform secret rotate` without --lost changes it, and loses nothing".into(),
            SecretError::NotOurs { .. } => {
                "put a new key there, keep the old one, and run `metalform secret rotate --old SOURCE` with where that is".into()
            }
            SecretError::Owner { owner, .. } => format!(
                "run it as that user, or the service can't read what it writes: runuser -u \"$(id -un {owner})\" -- metalform …"
            ),
            SecretError::Sealed(error) => error.hint().into(),
            SecretError::NotSet { name, .. } => {
                format!("`metalform secret set {name}` reads it from standard input")
            }
            SecretError::Given { name, .. } => format!("metalform secret set {name} < FILE"),
            SecretError::KeptTokens => "restore metalform.db and the secret key from the same backup".into(),
            SecretError::Store(error) => error.hint().into(),
            SecretError::Reseal(error) => error.hint().into(),
        }
    }

    /// Whether the same call may work later.
    pub fn is_transient(&self) -> bool {
        match self {
            SecretError::Command { source, .. } => source.is_transient(),
            SecretError::Sealed(error) => error.is_transient(),
            SecretError::Store(error) => error.is_transient(),
            SecretError::Reseal(error) => error.is_transient(),
            _ => false,
        }
    }

    /// Whether it is only that a file isn't there.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, SecretError::File { source, .. } if source.kind() == ErrorKind::NotFound)
    }
}

/// What became of a command that should have given a key. What it wrote to standard output is never told.
#[derive(Debug, Error)]
pub enum CommandFault {
    /// It can't be started, or listened to.
    #[error("it can't be run")]
    Run(#[source] std::io::Error),
    /// It failed by its own word.
    #[error("it ended with {status}{}", said(last_words))]
    Failed {
        /// How it ended.
        status: ExitStatus,
        /// The last line of its standard error; may be empty.
        last_words: String,
    },
    /// It went on for too long, and was killed.
    #[error("it didn't end within {} s and was killed{}", limit.as_secs(), said(last_words))]
    TooSlow {
        /// How long it had.
        limit: Duration,
        /// The last line of its standard error; may be empty.
        last_words: String,
    },
    /// It said more than a key.
    #[error("it wrote more than {limit} bytes to standard output, and was killed")]
    TooLong {
        /// How much it may.
        limit: u64,
    },
}

impl CommandFault {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            CommandFault::Run(_) => {
                "write the program's whole path after `command:`, then its arguments, separated by blanks; no shell reads them"
            }
            CommandFault::Failed { .. } | CommandFault::TooSlow { .. } => {
                "run it by hand as the service's user, with the service's environment"
            }
            CommandFault::TooLong { .. } => "let it write the key and nothing else: 64 hex digits",
        }
    }

    /// Whether the same call may work later.
    pub fn is_transient(&self) -> bool {
        matches!(self, CommandFault::Failed { .. } | CommandFault::TooSlow { .. })
    }
}

fn said(last_words: &str) -> String {
    if last_words.is_empty() { String::new() } else { format!(", saying: {last_words}") }
}
