//! One line of the audit and its place in the chain.

use metalform_model::{AuditEntry, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sqlx::FromRow;

/// One stored line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditLine {
    /// Without gaps, from 1.
    pub seq: i64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub who: String,
    /// What was tried.
    pub action: String,
    /// On what.
    pub target: String,
    /// From which address.
    pub source: String,
    /// How it ended.
    pub outcome: String,
    /// Hash of the line before; empty for the first.
    pub prev_hash: String,
    /// SHA-256 over the line before's hash and this line's fields.
    pub hash: String,
}

/// What is read of a line, in the order of [`AuditRow`].
pub(super) const COLUMNS: &str = "seq, at, who, action, target, source, outcome, prev_hash, hash";

#[derive(FromRow)]
pub(super) struct AuditRow {
    seq: i64,
    at: i64,
    who: String,
    action: String,
    target: String,
    source: String,
    outcome: String,
    prev_hash: String,
    hash: String,
}

impl AuditRow {
    pub(super) fn line(self) -> AuditLine {
        AuditLine {
            seq: self.seq,
            at: Timestamp(self.at),
            who: self.who,
            action: self.action,
            target: self.target,
            source: self.source,
            outcome: self.outcome,
            prev_hash: self.prev_hash,
            hash: self.hash,
        }
    }
}

impl AuditLine {
    /// Whether this line is as it was written, and follows `before` (`None`: it is the first of all).
    pub fn follows(&self, before: Option<&AuditLine>) -> bool {
        let (seq, prev) = before.map_or((1, ""), |line| (line.seq + 1, line.hash.as_str()));
        self.seq == seq && self.prev_hash == prev && self.is_as_written()
    }

    /// Whether its hash is that of its fields.
    pub fn is_as_written(&self) -> bool {
        let fields = [&self.who, &self.action, &self.target, &self.source, &self.outcome];
        self.hash == hash_of(&self.prev_hash, self.seq, self.at, fields.map(String::as_str))
    }
}

/// The first line that was changed, or that stands where another was taken out. Lines cut off at the end leave no trace
/// here, and neither does a chain written anew as a whole: signed heads show those. `before` is the line before the first
/// of these, if there is one.
pub fn first_broken_audit_line<'a>(before: Option<&'a AuditLine>, lines: &'a [AuditLine]) -> Option<&'a AuditLine> {
    let mut before = before;
    lines.iter().find(|line| !line.follows(before.replace(line)))
}

/// The hash of a line that is about to be written.
pub(super) fn line_hash(prev: &str, seq: i64, e: &AuditEntry) -> String {
    hash_of(prev, seq, e.at, [&e.who, &e.action, &e.target, &e.source, &e.outcome].map(String::as_str))
}

fn hash_of(prev: &str, seq: i64, at: Timestamp, [who, action, target, source, outcome]: [&str; 5]) -> String {
    let (seq, at) = (seq.to_string(), at.0.to_string());
    hex::encode(Sha256::digest(framed(&[prev, &seq, &at, who, action, target, source, outcome])))
}

/// Each field is preceded by its length, so that no two different lines give the same bytes.
pub(super) fn framed(fields: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(fields.iter().map(|field| field.len() + 8).sum());
    for field in fields {
        bytes.extend_from_slice(&(field.len() as u64).to_be_bytes());
        bytes.extend_from_slice(field.as_bytes());
    }
    bytes
}
