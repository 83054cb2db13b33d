//! Which folder a set is, and what its manifest says. Read anew for every request: an import may have changed the default,
//! and both files are small.

use crate::script::is_image_set_name;
use metalform_model::{
    DEFAULT_FILE, ImageManifest, MANIFEST_FILE, MAX_DEFAULT_BYTES, MAX_MANIFEST_BYTES, is_made_image_set_id,
};
use sha2::{Digest, Sha256};
use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

/// A set's folder. Without a manifest, every plain file in it is one of the set's: the images folder itself may be so, and a
/// folder that somebody made. A set that was imported, or that is the default, must have one, or a damaged file would go out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SetFolder {
    pub dir: PathBuf,
    /// `None`: plain files in the images folder itself.
    pub id: Option<String>,
    pub manifest: Option<ImageManifest>,
    /// SHA-256 of the manifest as it is served.
    pub manifest_sha256: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderFault {
    /// A name that is none; whoever asks for one gets nothing.
    #[error("there is no such image set")]
    NoSet,
    /// `default` names a set that isn't there.
    #[error("the default image set {0:?} is not there")]
    NoDefault(String),
    /// The manifest is there and says nothing that can be relied on.
    #[error("the manifest in {dir} can't be used: {why}", dir = dir.display())]
    BadManifest { dir: PathBuf, why: String },
    /// A set that was made with a manifest, or is the default, has none.
    #[error("{dir} has no {MANIFEST_FILE}: nothing says what its files should be", dir = dir.display())]
    NoManifest { dir: PathBuf },
    /// The system says no.
    #[error("the image set can't be read")]
    Unreadable(#[source] io::Error),
}

impl SetFolder {
    /// The set of that name, or the default: what the file `default` says, and without it the plain files of the images
    /// folder. An explicit choice wins over files that were copied there once; nothing is mixed from both. Blocks.
    pub fn locate(images: &Path, set: Option<&str>) -> Result<SetFolder, FolderFault> {
        let default = match set {
            Some(id) if !is_image_set_name(id) => return Err(FolderFault::NoSet),
            Some(_) => None,
            None => read_default(images)?,
        };
        let id = set.or(default.as_deref());
        let dir = id.map_or_else(|| images.to_owned(), |id| images.join(id));
        if let Some(id) = &default
            && (!is_image_set_name(id) || !dir.is_dir())
        {
            return Err(FolderFault::NoDefault(id.clone()));
        }
        let (manifest, manifest_sha256) = read_manifest(&dir)?.unzip();
        if let (Some(id), None) = (id, &manifest)
            && dir.is_dir()
            && (is_made_image_set_id(id) || default.is_some() || is_default(images, id)?)
        {
            return Err(FolderFault::NoManifest { dir });
        }
        Ok(SetFolder { dir, id: id.map(str::to_owned), manifest, manifest_sha256 })
    }

    /// Whether it may be asked for at all. What the manifest doesn't list was put there by somebody else.
    pub fn offers(&self, name: &str) -> bool {
        match &self.manifest {
            Some(manifest) => name == MANIFEST_FILE || manifest.file(name).is_some(),
            None => self.id.is_some() || name != DEFAULT_FILE,
        }
    }
}

/// For a set that was asked for by its name: it is the same set.
fn is_default(images: &Path, id: &str) -> Result<bool, FolderFault> {
    Ok(read_default(images)?.as_deref() == Some(id))
}

fn read_default(images: &Path) -> Result<Option<String>, FolderFault> {
    let text = read_small(&images.join(DEFAULT_FILE), MAX_DEFAULT_BYTES)?;
    Ok(text.map(|text| String::from_utf8_lossy(&text).trim().to_owned()))
}

/// With its digest.
fn read_manifest(dir: &Path) -> Result<Option<(ImageManifest, String)>, FolderFault> {
    let bad = |why: String| FolderFault::BadManifest { dir: dir.to_owned(), why };
    let Some(text) = read_small(&dir.join(MANIFEST_FILE), MAX_MANIFEST_BYTES + 1)? else { return Ok(None) };
    if text.len() as u64 > MAX_MANIFEST_BYTES {
        return Err(bad(format!("it is longer than {MAX_MANIFEST_BYTES} bytes")));
    }
    let manifest: ImageManifest = serde_json::from_slice(&text).map_err(|error| bad(error.to_string()))?;
    match manifest.fault() {
        None => Ok(Some((manifest, hex::encode(Sha256::digest(&text))))),
        Some(why) => Err(bad(why.to_owned())),
    }
}

/// `None` if there is no such file.
fn read_small(path: &Path, most: u64) -> Result<Option<Vec<u8>>, FolderFault> {
    match path.metadata() {
        // Opening anything else, a pipe say, could wait for ever.
        Ok(there) if !there.is_file() => {
            return Err(FolderFault::Unreadable(io::Error::other(format!("{} is no file", path.display()))));
        }
        Ok(_) => {}
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            // A link that leads nowhere is something that is to be read.
            return match path.symlink_metadata() {
                Ok(_) => Err(FolderFault::Unreadable(error)),
                Err(_) => Ok(None),
            };
        }
        Err(error) => return Err(FolderFault::Unreadable(error)),
    }
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes));
    read.map_err(FolderFault::Unreadable)?;
    Ok(Some(bytes))
}
