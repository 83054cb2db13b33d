//! One node as far as it can go now: observe what is due, decide, do one thing, again, until there is something to wait for.

use crate::{
    CallErrorKind, Member, Orchestrator, Wanted,
    crash::crash_point,
    flow::{Pass, STEPS},
    resource_step::{Holder, Step, name_of},
};
use futures_util::future::join3;
use metalform_model::{
    BootAttempt, BootProgress, CvmProgress, Decision, Driver, Failure, NewEvent, NodeAction, NodePhase, NodePlan,
    NodeView, Placement, PowerAction, PowerCall, ScriptOrigin, ServerSeen, Slot, Surface, Timestamp, Trouble,
    decide_node, kind, node_looks, with_causes,
};
use metalform_store::{NodeState, StoreError};
use secrecy::SecretString;
use serde_json::json;
use sha2::{Digest, Sha256};
use uuid::Uuid;

const LOOK: &str = "look at its server";

impl Orchestrator {
    /// Advances one node. Returns when to look at it again.
    pub(crate) async fn advance_node(
        &self,
        pass: &Pass<'_>,
        plan: &NodePlan,
        node: &mut NodeState,
    ) -> Result<Timestamp, StoreError> {
        for _ in 0..STEPS {
            self.observe_node(pass, plan, node).await?;
            let now = self.clock.now();
            let decision = decide_node(self.view(pass, plan, node), now);
            match decision {
                Decision::Wait { reason, until } => {
                    if node.record.reason != reason {
                        node.record.reason = reason;
                        self.record_node(pass, node, Vec::new()).await?;
                    }
                    return Ok(until);
                }
                Decision::Do(action) => self.act_on_node(pass, plan, node, action).await?,
                Decision::MoveTo(phase, why) => self.move_node(pass, node, phase, why, now).await?,
                Decision::NeedsOperator(failure) => self.fail_node(pass, node, failure, now).await?,
            }
        }
        Ok(self.clock.now())
    }

    fn view<'a>(&'a self, pass: &Pass<'_>, plan: &'a NodePlan, node: &'a NodeState) -> NodeView<'a> {
        NodeView {
            plan,
            record: &node.record,
            resources: &node.resources,
            absent: pass.absent,
            choice: pass.choice,
            timeouts: &self.timeouts,
        }
    }

    async fn observe_node(&self, pass: &Pass<'_>, plan: &NodePlan, node: &mut NodeState) -> Result<(), StoreError> {
        let looks = node_looks(self.view(pass, plan, node), self.clock.now());
        let server_id = node.resources.iter().find(|r| r.slot == Slot::Server).and_then(|r| r.cloud_id.clone());
        let member = member_of(plan, node);
        let look_at_server = async {
            match server_id.filter(|_| looks.server) {
                Some(id) => Some(self.cloud.server(&id).await),
                None => None,
            }
        };
        let look_at_surface = async {
            match &member {
                Some(member) if looks.cvm.surface => Some(self.surface(member).await),
                _ => None,
            }
        };
        let look_at_cvm = async {
            match (looks.cvm.probe, &member) {
                (Some((driver, show)), Some(member)) => {
                    Some((driver, self.drivers.get(driver).probe(member, show).await))
                }
                _ => None,
            }
        };
        let (server, surface, cvm) = join3(look_at_server, look_at_surface, look_at_cvm).await;
        let now = self.clock.now();
        let mut events = Vec::new();
        let before = node.record.clone();
        match server {
            Some(Ok(seen)) => {
                let (status, why) = seen.map_or((None, None), |(status, why)| (Some(status), why));
                node.record.fold_server(ServerSeen { at: now, status, why });
                // Trouble with anything else isn't over because a look worked.
                if node.record.trouble.as_ref().is_some_and(|t| t.doing == LOOK) {
                    node.record.trouble = None;
                }
            }
            Some(Err(error)) => {
                let again = error.retry_after;
                node.record.trouble = Some(trouble(&before.trouble, LOOK.into(), with_causes(&error), again, now));
            }
            None => {}
        }
        if let Some(surface) = surface {
            events.extend(node.record.fold_surface(surface, pass.choice, self.timeouts.formation_settle, now));
        }
        if let Some((driver, probe)) = cvm {
            events.extend(node.record.fold_probe(driver, probe.answer, probe.key, now));
        }
        if node.record != before {
            self.record_node(pass, node, events).await?;
        }
        Ok(())
    }

