//! API tokens: what is known of them, and the hash that they are known by. Their text is never here.

use crate::{
    Store, StoreError,
    error::{Doing, Result, from_text, to_text},
};
use metalform_model::{ApiToken, AuditEntry, Timestamp};
use sqlx::FromRow;

/// SHA-256 over the whole text of a token, as lower-case hex.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenHash(pub String);

#[derive(FromRow)]
struct TokenRow {
    id: String,
    name: String,
    role: String,
    clusters: String,
    hash: String,
    created_at: i64,
    created_by: String,
    expires_at: i64,
    last_used_at: Option<i64>,
    revoked_at: Option<i64>,
}

const COLUMNS: &str = "id, name, role, clusters, hash, created_at, created_by, expires_at, last_used_at, revoked_at";

impl TokenRow {
    fn token(self) -> Result<(ApiToken, TokenHash)> {
        let token = ApiToken {
            id: self.id,
            name: self.name,
            role: from_text("role", &format!("{:?}", self.role))?,
            clusters: from_text("scope", &self.clusters)?,
            created_at: Timestamp(self.created_at),
            created_by: self.created_by,
            expires_at: Timestamp(self.expires_at),
            last_used_at: self.last_used_at.map(Timestamp),
            revoked_at: self.revoked_at.map(Timestamp),
        };
        Ok((token, TokenHash(self.hash)))
    }
}

impl Store {
    /// Writes a new token down, with the line of it. [`StoreError::TokenNameTaken`]: one that isn't revoked has the name.
    pub async fn add_api_token(&self, token: &ApiToken, hash: &TokenHash, line: &AuditEntry) -> Result<()> {
        let doing = "write an API token down";
        let mut tx = self.begin(doing).await?;
        let taken: Option<(String,)> =
            sqlx::query_as("SELECT id FROM api_tokens WHERE name = $1 AND revoked_at IS NULL")
                .bind(&token.name)
                .fetch_optional(&mut *tx)
                .await
                .doing(doing)?;
        if taken.is_some() {
            return Err(StoreError::TokenNameTaken { name: token.name.clone() });
        }
        let sql = format!("INSERT INTO api_tokens ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)");
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(&token.id)
            .bind(&token.name)
            .bind(token.role.as_str())
            .bind(to_text("scope", &token.clusters)?)
            .bind(&hash.0)
            .bind(token.created_at.0)
            .bind(&token.created_by)
            .bind(token.expires_at.0)
            .bind(token.last_used_at.map(|at| at.0))
            .bind(token.revoked_at.map(|at| at.0))
            .execute(&mut *tx)
            .await
            .doing(doing)?;
        self.commit_deed(tx, doing, line).await
    }

    /// The token of that id with its hash, whatever it stands at.
    pub async fn api_token(&self, id: &str) -> Result<Option<(ApiToken, TokenHash)>> {
        let sql = format!("SELECT {COLUMNS} FROM api_tokens WHERE id = $1");
        let row: Option<TokenRow> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(id)
            .fetch_optional(&self.reader)
            .await
            .doing("find an API token")?;
        row.map(TokenRow::token).transpose()
    }

    /// Every token there ever was, oldest first.
    pub async fn api_tokens(&self) -> Result<Vec<ApiToken>> {
        let sql = format!("SELECT {COLUMNS} FROM api_tokens ORDER BY created_at, id");
        let rows: Vec<TokenRow> =
            sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_all(&self.reader).await.doing("list API tokens")?;
        rows.into_iter().map(|row| row.token().map(|(token, _)| token)).collect()
    }

    /// Lets a token open nothing any more, with the line of it. One that is revoked already stays revoked since when it was, and
    /// has a line of having been revoked again.
    pub async fn revoke_api_token(&self, id: &str, at: Timestamp, line: &AuditEntry) -> Result<()> {
        let doing = "revoke an API token";
        let mut tx = self.begin(doing).await?;
        sqlx::query("UPDATE api_tokens SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL")
            .bind(id)
            .bind(at.0)
            .execute(&mut *tx)
            .await
            .doing(doing)?;
        self.commit_deed(tx, doing, line).await
    }

    /// Notes that a token was let in. Never goes back.
    pub async fn use_api_token(&self, id: &str, at: Timestamp) -> Result<()> {
        sqlx::query("UPDATE api_tokens SET last_used_at = $2 WHERE id = $1 AND coalesce(last_used_at, $2) <= $2")
            .bind(id)
            .bind(at.0)
            .execute(&self.writer)
            .await
            .doing("note the use of an API token")?;
        Ok(())
    }
}
