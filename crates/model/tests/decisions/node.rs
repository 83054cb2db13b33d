//! Nodes on their way to `ready`.

use crate::rig::*;
use metalform_model::{NodePhase::*, ReportPhase, ServerStatus as Status, *};
use serde_json::json;

fn trouble(next_at: Timestamp) -> Trouble {
    Trouble { doing: "look at its server".into(), error: "429".into(), failures: 3, next_at }
}

#[track_caller]
fn check(node: &Node, now: Timestamp, expected: &str) {
    assert_eq!(word(&node.decide(now), now), expected, "in {:?}", node.record.phase);
}

#[track_caller]
fn failure(node: &Node, now: Timestamp) -> Failure {
    match node.decide(now) {
        Decision::NeedsOperator(failure) => failure,
        other => panic!("expected a failure, got {other:?}"),
    }
}

#[test]
fn each_thing_is_made_after_what_it_needs_and_the_permission_to_boot_before_the_server() {
    let mut node = Node::new();
    for slot in [Slot::Mgmt, Slot::Ahv, Slot::Cvm, Slot::Interface] {
        check(&node, T0, &format!("do ensure {}", slot.as_str()));
        node.resources.push(resource(slot, ResourceState::Intended));
        check(&node, T0, &format!("do ensure {}", slot.as_str()));
        node.make(slot);
    }
    check(&node, T0, "do open attempt");
    node.open_attempt(1);
    check(&node, T0, "do ensure server");
    node.make(Slot::Server);
    check(&node, T0, "move ordered");
}

#[test]
fn a_resource_in_no_usable_state_is_made_anew() {
    for slot in SLOTS {
        for state in [ResourceState::Intended, ResourceState::Deleting, ResourceState::Gone] {
            let node = Node::in_phase(Requested).with(|n| {
                n.resources.retain(|r| r.slot != slot);
                n.resources.push(resource(slot, state));
            });
            let expected = match (slot, state) {
                (Slot::Server, ResourceState::Deleting) => "do remove server".into(),
                _ => format!("do ensure {}", slot.as_str()),
            };
            check(&node, T0, &expected);
        }
    }
}

#[test]
fn an_address_that_a_crash_kept_from_the_node_is_looked_up_again() {
    for slot in ADDRESSES {
        let node = Node::in_phase(Requested).with(|n| match slot {
            Slot::Mgmt => n.record.mgmt_ip = None,
            Slot::Ahv => n.record.ahv_ip = None,
            _ => n.record.cvm_ip = None,
        });
        check(&node, T0, &format!("do ensure {}", slot.as_str()));
    }
}

#[test]
fn a_closed_attempt_permits_no_server() {
    let node = Node::in_phase(Requested).with(|n| {
        n.resources.retain(|r| r.slot != Slot::Server);
        n.record.close_attempt(T0);
    });
    check(&node, T0, "do open attempt");
}

#[test]
fn an_ordered_node_follows_its_server() {
    let table = [
        (None, "fail server_gone"),
        (Some(Status::ComingUp), "wait 10s"),
        (Some(Status::Running), "move waiting_for_boot"),
        (Some(Status::Stopping), "wait 10s"),
        (Some(Status::Stopped), "wait 10s"),
        (Some(Status::Maintenance), "wait 10s"),
        (Some(Status::Deleting), "wait 10s"),
        (Some(Status::Failed), "fail server_failed"),
        (Some(Status::Unknown), "wait 10s"),
    ];
    for (status, expected) in table {
        check(&Node::in_phase(Ordered).saw(status, T0), T0, expected);
    }
    assert!(Node::in_phase(Ordered).looks(T0).server, "never looked at: due at once");
}

#[test]
fn a_failed_server_says_why_in_the_clouds_words() {
    let mut node = Node::in_phase(Ordered);
    let why = Some("cannot_start_capacity: no capacity".into());
    node.record.fold_server(ServerSeen { at: T0, status: Some(Status::Failed), why });
    let failure = failure(&node, T0);
    assert_eq!(failure.reason, "the cloud could not bring up the server: cannot_start_capacity: no capacity");
    assert_eq!(failure.in_phase, "ordered");
}

