//! Taking in what was observed, and the operator's retries.

use crate::rig::*;
use metalform_model::{NodePhase::*, *};
use serde_json::json;

fn fetched(file: &str, sent: u64) -> Seen {
    Seen::ImageServed { file: file.into(), sent, of: 100 }
}

#[test]
fn evidence_of_another_attempt_changes_nothing() {
    let report = Seen::Reported(report(9, ReportPhase::Installed));
    for seen in [Seen::ScriptServed, Seen::ConfigServed, fetched("vmlinuz-foundation", 100), report] {
        let closed = Node::in_phase(Imaging).with(|n| drop(n.record.close_attempt(T0)));
        let unopened = Node::in_phase(Imaging).with(|n| n.record.attempt = None);
        let reopened = Node::in_phase(Imaging).with(|n| n.open_attempt(2));
        for mut node in [closed, unopened, reopened] {
            let before = node.record.clone();
            assert_eq!(node.record.fold_evidence(&evidence(1, seen.clone(), T0)), []);
            assert_eq!(node.record, before);
        }
    }
}

#[test]
fn a_repeated_or_older_report_changes_nothing() {
    let mut node = Node::in_phase(Imaging).showed(Seen::Reported(report(5, ReportPhase::Checking)), T0);
    let before = node.record.clone();
    for seq in [5, 4, 1] {
        let again = evidence(1, Seen::Reported(report(seq, ReportPhase::Failed)), T0 + seconds(9));
        assert_eq!(node.record.fold_evidence(&again), []);
        assert_eq!(node.record, before);
    }
    assert_eq!(node.record.fold_evidence(&evidence(1, Seen::Reported(report(6, ReportPhase::Failed)), T0)).len(), 1);
}

#[test]
fn the_first_fetch_counts_and_each_is_told() {
    let mut node = Node::in_phase(WaitingForBoot);
    for n in 1..=3 {
        let at = T0 + seconds(10 * n);
        let told = node.record.fold_evidence(&evidence(1, Seen::ScriptServed, at));
        assert_eq!(told[0].data["n"], json!(n));
        node.record.fold_evidence(&evidence(1, Seen::ConfigServed, at));
    }
    let boot = &node.record.boot;
    assert_eq!((boot.scripts, boot.script_at, boot.config_at), (3, Some(T0 + seconds(10)), Some(T0 + seconds(10))));
}

#[test]
fn a_later_step_stands_for_a_script_fetch_whose_record_was_lost() {
    for seen in [Seen::ConfigServed, Seen::Reported(report(1, ReportPhase::Booting))] {
        for phase in [Ordered, WaitingForBoot] {
            let node = Node::in_phase(phase).showed(seen.clone(), T0 + seconds(3));
            assert_eq!(node.record.boot.script_at, Some(T0 + seconds(3)));
            let by_address_alone = Node::in_phase(phase).showed(fetched("vmlinuz-foundation", 100), T0);
            assert_eq!(by_address_alone.record.boot.script_at, None);
        }
    }
}

#[test]
fn only_a_whole_file_counts() {
    let mut node = Node::in_phase(Imaging);
    let told = node.record.fold_evidence(&evidence(1, fetched("initrd-foundation.img", 99), T0));
    assert_eq!(told[0].message, "stopped fetching initrd-foundation.img after 99 of 100 bytes");
    assert_eq!(node.record.boot.initrd_at, None);
    node.record.fold_evidence(&evidence(1, fetched("initrd-foundation.img", 100), T0));
    assert_eq!(node.record.boot.initrd_at, Some(T0));
}

