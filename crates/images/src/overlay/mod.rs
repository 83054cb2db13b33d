//! Makes a set out of another: the same files, with more in its initrd.
//!
//! Linux unpacks one archive after the other into the same root (Documentation/driver-api/early-userspace/buffer-format.rst),
//! each compressed or not. So ours is put behind the vendor's, which is neither unpacked nor changed, whatever it is
//! compressed with; and ours isn't compressed, so that no kernel lacks what it takes to read it.
//!
//! Everything of ours lies below `/metalform`, modules too, and not below `/lib/modules`, for two reasons. A folder in an
//! archive replaces a symbolic link of that name: where the vendor's `/lib` is a link to `/usr/lib`, an entry `lib` would
//! take the vendor's libraries away. And a `modules.dep` of ours would replace the vendor's, whose modules would then not be
//! found. So `/metalform/modules/order` says what is loaded in which order, one path a line, and whoever loads them needs
//! neither `modprobe` nor its tables (a `modules.dep` elsewhere was rejected: kmod reads none without the binary index that
//! only its own `depmod` writes, and busybox reads none but that below `/lib/modules`).
//! For the same reason the usual folders of a root are never entries: a file that is put there relies on the vendor's.

mod certificates;
mod entries;
mod kernel;
mod module;

pub use module::ModuleError;

use crate::{
    FileError, ImageStore, ImportError, Imported, SetError, SetFault, StoredSet, Watch,
    cpio::{CpioError, CpioWriter},
    import::{Growing, finish},
    opened::open_file,
};
use entries::{Added, Entries, INIT, ORDER};
use kernel::kernel_release;
use metalform_model::{
    INITRD_FILE, ImageFile, ImageManifest, ImageRole, KERNEL_FILE, MANIFEST_FORMAT, Recipe, is_image_set_name,
};
use module::Modules;
use std::{
    fs::{self, File},
    io::{self, BufWriter, Read},
    path::{Path, PathBuf},
};

