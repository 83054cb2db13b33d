//! A call to the file system that failed.

use std::{
    io,
    path::{Path, PathBuf},
};

/// What was tried with which file. Permanent until somebody makes room, mends permissions or the disk.
#[derive(Debug, thiserror::Error)]
#[error("could not {doing} {path}", path = path.display())]
pub struct FileError {
    /// The verb.
    pub doing: &'static str,
    /// The file.
    pub path: PathBuf,
    /// What the system says.
    pub source: io::Error,
}

impl FileError {
    /// For `map_err`.
    pub(crate) fn of(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
        move |source| FileError { doing, path: path.to_owned(), source }
    }

    /// Whether the same may work later without anybody doing something.
    pub fn is_transient(&self) -> bool {
        self.source.kind() == io::ErrorKind::Interrupted
    }

    /// Whether a file was named that isn't there, or is none.
    pub fn is_usage(&self) -> bool {
        use io::ErrorKind::{InvalidInput, IsADirectory, NotADirectory, NotFound};
        self.doing == "read" && matches!(self.source.kind(), NotFound | NotADirectory | IsADirectory | InvalidInput)
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self.source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                "make room, or name a folder on a larger disk with --dir or `[images] dir`; what was begun is removed"
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                "run it as a user who may do that there"
            }
            io::ErrorKind::NotFound => "is the path right?",
            io::ErrorKind::IsADirectory => "that is a folder: name a file",
            io::ErrorKind::InvalidInput => "copy what comes out of it into a file, and name that one",
            io::ErrorKind::NotADirectory => "is the path right? It leads through a file",
            _ => "look at the system's log for faults of the disk or the file system",
        }
    }
}
