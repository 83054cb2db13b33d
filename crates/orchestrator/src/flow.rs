//! The product on one page.

use crate::{Accounts, BootLinks, Cloud, ClusterPasswords, Drivers, Passwords};
use futures_util::future::join_all;
use metalform_model::{
    Clock, ClusterPhase, ClusterRecord, Failure, FormationChoice, NewEvent, NodeRecord, Plan, Resource, Site, Timeouts,
    Timestamp, kind,
};
use metalform_store::{Changes, ClusterState, Lease, NodeState, Sealer, Store, StoreError};
use serde_json::json;
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};
use thiserror::Error;
use uuid::Uuid;

/// Everything the loop works with.
pub struct Orchestrator {
    /// What is known.
    pub store: Store,
    /// Where servers come from.
    pub cloud: Arc<dyn Cloud>,
    /// How clusters are formed.
    pub drivers: Drivers,
    /// How passwords are changed.
    pub accounts: Arc<dyn Accounts>,
    /// Where new ones come from.
    pub passwords: Arc<dyn Passwords>,
    /// Under which key they are written down.
    pub sealer: Sealer,
    /// What machines are told to boot.
    pub links: Arc<dyn BootLinks>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// How long things may take.
    pub timeouts: Timeouts,
}

/// A pass that had to end early. What it had recorded stands; the next pass goes on from there.
#[derive(Debug, Error)]
pub enum ReconcileError {
    /// Reading or recording failed.
    #[error("the loop could not read or record its state")]
    Store(#[from] StoreError),
}

/// No pass takes longer: each call has a limit, and a pass makes a bounded number of them in a row.
const LEASE: Duration = Duration::from_secs(300);

/// Steps of one node or cluster within one pass. More than any legal way through the phases needs; a bound, so that a
/// mistake in a decision can't spin.
pub(crate) const STEPS: usize = 40;

/// What a pass knows and never changes.
pub(crate) struct Pass<'a> {
    pub lease: &'a Lease,
    pub plan: &'a Plan,
    pub site: &'a Site,
    pub deployment: Uuid,
    pub absent: bool,
    /// The driver that is asked for.
    pub choice: FormationChoice,
    /// The cluster's own passwords, once they are read or made.
    pub passwords: OnceLock<ClusterPasswords>,
}

impl Orchestrator {
    /// Brings a cluster as far as it can go now, and says when to look again. May be called at any time, any number of
    /// times: what it does depends on what is recorded and what the world says, and on nothing else.
    pub async fn reconcile(&self, cluster_id: Uuid) -> Result<Timestamp, ReconcileError> {
        let now = self.clock.now();
        let Some(lease) = self.store.acquire(cluster_id, now, LEASE).await? else { return Ok(now + LEASE) };
        let Some(mut state) = self.store.cluster(cluster_id).await? else { return Ok(Timestamp::NEVER) };
        self.take_in(&lease, &mut state).await?;

        let ClusterState { plan, site, mut record, intents, mut nodes, mut vip, .. } = state;
        let pass = Pass {
            lease: &lease,
            plan: &plan,
            site: &site,
            deployment: cluster_id,
            absent: intents.absent,
            choice: intents.formation.unwrap_or(plan.cluster.formation),
            passwords: OnceLock::new(),
        };
        let mut next_at = Timestamp::NEVER;
        for _ in 0..STEPS {
            let plans = plan.nodes.iter();
            let advances = nodes.iter_mut().zip(plans).map(|(node, plan)| self.advance_node(&pass, plan, node));
            let mut nodes_next = Timestamp::NEVER;
            for next in join_all(advances).await {
                nodes_next = nodes_next.min(next?);
            }
            let before = record.phase;
            let cluster_next = self.advance_cluster(&pass, intents, &mut record, &mut nodes, &mut vip).await?;
            next_at = nodes_next.min(cluster_next);
            // A cluster that moved on may have given its nodes something to do.
            if record.phase == before {
                break;
            }
        }
        self.store.commit(&lease, Changes { next_at: Some(next_at), ..Changes::default() }).await?;
        Ok(next_at)
    }

    /// What happened since the last pass: the operator's retries, and what the boot plane saw.
    async fn take_in(&self, lease: &Lease, state: &mut ClusterState) -> Result<(), StoreError> {
        let now = self.clock.now();
        if state.record.retries_done < state.intents.retries {
            let events = retry(state, now);
            let nodes = state.nodes.iter().map(|n| &n.record).collect();
            let changes = Changes { cluster: Some(&state.record), nodes, events, ..Changes::default() };
            self.store.commit(lease, changes).await?;
        }
        loop {
            let evidence = self.store.unfolded_evidence(lease.cluster_id, 200).await?;
            if evidence.is_empty() {
                return Ok(());
            }
            let mut events = Vec::new();
            let mut folded = Vec::new();
            for (id, piece) in &evidence {
                folded.push(*id);
                if let Some(node) = state.nodes.iter_mut().find(|n| n.record.server_id == piece.server_id) {
                    events.extend(node.record.fold_evidence(piece));
                }
            }
            let nodes = state.nodes.iter().map(|n| &n.record).collect();
            self.store.commit(lease, Changes { nodes, events, folded, ..Changes::default() }).await?;
        }
    }

