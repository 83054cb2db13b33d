//! What holds for any record at all, reachable or not.

use crate::rig::*;
use metalform_model::{ClusterAction, *};
use proptest::{collection::vec, option, prelude::*, sample::select};
use std::time::Duration;

fn time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        9 => (-10_000_000_000i64..10_000_000_000).prop_map(|d| Timestamp(T0.0 + d)),
        1 => select(vec![Timestamp(0), Timestamp(i64::MIN), Timestamp::NEVER]),
    ]
}

fn trouble() -> impl Strategy<Value = Option<Trouble>> {
    option::of((time(), 0u32..100).prop_map(|(next_at, failures)| Trouble {
        doing: "a".into(),
        error: "b".into(),
        failures,
        next_at,
    }))
}

fn answer() -> impl Strategy<Value = CvmAnswer> {
    select(vec![
        CvmAnswer::Refused,
        CvmAnswer::Silent,
        CvmAnswer::TlsUp,
        CvmAnswer::HttpUp { status: 503 },
        CvmAnswer::Unauthorized,
        CvmAnswer::LockedOut,
        CvmAnswer::OtherKey { seen: "k".into() },
        CvmAnswer::Ready,
    ])
}

fn a_report() -> impl Strategy<Value = Report> {
    let phases = [
        ReportPhase::Booting,
        ReportPhase::Checking,
        ReportPhase::Installing,
        ReportPhase::Rebooting,
        ReportPhase::Installed,
        ReportPhase::Failed,
    ];
    (1u64..5, select(phases.to_vec()), option::of(0.0..100.0))
        .prop_map(|(seq, phase, percent)| Report { percent, ..report(seq, phase) })
}

fn seen() -> impl Strategy<Value = Seen> {
    prop_oneof![
        Just(Seen::ScriptServed),
        Just(Seen::ConfigServed),
        (select(vec!["vmlinuz-foundation", "initrd-foundation.img", "x"]), 0u64..3)
            .prop_map(|(file, sent)| Seen::ImageServed { file: file.into(), sent, of: 2 }),
        a_report().prop_map(Seen::Reported),
    ]
}

fn state() -> impl Strategy<Value = ResourceState> {
    select(vec![ResourceState::Intended, ResourceState::Created, ResourceState::Deleting, ResourceState::Gone])
}

fn resources() -> impl Strategy<Value = Vec<Resource>> {
    SLOTS.map(|slot| option::of((state(), time(), any::<bool>()).prop_map(move |r| (slot, r)))).prop_map(|all| {
        let make = |(slot, (state, changed_at, has_id)): (Slot, (ResourceState, Timestamp, bool))| {
            let mut resource = Resource { changed_at, ..resource(slot, state) };
            resource.cloud_id = resource.cloud_id.filter(|_| has_id);
            resource
        };
        all.into_iter().flatten().map(make).collect()
    })
}

prop_compose! {
    fn boot()(script_at in option::of(time()), config_at in option::of(time()), kernel_at in option::of(time()),
        report in option::of(a_report()), installed_at in option::of(time())) -> BootProgress {
        BootProgress { script_at, config_at, kernel_at, report, installed_at, ..Default::default() }
    }
}

prop_compose! {
    fn cvm()(probed_at in option::of(time()), answer in option::of(answer()), refused_at in option::of(time()),
        refusals in 0u32..4) -> CvmProgress {
        CvmProgress { probed_at, answer, refused_at, refusals, pin: None }
    }
}

prop_compose! {
    fn server()(at in time(), status in option::of(select(STATUSES.to_vec()))) -> ServerSeen {
        ServerSeen { at, status, why: None }
    }
}

prop_compose! {
    fn node()(
        phase in select(NODE_PHASES.to_vec()),
        since in time(),
        ordered_at in option::of(time()),
        attempt in option::of(option::of(time())),
        boot in boot(),
        cvm in cvm(),
        server in option::of(server()),
        sent in option::of((select(vec![PowerAction::Stop, PowerAction::Reinitialize]), time())),
        trouble in trouble(),
        (reimage, absent, existing, has_addresses) in any::<(bool, bool, bool, bool)>(),
        resources in resources(),
    ) -> Node {
        let mut node = Node { plan: node_plan("server-001", existing), resources, absent, ..Node::new() };
        if has_addresses {
            (node.record.mgmt_ip, node.record.ahv_ip, node.record.cvm_ip) =
                ("10.0.0.1".parse().ok(), "10.0.0.2".parse().ok(), "10.0.0.3".parse().ok());
        }
        if let Some(closed_at) = attempt {
            node.open_attempt(1);
            node.record.attempt.as_mut().unwrap().closed_at = closed_at;
        }
        node.record = NodeRecord {
            phase, since, ordered_at, boot, cvm, server, trouble, reimage,
            sent: sent.map(|(what, at)| PowerCall { what, at }),
            ..node.record
        };
        node
    }
}

fn cluster_in_words() -> impl Strategy<Value = ClusterSeen> {
    let names = select(vec![None, Some("prod"), Some("theirs")]);
    let statuses = select(vec![None, Some("UP"), Some("STARTING"), Some("FAILED"), Some("UNCONFIGURED")]);
    (names, statuses).prop_map(|(name, status)| cluster_seen(name, status))
}

