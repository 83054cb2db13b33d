//! The barrier, formation, the checks at the end, and letting go.

use crate::rig::*;
use metalform_model::{ClusterAction as Action, FormationState as State, MemberSays as Says, NodePhase::*, *};

fn word(decision: &ClusterDecision, now: Timestamp) -> String {
    match decision {
        Decision::Do(action) => format!("do {action:?}"),
        Decision::MoveTo(phase, _) => format!("move {}", phase.as_str()),
        Decision::NeedsOperator(failure) => format!("stop {}", failure.code),
        Decision::Wait { until, .. } => wait_word(*until, now),
    }
}

#[track_caller]
fn check(cluster: &Cluster, now: Timestamp, expected: &str) {
    assert_eq!(word(&cluster.decide(now), now), expected);
}

#[track_caller]
fn reason(cluster: &Cluster, now: Timestamp) -> String {
    match cluster.decide(now) {
        Decision::Wait { reason, .. } | Decision::MoveTo(_, reason) => reason,
        Decision::NeedsOperator(failure) => failure.reason,
        Decision::Do(action) => panic!("{action:?}"),
    }
}

fn ours(status: &str) -> ClusterSeen {
    cluster_seen(Some("prod"), Some(status))
}

fn nothing() -> Says {
    Says::Nothing { error: "refused".into() }
}

#[test]
fn the_barrier_waits_for_every_node_to_come_to_an_end() {
    for on_its_way in [Requested, Ordered, WaitingForBoot, Imaging, WaitingForCvm] {
        for others in [[Ready, Ready, Ready], [Ready, Failed, Failed], [Failed, Failed, Failed]] {
            let cluster = Cluster::of(&[others[0], others[1], others[2], on_its_way]);
            check(&cluster, T0, "wait");
        }
    }
    let cluster = Cluster::of(&[Ready, Imaging, Failed, WaitingForCvm]);
    assert_eq!(reason(&cluster, T0), "1/4 nodes ready, waits for server-002, server-004");
}

#[test]
fn the_barrier_passes_with_the_quorum_the_plan_names() {
    let table = [
        (3, vec![Ready, Ready, Ready], "move forming"),
        (3, vec![Ready, Ready, Ready, Failed], "move forming"),
        (4, vec![Ready, Ready, Ready, Failed], "stop too_few_nodes"),
        (3, vec![Ready, Ready, Failed], "stop too_few_nodes"),
        (3, vec![Failed, Failed, Failed], "stop too_few_nodes"),
        (1, vec![Ready], "move forming"),
    ];
    for (min_nodes, phases, expected) in table {
        let cluster = Cluster::of(&phases).with(|c| c.plan.cluster.min_nodes = min_nodes);
        check(&cluster, T0, expected);
    }
}

#[test]
fn a_passed_deadline_is_told_in_the_documented_words_with_which_and_why() {
    let cluster = Cluster::of(&[Ready; 3]).fail_node(2, "deadline", "waited 1h 00m for its controller VM to be ready");
    let Decision::NeedsOperator(failure) = cluster.decide(T0) else { panic!() };
    assert!(failure.is_deadline());
    assert_eq!(
        failure.reason,
        "Timeout waiting for nodes to be ready. Only 2/3 ready; \
         server-003 in imaging: waited 1h 00m for its controller VM to be ready"
    );
    assert_eq!(failure.in_phase, "waiting_for_nodes");
    let cluster = Cluster::of(&[Ready; 3]).fail_node(0, "installer_failed", "no disk");
    assert_eq!(reason(&cluster, T0), "Only 2/3 nodes became ready; server-001 in imaging: no disk");
}

#[test]
fn a_plan_on_command_waits_for_the_command() {
    let cluster = Cluster::of(&[Ready; 3]).with(|c| c.plan.cluster.start = Start::OnCommand);
    check(&cluster, T0, "wait");
    assert_eq!(reason(&cluster, T0), "3/3 nodes ready; waits for `metalform form prod`");
    check(&cluster.with(|c| c.intents.form = true), T0, "move forming");
    let early = Cluster::of(&[Ready, Ready, Imaging]).with(|c| c.intents.form = true);
    check(&early, T0, "wait");
}

