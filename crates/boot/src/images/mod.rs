//! Boot image sets: folders of files that machines download.
//!
//! Any folder with a kernel and an initrd of the right names is a set; a folder inside of it is a set of its own, under its
//! name. A set is meant never to change in place. Nothing enforces that on a folder somebody copies files into, so each
//! request compares the file with the moment its digest was computed, and a download whose file changes under way is cut
//! instead of ending well with mixed bytes.
//!
//! A set with a `manifest.json` is served only as far as it agrees with it: a file of another length or digest is refused,
//! because a machine would boot it.

mod content;
mod digest;
mod folder;
mod range;
mod set;

pub(crate) use content::{Content, ImageFault, Images};
pub(crate) use range::{Asked, read_range};
pub use set::{ImageSet, ImageSetError, SetDescription};
pub(crate) use set::{REQUIRED, is_plain_name};

#[cfg(test)]
pub(crate) use tests::TempDir;

#[cfg(test)]
mod tests {
    use std::{
        path::{Path, PathBuf},
        sync::atomic::{AtomicU32, Ordering},
    };

    /// A folder of its own for one test, gone afterwards.
    pub(crate) struct TempDir(PathBuf);

    impl TempDir {
        pub fn new() -> Self {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let name = format!("metalform-boot-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir_all(&path).unwrap();
            TempDir(path)
        }

        pub fn path(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for TempDir {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).ok();
        }
    }
}
