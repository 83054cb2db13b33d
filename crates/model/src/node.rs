//! A node: a machine through its whole life with us.
//!
//! ```text
//!                 server made      powered on       script fetched     installed          CVM answers
//!   requested ─────────────► ordered ─────────► waiting_for_boot ──────► imaging ───────► waiting_for_cvm ──────► ready
//!       ▲                      │                       │                    │                  │                   │
//!       │ retry                └───────────────────────┴───── a deadline passes, the cloud refuses, the installer  │
//!       └───────────────── failed ◄────────────────────────── fails ──────────┴──────────────────┘                 │
//!                                                                                                                  │
//!   any phase ── desired: absent ──► releasing ── everything recorded is seen gone ──► released ◄──────────────────┘
//! ```
//!
//! A phase is named for what is awaited. An existing node (imaged before us) starts in `waiting_for_cvm`.
//! [`crate::decide_node`] says what comes next; this file is what it decides about.

use crate::{
    BootStep, BootTrust, Driver, Failure, Finding, ImagesInIpxe, InstallerCall, Report, ScriptOrigin, SessionKey,
    Surface, Timestamp, Trouble, Trust,
};
use serde::{Deserialize, Serialize};
use std::{net::Ipv4Addr, time::Duration};
use uuid::Uuid;

/// Where a node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodePhase {
    /// Its addresses, interface and server are being made, or its server is being made ready for another boot.
    Requested,
    /// The server exists; the cloud is bringing it up.
    Ordered,
    /// Powered on; the boot script hasn't been fetched yet.
    WaitingForBoot,
    /// The script was fetched; the installer works.
    Imaging,
    /// Installed; the controller VM hasn't answered as ready yet.
    WaitingForCvm,
    /// The controller VM answers as ready.
    Ready,
    /// What was made for it is being deleted.
    Releasing,
    /// Nothing of it is left.
    Released,
    /// Only an operator can go on from here.
    Failed,
}

impl NodePhase {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            NodePhase::Requested => "requested",
            NodePhase::Ordered => "ordered",
            NodePhase::WaitingForBoot => "waiting_for_boot",
            NodePhase::Imaging => "imaging",
            NodePhase::WaitingForCvm => "waiting_for_cvm",
            NodePhase::Ready => "ready",
            NodePhase::Releasing => "releasing",
            NodePhase::Released => "released",
            NodePhase::Failed => "failed",
        }
    }

    /// How long it usually takes to leave this phase; `None` where nothing is awaited. Longer is "late".
    ///
    /// Sources: the VPC documentation's "10 minutes or less" to provision, one measured 24 min from order to script,
    /// Foundation's own phase estimates of about 35 min for imaging.
    pub fn expected(self) -> Option<Duration> {
        let minutes = match self {
            NodePhase::Requested => 2,
            NodePhase::Ordered => 12,
            NodePhase::WaitingForBoot => 20,
            NodePhase::Imaging => 35,
            NodePhase::WaitingForCvm => 20,
            NodePhase::Releasing => 10,
            NodePhase::Ready | NodePhase::Released | NodePhase::Failed => return None,
        };
        Some(Duration::from_secs(60 * minutes))
    }

    /// Whether the node is still on its way to `ready`.
    pub fn is_on_its_way(self) -> bool {
        matches!(
            self,
            NodePhase::Requested
                | NodePhase::Ordered
                | NodePhase::WaitingForBoot
                | NodePhase::Imaging
                | NodePhase::WaitingForCvm
        )
    }
}

/// What we know of a node. Written by the loop alone; a restart needs nothing else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// The node's id on the wire.
    pub server_id: String,
    /// Where it stands.
    pub phase: NodePhase,
    /// Since when.
    pub since: Timestamp,
    /// What is awaited, in words.
    pub reason: String,
    /// Why it failed, in the phase `failed`.
    pub failure: Option<Failure>,
    /// The machine's own address, once reserved.
    pub mgmt_ip: Option<Ipv4Addr>,
    /// The hypervisor's address.
    pub ahv_ip: Option<Ipv4Addr>,
    /// The controller VM's address.
    pub cvm_ip: Option<Ipv4Addr>,
    /// When the server was last ordered or reinitialized: `order_to_script` counts from here.
    pub ordered_at: Option<Timestamp>,
    /// The current permission to network-boot, or the last one.
    pub attempt: Option<BootAttempt>,
    /// What was seen of the current boot attempt.
    pub boot: BootProgress,
    /// The cloud's view of the server, when last looked at.
    pub server: Option<ServerSeen>,
    /// A power or initialization call that was sent and whose effect has not been seen yet.
    pub sent: Option<PowerCall>,
    /// What the controller VM answered so far.
    pub cvm: CvmProgress,
    /// The node's own id, from its report.
    pub node_uuid: Option<String>,
    /// A call that keeps failing.
    pub trouble: Option<Trouble>,
    /// The operator asked for another boot of the same server.
    pub reimage: bool,
}

