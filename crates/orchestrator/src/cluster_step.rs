//! The cluster as far as it can go now: the barrier, formation, the checks at the end, and letting go.

use crate::{
    BeginOutcome, ClusterSpec, Member, Orchestrator, Wanted,
    crash::crash_point,
    flow::{Pass, STEPS},
    node_step::{member_of, told_once, trouble},
    resource_step::{Holder, Step, name_of},
};
use metalform_model::{
    ClusterAction, ClusterPhase, ClusterRecord, ClusterView, Decision, Failure, FormationAttempt, FormationState,
    Intents, NewEvent, NodeRecord, Refusal, Resource, Slot, Timestamp, cluster_looks, decide_cluster, in_words, kind,
};
use metalform_store::{NodeState, StoreError};
use serde_json::json;

impl Orchestrator {
    /// Advances the cluster itself. Returns when to look at it again.
    pub(crate) async fn advance_cluster(
        &self,
        pass: &Pass<'_>,
        intents: Intents,
        record: &mut ClusterRecord,
        nodes: &mut [NodeState],
        vip: &mut Option<Resource>,
    ) -> Result<Timestamp, StoreError> {
        for _ in 0..STEPS {
            self.observe_formation(pass, intents, record, nodes, vip).await?;
            let now = self.clock.now();
            let decision = {
                let records: Vec<&NodeRecord> = nodes.iter().map(|n| &n.record).collect();
                decide_cluster(self.cluster_view(pass, intents, record, &records, vip), now)
            };
            match decision {
                Decision::Wait { reason, until } => {
                    if record.reason != reason {
                        record.reason = reason;
                        self.record_cluster(pass, record, Vec::new(), Vec::new()).await?;
                    }
                    return Ok(until);
                }
                Decision::Do(action) => self.act_on_cluster(pass, record, nodes, vip, action).await?,
                Decision::MoveTo(phase, why) => {
                    self.move_cluster(pass, record, nodes, phase, why, now).await?;
                    // Letting go begins with the nodes.
                    if phase == ClusterPhase::Releasing {
                        return Ok(now);
                    }
                }
                Decision::NeedsOperator(failure) => self.stop_cluster(pass, record, failure, now).await?,
            }
        }
        Ok(self.clock.now())
    }

