//! What comes next for a node: a pure function of the plan, what we know, and the time.
//!
//! The loop first asks [`node_looks`] what is due to be looked at, looks, folds what it saw into the record, and then
//! asks [`decide_node`]. Both may be called any number of times with the same answer.

use crate::{
    CvmAnswer, Decision, Driver, Failure, FormationChoice, NodePhase, NodePlan, NodeRecord, PowerAction, PowerCall,
    ReportPhase, Resource, ResourceState, ServerSeen, ServerStatus, Slot, Timeouts, Timestamp, in_words,
};
use std::time::Duration;

/// One thing to do to the world for a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeAction {
    /// Make this resource, or find it made.
    Ensure(Slot),
    /// Permit one more network boot.
    OpenAttempt,
    /// Power the server off, hard.
    Stop,
    /// Wipe the server's boot disk and boot it from the network again.
    Reinitialize,
    /// Delete this resource, or see whether it is gone.
    Remove(Slot),
}

/// What a node decision comes to.
pub type NodeDecision = Decision<NodeAction, NodePhase>;

/// Everything a node's decision depends on.
#[derive(Debug, Clone, Copy)]
pub struct NodeView<'a> {
    /// What the operator declared.
    pub plan: &'a NodePlan,
    /// What we know.
    pub record: &'a NodeRecord,
    /// What exists of it in the cloud.
    pub resources: &'a [Resource],
    /// Whether the cluster is to be gone.
    pub absent: bool,
    /// The driver that is asked for.
    pub choice: FormationChoice,
    /// How long things may take.
    pub timeouts: &'a Timeouts,
}

/// What is due to be looked at before deciding.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NodeLooks {
    /// The server in the cloud.
    pub server: bool,
    /// The controller VM.
    pub cvm: CvmLook,
}

/// How a controller VM is to be looked at now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CvmLook {
    /// What it offers, without credentials.
    pub surface: bool,
    /// Whether it is ready, as this driver sees it.
    pub probe: Option<(Driver, ShowCredentials)>,
}

/// Whether a probe may log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShowCredentials {
    /// TCP, TLS and one request without credentials.
    No,
    /// HTTP answered before: one authenticated request.
    Yes,
}

/// How often credentials may be refused before a person must look.
const REFUSALS_ALLOWED: u32 = 2;

