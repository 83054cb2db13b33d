//! Folders in the system's temporary folder that are gone when their owner is: removed when dropped; and, of an owner that
//! was killed, by whoever makes the next one.
//!
//! The proof that an owner is gone is the lock that it holds on a file in the folder as long as it runs: the kernel lets go
//! of it with the process, however that ends. Rejected: the process's number in the name, which another process may have by
//! now, or one of another PID namespace at the same time; and age, because a world may be kept standing for days.

use crate::faces::SimulatorError;
use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

/// Names begin with it. It narrows down what is looked at, and proves nothing.
const PREFIX: &str = "metalform-";
/// What the owner holds a lock on. A folder without it is nobody's to remove.
const LOCK: &str = "owner.lock";

/// See the module. Only its owner's user can look inside.
#[derive(Debug)]
pub struct TemporaryFolder {
    path: PathBuf,
    is_kept: bool,
    _lock: File,
}

impl TemporaryFolder {
    /// Makes a new one for `what`, and removes those whose owners are gone. A name that exists is passed over, whoever made
    /// it.
    ///
    /// # Errors
    /// It can't be made.
    pub fn create(what: &str) -> Result<TemporaryFolder, SimulatorError> {
        TemporaryFolder::create_in(&std::env::temp_dir(), what)
    }

    fn create_in(parent: &Path, what: &str) -> Result<TemporaryFolder, SimulatorError> {
        let mut n = 0;
        let (path, made) = loop {
            let path = parent.join(format!("{PREFIX}{what}-{}-{n}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && n < 1000 => n += 1,
                made => break (path, made),
            }
        };
        let failed = |source| SimulatorError::Folder { path: path.clone(), source };
        made.map_err(failed)?;
        let lock = hold(&path).inspect_err(|_| drop(fs::remove_dir_all(&path))).map_err(failed)?;
        if let Ok(own) = fs::symlink_metadata(&path) {
            remove_abandoned(parent, own.uid());
        }
        Ok(TemporaryFolder { path, is_kept: false, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves it where it is, for good: without the file that is locked nobody takes it for abandoned.
    pub fn keep(mut self) -> PathBuf {
        self.is_kept = true;
        if let Err(error) = fs::remove_file(self.path.join(LOCK))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, folder = %self.path.display(), "the next start may remove this folder");
        }
        self.path.clone()
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        // The next owner tries again.
        if let Err(error) = remove(&self.path) {
            tracing::debug!(%error, folder = %self.path.display(), "a temporary folder is left behind");
        }
    }
}

/// The lock has its name only once it is held: nobody sees it free while its owner lives.
fn hold(folder: &Path) -> io::Result<File> {
    let draft = folder.join("owner.draft");
    let lock = File::create(&draft)?;
    lock.lock()?;
    fs::rename(&draft, folder.join(LOCK))?;
    Ok(lock)
}

/// What can't be looked at or removed stays; it is in nobody's way.
fn remove_abandoned(parent: &Path, user: u32) {
    for entry in fs::read_dir(parent).into_iter().flatten().filter_map(Result::ok) {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let folder = entry.path();
        let Some(_lock) = take_over(&folder, user) else { continue };
        match remove(&folder) {
            Ok(()) => tracing::info!(folder = %folder.display(), "removed what a process that was killed left behind"),
            Err(error) => tracing::debug!(%error, folder = %folder.display(), "what is left behind can't be removed"),
        }
    }
}

/// The lock of a folder whose owner is gone, of the same user; it keeps others who look for such folders away.
fn take_over(folder: &Path, user: u32) -> Option<File> {
    let path = folder.join(LOCK);
    let is_ours = fs::symlink_metadata(folder).is_ok_and(|folder| folder.is_dir() && folder.uid() == user);
    if !is_ours || !fs::symlink_metadata(&path).is_ok_and(|file| file.is_file()) {
        return None;
    }
    let lock = File::open(&path).ok()?;
    lock.try_lock().ok()?;
    // Before it was ours, somebody else may have removed the folder, and a new owner may have taken its name.
    let (held, there) = (lock.metadata().ok()?, fs::symlink_metadata(&path).ok()?);
    ((held.dev(), held.ino()) == (there.dev(), there.ino())).then_some(lock)
}

/// The lock goes last, so that a removal which breaks off is taken up by the next owner.
fn remove(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name() == LOCK {
            continue;
        }
        match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(entry.path())?,
            false => fs::remove_file(entry.path())?,
        }
    }
    fs::remove_dir_all(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parent() -> TemporaryFolder {
        TemporaryFolder::create("test").unwrap()
    }

    /// What is left of one whose owner was killed: everything but the lock.
    fn left_behind(parent: &Path) -> PathBuf {
        let folder = parent.join(format!("{PREFIX}simulator-1-0"));
        fs::create_dir_all(folder.join("images")).unwrap();
        fs::write(folder.join("images/vmlinuz"), "kernel").unwrap();
        drop(hold(&folder).unwrap());
        folder
    }

    #[test]
    fn a_folder_is_gone_with_its_owner() {
        let parent = parent();
        let folder = TemporaryFolder::create_in(parent.path(), "lab").unwrap();
        fs::create_dir(folder.path().join("images")).unwrap();
        let path = folder.path().to_owned();
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn a_folder_whose_owner_was_killed_is_removed_by_the_next_one() {
        let parent = parent();
        let left = left_behind(parent.path());
        let _next = TemporaryFolder::create_in(parent.path(), "demo").unwrap();
        assert!(!left.exists());
    }

    #[test]
    fn a_folder_whose_owner_lives_stays_whatever_its_name_says() {
        let parent = parent();
        let folder = left_behind(parent.path());
        let owner = File::open(folder.join(LOCK)).unwrap();
        owner.lock().unwrap();
        let own = TemporaryFolder::create_in(parent.path(), "simulator").unwrap();
        let second = TemporaryFolder::create_in(parent.path(), "simulator").unwrap();
        assert!(folder.join("images/vmlinuz").exists() && own.path().exists() && own.path() != second.path());
    }

    #[test]
    fn a_folder_that_is_kept_or_that_never_had_a_lock_is_nobodys_to_remove() {
        let parent = parent();
        let kept = TemporaryFolder::create_in(parent.path(), "lab").unwrap().keep();
        let of_somebody = parent.path().join(format!("{PREFIX}simulator-1-10.0.0.0"));
        fs::create_dir(&of_somebody).unwrap();
        let other_name = parent.path().join("other");
        fs::rename(left_behind(parent.path()), &other_name).unwrap();
        let _next = TemporaryFolder::create_in(parent.path(), "lab").unwrap();
        assert!(kept.exists() && of_somebody.exists() && other_name.exists());
    }

    #[test]
    fn a_link_to_an_abandoned_folder_is_not_followed_and_another_users_folder_stays() {
        let parent = parent();
        let elsewhere = parent.path().join("elsewhere");
        fs::rename(left_behind(parent.path()), &elsewhere).unwrap();
        let link = parent.path().join(format!("{PREFIX}link"));
        std::os::unix::fs::symlink(&elsewhere, &link).unwrap();
        let user = fs::symlink_metadata(parent.path()).unwrap().uid();
        assert!(take_over(&link, user).is_none());
        assert!(take_over(&elsewhere, user + 1).is_none());
        assert!(take_over(&elsewhere, user).is_some());
    }
}
