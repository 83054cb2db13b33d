//! Nodes and clusters in any state, made in one line.

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
        self.record.attempt = Some(BootAttempt { id: attempt_id(n), n, opened_at: T0, closed_at: None });
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

    /// The controller VM was probed.
    pub fn probed(mut self, answer: CvmAnswer, at: Timestamp) -> Node {
        self.record.fold_probe(answer, Some("key".into()), at);
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
            timeouts: &self.timeouts,
        }
    }

    pub fn decide(&self, now: Timestamp) -> NodeDecision {
        decide_node(self.view(), now)
    }

    pub fn looks(&self, now: Timestamp) -> NodeLooks {
        node_looks(self.view(), now)
    }
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

/// A cluster and everything its decision depends on.
#[derive(Debug, Clone)]
pub struct Cluster {
    pub plan: Plan,
    pub record: ClusterRecord,
    pub intents: Intents,
    pub nodes: Vec<NodeRecord>,
    pub vip: Option<Resource>,
    pub timeouts: Timeouts,
}

impl Cluster {
    /// With nodes in these phases, its address reserved, and its first lines told.
    pub fn of(phases: &[NodePhase]) -> Cluster {
        let ids: Vec<String> = (1..=phases.len()).map(|n| format!("server-{n:03}")).collect();
        let plan = Plan {
            cluster: ClusterPlan {
                name: "prod".into(),
                external_ip: Ipv4Addr::new(10, 240, 0, 200),
                redundancy_factor: 2,
                cluster_functions: vec!["AOS".into()],
                timezone: "UTC".into(),
                dns_servers: Vec::new(),
                ntp_servers: Vec::new(),
                formation: FormationChoice::Auto,
                min_nodes: 3,
                start: Start::WhenReady,
            },
            nodes: ids.iter().map(|id| node_plan(id, false)).collect(),
        };
        let mut record = ClusterRecord::new(Uuid::from_u128(7), &plan, T0);
        record.nodes_waiting_told = true;
        let nodes = ids.iter().zip(phases).map(|(id, phase)| {
            let mut node = NodeRecord::new(id, false, T0);
            node.enter(*phase, "for the test".into(), T0);
            node
        });
        Cluster {
            record,
            intents: Intents::default(),
            nodes: nodes.collect(),
            vip: Some(resource(Slot::Vip, ResourceState::Created)),
            timeouts: Timeouts::default(),
            plan,
        }
    }

    /// Three ready nodes, of which the first is asked, with the attempt in this state since `T0`.
    pub fn forming(state: FormationState) -> Cluster {
        let mut cluster = Cluster::of(&[NodePhase::Ready; 3]);
        cluster.record.enter(ClusterPhase::Forming, "for the test".into(), T0);
        cluster.record.formation = Some(FormationAttempt {
            n: 1,
            driver: "prism".into(),
            members: cluster.nodes.iter().map(|n| n.server_id.clone()).collect(),
            entry: 0,
            state,
            doubt: "asked, and nothing came back".into(),
            asked_at: None,
            started_at: T0,
            looked_at: None,
            seen: None,
            refusals: Vec::new(),
        });
        cluster
    }

    pub fn attempt(&mut self) -> &mut FormationAttempt {
        self.record.formation.as_mut().expect("it forms")
    }

    /// What a look at `T0` showed.
    pub fn looked(mut self, vip: Option<ClusterSeen>, members: &[MemberSays]) -> Cluster {
        let attempt = self.attempt();
        let says = attempt.members.iter().zip(members);
        let members = says.map(|(id, says)| MemberSeen { server_id: id.clone(), says: says.clone() }).collect();
        attempt.looked_at = Some(T0);
        attempt.seen = Some(FormationSeen { vip, members });
        self
    }

    pub fn with(mut self, change: impl FnOnce(&mut Cluster)) -> Cluster {
        change(&mut self);
        self
    }

    pub fn fail_node(mut self, place: usize, code: &str, reason: &str) -> Cluster {
        let node = &mut self.nodes[place];
        node.failure = Some(Failure {
            in_phase: "imaging".into(),
            code: code.into(),
            reason: reason.into(),
            hint: "a hint".into(),
        });
        node.enter(NodePhase::Failed, reason.into(), T0);
        self
    }

    pub fn decide(&self, now: Timestamp) -> ClusterDecision {
        let nodes: Vec<&NodeRecord> = self.nodes.iter().collect();
        decide_cluster(self.view(&nodes), now)
    }

    pub fn looks(&self, now: Timestamp) -> ClusterLooks {
        let nodes: Vec<&NodeRecord> = self.nodes.iter().collect();
        cluster_looks(self.view(&nodes), now)
    }

    pub fn view<'a>(&'a self, nodes: &'a [&'a NodeRecord]) -> ClusterView<'a> {
        ClusterView {
            plan: &self.plan,
            record: &self.record,
            intents: self.intents,
            nodes,
            vip: self.vip.as_ref(),
            timeouts: &self.timeouts,
        }
    }
}

pub fn cluster_seen(name: Option<&str>, status: Option<&str>) -> ClusterSeen {
    ClusterSeen { name: name.map(Into::into), status: status.map(Into::into), num_nodes: Some(3) }
}
