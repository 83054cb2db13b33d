//! The way from prepared nodes to a cluster that says it is up: check, ask, doubt, follow.

use crate::rig::*;
use metalform_model::{FormationState as State, MemberSays as Says, *};

const JOBS_WITHOUT_A_WORD: [JobSays; 2] = [JobSays::Died, JobSays::Absent];

#[test]
fn only_an_unasked_attempt_that_is_fit_asks() {
    let unasked = Cluster::forming(State::Unasked);
    unasked.check(T0, "do CheckBefore");
    unasked.clone().fit().check(T0, "do Ask");
    assert!(!unasked.looks(T0).formation);
    for state in ATTEMPT_STATES.into_iter().filter(|state| *state != State::Unasked) {
        let cluster = Cluster::asked(state).with(|c| {
            c.attempt().cleaning = Some(Cleaning { why: "w".into(), since: T0, step: None, at: T0 });
        });
        assert!(cluster.looks(T0).formation, "{state:?}");
        assert!(matches!(cluster.decide(T0), Decision::Wait { .. }), "{state:?}");
    }
}

#[test]
fn a_forming_cluster_is_looked_at_every_two_seconds() {
    let cluster = Cluster::forming(State::Accepted).looked(None, &[]);
    assert!(!cluster.looks(T0 + seconds(1)).formation);
    assert!(cluster.looks(T0 + seconds(2)).formation);
    cluster.check(T0, "wait 2s");
}

#[test]
fn a_look_whose_password_was_refused_is_repeated_once_a_minute_later() {
    for state in ATTEMPT_STATES.into_iter().filter(|state| *state != State::Unasked) {
        let refused = |times: u32| {
            Cluster::asked(state).looked(None, &vec![nothing(); 3]).with(|c| {
                c.attempt().refusals_in_a_row = times;
                c.attempt().seen.as_mut().expect("a look").refused = true;
                c.attempt().cleaning = Some(Cleaning { why: "w".into(), since: T0, step: None, at: T0 });
            })
        };
        assert!(!refused(1).looks(T0 + seconds(59)).formation);
        assert!(refused(1).looks(after(1)).formation);
        refused(1).check(T0, "wait 60s");
        refused(2).check(T0, "stop credentials_refused");
        assert!(refused(2).reason(T0).starts_with("a password was refused twice: server-001: refused; server-002"));
    }
}

#[test]
fn checks_whose_password_was_refused_are_repeated_once_a_minute_later() {
    let refused = |at: Timestamp| {
        Cluster::forming(State::Unasked).checked(&[true, false], T0, at).with(|c| {
            c.attempt().before.as_mut().expect("checks").checks[1].refused = true;
        })
    };
    refused(T0).check(T0, "wait 60s");
    refused(T0).check(after(1), "do CheckBefore");
    refused(after(1)).check(after(1), "stop credentials_refused");
    assert_eq!(refused(after(1)).reason(after(1)), "a password was refused twice: clocks? No: 9 s apart");
}

#[test]
fn checks_that_fail_are_made_again_until_their_patience_ends() {
    let unasked = Cluster::forming(State::Unasked);
    let failing = |at: Timestamp| unasked.clone().checked(&[true, false], T0, at);
    failing(T0).check(T0, "wait 2s");
    assert_eq!(failing(T0).reason(T0), "not fit to form yet: clocks? No: 9 s apart");
    failing(T0).check(T0 + seconds(2), "do CheckBefore");
    // A check is made after the patience has ended before that is held against the nodes.
    failing(T0 + seconds(179)).check(T0 + seconds(181), "do CheckBefore");
    failing(T0 + seconds(180)).check(T0 + seconds(180), "stop not_fit_to_form");
    assert_eq!(failing(after(3)).reason(after(3)), "nothing was created: clocks? No: 9 s apart");
    unasked.checked(&[true, true], T0, after(3)).check(after(3), "do Ask");
}

#[test]
fn checks_are_made_again_for_every_create_and_for_every_attempt() {
    let asked = Cluster::asked(State::Accepted);
    let mut again = asked.retried(ClusterPhase::Forming, FormationChoice::Auto, after(1));
    assert_eq!(again.attempt().before, None);
    again.attempt().state = State::Unasked;
    again.check(after(1), "do CheckBefore");
}

#[test]
fn a_refused_request_is_not_sent_to_another_node() {
    let refusal = Refusal { server_id: "server-001".into(), error: "bad name".into(), permanent: true };
    let cluster = Cluster::forming(State::Unasked).fit().with(|c| {
        c.attempt().refusals.push(refusal);
        c.attempt().entry = 1;
    });
    cluster.check(T0, "stop formation_refused");
    assert_eq!(cluster.reason(T0), "server-001: bad name");
}