    /// What a controller VM offers of each driver, asked without credentials.
    async fn surface(&self, member: &Member) -> Surface {
        let offer = |driver| self.drivers.get(driver).offer(member);
        let (cvm_ssh, prism, foundation) =
            join3(offer(Driver::CvmSsh), offer(Driver::Prism), offer(Driver::Foundation)).await;
        Surface { cvm_ssh, prism, foundation }
    }

    async fn act_on_node(
        &self,
        pass: &Pass<'_>,
        plan: &NodePlan,
        node: &mut NodeState,
        action: NodeAction,
    ) -> Result<(), StoreError> {
        match action {
            NodeAction::Ensure(slot) => self.ensure_for_node(pass, plan, node, slot).await,
            NodeAction::Remove(slot) => self.remove_for_node(pass, plan, node, slot).await,
            NodeAction::OpenAttempt => self.open_attempt(pass, node).await,
            NodeAction::Stop => self.change_power(pass, plan, node, PowerAction::Stop).await,
            NodeAction::Reinitialize => self.change_power(pass, plan, node, PowerAction::Reinitialize).await,
        }
    }

    async fn ensure_for_node(
        &self,
        pass: &Pass<'_>,
        plan: &NodePlan,
        node: &mut NodeState,
        slot: Slot,
    ) -> Result<(), StoreError> {
        let user_data = match (slot, &node.record.attempt) {
            (Slot::Server, Some(attempt)) => self.links.user_data(&plan.server_id, attempt).await,
            _ => Ok(SecretString::default()),
        };
        // A server that an earlier request has made is found all the same.
        let (user_data, refused) = match user_data {
            Ok(user_data) => (user_data, None),
            Err(error) => (SecretString::default(), Some(error)),
        };
        let Some(wanted) = self.wanted(pass, plan, node, slot, user_data) else {
            let failure = internal(node, format!("the {} can't be made: what it needs is missing", slot.in_words()));
            return self.fail_node(pass, node, failure, self.clock.now()).await;
        };
        let announce = (slot == Slot::Server).then(|| {
            let message = format!("Deploying node: {}", plan.server_name);
            NewEvent::new(self.clock.now(), kind::NODE_ORDERING, message).of_node(&plan.server_id)
        });
        let subnet = plan.placement.as_ref().map_or("", |p| p.subnet.as_str());
        let mut holder = Holder { server_id: Some(&plan.server_id), subnet, resources: &mut node.resources };
        let step = self.ensure(pass, &mut holder, slot, wanted, refused, announce).await?;
        if matches!(step, Step::Done) {
            let address = node.resources.iter().find(|r| r.slot == slot).and_then(|r| r.address);
            match slot {
                Slot::Mgmt => node.record.mgmt_ip = address,
                Slot::Ahv => node.record.ahv_ip = address,
                Slot::Cvm => node.record.cvm_ip = address,
                Slot::Interface | Slot::Server | Slot::Vip => {}
            }
        }
        self.settle_node_step(pass, node, format!("make its {}", slot.in_words()), step).await
    }

    async fn remove_for_node(
        &self,
        pass: &Pass<'_>,
        plan: &NodePlan,
        node: &mut NodeState,
        slot: Slot,
    ) -> Result<(), StoreError> {
        // Only looked for by its name.
        let wanted = self.wanted(pass, plan, node, slot, SecretString::default());
        let mut holder = Holder { server_id: Some(&plan.server_id), subnet: "", resources: &mut node.resources };
        let step = match self.remove(pass, &mut holder, slot, wanted).await? {
            // Undo never gives up: what the cloud refuses stays recorded, visible, and is tried again.
            Step::Refused { error, .. } => Step::Again { error, retry_after: None },
            step => step,
        };
        self.settle_node_step(pass, node, format!("remove its {}", slot.in_words()), step).await
    }

