//! The release of a kernel, as its image says it.

use crate::FileError;
use std::{fs::File, io, os::unix::fs::FileExt, path::Path};

/// Longer than any version string is.
const MAX_VERSION_BYTES: usize = 512;

/// The release (`uname -r`) of a bzImage; `None` for other images and for one that doesn't say it.
///
/// The boot protocol (Documentation/arch/x86/boot.rst of Linux): `HdrS` at 0x202, and at 0x20e, less 0x200, where a text lies
/// whose first word is the release.
pub(super) fn kernel_release(path: &Path) -> Result<Option<String>, FileError> {
    let fault = || FileError::of("read", path);
    let file = File::open(path).map_err(fault())?;
    let mut header = [0; 16];
    match file.read_exact_at(&mut header, 0x200) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(fault()(error)),
    }
    let place = u64::from(u16::from_le_bytes([header[0xe], header[0xf]]));
    if &header[2..6] != b"HdrS" || place == 0 {
        return Ok(None);
    }
    let mut text = vec![0; MAX_VERSION_BYTES];
    let read = file.read_at(&mut text, place + 0x200).map_err(fault())?;
    text.truncate(read);
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let release = String::from_utf8_lossy(text).split_whitespace().next().map(str::to_owned);
    Ok(release.filter(|release| is_release(release)))
}

/// It becomes the name of a folder.
pub(super) fn is_release(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+~-".contains(&b))
}
