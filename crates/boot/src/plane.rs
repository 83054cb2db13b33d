//! What the boot plane needs, and the checks all its routes share.

use crate::{
    BootAttemptRef, BootHost, BootNode, CaPin, Channel, Directory, ImageSet, ImageSetError, Recorder, Refusal,
    Sessions, Templates, TokenKey, Unavailable,
    images::Images,
    journal::{Journal, Record},
    query::BootQuery,
    recent_parts::RecentParts,
    script::is_server_id,
};
use ipnet::IpNet;
use metalform_model::{AuditEntry, Clock, Pace, audit_action};
use std::{
    future::Future,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// Scripts for one node in a row: any number while its attempt is open, but not in a tight loop, since each fetch is a round,
/// an event and two records. A machine that is too fast is parked, as one that has to wait.
const SCRIPTS_AT_ONCE: u32 = 20;
/// And then one in so long. iPXE, parked or going round in a script of ours, asks every 10 s.
const SCRIPTS_APART: Duration = Duration::from_secs(3);

/// How it is set up.
#[derive(Debug, Clone)]
pub struct BootSettings {
    /// Where machines reach it.
    pub host: BootHost,
    /// Peers outside of these networks are refused on every route.
    pub allow: Vec<IpNet>,
    /// Proxies that are believed what they say of a peer's address; by default none.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether a machine must ask from its own address.
    pub source_check: SourceCheck,
    /// The default image set; its folders are named sets.
    pub images_dir: PathBuf,
    /// Script templates.
    pub templates: Templates,
    /// What scripts pin, where it speaks TLS, too; by default it doesn't.
    pub ca_pin: Option<CaPin>,
    /// How long directory and recorder may take for one call. 2 s by default.
    pub deadline: Duration,
}

impl BootSettings {
    /// All defaults.
    pub fn new(host: BootHost, images_dir: PathBuf) -> Self {
        BootSettings {
            host,
            allow: default_allow(),
            trusted_proxies: Vec::new(),
            source_check: SourceCheck::Strict,
            images_dir,
            templates: Templates::builtin(),
            ca_pin: None,
            deadline: Duration::from_secs(2),
        }
    }
}

/// Private networks (RFC 1918, RFC 4193) and loopback.
pub fn default_allow() -> Vec<IpNet> {
    let networks = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "::1/128", "fc00::/7"];
    networks.map(|network| network.parse().expect("the networks are well-formed")).to_vec()
}

/// `[boot] source_check`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceCheck {
    /// Script, configuration and reports only from the node's `mgmt_ip`.
    Strict,
    /// The token alone decides. For networks with address translation.
    Off,
}

/// The boot plane. [`crate::router`] makes it answer.
pub struct BootPlane {
    pub(crate) directory: Arc<dyn Directory>,
    pub(crate) sessions: Arc<dyn Sessions>,
    pub(crate) key: TokenKey,
    pub(crate) settings: BootSettings,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) journal: Journal,
    pub(crate) images: Images,
    pub(crate) recent_parts: RecentParts,
    /// How often each node gets its script.
    pub(crate) scripts: Mutex<Pace>,
}

impl BootPlane {
    /// Starts the writer of records, so it needs a runtime around it. A source check that is off is warned of and recorded.
    pub fn start(
        directory: Arc<dyn Directory>,
        recorder: Arc<dyn Recorder>,
        sessions: Arc<dyn Sessions>,
        key: TokenKey,
        settings: BootSettings,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        let journal = Journal::start(recorder, settings.deadline);
        if settings.source_check == SourceCheck::Off {
            tracing::warn!("[boot] source_check is off: a token is good from any allowed address");
            journal.record(Record::Audit(AuditEntry {
                at: clock.now(),
                who: "service".to_owned(),
                action: audit_action::SOURCE_CHECK_OFF.to_owned(),
                target: settings.host.to_string(),
                source: "configuration".to_owned(),
                outcome: "ok".to_owned(),
            }));
        }
        let images = Images::new(settings.images_dir.clone());
        let (scripts, recent_parts) = (Mutex::new(Pace::new(SCRIPTS_AT_ONCE, SCRIPTS_APART)), RecentParts::default());
        Arc::new(BootPlane { directory, sessions, key, settings, clock, journal, images, recent_parts, scripts })
    }

    /// What a script pins that is made now; `None`: the boot plane speaks plain HTTP alone.
    pub fn ca_sha256(&self) -> Option<String> {
        self.settings.ca_pin.as_ref().map(CaPin::digits)
    }

    /// Whether what the agent asks for goes over TLS, or not at all: the script of its round says so. Before the first script of
    /// an attempt, its own will: nobody is to be quicker than the machine, in the clear.
    pub(crate) fn is_pinned(&self, node: &BootNode) -> bool {
        node.is_pinned || (node.round == 0 && self.pins(node))
    }

