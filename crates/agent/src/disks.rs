//! The machine's drives: what they are, who uses them, and whether something is on them.

use crate::{
    inventory::{names_in, word},
    signature::{self, Ends},
};
use rustix::fs::OFlags;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// A whole drive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Disk {
    /// `/dev/nvme1n1`.
    pub device: String,
    /// As the drive says it; empty where it says nothing.
    pub model: String,
    /// As the drive says it; empty where it says nothing.
    pub serial: String,
    /// All of it.
    pub size_bytes: u64,
    /// Can't be written.
    pub read_only: bool,
    /// A stick or a card: never taken for a drive that is named by size or model alone.
    pub removable: bool,
    /// Who uses it or a part of it, each as `/dev/sda1 is mounted at /mnt`.
    pub users: Vec<String>,
    /// What is on it.
    pub contents: Contents,
}

/// What is on a drive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Contents {
    /// Nothing that is known.
    #[default]
    Blank,
    /// A partition table or a file system, in words.
    Holds(String),
    /// It couldn't be read; why.
    Unreadable(String),
}

impl Disk {
    /// In 10^9 bytes, as drives are sold.
    pub fn size_gb(&self) -> u64 {
        self.size_bytes / 1_000_000_000
    }
}

/// Opens a block device only where nobody claims it.
pub(crate) const EXCLUSIVE: i32 = OFlags::EXCL.bits().cast_signed();

/// Kinds of block devices that are no drives of the machine.
const NO_DRIVES: [&str; 9] = ["loop", "ram", "zram", "sr", "fd", "dm-", "md", "nbd", "mtdblock"];

/// All drives, in the order of their names.
pub fn read(root: &Path) -> Vec<Disk> {
    let block = root.join("sys/block");
    let users = users(root);
    let mut names: Vec<String> =
        names_in(&block).into_iter().filter(|name| !NO_DRIVES.iter().any(|kind| name.starts_with(kind))).collect();
    names.sort_by_key(|name| natural(name));
    let mut disks = Vec::new();
    for name in names {
        let folder = block.join(&name);
        let size_bytes = word(&folder.join("size")).and_then(|size| size.parse::<u64>().ok()).unwrap_or(0) * 512;
        // The paths below a multipath NVMe drive are hidden; a card reader without a card has no size.
        if size_bytes == 0 || word(&folder.join("hidden")).as_deref() == Some("1") {
            continue;
        }
        let first_of = |files: &[&str]| files.iter().find_map(|file| word(&folder.join(file))).unwrap_or_default();
        let is_set = |file: &str| word(&folder.join(file)).as_deref() == Some("1");
        let mut used: Vec<String> = Vec::new();
        for part in parts(&folder, &name) {
            used.extend(users.get(&part).into_iter().flatten().map(|how| format!("/dev/{part} {how}")));
            let holders = if part == name { folder.join("holders") } else { folder.join(&part).join("holders") };
            used.extend(names_in(&holders).iter().map(|holder| format!("/dev/{part} is part of {holder}")));
        }
        let device = format!("/dev/{name}");
        let node = root.join("dev").join(&name);
        if used.is_empty() && is_claimed(&node) {
            used.push(format!("the kernel holds {device} or a part of it, for a file system, a pool or an array"));
        }
        disks.push(Disk {
            model: first_of(&["device/model"]),
            serial: first_of(&["serial", "device/serial"]).or_vpd(&folder),
            size_bytes,
            read_only: is_set("ro"),
            removable: is_set("removable"),
            users: used,
            contents: contents(&node, size_bytes),
            device,
        });
    }
    disks
}

trait OrVpd {
    fn or_vpd(self, folder: &Path) -> String;
}

impl OrVpd for String {
    /// SCSI and SATA drives have their serial number in a page of binary data: four bytes of head, then the text.
    fn or_vpd(self, folder: &Path) -> String {
        if !self.is_empty() {
            return self;
        }
        let page = fs::read(folder.join("device/vpd_pg80")).unwrap_or_default();
        let text = page.get(4..).unwrap_or_default();
        String::from_utf8_lossy(text).trim_matches(['\0', ' ', '\n']).to_owned()
    }
}

/// The drive itself and its partitions.
fn parts(folder: &Path, name: &str) -> Vec<String> {
    let is_partition = |part: &String| folder.join(part).join("partition").exists();
    std::iter::once(name.to_owned()).chain(names_in(folder).into_iter().filter(is_partition)).collect()
}

/// What is mounted or swapped to, by the device's name without `/dev/`.
fn users(root: &Path) -> BTreeMap<String, Vec<String>> {
    let mut users: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let text = |file: &str| fs::read_to_string(root.join(file)).unwrap_or_default();
    for line in text("proc/mounts").lines() {
        let mut fields = line.split(' ');
        if let (Some(device), Some(place)) = (fields.next().and_then(|d| d.strip_prefix("/dev/")), fields.next()) {
            users.entry(device.to_owned()).or_default().push(format!("is mounted at {place}"));
        }
    }
    for line in text("proc/swaps").lines().skip(1) {
        if let Some(device) = line.split_whitespace().next().and_then(|device| device.strip_prefix("/dev/")) {
            users.entry(device.to_owned()).or_default().push("is used for swapping".into());
        }
    }
    users
}

