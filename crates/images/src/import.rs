//! Makes a set out of an installer's ISO, or of files.

use crate::{
    FileError, ImageStore, LayoutError, Looks, SetError, SetFault, Watch,
    boot_file::{check_boot_file, read_head},
    copy::{CopyFault, Digested, copy_digesting},
    installer_iso::InstallerIso,
    iso::IsoError,
    layout::{file_name, role_of},
    opened::open_file,
    set::{id_of, manifest_text},
    staging::Staging,
    store::{create, write_synced},
};
use metalform_model::{
    INITRD_FILE, ImageFile, ImageManifest, ImageRole, KERNEL_FILE, MANIFEST_FILE, MANIFEST_FORMAT, SUMS_FILE,
    is_image_file_name, is_image_set_name,
};
use std::{
    io::Read,
    path::{Path, PathBuf},
};

/// What is to be imported.
#[derive(Debug, Clone)]
pub struct Import {
    /// Where the set's files come from.
    pub source: Source,
    /// More files: name in the set, and path.
    pub files: Vec<(String, PathBuf)>,
    /// SHA-256 that the ISO must have, lower case hex; compared while it is copied.
    pub sha256: Option<String>,
    /// What the set is called; by default after the ISO, or `custom`.
    pub name: Option<String>,
    /// Make it the default even if there is one already.
    pub make_default: bool,
}

/// Where the set's files come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// An installer's ISO.
    Iso(PathBuf),
    /// Plain files.
    Files {
        /// The kernel.
        kernel: PathBuf,
        /// The initrd.
        initrd: PathBuf,
    },
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Imported {
    /// The set's id.
    pub id: String,
    /// What it holds.
    pub manifest: ImageManifest,
    /// It was there already, and is whole.
    pub was_there: bool,
    /// It is the default now.
    pub is_default: bool,
    /// The ISO's names are of the kind that cuts off what is longer, and no installer package was among them: it may be there
    /// all the same.
    pub may_lack_installer: bool,
}

/// Why nothing was imported. Nothing stays behind.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Not a name.
    #[error("{0:?} can't be the name of an image set")]
    BadName(String),
    /// Not a name.
    #[error("{0:?} can't be the name of a file in an image set")]
    BadFileName(String),
    /// Two files of one name.
    #[error("there would be two files {0} in the set")]
    Twice(String),
    /// A kernel or initrd without a byte.
    #[error("{0} is empty")]
    Empty(String),
    /// A kernel that no firmware and no iPXE would start.
    #[error("{file} is no Linux kernel that can be booted: {looks}")]
    NotAKernel {
        /// What it is called.
        file: String,
        /// What it is instead.
        looks: Looks,
    },
    /// An initrd that no kernel would unpack.
    #[error("{file} is no initrd: {looks}")]
    NotAnInitrd {
        /// What it is called.
        file: String,
        /// What it is instead.
        looks: Looks,
    },
    /// A folder in the place of an ISO.
    #[error("{} is a folder, and no ISO", .0.display())]
    Folder(PathBuf),
    /// The ISO can't be read.
    #[error("{} can't be imported", iso.display())]
    Iso {
        /// Its path.
        iso: PathBuf,
        /// Why not.
        source: IsoError,
    },
    /// The ISO holds other things.
    #[error("{} can't be imported", iso.display())]
    Layout {
        /// Its path.
        iso: PathBuf,
        /// What is missing.
        source: LayoutError,
    },
    /// Not the ISO that was meant.
    #[error("{} has SHA-256 {is}, and should have {should}", iso.display())]
    OtherDigest {
        /// Its path.
        iso: PathBuf,
        /// As computed.
        is: String,
        /// As given.
        should: String,
    },
    /// A file can't be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The manifest can't be written down.
    #[error("the manifest can't be written")]
    Manifest(#[source] serde_json::Error),
    /// The same set is there, and isn't what it should be.
    #[error("the same set is there already, as {id}, and is damaged: {}", .faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    ThereButDamaged {
        /// Its id.
        id: String,
        /// What is wrong with it.
        faults: Vec<SetFault>,
    },
    /// The same set is there, and can't be looked at.
    #[error("the same set is there already and can't be checked")]
    ThereButUnreadable(#[source] SetError),
    /// Whoever watched asked for the end.
    #[error("stopped before the end; nothing was imported")]
    Stopped,
}