/// What is to be added to which set.
#[derive(Debug, Clone, Default)]
pub struct Overlay {
    /// Id of the set.
    pub base: String,
    /// Kernel modules, compressed or not.
    pub modules: Vec<PathBuf>,
    /// A folder `/lib/modules/RELEASE`, of which only what is named or needed is taken.
    pub modules_dir: Option<PathBuf>,
    /// Modules to load first, by name.
    pub load: Vec<String>,
    /// More files: place in the initrd, and path.
    pub files: Vec<(String, PathBuf)>,
    /// The agent's program.
    pub agent: Option<PathBuf>,
    /// What is started in the agent's place, and hands over to `/metalform/agent` when it has done its part.
    pub init: Option<PathBuf>,
    /// Certificates for programs of the initrd, PEM.
    pub ca: Option<PathBuf>,
    /// How the agent runs the installer; `None`: as before.
    pub recipe: Option<Recipe>,
    /// Name of the script template; `None`: as before.
    pub template: Option<String>,
    /// What the new set is called; `None`: as before.
    pub name: Option<String>,
    /// Make it the default.
    pub make_default: bool,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Overlaid {
    /// The new set.
    pub set: Imported,
    /// Modules in the order of loading.
    pub modules: Vec<String>,
    /// Modules that the given ones need and that nobody gave: `(module, what it needs)`.
    pub expected: Vec<(String, String)>,
    /// Modules that were asked for by name and are part of the kernel: nothing was added for them.
    pub built_in: Vec<String>,
    /// The set's machines are told to start `/metalform/init`, and no overlay puts one into the initrd. The vendor's own
    /// archive may, which can't be seen where it is compressed.
    pub lacks_init: bool,
}

/// Why no set was made. Nothing stays behind.
#[derive(Debug, thiserror::Error)]
pub enum OverlayError {
    /// The set can't be looked at.
    #[error("the set can't be used")]
    Base(#[source] SetError),
    /// The set isn't what its manifest says.
    #[error("{id} is damaged: {}", .faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Damaged {
        /// Its id.
        id: String,
        /// What is wrong.
        faults: Vec<SetFault>,
    },
    /// Nothing to add.
    #[error("there is nothing to add to {id}{}", built_into_its_kernel(.built_in))]
    Nothing {
        /// The set.
        id: String,
        /// Modules that were asked for and are part of its kernel.
        built_in: Vec<String>,
    },
    /// Not a name.
    #[error("{0:?} can't be the name of an image set or a script template")]
    BadName(String),
    /// Two things at one place.
    #[error("two things would be at /{0} in the initrd")]
    Twice(String),
    /// A file where only what was checked may be.
    #[error("only {flag} puts something at /{place} in the initrd")]
    Reserved {
        /// The place.
        place: String,
        /// The option that puts something there.
        flag: &'static str,
    },
    /// An agent that nothing would start.
    #[error("{id} has no recipe, and without one its machines don't start the agent")]
    NoRecipe {
        /// The set.
        id: String,
    },
    /// The recipe's command can't be started.
    #[error("the recipe can't run: {why}")]
    BadRecipe {
        /// What is wrong with it.
        why: String,
    },
    /// The recipe needs a file that the set doesn't have.
    #[error("the recipe names {file}, which is no file of {id}")]
    RecipeFile {
        /// The file.
        file: String,
        /// The set.
        id: String,
    },
    /// Modules would hide those of an earlier overlay.
    #[error("the initrd of {0} has modules of an earlier overlay")]
    ModulesTwice(String),
    /// Modules that can't go in.
    #[error(transparent)]
    Module(#[from] ModuleError),
    /// A program that couldn't run there.
    #[error("{path} can't be the agent: {why}", path = path.display())]
    BadAgent {
        /// Its path.
        path: PathBuf,
        /// Why not.
        why: &'static str,
    },
    /// Neither a script nor a program.
    #[error("{path} can't be what is started: it is neither a script (`#!`) nor an ELF program", path = path.display())]
    BadInit {
        /// Its path.
        path: PathBuf,
    },
    /// Not certificates, or more than those.
    #[error("{path} can't be trusted certificates: {why}", path = path.display())]
    BadCa {
        /// Its path.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// The archive can't be written.
    #[error("the addition to the initrd can't be written")]
    Cpio(#[from] CpioError),
    /// The set can't be written.
    #[error(transparent)]
    Write(#[from] ImportError),
    /// A file can't be read.
    #[error(transparent)]
    File(#[from] FileError),
}

impl OverlayError {
    /// Whether the same may work later without anybody doing something.
    pub fn is_transient(&self) -> bool {
        match self {
            OverlayError::Base(error) => error.is_transient(),
            OverlayError::Write(error) => error.is_transient(),
            OverlayError::File(error) => error.is_transient(),
            _ => false,
        }
    }

    /// Whether it lies in what was asked for, and nothing was begun.
    pub fn is_usage(&self) -> bool {
        match self {
            OverlayError::Nothing { .. }
            | OverlayError::BadName(_)
            | OverlayError::Twice(_)
            | OverlayError::Reserved { .. }
            | OverlayError::NoRecipe { .. }
            | OverlayError::BadRecipe { .. }
            | OverlayError::RecipeFile { .. }
            | OverlayError::Module(_)
            | OverlayError::BadAgent { .. }
            | OverlayError::BadInit { .. }
            | OverlayError::BadCa { .. }
            | OverlayError::Cpio(CpioError::BadPath(_) | CpioError::TooLong { .. })
            | OverlayError::Base(SetError::Unknown { .. }) => true,
            OverlayError::File(error) => error.is_usage(),
            OverlayError::Write(error) => error.is_usage(),
            _ => false,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            OverlayError::Base(error) => error.hint(),
            OverlayError::Damaged { .. } => "import it anew; nothing is added to files that nobody knows",
            OverlayError::Nothing { .. } => {
                "name something: --module, --load, --file, --agent, --init, --ca, --recipe, --template"
            }
            OverlayError::BadName(_) => "1 to 40 of A-Z a-z 0-9 . _ - and begin with a letter or digit",
            OverlayError::Twice(_) => "name each place once",
            OverlayError::Reserved { .. } => {
                "give it with that option, which looks at what it puts there; another place below /metalform is free"
            }
            OverlayError::NoRecipe { .. } => {
                "say how it runs the installer with --recipe FILE.json; docs/images.md shows what one looks like"
            }
            OverlayError::BadRecipe { .. } => "docs/images.md shows what a recipe looks like",
            OverlayError::RecipeFile { .. } => {
                "import the set with that file (`image import --file`), or mend the recipe"
            }
            OverlayError::ModulesTwice(_) => "begin with the set that one was made from, and give all modules at once",
            OverlayError::Module(error) => error.hint(),
            OverlayError::BadAgent { .. } => {
                "give the `metalform-agent` of this release: a 64-bit ELF program that needs no library"
            }
            OverlayError::BadInit { .. } => {
                "give a script whose shell the initrd has, or a program; it ends in `exec /metalform/agent`"
            }
            OverlayError::BadCa { .. } => "give the certificates alone, in PEM",
            OverlayError::Cpio(error) => error.hint(),
            OverlayError::Write(error) => error.hint(),
            OverlayError::File(error) => error.hint(),
        }
    }
}

/// Makes the new set. Blocks for as long as it takes to read the old one once.
pub fn overlay(store: &ImageStore, what: &Overlay, watch: &dyn Watch) -> Result<Overlaid, OverlayError> {
    let bad_name = |name: &Option<String>| name.clone().filter(|name| !is_image_set_name(name));
    if let Some(name) = bad_name(&what.name).or(bad_name(&what.template)) {
        return Err(OverlayError::BadName(name));
    }
    let base = store.set(&what.base).map_err(OverlayError::Base)?;
    let recipe = what.recipe.clone().or_else(|| base.manifest.recipe.clone());
    if let Some(why) = what.recipe.as_ref().and_then(Recipe::fault) {
        return Err(OverlayError::BadRecipe { why });
    }
    check_files(recipe.as_ref(), &base)?;
    if recipe.is_none() && (what.agent.is_some() || what.init.is_some()) {
        return Err(OverlayError::NoRecipe { id: base.id });
    }
    let modules = Modules::gather(&what.modules, what.modules_dir.as_deref(), &what.load)?;
    let kernel = match modules.in_order.is_empty() {
        true => None,
        false => kernel_release(&base.dir.join(KERNEL_FILE))?,
    };
    modules.check_release(kernel.as_deref())?;
    let entries = entries::collect(what, &modules, kernel.as_deref().unwrap_or_default())?;
    if entries.is_empty() && what.recipe.is_none() && what.template.is_none() && what.name.is_none() {
        return Err(OverlayError::Nothing { id: base.id, built_in: modules.built_in.into_iter().collect() });
    }
    let faults = base.verify(watch).map_err(OverlayError::Base)?;
    if !faults.is_empty() {
        return Err(OverlayError::Damaged { id: base.id, faults });
    }
    if !modules.in_order.is_empty() && holds(&base.dir.join(INITRD_FILE), &format!("{ORDER}\0"))? {
        return Err(OverlayError::ModulesTwice(base.id));
    }
    let lacks_init =
        recipe.is_some() && !entries.contains_key(INIT) && !holds(&base.dir.join(INITRD_FILE), &format!("{INIT}\0"))?;
    let mut growing = Growing { staging: store.stage()?, files: Vec::new(), watch };
    for file in &base.manifest.files {
        match file.role {
            ImageRole::Initrd if !entries.is_empty() => add_initrd(&mut growing, &base, &entries)?,
            _ => take_over(&mut growing, &base, file)?,
        }
    }
    let added = added(what, &modules);
    let manifest = ImageManifest {
        format: MANIFEST_FORMAT,
        name: what.name.clone().unwrap_or(base.manifest.name),
        source: format!("{}{added}", base.id),
        template: what.template.clone().or(base.manifest.template),
        recipe,
        files: growing.files,
    };
    let set = finish(store, growing.staging, manifest, what.make_default, watch)?;
    let modules_in_order = modules.in_order.into_iter().map(|module| module.name).collect();
    let expected = modules.expected.into_iter().collect();
    let built_in = modules.built_in.into_iter().collect();
    Ok(Overlaid { set, modules: modules_in_order, expected, built_in, lacks_init })
}

fn built_into_its_kernel(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => format!(": {one} is built into its kernel"),
        more => format!(": {} are built into its kernel", more.join(", ")),
    }
}

fn check_files(recipe: Option<&Recipe>, base: &StoredSet) -> Result<(), OverlayError> {
    let Some(Recipe::Command { files, .. }) = recipe else { return Ok(()) };
    match files.iter().find(|file| base.manifest.file(file).is_none()) {
        Some(file) => Err(OverlayError::RecipeFile { file: file.clone(), id: base.id.clone() }),
        None => Ok(()),
    }
}

/// The vendor's bytes as they are, then ours at the next multiple of four, where Linux looks for an archive.
fn add_initrd(growing: &mut Growing<'_>, base: &StoredSet, entries: &Entries) -> Result<(), OverlayError> {
    let scratch = growing.staging.scratch();
    let fault = || FileError::of("write", &scratch);
    let file = File::create_new(&scratch).map_err(fault())?;
    let mut cpio = CpioWriter::new(BufWriter::new(file));
    for (place, added) in entries {
        match added {
            Added::Folder => cpio.folder(place, 0o755)?,
            Added::Link(target) => cpio.link(place, target)?,
            Added::Bytes(bytes) => cpio.file(place, 0o644, bytes.len() as u64, &mut bytes.as_slice())?,
            Added::File { from, permissions } => {
                let mut file = open_file(from)?;
                let len = file.metadata().map_err(FileError::of("read", from))?.len();
                cpio.file(place, *permissions, len, &mut file)?;
            }
        }
    }
    drop(cpio.finish()?);
    let ours = File::open(&scratch).map_err(FileError::of("read", &scratch))?;
    let path = base.dir.join(INITRD_FILE);
    let theirs = File::open(&path).map_err(FileError::of("read", &path))?;
    let len = theirs.metadata().map_err(FileError::of("read", &path))?.len();
    let total = ours.metadata().map_or(len, |there| len + there.len());
    growing.watch.begin(&format!("{INITRD_FILE} of {} and what is added", base.id), total);
    let padding = io::repeat(0).take(len.next_multiple_of(4) - len);
    growing.add(ImageRole::Initrd, INITRD_FILE, &path, &mut theirs.chain(padding).chain(ours))?;
    Ok(())
}

/// A file that stays as it is gets a second name: sets never change, so two can have the same one. Where the file system
/// can't do that, it is copied and compared.
fn take_over(growing: &mut Growing<'_>, base: &StoredSet, file: &ImageFile) -> Result<(), OverlayError> {
    let (old, new) = (base.dir.join(&file.name), growing.staging.set().join(&file.name));
    if fs::hard_link(&old, &new).is_err() {
        growing.watch.begin(&file.name, file.size);
        let mut from = File::open(&old).map_err(FileError::of("read", &old))?;
        growing.add(file.role, &file.name, &old, &mut from)?;
        let copied = growing.files.pop().map(|copied| copied.sha256).unwrap_or_default();
        if copied != file.sha256 {
            let fault = SetFault::Digest { file: file.name.clone(), is: copied, should: file.sha256.clone() };
            return Err(OverlayError::Damaged { id: base.id.clone(), faults: vec![fault] });
        }
    }
    growing.files.push(file.clone());
    Ok(())
}

/// Whether these bytes are somewhere in the file.
fn holds(path: &Path, text: &str) -> Result<bool, FileError> {
    let mut file = File::open(path).map_err(FileError::of("read", path))?;
    let (text, mut window) = (text.as_bytes(), Vec::new());
    loop {
        let read = file.by_ref().take(1 << 20).read_to_end(&mut window).map_err(FileError::of("read", path))?;
        if window.windows(text.len()).any(|each| each == text) {
            return Ok(true);
        }
        if read == 0 {
            return Ok(false);
        }
        // What may be the beginning of it stays.
        window.drain(..window.len().saturating_sub(text.len() - 1));
    }
}

/// For the manifest: what a person would want to know of where it came from.
fn added(what: &Overlay, modules: &Modules) -> String {
    let names = modules.in_order.iter().map(|module| module.name.clone());
    let mut added: Vec<String> = names.collect();
    added.extend(what.agent.as_ref().map(|_| "agent".to_owned()));
    added.extend(what.init.as_ref().map(|_| "init".to_owned()));
    added.extend(what.ca.as_ref().map(|_| "ca".to_owned()));
    added.extend(what.files.iter().map(|(place, _)| place.clone()));
    added.extend(what.recipe.as_ref().map(|_| "recipe".to_owned()));
    added.extend(what.template.as_ref().map(|name| format!("template {name}")));
    if added.is_empty() { String::new() } else { format!(" with {}", added.join(", ")) }
}
