//! Which drives the configuration means. The order is that of the configuration's own document: what can mean one drive
//! only goes first, so that a selector by size never takes a drive that is named elsewhere; then the boot disk; then the
//! data drives in their order. The controller VM's comes last, and may share one.

use crate::{
    config::{StorageConfig, WantedDrive},
    disks::Disk,
    finding::Code,
};
use metalform_model::Finding;
use serde::Serialize;
use std::collections::BTreeSet;

/// The drives that were chosen, as paths. This is also the document that an installer gets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Drives {
    /// What the machine boots from.
    pub boot: String,
    /// The hypervisor's; usually the same.
    pub hypervisor: String,
    /// The controller VM's; may be one of `data`.
    pub cvm: String,
    /// The cluster's.
    pub data: Vec<String>,
    /// Those of them whose contents the plan gives up.
    #[serde(skip)]
    pub wipe: Vec<String>,
    /// What each of them was when it was chosen: path, serial number, size in bytes. A path alone may mean another drive
    /// a minute later.
    #[serde(skip)]
    pub known: BTreeSet<(String, String, u64)>,
}

/// What a drive was taken for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Taken<'a> {
    /// `boot_device`, `data_devices[0]`.
    pub(crate) role: String,
    pub(crate) wanted: &'a WantedDrive,
    pub(crate) disk: &'a Disk,
}

/// Takes a drive for every entry; a finding for each that there is none for.
pub(crate) fn choose<'a>(storage: &'a StorageConfig, disks: &'a [Disk]) -> (Vec<Taken<'a>>, Vec<Finding>) {
    let mut choice = Choice { disks, taken: Vec::new(), findings: Vec::new() };
    let data = storage.data_devices.iter().enumerate();
    let owned = std::iter::once(("boot_device".to_owned(), &storage.boot_device))
        .chain(data.map(|(at, wanted)| (format!("data_devices[{at}]"), wanted)))
        .collect::<Vec<_>>();
    for exact in [true, false] {
        for (role, wanted) in owned.iter().filter(|(_, wanted)| wanted.is_exact() == exact) {
            choice.take(role, wanted, false);
        }
    }
    // The same entry means the same drive; when there is none, it is told once.
    let boot = choice.taken.iter().find(|each| each.role == "boot_device").map(|each| each.disk);
    match (storage.hypervisor_device == storage.boot_device, boot) {
        (false, _) => choice.take("hypervisor_device", &storage.hypervisor_device, true),
        (true, Some(disk)) => {
            let (role, wanted) = ("hypervisor_device".into(), &storage.hypervisor_device);
            choice.taken.push(Taken { role, wanted, disk });
        }
        (true, None) => {}
    }
    choice.take("cvm_device", &storage.cvm_device, true);
    (choice.taken, choice.findings)
}

/// The paths, once everything was taken.
pub(crate) fn paths(taken: &[Taken<'_>]) -> Drives {
    let of = |role: &str| taken.iter().find(|each| each.role == role).map(|each| each.disk.device.clone());
    let mut data: Vec<&Taken<'_>> = taken.iter().filter(|each| each.role.starts_with("data_devices[")).collect();
    data.sort_by_key(|each| (each.role.len(), each.role.clone()));
    Drives {
        boot: of("boot_device").unwrap_or_default(),
        hypervisor: of("hypervisor_device").unwrap_or_default(),
        cvm: of("cvm_device").unwrap_or_default(),
        wipe: data.iter().filter(|each| each.wanted.wipe).map(|each| each.disk.device.clone()).collect(),
        data: data.iter().map(|each| each.disk.device.clone()).collect(),
        known: taken
            .iter()
            .map(|each| (each.disk.device.clone(), each.disk.serial.clone(), each.disk.size_bytes))
            .collect(),
    }
}

struct Choice<'a> {
    disks: &'a [Disk],
    taken: Vec<Taken<'a>>,
    findings: Vec<Finding>,
}

impl<'a> Choice<'a> {
    fn take(&mut self, role: &str, wanted: &'a WantedDrive, may_share: bool) {
        let is_free = |disk: &&Disk| !self.taken.iter().any(|each| each.disk.device == disk.device);
        let free = self.disks.iter().filter(|disk| fits(disk, wanted)).find(is_free);
        let found = match free {
            None if may_share => self.taken.iter().map(|each| each.disk).find(|disk| fits(disk, wanted)),
            free => free,
        };
        match found {
            Some(disk) => self.taken.push(Taken { role: role.into(), wanted, disk }),
            None => self.findings.push(self.missing(role, wanted)),
        }
    }

    /// Says what is there instead: a serial number with a digit wrong is seen at once.
    fn missing(&self, role: &str, wanted: &WantedDrive) -> Finding {
        let any_size = WantedDrive { min_gb: None, max_gb: None, ..wanted.clone() };
        let free = |disk: &&Disk| !self.taken.iter().any(|each| each.disk.device == disk.device);
        let too_small = |disk: &&Disk| wanted.min_gb.is_some_and(|min| disk.size_gb() < min);
        let by_selector = |disk: &&Disk| {
            any_size == WantedDrive { wipe: any_size.wipe, ..WantedDrive::default() } || fits(disk, &any_size)
        };
        let candidate = |disk: &&Disk| !disk.removable && free(disk) && by_selector(disk) && too_small(disk);
        if let Some(largest) = self.disks.iter().filter(candidate).max_by_key(|disk| disk.size_bytes) {
            let has = format!("{role} is to be {wanted}, and {} has {} GB", largest.device, largest.size_gb());
            return Code::DiskTooSmall.failed(&largest.device, has);
        }
        // Once: a report has its limits, and so has a reader.
        let told = self.findings.iter().any(|finding| finding.code == Code::DiskMissing.as_str());
        let mut there: Vec<String> = self.disks.iter().map(|disk| self.in_words(disk)).collect();
        there.truncate(32);
        let there = match there.is_empty() {
            true => "no drive at all".into(),
            false if told => "what is listed above".into(),
            false => there.join("; "),
        };
        Code::DiskMissing
            .failed(role, format!("it is to be {wanted}, and no drive is left that fits; there is {there}"))
    }

    fn in_words(&self, disk: &Disk) -> String {
        let mut words = format!("{} {} GB", disk.device, disk.size_gb());
        for (what, text) in [("model", &disk.model), ("serial", &disk.serial)] {
            if !text.is_empty() {
                words.push_str(&format!(" {what} {text}"));
            }
        }
        if let Some(taken) = self.taken.iter().find(|each| each.disk.device == disk.device) {
            words.push_str(&format!(" (taken as {})", taken.role));
        }
        words
    }
}

fn fits(disk: &Disk, wanted: &WantedDrive) -> bool {
    let named = wanted.is_exact() || !(disk.removable || disk.read_only);
    named
        && wanted.device.as_ref().is_none_or(|device| disk.device == *device)
        && wanted.serial.as_ref().is_none_or(|serial| disk.serial == *serial)
        && wanted.model.as_ref().is_none_or(|model| disk.model.contains(model))
        && wanted.min_gb.is_none_or(|min| disk.size_gb() >= min)
        && wanted.max_gb.is_none_or(|max| disk.size_gb() <= max)
}
