//! What comes next for a cluster: a pure function of the plan, what we know of it and its nodes, and the time.

use crate::{
    CleanStep, ClusterPhase, ClusterRecord, Decision, Driver, Failure, FormationAttempt, FormationState, Intents,
    MemberSays, NodePhase, NodeRecord, Plan, Resource, SecurePlace, Slot, Start, Timeouts, Timestamp, Trouble,
    decide_formation::form, failed_checks, in_words,
};

/// One thing to do to the world for a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterAction {
    /// Reserve the cluster's own address.
    EnsureVip,
    /// Give the cluster's own address back.
    RemoveVip,
    /// Say in the timeline that every server is ordered.
    TellNodesWaiting,
    /// Begin an attempt with these members (server ids).
    Prepare {
        /// Who takes part.
        members: Vec<String>,
        /// By which driver.
        driver: Driver,
        /// Why by this one, for the timeline.
        why: String,
    },
    /// Check whether the nodes are fit to form a cluster.
    CheckBefore,
    /// Change the passwords at these places.
    Secure {
        /// Where.
        places: Vec<SecurePlace>,
    },
    /// Every member belongs to no cluster: the node at `entry` may be asked.
    ClearToAsk,
    /// Ask the node at the attempt's `entry` to create the cluster.
    Ask,
    /// Note that the node at `entry` didn't take the request, and go on with the next.
    NextEntry,
    /// Note that a node has taken the request after all.
    Adopt,
    /// A create failed: begin to take down what it left.
    Clean {
        /// What it said.
        why: String,
    },
    /// One step of that.
    CleanStep(CleanStep),
    /// The nodes are free again: note what failed, and ask the next one.
    NextRound,
    /// Set what can only be set on a finished cluster.
    Settle,
    /// Check the finished cluster.
    Verify,
}

/// What a cluster decision comes to.
pub type ClusterDecision = Decision<ClusterAction, ClusterPhase>;

/// Everything a cluster's decision depends on.
#[derive(Debug, Clone, Copy)]
pub struct ClusterView<'a> {
    /// What the operator declared.
    pub plan: &'a Plan,
    /// What we know.
    pub record: &'a ClusterRecord,
    /// What the operator asked for since.
    pub intents: Intents,
    /// Its nodes, in the plan's order.
    pub nodes: &'a [&'a NodeRecord],
    /// The cluster's own address in the cloud.
    pub vip: Option<&'a Resource>,
    /// How long things may take.
    pub timeouts: &'a Timeouts,
}

/// What is due to be looked at before deciding.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClusterLooks {
    /// The forming cluster: its own address and every member.
    pub formation: bool,
}

/// What to look at now.
pub fn cluster_looks(view: ClusterView<'_>, now: Timestamp) -> ClusterLooks {
    let Some(attempt) = view.record.formation.as_ref().filter(|_| view.record.phase == ClusterPhase::Forming) else {
        return ClusterLooks::default();
    };
    let in_doubt = attempt.state == FormationState::LookFirst && !view.in_doubt(attempt).is_empty();
    if view.intents.absent || attempt.state == FormationState::Unasked || in_doubt || look_due(view, attempt) > now {
        return ClusterLooks::default();
    }
    ClusterLooks { formation: true }
}

pub(crate) fn look_due(view: ClusterView<'_>, attempt: &FormationAttempt) -> Timestamp {
    let refused = attempt.seen.as_ref().is_some_and(|seen| seen.refused);
    let pause = if refused { view.timeouts.probe_after_refusal } else { view.timeouts.formation_poll };
    attempt.looked_at.map_or(Timestamp(0), |at| at + pause)
}

/// What comes next for a cluster.
pub fn decide_cluster(view: ClusterView<'_>, now: Timestamp) -> ClusterDecision {
    let record = view.record;
    if view.intents.absent && !matches!(record.phase, ClusterPhase::Releasing | ClusterPhase::Released) {
        return Decision::MoveTo(ClusterPhase::Releasing, "to be gone, by the operator's word".into());
    }
    let decision = by_phase(view, now);
    if decision.is_settled() {
        return decision;
    }
    let decision = match record.trouble.as_ref().filter(|t| t.next_at > now) {
        Some(trouble) => Decision::Wait { reason: trouble.in_words(), until: trouble.next_at },
        None => decision,
    };
    decision.bounded(now, deadline_at(view))
}

