//! Before a node is asked: what is there already, from before us or from an earlier attempt.

use crate::rig::*;
use metalform_model::{FormationState as State, MemberSays as Says, *};

fn first() -> Cluster {
    Cluster::forming(State::LookFirst).by(Driver::CvmSsh)
}

/// After an attempt that asked at `T0` and ended a little later without a cluster.
fn again(job: JobSays, members: &[Says]) -> Cluster {
    let stopped = Cluster::asked(State::Accepted);
    let now = after(5);
    stopped.retried(ClusterPhase::Forming, FormationChoice::Auto, now).looked_at(now, None, members).job(job)
}

#[test]
fn before_the_first_look_nothing_is_done() {
    first().check(T0, "wait 1s");
    assert!(first().looks(T0).formation);
}

#[test]
fn free_members_may_be_asked_after_the_checks() {
    let unconfigured = named("Unnamed", "UNCONFIGURED");
    for says in [free(), unconfigured] {
        let says = vec![says; 3];
        first().looked(None, &says).check(T0, "do ClearToAsk");
        for job in [JobSays::Absent, JobSays::Died, JobSays::Succeeded, failed(Advice::DontRetry)] {
            again(job, &says).check(after(5), "do ClearToAsk");
        }
    }
}

#[test]
fn free_members_prove_nothing_while_a_create_may_be_at_work() {
    let unknown = again(unknown(), &[free(), free(), free()]);
    unknown.check(after(5), "wait 2s");
    assert_eq!(unknown.reason(after(5)), "can't tell what became of the create before this one: no session");
    unknown.check(after(35), "stop deadline");
}

#[test]
fn our_cluster_is_adopted() {
    let by_name = vec![named("prod", "STARTING"); 3];
    first().looked(None, &by_name).check(T0, "do Adopt");
    for job in [JobSays::Running, JobSays::Succeeded, JobSays::Died, unknown(), failed(Advice::CleanUp)] {
        again(job, &[in_ours(), in_ours(), in_ours()]).check(after(5), "do Adopt");
    }
}

#[test]
fn a_cluster_without_a_name_is_ours_only_if_it_came_after_we_asked() {
    let nameless = [in_ours(), in_ours(), in_ours()];
    first().looked(None, &nameless).check(T0, "stop member_of_another_cluster");
    assert_eq!(
        first().looked(None, &nameless).reason(T0),
        "server-001 already belongs to a cluster of 10.240.0.11, 10.240.0.12, 10.240.0.13"
    );
    first().with(|c| c.attempt().ours = true).looked(None, &nameless).check(T0, "do Adopt");
}

#[test]
fn a_create_of_ours_that_is_at_work_is_followed_and_one_that_never_ends_is_ended() {
    for members in [vec![free(); 3], half(), vec![nothing(); 3]] {
        let running = again(JobSays::Running, &members);
        running.check(after(5), "do Adopt");
        let overdue = running.with(|c| c.attempt().started_at = after(30));
        overdue.check(Timestamp(after(30).0 - 1), "do Adopt");
        overdue.check(after(30), "do Clean");
        let theirs = overdue.with(|c| c.attempt().ours = false);
        let decision = theirs.decide(after(30));
        assert!(!matches!(decision, Decision::Do(ClusterAction::Clean { .. })), "{decision:?}");
    }
}

#[test]
fn half_of_what_an_earlier_create_of_ours_made_is_taken_down() {
    for job in [JobSays::Absent, JobSays::Died, JobSays::Succeeded, failed(Advice::CleanUp)] {
        again(job, &half()).check(after(5), "do Clean");
    }
    again(unknown(), &half()).check(after(5), "wait 2s");
}

#[test]
fn half_of_what_somebody_else_made_is_a_persons_business() {
    let half = [named("prod", "STARTING"), free(), free()];
    for driver in Driver::ALL {
        let cluster = Cluster::forming(State::LookFirst).by(driver).looked(None, &half);
        cluster.check(T0, "stop half_a_cluster");
    }
    // With a driver that leaves no trace, half of ours is a create that is still at work.
    let ours = Cluster::forming(State::LookFirst).with(|c| c.attempt().ours = true);
    ours.looked(None, &half).check(T0, "do Adopt");
}

