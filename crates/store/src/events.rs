//! The timeline. Sequence numbers are allotted under the cluster's row, so they have no gaps and no duplicates.

use crate::{
    Store,
    error::{Doing, Result, from_text, to_text},
};
use metalform_model::{Event, NewEvent, Timestamp};
use sqlx::{FromRow, Sqlite, Transaction};
use uuid::Uuid;

#[derive(FromRow)]
struct EventRow {
    seq: i64,
    at: i64,
    cluster: String,
    server_id: Option<String>,
    kind: String,
    phase: Option<String>,
    message: String,
    data: String,
}

impl Store {
    pub(crate) async fn append_events(
        &self,
        tx: &mut Transaction<'static, Sqlite>,
        cluster_id: Uuid,
        events: &[NewEvent],
    ) -> Result<()> {
        let doing = "add to the timeline";
        if events.is_empty() {
            return Ok(());
        }
        let (last,): (i64,) =
            sqlx::query_as("UPDATE clusters SET event_seq = event_seq + $1 WHERE id = $2 RETURNING event_seq")
                .bind(events.len() as i64)
                .bind(cluster_id.to_string())
                .fetch_one(&mut **tx)
                .await
                .doing(doing)?;
        let first = last - events.len() as i64 + 1;
        for (i, event) in events.iter().enumerate() {
            sqlx::query(
                "INSERT INTO events (cluster_id, seq, at, server_id, kind, phase, message, data) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            )
            .bind(cluster_id.to_string())
            .bind(first + i as i64)
            .bind(event.at.0)
            .bind(&event.server_id)
            .bind(event.kind)
            .bind(event.phase)
            .bind(&event.message)
            .bind(to_text("event", &event.data)?)
            .execute(&mut **tx)
            .await
            .doing(doing)?;
        }
        Ok(())
    }

    /// The timeline after `after`, oldest first, at most `limit` events.
    pub async fn events(&self, cluster_id: Uuid, after: i64, limit: u32) -> Result<Vec<Event>> {
        let rows: Vec<EventRow> = sqlx::query_as(
            "SELECT e.seq, e.at, c.name AS cluster, e.server_id, e.kind, e.phase, e.message, e.data FROM events e \
             JOIN clusters c ON c.id = e.cluster_id WHERE e.cluster_id = $1 AND e.seq > $2 ORDER BY e.seq LIMIT $3",
        )
        .bind(cluster_id.to_string())
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(&self.reader)
        .await
        .doing("read the timeline")?;
        rows.into_iter()
            .map(|row| {
                Ok(Event {
                    seq: row.seq,
                    at: Timestamp(row.at),
                    cluster: row.cluster,
                    server_id: row.server_id,
                    kind: row.kind,
                    phase: row.phase,
                    message: row.message,
                    data: from_text("event", &row.data)?,
                })
            })
            .collect()
    }
}
