//! All files of an image.

use super::{Iso, IsoError, Names, SECTOR_BYTES, record::Record, rock_ridge::SystemUse, u32_at};
use std::{
    collections::{HashMap, HashSet},
    io::{self, Read, Seek, SeekFrom},
};

const MAX_ENTRIES: usize = 1 << 17;
const MAX_DEPTH: usize = 64;
const MAX_FOLDER_BYTES: u64 = 16 << 20;
/// Parts of one file, of 4 GiB each.
const MAX_EXTENTS: usize = 4096;
/// As on Linux.
const MAX_LINKS_FOLLOWED: usize = 40;

/// Bytes in a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Extent {
    pub start: u64,
    pub len: u64,
}

/// Where a file's bytes are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    extents: Vec<Extent>,
}

impl Content {
    /// In bytes.
    pub fn len(&self) -> u64 {
        self.extents.iter().map(|extent| extent.len).sum()
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One file, folder or link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// From the root, with `/` in between and none before.
    pub path: String,
    /// What it is.
    pub kind: Kind,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Holds others.
    Folder,
    /// A file.
    File(Content),
    /// A symbolic link, and where it leads.
    Link(String),
    /// A device, pipe or socket; nothing is read from those.
    Special,
    /// A file in a form that is not read.
    Unreadable(&'static str),
}

/// All of them, without the root, in the order of the image.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    /// With their paths.
    pub entries: Vec<Entry>,
}

impl Tree {
    /// The files, by their paths.
    pub fn files(&self) -> Vec<(&str, &Content)> {
        let file = |entry: &'_ Entry| matches!(entry.kind, Kind::File(_));
        self.reached(file)
    }

    /// Files that symbolic links lead to, by the paths of the links.
    pub fn linked_files(&self) -> Vec<(&str, &Content)> {
        let link = |entry: &'_ Entry| matches!(entry.kind, Kind::Link(_));
        self.reached(link)
    }

    /// Files in a form that isn't read, by their paths, with the form.
    pub fn unreadable_files(&self) -> Vec<(&str, &'static str)> {
        let files = self.entries.iter().filter_map(|entry| match entry.kind {
            Kind::Unreadable(how) => Some((entry.path.as_str(), how)),
            _ => None,
        });
        files.collect()
    }