    /// What a step on a resource means for its node.
    async fn settle_node_step(
        &self,
        pass: &Pass<'_>,
        node: &mut NodeState,
        doing: String,
        step: Step,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        match step {
            Step::Done => {
                node.record.trouble = None;
                match self.record_node(pass, node, Vec::new()).await {
                    // The cloud chose an address that a node in another VPC has: two such nodes can't boot from one service.
                    Err(StoreError::NodeTaken { what }) => {
                        node.record.mgmt_ip = None;
                        let failure = Failure {
                            in_phase: node.record.phase.as_str().into(),
                            code: "address_taken".into(),
                            reason: format!("could not {doing}: {what} belongs to a living node already"),
                            hint: "destroy the cluster, and choose the mgmt_ip in its plan".into(),
                        };
                        self.fail_node(pass, node, failure, now).await
                    }
                    recorded => recorded,
                }
            }
            Step::UnderWay => {
                let again = trouble(&node.record.trouble, doing, "under way".into(), None, now);
                node.record.trouble = Some(again);
                self.record_node(pass, node, Vec::new()).await
            }
            Step::Again { error, retry_after } => {
                let again = trouble(&node.record.trouble, doing, error, retry_after, now);
                let event = told_once(&node.record.trouble, &again, now).map(|e| e.of_node(&node.record.server_id));
                node.record.trouble = Some(again);
                self.record_node(pass, node, event.into_iter().collect()).await
            }
            Step::Refused { code, error, hint } => {
                let reason = format!("could not {doing}: {error}");
                let in_phase = node.record.phase.as_str().into();
                self.fail_node(pass, node, Failure { in_phase, code: code.into(), reason, hint }, now).await
            }
        }
    }

    /// What is to be made for a slot, once everything it needs is there.
    fn wanted(
        &self,
        pass: &Pass<'_>,
        plan: &NodePlan,
        node: &NodeState,
        slot: Slot,
        user_data: SecretString,
    ) -> Option<Wanted> {
        let placement = plan.placement.as_ref()?;
        let id_of = |slot| node.resources.iter().find(|r| r.slot == slot).and_then(|r| r.cloud_id.clone());
        let name = name_of(pass, Some(&plan.server_id), slot);
        let address = |address| Wanted::Address { subnet: placement.subnet.clone(), name: name.clone(), address };
        Some(match slot {
            Slot::Mgmt => address(plan.mgmt_ip),
            Slot::Ahv => address(plan.ahv_ip),
            Slot::Cvm => address(plan.cvm_ip),
            Slot::Interface => Wanted::Interface {
                name,
                subnet: placement.subnet.clone(),
                primary: id_of(Slot::Mgmt)?,
                others: vec![id_of(Slot::Ahv)?, id_of(Slot::Cvm)?],
                security_groups: placement.security_groups.clone(),
            },
            Slot::Server => Wanted::Server {
                name: plan.server_name.clone(),
                placement: Placement::clone(placement),
                image: pass.site.boot_image.clone(),
                interface: id_of(Slot::Interface)?,
                user_data,
            },
            Slot::Vip => return None,
        })
    }

