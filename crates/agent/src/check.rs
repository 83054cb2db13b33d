//! The machine compared with its configuration: a pure function, and every fault at once.

use crate::{
    config::{NodeConfig, WantedDrive},
    disks::{Contents, Disk},
    drives::{self, Drives, Taken},
    finding::Code,
    inventory::Inventory,
};
use metalform_model::{ChosenBy, Finding, Verdict};
use std::collections::BTreeSet;

/// Smallest machine and drives of Nutanix CE: warnings here, since a lab's machines are smaller on purpose.
/// Nutanix CE 2.1 guide: 64 GB to boot from, 200 GB for the controller VM, 500 GB for data; 20 GB is the controller VM's
/// own memory, and 4 cores the least.
const CE_BOOT_GB: u64 = 64;
const CE_CVM_GB: u64 = 200;
const CE_DATA_GB: u64 = 500;
const CE_MEMORY_GIB: u64 = 20;
const CE_CORES: u64 = 4;

/// What the comparison came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// Everything that was found, those that stop the node first.
    pub findings: Vec<Finding>,
    /// The chosen drives; none where a finding stops the node.
    pub drives: Option<Drives>,
}

impl Checked {
    /// Whether a drive is missing that may still be starting.
    pub fn misses_a_drive(&self) -> bool {
        let codes = [Code::DiskMissing.as_str(), Code::DiskTooSmall.as_str(), Code::DiskUnreadable.as_str()];
        self.findings.iter().any(|finding| codes.contains(&finding.code.as_str()))
    }
}

/// Compares.
pub fn check(config: &NodeConfig, inventory: &Inventory) -> Checked {
    let (taken, mut findings) = drives::choose(&config.storage_config, &inventory.disks);
    findings.extend(check_memory_and_cores(config, inventory));
    findings.extend(check_network(config, inventory));
    findings.extend(check_drives(config, &taken));
    findings.sort_by_key(|finding| match finding.verdict {
        Verdict::Failed => 0,
        Verdict::Warning => 1,
        Verdict::Ok => 2,
    });
    let stops = findings.iter().any(|finding| finding.verdict == Verdict::Failed);
    Checked { drives: (!stops).then(|| drives::paths(&taken)), findings }
}

fn check_memory_and_cores(config: &NodeConfig, inventory: &Inventory) -> Vec<Finding> {
    let node = &config.node_config;
    let (memory, cores) = (inventory.memory_gib(), inventory.cores);
    let mut findings = Vec::new();
    if let Some(min) = node.min_memory_gib.filter(|min| memory < *min) {
        let reason = format!("at least {min} GiB are wanted, and there are {memory}");
        findings.push(Code::MemoryTooSmall.failed("memory", reason));
    } else if memory < CE_MEMORY_GIB {
        let reason = format!("Nutanix CE wants {CE_MEMORY_GIB} GiB, and there are {memory}");
        findings.push(Code::MemoryLow.warning("memory", reason));
    }
    if let Some(min) = node.min_cores.filter(|min| cores < *min) {
        let reason = format!("at least {min} cores are wanted, and there are {cores}");
        findings.push(Code::CoresTooFew.failed("processor", reason));
    } else if cores < CE_CORES {
        let reason = format!("Nutanix CE wants {CE_CORES} cores, and there are {cores}");
        findings.push(Code::CoresFew.warning("processor", reason));
    }
    if !inventory.virtualization {
        let reason = format!("the hypervisor {} needs VT-x or AMD-V, and the processor shows neither", node.hypervisor);
        findings.push(Code::NoVirtualization.warning("processor", reason));
    }
    findings
}

fn check_network(config: &NodeConfig, inventory: &Inventory) -> Vec<Finding> {
    if inventory.nics.is_empty() {
        return vec![Code::NicMissing.failed("network", "the machine shows no network interface")];
    }
    let mut findings = Vec::new();
    for wanted in &config.network_config.interfaces {
        match inventory.nics.iter().find(|nic| nic.addresses.contains(&wanted.ip)) {
            Some(nic) if !nic.link => {
                findings.push(Code::NicNoLink.failed(&nic.name, format!("it has {} and no link", wanted.ip)));
            }
            Some(_) => {}
            None => {
                let has: Vec<String> = inventory
                    .nics
                    .iter()
                    .map(|nic| {
                        let addresses: Vec<String> = nic.addresses.iter().map(ToString::to_string).collect();
                        let addresses = if addresses.is_empty() { "no address".into() } else { addresses.join(", ") };
                        format!("{} ({}) has {addresses}", nic.name, nic.mac)
                    })
                    .collect();
                let reason = format!("an interface is to have {}, and {}", wanted.ip, has.join("; "));
                findings.push(Code::AddressDiffers.failed("network", reason));
            }
        }
    }
    findings
}

