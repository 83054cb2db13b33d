//! Whether a file can be what a machine boots, by how it begins. A wrong one would be found out on the console of a server
//! that is paid for, after a quarter of an hour.
//!
//! Sources: the x86 boot protocol (Documentation/arch/x86/boot.rst of Linux), the arm64 one (Documentation/arch/arm64/booting.rst),
//! drivers/firmware/efi/libstub/zboot-header.S, lib/decompress.c for what Linux unpacks, and
//! Documentation/driver-api/early-userspace/buffer-format.rst for the archive.

use crate::ImportError;
use metalform_model::ImageRole;
use std::{
    fmt,
    io::{self, Read},
};

/// As much as shows an ISO, which begins latest.
const HEAD_BYTES: u64 = 0x8006;

/// What a file looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looks {
    /// A kernel that firmware or iPXE starts.
    Kernel,
    /// An archive that Linux unpacks, compressed or not.
    Initrd(&'static str),
    /// Something else that is known.
    Other(&'static str),
    /// Words.
    Text,
    /// Nothing that is known, and its first bytes.
    Unknown([u8; 8]),
}

impl fmt::Display for Looks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Looks::Kernel => f.write_str("it looks like a Linux kernel"),
            Looks::Initrd(what) | Looks::Other(what) => write!(f, "it looks like {what}"),
            Looks::Text => f.write_str("it looks like text"),
            Looks::Unknown(first) => {
                let digits = first.map(|byte| format!("{byte:02x}"));
                write!(f, "it looks like nothing known (it begins with {})", digits.join(" "))
            }
        }
    }
}

/// By the file's beginning; the first line that fits counts.
fn looks(head: &[u8]) -> Looks {
    let has = |at: usize, bytes: &[u8]| head.get(at..).is_some_and(|rest| rest.starts_with(bytes));
    let is_x86 = has(0x1fe, b"\x55\xaa") && has(0x202, b"HdrS");
    // The last one is a kernel for EFI that unpacks itself.
    if is_x86 || has(0x38, b"ARM\x64") || (has(0, b"MZ") && has(4, b"zimg")) {
        return Looks::Kernel;
    }
    // Linux skips zeros before an archive.
    let archive = &head[head.iter().position(|byte| *byte != 0).unwrap_or_default()..];
    const ARCHIVES: [(&[u8], &str); 9] = [
        (b"070701", "a cpio archive"),
        (b"070702", "a cpio archive"),
        (b"\x1f\x8b", "a gzip file"),
        (b"\xfd7zXZ\0", "an xz file"),
        (b"\x28\xb5\x2f\xfd", "a zstd file"),
        (b"\x02\x21\x4c\x18", "an lz4 file"),
        (b"BZh", "a bzip2 file"),
        (b"\x5d\0\0", "an lzma file"),
        (b"\x89LZO", "an lzo file"),
    ];
    const OTHERS: [(usize, &[u8], &str); 13] = [
        (0, b"070707", "a cpio archive in an older form than Linux unpacks (make it with `cpio -H newc`)"),
        (0, b"\xc7\x71", "a cpio archive in an older form than Linux unpacks (make it with `cpio -H newc`)"),
        (0, b"\x04\x22\x4d\x18", "an lz4 file in another form than Linux unpacks (make it with `lz4 -l`)"),
        (0, b"\x7fELF", "an ELF file"),
        (0, b"MZ", "an EFI program, such as a boot loader"),
        (0, b"hsqs", "a squashfs"),
        (0, b"PK\x03\x04", "a zip file"),
        (0, b"\x37\xe4\x53\x96\xc9\xdb\xd6\x07", "a file compressed by zisofs (copy it out of its mounted ISO)"),
        (0, b"\x27\x05\x19\x56", "an image for U-Boot"),
        (0, b"QFI\xfb", "a disk of QEMU"),
        (257, b"ustar", "a tar archive"),
        (0x8001, b"CD001", "an ISO"),
        (0x1fe, b"\x55\xaa", "a disk or a boot sector"),
    ];
    if let Some((_, what)) = ARCHIVES.iter().find(|(magic, _)| archive.starts_with(magic)) {
        return Looks::Initrd(what);
    }
    if let Some((.., what)) = OTHERS.iter().find(|(at, magic, _)| has(*at, magic)) {
        return Looks::Other(what);
    }
    let is_text = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~' | 0x80..);
    match std::str::from_utf8(head) {
        Ok(_) if head.iter().all(is_text) => Looks::Text,
        // The head may end within a character.
        Err(error) if error.error_len().is_none() && head.iter().all(is_text) => Looks::Text,
        _ => {
            let mut first = [0; 8];
            let len = head.len().min(8);
            first[..len].copy_from_slice(&head[..len]);
            Looks::Unknown(first)
        }
    }
}