#[test]
fn when_every_node_has_failed_to_take_it_the_operator_is_told_what_each_said() {
    let mut cluster = Cluster::forming(State::Unasked).fit();
    for n in 1..=3 {
        cluster.check(T0, "do Ask");
        let refusal = Refusal { server_id: server(n), error: format!("{n}"), permanent: false };
        cluster.attempt().refusals.push(refusal);
        cluster.attempt().entry = n;
    }
    cluster.check(T0, "stop formation_refused");
    assert_eq!(cluster.reason(T0), "no node took the create request; server-001: 1; server-002: 2; server-003: 3");
}

mod in_doubt {
    use super::*;

    fn doubt() -> Cluster {
        Cluster::asked(State::InDoubt)
    }

    #[test]
    fn nothing_is_done_before_a_look() {
        doubt().check(after(1), "wait 1s");
    }

    #[test]
    fn a_create_that_left_a_trace_has_arrived() {
        let arrived =
            [JobSays::Running, JobSays::Succeeded, JobSays::Died, failed(Advice::Wait), failed(Advice::DontRetry)];
        for job in arrived {
            for members in [vec![free(); 3], vec![nothing(); 3], vec![in_ours(); 3]] {
                doubt().looked(None, &members).job(job.clone()).check(T0, "do Adopt");
            }
        }
    }

    #[test]
    fn without_a_trace_the_next_is_asked_once_every_member_was_seen_free_for_long_enough() {
        let free = vec![free(); 3];
        for job in [None, Some(JobSays::Absent)] {
            let seen = |at: Timestamp| {
                let seen = doubt().looked_at(at, None, &free);
                if let Some(job) = &job { seen.job(job.clone()) } else { seen }
            };
            for at in [1, 15, 29] {
                seen(T0 + seconds(at)).check(T0 + seconds(at), "wait 2s");
            }
            // Seen free a moment before the request may still have had its effect.
            seen(T0 + seconds(29)).check(T0 + seconds(30), "wait 1s");
            seen(T0 + seconds(30)).check(T0 + seconds(30), "do NextEntry");
        }
        assert_eq!(
            doubt().looked_at(T0, None, &free).reason(T0),
            "every member says it is in no cluster; the request may still be at work: asked, and nothing came back"
        );
    }

    #[test]
    fn a_trace_that_cant_be_looked_at_keeps_the_next_from_being_asked() {
        let seen = doubt().looked_at(after(5), None, &vec![free(); 3]).job(unknown());
        seen.check(after(5), "wait 2s");
        assert_eq!(seen.reason(after(5)), "can't tell whether the create request arrived: no session");
    }

    #[test]
    fn nobody_is_asked_again_before_every_member_says_that_it_belongs_to_no_cluster() {
        let unsure: [&[Says]; 4] = [
            &[],
            &[free(), free()],
            &[free(), nothing(), free()],
            &[free(), free(), Says::InCluster(cluster_seen(None, None))],
        ];
        for members in unsure {
            for state in [State::InDoubt, State::LookFirst] {
                Cluster::forming(state).looked_at(after(1), None, members).check(after(1), "wait 2s");
            }
        }
    }

    #[test]
    fn who_said_nothing_is_named() {
        let cluster = doubt().looked(None, &[free(), nothing()]);
        let expected = "can't tell whether the create request arrived: no word from server-002 (refused), server-003";
        assert_eq!(cluster.reason(T0), expected);
    }

    #[test]
    fn one_word_of_our_cluster_settles_the_doubt_where_a_driver_leaves_no_trace() {
        for state in [State::InDoubt, State::LookFirst] {
            let member = [nothing(), named("prod", "STARTING"), free()];
            Cluster::forming(state).looked(None, &member).check(T0, "do Adopt");
            Cluster::forming(state).looked(vip_says("UP"), &[]).check(T0, "do Adopt");
        }
    }

    #[test]
    fn a_cluster_of_all_members_settles_it_whatever_the_trace_says() {
        for job in [JobSays::Absent, unknown()] {
            doubt().looked(None, &vec![in_ours(); 3]).job(job.clone()).check(T0, "do Adopt");
            let half = doubt().looked(None, &half()).job(job);
            half.check(T0, "wait 2s");
            assert_eq!(half.reason(T0), "a cluster of ours is in the making");
        }
    }
}

mod following {
    use super::*;

    fn following(at: Timestamp, members: &[Says], job: JobSays) -> Cluster {
        Cluster::asked(State::Accepted).looked_at(at, None, members).job(job)
    }

    #[test]
    fn the_cluster_has_the_last_word() {
        let seen = |status: Option<&str>| {
            Cluster::forming(State::Accepted).looked(Some(cluster_seen(Some("prod"), status)), &[])
        };
        seen(Some("UP")).check(T0, "move verifying");
        seen(Some("FAILED")).check(T0, "stop formation_failed");
        for status in [None, Some("STARTING"), Some("up")] {
            seen(status).check(T0, "wait 2s");
        }
        assert_eq!(seen(Some("STARTING")).reason(T0), "Cluster status: STARTING");
        let unanswered = Cluster::forming(State::Accepted).looked(None, &[]);
        assert_eq!(unanswered.reason(T0), "the cluster's address doesn't answer yet");
        for job in [JobSays::Running, JobSays::Died, failed(Advice::DontRetry), unknown()] {
            seen(Some("UP")).job(job).check(T0, "move verifying");
        }
    }

