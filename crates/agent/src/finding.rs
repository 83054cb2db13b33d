//! Findings, made in one way: a code of [`Code`], what it is about, what was wanted and what is there, and what to do.

use metalform_model::{Finding, Verdict};
use std::fmt;

/// Everything that the agent may find or fail with. The word is stable: documents and the service go by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(
    missing_docs,
    reason = "each is told in `hint`, and in the table of docs/agent.md, which a test compares with this list"
)]
pub enum Code {
    AddressDiffers,
    AttemptEnded,
    BootPlaneAway,
    ClockWasWrong,
    ConfigInvalid,
    ConfigRefused,
    CoresFew,
    CoresTooFew,
    DiskBelowMinimum,
    DiskHasPartitions,
    DiskInUse,
    DiskMissing,
    DiskReadOnly,
    DiskTooSmall,
    DiskUnreadable,
    DriveChosen,
    DriverFailed,
    DrivesChanged,
    ImageDigestWrong,
    ImageUnavailable,
    InstallerFailed,
    InstallerTimeout,
    Internal,
    KernelArguments,
    ManifestInvalid,
    MemoryLow,
    MemoryTooSmall,
    NetworkFailed,
    NicMissing,
    NicNoLink,
    NoRoomForImages,
    NoVirtualization,
    SessionRefused,
    TlsFailed,
    TlsUntrusted,
    WipeFailed,
}

impl Code {
    /// All of them.
    pub const ALL: [Code; 36] = [
        Code::AddressDiffers,
        Code::AttemptEnded,
        Code::BootPlaneAway,
        Code::ClockWasWrong,
        Code::ConfigInvalid,
        Code::ConfigRefused,
        Code::CoresFew,
        Code::CoresTooFew,
        Code::DiskBelowMinimum,
        Code::DiskHasPartitions,
        Code::DiskInUse,
        Code::DiskMissing,
        Code::DiskReadOnly,
        Code::DiskTooSmall,
        Code::DiskUnreadable,
        Code::DriveChosen,
        Code::DriverFailed,
        Code::DrivesChanged,
        Code::ImageDigestWrong,
        Code::ImageUnavailable,
        Code::InstallerFailed,
        Code::InstallerTimeout,
        Code::Internal,
        Code::KernelArguments,
        Code::ManifestInvalid,
        Code::MemoryLow,
        Code::MemoryTooSmall,
        Code::NetworkFailed,
        Code::NicMissing,
        Code::NicNoLink,
        Code::NoRoomForImages,
        Code::NoVirtualization,
        Code::SessionRefused,
        Code::TlsFailed,
        Code::TlsUntrusted,
        Code::WipeFailed,
    ];

