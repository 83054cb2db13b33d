//! What the boot plane asks of the rest of the service, in its own words.
//!
//! Both traits may fail or hang: every call is made under a deadline. A `Directory` should answer from memory while the
//! store is away, because a machine that gets no script stops booting; a `Recorder` that fails only delays the records of
//! scripts and images, and stops configurations and reports.

use crate::{BootHost, BootSession, BootToken, ScriptNetwork, ScriptValues};
use async_trait::async_trait;
use metalform_model::{AuditEntry, Evidence, ReportPhase};
use std::net::Ipv4Addr;
use uuid::Uuid;

/// Knows the nodes.
#[async_trait]
pub trait Directory: Send + Sync {
    /// The living node of that id; `None` if there is none.
    async fn by_server_id(&self, server_id: &str) -> Result<Option<BootNode>, Unavailable>;
    /// The living node whose management address that is; `None` if there is none.
    async fn by_address(&self, mgmt_ip: Ipv4Addr) -> Result<Option<BootNode>, Unavailable>;
}

/// Keeps what was seen. `Ok` means committed. Recording the same thing twice must do no harm: after a lost reply it is
/// sent again.
#[async_trait]
pub trait Recorder: Send + Sync {
    /// Appends one observation.
    async fn evidence(&self, evidence: Evidence) -> Result<(), Unavailable>;
    /// Appends one line of the audit.
    async fn audit(&self, entry: AuditEntry) -> Result<(), Unavailable>;
}

/// The directory or the recorder can't answer now. Always worth another try.
#[derive(Debug, thiserror::Error)]
#[error("the store does not answer")]
pub struct Unavailable(#[source] pub Option<Box<dyn std::error::Error + Send + Sync>>);

impl Unavailable {
    /// For a reason that has an error of its own.
    pub fn new(source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Unavailable(Some(Box::new(source)))
    }

    /// True: it passes when the store is back.
    pub fn is_transient(&self) -> bool {
        true
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        "look at the data folder: is its disk full, is it writable"
    }
}

/// A node as far as booting it is concerned.
#[derive(Debug, Clone, PartialEq)]
pub struct BootNode {
    /// The cluster's id.
    pub cluster_id: Uuid,
    /// The node's id on the wire.
    pub server_id: String,
    /// Its own address; `None` until it is known.
    pub mgmt_ip: Option<Ipv4Addr>,
    /// The latest boot attempt; `None` before the first.
    pub attempt: Option<BootAttemptRef>,
    /// How often the attempt's script was fetched: the round it is in.
    pub round: u32,
    /// Whether the script of that round pinned the certificate of our authority.
    pub is_pinned: bool,
    /// The attempt's session, if its token was exchanged for one.
    pub session: Option<BootSession>,
    /// Whether this is from memory, because the store can't be asked: there may be a session that isn't in it.
    pub is_recalled: bool,
    /// What the machine should do if it asks now.
    pub instruction: Instruction,
    /// Its configuration document, handed out as it is.
    pub config: serde_json::Value,
    /// Why its image set can't be read now. Nothing else that is said here of the set counts then: what isn't known isn't
    /// taken for missing.
    pub unreadable_set: Option<String>,
    /// Its document for the installer of Nutanix CE, without the URL that progress is told to; `None` where its image set
    /// has no manifest.
    pub arizona: Option<serde_json::Value>,
    /// The network it installs in, once its addresses are known.
    pub network: Option<ScriptNetwork>,
    /// `seq` and phase of the attempt's last committed report.
    pub last_report: Option<(u64, ReportPhase)>,
    /// Name of its script template; `None` is the built-in `foundation`.
    pub template: Option<String>,
    /// Name of its image set; `None` is the default set.
    pub image_set: Option<String>,
    /// The set's file with the installer's root file system.
    pub squashfs: Option<String>,
    /// Whether the set's initrd holds our agent.
    pub has_agent: bool,
    /// SHA-256 of the set's kernel, in hex; `None` without a manifest.
    pub kernel_sha256: Option<String>,
    /// SHA-256 of the set's initrd, likewise.
    pub initrd_sha256: Option<String>,
    /// SHA-256 of the set's manifest, where the agent is to take no other.
    pub manifest_sha256: Option<String>,
    /// Whether the attempt's script stands in user data, and isn't fetched.
    pub inline: bool,
    /// Whether that script pins the certificate of our authority.
    pub inline_pins_ca: bool,
}

impl BootNode {
    /// What goes into its boot script. `ca_sha256`: [`crate::BootPlane::ca_sha256`], which only our agent knows what to do with.
    pub fn script_values<'a>(
        &'a self,
        mgmt_ip: Ipv4Addr,
        host: &'a BootHost,
        token: &'a BootToken,
        ca_sha256: Option<String>,
    ) -> ScriptValues<'a> {
        ScriptValues {
            ca_sha256,
            image_set: self.image_set.as_deref(),
            network: self.network,
            squashfs: self.squashfs.as_deref(),
            has_agent: self.has_agent,
            kernel_sha256: self.kernel_sha256.as_deref(),
            initrd_sha256: self.initrd_sha256.as_deref(),
            manifest_sha256: self.manifest_sha256.as_deref(),
            ..ScriptValues::new(&self.server_id, mgmt_ip, host, token)
        }
    }
}

/// One permission to network-boot one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootAttemptRef {
    /// The token is derived from it.
    pub id: Uuid,
    /// Closed once the node is installed, or given up.
    pub open: bool,
}

/// What a machine should do if it asks for its script now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Instruction {
    /// Boot the installer.
    Install,
    /// It is installed: boot from the disk.
    BootFromDisk,
    /// Wait and ask again.
    NotNow {
        /// For the log and the operator; machines get a fixed text.
        reason: String,
    },
}
