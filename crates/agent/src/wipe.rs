//! Takes the marks off a drive that the plan gives up: the first and the last MiB of it, and the first of each of its
//! partitions, so that a new partition at an old place doesn't show an old file system. Not a secure erase.
//!
//! The kernel still knows the old partitions afterwards; whoever partitions the drive tells it anew.

use crate::{
    disks::EXCLUSIVE,
    inventory::{names_in, word},
};
use std::{
    fs::File,
    io::{self, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

const MIB: u64 = 1024 * 1024;

/// Clears `device` (`/dev/nvme1n1`); a drive that something uses is refused. When it returns, the zeros are on the drive.
pub fn clear(root: &Path, device: &str) -> io::Result<()> {
    let name = device.strip_prefix("/dev/").ok_or_else(|| io::Error::other("it is no path below /dev"))?;
    let mut file = File::options().write(true).custom_flags(EXCLUSIVE).open(root.join("dev").join(name))?;
    let size = file.seek(SeekFrom::End(0))?;
    let folder = root.join("sys/block").join(name);
    for part in names_in(&folder) {
        let number = |what: &str| word(&folder.join(&part).join(what)).and_then(|text| text.parse::<u64>().ok());
        if let (Some(_), Some(start)) = (number("partition"), number("start")) {
            zero(&mut file, start.saturating_mul(512), size)?;
        }
    }
    zero(&mut file, size.saturating_sub(MIB), size)?;
    // Last: until then, a drive that was half cleared shows what it was.
    zero(&mut file, 0, size)?;
    file.sync_all()
}

fn zero(file: &mut File, from: u64, size: u64) -> io::Result<()> {
    let length = size.saturating_sub(from).min(MIB);
    file.seek(SeekFrom::Start(from))?;
    file.write_all(&vec![0; usize::try_from(length).unwrap_or(0)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{disks, disks::Contents, testing::Tree};
    use std::io::Read;

    #[test]
    fn the_marks_of_a_drive_and_its_partitions_go_and_the_rest_stays() {
        let tree = Tree::new("wipe");
        tree.disk("sda", "", "", 1);
        tree.write("sys/block/sda/sda1/partition", "1\n");
        tree.write("sys/block/sda/sda1/start", "16384\n");
        tree.content("sda", &vec![b'x'; 20 * 1024 * 1024]);
        clear(tree.root(), "/dev/sda").unwrap();
        let mut bytes = vec![0; 20 * 1024 * 1024];
        File::open(tree.root().join("dev/sda")).unwrap().read_exact(&mut bytes).unwrap();
        let mib = MIB as usize;
        let is = |from: usize, byte: u8| bytes[from..from + mib].iter().all(|each| *each == byte);
        assert!(is(0, 0) && is(mib, b'x') && is(8 * mib, 0) && is(9 * mib, b'x'));
    }

    #[test]
    fn a_cleared_drive_is_blank() {
        let tree = Tree::new("wiped");
        tree.disk("sda", "", "", 1);
        let mut gpt = vec![0; 4096];
        gpt[512..520].copy_from_slice(b"EFI PART");
        tree.content("sda", &gpt);
        assert_ne!(disks::read(tree.root())[0].contents, Contents::Blank);
        clear(tree.root(), "/dev/sda").unwrap();
        assert_eq!(disks::read(tree.root())[0].contents, Contents::Blank);
    }

    #[test]
    fn a_drive_that_is_not_there_is_an_error() {
        let tree = Tree::new("wipe-none");
        assert!(clear(tree.root(), "/dev/sdz").is_err());
        assert!(clear(tree.root(), "elsewhere").is_err());
    }
}
