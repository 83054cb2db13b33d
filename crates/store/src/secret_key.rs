//! Which secret key the database is sealed under, and what changes it to another.
//!
//! The key's name stands in `meta`, and changes in the transaction that seals everything anew: so after a crash it says
//! which of two keys is the one. A database that was sealed before names were written down tells by its passwords.

use crate::{
    SealError, Sealed, Sealer, SecretKeyName, Store, StoreError,
    error::{Doing, Result, from_text},
};
use metalform_model::{Account, AuditEntry};
use sqlx::{
    Connection, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode},
};
use std::{io::ErrorKind, path::Path};
use thiserror::Error;
use uuid::Uuid;

const NAME: &str = "secret_key";

/// What a database says of the key that it is sealed under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SealedUnder {
    /// Nothing: it isn't there, or nothing was ever sealed.
    NoKey,
    /// It names the key.
    Named(SecretKeyName),
    /// It doesn't name it, and holds a password that does. [`Sealer::is_key_of`] tells.
    Password(Sealed),
}

/// What a change of the key takes.
#[derive(Debug)]
pub struct Reseal<'a> {
    /// What opens the passwords.
    pub from: &'a Sealer,
    /// What seals them.
    pub to: &'a Sealer,
    /// The new key.
    pub name: &'a SecretKeyName,
    /// Boot tokens that stay good, sealed under the new key. Those that were kept before and aren't here are forgotten.
    pub kept_boot_tokens: &'a [(Uuid, Vec<u8>)],
    /// The line of the audit.
    pub audit: &'a AuditEntry,
}

/// A database that can't be sealed anew. Nothing of it was changed. Permanent, unless its source isn't.
#[derive(Debug, Error)]
pub enum ResealError {
    /// A password doesn't open, or can't be sealed.
    #[error("a password of the cluster {cluster_id} can't be sealed anew")]
    Password {
        /// Of which deployment.
        cluster_id: String,
        /// Why.
        source: SealError,
    },
    /// The database fails.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ResealError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            ResealError::Password { source, .. } => source.hint(),
            ResealError::Store(source) => source.hint(),
        }
    }

    /// Whether the same call may work later.
    pub fn is_transient(&self) -> bool {
        match self {
            ResealError::Password { source, .. } => source.is_transient(),
            ResealError::Store(source) => source.is_transient(),
        }
    }
}

type PasswordRow = (String, String, Vec<u8>);

impl Store {
    /// What the database in that folder is sealed under. Changes nothing in it, brings no schema up to date, and works while
    /// another process has it open.
    pub async fn peek_secret_key(folder: &Path) -> Result<SealedUnder> {
        match open_to_read(folder).await? {
            None => Ok(SealedUnder::NoKey),
            Some(mut connection) => {
                let found = sealed_under(&mut connection).await;
                connection.close().await.doing("close")?;
                found
            }
        }
    }

    /// The same for the store that is open.
    pub async fn sealed_under(&self) -> Result<SealedUnder> {
        let mut connection = self.reader.acquire().await.doing("read which key it is sealed under")?;
        sealed_under(&mut connection).await
    }

    /// Writes down under which key it is sealed, the first time.
    pub async fn name_secret_key(&self, name: &SecretKeyName) -> Result<()> {
        sqlx::query("INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING")
            .bind(NAME)
            .bind(name.as_str())
            .execute(&self.writer)
            .await
            .doing("write down which key it is sealed under")?;
        Ok(())
    }

    /// Whether every password opens that is sealed under that key; says which doesn't.
    pub async fn check_passwords(&self, sealer: &Sealer) -> std::result::Result<(), ResealError> {
        let mut connection = self.reader.acquire().await.doing("read passwords")?;
        for row in passwords(&mut connection, sealer).await? {
            opened(sealer, &row)?;
        }
        Ok(())
    }

    /// Seals every password under another key, in one transaction with that key's name. Those that neither key opens, because
    /// theirs was lost before, stay as they are.
    pub async fn reseal(&self, change: Reseal<'_>) -> std::result::Result<(), ResealError> {
        let doing = "seal the passwords anew";
        let mut tx = self.begin(doing).await?;
        for row in passwords(&mut tx, change.from).await? {
            let (id, account, password) = opened(change.from, &row)?;
            let sealed = change.to.seal(id, account, &password);
            let sealed = sealed.map_err(|source| ResealError::Password { cluster_id: row.0.clone(), source })?;
            sqlx::query("UPDATE credentials SET sealed = $1 WHERE cluster_id = $2 AND account = $3")
                .bind(sealed.as_bytes())
                .bind(&row.0)
                .bind(&row.1)
                .execute(&mut *tx)
                .await
                .doing(doing)?;
        }
        sqlx::query("DELETE FROM kept_boot_tokens").execute(&mut *tx).await.doing(doing)?;
        for (attempt, sealed) in change.kept_boot_tokens {
            sqlx::query("INSERT INTO kept_boot_tokens (attempt_id, sealed) VALUES ($1, $2)")
                .bind(attempt.to_string())
                .bind(sealed)
                .execute(&mut *tx)
                .await
                .doing(doing)?;
        }
        sqlx::query(
            "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )
        .bind(NAME)
        .bind(change.name.as_str())
        .execute(&mut *tx)
        .await
        .doing(doing)?;
        Ok(self.commit_deed(tx, doing, change.audit).await?)
    }

    /// Empties the write-ahead log, in which pages lie as they were: after this nothing is left in the files that was sealed
    /// under the key before. Fails while somebody reads.
    pub async fn forget_overwritten(&self) -> Result<()> {
        let doing = "empty its write-ahead log";
        let (busy, ..): (i64, i64, i64) =
            sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&self.writer).await.doing(doing)?;
        match busy {
            0 => Ok(()),
            _ => Err(StoreError::Database { doing, source: sqlx::Error::PoolTimedOut }),
        }
    }

