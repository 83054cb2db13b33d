//! Which way to form a cluster is taken: what a controller VM offers, what the plan asks, what the operator asks.

use crate::rig::*;
use metalform_model::{Driver::*, NodePhase::*, Offer::*, *};

const SETTLE: u64 = 30;

fn auto() -> Node {
    Node::in_phase(WaitingForCvm).with(|n| n.choice = FormationChoice::Auto)
}

fn forced(driver: Driver) -> FormationChoice {
    FormationChoice::parse(driver.as_str()).expect("every driver can be asked for")
}

#[test]
fn auto_takes_the_best_that_is_offered_at_once_only_when_no_better_one_can_still_come() {
    for surface in surfaces() {
        let best = Driver::ALL.into_iter().find(|driver| surface.of(*driver) == Offered);
        let better: Vec<Offer> =
            Driver::ALL.into_iter().filter(|d| best.is_none_or(|best| *d < best)).map(|d| surface.of(d)).collect();
        let patience = match best {
            _ if better.contains(&Starting) => 20 * SETTLE,
            _ if better.contains(&Silent) => SETTLE,
            Some(Foundation) => SETTLE,
            _ => 0,
        };
        assert_eq!(choose_driver(&surface, seconds(patience), seconds(SETTLE)), best, "{surface:?}");
        if patience > 0 {
            assert_eq!(choose_driver(&surface, seconds(patience - 1), seconds(SETTLE)), None, "{surface:?}");
        }
    }
}

#[test]
fn what_is_offered_is_looked_at_until_auto_has_chosen_and_then_the_choice_stays() {
    let node = auto();
    assert_eq!(node.looks(T0).cvm, CvmLook { surface: true, probe: None }, "nothing is known of it yet");
    let starting = node.offers(surface(Starting, Refused, Silent), T0);
    assert_eq!(starting.record.cvm.driver, None);
    assert_eq!(starting.looks(T0 + seconds(1)).cvm, CvmLook::default());
    let chosen = starting.offers(surface(Offered, Offered, Offered), T0 + seconds(2));
    assert_eq!(chosen.record.cvm.driver, Some(CvmSsh));
    let probe = Some((CvmSsh, ShowCredentials::No));
    assert_eq!(chosen.looks(T0 + seconds(60)).cvm, CvmLook { surface: false, probe });
}

#[test]
fn foundation_alone_counts_from_when_it_was_the_only_one() {
    let ssh_was_there = auto().offers(surface(Silent, Silent, Offered), T0);
    let stood = |offers: Surface| {
        let mut node = ssh_was_there.clone();
        for n in 1..=SETTLE {
            node = node.offers(offers, T0 + seconds(n));
        }
        node.record.cvm.driver
    };
    assert_eq!(stood(surface(Silent, Silent, Offered)), Some(Foundation));
    // It is the same offer, whatever the ports answer that offer nothing.
    assert_eq!(stood(surface(Refused, Silent, Offered)), Some(Foundation));
    let restarted = ssh_was_there
        .offers(surface(Silent, Silent, Silent), T0 + seconds(10))
        .offers(surface(Silent, Silent, Offered), T0 + seconds(SETTLE));
    assert_eq!(restarted.record.cvm.driver, None, "it was away in between");
}

#[test]
fn a_port_that_answers_now_this_and_now_that_keeps_no_node_from_its_driver() {
    let mut node = auto();
    for n in 0..=SETTLE {
        let ssh = if n % 2 == 0 { Refused } else { Silent };
        node = node.offers(surface(ssh, Refused, Offered), T0 + seconds(n));
    }
    assert_eq!(node.record.cvm.driver, Some(Foundation));
}

#[test]
fn a_forced_driver_is_probed_whatever_is_offered() {
    for driver in Driver::ALL {
        for surface in surfaces() {
            let node = Node::in_phase(WaitingForCvm).with(|n| n.choice = forced(driver)).offers(surface, T0);
            assert_eq!(node.looks(T0).cvm.probe, Some((driver, ShowCredentials::No)));
            assert_eq!(node.record.cvm.driver, None, "auto has chosen nothing");
        }
    }
}

