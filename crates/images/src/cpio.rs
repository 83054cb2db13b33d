//! Writes cpio archives in the `newc` format, which is what Linux unpacks into its first root file system.
//!
//! The same entries give the same bytes: everything belongs to root, nothing has a time, and inode numbers are counted. Own
//! code: it is a header of thirteen numbers (Documentation/driver-api/early-userspace/buffer-format.rst of Linux), and the
//! libraries write the times and owners of whoever runs them.

use std::io::{self, Read, Write};

/// Linux reads no longer names: `PATH_MAX`, with the closing zero.
const MAX_PATH_BYTES: usize = 4095;

const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// Why an entry can't be written. Permanent, but for what the system says.
#[derive(Debug, thiserror::Error)]
pub enum CpioError {
    /// A path that would lead elsewhere, or nowhere.
    #[error("{0:?} can't be a path in an initrd")]
    BadPath(String),
    /// The format has 32 bits for it.
    #[error("{path} has {bytes} bytes: an initrd holds files below 4 GiB")]
    TooLong {
        /// Of the file.
        path: String,
        /// Its length.
        bytes: u64,
    },
    /// The content was not as long as was said before.
    #[error("{path} changed its length while it was read")]
    OtherLength {
        /// Of the file.
        path: String,
    },
    /// Reading or writing failed.
    #[error("{path} can't be put into the initrd")]
    Io {
        /// Of the entry.
        path: String,
        /// What the system says.
        source: io::Error,
    },
}

impl CpioError {
    /// Whether the same may work later without anybody doing something.
    pub fn is_transient(&self) -> bool {
        false
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            CpioError::BadPath(_) => {
                "name the place within the initrd from its root, without `..`, in less than 4096 bytes"
            }
            CpioError::TooLong { .. } => "give it as a file of the set with `image import --file`, not of the initrd",
            CpioError::OtherLength { .. } => "try again when nobody writes to it",
            CpioError::Io { .. } => "the cause says what is in the way",
        }
    }
}

/// An archive being written. [`CpioWriter::finish`] ends it; without that, what was written is no archive.
#[derive(Debug)]
pub struct CpioWriter<W> {
    out: W,
    written: u64,
    inode: u32,
}

/// The numbers of a header that are not the same in every entry.
struct Header {
    mode: u32,
    links: u32,
    len: u32,
    device: (u32, u32),
}

impl<W: Write> CpioWriter<W> {
    /// An archive in `out`, whose next byte must lie at a multiple of four.
    pub fn new(out: W) -> Self {
        CpioWriter { out, written: 0, inode: 0 }
    }

    /// A folder; those above it have to be there already.
    pub fn folder(&mut self, path: &str, permissions: u32) -> Result<(), CpioError> {
        self.entry(path, Header { mode: FOLDER | permissions, links: 2, len: 0, device: (0, 0) }, &mut io::empty())
    }

    /// A file of exactly `len` bytes.
    pub fn file(&mut self, path: &str, permissions: u32, len: u64, content: &mut impl Read) -> Result<(), CpioError> {
        let len = check_file(path, len)?;
        self.entry(path, Header { mode: FILE | permissions, links: 1, len, device: (0, 0) }, content)
    }

    /// A symbolic link.
    pub fn link(&mut self, path: &str, target: &str) -> Result<(), CpioError> {
        if target.is_empty() || target.len() > MAX_PATH_BYTES || target.contains('\0') {
            return Err(CpioError::BadPath(target.to_owned()));
        }
        let len = u32::try_from(target.len()).unwrap_or(u32::MAX);
        self.entry(path, Header { mode: LINK | 0o777, links: 1, len, device: (0, 0) }, &mut target.as_bytes())
    }

    /// A character device.
    pub fn character_device(&mut self, path: &str, permissions: u32, major: u32, minor: u32) -> Result<(), CpioError> {
        let mode = CHARACTER_DEVICE | permissions;
        self.entry(path, Header { mode, links: 1, len: 0, device: (major, minor) }, &mut io::empty())
    }

    /// Ends the archive.
    pub fn finish(mut self) -> Result<W, CpioError> {
        let path = "TRAILER!!!";
        let fault = |source| CpioError::Io { path: path.to_owned(), source };
        self.header(path, 0, &Header { mode: 0, links: 1, len: 0, device: (0, 0) }).map_err(fault)?;
        self.out.flush().map_err(fault)?;
        Ok(self.out)
    }