impl<'a> NodeView<'a> {
    fn resource(&self, slot: Slot) -> Option<&'a Resource> {
        self.resources.iter().find(|r| r.slot == slot)
    }

    fn is_created(&self, slot: Slot) -> bool {
        self.resource(slot).is_some_and(Resource::is_created)
    }

    /// Whether it exists and, for an address, the node knows which it is: a crash may have come between the two.
    fn is_made(&self, slot: Slot) -> bool {
        let known = match slot {
            Slot::Mgmt => self.record.mgmt_ip,
            Slot::Ahv => self.record.ahv_ip,
            Slot::Cvm => self.record.cvm_ip,
            Slot::Interface | Slot::Server | Slot::Vip => None,
        };
        self.resource(slot).is_some_and(|r| r.is_created() && (known.is_some() || r.address.is_none()))
    }

    /// Whether the server was made under the open attempt, and so boots with its token already.
    fn is_server_of_the_open_attempt(&self) -> bool {
        let (server, attempt) = (self.resource(Slot::Server), self.record.open_attempt());
        server
            .zip(attempt)
            .is_some_and(|(server, attempt)| server.is_created() && server.changed_at >= attempt.opened_at)
    }

    /// The last look at the server. What was seen before a power call is old news once the call may have been sent.
    fn seen(&self) -> Option<&'a ServerSeen> {
        let sent = self.record.sent.map(|call| call.at);
        self.record.server.as_ref().filter(|seen| sent.is_none_or(|at| seen.at > at))
    }

    /// Whether a call that left no trace may be made again: the world was looked at long enough after it.
    fn left_no_trace(&self, call: PowerCall) -> bool {
        self.seen().is_some_and(|seen| seen.at.since(call.at) >= self.timeouts.stop)
    }

    /// Whether the controller VM answers in a way that more probes won't change.
    fn is_cvm_final(&self) -> bool {
        matches!(self.record.cvm.answer, Some(CvmAnswer::Ready | CvmAnswer::LockedOut | CvmAnswer::OtherKey { .. }))
            || self.record.cvm.refusals >= REFUSALS_ALLOWED
    }

    /// Whether the controller VM may speak for its node: an installer that doesn't report, or whose last word is that
    /// the machine restarts, is believed once the node has its configuration and its controller VM answers.
    fn may_be_installed(&self) -> bool {
        let boot = &self.record.boot;
        boot.report.as_ref().map_or(boot.config_at.is_some(), |r| r.phase == ReportPhase::Rebooting)
    }

    /// When the server may be looked at next.
    fn server_due(&self) -> Timestamp {
        self.record.server.as_ref().map_or(Timestamp(0), |s| s.at + self.timeouts.server_poll)
    }

    /// When the controller VM may be probed next, and how.
    fn probe_due(&self) -> (Timestamp, ShowCredentials) {
        let cvm = &self.record.cvm;
        let next = cvm.probed_at.map_or(Timestamp(0), |at| at + self.timeouts.probe);
        match (&cvm.answer, cvm.refused_at) {
            // After a refusal the plain probes go on too slowly to be worth a separate rhythm: one login a minute.
            (_, Some(refused)) => {
                let last = cvm.probed_at.map_or(refused, |at| at.max(refused));
                (last + self.timeouts.probe_after_refusal, ShowCredentials::Yes)
            }
            (
                Some(CvmAnswer::HttpUp { .. } | CvmAnswer::SshUp | CvmAnswer::Starting { .. } | CvmAnswer::Ready),
                None,
            ) => (next, ShowCredentials::Yes),
            _ => (next, ShowCredentials::No),
        }
    }

    /// The driver that its readiness is judged by, once that is settled.
    fn driver(&self) -> Option<Driver> {
        self.choice.forced().or(self.record.cvm.driver)
    }

    /// When to ask again what it offers: until it is ready if a driver is forced, until one is chosen otherwise.
    fn surface_due(&self) -> Option<Timestamp> {
        let cvm = &self.record.cvm;
        let wanted = self.choice.forced().is_some() || cvm.driver.is_none();
        wanted.then(|| cvm.surfaced_at.map_or(Timestamp(0), |at| at + self.timeouts.probe))
    }

    /// When its controller VM is looked at next, in whatever way.
    fn cvm_due(&self) -> Timestamp {
        let probe = self.driver().map_or(Timestamp::NEVER, |_| self.probe_due().0);
        probe.min(self.surface_due().unwrap_or(Timestamp::NEVER))
    }
}

/// What to look at now. Nothing is looked at more often than the timeouts say.
pub fn node_looks(view: NodeView<'_>, now: Timestamp) -> NodeLooks {
    let record = view.record;
    let mut looks = NodeLooks::default();
    if record.trouble.as_ref().is_some_and(|t| t.next_at > now) {
        return looks;
    }
    let server = match record.phase {
        NodePhase::Requested => record.reimage && view.is_created(Slot::Server),
        NodePhase::Ordered | NodePhase::WaitingForBoot => true,
        NodePhase::Releasing => view
            .resource(Slot::Server)
            .is_some_and(|r| matches!(r.state, ResourceState::Created | ResourceState::Deleting)),
        NodePhase::Imaging | NodePhase::WaitingForCvm | NodePhase::Ready | NodePhase::Released | NodePhase::Failed => {
            false
        }
    };
    looks.server = server && view.server_due() <= now;

    let cvm = match record.phase {
        NodePhase::Imaging => view.may_be_installed(),
        NodePhase::WaitingForCvm => true,
        _ => false,
    };
    if cvm && !view.absent && record.cvm.refusals < REFUSALS_ALLOWED {
        let (due, show) = view.probe_due();
        looks.cvm.surface = view.surface_due().is_some_and(|due| due <= now);
        looks.cvm.probe = view.driver().filter(|_| due <= now).map(|driver| (driver, show));
    }
    looks
}