#[test]
fn a_node_that_waits_for_its_boot_follows_its_server_too() {
    for status in STATUSES {
        let expected = if status == Status::Failed { "fail server_failed" } else { "wait 10s" };
        check(&Node::in_phase(WaitingForBoot).saw(status, T0), T0, expected);
    }
    check(&Node::in_phase(WaitingForBoot).saw(None, T0), T0, "fail server_gone");
}

#[test]
fn a_fetched_script_moves_a_node_whatever_the_cloud_says_of_its_server() {
    for phase in [Ordered, WaitingForBoot] {
        for status in STATUSES {
            let node = Node::in_phase(phase).saw(status, T0).showed(Seen::ScriptServed, T0);
            check(&node, T0, "move imaging");
        }
    }
}

#[test]
fn an_imaging_node_says_how_far_it_came() {
    let whole = |file: &str| Seen::ImageServed { file: file.into(), sent: 9, of: 9 };
    let mut node = Node::in_phase(Imaging).showed(Seen::ScriptServed, T0);
    let mut reasons = Vec::new();
    let mut next = |node: &Node| match node.decide(T0) {
        Decision::Wait { reason, .. } => reasons.push(reason),
        other => panic!("{other:?}"),
    };
    next(&node);
    node = node.showed(whole("vmlinuz-foundation"), T0);
    next(&node);
    node = node.showed(whole("initrd-foundation.img"), T0);
    next(&node);
    node = node.showed(Seen::ConfigServed, T0);
    next(&node);
    let half = Report { percent: Some(50.0), ..report(1, ReportPhase::Installing) };
    node = node.showed(Seen::Reported(half), T0);
    next(&node);
    node = node.showed(Seen::Reported(report(2, ReportPhase::Rebooting)), T0);
    next(&node);
    assert_eq!(
        reasons,
        [
            "the script was fetched; the kernel wasn't yet",
            "the kernel is sent; the initrd isn't yet",
            "kernel and initrd are sent; the node hasn't asked for its configuration",
            "the node has its configuration; no report yet",
            "installing 50 %: message 1",
            "rebooting: message 2",
        ]
    );
}

#[test]
fn an_installed_node_waits_for_its_controller_vm() {
    let node = Node::in_phase(Imaging).showed(Seen::Reported(report(1, ReportPhase::Installed)), T0);
    check(&node, T0, "move waiting_for_cvm");
}

#[test]
fn a_failed_installation_stops_the_node_with_the_installers_words() {
    let by_phase = report(1, ReportPhase::Failed);
    let by_status = Report { status: ReportStatus::Failed, ..report(1, ReportPhase::Checking) };
    let half_installed = Report { status: ReportStatus::Failed, ..report(1, ReportPhase::Installed) };
    for report in [by_phase, by_status, half_installed] {
        let node = Node::in_phase(Imaging).showed(Seen::Reported(report), T0);
        let failure = failure(&node, T0);
        assert_eq!((&*failure.code, &*failure.reason), ("installer_failed", "the installer failed: message 1"));
    }
}

#[test]
fn a_finding_that_stopped_the_installation_is_the_failure() {
    let mut report = report(1, ReportPhase::Failed);
    let found = json!({"code": "disk_in_use", "verdict": "failed", "subject": "/dev/nvme2n1",
        "reason": "it is mounted at /mnt", "hint": "unmount it"});
    report.facts.insert(Report::FAILURE.into(), found.clone());
    let told = failure(&Node::in_phase(Imaging).showed(Seen::Reported(report.clone()), T0), T0);
    let words = (told.code.as_str(), told.reason.as_str(), told.hint.as_str());
    assert_eq!(words, ("disk_in_use", "/dev/nvme2n1: it is mounted at /mnt", "unmount it"));

    let mut without_hint = found;
    without_hint.as_object_mut().unwrap().remove("hint");
    report.facts.insert(Report::FAILURE.into(), without_hint);
    let told = failure(&Node::in_phase(Imaging).showed(Seen::Reported(report.clone()), T0), T0);
    assert!(told.hint.contains("`metalform retry`"), "{}", told.hint);

    report.facts.insert(Report::FAILURE.into(), json!("not a finding"));
    let told = failure(&Node::in_phase(Imaging).showed(Seen::Reported(report), T0), T0);
    assert_eq!(told.code, "installer_failed");
}

