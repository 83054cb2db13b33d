//! What makes a folder an image set.

use super::folder::{FolderFault, SetFolder};
use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

pub(crate) const REQUIRED: [&str; 2] = [metalform_model::KERNEL_FILE, metalform_model::INITRD_FILE];

/// A folder that a machine can be booted from: the kernel and the initrd are there, not empty, and can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSet {
    folder: SetFolder,
}

/// What a set says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetDescription {
    /// Its id; `None` for the plain files of the images folder.
    pub id: Option<String>,
    /// What it is made of; `None`: nothing is said.
    pub manifest: Option<metalform_model::ImageManifest>,
    /// SHA-256 of the manifest as it is served, in hex.
    pub manifest_sha256: Option<String>,
}

impl ImageSet {
    /// Checks the default set of an images folder: its files are there, and as long as its manifest says, if it has one. Blocks
    /// for a few file system calls; digests are another matter, see [`crate::BootPlane::check_images`].
    pub fn open(images: impl AsRef<Path>) -> Result<ImageSet, ImageSetError> {
        ImageSet::open_named(images, None)
    }

    /// The same for a set by its name, which is that of its folder.
    pub fn open_named(images: impl AsRef<Path>, set: Option<&str>) -> Result<ImageSet, ImageSetError> {
        let images = images.as_ref();
        if !images.is_dir() {
            return Err(ImageSetError::NoFolder { dir: images.into() });
        }
        let folder = locate(images, set)?;
        let dir = folder.dir.as_path();
        if !dir.is_dir() {
            return Err(ImageSetError::NoFolder { dir: dir.into() });
        }
        check_required(dir)?;
        for listed in folder.manifest.iter().flat_map(|manifest| &manifest.files) {
            let why = match find_file(dir, &listed.name) {
                Ok(found) if found.len == listed.size => continue,
                Ok(found) => format!("{} has {} bytes, and should have {}", listed.name, found.len, listed.size),
                Err(FileFault::Missing | FileFault::NotAFile) => format!("{} is missing", listed.name),
                Err(FileFault::Unreadable(source)) => {
                    return Err(ImageSetError::Unreadable { file: listed.name.clone(), dir: dir.into(), source });
                }
            };
            return Err(ImageSetError::Unverified { dir: dir.into(), why });
        }
        Ok(ImageSet { folder })
    }

    /// What a set says of itself, whether or not its files are what it says: how machines boot with it doesn't change while a
    /// file of it is being mended. `set`: `None` is the default one. Blocks as [`ImageSet::open`] does.
    ///
    /// Without a manifest, kernel and initrd have to be there: a folder whose drive is away, or that is just being replaced, is
    /// none that says nothing.
    pub fn described(images: impl AsRef<Path>, set: Option<&str>) -> Result<SetDescription, ImageSetError> {
        let SetFolder { dir, id, manifest, manifest_sha256 } = locate(images.as_ref(), set)?;
        if manifest.is_none() {
            check_required(&dir)?;
        }
        Ok(SetDescription { id, manifest, manifest_sha256 })
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.folder.dir
    }

    /// Its name; `None` for the plain files of the images folder.
    pub fn id(&self) -> Option<&str> {
        self.folder.id.as_deref()
    }

    /// The script template its manifest names. A node's own template comes before it.
    pub fn template(&self) -> Option<&str> {
        self.folder.manifest.as_ref()?.template.as_deref()
    }

    /// What it is made of; `None` for a folder of plain files.
    pub fn manifest(&self) -> Option<&metalform_model::ImageManifest> {
        self.folder.manifest.as_ref()
    }

    pub(super) fn folder(&self) -> &SetFolder {
        &self.folder
    }
}