/// What comes next for a node.
pub fn decide_node(view: NodeView<'_>, now: Timestamp) -> NodeDecision {
    let record = view.record;
    if view.absent && !matches!(record.phase, NodePhase::Releasing | NodePhase::Released) {
        return Decision::MoveTo(NodePhase::Releasing, "the cluster is to be gone".into());
    }
    let decision = by_phase(view, now);
    // What was observed counts, however late the loop comes to it: a node that got ready while we were down is ready.
    if decision.is_settled() {
        return decision;
    }
    if let Some(failure) = passed_deadline(view, now) {
        return Decision::NeedsOperator(failure);
    }
    let decision = match record.trouble.as_ref().filter(|t| t.next_at > now) {
        Some(trouble) => Decision::Wait { reason: trouble.in_words(), until: trouble.next_at },
        None => decision,
    };
    decision.bounded(now, deadline_at(view))
}

fn by_phase(view: NodeView<'_>, now: Timestamp) -> NodeDecision {
    let record = view.record;
    match record.phase {
        NodePhase::Requested if record.reimage => prepare_another_boot(view),
        NodePhase::Requested => order(view),
        NodePhase::Ordered => follow_server(view),
        NodePhase::WaitingForBoot => await_script(view),
        NodePhase::Imaging => follow_installer(view),
        NodePhase::WaitingForCvm => follow_cvm(view, now),
        NodePhase::Releasing => release(view, now),
        NodePhase::Ready => rest("ready"),
        NodePhase::Released => rest("released"),
        NodePhase::Failed => rest("waits for the operator"),
    }
}

fn rest(reason: &str) -> NodeDecision {
    Decision::Wait { reason: reason.into(), until: Timestamp::NEVER }
}

/// The deadline of the present wait, from when it counts, and what it is called.
pub fn node_deadline(view: NodeView<'_>) -> Option<(Timestamp, Duration, &'static str)> {
    let (record, t) = (view.record, view.timeouts);
    match record.phase {
        NodePhase::Requested => Some((record.since, t.order, "its server to be ordered")),
        NodePhase::Ordered | NodePhase::WaitingForBoot => {
            Some((record.ordered_at.unwrap_or(record.since), t.order_to_script, "its first fetch of the boot script"))
        }
        NodePhase::Imaging | NodePhase::WaitingForCvm => {
            Some((record.boot.script_at.unwrap_or(record.since), t.node_ready, "its controller VM to be ready"))
        }
        NodePhase::Ready | NodePhase::Releasing | NodePhase::Released | NodePhase::Failed => None,
    }
}

fn passed_deadline(view: NodeView<'_>, now: Timestamp) -> Option<Failure> {
    let (from, limit, what) = node_deadline(view)?;
    if now.since(from) < limit {
        return None;
    }
    let hint = match view.record.phase {
        NodePhase::Requested => "see the last error above; `metalform retry` goes on where it stopped",
        NodePhase::Ordered | NodePhase::WaitingForBoot => {
            "check that the node's security groups and routes let it reach the boot plane; `metalform retry` boots it again"
        }
        NodePhase::Imaging => "look at the node's console; `metalform retry` boots and images it again",
        _ => "look at the controller VM on its host; `metalform retry` waits for it again, without imaging",
    };
    Some(Failure {
        in_phase: view.record.phase.as_str().into(),
        code: Failure::DEADLINE.into(),
        reason: format!("waited {} for {what}: {}", in_words(limit), view.record.reason),
        hint: hint.into(),
    })
}

fn failure(view: NodeView<'_>, code: &str, reason: String, hint: &str) -> NodeDecision {
    let in_phase = view.record.phase.as_str().into();
    Decision::NeedsOperator(Failure { in_phase, code: code.into(), reason, hint: hint.into() })
}

