//! What a boot attempt is bound to, by round: the key of each round's session, the greatest counter of its requests, and
//! how many documents the boot token alone has fetched. Kept apart from the node's record, which the loop alone writes:
//! these are decided the moment a machine asks, and once for all replicas.
//!
//! After a crash: a session stands together with the evidence of it, or not at all; a counter that was raised stays so,
//! and the machine asks again under the next one.

use crate::{
    Store,
    error::{Doing, Result, from_text, to_text},
};
use metalform_model::{AuditEntry, Evidence, SessionKey};
use uuid::Uuid;

/// The session of a boot attempt: that of the last round which has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredSession {
    /// Bound to this key.
    pub key: SessionKey,
    /// In this round.
    pub round: u32,
    /// Begun over TLS.
    pub over_tls: bool,
}

/// What became of a key that asked to be a session's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// The session is bound to it now, and evidence and audit line appended.
    New,
    /// It is the session's already: nothing changed.
    Same,
    /// The round has another key, or this one was an earlier session's: nothing changed.
    Refused,
}

/// What became of a request's counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// It is greater than all before it, and remembered.
    New,
    /// It isn't: nothing changed.
    Stale {
        /// The greatest so far.
        last: u64,
    },
}

type Row = (i64, String, bool);

fn session_of((round, key, over_tls): Row) -> Result<StoredSession> {
    let key = from_text("boot session", &format!("{key:?}"))?;
    Ok(StoredSession { key, round: u32::try_from(round).unwrap_or(u32::MAX), over_tls })
}

const NEWEST: &str = "SELECT round, session_key, over_tls FROM boot_rounds WHERE attempt_id = $1 AND session_key IS NOT NULL \
                      ORDER BY round DESC LIMIT 1";

impl Store {
    /// The session of a boot attempt, if it has one.
    pub async fn boot_session(&self, attempt: Uuid) -> Result<Option<StoredSession>> {
        let row: Option<Row> = sqlx::query_as(NEWEST)
            .bind(attempt.to_string())
            .fetch_optional(&self.reader)
            .await
            .doing("read a boot session")?;
        row.map(session_of).transpose()
    }

    /// Binds the attempt that `evidence` is of to a session's key in its round, unless that round, or a later one, is bound to
    /// another. Durable, with the evidence and the line of the audit, when this returns.
    pub async fn bind_boot_session(
        &self,
        evidence: &Evidence,
        session: StoredSession,
        line: &AuditEntry,
    ) -> Result<Binding> {
        let doing = "bind a boot session";
        let StoredSession { key, round, over_tls } = session;
        let (attempt, text) = (evidence.attempt_id.to_string(), key.to_string());
        let mut tx = self.begin(doing).await?;
        let newest: Option<Row> = sqlx::query_as(NEWEST).bind(&attempt).fetch_optional(&mut *tx).await.doing(doing)?;
        if let Some(bound) = newest.map(session_of).transpose()? {
            if bound.key == key {
                return Ok(Binding::Same);
            }
            if bound.round >= round {
                return Ok(Binding::Refused);
            }
        }
        let earlier: Option<(i64,)> =
            sqlx::query_as("SELECT round FROM boot_rounds WHERE attempt_id = $1 AND session_key = $2")
                .bind(&attempt)
                .bind(&text)
                .fetch_optional(&mut *tx)
                .await
                .doing(doing)?;
        // A machine makes a new key at each start: this is a recording of an earlier exchange.
        if earlier.is_some() {
            return Ok(Binding::Refused);
        }
        sqlx::query(
            "INSERT INTO boot_rounds (attempt_id, round, session_key, over_tls) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (attempt_id, round) DO UPDATE \
             SET session_key = excluded.session_key, over_tls = excluded.over_tls, counter = 0",
        )
        .bind(&attempt)
        .bind(i64::from(round))
        .bind(&text)
        .bind(over_tls)
        .execute(&mut *tx)
        .await
        .doing(doing)?;
        sqlx::query("INSERT INTO evidence (cluster_id, at, document) VALUES ($1, $2, $3)")
            .bind(evidence.cluster_id.to_string())
            .bind(evidence.at.0)
            .bind(to_text("evidence", evidence)?)
            .execute(&mut *tx)
            .await
            .doing(doing)?;
        self.commit_deed(tx, doing, line).await?;
        Ok(Binding::New)
    }

    /// Remembers the counter of a request of that session, if it is greater than all before it. Durable when this returns.
    pub async fn count_boot_request(&self, attempt: Uuid, key: SessionKey, counter: u64) -> Result<Counted> {
        let doing = "count a request of a boot session";
        let counted = sqlx::query(
            "UPDATE boot_rounds SET counter = $1 WHERE attempt_id = $2 AND session_key = $3 AND counter < $1",
        )
        .bind(i64::try_from(counter).unwrap_or(i64::MAX))
        .bind(attempt.to_string())
        .bind(key.to_string())
        .execute(&self.writer)
        .await
        .doing(doing)?;
        if counted.rows_affected() > 0 {
            return Ok(Counted::New);
        }
        let last: Option<(i64,)> =
            sqlx::query_as("SELECT counter FROM boot_rounds WHERE attempt_id = $1 AND session_key = $2")
                .bind(attempt.to_string())
                .bind(key.to_string())
                .fetch_optional(&self.writer)
                .await
                .doing(doing)?;
        let last = last.map_or(0, |(last,)| u64::try_from(last).unwrap_or(0));
        Ok(Counted::Stale { last })
    }

    /// Counts a document that the boot token alone fetches in a round; `false`, and nothing counted, once there were
    /// `most`. Durable when this returns.
    pub async fn count_boot_document(&self, attempt: Uuid, round: u32, most: u32) -> Result<bool> {
        let counted = sqlx::query(
            "INSERT INTO boot_rounds (attempt_id, round, documents) VALUES ($1, $2, 1) \
             ON CONFLICT (attempt_id, round) DO UPDATE SET documents = boot_rounds.documents + 1 \
             WHERE boot_rounds.documents < $3",
        )
        .bind(attempt.to_string())
        .bind(i64::from(round))
        .bind(i64::from(most))
        .execute(&self.writer)
        .await
        .doing("count a document of a boot attempt")?;
        Ok(counted.rows_affected() > 0)
    }
}
