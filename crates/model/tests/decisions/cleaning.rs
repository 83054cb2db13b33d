//! Taking down what a failed create of ours left, step by step, each seen to have worked before the next.

use crate::rig::*;
use metalform_model::{CleanStep as Step, FormationState as State, MemberSays as Says, *};

const STEPS: [Step; 5] = [Step::EndJob, Step::Stop, Step::Destroy, Step::Unconfigure, Step::RestartGenesis];

fn stopped() -> Says {
    Says::InCluster(ClusterSeen { is_stopped: true, ..cluster_of(&[1, 2, 3]) })
}

/// The last step was taken at `T0`; this was seen so many seconds later.
fn seen(step: Option<Step>, after: u64, members: &[Says], job: JobSays) -> Cluster {
    Cluster::cleaning(step).looked_at(T0 + seconds(after), None, members).job(job)
}

#[track_caller]
fn check(step: Option<Step>, after: u64, members: &[Says], expected: &str) {
    seen(step, after, members, JobSays::Died).check(T0 + seconds(after), expected);
}

#[test]
fn every_step_is_decided_on_what_was_seen_after_the_one_before() {
    let all = [None].into_iter().chain(STEPS.map(Some));
    for step in all {
        for members in [vec![free(); 3], vec![in_ours(); 3], vec![stopped(); 3]] {
            let stale = seen(step, 0, &members, JobSays::Died);
            stale.check(T0, "wait 2s");
            stale.check(T0 + minutes(9), "wait 1s");
            assert!(stale.looks(T0 + seconds(2)).formation);
        }
    }
}

#[test]
fn a_half_made_cluster_is_stopped_destroyed_and_its_members_genesis_restarted() {
    let half = [in_ours(), in_ours(), free()];
    let half_stopped = [stopped(), stopped(), free()];
    for begin in [None, Some(Step::EndJob)] {
        check(begin, 2, &half, "do CleanStep(Stop)");
    }
    check(Some(Step::Stop), 2, &half, "wait 2s");
    check(Some(Step::Stop), 2, &half_stopped, "do CleanStep(Destroy)");
    check(Some(Step::Stop), 2, &[stopped(), in_ours(), free()], "wait 2s");
    check(Some(Step::Destroy), 2, &half_stopped, "wait 2s");
    check(Some(Step::Destroy), 2, &vec![free(); 3], "do CleanStep(RestartGenesis)");
    check(Some(Step::RestartGenesis), 2, &vec![free(); 3], "do NextRound");
}

#[test]
fn what_doesnt_show_within_its_time_is_followed_by_the_next_step() {
    let whole = vec![in_ours(); 3];
    let table = [
        (Step::Stop, "do CleanStep(Destroy)"),
        (Step::Destroy, "do CleanStep(Unconfigure)"),
        (Step::Unconfigure, "do CleanStep(Stop)"),
    ];
    for (step, next) in table {
        check(Some(step), 119, &whole, "wait 2s");
        check(Some(step), 120, &whole, next);
    }
}

#[test]
fn free_members_only_have_their_genesis_restarted() {
    for step in [None, Some(Step::EndJob), Some(Step::Stop), Some(Step::Destroy), Some(Step::Unconfigure)] {
        check(step, 2, &vec![free(); 3], "do CleanStep(RestartGenesis)");
    }
}

#[test]
fn members_that_fall_back_into_their_cluster_are_taken_out_again() {
    check(Some(Step::RestartGenesis), 2, &[in_ours(), free(), free()], "do CleanStep(Stop)");
}

#[test]
fn a_create_that_is_still_at_work_is_ended_first_and_again_after_a_while() {
    for members in [vec![free(); 3], vec![in_ours(); 3], vec![nothing(); 3]] {
        for step in [None, Some(Step::Stop), Some(Step::Destroy), Some(Step::RestartGenesis)] {
            seen(step, 2, &members, JobSays::Running).check(T0 + seconds(2), "do CleanStep(EndJob)");
        }
        seen(Some(Step::EndJob), 119, &members, JobSays::Running).check(T0 + seconds(119), "wait 2s");
        seen(Some(Step::EndJob), 120, &members, JobSays::Running).check(T0 + seconds(120), "do CleanStep(EndJob)");
    }
}

