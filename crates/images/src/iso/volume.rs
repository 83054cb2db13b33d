//! Volume descriptors (ECMA-119, 8): where the root folder is, and which names are used.

use super::{
    Iso, IsoError, SECTOR_BYTES,
    record::Record,
    rock_ridge::{self, SystemUse},
    tree::Extent,
    u32_at,
};
use std::io::{Read, Seek};

/// The first descriptor's sector.
const FIRST_SECTOR: u64 = 16;
/// More than this many descriptors no image has.
const MAX_DESCRIPTORS: u64 = 32;

/// A set of names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Names {
    /// As on a Unix system.
    RockRidge,
    /// UCS-2, of the supplementary descriptor.
    Joliet,
    /// ISO 9660's own, shown in lower case.
    #[default]
    Plain,
}

/// What the descriptors say.
#[derive(Debug, Default)]
pub(super) struct Volume {
    pub label: String,
    /// Bytes of a logical block.
    pub block: u64,
    pub root: Extent,
    pub names: Names,
    /// Bytes to pass over in every system use field.
    pub skip: usize,
}

impl<R: Read + Seek> Iso<R> {
    pub(super) fn read_volume(&mut self) -> Result<Volume, IsoError> {
        let (mut primary, mut joliet) = (None, None);
        for sector in FIRST_SECTOR..FIRST_SECTOR + MAX_DESCRIPTORS {
            let at = sector * SECTOR_BYTES;
            if primary.is_none() && self.holds(at, SECTOR_BYTES).is_err() {
                return Err(IsoError::NotAnIso);
            }
            let bytes = self.read_at(at, SECTOR_BYTES)?;
            if bytes.get(1..6) != Some(b"CD001") {
                let is_udf = matches!(bytes.get(1..6), Some(b"BEA01" | b"NSR02" | b"NSR03"));
                match primary {
                    None if is_udf => return Err(IsoError::UdfAlone),
                    None => return Err(IsoError::NotAnIso),
                    // The terminator is missing; what was found is enough.
                    Some(_) => break,
                }
            }
            match bytes[0] {
                1 if primary.is_none() => primary = Some(self.read_descriptor(&bytes, at)?),
                2 if joliet.is_none() && is_joliet(&bytes) => joliet = Some(self.read_descriptor(&bytes, at)?),
                255 => break,
                _ => {}
            }
        }
        let mut primary = primary.ok_or(IsoError::NotAnIso)?;
        if let Some(skip) = self.find_rock_ridge(&primary)? {
            (primary.names, primary.skip) = (Names::RockRidge, skip);
            return Ok(primary);
        }
        match joliet {
            Some(joliet) => Ok(Volume { names: Names::Joliet, label: primary.label, ..joliet }),
            None => Ok(primary),
        }
    }

    fn read_descriptor(&self, bytes: &[u8], at: u64) -> Result<Volume, IsoError> {
        let damaged = |why| IsoError::Damaged { at, why };
        let block = u64::from(u16::from_le_bytes([bytes[128], bytes[129]]));
        if ![512, 1024, 2048].contains(&block) {
            return Err(damaged("its blocks have no size that blocks may have"));
        }
        self.holds(0, u64::from(u32_at(bytes, 80)) * block)?;
        let root = Record::read(&bytes[156..190]).ok_or(damaged("there is no root folder"))?;
        if !root.is_folder() {
            return Err(damaged("the root folder is none"));
        }
        let label = String::from_utf8_lossy(&bytes[40..72]);
        let label = label.trim_matches(['\0', ' ']).to_owned();
        Ok(Volume { label, block, root: root.extent(block), names: Names::Plain, skip: 0 })
    }

    /// Rock Ridge is there when the root folder's own record says that the sharing protocol is in use (SUSP 5.3); answers
    /// how many bytes to pass over in other records.
    fn find_rock_ridge(&mut self, volume: &Volume) -> Result<Option<usize>, IsoError> {
        let first = self.read_at(volume.root.start, volume.root.len.min(SECTOR_BYTES))?;
        let Some(own) = Record::read(&first) else { return Ok(None) };
        let Some(skip) = rock_ridge::find_protocol(own.system_use) else { return Ok(None) };
        // A protocol without a single Rock Ridge field is somebody else's.
        let area = own.system_use.get(skip.own..).unwrap_or_default().to_vec();
        let fields: SystemUse = self.read_system_use(&area, volume.block)?;
        Ok(fields.is_rock_ridge.then_some(skip.others))
    }
}

/// Level 1, 2 or 3 of Joliet, by its escape sequence.
fn is_joliet(descriptor: &[u8]) -> bool {
    matches!(descriptor.get(88..91), Some(b"%/@" | b"%/C" | b"%/E"))
}
