//! One record of a folder: ECMA-119, 9.1.

use super::{tree::Extent, u32_at};

/// The fixed part, and a name of one byte.
const SHORTEST: usize = 34;

/// A file or folder as its folder lists it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record<'a> {
    /// Bytes of the record.
    pub len: usize,
    block: u32,
    size: u32,
    /// Blocks of an extended attribute record before the content.
    attributes: u8,
    flags: u8,
    interleaved: bool,
    pub name: &'a [u8],
    pub system_use: &'a [u8],
}

impl<'a> Record<'a> {
    /// The record at the beginning of `bytes`; `None` if none can be there.
    pub fn read(bytes: &'a [u8]) -> Option<Record<'a>> {
        let len = usize::from(*bytes.first()?);
        let bytes = bytes.get(..len).filter(|bytes| bytes.len() >= SHORTEST)?;
        let name = bytes.get(33..33 + usize::from(bytes[32])).filter(|name| !name.is_empty())?;
        // A name of even length is followed by a byte that makes it odd with the one before.
        let system_use = bytes.get(33 + name.len() + (name.len() + 1) % 2..).unwrap_or_default();
        Some(Record {
            len,
            block: u32_at(bytes, 2),
            size: u32_at(bytes, 10),
            attributes: bytes[1],
            flags: bytes[25],
            interleaved: bytes[26] != 0 || bytes[27] != 0,
            name,
            system_use,
        })
    }

    pub fn is_folder(&self) -> bool {
        self.flags & 0x02 != 0
    }

    /// Belongs to another file, as a resource fork did on a Macintosh.
    pub fn is_associated(&self) -> bool {
        self.flags & 0x04 != 0
    }

    /// The next record is of the same file: how it gets longer than 4 GiB.
    pub fn goes_on(&self) -> bool {
        self.flags & 0x80 != 0
    }

    pub fn is_interleaved(&self) -> bool {
        self.interleaved
    }

    /// The folder itself, or the one above it.
    pub fn is_dot(&self) -> bool {
        matches!(self.name, [0] | [1])
    }

    pub fn extent(&self, block_bytes: u64) -> Extent {
        let first = u64::from(self.block) + u64::from(self.attributes);
        Extent { start: first * block_bytes, len: u64::from(self.size) }
    }
}