    #[test]
    fn a_create_that_isnt_known_to_have_ended_is_followed_whatever_the_members_say() {
        for job in [JobSays::Running, JobSays::Succeeded, unknown()] {
            for members in [vec![free(); 3], half(), vec![in_ours(); 3], vec![nothing(); 3]] {
                following(after(29), &members, job.clone()).check(after(29), "wait 2s");
            }
        }
    }

    #[test]
    fn a_request_that_is_wrong_is_not_repeated() {
        for members in [vec![free(); 3], half(), vec![nothing(); 3]] {
            following(T0, &members, failed(Advice::DontRetry)).check(T0, "stop formation_refused");
        }
    }

    #[test]
    fn what_a_failed_create_left_is_taken_down_once_every_member_has_spoken() {
        for advice in [Advice::Wait, Advice::CleanUp] {
            for members in [vec![free(); 3], half(), vec![in_ours(); 3]] {
                following(T0, &members, failed(advice)).check(T0, "do Clean");
            }
            let unsure = following(T0, &[in_ours(), nothing(), free()], failed(advice));
            unsure.check(T0, "wait 2s");
            assert_eq!(unsure.reason(T0), "no disk; no word from server-002 (refused)");
            let theirs = named("theirs", "UP");
            following(T0, &[theirs, free(), free()], failed(advice)).check(T0, "stop member_of_another_cluster");
        }
    }

    #[test]
    fn a_create_that_died_may_have_done_all_that_matters() {
        for job in JOBS_WITHOUT_A_WORD {
            following(T0, &vec![free(); 3], job.clone()).check(T0, "do Clean");
            following(T0, &half(), job.clone()).check(T0, "do Clean");
            let whole = |at: Timestamp| following(at, &vec![in_ours(); 3], job.clone());
            let last = Timestamp(after(10).0 - 1);
            whole(last).check(last, "wait 2s");
            whole(after(10)).check(after(10), "do Clean");
        }
    }

    #[test]
    fn a_whole_cluster_of_an_earlier_attempt_has_its_time_again() {
        let jobs = [JobSays::Died, JobSays::Absent, failed(Advice::CleanUp)];
        for job in jobs {
            let again = Cluster::asked(State::Accepted)
                .retried(ClusterPhase::Forming, FormationChoice::Auto, after(60))
                .with(|c| c.attempt().state = State::Accepted);
            let whole = |at: Timestamp| again.clone().looked_at(at, None, &vec![in_ours(); 3]).job(job.clone());
            let last = Timestamp(after(70).0 - 1);
            whole(last).check(last, "wait 2s");
            whole(after(70)).check(after(70), "do Clean");
        }
    }

    #[test]
    fn three_creates_and_no_more() {
        let round = |round: u32, members: &[Says]| {
            following(T0, members, failed(Advice::CleanUp)).with(|c| {
                c.attempt().round = round;
                let refusal = |n: u32| Refusal { server_id: server(1), error: format!("{n}"), permanent: false };
                c.attempt().refusals = (0..round).map(refusal).collect();
            })
        };
        for members in [vec![free(); 3], half(), vec![in_ours(); 3]] {
            for n in [0, 1] {
                round(n, &members).check(T0, "do Clean");
            }
            round(2, &members).check(T0, "stop formation_failed");
        }
        let expected = "3 creates failed; server-001: 0; server-001: 1; no disk";
        assert_eq!(round(2, &half()).reason(T0), expected);
    }
}

#[test]
fn formation_has_a_deadline_in_every_state() {
    let table = [
        (State::Unasked, "the cluster's address doesn't answer yet"),
        (State::InDoubt, "can't tell whether the create request arrived: no word from"),
        (State::LookFirst, "can't tell what is there already: no word from"),
        (State::Accepted, "the cluster's address doesn't answer yet"),
        (State::Cleaning, "no word from"),
    ];
    for (state, awaited) in table {
        let cluster = Cluster::asked(state).looked_at(after(30), None, &[nothing(), nothing(), nothing()]).with(|c| {
            c.attempt().cleaning = Some(Cleaning { why: "w".into(), since: after(25), step: None, at: after(25) });
        });
        cluster.check(after(30), "stop deadline");
        let expected = format!("Cluster creation timed out after 30m 00s; {awaited}");
        let reason = cluster.reason(after(30));
        assert!(reason.starts_with(&expected), "{reason}");
    }
}

#[test]
fn a_cluster_that_got_up_while_we_were_down_is_up() {
    let late = after(300);
    Cluster::forming(State::InDoubt).looked(vip_says("UP"), &[]).check(late, "do Adopt");
    Cluster::forming(State::Accepted).looked(vip_says("UP"), &[]).check(late, "move verifying");
    Cluster::asked(State::LookFirst).looked(vip_says("UP"), &vec![in_ours(); 3]).check(late, "do Adopt");
}
