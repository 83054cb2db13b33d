//! Formation: an attempt at creating the cluster on its prepared nodes, and what was seen of it.

use crate::{Driver, Timestamp};
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// One attempt at creating the cluster on its prepared nodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FormationAttempt {
    /// 1 for the first; every retry by the operator is another.
    pub n: u32,
    /// Which driver.
    pub driver: Driver,
    /// The nodes that take part, by server id, in the order they are asked.
    pub members: Vec<String>,
    /// Index into `members` of the node that is asked (next).
    pub entry: usize,
    /// How far it has come.
    pub state: FormationState,
    /// What the node at `entry` said when it was asked and nothing certain came back.
    pub doubt: String,
    /// When the node at `entry` was asked.
    #[serde(default)]
    pub asked_at: Option<Timestamp>,
    /// When the attempt began: its deadline counts from here.
    pub started_at: Timestamp,
    /// The last look at the forming cluster.
    pub looked_at: Option<Timestamp>,
    /// What was seen then.
    pub seen: Option<FormationSeen>,
    /// The nodes that failed to take the request, or to carry it out, and what they said.
    pub refusals: Vec<Refusal>,
    /// How many creates of this attempt began and failed.
    #[serde(default)]
    pub round: u32,
    /// The checks before create, as last seen.
    #[serde(default)]
    pub before: Option<ChecksBefore>,
    /// Whether every member was seen in no cluster before this deployment first asked one. What is there since then, with
    /// our members and none else, is of our making and may be taken down.
    #[serde(default)]
    pub ours: bool,
    /// Where the create was last started, and under which name; for drivers that leave a trace on the node.
    #[serde(default)]
    pub job: Option<FormationJob>,
    /// How far the clean-up is, in the state `cleaning`.
    #[serde(default)]
    pub cleaning: Option<Cleaning>,
    /// Whether what can only be set on a finished cluster is set.
    #[serde(default)]
    pub settled: bool,
    /// How many looks and checks in a row had their password refused. Two, and no more are made.
    #[serde(default)]
    pub refusals_in_a_row: u32,
}

impl FormationAttempt {
    /// A first attempt.
    pub fn new(n: u32, driver: Driver, members: Vec<String>, state: FormationState, now: Timestamp) -> Self {
        FormationAttempt {
            n,
            driver,
            members,
            entry: 0,
            state,
            doubt: String::new(),
            asked_at: None,
            started_at: now,
            looked_at: None,
            seen: None,
            refusals: Vec::new(),
            round: 0,
            before: None,
            ours: false,
            job: None,
            cleaning: None,
            settled: false,
            refusals_in_a_row: 0,
        }
    }

    /// The next attempt after this one, by the operator's word: it looks before it asks, and remembers what it needs to
    /// tell its own traces from others'.
    pub fn another(&self, driver: Driver, now: Timestamp) -> Self {
        FormationAttempt {
            ours: self.ours,
            job: self.job.clone(),
            asked_at: self.asked_at,
            ..FormationAttempt::new(self.n + 1, driver, self.members.clone(), FormationState::LookFirst, now)
        }
    }
}

/// How far an attempt has come. The create call may be made once only: it is recorded before it is sent, and sent to
/// another node not before every member says that it belongs to no cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FormationState {
    /// Something may be there already: every member is looked at before the node at `entry` is asked.
    LookFirst,
    /// The node at `entry` may be asked.
    Unasked,
    /// It was asked, or is about to be; what became of it isn't known.
    InDoubt,
    /// A node has taken the request.
    Accepted,
    /// A create failed: what it left is being taken down, so that the next may be tried on clean nodes.
    Cleaning,
}

/// A detached create on a node: its folder there proves that it was started, and holds what it printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormationJob {
    /// The node.
    pub server_id: String,
    /// The driver that knows how to look at it.
    pub driver: Driver,
    /// The job's name there: `[a-z0-9-]+`, never used twice.
    pub name: String,
    /// The session under which the node works on it, for drivers that have such.
    #[serde(default)]
    pub session: Option<String>,
    /// How many bytes of its output stand in the timeline.
    #[serde(default)]
    pub read: u64,
}

/// The checks before create.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChecksBefore {
    /// What was seen last.
    pub checks: Vec<Check>,
    /// When.
    pub at: Timestamp,
    /// When they were first made: patience counts from here.
    pub since: Timestamp,
}

