//! The system use field: fields of four bytes and more, which may go on elsewhere in the image (SUSP, Rock Ridge).

use super::{Iso, IsoError, u32_at};
use std::io::{Read, Seek};

/// One field goes on at most this often; a name of 255 bytes needs one.
const MAX_CONTINUATIONS: usize = 32;
/// Bytes of one continuation.
const MAX_CONTINUATION_BYTES: u64 = 64 << 10;
const MAX_NAME_BYTES: usize = 1024;
const MAX_LINK_BYTES: usize = 4096;

/// Where fields begin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Skip {
    /// In the root folder's own record.
    pub own: usize,
    /// In every other.
    pub others: usize,
}

/// What the fields of one record say.
#[derive(Debug, Default)]
pub(super) struct SystemUse {
    pub is_rock_ridge: bool,
    pub name: Option<Vec<u8>>,
    /// POSIX mode with the type of file.
    pub mode: Option<u32>,
    pub link: Option<Vec<u8>>,
    /// Block of a folder that was moved because it lay too deep.
    pub child: Option<u32>,
    /// Such a folder in the place it was moved to.
    pub is_moved: bool,
    /// Compressed by zisofs.
    pub is_compressed: bool,
    /// The last component of the link is to be continued.
    glue: bool,
}

/// Looks for the protocol's mark. CD-ROM XA puts 14 bytes of its own before it.
pub(super) fn find_protocol(system_use: &[u8]) -> Option<Skip> {
    [0, 14].into_iter().find_map(|own| match system_use.get(own..own + 7)? {
        [b'S', b'P', 7, _, 0xbe, 0xef, others] => Some(Skip { own, others: usize::from(*others) }),
        _ => None,
    })
}

impl<R: Read + Seek> Iso<R> {
    /// Reads the fields, and follows them to where they go on.
    pub(super) fn read_system_use(&mut self, area: &[u8], block: u64) -> Result<SystemUse, IsoError> {
        let mut fields = SystemUse::default();
        let mut next = fields.take(area, 0)?;
        for _ in 0..MAX_CONTINUATIONS {
            let Some(Continuation { block: first, offset, len }) = next else { return Ok(fields) };
            let at = u64::from(first) * block + u64::from(offset);
            if u64::from(len) > MAX_CONTINUATION_BYTES {
                return Err(IsoError::Damaged { at, why: "a name is continued over more bytes than names have" });
            }
            let area = self.read_at(at, len.into())?;
            next = fields.take(&area, at)?;
        }
        match next {
            None => Ok(fields),
            Some(_) => Err(IsoError::TooMuch { what: "continuations of one name", limit: MAX_CONTINUATIONS as u64 }),
        }
    }
}

struct Continuation {
    block: u32,
    offset: u32,
    len: u32,
}

impl SystemUse {
    fn take(&mut self, mut area: &[u8], at: u64) -> Result<Option<Continuation>, IsoError> {
        let mut next = None;
        // Fewer than four bytes, or a length below that, is padding.
        while let [a, b, len, _version, ..] = *area {
            let Some(field) = area.get(..usize::from(len)).filter(|field| field.len() >= 4) else { break };
            let body = &field[4..];
            match &[a, b] {
                b"ST" => break,
                b"CE" if body.len() >= 24 => {
                    next =
                        Some(Continuation { block: u32_at(body, 0), offset: u32_at(body, 8), len: u32_at(body, 16) });
                }
                b"RR" | b"ER" => self.is_rock_ridge = true,
                b"PX" if body.len() >= 4 => {
                    self.is_rock_ridge = true;
                    self.mode = Some(u32_at(body, 0));
                }
                b"NM" => self.take_name(body),
                b"SL" => self.take_link(body),
                b"CL" if body.len() >= 4 => self.child = Some(u32_at(body, 0)),
                b"RE" => self.is_moved = true,
                b"ZF" => self.is_compressed = true,
                _ => {}
            }
            let too_long = |text: &Option<Vec<u8>>, most| text.as_ref().is_some_and(|text| text.len() > most);
            if too_long(&self.name, MAX_NAME_BYTES) || too_long(&self.link, MAX_LINK_BYTES) {
                return Err(IsoError::Damaged { at, why: "a name is longer than names may be" });
            }
            area = &area[field.len()..];
        }
        Ok(next)
    }

    /// Flags 2 and 4 stand for the folder and its parent, which have names already.
    fn take_name(&mut self, body: &[u8]) {
        if let [flags, part @ ..] = body
            && flags & 0x06 == 0
        {
            self.name.get_or_insert_default().extend_from_slice(part);
        }
    }

    /// Components: flags (1 goes on, 2 this folder, 4 its parent, 8 the root), length, text.
    fn take_link(&mut self, body: &[u8]) {
        let link = self.link.get_or_insert_default();
        let mut rest = body.get(1..).unwrap_or_default();
        while let [flags, len, more @ ..] = rest {
            let Some(text) = more.get(..usize::from(*len)) else { return };
            if !self.glue && !link.is_empty() && !link.ends_with(b"/") {
                link.push(b'/');
            }
            match flags & 0x0e {
                0x02 => link.push(b'.'),
                0x04 => link.extend_from_slice(b".."),
                0x08 => link.push(b'/'),
                _ => link.extend_from_slice(text),
            }
            self.glue = flags & 0x01 != 0;
            rest = &more[text.len()..];
        }
    }
}
