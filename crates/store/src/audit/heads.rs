//! Signs how far the audit has come. A line is committed first, then a head that names it goes to the file, then to the
//! table: so after a crash the lines are ahead of the file and the file is ahead of the table, never the other way round,
//! and what is the other way round was tampered with.
//!
//! Rejected: a head for each line, which would be another wait for the disk in every request; lines younger than the newest
//! head can be cut off unnoticed, a second of them while the service runs.

use super::{
    check::UNSIGNED,
    head::{AuditHead, AuditKey, AuditPublicKey},
    head_file::{self, HeadFile, HeadLines},
};
use crate::{
    Store, StoreError,
    error::{Doing, Result},
};
use metalform_model::Timestamp;
use sqlx::FromRow;
use std::{path::Path, path::PathBuf, sync::Arc, time::Duration};
use thiserror::Error;
use tokio::sync::{Mutex, watch};

/// A head that can't be read or written.
#[derive(Debug, Error)]
pub enum AuditHeadError {
    /// The file fails.
    #[error("could not {doing} {}", path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The store fails.
    #[error("the audit's newest line could not be read")]
    Store(#[from] StoreError),
}

impl AuditHeadError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            AuditHeadError::File { .. } => {
                "check the space on the disk, and the owner and mode of the data folder and of the file"
            }
            AuditHeadError::Store(error) => error.hint(),
        }
    }

    /// Whether the same call may work later.
    pub fn is_transient(&self) -> bool {
        match self {
            AuditHeadError::File { .. } => true,
            AuditHeadError::Store(error) => error.is_transient(),
        }
    }
}

/// How the signed heads stand to the database that was found with them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeadsFound {
    /// There are none yet.
    None,
    /// The newest is in the database.
    Whole,
    /// The database doesn't hold the line that was signed last: it was cut off, written anew, or an older copy was put back.
    SetBack {
        /// What was signed.
        signed: AuditHead,
        /// Where the database ends.
        ends_at: i64,
    },
    /// The database tells of a head that the file lacks.
    FileCut {
        /// That head's line.
        seq: i64,
    },
    /// There are none, and lines of more than a moment.
    Gone,
    /// Another key signed the newest.
    OtherKey {
        /// That key's id.
        key_id: String,
    },
}

impl HeadsFound {
    /// A stable word: `ok`, or what is wrong.
    pub fn code(&self) -> &'static str {
        match self {
            HeadsFound::None | HeadsFound::Whole => "ok",
            HeadsFound::SetBack { .. } => "audit_set_back",
            HeadsFound::FileCut { .. } => "audit_heads_cut",
            HeadsFound::Gone => "audit_heads_gone",
            HeadsFound::OtherKey { .. } => "audit_key_changed",
        }
    }
}

/// Signs heads for a store. Cheap to share.
#[derive(Debug)]
pub struct AuditHeads {
    store: Store,
    key: AuditKey,
    written: Arc<Mutex<Written>>,
    newest: watch::Sender<Option<AuditHead>>,
}

#[derive(Debug)]
struct Written {
    file: HeadFile,
    last: Option<AuditHead>,
}

impl AuditHeads {
    /// Goes on with the heads of that data folder, whatever is wrong with them; also says what.
    pub async fn open(
        store: Store,
        folder: &Path,
        key: AuditKey,
    ) -> std::result::Result<(AuditHeads, HeadsFound), AuditHeadError> {
        let HeadLines { heads, whole, .. } = head_file::read(folder)?;
        let in_table = store.newest_audit_head().await?;
        let found = found(&store, &key.public(), heads.last(), in_table.as_ref()).await?;
        let file = HeadFile::open(folder, whole)?;
        // A file that was put aside is begun anew, and says by its first head what came before.
        let last = heads.last().cloned().or(in_table);
        let newest = watch::Sender::new(last.clone());
        Ok((AuditHeads { store, key, written: Arc::new(Mutex::new(Written { file, last })), newest }, found))
    }

    /// The newest head, and each that is signed from now on.
    pub fn newest(&self) -> watch::Receiver<Option<AuditHead>> {
        self.newest.subscribe()
    }

    /// What its heads are checked with.
    pub fn public_key(&self) -> AuditPublicKey {
        self.key.public()
    }