/// One permission to network-boot one node. Opened with create or reinitialize, covers every power-on until the node is
/// installed; its token can be recomputed from its id by whoever has the key, and is stored only, sealed, when that key is
/// changed while the attempt is open.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BootAttempt {
    /// Unique; the token is derived from it.
    pub id: Uuid,
    /// 1 for the first of a node.
    pub n: u32,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it ended.
    pub closed_at: Option<Timestamp>,
    /// Its script stands in user data; `None`: user data is the URL of its script.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inline: Option<InlineScript>,
}

/// What a script in user data was made of. Decided when the attempt is opened, so that what it names is served as long as the
/// attempt lives, whatever the default becomes meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InlineScript {
    /// The id of the image set; `None`: the plain files of the images folder.
    pub image_set: Option<String>,
    /// Whether a manifest said what kernel and initrd are. Then no script is made without their digests, whatever has become of
    /// the manifest by then.
    #[serde(default)]
    pub has_manifest: bool,
    /// Whether it pins our authority.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pins_ca: bool,
}

impl BootAttempt {
    /// By which way its script comes.
    pub fn script_origin(&self) -> ScriptOrigin {
        if self.inline.is_some() { ScriptOrigin::UserData } else { ScriptOrigin::Url }
    }

    /// Whether it still permits a boot.
    pub fn is_open(&self) -> bool {
        self.closed_at.is_none()
    }
}

/// Evidence of the current boot attempt.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct BootProgress {
    /// First fetch of the script: `node_ready` counts from here.
    pub script_at: Option<Timestamp>,
    /// Last fetch of the script.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_script_at: Option<Timestamp>,
    /// How often the script was fetched.
    pub scripts: u32,
    /// Whether the last one pinned the certificate of our authority.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_pinned: bool,
    /// What the script waits for, until one goes out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<HeldScript>,
    /// Last complete fetch of the kernel.
    pub kernel_at: Option<Timestamp>,
    /// Last complete fetch of the initial RAM disk.
    pub initrd_at: Option<Timestamp>,
    /// The last fetch of an image that broke off, until that file is fetched whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partial: Option<PartialImage>,
    /// The last refusal of an image file, until that file is fetched whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<RefusedImage>,
    /// The last step that the boot script told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepSeen>,
    /// What iPXE made of kernel and initrd since the script was last fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images_in_ipxe: Option<ImagesInIpxe>,
    /// Whether the agent has compared all that it fetched for the installer since then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub files_compared: bool,
    /// The trust that the timeline tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust_told: Option<BootTrust>,
    /// The session that the machine exchanged its boot token for, the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionSeen>,
    /// First fetch of the configuration.
    pub config_at: Option<Timestamp>,
    /// Last fetch of the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_config_at: Option<Timestamp>,
    /// The newest report.
    pub report: Option<Report>,
    /// When it came.
    pub reported_at: Option<Timestamp>,
    /// What the checks of the hardware found, as last reported.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// The installer's last callback, by which a repeated one is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub called: Option<InstallerCall>,
    /// When the node reported itself installed.
    pub installed_at: Option<Timestamp>,
}

impl BootProgress {
    /// By what the machine has shown who it is in this boot attempt; `None`: it has not needed to yet. Once there was a
    /// session, nothing goes by the token alone.
    pub fn trust(&self) -> Option<Trust> {
        match (&self.session, self.config_at.or(self.reported_at)) {
            (Some(_), _) => Some(Trust::Session),
            (None, Some(_)) => Some(Trust::Token),
            (None, None) => None,
        }
    }
}

/// A script that was asked for and can't be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldScript {
    /// What stands in the way.
    pub why: String,
    /// When it was last asked for.
    pub at: Timestamp,
}

/// A session, as it was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionSeen {
    /// Bound to this key.
    pub key: SessionKey,
    /// In this round: how often the script had been fetched.
    pub round: u32,
    /// When.
    pub at: Timestamp,
}

/// A fetch of an image file that broke off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartialImage {
    /// Name within the image set.
    pub file: String,
    /// Bytes that were sent.
    pub sent: u64,
    /// Bytes of the whole.
    pub of: u64,
    /// When it broke off.
    pub at: Timestamp,
}

/// An image file that was asked for and can't go out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedImage {
    /// Name within the image set.
    pub file: String,
    /// Stable word of the refusal.
    pub code: String,
    /// When it was last refused.
    pub at: Timestamp,
}

/// A step that the boot script told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepSeen {
    /// Which.
    pub step: BootStep,
    /// When.
    pub at: Timestamp,
}

/// The cloud's view of a server, in our words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerSeen {
    /// When it was looked at.
    pub at: Timestamp,
    /// What it does; `None`: the cloud knows no such server (any more).
    pub status: Option<ServerStatus>,
    /// Why it failed, in the cloud's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What a server does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerStatus {
    /// On its way to running: pending, starting, restarting, reinitializing.
    ComingUp,
    /// Powered on. Says nothing of its system.
    Running,
    /// On its way to stopped.
    Stopping,
    /// Powered off. Still billed.
    Stopped,
    /// The cloud works on its hardware.
    Maintenance,
    /// Going away.
    Deleting,
    /// The cloud gave up on it.
    Failed,
    /// A status this version doesn't know.
    Unknown,
}