    /// Boot tokens that were given out under an earlier key, sealed: see [`kept_token_name`].
    pub async fn kept_boot_tokens(&self) -> Result<Vec<(Uuid, Vec<u8>)>> {
        let doing = "read kept boot tokens";
        let rows: Vec<(String, Vec<u8>)> = sqlx::query_as("SELECT attempt_id, sealed FROM kept_boot_tokens")
            .fetch_all(&self.reader)
            .await
            .doing(doing)?;
        let read = |(id, sealed): (String, Vec<u8>)| Ok((from_text("boot attempt", &format!("{id:?}"))?, sealed));
        rows.into_iter().map(read).collect()
    }
}

/// The name that the boot tokens of an attempt are sealed for by a [`crate::NamedSealer`].
pub fn kept_token_name(attempt: Uuid) -> String {
    format!("the boot tokens of attempt {attempt}")
}

/// `None`: there is no database, or an empty file. One that can't be seen is an error: nobody may take it for none.
pub(crate) async fn open_to_read(folder: &Path) -> Result<Option<SqliteConnection>> {
    let path = folder.join("metalform.db");
    match std::fs::metadata(&path) {
        Ok(file) if file.len() > 0 => {}
        Ok(_) => return Ok(None),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(StoreError::Folder { folder: folder.display().to_string(), source }),
    }
    let options = SqliteConnectOptions::new().filename(path).read_only(true).journal_mode(SqliteJournalMode::Wal);
    let connection = SqliteConnection::connect_with(&options).await.doing("open for reading")?;
    Ok(Some(connection))
}

async fn sealed_under(connection: &mut SqliteConnection) -> Result<SealedUnder> {
    let doing = "read which key it is sealed under";
    if has_table(connection, "meta").await? {
        let name: Option<(String,)> = sqlx::query_as("SELECT value FROM meta WHERE name = $1")
            .bind(NAME)
            .fetch_optional(&mut *connection)
            .await
            .doing(doing)?;
        if let Some((name,)) = name {
            return Ok(SealedUnder::Named(SecretKeyName::from_text(name)));
        }
    }
    if has_table(connection, "credentials").await? {
        let row: Option<(Vec<u8>,)> = sqlx::query_as("SELECT sealed FROM credentials ORDER BY created_at LIMIT 1")
            .fetch_optional(connection)
            .await
            .doing(doing)?;
        if let Some((sealed,)) = row {
            return Ok(SealedUnder::Password(Sealed::from_bytes(sealed)));
        }
    }
    Ok(SealedUnder::NoKey)
}

pub(crate) async fn has_table(connection: &mut SqliteConnection, name: &str) -> Result<bool> {
    let found: Option<(String,)> = sqlx::query_as("SELECT name FROM sqlite_master WHERE type = 'table' AND name = $1")
        .bind(name)
        .fetch_optional(connection)
        .await
        .doing("read its schema")?;
    Ok(found.is_some())
}

async fn passwords(connection: &mut SqliteConnection, sealer: &Sealer) -> Result<Vec<PasswordRow>> {
    let rows: Vec<PasswordRow> = sqlx::query_as("SELECT cluster_id, account, sealed FROM credentials")
        .fetch_all(connection)
        .await
        .doing("read passwords")?;
    Ok(rows.into_iter().filter(|row| sealer.is_key_of(&Sealed::from_bytes(row.2.clone()))).collect())
}

fn opened(
    sealer: &Sealer,
    (cluster_id, account, sealed): &PasswordRow,
) -> std::result::Result<(Uuid, Account, secrecy::SecretString), ResealError> {
    let id: Uuid = from_text("cluster id", &format!("{cluster_id:?}"))?;
    let account: Account = from_text("account", &format!("{account:?}"))?;
    let password = sealer.open(id, account, &Sealed::from_bytes(sealed.clone()));
    let password = password.map_err(|source| ResealError::Password { cluster_id: cluster_id.clone(), source })?;
    Ok((id, account, password))
}
