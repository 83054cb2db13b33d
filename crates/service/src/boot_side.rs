//! What the boot plane asks of us: who a machine is, and to keep what was seen.

use crate::{
    config::UserData,
    installer::{Installer, InstallerSet, ScriptTokens, script_of},
    runner::Wake,
};
use async_trait::async_trait;
use metalform_boot::{
    BootAttemptRef, BootHost, BootNode, BootSession, Bound, CaPin, Directory, Instruction, Recorder, RequestCounted,
    ScriptNetwork, Sessions, Templates, TokenKey, Unavailable, script_url,
};
use metalform_model::{
    AuditEntry, BootAttempt, Evidence, ImageRole, InlineScript, NodeNetwork, NodePhase, NodePlan, NodeRecord, Plan,
    Profiles, SessionKey, SubnetFacts, arizona_document, node_config, with_causes,
};
use metalform_orchestrator::{BootLinks, LinkError, crash_point};
use metalform_store::{Binding, ClusterState, Counted, Store, StoredSession};
use secrecy::SecretString;
use std::{
    collections::{HashMap, hash_map::Entry},
    net::Ipv4Addr,
    sync::{Arc, Mutex, PoisonError},
};
use uuid::Uuid;

/// Knows the living nodes from the store; while that is away, from memory.
pub struct StoreDirectory {
    store: Store,
    profiles: Arc<Profiles>,
    installer: Installer,
    last_known: Mutex<HashMap<String, BootNode>>,
}

type Found = Result<Option<ClusterState>, metalform_store::StoreError>;

impl StoreDirectory {
    /// A directory over the store.
    pub fn new(store: Store, profiles: Arc<Profiles>, installer: Installer) -> Self {
        StoreDirectory { store, profiles, installer, last_known: Mutex::new(HashMap::new()) }
    }

    /// Puts every living node into memory, so that a store which goes away at once still leaves the machines known.
    pub async fn warm(&self) -> Result<(), metalform_store::StoreError> {
        for state in self.store.living_clusters().await? {
            for node in self.boot_nodes(&state).await {
                self.remember(&node);
            }
        }
        Ok(())
    }

    async fn boot_nodes(&self, state: &ClusterState) -> Vec<BootNode> {
        let mut sets = Sets::new();
        for id in state.nodes.iter().map(|node| pinned_set(&node.record)) {
            if let Entry::Vacant(place) = sets.entry(id) {
                let read = self.installer.read_set(id).await.map_err(|error| {
                    tracing::error!(error = with_causes(&error), hint = error.hint(), "an image set can't be read");
                    with_causes(&error)
                });
                place.insert(read);
            }
        }
        boot_nodes(state, &self.profiles, &sets)
    }

    fn remember(&self, node: &BootNode) {
        let mut known = self.last_known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(node.server_id.clone(), node.clone());
    }

    fn forget(&self, wanted: impl Fn(&BootNode) -> bool) {
        let mut known = self.last_known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, node| !wanted(node));
    }

    fn recall(&self, wanted: impl Fn(&BootNode) -> bool) -> Option<BootNode> {
        let known = self.last_known.lock().unwrap_or_else(PoisonError::into_inner);
        known.values().find(|node| wanted(node)).cloned()
    }

    /// What is recorded and the loop hasn't taken in yet counts, too: a machine that has just reported itself installed and
    /// asks for its script must not be told to install once more because a pass is busy elsewhere.
    async fn up_to_date(&self, found: Found) -> Found {
        let Some(mut state) = found? else { return Ok(None) };
        for (_, evidence) in self.store.unfolded_evidence(state.record.id, 1000).await? {
            if let Some(node) = state.nodes.iter_mut().find(|n| n.record.server_id == evidence.server_id) {
                node.record.fold_evidence(&evidence);
            }
        }
        Ok(Some(state))
    }

    /// The node, with the session of its attempt.
    async fn found_node(
        &self,
        found: Found,
        wanted: impl Fn(&BootNode) -> bool + Send,
    ) -> Result<Option<BootNode>, metalform_store::StoreError> {
        let nodes = match found? {
            Some(state) => self.boot_nodes(&state).await,
            None => return Ok(None),
        };
        let Some(mut node) = nodes.into_iter().find(wanted) else { return Ok(None) };
        if let Some(attempt) = node.attempt {
            let session = self.store.boot_session(attempt.id).await?;
            node.session = session.map(|StoredSession { key, round, over_tls }| BootSession { key, round, over_tls });
        }
        Ok(Some(node))
    }

    async fn answer(
        &self,
        found: Found,
        wanted: impl Fn(&BootNode) -> bool + Send + Sync,
    ) -> Result<Option<BootNode>, Unavailable> {
        match self.found_node(found, &wanted).await {
            Ok(node) => {
                match &node {
                    Some(node) => self.remember(node),
                    None => self.forget(&wanted),
                }
                Ok(node)
            }
            Err(error) => match self.recall(&wanted) {
                Some(node) => {
                    tracing::warn!(%error, server_id = node.server_id, "the store is away: answering from memory");
                    Ok(Some(BootNode { is_recalled: true, ..node }))
                }
                None => Err(Unavailable::new(error)),
            },
        }
    }
}

