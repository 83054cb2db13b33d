//! What the service does for its audit beside writing it: it signs how far it has come, tells when it isn't what was signed,
//! and sends it elsewhere.

mod message;
mod syslog;

pub(crate) use syslog::Syslog;
pub use syslog::{BadSyslogTarget, SyslogTarget};

use metalform_model::{AuditEntry, Clock, audit_action};
use metalform_store::{AuditHeads, HeadsFound, Store, StoreError};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// Between two heads. So much of the newest lines could be cut off unnoticed after a crash.
const BETWEEN_HEADS: Duration = Duration::from_secs(1);

/// A line by the service itself.
pub(crate) fn own_line(clock: &dyn Clock, action: &str, target: &str, outcome: &str) -> AuditEntry {
    AuditEntry {
        at: clock.now(),
        who: "service".into(),
        action: action.into(),
        target: target.into(),
        source: "service".into(),
        outcome: outcome.into(),
    }
}

/// Says aloud, and records, that the audit isn't what its heads say. The service goes on: whoever can edit the audit must not
/// be able to stop it by that, and what happens from now on is recorded all the same.
pub(crate) async fn tell(found: &HeadsFound, store: &Store, clock: &dyn Clock) -> Result<(), StoreError> {
    let target = match found {
        HeadsFound::None | HeadsFound::Whole => return Ok(()),
        HeadsFound::SetBack { signed, ends_at } => {
            format!("line {} was signed, the audit ends at {ends_at}", signed.seq)
        }
        HeadsFound::FileCut { seq } => format!("audit.heads lacks the head of line {seq}"),
        HeadsFound::Gone => "there are lines, and no head of any".to_owned(),
        HeadsFound::OtherKey { key_id } => format!("the newest head is of the key {key_id}"),
    };
    let hint = "`metalform audit verify` says what is wrong, and what to do about it";
    tracing::error!(code = found.code(), hint, "the audit isn't what was signed: {target}");
    let outcome = format!("failed:{}", found.code());
    store.add_audit(&own_line(clock, audit_action::AUDIT_CHECKED, &target, &outcome)).await
}

/// Signs while lines come, until it is told to stop. The last lines are signed by whoever stops the service.
pub(crate) async fn sign(heads: Arc<AuditHeads>, store: Store, clock: Arc<dyn Clock>, stop: CancellationToken) {
    let mut grown = store.audited();
    // What a crash left unsigned is signed now.
    grown.mark_changed();
    let mut fails = false;
    loop {
        tokio::select! {
            changed = grown.changed() => if changed.is_err() { return },
            () = stop.cancelled() => return,
        }
        match heads.sign(clock.now()).await {
            Ok(_) if fails => {
                fails = false;
                tracing::info!("the audit is signed again");
            }
            Ok(_) => {}
            Err(error) => {
                if !fails {
                    tracing::error!(%error, source = ?std::error::Error::source(&error), hint = error.hint(),
                        "the audit can't be signed; its lines are written");
                }
                fails = true;
                grown.mark_changed();
            }
        }
        tokio::select! {
            () = tokio::time::sleep(BETWEEN_HEADS) => {}
            () = stop.cancelled() => return,
        }
    }
}
