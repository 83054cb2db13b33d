//! Each fault shows as what it is, and is got over as on real nodes.

use super::*;
use crate::cvm::FoundationApi;

fn reaches(rack: &mut Rack, from: u8, to: u8) -> String {
    let ip = cvm_ip(to);
    let text = format!(
        "ping -c 1 -W 2 {ip} >/dev/null 2>&1; echo ping $?; timeout 3 bash -c '</dev/tcp/{ip}/22' 2>/dev/null; echo 22 $?"
    );
    rack.run(from, &text).out
}

/// Stop, destroy, wait.
fn clean_up(rack: &mut Rack, n: u8) {
    rack.wait(n, &format!("echo Y | {CLUSTER} stop"), "", false);
    let ran = rack.wait(n, &format!("trap '' HUP; {CLUSTER} destroy"), "Y\n", true);
    assert_eq!(ran.status, 0, "{ran:?}");
    rack.seconds(60);
}

#[test]
fn a_blocked_pair_sees_nothing_of_each_other_until_the_fault_is_taken_away() {
    let mut rack = Rack::new();
    rack.builtin("blocked_pair");
    assert_eq!(reaches(&mut rack, 1, 2), "ping 1\n22 124\n");
    assert_eq!(reaches(&mut rack, 2, 1), "ping 1\n22 124\n");
    assert_eq!(
        (reaches(&mut rack, 1, 3), reaches(&mut rack, 3, 2)),
        ("ping 0\n22 0\n".into(), "ping 0\n22 0\n".into())
    );
    let (status, output) = rack.tried("create-1").unwrap();
    assert!(status == 1 && output.contains("Undiscovered ips : 10.240.0.102"), "{output}");
    rack.job(3, "create-2", &format!("{CLUSTER} {CREATE}"));
    rack.seconds(2000);
    assert_eq!(rack.ended(3, "create-2"), None, "from the third all are found, and Zeus never gets ready");
    assert_eq!(rack.world.end_fault("blocked_pair"), 1);
    assert_eq!(reaches(&mut rack, 1, 2), "ping 0\n22 0\n");
    rack.seconds(700);
    assert_eq!(rack.ended(3, "create-2").unwrap().0, 0, "a pair that sees each other again");
}

#[test]
fn a_blocked_pair_can_be_named() {
    let mut rack = Rack::new();
    let matches = Matches { name: Some("server-3".into()), ..Matches::default() };
    rack.world.add_fault(Fault { matches, ..builtin("blocked_pair").unwrap() });
    assert_eq!(
        (reaches(&mut rack, 1, 2), reaches(&mut rack, 1, 3)),
        ("ping 0\n22 0\n".into(), "ping 1\n22 124\n".into())
    );
}

#[test]
fn a_clock_that_is_off_shows_and_keeps_its_node_from_being_found() {
    let mut rack = Rack::new();
    rack.builtin("clock_skew");
    let clock = |rack: &mut Rack, n| rack.run(n, "date +%s").out.trim().parse::<i64>().unwrap();
    assert_eq!((clock(&mut rack, 1), clock(&mut rack, 2)), (rack.now.seconds() + 300, rack.now.seconds()));
    let (status, output) = rack.tried("create-1").unwrap();
    assert!(status == 1 && output.contains("Undiscovered ips : 10.240.0.102,10.240.0.103"), "{output}");
    rack.world.end_fault("clock_skew");
    assert_eq!(rack.tried("create-2").unwrap().0, 0);

    let mut rack = Rack::with(3, |settings| settings.observed.clock_tolerance = Duration::from_secs(600));
    rack.builtin("clock_skew");
    assert_eq!(rack.tried("create-1").unwrap().0, 0, "by setting, five minutes are not too much");
}

#[test]
fn an_address_given_twice_leads_to_one_machine() {
    let mut rack = Rack::new();
    let serial = |rack: &mut Rack, n| rack.run(n, "cat /etc/nutanix/factory_config.json").out;
    let (first, second) = (serial(&mut rack, 1), serial(&mut rack, 2));
    rack.builtin("duplicate_address");
    assert_eq!((serial(&mut rack, 1), serial(&mut rack, 2)), (second.clone(), second));
    let listeners = rack.world.listeners();
    let key = |ip| listeners.iter().find(|listener| listener.ip == ip).unwrap().certificate.clone();
    assert_eq!(key(cvm_ip(1)), key(cvm_ip(2)));
    rack.job(2, "create-1", &format!("{CLUSTER} {CREATE}"));
    rack.seconds(20);
    assert!(rack.ended(2, "create-1").unwrap().1.contains("Undiscovered ips : 10.240.0.101"));
    rack.world.end_fault("duplicate_address");
    assert_eq!(serial(&mut rack, 1), first);
}

