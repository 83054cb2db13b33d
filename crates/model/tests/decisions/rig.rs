//! Nodes in any state, made in one line.

pub use crate::cluster_rig::*;
use metalform_model::*;
use std::{net::Ipv4Addr, time::Duration};
use uuid::Uuid;

/// The time at which everything begins.
pub const T0: Timestamp = Timestamp::from_seconds(1_800_000_000);

pub fn minutes(n: u64) -> Duration {
    Duration::from_secs(60 * n)
}

pub fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Addresses of a node, in the order of their slots.
pub const ADDRESSES: [Slot; 3] = [Slot::Mgmt, Slot::Ahv, Slot::Cvm];
/// A node's slots in the order in which they are made.
pub const SLOTS: [Slot; 5] = [Slot::Mgmt, Slot::Ahv, Slot::Cvm, Slot::Interface, Slot::Server];

pub const STATUSES: [ServerStatus; 8] = [
    ServerStatus::ComingUp,
    ServerStatus::Running,
    ServerStatus::Stopping,
    ServerStatus::Stopped,
    ServerStatus::Maintenance,
    ServerStatus::Deleting,
    ServerStatus::Failed,
    ServerStatus::Unknown,
];

pub const NODE_PHASES: [NodePhase; 9] = [
    NodePhase::Requested,
    NodePhase::Ordered,
    NodePhase::WaitingForBoot,
    NodePhase::Imaging,
    NodePhase::WaitingForCvm,
    NodePhase::Ready,
    NodePhase::Releasing,
    NodePhase::Released,
    NodePhase::Failed,
];

pub const CLUSTER_PHASES: [ClusterPhase; 8] = [
    ClusterPhase::WaitingForNodes,
    ClusterPhase::Forming,
    ClusterPhase::Verifying,
    ClusterPhase::Ready,
    ClusterPhase::NeedsOperator,
    ClusterPhase::Releasing,
    ClusterPhase::Released,
    ClusterPhase::Failed,
];

pub fn node_plan(server_id: &str, existing: bool) -> NodePlan {
    NodePlan {
        server_id: server_id.into(),
        server_name: server_id.into(),
        mgmt_ip: None,
        ahv_ip: None,
        cvm_ip: None,
        role: Role::ComputeStorage,
        data_drives: Vec::new(),
        data_drives_by: ChosenBy::Plan,
        node_position: "A".into(),
        existing,
        placement: (!existing).then(|| Placement {
            vpc: "r006-vpc".into(),
            subnet: "0717-subnet".into(),
            zone: "us-south-1".into(),
            profile: "bx2d-metal-96x384".into(),
            ssh_keys: Vec::new(),
            security_groups: Vec::new(),
        }),
    }
}

pub fn resource(slot: Slot, state: ResourceState) -> Resource {
    Resource {
        server_id: (slot != Slot::Vip).then(|| "server-001".into()),
        slot,
        name: format!("mf-0123456789-server-001-{}", slot.as_str()),
        state,
        cloud_id: (state != ResourceState::Intended).then(|| format!("id-{}", slot.as_str())),
        subnet: "0717-subnet".into(),
        address: (slot.is_address() && state != ResourceState::Intended).then_some(Ipv4Addr::new(10, 240, 0, 11)),
        in_doubt: state == ResourceState::Intended,
        lookups_left: 3,
        changed_at: T0,
    }
}

/// A node and everything its decision depends on.
#[derive(Debug, Clone)]
pub struct Node {
    pub plan: NodePlan,
    pub record: NodeRecord,
    pub resources: Vec<Resource>,
    pub absent: bool,
    pub choice: FormationChoice,
    pub timeouts: Timeouts,
}

impl Node {
    /// Just accepted.
    pub fn new() -> Node {
        Node {
            plan: node_plan("server-001", false),
            record: NodeRecord::new("server-001", false, T0),
            resources: Vec::new(),
            absent: false,
            choice: FormationChoice::Prism,
            timeouts: Timeouts::default(),
        }
    }

    /// With everything made, a boot attempt open, in a phase since `T0`.
    pub fn in_phase(phase: NodePhase) -> Node {
        let mut node = Node::new();
        for slot in SLOTS {
            node.make(slot);
        }
        node.open_attempt(1);
        node.record.ordered_at = Some(T0);
        node.record.enter(phase, "for the test".into(), T0);
        node
    }

    pub fn make(&mut self, slot: Slot) {
        self.resources.retain(|r| r.slot != slot);
        self.resources.push(resource(slot, ResourceState::Created));
        let address = Some(Ipv4Addr::new(10, 240, 0, 11));
        match slot {
            Slot::Mgmt => self.record.mgmt_ip = address,
            Slot::Ahv => self.record.ahv_ip = address,
            Slot::Cvm => self.record.cvm_ip = address,
            _ => {}
        }
    }