#[test]
fn a_report_that_ends_the_checks_badly_is_named_after_the_first_finding_that_stops_it() {
    let found = |code: &str, verdict: &str| json!({"code": code, "verdict": verdict, "subject": "/dev/nvme1n1", "reason": "why"});
    let mut report = Report { status: ReportStatus::Failed, ..report(1, ReportPhase::Checking) };
    let all = json!([found("drive_chosen", "ok"), found("disk_missing", "failed"), found("disk_in_use", "failed")]);
    report.facts.insert(Report::FINDINGS.into(), all);
    let told = failure(&Node::in_phase(Imaging).showed(Seen::Reported(report.clone()), T0), T0);
    assert_eq!((told.code.as_str(), told.reason.as_str()), ("disk_missing", "/dev/nvme1n1: why"));

    report.status = ReportStatus::Running;
    assert_eq!(report.failure(), None, "a report that goes on has not failed, whatever it lists");
}

#[test]
fn the_controller_vm_speaks_for_an_installer_that_is_silent_or_restarts_its_machine() {
    let silent = Node::in_phase(Imaging);
    assert_eq!(silent.shows(T0), None, "without its configuration nothing can be installed");
    check(&silent, T0, "wait 3600s");
    let configured = silent.showed(Seen::ConfigServed, T0);
    assert_eq!(configured.shows(T0), Some(ShowCredentials::No));

    let installing = configured.clone().showed(Seen::Reported(report(1, ReportPhase::Installing)), T0);
    assert_eq!(installing.shows(T0), None);
    check(&installing, T0, "wait 3600s");
    let restarting = configured.clone().showed(Seen::Reported(report(1, ReportPhase::Rebooting)), T0);
    assert_eq!(restarting.shows(T0), Some(ShowCredentials::No));

    for node in [configured, restarting] {
        check(&node.clone().probed(CvmAnswer::Refused, T0), T0, "wait 2s");
        check(&node.clone().probed(CvmAnswer::Ready, T0), T0, "move waiting_for_cvm");
    }
}

#[test]
fn a_controller_vm_that_wont_let_us_in_was_installed_and_is_never_imaged_again() {
    let node = Node::in_phase(Imaging).showed(Seen::ConfigServed, T0);
    let once = node.clone().probed(CvmAnswer::Unauthorized, T0);
    assert_eq!((once.shows(T0 + seconds(59)), once.shows(after(1))), (None, Some(ShowCredentials::Yes)));
    check(&once, T0, "wait 2s");
    check(&once.probed(CvmAnswer::Unauthorized, T0), T0, "move waiting_for_cvm");
    check(&node.clone().probed(CvmAnswer::LockedOut, T0), T0, "move waiting_for_cvm");
    check(&node.probed(CvmAnswer::OtherKey { seen: "k".into() }, T0), T0, "move waiting_for_cvm");
}

