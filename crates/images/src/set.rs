//! A set as it lies on the disk, and whether it is what its manifest says.

use crate::{
    FileError, Watch,
    copy::{CopyFault, digest_of},
};
use metalform_model::{
    IMAGE_SET_DIGITS, ImageFile, ImageManifest, MANIFEST_FILE, MAX_MANIFEST_BYTES, SUMS_FILE, is_image_set_id,
};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeSet,
    fmt,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    time::SystemTime,
};

/// A set with a manifest that could be read.
#[derive(Debug, Clone)]
pub struct StoredSet {
    /// Its folder's name.
    pub id: String,
    /// Its folder.
    pub dir: PathBuf,
    /// What it holds.
    pub manifest: ImageManifest,
    /// The id that the manifest itself gives it.
    computed_id: String,
}

/// Why a set can't be looked at.
#[derive(Debug, thiserror::Error)]
pub enum SetError {
    /// No such folder, or a name that is none.
    #[error("there is no image set {id} in {dir}", dir = dir.display())]
    Unknown {
        /// As it was given.
        id: String,
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// A folder of files that somebody copied there, or a set that lost it.
    #[error("{id} has no {MANIFEST_FILE}: nothing says what its files should be")]
    NoManifest {
        /// The set.
        id: String,
    },
    /// The manifest is damaged.
    #[error("the {MANIFEST_FILE} of {id} can't be used: {why}")]
    BadManifest {
        /// The set.
        id: String,
        /// What is wrong with it.
        why: String,
    },
    /// A file can't be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// Whoever watched asked for the end.
    #[error("stopped before the end")]
    Stopped,
}

impl SetError {
    /// Whether the same may work later without anybody doing something.
    pub fn is_transient(&self) -> bool {
        match self {
            SetError::File(error) => error.is_transient(),
            SetError::Stopped => true,
            SetError::Unknown { .. } | SetError::NoManifest { .. } | SetError::BadManifest { .. } => false,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            SetError::Unknown { .. } => "`metalform image list` shows the sets there are",
            SetError::NoManifest { .. } => {
                "remove the folder and import its ISO or its files again (`metalform image import --kernel K --initrd I`), which writes one"
            }
            SetError::BadManifest { .. } => "remove the set's folder and import it again",
            SetError::File(error) => error.hint(),
            SetError::Stopped => "nothing was changed",
        }
    }
}

/// One way in which a set is not what its manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetFault {
    /// A file is not there.
    Missing {
        /// Its name.
        file: String,
    },
    /// A file is shorter or longer.
    Size {
        /// Its name.
        file: String,
        /// Bytes there are.
        is: u64,
        /// Bytes there should be.
        should: u64,
    },
    /// A file has other bytes.
    Digest {
        /// Its name.
        file: String,
        /// SHA-256 as computed.
        is: String,
        /// SHA-256 by the manifest.
        should: String,
    },
    /// A file that the manifest doesn't know; it is not served.
    Unlisted {
        /// Its name.
        file: String,
    },
    /// The folder was renamed, or the manifest was changed.
    OtherId {
        /// The id that the manifest gives.
        computed: String,
    },
}

impl SetFault {
    /// A stable word.
    pub fn code(&self) -> &'static str {
        match self {
            SetFault::Missing { .. } => "missing",
            SetFault::Size { .. } => "size",
            SetFault::Digest { .. } => "digest",
            SetFault::Unlisted { .. } => "unlisted",
            SetFault::OtherId { .. } => "other_id",
        }
    }

    /// The file at fault, if it is one.
    pub fn file(&self) -> Option<&str> {
        match self {
            SetFault::Missing { file }
            | SetFault::Size { file, .. }
            | SetFault::Digest { file, .. }
            | SetFault::Unlisted { file } => Some(file),
            SetFault::OtherId { .. } => None,
        }
    }
}

impl fmt::Display for SetFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SetFault::Missing { file } => write!(f, "{file} is missing"),
            SetFault::Size { file, is, should } => write!(f, "{file} has {is} bytes, and should have {should}"),
            SetFault::Digest { file, is, should } => write!(f, "{file} has SHA-256 {is}, and should have {should}"),
            SetFault::Unlisted { file } => write!(f, "{file} is not in the manifest"),
            SetFault::OtherId { computed } => {
                write!(f, "the manifest is that of {computed}: the folder was renamed, or the manifest was changed")
            }
        }
    }
}

