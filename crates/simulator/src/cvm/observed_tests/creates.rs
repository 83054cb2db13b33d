//! `cluster create` where nothing goes wrong in the world.

use super::*;

#[test]
fn a_create_goes_on_without_its_connection_and_says_what_the_transcript_says() {
    let mut rack = Rack::new();
    assert_eq!(rack.look(1, "create-1", 1).status, 44, "no such job");
    let started = rack.job(1, "create-1", &format!("{CLUSTER} {CREATE}"));
    assert_eq!((started.status, started.after), (0, Duration::ZERO));
    assert_eq!(rack.job(1, "create-1", &format!("{CLUSTER} {CREATE}")).status, 1, "a job of that name is there");
    let seen = rack.look(1, "create-1", 1).out;
    assert!(seen.contains("\nalive\nstatus\noutput\n"), "{seen}");
    let [boot, pid, ..] = seen.lines().collect::<Vec<_>>()[..] else { panic!() };
    let ids: Vec<&str> = boot.split(' ').skip(1).collect();
    assert!(ids.len() == 2 && ids[0] == ids[1], "{boot}");
    assert!(pid.strip_prefix("pid ").unwrap().parse::<u32>().is_ok(), "{pid}");

    rack.seconds(60);
    let half = rack.ended(1, "create-1");
    assert_eq!(half, None);
    rack.seconds(340);
    let (status, output) = rack.ended(1, "create-1").unwrap();
    assert_eq!(status, 0);
    let mut at = 0;
    for line in [
        "INFO MainThread cluster:2943 Executing action create on SVMs 10.240.0.101,10.240.0.102,10.240.0.103",
        "Discovered node:",
        "node_uuid: ",
        "Cluster is on arch x86_64",
        "iptables configured on SVM 10.240.0.103",
        "Creating certificates",
        "Configuring Zeus mapping ({'10.240.0.101': 1, '10.240.0.102': 2, '10.240.0.103': 3}) on SVM node 10.240.0.101",
        "Creating cluster with SVMs: ",
        "Will seed prism with password hash $6$",
        "Zeus is not ready yet, trying again in 5 seconds",
        "Waiting for services to start",
        "Waiting on 10.240.0.101 (Up, ZeusLeader) to start:  ",
        "The state of the cluster: start",
        "Lockdown mode: Disabled",
        "Running CE cluster post-create script",
        "INFO MainThread cluster:2943 Success!\n",
    ] {
        at += output[at..].find(line).unwrap_or_else(|| panic!("{line} is not there, or not in order: {output}"));
    }
    assert!(output.ends_with("Success!\n"));
    let first = output.lines().next().unwrap();
    assert!(first.as_bytes()[19] == b',' && first.starts_with("2026-"), "{first}");
    let some = rack.look(1, "create-1", 101).out;
    assert!(some.ends_with(&output[100..]), "output can be read from any byte on");
    assert!(!rack.look(1, "create-1", 1).out.contains("alive"));
}

#[test]
fn in_the_foreground_the_answer_comes_when_it_has_ended_and_on_standard_error_unless_chosen() {
    let mut rack = Rack::new();
    let ran = rack.run(1, &format!("{CLUSTER} {CREATE}"));
    assert!((320..400).contains(&ran.after.as_secs()), "{:?}", ran.after);
    assert!(ran.err.ends_with("Success!\n") && ran.out.starts_with("The state of the cluster: start"), "{}", ran.out);
    assert!(rack.run(2, &format!("{CLUSTER} status")).err.contains("unconfigured"), "it has only begun");
    rack.seconds(ran.after.as_secs() + 1);
    assert_eq!(rack.not_up(2), Vec::<String>::new(), "and it ended as it was told");

    let mut rack = Rack::with(3, |settings| settings.observed.logs_to_stdout = true);
    let ran = rack.run(1, &format!("{CLUSTER} {CREATE}"));
    assert!(ran.err.is_empty() && ran.out.ends_with("Success!\n"));
}

#[test]
fn the_world_sets_the_pace() {
    let mut settings = observed(|_| {});
    settings.cvms.speed = 100.0;
    let mut rack = Rack { world: World::new(settings, START), now: START };
    (1..=3).for_each(|n| rack.world.place_prepared_node(START, host(n)));
    rack.seconds(1);
    let ran = rack.run(1, &format!("{CLUSTER} {CREATE}"));
    assert!((3200..4000).contains(&ran.after.as_millis()), "{:?}", ran.after);
}

#[test]
fn a_wrong_command_line_is_refused_before_anything_is_done() {
    let mut rack = Rack::new();
    for (command, status, told) in [
        (CREATE.replace("cluster_name", "cluster-name"), 1, "Unknown command line flag 'cluster-name'"),
        (CREATE.replace("'create'", "'--timezone=UTC' 'create'"), 1, "Unknown command line flag 'timezone'"),
        (CREATE.replace("8.8.8.8", "dns.google"), 1, "Invalid IPv4 addresses"),
        (CREATE.replace("10.240.0.102", "10.240.0.101"), 1, "Provide unique IPs"),
        (CREATE.replace("factor=2", "factor=3"), 1, "At least 5 nodes required to support redundancy factor 3"),
        (CREATE.replace("factor=2", "factor=9"), 1, "Invalid redundancy factor 9"),
        (CREATE.replace("0.200", "0.51"), 1, "Cluster external IP 10.240.0.51 is already in use"),
        (CREATE.replace("10.240.0.200", "10.99.0.200"), 1, "not in the subnet"),
        ("'made-up'".into(), 1, "USAGE"),
        (String::new(), 1, "USAGE"),
    ] {
        let ran = rack.run(1, &format!("{CLUSTER} {command}"));
        assert_eq!((ran.status, ran.after), (status, Duration::ZERO), "{command}: {ran:?}");
        assert!(ran.err.contains(told), "{command}: {}", ran.err);
    }
    assert!((1..=3).all(|n| rack.is_unconfigured(n)));
}

