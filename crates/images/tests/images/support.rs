//! Folders of their own, other people's programs, and images made with them.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
};

/// A folder that is gone with the test.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let name = format!("images-{}-{}", std::process::id(), LAST.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file, and the folders it needs.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs another program, which must succeed.
pub fn run(program: &str, args: &[&str], folder: &Path) -> Output {
    let mut command = Command::new(program);
    let output = command.args(args).current_dir(folder).output();
    let output = output.unwrap_or_else(|e| panic!("{program} can't be started ({e}): `cargo xtask test` installs it"));
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// An image of the folder `tree` within `folder`, by `xorriso`.
pub fn make_iso(folder: &Folder, options: &[&str]) -> PathBuf {
    let iso = folder.join("made.iso");
    let mut args = vec!["-as", "mkisofs", "-quiet", "-V", "PHOENIX", "-o", "made.iso"];
    args.extend(options);
    args.push("tree");
    run("xorriso", &args, folder.path());
    iso
}

/// Some bytes that are not the same everywhere.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend(next());
    }
    bytes.truncate(len);
    bytes
}

/// As much of a bzImage as tells that it is one; the rest is `rest`.
pub fn kernel(rest: impl AsRef<[u8]>) -> Vec<u8> {
    let mut image = vec![0; 0x210];
    image[0x1fe..0x200].copy_from_slice(b"\x55\xaa");
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image.extend(rest.as_ref());
    image
}

/// What begins like a compressed archive, and goes on with `rest`.
pub fn initrd(rest: impl AsRef<[u8]>) -> Vec<u8> {
    [b"\x1f\x8b\x08\0", rest.as_ref()].concat()
}

/// What a tree holds: by path, the bytes of a file, the target of a link, or nothing for a folder.
#[derive(Debug, PartialEq, Eq)]
pub enum Item {
    Folder,
    File(Vec<u8>),
    Link(String),
}

/// Everything below a folder on the disk.
pub fn items(root: &Path) -> BTreeMap<String, Item> {
    let mut items = BTreeMap::new();
    let mut ahead = vec![root.to_owned()];
    while let Some(folder) = ahead.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            let kind = path.symlink_metadata().unwrap().file_type();
            let item = if kind.is_dir() {
                ahead.push(path);
                Item::Folder
            } else if kind.is_symlink() {
                Item::Link(fs::read_link(&path).unwrap().to_str().unwrap().to_owned())
            } else {
                let mut bytes = Vec::new();
                File::open(&path).unwrap().read_to_end(&mut bytes).unwrap();
                Item::File(bytes)
            };
            items.insert(name, item);
        }
    }
    items
}

/// What `bsdtar` takes out of an archive or image.
pub fn by_bsdtar(archive: &Path) -> BTreeMap<String, Item> {
    let folder = Folder::new();
    run("bsdtar", &["-xf", archive.to_str().unwrap()], folder.path());
    // Folders of an image may have been made read-only.
    run("chmod", &["-R", "u+rwX", "."], folder.path());
    items(folder.path())
}
