//! The ledger: everything a client has made, and when it was gone. A run that leaves an entry without `deleted_at` has
//! leaked something that costs money.

use super::Cloud;
use metalform_model::Timestamp;
use serde::Serialize;

/// Something a client made, directly or with something else.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LedgerEntry {
    /// `bare_metal_server`, `virtual_network_interface`, `reserved_ip` or `dns_record`.
    pub kind: &'static str,
    /// Its name, the latest.
    pub name: String,
    /// Its id.
    pub id: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was gone: the first moment it answered 404.
    pub deleted_at: Option<Timestamp>,
}

impl Cloud {
    /// Everything clients have made so far, in order.
    pub fn ledger(&self) -> Vec<LedgerEntry> {
        self.ledger.clone()
    }

    pub(super) fn record_made(&mut self, kind: &'static str, name: &str, id: &str, now: Timestamp) {
        let entry = LedgerEntry { kind, name: name.into(), id: id.into(), created_at: now, deleted_at: None };
        self.ledger.push(entry);
    }

    pub(super) fn record_renamed(&mut self, id: &str, name: &str) {
        if let Some(entry) = self.ledger.iter_mut().rev().find(|entry| entry.id == id) {
            entry.name = name.into();
        }
    }

    pub(super) fn record_gone(&mut self, id: &str, at: Timestamp) {
        if let Some(entry) = self.ledger.iter_mut().rev().find(|entry| entry.id == id) {
            entry.deleted_at = Some(at);
        }
    }
}