/// Addresses, then the interface that holds them, then the permission to boot, then the server: each needs the one before.
/// A server on its way out is not the one that is wanted: it is seen gone first.
fn order(view: NodeView<'_>) -> NodeDecision {
    if view.resource(Slot::Server).is_some_and(|r| r.state == ResourceState::Deleting) {
        return Decision::Do(NodeAction::Remove(Slot::Server));
    }
    for slot in [Slot::Mgmt, Slot::Ahv, Slot::Cvm, Slot::Interface] {
        if !view.is_made(slot) {
            return Decision::Do(NodeAction::Ensure(slot));
        }
    }
    if view.record.open_attempt().is_none() {
        return Decision::Do(NodeAction::OpenAttempt);
    }
    if !view.is_created(Slot::Server) {
        return Decision::Do(NodeAction::Ensure(Slot::Server));
    }
    Decision::MoveTo(NodePhase::Ordered, "the cloud provisions the server".into())
}

/// The way back from a failed boot: power off, open a new attempt, reinitialize. The server, its addresses and its
/// place on the bill stay the same. A server that the cloud itself failed to bring up can't be reinitialized (VPC
/// documentation: only when stopped, or failed with `cannot_reinitialize`): it is deleted, and ordered anew once it is
/// seen gone.
fn prepare_another_boot(view: NodeView<'_>) -> NodeDecision {
    if !view.is_created(Slot::Server) || view.is_server_of_the_open_attempt() {
        return order(view);
    }
    let Some(seen) = view.seen() else { return look_at_server(view) };
    match (seen.status, view.record.sent) {
        // Seen in another state after the call was sent: it arrived, whatever became of its answer.
        (Some(ServerStatus::ComingUp | ServerStatus::Running), Some(call))
            if call.what == PowerAction::Reinitialize =>
        {
            Decision::MoveTo(NodePhase::Ordered, "the cloud reinitializes the server".into())
        }
        (Some(ServerStatus::Stopped | ServerStatus::Failed), Some(call))
            if call.what == PowerAction::Reinitialize && !view.left_no_trace(call) =>
        {
            Decision::Wait { reason: "waits for the server to be reinitialized".into(), until: view.server_due() }
        }
        (Some(ServerStatus::Failed), _) if !seen.why.as_deref().unwrap_or_default().contains("cannot_reinitialize") => {
            Decision::Do(NodeAction::Remove(Slot::Server))
        }
        (Some(ServerStatus::Stopped | ServerStatus::Failed), _) if view.record.open_attempt().is_none() => {
            Decision::Do(NodeAction::OpenAttempt)
        }
        (Some(ServerStatus::Stopped | ServerStatus::Failed), _) => Decision::Do(NodeAction::Reinitialize),
        (Some(ServerStatus::Running), _) => stop_once(view),
        (None, _) => Decision::Do(NodeAction::Remove(Slot::Server)),
        (
            Some(
                ServerStatus::ComingUp
                | ServerStatus::Stopping
                | ServerStatus::Maintenance
                | ServerStatus::Deleting
                | ServerStatus::Unknown,
            ),
            _,
        ) => Decision::Wait { reason: "waits for the server to settle".into(), until: view.server_due() },
    }
}

fn look_at_server(view: NodeView<'_>) -> NodeDecision {
    Decision::Wait { reason: "looks at the server".into(), until: view.server_due() }
}

fn stop_once(view: NodeView<'_>) -> NodeDecision {
    match view.record.sent {
        Some(call) if call.what == PowerAction::Stop && !view.left_no_trace(call) => {
            Decision::Wait { reason: "waits for the server to power off".into(), until: view.server_due() }
        }
        _ => Decision::Do(NodeAction::Stop),
    }
}

fn follow_server(view: NodeView<'_>) -> NodeDecision {
    if view.record.boot.script_at.is_some() {
        return Decision::MoveTo(NodePhase::Imaging, "the boot script was fetched".into());
    }
    let Some(seen) = view.seen() else { return look_at_server(view) };
    match seen.status {
        Some(ServerStatus::Running) => Decision::MoveTo(NodePhase::WaitingForBoot, "the server is powered on".into()),
        Some(ServerStatus::Failed) => failed_server(view, seen),
        None => gone_server(view),
        Some(
            ServerStatus::ComingUp
            | ServerStatus::Stopping
            | ServerStatus::Stopped
            | ServerStatus::Maintenance
            | ServerStatus::Deleting
            | ServerStatus::Unknown,
        ) => Decision::Wait { reason: "the cloud provisions the server".into(), until: view.server_due() },
    }
}