    /// Signs the newest line, unless that is done. On the disk when this returns. `None`: there are no lines.
    pub async fn sign(&self, now: Timestamp) -> std::result::Result<Option<AuditHead>, AuditHeadError> {
        let written = Arc::clone(&self.written);
        let mut written = written.lock_owned().await;
        let Some((seq, hash)) = self.store.newest_audit_line().await? else { return Ok(None) };
        if let Some(last) = written.last.as_ref().filter(|last| last.seq == seq && last.hash == hash) {
            return Ok(Some(last.clone()));
        }
        let prev = written.last.as_ref().map_or_else(String::new, |last| last.signature.clone());
        let head = self.key.sign(seq, hash, now, prev);
        let to_write = head.clone();
        // Goes on to its end when the caller gives up: what is half written then is nobody's to go on from.
        let done = tokio::task::spawn_blocking(move || {
            let done = written.file.add(&to_write);
            if done.is_ok() {
                written.last = Some(to_write);
            }
            done
        });
        match done.await {
            Ok(done) => done?,
            Err(stopped) => {
                let path = head_file::HEADS_FILE.into();
                return Err(AuditHeadError::File { doing: "write", path, source: std::io::Error::other(stopped) });
            }
        }
        // The file has it: that the table lacks it after a crash is the order of things.
        self.newest.send_replace(Some(head.clone()));
        self.store.add_audit_head(&head).await?;
        Ok(Some(head))
    }
}

async fn found(
    store: &Store,
    key: &AuditPublicKey,
    in_file: Option<&AuditHead>,
    in_table: Option<&AuditHead>,
) -> std::result::Result<HeadsFound, AuditHeadError> {
    let Some(signed) = in_file else {
        return Ok(match in_table {
            Some(head) => HeadsFound::FileCut { seq: head.seq },
            None if store.audit_span().await? > UNSIGNED => HeadsFound::Gone,
            None => HeadsFound::None,
        });
    };
    if store.audit_hash_at(signed.seq).await?.as_ref() != Some(&signed.hash) {
        let ends_at = store.newest_audit_line().await?.map_or(0, |(seq, _)| seq);
        return Ok(HeadsFound::SetBack { signed: signed.clone(), ends_at });
    }
    if let Some(beyond) = in_table.filter(|head| head.seq > signed.seq) {
        return Ok(HeadsFound::FileCut { seq: beyond.seq });
    }
    if signed.key_id != key.id() {
        return Ok(HeadsFound::OtherKey { key_id: signed.key_id.clone() });
    }
    Ok(HeadsFound::Whole)
}

#[derive(FromRow)]
pub(super) struct HeadRow {
    seq: i64,
    hash: String,
    at: i64,
    prev: String,
    key_id: String,
    signature: String,
}

impl HeadRow {
    pub(super) fn head(self) -> AuditHead {
        let HeadRow { seq, hash, at, prev, key_id, signature } = self;
        AuditHead { seq, hash, at: Timestamp(at), prev, key_id, signature }
    }
}

impl Store {
    /// The number and hash of the newest line.
    pub async fn newest_audit_line(&self) -> Result<Option<(i64, String)>> {
        sqlx::query_as("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1")
            .fetch_optional(&self.reader)
            .await
            .doing("read the newest audit line")
    }

    /// From the first line to the last.
    async fn audit_span(&self) -> Result<Duration> {
        let row: (i64,) = sqlx::query_as("SELECT COALESCE(CAST(MAX(at) - MIN(at) AS INTEGER), 0) FROM audit")
            .fetch_one(&self.reader)
            .await
            .doing("read how long the audit is")?;
        Ok(Duration::from_micros(u64::try_from(row.0).unwrap_or_default()))
    }

    async fn audit_hash_at(&self, seq: i64) -> Result<Option<String>> {
        let row: Option<(String,)> = sqlx::query_as("SELECT hash FROM audit WHERE seq = $1")
            .bind(seq)
            .fetch_optional(&self.reader)
            .await
            .doing("read an audit line")?;
        Ok(row.map(|(hash,)| hash))
    }

    /// The newest head in the table.
    async fn newest_audit_head(&self) -> Result<Option<AuditHead>> {
        let row: Option<HeadRow> =
            sqlx::query_as("SELECT seq, hash, at, prev, key_id, signature FROM audit_heads ORDER BY seq DESC LIMIT 1")
                .fetch_optional(&self.reader)
                .await
                .doing("read the newest audit head")?;
        Ok(row.map(HeadRow::head))
    }

    /// One that is there already stays as it is: it would be evidence.
    async fn add_audit_head(&self, head: &AuditHead) -> Result<()> {
        sqlx::query(
            "INSERT INTO audit_heads (seq, hash, at, prev, key_id, signature) VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (seq) DO NOTHING",
        )
        .bind(head.seq)
        .bind(&head.hash)
        .bind(head.at.0)
        .bind(&head.prev)
        .bind(&head.key_id)
        .bind(&head.signature)
        .execute(&self.writer)
        .await
        .doing("write an audit head")?;
        Ok(())
    }
}