fn says() -> impl Strategy<Value = MemberSays> {
    prop_oneof![
        3 => Just(MemberSays::Unconfigured),
        1 => Just(MemberSays::Nothing { error: "e".into() }),
        1 => cluster_in_words().prop_map(MemberSays::InCluster),
    ]
}

prop_compose! {
    fn attempt()(
        members in 0usize..4,
        entry in 0usize..5,
        state in select(vec![
            FormationState::LookFirst, FormationState::Unasked, FormationState::InDoubt, FormationState::Accepted,
        ]),
        started_at in time(),
        looked_at in option::of(time()),
        seen in option::of((option::of(cluster_in_words()), vec((1usize..5, says()), 0..5))),
        refusals in vec(any::<bool>(), 0..3),
    ) -> FormationAttempt {
        let id = |n: usize| format!("server-{n:03}");
        let refusals = refusals.into_iter();
        FormationAttempt {
            n: 1, driver: "prism".into(), members: (1..=members).map(id).collect(), entry, state,
            doubt: "d".into(), started_at, looked_at,
            asked_at: None,
            seen: seen.map(|(vip, says)| FormationSeen {
                vip,
                members: says.into_iter().map(|(n, says)| MemberSeen { server_id: id(n), says }).collect(),
            }),
            refusals: refusals.map(|permanent| Refusal { server_id: id(1), error: "e".into(), permanent }).collect(),
        }
    }
}

prop_compose! {
    fn cluster()(
        phases in vec(select(NODE_PHASES.to_vec()), 0..5),
        phase in select(CLUSTER_PHASES.to_vec()),
        since in time(),
        formation in option::of(attempt()),
        vip in option::of(state()),
        (absent, form, told, existing, on_command) in any::<(bool, bool, bool, bool, bool)>(),
        min_nodes in 1usize..5,
        checks in vec(any::<bool>(), 0..3),
        trouble in trouble(),
    ) -> Cluster {
        let mut cluster = Cluster::of(&phases);
        cluster.plan.cluster.min_nodes = min_nodes;
        cluster.plan.cluster.start = if on_command { Start::OnCommand } else { Start::WhenReady };
        cluster.plan.nodes.iter_mut().for_each(|n| n.existing = existing);
        cluster.intents = Intents { absent, form, retries: 0 };
        cluster.vip = vip.map(|state| resource(Slot::Vip, state));
        let checks = checks.into_iter().map(|ok| Check { name: "c".into(), ok, seen: "s".into() }).collect();
        cluster.record = ClusterRecord {
            phase, since, formation, nodes_waiting_told: told, checks, trouble, ..cluster.record
        };
        cluster
    }
}

fn forming() -> impl Strategy<Value = Cluster> {
    (cluster(), attempt()).prop_map(|(mut cluster, attempt)| {
        cluster.intents.absent = false;
        (cluster.record.phase, cluster.record.formation) = (ClusterPhase::Forming, Some(attempt));
        cluster
    })
}

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
    fn formation_is_asked_only_when_nobody_was(cluster in prop_oneof![cluster(), forming()], now in time()) {
        if cluster.decide(now) == Decision::Do(ClusterAction::Ask) {
            let attempt = cluster.record.formation.as_ref().expect("an attempt");
            prop_assert_eq!(attempt.state, FormationState::Unasked);
            prop_assert!(attempt.entry < attempt.members.len());
            prop_assert_eq!(cluster.record.phase, ClusterPhase::Forming);
        }
    }

    #[test]
    fn the_next_node_is_asked_only_when_every_member_said_that_it_is_free(cluster in forming(), now in time()) {
        let next = [ClusterAction::NextEntry, ClusterAction::ClearToAsk].map(Decision::Do);
        if next.contains(&cluster.decide(now)) {
            let attempt = cluster.record.formation.as_ref().expect("an attempt");
            let seen = attempt.seen.as_ref().expect("a look");
            for id in &attempt.members {
                let said = seen.members.iter().any(|m| &m.server_id == id && match &m.says {
                    MemberSays::Unconfigured => true,
                    MemberSays::InCluster(c) => c.status.as_deref() == Some("UNCONFIGURED"),
                    MemberSays::Nothing { .. } => false,
                });
                prop_assert!(said, "{} did not say so", id);
            }
        }
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
    fn evidence_without_an_open_attempt_changes_nothing(mut node in node(), seen in seen(), at in time()) {
        node.record.close_attempt(at);
        let before = node.record.clone();
        prop_assert_eq!(node.record.fold_evidence(&evidence(1, seen, at)), vec![]);
        prop_assert_eq!(node.record, before);
    }

    /// The loop looks, folds and decides; with nothing new in the world it comes to rest within one pass.
    #[test]
    fn a_look_that_shows_nothing_new_is_followed_by_a_wait_or_a_deed(
        mut node in node(), status in option::of(select(STATUSES.to_vec())), answer in answer(), now in time(),
    ) {
        prop_assume!(now < Timestamp::NEVER - Duration::from_secs(100_000));
        for _ in 0..3 {
            let looks = node.looks(now);
            if looks.server {
                node.record.fold_server(ServerSeen { at: now, status, why: None });
            }
            if looks.cvm.is_some() {
                node.record.fold_probe(answer.clone(), None, now);
            }
        }
        // Whatever was due was looked at; a second look at the same moment is never due.
        prop_assert_eq!(node.looks(now), NodeLooks::default());
    }
}