#[test]
fn flags_after_the_verb_are_ignored_so_a_cluster_may_be_called_unnamed() {
    let mut rack = Rack::new();
    let ips = "'--svm_ip=10.240.0.101,10.240.0.102,10.240.0.103'";
    let ran = rack.wait(1, &format!("{CLUSTER} {ips} create --cluster-name prod --redundancy_factor=9"), "", false);
    assert_eq!(ran.status, 0, "{ran:?}");
    rack.seconds(60);
    let (_, cluster) = rack.get(cvm_ip(1), "v2.0/cluster");
    assert_eq!((&cluster["name"], &cluster["cluster_external_ipaddress"]), (&json!("Unnamed"), &Value::Null));
    assert_eq!(cluster["cluster_redundancy_state"]["desired_redundancy_factor"], 2);
}

#[test]
fn a_doubtful_cluster_is_asked_about_and_no_is_no_failure() {
    let two = "'--svm_ips=10.240.0.101,10.240.0.102' '--redundancy_factor=1' create";
    for (stdin, status, took) in [("", 0, false), ("n\n", 0, false), ("\n", 0, false), ("Y\n", 0, true)] {
        let mut rack = Rack::with(2, |_| {});
        let ran = rack.wait(1, &format!("{CLUSTER} {two}"), stdin, false);
        assert_eq!((ran.status, ran.after > Duration::ZERO), (status, took), "{stdin:?}: {ran:?}");
        assert!(ran.out.contains("Do you want to proceed? (Y/[N])"));
        assert_eq!(rack.is_unconfigured(1), !took);
    }
    let mut rack = Rack::with(2, |settings| settings.observed.closed_stdin_means_no = false);
    assert_eq!(rack.run(1, &format!("{CLUSTER} {two}")).status, 1, "by setting, the read fails");
    let mut rack = Rack::with(2, |_| {});
    let known = "'--svm_ips=10.240.0.101,10.240.0.102' '--redundancy_factor=2' \
                 '--cluster_function_list=two_node_cluster' create";
    assert!(rack.run(1, &format!("{CLUSTER} {known}")).err.ends_with("Success!\n"));
}

#[test]
fn one_node_needs_factor_1_or_a_second_boot_ssd() {
    let one = |factor: &str| format!("{CLUSTER} '--svm_ips=10.240.0.101' {factor} create");
    let mut rack = Rack::with(1, |_| {});
    for factor in ["'--redundancy_factor=2'", ""] {
        let ran = rack.run(1, &one(factor));
        assert!(ran.status == 1 && ran.err.contains("not enough boot ssds"), "{factor}: {ran:?}");
    }
    assert!(rack.run(1, &one("'--redundancy_factor=1'")).err.ends_with("Success!\n"));
    let mut rack = Rack::with(1, |settings| settings.observed.boot_ssds = 2);
    assert!(rack.run(1, &one("'--redundancy_factor=2'")).err.ends_with("Success!\n"));
}

#[test]
fn every_node_has_to_be_found() {
    let lost = |rack: &mut Rack| {
        let (status, output) = rack.tried("create-1").unwrap();
        assert_eq!(status, 1, "{output}");
        let found = output.split_once("Undiscovered ips : ");
        found.unwrap_or_else(|| panic!("{output}")).1.trim().to_owned()
    };
    let mut rack = Rack::with(2, |_| {});
    assert_eq!(lost(&mut rack), "10.240.0.103", "there is none");
    assert!(rack.is_unconfigured(1) && rack.is_unconfigured(2));

    let mut rack = Rack::with(2, |_| {});
    rack.world.place_prepared_node(rack.now, host(3));
    rack.job(1, "create-1", &format!("{CLUSTER} {CREATE}"));
    rack.seconds(10);
    assert!(rack.ended(1, "create-1").unwrap().1.contains("Undiscovered ips : 10.240.0.103"), "its genesis is not up");
    assert_eq!(
        rack.run(1, &format!("{CLUSTER} '--skip_discovery' {CREATE}"))
            .err
            .matches("is not reachable. Aborting.")
            .count(),
        1
    );

    let mut rack = Rack::fresh(3, |_| {}, vec![]);
    rack.seconds(90);
    let alone = "'--svm_ips=10.240.0.103' '--redundancy_factor=1' create";
    rack.wait(3, &format!("{CLUSTER} {alone}"), "", false);
    assert_eq!(lost(&mut rack), "10.240.0.103", "it is in a cluster");
    let ran = rack.run(1, &format!("{CLUSTER} '--skip_discovery' {CREATE}"));
    assert!(ran.err.contains("SVM 10.240.0.103 is already configured"), "{ran:?}");
    let ran = rack.run(3, &format!("{CLUSTER} {alone}"));
    assert!(ran.status == 1 && ran.err.contains("SVM 10.240.0.103 is already configured"), "{ran:?}");
}

#[test]
fn the_caller_may_choose_the_uuid() {
    let chosen = "6d1b6f5e-0000-4000-8000-000000000001";
    for heeds in [true, false] {
        let mut rack = Rack::with(3, |settings| settings.observed.heeds_cluster_uuid = heeds);
        rack.wait(1, &format!("{CLUSTER} '--cluster_uuid={chosen}' {CREATE}"), "", false);
        rack.seconds(60);
        assert_eq!(rack.get(cvm_ip(1), "v2.0/cluster").1["uuid"] == chosen, heeds);
    }
}
