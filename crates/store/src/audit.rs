//! The audit: who did what, from where, and how it ended. Append-only; each line carries the hash of the one before, and
//! signed heads say how far it had come.

mod check;
mod cursor;
mod export;
mod filter;
mod head;
mod head_file;
mod heads;
mod line;
mod reader;

pub use check::{AuditCheck, AuditFault, AuditReport};
pub use export::{AUDIT_EXPORT_VERSION, AuditExport, check_audit_export};
pub use filter::AuditFilter;
pub use head::{AuditHead, AuditKey, AuditPublicKey, BadPublicKey};
pub use heads::{AuditHeadError, AuditHeads, HeadsFound};
pub use line::{AuditLine, first_broken_audit_line};
pub use reader::AuditReader;

use crate::{
    Store,
    error::{Doing, Result},
};
use filter::page_of;
use line::{AuditRow, COLUMNS, line_hash};
use metalform_model::{AuditEntry, Timestamp};
use sqlx::{Sqlite, Transaction};
use std::net::Ipv4Addr;
use tokio::sync::watch;

impl Store {
    /// Appends a line. Durable when this returns.
    pub async fn add_audit(&self, entry: &AuditEntry) -> Result<()> {
        let doing = "record an audit line";
        let tx = self.begin(doing).await?;
        self.commit_deed(tx, doing, entry).await
    }

    /// Appends a line together with what it is about. Whoever commits tells: [`Store::tell_audited`].
    pub(crate) async fn append_audit(&self, tx: &mut Transaction<'static, Sqlite>, entry: &AuditEntry) -> Result<i64> {
        let doing = "record an audit line";
        let last: Option<(i64, String)> = sqlx::query_as("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1")
            .fetch_optional(&mut **tx)
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
        .execute(&mut **tx)
        .await
        .doing(doing)?;
        Ok(seq)
    }

    /// Ends a transaction with the line of what was done in it: both are durable when this returns, or neither. Whoever is cut
    /// off before learns nothing of it, and leaves nothing of the one without the other.
    pub(crate) async fn commit_deed(
        &self,
        mut tx: Transaction<'static, Sqlite>,
        doing: &'static str,
        line: &AuditEntry,
    ) -> Result<()> {
        let seq = self.append_audit(&mut tx, line).await?;
        tx.commit().await.doing(doing)?;
        self.tell_audited(seq);
        Ok(())
    }

    /// Wakes whoever waits for new lines.
    pub(crate) fn tell_audited(&self, seq: i64) {
        self.audited.send_modify(|newest| *newest = seq.max(*newest));
    }

    /// Changes with each line that is committed from now on.
    pub fn audited(&self) -> watch::Receiver<i64> {
        self.audited.subscribe()
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
        let sql = format!(
            "SELECT {COLUMNS} FROM audit \
             WHERE action LIKE 'boot.%' AND outcome LIKE 'refused:%' AND at >= $1 \
             AND (target = $2 OR substr(target, 1, length($2) + 1) = $2 || '/' OR ($3 <> '' AND (target = $3 OR source = $3))) \
             ORDER BY seq DESC LIMIT $4"
        );
        let mut rows: Vec<AuditRow> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
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
        self.audit_lines(&AuditFilter { after, limit, ..AuditFilter::default() }).await
    }

    /// The lines that the filter takes, oldest first.
    pub async fn audit_lines(&self, filter: &AuditFilter) -> Result<Vec<AuditLine>> {
        page_of(&self.reader, filter).await
    }
}