#[test]
fn the_clusters_address_is_reserved_first_and_its_reservation_has_a_deadline() {
    for vip in [None, Some(ResourceState::Intended), Some(ResourceState::Gone), Some(ResourceState::Deleting)] {
        let cluster = Cluster::of(&[Requested; 3]).with(|c| c.vip = vip.map(|state| resource(Slot::Vip, state)));
        check(&cluster, T0, "do EnsureVip");
        check(&cluster, T0 + minutes(30) - seconds(1), "do EnsureVip");
        check(&cluster, T0 + minutes(30), "stop deadline");
    }
    let troubled = Cluster::of(&[Ready; 3]).with(|c| {
        c.vip = None;
        let (doing, error) = ("reserve the cluster's address".into(), "503".into());
        c.record.trouble = Some(Trouble { doing, error, failures: 2, next_at: T0 + minutes(31) });
    });
    check(&troubled, T0, "wait 1800s");
    assert_eq!(
        reason(&troubled, T0 + minutes(30)),
        "waited 30m 00s for the cluster's address: reserve the cluster's address: 503 (tried 2 times)"
    );
    let existing = Cluster::of(&[Ready; 3]).with(|c| {
        c.vip = None;
        c.plan.nodes.iter_mut().for_each(|n| n.existing = true);
    });
    check(&existing, T0, "move forming");
}

#[test]
fn that_all_servers_are_ordered_is_told_once() {
    let untold = |phases: &[NodePhase]| Cluster::of(phases).with(|c| c.record.nodes_waiting_told = false);
    check(&untold(&[Ordered, Imaging, Requested]), T0, "wait");
    check(&untold(&[Ordered, Imaging, Failed]), T0, "do TellNodesWaiting");
    check(&Cluster::of(&[Ordered, Imaging, Failed]), T0, "wait");
}

#[test]
fn the_ready_nodes_take_part_in_the_plans_order() {
    let forming = |phases: &[NodePhase]| Cluster::of(phases).with(|c| c.record.phase = ClusterPhase::Forming);
    let members = vec!["server-001".to_owned(), "server-003".to_owned()];
    let prepare = Action::Prepare { members: members.clone(), in_doubt: false };
    assert_eq!(forming(&[Ready, Failed, Ready]).decide(T0), Decision::Do(prepare));
    let existing = forming(&[Ready, Failed, Ready]).with(|c| c.plan.nodes[2].existing = true);
    let prepare = Action::Prepare { members, in_doubt: true };
    assert_eq!(existing.decide(T0), Decision::Do(prepare), "an existing node may be in a cluster already");
}

#[test]
fn only_an_unasked_attempt_asks() {
    check(&Cluster::forming(State::Unasked), T0, "do Ask");
    assert!(!Cluster::forming(State::Unasked).looks(T0).formation);
    for state in [State::LookFirst, State::InDoubt, State::Accepted] {
        let cluster = Cluster::forming(state);
        assert!(cluster.looks(T0).formation, "{state:?}");
        assert!(matches!(cluster.decide(T0), Decision::Wait { .. }), "{state:?}");
    }
}

#[test]
fn a_forming_cluster_is_looked_at_every_two_seconds() {
    let cluster = Cluster::forming(State::Accepted).looked(None, &[]);
    assert!(!cluster.looks(T0 + seconds(1)).formation);
    assert!(cluster.looks(T0 + seconds(2)).formation);
    check(&cluster, T0, "wait 2s");
}

#[test]
fn nobody_is_asked_again_before_every_member_says_that_it_belongs_to_no_cluster() {
    let unsure: [&[Says]; 4] = [
        &[],
        &[Says::Unconfigured, Says::Unconfigured],
        &[Says::Unconfigured, nothing(), Says::Unconfigured],
        &[Says::Unconfigured, Says::Unconfigured, Says::InCluster(cluster_seen(None, None))],
    ];
    for members in unsure {
        for state in [State::InDoubt, State::LookFirst] {
            check(&Cluster::forming(state).looked(None, members), T0, "wait 2s");
        }
    }
    let says_unnamed = Says::InCluster(cluster_seen(Some("Unnamed"), Some("UNCONFIGURED")));
    for all in [vec![Says::Unconfigured; 3], vec![says_unnamed; 3]] {
        check(&Cluster::forming(State::InDoubt).looked(None, &all), T0, "do NextEntry");
        check(&Cluster::forming(State::LookFirst).looked(None, &all), T0, "do ClearToAsk");
    }
}