/// Kernel and initrd are there, not empty, and can be read.
fn check_required(dir: &Path) -> Result<(), ImageSetError> {
    for file in REQUIRED {
        let (dir, file) = (dir.to_owned(), file.to_owned());
        match find_file(&dir, &file) {
            Ok(found) if found.len > 0 => {}
            Ok(_) => return Err(ImageSetError::Empty { file, dir }),
            Err(FileFault::Missing) => return Err(ImageSetError::Missing { file, dir }),
            Err(FileFault::NotAFile) => return Err(ImageSetError::NotAFile { file, dir }),
            Err(FileFault::Unreadable(source)) => return Err(ImageSetError::Unreadable { file, dir, source }),
        }
    }
    Ok(())
}

fn locate(images: &Path, set: Option<&str>) -> Result<SetFolder, ImageSetError> {
    SetFolder::locate(images, set).map_err(|fault| match fault {
        FolderFault::NoSet => ImageSetError::NoFolder { dir: images.join(set.unwrap_or_default()) },
        FolderFault::NoDefault(id) => ImageSetError::NoDefault { id, dir: images.into() },
        FolderFault::BadManifest { dir, why } => {
            ImageSetError::Unverified { dir, why: format!("its manifest can't be used: {why}") }
        }
        FolderFault::NoManifest { dir } => ImageSetError::Unverified {
            dir,
            why: format!("it has no {}, and nothing says what its files should be", metalform_model::MANIFEST_FILE),
        },
        FolderFault::Unreadable(source) => {
            let file = metalform_model::MANIFEST_FILE.to_owned();
            ImageSetError::Unreadable { file, dir: images.into(), source }
        }
    })
}

