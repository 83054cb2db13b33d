//! Basic authentication with the lockout that fresh nodes are known for.

use super::Account;
use crate::http::Request;
use base64::Engine;

/// What is remembered about wrong passwords.
#[derive(Debug, Clone, Default)]
pub(super) struct Guard {
    wrong_in_a_row: u32,
    is_locked: bool,
}

/// Why a request is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Denied {
    /// No credentials: costs nothing.
    NoCredentials,
    /// Wrong ones: counted.
    Wrong,
    /// Right or wrong, the account is locked.
    Locked,
}

impl Denied {
    pub fn message(self) -> &'static str {
        match self {
            Denied::NoCredentials | Denied::Wrong => "Authentication required.",
            Denied::Locked => "Account Locked",
        }
    }
}

impl Guard {
    pub fn admit(&mut self, request: &Request, account: &Account, lockout_after: Option<u32>) -> Result<(), Denied> {
        let given = request.header("authorization").ok_or(Denied::NoCredentials)?;
        let basic = given.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"));
        let decoded = basic.and_then(|(_, text)| base64::engine::general_purpose::STANDARD.decode(text.trim()).ok());
        let right = format!("{}:{}", account.user, account.password);
        self.judge(decoded.as_deref() == Some(right.as_bytes()), lockout_after)
    }

    /// Counts an attempt. A right password does not open a locked account.
    pub fn judge(&mut self, is_right: bool, lockout_after: Option<u32>) -> Result<(), Denied> {
        if self.is_locked {
            return Err(Denied::Locked);
        }
        if is_right {
            self.wrong_in_a_row = 0;
            return Ok(());
        }
        self.wrong_in_a_row += 1;
        self.is_locked = lockout_after.is_some_and(|limit| self.wrong_in_a_row >= limit);
        Err(Denied::Wrong)
    }
}
