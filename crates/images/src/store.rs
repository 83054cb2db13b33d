//! The folder of all image sets, and which of them is the default.

use crate::{
    FileError, SetError, StoredSet,
    lock::{LOCK, Lock},
    made_folders::MadeFolders,
    staging::{Staging, is_name_of_ours, left_overs, remove_abandoned},
};
use metalform_model::{
    DEFAULT_FILE, INITRD_FILE, KERNEL_FILE, MAX_DEFAULT_BYTES, Recipe, is_image_set_id, is_made_image_set_id,
};
use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// Becomes [`DEFAULT_FILE`] by a rename.
const NEW_DEFAULT: &str = ".default-new";

/// `[images] dir`.
#[derive(Debug, Clone)]
pub struct ImageStore {
    dir: PathBuf,
}

/// One line of the list.
#[derive(Debug, Clone)]
pub struct Listed {
    /// `None`: the plain files of the folder itself.
    pub id: Option<String>,
    /// What the operator called it, where a manifest says so.
    pub name: Option<String>,
    /// Whether machines get it that ask for no other.
    pub is_default: bool,
    /// Bytes of its files.
    pub bytes: u64,
    /// How the agent runs its installer.
    pub recipe: Option<Recipe>,
    /// The script template.
    pub template: Option<String>,
    /// Where it came from.
    pub source: Option<String>,
    /// When it was made.
    pub created: Option<SystemTime>,
    /// How it looks without reading its files.
    pub state: State,
}

/// How a set looks at first sight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// All files are there, with the right lengths. `verify` reads them.
    Complete,
    /// What is wrong.
    Damaged(String),
    /// Somebody's plain files, which never had a manifest: nothing says what they should be.
    Plain,
}