#[test]
fn a_member_of_another_cluster_is_a_persons_business() {
    let table = [
        (named("theirs", "UP"), "the cluster theirs"),
        (Says::InCluster(cluster_of(&[2, 9])), "a cluster of 10.240.0.12, 10.240.0.19"),
        // The name alone doesn't make it ours: it has members that are none of ours.
        (
            Says::InCluster(ClusterSeen { name: Some("prod".into()), ..cluster_of(&[2, 9]) }),
            "a cluster of 10.240.0.12, 10.240.0.19",
        ),
    ];
    for (says, whose) in table {
        for state in [State::InDoubt, State::LookFirst] {
            let cluster = Cluster::forming(state).looked(None, &[free(), says.clone()]);
            cluster.check(T0, "stop member_of_another_cluster");
            assert_eq!(cluster.reason(T0), format!("server-002 already belongs to {whose}"));
        }
        again(JobSays::Running, &[free(), says]).check(after(5), "stop member_of_another_cluster");
    }
}

#[test]
fn who_said_nothing_is_waited_for_until_the_deadline() {
    let cluster = first().looked(None, &[free(), nothing()]);
    cluster.check(T0, "wait 2s");
    let reason = "can't tell what is there already: no word from server-002 (refused), server-003";
    assert_eq!(cluster.reason(T0), reason);
    cluster.check(after(30), "stop deadline");
    assert_eq!(cluster.reason(after(30)), format!("Cluster creation timed out after 30m 00s; {reason}"));
}

#[test]
fn what_was_up_once_is_never_taken_down() {
    for job in [JobSays::Running, JobSays::Died, failed(Advice::CleanUp), JobSays::Absent] {
        let up = Cluster::asked(State::Accepted).with(|c| c.attempt().settled = true);
        let again = up.retried(ClusterPhase::Verifying, FormationChoice::Auto, after(600));
        for members in [vec![free(); 3], vec![in_ours(); 3], half(), vec![nothing(); 3]] {
            let look = |c: Cluster, at| c.looked_at(at, None, &members).job(job.clone());
            for at in [after(600), after(629)] {
                let decision = look(again.clone(), at).decide(at);
                assert!(!matches!(decision, Decision::Do(ClusterAction::Clean { .. })), "{job:?}, {members:?}");
                let adopted = look(again.clone(), at).with(|c| c.attempt().state = State::Accepted);
                let decision = adopted.decide(at);
                assert!(!matches!(decision, Decision::Do(_)), "{job:?}, {members:?}: {decision:?}");
            }
        }
        // Nothing is left of it, by a person's hand: it may be made anew.
        if job != JobSays::Running {
            let gone = again.looked_at(after(600), None, &vec![free(); 3]).job(job);
            gone.check(after(600), "do ClearToAsk");
        }
    }
}

#[test]
fn that_it_was_up_once_is_remembered_over_attempts() {
    let up = Cluster::asked(State::Accepted).retried(ClusterPhase::Verifying, FormationChoice::Auto, after(60));
    let mut later = up.retried(ClusterPhase::Forming, FormationChoice::Auto, after(120));
    later.attempt().state = State::Accepted;
    let died = later.looked_at(after(149), None, &vec![in_ours(); 3]).job(JobSays::Died);
    died.check(after(149), "wait 2s");
}

#[test]
fn a_controller_vm_that_shows_another_key_is_a_persons_business() {
    let other = MemberSays::OtherKey { seen: "abc".into() };
    let cluster = Cluster::forming(FormationState::LookFirst)
        .by(Driver::CvmSsh)
        .looked(None, &[MemberSays::Unconfigured, other, MemberSays::Unconfigured]);
    let Decision::NeedsOperator(failure) = cluster.decide(T0) else { panic!("{:?}", cluster.decide(T0)) };
    assert_eq!(failure.code, Failure::KEY_CHANGED);
    assert!(failure.reason.contains("server-002") && failure.reason.contains("abc"), "{}", failure.reason);
}