fn check_drives(config: &NodeConfig, taken: &[Taken<'_>]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut seen = BTreeSet::new();
    for Taken { role, wanted, disk } in taken {
        let device = &disk.device;
        findings.push(Code::DriveChosen.finding(Verdict::Ok, device, format!("{role}: {}", told(disk))));
        let (least, what) = match role.as_str() {
            "boot_device" => (CE_BOOT_GB, "to boot from"),
            "cvm_device" => (CE_CVM_GB, "for the controller VM"),
            "hypervisor_device" => (0, ""),
            _ => (CE_DATA_GB, "for data"),
        };
        if disk.size_gb() < least {
            let reason = format!("Nutanix CE wants {least} GB {what}, and it has {}", disk.size_gb());
            findings.push(Code::DiskBelowMinimum.warning(device, reason));
        }
        // A drive may stand for two roles; who uses it is told once. And before what it holds: that may go if the plan says
        // so, but nobody should say so of a drive in use.
        if seen.insert(device) {
            if !disk.users.is_empty() {
                findings.push(Code::DiskInUse.failed(device, format!("it is {role}, but {}", disk.users.join(", "))));
            }
            if disk.read_only {
                findings.push(Code::DiskReadOnly.failed(device, format!("it is {role}, and can't be written")));
            }
        }
        if role == "boot_device" {
            findings.extend(check_boot_contents(wanted, disk));
        }
        let is_data = role.starts_with("data_devices[");
        if is_data || role == "cvm_device" {
            findings.extend(check_contents(config, disk, is_data, wanted.wipe, taken));
        }
    }
    findings
}

/// The boot disk is always installed on. What is on a drive that the plan lists goes only when the plan says so; what is
/// on the other drives of a machine that was ordered as a whole is an earlier try's, and worth a line.
fn check_contents(config: &NodeConfig, disk: &Disk, is_data: bool, wipe: bool, taken: &[Taken<'_>]) -> Option<Finding> {
    let device = &disk.device;
    // Where the controller VM shares a drive with data, that drive was looked at as data.
    let shared = !is_data && taken.iter().any(|each| each.role != "cvm_device" && each.disk.device == *device);
    let listed = is_data && config.storage_config.data_devices_by == ChosenBy::Plan;
    match &disk.contents {
        _ if shared || wipe => None,
        Contents::Blank => None,
        Contents::Holds(what) if listed => {
            let reason = format!("the plan lists it for data without `wipe = true`, and it holds {what}");
            Some(Code::DiskHasPartitions.failed(device, reason))
        }
        // Whoever lists the drives that may be used has not said so of this one.
        Contents::Holds(what) if config.storage_config.data_devices_by == ChosenBy::Plan => {
            let reason = format!("the controller VM would be put on it, the plan doesn't list it, and it holds {what}");
            Some(Code::DiskHasPartitions.failed(device, reason))
        }
        Contents::Holds(what) => {
            let reason = format!("it holds {what}, which the installer will overwrite");
            // Nothing is to be done about it.
            Some(Finding { hint: String::new(), ..Code::DiskHasPartitions.warning(device, reason) })
        }
        Contents::Unreadable(why) => {
            Some(Code::DiskUnreadable.failed(device, format!("whether something is on it can't be told: {why}")))
        }
    }
}

/// A boot drive is installed on whatever it holds, once it is known which one that is: a server comes with something on it.
/// By a least size alone, as for a profile that nobody knows, any drive could be it.
fn check_boot_contents(wanted: &WantedDrive, disk: &Disk) -> Option<Finding> {
    let is_known = wanted.is_exact() || wanted.model.is_some() || wanted.max_gb.is_some();
    let Contents::Holds(what) = &disk.contents else { return None };
    (!is_known).then(|| Finding {
        hint: "describe the server's profile in the file of [profiles], so that its boot drive is known by size".into(),
        ..Code::DiskHasPartitions
            .failed(&disk.device, format!("it is to boot from, is known by a least size alone, and holds {what}"))
    })
}

fn told(disk: &Disk) -> String {
    let mut words = vec![format!("{} GB", disk.size_gb())];
    words.extend((!disk.model.is_empty()).then(|| disk.model.clone()));
    words.extend((!disk.serial.is_empty()).then(|| format!("serial {}", disk.serial)));
    words.join(", ")
}

#[cfg(test)]
mod tests;
