//! What is added to an initrd, place by place: decided and looked at before a byte is copied.

use super::{Overlay, OverlayError, certificates::read_certificates, module::Modules};
use crate::{FileError, cpio::check_file, opened::open_file};
use object::read::elf::{FileHeader, ProgramHeader};
use std::{
    collections::BTreeMap,
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

const OURS: &str = "metalform";
const AGENT: &str = "metalform/agent";
/// What Linux starts in the machines of a set with a recipe.
pub(super) const INIT: &str = "metalform/init";
const CA: &str = "metalform/ca.pem";
const MODULES: &str = "metalform/modules";
/// One path a line: what is loaded, in that order.
pub(super) const ORDER: &str = "metalform/modules/order";
/// Places that options of their own fill. What goes there is looked at first, which a plain file isn't: an agent that
/// can't run shows only on the machine, and there on the console alone.
const RESERVED: [(&str, &str); 4] =
    [(AGENT, "--agent"), (INIT, "--init"), (CA, "--ca"), (MODULES, "--module or --load")];
/// Folders that every root has, often as links to others.
const USUAL: [&str; 24] = [
    "bin",
    "boot",
    "dev",
    "etc",
    "home",
    "lib",
    "lib32",
    "lib64",
    "libx32",
    "mnt",
    "opt",
    "proc",
    "root",
    "run",
    "sbin",
    "sys",
    "tmp",
    "usr",
    "usr/bin",
    "usr/lib",
    "usr/lib64",
    "usr/sbin",
    "var",
    "var/lib",
];
/// Programs are read whole to see what they are.
const MAX_PROGRAM_BYTES: u64 = 256 << 20;

/// What is at a place in the initrd.
pub(super) enum Added {
    Folder,
    Bytes(Vec<u8>),
    File { from: PathBuf, permissions: u32 },
    Link(&'static str),
}

/// By place, without the `/` before it: a folder comes before what is in it.
pub(super) type Entries = BTreeMap<String, Added>;

/// All that was asked for. `release` is that of the modules, if there are any.
pub(super) fn collect(what: &Overlay, modules: &Modules, release: &str) -> Result<Entries, OverlayError> {
    let mut entries = Entries::new();
    if !modules.in_order.is_empty() {
        let mut order = String::new();
        for module in &modules.in_order {
            let place = format!("{MODULES}/{release}/{}.ko", module.name);
            order += &format!("/{place}\n");
            insert(&mut entries, place, Added::Bytes(module.bytes.clone()))?;
        }
        insert(&mut entries, ORDER.to_owned(), Added::Bytes(order.into_bytes()))?;
    }
    if let Some(path) = &what.agent {
        check_agent(path)?;
        insert(&mut entries, AGENT.to_owned(), Added::File { from: path.clone(), permissions: 0o755 })?;
    }
    match (&what.init, &what.agent) {
        (Some(path), _) => {
            check_init(path)?;
            insert(&mut entries, INIT.to_owned(), Added::File { from: path.clone(), permissions: 0o755 })?;
        }
        (None, Some(_)) => insert(&mut entries, INIT.to_owned(), Added::Link("agent"))?,
        (None, None) => {}
    }
    if let Some(path) = &what.ca {
        insert(&mut entries, CA.to_owned(), Added::Bytes(read_certificates(path)?))?;
    }
    for (place, path) in &what.files {
        let place = place.strip_prefix('/').unwrap_or(place).to_owned();
        if let Some(flag) = reserved_for(&place) {
            return Err(OverlayError::Reserved { place, flag });
        }
        let there = open_file(path)?.metadata().map_err(FileError::of("read", path))?;
        check_file(&place, there.len())?;
        let permissions = if there.permissions().mode() & 0o111 == 0 { 0o644 } else { 0o755 };
        insert(&mut entries, place, Added::File { from: path.clone(), permissions })?;
    }
    Ok(entries)
}

/// The option whose place it is, or is within. A file in the place of the folder of them all is none of those, and would
/// take their place just as well.
fn reserved_for(place: &str) -> Option<&'static str> {
    let is_at =
        |reserved: &str| place.strip_prefix(reserved).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let flag = RESERVED.iter().find(|(reserved, _)| is_at(reserved)).map(|(_, flag)| *flag);
    flag.or((place == OURS).then_some("--agent"))
}

/// Puts it there, with the folders above it that not every root has.
fn insert(entries: &mut Entries, place: String, added: Added) -> Result<(), OverlayError> {
    let mut folders: Vec<&str> = place.match_indices('/').map(|(at, _)| &place[..at]).collect();
    folders.retain(|folder| !USUAL.contains(folder));
    for folder in folders {
        match entries.get(folder) {
            Some(Added::Folder) => {}
            Some(_) => return Err(OverlayError::Twice(folder.to_owned())),
            None => drop(entries.insert(folder.to_owned(), Added::Folder)),
        }
    }
    if entries.contains_key(&place) || USUAL.contains(&place.as_str()) {
        return Err(OverlayError::Twice(place));
    }
    entries.insert(place, added);
    Ok(())
}

/// It starts before anything else: there is nothing that could load a library for it.
fn check_agent(path: &Path) -> Result<(), OverlayError> {
    let bad = |why| OverlayError::BadAgent { path: path.to_owned(), why };
    let mut bytes = Vec::new();
    let file = open_file(path)?;
    file.take(MAX_PROGRAM_BYTES).read_to_end(&mut bytes).map_err(FileError::of("read", path))?;
    let no_program = |_| bad("it is no 64-bit ELF program");
    let header = object::elf::FileHeader64::<object::Endianness>::parse(bytes.as_slice()).map_err(no_program)?;
    let endian = header.endian().map_err(no_program)?;
    let segments = header.program_headers(endian, bytes.as_slice()).map_err(no_program)?;
    match segments.iter().any(|segment| segment.p_type(endian) == object::elf::PT_INTERP) {
        true => Err(bad("it needs a loader and libraries, which an initrd doesn't have")),
        false => Ok(()),
    }
}

/// A script of a shell that the vendor's initrd has, or a program: Linux starts these two kinds, and panics at others.
fn check_init(path: &Path) -> Result<(), OverlayError> {
    let mut beginning = Vec::new();
    let file = open_file(path)?;
    file.take(4).read_to_end(&mut beginning).map_err(FileError::of("read", path))?;
    match beginning.starts_with(b"#!") || beginning == b"\x7fELF" {
        true => Ok(()),
        false => Err(OverlayError::BadInit { path: path.to_owned() }),
    }
}
