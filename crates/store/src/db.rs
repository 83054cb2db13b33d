//! Opening the store. One writer connection (so that SQLite's single writer is a queue and not an error), a few readers.

use crate::error::{Doing, Result, StoreError};
use sqlx::{
    Connection, SqlitePool, Transaction,
    sqlite::{Sqlite, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use std::{
    fs::{DirBuilder, File, TryLockError},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
    sync::Arc,
    time::Duration,
};
use tokio::sync::watch;
use uuid::Uuid;

/// Who holds leases. Persistent with the data folder, so that a restart resumes its own leases at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner(pub String);

/// The durable state. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) writer: SqlitePool,
    pub(crate) reader: SqlitePool,
    pub(crate) owner: Owner,
    /// The newest audit line that this process committed.
    pub(crate) audited: Arc<watch::Sender<i64>>,
    /// Held as long as the store is open.
    _held: Held,
}

/// What keeps the database ours.
#[derive(Debug, Clone)]
enum Held {
    /// No second process works on the same folder.
    Folder { _lock: Arc<File> },
    /// A database in memory is gone with its last connection, and the pool gives one up when a write is abandoned half
    /// way: this one is never used, so it stays.
    Memory { _anchor: SqlitePool },
}

/// No statement waits longer than this for the database.
const PATIENCE: Duration = Duration::from_secs(5);

/// The lock of the folder is asked for so often, with a pause in between: a program that was just started by the process before us
/// has a copy of its lock until it runs.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(25);

/// When the disk is full, SQLite ends the transaction by itself; sqlx doesn't notice and refuses to begin another on that
/// connection, for ever. Such a connection is replaced.
fn pool_of(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(PATIENCE)
        .before_acquire(|connection, _| Box::pin(async move { Ok(!connection.is_in_transaction()) }))
}

impl Store {
    /// Opens the store in a folder, making both if needed. Fails after a moment if another process has it.
    pub async fn open(folder: &Path) -> Result<Store> {
        let shown = folder.display().to_string();
        // Nobody else's business: the state names addresses, servers and who did what. What SQLite makes beside its file
        // has that file's mode.
        let private = |name| File::options().create(true).append(true).mode(0o600).open(folder.join(name));
        let lock = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .and_then(|()| private("metalform.db"))
            .and_then(|_| private("lock"))
            .map_err(|source| StoreError::Folder { folder: shown.clone(), source })?;
        for again in (0..LOCK_TRIES).rev() {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if again > 0 => tokio::time::sleep(LOCK_PAUSE).await,
                Err(TryLockError::WouldBlock) => return Err(StoreError::InUse { folder: shown }),
                Err(TryLockError::Error(source)) => return Err(StoreError::Folder { folder: shown, source }),
            }
        }
        let options = SqliteConnectOptions::new()
            .filename(folder.join("metalform.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(PATIENCE);
        // What is deleted or sealed anew is overwritten: a key that leaked must not open what is left in unused pages.
        let writer = pool_of(1).connect_with(options.clone().pragma("secure_delete", "ON")).await.doing("open")?;
        sqlx::migrate!("migrations/sqlite").run(&writer).await?;
        let reader = pool_of(4).connect_with(options.read_only(true)).await.doing("open for reading")?;
        Store::resume(writer, reader, Held::Folder { _lock: Arc::new(lock) }).await
    }

    /// A store that lives as long as the value: for tests and simulations.
    pub async fn in_memory() -> Result<Store> {
        // This spelling gives a database with a name of its own, which both connections share.
        let options: SqliteConnectOptions = "sqlite::memory:".parse().doing("open in memory")?;
        let options = options.foreign_keys(true);
        let one = || pool_of(1).idle_timeout(None).max_lifetime(None);
        let anchor = one().connect_with(options.clone()).await.doing("open in memory")?;
        let pool = one().connect_with(options).await.doing("open in memory")?;
        sqlx::migrate!("migrations/sqlite").run(&pool).await?;
        Store::resume(pool.clone(), pool, Held::Memory { _anchor: anchor }).await
    }

    /// Finds the owner's name and raises the fence of every lease it left behind, so that nothing the process before
    /// still has under way can be written. Every living cluster is due: a pass may have heard what was asked, and died.
    async fn resume(writer: SqlitePool, reader: SqlitePool, held: Held) -> Result<Store> {
        let doing = "resume its leases";
        let mut tx = writer.begin_with("BEGIN IMMEDIATE").await.doing(doing)?;
        let fresh = Uuid::new_v4().to_string();
        sqlx::query("INSERT INTO meta (name, value) VALUES ('owner', $1) ON CONFLICT (name) DO NOTHING")
            .bind(&fresh)
            .execute(&mut *tx)
            .await
            .doing(doing)?;
        let (owner,): (String,) =
            sqlx::query_as("SELECT value FROM meta WHERE name = 'owner'").fetch_one(&mut *tx).await.doing(doing)?;
        sqlx::query("UPDATE clusters SET fence = fence + 1 WHERE owner = $1")
            .bind(&owner)
            .execute(&mut *tx)
            .await
            .doing(doing)?;
        sqlx::query("UPDATE clusters SET next_at = 0 WHERE living = 1").execute(&mut *tx).await.doing(doing)?;
        tx.commit().await.doing(doing)?;
        Ok(Store { writer, reader, owner: Owner(owner), audited: Arc::new(watch::Sender::new(0)), _held: held })
    }

    /// A write transaction. Always immediate: one that reads first and writes later would fail with "busy" at once.
    pub(crate) async fn begin(&self, doing: &'static str) -> Result<Transaction<'static, Sqlite>> {
        self.writer.begin_with("BEGIN IMMEDIATE").await.doing(doing)
    }

    /// Whether the database answers.
    pub async fn check(&self) -> Result<()> {
        sqlx::query("SELECT 1").execute(&self.reader).await.doing("answer")?;
        Ok(())
    }

    /// Closes every connection. The folder may be opened again afterwards.
    pub async fn close(self) {
        self.writer.close().await;
        self.reader.close().await;
    }
}

#[cfg(test)]
mod tests;
