//! The phase `forming`: what comes next on the way from prepared nodes to a cluster that says it is up.
//!
//! ```text
//!   look_first ── all free ──► unasked ── checks hold, passwords changed ──► (ask) ──► in_doubt ── it arrived ──► accepted
//!       │                         ▲                                                     │                          │
//!       └── half of ours ──► cleaning ── all free, genesis restarted ──────┐            └── it never arrived: the  │
//!                               ▲   └──────► (next round) ◄────────────────┘                next node is asked     │
//!                               └───────────────────── the create failed and left something ──────────────────────┘
//! ```
//!
//! What the nodes say decides, not what we remember of our calls.

use crate::{
    Advice, CleanStep, ClusterAction, ClusterDecision, ClusterPhase, ClusterSeen, ClusterView, Decision, Driver,
    Failure, FormationAttempt, FormationState, JobSays, MemberSays, NodePhase, NodeRecord, Surface, Timestamp,
    decide_cluster::{look_due, refused_too_often},
    driver::driver_for_all,
    failed_checks, in_words,
};
use std::net::Ipv4Addr;

/// How many creates of one attempt may begin and fail.
const ROUNDS: u32 = 3;

/// What the members' own words come to.
#[derive(Debug, PartialEq)]
enum Standing {
    /// Every member belongs to no cluster.
    Free,
    /// Every member belongs to the cluster of the plan.
    Ours,
    /// Some belong to a cluster of our making, some to none.
    Half,
    /// One belongs to somebody else's cluster.
    Foreign { server_id: String, whose: String },
    /// Some have said nothing that settles it.
    Unsure(Vec<String>),
}

pub(crate) fn form(view: ClusterView<'_>, now: Timestamp) -> ClusterDecision {
    let Some(attempt) = &view.record.formation else { return prepare(view) };
    if let Some(refusal) = attempt.refusals.last().filter(|r| r.permanent) {
        let hint = "mend what it names: a member that answers no more, the way to form a cluster (`metalform retry CLUSTER --formation \
                    DRIVER` takes another), or the plan's [cluster] part (then destroy and deploy again); `metalform retry` \
                    asks again, without re-imaging";
        return view.stop("formation_refused", format!("{}: {}", refusal.server_id, refusal.error), hint);
    }
    if let Some(refused) = refused_too_often(view) {
        return refused;
    }
    let decision = match attempt.state {
        FormationState::Unasked => before_asking(view, attempt, now),
        FormationState::LookFirst => look_first(view, attempt, now),
        FormationState::InDoubt => resolve_doubt(view, attempt),
        FormationState::Accepted => follow(view, attempt, now),
        FormationState::Cleaning => clean(view, attempt, now),
    };
    let proven = decision.is_settled() || decision == Decision::Do(ClusterAction::Adopt);
    if !proven && now >= attempt.started_at + view.timeouts.formation {
        let limit = in_words(view.timeouts.formation);
        let awaited = match (decision, &view.record.trouble) {
            (Decision::Wait { reason, .. }, _) => reason,
            (_, Some(trouble)) => trouble.in_words(),
            (_, None) => last_seen(attempt),
        };
        let in_part = attempt.state == FormationState::Accepted && view.standing(attempt) == Standing::Ours;
        let what = if in_part { "the cluster is up in part only: " } else { "" };
        let reason = format!("Cluster creation timed out after {limit}; {what}{awaited}");
        return view.stop(Failure::DEADLINE, reason, "`metalform retry` looks again and goes on from what it finds");
    }
    decision
}

/// Who takes part, and by which driver.
fn prepare(view: ClusterView<'_>) -> ClusterDecision {
    let ready: Vec<&NodeRecord> = view.nodes.iter().copied().filter(|n| n.phase == NodePhase::Ready).collect();
    let members: Vec<String> = ready.iter().map(|n| n.server_id.clone()).collect();
    match view.driver(&ready) {
        Ok((driver, why)) => Decision::Do(ClusterAction::Prepare { members, driver, why }),
        Err(reason) => view.stop(
            "formation_drivers_differ",
            reason,
            "install all nodes from one image set, or name a driver: `metalform retry CLUSTER --formation cvm-ssh`",
        ),
    }
}