impl ImageStore {
    /// The folder; it may not be there yet.
    pub fn new(dir: impl Into<PathBuf>) -> ImageStore {
        ImageStore { dir: dir.into() }
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A set by its id.
    pub fn set(&self, id: &str) -> Result<StoredSet, SetError> {
        StoredSet::open(&self.dir, id)
    }

    /// What `default` says, if it is there; a text that can't be an id is given as it is.
    pub fn default_id(&self) -> Result<Option<String>, FileError> {
        let path = self.dir.join(DEFAULT_FILE);
        let mut text = String::new();
        match File::open(&path).and_then(|file| file.take(MAX_DEFAULT_BYTES).read_to_string(&mut text)) {
            Ok(_) => Ok(Some(text.trim().to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(FileError::of("read", &path)(error)),
        }
    }

    /// What `default` says, where that is no set that is there: machines get nothing then.
    pub fn lost_default(&self) -> Result<Option<String>, FileError> {
        if !self.dir.is_dir() {
            return Ok(None);
        }
        let default = self.default_id()?;
        Ok(default.filter(|id| !is_image_set_id(id) || !self.dir.join(id).is_dir()))
    }

    /// Whether machines get something already, be it plain files.
    pub fn has_default(&self) -> Result<bool, FileError> {
        Ok(self.default_id()?.is_some() || [KERNEL_FILE, INITRD_FILE].iter().any(|name| self.dir.join(name).exists()))
    }

    /// Makes a set the default, by one rename.
    pub fn set_default(&self, id: &str) -> Result<(), FileError> {
        let _lock = Lock::take(&self.dir)?;
        let (new, path) = (self.dir.join(NEW_DEFAULT), self.dir.join(DEFAULT_FILE));
        write_synced(&new, format!("{id}\n").as_bytes())?;
        fs::rename(&new, &path).map_err(FileError::of("replace", &path))?;
        sync(&self.dir)
    }

    /// Every set, the plain files first, then by id. A folder that is no set is left out.
    pub fn list(&self) -> Result<Vec<Listed>, FileError> {
        let default = self.default_id()?;
        let mut listed = Vec::new();
        if let Some(bytes) = plain_bytes(&self.dir) {
            listed.push(Listed { is_default: default.is_none(), ..plain(None, bytes, &self.dir) });
        }
        let fault = || FileError::of("read the folder", &self.dir);
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(listed),
            Err(error) => return Err(fault()(error)),
        };
        let mut ids = Vec::new();
        for entry in entries {
            let entry = entry.map_err(fault())?;
            ids.extend(entry.file_name().into_string().ok().filter(|id| is_image_set_id(id) && entry.path().is_dir()));
        }
        ids.sort();
        for id in ids {
            let is_default = default.as_ref() == Some(&id);
            listed.extend(self.look_at(&id, is_default).map(|set| Listed { is_default, ..set }));
        }
        Ok(listed)
    }

    fn look_at(&self, id: &str, is_default: bool) -> Option<Listed> {
        let dir = self.dir.join(id);
        let damaged = |why: String| Listed {
            state: State::Damaged(why),
            ..plain(Some(id.to_owned()), plain_bytes(&dir).unwrap_or_default(), &dir)
        };
        match self.set(id) {
            Ok(set) => {
                let state = match set.look() {
                    Ok(faults) if faults.is_empty() => State::Complete,
                    Ok(faults) => State::Damaged(faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")),
                    Err(error) => State::Damaged(error.to_string()),
                };
                let (bytes, created) = (set.bytes(), set.created());
                let manifest = set.manifest;
                Some(Listed {
                    id: Some(set.id),
                    name: Some(manifest.name),
                    is_default: false,
                    bytes,
                    recipe: manifest.recipe,
                    template: manifest.template,
                    source: Some(manifest.source),
                    created,
                    state,
                })
            }
            // What was imported had one, and a default has to: the boot plane serves neither without.
            Err(SetError::NoManifest { .. }) if !is_default && !is_made_image_set_id(id) => {
                Some(plain(Some(id.to_owned()), plain_bytes(&dir)?, &dir))
            }
            Err(error) => Some(damaged(error.to_string())),
        }
    }

    /// Whether nothing is in the folder, but for what imports leave of themselves. One that isn't there is an error.
    pub fn is_empty(&self) -> Result<bool, FileError> {
        let fault = || FileError::of("read the folder", &self.dir);
        for entry in fs::read_dir(&self.dir).map_err(fault())? {
            let name = entry.map_err(fault())?.file_name();
            if name != *LOCK && !is_name_of_ours(&name.to_string_lossy()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What imports left that were killed, by name, with its bytes; the next import removes it.
    pub fn left_overs(&self) -> Result<Vec<(String, u64)>, FileError> {
        if self.dir.is_dir() { left_overs(&self.dir) } else { Ok(Vec::new()) }
    }

    /// A folder for a new set. Makes the store's folder if need be, which goes again with the new one if nothing comes of it;
    /// and removes what crashed imports left.
    pub(crate) fn stage(&self) -> Result<Staging, FileError> {
        let mut tries_left = 100;
        let (made, lock) = loop {
            let made = MadeFolders::make(&self.dir)?;
            match Lock::take(&self.dir) {
                Ok(lock) => break (made, lock),
                // The folder went again with an import that had made it, between those two lines.
                Err(error) if error.source.kind() == io::ErrorKind::NotFound && tries_left > 0 => tries_left -= 1,
                Err(error) => return Err(error),
            }
        };
        let staged = remove_abandoned(&self.dir).and_then(|()| Staging::create(&self.dir));
        // As long as the lock's file is in it, no folder can go.
        drop(lock);
        let mut staging = staged?;
        staging.made = made;
        Ok(staging)
    }

    /// Makes a finished folder the set `id`; `false` if there is one of that name, which is then left as it is.
    pub(crate) fn commit(&self, staging: &mut Staging, id: &str) -> Result<bool, FileError> {
        sync(&staging.set())?;
        let _lock = Lock::take(&self.dir)?;
        let path = self.dir.join(id);
        if path.symlink_metadata().is_ok() {
            return Ok(false);
        }
        fs::rename(staging.set(), &path).map_err(FileError::of("create the folder", &path))?;
        staging.made.keep();
        sync(&self.dir)?;
        Ok(true)
    }
}

fn plain(id: Option<String>, bytes: u64, dir: &Path) -> Listed {
    Listed {
        id,
        name: None,
        is_default: false,
        bytes,
        recipe: None,
        template: None,
        source: None,
        created: dir.join(KERNEL_FILE).metadata().and_then(|there| there.modified()).ok(),
        state: State::Plain,
    }
}

/// Bytes of the plain files of a folder; `None` if kernel and initrd aren't both among them.
fn plain_bytes(dir: &Path) -> Option<u64> {
    if ![KERNEL_FILE, INITRD_FILE].iter().all(|name| dir.join(name).is_file()) {
        return None;
    }
    let of = |entry: io::Result<fs::DirEntry>| {
        let entry = entry.ok()?;
        let is_shown = !entry.file_name().to_string_lossy().starts_with('.') && entry.file_name() != *DEFAULT_FILE;
        entry.metadata().ok().filter(|there| is_shown && there.is_file()).map(|there| there.len())
    };
    Some(fs::read_dir(dir).ok()?.filter_map(of).sum())
}

/// A small file, readable by everybody, on the disk when this returns.
pub(crate) fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let mut file = create(path)?;
    file.write_all(bytes).map_err(FileError::of("write", path))?;
    file.sync_all().map_err(FileError::of("write", path))
}

/// A new file that everybody may read, whatever the umask says: the service often runs as somebody else.
pub(crate) fn create(path: &Path) -> Result<File, FileError> {
    let file = File::create(path).map_err(FileError::of("create", path))?;
    file.set_permissions(fs::Permissions::from_mode(0o644)).map_err(FileError::of("set permissions of", path))?;
    Ok(file)
}

/// What was made, renamed or removed in a folder is so after a crash as well.
fn sync(dir: &Path) -> Result<(), FileError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(FileError::of("sync", dir))
}
