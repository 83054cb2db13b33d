//! The ways to form a cluster, over the clients of a controller VM, and the passwords of its accounts.

mod accounts;
mod checks_after;
mod checks_before;
mod cvm_ssh;
mod foundation;
mod prism;

pub(crate) use accounts::{ClusterAccounts, RandomPasswords};
pub(crate) use cvm_ssh::CvmSshFormation;
pub(crate) use foundation::FoundationFormation;
pub(crate) use prism::PrismFormation;

use metalform_nutanix::{Fingerprint, PinRule};

/// The key remembered for a place; before its first answer any is taken.
fn pin_rule(pin: Option<&str>) -> PinRule {
    match pin.and_then(|pin| pin.parse().ok()) {
        Some(pin) => PinRule::OneOf(vec![pin]),
        None => PinRule::TrustFirst,
    }
}

/// The keys remembered for the TLS of all members: the cluster's own address shows one of them.
fn any_members_pin(members: &[metalform_orchestrator::Member]) -> PinRule {
    let pins: Vec<Fingerprint> = members.iter().filter_map(|m| m.pin.as_deref()?.parse().ok()).collect();
    PinRule::OneOf(pins)
}

/// A line of a report.
fn check(name: impl Into<String>, ok: bool, seen: impl Into<String>) -> metalform_model::Check {
    metalform_model::Check { name: name.into(), ok, seen: seen.into(), refused: false }
}

/// A line about a call that failed.
fn failed_check(name: impl Into<String>, error: &metalform_nutanix::Error) -> metalform_model::Check {
    let seen = metalform_model::with_causes(error);
    metalform_model::Check { name: name.into(), ok: false, seen, refused: is_refusal(error) }
}

/// Whether a password was refused.
fn is_refusal(error: &metalform_nutanix::Error) -> bool {
    use metalform_nutanix::ErrorKind;
    matches!(&*error.kind, ErrorKind::Unauthorized | ErrorKind::LockedOut)
}