    fn entry(&mut self, path: &str, header: Header, content: &mut impl Read) -> Result<(), CpioError> {
        if !is_path(path) {
            return Err(CpioError::BadPath(path.to_owned()));
        }
        let fault = |source| CpioError::Io { path: path.to_owned(), source };
        self.inode += 1;
        self.header(path, self.inode, &header).map_err(fault)?;
        let copied = io::copy(&mut content.take(header.len.into()), &mut self.out).map_err(fault)?;
        self.written += copied;
        let more = content.read(&mut [0]).map_err(fault)?;
        if copied != u64::from(header.len) || more > 0 {
            return Err(CpioError::OtherLength { path: path.to_owned() });
        }
        self.pad().map_err(fault)
    }

    fn header(&mut self, path: &str, inode: u32, header: &Header) -> io::Result<()> {
        let Header { mode, links, len, device: (major, minor) } = header;
        let name_bytes = path.len() + 1;
        // Owner, group and time are 0; so are the device the file is on, and the checksum, which `newc` doesn't use.
        let text = format!(
            "070701{inode:08x}{mode:08x}{0:08x}{0:08x}{links:08x}{0:08x}{len:08x}{0:08x}{0:08x}{major:08x}{minor:08x}\
             {name_bytes:08x}{0:08x}{path}\0",
            0
        );
        self.out.write_all(text.as_bytes())?;
        self.written += text.len() as u64;
        self.pad()
    }

    /// Headers and contents begin at multiples of four.
    fn pad(&mut self) -> io::Result<()> {
        let missing = self.written.next_multiple_of(4) - self.written;
        self.written += missing;
        self.out.write_all(&[0; 3][..usize::try_from(missing).unwrap_or_default()])
    }
}

/// Refuses what [`CpioWriter::file`] would, before anything is written: a path that is none, and a file of 4 GiB or more.
/// Gives the length as the format has it.
pub(crate) fn check_file(path: &str, len: u64) -> Result<u32, CpioError> {
    match u32::try_from(len) {
        _ if !is_path(path) => Err(CpioError::BadPath(path.to_owned())),
        Ok(len) => Ok(len),
        Err(_) => Err(CpioError::TooLong { path: path.to_owned(), bytes: len }),
    }
}

/// Relative, without `.`, `..`, empty parts or zeros, and not the name that ends an archive.
fn is_path(path: &str) -> bool {
    path.len() <= MAX_PATH_BYTES
        && path != "TRAILER!!!"
        && !path.contains('\0')
        && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_those_of_the_format() {
        let mut cpio = CpioWriter::new(Vec::new());
        cpio.folder("d", 0o755).unwrap();
        cpio.file("d/f", 0o644, 5, &mut &b"hello"[..]).unwrap();
        cpio.character_device("c", 0o600, 5, 1).unwrap();
        let bytes = cpio.finish().unwrap();
        let expected = [
            "070701000000010000\
             41ed00000000000000000000000200000000000000000000000000000000000000000000000000000002\
             00000000d\0",
            "07070100000002000081a400000000000000000000000100000000000000050000000000000000000000000000000000000004\
             00000000d/f\0\0\0hello\0\0\0",
            "07070100000003000021800000000000000000000000010000000000000000000000000000000000000005000000010000000\
             200000000c\0",
            "07070100000000000000000000000000000000000000010000000000000000000000000000000000000000000000000000000\
             b00000000TRAILER!!!\0\0\0\0",
        ]
        .concat();
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    }

    #[test]
    fn no_path_leads_out_of_the_initrd() {
        for path in ["", "/", "/etc", "a//b", "../a", "a/..", "./a", "a/", "a\0b", "TRAILER!!!", &"a".repeat(4096)] {
            let mut cpio = CpioWriter::new(Vec::new());
            assert!(matches!(cpio.folder(path, 0o755), Err(CpioError::BadPath(_))), "{path:?}");
        }
    }

    #[test]
    fn a_file_that_changes_its_length_is_refused() {
        for (said, content) in [(3, "ab"), (1, "ab"), (0, "a")] {
            let mut cpio = CpioWriter::new(Vec::new());
            let error = cpio.file("f", 0o644, said, &mut content.as_bytes()).unwrap_err();
            assert_eq!(error.to_string(), "f changed its length while it was read");
            assert!(!error.hint().is_empty() && !error.is_transient());
        }
        let too_long = CpioWriter::new(Vec::new()).file("f", 0o644, 1 << 32, &mut io::empty());
        assert!(matches!(too_long, Err(CpioError::TooLong { .. })));
    }
}