#[test]
fn a_node_that_is_not_discovered_is_after_a_restart_of_its_genesis() {
    let mut rack = Rack::new();
    let matches = Matches { name: Some("server-2".into()), ..Matches::default() };
    rack.world.add_fault(Fault { matches, ..builtin("node_undiscovered").unwrap() });
    for job in ["create-1", "create-2"] {
        let (status, output) = rack.tried(job).unwrap();
        assert!(status == 1 && output.contains("Undiscovered ips : 10.240.0.102"), "{output}");
    }
    rack.wait(2, &format!("{GENESIS} restart"), "", false);
    assert_eq!(rack.tried("create-3").unwrap().0, 0);
}

#[test]
fn a_create_that_fails_in_the_middle_leaves_some_nodes_configured() {
    for (name, told) in [
        ("iptables_fails", "Failed to configure iptables on SVM 10.240.0.103"),
        ("zeus_mapping_fails", "Failed to configure Zeus mapping on SVM node 10.240.0.103"),
        ("initialization_fails", "Cluster initialization on 10.240.0.103 failed"),
    ] {
        let mut rack = Rack::new();
        rack.builtin(name);
        let (status, output) = rack.tried("create-1").unwrap();
        let lines: Vec<&str> = output.lines().rev().take(2).collect();
        assert!(status == 1 && lines[0].ends_with("ERROR MainThread cluster:2943 Operation failed"), "{output}");
        assert!(lines[1].contains("ERROR") && lines[1].ends_with(told), "{output}");
        assert_eq!([1, 2, 3].map(|n| rack.is_unconfigured(n)), [false, false, true], "{name}");
        assert!(rack.tried("create-2").unwrap().1.contains("SVM 10.240.0.101 is already configured"));
        clean_up(&mut rack, 1);
        assert!((1..=3).all(|n| rack.is_unconfigured(n)));
        assert_eq!(rack.tried("create-3").unwrap().0, 0, "{name}");
    }
}

#[test]
fn a_create_that_is_refused_leaves_nothing() {
    for (name, told, permanent) in [
        ("one_ssd", "not enough boot ssds", true),
        ("operation_failed", "Operation failed", false),
        ("formation_fails_once", "Undiscovered ips : 10.240.0.103", false),
    ] {
        let mut rack = Rack::new();
        rack.builtin(name);
        let (status, output) = rack.tried("create-1").unwrap();
        assert!(status == 1 && output.contains(told), "{output}");
        assert!((1..=3).all(|n| rack.is_unconfigured(n)), "{name}");
        assert_eq!(rack.tried("create-2").unwrap().0, u32::from(permanent), "{name}");
    }
}

#[test]
fn zeus_may_never_get_ready_and_the_way_out_is_to_stop_and_destroy() {
    for name in ["zeus_never_ready", "formation_hangs"] {
        let mut rack = Rack::new();
        rack.builtin(name);
        rack.job(1, "create-1", &format!("{CLUSTER} {CREATE}"));
        rack.seconds(3600);
        assert_eq!(rack.ended(1, "create-1"), None, "{name}");
        let output = rack.look(1, "create-1", 1).out;
        assert!(output.matches("Zeus is not ready yet, trying again in 5 seconds").count() > 500);
        assert_eq!(rack.not_up(1).len(), 3 * 45);
        clean_up(&mut rack, 1);
        assert!((1..=3).all(|n| rack.is_unconfigured(n)));
        assert_eq!(rack.ended(1, "create-1").unwrap().0, 1, "the old create has nothing left to wait for");
        assert_eq!(rack.tried("create-2").unwrap().0, 0);
    }
}