#[test]
fn a_forced_driver_that_the_node_refuses_while_it_offers_others_is_waited_for_with_patience() {
    for driver in Driver::ALL {
        for surface in surfaces() {
            let node = Node::in_phase(WaitingForCvm).with(|n| n.choice = forced(driver)).offers(surface, T0);
            let not_offered = surface.of(driver) == Refused && surface.offered().next().is_some();
            let patience = T0 + minutes(20);
            let last = Timestamp(patience.0 - 1);
            assert!(matches!(node.decide(last), Decision::Wait { .. }), "{driver}, {surface:?}");
            let fails =
                matches!(node.decide(patience), Decision::NeedsOperator(f) if f.code == "formation_not_offered");
            assert_eq!(fails, not_offered, "{driver}, {surface:?}");
        }
    }
}

#[test]
fn patience_with_a_driver_that_isnt_offered_begins_anew_when_it_might_be() {
    let node = |then: Surface| {
        let only_prism = surface(Refused, Offered, Refused);
        Node::in_phase(WaitingForCvm)
            .with(|n| n.choice = FormationChoice::CvmSsh)
            .offers(only_prism, T0)
            .offers(then, T0 + minutes(19))
            .offers(only_prism, T0 + minutes(20))
    };
    let fails = |node: &Node, after: u64| word(&node.decide(T0 + minutes(after)), T0).starts_with("fail");
    assert!(fails(&node(surface(Refused, Offered, Offered)), 20), "it wasn't offered then either");
    for then in [surface(Starting, Offered, Refused), surface(Refused, Refused, Refused)] {
        assert_eq!((fails(&node(then), 39), fails(&node(then), 40)), (false, true));
    }
}

#[test]
fn a_driver_that_isnt_offered_is_named_with_what_is() {
    let node = Node::in_phase(WaitingForCvm)
        .with(|n| n.choice = FormationChoice::CvmSsh)
        .offers(surface(Refused, Offered, Silent), T0);
    let Decision::NeedsOperator(failure) = node.decide(T0 + minutes(20)) else { panic!() };
    assert_eq!(
        failure.reason,
        "the controller VM doesn't offer cvm-ssh, which is asked for (SSH: nothing listens, Prism: answers, Foundation: no \
         answer)"
    );
}

/// A cluster about to begin, of nodes that offer this. Under `auto` each has chosen what it could.
fn beginning(surfaces: &[Surface]) -> Cluster {
    Cluster::of(&vec![Ready; surfaces.len()]).with(|c| {
        c.record.enter(ClusterPhase::Forming, "for the test".into(), T0);
        for (node, surface) in c.nodes.iter_mut().zip(surfaces) {
            node.cvm = CvmProgress::default();
            for at in [T0, T0 + seconds(SETTLE)] {
                node.fold_surface(*surface, FormationChoice::Auto, seconds(SETTLE), at);
            }
        }
    })
}