#[test]
fn each_answer_of_a_controller_vm_has_its_consequence() {
    let table = [
        (CvmAnswer::Refused, "wait 2s", Some((2, ShowCredentials::No))),
        (CvmAnswer::Silent, "wait 2s", Some((2, ShowCredentials::No))),
        (CvmAnswer::TlsUp, "wait 2s", Some((2, ShowCredentials::No))),
        (CvmAnswer::HttpUp { status: 503 }, "wait 2s", Some((2, ShowCredentials::Yes))),
        (CvmAnswer::SshUp, "wait 2s", Some((2, ShowCredentials::Yes))),
        (CvmAnswer::Starting { what: "genesis".into() }, "wait 2s", Some((2, ShowCredentials::Yes))),
        // What it offers is looked at meanwhile, without credentials.
        (CvmAnswer::Unauthorized, "wait 2s", Some((60, ShowCredentials::Yes))),
        (CvmAnswer::LockedOut, "fail account_locked", None),
        (CvmAnswer::OtherKey { seen: "k".into() }, "fail cvm_key_changed", None),
        (CvmAnswer::Ready, "move ready", None),
    ];
    for (answer, expected, next_look) in table {
        let node = Node::in_phase(WaitingForCvm).probed(answer.clone(), T0);
        check(&node, T0, expected);
        if let Some((wait, show)) = next_look {
            let then = T0 + seconds(wait);
            assert_eq!(node.shows(Timestamp(then.0 - 1)), None, "{answer:?}: not before");
            assert_eq!(node.shows(then), Some(show), "{answer:?}: then");
        }
    }
}

#[test]
fn credentials_refused_twice_are_never_shown_again_until_the_operator_says_so() {
    let node = Node::in_phase(WaitingForCvm)
        .probed(CvmAnswer::HttpUp { status: 200 }, T0)
        .probed(CvmAnswer::Unauthorized, T0 + seconds(2))
        .probed(CvmAnswer::Unauthorized, T0 + seconds(62));
    check(&node, T0 + seconds(62), "fail credentials_refused");
    assert_eq!(node.looks(after(50)).cvm, CvmLook::default());

    let mut again = node.with(|n| {
        n.record.failure = Some(failure(n, T0));
        n.record.enter(Failed, "x".into(), T0);
    });
    again.record.retry(false, true, after(5));
    assert_eq!(again.record.phase, WaitingForCvm);
    assert_eq!(again.shows(after(5)), Some(ShowCredentials::No));
}

#[test]
fn after_a_refusal_any_answer_is_followed_by_a_minute_of_rest() {
    for answer in [CvmAnswer::Refused, CvmAnswer::Silent, CvmAnswer::HttpUp { status: 503 }] {
        let at = T0 + seconds(60);
        let node = Node::in_phase(WaitingForCvm).probed(CvmAnswer::Unauthorized, T0).probed(answer, at);
        check(&node, at, "wait 2s");
        assert_eq!(node.shows(at + seconds(59)), None);
        assert_eq!(node.shows(at + seconds(60)), Some(ShowCredentials::Yes));
    }
}

#[test]
fn an_existing_node_only_waits_for_its_controller_vm() {
    let record = NodeRecord::new("server-001", true, T0);
    let node = Node { plan: node_plan("server-001", true), record, ..Node::new() };
    assert_eq!(node.record.phase, WaitingForCvm);
    let both = CvmLook { surface: true, probe: Some((Driver::Prism, ShowCredentials::No)) };
    assert_eq!(node.looks(T0), NodeLooks { server: false, cvm: both });
    check(&node.clone().probed(CvmAnswer::Ready, T0), T0, "move ready");
    check(&node.clone().probed(CvmAnswer::Refused, after(60)), after(60), "fail deadline");
    let gone = node.with(|n| {
        n.absent = true;
        n.record.enter(Releasing, "x".into(), T0);
    });
    check(&gone, T0, "move released");
}

