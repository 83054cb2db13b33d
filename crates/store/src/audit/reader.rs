//! The audit of a data folder, read only: beside a running service, or without one.

use super::{
    AuditFilter, AuditLine,
    check::{AuditCheck, AuditFault, AuditReport},
    head::{AuditHead, AuditPublicKey},
    head_file::{self, HeadLines},
    heads::{AuditHeadError, HeadRow},
    page_of,
};
use crate::{
    StoreError,
    error::{Doing, Result},
};
use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};
use std::path::{Path, PathBuf};

/// Lines that are read at a time.
const PAGE: u32 = 1000;

/// See the module.
#[derive(Debug)]
pub struct AuditReader {
    folder: PathBuf,
    pool: SqlitePool,
}

impl AuditReader {
    /// Opens the folder's database for reading. It must be there.
    pub async fn open(folder: &Path) -> Result<AuditReader> {
        let file = folder.join("metalform.db");
        // SQLite says no more than that it can't open it.
        std::fs::File::open(&file)
            .map_err(|source| StoreError::Folder { folder: folder.display().to_string(), source })?;
        let options = SqliteConnectOptions::new().filename(file).read_only(true);
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await.doing("open for reading")?;
        Ok(AuditReader { folder: folder.to_owned(), pool })
    }

    /// Lines that the filter takes, oldest first.
    pub async fn lines(&self, filter: &AuditFilter) -> Result<Vec<AuditLine>> {
        page_of(&self.pool, filter).await
    }

    /// Empty also in a database from before there were heads.
    async fn heads(&self) -> Result<Vec<AuditHead>> {
        let doing = "read the audit's heads";
        let table: Option<(i64,)> =
            sqlx::query_as("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'audit_heads'")
                .fetch_optional(&self.pool)
                .await
                .doing(doing)?;
        if table.is_none() {
            return Ok(Vec::new());
        }
        let rows: Vec<HeadRow> =
            sqlx::query_as("SELECT seq, hash, at, prev, key_id, signature FROM audit_heads ORDER BY seq")
                .fetch_all(&self.pool)
                .await
                .doing(doing)?;
        Ok(rows.into_iter().map(HeadRow::head).collect())
    }

    /// Checks everything: the chain, the heads of file and table, and `known` lines, number and hash. `seen` hears how many
    /// lines were looked at, now and then.
    pub async fn check(
        &self,
        keys: &[AuditPublicKey],
        known: &[(i64, String)],
        mut seen: impl FnMut(u64),
    ) -> std::result::Result<AuditReport, AuditHeadError> {
        let mut check = AuditCheck::new(keys, 0);
        for (seq, hash) in known {
            check.known(*seq, hash);
        }
        // In this order, since a running service writes in the other: a line, its head to the file, then to the table.
        let in_table = self.heads().await?;
        let HeadLines { heads, bad_line, .. } = head_file::read(&self.folder)?;
        if let Some(file_line) = bad_line {
            check.fault(AuditFault::Unreadable { file: "file audit.heads", file_line });
        }
        check.heads(&heads, &in_table);
        // From below the first number, too: what somebody put there is no line of ours.
        let (mut after, mut lines) = (i64::MIN, 0);
        loop {
            let page = self.lines(&AuditFilter { after, limit: PAGE, ..AuditFilter::default() }).await?;
            let Some(last) = page.last() else { return Ok(check.finish()) };
            after = last.seq;
            page.iter().for_each(|line| check.line(line));
            lines += page.len() as u64;
            seen(lines);
        }
    }
}