    /// Records a node as it now is, with what that adds to the timeline.
    pub(crate) async fn record_node(
        &self,
        pass: &Pass<'_>,
        node: &NodeState,
        events: Vec<NewEvent>,
    ) -> Result<(), StoreError> {
        tell(pass, &events);
        let changes = Changes { nodes: vec![&node.record], events, ..Changes::default() };
        self.store.commit(pass.lease, changes).await
    }

    /// Records that nothing of ours is left of a cluster, its passwords included: unless some of its nodes were there before us
    /// and go on without us, with those passwords.
    pub(crate) async fn forget_cluster(
        &self,
        pass: &Pass<'_>,
        record: &ClusterRecord,
        events: Vec<NewEvent>,
    ) -> Result<(), StoreError> {
        tell(pass, &events);
        let forget_credentials = pass.plan.nodes.iter().all(|node| !node.existing);
        let changes = Changes { cluster: Some(record), events, forget_credentials, ..Changes::default() };
        self.store.commit(pass.lease, changes).await
    }

    /// Records a cluster, and those of its nodes that changed with it.
    pub(crate) async fn record_cluster(
        &self,
        pass: &Pass<'_>,
        record: &ClusterRecord,
        nodes: Vec<&NodeRecord>,
        events: Vec<NewEvent>,
    ) -> Result<(), StoreError> {
        tell(pass, &events);
        let changes = Changes { cluster: Some(record), nodes, events, ..Changes::default() };
        self.store.commit(pass.lease, changes).await
    }
}

/// The log says what the timeline says, for whoever has only the log.
fn tell(pass: &Pass<'_>, events: &[NewEvent]) {
    for event in events {
        let server_id = event.server_id.as_deref().unwrap_or("-");
        tracing::info!(cluster = pass.plan.cluster.name, server_id, kind = event.kind, "{}", event.message);
    }
}

/// Carries out the operator's retry: the cluster's and its failed nodes' records begin anew where they may.
fn retry(state: &mut ClusterState, now: Timestamp) -> Vec<NewEvent> {
    let mut events = Vec::new();
    let entered = |phase: &'static str, kind, reason: &str| {
        NewEvent::new(now, kind, format!("{phase}: {reason}")).entering(phase)
    };
    let before = state.record.phase;
    state.record.retries_done = state.intents.retries;
    forget_keys(state, now, &mut events);
    let choice = state.intents.formation.unwrap_or(state.plan.cluster.formation);
    let nodes: Vec<&NodeRecord> = state.nodes.iter().map(|n| &n.record).collect();
    state.record.retry(choice, &nodes, now);
    if state.record.phase != before {
        let phase = state.record.phase.as_str();
        events.push(entered(phase, kind::CLUSTER_PHASE, &state.record.reason).with(json!({"from": before})));
    }
    // A failed node of a cluster that is formed without it is no member: imaging it again would help nobody.
    let waits_for_nodes = state.record.phase == ClusterPhase::WaitingForNodes;
    for (node, plan) in state.nodes.iter_mut().zip(&state.plan.nodes).filter(|_| waits_for_nodes) {
        let before = node.record.phase;
        events.extend(node.record.retry(plan.existing, has_server(&node.resources), now));
        if node.record.phase != before {
            let phase = node.record.phase.as_str();
            let event = entered(phase, kind::NODE_PHASE, &node.record.reason).with(json!({"from": before}));
            events.push(event.of_node(&plan.server_id));
        }
    }
    events
}

/// The operator has looked at a node that showed another key than before: the one it shows next is taken for its own.
fn forget_keys(state: &mut ClusterState, now: Timestamp, events: &mut Vec<NewEvent>) {
    if state.record.failure.as_ref().is_none_or(|failure| failure.code != Failure::KEY_CHANGED) {
        return;
    }
    let seen = state.record.formation.iter().filter_map(|attempt| attempt.seen.as_ref());
    let strangers = seen.flat_map(|seen| &seen.members).filter(|member| member.says.other_key().is_some());
    for id in strangers.map(|member| member.server_id.clone()).collect::<Vec<_>>() {
        if let Some(node) = state.nodes.iter_mut().find(|node| node.record.server_id == id) {
            let cvm = &mut node.record.cvm;
            (cvm.pin, cvm.ssh_pin, cvm.host_pin) = (None, None, None);
            let message = "forgets the keys of its controller VM, by the operator's word".to_owned();
            events.push(NewEvent::new(now, kind::CVM_KEY_CHANGED, message).of_node(&id));
        }
    }
}

fn has_server(resources: &[Resource]) -> bool {
    resources.iter().any(|r| r.slot == metalform_model::Slot::Server && r.is_created())
}