#[async_trait]
impl Directory for StoreDirectory {
    async fn by_server_id(&self, server_id: &str) -> Result<Option<BootNode>, Unavailable> {
        let found = self.up_to_date(self.store.cluster_of_node(server_id).await).await;
        self.answer(found, |node| node.server_id == server_id).await
    }

    async fn by_address(&self, mgmt_ip: Ipv4Addr) -> Result<Option<BootNode>, Unavailable> {
        let found = self.up_to_date(self.store.cluster_of_address(mgmt_ip).await).await;
        self.answer(found, |node| node.mgmt_ip == Some(mgmt_ip)).await
    }
}

/// Whether the script in a node's user data was made to pin our authority.
fn pins_ca(record: &NodeRecord) -> bool {
    record.attempt.as_ref().and_then(|attempt| attempt.inline.as_ref()).is_some_and(|inline| inline.pins_ca)
}

/// The image set that a node's attempt is bound to; `None`: whichever is the default.
fn pinned_set(record: &NodeRecord) -> Option<&str> {
    record.attempt.as_ref()?.inline.as_ref()?.image_set.as_deref()
}

/// What was read of each image set, or why it can't be read.
type Sets<'a> = HashMap<Option<&'a str>, Result<InstallerSet, String>>;

fn boot_nodes(state: &ClusterState, profiles: &Profiles, sets: &Sets<'_>) -> Vec<BootNode> {
    let cvm_ips: Vec<Ipv4Addr> =
        state.nodes.iter().zip(&state.plan.nodes).filter_map(|(n, p)| n.record.cvm_ip.or(p.cvm_ip)).collect();
    let nodes = state.nodes.iter().zip(&state.plan.nodes);
    nodes
        .filter(|(node, _)| node.record.phase != NodePhase::Released)
        .filter_map(|(node, plan)| {
            let record = &node.record;
            let read = sets.get(&pinned_set(record))?;
            let set = read.as_ref().ok();
            let inline = record.attempt.as_ref().is_some_and(|attempt| attempt.inline.is_some());
            let network = network_of(state, plan, record, &cvm_ips);
            let profile = plan.placement.as_ref().and_then(|p| profiles.get(&p.profile));
            Some(BootNode {
                cluster_id: state.record.id,
                server_id: record.server_id.clone(),
                mgmt_ip: record.mgmt_ip,
                attempt: record
                    .attempt
                    .as_ref()
                    .map(|a| BootAttemptRef { id: a.id, open: a.is_open() && record.boot.installed_at.is_none() }),
                round: record.boot.scripts,
                is_pinned: record.boot.is_pinned,
                session: None,
                is_recalled: false,
                instruction: instruction(record),
                config: network.as_ref().map(|n| node_config(&state.plan, plan, n, profile)).unwrap_or_default(),
                unreadable_set: read.as_ref().err().cloned(),
                arizona: network
                    .as_ref()
                    .zip(set.and_then(InstallerSet::files))
                    .map(|(n, files)| arizona_document(&state.plan, plan, n, profile, files)),
                network: network.as_ref().map(|n| script_network(&state.plan, n)),
                last_report: record.boot.report.as_ref().map(|r| (r.seq, r.phase)),
                template: set.and_then(|set| set.template.clone()),
                image_set: pinned_set(record).map(str::to_owned),
                squashfs: set.and_then(InstallerSet::squashfs).map(str::to_owned),
                has_agent: set.is_some_and(InstallerSet::has_agent),
                kernel_sha256: set.and_then(|set| set.sha256(ImageRole::Kernel)).map(str::to_owned),
                initrd_sha256: set.and_then(|set| set.sha256(ImageRole::Initrd)).map(str::to_owned),
                manifest_sha256: set.and_then(|set| set.manifest_sha256(inline)).map(str::to_owned),
                inline,
                inline_pins_ca: pins_ca(record),
            })
        })
        .collect()
}

