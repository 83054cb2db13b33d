//! A look at a database that changes nothing, whoever works on it meanwhile.

use crate::{
    Store,
    error::{Doing, Result},
    secret_key::{has_table, open_to_read},
};
use sqlx::Connection;
use std::{collections::BTreeMap, fs::File, fs::TryLockError, path::Path};

/// How the schema stands to this version's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schema {
    /// It is this version's.
    Current,
    /// So many steps behind: the next start makes them.
    Behind(usize),
    /// Another version made it, and this one doesn't open it.
    Foreign,
}

/// What a look showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// Whether a process works on the folder.
    pub in_use: bool,
    /// The schema; `None`: there is no database.
    pub schema: Option<Schema>,
    /// What SQLite finds wrong with the file, a line each.
    pub damage: Vec<String>,
}

impl Store {
    /// Looks at the database of that folder. `thorough` reads all of it, and compares the indices with their tables.
    pub async fn inspect(folder: &Path, thorough: bool) -> Result<Inspection> {
        let in_use = File::open(folder.join("lock"))
            .is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)));
        let Some(mut connection) = open_to_read(folder).await? else {
            return Ok(Inspection { in_use, schema: None, damage: Vec::new() });
        };
        let doing = "check itself";
        let pragma = if thorough { "PRAGMA integrity_check(10)" } else { "PRAGMA quick_check(10)" };
        let said: Vec<(String,)> = sqlx::query_as(pragma).fetch_all(&mut connection).await.doing(doing)?;
        let damage = said.into_iter().map(|(line,)| line).filter(|line| line != "ok").collect();
        let applied: BTreeMap<i64, Vec<u8>> = match has_table(&mut connection, "_sqlx_migrations").await? {
            false => BTreeMap::new(),
            true => sqlx::query_as("SELECT version, checksum FROM _sqlx_migrations WHERE success = 1")
                .fetch_all(&mut connection)
                .await
                .doing("read its schema")?
                .into_iter()
                .collect(),
        };
        connection.close().await.doing("close")?;
        Ok(Inspection { in_use, schema: Some(schema(&applied)), damage })
    }
}

fn schema(applied: &BTreeMap<i64, Vec<u8>>) -> Schema {
    let ours = sqlx::migrate!("migrations/sqlite");
    let known: BTreeMap<i64, &[u8]> = ours.iter().map(|step| (step.version, &*step.checksum)).collect();
    if applied.iter().any(|(version, checksum)| known.get(version) != Some(&checksum.as_slice())) {
        return Schema::Foreign;
    }
    match known.keys().filter(|version| !applied.contains_key(version)).count() {
        0 => Schema::Current,
        behind => Schema::Behind(behind),
    }
}