#[track_caller]
fn takes(cluster: &Cluster, expected: Driver) -> String {
    let members = cluster.nodes.iter().filter(|n| n.phase == Ready).map(|n| n.server_id.clone()).collect::<Vec<_>>();
    match cluster.decide(T0) {
        Decision::Do(ClusterAction::Prepare { members: who, driver, why }) => {
            assert_eq!((who, driver), (members, expected));
            why
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_ready_nodes_take_part_in_the_plans_order() {
    let cluster = Cluster::of(&[Ready, Failed, Ready]).with(|c| c.record.phase = ClusterPhase::Forming);
    assert_eq!(
        takes(&cluster, Prism),
        "all 2 controller VMs offer it (SSH: nothing listens, Prism: answers, Foundation: nothing listens)"
    );
}

#[test]
fn what_all_nodes_chose_is_taken() {
    for surface in surfaces() {
        let cluster = beginning(&[surface; 3]);
        match surface.offered().next() {
            Some(best) => drop(takes(&cluster, best)),
            None => cluster.check(T0, "stop formation_drivers_differ"),
        }
    }
}

#[test]
fn nodes_that_chose_differently_take_the_best_that_all_of_them_offer() {
    let (ssh, prism) = (surface(Offered, Offered, Refused), surface(Refused, Offered, Offered));
    takes(&beginning(&[ssh, prism, ssh]), Prism);
    let differ = beginning(&[ssh, surface(Refused, Refused, Offered)]);
    differ.check(T0, "stop formation_drivers_differ");
    assert_eq!(
        differ.reason(T0),
        "no way to form a cluster is offered by all nodes: server-001 (SSH: answers, Prism: answers, Foundation: nothing \
         listens); server-002 (SSH: nothing listens, Prism: nothing listens, Foundation: answers)"
    );
    let unknown = beginning(&[ssh, ssh]).with(|c| c.nodes[1].cvm = CvmProgress::default());
    unknown.check(T0, "stop formation_drivers_differ");
}

#[test]
fn the_operators_choice_counts_instead_of_the_plans_and_the_plans_instead_of_the_nodes() {
    let nodes = surface(Offered, Offered, Offered);
    for plans in CHOICES {
        let planned = beginning(&[nodes; 3]).with(|c| c.plan.cluster.formation = plans);
        takes(&planned, plans.forced().unwrap_or(CvmSsh));
        for operators in CHOICES {
            let asked = planned.clone().with(|c| c.intents.formation = Some(operators));
            let why = takes(&asked, operators.forced().unwrap_or(CvmSsh));
            assert_eq!(why == "as the operator asked", operators.forced().is_some(), "{operators:?} over {plans:?}");
        }
    }
}

#[test]
fn another_attempt_keeps_its_driver_unless_another_is_asked_for() {
    for driver in Driver::ALL {
        for choice in CHOICES {
            let cluster = Cluster::asked(FormationState::Accepted).by(driver);
            let mut again = cluster.retried(ClusterPhase::Forming, choice, T0 + minutes(40));
            assert_eq!(again.attempt().driver, choice.forced().unwrap_or(driver));
        }
    }
}

#[test]
fn every_choice_has_a_word() {
    for choice in CHOICES {
        assert_eq!(FormationChoice::parse(choice.as_str()), Some(choice));
    }
    assert_eq!(FormationChoice::parse("ssh"), None);
}

#[test]
fn a_retry_takes_the_driver_that_is_asked_for_now_and_by_auto_the_one_that_the_nodes_offer() {
    let offering = |offers: Surface| {
        let mut nodes = crate::cluster_rig::Cluster::forming(FormationState::Accepted).nodes;
        nodes.iter_mut().for_each(|node| {
            node.cvm.driver = None;
            node.fold_surface(offers, FormationChoice::Prism, seconds(SETTLE), T0);
        });
        nodes
    };
    let retried = |choice: FormationChoice, nodes: &[NodeRecord]| {
        let mut record = crate::cluster_rig::Cluster::forming(FormationState::Accepted).record;
        record.enter(ClusterPhase::NeedsOperator, "for the test".into(), T0);
        let nodes: Vec<&NodeRecord> = nodes.iter().collect();
        record.retry(choice, &nodes, T0);
        record.formation.expect("it forms").driver
    };
    let nodes = offering(surface(Offered, Refused, Offered));
    assert_eq!(retried(FormationChoice::Auto, &nodes), CvmSsh);
    assert_eq!(retried(FormationChoice::Foundation, &nodes), Foundation);
    let before =
        crate::cluster_rig::Cluster::forming(FormationState::Accepted).record.formation.expect("it forms").driver;
    assert_eq!(retried(FormationChoice::Auto, &offering(surface(Refused, Refused, Silent))), before);
}
