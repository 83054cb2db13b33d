//! What a record looks like: each stall with its cause, and none before its time.

use crate::rig::*;
use metalform_model::{NodePhase::*, *};
use serde_json::json;

const KERNEL: &str = "vmlinuz-foundation";
const INITRD: &str = "initrd-foundation.img";

fn fetched(file: &str, sent: u64) -> Seen {
    Seen::ImageServed { file: file.into(), sent, of: 100 }
}

fn explain(node: &Node, now: Timestamp) -> Explanation {
    explain_node(node.view(), "alpha", &[], now)
}

/// The first diagnosis, so many minutes after everything that was seen.
fn looks_like(node: &Node, after: u64) -> String {
    explain(node, T0 + minutes(after)).diagnoses[0].code.clone()
}

fn imaging(seen: &[Seen]) -> Node {
    let node = Node::in_phase(Imaging).showed(Seen::ScriptServed, T0);
    seen.iter().cloned().fold(node, |node, seen| node.showed(seen, T0))
}

fn last_report(phase: ReportPhase) -> Seen {
    Seen::Reported(report(1, phase))
}

#[test]
fn the_first_step_that_is_missing_is_named_once_it_had_its_time() {
    let (kernel, initrd) = (fetched(KERNEL, 100), fetched(INITRD, 100));
    let both = [kernel.clone(), initrd.clone()];
    let refused = |code: &str| Seen::ImageRefused { file: KERNEL.into(), code: code.into() };
    for (seen, after, code) in [
        (vec![], 1, "as_expected"),
        (vec![], 2, "kernel_not_requested"),
        (vec![fetched(KERNEL, 61)], 1, "as_expected"),
        (vec![fetched(KERNEL, 61)], 2, "download_stopped"),
        (vec![kernel.clone()], 1, "as_expected"),
        (vec![kernel.clone()], 2, "initrd_not_requested"),
        (vec![kernel.clone(), fetched(INITRD, 5)], 3, "download_stopped"),
        (both.to_vec(), 4, "as_expected"),
        (both.to_vec(), 5, "kernel_silent"),
        ([&both[..], &[Seen::StepReached { step: BootStep::Boot }]].concat(), 5, "kernel_silent"),
        (vec![Seen::StepReached { step: BootStep::Error(0x3e0f_6095) }], 0, "boot_script_failed"),
        (vec![kernel.clone(), Seen::StepReached { step: BootStep::KernelDiffers }], 0, "image_changed"),
        (vec![kernel.clone(), Seen::StepReached { step: BootStep::InitrdDiffers }], 0, "image_changed"),
        (vec![Seen::StepReached { step: BootStep::TlsUntrusted }], 0, "tls_untrusted"),
        (vec![Seen::StepReached { step: BootStep::TlsFailed }], 0, "tls_failed"),
        (vec![Seen::ScriptServed; 3], 0, "boots_again_and_again"),
        (vec![refused("image_unreadable")], 0, "image_unreadable"),
        (vec![refused("image_unverified")], 0, "image_unverified"),
        (vec![refused("image_unreadable"), kernel.clone()], 1, "as_expected"),
        (vec![last_report(ReportPhase::Booting), refused("image_unverified")], 0, "image_unverified"),
        ([&both[..], &[Seen::ConfigServed]].concat(), 4, "as_expected"),
        ([&both[..], &[Seen::ConfigServed]].concat(), 5, "no_report"),
        (vec![last_report(ReportPhase::Checking)], 4, "as_expected"),
        (vec![last_report(ReportPhase::Checking)], 5, "reports_stopped"),
        (vec![last_report(ReportPhase::Installing)], 19, "as_expected"),
        (vec![last_report(ReportPhase::Installing)], 20, "reports_stopped"),
        (vec![last_report(ReportPhase::Rebooting)], 20, "reports_stopped"),
        (vec![last_report(ReportPhase::Installed)], 90, "as_expected"),
    ] {
        assert_eq!(looks_like(&imaging(&seen), after), code, "{seen:?} after {after} min");
    }
}

/// A restart runs the script of user data again, with the pin that it has.
#[test]
fn where_a_restart_brings_no_other_script_a_retry_is_advised() {
    let mut node = imaging(&[Seen::StepReached { step: BootStep::TlsUntrusted }]);
    let next = |node: &Node| explain(node, T0).diagnoses[0].next.clone();
    assert!(next(&node).contains("restart the server") && !next(&node).contains("metalform retry"), "{}", next(&node));
    let inline = InlineScript { image_set: None, has_manifest: true, pins_ca: true };
    node.record.attempt.as_mut().unwrap().inline = Some(inline);
    assert!(
        next(&node).contains("`metalform retry`") && !next(&node).contains("restart the server"),
        "{}",
        next(&node)
    );
}

