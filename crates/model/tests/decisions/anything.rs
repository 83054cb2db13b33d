//! Any record at all, reachable or not.

use crate::rig::*;
use metalform_model::*;
use proptest::{collection::vec, option, prelude::*, sample::select};

pub fn time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        9 => (-10_000_000_000i64..10_000_000_000).prop_map(|d| Timestamp(T0.0 + d)),
        1 => select(vec![Timestamp(0), Timestamp(i64::MIN), Timestamp::NEVER]),
    ]
}

pub fn some_trouble() -> impl Strategy<Value = Trouble> {
    (time(), 0u32..100).prop_map(|(next_at, failures)| Trouble {
        doing: "a".into(),
        error: "b".into(),
        failures,
        next_at,
    })
}

pub fn trouble() -> impl Strategy<Value = Option<Trouble>> {
    option::of(some_trouble())
}

pub fn answer() -> impl Strategy<Value = CvmAnswer> {
    select(vec![
        CvmAnswer::Refused,
        CvmAnswer::Silent,
        CvmAnswer::TlsUp,
        CvmAnswer::HttpUp { status: 503 },
        CvmAnswer::SshUp,
        CvmAnswer::Starting { what: "genesis".into() },
        CvmAnswer::Unauthorized,
        CvmAnswer::LockedOut,
        CvmAnswer::OtherKey { seen: "k".into() },
        CvmAnswer::Ready,
    ])
}