impl ImportError {
    /// Whether the same may work later without anybody doing something.
    pub fn is_transient(&self) -> bool {
        match self {
            ImportError::File(error) => error.is_transient(),
            ImportError::Iso { source, .. } => source.is_transient(),
            ImportError::Stopped => true,
            _ => false,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            ImportError::BadName(_) => "1 to 40 of A-Z a-z 0-9 . _ - and begin with a letter or digit",
            ImportError::BadFileName(_) => {
                "1 to 128 of A-Z a-z 0-9 . _ + -, begin with a letter, digit or _, and not manifest.json or SHA256SUMS"
            }
            ImportError::Twice(_) => "give each file of the set once",
            ImportError::Empty(_) => "copy the file again",
            ImportError::NotAKernel { looks: Looks::Initrd(_), .. }
            | ImportError::NotAnInitrd { looks: Looks::Kernel, .. } => "are kernel and initrd swapped?",
            ImportError::NotAKernel { .. } => {
                "name the file that boots: a bzImage for x86, which is boot/kernel in the installer's ISO"
            }
            ImportError::NotAnInitrd { .. } => {
                "name a cpio archive (`cpio -H newc`), compressed or not, which is boot/initrd in the installer's ISO"
            }
            ImportError::Folder(_) => {
                "name the ISO itself; or, if these are its files, the ones that are needed: --kernel PATH --initrd PATH --file NAME=PATH"
            }
            ImportError::Iso { source, .. } => source.hint(),
            ImportError::Layout { source, .. } => source.hint(),
            ImportError::OtherDigest { .. } => "download it again; is the digest that of this very file?",
            ImportError::File(error) => error.hint(),
            ImportError::Manifest(_) => "this is a fault of Metalform",
            ImportError::ThereButDamaged { .. } | ImportError::ThereButUnreadable(_) => {
                "remove that set's folder, then import again"
            }
            ImportError::Stopped => "nothing stays behind; the same command begins anew",
        }
    }

    /// Whether it lies in what was asked for, and nothing was begun.
    pub fn is_usage(&self) -> bool {
        match self {
            ImportError::BadName(_) | ImportError::BadFileName(_) | ImportError::Twice(_) | ImportError::Folder(_) => {
                true
            }
            ImportError::File(error) => error.is_usage(),
            _ => false,
        }
    }

    pub(crate) fn of_copy(fault: CopyFault, from: &Path, to: &Path) -> ImportError {
        match fault {
            CopyFault::Read(error) => FileError::of("read", from)(error).into(),
            CopyFault::Write(error) => FileError::of("write", to)(error).into(),
            CopyFault::Stopped => ImportError::Stopped,
        }
    }
}

/// Imports. Blocks for as long as it takes to read and write all bytes once; memory is bounded.
pub fn import(store: &ImageStore, import: &Import, watch: &dyn Watch) -> Result<Imported, ImportError> {
    let name = match &import.name {
        Some(name) if !is_image_set_name(name) => return Err(ImportError::BadName(name.clone())),
        Some(name) => name.clone(),
        None => default_name(&import.source),
    };
    check_names(&import.files)?;
    import.files.iter().try_for_each(|(_, path)| open_file(path).map(drop))?;
    let mut source = Opened::open(&import.source)?;
    if let (Opened::Iso(iso), files) = (&source, &import.files)
        && let Some((name, _)) = files.iter().find(|(name, _)| iso.has(name))
    {
        return Err(ImportError::Twice(name.clone()));
    }
    // From here on it takes minutes.
    let mut growing = Growing { staging: store.stage()?, files: Vec::new(), watch };
    let mut may_lack_installer = false;
    let source = match &mut source {
        Opened::Iso(iso) => {
            may_lack_installer = iso.may_hide_the_installer()
                && !import.files.iter().any(|(name, _)| role_of(name) == ImageRole::Installer);
            iso.copy_into(&mut growing, import.sha256.as_deref())?;
            iso.source()
        }
        Opened::Files { kernel, initrd } => {
            growing.add_file(ImageRole::Kernel, KERNEL_FILE, kernel)?;
            growing.add_file(ImageRole::Initrd, INITRD_FILE, initrd)?;
            format!("files {} and {}", last(kernel), last(initrd))
        }
    };
    for (name, path) in &import.files {
        growing.add_file(role_of(name), name, path)?;
    }
    let manifest = ImageManifest {
        format: MANIFEST_FORMAT,
        name,
        source,
        template: None,
        recipe: None,
        files: std::mem::take(&mut growing.files),
    };
    let made = finish(store, growing.staging, manifest, import.make_default, watch)?;
    Ok(Imported { may_lack_installer, ..made })
}

/// A source that was looked at.
enum Opened<'a> {
    Iso(Box<InstallerIso>),
    Files { kernel: &'a Path, initrd: &'a Path },
}

impl Opened<'_> {
    fn open(source: &Source) -> Result<Opened<'_>, ImportError> {
        match source {
            Source::Iso(path) => Ok(Opened::Iso(Box::new(InstallerIso::open(path)?))),
            Source::Files { kernel, initrd } => {
                for (role, path) in [(ImageRole::Kernel, kernel), (ImageRole::Initrd, initrd)] {
                    let head = read_head(open_file(path)?).map_err(FileError::of("read", path))?;
                    check_boot_file(role, &path.display().to_string(), &head)?;
                }
                Ok(Opened::Files { kernel, initrd })
            }
        }
    }
}

