//! What is on a drive, by the marks that partition tables, file systems and volume managers leave at fixed places.
//!
//! It is asked whether a drive may be overwritten, so a mark too many is better than one too few: a mark alone counts,
//! whether or not what it stands for is whole, and so does anything else but zeros. Offsets and marks are those that libblkid (util-linux) looks for.

/// How much of a drive's beginning is looked at: btrfs has its mark at 64 KiB, ZFS its first labels below 512 KiB.
pub const HEAD_BYTES: u64 = 512 * 1024;

/// And of its end: the second GPT, md with metadata 1.0, ZFS' last labels.
pub const TAIL_BYTES: u64 = 128 * 1024;

/// Both ends of a drive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ends {
    /// The first [`HEAD_BYTES`], or fewer.
    pub head: Vec<u8>,
    /// The last [`TAIL_BYTES`], or fewer.
    pub tail: Vec<u8>,
}

const HEAD_MARKS: [(usize, &[u8], &str); 22] = [
    (512, b"EFI PART", "a GPT partition table"),
    (4096, b"EFI PART", "a GPT partition table"),
    (0, b"LUKS\xba\xbe", "a LUKS volume"),
    (512, b"LABELONE", "an LVM volume"),
    (0, b"LABELONE", "an LVM volume"),
    (1024, b"LABELONE", "an LVM volume"),
    (1536, b"LABELONE", "an LVM volume"),
    (1080, b"\x53\xef", "an ext file system"),
    (0, b"XFSB", "an XFS file system"),
    (0x1_0040, b"_BHRfS_M", "a btrfs file system"),
    (4096, b"\xfc\x4e\x2b\xa9", "a member of an md array"),
    (0, b"\xfc\x4e\x2b\xa9", "a member of an md array"),
    (4086, b"SWAPSPACE2", "a swap area"),
    (3, b"NTFS    ", "an NTFS file system"),
    (3, b"EXFAT   ", "an exFAT file system"),
    (54, b"FAT", "a FAT file system"),
    (82, b"FAT32", "a FAT file system"),
    (32769, b"CD001", "an ISO 9660 file system"),
    (0, b"hsqs", "a squashfs file system"),
    (1024, b"\xe2\xe1\xf5\xe0", "an EROFS file system"),
    (0x1_0000 + 0x400, b"\x10\x20\xf5\xf2", "an F2FS file system"),
    (1024, b"\x10\x20\xf5\xf2", "an F2FS file system"),
];

/// What is there first; `None` where nothing is known to be.
pub fn find(ends: &Ends) -> Option<&'static str> {
    let marked = HEAD_MARKS.iter().find(|(at, mark, _)| ends.head.get(*at..at + mark.len()) == Some(*mark));
    marked
        .map(|(_, _, name)| *name)
        .or_else(|| zfs(&ends.head).or_else(|| zfs(&ends.tail)))
        .or_else(|| tail(&ends.tail))
        .or_else(|| has_mbr(&ends.head).then_some("an MBR partition table"))
        .or_else(|| {
            ends.head.iter().chain(&ends.tail).any(|byte| *byte != 0).then_some("data of a kind that isn't known")
        })
}

/// The second GPT is in the last block, of 512 or 4096 bytes; md 1.0 is 8 to 12 KiB before the end, on a multiple of 4 KiB.
fn tail(tail: &[u8]) -> Option<&'static str> {
    let mark_before_end = |before: usize, mark: &[u8]| {
        tail.len().checked_sub(before).and_then(|at| tail.get(at..at + mark.len())) == Some(mark)
    };
    if mark_before_end(512, b"EFI PART") || mark_before_end(4096, b"EFI PART") {
        return Some("the second copy of a GPT partition table");
    }
    if [8192, 12288, 16384, 65536].iter().any(|before| mark_before_end(*before, b"\xfc\x4e\x2b\xa9")) {
        return Some("a member of an md array");
    }
    None
}

/// An uberblock, at a multiple of 1 KiB in the second half of a label of 256 KiB.
fn zfs(bytes: &[u8]) -> Option<&'static str> {
    let magic = 0x00ba_b10c_u64;
    let found = bytes.chunks_exact(1024).any(|block| {
        let start = block.first_chunk::<8>().copied().unwrap_or_default();
        start == magic.to_le_bytes() || start == magic.to_be_bytes()
    });
    found.then_some("a ZFS pool")
}

/// The mark at the end of the first sector stands in boot sectors of all kinds: one entry must be in use, too.
fn has_mbr(head: &[u8]) -> bool {
    head.get(510..512) == Some(b"\x55\xaa".as_slice())
        && head.get(446..510).is_some_and(|table| table.chunks_exact(16).any(|entry| entry[4] != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mark_is_found_at_its_place() {
        for (at, mark, name) in HEAD_MARKS {
            let mut ends = Ends { head: vec![0; 512 * 1024], tail: vec![0; 128 * 1024] };
            ends.head[at..at + mark.len()].copy_from_slice(mark);
            assert_eq!(find(&ends), Some(name), "{at}");
        }
    }

    #[test]
    fn a_table_that_is_left_at_the_end_alone_is_found() {
        let mut ends = Ends { head: vec![0; 4096], tail: vec![0; 128 * 1024] };
        assert_eq!(find(&ends), None);
        let at = ends.tail.len() - 512;
        ends.tail[at..at + 8].copy_from_slice(b"EFI PART");
        assert_eq!(find(&ends), Some("the second copy of a GPT partition table"));
    }

    #[test]
    fn an_mbr_counts_with_a_partition_in_it() {
        let mut head = vec![0; 1024];
        head[510..512].copy_from_slice(b"\x55\xaa");
        assert_eq!(find(&Ends { head: head.clone(), tail: vec![] }), Some("data of a kind that isn't known"));
        head[446 + 4] = 0x83;
        assert_eq!(find(&Ends { head, tail: vec![] }), Some("an MBR partition table"));
    }

    #[test]
    fn what_nobody_knows_is_something_all_the_same() {
        let (mut head, mut tail) = (vec![0; 512 * 1024], vec![0; 128 * 1024]);
        head[300_000] = 1;
        assert_eq!(find(&Ends { head, tail: tail.clone() }), Some("data of a kind that isn't known"));
        tail[5] = 1;
        assert_eq!(find(&Ends { head: vec![0; 512], tail }), Some("data of a kind that isn't known"));
    }

    #[test]
    fn a_drive_smaller_than_what_is_looked_at_is_no_trouble() {
        assert_eq!(find(&Ends::default()), None);
        assert_eq!(find(&Ends { head: vec![0; 100], tail: vec![0; 100] }), None);
    }
}