/// Who mounts a drive under another name, as the second of a btrfs, or in a ZFS pool, is in no list of names; but whoever
/// uses a block device claims it, and `O_EXCL` without `O_CREAT` is refused for a claimed one and for a drive with a
/// claimed partition (open(2), the kernel's `bd_may_claim`).
fn is_claimed(device: &Path) -> bool {
    let opened = File::options().read(true).custom_flags(EXCLUSIVE).open(device);
    opened.is_err_and(|error| error.kind() == io::ErrorKind::ResourceBusy)
}

fn contents(device: &Path, size: u64) -> Contents {
    match ends(device, size) {
        Ok(ends) => signature::find(&ends).map_or(Contents::Blank, |found| Contents::Holds(found.into())),
        Err(error) => Contents::Unreadable(error.to_string()),
    }
}

fn ends(device: &Path, size: u64) -> io::Result<Ends> {
    let mut file = File::open(device)?;
    let mut head = Vec::new();
    (&mut file).take(signature::HEAD_BYTES).read_to_end(&mut head)?;
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(size.saturating_sub(signature::TAIL_BYTES)))?;
    file.take(signature::TAIL_BYTES).read_to_end(&mut tail)?;
    Ok(Ends { head, tail })
}

/// `nvme2n1` before `nvme10n1`.
fn natural(name: &str) -> Vec<(String, u64)> {
    let mut parts = vec![(String::new(), 0u64)];
    let mut in_number = false;
    for c in name.chars() {
        match (c.to_digit(10), parts.last_mut()) {
            (Some(digit), Some((_, number))) => {
                *number = number.saturating_mul(10).saturating_add(u64::from(digit));
                in_number = true;
            }
            (None, _) if in_number => {
                parts.push((c.to_string(), 0));
                in_number = false;
            }
            (None, Some((text, _))) => text.push(c),
            (_, None) => {}
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;

    #[test]
    fn drives_come_in_the_order_of_their_numbers_and_nothing_else_is_one() {
        let tree = Tree::new("order");
        for name in ["nvme10n1", "nvme2n1", "sda", "vda", "loop0", "dm-0", "md127", "sr0", "zram0"] {
            tree.disk(name, "", "", 500);
        }
        tree.disk("nvme0c0n1", "", "", 500);
        tree.write("sys/block/nvme0c0n1/hidden", "1\n");
        let devices: Vec<String> = read(tree.root()).into_iter().map(|disk| disk.device).collect();
        assert_eq!(devices, ["/dev/nvme2n1", "/dev/nvme10n1", "/dev/sda", "/dev/vda"]);
    }

    #[test]
    fn a_serial_number_is_found_wherever_the_kernel_keeps_it() {
        let tree = Tree::new("serials");
        tree.disk("nvme0n1", "Micron_7450", "S1", 3200);
        tree.disk("vda", "", "", 10);
        tree.write("sys/block/vda/serial", "LAB-1");
        tree.disk("sda", "M.2 Kit", "", 480);
        tree.write("sys/block/sda/device/vpd_pg80", "\0\u{80}\0\u{4}  S3 \0");
        let serials: Vec<String> = read(tree.root()).into_iter().map(|disk| disk.serial).collect();
        assert_eq!(serials[0], "S1");
        assert_eq!(serials[2], "LAB-1");
        assert!(serials[1].ends_with("S3"), "{serials:?}");
    }

    #[test]
    fn a_drive_in_use_says_by_whom() {
        let tree = Tree::new("users");
        tree.disk("sda", "", "", 480);
        tree.write("sys/block/sda/sda1/partition", "1\n");
        tree.write("sys/block/sda/sda2/partition", "2\n");
        tree.write("sys/block/sda/sda2/holders/md127/size", "1\n");
        tree.write("proc/mounts", "proc /proc proc rw 0 0\n/dev/sda1 /mnt ext4 rw 0 0\n");
        tree.write("proc/swaps", "Filename Type Size Used Priority\n/dev/sda partition 1 0 -2\n");
        assert_eq!(
            read(tree.root())[0].users,
            ["/dev/sda is used for swapping", "/dev/sda1 is mounted at /mnt", "/dev/sda2 is part of md127"]
        );
    }

    #[test]
    fn what_is_on_a_drive_is_seen_and_a_drive_that_cannot_be_read_is_not_called_blank() {
        let tree = Tree::new("contents");
        tree.disk("sda", "", "", 1);
        tree.disk("sdb", "", "", 1);
        tree.disk("sdc", "", "", 1);
        let mut gpt = vec![0; 4096];
        gpt[512..520].copy_from_slice(b"EFI PART");
        tree.content("sda", &gpt);
        fs::remove_file(tree.root().join("dev/sdc")).unwrap();
        let disks = read(tree.root());
        assert_eq!(disks[0].contents, Contents::Holds("a GPT partition table".into()));
        assert_eq!(disks[1].contents, Contents::Blank);
        assert!(matches!(disks[2].contents, Contents::Unreadable(_)));
    }
}
