//! What comes next for a cluster: a pure function of the plan, what we know of it and its nodes, and the time.

use crate::{
    ClusterPhase, ClusterRecord, ClusterSeen, Decision, Failure, FormationAttempt, FormationState, Intents, MemberSays,
    NodePhase, NodeRecord, Plan, Resource, Slot, Start, Timeouts, Timestamp, Trouble, in_words,
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
        /// Whether an earlier attempt may have left something: look before asking.
        in_doubt: bool,
    },
    /// Every member belongs to no cluster: the node at `entry` may be asked.
    ClearToAsk,
    /// Ask the node at the attempt's `entry` to create the cluster.
    Ask,
    /// Note that the node at `entry` didn't take the request, and go on with the next.
    NextEntry,
    /// Note that a node has taken the request after all.
    Adopt,
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
    if view.intents.absent || attempt.state == FormationState::Unasked || look_due(view, attempt) > now {
        return ClusterLooks::default();
    }
    ClusterLooks { formation: true }
}

fn look_due(view: ClusterView<'_>, attempt: &FormationAttempt) -> Timestamp {
    attempt.looked_at.map_or(Timestamp(0), |at| at + view.timeouts.formation_poll)
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
        hint: format!(
            "`metalform retry {0}` gives the failed nodes another try; `metalform destroy {0}` stops the bill",
            view.record.name
        ),
    }
}

fn form(view: ClusterView<'_>, now: Timestamp) -> ClusterDecision {
    let Some(attempt) = &view.record.formation else {
        let members: Vec<String> =
            view.nodes.iter().filter(|n| n.phase == NodePhase::Ready).map(|n| n.server_id.clone()).collect();
        // A node that somebody else imaged may be in a cluster already; what we imaged is in none.
        let in_doubt = view.plan.nodes.iter().any(|n| n.existing && members.contains(&n.server_id));
        return Decision::Do(ClusterAction::Prepare { members, in_doubt });
    };
    if let Some(refusal) = attempt.refusals.last().filter(|r| r.permanent) {
        let hint = "mend what the node names: a member that answers no more, or the plan's [cluster] part (then destroy and deploy again); \
                    `metalform retry` asks again, without re-imaging";
        return needs_operator(view, "formation_refused", format!("{}: {}", refusal.server_id, refusal.error), hint);
    }
    if attempt.entry >= attempt.members.len() {
        let said: Vec<String> = attempt.refusals.iter().map(|r| format!("{}: {}", r.server_id, r.error)).collect();
        let reason = format!("no node took the create request; {}", said.join("; "));
        return needs_operator(view, "formation_refused", reason, "`metalform retry` asks again, without re-imaging");
    }
    let decision = match attempt.state {
        FormationState::Unasked => Decision::Do(ClusterAction::Ask),
        FormationState::LookFirst | FormationState::InDoubt => resolve_doubt(view, attempt, now),
        FormationState::Accepted => follow_formation(view, attempt),
    };
    let proven = decision.is_settled() || decision == Decision::Do(ClusterAction::Adopt);
    if !proven && now >= deadline_at(view) {
        let limit = in_words(view.timeouts.formation);
        let reason = format!("Cluster creation timed out after {limit}; {}", last_seen(attempt));
        return needs_operator(
            view,
            Failure::DEADLINE,
            reason,
            "`metalform retry` looks again and goes on from what it finds",
        );
    }
    decision
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

    fn is_ours(&self, cluster: &ClusterSeen) -> bool {
        cluster.name.as_deref() == Some(self.plan.cluster.name.as_str())
    }
}

/// Some answer 404 before they belong to a cluster, some with a document that says so.
fn is_unconfigured(says: &MemberSays) -> bool {
    match says {
        MemberSays::Unconfigured => true,
        MemberSays::InCluster(cluster) => {
            cluster.status.as_deref().is_some_and(|status| status.eq_ignore_ascii_case("unconfigured"))
        }
        MemberSays::Nothing { .. } => false,
    }
}

