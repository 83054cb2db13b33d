//! Kernel modules: what they are called, what they need, for which kernel they were built, and in which order they go in.
//!
//! All of it stands in a module's own `.modinfo` section, as texts `key=value`; the tables that `depmod` makes are not needed.

use super::kernel::is_release;
use crate::opened::open_file;
use object::{Object, ObjectSection};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

/// No module is larger, compressed or not.
const MAX_MODULE_BYTES: u64 = 64 << 20;
const MAX_DEPTH: usize = 32;
const ENDINGS: [&str; 4] = [".ko", ".ko.xz", ".ko.gz", ".ko.zst"];

/// One module, decompressed.
#[derive(Debug)]
pub(super) struct Module {
    /// With `_` where the file has `-`, as the kernel calls it.
    pub name: String,
    /// `uname -r` of its kernel.
    pub release: String,
    pub needs: Vec<String>,
    pub bytes: Vec<u8>,
}

/// Why modules can't go into an initrd. Permanent.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// The file can't be read, or not be decompressed.
    #[error("the kernel module {path} can't be read", path = path.display())]
    Unreadable {
        /// Its path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The folder of all modules can't be read.
    #[error("the folder of kernel modules {path} can't be read", path = path.display())]
    Folder {
        /// Its path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Not a module, or not one that says for which kernel it is.
    #[error("{path} is no kernel module: {why}", path = path.display())]
    NoModule {
        /// Its path.
        path: PathBuf,
        /// What it lacks.
        why: String,
    },
    /// Nothing of that name was given.
    #[error("there is no kernel module {name} among what was given{}", .needed_by.as_ref().map(|by| format!(", and {by} needs it")).unwrap_or_default())]
    Unknown {
        /// Its name.
        name: String,
        /// The module that needs it.
        needed_by: Option<String>,
    },
    /// Built for another kernel.
    #[error("the kernel module {module} was built for kernel {built_for}, and the set boots kernel {kernel}")]
    OtherKernel {
        /// Its name.
        module: String,
        /// Its release.
        built_for: String,
        /// The set's release.
        kernel: String,
    },
    /// The set's kernel doesn't say its release, so nothing could be compared.
    #[error("the set's kernel doesn't say which release it is: no Linux bzImage")]
    SilentKernel,
}

impl ModuleError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            ModuleError::Unreadable { .. } => "give a file .ko, .ko.xz, .ko.gz or .ko.zst that this user may read",
            ModuleError::Folder { .. } => {
                "name the folder of all modules of the set's kernel: /lib/modules/RELEASE, or a copy of it"
            }
            ModuleError::NoModule { .. } => "give the module as its package or build has it",
            ModuleError::Unknown { .. } => {
                "add it with --module, or name the folder of all modules of that kernel with --modules-dir"
            }
            ModuleError::OtherKernel { .. } => {
                "build or fetch the module for the kernel of the set; another one loads nothing, and the machine has no network"
            }
            ModuleError::SilentKernel => "modules go into sets whose kernel is a bzImage, as installers have it",
        }
    }
}

impl Module {
    /// Reads and decompresses one.
    fn read(path: &Path) -> Result<Module, ModuleError> {
        let unreadable = |source| ModuleError::Unreadable { path: path.to_owned(), source };
        let no_module = |why: &str| ModuleError::NoModule { path: path.to_owned(), why: why.to_owned() };
        let file = open_file(path).map_err(|error| unreadable(error.source))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        let mut read =
            |from: &mut dyn Read| from.take(MAX_MODULE_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable);
        match name.rsplit('.').next() {
            Some("xz") => read(&mut lzma_rust2::XzReader::new(io::BufReader::new(file), true)),
            Some("gz") => read(&mut flate2::read::MultiGzDecoder::new(file)),
            Some("zst") => {
                let decoder = ruzstd::decoding::StreamingDecoder::new(io::BufReader::new(file));
                read(&mut decoder.map_err(|error| unreadable(io::Error::other(error)))?)
            }
            _ => read(&mut { file }),
        }?;
        if bytes.len() as u64 > MAX_MODULE_BYTES {
            return Err(no_module("it has more than 64 MiB"));
        }
        let info = modinfo(&bytes).map_err(|why| no_module(&why))?;
        let value = |key| info.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
        let release = value("vermagic").and_then(|magic| magic.split_whitespace().next());
        let release = release.ok_or(no_module("it doesn't say for which kernel it was built"))?.to_owned();
        if !is_release(&release) {
            return Err(no_module("the kernel it was built for has no name that kernels have"));
        }
        // Modules of before 4.13 are called as their files only.
        let name = canonical(value("name").unwrap_or(&stem(&name)));
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(no_module("its name can't be one"));
        }
        let needs = value("depends").unwrap_or_default().split(',').filter(|name| !name.is_empty()).map(canonical);
        Ok(Module { name, release, needs: needs.collect(), bytes })
    }
}

fn modinfo(bytes: &[u8]) -> Result<Vec<(String, String)>, String> {
    let file = object::File::parse(bytes).map_err(|error| error.to_string())?;
    let section = file.section_by_name(".modinfo").ok_or("it has no section .modinfo")?;
    let data = section.data().map_err(|error| error.to_string())?;
    let texts = data.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    Ok(texts.filter_map(|text| text.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()))).collect())
}