fn gone_server(view: NodeView<'_>) -> NodeDecision {
    failure(view, "server_gone", "the cloud knows the server no more".into(), "`metalform retry` orders another")
}

fn failed_server(view: NodeView<'_>, seen: &ServerSeen) -> NodeDecision {
    let why = seen.why.as_deref().unwrap_or("no reason given");
    failure(
        view,
        "server_failed",
        format!("the cloud could not bring up the server: {why}"),
        "if it is capacity, try another zone or profile; `metalform retry` orders the server anew",
    )
}

fn await_script(view: NodeView<'_>) -> NodeDecision {
    if view.record.boot.script_at.is_some() {
        return Decision::MoveTo(NodePhase::Imaging, "the boot script was fetched".into());
    }
    let reason = match view.seen() {
        Some(seen) if seen.status == Some(ServerStatus::Failed) => return failed_server(view, seen),
        Some(seen) if seen.status.is_none() => return gone_server(view),
        Some(seen) if seen.status == Some(ServerStatus::Stopped) => {
            "the server is powered off in the cloud; nothing of it was heard".into()
        }
        _ => "waits for the first fetch of the boot script".into(),
    };
    Decision::Wait { reason, until: view.server_due() }
}

const INSTALLER_HINT: &str = "mend what it names; `metalform retry` images the node again";

fn follow_installer(view: NodeView<'_>) -> NodeDecision {
    let boot = &view.record.boot;
    if boot.installed_at.is_some() {
        return Decision::MoveTo(NodePhase::WaitingForCvm, "installed".into());
    }
    // Whatever else it says: a controller VM that answers was installed, and must not be imaged again.
    if view.is_cvm_final() {
        return Decision::MoveTo(NodePhase::WaitingForCvm, "its controller VM answers".into());
    }
    if let Some(report) = boot.report.as_ref().filter(|report| report.has_failed()) {
        // Where the machine says which of its findings stopped it, that is the failure.
        if let Some(found) = report.failure() {
            let hint = if found.hint.is_empty() { INSTALLER_HINT } else { &found.hint };
            return failure(view, &found.code, format!("{}: {}", found.subject, found.reason), hint);
        }
        let reason = format!("the installer failed: {}", report.message);
        return failure(view, "installer_failed", reason, INSTALLER_HINT);
    }
    let reason = match (&boot.report, boot.config_at, &boot.refused) {
        (Some(r), _, _) => match r.percent {
            Some(p) => format!("{} {p:.0} %: {}", r.phase.as_str(), r.message),
            None => format!("{}: {}", r.phase.as_str(), r.message),
        },
        (None, Some(_), _) => "the node has its configuration; no report yet".into(),
        (None, None, Some(refused)) => format!("the node can't get {} [{}]", refused.file, refused.code),
        (None, None, None) if boot.initrd_at.is_some() => {
            "kernel and initrd are sent; the node hasn't asked for its configuration".into()
        }
        (None, None, None) if boot.kernel_at.is_some() => "the kernel is sent; the initrd isn't yet".into(),
        (None, None, None) => "the script was fetched; the kernel wasn't yet".into(),
    };
    // Where nothing is probed, reports wake the loop.
    let until = if view.may_be_installed() { view.cvm_due() } else { Timestamp::NEVER };
    Decision::Wait { reason, until }
}

fn deadline_at(view: NodeView<'_>) -> Timestamp {
    node_deadline(view).map_or(Timestamp::NEVER, |(from, limit, _)| from + limit)
}