impl ClusterView<'_> {
    fn driver(&self, ready: &[&NodeRecord]) -> Result<(Driver, String), String> {
        // The operator's word counts instead of the plan's, `auto` too.
        let (choice, whose) = match self.intents.formation {
            Some(choice) => (choice, "as the operator asked"),
            None => (self.plan.cluster.formation, "as the plan asks"),
        };
        if let Some(driver) = choice.forced() {
            return Ok((driver, whose.into()));
        }
        let surfaces: Vec<&Surface> = ready.iter().filter_map(|n| n.cvm.surface.as_ref()).collect();
        let said = || ready.iter().filter_map(|n| Some(format!("{} ({})", n.server_id, n.cvm.surface?.in_words())));
        match driver_for_all(ready) {
            Some(driver) => {
                let seen = surfaces.first().map_or_else(String::new, |s| format!(" offer it ({})", s.in_words()));
                Ok((driver, format!("all {} controller VMs{seen}", ready.len())))
            }
            None => Err(format!(
                "no way to form a cluster is offered by all nodes: {}",
                said().collect::<Vec<_>>().join("; ")
            )),
        }
    }

    fn cvm_ips(&self, attempt: &FormationAttempt) -> Vec<Ipv4Addr> {
        let of_members = self.nodes.iter().filter(|n| attempt.members.contains(&n.server_id));
        of_members.filter_map(|n| n.cvm_ip).collect()
    }

    /// Whether a cluster is the one of this plan. Its name says so, unless it lists others than our members; while it has no
    /// name yet, its members do, if it was made since we saw them all free.
    fn is_ours(&self, attempt: &FormationAttempt, cluster: &ClusterSeen) -> Option<bool> {
        let ips = self.cvm_ips(attempt);
        let has_strangers = cluster.members.iter().any(|ip| !ips.contains(ip));
        match &cluster.name {
            _ if has_strangers => Some(false),
            Some(name) if *name == self.plan.cluster.name => Some(true),
            Some(name) if name != "Unnamed" => Some(false),
            _ if cluster.members.is_empty() => None,
            _ => Some(attempt.ours),
        }
    }

    fn standing(&self, attempt: &FormationAttempt) -> Standing {
        let none = Vec::new();
        let seen = attempt.seen.as_ref().map_or(&none, |seen| &seen.members);
        let (mut free, mut ours, mut unsure) = (0, 0, Vec::new());
        for id in &attempt.members {
            match seen.iter().find(|m| &m.server_id == id).map(|m| &m.says) {
                Some(says) if is_unconfigured(says) => free += 1,
                Some(MemberSays::InCluster(cluster)) => match self.is_ours(attempt, cluster) {
                    Some(true) => ours += 1,
                    Some(false) => {
                        let whose = match (&cluster.name, cluster.members.is_empty()) {
                            (Some(name), _) if *name != self.plan.cluster.name => format!("the cluster {name}"),
                            (_, false) if cluster.members.len() == 1 => "a cluster of itself alone".into(),
                            (_, false) => format!("a cluster of {}", ips_in_words(&cluster.members)),
                            _ => "a cluster that this deployment didn't make".into(),
                        };
                        return Standing::Foreign { server_id: id.clone(), whose };
                    }
                    None => unsure.push(format!("{id} (it is in a cluster that has no name yet)")),
                },
                Some(MemberSays::Nothing { error }) => unsure.push(format!("{id} ({error})")),
                Some(MemberSays::OtherKey { .. }) => unsure.push(format!("{id} (it shows another key than before)")),
                Some(MemberSays::Unconfigured) | None => unsure.push(id.clone()),
            }
        }
        match (free, ours) {
            _ if !unsure.is_empty() => Standing::Unsure(unsure),
            (_, 0) => Standing::Free,
            (0, _) => Standing::Ours,
            _ => Standing::Half,
        }
    }

    fn stop(&self, code: &str, reason: String, hint: &str) -> ClusterDecision {
        let in_phase = self.record.phase.as_str().into();
        Decision::NeedsOperator(Failure { in_phase, code: code.into(), reason, hint: hint.into() })
    }

    fn half_a_cluster(&self) -> ClusterDecision {
        self.stop(
            "half_a_cluster",
            "some of the nodes belong to a cluster of that name and some to none".into(),
            "it isn't what a failed create of this deployment left, so it isn't touched: complete or destroy it by hand, then \
             `metalform retry`",
        )
    }

    fn foreign(&self, server_id: &str, whose: &str) -> ClusterDecision {
        self.stop(
            "member_of_another_cluster",
            format!("{server_id} already belongs to {whose}"),
            "Metalform never takes a node out of a cluster it didn't make; free the node by hand, or leave it out. If it is this \
             plan's cluster, its name is read with the password in prism_password_file",
        )
    }
}

