//! People who log in with a password: what is known of them, and the hash that the password is known by.

use crate::{
    Store, StoreError,
    error::{Doing, Result, from_text, to_text},
};
use metalform_model::{AuditEntry, Timestamp, User};
use sqlx::FromRow;
use std::fmt;

/// A password's hash, as a PHC string. It can be tried offline, so it isn't shown either.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(pub String);

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(hidden)")
    }
}

#[derive(FromRow)]
struct UserRow {
    name: String,
    role: String,
    clusters: String,
    password: String,
    created_at: i64,
    created_by: String,
    password_set_at: i64,
    last_login_at: Option<i64>,
}

const COLUMNS: &str = "name, role, clusters, password, created_at, created_by, password_set_at, last_login_at";

impl UserRow {
    fn user(self) -> Result<(User, PasswordHash)> {
        let user = User {
            name: self.name,
            role: from_text("role", &format!("{:?}", self.role))?,
            clusters: from_text("scope", &self.clusters)?,
            created_at: Timestamp(self.created_at),
            created_by: self.created_by,
            password_set_at: Timestamp(self.password_set_at),
            last_login_at: self.last_login_at.map(Timestamp),
        };
        Ok((user, PasswordHash(self.password)))
    }
}

impl Store {
    /// Writes a new user down, with the line of it. [`StoreError::UserNameTaken`]: there is one of that name.
    pub async fn add_user(&self, user: &User, password: &PasswordHash, line: &AuditEntry) -> Result<()> {
        let doing = "write a user down";
        let sql = format!(
            "INSERT INTO users ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (name) DO NOTHING"
        );
        let mut tx = self.begin(doing).await?;
        let done = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(&user.name)
            .bind(user.role.as_str())
            .bind(to_text("scope", &user.clusters)?)
            .bind(&password.0)
            .bind(user.created_at.0)
            .bind(&user.created_by)
            .bind(user.password_set_at.0)
            .bind(user.last_login_at.map(|at| at.0))
            .execute(&mut *tx)
            .await
            .doing(doing)?;
        if done.rows_affected() == 0 {
            return Err(StoreError::UserNameTaken { name: user.name.clone() });
        }
        self.commit_deed(tx, doing, line).await
    }

    /// The user of that name, with the password's hash.
    pub async fn user(&self, name: &str) -> Result<Option<(User, PasswordHash)>> {
        let sql = format!("SELECT {COLUMNS} FROM users WHERE name = $1");
        let row: Option<UserRow> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(name)
            .fetch_optional(&self.reader)
            .await
            .doing("read a user")?;
        row.map(UserRow::user).transpose()
    }

    /// All of them, by name.
    pub async fn users(&self) -> Result<Vec<User>> {
        let sql = format!("SELECT {COLUMNS} FROM users ORDER BY name");
        let rows: Vec<UserRow> =
            sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_all(&self.reader).await.doing("list users")?;
        rows.into_iter().map(|row| row.user().map(|(user, _)| user)).collect()
    }

    /// Removes a user with all their sessions, with the line of it. Says whether there was one; without one there is no line.
    pub async fn remove_user(&self, name: &str, line: &AuditEntry) -> Result<bool> {
        let doing = "remove a user";
        let mut tx = self.begin(doing).await?;
        let done = sqlx::query("DELETE FROM users WHERE name = $1").bind(name).execute(&mut *tx).await.doing(doing)?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        self.commit_deed(tx, doing, line).await?;
        Ok(true)
    }

    /// Gives a user another password and ends all their sessions, with the line of it: all or nothing. Says whether there is
    /// such a user; with `only_if` also whether they have that password still.
    pub async fn set_password(
        &self,
        name: &str,
        password: &PasswordHash,
        only_if: Option<&PasswordHash>,
        at: Timestamp,
        line: &AuditEntry,
    ) -> Result<bool> {
        let doing = "change a password";
        let mut tx = self.begin(doing).await?;
        let done = sqlx::query(
            "UPDATE users SET password = $2, password_set_at = $3 WHERE name = $1 AND password = coalesce($4, password)",
        )
        .bind(name)
        .bind(&password.0)
        .bind(at.0)
        .bind(only_if.map(|hash| &hash.0))
        .execute(&mut *tx)
        .await
        .doing(doing)?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query("DELETE FROM web_sessions WHERE user_name = $1").bind(name).execute(&mut *tx).await.doing(doing)?;
        self.commit_deed(tx, doing, line).await?;
        Ok(true)
    }

    /// Writes the same password's hash anew, under other parameters. Nothing changes if the user has another password
    /// meanwhile; says so.
    pub async fn rehash_password(&self, name: &str, from: &PasswordHash, to: &PasswordHash) -> Result<bool> {
        let done = sqlx::query("UPDATE users SET password = $3 WHERE name = $1 AND password = $2")
            .bind(name)
            .bind(&from.0)
            .bind(&to.0)
            .execute(&self.writer)
            .await
            .doing("write a password's hash anew")?;
        Ok(done.rows_affected() > 0)
    }
}