/// When the present phase is given up, if it is one that we bound ourselves: the barrier waits as long as its nodes do.
fn deadline_at(view: ClusterView<'_>) -> Timestamp {
    match (view.record.phase, &view.record.formation) {
        (ClusterPhase::WaitingForNodes, _) if view.lacks_vip() => view.record.since + view.timeouts.order,
        (ClusterPhase::Forming | ClusterPhase::Verifying, Some(attempt)) => {
            attempt.started_at + view.timeouts.formation
        }
        _ => Timestamp::NEVER,
    }
}

fn by_phase(view: ClusterView<'_>, now: Timestamp) -> ClusterDecision {
    match view.record.phase {
        ClusterPhase::WaitingForNodes => await_nodes(view, now),
        ClusterPhase::Forming => form(view, now),
        ClusterPhase::Verifying => verify(view, now),
        ClusterPhase::Releasing => release(view),
        ClusterPhase::Ready => rest("ready"),
        ClusterPhase::Released => rest("released"),
        ClusterPhase::NeedsOperator | ClusterPhase::Failed => rest("waits for the operator"),
    }
}

fn rest(reason: &str) -> ClusterDecision {
    Decision::Wait { reason: reason.into(), until: Timestamp::NEVER }
}

/// The barrier: the cluster's address is reserved, every node has come to an end, and enough of them are ready.
fn await_nodes(view: ClusterView<'_>, now: Timestamp) -> ClusterDecision {
    if view.lacks_vip() {
        if now < deadline_at(view) {
            return Decision::Do(ClusterAction::EnsureVip);
        }
        let why = view.record.trouble.as_ref().map_or_else(|| view.record.reason.clone(), Trouble::in_words);
        let reason = format!("waited {} for the cluster's address: {why}", in_words(view.timeouts.order));
        return needs_operator(
            view,
            Failure::DEADLINE,
            reason,
            "see the last error; `metalform retry` goes on from there",
        );
    }
    let none_unordered = view.nodes.iter().all(|n| n.phase != NodePhase::Requested);
    if !view.record.nodes_waiting_told && none_unordered {
        return Decision::Do(ClusterAction::TellNodesWaiting);
    }
    let total = view.nodes.len();
    let ready: Vec<&NodeRecord> = view.nodes.iter().copied().filter(|n| n.phase == NodePhase::Ready).collect();
    let waiting: Vec<&str> =
        view.nodes.iter().filter(|n| n.phase.is_on_its_way()).map(|n| n.server_id.as_str()).collect();
    if !waiting.is_empty() {
        let reason = format!("{}/{total} nodes ready, waits for {}", ready.len(), waiting.join(", "));
        return Decision::Wait { reason, until: Timestamp::NEVER };
    }
    if ready.len() < view.plan.cluster.min_nodes {
        return Decision::NeedsOperator(too_few(view, ready.len(), total));
    }
    if view.plan.cluster.start == Start::OnCommand && !view.intents.form {
        let reason = format!("{}/{total} nodes ready; waits for `metalform form {}`", ready.len(), view.record.name);
        return Decision::Wait { reason, until: Timestamp::NEVER };
    }
    Decision::MoveTo(ClusterPhase::Forming, format!("{}/{total} nodes are ready", ready.len()))
}

fn too_few(view: ClusterView<'_>, ready: usize, total: usize) -> Failure {
    let failures: Vec<(&str, &Failure)> =
        view.nodes.iter().filter_map(|n| n.failure.as_ref().map(|f| (n.server_id.as_str(), f))).collect();
    let deadline = failures.iter().any(|(_, f)| f.is_deadline());
    let which: Vec<String> = failures.iter().map(|(id, f)| format!("{id} in {}: {}", f.in_phase, f.reason)).collect();
    let what = match deadline {
        true => format!("Timeout waiting for nodes to be ready. Only {ready}/{total} ready"),
        false => format!("Only {ready}/{total} nodes became ready"),
    };
    Failure {
        in_phase: ClusterPhase::WaitingForNodes.as_str().into(),
        code: if deadline { Failure::DEADLINE } else { "too_few_nodes" }.into(),
        reason: format!("{what}; {}", which.join("; ")),
        hint: match shared_hint(&failures) {
            Some(hint) => hint,
            _ if failures.iter().any(|(_, f)| f.code == Failure::NOT_OFFERED) => format!(
                "`metalform retry {} --formation auto` takes what the nodes offer; no node that is installed is imaged again",
                view.record.name
            ),
            None => format!(
                "`metalform retry {0}` gives the failed nodes another try; `metalform destroy {0}` stops the bill",
                view.record.name
            ),
        },
    }
}

