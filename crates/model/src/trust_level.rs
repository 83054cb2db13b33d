//! How far what was booted can be trusted: what compared which file, and by which way the script came that says what to
//! compare with. A pure function of what was seen in the boot attempt.
//!
//! A digest is worth as much as the way it came by. In a script that is fetched over the network it finds an accident:
//! whoever could change the kernel there could change the script, too. In user data it comes through the cloud's own
//! interface, and nobody on the provisioning network can change it.
//!
//! What iPXE has compared is told by a beacon, over that network. So `boot-checked` is shown with a token of its own, which a
//! script that came in user data holds and never sends before iPXE has compared: nobody else can tell it.

use crate::{BootProgress, BootStep};
use serde::{Deserialize, Serialize};

/// How far what was booted can be trusted. Ordered: each is more than the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrustLevel {
    /// Nothing was compared with anything.
    Unverified,
    /// The agent compared what it fetched of the installer; script, kernel and initrd came over the network, the agent with them.
    FilesCompared,
    /// iPXE compared kernel and initrd, by a script that came over the network.
    ImagesCompared,
    /// The same by a script that came in user data.
    Pinned,
    /// And the agent that was in that initrd compared what it fetched of the installer.
    PinnedAndCompared,
}

impl TrustLevel {
    /// What a person reads.
    pub fn in_words(self) -> &'static str {
        match self {
            TrustLevel::Unverified => {
                "nothing was compared: whoever controls its network could have booted something else on it"
            }
            TrustLevel::FilesCompared => {
                "its agent compared the files that it fetched for the installer; script, kernel and initrd came over the \
                 network and were not compared"
            }
            TrustLevel::ImagesCompared => {
                "iPXE compared kernel and initrd, by a script that came over the network: an accident is found, somebody \
                 who changes both isn't"
            }
            TrustLevel::Pinned => {
                "iPXE compared kernel and initrd with the digests in its user data: nobody on its network could change them"
            }
            TrustLevel::PinnedAndCompared => {
                "iPXE compared kernel and initrd with the digests in its user data, and its agent the files \
                 that it fetched for the installer"
            }
        }
    }
}

/// By which way the boot script came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScriptOrigin {
    /// Fetched from the boot plane, by the URL in user data.
    Url,
    /// In user data.
    UserData,
}

/// What became of kernel and initrd in iPXE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImagesInIpxe {
    /// Compared, and as the script says.
    Compared,
    /// This iPXE can't compare.
    NotCompared,
    /// Compared, and not as the script says: not booted.
    Differ,
    /// The script didn't say: no manifest, a template of one's own, or the beacon was lost.
    NotTold,
}

impl ImagesInIpxe {
    /// What a step of the boot script tells of it, if it does.
    pub fn told_by(step: BootStep) -> Option<ImagesInIpxe> {
        match step {
            BootStep::Boot => Some(ImagesInIpxe::NotTold),
            BootStep::BootChecked => Some(ImagesInIpxe::Compared),
            BootStep::BootUnchecked => Some(ImagesInIpxe::NotCompared),
            BootStep::KernelDiffers | BootStep::InitrdDiffers => Some(ImagesInIpxe::Differ),
            BootStep::Dhcp
            | BootStep::Kernel
            | BootStep::Initrd
            | BootStep::Retry
            | BootStep::TlsUntrusted
            | BootStep::TlsFailed
            | BootStep::Error(_) => None,
        }
    }
}

/// What the trust of a boot attempt is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootTrust {
    /// All in all.
    pub level: TrustLevel,
    /// Where the script came from.
    pub script: ScriptOrigin,
    /// What iPXE made of kernel and initrd.
    pub kernel_and_initrd: ImagesInIpxe,
    /// Whether an agent was heard of.
    pub agent: bool,
    /// Whether it signs with the key of a session.
    pub session: bool,
    /// Whether the agent compared all the files that it fetched for the installer with the manifest. What an installer
    /// fetches by itself isn't among them.
    pub installer_files_compared: bool,
}

impl BootTrust {
    /// Of what was seen in a boot attempt; `None` before a kernel was started, or refused. `script`: where the attempt's script
    /// comes from.
    pub fn of(boot: &BootProgress, script: ScriptOrigin) -> Option<BootTrust> {
        let kernel_and_initrd = boot.images_in_ipxe.unwrap_or(ImagesInIpxe::NotTold);
        let session = boot.session.is_some();
        if boot.images_in_ipxe.is_none() && !session && boot.config_at.is_none() && boot.report.is_none() {
            return None;
        }
        let installer_files_compared = boot.files_compared;
        let level = match (kernel_and_initrd, script) {
            (ImagesInIpxe::Compared, ScriptOrigin::UserData) if installer_files_compared => {
                TrustLevel::PinnedAndCompared
            }
            (ImagesInIpxe::Compared, ScriptOrigin::UserData) => TrustLevel::Pinned,
            (ImagesInIpxe::Compared, ScriptOrigin::Url) => TrustLevel::ImagesCompared,
            _ if installer_files_compared => TrustLevel::FilesCompared,
            _ => TrustLevel::Unverified,
        };
        // Installers without an agent call back, or say nothing.
        let agent = session || (boot.report.is_some() && boot.called.is_none());
        Some(BootTrust { level, script, kernel_and_initrd, agent, session, installer_files_compared })
    }
}
