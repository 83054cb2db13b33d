//! What can go wrong with the store.

use metalform_model::Account;
use thiserror::Error;

/// A store operation that failed. Nothing of it was written.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Another process works on the same folder.
    #[error("the data folder {folder} is in use by another process")]
    InUse {
        /// The folder.
        folder: String,
    },
    /// The folder can't be made or opened.
    #[error("can't use the data folder {folder}")]
    Folder {
        /// The folder.
        folder: String,
        /// Why.
        source: std::io::Error,
    },
    /// The database refused or failed.
    #[error("the database failed to {doing}")]
    Database {
        /// What was tried.
        doing: &'static str,
        /// Why.
        source: sqlx::Error,
    },
    /// The schema could not be brought up to date.
    #[error("the database's schema could not be brought up to date")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// A stored document can't be read by this version.
    #[error("a stored {what} can't be read by this version")]
    Document {
        /// Which.
        what: &'static str,
        /// Why.
        source: serde_json::Error,
    },
    /// Another owner has taken the cluster over: the work at hand is void.
    #[error("the lease on the cluster was taken over by another owner")]
    StaleFence,
    /// A living cluster has that name already.
    #[error("a living cluster is named {name} already")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// A living node of another cluster has that server id or management address already.
    #[error("{what} belongs to a living node already")]
    NodeTaken {
        /// Which id or address.
        what: String,
    },
    /// The account has a password that is written down, and may be in use: it isn't overwritten.
    #[error("a password of {} is written down already", account.as_str())]
    PasswordExists {
        /// Whose.
        account: Account,
    },
    /// A token that isn't revoked has that name.
    #[error("a token is named {name} already")]
    TokenNameTaken {
        /// The name.
        name: String,
    },
    /// There is a user of that name.
    #[error("a user is named {name} already")]
    UserNameTaken {
        /// The name.
        name: String,
    },
    /// No living cluster has that name.
    #[error("no cluster is named {name}")]
    NoCluster {
        /// The name.
        name: String,
    },
}

impl StoreError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            StoreError::InUse { .. } => "stop the other `metalform serve`, or give this one a data_dir of its own",
            StoreError::Folder { .. } => "make the folder, or let data_dir in metalform.toml name another",
            StoreError::Database { .. } => "check that the disk isn't full and the data folder is writable",
            StoreError::Migrate(_) | StoreError::Document { .. } => {
                "the data folder was written by another version of Metalform; use that version"
            }
            StoreError::StaleFence => "nothing to do: the other owner goes on",
            StoreError::NameTaken { .. } => "choose another name, or destroy the cluster first",
            StoreError::NodeTaken { .. } => "choose another server_id or mgmt_ip, or destroy the other cluster first",
            StoreError::PasswordExists { .. } => "nothing to do: the one that is written down stands",
            StoreError::TokenNameTaken { .. } => {
                "choose another name, or revoke that one first; `metalform token list`"
            }
            StoreError::UserNameTaken { .. } => {
                "choose another name, or give that user a new password: `metalform user password`"
            }
            StoreError::NoCluster { .. } => "`metalform status` lists the clusters",
        }
    }

    /// Whether the same call may work later.
    pub fn is_transient(&self) -> bool {
        matches!(self, StoreError::Database { .. })
    }
}

pub(crate) type Result<T> = std::result::Result<T, StoreError>;

/// Names what was tried when the database fails.
pub(crate) trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T>;
}

impl<T> Doing<T> for std::result::Result<T, sqlx::Error> {
    fn doing(self, doing: &'static str) -> Result<T> {
        self.map_err(|source| StoreError::Database { doing, source })
    }
}

pub(crate) fn to_text<T: serde::Serialize>(what: &'static str, value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|source| StoreError::Document { what, source })
}

pub(crate) fn from_text<T: serde::de::DeserializeOwned>(what: &'static str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|source| StoreError::Document { what, source })
}