/// The create call was sent, or may have been. Nobody is asked again before every member says that it belongs to no
/// cluster; one that belongs to ours settles it; one that belongs to another is a person's business.
fn resolve_doubt(view: ClusterView<'_>, attempt: &FormationAttempt, now: Timestamp) -> ClusterDecision {
    let Some(seen) = &attempt.seen else {
        let reason = "looks what became of the create request".into();
        return Decision::Wait { reason, until: look_due(view, attempt) };
    };
    let of_members = seen.members.iter().filter_map(|m| match &m.says {
        MemberSays::InCluster(cluster) if !is_unconfigured(&m.says) => Some((m.server_id.as_str(), cluster)),
        _ => None,
    });
    let vip = seen.vip.iter();
    if vip.chain(of_members.clone().map(|(_, cluster)| cluster)).any(|cluster| view.is_ours(cluster)) {
        return Decision::Do(ClusterAction::Adopt);
    }
    for (server_id, cluster) in of_members {
        if let Some(name) = &cluster.name {
            return needs_operator(
                view,
                "member_of_another_cluster",
                format!("{server_id} already belongs to the cluster {name}"),
                "Metalform never takes a node out of a cluster it didn't make; free the node by hand, or leave it out",
            );
        }
    }
    let unsure: Vec<String> = attempt
        .members
        .iter()
        .filter_map(|id| match seen.members.iter().find(|m| &m.server_id == id).map(|m| &m.says) {
            Some(says) if is_unconfigured(says) => None,
            Some(MemberSays::Nothing { error }) => Some(format!("{id} ({error})")),
            Some(MemberSays::InCluster(_)) => Some(format!("{id} (it is in a cluster that has no name yet)")),
            Some(MemberSays::Unconfigured) | None => Some(id.clone()),
        })
        .collect();
    if !unsure.is_empty() {
        let reason = format!("can't tell whether the create request arrived: no word from {}", unsure.join(", "));
        return Decision::Wait { reason, until: look_due(view, attempt) };
    }
    let settled = attempt.asked_at.map_or(now, |at| at + view.timeouts.formation_settle);
    if attempt.state == FormationState::InDoubt && now < settled {
        let reason =
            format!("every member says it is in no cluster; the request may still be at work: {}", attempt.doubt);
        return Decision::Wait { reason, until: look_due(view, attempt).min(settled) };
    }
    Decision::Do(match attempt.state {
        FormationState::LookFirst => ClusterAction::ClearToAsk,
        _ => ClusterAction::NextEntry,
    })
}

fn follow_formation(view: ClusterView<'_>, attempt: &FormationAttempt) -> ClusterDecision {
    let status = attempt.seen.as_ref().and_then(|s| s.vip.as_ref()).and_then(|c| c.status.as_deref());
    match status {
        Some("UP") => Decision::MoveTo(ClusterPhase::Verifying, "the cluster says UP".into()),
        Some(status) if status.eq_ignore_ascii_case("failed") => needs_operator(
            view,
            "formation_failed",
            format!("the cluster says {status}"),
            "`metalform retry` looks again and goes on from what it finds",
        ),
        _ => Decision::Wait { reason: last_seen(attempt), until: look_due(view, attempt) },
    }
}

fn last_seen(attempt: &FormationAttempt) -> String {
    match attempt.seen.as_ref().and_then(|s| s.vip.as_ref()) {
        None => "the cluster's address doesn't answer yet".into(),
        Some(ClusterSeen { status: Some(status), .. }) => format!("Cluster status: {status}"),
        Some(_) => "the cluster's address answers, without a status yet".into(),
    }
}

fn verify(view: ClusterView<'_>, now: Timestamp) -> ClusterDecision {
    let failed: Vec<String> =
        view.record.checks.iter().filter(|c| !c.ok).map(|c| format!("{}: {}", c.name, c.seen)).collect();
    if !view.record.checks.is_empty() && failed.is_empty() {
        return Decision::MoveTo(ClusterPhase::Ready, "up and checked".into());
    }
    // A cluster that got up late, or while we were down, is checked once before the deadline is held against it.
    let overdue = now.since(view.record.since) >= view.timeouts.formation;
    if now >= deadline_at(view) && (overdue || !failed.is_empty()) {
        let seen = if failed.is_empty() { "it was never checked".into() } else { failed.join("; ") };
        let reason = format!("the cluster is up, but: {seen}");
        return needs_operator(view, Failure::DEADLINE, reason, "look at the named nodes, then `metalform retry`");
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