/// What the nodes themselves say to do, where that is about the passwords or keys of all that failed.
fn shared_hint(failures: &[(&str, &Failure)]) -> Option<String> {
    let (_, first) = failures.first()?;
    let is_theirs = ["credentials_refused", Failure::LOCKED, Failure::KEY_CHANGED].contains(&first.code.as_str());
    (is_theirs && failures.iter().all(|(_, f)| f.code == first.code)).then(|| first.hint.clone())
}

fn needs_operator(view: ClusterView<'_>, code: &str, reason: String, hint: &str) -> ClusterDecision {
    let in_phase = view.record.phase.as_str().into();
    Decision::NeedsOperator(Failure { in_phase, code: code.into(), reason, hint: hint.into() })
}

impl ClusterView<'_> {
    /// Whether the cluster's own address is still to be reserved. A plan of existing nodes alone reserves none.
    fn lacks_vip(&self) -> bool {
        self.plan.nodes.iter().any(|n| !n.existing) && !self.vip.is_some_and(Resource::is_created)
    }
}

/// Looks and checks show a password. One that is refused isn't shown a third time: that locks accounts.
pub(crate) fn refused_too_often(view: ClusterView<'_>) -> Option<ClusterDecision> {
    let attempt = view.record.formation.as_ref().filter(|a| a.refusals_in_a_row >= 2)?;
    let of_members = attempt.seen.iter().flat_map(|seen| &seen.members).filter_map(|member| match &member.says {
        MemberSays::Nothing { error } => Some(format!("{}: {error}", member.server_id)),
        _ => None,
    });
    let mut said: Vec<String> = match view.record.phase {
        ClusterPhase::Forming => of_members.collect(),
        _ => failed_checks(&view.record.checks),
    };
    said.truncate(3);
    let hint = "name the password that is in force in [nutanix] (prism_password_file, cvm_password_file), wait for a lock-out \
                to pass, then `metalform retry`; no node is imaged again";
    Some(needs_operator(
        view,
        "credentials_refused",
        format!("a password was refused twice: {}", said.join("; ")),
        hint,
    ))
}

fn verify(view: ClusterView<'_>, now: Timestamp) -> ClusterDecision {
    let failed = failed_checks(&view.record.checks);
    if !view.record.checks.is_empty() && failed.is_empty() {
        return Decision::MoveTo(ClusterPhase::Ready, "up and checked".into());
    }
    if let Some(refused) = refused_too_often(view) {
        return refused;
    }
    // A cluster that got up late, or while we were down, is checked once before the deadline is held against it.
    let overdue = now.since(view.record.since) >= view.timeouts.formation;
    if now >= deadline_at(view) && (overdue || !failed.is_empty()) {
        let seen = match &view.record.trouble {
            _ if !failed.is_empty() => failed.join("; "),
            Some(trouble) => trouble.in_words(),
            None => "it was never checked".into(),
        };
        let reason = format!("the cluster is up in part only: {seen}");
        return needs_operator(view, Failure::DEADLINE, reason, "look at the named nodes, then `metalform retry`");
    }
    if let Some(attempt) = &view.record.formation {
        if !attempt.settled {
            return Decision::Do(ClusterAction::Settle);
        }
        if let Some(decision) = view.secure(attempt, false, now) {
            return decision;
        }
    }
    Decision::Do(ClusterAction::Verify)
}

fn release(view: ClusterView<'_>) -> ClusterDecision {
    let left: Vec<&str> =
        view.nodes.iter().filter(|n| n.phase != NodePhase::Released).map(|n| n.server_id.as_str()).collect();
    if !left.is_empty() {
        return Decision::Wait {
            reason: format!("waits for {} to be released", left.join(", ")),
            until: Timestamp::NEVER,
        };
    }
    if view.vip.is_some_and(|r| !r.is_gone()) {
        return Decision::Do(ClusterAction::RemoveVip);
    }
    debug_assert!(view.vip.is_none_or(|r| r.slot == Slot::Vip));
    Decision::MoveTo(ClusterPhase::Released, "nothing of it is left in the cloud".into())
}
