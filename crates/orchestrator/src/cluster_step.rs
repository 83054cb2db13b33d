//! The cluster as far as it can go now: the barrier, its address, and letting go. Formation is in `formation_step.rs`.

use crate::{
    Orchestrator, Wanted,
    crash::crash_point,
    flow::{Pass, STEPS},
    node_step::{told_once, trouble},
    resource_step::{Holder, Step, name_of},
};
use metalform_model::{
    ClusterAction, ClusterPhase, ClusterRecord, ClusterView, Decision, Failure, Intents, NewEvent, NodeRecord,
    Resource, Slot, Timestamp, decide_cluster, in_words, kind,
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

    pub(crate) fn cluster_view<'a>(
        &'a self,
        pass: &Pass<'a>,
        intents: Intents,
        record: &'a ClusterRecord,
        nodes: &'a [&'a NodeRecord],
        vip: &'a Option<Resource>,
    ) -> ClusterView<'a> {
        ClusterView { plan: pass.plan, record, intents, nodes, vip: vip.as_ref(), timeouts: &self.timeouts }
    }

    async fn act_on_cluster(
        &self,
        pass: &Pass<'_>,
        record: &mut ClusterRecord,
        nodes: &mut [NodeState],
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
            action => self.act_on_formation(pass, record, nodes, action).await,
        }
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
            true => self.ensure(pass, &mut holder, Slot::Vip, wanted, None, None).await,
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
        if phase == ClusterPhase::Released {
            self.forget_cluster(pass, record, events).await?;
        } else {
            self.record_cluster(pass, record, Vec::new(), events).await?;
        }
        crash_point(&format!("recorded.cluster_{}", phase.as_str()));
        Ok(())
    }

    /// Stops for the operator: `failed` while nodes were awaited, `needs_operator` after.
    pub(crate) async fn stop_cluster(
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
}