impl StoredSet {
    /// Reads the manifest of the set `id` below `store`; the files are not looked at.
    pub(crate) fn open(store: &Path, id: &str) -> Result<StoredSet, SetError> {
        let dir = store.join(id);
        if !is_image_set_id(id) || !dir.is_dir() {
            return Err(SetError::Unknown { id: id.to_owned(), dir: store.to_owned() });
        }
        let path = dir.join(MANIFEST_FILE);
        let mut text = Vec::new();
        match File::open(&path).and_then(|file| file.take(MAX_MANIFEST_BYTES + 1).read_to_end(&mut text)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(SetError::NoManifest { id: id.to_owned() });
            }
            Err(error) => return Err(FileError::of("read", &path)(error).into()),
        }
        let bad = |why: String| SetError::BadManifest { id: id.to_owned(), why };
        if text.len() as u64 > MAX_MANIFEST_BYTES {
            return Err(bad(format!("it is longer than {MAX_MANIFEST_BYTES} bytes")));
        }
        let manifest: ImageManifest = serde_json::from_slice(&text).map_err(|error| bad(error.to_string()))?;
        if let Some(why) = manifest.fault() {
            return Err(bad(why.to_owned()));
        }
        let computed_id = id_of(&manifest.name, &text);
        Ok(StoredSet { id: id.to_owned(), dir, manifest, computed_id })
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.manifest.files.iter().map(|file| file.size).sum()
    }

    /// When it was made.
    pub fn created(&self) -> Option<SystemTime> {
        self.dir.join(MANIFEST_FILE).metadata().ok()?.modified().ok()
    }

    /// What shows without reading a file: what is there, and how long it is.
    pub fn look(&self) -> Result<Vec<SetFault>, SetError> {
        let mut faults = Vec::new();
        if self.computed_id != self.id {
            faults.push(SetFault::OtherId { computed: self.computed_id.clone() });
        }
        for file in &self.manifest.files {
            faults.extend(self.fault_of_length(file)?);
        }
        let listed: BTreeSet<&str> = self.manifest.files.iter().map(|file| file.name.as_str()).collect();
        let fault = || FileError::of("read the folder", &self.dir);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(fault())? {
            names.push(entry.map_err(fault())?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        names.retain(|name| name != MANIFEST_FILE && name != SUMS_FILE && !listed.contains(name.as_str()));
        faults.extend(names.into_iter().map(|file| SetFault::Unlisted { file }));
        Ok(faults)
    }

    /// Reads every file and compares its digest.
    pub fn verify(&self, watch: &dyn Watch) -> Result<Vec<SetFault>, SetError> {
        let mut faults = self.look()?;
        for file in &self.manifest.files {
            watch.begin(&file.name, file.size);
            if !faults.iter().any(|fault| fault.file() == Some(&file.name)) {
                faults.extend(self.fault_of_digest(file, watch)?);
            }
        }
        Ok(faults)
    }

    fn fault_of_length(&self, file: &ImageFile) -> Result<Option<SetFault>, SetError> {
        let (name, path) = (file.name.clone(), self.dir.join(&file.name));
        match path.symlink_metadata() {
            Ok(there) if !there.is_file() => Ok(Some(SetFault::Missing { file: name })),
            Ok(there) if there.len() == file.size => Ok(None),
            Ok(there) => Ok(Some(SetFault::Size { file: name, is: there.len(), should: file.size })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Some(SetFault::Missing { file: name })),
            Err(error) => Err(FileError::of("read", &path)(error).into()),
        }
    }

    fn fault_of_digest(&self, file: &ImageFile, watch: &dyn Watch) -> Result<Option<SetFault>, SetError> {
        let path = self.dir.join(&file.name);
        let mut opened = File::open(&path).map_err(FileError::of("read", &path))?;
        match digest_of(&mut opened, watch) {
            Ok(digested) if digested.sha256 == file.sha256 => Ok(None),
            Ok(digested) => {
                Ok(Some(SetFault::Digest { file: file.name.clone(), is: digested.sha256, should: file.sha256.clone() }))
            }
            Err(CopyFault::Stopped) => Err(SetError::Stopped),
            Err(CopyFault::Read(error) | CopyFault::Write(error)) => Err(FileError::of("read", &path)(error).into()),
        }
    }
}

/// The manifest as it is written: these bytes are what the id is computed from, so `sha256sum manifest.json` shows it.
pub(crate) fn manifest_text(manifest: &ImageManifest) -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(manifest).map(|text| text + "\n")
}

/// `NAME-DIGITS`.
pub(crate) fn id_of(name: &str, manifest: &[u8]) -> String {
    let digest = hex::encode(Sha256::digest(manifest));
    format!("{name}-{}", &digest[..IMAGE_SET_DIGITS])
}
