//! A machine's drives as its operating system sees them, and which of them an installer takes for the entries of a node
//! configuration.

use crate::cloud::PoweredOn;
use serde_json::{Value, json};

/// A drive under its Linux name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// `/dev/nvme1n1`.
    pub device: String,
    /// Model name.
    pub model: String,
    /// Serial number.
    pub serial: String,
    /// In 10^9 bytes.
    pub size_gb: u64,
    /// The boot disk: a RAID 1 pair that shows as one device.
    pub boot: bool,
}

impl Disk {
    /// The drives of a machine. On generation 2 the boot pair is SATA, on generation 3 it is the first NVMe device (seen
    /// there as "M.2 NVMe 2-Bay RAID Kit"; data drives as Micron 7450).
    pub fn all(machine: &PoweredOn, serials: &str) -> Vec<Disk> {
        let mut nvme = 0..;
        let mut sata = 'a'..='z';
        let mut disks = Vec::new();
        for (index, drive) in machine.drives.iter().enumerate() {
            let device = if drive.interface == "sata" {
                format!("/dev/sd{}", sata.next().unwrap_or('z'))
            } else {
                format!("/dev/nvme{}n1", nvme.next().unwrap_or(0))
            };
            let model = if drive.boot { "M.2 NVMe 2-Bay RAID Kit" } else { "Micron_7450_MTFDKCC" };
            let serial = format!("S{index}{serials}").to_uppercase();
            disks.push(Disk { device, model: model.into(), serial, size_gb: drive.size_gb, boot: drive.boot });
        }
        disks
    }

    pub(super) fn facts(&self) -> Value {
        json!({"device": self.device, "model": self.model, "serial": self.serial, "size_gb": self.size_gb})
    }
}

/// Finds the drives that a storage configuration names: `/dev/…` and serial numbers first, then each object in turn, a
/// drive that has all it states and that nothing else took.
#[derive(Debug)]
pub(super) struct Choice<'a> {
    disks: &'a [Disk],
    /// What each drive was taken for.
    taken: Vec<Option<&'a Value>>,
}

impl<'a> Choice<'a> {
    pub fn new(disks: &'a [Disk]) -> Self {
        Choice { disks, taken: vec![None; disks.len()] }
    }

    /// Takes a drive for every entry, in the order of `entries`; the index into the drives for each.
    pub fn take_all(&mut self, entries: &[&'a Value]) -> Result<Vec<usize>, String> {
        let mut chosen = vec![usize::MAX; entries.len()];
        let exact =
            |entry: &Value| entry.is_string() || ["device", "serial"].iter().any(|key| entry.get(key).is_some());
        for first in [true, false] {
            for (at, entry) in entries.iter().enumerate().filter(|(_, entry)| exact(entry) == first) {
                chosen[at] = self.take(entry)?;
            }
        }
        Ok(chosen)
    }

    /// Takes a drive for an entry that may stand for one that is taken already.
    pub fn take_or_share(&mut self, entry: &'a Value) -> Result<usize, String> {
        self.take(entry).or_else(|why| self.taken.iter().position(|taken| *taken == Some(entry)).ok_or(why))
    }

    fn take(&mut self, entry: &'a Value) -> Result<usize, String> {
        check_selector(entry)?;
        let found = (0..self.disks.len())
            .find(|at| self.taken[*at].is_none() && fits(&self.disks[*at], entry))
            .ok_or_else(|| format!("no drive is left that fits {entry}"))?;
        self.taken[found] = Some(entry);
        Ok(found)
    }
}

fn check_selector(entry: &Value) -> Result<(), String> {
    match entry {
        Value::String(path) if path.starts_with("/dev/") => Ok(()),
        Value::Object(map) if map.keys().all(|key| key == "wipe") => {
            Err("an empty drive selector fits any drive".into())
        }
        Value::Object(map) => map.iter().try_for_each(|(key, value)| match (key.as_str(), value) {
            ("serial" | "model", Value::String(text)) if !text.is_empty() => Ok(()),
            ("device", Value::String(path)) if path.starts_with("/dev/") => Ok(()),
            ("wipe", Value::Bool(_)) => Ok(()),
            ("min_gb" | "max_gb", Value::Number(number)) if number.is_u64() => Ok(()),
            _ => Err(format!("{key:?} in the drive selector {entry} is not understood")),
        }),
        _ => Err(format!("{entry} names no drive: neither /dev/… nor an object")),
    }
}

fn fits(disk: &Disk, entry: &Value) -> bool {
    if let Some(path) = entry.as_str() {
        return disk.device == path;
    }
    let text = |key: &str| entry.get(key).and_then(Value::as_str);
    let number = |key: &str| entry.get(key).and_then(Value::as_u64);
    text("device").is_none_or(|device| disk.device == device)
        && text("serial").is_none_or(|serial| disk.serial == serial)
        && text("model").is_none_or(|model| disk.model.contains(model))
        && number("min_gb").is_none_or(|min| disk.size_gb >= min)
        && number("max_gb").is_none_or(|max| disk.size_gb <= max)
}