/// A call that may be made once only: recorded before it is sent, and again not before the world has answered.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PowerCall {
    /// Which.
    pub what: PowerAction,
    /// When it was (about to be) sent.
    pub at: Timestamp,
}

/// What can be done to a server's power.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PowerAction {
    /// Power off, hard.
    Stop,
    /// Wipe the boot disk and boot from the network again.
    Reinitialize,
}

/// What the controller VM answered so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CvmProgress {
    /// The last probe.
    pub probed_at: Option<Timestamp>,
    /// Its answer.
    pub answer: Option<CvmAnswer>,
    /// When credentials were last refused.
    pub refused_at: Option<Timestamp>,
    /// How often credentials were refused. Two, and no more are sent.
    pub refusals: u32,
    /// Fingerprint of the TLS key it showed first in this boot attempt.
    pub pin: Option<String>,
    /// Fingerprint of the SSH host key it showed first.
    #[serde(default)]
    pub ssh_pin: Option<String>,
    /// Fingerprint of the SSH host key that its AHV host showed first.
    #[serde(default)]
    pub host_pin: Option<String>,
    /// The driver its readiness is judged by: the plan's, or the one that `auto` chose.
    #[serde(default)]
    pub driver: Option<Driver>,
    /// What it offered when last looked at without credentials.
    #[serde(default)]
    pub surface: Option<Surface>,
    /// When that was.
    #[serde(default)]
    pub surfaced_at: Option<Timestamp>,
    /// Since when it offers just that.
    #[serde(default)]
    pub surface_since: Option<Timestamp>,
    /// Since when it offers other drivers and not the one that was asked for.
    #[serde(default)]
    pub others_since: Option<Timestamp>,
}

/// A controller VM's answer to a readiness probe, from nothing to ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum CvmAnswer {
    /// Nothing listens there.
    Refused,
    /// No answer within the limit.
    Silent,
    /// TLS works, HTTP doesn't yet.
    TlsUp,
    /// HTTP answers, with this status.
    HttpUp {
        /// The HTTP status.
        status: u16,
    },
    /// SSH answers; nobody has logged in yet.
    SshUp,
    /// We can log in, and its services aren't all there yet.
    Starting {
        /// What is missing, in words.
        what: String,
    },
    /// The credentials are refused.
    Unauthorized,
    /// The account is locked.
    LockedOut,
    /// Another key than the one remembered.
    OtherKey {
        /// What was shown instead.
        seen: String,
    },
    /// Ready.
    Ready,
}

impl CvmAnswer {
    /// What a person reads.
    pub fn in_words(&self) -> String {
        match self {
            CvmAnswer::Refused => "nothing listens on it yet".into(),
            CvmAnswer::Silent => "it doesn't answer".into(),
            CvmAnswer::TlsUp => "TLS answers, HTTP doesn't yet".into(),
            CvmAnswer::HttpUp { status: 500.. } => "HTTP answers, and its services are still starting".into(),
            CvmAnswer::HttpUp { status } => format!("HTTP answers {status}; it isn't ready yet"),
            CvmAnswer::SshUp => "SSH answers".into(),
            CvmAnswer::Starting { what } => format!("it is starting: {what}"),
            CvmAnswer::Unauthorized => "it refuses our credentials".into(),
            CvmAnswer::LockedOut => "its account is locked".into(),
            CvmAnswer::OtherKey { .. } => "it shows another key than before".into(),
            CvmAnswer::Ready => "it is ready".into(),
        }
    }
}

impl NodeRecord {
    /// A node that was just accepted.
    pub fn new(server_id: &str, existing: bool, now: Timestamp) -> Self {
        NodeRecord {
            server_id: server_id.to_owned(),
            phase: if existing { NodePhase::WaitingForCvm } else { NodePhase::Requested },
            since: now,
            reason: "accepted".into(),
            failure: None,
            mgmt_ip: None,
            ahv_ip: None,
            cvm_ip: None,
            ordered_at: None,
            attempt: None,
            boot: BootProgress::default(),
            server: None,
            sent: None,
            cvm: CvmProgress::default(),
            node_uuid: None,
            trouble: None,
            reimage: false,
        }
    }

    /// Enters a phase. What the old one was waiting for is forgotten, and so is its trouble.
    pub fn enter(&mut self, phase: NodePhase, reason: String, now: Timestamp) {
        self.phase = phase;
        self.since = now;
        self.reason = reason;
        self.trouble = None;
    }

    /// Whether it stays in its phase longer than usual.
    pub fn is_late(&self, now: Timestamp) -> bool {
        self.phase.expected().is_some_and(|usual| now.since(self.since) > usual)
    }

    /// The version of the installed software, if its last report says so.
    pub fn version(&self) -> Option<String> {
        let report = self.boot.report.as_ref()?;
        report.facts.get("aos_version").and_then(|v| v.as_str()).map(Into::into)
    }

    /// The open boot attempt, if there is one.
    pub fn open_attempt(&self) -> Option<&BootAttempt> {
        self.attempt.as_ref().filter(|a| a.is_open())
    }
}