    /// Whether a script pins that is made for this node now, or was, where it stands in user data.
    pub(crate) fn pins(&self, node: &BootNode) -> bool {
        // By what was recorded then: template, set and configuration may have changed since, and the script hasn't.
        if node.inline {
            return node.inline_pins_ca;
        }
        let settings = &self.settings;
        // Nobody knows whether there is an agent: nothing goes in the clear that perhaps shouldn't.
        if node.unreadable_set.is_some() {
            return settings.ca_pin.is_some();
        }
        settings.ca_pin.is_some() && node.has_agent && settings.templates.pins(node.template.as_deref())
    }

    /// Holds that nothing which is pinned to TLS goes in the clear.
    pub(crate) fn check_channel(&self, is_pinned: bool, channel: Channel) -> Result<(), Refusal> {
        if is_pinned && channel == Channel::Plain { Err(Refusal::TlsRequired) } else { Ok(()) }
    }

    /// Counts a script that goes out to a node, unless it comes too soon. Only nodes that have shown their token get here.
    pub(crate) fn counts_script(&self, server_id: &str) -> bool {
        let mut scripts = self.scripts.lock().unwrap_or_else(PoisonError::into_inner);
        scripts.take(server_id, self.clock.now()).is_ok()
    }

    /// Waits until everything seen so far is recorded, `limit` at most. Answers how many records are left; they are lost
    /// with the process.
    pub async fn flush(&self, limit: Duration) -> usize {
        self.journal.flush(limit).await
    }

    /// Checks the default image set and computes its digests, so that the first machine does not wait for them. Worth doing
    /// in the background when the service starts.
    pub async fn prepare_images(&self) -> Result<(), ImageSetError> {
        match self.check_images().await {
            Ok(_) => {}
            Err(error @ ImageSetError::Unverified { .. }) => {
                tracing::error!(%error, hint = error.hint(), "the default image set will not be served");
                return Err(error);
            }
            Err(error) => return Err(error),
        }
        if let Err(fault) = self.images.find("SHA256SUMS").await {
            tracing::warn!(error = %fault, "digests of the boot images are not ready");
        }
        Ok(())
    }

    /// The default image set, compared with its manifest byte for byte if it has one. Before servers are ordered for it:
    /// whether it can be booted is cheaper to know then. Digests are computed once for a file as it is; after a minute without
    /// them the answer is that they aren't ready, and they go on being computed.
    pub async fn check_images(&self) -> Result<ImageSet, ImageSetError> {
        self.images.check().await
    }

    pub(crate) async fn image_set(&self) -> Result<ImageSet, ImageSetError> {
        let dir = self.images.dir().to_owned();
        let look = dir.clone();
        match tokio::task::spawn_blocking(move || ImageSet::open(look)).await {
            Ok(opened) => opened,
            Err(_stopped) => Err(ImageSetError::NoFolder { dir }),
        }
    }

    pub(crate) fn allows(&self, peer: IpAddr) -> bool {
        self.settings.allow.iter().any(|network| network.contains(&peer))
    }

    pub(crate) async fn node_named(&self, server_id: &str) -> Result<BootNode, Refusal> {
        if !is_server_id(server_id) {
            return Err(Refusal::UnknownServer);
        }
        self.in_time(self.directory.by_server_id(server_id)).await?.ok_or(Refusal::UnknownServer)
    }

    pub(crate) async fn node_at(&self, mgmt_ip: Ipv4Addr) -> Result<BootNode, Refusal> {
        self.in_time(self.directory.by_address(mgmt_ip)).await?.ok_or(Refusal::UnknownServer)
    }

    /// An answer of the store, or the refusal for want of one.
    pub(crate) async fn in_time<T>(&self, asked: impl Future<Output = Result<T, Unavailable>>) -> Result<T, Refusal> {
        match tokio::time::timeout(self.settings.deadline, asked).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) | Err(_) => Err(Refusal::StoreAway),
        }
    }

    /// Holds that the peer is the machine it speaks for.
    pub(crate) fn check_source(&self, peer: IpAddr, mgmt_ip: Ipv4Addr) -> Result<(), Refusal> {
        match self.settings.source_check {
            SourceCheck::Strict if peer != IpAddr::V4(mgmt_ip) => Err(Refusal::ForeignAddress),
            _ => Ok(()),
        }
    }

    /// The attempt whose token was shown. It may be closed.
    pub(crate) fn check_token(&self, query: &BootQuery<'_>, node: &BootNode) -> Result<BootAttemptRef, Refusal> {
        let token = query.token.ok_or(Refusal::TokenMissing)?;
        let attempt = node.attempt.ok_or(Refusal::NotInstalling)?;
        if self.key.is_token_of(token, attempt.id) { Ok(attempt) } else { Err(Refusal::TokenWrong) }
    }
}
