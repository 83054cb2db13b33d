//! Sessions in browsers: found by the hash of their cookie alone.

use crate::{
    PasswordHash, Store, TokenHash,
    error::{Doing, Result, from_text, to_text},
};
use metalform_model::{AuditEntry, SingleSignOn, Timestamp, WebSession};
use sqlx::FromRow;
use std::time::Duration;

#[derive(FromRow)]
struct SessionRow {
    id: String,
    who: String,
    name: String,
    user_name: Option<String>,
    role: String,
    clusters: String,
    created_at: i64,
    last_used_at: i64,
    ends_at: i64,
    subject: Option<String>,
    provider: Option<String>,
}

const COLUMNS: &str = "id, who, name, user_name, role, clusters, created_at, last_used_at, ends_at, subject, provider";

impl SessionRow {
    fn session(self) -> Result<WebSession> {
        Ok(WebSession {
            id: self.id,
            who: self.who,
            name: self.name,
            user: self.user_name,
            single_sign_on: self
                .subject
                .zip(self.provider)
                .map(|(subject, provider)| SingleSignOn { subject, provider }),
            role: from_text("role", &format!("{:?}", self.role))?,
            clusters: from_text("scope", &self.clusters)?,
            created_at: Timestamp(self.created_at),
            last_used_at: Timestamp(self.last_used_at),
            ends_at: Timestamp(self.ends_at),
        })
    }
}

impl Store {
    /// Begins a session, with the line of the login, unless it is of a user who is gone or hasn't that password any more: between the look at the
    /// password and this an admin may have changed it. Says whether it did. Of the same person's sessions the newest `keep`
    /// stay; everybody's that are over are swept out.
    pub async fn begin_web_session(
        &self,
        session: &WebSession,
        hash: &TokenHash,
        password: Option<&PasswordHash>,
        keep: u32,
        idle: Duration,
        line: &AuditEntry,
    ) -> Result<bool> {
        let doing = "begin a web session";
        let mut tx = self.begin(doing).await?;
        let now = session.created_at;
        if let Some(name) = &session.user {
            let done = sqlx::query("UPDATE users SET last_login_at = $2 WHERE name = $1 AND password = $3")
                .bind(name)
                .bind(now.0)
                .bind(password.map(|hash| &hash.0))
                .execute(&mut *tx)
                .await
                .doing(doing)?;
            if done.rows_affected() == 0 {
                return Ok(false);
            }
        }
        sqlx::query("DELETE FROM web_sessions WHERE ends_at <= $1 OR last_used_at <= $2")
            .bind(now.0)
            .bind((now - idle).0)
            .execute(&mut *tx)
            .await
            .doing(doing)?;
        let sql = format!(
            "INSERT INTO web_sessions (hash, {COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
        );
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(&hash.0)
            .bind(&session.id)
            .bind(&session.who)
            .bind(&session.name)
            .bind(&session.user)
            .bind(session.role.as_str())
            .bind(to_text("scope", &session.clusters)?)
            .bind(session.created_at.0)
            .bind(session.last_used_at.0)
            .bind(session.ends_at.0)
            .bind(session.single_sign_on.as_ref().map(|by| &by.subject))
            .bind(session.single_sign_on.as_ref().map(|by| &by.provider))
            .execute(&mut *tx)
            .await
            .doing(doing)?;
        // Of the same moment the one that was just begun stays.
        sqlx::query(
            "DELETE FROM web_sessions WHERE (who = $1 OR subject = $4) AND id <> $2 AND id NOT IN (SELECT id FROM \
             web_sessions WHERE (who = $1 OR subject = $4) AND id <> $2 ORDER BY created_at DESC, id LIMIT $3)",
        )
        .bind(&session.who)
        .bind(&session.id)
        .bind(i64::from(keep.saturating_sub(1)))
        // At the provider the same person may be called otherwise from one login to the next.
        .bind(session.single_sign_on.as_ref().map(|by| &by.subject))
        .execute(&mut *tx)
        .await
        .doing(doing)?;
        self.commit_deed(tx, doing, line).await?;
        Ok(true)
    }