/// A set that is not whole yet.
pub(crate) struct Growing<'a> {
    pub staging: Staging,
    pub files: Vec<ImageFile>,
    pub watch: &'a dyn Watch,
}

impl Growing<'_> {
    /// Copies a plain file into it.
    fn add_file(&mut self, role: ImageRole, name: &str, path: &Path) -> Result<(), ImportError> {
        let mut file = open_file(path)?;
        let bytes = file.metadata().map_err(FileError::of("read", path))?.len();
        self.watch.begin(name, bytes);
        self.add(role, name, path, &mut file)
    }

    /// Writes one file of it, durably.
    pub fn add(&mut self, role: ImageRole, name: &str, from: &Path, bytes: &mut impl Read) -> Result<(), ImportError> {
        if self.files.iter().any(|file| file.name == name) {
            return Err(ImportError::Twice(name.to_owned()));
        }
        let path = self.staging.set().join(name);
        let mut file = create(&path)?;
        let copied = copy_digesting(bytes, &mut file, has_md5(role), self.watch);
        let Digested { size, sha256, md5 } = copied.map_err(|fault| ImportError::of_copy(fault, from, &path))?;
        file.sync_all().map_err(FileError::of("write", &path))?;
        if size == 0 && matches!(role, ImageRole::Kernel | ImageRole::Initrd) {
            return Err(ImportError::Empty(from.display().to_string()));
        }
        self.files.push(ImageFile { name: name.to_owned(), role, size, sha256, md5 });
        Ok(())
    }
}

/// The installer asks for MD5 of what it downloads, and of nothing else.
fn has_md5(role: ImageRole) -> bool {
    match role {
        ImageRole::Squashfs | ImageRole::HypervisorIso | ImageRole::Installer => true,
        ImageRole::Kernel | ImageRole::Initrd | ImageRole::Other => false,
    }
}

/// Writes the manifest, and makes the folder a set: the last two steps of an import and of an overlay.
pub(crate) fn finish(
    store: &ImageStore,
    mut staging: Staging,
    mut manifest: ImageManifest,
    make_default: bool,
    watch: &dyn Watch,
) -> Result<Imported, ImportError> {
    manifest.files.sort_by(|one, other| one.name.cmp(&other.name));
    let text = manifest_text(&manifest).map_err(ImportError::Manifest)?;
    write_synced(&staging.set().join(MANIFEST_FILE), text.as_bytes())?;
    let id = id_of(&manifest.name, text.as_bytes());
    if watch.is_stopped() {
        return Err(ImportError::Stopped);
    }
    let had_default = store.has_default()?;
    let is_new = store.commit(&mut staging, &id)?;
    drop(staging);
    if !is_new {
        let there = store.set(&id).map_err(ImportError::ThereButUnreadable)?;
        let faults = match there.verify(watch) {
            Err(SetError::Stopped) => return Err(ImportError::Stopped),
            verified => verified.map_err(ImportError::ThereButUnreadable)?,
        };
        if !faults.is_empty() {
            return Err(ImportError::ThereButDamaged { id, faults });
        }
    }
    if make_default || !had_default {
        store.set_default(&id)?;
    }
    let is_default = store.default_id()?.as_ref() == Some(&id);
    Ok(Imported { id, manifest, was_there: !is_new, is_default, may_lack_installer: false })
}

fn check_names(files: &[(String, PathBuf)]) -> Result<(), ImportError> {
    for (at, (name, _)) in files.iter().enumerate() {
        if !is_image_file_name(name) || [MANIFEST_FILE, SUMS_FILE].contains(&name.as_str()) {
            return Err(ImportError::BadFileName(name.clone()));
        }
        if [KERNEL_FILE, INITRD_FILE].contains(&name.as_str()) || files[..at].iter().any(|(other, _)| other == name) {
            return Err(ImportError::Twice(name.clone()));
        }
    }
    Ok(())
}

/// After the ISO, without its ending, as far as it can be a name.
fn default_name(source: &Source) -> String {
    let Source::Iso(path) = source else { return "custom".to_owned() };
    let name = file_name(&last(path).to_ascii_lowercase());
    let plain = |c: char| if c == '+' { '-' } else { c };
    let name: String = name.trim_end_matches(".iso").chars().map(plain).take(40).collect();
    let name = name.trim_matches(['_', '-', '.']);
    if is_image_set_name(name) { name.to_owned() } else { "custom".to_owned() }
}

/// A path's own name.
pub(crate) fn last(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