/// Taking down what a failed create left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cleaning {
    /// What the failed create said.
    pub why: String,
    /// When the clean-up began.
    pub since: Timestamp,
    /// The last step taken.
    pub step: Option<CleanStep>,
    /// When.
    pub at: Timestamp,
}

/// A step of taking a half-made cluster down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CleanStep {
    /// End the create that is still at work.
    EndJob,
    /// Stop the cluster's services.
    Stop,
    /// Destroy the cluster.
    Destroy,
    /// Have members that are still configured forget it.
    Unconfigure,
    /// Restart genesis on all members.
    RestartGenesis,
}

impl CleanStep {
    /// What is done, in words.
    pub fn in_words(self) -> &'static str {
        match self {
            CleanStep::EndJob => "ends the create that is still at work",
            CleanStep::Stop => "stops the half-made cluster",
            CleanStep::Destroy => "destroys the half-made cluster",
            CleanStep::Unconfigure => "has the members that are left forget it",
            CleanStep::RestartGenesis => "restarts genesis on all members",
        }
    }
}

/// A node that didn't take the create request, or failed to carry it out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The node.
    pub server_id: String,
    /// What it said.
    pub error: String,
    /// Whether asking another node can't help.
    pub permanent: bool,
}

/// A look at a forming cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormationSeen {
    /// What the cluster's own address says; `None`: it doesn't answer yet.
    pub vip: Option<ClusterSeen>,
    /// What each asked member says of itself.
    pub members: Vec<MemberSeen>,
    /// What became of the create that was started; `None`: the driver leaves no trace to look at.
    #[serde(default)]
    pub job: Option<JobSays>,
    /// How far it is, in the words of whoever carries it out.
    #[serde(default)]
    pub progress: Option<String>,
    /// Whether a password was refused: looking again soon locks accounts.
    #[serde(default)]
    pub refused: bool,
}

/// What became of a detached create.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "job", rename_all = "snake_case")]
pub enum JobSays {
    /// It was never started there.
    Absent,
    /// It is at work.
    Running,
    /// It says that it succeeded. The cluster has the last word.
    Succeeded,
    /// It says that it failed.
    Failed {
        /// Its last word.
        line: String,
        /// What that means for another try.
        advice: Advice,
    },
    /// It is gone without a last word: its controller VM restarted, or it was ended.
    Died,
    /// It couldn't be looked at.
    Unknown {
        /// Why not.
        error: String,
    },
}

/// What a failed create means for another try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Advice {
    /// The request itself is wrong: it would fail again.
    DontRetry,
    /// Nothing was changed; it may work later.
    Wait,
    /// Something was half done: take it down, then try again.
    CleanUp,
}

/// What a cluster says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterSeen {
    /// Its name.
    pub name: Option<String>,
    /// `UP` and others.
    pub status: Option<String>,
    /// How many nodes it has.
    pub num_nodes: Option<u64>,
    /// The controller VMs that it lists; empty where it lists none.
    #[serde(default)]
    pub members: Vec<Ipv4Addr>,
    /// Whether its services are told to be down.
    #[serde(default)]
    pub is_stopped: bool,
}

/// What one member says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberSeen {
    /// The node.
    pub server_id: String,
    /// Its word.
    pub says: MemberSays,
}

/// A member's own word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "says", rename_all = "snake_case")]
pub enum MemberSays {
    /// It belongs to no cluster.
    Unconfigured,
    /// It belongs to this one.
    InCluster(ClusterSeen),
    /// Nothing that could be understood.
    Nothing {
        /// Why not.
        error: String,
    },
    /// It shows another SSH host key than the one remembered, and was told nothing.
    OtherKey {
        /// The key it shows.
        seen: String,
    },
}

impl MemberSays {
    /// The key it shows, if that isn't the one remembered.
    pub fn other_key(&self) -> Option<&str> {
        match self {
            MemberSays::OtherKey { seen } => Some(seen),
            MemberSays::Unconfigured | MemberSays::InCluster(_) | MemberSays::Nothing { .. } => None,
        }
    }
}

/// One line of a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What was checked.
    pub name: String,
    /// Whether it holds.
    pub ok: bool,
    /// What was seen.
    pub seen: String,
    /// Whether a password was refused: repeating that locks accounts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refused: bool,
}

/// The checks that don't hold, in words. Their names say what ought to be, so they are asked and answered.
pub fn failed_checks(checks: &[Check]) -> Vec<String> {
    checks.iter().filter(|c| !c.ok).map(|c| format!("{}? No: {}", c.name, c.seen)).collect()
}