fn script_network(plan: &Plan, network: &NodeNetwork) -> ScriptNetwork {
    ScriptNetwork {
        netmask: network.cidr.netmask(),
        gateway: network.gateway,
        dns: network.dns_servers.first().or(plan.cluster.dns_servers.first()).copied(),
    }
}

fn network_of(state: &ClusterState, plan: &NodePlan, record: &NodeRecord, cvm_ips: &[Ipv4Addr]) -> Option<NodeNetwork> {
    let subnet: &SubnetFacts = state.site.subnets.get(&plan.placement.as_ref()?.subnet)?;
    Some(NodeNetwork {
        mgmt_ip: record.mgmt_ip?,
        ahv_ip: record.ahv_ip?,
        cvm_ip: record.cvm_ip?,
        cidr: subnet.cidr,
        gateway: subnet.gateway,
        cvm_ips: cvm_ips.to_vec(),
        dns_servers: subnet.dns_servers.clone(),
    })
}

/// What a machine should do that asks now. The permission to image is the open attempt, and nothing else.
fn instruction(record: &NodeRecord) -> Instruction {
    let not_now = |reason: &str| Instruction::NotNow { reason: reason.to_owned() };
    match record.phase {
        NodePhase::WaitingForCvm | NodePhase::Ready => Instruction::BootFromDisk,
        NodePhase::Releasing | NodePhase::Released => not_now("the node is being released"),
        _ if record.boot.installed_at.is_some() => Instruction::BootFromDisk,
        NodePhase::Failed => not_now("the node has failed and waits for the operator"),
        _ if record.open_attempt().is_some() => Instruction::Install,
        NodePhase::Requested | NodePhase::Ordered | NodePhase::WaitingForBoot | NodePhase::Imaging => {
            not_now("no boot attempt is open")
        }
    }
}

/// Keeps evidence and audit in the store, and wakes the loop for evidence.
pub struct StoreRecorder {
    /// Where it is kept.
    pub store: Store,
    /// The loop.
    pub wake: Wake,
}

#[async_trait]
impl Recorder for StoreRecorder {
    async fn evidence(&self, evidence: Evidence) -> Result<(), Unavailable> {
        let begins_round = evidence.seen.begins_round();
        if begins_round {
            crash_point("intent.round");
        }
        self.store.add_evidence(&evidence).await.map_err(Unavailable::new)?;
        if begins_round {
            crash_point("recorded.round");
        }
        self.wake.wake(evidence.cluster_id);
        Ok(())
    }

    async fn audit(&self, entry: AuditEntry) -> Result<(), Unavailable> {
        self.store.add_audit(&entry).await.map_err(Unavailable::new)
    }
}

/// Keeps boot sessions in the store.
pub struct StoreSessions {
    /// Where they are kept.
    pub store: Store,
    /// The loop: the evidence of a session is folded by it.
    pub wake: Wake,
}

#[async_trait]
impl Sessions for StoreSessions {
    async fn bind(&self, evidence: Evidence, session: BootSession, line: AuditEntry) -> Result<Bound, Unavailable> {
        let BootSession { key, round, over_tls } = session;
        let session = StoredSession { key, round, over_tls };
        let bound = self.store.bind_boot_session(&evidence, session, &line).await.map_err(Unavailable::new)?;
        Ok(match bound {
            Binding::New => {
                self.wake.wake(evidence.cluster_id);
                Bound::New
            }
            Binding::Same => Bound::Same,
            Binding::Refused => Bound::Refused,
        })
    }

    async fn count_request(&self, attempt: Uuid, key: SessionKey, counter: u64) -> Result<RequestCounted, Unavailable> {
        let counted = self.store.count_boot_request(attempt, key, counter).await.map_err(Unavailable::new)?;
        Ok(match counted {
            Counted::New => RequestCounted::New,
            Counted::Stale { last } => RequestCounted::Stale { last },
        })
    }

    async fn count_document(&self, attempt: Uuid, round: u32, most: u32) -> Result<bool, Unavailable> {
        self.store.count_boot_document(attempt, round, most).await.map_err(Unavailable::new)
    }
}