    pub fn open_attempt(&mut self, n: u32) {
        self.record.attempt = Some(BootAttempt { id: attempt_id(n), n, opened_at: T0, closed_at: None, inline: None });
    }

    /// The server was looked at.
    pub fn saw(mut self, status: impl Into<Option<ServerStatus>>, at: Timestamp) -> Node {
        self.record.fold_server(ServerSeen { at, status: status.into(), why: None });
        self
    }

    /// A call was recorded as sent.
    pub fn sent(mut self, what: PowerAction, at: Timestamp) -> Node {
        self.record.sent = Some(PowerCall { what, at });
        self
    }

    /// The controller VM was probed, and what it offers was looked at, as the loop does both at once.
    pub fn probed(self, answer: CvmAnswer, at: Timestamp) -> Node {
        let mut node = self.offers(surface(Offer::Refused, Offer::Offered, Offer::Refused), at);
        node.record.fold_probe(Driver::Prism, answer, Some("key".into()), at);
        node
    }

    /// What the controller VM offers was looked at.
    pub fn offers(mut self, surface: Surface, at: Timestamp) -> Node {
        self.record.fold_surface(surface, self.choice, self.timeouts.formation_settle, at);
        self
    }

    /// The boot plane saw something of the first attempt.
    pub fn showed(mut self, seen: Seen, at: Timestamp) -> Node {
        self.record.fold_evidence(&evidence(1, seen, at));
        self
    }

    pub fn with(mut self, change: impl FnOnce(&mut Node)) -> Node {
        change(&mut self);
        self
    }

    pub fn view(&self) -> NodeView<'_> {
        NodeView {
            plan: &self.plan,
            record: &self.record,
            resources: &self.resources,
            absent: self.absent,
            choice: self.choice,
            timeouts: &self.timeouts,
        }
    }

    pub fn decide(&self, now: Timestamp) -> NodeDecision {
        decide_node(self.view(), now)
    }

    pub fn looks(&self, now: Timestamp) -> NodeLooks {
        node_looks(self.view(), now)
    }

    /// With what its controller VM is probed now, if it is.
    pub fn shows(&self, now: Timestamp) -> Option<ShowCredentials> {
        self.looks(now).cvm.probe.map(|(_, show)| show)
    }
}

pub const OFFERS: [Offer; 4] = [Offer::Refused, Offer::Silent, Offer::Starting, Offer::Offered];

pub const CHOICES: [FormationChoice; 4] =
    [FormationChoice::Auto, FormationChoice::CvmSsh, FormationChoice::Prism, FormationChoice::Foundation];

pub fn surface(cvm_ssh: Offer, prism: Offer, foundation: Offer) -> Surface {
    Surface { cvm_ssh, prism, foundation }
}

/// Everything that a controller VM may offer.
pub fn surfaces() -> Vec<Surface> {
    let each = |ssh| OFFERS.into_iter().flat_map(move |prism| OFFERS.map(|foundation| surface(ssh, prism, foundation)));
    OFFERS.into_iter().flat_map(each).collect()
}

pub fn attempt_id(n: u32) -> Uuid {
    Uuid::from_u128(u128::from(n))
}

pub fn evidence(attempt: u32, seen: Seen, at: Timestamp) -> Evidence {
    Evidence {
        cluster_id: Uuid::nil(),
        server_id: "server-001".into(),
        attempt_id: attempt_id(attempt),
        at,
        source: Ipv4Addr::new(10, 240, 0, 11).into(),
        seen,
    }
}

pub fn report(seq: u64, phase: ReportPhase) -> Report {
    let status = if phase == ReportPhase::Failed { ReportStatus::Failed } else { ReportStatus::Running };
    Report {
        seq,
        phase,
        status,
        percent: None,
        message: format!("message {seq}"),
        log: Vec::new(),
        facts: Default::default(),
    }
}

/// A decision in one word: `do ensure vni`, `move ordered`, `stop deadline`, `wait 10s`.
pub fn word(decision: &NodeDecision, now: Timestamp) -> String {
    match decision {
        Decision::Do(NodeAction::Ensure(slot)) => format!("do ensure {}", slot.as_str()),
        Decision::Do(NodeAction::Remove(slot)) => format!("do remove {}", slot.as_str()),
        Decision::Do(NodeAction::OpenAttempt) => "do open attempt".into(),
        Decision::Do(NodeAction::Stop) => "do stop".into(),
        Decision::Do(NodeAction::Reinitialize) => "do reinitialize".into(),
        Decision::MoveTo(phase, _) => format!("move {}", phase.as_str()),
        Decision::NeedsOperator(failure) => format!("fail {}", failure.code),
        Decision::Wait { until, .. } => wait_word(*until, now),
    }
}

pub fn wait_word(until: Timestamp, now: Timestamp) -> String {
    match until {
        Timestamp::NEVER => "wait".into(),
        until => format!("wait {}s", until.since(now).as_secs()),
    }
}