#[test]
fn who_said_nothing_is_named() {
    let cluster = Cluster::forming(State::InDoubt).looked(None, &[Says::Unconfigured, nothing()]);
    let expected = "can't tell whether the create request arrived: no word from server-002 (refused), server-003";
    assert_eq!(reason(&cluster, T0), expected);
}

#[test]
fn one_word_of_our_cluster_settles_the_doubt() {
    for state in [State::InDoubt, State::LookFirst] {
        let member = [nothing(), Says::InCluster(ours("STARTING")), Says::Unconfigured];
        check(&Cluster::forming(state).looked(None, &member), T0, "do Adopt");
        check(&Cluster::forming(state).looked(Some(ours("UP")), &[]), T0, "do Adopt");
    }
}

#[test]
fn a_member_of_another_cluster_is_a_persons_business() {
    let other = Says::InCluster(cluster_seen(Some("theirs"), Some("UP")));
    for state in [State::InDoubt, State::LookFirst] {
        let cluster = Cluster::forming(state).looked(None, &[Says::Unconfigured, other.clone()]);
        check(&cluster, T0, "stop member_of_another_cluster");
        assert_eq!(reason(&cluster, T0), "server-002 already belongs to the cluster theirs");
    }
}

#[test]
fn a_refused_request_is_not_sent_to_another_node() {
    let refusal = Refusal { server_id: "server-001".into(), error: "bad name".into(), permanent: true };
    let cluster = Cluster::forming(State::Unasked).with(|c| {
        c.attempt().refusals.push(refusal);
        c.attempt().entry = 1;
    });
    check(&cluster, T0, "stop formation_refused");
    assert_eq!(reason(&cluster, T0), "server-001: bad name");
}

#[test]
fn when_every_node_has_failed_to_take_it_the_operator_is_told_what_each_said() {
    let mut cluster = Cluster::forming(State::Unasked);
    for n in 1..=3 {
        check(&cluster, T0, "do Ask");
        let refusal = Refusal { server_id: format!("server-00{n}"), error: format!("{n}"), permanent: false };
        cluster.attempt().refusals.push(refusal);
        cluster.attempt().entry = n;
    }
    let expected = "no node took the create request; server-001: 1; server-002: 2; server-003: 3";
    check(&cluster, T0, "stop formation_refused");
    assert_eq!(reason(&cluster, T0), expected);
}

#[test]
fn an_accepted_request_is_followed_until_the_cluster_says_up() {
    let seen = |status: Option<&str>| {
        let vip = Some(cluster_seen(Some("prod"), status));
        Cluster::forming(State::Accepted).looked(vip, &[])
    };
    check(&seen(Some("UP")), T0, "move verifying");
    check(&seen(Some("FAILED")), T0, "stop formation_failed");
    for status in [None, Some("STARTING"), Some("up")] {
        check(&seen(status), T0, "wait 2s");
    }
    assert_eq!(reason(&seen(Some("STARTING")), T0), "Cluster status: STARTING");
    let unanswered = Cluster::forming(State::Accepted).looked(None, &[]);
    assert_eq!(reason(&unanswered, T0), "the cluster's address doesn't answer yet");
}

#[test]
fn formation_has_a_deadline_in_every_state() {
    for state in [State::Unasked, State::InDoubt, State::LookFirst, State::Accepted] {
        let cluster = Cluster::forming(state).looked(None, &[nothing(), nothing(), nothing()]);
        check(&cluster, T0 + minutes(30), "stop deadline");
        let expected = "Cluster creation timed out after 30m 00s; the cluster's address doesn't answer yet";
        assert_eq!(reason(&cluster, T0 + minutes(30)), expected);
    }
}