#[test]
fn every_deadline_counts_from_its_own_start() {
    let started = after(7);
    let late_order = |n: &mut Node| n.record.ordered_at = Some(started);
    let table = [
        (Node::in_phase(Requested).with(|n| n.resources.clear()), T0, 30, "its server to be ordered"),
        (Node::in_phase(Ordered).with(late_order), started, 45, "its first fetch of the boot script"),
        (Node::in_phase(WaitingForBoot).with(late_order), started, 45, "its first fetch of the boot script"),
        (Node::in_phase(Imaging).showed(Seen::ScriptServed, started), started, 60, "its controller VM to be ready"),
        (
            Node::in_phase(WaitingForCvm).showed(Seen::ScriptServed, started),
            started,
            60,
            "its controller VM to be ready",
        ),
    ];
    for (node, from, limit, what) in table {
        let (deadline, last) = (from + minutes(limit), from + minutes(limit) - seconds(1));
        assert_eq!(node_deadline(node.view()), Some((from, minutes(limit), what)));
        let before = word(&node.decide(last), last);
        assert!(!before.starts_with("fail"), "{:?} a second before: {before}", node.record.phase);
        let failure = failure(&node, deadline);
        assert!(failure.is_deadline());
        assert_eq!(failure.in_phase, node.record.phase.as_str());
        let reason = format!("waited {} for {what}: for the test", in_words(minutes(limit)));
        assert_eq!(failure.reason, reason);
    }
    for phase in [Ready, Releasing, Released, Failed] {
        assert_eq!(node_deadline(Node::in_phase(phase).view()), None);
    }
}

#[test]
fn a_wait_ends_no_later_than_its_deadline() {
    let now = after(44) + seconds(55);
    for phase in [Ordered, WaitingForBoot] {
        check(&Node::in_phase(phase).saw(Status::ComingUp, now), now, "wait 5s");
        let asked_to_wait_long = Node::in_phase(phase).with(|n| n.record.trouble = Some(trouble(after(600))));
        check(&asked_to_wait_long, now, "wait 5s");
    }
}

#[test]
fn what_was_observed_beats_a_deadline_that_passed_while_we_were_down() {
    let long_after = after(600);
    let table = [
        (Node::in_phase(Requested), "move ordered"),
        (Node::in_phase(Ordered).showed(Seen::ScriptServed, after(20)), "move imaging"),
        (Node::in_phase(WaitingForBoot).showed(Seen::ScriptServed, after(20)), "move imaging"),
        (
            Node::in_phase(Imaging).showed(Seen::Reported(report(1, ReportPhase::Installed)), after(40)),
            "move waiting_for_cvm",
        ),
        (Node::in_phase(WaitingForCvm).probed(CvmAnswer::Ready, long_after), "move ready"),
        (Node::in_phase(WaitingForBoot).saw(Status::Failed, long_after), "fail server_failed"),
    ];
    for (node, expected) in table {
        check(&node, long_after, expected);
        let troubled = node.with(|n| n.record.trouble = Some(trouble(long_after + minutes(1))));
        check(&troubled, long_after, expected);
    }
}

#[test]
fn trouble_is_waited_out_before_the_world_is_touched_or_looked_at_again() {
    for phase in [Requested, Ordered, WaitingForBoot, WaitingForCvm, Releasing] {
        let node = Node::in_phase(phase).with(|n| {
            n.resources.pop();
            n.record.trouble = Some(trouble(T0 + seconds(9)));
        });
        let Decision::Wait { reason, until } = node.decide(T0) else { panic!("{phase:?}") };
        assert_eq!((reason.as_str(), until), ("look at its server: 429 (tried 3 times)", T0 + seconds(9)));
        assert_eq!(node.looks(T0), NodeLooks::default());
        let then = T0 + seconds(9);
        assert!(!matches!(node.decide(then), Decision::Wait { reason, .. } if reason.contains("429")), "{phase:?}");
    }
}

mod another_boot {
    use super::*;

    fn node() -> Node {
        Node::in_phase(Requested).with(|n| {
            n.record.reimage = true;
            n.record.close_attempt(T0);
            n.resources.iter_mut().for_each(|r| r.changed_at = T0 - minutes(40));
        })
    }

