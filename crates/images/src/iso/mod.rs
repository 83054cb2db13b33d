//! A reader of ISO 9660 images: levels 1 to 3, Rock Ridge, Joliet, files in several extents.
//!
//! Own code, because of the libraries of 2026 one shows a file above 4 GiB as several short ones, one cuts Rock Ridge
//! names that are continued elsewhere, and one is a release candidate; the format hasn't changed for decades, and this image
//! is the first thing an operator gives us.
//!
//! Of the three sets of names that an image may have, Rock Ridge comes first, then Joliet, then the plain ones (in lower
//! case, without version). Only little-endian copies of numbers are read, as Linux does.
//!
//! An image is hostile until proven otherwise: every offset is compared with the length before it is read, every list has a
//! bound, a folder is entered once, and all that is kept of it is charged to one budget. So neither memory nor time grows
//! with anything but the image's true length. Sources: ECMA-119 (ISO 9660), IEEE P1281 (SUSP), IEEE P1282 (Rock Ridge), the
//! Joliet specification of 1995.

mod error;
mod record;
mod rock_ridge;
mod tree;
mod volume;

pub use error::IsoError;
pub use tree::{Content, ContentReader, Entry, Kind, Tree};
pub use volume::Names;

use std::io::{Read, Seek, SeekFrom};
use volume::Volume;

/// Sectors are of this size whatever the blocks are: ECMA-119, 6.1.2.
const SECTOR_BYTES: u64 = 2048;

/// All that is read of folders and continuation areas, and all paths: real images stay below a hundredth of it.
const BUDGET_BYTES: u64 = 64 << 20;

/// An image, opened.
#[derive(Debug)]
pub struct Iso<R> {
    source: R,
    len: u64,
    volume: Volume,
    /// What is left of [`BUDGET_BYTES`].
    budget: u64,
}

impl<R: Read + Seek> Iso<R> {
    /// Reads the volume descriptors, and refuses an image that is shorter than they say.
    pub fn open(mut source: R) -> Result<Self, IsoError> {
        let len = source.seek(SeekFrom::End(0)).map_err(|source| IsoError::Read { at: 0, source })?;
        let mut iso = Iso { source, len, volume: Volume::default(), budget: BUDGET_BYTES };
        iso.volume = iso.read_volume()?;
        Ok(iso)
    }

    /// The volume's name, as far as it is text.
    pub fn label(&self) -> &str {
        &self.volume.label
    }

    /// Which of the sets of names is used.
    pub fn names(&self) -> Names {
        self.volume.names
    }

    /// Length of the image, in bytes.
    pub fn len_bytes(&self) -> u64 {
        self.len
    }

    /// The bytes of a file.
    pub fn content<'a>(&'a mut self, content: &'a Content) -> ContentReader<'a, R> {
        self.content_from(content, 0)
    }

    /// The bytes of a file from `first` on.
    pub fn content_from<'a>(&'a mut self, content: &'a Content, first: u64) -> ContentReader<'a, R> {
        ContentReader::new(&mut self.source, content, first)
    }

    /// Bytes of the image's structure, charged to the budget.
    fn read_at(&mut self, at: u64, len: u64) -> Result<Vec<u8>, IsoError> {
        self.holds(at, len)?;
        self.charge(len)?;
        let fault = |source| IsoError::Read { at, source };
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
        self.source.seek(SeekFrom::Start(at)).map_err(fault)?;
        self.source.read_exact(&mut bytes).map_err(fault)?;
        Ok(bytes)
    }

    /// Holds that these bytes are there.
    fn holds(&self, at: u64, len: u64) -> Result<(), IsoError> {
        match at.checked_add(len) {
            Some(end) if end <= self.len => Ok(()),
            end => Err(IsoError::CutShort { there: self.len, wanted: end.unwrap_or(u64::MAX) }),
        }
    }

    fn charge(&mut self, bytes: u64) -> Result<(), IsoError> {
        let too_much = IsoError::TooMuch { what: "bytes of folders and names", limit: BUDGET_BYTES };
        self.budget = self.budget.checked_sub(bytes).ok_or(too_much)?;
        Ok(())
    }
}

/// The little-endian number of four bytes at `at`; 0 where there are none.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    match bytes.get(at..at + 4) {
        Some(&[a, b, c, d]) => u32::from_le_bytes([a, b, c, d]),
        _ => 0,
    }
}
