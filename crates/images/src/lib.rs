//! Boot image sets: an installer's ISO in, a folder of verified files out, and overlays for its initrd.
//!
//! A set is a folder below the images folder: its files, and a `manifest.json` with their digests. Its name ends in the
//! beginning of the manifest's own digest, so two sets of one name are the same set, and a set is never changed: another file
//! makes another set. It comes into being by one rename of a finished and synced folder; what a crash leaves behind begins
//! with `.import-`, is never served, and is removed by the next import once its owner is gone.
//!
//! Nothing here knows of networks or waits for anything but the disk.

pub mod cpio;
pub mod iso;

mod boot_file;
mod copy;
mod file_error;
mod import;
mod installer_iso;
mod layout;
mod lock;
mod made_folders;
mod opened;
mod overlay;
mod set;
mod staging;
mod store;
mod watch;

pub use boot_file::Looks;
pub use file_error::FileError;
pub use import::{Import, ImportError, Imported, Source, import};
pub use layout::{Found, LayoutError, find_layout};
pub use overlay::{ModuleError, Overlaid, Overlay, OverlayError, overlay};
pub use set::{SetError, SetFault, StoredSet};
pub use store::{ImageStore, Listed, State};
pub use watch::{Unwatched, Watch};
