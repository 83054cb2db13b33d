//! An installer's ISO, with what a set takes out of it.

use crate::{
    FileError, ImportError, LayoutError, Watch,
    boot_file::{check_boot_file, read_head},
    copy::digest_of,
    import::{Growing, last},
    iso::{Content, Iso, IsoError, Names},
    layout::{Found, find_layout},
    opened::open_iso,
};
use metalform_model::ImageRole;
use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

/// Opened and looked through: nothing was copied yet.
pub(crate) struct InstallerIso {
    path: PathBuf,
    iso: Iso<File>,
    /// With where the parts of each are.
    found: Vec<(Found, Vec<Content>)>,
}

impl InstallerIso {
    /// Refuses what is no ISO, is cut short, or holds other things than an installer.
    pub fn open(path: &Path) -> Result<InstallerIso, ImportError> {
        let fault = |source| ImportError::Iso { iso: path.to_owned(), source };
        if path.is_dir() {
            return Err(ImportError::Folder(path.to_owned()));
        }
        let mut iso = Iso::open(open_iso(path)?).map_err(fault)?;
        let tree = iso.tree().map_err(fault)?;
        let mut contents: HashMap<&str, &Content> = tree.files().into_iter().collect();
        let unreadable: HashMap<&str, &'static str> = tree.unreadable_files().into_iter().collect();
        let layout = |contents: &HashMap<&str, &Content>| {
            let mut paths: Vec<&str> = contents.keys().chain(unreadable.keys()).copied().collect();
            paths.sort_unstable();
            find_layout(&paths)
        };
        let found = match layout(&contents) {
            // Links are a second choice, so that a link to a file is no second candidate beside it.
            Err(LayoutError::Missing { .. }) => {
                contents.extend(tree.linked_files());
                layout(&contents)
            }
            found => found,
        };
        let found = found.map_err(|source| ImportError::Layout { iso: path.to_owned(), source })?;
        // Left out, it would be missed only on the machine.
        let parts = found.iter().flat_map(|found| &found.parts);
        if let Some((path_in, how)) = parts.clone().find_map(|part| unreadable.get_key_value(part.as_str())) {
            return Err(fault(IsoError::Unsupported { path: (*path_in).to_owned(), how }));
        }
        let with_parts = |found: Found| {
            let parts = found.parts.iter().filter_map(|part| contents.get(part.as_str()).copied().cloned()).collect();
            (found, parts)
        };
        let found: Vec<(Found, Vec<Content>)> = found.into_iter().map(with_parts).collect();
        for (found, parts) in &found {
            let head = read_head(Joined { iso: &mut iso, ahead: parts, at: 0, read: 0 });
            let head = head.map_err(FileError::of("read", path))?;
            check_boot_file(found.role, &format!("{} in {}", found.parts.join(" + "), path.display()), &head)?;
        }
        Ok(InstallerIso { path: path.to_owned(), iso, found })
    }

    /// Whether the set has a file of that name from it.
    pub fn has(&self, name: &str) -> bool {
        self.found.iter().any(|(found, _)| found.name == name)
    }

    /// Whether it has the short names alone, which cut off what is longer, and no installer package was found by its own.
    pub fn may_hide_the_installer(&self) -> bool {
        let is_installer = |(found, _): &(Found, Vec<Content>)| found.role == ImageRole::Installer;
        self.iso.names() == Names::Plain && !self.found.iter().any(is_installer)
    }

    /// For the manifest: which one it was.
    pub fn source(&self) -> String {
        format!("{} ({}, {} bytes)", last(&self.path), self.iso.label(), self.iso.len_bytes())
    }

    /// Copies all of it. The ISO's own digest is computed beside only where it has to be compared: half of a processor's time
    /// goes into digests already.
    pub fn copy_into(&mut self, growing: &mut Growing<'_>, sha256: Option<&str>) -> Result<(), ImportError> {
        let InstallerIso { path, iso, found } = self;
        let mut whole = open_iso(path)?;
        let beside = Beside { watch: growing.watch, is_over: AtomicBool::new(false) };
        thread::scope(|scope| {
            let digest = sha256.map(|should| (should, scope.spawn(|| digest_of(&mut whole, &beside))));
            for (found, parts) in &*found {
                let copied = copy_out(growing, iso, path, found, parts);
                // Nobody wants the digest any more, and it may have gigabytes to go.
                beside.is_over.store(copied.is_err(), Ordering::Relaxed);
                copied?;
            }
            let Some((should, digest)) = digest else { return Ok(()) };
            let is = match digest.join() {
                Ok(digested) => digested.map_err(|fault| ImportError::of_copy(fault, path, path))?.sha256,
                Err(_) => return Err(FileError::of("read", path)(io::Error::other("its digest failed")).into()),
            };
            match is.eq_ignore_ascii_case(should) {
                true => Ok(()),
                false => Err(ImportError::OtherDigest { iso: path.clone(), is, should: should.to_owned() }),
            }
        })
    }
}

fn copy_out(
    growing: &mut Growing<'_>,
    iso: &mut Iso<File>,
    path: &Path,
    found: &Found,
    parts: &[Content],
) -> Result<(), ImportError> {
    let bytes = parts.iter().map(Content::len).sum();
    growing.watch.begin(&format!("{} from {}", found.name, found.parts.join(" + ")), bytes);
    growing.add(found.role, &found.name, path, &mut Joined { iso, ahead: parts, at: 0, read: 0 })
}

/// Several files of an ISO as one.
struct Joined<'a> {
    iso: &'a mut Iso<File>,
    ahead: &'a [Content],
    /// Which of them.
    at: usize,
    /// How much of it was read.
    read: u64,
}

impl Read for Joined<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(content) = self.ahead.get(self.at) {
            let read = self.iso.content_from(content, self.read).read(buffer)?;
            if read > 0 || buffer.is_empty() {
                self.read += read as u64;
                return Ok(read);
            }
            (self.at, self.read) = (self.at + 1, 0);
        }
        Ok(0)
    }
}

/// Passes on that it has to end, and nothing else: the bytes are counted where they are copied.
struct Beside<'a> {
    watch: &'a dyn Watch,
    is_over: AtomicBool,
}

impl Watch for Beside<'_> {
    fn begin(&self, _what: &str, _bytes: u64) {}
    fn advance(&self, _bytes: u64) {}
    fn is_stopped(&self) -> bool {
        self.is_over.load(Ordering::Relaxed) || self.watch.is_stopped()
    }
}