/// Whether what stands on the members may be destroyed: only what a create of ours left that never got up. A cluster that
/// was up may be in use; [`crate::ClusterRecord::retry`] forgets when its nodes were asked.
fn may_be_taken_down(attempt: &FormationAttempt) -> bool {
    attempt.ours && attempt.asked_at.is_some()
}

fn ips_in_words(ips: &[Ipv4Addr]) -> String {
    ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Some answer 404 before they belong to a cluster, some with a document that says so.
fn is_unconfigured(says: &MemberSays) -> bool {
    match says {
        MemberSays::Unconfigured => true,
        MemberSays::InCluster(cluster) => {
            cluster.status.as_deref().is_some_and(|status| status.eq_ignore_ascii_case("unconfigured"))
        }
        MemberSays::Nothing { .. } | MemberSays::OtherKey { .. } => false,
    }
}

/// Whether a create of ours is there, by any sign: with a driver that leaves no trace, one member's word is enough, since
/// nobody else forms a cluster of that name.
fn has_begun(view: ClusterView<'_>, attempt: &FormationAttempt) -> bool {
    let Some(seen) = &attempt.seen else { return false };
    match &seen.job {
        Some(JobSays::Running | JobSays::Succeeded | JobSays::Failed { .. } | JobSays::Died) => true,
        Some(JobSays::Absent | JobSays::Unknown { .. }) => false,
        None => {
            let of_members = seen.members.iter().filter_map(|m| match &m.says {
                MemberSays::InCluster(cluster) if !is_unconfigured(&m.says) => Some(cluster),
                _ => None,
            });
            seen.vip.iter().chain(of_members).any(|cluster| {
                view.is_ours(attempt, cluster) == Some(true)
                    && cluster.name.as_deref() == Some(view.plan.cluster.name.as_str())
            })
        }
    }
}

/// Something may be there already: from before us, or from an earlier attempt.
fn look_first(view: ClusterView<'_>, attempt: &FormationAttempt, now: Timestamp) -> ClusterDecision {
    // A change of passwords that was cut off comes first: a look would show the wrong one.
    if let Some(decision) = view.secure_in_doubt(attempt, now) {
        return decision;
    }
    let Some(seen) = &attempt.seen else { return look_again(view, attempt, "looks what is there already".into()) };
    if let Some((id, key)) = seen.members.iter().find_map(|m| m.says.other_key().map(|key| (&m.server_id, key))) {
        return view.stop(
            Failure::KEY_CHANGED,
            format!("the controller VM of {id} shows the host key {key}, not the one of its first answer; it was told nothing"),
            "if something else answers at its address, mend that; `metalform retry` trusts the key that it shows then",
        );
    }
    let is_overdue = attempt.asked_at.is_some_and(|at| now >= at + view.timeouts.formation);
    match (&seen.job, view.standing(attempt)) {
        (_, Standing::Foreign { server_id, whose }) => view.foreign(&server_id, &whose),
        (Some(JobSays::Running), _) if is_overdue && may_be_taken_down(attempt) => {
            Decision::Do(ClusterAction::Clean { why: "the create before this one never ended".into() })
        }
        (Some(JobSays::Running), _) | (_, Standing::Ours) => Decision::Do(ClusterAction::Adopt),
        (_, Standing::Half) if !attempt.ours => view.half_a_cluster(),
        // Where it can't be seen whether a create is still at work, free members prove nothing: it may be about to begin.
        (Some(JobSays::Unknown { error }), Standing::Free | Standing::Half) => {
            look_again(view, attempt, format!("can't tell what became of the create before this one: {error}"))
        }
        (_, Standing::Free) => Decision::Do(ClusterAction::ClearToAsk),
        (None, _) if has_begun(view, attempt) => Decision::Do(ClusterAction::Adopt),
        (_, Standing::Half) if may_be_taken_down(attempt) => {
            Decision::Do(ClusterAction::Clean { why: "an earlier create left a half-made cluster".into() })
        }
        (_, Standing::Half) => view.half_a_cluster(),
        (_, Standing::Unsure(who)) => {
            look_again(view, attempt, format!("can't tell what is there already: no word from {}", who.join(", ")))
        }
    }
}

fn look_again(view: ClusterView<'_>, attempt: &FormationAttempt, reason: String) -> ClusterDecision {
    Decision::Wait { reason, until: look_due(view, attempt) }
}

/// The checks hold, and no password that the world knows is in force on the nodes: only then is one of them asked.
fn before_asking(view: ClusterView<'_>, attempt: &FormationAttempt, now: Timestamp) -> ClusterDecision {
    if attempt.entry >= attempt.members.len() {
        let said: Vec<String> = attempt.refusals.iter().map(|r| format!("{}: {}", r.server_id, r.error)).collect();
        let reason = format!("no node took the create request; {}", said.join("; "));
        return view.stop("formation_refused", reason, "`metalform retry` asks again, without re-imaging");
    }
    match &attempt.before {
        None => return Decision::Do(ClusterAction::CheckBefore),
        Some(before) => {
            let failed = failed_checks(&before.checks);
            let is_refused = before.checks.iter().any(|check| check.refused);
            if is_refused && before.at > before.since {
                return view.stop(
                    "credentials_refused",
                    format!("a password was refused twice: {}", failed.join("; ")),
                    "name the password that is in force in [nutanix] (prism_password_file, cvm_password_file), wait for a \
                     lock-out to pass, then `metalform retry`; no node is imaged again",
                );
            }
            if !failed.is_empty() && before.at >= before.since + view.timeouts.check {
                return view.stop(
                    "not_fit_to_form",
                    format!("nothing was created: {}", failed.join("; ")),
                    "mend what is named (security groups between the nodes, clocks, addresses), then `metalform retry`; \
                     no node is imaged again",
                );
            }
            if !failed.is_empty() {
                // A refused password is shown once more, a minute later.
                let pause = if is_refused { view.timeouts.probe_after_refusal } else { view.timeouts.formation_poll };
                let until = before.at + pause;
                let reason = format!("not fit to form yet: {}", failed.join("; "));
                return if until <= now {
                    Decision::Do(ClusterAction::CheckBefore)
                } else {
                    Decision::Wait { reason, until }
                };
            }
        }
    }
    view.secure(attempt, true, now).unwrap_or(Decision::Do(ClusterAction::Ask))
}

/// The create call was sent, or may have been. Nobody is asked again before it is known that it never arrived: it left no
/// trace where it was sent to, and every member says that it belongs to no cluster.
fn resolve_doubt(view: ClusterView<'_>, attempt: &FormationAttempt) -> ClusterDecision {
    if attempt.seen.is_none() {
        return look_again(view, attempt, "looks what became of the create request".into());
    }
    if has_begun(view, attempt) {
        return Decision::Do(ClusterAction::Adopt);
    }
    let who = match view.standing(attempt) {
        Standing::Foreign { server_id, whose } => return view.foreign(&server_id, &whose),
        Standing::Ours => return Decision::Do(ClusterAction::Adopt),
        Standing::Half => return look_again(view, attempt, "a cluster of ours is in the making".into()),
        Standing::Free => Vec::new(),
        Standing::Unsure(who) => who,
    };
    if !who.is_empty() {
        let reason = format!("can't tell whether the create request arrived: no word from {}", who.join(", "));
        return look_again(view, attempt, reason);
    }
    if let Some(JobSays::Unknown { error }) = attempt.seen.as_ref().and_then(|seen| seen.job.as_ref()) {
        return look_again(view, attempt, format!("can't tell whether the create request arrived: {error}"));
    }
    // Their word must be from after that time: one from shortly before it says nothing of a request that was just at work.
    let settled = attempt.asked_at.unwrap_or(attempt.started_at) + view.timeouts.formation_settle;
    if attempt.looked_at.is_none_or(|at| at < settled) {
        let reason =
            format!("every member says it is in no cluster; the request may still be at work: {}", attempt.doubt);
        return look_again(view, attempt, reason);
    }
    Decision::Do(ClusterAction::NextEntry)
}

/// A create is at work, or has been. The cluster has the last word on whether it succeeded.
fn follow(view: ClusterView<'_>, attempt: &FormationAttempt, now: Timestamp) -> ClusterDecision {
    let seen = attempt.seen.as_ref();
    let status = seen.and_then(|s| s.vip.as_ref()).and_then(|c| c.status.as_deref());
    match status {
        Some("UP") => return Decision::MoveTo(ClusterPhase::Verifying, "the cluster says UP".into()),
        Some(status) if status.eq_ignore_ascii_case("failed") => {
            let hint = "`metalform retry` looks again and goes on from what it finds";
            return view.stop("formation_failed", format!("the cluster says {status}"), hint);
        }
        _ => {}
    }
    match seen.and_then(|seen| seen.job.as_ref()) {
        None | Some(JobSays::Running | JobSays::Succeeded | JobSays::Unknown { .. }) => {
            look_again(view, attempt, last_seen(attempt))
        }
        Some(JobSays::Failed { line, advice: Advice::DontRetry }) => view.stop(
            "formation_refused",
            format!("the create was refused: {line}"),
            "mend the plan's [cluster] part, or the nodes' hardware; `metalform retry` asks again, without re-imaging",
        ),
        Some(JobSays::Failed { line, .. }) => after_failure(view, attempt, line.clone(), true, now),
        Some(JobSays::Died | JobSays::Absent) => {
            let line = "the create ended without a word: its controller VM restarted".into();
            after_failure(view, attempt, line, false, now)
        }
    }
}

/// A create that died may have done all that matters, so a cluster of all members is given time to come up; one that says
/// that it failed is taken at its word. What was up once is never taken down, only waited for.
fn after_failure(
    view: ClusterView<'_>,
    attempt: &FormationAttempt,
    why: String,
    says_so: bool,
    now: Timestamp,
) -> ClusterDecision {
    // What was asked in an earlier attempt may have come up since, whatever it said then: it has its time again.
    let is_earlier = attempt.asked_at.is_none_or(|at| at < attempt.started_at);
    let patience = attempt.asked_at.map_or(attempt.started_at, |at| at.max(attempt.started_at)) + view.timeouts.clean;
    match view.standing(attempt) {
        Standing::Foreign { server_id, whose } => view.foreign(&server_id, &whose),
        Standing::Unsure(who) => look_again(view, attempt, format!("{why}; no word from {}", who.join(", "))),
        Standing::Ours if (!says_so || is_earlier) && now < patience => look_again(view, attempt, last_seen(attempt)),
        Standing::Ours if !may_be_taken_down(attempt) => look_again(view, attempt, last_seen(attempt)),
        Standing::Half if !may_be_taken_down(attempt) => view.half_a_cluster(),
        Standing::Free if !may_be_taken_down(attempt) => view.stop(
            "formation_failed",
            format!("no node belongs to the cluster any more; {why}"),
            "`metalform retry` looks again and goes on from what it finds",
        ),
        Standing::Free | Standing::Ours | Standing::Half if attempt.round + 1 >= ROUNDS => {
            let mut said: Vec<String> =
                attempt.refusals.iter().map(|r| format!("{}: {}", r.server_id, r.error)).collect();
            said.push(why);
            view.stop(
                "formation_failed",
                format!("{ROUNDS} creates failed; {}", said.join("; ")),
                "see `metalform events` for what each printed; `metalform retry` takes down what is left and tries again, \
                 without re-imaging",
            )
        }
        Standing::Free | Standing::Ours | Standing::Half => Decision::Do(ClusterAction::Clean { why }),
    }
}

/// Taking down what a failed create left: end it, stop, destroy, and restart genesis on free nodes, which also helps those
/// that weren't discovered. Each step is seen to have worked before the next, and repeated if it hasn't for long.
fn clean(view: ClusterView<'_>, attempt: &FormationAttempt, now: Timestamp) -> ClusterDecision {
    let Some(cleaning) = attempt.cleaning.as_ref().filter(|_| may_be_taken_down(attempt)) else {
        return view.stop(
            "clean_up_failed",
            "what is there isn't known to be left by a failed create of this deployment".into(),
            "`metalform retry` looks again and goes on from what it finds",
        );
    };
    let fresh = attempt.seen.as_ref().filter(|_| attempt.looked_at.is_some_and(|at| at > cleaning.at));
    let overdue = now >= cleaning.since + view.timeouts.clean;
    let Some(seen) = fresh else {
        return look_again(view, attempt, "looks what the failed create left".into());
    };
    let step = |step| Decision::Do(ClusterAction::CleanStep(step));
    let waited = now >= cleaning.at + view.timeouts.clean_step;
    let standing = view.standing(attempt);
    let decision = match &standing {
        Standing::Foreign { server_id, whose } => return view.foreign(server_id, whose),
        _ if seen.job == Some(JobSays::Running) && (cleaning.step != Some(CleanStep::EndJob) || waited) => {
            step(CleanStep::EndJob)
        }
        _ if seen.job == Some(JobSays::Running) => look_again(view, attempt, CleanStep::EndJob.in_words().into()),
        Standing::Unsure(who) => look_again(view, attempt, format!("no word from {}", who.join(", "))),
        Standing::Free if matches!(seen.job, Some(JobSays::Unknown { .. })) => {
            look_again(view, attempt, "can't tell whether the create is still at work".into())
        }
        Standing::Free if cleaning.step == Some(CleanStep::RestartGenesis) => {
            return Decision::Do(ClusterAction::NextRound);
        }
        Standing::Free => return step(CleanStep::RestartGenesis),
        Standing::Ours | Standing::Half => match cleaning.step {
            None | Some(CleanStep::EndJob | CleanStep::RestartGenesis) => step(CleanStep::Stop),
            Some(CleanStep::Stop) if is_stopped(attempt) || waited => step(CleanStep::Destroy),
            Some(CleanStep::Destroy) if waited => step(CleanStep::Unconfigure),
            Some(CleanStep::Unconfigure) if waited => step(CleanStep::Stop),
            Some(last) => look_again(view, attempt, last.in_words().into()),
        },
    };
    if overdue {
        let left = match standing {
            Standing::Unsure(who) => format!("no word from {}", who.join(", ")),
            Standing::Free => "it can't be seen whether it is still at work".into(),
            _ => "members still belong to it".into(),
        };
        return view.stop(
            "clean_up_failed",
            format!("a create failed ({}), and what it left can't be taken down: {left}", cleaning.why),
            "look at the named nodes; `metalform retry` goes on with taking it down, without re-imaging",
        );
    }
    decision
}

/// Whether every member that is still in the cluster says that its services are told to be down.
fn is_stopped(attempt: &FormationAttempt) -> bool {
    let members = attempt.seen.iter().flat_map(|seen| &seen.members);
    let mut in_cluster = members.filter_map(|m| match &m.says {
        MemberSays::InCluster(cluster) => Some(cluster),
        _ => None,
    });
    in_cluster.all(|cluster| cluster.is_stopped)
}

fn last_seen(attempt: &FormationAttempt) -> String {
    let seen = attempt.seen.as_ref();
    if let Some(progress) = seen.and_then(|seen| seen.progress.clone()) {
        return progress;
    }
    match seen.and_then(|s| s.vip.as_ref()) {
        None => "the cluster's address doesn't answer yet".into(),
        Some(ClusterSeen { status: Some(status), .. }) => format!("Cluster status: {status}"),
        Some(_) => "the cluster's address answers, without a status yet".into(),
    }
}