/// Why a folder is no image set. Permanent until somebody puts the files right, but for [`ImageSetError::NotReady`].
#[derive(Debug, thiserror::Error)]
pub enum ImageSetError {
    /// The folder itself.
    #[error("there is no image folder {dir}", dir = dir.display())]
    NoFolder {
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// A required file is not there.
    #[error("{file} is missing in the image folder {dir}", dir = dir.display())]
    Missing {
        /// Its name.
        file: String,
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// A required file has no bytes.
    #[error("{file} in the image folder {dir} is empty", dir = dir.display())]
    Empty {
        /// Its name.
        file: String,
        /// Where it is.
        dir: PathBuf,
    },
    /// Something else of that name, or a link that leads out of the folder.
    #[error("{file} in the image folder {dir} is not a regular file of that folder", dir = dir.display())]
    NotAFile {
        /// Its name.
        file: String,
        /// Where it is.
        dir: PathBuf,
    },
    /// A required file can't be opened.
    #[error("{file} in the image folder {dir} can't be read", dir = dir.display())]
    Unreadable {
        /// Its name.
        file: String,
        /// Where it is.
        dir: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The set that `default` names.
    #[error("the default image set {id:?} is not in {dir}", dir = dir.display())]
    NoDefault {
        /// What the file says.
        id: String,
        /// Where the set was looked for.
        dir: PathBuf,
    },
    /// Not what its manifest says.
    #[error("the image set in {dir} is damaged: {why}", dir = dir.display())]
    Unverified {
        /// Where it is.
        dir: PathBuf,
        /// The first difference.
        why: String,
    },
    /// The digests are still being computed.
    #[error("the image set in {dir} is still being checked", dir = dir.display())]
    NotReady {
        /// Where it is.
        dir: PathBuf,
    },
}

impl ImageSetError {
    /// Whether the same may work later without anybody doing something.
    pub fn is_transient(&self) -> bool {
        matches!(self, ImageSetError::NotReady { .. })
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            ImageSetError::NoFolder { .. } => {
                "set `[images] dir` to a folder with vmlinuz-foundation and initrd-foundation.img"
            }
            ImageSetError::Missing { .. } | ImageSetError::Empty { .. } => {
                "`metalform image import ISO` makes a set; or copy boot/kernel and boot/initrd of the installer ISO there as \
                 vmlinuz-foundation and initrd-foundation.img"
            }
            ImageSetError::NotAFile { .. } => "copy the file into the folder itself",
            ImageSetError::NoDefault { .. } => {
                "`metalform image list` shows the sets there are; `metalform image import ISO --default` makes one the default"
            }
            ImageSetError::Unverified { .. } => {
                "`metalform image verify` tells all that is wrong; remove the set's folder and import it again"
            }
            ImageSetError::NotReady { .. } => "try again in a minute: a GB takes some seconds",
            ImageSetError::Unreadable { .. } => "give the service read permission: 0644 for files, 0755 for folders",
        }
    }
}

/// A file as it was found, open.
pub(super) struct Found {
    pub file: File,
    pub path: PathBuf,
    pub len: u64,
}

pub(super) enum FileFault {
    Missing,
    NotAFile,
    Unreadable(io::Error),
}

/// Opens a regular file of the folder. Follows links only within the folder. Blocks.
pub(super) fn find_file(dir: &Path, name: &str) -> Result<Found, FileFault> {
    let fault = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => FileFault::Missing,
        _ => FileFault::Unreadable(error),
    };
    let root = dir.canonicalize().map_err(fault)?;
    let path = root.join(name).canonicalize().map_err(fault)?;
    // Looked at before it is opened: opening a pipe would wait for its writer.
    if !path.starts_with(&root) || !path.metadata().map_err(fault)?.is_file() {
        return Err(FileFault::NotAFile);
    }
    let file = File::open(&path).map_err(fault)?;
    let len = file.metadata().map_err(FileFault::Unreadable)?.len();
    Ok(Found { file, path, len })
}

/// Plain names only: no separators, nothing hidden, nothing that means something to a shell or a URL.
pub(crate) fn is_plain_name(name: &str) -> bool {
    metalform_model::is_image_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::TempDir;
    use std::{fs, os::unix::fs::symlink};

    fn refused(dir: &Path) -> String {
        let error = ImageSet::open(dir).unwrap_err();
        assert!(!error.hint().is_empty());
        error.to_string().replace(&dir.display().to_string(), "DIR")
    }

    #[test]
    fn the_seeds_two_copies_make_a_set_and_anything_less_is_named() {
        let temp = TempDir::new();
        let dir = temp.path();
        let (kernel, initrd) = (dir.join(REQUIRED[0]), dir.join(REQUIRED[1]));
        assert_eq!(refused(&dir.join("nowhere")), "there is no image folder DIR");
        assert_eq!(refused(dir), "vmlinuz-foundation is missing in the image folder DIR");
        fs::write(&kernel, "").unwrap();
        assert_eq!(refused(dir), "vmlinuz-foundation in the image folder DIR is empty");
        fs::write(&kernel, "k").unwrap();
        assert_eq!(refused(dir), "initrd-foundation.img is missing in the image folder DIR");
        fs::create_dir(&initrd).unwrap();
        assert_eq!(refused(dir), "initrd-foundation.img in the image folder DIR is not a regular file of that folder");
        fs::remove_dir(&initrd).unwrap();
        symlink(&initrd, &initrd).unwrap();
        assert_eq!(refused(dir), "initrd-foundation.img in the image folder DIR can't be read");
        fs::remove_file(&initrd).unwrap();
        symlink("/etc/hostname", &initrd).unwrap();
        assert_eq!(refused(dir), "initrd-foundation.img in the image folder DIR is not a regular file of that folder");
        fs::remove_file(&initrd).unwrap();
        symlink("vmlinuz-foundation", &initrd).unwrap();
        assert_eq!(ImageSet::open(dir).unwrap().dir(), dir);
    }

    #[test]
    fn only_plain_names_are_looked_for() {
        for name in ["vmlinuz-foundation", "initrd-foundation.img", "squashfs.img", "a_b+c", "_x", "7"] {
            assert!(is_plain_name(name), "{name}");
        }
        for name in
            ["", ".", "..", ".hidden", "a/b", "../a", "a\\b", "%2e%2e", "a b", "a\0", "-a", "é", &"a".repeat(129)]
        {
            assert!(!is_plain_name(name), "{name:?}");
        }
    }
}