/// As much of a file's beginning as tells what it is.
pub(crate) fn read_head(bytes: impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    bytes.take(HEAD_BYTES).read_to_end(&mut head)?;
    Ok(head)
}

/// Refuses what can't be the kernel or the initrd, by its [`read_head`]; `file` is what it is called. Of other files nobody
/// here knows what they should be.
pub(crate) fn check_boot_file(role: ImageRole, file: &str, head: &[u8]) -> Result<(), ImportError> {
    let file = || file.to_owned();
    match (role, looks(head)) {
        (ImageRole::Kernel | ImageRole::Initrd, _) if head.is_empty() => Err(ImportError::Empty(file())),
        (ImageRole::Kernel, Looks::Kernel) | (ImageRole::Initrd, Looks::Initrd(_)) => Ok(()),
        (ImageRole::Kernel, looks) => Err(ImportError::NotAKernel { file: file(), looks }),
        (ImageRole::Initrd, looks) => Err(ImportError::NotAnInitrd { file: file(), looks }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(len: usize, parts: &[(usize, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![1; len];
        for (at, part) in parts {
            bytes[*at..at + part.len()].copy_from_slice(part);
        }
        bytes
    }

    #[test]
    fn a_kernel_is_known_by_its_header() {
        let x86 = [(0x1fe, &b"\x55\xaa"[..]), (0x202, b"HdrS")];
        assert_eq!(looks(&with(0x300, &x86)), Looks::Kernel);
        assert_eq!(looks(&with(0x300, &[x86[0], x86[1], (0, b"MZ")])), Looks::Kernel);
        assert_eq!(looks(&with(0x40, &[(0x38, b"ARM\x64")])), Looks::Kernel);
        assert_eq!(looks(&with(0x40, &[(0, b"MZ\0\0zimg")])), Looks::Kernel);
        // One half of it is none.
        assert!(matches!(looks(&with(0x300, &x86[..1])), Looks::Other("a disk or a boot sector")));
        assert!(matches!(looks(&with(0x300, &x86[1..])), Looks::Unknown(_)));
        assert!(matches!(looks(&with(0x300, &[(0, b"MZ")])), Looks::Other(what) if what.starts_with("an EFI program")));
    }

    #[test]
    fn an_archive_is_known_after_zeros_too() {
        for magic in [&b"070701"[..], b"\x1f\x8b", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"\x02\x21\x4c\x18", b"BZh9"] {
            assert!(matches!(looks(magic), Looks::Initrd(_)), "{magic:?}");
            assert!(matches!(looks(&[&[0; 512], magic].concat()), Looks::Initrd(_)), "{magic:?}");
        }
        for magic in [&b"070707"[..], b"\x04\x22\x4d\x18", b"hsqs", b"\x7fELF", b"PK\x03\x04"] {
            assert!(matches!(looks(magic), Looks::Other(_)), "{magic:?}");
        }
    }

    #[test]
    fn what_is_neither_says_what_it_looks_like() {
        let told = |head: &[u8]| looks(head).to_string();
        assert_eq!(told("<html>é".as_bytes()), "it looks like text");
        assert_eq!(told(&"é".as_bytes()[..1]), "it looks like text");
        assert_eq!(told(b"\0\x01\xff"), "it looks like nothing known (it begins with 00 01 ff 00 00 00 00 00)");
        assert_eq!(told(&[0; 4096]), "it looks like nothing known (it begins with 00 00 00 00 00 00 00 00)");
        assert_eq!(told(&with(0x8006, &[(0x8001, b"CD001")])), "it looks like an ISO");
        assert_eq!(told(&with(300, &[(257, b"ustar")])), "it looks like a tar archive");
    }
}
