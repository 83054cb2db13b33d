//! The accounts that a fresh cluster is born with, each with a password that the whole world knows, and how far each has
//! got to one of its own.
//!
//! A new password is written down (sealed) before it is used anywhere; `changing` is recorded before the call that sets it
//! and `changed` only after it was seen to work. So after a crash between the two both may be in force, and whoever comes
//! next tries the new one first.

use crate::Timestamp;
use serde::{Deserialize, Serialize};

/// A password of a cluster: one for each of these, the same on all its nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Account {
    /// Prism's `admin`; also of the user `admin` on the CVMs, where there is one.
    PrismAdmin,
    /// The user `nutanix` on every CVM.
    CvmNutanix,
    /// `root` on every AHV host.
    AhvRoot,
    /// `admin` on every AHV host that has one.
    AhvAdmin,
    /// `nutanix` on every AHV host that has one.
    AhvNutanix,
}

impl Account {
    /// All of them.
    pub const ALL: [Account; 5] =
        [Account::PrismAdmin, Account::CvmNutanix, Account::AhvRoot, Account::AhvAdmin, Account::AhvNutanix];

    /// The word on the wire and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Account::PrismAdmin => "prism_admin",
            Account::CvmNutanix => "cvm_nutanix",
            Account::AhvRoot => "ahv_root",
            Account::AhvAdmin => "ahv_admin",
            Account::AhvNutanix => "ahv_nutanix",
        }
    }

    /// The user name.
    pub fn user(self) -> &'static str {
        match self {
            Account::PrismAdmin | Account::AhvAdmin => "admin",
            Account::CvmNutanix | Account::AhvNutanix => "nutanix",
            Account::AhvRoot => "root",
        }
    }

    /// Where it logs in, in words.
    pub fn place(self) -> &'static str {
        match self {
            Account::PrismAdmin => "Prism, and the CVMs' user admin",
            Account::CvmNutanix => "every CVM",
            Account::AhvRoot | Account::AhvAdmin | Account::AhvNutanix => "every AHV host",
        }
    }

    /// The account of that word.
    pub fn parse(word: &str) -> Option<Account> {
        Account::ALL.into_iter().find(|account| account.as_str() == word)
    }
}

/// What is known of an account's password at one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountState {
    /// Still the one that it was born with.
    Default,
    /// About to be changed: after a crash nobody knows whether it was.
    Changing,
    /// The change was taken, and the new one isn't seen to work yet.
    Set,
    /// Ours, and seen to work.
    Changed,
    /// There is no such account there, or no way to log in to it.
    Absent,
}

impl AccountState {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            AccountState::Default => "default",
            AccountState::Changing => "changing",
            AccountState::Set => "set",
            AccountState::Changed => "changed",
            AccountState::Absent => "absent",
        }
    }
}

/// One account at one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountRecord {
    /// Which.
    pub account: Account,
    /// On which node; `None`: the cluster's own.
    pub server_id: Option<String>,
    /// How far it is.
    pub state: AccountState,
    /// How often a password was refused there in a row. Two, and no more are tried: lock-outs are real.
    #[serde(default)]
    pub refusals: u32,
    /// When it was last changed, refused, or seen to work.
    pub at: Timestamp,
    /// What went wrong last.
    #[serde(default)]
    pub error: Option<String>,
    /// Whether the account is locked: nothing is shown to it then.
    #[serde(default)]
    pub is_locked: bool,
}