pub fn a_report() -> impl Strategy<Value = Report> {
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

pub fn seen() -> impl Strategy<Value = Seen> {
    prop_oneof![
        Just(Seen::ScriptServed),
        Just(Seen::PinnedScriptServed),
        select(vec!["one", "another"]).prop_map(|why| Seen::ScriptHeld { why: why.into() }),
        Just(Seen::ConfigServed),
        (select(vec!["vmlinuz-foundation", "initrd-foundation.img", "x"]), 0u64..3)
            .prop_map(|(file, sent)| Seen::ImageServed { file: file.into(), sent, of: 2 }),
        a_report().prop_map(Seen::Reported),
        Just(Seen::ArizonaServed),
        (0u8..3, 0u32..4).prop_map(|(key, round)| Seen::SessionBegun { key: SessionKey([key; 32]), round }),
        (select(vec!["vmlinuz-foundation", "x"]), select(vec!["image_unreadable", "unknown_image"]))
            .prop_map(|(file, code)| Seen::ImageRefused { file: file.into(), code: code.into() }),
        select(vec![BootStep::Boot, BootStep::Error(7), BootStep::TlsUntrusted, BootStep::TlsFailed])
            .prop_map(|step| Seen::StepReached { step }),
        a_call().prop_map(Seen::InstallerCalled),
    ]
}

pub fn a_call() -> impl Strategy<Value = InstallerCall> {
    let steps = ["Running CVM Installer", "Last reboot complete", "fatal", "info", "Something new"];
    (select(steps.to_vec()), 0u64..3).prop_map(|(step, offset)| InstallerCall {
        step: step.into(),
        offset,
        text: "text".into(),
    })
}

pub fn state() -> impl Strategy<Value = ResourceState> {
    select(vec![ResourceState::Intended, ResourceState::Created, ResourceState::Deleting, ResourceState::Gone])
}

pub fn resources() -> impl Strategy<Value = Vec<Resource>> {
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
    pub fn boot()(script_at in option::of(time()), config_at in option::of(time()), kernel_at in option::of(time()),
        report in option::of(a_report()), (installed_at, reported_at, initrd_at, last_script_at) in
            (option::of(time()), option::of(time()), option::of(time()), option::of(time())),
        partial in option::of((0u64..3, 0u64..3, time())), step in option::of(time()), scripts in 0u32..6,
    ) -> BootProgress {
        let partial = partial.map(|(sent, of, at)| PartialImage { file: "x".into(), sent, of, at });
        let step = step.map(|at| StepSeen { step: BootStep::Error(1), at });
        BootProgress {
            script_at, config_at, kernel_at, report, installed_at, reported_at, initrd_at, last_script_at, partial, step,
            scripts, ..Default::default()
        }
    }
}

prop_compose! {
    pub fn cvm()(probed_at in option::of(time()), answer in option::of(answer()), refused_at in option::of(time()),
        refusals in 0u32..4, driver in option::of(select(Driver::ALL.to_vec())), surface in option::of(a_surface()),
        (surfaced_at, surface_since, others_since) in (option::of(time()), option::of(time()), option::of(time())),
    ) -> CvmProgress {
        CvmProgress {
            probed_at, answer, refused_at, refusals, driver, surface, surfaced_at, surface_since, others_since,
            ..Default::default()
        }
    }
}

prop_compose! {
    pub fn a_server()(at in time(), status in option::of(select(STATUSES.to_vec()))) -> ServerSeen {
        ServerSeen { at, status, why: None }
    }
}

prop_compose! {
    pub fn node()(
        phase in select(NODE_PHASES.to_vec()),
        since in time(),
        ordered_at in option::of(time()),
        attempt in option::of(option::of(time())),
        boot in boot(),
        cvm in cvm(),
        server in option::of(a_server()),
        sent in option::of((select(vec![PowerAction::Stop, PowerAction::Reinitialize]), time())),
        trouble in trouble(),
        (reimage, absent, existing, has_addresses) in any::<(bool, bool, bool, bool)>(),
        (resources, choice) in (resources(), select(CHOICES.to_vec())),
    ) -> Node {
        let mut node = Node { plan: node_plan("server-001", existing), resources, absent, choice, ..Node::new() };
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

pub fn a_surface() -> impl Strategy<Value = Surface> {
    select(surfaces())
}

pub fn cluster_in_words() -> impl Strategy<Value = ClusterSeen> {
    let names = select(vec![None, Some("prod"), Some("theirs"), Some("Unnamed")]);
    let statuses = select(vec![None, Some("UP"), Some("STARTING"), Some("FAILED"), Some("UNCONFIGURED")]);
    let members = select(vec![vec![], vec![1, 2, 3], vec![1], vec![1, 9]]);
    (names, statuses, members, any::<bool>()).prop_map(|(name, status, members, is_stopped)| ClusterSeen {
        members: cluster_of(&members).members,
        is_stopped,
        ..cluster_seen(name, status)
    })
}

pub fn says() -> impl Strategy<Value = MemberSays> {
    prop_oneof![
        4 => Just(free()),
        1 => Just(nothing()),
        3 => Just(in_ours()),
        1 => cluster_in_words().prop_map(MemberSays::InCluster),
    ]
}

pub fn job_says() -> impl Strategy<Value = JobSays> {
    select(vec![
        JobSays::Absent,
        JobSays::Running,
        JobSays::Succeeded,
        JobSays::Died,
        unknown(),
        failed(Advice::DontRetry),
        failed(Advice::Wait),
        failed(Advice::CleanUp),
    ])
}

prop_compose! {
    pub fn formation_seen()(
        vip in option::weighted(0.2, cluster_in_words().boxed()),
        says in vec(says().boxed(), 4),
        // Not every member is heard of.
        heard in prop_oneof![3 => Just(4usize), 1 => 0usize..4],
        job in option::of(job_says()),
        refused in prop::bool::weighted(0.1),
    ) -> FormationSeen {
        let members = says.into_iter().take(heard).enumerate();
        FormationSeen {
            vip,
            members: members.map(|(n, says)| MemberSeen { server_id: server(n + 1), says }).collect(),
            job,
            refused,
            ..Default::default()
        }
    }
}

fn clean_step() -> impl Strategy<Value = CleanStep> {
    select(vec![
        CleanStep::EndJob,
        CleanStep::Stop,
        CleanStep::Destroy,
        CleanStep::Unconfigure,
        CleanStep::RestartGenesis,
    ])
}

prop_compose! {
    fn cleaning()(since in time(), at in time(), step in option::of(clean_step())) -> Cleaning {
        Cleaning { why: "w".into(), since, step, at }
    }
}

prop_compose! {
    fn checks_before()(checks in vec(any::<bool>(), 0..3), at in time(), since in time()) -> ChecksBefore {
        let checks = checks.into_iter().map(|ok| a_check("c", ok, "s")).collect();
        ChecksBefore { checks, at, since }
    }
}

prop_compose! {
    pub fn attempt()(
        members in 0usize..4,
        entry in 0usize..5,
        driver in select(Driver::ALL.to_vec()),
        state in select(ATTEMPT_STATES.to_vec()),
        (started_at, looked_at, asked_at) in (time(), option::of(time()), option::of(time())),
        seen in option::weighted(0.9, formation_seen().boxed()),
        refusals in prop_oneof![4 => Just(vec![]), 1 => vec(any::<bool>(), 0..3)],
        (round, ours, has_job, settled) in (0u32..5, any::<bool>(), any::<bool>(), any::<bool>()),
        refusals_in_a_row in prop_oneof![8 => Just(0u32), 1 => 1u32..4],
        (before, cleaning) in (option::of(checks_before()), option::weighted(0.8, cleaning())),
    ) -> FormationAttempt {
        let refusals = refusals.into_iter();
        let job = FormationJob { server_id: server(1), driver: Driver::CvmSsh, name: "create-1".into(), session: None, read: 0 };
        FormationAttempt {
            entry, looked_at, asked_at, seen, round, ours, before, cleaning, settled, refusals_in_a_row,
            job: has_job.then_some(job),
            refusals: refusals.map(|permanent| Refusal { server_id: server(1), error: "e".into(), permanent }).collect(),
            ..FormationAttempt::new(1, driver, (1..=members).map(server).collect(), state, started_at)
        }
    }
}

pub fn places() -> Vec<SecurePlace> {
    let of_nodes = (1..=3).flat_map(|n| [SecurePlace::Cvm(server(n)), SecurePlace::Host(server(n))]);
    of_nodes.chain([SecurePlace::Prism]).collect()
}

pub fn account() -> impl Strategy<Value = AccountRecord> {
    let states = vec![
        AccountState::Default,
        AccountState::Changing,
        AccountState::Set,
        AccountState::Changed,
        AccountState::Changed,
        AccountState::Absent,
    ];
    (select(places()), select(states), 0u32..4, time()).prop_map(|(place, state, refusals, at)| AccountRecord {
        account: place.lead(),
        server_id: place.server_id().map(Into::into),
        state,
        refusals,
        at,
        error: None,
        is_locked: false,
    })
}

prop_compose! {
    pub fn cluster()(
        phases in vec(select(NODE_PHASES.to_vec()), 0..5),
        phase in select(CLUSTER_PHASES.to_vec()),
        since in time(),
        formation in option::of(attempt().boxed()),
        vip in option::of(state()),
        (absent, form, told, existing, on_command) in any::<(bool, bool, bool, bool, bool)>(),
        min_nodes in 1usize..5,
        checks in vec(any::<bool>(), 0..3),
        trouble in option::weighted(0.2, some_trouble()),
        (choice, plans_choice) in (option::of(select(CHOICES.to_vec())), select(CHOICES.to_vec())),
        (accounts, cvms) in (vec(account().boxed(), 0..7), vec(cvm().boxed(), 5)),
    ) -> Cluster {
        let mut cluster = Cluster::of(&phases);
        cluster.plan.cluster.min_nodes = min_nodes;
        cluster.plan.cluster.start = if on_command { Start::OnCommand } else { Start::WhenReady };
        cluster.plan.nodes.iter_mut().for_each(|n| n.existing = existing);
        cluster.plan.cluster.formation = plans_choice;
        cluster.nodes.iter_mut().zip(cvms).for_each(|(node, cvm)| node.cvm = cvm);
        cluster.intents = Intents { absent, form, retries: 0, formation: choice };
        cluster.vip = vip.map(|state| resource(Slot::Vip, state));
        let checks = checks.into_iter().map(|ok| a_check("c", ok, "s")).collect();
        cluster.record = ClusterRecord {
            phase, since, formation, nodes_waiting_told: told, checks, trouble, accounts, ..cluster.record
        };
        cluster
    }
}

/// Not far from asking: the checks hold mostly, and the passwords are changed at most places.
pub fn about_to_ask() -> impl Strategy<Value = Cluster> {
    let accounts = vec((account().boxed(), 0u32..6), 0..4);
    (forming().boxed(), accounts, any::<bool>()).prop_map(|(cluster, accounts, is_fit)| {
        let mut cluster = cluster.secured().with(|c| {
            c.attempt().state = FormationState::Unasked;
            c.attempt().refusals.clear();
            c.record.trouble = None;
        });
        for (account, _) in accounts.into_iter().filter(|(_, often)| *often > 3) {
            let is_same = |r: &AccountRecord| r.account == account.account && r.server_id == account.server_id;
            cluster.record.accounts.retain(|r| !is_same(r));
            cluster.record.accounts.push(account);
        }
        let at = cluster.attempt().started_at;
        if is_fit { cluster.checked(&[true], at, at) } else { cluster }
    })
}

pub fn forming() -> impl Strategy<Value = Cluster> {
    (cluster().boxed(), attempt().boxed()).prop_map(|(mut cluster, attempt)| {
        let all = Cluster::of(&[NodePhase::Ready; 4]);
        (cluster.plan, cluster.nodes) = (all.plan, all.nodes);
        cluster.intents.absent = false;
        (cluster.record.phase, cluster.record.formation) = (ClusterPhase::Forming, Some(attempt));
        cluster
    })
}
