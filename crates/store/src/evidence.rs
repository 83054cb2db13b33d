//! Evidence on its way to the loop: appended by request handlers, taken in once.

use crate::{
    Store,
    error::{Doing, Result, from_text, to_text},
};
use metalform_model::Evidence;
use uuid::Uuid;

impl Store {
    /// Appends evidence. Durable when this returns.
    pub async fn add_evidence(&self, evidence: &Evidence) -> Result<()> {
        sqlx::query("INSERT INTO evidence (cluster_id, at, document) VALUES ($1, $2, $3)")
            .bind(evidence.cluster_id.to_string())
            .bind(evidence.at.0)
            .bind(to_text("evidence", evidence)?)
            .execute(&self.writer)
            .await
            .doing("record evidence")?;
        Ok(())
    }

    /// Evidence that no commit has taken in yet, oldest first, at most `limit` pieces.
    pub async fn unfolded_evidence(&self, cluster_id: Uuid, limit: u32) -> Result<Vec<(i64, Evidence)>> {
        let rows: Vec<(i64, String)> = sqlx::query_as(
            "SELECT id, document FROM evidence WHERE cluster_id = $1 AND folded = 0 ORDER BY id LIMIT $2",
        )
        .bind(cluster_id.to_string())
        .bind(i64::from(limit))
        .fetch_all(&self.reader)
        .await
        .doing("read evidence")?;
        rows.into_iter().map(|(id, text)| Ok((id, from_text("evidence", &text)?))).collect()
    }
}
