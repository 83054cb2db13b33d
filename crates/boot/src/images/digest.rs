//! SHA-256 of image files: computed once per file as it is, by one task however many ask, off the runtime's threads.

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    fs::{File, Metadata},
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

/// A file's identity: while it is the same, so are the bytes. The change time is in it because a copy may keep the time of
/// modification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    file: (u64, u64),
    changed: (i64, i64),
    pub content: ContentStamp,
}

/// What an open file shows when somebody writes to it. Leaves out the change time, which also moves when the file gets
/// another name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ContentStamp {
    len: u64,
    modified: (i64, i64),
}

impl Stamp {
    pub fn of(metadata: &Metadata) -> Self {
        Stamp {
            file: (metadata.dev(), metadata.ino()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            content: ContentStamp { len: metadata.len(), modified: (metadata.mtime(), metadata.mtime_nsec()) },
        }
    }
}

/// Lower-case hex, or why there is none.
type Outcome = Result<Arc<str>, Arc<io::Error>>;
type Pending = Shared<BoxFuture<'static, Outcome>>;

/// The digests known so far, by path.
#[derive(Default)]
pub(super) struct Digests(Mutex<HashMap<PathBuf, (Stamp, Pending)>>);

impl Digests {
    /// The digest of an open file. Goes on in the background when the caller stops waiting.
    pub async fn of(&self, path: PathBuf, file: Arc<File>, stamp: Stamp) -> Outcome {
        let pending = {
            let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match known.get(&path) {
                Some((of, pending)) if *of == stamp && !pending.peek().is_some_and(Result::is_err) => pending.clone(),
                _ => {
                    let hashing = tokio::task::spawn_blocking(move || hash(&file, stamp));
                    let pending = async move {
                        let hashed = hashing.await.unwrap_or_else(|stopped| Err(io::Error::other(stopped)));
                        hashed.map(Arc::from).map_err(Arc::new)
                    };
                    let pending = pending.boxed().shared();
                    known.insert(path, (stamp, pending.clone()));
                    pending
                }
            }
        };
        pending.await
    }
}

fn hash(file: &File, stamp: Stamp) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut offset = 0;
    loop {
        match file.read_at(&mut buffer, offset) {
            Ok(0) => break,
            Ok(read) => {
                hasher.update(&buffer[..read]);
                offset += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    if Stamp::of(&file.metadata()?).content != stamp.content {
        return Err(io::Error::other("the file is being written to"));
    }
    Ok(hex::encode(hasher.finalize()))
}
