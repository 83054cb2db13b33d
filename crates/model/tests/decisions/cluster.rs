//! The barrier, what is set and checked at the end, and letting go.

use crate::rig::*;
use metalform_model::{FormationState as State, NodePhase::*, *};

#[track_caller]
fn check(cluster: &Cluster, now: Timestamp, expected: &str) {
    cluster.check(now, expected);
}

#[track_caller]
fn reason(cluster: &Cluster, now: Timestamp) -> String {
    cluster.reason(now)
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

/// Up since `since`, everything set and changed, and the checks at the end came out like this.
fn verifying(since: Timestamp, checks: &[bool]) -> Cluster {
    Cluster::asked(State::Accepted).all_secured().with(|c| {
        c.record.enter(ClusterPhase::Verifying, "x".into(), since);
        c.attempt().settled = true;
        let check = |ok: &bool| a_check("name", *ok, "seen");
        c.record.checks = checks.iter().map(check).collect();
    })
}

#[test]
fn a_cluster_is_ready_once_every_check_holds() {
    let verifying = |checks: &[bool]| verifying(T0 + minutes(29), checks);
    check(&verifying(&[]), T0 + minutes(29), "do Verify");
    check(&verifying(&[]), T0 + minutes(31), "do Verify");
    check(&verifying(&[]), T0 + minutes(59), "stop deadline");
    check(&verifying(&[true, false]), T0 + minutes(29), "do Verify");
    check(&verifying(&[true, false]), T0 + minutes(30), "stop deadline");
    assert_eq!(reason(&verifying(&[false]), T0 + minutes(30)), "the cluster is up in part only: name? No: seen");
    check(&verifying(&[true, true]), T0 + minutes(90), "move ready");
}

#[test]
fn a_finished_cluster_is_settled_then_secured_then_checked() {
    let mut cluster = verifying(T0, &[]).with(|c| {
        c.attempt().settled = false;
        c.record.accounts.retain(|r| r.account != Account::PrismAdmin);
    });
    check(&cluster, T0, "do Settle");
    cluster.attempt().settled = true;
    check(&cluster, T0, "do Secure { places: [Prism] }");
    cluster = cluster.all_secured();
    check(&cluster, T0, "do Verify");
}

#[test]
fn a_setting_that_fails_for_ever_ends_at_the_deadline_of_the_phase() {
    let cluster = verifying(T0 + minutes(20), &[]).with(|c| {
        c.attempt().settled = false;
        let (doing, error) = ("settle the finished cluster".into(), "busy".into());
        c.record.trouble = Some(Trouble { doing, error, failures: 6, next_at: T0 + minutes(51) });
    });
    check(&cluster, T0 + minutes(29), "wait 60s");
    check(&cluster, T0 + minutes(49), "wait 1s");
    check(&cluster, T0 + minutes(50), "stop deadline");
}

#[test]
fn checks_that_fail_are_repeated_with_patience() {
    let cluster = verifying(T0, &[false]).with(|c| {
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
