//! Files as somebody names them, opened for reading.

use crate::FileError;
use rustix::fs::OFlags;
use std::{
    fs::{File, FileType, Metadata},
    io,
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
    path::Path,
};

/// Opening a pipe would wait for its writer, where no signal is looked at.
const NO_WAIT: i32 = OFlags::NONBLOCK.bits().cast_signed();

/// A regular file. A pipe can be read but once, a device may never end, and reading neither can be stopped.
pub(crate) fn open_file(path: &Path) -> Result<File, FileError> {
    open(path, |kind| kind.is_file())
}

/// An ISO: a regular file, or a drive with the disc in it.
pub(crate) fn open_iso(path: &Path) -> Result<File, FileError> {
    open(path, |kind| kind.is_file() || kind.is_block_device())
}

fn open(path: &Path, is_right: impl Fn(FileType) -> bool) -> Result<File, FileError> {
    let check = |there: Metadata| match there.file_type() {
        kind if is_right(kind) => Ok(()),
        kind if kind.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        kind => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it is {}, and no file", what(kind)))),
    };
    // Looked at before, because opening some devices does something; and after, because it may be another by then.
    let opened = path.metadata().and_then(check).and_then(|()| {
        let file = File::options().read(true).custom_flags(NO_WAIT).open(path)?;
        check(file.metadata()?)?;
        Ok(file)
    });
    opened.map_err(FileError::of("read", path))
}

fn what(kind: FileType) -> &'static str {
    if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}