#[test]
fn a_download_that_broke_off_is_remembered_until_the_file_is_whole() {
    let kernel = "vmlinuz-foundation";
    let mut node = Node::in_phase(Imaging).showed(fetched(kernel, 61), T0);
    let partial = PartialImage { file: kernel.into(), sent: 61, of: 100, at: T0 };
    assert_eq!(node.record.boot.partial, Some(partial.clone()));
    node.record.fold_evidence(&evidence(1, fetched("initrd-foundation.img", 100), T0));
    assert_eq!(node.record.boot.partial, Some(partial));
    node.record.fold_evidence(&evidence(1, fetched(kernel, 100), T0));
    assert_eq!(node.record.boot.partial, None);
}

#[test]
fn an_image_that_is_refused_again_and_again_is_told_once() {
    let refused = |code: &str| Seen::ImageRefused { file: "vmlinuz-foundation".into(), code: code.into() };
    let mut node = Node::in_phase(Imaging);
    let mut told = |seen: Seen, at: u64| node.record.fold_evidence(&evidence(1, seen, T0 + seconds(at))).len();
    assert_eq!([told(refused("image_unreadable"), 0), told(refused("image_unreadable"), 10)], [1, 0]);
    assert_eq!(told(refused("unknown_image"), 20), 1);
    assert_eq!(node.record.boot.refused.as_ref().unwrap().at, T0 + seconds(20));
    assert_eq!(node.record.boot.script_at, None, "images need no token");
    let reason = match node.decide(T0 + seconds(20)) {
        Decision::Wait { reason, .. } => reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(reason, "the node can't get vmlinuz-foundation [unknown_image]");
    node.record.fold_evidence(&evidence(1, fetched("vmlinuz-foundation", 100), T0 + seconds(30)));
    assert_eq!(node.record.boot.refused, None);
}

#[test]
fn a_step_of_the_script_is_told_and_moves_no_phase() {
    let mut node = Node::in_phase(Imaging).showed(Seen::ScriptServed, T0);
    let before = node.decide(T0);
    let told = node.record.fold_evidence(&evidence(1, Seen::StepReached { step: BootStep::Boot }, T0));
    assert_eq!((told[0].kind, &told[0].data), (kind::BOOT_STEP, &json!({"step": "boot"})));
    assert_eq!(told[1..].iter().map(|event| event.kind).collect::<Vec<_>>(), [kind::BOOT_TRUST]);
    assert_eq!(node.decide(T0), before);
    let told = node.record.fold_evidence(&evidence(1, Seen::StepReached { step: BootStep::Error(0x3e0f_6095) }, T0));
    assert_eq!(told[0].message, "its boot script failed: iPXE error 3e0f6095 (https://ipxe.org/3e0f6095)");
}

#[test]
fn an_arizona_document_is_a_configuration() {
    let node = Node::in_phase(Imaging).showed(Seen::ArizonaServed, T0);
    assert_eq!(node.record.boot.config_at, Some(T0));
}

fn called(step: &str, offset: u64) -> Seen {
    Seen::InstallerCalled(InstallerCall { step: step.into(), offset, text: String::new() })
}

#[test]
fn callbacks_alone_lead_to_an_installed_node() {
    let mut node = Node::in_phase(Imaging).showed(Seen::ArizonaServed, T0);
    let steps =
        ["Running CVM Installer", "info", "Rebooting node. This may take several minutes", "Last reboot complete"];
    for (offset, step) in steps.into_iter().enumerate() {
        assert_eq!(node.record.fold_evidence(&evidence(1, called(step, offset as u64), T0)).len(), 1, "{step}");
    }
    assert_eq!(node.record.boot.report.as_ref().map(|report| report.seq), Some(4));
    assert_eq!(word(&node.decide(T0), T0), "move waiting_for_cvm");
}

#[test]
fn a_callback_follows_the_agents_last_report_and_counts_once() {
    let mut node = Node::in_phase(Imaging).showed(Seen::Reported(report(7, ReportPhase::Checking)), T0);
    let call = evidence(1, called("Running CVM Installer", 1), T0);
    assert_eq!(node.record.fold_evidence(&call).len(), 1);
    assert_eq!(node.record.fold_evidence(&call), [], "its answer was lost and it was sent again");
    let last = node.record.boot.report.as_ref().unwrap();
    assert_eq!((last.seq, last.phase), (8, ReportPhase::Installing));
}

#[test]
fn findings_outlast_the_reports_that_follow_them() {
    let mut checked = report(1, ReportPhase::Checking);
    let found = json!([{"code": "memory", "verdict": "warning", "subject": "memory", "reason": "256 of 384 GiB"}]);
    checked.facts.insert(Report::FINDINGS.into(), found);
    let node = Node::in_phase(Imaging)
        .showed(Seen::Reported(checked), T0)
        .showed(Seen::Reported(report(2, ReportPhase::Installing)), T0);
    assert_eq!(node.record.boot.findings.len(), 1);
}

#[test]
fn a_node_tells_its_own_id() {
    let mut report = report(1, ReportPhase::Booting);
    report.facts.insert("node_uuid".into(), json!("u-1"));
    let node = Node::in_phase(Imaging).showed(Seen::Reported(report), T0);
    assert_eq!(node.record.node_uuid.as_deref(), Some("u-1"));
}

#[test]
fn a_probe_is_told_when_its_answer_changes() {
    let mut node = Node::in_phase(WaitingForCvm);
    assert_eq!(node.record.fold_probe(Driver::Prism, CvmAnswer::Refused, None, T0).len(), 1);
    assert_eq!(node.record.fold_probe(Driver::Prism, CvmAnswer::Refused, None, T0 + seconds(2)), []);
    assert_eq!(node.record.cvm.probed_at, Some(T0 + seconds(2)));
    assert_eq!(node.record.fold_probe(Driver::Prism, CvmAnswer::TlsUp, Some("a".into()), T0 + seconds(4)).len(), 1);
}

#[test]
fn what_a_controller_vm_offers_is_told_when_it_changes() {
    let mut node = Node::in_phase(WaitingForCvm);
    let mut offers = |surface: Surface, at: u64| {
        node.record.fold_surface(surface, FormationChoice::Prism, seconds(30), T0 + seconds(at)).map(|e| e.message)
    };
    let (nothing, ssh) = (Offer::Refused, Offer::Offered);
    let told = "controller VM: SSH: nothing listens, Prism: nothing listens, Foundation: nothing listens";
    assert_eq!(offers(surface(nothing, nothing, nothing), 0).as_deref(), Some(told));
    assert_eq!(offers(surface(nothing, nothing, nothing), 2), None);
    assert!(offers(surface(ssh, nothing, nothing), 4).is_some());
    assert_eq!(node.record.cvm.surfaced_at, Some(T0 + seconds(4)));
}

#[test]
fn the_keys_of_tls_and_of_ssh_are_remembered_apart() {
    let mut node = Node::in_phase(WaitingForCvm);
    for (driver, key) in [(Driver::CvmSsh, "s"), (Driver::Prism, "t"), (Driver::CvmSsh, "u"), (Driver::Prism, "v")] {
        node.record.fold_probe(driver, CvmAnswer::SshUp, Some(key.into()), T0);
    }
    assert_eq!((node.record.cvm.ssh_pin.as_deref(), node.record.cvm.pin.as_deref()), (Some("s"), Some("t")));
    node.record.fold_key("w", T0);
    assert_eq!((node.record.cvm.ssh_pin.as_deref(), node.record.cvm.pin.as_deref()), (Some("s"), Some("w")));
}

#[test]
fn the_first_key_is_remembered_until_formation_changes_it() {
    let mut node = Node::in_phase(WaitingForCvm);
    for key in ["a", "b"] {
        node.record.fold_probe(Driver::Prism, CvmAnswer::TlsUp, Some(key.into()), T0);
    }
    assert_eq!(node.record.cvm.pin.as_deref(), Some("a"));
    assert_eq!(node.record.fold_key("a", T0), None);
    assert_eq!(node.record.fold_key("b", T0).map(|e| e.data), Some(json!({"before": "a", "key": "b"})));
    assert_eq!(node.record.fold_key("b", T0), None);
}

fn failed_in(phase: NodePhase) -> Node {
    Node::in_phase(phase).showed(Seen::ScriptServed, T0).with(|n| {
        n.record.close_attempt(T0);
        n.record.failure =
            Some(Failure { in_phase: phase.as_str().into(), code: "x".into(), reason: "y".into(), hint: "z".into() });
        n.record.enter(Failed, "y".into(), T0);
    })
}

#[test]
fn a_retry_goes_back_to_what_failed() {
    let now = T0 + minutes(90);
    for phase in [Requested, Ordered, WaitingForBoot, Imaging] {
        let mut with_server = failed_in(phase);
        with_server.record.retry(false, true, now);
        assert_eq!((with_server.record.phase, with_server.record.reimage), (Requested, true));
        assert!(with_server.record.open_attempt().is_none(), "another boot needs another permission");
        let mut without = failed_in(phase);
        let told = without.record.retry(false, false, now).map(|event| (event.kind, event.message));
        assert_eq!(told, Some((kind::BOOT_ATTEMPT_OPENED, "boot attempt 1 opened again".into())));
        assert_eq!((without.record.phase, without.record.reimage), (Requested, false));
        assert!(without.record.open_attempt().is_some(), "a server found later carries this attempt's token");
        let mut deleted = failed_in(phase).with(|n| n.record.since = T0 + minutes(1));
        deleted.record.retry(false, false, now);
        assert!(deleted.record.open_attempt().is_none(), "this attempt's server is no more");
    }
    let mut installed = failed_in(WaitingForCvm);
    installed.record.retry(false, true, now);
    assert_eq!((installed.record.phase, installed.record.reimage), (WaitingForCvm, false));
    let mut existing = failed_in(WaitingForCvm);
    existing.record.retry(true, false, now);
    assert_eq!(existing.record.phase, WaitingForCvm);
    for node in [installed, existing] {
        assert_eq!(node.record.failure, None);
        assert!(!matches!(node.decide(now), Decision::NeedsOperator(_)), "its deadline counts anew");
    }
}

#[test]
fn a_retry_touches_nothing_but_what_failed() {
    for phase in NODE_PHASES.into_iter().filter(|p| *p != Failed) {
        let mut node = Node::in_phase(phase);
        let before = node.record.clone();
        node.record.retry(false, true, T0 + minutes(1));
        assert_eq!(node.record, before);
    }
    for phase in CLUSTER_PHASES.into_iter().filter(|p| !matches!(p, ClusterPhase::Failed | ClusterPhase::NeedsOperator))
    {
        let mut cluster = Cluster::forming(FormationState::Accepted).with(|c| c.record.phase = phase);
        let before = cluster.record.clone();
        cluster.record.retry(FormationChoice::Auto, &[], T0 + minutes(1));
        assert_eq!(cluster.record, before);
    }
}

#[test]
fn another_attempt_at_formation_looks_before_it_asks() {
    let now = T0 + minutes(90);
    let mut cluster = Cluster::forming(FormationState::Accepted).with(|c| {
        c.record.phase = ClusterPhase::NeedsOperator;
        c.attempt().entry = 3;
    });
    cluster.record.retry(FormationChoice::Auto, &[], now);
    assert_eq!(cluster.record.phase, ClusterPhase::Forming);
    let attempt = cluster.attempt();
    assert_eq!((attempt.n, attempt.entry, attempt.state), (2, 0, FormationState::LookFirst));
    assert!(cluster.looks(now).formation);
    assert!(matches!(cluster.decide(now), Decision::Wait { .. }));

    let mut asked = Cluster::asked(FormationState::Accepted).with(|c| c.attempt().round = 2);
    let before = asked.attempt().clone();
    let mut again = asked.retried(ClusterPhase::Forming, FormationChoice::Auto, now);
    let attempt = again.attempt();
    assert_eq!((attempt.round, attempt.started_at, &attempt.seen), (0, now, &None));
    let remembered = (attempt.ours, attempt.asked_at, &attempt.job);
    assert_eq!(remembered, (before.ours, before.asked_at, &before.job), "it must know its own traces");

    let mut too_few = Cluster::of(&[Ready; 3]).with(|c| c.record.phase = ClusterPhase::Failed);
    too_few.record.retry(FormationChoice::Auto, &[], now);
    assert_eq!((too_few.record.phase, too_few.record.since), (ClusterPhase::WaitingForNodes, now));
}

#[test]
fn trust_is_what_was_shown_in_the_boot_attempt_and_a_session_outlasts_a_script() {
    let begun = |key: u8, round: u32| Seen::SessionBegun { key: SessionKey([key; 32]), round };
    let checking = Seen::Reported(report(1, ReportPhase::Checking));
    for (seen, trust) in [
        (vec![Seen::ScriptServed], None),
        (vec![Seen::ScriptServed, Seen::ConfigServed], Some(Trust::Token)),
        (vec![Seen::ScriptServed, checking], Some(Trust::Token)),
        (vec![Seen::ScriptServed, begun(1, 1)], Some(Trust::Session)),
        (vec![Seen::ScriptServed, begun(1, 1), Seen::ConfigServed], Some(Trust::Session)),
        (vec![Seen::ScriptServed, begun(1, 1), Seen::ScriptServed], Some(Trust::Session)),
        (vec![Seen::ScriptServed, Seen::ConfigServed, Seen::ScriptServed, begun(1, 2)], Some(Trust::Session)),
        (vec![Seen::ScriptServed, begun(1, 1), Seen::ScriptServed, begun(2, 2)], Some(Trust::Session)),
    ] {
        let steps = seen.iter().zip(1..);
        let node = steps.fold(Node::in_phase(Imaging), |node, (seen, n)| node.showed(seen.clone(), T0 + seconds(n)));
        assert_eq!(node.record.boot.trust(), trust, "{seen:?}");
    }
}

#[test]
fn a_session_is_told_once() {
    let mut node = Node::in_phase(Imaging);
    let begun = evidence(1, Seen::SessionBegun { key: SessionKey([0xab; 32]), round: 1 }, T0);
    let told = node.record.fold_evidence(&begun);
    assert_eq!(told.iter().map(|event| event.kind).collect::<Vec<_>>(), [kind::SESSION_BEGUN, kind::BOOT_TRUST]);
    assert!(told[0].message.contains("abababababababab"), "{}", told[0].message);
    assert_eq!(node.record.fold_evidence(&begun), []);
}

fn compared(n: u64) -> Report {
    let mut report = report(n, ReportPhase::Installing);
    report.facts.insert(Report::FILES_COMPARED.into(), 2.into());
    report
}

#[test]
fn the_level_of_a_boot_is_made_of_what_was_compared_and_of_the_way_the_script_came() {
    let step = |step| Seen::StepReached { step };
    let begun = Seen::SessionBegun { key: SessionKey([1; 32]), round: 1 };
    let files = Seen::Reported(compared(1));
    use BootStep::{Boot, BootChecked, BootUnchecked, InitrdDiffers, KernelDiffers};
    use ImagesInIpxe::{Compared, Differ, NotCompared, NotTold};
    use TrustLevel::{FilesCompared, ImagesCompared, Pinned, PinnedAndCompared, Unverified};
    for (seen, by_url, in_user_data, images) in [
        (vec![step(Boot)], Unverified, Unverified, NotTold),
        (vec![step(BootUnchecked)], Unverified, Unverified, NotCompared),
        (vec![step(BootChecked)], ImagesCompared, Pinned, Compared),
        (vec![step(KernelDiffers)], Unverified, Unverified, Differ),
        (vec![step(BootChecked), step(InitrdDiffers)], Unverified, Unverified, Differ),
        (vec![begun.clone(), files.clone()], FilesCompared, FilesCompared, NotTold),
        (vec![step(BootUnchecked), begun.clone(), files.clone()], FilesCompared, FilesCompared, NotCompared),
        (vec![step(BootChecked), begun.clone(), files.clone()], ImagesCompared, PinnedAndCompared, Compared),
        // Begun anew: what an earlier round has shown counts no more.
        (
            vec![step(BootChecked), files.clone(), Seen::AttemptAsked, step(BootUnchecked)],
            Unverified,
            Unverified,
            NotCompared,
        ),
        (vec![step(BootChecked), files, Seen::ScriptServed, step(BootChecked)], ImagesCompared, Pinned, Compared),
    ] {
        for (inline, level) in [
            (None, by_url),
            (Some(InlineScript { image_set: None, has_manifest: false, pins_ca: false }), in_user_data),
        ] {
            let mut node = Node::in_phase(Imaging);
            node.record.attempt.as_mut().unwrap().inline = inline.clone();
            for (seen, n) in seen.iter().zip(1..) {
                node = node.showed(seen.clone(), T0 + seconds(n));
            }
            let origin = node.record.attempt.as_ref().unwrap().script_origin();
            let trust = BootTrust::of(&node.record.boot, origin).unwrap();
            assert_eq!((trust.level, trust.kernel_and_initrd), (level, images), "{inline:?} {seen:?}");
        }
    }
    assert_eq!(BootTrust::of(&Node::in_phase(Imaging).record.boot, ScriptOrigin::UserData), None);
}

#[test]
fn a_level_is_told_when_it_is_reached_and_not_again() {
    let mut node = Node::in_phase(Imaging);
    node.record.attempt.as_mut().unwrap().inline =
        Some(InlineScript { image_set: Some("ce-1".into()), has_manifest: true, pins_ca: false });
    let mut told = Vec::new();
    for (seen, n) in [
        Seen::AttemptAsked,
        Seen::StepReached { step: BootStep::BootChecked },
        Seen::SessionBegun { key: SessionKey([1; 32]), round: 1 },
        Seen::ConfigServed,
        Seen::Reported(report(1, ReportPhase::Checking)),
        Seen::Reported(compared(2)),
        Seen::Reported(report(3, ReportPhase::Installing)),
        Seen::AttemptAsked,
        Seen::ImageServed { file: "vmlinuz-foundation".into(), sent: 1, of: 1 },
        Seen::StepReached { step: BootStep::BootChecked },
    ]
    .into_iter()
    .zip(1..)
    {
        let events = node.record.fold_evidence(&evidence(1, seen, T0 + seconds(n)));
        let levels = events.into_iter().filter(|event| event.kind == kind::BOOT_TRUST);
        told.extend(levels.map(|event| (n, event.data["level"].as_str().unwrap().to_owned())));
    }
    let expected = [(2, "pinned"), (6, "pinned_and_compared"), (10, "pinned")];
    assert_eq!(told, expected.map(|(n, level)| (n, level.to_owned())));
}

/// A script in user data that was told to go on has done what a fetched one has.
#[test]
fn a_question_of_a_script_in_user_data_is_a_fetch_of_the_script() {
    let mut asked = Node::in_phase(WaitingForBoot);
    asked.record.attempt.as_mut().unwrap().inline =
        Some(InlineScript { image_set: None, has_manifest: false, pins_ca: false });
    let mut fetched = Node::in_phase(WaitingForBoot);
    let told = asked.record.fold_evidence(&evidence(1, Seen::AttemptAsked, T0));
    fetched.record.fold_evidence(&evidence(1, Seen::ScriptServed, T0));
    assert_eq!(asked.record.boot, fetched.record.boot);
    assert_eq!((told[0].kind, &told[0].data["script"]), (kind::SCRIPT_SERVED, &json!("user_data")));
}