    fn cluster_view<'a>(
        &'a self,
        pass: &Pass<'a>,
        intents: Intents,
        record: &'a ClusterRecord,
        nodes: &'a [&'a NodeRecord],
        vip: &'a Option<Resource>,
    ) -> ClusterView<'a> {
        ClusterView { plan: pass.plan, record, intents, nodes, vip: vip.as_ref(), timeouts: &self.timeouts }
    }

    async fn observe_formation(
        &self,
        pass: &Pass<'_>,
        intents: Intents,
        record: &mut ClusterRecord,
        nodes: &mut [NodeState],
        vip: &Option<Resource>,
    ) -> Result<(), StoreError> {
        let looks = {
            let records: Vec<&NodeRecord> = nodes.iter().map(|n| &n.record).collect();
            cluster_looks(self.cluster_view(pass, intents, record, &records, vip), self.clock.now())
        };
        let members = self.members(pass, record, nodes);
        let Some(attempt) = record.formation.as_mut().filter(|_| looks.formation) else { return Ok(()) };
        let look = self.formation.look(&spec(pass), &members).await;
        let now = self.clock.now();
        let mut events = Vec::new();
        for (server_id, key) in &look.keys {
            if let Some(node) = nodes.iter_mut().find(|n| &n.record.server_id == server_id) {
                events.extend(node.record.fold_key(key, now));
            }
        }
        let status = |seen: &Option<metalform_model::FormationSeen>| {
            seen.as_ref().and_then(|s| s.vip.as_ref()).map(|c| c.status.clone().unwrap_or_else(|| "no status".into()))
        };
        let before = status(&attempt.seen);
        attempt.looked_at = Some(now);
        attempt.seen = Some(look.seen);
        let after = status(&attempt.seen);
        if let Some(status) = after.filter(|after| Some(after) != before.as_ref()) {
            events.push(NewEvent::new(now, kind::FORMATION_PROGRESS, format!("Cluster status: {status}")));
        }
        let changed = nodes.iter().map(|n| &n.record).collect();
        self.record_cluster(pass, record, changed, events).await
    }

    async fn act_on_cluster(
        &self,
        pass: &Pass<'_>,
        record: &mut ClusterRecord,
        nodes: &[NodeState],
        vip: &mut Option<Resource>,
        action: ClusterAction,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        match action {
            ClusterAction::EnsureVip | ClusterAction::RemoveVip => {
                self.step_vip(pass, record, vip, action == ClusterAction::EnsureVip).await
            }
            ClusterAction::TellNodesWaiting => {
                record.nodes_waiting_told = true;
                let message = format!("Waiting for {} nodes to complete Foundation deployment...", nodes.len());
                let event = NewEvent::new(now, kind::NODES_WAITING, message);
                self.record_cluster(pass, record, Vec::new(), vec![event]).await
            }
            ClusterAction::Prepare { members, in_doubt } => {
                let state = if in_doubt { FormationState::LookFirst } else { FormationState::Unasked };
                let n = record.formation.as_ref().map_or(0, |a| a.n) + 1;
                record.formation = Some(FormationAttempt {
                    n,
                    driver: self.formation.driver().into(),
                    members,
                    entry: 0,
                    state,
                    doubt: String::new(),
                    asked_at: None,
                    started_at: now,
                    looked_at: None,
                    seen: None,
                    refusals: Vec::new(),
                });
                self.record_cluster(pass, record, Vec::new(), Vec::new()).await
            }
            ClusterAction::Ask => self.ask(pass, record, nodes).await,
            ClusterAction::ClearToAsk => self.change_attempt(pass, record, |a| a.state = FormationState::Unasked).await,
            ClusterAction::NextEntry => {
                let error = record.formation.as_ref().map(|a| a.doubt.clone()).unwrap_or_default();
                self.next_entry(pass, record, error, false).await
            }
            ClusterAction::Adopt => {
                let event = NewEvent::new(now, kind::FORMATION_MONITORING, "a node has taken the request");
                if let Some(attempt) = &mut record.formation {
                    attempt.state = FormationState::Accepted;
                }
                self.record_cluster(pass, record, Vec::new(), vec![event]).await?;
                crash_point("recorded.formation");
                Ok(())
            }
            ClusterAction::Verify => self.verify(pass, record, nodes).await,
        }
    }

    /// The one call that must not be made twice: recorded as "in doubt" before it is sent, so that whoever comes after a
    /// crash looks before asking.
    async fn ask(&self, pass: &Pass<'_>, record: &mut ClusterRecord, nodes: &[NodeState]) -> Result<(), StoreError> {
        let now = self.clock.now();
        let members = self.members(pass, record, nodes);
        let Some(attempt) = &mut record.formation else { return Ok(()) };
        let asked = attempt.members.get(attempt.entry);
        let Some(entry) = members.iter().position(|m| Some(&m.server_id) == asked) else {
            return self.next_entry(pass, record, "its controller VM has no address".into(), false).await;
        };
        let member = &members[entry];
        attempt.state = FormationState::InDoubt;
        attempt.asked_at = Some(now);
        attempt.doubt = "asked, and nothing came back".into();
        attempt.looked_at = None;
        attempt.seen = None;
        let ready_at = nodes.iter().map(|n| n.record.since).max().unwrap_or(now);
        let message = format!("Initiating cluster creation through {} ({})", member.server_id, member.cvm_ip);
        let data = json!({"driver": attempt.driver, "attempt": attempt.n, "members": attempt.members,
            "seconds_after_last_ready": now.since(ready_at).as_secs_f64()});
        let event = NewEvent::new(now, kind::FORMATION_STARTED, message).of_node(&member.server_id).with(data);
        self.record_cluster(pass, record, Vec::new(), vec![event]).await?;
        crash_point("intent.formation");
        let outcome = self.formation.begin(&spec(pass), &members, entry).await;
        crash_point("answer.formation");
        let now = self.clock.now();
        match outcome {
            BeginOutcome::Accepted => {
                let message = "Monitoring cluster formation progress...";
                let event = NewEvent::new(now, kind::FORMATION_MONITORING, message);
                if let Some(attempt) = &mut record.formation {
                    attempt.state = FormationState::Accepted;
                }
                self.record_cluster(pass, record, Vec::new(), vec![event]).await?;
                crash_point("recorded.formation");
                Ok(())
            }
            BeginOutcome::NotSent { error } => self.next_entry(pass, record, error, false).await,
            BeginOutcome::Refused { error } => self.next_entry(pass, record, error, true).await,
            BeginOutcome::Unknown { error } => self.change_attempt(pass, record, |attempt| attempt.doubt = error).await,
        }
    }

    async fn next_entry(
        &self,
        pass: &Pass<'_>,
        record: &mut ClusterRecord,
        error: String,
        permanent: bool,
    ) -> Result<(), StoreError> {
        let Some(attempt) = &mut record.formation else { return Ok(()) };
        let server_id = attempt.members.get(attempt.entry).cloned().unwrap_or_default();
        let message = format!("{server_id} didn't take the create request: {error}");
        let event = NewEvent::new(self.clock.now(), kind::FORMATION_REFUSED, message).of_node(&server_id);
        attempt.refusals.push(Refusal { server_id, error, permanent });
        attempt.entry += 1;
        attempt.state = FormationState::Unasked;
        self.record_cluster(pass, record, Vec::new(), vec![event]).await
    }

    async fn change_attempt(
        &self,
        pass: &Pass<'_>,
        record: &mut ClusterRecord,
        change: impl FnOnce(&mut FormationAttempt),
    ) -> Result<(), StoreError> {
        if let Some(attempt) = &mut record.formation {
            change(attempt);
        }
        self.record_cluster(pass, record, Vec::new(), Vec::new()).await
    }

    async fn verify(&self, pass: &Pass<'_>, record: &mut ClusterRecord, nodes: &[NodeState]) -> Result<(), StoreError> {
        let members = self.members(pass, record, nodes);
        record.checks = self.formation.verify(&spec(pass), &members).await;
        let failed: Vec<String> =
            record.checks.iter().filter(|c| !c.ok).map(|c| format!("{}: {}", c.name, c.seen)).collect();
        let now = self.clock.now();
        record.trouble = (!failed.is_empty())
            .then(|| trouble(&record.trouble, "pass the checks at the end".into(), failed.join("; "), None, now));
        self.record_cluster(pass, record, Vec::new(), Vec::new()).await
    }

    async fn step_vip(
        &self,
        pass: &Pass<'_>,
        record: &mut ClusterRecord,
        vip: &mut Option<Resource>,
        make: bool,
    ) -> Result<(), StoreError> {
        let subnet =
            pass.plan.nodes.iter().find_map(|n| n.placement.as_ref()).map(|p| p.subnet.clone()).unwrap_or_default();
        let name = name_of(pass, None, Slot::Vip);
        let wanted = Wanted::Address { subnet: subnet.clone(), name, address: Some(pass.plan.cluster.external_ip) };
        let mut resources: Vec<Resource> = vip.take().into_iter().collect();
        let mut holder = Holder { server_id: None, subnet: &subnet, resources: &mut resources };
        let step = match make {
            true => self.ensure(pass, &mut holder, Slot::Vip, wanted, None).await,
            false => self.remove(pass, &mut holder, Slot::Vip, Some(wanted)).await,
        };
        *vip = resources.pop();
        let now = self.clock.now();
        let doing = if make { "reserve the cluster's address" } else { "give the cluster's address back" };
        let step = step?;
        let wait = match &step {
            Step::Again { retry_after, .. } => *retry_after,
            Step::Done | Step::UnderWay | Step::Refused { .. } => None,
        };
        match step {
            Step::Done => record.trouble = None,
            Step::UnderWay => {
                record.trouble = Some(trouble(&record.trouble, doing.into(), "under way".into(), None, now));
            }
            Step::Refused { code, error, hint } if make => {
                let in_phase = record.phase.as_str().into();
                let failure =
                    Failure { in_phase, code: code.into(), reason: format!("could not {doing}: {error}"), hint };
                return self.stop_cluster(pass, record, failure, now).await;
            }
            Step::Again { error, .. } | Step::Refused { error, .. } => {
                let again = trouble(&record.trouble, doing.into(), error, wait, now);
                let event = told_once(&record.trouble, &again, now);
                record.trouble = Some(again);
                return self.record_cluster(pass, record, Vec::new(), event.into_iter().collect()).await;
            }
        }
        self.record_cluster(pass, record, Vec::new(), Vec::new()).await
    }

    async fn move_cluster(
        &self,
        pass: &Pass<'_>,
        record: &mut ClusterRecord,
        nodes: &[NodeState],
        phase: ClusterPhase,
        why: String,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let took = now.since(record.since);
        let mut events = Vec::new();
        match phase {
            ClusterPhase::Forming => {
                let ready = nodes.iter().filter(|n| n.record.phase == metalform_model::NodePhase::Ready).count();
                let message = format!("All {ready} nodes are ready for cluster formation");
                let message = if ready == nodes.len() {
                    message
                } else {
                    format!("{ready}/{} nodes are ready: the cluster is formed without the others", nodes.len())
                };
                events.push(NewEvent::new(now, kind::NODES_READY, message));
            }
            ClusterPhase::Releasing => record.failure = None,
            _ => {}
        }
        let data = json!({"from": record.phase, "seconds": took.as_secs_f64()});
        let message = format!("{}: {why}", phase.as_str());
        events.push(NewEvent::new(now, kind::CLUSTER_PHASE, message).entering(phase.as_str()).with(data));
        if phase == ClusterPhase::Ready {
            let message = format!(
                "Nutanix cluster deployment completed successfully, {} after the plan was accepted",
                in_words(now.since(record.created_at))
            );
            let data = json!({"checks": record.checks, "seconds": now.since(record.created_at).as_secs_f64()});
            events.push(NewEvent::new(now, kind::DEPLOYMENT_COMPLETED, message).with(data));
        }
        record.enter(phase, why, now);
        self.record_cluster(pass, record, Vec::new(), events).await?;
        crash_point(&format!("recorded.cluster_{}", phase.as_str()));
        Ok(())
    }

    /// Stops for the operator: `failed` while nodes were awaited, `needs_operator` after.
    async fn stop_cluster(
        &self,
        pass: &Pass<'_>,
        record: &mut ClusterRecord,
        failure: Failure,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let phase = match record.phase {
            ClusterPhase::WaitingForNodes => ClusterPhase::Failed,
            _ => ClusterPhase::NeedsOperator,
        };
        let message = format!("{}: {}", phase.as_str(), failure.reason);
        let data = json!({"failure": failure});
        record.enter(phase, failure.reason.clone(), now);
        record.failure = Some(failure);
        let event = NewEvent::new(now, kind::CLUSTER_PHASE, message).entering(phase.as_str()).with(data);
        self.record_cluster(pass, record, Vec::new(), vec![event]).await
    }

    fn members(&self, pass: &Pass<'_>, record: &ClusterRecord, nodes: &[NodeState]) -> Vec<Member> {
        let Some(attempt) = &record.formation else { return Vec::new() };
        let find = |id: &String| {
            let (node, plan) = nodes.iter().zip(&pass.plan.nodes).find(|(n, _)| &n.record.server_id == id)?;
            member_of(plan, node)
        };
        attempt.members.iter().filter_map(find).collect()
    }
}

fn spec(pass: &Pass<'_>) -> ClusterSpec {
    let cluster = &pass.plan.cluster;
    ClusterSpec {
        name: cluster.name.clone(),
        external_ip: cluster.external_ip,
        redundancy_factor: cluster.redundancy_factor,
        cluster_functions: cluster.cluster_functions.clone(),
        timezone: cluster.timezone.clone(),
        dns_servers: cluster.dns_servers.clone(),
        ntp_servers: cluster.ntp_servers.clone(),
    }
}