#[test]
fn a_create_ends_with_its_cvm_and_what_it_did_stays() {
    let mut rack = Rack::new();
    rack.builtin("cvm_reboots_in_create");
    rack.job(1, "create-1", &format!("{CLUSTER} {CREATE}"));
    rack.seconds(61);
    assert_eq!(rack.login(cvm_ip(1), "nutanix", "nutanix/4u"), None, "it restarts");
    assert_eq!(rack.login(ahv_ip(1), "root", "nutanix/4u"), Some(true), "its host does not");
    rack.seconds(400);
    let seen = rack.look(1, "create-1", 1).out;
    let boot: Vec<&str> = seen.lines().next().unwrap().split(' ').collect();
    assert!(boot[1] != boot[2] && !seen.contains("alive") && seen.contains("\nstatus\n"), "{seen}");
    assert_eq!([1, 2, 3].map(|n| rack.is_unconfigured(n)), [false; 3], "members touched so far stay configured");
    rack.seconds(3600);
    assert_eq!(rack.not_up(1).len(), 3 * 45, "and no service ever starts");
    clean_up(&mut rack, 1);
    assert_eq!(rack.tried("create-2").unwrap().0, 0);
}

#[test]
fn a_connection_that_is_cut_does_not_end_a_detached_create() {
    for name in ["ssh_cut", "create_reply_lost"] {
        let mut rack = Rack::new();
        rack.builtin(name);
        let command = Rack::start_line("create-1", &format!("{CLUSTER} {CREATE}"));
        let exec = SshExec { command, stdin: Vec::new(), pty: false };
        rack.run(1, "echo this is no create");
        assert_eq!(rack.exec(cvm_ip(1), "nutanix", &exec), Some(SshReply::Lost));
        assert!(rack.look(1, "create-1", 1).out.contains("\nalive\n"));
        rack.seconds(700);
        assert_eq!(rack.ended(1, "create-1").unwrap().0, 0, "{name}");
    }
    let mut rack = Rack::new();
    rack.builtin("ssh_cut");
    let exec = SshExec { command: format!("{CLUSTER} {CREATE}"), stdin: Vec::new(), pty: false };
    assert_eq!(rack.exec(cvm_ip(1), "nutanix", &exec), Some(SshReply::Lost));
    rack.seconds(700);
    assert!((1..=3).all(|n| rack.is_unconfigured(n)), "one that was not detached ends with its connection");
}

#[test]
fn a_destroy_may_leave_a_node_which_its_marker_frees() {
    let mut rack = Rack::formed();
    let matches = Matches { name: Some("server-2".into()), ..Matches::default() };
    rack.world.add_fault(Fault { matches, ..builtin("destroy_leaves_node").unwrap() });
    clean_up(&mut rack, 1);
    assert_eq!([1, 2, 3].map(|n| rack.is_unconfigured(n)), [true, false, true]);
    rack.wait(2, &format!("touch .node_unconfigure && {GENESIS} restart"), "", false);
    assert!(rack.is_unconfigured(2));
    assert_eq!(rack.tried("create-2").unwrap().0, 0);
}

#[test]
fn a_service_may_come_and_go_for_a_while() {
    let mut rack = Rack::new();
    rack.builtin("service_flaps");
    rack.create();
    let mut states = std::collections::BTreeSet::new();
    for _ in 0..60 {
        rack.seconds(5);
        states.insert(rack.not_up(1));
    }
    assert_eq!(states.into_iter().collect::<Vec<_>>(), [vec![], vec!["Acropolis ERROR".to_owned()]]);
    rack.seconds(600);
    let rows = (0..60).map(|_| {
        rack.seconds(5);
        rack.not_up(1).len()
    });
    assert_eq!(rows.sum::<usize>(), 0, "then it stays");
}

#[test]
fn a_service_may_stay_down_while_the_create_says_success() {
    let mut rack = Rack::new();
    rack.builtin("service_down");
    assert!(rack.create().ends_with("Success!\n"));
    rack.seconds(3600);
    assert_eq!(rack.not_up(1), ["Stargate DOWN"]);
    let row = rack.run(1, &format!("{CLUSTER} status")).out;
    assert!(row.lines().any(|line| line.contains("Stargate") && line.contains("[]\tfailed to start")), "{row}");
    let (_, cluster) = rack.get(VIP, "v2.0/cluster");
    assert_eq!(cluster["cluster_redundancy_state"]["current_redundancy_factor"], 1);
    let (_, hosts) = rack.get(VIP, "v2.0/hosts");
    assert_eq!(hosts["entities"][0]["is_degraded"], true);
}

