//! A folder in which a set grows until it is whole.
//!
//! It lies beside the sets, so that one rename makes it one of them. A lock on a file in it says that its owner lives: the
//! system drops it with the process, however that ends. So whoever gets the lock of a folder that isn't its own has found the
//! remains of a crash.

use crate::{FileError, made_folders::MadeFolders};
use std::{
    fs::{self, File, TryLockError},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

const PREFIX: &str = ".import-";
const LOCK: &str = "lock";
const SET: &str = "set";
const SCRATCH: &str = "scratch";

/// Gone when it is dropped, with all that was not renamed away.
#[derive(Debug)]
pub(crate) struct Staging {
    root: Root,
    /// Folders above it that were made for it.
    pub made: MadeFolders,
    _lock: File,
}

/// Removed before those above it are.
#[derive(Debug)]
struct Root(PathBuf);

impl Staging {
    /// Makes one in `dir`. The caller holds the lock of the store, so that nobody takes a folder for abandoned in the moment
    /// before its own lock is taken.
    pub fn create(dir: &Path) -> Result<Staging, FileError> {
        let pid = std::process::id();
        let mut n = 0;
        let root = loop {
            let root = dir.join(format!("{PREFIX}{pid}-{n}"));
            match fs::create_dir(&root) {
                Ok(()) => break Root(root),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && n < 1000 => n += 1,
                Err(error) => return Err(FileError::of("create the folder", &root)(error)),
            }
        };
        let lock = root.0.join(LOCK);
        let locked = File::create(&lock).and_then(|file| file.lock().map(|()| file));
        let _lock = locked.map_err(FileError::of("lock", &lock))?;
        let staging = Staging { root, made: MadeFolders::default(), _lock };
        let set = staging.set();
        fs::create_dir(&set).map_err(FileError::of("create the folder", &set))?;
        fs::set_permissions(&set, fs::Permissions::from_mode(0o755))
            .map_err(FileError::of("set permissions of", &set))?;
        Ok(staging)
    }

    /// What becomes the set.
    pub fn set(&self) -> PathBuf {
        self.root.0.join(SET)
    }

    /// A file that doesn't become part of it.
    pub fn scratch(&self) -> PathBuf {
        self.root.0.join(SCRATCH)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        // What can't be removed now is removed by the next import.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Removes what imports left that are no more. The caller holds the lock of the store.
pub(crate) fn remove_abandoned(dir: &Path) -> Result<(), FileError> {
    let fault = || FileError::of("read the folder", dir);
    for entry in fs::read_dir(dir).map_err(fault())? {
        let entry = entry.map_err(fault())?;
        if is_left_over(&entry) {
            // Not ours to remove, or removed by somebody else: no reason to refuse an import.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}

/// What imports left that are no more: names and bytes, by name. Without the store's lock, so that it needs no right to write
/// there: one that begins in this moment may be among them.
pub(crate) fn left_overs(dir: &Path) -> Result<Vec<(String, u64)>, FileError> {
    let fault = || FileError::of("read the folder", dir);
    let mut left = Vec::new();
    for entry in fs::read_dir(dir).map_err(fault())? {
        let entry = entry.map_err(fault())?;
        if is_left_over(&entry) {
            let bytes = bytes_in(&entry.path()) + bytes_in(&entry.path().join(SET));
            left.push((entry.file_name().to_string_lossy().into_owned(), bytes));
        }
    }
    left.sort();
    Ok(left)
}

/// Of the files right in it, as far as they can be seen.
fn bytes_in(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let files = entries.filter_map(|entry| entry.ok()?.metadata().ok()).filter(fs::Metadata::is_file);
    files.map(|file| file.len()).sum()
}

fn is_left_over(entry: &fs::DirEntry) -> bool {
    let is_ours = is_name_of_ours(&entry.file_name().to_string_lossy()) && holds_ours_alone(&entry.path());
    is_ours && entry.file_type().is_ok_and(|kind| kind.is_dir()) && is_abandoned(&entry.path())
}

/// `.import-PID-N`, as [`Staging::create`] makes them: others may have hidden folders that begin like that.
pub(crate) fn is_name_of_ours(name: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let numbers = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-'));
    numbers.is_some_and(|(pid, n)| is_number(pid) && is_number(n))
}

/// Whether nothing is in it that we don't put there. One that can't be read is left alone.
fn holds_ours_alone(root: &Path) -> bool {
    let is_ours = |name: &std::ffi::OsStr| [LOCK, SET, SCRATCH].iter().any(|ours| name == *ours);
    fs::read_dir(root)
        .is_ok_and(|mut entries| entries.all(|entry| entry.is_ok_and(|entry| is_ours(&entry.file_name()))))
}

fn is_abandoned(root: &Path) -> bool {
    match File::open(root.join(LOCK)).map(|file| file.try_lock()) {
        Ok(Ok(())) => true,
        Ok(Err(TryLockError::WouldBlock | TryLockError::Error(_))) => false,
        // It ended between the two steps of making it.
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}