    async fn open_attempt(&self, pass: &Pass<'_>, node: &mut NodeState) -> Result<(), StoreError> {
        let now = self.clock.now();
        let n = node.record.attempt.as_ref().map_or(0, |a| a.n) + 1;
        let id = attempt_id(pass.deployment, &node.record.server_id, n);
        let inline = match self.links.pin().await {
            Ok(inline) => inline,
            Err(error) => return self.settle_node_step(pass, node, "open its boot attempt".into(), error.into()).await,
        };
        let mut data = json!({"n": n});
        if let Some(inline) = &inline {
            data["script"] = json!(ScriptOrigin::UserData);
            data["image_set"] = json!(inline.image_set);
        }
        node.record.attempt = Some(BootAttempt { id, n, opened_at: now, closed_at: None, inline });
        node.record.boot = BootProgress::default();
        node.record.cvm = CvmProgress::default();
        let message = format!("boot attempt {n} opened");
        let event = NewEvent::new(now, kind::BOOT_ATTEMPT_OPENED, message).of_node(&node.record.server_id);
        self.record_node(pass, node, vec![event.with(data)]).await
    }

    /// A once-only call: recorded before it is sent. What became of it is seen in the server's status.
    async fn change_power(
        &self,
        pass: &Pass<'_>,
        plan: &NodePlan,
        node: &mut NodeState,
        what: PowerAction,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        let server = node.resources.iter().find(|r| r.slot == Slot::Server).and_then(|r| r.cloud_id.clone());
        let (Some(server), Some(placement)) = (server, &plan.placement) else {
            let failure = internal(node, "its server has no recorded id".into());
            return self.fail_node(pass, node, failure, now).await;
        };
        let word = match what {
            PowerAction::Stop => "stop",
            PowerAction::Reinitialize => "reinitialize",
        };
        // What can be refused is asked for before the call is recorded as sent.
        let user_data = match (what, &node.record.attempt) {
            (PowerAction::Reinitialize, Some(attempt)) => match self.links.user_data(&plan.server_id, attempt).await {
                Ok(user_data) => Some(user_data),
                Err(error) => {
                    return self.settle_node_step(pass, node, format!("{word} its server"), error.into()).await;
                }
            },
            _ => None,
        };
        node.record.sent = Some(PowerCall { what, at: now });
        let event = NewEvent::new(now, kind::SERVER_ACTION, format!("{word} {}", plan.server_name));
        let event = event.of_node(&plan.server_id).with(json!({"action": what, "server": server}));
        self.record_node(pass, node, vec![event]).await?;
        crash_point(&format!("intent.{word}"));
        let answer = match user_data {
            Some(user_data) => {
                self.cloud.reinitialize(&server, &pass.site.boot_image, &placement.ssh_keys, &user_data).await
            }
            None => self.cloud.stop(&server).await,
        };
        crash_point(&format!("answer.{word}"));
        let now = self.clock.now();
        // Whatever was seen before the call is old news.
        node.record.server = None;
        match answer {
            Ok(()) => {
                node.record.trouble = None;
                if what == PowerAction::Reinitialize {
                    let why = "the cloud reinitializes the server".to_owned();
                    return self.move_node(pass, node, NodePhase::Ordered, why, now).await;
                }
                self.record_node(pass, node, Vec::new()).await
            }
            Err(error) => {
                if matches!(error.kind, CallErrorKind::Transient | CallErrorKind::Conflict) {
                    node.record.sent = None;
                }
                let releasing = node.record.phase == NodePhase::Releasing;
                let text = with_causes(&error);
                let step = match error.kind {
                    CallErrorKind::Permanent if !releasing => {
                        Step::Refused { code: "cloud_refused", error: text, hint: error.hint }
                    }
                    _ => Step::Again { error: text, retry_after: error.retry_after },
                };
                self.settle_node_step(pass, node, format!("{word} its server"), step).await
            }
        }
    }