/// What can't be read comes first, until a script goes out.
#[test]
fn a_script_that_is_held_is_explained_until_there_is_one() {
    let held = Seen::ScriptHeld { why: "manifest.json can't be read".into() };
    let node = Node::in_phase(WaitingForBoot).showed(held.clone(), T0);
    let told = explain(&node, T0).diagnoses.remove(0);
    assert_eq!(told.code, "image_set_unreadable");
    assert!(told.cause.contains("manifest.json can't be read"), "{told:?}");
    assert_eq!(node.record.boot.script_at, None, "it has had none");
    assert_eq!(looks_like(&node.showed(Seen::ScriptServed, T0), 0), "as_expected");
    assert_eq!(looks_like(&imaging(&[Seen::ConfigServed, held]), 1), "image_set_unreadable");
}

#[test]
fn what_an_earlier_round_fetched_does_not_count_for_this_one() {
    let whole = [fetched(KERNEL, 100), fetched(INITRD, 100), Seen::ConfigServed, last_report(ReportPhase::Checking)];
    let node = imaging(&whole).showed(Seen::ScriptServed, T0 + minutes(1));
    assert_eq!(looks_like(&node, 2), "as_expected");
    assert_eq!(looks_like(&node, 4), "kernel_not_requested");
    let node = node.showed(Seen::ConfigServed, T0 + minutes(2));
    assert_eq!(looks_like(&node, 6), "as_expected");
    assert_eq!(looks_like(&node, 7), "no_report");
}

#[test]
fn a_cause_says_how_much_was_sent_and_what_to_do() {
    let told = explain(&imaging(&[fetched(KERNEL, 61)]), T0 + minutes(3)).diagnoses.remove(0);
    assert!(
        told.cause.starts_with("vmlinuz-foundation broke off after 61 of 100 bytes (61 %), 3m 00s ago"),
        "{told:?}"
    );
    assert!(told.next.starts_with("restart the server"), "{told:?}");
}

#[test]
fn a_machine_that_is_not_heard_of_is_explained_by_the_cloud_and_by_what_was_refused() {
    let waiting = Node::in_phase(WaitingForBoot);
    let running = waiting.clone().saw(ServerStatus::Running, T0);
    assert_eq!(looks_like(&running, 19), "as_expected");
    assert_eq!(looks_like(&running, 21), "script_not_requested");
    assert_eq!(looks_like(&waiting.clone().saw(ServerStatus::Stopped, T0), 1), "server_off");

    let refused = |code: &str| RefusedRequest {
        at: T0 + seconds(5),
        action: "boot.script".into(),
        source: "10.240.0.99".into(),
        code: code.into(),
    };
    for code in ["foreign_address", "network_not_allowed", "token_wrong", "token_missing", "not_now", "store_away", "x"]
    {
        let told = explain_node(running.view(), "alpha", &[refused(code)], T0 + minutes(1));
        assert_eq!(told.diagnoses[0].code, code);
        assert!(told.diagnoses[0].cause.starts_with("10.240.0.99"), "{told:?}");
        assert!(told.seen.last().unwrap().what.starts_with(&format!("10.240.0.99 was refused [{code}]")), "{told:?}");
    }
    // It got its script after all.
    let booted = imaging(&[]).showed(Seen::ScriptServed, T0 + seconds(9));
    let told = explain_node(booted.view(), "alpha", &[refused("not_now")], T0 + minutes(1));
    assert_eq!(told.diagnoses[0].code, "as_expected");
}

#[test]
fn a_report_that_came_after_the_one_that_ended_the_attempt_is_no_trouble() {
    let refused = |action: &str, at: Timestamp| RefusedRequest {
        at,
        action: action.into(),
        source: "10.240.0.11".into(),
        code: "not_installing".into(),
    };
    let node = imaging(&[]).with(|n| n.record.attempt.as_mut().unwrap().closed_at = Some(T0 + minutes(5)));
    let told = |refused| explain_node(node.view(), "alpha", &[refused], T0 + minutes(6)).seen;
    let is_told = |refused| told(refused).iter().any(|seen| seen.what.contains("not_installing"));
    assert!(!is_told(refused("boot.report", T0 + minutes(5))));
    assert!(is_told(refused("boot.report", T0 + minutes(4))), "before the end it is something");
    assert!(is_told(refused("boot.config", T0 + minutes(5))), "so is anything else that is asked for");
}

