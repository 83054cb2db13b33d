//! Folders that were made on the way to something, and go again if nothing comes of it.

use crate::FileError;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Removed when this is dropped, unless they were kept or somebody put something into them. After a crash they stay, empty.
#[derive(Debug, Default)]
pub(crate) struct MadeFolders {
    /// The outermost first.
    paths: Vec<PathBuf>,
}

impl MadeFolders {
    /// Makes a folder, and those above it. What was there before, or is made by somebody else meanwhile, is not among them.
    pub fn make(dir: &Path) -> Result<MadeFolders, FileError> {
        let mut missing: Vec<&Path> =
            dir.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.is_dir()).collect();
        let mut made = MadeFolders::default();
        while let Some(path) = missing.pop() {
            match fs::create_dir(path) {
                Ok(()) => made.paths.push(path.to_owned()),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
                Err(error) => return Err(FileError::of("create the folder", path)(error)),
            }
        }
        Ok(made)
    }

    /// Something came of it.
    pub fn keep(&mut self) {
        self.paths.clear();
    }
}

impl Drop for MadeFolders {
    fn drop(&mut self) {
        // Only an empty one can be removed like that, so nobody else's work goes with it.
        while let Some(path) = self.paths.pop() {
            let _ = fs::remove_dir(path);
        }
    }
}