fn follow_cvm(view: NodeView<'_>, now: Timestamp) -> NodeDecision {
    let cvm = &view.record.cvm;
    if cvm.answer == Some(CvmAnswer::Ready) {
        return Decision::MoveTo(NodePhase::Ready, "its controller VM is ready".into());
    }
    if let Some(CvmAnswer::OtherKey { seen }) = &cvm.answer {
        return failure(
            view,
            Failure::KEY_CHANGED,
            format!("the controller VM shows the key {seen}, not the one of its first answer"),
            "if the node was re-imaged outside of Metalform, `metalform retry`; if not, something else answers at its address",
        );
    }
    if cvm.refusals >= REFUSALS_ALLOWED || cvm.answer == Some(CvmAnswer::LockedOut) {
        let answer = cvm.answer.as_ref().map(CvmAnswer::in_words).unwrap_or_default();
        let is_locked = cvm.answer == Some(CvmAnswer::LockedOut);
        return failure(
            view,
            if is_locked { Failure::LOCKED } else { "credentials_refused" },
            format!("the controller VM won't let us in: {answer}"),
            match view.driver() {
                Some(Driver::CvmSsh) => {
                    "name the password of its user nutanix in [nutanix] cvm_password_file, restart the service, wait for a \
                     lock-out to pass, then `metalform retry`"
                }
                _ => {
                    "name the password of its Prism in [nutanix] prism_password_file, restart the service, wait for a lock-out \
                     to pass, then `metalform retry`"
                }
            },
        );
    }
    let not_offered = cvm.others_since.zip(view.choice.forced().zip(cvm.surface));
    if let Some((since, (driver, surface))) = not_offered {
        let patience = since + view.timeouts.not_offered;
        if now >= patience {
            return failure(
                view,
                Failure::NOT_OFFERED,
                format!("the controller VM doesn't offer {driver}, which is asked for ({})", surface.in_words()),
                "`metalform retry CLUSTER --formation auto` takes what the nodes offer; the node isn't imaged again",
            );
        }
    }
    let reason = match (&cvm.answer, cvm.surface) {
        (Some(answer), _) => format!("waits for the controller VM: {}", answer.in_words()),
        (None, Some(surface)) => format!("waits for the controller VM ({})", surface.in_words()),
        (None, None) => "waits for the controller VM".into(),
    };
    Decision::Wait { reason, until: view.cvm_due() }
}

/// The reverse of the order in which things were made. Each must be seen gone before the next is touched: an interface
/// can't be deleted while a server hangs on it, nor an address while an interface holds it.
fn release(view: NodeView<'_>, now: Timestamp) -> NodeDecision {
    if let Some(server) = view.resource(Slot::Server).filter(|r| !r.is_gone()) {
        return release_server(view, server, now);
    }
    for slot in [Slot::Interface, Slot::Cvm, Slot::Ahv, Slot::Mgmt] {
        if view.resource(slot).is_some_and(|r| !r.is_gone()) {
            return Decision::Do(NodeAction::Remove(slot));
        }
    }
    Decision::MoveTo(NodePhase::Released, "nothing of it is left in the cloud".into())
}

/// A server must be powered off to be deleted. One that neither runs nor stops for longer than a boot may take is tried
/// anyway: the cloud's refusal is then told, and tried again.
fn release_server(view: NodeView<'_>, server: &Resource, now: Timestamp) -> NodeDecision {
    let remove = Decision::Do(NodeAction::Remove(Slot::Server));
    let patient = now.since(view.record.since) < view.timeouts.order_to_script;
    let under_way = now.since(server.changed_at) < view.timeouts.delete;
    let wait = |reason: &str| Decision::Wait { reason: reason.into(), until: view.server_due() };
    match (server.state, view.seen().map(|seen| seen.status)) {
        // Without an id there is nothing to look at: its name is looked up instead.
        _ if server.cloud_id.is_none() => remove,
        (ResourceState::Created, None) => look_at_server(view),
        (ResourceState::Created, Some(Some(ServerStatus::Running))) => stop_once(view),
        (ResourceState::Created, Some(Some(ServerStatus::ComingUp | ServerStatus::Stopping))) if patient => {
            wait("waits until the server can be powered off")
        }
        (ResourceState::Deleting, Some(Some(_))) if under_way => wait("waits for the server to be gone"),
        (
            ResourceState::Intended | ResourceState::Created | ResourceState::Deleting | ResourceState::Gone,
            None | Some(_),
        ) => remove,
    }
}
