//! Letting a node go: the server, then its interface, then its addresses; each seen gone before the next is touched.

use crate::rig::*;
use metalform_model::{ResourceState as State, ServerStatus as Status, *};

fn releasing() -> Node {
    Node::in_phase(NodePhase::Releasing).with(|n| n.absent = true)
}

fn with_server(state: State) -> Node {
    releasing().with(|n| {
        n.resources.retain(|r| r.slot != Slot::Server);
        n.resources.push(resource(Slot::Server, state));
    })
}

#[track_caller]
fn check(node: &Node, now: Timestamp, expected: &str) {
    assert_eq!(word(&node.decide(now), now), expected);
}

#[test]
fn every_phase_is_left_at_once_when_the_cluster_is_to_be_gone() {
    for phase in NODE_PHASES {
        let troubled = |n: &mut Node| {
            n.absent = true;
            let (doing, error) = ("x".into(), "y".into());
            n.record.trouble = Some(Trouble { doing, error, failures: 1, next_at: T0 + minutes(9) });
        };
        // Long after every deadline: letting go has none.
        let node = Node::in_phase(phase).with(troubled);
        let now = T0 + minutes(500);
        match phase {
            NodePhase::Releasing => assert!(node.looks(now).server),
            NodePhase::Released => check(&node, now, "wait"),
            _ => check(&node, now, "move releasing"),
        }
        assert_eq!(node.looks(T0).cvm, CvmLook::default());
    }
}

#[test]
fn everything_is_removed_in_the_reverse_order_of_its_making() {
    let mut node = releasing().saw(Status::Stopped, T0);
    for slot in [Slot::Server, Slot::Interface, Slot::Cvm, Slot::Ahv, Slot::Mgmt] {
        for state in [State::Intended, State::Created] {
            node.resources.retain(|r| r.slot != slot);
            node.resources.push(resource(slot, state));
            check(&node, T0, &format!("do remove {}", slot.as_str()));
        }
        // An accepted deletion is not the end: the next thing is not touched before this one is seen gone.
        node.resources.retain(|r| r.slot != slot);
        node.resources.push(resource(slot, State::Deleting));
        let expected = if slot == Slot::Server { "wait 10s".into() } else { format!("do remove {}", slot.as_str()) };
        check(&node, T0, &expected);
        node.resources.retain(|r| r.slot != slot);
        node.resources.push(resource(slot, State::Gone));
    }
    check(&node, T0, "move released");
}

#[test]
fn a_server_is_removed_as_its_state_and_status_allow() {
    type Rows<'a> = &'a [(Option<Status>, &'a str)];
    let table: [(State, Rows); 3] = [
        (State::Intended, &[(None, "do remove server"), (Some(Status::Running), "do remove server")]),
        (
            State::Created,
            &[
                (None, "do remove server"),
                (Some(Status::ComingUp), "wait 10s"),
                (Some(Status::Running), "do stop"),
                (Some(Status::Stopping), "wait 10s"),
                (Some(Status::Stopped), "do remove server"),
                (Some(Status::Maintenance), "do remove server"),
                (Some(Status::Deleting), "do remove server"),
                (Some(Status::Failed), "do remove server"),
                (Some(Status::Unknown), "do remove server"),
            ],
        ),
        (
            State::Deleting,
            &[
                (None, "do remove server"),
                (Some(Status::Running), "wait 10s"),
                (Some(Status::Stopped), "wait 10s"),
                (Some(Status::Deleting), "wait 10s"),
            ],
        ),
    ];
    for (state, rows) in table {
        for (status, expected) in rows {
            let node = with_server(state).saw(*status, T0);
            assert_eq!(word(&node.decide(T0), T0), *expected, "{state:?}, {status:?}");
        }
    }
}

#[test]
fn a_server_is_looked_at_before_it_is_touched() {
    let node = with_server(State::Created);
    assert!(node.looks(T0).server);
    assert!(matches!(node.decide(T0), Decision::Wait { .. }));
}

#[test]
fn a_deletion_that_takes_too_long_is_sent_again() {
    let last = T0 + minutes(5) - seconds(1);
    check(&with_server(State::Deleting).saw(Status::Deleting, last), last, "wait 10s");
    let now = T0 + minutes(5);
    check(&with_server(State::Deleting).saw(Status::Deleting, now), now, "do remove server");
}

#[test]
fn a_power_off_is_not_repeated_within_its_window() {
    let node = with_server(State::Created).sent(PowerAction::Stop, T0);
    let last = T0 + minutes(2) - seconds(1);
    check(&node.clone().saw(Status::Running, last), last, "wait 10s");
    let now = T0 + minutes(2);
    check(&node.clone().saw(Status::Running, now), now, "do stop");
    check(&node.saw(Status::Stopped, T0 + seconds(9)), T0 + seconds(9), "do remove server");
}

#[test]
fn a_server_that_never_settles_is_tried_anyway_in_the_end() {
    for status in [Status::ComingUp, Status::Stopping] {
        let last = T0 + minutes(45) - seconds(1);
        check(&with_server(State::Created).saw(status, last), last, "wait 10s");
        let now = T0 + minutes(45);
        check(&with_server(State::Created).saw(status, now), now, "do remove server");
    }
}

#[test]
fn a_node_that_never_got_anything_is_released_at_once() {
    check(&releasing().with(|n| n.resources.clear()), T0, "move released");
}