/// The modules that were given, in the order in which they must be loaded.
#[derive(Debug, Default)]
pub(super) struct Modules {
    /// Each after all it needs.
    pub in_order: Vec<Module>,
    /// `(module, what it needs)` that nobody gave: it has to be in the initrd already, or in the kernel.
    pub expected: BTreeSet<(String, String)>,
    /// Asked for by name, and there without a module.
    pub built_in: BTreeSet<String>,
}

impl Modules {
    /// Reads `files`, and from the folder `dir` whatever is named or needed. `first` go in first, in their order.
    pub fn gather(files: &[PathBuf], dir: Option<&Path>, first: &[String]) -> Result<Modules, ModuleError> {
        let mut given = BTreeMap::new();
        let mut wanted: Vec<String> = first.iter().map(|name| canonical(name)).collect();
        for path in files {
            let module = Module::read(path)?;
            wanted.push(module.name.clone());
            given.insert(module.name.clone(), module);
        }
        let mut search = Search { given, dir: dir.map(Catalogue::read).transpose()?, modules: Modules::default() };
        for name in wanted {
            search.add(&name, None, &mut Vec::new())?;
        }
        Ok(search.modules)
    }

    /// Holds that all were built for this kernel.
    pub fn check_release(&self, kernel: Option<&str>) -> Result<(), ModuleError> {
        for module in &self.in_order {
            let kernel = kernel.ok_or(ModuleError::SilentKernel)?;
            if module.release != kernel {
                let (module, built_for) = (module.name.clone(), module.release.clone());
                return Err(ModuleError::OtherKernel { module, built_for, kernel: kernel.to_owned() });
            }
        }
        Ok(())
    }
}

struct Search {
    given: BTreeMap<String, Module>,
    dir: Option<Catalogue>,
    modules: Modules,
}

impl Search {
    /// Adds a module after what it needs. `above` are those that led here: modules that need each other would never end.
    fn add(&mut self, name: &str, needed_by: Option<&str>, above: &mut Vec<String>) -> Result<(), ModuleError> {
        let is_in = self.modules.in_order.iter().any(|module| module.name == name);
        if is_in || above.iter().any(|each| each == name) {
            return Ok(());
        }
        let module = match (self.given.remove(name), &self.dir) {
            (Some(module), _) => module,
            (None, Some(dir)) => match dir.paths.get(name) {
                Some(path) => Module::read(path)?,
                None if dir.builtin.contains(name) => {
                    if needed_by.is_none() {
                        self.modules.built_in.insert(name.to_owned());
                    }
                    return Ok(());
                }
                None => {
                    let needed_by = needed_by.map(str::to_owned);
                    return Err(ModuleError::Unknown { name: name.to_owned(), needed_by });
                }
            },
            (None, None) => match needed_by {
                Some(module) => {
                    self.modules.expected.insert((module.to_owned(), name.to_owned()));
                    return Ok(());
                }
                None => return Err(ModuleError::Unknown { name: name.to_owned(), needed_by: None }),
            },
        };
        above.push(name.to_owned());
        for needed in &module.needs {
            self.add(needed, Some(name), above)?;
        }
        above.pop();
        self.modules.in_order.push(module);
        Ok(())
    }
}

/// A folder `/lib/modules/RELEASE`.
struct Catalogue {
    paths: BTreeMap<String, PathBuf>,
    builtin: BTreeSet<String>,
}

impl Catalogue {
    fn read(dir: &Path) -> Result<Catalogue, ModuleError> {
        let mut found = Vec::new();
        find(dir, 0, &mut found)?;
        // As `depmod` prefers them: what was put there later replaces what came with the kernel.
        found.sort_by_key(|path| {
            let is_in = |folder: &str| path.strip_prefix(dir).is_ok_and(|below| below.starts_with(folder));
            (
                if is_in("updates") {
                    0
                } else if is_in("extra") {
                    1
                } else {
                    2
                },
                path.clone(),
            )
        });
        let mut paths = BTreeMap::new();
        for path in found {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            paths.entry(canonical(&stem(&name))).or_insert(path);
        }
        let list = dir.join("modules.builtin");
        let builtin = match fs::read_to_string(&list) {
            Ok(text) => {
                text.lines().filter_map(|line| line.rsplit('/').next()).map(|name| canonical(&stem(name))).collect()
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeSet::new(),
            Err(source) => return Err(ModuleError::Unreadable { path: list, source }),
        };
        Ok(Catalogue { paths, builtin })
    }
}

/// Links are passed over: `build` and `source` lead to whole kernels.
fn find(dir: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), ModuleError> {
    let fault = |source| ModuleError::Folder { path: dir.to_owned(), source };
    for entry in fs::read_dir(dir).map_err(fault)? {
        let entry = entry.map_err(fault)?;
        let (kind, path) = (entry.file_type().map_err(fault)?, entry.path());
        if kind.is_dir() && depth < MAX_DEPTH {
            find(&path, depth + 1, found)?;
        } else if kind.is_file() && ENDINGS.iter().any(|end| entry.file_name().to_string_lossy().ends_with(end)) {
            found.push(path);
        }
    }
    Ok(())
}

fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

fn stem(file: &str) -> String {
    let end = ENDINGS.iter().rev().find(|end| file.ends_with(*end));
    file.strip_suffix(*end.unwrap_or(&"")).unwrap_or(file).to_owned()
}
