//! Clusters in any state, made in one line.

use crate::rig::*;
use metalform_model::*;
use std::net::Ipv4Addr;
use uuid::Uuid;

pub const ATTEMPT_STATES: [FormationState; 5] = [
    FormationState::LookFirst,
    FormationState::Unasked,
    FormationState::InDoubt,
    FormationState::Accepted,
    FormationState::Cleaning,
];

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
    /// With nodes in these phases whose controller VMs offer Prism, its address reserved, and its first lines told.
    pub fn of(phases: &[NodePhase]) -> Cluster {
        let ids: Vec<String> = (1..=phases.len()).map(server).collect();
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
        let nodes = ids.iter().zip(phases).enumerate().map(|(n, (id, phase))| {
            let mut node = NodeRecord::new(id, false, T0);
            node.cvm_ip = Some(cvm_ip(n + 1));
            node.fold_surface(
                surface(Offer::Refused, Offer::Offered, Offer::Refused),
                FormationChoice::Auto,
                minutes(1),
                T0,
            );
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

    /// Three ready nodes, of which the first is asked, with the attempt in this state since `T0`; by Prism.
    pub fn forming(state: FormationState) -> Cluster {
        let mut cluster = Cluster::of(&[NodePhase::Ready; 3]);
        cluster.record.enter(ClusterPhase::Forming, "for the test".into(), T0);
        let members = cluster.nodes.iter().map(|n| n.server_id.clone()).collect();
        let mut attempt = FormationAttempt::new(1, Driver::Prism, members, state, T0);
        attempt.doubt = "asked, and nothing came back".into();
        cluster.record.formation = Some(attempt);
        cluster
    }

    /// The first node was asked at `T0` over SSH, after every member was seen free and secured.
    pub fn asked(state: FormationState) -> Cluster {
        let mut cluster = Cluster::forming(state).by(Driver::CvmSsh).fit().secured();
        let attempt = cluster.attempt();
        (attempt.ours, attempt.asked_at) = (true, Some(T0));
        attempt.job = Some(FormationJob {
            server_id: server(1),
            driver: Driver::CvmSsh,
            name: "create-1".into(),
            session: None,
            read: 0,
        });
        cluster
    }

    /// A create of ours failed at `T0`, and this was the last step of taking down what it left.
    pub fn cleaning(step: Option<CleanStep>) -> Cluster {
        let mut cluster = Cluster::asked(FormationState::Cleaning);
        cluster.attempt().cleaning = Some(Cleaning { why: "it failed".into(), since: T0, step, at: T0 });
        cluster
    }

    pub fn by(mut self, driver: Driver) -> Cluster {
        self.attempt().driver = driver;
        self
    }

    /// The checks before create hold.
    pub fn fit(self) -> Cluster {
        self.checked(&[true], T0, T0)
    }

    /// The checks before create came out like this, and were first made then.
    pub fn checked(mut self, checks: &[bool], since: Timestamp, at: Timestamp) -> Cluster {
        let checks = checks.iter().map(|ok| a_check("clocks", *ok, "9 s apart"));
        self.attempt().before = Some(ChecksBefore { checks: checks.collect(), at, since });
        self
    }

    /// Every controller VM and every host has a password of its own since `T0`.
    pub fn secured(mut self) -> Cluster {
        for id in self.attempt().members.clone() {
            for place in [SecurePlace::Cvm(id.clone()), SecurePlace::Host(id)] {
                self.record.fold_secure(&place, &SecureOutcome::Works { beside: Vec::new() }, T0);
            }
        }
        self
    }

    /// Prism too.
    pub fn all_secured(self) -> Cluster {
        let mut cluster = self.secured();
        cluster.record.fold_secure(&SecurePlace::Prism, &SecureOutcome::Works { beside: Vec::new() }, T0);
        cluster
    }

    pub fn attempt(&mut self) -> &mut FormationAttempt {
        self.record.formation.as_mut().expect("it forms")
    }

    /// What a look at `T0` showed.
    pub fn looked(self, vip: Option<ClusterSeen>, members: &[MemberSays]) -> Cluster {
        self.looked_at(T0, vip, members)
    }

    /// What a look showed. What the last look showed of the create is forgotten.
    pub fn looked_at(mut self, at: Timestamp, vip: Option<ClusterSeen>, members: &[MemberSays]) -> Cluster {
        let attempt = self.attempt();
        let says = attempt.members.iter().zip(members);
        let members = says.map(|(id, says)| MemberSeen { server_id: id.clone(), says: says.clone() }).collect();
        attempt.looked_at = Some(at);
        attempt.seen = Some(FormationSeen { vip, members, ..Default::default() });
        self
    }

    /// What the same look showed of the create.
    pub fn job(mut self, says: JobSays) -> Cluster {
        self.attempt().seen.as_mut().expect("a look").job = Some(says);
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

    /// It stopped for the operator in this phase, and the operator says "again".
    pub fn retried(mut self, in_phase: ClusterPhase, choice: FormationChoice, now: Timestamp) -> Cluster {
        self.record.failure = Some(Failure {
            in_phase: in_phase.as_str().into(),
            code: "x".into(),
            reason: "y".into(),
            hint: "z".into(),
        });
        self.record.enter(ClusterPhase::NeedsOperator, "y".into(), now);
        self.record.retry(choice, &[], now);
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

    /// The decision is this one, in a word.
    #[track_caller]
    pub fn check(&self, now: Timestamp, expected: &str) {
        let decision = self.decide(now);
        assert_eq!(cluster_word(&decision, now), expected, "{decision:?}");
    }

    /// What a person reads of the decision.
    #[track_caller]
    pub fn reason(&self, now: Timestamp) -> String {
        match self.decide(now) {
            Decision::Wait { reason, .. } | Decision::MoveTo(_, reason) => reason,
            Decision::NeedsOperator(failure) => failure.reason,
            Decision::Do(action) => panic!("{action:?}"),
        }
    }
}

/// A decision in one word: `do Ask`, `move verifying`, `stop deadline`, `wait 2s`.
pub fn cluster_word(decision: &ClusterDecision, now: Timestamp) -> String {
    match decision {
        Decision::Do(ClusterAction::Clean { .. }) => "do Clean".into(),
        Decision::Do(action) => format!("do {action:?}"),
        Decision::MoveTo(phase, _) => format!("move {}", phase.as_str()),
        Decision::NeedsOperator(failure) => format!("stop {}", failure.code),
        Decision::Wait { until, .. } => wait_word(*until, now),
    }
}

pub fn a_check(name: &str, ok: bool, seen: &str) -> Check {
    Check { name: name.into(), ok, seen: seen.into(), refused: false }
}

pub fn server(n: usize) -> String {
    format!("server-{n:03}")
}

pub fn cvm_ip(n: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 240, 0, 10 + u8::try_from(n).expect("a small cluster"))
}

/// What Prism says of a cluster: its name and status, and no members.
pub fn cluster_seen(name: Option<&str>, status: Option<&str>) -> ClusterSeen {
    ClusterSeen {
        name: name.map(Into::into),
        status: status.map(Into::into),
        num_nodes: Some(3),
        ..ClusterSeen::default()
    }
}

/// What a shell on a controller VM says of a cluster: its members, and no name.
pub fn cluster_of(members: &[usize]) -> ClusterSeen {
    ClusterSeen { members: members.iter().map(|n| cvm_ip(*n)).collect(), ..ClusterSeen::default() }
}

/// It is in a cluster of all our three members.
pub fn in_ours() -> MemberSays {
    MemberSays::InCluster(cluster_of(&[1, 2, 3]))
}

pub fn free() -> MemberSays {
    MemberSays::Unconfigured
}

pub fn nothing() -> MemberSays {
    MemberSays::Nothing { error: "refused".into() }
}

pub fn failed(advice: Advice) -> JobSays {
    JobSays::Failed { line: "no disk".into(), advice }
}

pub fn unknown() -> JobSays {
    JobSays::Unknown { error: "no session".into() }
}

/// It is in a cluster of that name, as Prism says it.
pub fn named(name: &str, status: &str) -> MemberSays {
    MemberSays::InCluster(cluster_seen(Some(name), Some(status)))
}

pub fn vip_says(status: &str) -> Option<ClusterSeen> {
    Some(cluster_seen(Some("prod"), Some(status)))
}

pub fn after(n: u64) -> Timestamp {
    T0 + minutes(n)
}

/// Half of a cluster that nobody has named.
pub fn half() -> Vec<MemberSays> {
    let of_two = || MemberSays::InCluster(cluster_of(&[1, 2]));
    vec![of_two(), of_two(), free()]
}