#[test]
fn a_passed_deadline_is_explained_by_what_was_missing_and_any_other_failure_by_itself() {
    let failed = |code: &str| {
        imaging(&[fetched(KERNEL, 100)]).with(|n| {
            let failure =
                Failure { in_phase: "imaging".into(), code: code.into(), reason: "why".into(), hint: "what".into() };
            n.record.failure = Some(failure);
            n.record.enter(Failed, "why".into(), T0 + minutes(60));
        })
    };
    let codes = |node: &Node| {
        let told = explain(node, T0 + minutes(61));
        told.diagnoses.into_iter().map(|d| d.code).collect::<Vec<_>>()
    };
    assert_eq!(codes(&failed("deadline")), ["initrd_not_requested", "deadline"]);
    assert_eq!(codes(&failed("disk_missing")), ["disk_missing"]);
}

#[test]
fn a_controller_vm_that_is_late_is_explained_by_its_last_answer() {
    for (answer, code) in [
        (CvmAnswer::Silent, "cvm_silent"),
        (CvmAnswer::Refused, "cvm_refused"),
        (CvmAnswer::Starting { what: "genesis".into() }, "cvm_starting"),
    ] {
        let node = Node::in_phase(WaitingForCvm).probed(answer, T0);
        assert_eq!(looks_like(&node, 19), "as_expected");
        assert_eq!(looks_like(&node, 21), code);
    }
}

#[test]
fn trouble_comes_first_and_a_node_that_goes_away_is_left_in_peace() {
    let troubled = Node::in_phase(Requested).with(|n| {
        n.record.trouble = Some(Trouble::again(None, "order".into(), "no capacity".into(), None, T0));
    });
    assert_eq!(looks_like(&troubled, 0), "trouble");
    let absent = imaging(&[]).with(|n| n.absent = true);
    assert_eq!(looks_like(&absent, 30), "as_expected");
    assert_eq!(explain(&absent, T0).awaited, None);
}

#[test]
fn an_explanation_is_this_document() {
    let mut checked = report(1, ReportPhase::Checking);
    let found = json!([{"code": "memory", "verdict": "ok", "subject": "memory", "reason": "384 GiB"}]);
    checked.facts.insert(Report::FINDINGS.into(), found);
    let node = imaging(&[fetched(KERNEL, 100), fetched(INITRD, 100), Seen::StepReached { step: BootStep::Boot }])
        .showed(Seen::ConfigServed, T0 + seconds(60))
        .showed(Seen::Reported(checked), T0 + seconds(70))
        .saw(ServerStatus::Running, T0);
    let at = |n: u64| (T0 + seconds(n)).to_string();
    assert_eq!(
        serde_json::to_value(explain(&node, T0 + minutes(2))).unwrap(),
        json!({
            "server_id": "server-001",
            "cluster": "alpha",
            "phase": "imaging",
            "since": at(0),
            "usual_seconds": 2100,
            "late": false,
            "reason": "for the test",
            "awaited": { "what": "its controller VM to be ready", "until": at(3600) },
            "seen": [
                { "at": at(0), "what": "its server was ordered" },
                { "at": at(0), "what": "boot attempt 1 was opened" },
                { "at": at(0), "what": "fetched its boot script" },
                { "at": at(0), "what": "fetched the kernel" },
                { "at": at(0), "what": "fetched the initrd" },
                { "at": at(0), "what": "its boot script has everything and starts the kernel" },
                { "at": at(60), "what": "fetched its configuration" },
                { "at": at(70), "what": "reported checking: message 1" },
            ],
            "trust": "token",
            "boot_trust": { "level": "unverified", "script": "url", "kernel_and_initrd": "not_told", "agent": true,
                "session": false, "installer_files_compared": false },
            "findings": [{ "code": "memory", "verdict": "ok", "subject": "memory", "reason": "384 GiB" }],
            "server": { "at": at(0), "what": "it is powered on" },
            "diagnoses": [{ "code": "as_expected", "cause": "nothing unusual: for the test", "next": "nothing to do but wait" }],
        })
    );
}
