//! A folder that is gone when its owner is.

use crate::error::CliError;
use std::{
    fs::{self, DirBuilder},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

/// See the module. Only its owner's user can look inside.
#[derive(Debug)]
pub struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    /// Makes a new one in the system's temporary folder. A name that exists is passed over, whoever made it.
    pub fn create(prefix: &str) -> Result<TemporaryFolder, CliError> {
        let parent = std::env::temp_dir();
        let mut n = 0;
        loop {
            let path = parent.join(format!("{prefix}-{}-{n}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(TemporaryFolder(path)),
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists && n < 1000 => n += 1,
                Err(source) => return Err(CliError::File { doing: "create the folder", path, source }),
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl TemporaryFolder {
    /// Leaves it where it is.
    pub fn keep(mut self) -> PathBuf {
        std::mem::take(&mut self.0)
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        if self.0.as_os_str().is_empty() {
            return;
        }
        // What can't be removed stays in the system's temporary folder; there is nobody to tell.
        let _ = fs::remove_dir_all(&self.0);
    }
}
