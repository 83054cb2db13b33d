//! Who may change what is in the images folder.

use crate::FileError;
use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// The lock's file within the folder.
pub(crate) const LOCK: &str = ".lock";

/// Held for moments only, while a folder is made or renamed or the default is changed; its file is gone afterwards. What a
/// crash leaves of it holds off nobody. A lock on the folder itself would leave nothing at all, but NFS has none of those.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Waits until nobody else has it.
    pub fn take(dir: &Path) -> Result<Lock, FileError> {
        let path = dir.join(LOCK);
        let fault = || FileError::of("lock", &path);
        loop {
            let file = File::options().create(true).append(true).open(&path).map_err(fault())?;
            file.lock().map_err(fault())?;
            // Whoever had it before has removed the file, and the next one may have made and locked another.
            if is_at(&file, &path).map_err(fault())? {
                return Ok(Lock { path, _file: file });
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Before it is let go, so that it is nobody else's. One that stays is as good for the next.
        let _ = fs::remove_file(&self.path);
    }
}

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let id = |there: fs::Metadata| (there.dev(), there.ino());
    match path.symlink_metadata() {
        Ok(there) => Ok(id(there) == id(file.metadata()?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