    #[test]
    fn powers_off_opens_a_new_attempt_and_reinitializes() {
        assert!(node().looks(T0).server);
        check(&node().saw(Status::Running, T0), T0, "do stop");
        let stopped = node().sent(PowerAction::Stop, T0).saw(Status::Stopped, T0 + seconds(5));
        check(&stopped, T0 + seconds(5), "do open attempt");
        let permitted = stopped.with(|n| n.open_attempt(2));
        check(&permitted, T0 + seconds(5), "do reinitialize");
        let sent = permitted.sent(PowerAction::Reinitialize, T0 + seconds(6));
        check(&sent.saw(Status::ComingUp, T0 + seconds(7)), T0 + seconds(7), "move ordered");
    }

    #[test]
    fn waits_for_a_server_that_is_neither_up_nor_down() {
        for status in [Status::ComingUp, Status::Stopping, Status::Maintenance, Status::Deleting, Status::Unknown] {
            check(&node().saw(status, T0), T0, "wait 10s");
        }
    }

    #[test]
    fn deletes_a_server_that_can_only_be_ordered_anew_and_orders_it_under_a_new_attempt() {
        let failed = |why: &str| {
            let why = Some(format!("{why}: in the cloud's words"));
            node().with(|n| n.record.fold_server(ServerSeen { at: T0, status: Some(Status::Failed), why }))
        };
        check(&failed("cannot_reinitialize"), T0, "do open attempt");
        for mut node in [failed("cannot_start_capacity"), node().saw(Status::Failed, T0), node().saw(None, T0)] {
            check(&node, T0, "do remove server");
            for state in [ResourceState::Deleting, ResourceState::Gone] {
                node.resources.retain(|r| r.slot != Slot::Server);
                node.resources.push(resource(Slot::Server, state));
                let expected = if state == ResourceState::Gone { "do open attempt" } else { "do remove server" };
                check(&node, T0, expected);
            }
            node.open_attempt(2);
            node.record.attempt.as_mut().unwrap().opened_at = after(1);
            check(&node, after(1), "do ensure server");
            node.make(Slot::Server);
            node.resources.last_mut().unwrap().changed_at = after(1);
            // What was seen of the old server counts nothing for the new one, and it boots already.
            check(&node, after(1), "move ordered");
        }
    }

    #[test]
    fn orders_the_server_if_it_was_never_made() {
        let unmade = node().with(|n| n.resources.retain(|r| r.slot != Slot::Server));
        check(&unmade, T0, "do open attempt");
        check(&unmade.with(|n| n.open_attempt(2)), T0, "do ensure server");
    }

    #[test]
    fn has_a_deadline() {
        check(&node().saw(Status::Stopping, after(30)), after(30), "fail deadline");
    }

    #[test]
    fn a_once_only_call_is_not_repeated_on_what_was_seen_before_it() {
        for (what, status) in [(PowerAction::Stop, Status::Running), (PowerAction::Reinitialize, Status::Stopped)] {
            // A crash right after the intent was recorded, or right after the call: the last look is older.
            let crashed = node().with(|n| n.open_attempt(2)).saw(status, T0).sent(what, T0);
            check(&crashed, T0, "wait 10s");
            assert!(crashed.looks(T0 + seconds(10)).server);
        }
    }

    #[test]
    fn a_once_only_call_is_not_repeated_within_its_window() {
        let table = [
            (PowerAction::Stop, Status::Running, "do stop"),
            (PowerAction::Reinitialize, Status::Stopped, "do reinitialize"),
        ];
        for (what, status, again) in table {
            let sent = node().with(|n| n.open_attempt(2)).sent(what, T0);
            for at in [1, 30, 119] {
                let at = T0 + seconds(at);
                check(&sent.clone().saw(status, at), at, "wait 10s");
            }
            check(&sent.saw(status, after(2)), after(2), again);
        }
    }

    #[test]
    fn seeing_the_server_run_after_a_stop_is_no_reinitialization() {
        check(&node().sent(PowerAction::Stop, T0).saw(Status::ComingUp, after(1)), after(1), "wait 10s");
    }
}
