//! What holds for any record at all, reachable or not.

use crate::{anything::*, rig::*};
use metalform_model::{ClusterAction, *};
use proptest::{option, prelude::*, sample::select};
use std::time::Duration;

proptest! {
    #[test]
    fn a_wait_always_ends_in_the_future(node in node(), cluster in cluster(), now in time()) {
        prop_assume!(now < Timestamp::NEVER);
        if let Decision::Wait { until, .. } = node.decide(now) {
            prop_assert!(until > now);
        }
        if let Decision::Wait { until, .. } = cluster.decide(now) {
            prop_assert!(until > now);
        }
    }

    /// What is awaited without looking is bounded: an on-its-way node has a deadline, and so has a forming cluster.
    #[test]
    fn no_wait_of_a_node_on_its_way_outlasts_its_deadline(
        mut node in node(), phase in select(NODE_PHASES[..5].to_vec()), now in time(),
    ) {
        prop_assume!(now < Timestamp::NEVER);
        (node.record.phase, node.absent) = (phase, false);
        if let Decision::Wait { until, .. } = node.decide(now) {
            let (from, limit, _) = node_deadline(node.view()).expect("it is on its way");
            prop_assert!(until <= (from + limit).max(now + Duration::from_secs(1)));
        }
    }

    #[test]
    fn no_wait_of_a_forming_cluster_outlasts_its_deadline(cluster in forming(), now in time()) {
        prop_assume!(now < Timestamp::NEVER);
        let started_at = cluster.record.formation.as_ref().map(|a| a.started_at);
        if let (Decision::Wait { until, .. }, Some(started_at)) = (cluster.decide(now), started_at) {
            let deadline = started_at + cluster.timeouts.formation;
            prop_assert!(until <= deadline.max(now + Duration::from_secs(1)));
        }
    }

    #[test]
    fn nothing_is_touched_of_a_ready_node_while_its_cluster_is_wanted(mut node in node(), now in time()) {
        node.record.phase = NodePhase::Ready;
        node.absent = false;
        prop_assert_eq!(node.looks(now), NodeLooks::default());
        let waits = matches!(node.decide(now), Decision::Wait { .. });
        prop_assert!(waits);
    }

    #[test]
    fn nothing_is_removed_while_it_is_wanted(node in node(), cluster in cluster(), now in time()) {
        if !node.absent && !matches!(node.record.phase, NodePhase::Releasing | NodePhase::Released) {
            if let Decision::Do(NodeAction::Remove(slot)) = node.decide(now) {
                // Only what is lost already: a server that failed, is gone, or is on its way out, to be ordered anew.
                prop_assert_eq!((slot, node.record.phase), (Slot::Server, NodePhase::Requested));
                let status = node.record.server.as_ref().and_then(|s| s.status);
                let server = node.resources.iter().find(|r| r.slot == slot).expect("only what there is");
                let lost = matches!(status, None | Some(ServerStatus::Failed));
                prop_assert!(lost || server.state == ResourceState::Deleting);
            }
            let phases = [NodePhase::Releasing, NodePhase::Released];
            prop_assert!(!matches!(node.decide(now), Decision::MoveTo(phase, _) if phases.contains(&phase)));
        }
        if !cluster.intents.absent
            && !matches!(cluster.record.phase, ClusterPhase::Releasing | ClusterPhase::Released)
        {
            let decision = cluster.decide(now);
            prop_assert!(decision != Decision::Do(ClusterAction::RemoveVip));
            let phases = [ClusterPhase::Releasing, ClusterPhase::Released];
            prop_assert!(!matches!(decision, Decision::MoveTo(phase, _) if phases.contains(&phase)));
        }
    }

    #[test]
    fn nothing_is_made_or_booted_of_what_is_to_be_gone(mut node in node(), mut cluster in cluster(), now in time()) {
        (node.absent, cluster.intents.absent) = (true, true);
        let made = |d: &NodeDecision| matches!(
            d, Decision::Do(NodeAction::Ensure(_) | NodeAction::OpenAttempt | NodeAction::Reinitialize)
        );
        prop_assert!(!made(&node.decide(now)));
        let decision = cluster.decide(now);
        let lets_go = matches!(
            decision,
            Decision::Wait { .. } | Decision::MoveTo(..) | Decision::Do(ClusterAction::RemoveVip)
        );
        prop_assert!(lets_go, "{:?}", decision);
    }

    #[test]
    fn a_server_is_booted_again_only_under_an_open_attempt_and_once_seen_off(node in node(), now in time()) {
        if node.decide(now) == Decision::Do(NodeAction::Reinitialize) {
            prop_assert!(node.record.open_attempt().is_some());
            let seen = node.record.server.as_ref().expect("a look");
            prop_assert!(matches!(seen.status, Some(ServerStatus::Stopped | ServerStatus::Failed)));
            prop_assert!(node.record.sent.is_none_or(|call| seen.at > call.at));
        }
    }

    #[test]
    fn a_second_fold_of_a_report_changes_nothing(mut node in node(), report in a_report(), at in time()) {
        let evidence = evidence(1, Seen::Reported(report), at);
        node.record.fold_evidence(&evidence);
        let before = node.record.clone();
        prop_assert_eq!(node.record.fold_evidence(&evidence), vec![]);
        prop_assert_eq!(node.record, before);
    }

    #[test]
    fn evidence_is_read_back_as_it_was_written(seen in seen()) {
        let written = evidence(1, seen, T0);
        let text = serde_json::to_string(&written).expect("the store keeps it as JSON");
        let read: Evidence = serde_json::from_str(&text).expect("and reads it again");
        // A percentage may lose its last digit.
        prop_assert_eq!(std::mem::discriminant(&read.seen), std::mem::discriminant(&written.seen));
        prop_assert_eq!(Evidence { seen: written.seen.clone(), ..read }, written);
    }

    #[test]
    fn a_second_fold_of_a_callback_changes_nothing(mut node in node(), call in a_call(), at in time()) {
        let called = evidence(1, Seen::InstallerCalled(call), at);
        node.record.fold_evidence(&called);
        let before = node.record.clone();
        prop_assert_eq!(node.record.fold_evidence(&called), []);
        prop_assert_eq!(node.record, before);
    }

    #[test]
    fn whatever_is_recorded_has_an_explanation_in_the_order_of_time(node in node(), now in time()) {
        let told = explain_node(node.view(), "alpha", &[], now);
        prop_assert!(!told.diagnoses.is_empty());
        prop_assert!(told.diagnoses.iter().all(|d| !d.code.is_empty() && !d.cause.is_empty()));
        prop_assert!(told.seen.is_sorted_by_key(|seen| seen.at));
    }

    #[test]
    fn evidence_without_an_open_attempt_changes_nothing(mut node in node(), seen in seen(), at in time()) {
        node.record.close_attempt(at);
        let before = node.record.clone();
        prop_assert_eq!(node.record.fold_evidence(&evidence(1, seen, at)), vec![]);
        prop_assert_eq!(node.record, before);
    }

    /// The loop looks, folds and decides; with nothing new in the world it comes to rest within one pass.
    #[test]
    fn a_look_that_shows_nothing_new_is_followed_by_a_wait_or_a_deed(
        mut node in node(), status in option::of(select(STATUSES.to_vec())), answer in answer(), surface in a_surface(), now in time(),
    ) {
        prop_assume!(now < Timestamp::NEVER - Duration::from_secs(100_000));
        for _ in 0..3 {
            let looks = node.looks(now);
            if looks.server {
                node.record.fold_server(ServerSeen { at: now, status, why: None });
            }
            if looks.cvm.surface {
                node = node.offers(surface, now);
            }
            if let Some((driver, _)) = looks.cvm.probe {
                node.record.fold_probe(driver, answer.clone(), None, now);
            }
        }
        // Whatever was due was looked at; a second look at the same moment is never due.
        prop_assert_eq!(node.looks(now), NodeLooks::default());
    }
}