    async fn move_node(
        &self,
        pass: &Pass<'_>,
        node: &mut NodeState,
        phase: NodePhase,
        why: String,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let record = &mut node.record;
        let from = record.phase;
        let mut events = Vec::new();
        match phase {
            NodePhase::Ordered => {
                record.ordered_at = Some(now);
                record.reimage = false;
                record.sent = None;
                record.server = None;
            }
            // Completion, and nothing earlier, uses the permission to boot up: what is installed boots from its disk.
            NodePhase::WaitingForCvm | NodePhase::Ready => events.extend(record.close_attempt(now)),
            NodePhase::Releasing => {
                events.extend(record.close_attempt(now));
                record.server = None;
                record.sent = None;
                record.failure = None;
            }
            NodePhase::Requested
            | NodePhase::WaitingForBoot
            | NodePhase::Imaging
            | NodePhase::Released
            | NodePhase::Failed => {}
        }
        let took = now.since(record.since);
        let data = json!({"from": from, "seconds": took.as_secs_f64()});
        let message = format!("{}: {why}", phase.as_str());
        record.enter(phase, why, now);
        let event = NewEvent::new(now, kind::NODE_PHASE, message).entering(phase.as_str()).with(data);
        events.push(event.of_node(&record.server_id));
        self.record_node(pass, node, events).await?;
        crash_point(&format!("recorded.node_{}", phase.as_str()));
        Ok(())
    }

    async fn fail_node(
        &self,
        pass: &Pass<'_>,
        node: &mut NodeState,
        failure: Failure,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let record = &mut node.record;
        let message = format!("failed in {}: {}", failure.in_phase, failure.reason);
        let data = json!({"failure": failure});
        // A failed node must not be imaged behind the operator's back: another boot needs another permission.
        let mut events: Vec<NewEvent> = record.close_attempt(now).into_iter().collect();
        record.enter(NodePhase::Failed, failure.reason.clone(), now);
        record.failure = Some(failure);
        let event = NewEvent::new(now, kind::NODE_PHASE, message).entering(NodePhase::Failed.as_str()).with(data);
        events.push(event.of_node(&record.server_id));
        self.record_node(pass, node, events).await
    }
}

/// A node as formation sees it, once its controller VM has an address.
pub(crate) fn member_of(plan: &NodePlan, node: &NodeState) -> Option<Member> {
    Some(Member {
        server_id: plan.server_id.clone(),
        cvm_ip: node.record.cvm_ip.or(plan.cvm_ip)?,
        ahv_ip: node.record.ahv_ip.or(plan.ahv_ip),
        node_uuid: node.record.node_uuid.clone(),
        node_position: plan.node_position.clone(),
        version: node.record.version(),
        pin: node.record.cvm.pin.clone(),
        ssh_pin: node.record.cvm.ssh_pin.clone(),
        host_pin: node.record.cvm.host_pin.clone(),
        cvm_password: None,
    })
}

/// The id of a node's n-th boot attempt. Derived and not drawn: after a crash it is the same again, and so is the token
/// made from it.
fn attempt_id(deployment: Uuid, server_id: &str, n: u32) -> Uuid {
    let digest = Sha256::digest(format!("boot attempt/{deployment}/{server_id}/{n}"));
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    Uuid::from_u128(u128::from_be_bytes(bytes))
}

fn internal(node: &NodeState, reason: String) -> Failure {
    Failure {
        in_phase: node.record.phase.as_str().into(),
        code: "internal".into(),
        reason,
        hint: "this is a mistake in Metalform; please report it with `metalform events`".into(),
    }
}

pub(crate) fn trouble(
    before: &Option<Trouble>,
    doing: String,
    error: String,
    retry_after: Option<std::time::Duration>,
    now: Timestamp,
) -> Trouble {
    let before = before.as_ref().filter(|t| t.doing == doing);
    Trouble::again(before, doing, error, retry_after, now)
}

/// A trouble is told when it begins, and then ever less often: at its 2nd, 4th, 8th … time.
pub(crate) fn told_once(before: &Option<Trouble>, again: &Trouble, now: Timestamp) -> Option<NewEvent> {
    if before.as_ref().is_some_and(|t| t.doing == again.doing) && !again.failures.is_power_of_two() {
        return None;
    }
    let message = format!("could not {} yet: {}", again.doing, again.error);
    let data = json!({"doing": again.doing, "error": again.error, "again_at": again.next_at, "times": again.failures});
    Some(NewEvent::new(now, kind::TROUBLE, message).with(data))
}