    /// The session whose cookie has that hash, whatever it stands at.
    pub async fn web_session(&self, hash: &TokenHash) -> Result<Option<WebSession>> {
        let sql = format!("SELECT {COLUMNS} FROM web_sessions WHERE hash = $1");
        let row: Option<SessionRow> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(&hash.0)
            .fetch_optional(&self.reader)
            .await
            .doing("read a web session")?;
        row.map(SessionRow::session).transpose()
    }

    /// The same, by its id.
    pub async fn web_session_of_id(&self, id: &str) -> Result<Option<WebSession>> {
        let sql = format!("SELECT {COLUMNS} FROM web_sessions WHERE id = $1");
        let row: Option<SessionRow> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(id)
            .fetch_optional(&self.reader)
            .await
            .doing("read a web session")?;
        row.map(SessionRow::session).transpose()
    }

    /// Notes that a session was used. Never goes back.
    pub async fn use_web_session(&self, id: &str, at: Timestamp) -> Result<()> {
        sqlx::query("UPDATE web_sessions SET last_used_at = $2 WHERE id = $1 AND last_used_at <= $2")
            .bind(id)
            .bind(at.0)
            .execute(&self.writer)
            .await
            .doing("note the use of a web session")?;
        Ok(())
    }

    /// Ends a session whose person logged out, with the line of it. One that is over already has a line, too.
    pub async fn log_out(&self, id: &str, line: &AuditEntry) -> Result<()> {
        let doing = "end a web session";
        let mut tx = self.begin(doing).await?;
        sqlx::query("DELETE FROM web_sessions WHERE id = $1").bind(id).execute(&mut *tx).await.doing(doing)?;
        self.commit_deed(tx, doing, line).await
    }

    /// Ends a session that another takes the place of. One that is over already is no error.
    pub async fn end_web_session(&self, id: &str) -> Result<()> {
        sqlx::query("DELETE FROM web_sessions WHERE id = $1")
            .bind(id)
            .execute(&self.writer)
            .await
            .doing("end a web session")?;
        Ok(())
    }

    /// All of them, whatever they stand at: by whose they are, the oldest first.
    pub async fn web_sessions(&self) -> Result<Vec<WebSession>> {
        let sql = format!("SELECT {COLUMNS} FROM web_sessions {BY_PERSON}");
        let rows: Vec<SessionRow> =
            sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_all(&self.reader).await.doing("list the web sessions")?;
        rows.into_iter().map(SessionRow::session).collect()
    }

    /// Ends those of all sessions that `chosen` leaves, together with the lines that `lines` writes of them: all or nothing. No
    /// session begins meanwhile.
    pub async fn end_web_sessions(
        &self,
        chosen: impl FnOnce(Vec<WebSession>) -> Vec<WebSession>,
        lines: impl FnOnce(&[WebSession]) -> Vec<AuditEntry>,
    ) -> Result<Vec<WebSession>> {
        let doing = "end web sessions";
        let mut tx = self.begin(doing).await?;
        let sql = format!("SELECT {COLUMNS} FROM web_sessions {BY_PERSON}");
        let rows: Vec<SessionRow> = sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_all(&mut *tx).await.doing(doing)?;
        let all = rows.into_iter().map(SessionRow::session).collect::<Result<Vec<_>>>()?;
        let ended = chosen(all);
        for session in &ended {
            sqlx::query("DELETE FROM web_sessions WHERE id = $1")
                .bind(&session.id)
                .execute(&mut *tx)
                .await
                .doing(doing)?;
        }
        let mut newest = None;
        for line in lines(&ended) {
            newest = Some(self.append_audit(&mut tx, &line).await?);
        }
        tx.commit().await.doing(doing)?;
        if let Some(seq) = newest {
            self.tell_audited(seq);
        }
        Ok(ended)
    }
}

const BY_PERSON: &str = "ORDER BY who, created_at, id";