/// What goes into servers' user data.
pub struct Links {
    /// What tokens are made from.
    pub key: TokenKey,
    /// Where machines reach the boot plane.
    pub host: BootHost,
    /// What scripts pin, if the boot plane speaks TLS.
    pub ca_pin: Option<CaPin>,
    /// `[ibm_cloud] user_data`, for attempts that are opened from now on.
    pub user_data: UserData,
    /// Knows the nodes.
    pub directory: Arc<StoreDirectory>,
    /// Knows the image sets.
    pub installer: Installer,
    /// Script templates.
    pub templates: Templates,
}

impl Links {
    /// The script, from what is committed of the node: as the boot plane would make it of a node whose script is fetched.
    async fn script(&self, server_id: &str, attempt: &BootAttempt) -> Result<String, LinkError> {
        let away = |error: Unavailable| transient(error.to_string(), error.hint());
        let node = self.directory.by_server_id(server_id).await.map_err(away)?;
        // Memory answers while the store is away, and may know an earlier attempt.
        let node = node.filter(|node| node.inline && node.attempt.is_some_and(|known| known.id == attempt.id));
        let (node, mgmt_ip) = node
            .and_then(|node| node.mgmt_ip.map(|mgmt_ip| (node, mgmt_ip)))
            .ok_or_else(|| transient("its address isn't recorded yet".into(), "wait: it is tried again"))?;
        if let Some(why) = node.unreadable_set {
            return Err(transient(why, "put the set right: `metalform image verify`; or destroy, and deploy again"));
        }
        let has_digests = node.kernel_sha256.is_some() && node.initrd_sha256.is_some();
        if attempt.inline.as_ref().is_some_and(|inline| inline.has_manifest) && !has_digests {
            let set = node.image_set.as_deref().unwrap_or("of the images folder");
            let message = format!("the manifest of the image set {set} can't be read any more");
            return Err(transient(message, "put the set back: `metalform image verify`; or destroy, and deploy again"));
        }
        let pinned = attempt.inline.as_ref().is_some_and(|inline| inline.pins_ca);
        let pin = self.ca_pin.as_ref().filter(|_| pinned).map(CaPin::digits);
        let would_pin = pin.is_some() && node.has_agent && self.templates.pins(node.template.as_deref());
        let tokens = ScriptTokens::of(&self.key, attempt.id, pin);
        match script_of(&self.templates, &node, mgmt_ip, &self.host, &tokens) {
            // The attempt was opened with another configuration, and the boot plane goes by what it recorded then.
            Some(Ok(_)) if would_pin != pinned => Err(transient(
                "[boot] tls, or the template's place {{ca_sha256}}, is another than when the boot attempt began".into(),
                "put it back; or destroy, and deploy again",
            )),
            Some(Ok(script)) => Ok(script),
            Some(Err(error)) => {
                Err(LinkError { transient: false, message: error.to_string(), hint: error.hint().into() })
            }
            None => Err(LinkError {
                transient: false,
                message: format!("there is no script template {:?}", node.template.unwrap_or_default()),
                hint: "see [boot] templates_dir and [boot] template; then `metalform retry`".into(),
            }),
        }
    }
}

fn transient(message: String, hint: &str) -> LinkError {
    LinkError { transient: true, message, hint: hint.into() }
}

#[async_trait]
impl BootLinks for Links {
    async fn pin(&self) -> Result<Option<InlineScript>, LinkError> {
        match self.user_data {
            UserData::Url => Ok(None),
            UserData::Inline => match self.installer.pin(self.ca_pin.as_ref().map(|_| &self.templates)).await {
                Ok(pinned) => Ok(Some(pinned)),
                Err(error) => Err(transient(with_causes(&error), error.hint())),
            },
        }
    }

    async fn user_data(&self, server_id: &str, attempt: &BootAttempt) -> Result<SecretString, LinkError> {
        match &attempt.inline {
            Some(_) => self.script(server_id, attempt).await.map(SecretString::from),
            // Only a value outside of the script's strict character set fails; plans with such ids are refused when read.
            None => script_url(&self.host, server_id, &self.key.token(attempt.id)).map_err(|error| LinkError {
                transient: false,
                message: error.to_string(),
                hint: "give the node another server_id".into(),
            }),
        }
    }
}