#[test]
fn a_foreign_cluster_shows_itself_and_is_not_used() {
    let mut rack = Rack { world: World::new(observed(|_| {}), START), now: START };
    let matches = Matches { name: Some("server-2".into()), ..Matches::default() };
    rack.world.add_fault(Fault { matches, ..builtin("node_already_configured").unwrap() });
    (1..=3).for_each(|n| rack.world.place_prepared_node(START, host(n)));
    rack.seconds(400);
    let ran = rack.run(2, &format!("{CLUSTER} status"));
    assert!(ran.status == 0 && ran.out.contains("The state of the cluster: start"), "{ran:?}");
    assert!(rack.tried("create-1").unwrap().1.contains("Undiscovered ips : 10.240.0.102"));
    assert_eq!(rack.ask(cvm_ip(2), "nutanix/4u", "GET", "v2.0/cluster", None).unwrap().0, 401, "not our password");
}

#[test]
fn the_vip_may_be_late() {
    let mut rack = Rack::new();
    rack.builtin("vip_late");
    rack.create();
    assert_eq!(rack.get(cvm_ip(1), "v2.0/cluster").0, 200);
    assert_eq!(rack.ask(VIP, "nutanix/4u", "GET", "v2.0/cluster", None), None);
    rack.seconds(600);
    assert_eq!(rack.get(VIP, "v2.0/cluster").0, 200);
}

#[test]
fn a_cvm_may_never_get_ready_or_die_after_it_was() {
    let mut rack = Rack::fresh(1, |_| {}, vec![CvmFault::NeverReady]);
    rack.seconds(86_400);
    assert!(rack.run(1, &format!("{GENESIS} status")).out.starts_with("genesis: []"));

    let mut rack = Rack::new();
    rack.builtin("cvm_dead");
    assert_eq!(rack.run(2, &format!("{GENESIS} status")).status, 0);
    assert!(rack.is_unconfigured(2), "it was ready once");
    assert_eq!(rack.login(cvm_ip(2), "nutanix", "nutanix/4u"), None);
    assert_eq!(reaches(&mut rack, 1, 2), "ping 1\n22 124\n");
    rack.seconds(3600);
    assert!(rack.tried("create-1").unwrap().1.contains("Undiscovered ips : 10.240.0.102"));
}

#[test]
fn prism_may_show_its_page_for_longer() {
    let page_ends = |faults| {
        let mut rack = Rack::fresh(1, |_| {}, faults);
        rack.seconds(90);
        rack.job(1, "create-1", &format!("{CLUSTER} '--svm_ips=10.240.0.101' '--redundancy_factor=1' create"));
        let begin = rack.now;
        while rack.ask(cvm_ip(1), "nutanix/4u", "GET", "v1/cluster", None).is_none_or(|(status, _)| status == 503) {
            rack.seconds(5);
        }
        rack.now.since(begin).as_secs()
    };
    let (usual, late) = (page_ends(vec![]), page_ends(vec![CvmFault::HtmlErrors]));
    assert!(late > usual + 100, "{usual} {late}");
}

#[test]
fn a_cluster_formed_by_foundation_is_one_like_any_other() {
    let mut rack = Rack::with(1, |settings| settings.foundation_api = Some(FoundationApi::ImageNodes));
    let at_8000 = |listener: &crate::cvm::Listener| (listener.port == 8000).then_some(listener.service);
    assert_eq!(rack.world.listeners().iter().find_map(at_8000), Some(Service::Http));
    assert!(rack.run(1, &format!("{GENESIS} status")).out.contains("foundation: [9120, 9163]"));
    let wanted = crate::cvm::NewCluster {
        name: "prod".into(),
        vip: Some(VIP),
        redundancy_factor: 1,
        timezone: "UTC".into(),
        name_servers: Vec::new(),
        ntp_servers: Vec::new(),
        members: vec!["0717-1".into()],
        uuid: None,
    };
    rack.world.fleet_mut().form(rack.now, wanted, &mut crate::fault::Faults::default(), "server-1");
    assert!(!rack.is_unconfigured(1));
    rack.seconds(700);
    assert_eq!(rack.not_up(1), Vec::<String>::new());
    assert_eq!(rack.get(VIP, "v2.0/cluster").1["name"], "prod");
}