    fn reached(&self, from: impl Fn(&Entry) -> bool) -> Vec<(&str, &Content)> {
        let known: HashMap<&str, &Entry> = self.entries.iter().map(|entry| (entry.path.as_str(), entry)).collect();
        let starts = self.entries.iter().filter(|entry| from(entry));
        starts.filter_map(|entry| Some((entry.path.as_str(), follow(entry, &known)?))).collect()
    }
}

fn follow<'a>(entry: &'a Entry, known: &HashMap<&str, &'a Entry>) -> Option<&'a Content> {
    let mut entry = entry;
    for _ in 0..MAX_LINKS_FOLLOWED {
        match &entry.kind {
            Kind::File(content) => return Some(content),
            Kind::Link(target) => entry = known.get(join(&entry.path, target)?.as_str())?,
            Kind::Folder | Kind::Special | Kind::Unreadable(_) => return None,
        }
    }
    None
}

/// Where a link at `path` leads; `None` above the root. Folders on the way that are links themselves aren't followed.
fn join(path: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = match target.strip_prefix('/') {
        Some(_) => Vec::new(),
        None => path.split('/').collect(),
    };
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// A folder that is still to be read.
struct Ahead {
    path: String,
    extent: Extent,
    depth: usize,
}

/// A file whose record said that the next one goes on with it.
struct Open {
    identifier: Vec<u8>,
    content: Content,
}

impl<R: Read + Seek> Iso<R> {
    /// Reads every folder. Fails if any file lies outside of the image, so that a torn download is noticed before the first
    /// byte is copied.
    pub fn tree(&mut self) -> Result<Tree, IsoError> {
        let mut tree = Tree::default();
        let mut ahead = vec![Ahead { path: String::new(), extent: self.volume.root, depth: 0 }];
        let mut entered = HashSet::new();
        while let Some(folder) = ahead.pop() {
            let at = folder.extent.start;
            if !entered.insert(at) {
                return Err(IsoError::Damaged { at, why: "a folder is in itself, or in two others" });
            }
            if folder.depth > MAX_DEPTH {
                return Err(IsoError::TooMuch { what: "folders in one another", limit: MAX_DEPTH as u64 });
            }
            if folder.extent.len > MAX_FOLDER_BYTES {
                return Err(IsoError::Damaged { at, why: "a folder is larger than folders are" });
            }
            let bytes = self.read_at(at, folder.extent.len)?;
            self.read_folder(&folder, &bytes, &mut tree, &mut ahead)?;
        }
        Ok(tree)
    }

    fn read_folder(
        &mut self,
        folder: &Ahead,
        bytes: &[u8],
        tree: &mut Tree,
        ahead: &mut Vec<Ahead>,
    ) -> Result<(), IsoError> {
        let sector = usize::try_from(SECTOR_BYTES).unwrap_or(usize::MAX);
        let (mut at, mut open) = (0, None::<Open>);
        while at < bytes.len() {
            let place = folder.extent.start + at as u64;
            let damaged = |why| IsoError::Damaged { at: place, why };
            if bytes[at] == 0 {
                // Records don't cross sectors; the rest of this one is empty.
                at = (at / sector + 1) * sector;
                continue;
            }
            let record = Record::read(&bytes[at..]).ok_or(damaged("a folder holds something that is no record"))?;
            at += record.len;
            if record.is_dot() || record.is_associated() {
                continue;
            }
            let extent = record.extent(self.volume.block);
            if !record.is_folder() && extent.len > 0 {
                self.holds(extent.start, extent.len)?;
            }
            let mut content = match open.take() {
                Some(Open { identifier, .. }) if identifier != record.name => {
                    return Err(damaged("a file of several parts lacks its last one"));
                }
                Some(Open { content, .. }) => content,
                None => Content::default(),
            };
            if content.extents.len() >= MAX_EXTENTS {
                return Err(damaged("a file has more parts than files have"));
            }
            content.extents.push(extent);
            if record.goes_on() && !record.is_folder() {
                open = Some(Open { identifier: record.name.to_vec(), content });
                continue;
            }
            self.take(folder, record, content, place, tree, ahead)?;
        }
        match open {
            None => Ok(()),
            Some(_) => {
                Err(IsoError::Damaged { at: folder.extent.start, why: "a file of several parts lacks its last one" })
            }
        }
    }

    fn take(
        &mut self,
        folder: &Ahead,
        record: Record<'_>,
        content: Content,
        place: u64,
        tree: &mut Tree,
        ahead: &mut Vec<Ahead>,
    ) -> Result<(), IsoError> {
        let mut fields = SystemUse::default();
        if self.volume.names == Names::RockRidge {
            let area = record.system_use.get(self.volume.skip..).unwrap_or_default().to_vec();
            fields = self.read_system_use(&area, self.volume.block)?;
        }
        if fields.is_moved {
            // It is found where it was before it was moved.
            return Ok(());
        }
        let name = match (self.volume.names, &fields.name) {
            (Names::RockRidge, Some(name)) => String::from_utf8_lossy(name).into_owned(),
            (Names::Joliet, _) => joliet_name(record.name),
            (Names::RockRidge | Names::Plain, _) => plain_name(record.name),
        };
        if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
            return Err(IsoError::Damaged { at: place, why: "a name can't be one" });
        }
        let path = if folder.path.is_empty() { name } else { format!("{}/{name}", folder.path) };
        self.charge(path.len() as u64)?;
        if tree.entries.len() >= MAX_ENTRIES {
            return Err(IsoError::TooMuch { what: "files", limit: MAX_ENTRIES as u64 });
        }
        let moved = fields.child.map(|block| u64::from(block) * self.volume.block);
        if record.is_folder() || moved.is_some() {
            let extent = match moved {
                Some(start) => self.extent_of_folder(start)?,
                None => content.extents.first().copied().unwrap_or_default(),
            };
            ahead.push(Ahead { path: path.clone(), extent, depth: folder.depth + 1 });
            tree.entries.push(Entry { path, kind: Kind::Folder });
            return Ok(());
        }
        let kind = match fields.mode.map(|mode| mode & 0o170_000) {
            Some(0o120_000) => Kind::Link(String::from_utf8_lossy(&fields.link.unwrap_or_default()).into_owned()),
            Some(0o100_000 | 0) | None if fields.is_compressed => Kind::Unreadable("compressed by zisofs"),
            Some(0o100_000 | 0) | None if record.is_interleaved() => Kind::Unreadable("interleaved"),
            Some(0o100_000 | 0) | None => Kind::File(content),
            Some(_) => Kind::Special,
        };
        tree.entries.push(Entry { path, kind });
        Ok(())
    }

    /// By the folder's own record: whoever refers to a folder that was moved knows only where it begins.
    fn extent_of_folder(&mut self, start: u64) -> Result<Extent, IsoError> {
        let first = self.read_at(start, 34)?;
        match Record::read(&[&[34], &first[1..]].concat()) {
            Some(own) if own.is_folder() && u32_at(&first, 10) > 0 => Ok(own.extent(self.volume.block)),
            _ => Err(IsoError::Damaged { at: start, why: "a folder was moved to where none is" }),
        }
    }
}

fn joliet_name(bytes: &[u8]) -> String {
    let units = bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    let name: String = char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
    without_version(&name).to_owned()
}

/// `README.;1` is `readme`.
fn plain_name(bytes: &[u8]) -> String {
    let name = String::from_utf8_lossy(bytes);
    without_version(&name).trim_end_matches('.').to_ascii_lowercase()
}

fn without_version(name: &str) -> &str {
    match name.rsplit_once(';') {
        Some((name, version)) if version.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => name,
    }
}

/// The bytes of a file, one part after the other.
#[derive(Debug)]
pub struct ContentReader<'a, R> {
    source: &'a mut R,
    content: &'a Content,
    /// Where in the file.
    at: u64,
    /// The source is there already, with so many bytes left of the part.
    placed: u64,
}

impl<'a, R: Read + Seek> ContentReader<'a, R> {
    pub(super) fn new(source: &'a mut R, content: &'a Content, at: u64) -> Self {
        ContentReader { source, content, at, placed: 0 }
    }

    /// Goes to where the next byte is; `false` at the end.
    fn place(&mut self) -> io::Result<bool> {
        let mut ahead = self.at;
        for extent in &self.content.extents {
            if ahead < extent.len {
                self.source.seek(SeekFrom::Start(extent.start + ahead))?;
                self.placed = extent.len - ahead;
                return Ok(true);
            }
            ahead -= extent.len;
        }
        Ok(false)
    }
}

impl<R: Read + Seek> Read for ContentReader<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() || (self.placed == 0 && !self.place()?) {
            return Ok(0);
        }
        let most = usize::try_from(self.placed).unwrap_or(usize::MAX).min(buffer.len());
        match self.source.read(&mut buffer[..most])? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the image became shorter while it was read")),
            read => {
                self.placed -= read as u64;
                self.at += read as u64;
                Ok(read)
            }
        }
    }
}
