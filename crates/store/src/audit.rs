//! The audit: who did what, from where, and how it ended. Append-only; each line carries the hash of the one before.

use crate::{
    Store,
    error::{Doing, Result},
};
use metalform_model::{AuditEntry, Timestamp};
use serde::Serialize;
use sha2::{Digest, Sha256};
use sqlx::FromRow;
use std::net::Ipv4Addr;

/// One stored line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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

#[derive(FromRow)]
struct AuditRow {
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
    fn line(self) -> AuditLine {
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
        let entry = AuditEntry {
            at: self.at,
            who: self.who.clone(),
            action: self.action.clone(),
            target: self.target.clone(),
            source: self.source.clone(),
            outcome: self.outcome.clone(),
        };
        self.seq == seq && self.prev_hash == prev && self.hash == line_hash(prev, seq, &entry)
    }
}

/// The first line that was changed, or that stands where another was taken out. Lines cut off at the end leave no trace
/// here: who fears that keeps the last hash elsewhere. `before` is the line before the first of these, if there is one.
pub fn first_broken_audit_line<'a>(before: Option<&'a AuditLine>, lines: &'a [AuditLine]) -> Option<&'a AuditLine> {
    let mut before = before;
    lines.iter().find(|line| !line.follows(before.replace(line)))
}

/// Each field is preceded by its length, so that no two different lines give the same bytes.
fn line_hash(prev: &str, seq: i64, e: &AuditEntry) -> String {
    let mut digest = Sha256::new();
    let (seq, at) = (seq.to_string(), e.at.0.to_string());
    for field in [prev, &seq, &at, &e.who, &e.action, &e.target, &e.source, &e.outcome] {
        digest.update((field.len() as u64).to_be_bytes());
        digest.update(field.as_bytes());
    }
    hex::encode(digest.finalize())
}

impl Store {
    /// Appends a line. Durable when this returns.
    pub async fn add_audit(&self, entry: &AuditEntry) -> Result<()> {
        let doing = "record an audit line";
        let mut tx = self.begin(doing).await?;
        let last: Option<(i64, String)> = sqlx::query_as("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1")
            .fetch_optional(&mut *tx)
            .await
            .doing(doing)?;
        let (seq, prev) = last.map_or((1, String::new()), |(seq, hash)| (seq + 1, hash));
        sqlx::query(
            "INSERT INTO audit (seq, at, who, action, target, source, outcome, prev_hash, hash) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(seq)
        .bind(entry.at.0)
        .bind(&entry.who)
        .bind(&entry.action)
        .bind(&entry.target)
        .bind(&entry.source)
        .bind(&entry.outcome)
        .bind(&prev)
        .bind(line_hash(&prev, seq, entry))
        .execute(&mut *tx)
        .await
        .doing(doing)?;
        tx.commit().await.doing(doing)
    }

    /// The newest requests to the boot plane about a node, or from its address, that were refused since then; oldest first.
    pub async fn refused_boot_requests(
        &self,
        server_id: &str,
        mgmt_ip: Option<Ipv4Addr>,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<AuditLine>> {
        let address = mgmt_ip.map(|ip| ip.to_string()).unwrap_or_default();
        let mut rows: Vec<AuditRow> = sqlx::query_as(
            "SELECT seq, at, who, action, target, source, outcome, prev_hash, hash FROM audit \
             WHERE action LIKE 'boot.%' AND outcome LIKE 'refused:%' AND at >= $1 \
             AND (target = $2 OR substr(target, 1, length($2) + 1) = $2 || '/' OR ($3 <> '' AND (target = $3 OR source = $3))) \
             ORDER BY seq DESC LIMIT $4",
        )
        .bind(since.0)
        .bind(server_id)
        .bind(address)
        .bind(i64::from(limit))
        .fetch_all(&self.reader)
        .await
        .doing("read the refused boot requests")?;
        rows.reverse();
        Ok(rows.into_iter().map(AuditRow::line).collect())
    }

    /// The lines after `seq`, oldest first.
    pub async fn audit(&self, after: i64, limit: u32) -> Result<Vec<AuditLine>> {
        let rows: Vec<AuditRow> = sqlx::query_as(
            "SELECT seq, at, who, action, target, source, outcome, prev_hash, hash FROM audit WHERE seq > $1 \
             ORDER BY seq LIMIT $2",
        )
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(&self.reader)
        .await
        .doing("read the audit")?;
        Ok(rows.into_iter().map(AuditRow::line).collect())
    }
}