#[test]
fn a_cluster_that_got_up_while_we_were_down_is_up() {
    let late = T0 + minutes(300);
    check(&Cluster::forming(State::InDoubt).looked(Some(ours("UP")), &[]), late, "do Adopt");
    check(&Cluster::forming(State::Accepted).looked(Some(ours("UP")), &[]), late, "move verifying");
}

#[test]
fn a_cluster_is_ready_once_every_check_holds() {
    let verifying = |checks: &[bool]| {
        Cluster::forming(State::Accepted).with(|c| {
            c.record.enter(ClusterPhase::Verifying, "x".into(), T0 + minutes(29));
            let check = |ok: &bool| Check { name: "name".into(), ok: *ok, seen: "seen".into() };
            c.record.checks = checks.iter().map(check).collect();
        })
    };
    check(&verifying(&[]), T0 + minutes(29), "do Verify");
    check(&verifying(&[]), T0 + minutes(31), "do Verify");
    check(&verifying(&[]), T0 + minutes(59), "stop deadline");
    check(&verifying(&[true, false]), T0 + minutes(29), "do Verify");
    check(&verifying(&[true, false]), T0 + minutes(30), "stop deadline");
    assert_eq!(reason(&verifying(&[false]), T0 + minutes(30)), "the cluster is up, but: name: seen");
    check(&verifying(&[true, true]), T0 + minutes(90), "move ready");
}

#[test]
fn checks_that_fail_are_repeated_with_patience() {
    let cluster = Cluster::forming(State::Accepted).with(|c| {
        c.record.enter(ClusterPhase::Verifying, "x".into(), T0);
        c.record.checks = vec![Check { name: "n".into(), ok: false, seen: "s".into() }];
        let (doing, error) = ("pass the checks at the end".into(), "n: s".into());
        c.record.trouble = Some(Trouble { doing, error, failures: 1, next_at: T0 + seconds(4) });
    });
    check(&cluster, T0, "wait 4s");
    check(&cluster, T0 + seconds(4), "do Verify");
}

#[test]
fn a_cluster_is_let_go_once_its_nodes_are() {
    let releasing = |phases: &[NodePhase], vip: Option<ResourceState>| {
        Cluster::of(phases).with(|c| {
            c.intents.absent = true;
            c.record.phase = ClusterPhase::Releasing;
            c.vip = vip.map(|state| resource(Slot::Vip, state));
        })
    };
    check(&releasing(&[Released, Releasing, Failed], Some(ResourceState::Created)), T0, "wait");
    for state in [ResourceState::Intended, ResourceState::Created, ResourceState::Deleting] {
        check(&releasing(&[Released; 3], Some(state)), T0, "do RemoveVip");
    }
    check(&releasing(&[Released; 3], Some(ResourceState::Gone)), T0, "move released");
    check(&releasing(&[Released; 3], None), T0, "move released");
}

#[test]
fn every_phase_is_left_at_once_when_the_cluster_is_to_be_gone() {
    for phase in CLUSTER_PHASES {
        let cluster = Cluster::forming(State::InDoubt).with(|c| {
            c.intents.absent = true;
            c.record.phase = phase;
            let (doing, error) = ("x".into(), "y".into());
            c.record.trouble = Some(Trouble { doing, error, failures: 1, next_at: T0 + minutes(9) });
        });
        let expected = match phase {
            ClusterPhase::Releasing => "wait 540s",
            ClusterPhase::Released => "wait 540s",
            _ => "move releasing",
        };
        check(&cluster, T0, expected);
        assert!(!cluster.looks(T0).formation);
    }
}

#[test]
fn a_settled_cluster_rests() {
    for phase in [ClusterPhase::Ready, ClusterPhase::NeedsOperator, ClusterPhase::Failed, ClusterPhase::Released] {
        let cluster = Cluster::forming(State::Accepted).with(|c| c.record.phase = phase);
        assert!(phase.is_settled());
        check(&cluster, T0 + minutes(500), "wait");
    }
}