#[test]
fn nobody_is_asked_while_it_cant_be_seen_whether_the_create_is_at_work() {
    for step in [None, Some(Step::EndJob), Some(Step::RestartGenesis)] {
        seen(step, 2, &vec![free(); 3], unknown()).check(T0 + seconds(2), "wait 2s");
    }
    let overdue = seen(Some(Step::EndJob), 600, &vec![free(); 3], unknown());
    overdue.check(T0 + minutes(10), "stop clean_up_failed");
}

#[test]
fn who_said_nothing_is_waited_for() {
    for step in STEPS.into_iter().filter(|step| *step != Step::EndJob) {
        check(Some(step), 2, &[free(), nothing(), stopped()], "wait 2s");
    }
    let unsure = seen(Some(Step::Destroy), 2, &[free(), nothing()], JobSays::Died);
    assert_eq!(unsure.reason(T0 + seconds(2)), "no word from server-002 (refused), server-003");
}

#[test]
fn a_member_of_another_cluster_stops_it_at_once() {
    let theirs = Says::InCluster(cluster_of(&[2, 9]));
    for step in [None].into_iter().chain(STEPS.map(Some)) {
        for job in [JobSays::Running, JobSays::Died] {
            let cluster = seen(step, 2, &[in_ours(), theirs.clone(), free()], job);
            cluster.check(T0 + seconds(2), "stop member_of_another_cluster");
        }
    }
}

#[test]
fn what_cant_be_taken_down_in_time_is_a_persons_business() {
    let table = [
        (vec![in_ours(); 3], "members still belong to it"),
        (vec![free(), nothing(), free()], "no word from server-002 (refused)"),
    ];
    for (members, left) in table {
        let cluster = seen(Some(Step::Unconfigure), 600, &members, JobSays::Died);
        cluster.check(T0 + minutes(10), "stop clean_up_failed");
        let expected = format!("a create failed (it failed), and what it left can't be taken down: {left}");
        assert_eq!(cluster.reason(T0 + minutes(10)), expected);
    }
    // Free at last: late, and still good.
    check(Some(Step::Destroy), 600, &vec![free(); 3], "do CleanStep(RestartGenesis)");
    check(Some(Step::RestartGenesis), 600, &vec![free(); 3], "do NextRound");
}

#[test]
fn only_what_a_create_of_ours_left_is_touched() {
    let foreign = |change: fn(&mut FormationAttempt)| {
        for step in [None].into_iter().chain(STEPS.map(Some)) {
            let named = Says::InCluster(ClusterSeen { name: Some("prod".into()), ..cluster_of(&[1, 2, 3]) });
            for members in [vec![named; 3], vec![free(); 3], vec![in_ours(); 3]] {
                let cluster = seen(step, 2, &members, JobSays::Running).with(|c| change(c.attempt()));
                let decision = cluster.decide(T0 + seconds(2));
                assert!(matches!(decision, Decision::NeedsOperator(_)), "{decision:?}");
            }
        }
    };
    foreign(|attempt| attempt.ours = false);
    foreign(|attempt| attempt.asked_at = None);
    foreign(|attempt| attempt.cleaning = None);
}

#[test]
fn the_deadline_of_formation_ends_a_clean_up_too() {
    let late = T0 + minutes(30);
    let cluster = Cluster::cleaning(Some(Step::Stop)).with(|c| {
        let cleaning = c.attempt().cleaning.as_mut().expect("it cleans");
        (cleaning.since, cleaning.at) = (late - minutes(1), late - minutes(1));
    });
    cluster.looked_at(late, None, &vec![in_ours(); 3]).job(JobSays::Died).check(late, "stop deadline");
}

#[test]
fn a_retry_goes_on_with_what_is_left() {
    let now = T0 + minutes(30);
    let cluster = Cluster::cleaning(Some(Step::Stop)).retried(ClusterPhase::Forming, FormationChoice::Auto, now);
    assert_eq!(cluster.record.formation.as_ref().map(|a| (a.state, a.round)), Some((State::LookFirst, 0)));
    let half = cluster.looked_at(now, None, &[stopped(), free(), free()]).job(failed(Advice::CleanUp));
    half.check(now, "do Clean");
}
