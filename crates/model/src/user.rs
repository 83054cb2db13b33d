//! A person who logs in with a password.

use crate::{ApiRole, ApiToken, Scope, Timestamp};
use serde::{Deserialize, Serialize};

/// A user, without the password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// What they log in as; no two have the same.
    pub name: String,
    /// What they may do.
    pub role: ApiRole,
    /// Of which clusters.
    #[serde(default)]
    pub clusters: Scope,
    /// When they were made.
    pub created_at: Timestamp,
    /// By whom, as the audit calls them.
    pub created_by: String,
    /// Since when they have their present password.
    pub password_set_at: Timestamp,
    /// When they last logged in.
    #[serde(default)]
    pub last_login_at: Option<Timestamp>,
}

impl User {
    /// How they are called in the audit.
    pub fn who(&self) -> String {
        format!("user:{}", self.name)
    }

    /// Whether a user may be called that: the rule of a token's name, and for the same reasons.
    pub fn is_name(text: &str) -> bool {
        ApiToken::is_name(text)
    }
}