proptest! {
    // What a forming cluster does depends on much at once.
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn a_node_is_asked_only_when_nobody_was_and_all_are_fit_and_secured(
        cluster in prop_oneof![cluster().boxed(), about_to_ask().boxed()], now in time(),
    ) {
        if cluster.decide(now) == Decision::Do(ClusterAction::Ask) {
            let attempt = cluster.record.formation.as_ref().expect("an attempt");
            prop_assert_eq!(attempt.state, FormationState::Unasked);
            prop_assert!(attempt.entry < attempt.members.len());
            prop_assert_eq!(cluster.record.phase, ClusterPhase::Forming);
            let before = attempt.before.as_ref().expect("checks");
            prop_assert!(before.checks.iter().all(|check| check.ok));
            for place in places().iter().filter(|_| attempt.driver == Driver::CvmSsh) {
                if place.server_id().is_some_and(|id| attempt.members.iter().any(|m| m == id)) {
                    let state = cluster.record.account(place).state;
                    prop_assert!(matches!(state, AccountState::Changed | AccountState::Absent), "{:?}", place);
                }
            }
        }
    }

    #[test]
    fn the_next_node_is_asked_only_when_every_member_said_that_it_is_free(cluster in forming(), now in time()) {
        let next = [ClusterAction::NextEntry, ClusterAction::ClearToAsk, ClusterAction::NextRound].map(Decision::Do);
        if next.contains(&cluster.decide(now)) {
            let attempt = cluster.record.formation.as_ref().expect("an attempt");
            let seen = attempt.seen.as_ref().expect("a look");
            for id in &attempt.members {
                let said = seen.members.iter().any(|m| &m.server_id == id && match &m.says {
                    MemberSays::Unconfigured => true,
                    MemberSays::InCluster(c) => c.status.as_deref() == Some("UNCONFIGURED"),
                    MemberSays::Nothing { .. } | MemberSays::OtherKey { .. } => false,
                });
                prop_assert!(said, "{} did not say so", id);
            }
            let may_be_at_work = matches!(seen.job, Some(JobSays::Running | JobSays::Unknown { .. }));
            prop_assert!(!may_be_at_work, "{:?}", seen.job);
        }
    }

    #[test]
    fn only_a_half_made_cluster_of_ours_is_taken_down(cluster in forming(), now in time()) {
        let decision = cluster.decide(now);
        if let Decision::Do(ClusterAction::Clean { .. } | ClusterAction::CleanStep(_)) = &decision {
            let attempt = cluster.record.formation.as_ref().expect("an attempt");
            prop_assert!(attempt.ours && attempt.asked_at.is_some());
            let seen = attempt.seen.as_ref().expect("a look");
            for member in seen.members.iter().filter(|m| attempt.members.contains(&m.server_id)) {
                if let MemberSays::InCluster(seen) = &member.says {
                    let is_free = seen.status.as_deref() == Some("UNCONFIGURED");
                    let ours = attempt.members.iter().filter_map(|id| {
                        cluster.nodes.iter().find(|n| &n.server_id == id).and_then(|n| n.cvm_ip)
                    });
                    let ours: Vec<_> = ours.collect();
                    prop_assert!(is_free || seen.members.iter().all(|ip| ours.contains(ip)), "{:?}", seen);
                    prop_assert!(is_free || seen.name.as_deref() != Some("theirs"), "{:?}", seen);
                }
            }
        }
        if let Decision::Do(ClusterAction::CleanStep(_)) = &decision {
            let attempt = cluster.record.formation.as_ref().expect("an attempt");
            let last = attempt.cleaning.as_ref().expect("it cleans");
            prop_assert!(attempt.looked_at.is_some_and(|at| at > last.at), "decided on what was seen before");
        }
    }

    #[test]
    fn no_place_is_shown_a_password_after_two_refusals_or_within_a_minute_of_one(
        cluster in prop_oneof![cluster().boxed(), about_to_ask().boxed()], now in time(),
    ) {
        if let Decision::Do(ClusterAction::Secure { places }) = cluster.decide(now) {
            prop_assert!(!places.is_empty());
            for place in places {
                let known = cluster.record.account(&place);
                prop_assert!(!matches!(known.state, AccountState::Changed | AccountState::Absent));
                prop_assert!(known.refusals < 2);
                prop_assert!(known.refusals == 0 || now >= known.at + Duration::from_secs(60));
            }
        }
    }
}