    /// The word on the wire and on the console.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::AddressDiffers => "address_differs",
            Code::AttemptEnded => "attempt_ended",
            Code::BootPlaneAway => "boot_plane_away",
            Code::ClockWasWrong => "clock_was_wrong",
            Code::ConfigInvalid => "config_invalid",
            Code::ConfigRefused => "config_refused",
            Code::CoresFew => "cores_few",
            Code::CoresTooFew => "cores_too_few",
            Code::DiskBelowMinimum => "disk_below_minimum",
            Code::DiskHasPartitions => "disk_has_partitions",
            Code::DiskInUse => "disk_in_use",
            Code::DiskMissing => "disk_missing",
            Code::DiskReadOnly => "disk_read_only",
            Code::DiskTooSmall => "disk_too_small",
            Code::DiskUnreadable => "disk_unreadable",
            Code::DriveChosen => "drive_chosen",
            Code::DriverFailed => "driver_failed",
            Code::DrivesChanged => "drives_changed",
            Code::ImageDigestWrong => "image_digest_wrong",
            Code::ImageUnavailable => "image_unavailable",
            Code::InstallerFailed => "installer_failed",
            Code::InstallerTimeout => "installer_timeout",
            Code::Internal => "internal",
            Code::KernelArguments => "kernel_arguments",
            Code::ManifestInvalid => "manifest_invalid",
            Code::MemoryLow => "memory_low",
            Code::MemoryTooSmall => "memory_too_small",
            Code::NetworkFailed => "network_failed",
            Code::NicMissing => "nic_missing",
            Code::NicNoLink => "nic_no_link",
            Code::NoRoomForImages => "no_room_for_images",
            Code::NoVirtualization => "no_virtualization",
            Code::SessionRefused => "session_refused",
            Code::TlsFailed => "tls_failed",
            Code::TlsUntrusted => "tls_untrusted",
            Code::WipeFailed => "wipe_failed",
        }
    }

    /// What to do about it.
    pub fn hint(self) -> &'static str {
        match self {
            Code::AddressDiffers => {
                "correct mgmt_ip in the plan, or the address that the network's DHCP server gives this machine"
            }
            Code::AttemptEnded => {
                "look at `metalform status`: the node was released, failed, or got another boot attempt; this machine waits for its restart"
            }
            Code::BootPlaneAway => "see that the service runs and that this machine reaches it; then `metalform retry`",
            Code::ClockWasWrong => "set the machine's clock in its firmware, and give the cluster time servers",
            Code::ConfigInvalid => {
                "service and image set are of different releases: make the image set anew with this release's agent"
            }
            Code::ConfigRefused => {
                "look at `metalform status` and `metalform events`; `metalform retry` opens another boot attempt"
            }
            Code::CoresFew | Code::MemoryLow => {
                "Nutanix CE may not start its controller VM on it; order a larger profile for real work"
            }
            Code::CoresTooFew => {
                "the cloud delivered another machine than was ordered, or part of it is broken: `metalform retry`, then ask the provider"
            }
            Code::DiskBelowMinimum => {
                "Nutanix CE wants 64 GB to boot from, 200 GB for the controller VM, 500 GB for data: choose larger drives for real work"
            }
            Code::DiskHasPartitions => {
                "if what is on it may go, say so in the plan: data_drives = [{ serial = \"…\", wipe = true }]; else name another drive"
            }
            Code::DiskInUse => {
                "something in the image set's initrd uses it: mend the image set, or name another drive in the plan"
            }
            Code::DiskMissing => {
                "compare data_drives in the plan with the drives listed here; where a drive is not listed at all, its driver is missing in the image set, or the drive is broken"
            }
            Code::DiskReadOnly => {
                "the drive protects itself, as worn-out ones do: have it replaced, or name another one in the plan"
            }
            Code::DrivesChanged => {
                "a drive came late or went: `metalform retry`, and name drives by serial number in the plan if it happens again"
            }
            Code::DiskTooSmall => "name a drive that is large enough, or lower min_gb in the plan",
            Code::DiskUnreadable => "the drive is broken or still starting: `metalform retry`, then have it replaced",
            Code::DriveChosen => "",
            Code::DriverFailed => {
                "the module is not of this kernel, or its hardware is not there: make the image set anew with modules of its own kernel"
            }
            Code::ImageDigestWrong => {
                "something between service and machine changes files, or the set was changed on the disk: `metalform image verify`"
            }
            Code::ImageUnavailable => {
                "see that the file is in the image set and the service is reachable: `metalform image verify`; then `metalform retry`"
            }
            Code::InstallerFailed => {
                "the installer's last lines say why; `metalform events` has more of them; then `metalform retry`"
            }
            Code::InstallerTimeout => "look at its last lines in `metalform events`; `metalform retry` starts it anew",
            Code::Internal => "this is a mistake in Metalform: report it with the console's text",
            Code::KernelArguments => {
                "the boot script of this release sets them all: compare its template with the documents"
            }
            Code::ManifestInvalid => "make the image set anew: `metalform image import`, `metalform image verify`",
            Code::MemoryTooSmall => {
                "the cloud delivered another machine than was ordered, or a memory module is broken: `metalform retry`, then ask the provider"
            }
            Code::NetworkFailed => {
                "see that a DHCP server answers on this network, or give the address on the kernel's command line (ip=)"
            }
            Code::NicMissing => {
                "no driver of the image set took the network card: add its module with `metalform image overlay`"
            }
            Code::NicNoLink => "look at the cable, the switch's port, or the machine's network interface in the cloud",
            Code::NoRoomForImages => {
                "the machine's memory has to hold the image set's files: use a smaller set or a larger machine"
            }
            Code::NoVirtualization => "switch VT-x or AMD-V on in the firmware: no virtual machine starts without it",
            Code::SessionRefused => {
                "`metalform explain` tells who has the session; restart the machine for another exchange"
            }
            Code::TlsFailed => {
                "let proxies on the way pass the connection as it is, or set `[boot] tls = \"off\"`; then restart the machine"
            }
            Code::TlsUntrusted => {
                "restart the machine if the service's `tls/ca.pem` was replaced, or `metalform retry` where its script stands in user data; else find out who answers in its name on this network"
            }
            Code::WipeFailed => "the drive is broken or protected: have it replaced, or name another one in the plan",
        }
    }

    /// A finding of this code.
    pub fn finding(self, verdict: Verdict, subject: impl Into<String>, reason: impl Into<String>) -> Finding {
        Finding {
            code: self.as_str().into(),
            verdict,
            subject: subject.into(),
            reason: reason.into(),
            hint: self.hint().into(),
        }
    }

    /// One that stops the node.
    pub fn failed(self, subject: impl Into<String>, reason: impl Into<String>) -> Finding {
        self.finding(Verdict::Failed, subject, reason)
    }

    /// One that is worth knowing.
    pub fn warning(self, subject: impl Into<String>, reason: impl Into<String>) -> Finding {
        self.finding(Verdict::Warning, subject, reason)
    }
}

/// As a person reads it on a console: `failed disk_missing /dev/sdb: …; hint`.
pub struct InWords<'a>(pub &'a Finding);

impl fmt::Display for InWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { code, verdict, subject, reason, hint } = self.0;
        let verdict = match verdict {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Failed => "FAILED",
        };
        write!(f, "{verdict}: {subject}: {reason} [{code}]")?;
        if hint.is_empty() { Ok(()) } else { write!(f, "\n    what to do: {hint}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_code_has_a_word_of_its_own() {
        let words: BTreeSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(words.len(), Code::ALL.len());
    }

    #[test]
    fn the_document_tells_every_code_with_what_to_do_and_no_other() {
        let document = include_str!("../../../docs/agent.md");
        let (_, table) = document.split_once("\n## Findings\n").expect("docs/agent.md has a part with all findings");
        let rows: BTreeSet<(&str, &str)> = table
            .lines()
            .filter_map(|line| Some((line.strip_prefix("| `")?.split('`').next()?, line.rsplit(" | ").next()?)))
            .map(|(code, hint)| (code, hint.trim_end_matches(" |")))
            .collect();
        let hint = |code: &Code| if code.hint().is_empty() { "nothing" } else { code.hint() };
        assert_eq!(rows, Code::ALL.iter().map(|code| (code.as_str(), hint(code))).collect());
    }
}
