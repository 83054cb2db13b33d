//! Evidence: something observed that may move a phase. Request handlers only append it; the loop, holding the fence,
//! folds it into the node's record and the timeline.

use crate::{BootStep, InstallerCall, Report, SessionKey, Timestamp};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use uuid::Uuid;

/// One observation about one node, as the boot plane saw it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The cluster's id.
    pub cluster_id: Uuid,
    /// The node.
    pub server_id: String,
    /// The boot attempt the node showed the token of. Evidence of another attempt than the open one moves nothing.
    pub attempt_id: Uuid,
    /// When it was seen.
    pub at: Timestamp,
    /// From which address.
    pub source: IpAddr,
    /// What was seen.
    pub seen: Seen,
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Seen {
    /// The boot script was handed out in full. Proves that iPXE runs on the node, and nothing more.
    ScriptServed,
    /// The same, and the script pinned the certificate of our authority: what its round's agent asks for goes over TLS.
    PinnedScriptServed,
    /// A script in user data asked whether its boot attempt is open, and was told yes: what a fetched script is where user data
    /// is a URL.
    AttemptAsked,
    /// The same, of a script that pins.
    PinnedAttemptAsked,
    /// The boot script was asked for and can't be made now, because what the image set says of itself can't be read.
    ScriptHeld {
        /// What stands in the way.
        why: String,
    },
    /// An image file went out.
    ImageServed {
        /// Name within the image set.
        file: String,
        /// Bytes of the body that were sent before the connection ended.
        sent: u64,
        /// Bytes of the whole answer's body.
        of: u64,
    },
    /// An image file was asked for and is not in a state to go out.
    ImageRefused {
        /// Name within the image set.
        file: String,
        /// Stable word of the refusal: `image_unreadable`, `unknown_image`, …
        code: String,
    },
    /// The boot script told where it stands.
    StepReached {
        /// Where.
        step: BootStep,
    },
    /// The node exchanged its boot token for a session.
    SessionBegun {
        /// Bound to this key.
        key: SessionKey,
        /// In this round: how often the script had been fetched.
        round: u32,
    },
    /// The node's configuration was handed out in full.
    ConfigServed,
    /// The node's Arizona document, by which the CE installer is configured, was handed out in full.
    ArizonaServed,
    /// The installer called back with its progress.
    InstallerCalled(InstallerCall),
    /// The node reported.
    Reported(Report),
}

impl Seen {
    /// Whether it begins a round: a machine has what it needs to ask for a session of its own.
    pub fn begins_round(&self) -> bool {
        matches!(self, Seen::ScriptServed | Seen::PinnedScriptServed | Seen::AttemptAsked | Seen::PinnedAttemptAsked)
    }
}

/// One line of the audit: who did what, from where, and how it ended. Never holds a token or a password.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// When.
    pub at: Timestamp,
    /// `bootstrap`, `token:ci (0123456789abcdef)`, `node server-001`, `anonymous`.
    pub who: String,
    /// A stable word: `boot.script`, `boot.config`, `boot.report`, `boot.image`, `cluster.deploy`, …
    pub action: String,
    /// What it was done to: a server id, a cluster name, a file.
    pub target: String,
    /// The peer's address.
    pub source: String,
    /// `ok` or `refused`, and for a refusal its stable code: `refused:bad_token`.
    pub outcome: String,
}
