//! What is remembered of who failed and who hurries: in memory alone.

use super::{
    ApiError, App,
    lockout::{Counted, Failure, Lockout, Source},
    record::Call,
};
use metalform_model::{Pace, Timestamp, TooFast, audit_action};
use std::{
    net::IpAddr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// See the module.
#[derive(Debug)]
pub(crate) struct Limits {
    sources: Mutex<Lockout<Source>>,
    /// By the name that was given, whether there is such a user or not.
    accounts: Mutex<Lockout<String>>,
    pace: Mutex<Pace>,
    logins: Mutex<Pace>,
    /// Whether the last login at the OpenID provider could not be begun.
    oidc_failed: AtomicBool,
}

/// Calls of one credential at once: far above what the command line and a page in a browser ask; it keeps a program in a
/// loop from taking the service's time from everybody else.
const CALLS_AT_ONCE: u32 = 1000;
/// And then one in so long: 100 a second.
const CALLS_APART: Duration = Duration::from_millis(10);
/// Logins at the OpenID provider that one source may begin at once …
const LOGINS_AT_ONCE: u32 = 20;
/// … and then one in so long. Each is remembered until it ends.
const LOGINS_APART: Duration = Duration::from_secs(3);

impl Default for Limits {
    fn default() -> Self {
        Limits {
            sources: Mutex::default(),
            accounts: Mutex::default(),
            pace: Mutex::new(Pace::new(CALLS_AT_ONCE, CALLS_APART)),
            logins: Mutex::new(Pace::new(LOGINS_AT_ONCE, LOGINS_APART)),
            oidc_failed: AtomicBool::new(false),
        }
    }
}

/// What is guarded is right after every step, so that a panic leaves it usable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who isn't listened to for a while.
#[derive(Debug, Clone, Copy)]
pub(super) struct LockedOut {
    /// From now on.
    pub wait: Duration,
    /// Whether this refusal is the first of this lock-out, and to be recorded.
    pub is_first: bool,
}

impl Limits {
    /// Takes a call in, or says when it would be taken.
    pub(super) fn take_call(&self, key: &str, now: Timestamp) -> Result<(), TooFast> {
        lock(&self.pace).take(key, now)
    }

    /// Takes the beginning of a login at the OpenID provider in, or says when it would be taken.
    pub(super) fn take_login(&self, from: IpAddr, now: Timestamp) -> Result<(), TooFast> {
        lock(&self.logins).take(&format!("{:?}", Source::of(from)), now)
    }

    /// A login at the OpenID provider could not be begun; whether it is the first of a row, and to be recorded.
    pub(super) fn oidc_fails(&self) -> bool {
        !self.oidc_failed.swap(true, Ordering::Relaxed)
    }

    /// One could.
    pub(super) fn oidc_works(&self) {
        self.oidc_failed.store(false, Ordering::Relaxed);
    }

    /// The credential that came from there was right: what was counted before it was looked at doesn't count.
    pub(super) fn take_source_back(&self, from: IpAddr, counted: Counted) {
        lock(&self.sources).take_back(&Source::of(from), counted);
    }

    /// The same of an account, whose password was not looked at.
    pub(super) fn take_account_back(&self, account: &str, counted: Counted) {
        lock(&self.accounts).take_back(&account.to_owned(), counted);
    }

    /// The account's password was right.
    pub(super) fn forgive_account(&self, account: &str, now: Timestamp) {
        lock(&self.accounts).forgive(&account.to_owned(), now);
    }
}

/// Counts a failure of the call's source; a failure that is to be recorded is `Ok`. What a lock-out left unrecorded is recorded
/// as a number.
pub(super) async fn count_source(app: &App, call: &Call) -> Result<Counted, LockedOut> {
    let failure = lock(&app.limits.sources).fail(Source::of(call.source()), app.clock.now());
    told(app, call, failure, audit_action::API_LOCKED_OUT, |n| format!("{n} more calls")).await
}

/// Counts a failure of an account, the same way.
pub(super) async fn count_account(app: &App, call: &Call, account: &str) -> Result<Counted, LockedOut> {
    let failure = lock(&app.limits.accounts).fail(account.to_owned(), app.clock.now());
    told(app, call, failure, audit_action::SESSION_LOCKED_OUT, |n| format!("{n} more logins as {account}")).await
}

async fn told(
    app: &App,
    call: &Call,
    failure: Failure,
    action: &str,
    more: impl Fn(u32) -> String,
) -> Result<Counted, LockedOut> {
    match failure {
        Failure::Refused { unrecorded, counted } => {
            if unrecorded > 0 {
                let line = call.beside(action, more(unrecorded));
                line.record(app, "anonymous", "refused:locked_out".into()).await;
            }
            Ok(counted)
        }
        Failure::LockedOut { wait, is_first } => Err(LockedOut { wait, is_first }),
    }
}

/// What a source that is locked out is told.
pub(super) fn source_locked_out(wait: Duration) -> ApiError {
    let message = "too many calls from this address came without a valid credential";
    let hint = "a valid token or session is let in at once; without one, wait as long as Retry-After says";
    ApiError::new(429, "locked_out", message, hint).retry_after(wait)
}

/// What is told where an account is locked out.
pub(super) fn account_locked_out(wait: Duration) -> ApiError {
    let message = "too many logins under this name failed";
    let hint = "wait as long as Retry-After says; a session that is open goes on, and so does every token";
    ApiError::new(429, "locked_out", message, hint).retry_after(wait)
}

/// What a credential in a hurry is told.
pub(super) fn too_fast(wait: Duration) -> ApiError {
    let message = "this credential makes too many calls";
    ApiError::new(429, "too_fast", message, "make at most 100 a second").retry_after(wait)
}

/// What a source is told that begins logins and doesn't end them.
pub(super) fn too_many_logins(wait: Duration) -> ApiError {
    let message = "too many logins were begun from this address";
    ApiError::new(429, "too_fast", message, "wait as long as Retry-After says").retry_after(wait)
}
