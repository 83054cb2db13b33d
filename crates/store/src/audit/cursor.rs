//! How far the audit was sent to somewhere else.

use crate::{
    Store,
    error::{Doing, Result},
};

impl Store {
    /// The last line that was sent to there; 0 for the first time.
    pub async fn audit_cursor(&self, receiver: &str) -> Result<i64> {
        let row: Option<(String,)> = sqlx::query_as("SELECT value FROM meta WHERE name = $1")
            .bind(name_of(receiver))
            .fetch_optional(&self.reader)
            .await
            .doing("read how far the audit was sent")?;
        // Nobody but this file writes it; if it is unreadable, sending all again loses nothing.
        Ok(row.and_then(|(value,)| value.parse().ok()).unwrap_or(0))
    }

    /// Keeps that the lines up to this one were sent to there.
    pub async fn set_audit_cursor(&self, receiver: &str, seq: i64) -> Result<()> {
        sqlx::query(
            "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )
        .bind(name_of(receiver))
        .bind(seq.to_string())
        .execute(&self.writer)
        .await
        .doing("keep how far the audit was sent")?;
        Ok(())
    }
}

fn name_of(receiver: &str) -> String {
    format!("audit cursor {receiver}")
}
