//! What is done with a cluster over SSH: status, stop, destroy, genesis, ncli.

use super::*;

#[test]
fn services_start_one_after_another_and_the_cvms_line_says_up_all_the_while() {
    let mut rack = Rack::new();
    rack.job(1, "create-1", &format!("{CLUSTER} {CREATE}"));
    rack.seconds(60);
    let ran = rack.run(2, &format!("{CLUSTER} status"));
    assert_eq!(ran.status, 0);
    assert!(
        ran.out.contains("The state of the cluster: start") && ran.out.contains("CVM: 10.240.0.103 Up\n"),
        "{}",
        ran.out
    );
    assert_eq!(rack.not_up(2).len(), 3 * 45, "and nothing runs");
    let mut counts = Vec::new();
    for _ in 0..8 {
        rack.seconds(40);
        counts.push(rack.not_up(2).len());
    }
    assert!(counts.is_sorted_by(|a, b| a >= b) && counts.last() == Some(&0), "{counts:?}");
    assert!(counts.iter().collect::<std::collections::BTreeSet<_>>().len() > 4, "{counts:?}");
    let out = rack.run(2, &format!("{CLUSTER} status")).out;
    assert_eq!((out.matches("ZeusLeader").count(), out.matches("Lockdown mode: Disabled").count()), (1, 1), "{out}");
    let row = out.lines().find(|line| line.contains("Stargate")).unwrap();
    assert_eq!(row.split_whitespace().collect::<Vec<_>>(), ["Stargate", "UP", "[5640,", "5647,", "5648]"]);
}

#[test]
fn a_member_that_is_off_is_down_in_the_others_table() {
    let mut rack = Rack::formed();
    rack.world.fleet_mut().stop("0717-3");
    let out = rack.run(1, &format!("{CLUSTER} status")).out;
    assert!(out.contains("CVM: 10.240.0.103 Down\n") && out.contains("CVM: 10.240.0.102 Up\n"), "{out}");
    assert!(out.contains("The state of the cluster: start"));
    rack.world.place_prepared_node(rack.now, host(3));
    rack.seconds(100);
    assert!(!rack.not_up(1).is_empty(), "its services start anew");
    rack.seconds(300);
    assert_eq!(rack.not_up(1), Vec::<String>::new());
}

#[test]
fn a_stop_takes_a_piped_answer_and_stops_all_services() {
    let mut rack = Rack::formed();
    let no = rack.wait(1, &format!("{CLUSTER} stop"), "", false);
    assert_eq!((no.status, rack.not_up(1).len()), (0, 0), "no answer is No, and no failure");
    assert_eq!(rack.job(1, "stop-1", &format!("echo Y | {CLUSTER} stop")).status, 0);
    assert_eq!(rack.ended(1, "stop-1"), None);
    rack.seconds(90);
    let (status, output) = rack.ended(1, "stop-1").unwrap();
    assert!(status == 0 && output.ends_with("Success!\n"), "{output}");
    assert!(rack.run(2, &format!("{CLUSTER} status")).out.contains("The state of the cluster: stop"));
    assert_eq!(rack.not_up(2).len(), 3 * 45);
    assert_eq!(rack.ask(cvm_ip(1), "nutanix/4u", "GET", "v1/cluster", None), None, "nor does Prism answer");
    assert_eq!(rack.ask(VIP, "nutanix/4u", "GET", "v1/cluster", None), None);
    assert!(Rack::new().run(1, &format!("echo Y | {CLUSTER} stop")).err.contains("unconfigured"));
}

#[test]
fn a_destroy_needs_a_stop_a_terminal_and_a_yes_and_then_all_nodes_are_free() {
    let mut rack = Rack::formed();
    let destroy = format!("trap '' HUP; {CLUSTER} destroy");
    let early = rack.wait(1, &destroy, "Y\n", true);
    assert!(early.status == 1 && early.out.contains("needs to be stopped first"), "{early:?}");
    rack.wait(1, &format!("echo Y | {CLUSTER} stop"), "", false);
    let piped = rack.wait(1, &destroy, "Y\n", false);
    assert!(piped.status == 1 && piped.err.contains("at a terminal"), "{piped:?}");
    let no = rack.wait(1, &destroy, "n\n", true);
    assert_eq!((no.status, rack.is_unconfigured(1)), (0, false));

    let ran = rack.try_run(cvm_ip(1), "nutanix", &destroy, "Y\n", true).unwrap();
    assert!(ran.status == 0 && ran.out.ends_with("Success!\n") && ran.err.is_empty(), "{ran:?}");
    assert!((80..100).contains(&ran.after.as_secs()), "{:?}", ran.after);
    rack.seconds(45);
    let free: Vec<bool> = (1..=3).map(|n| rack.run(n, &format!("{CLUSTER} status")).status == 0).collect();
    assert_eq!(free, [false, false, true], "one after another");
    rack.seconds(60);
    assert!((1..=3).all(|n| rack.is_unconfigured(n)));
    assert_eq!(rack.tried("create-2").unwrap().0, 0, "and can be used again, without another installation");
    assert!(Rack::new().try_run(cvm_ip(1), "nutanix", &destroy, "Y\n", true).unwrap().out.contains("unconfigured"));
}

#[test]
fn by_setting_a_destroy_takes_a_pipe() {
    let mut rack = Rack::with(3, |settings| settings.observed.destroy_takes_a_pipe = true);
    rack.create();
    rack.wait(1, &format!("echo Y | {CLUSTER} stop"), "", false);
    assert_eq!(rack.wait(1, &format!("echo Y | {CLUSTER} destroy"), "", false).status, 0);
    rack.seconds(60);
    assert!((1..=3).all(|n| rack.is_unconfigured(n)));
}

#[test]
fn a_destroy_that_cannot_reach_a_member_does_nothing() {
    let mut rack = Rack::formed();
    rack.wait(1, &format!("echo Y | {CLUSTER} stop"), "", false);
    rack.world.fleet_mut().stop("0717-2");
    let ran = rack.wait(1, &format!("trap '' HUP; {CLUSTER} destroy"), "Y\n", true);
    assert!(ran.status == 1 && ran.out.contains("Node 10.240.0.102 is not reachable"), "{ran:?}");
    assert!(!rack.is_unconfigured(1));
}

#[test]
fn a_restart_of_genesis_takes_a_while_and_leaves_the_cluster_alone() {
    let mut rack = Rack::formed();
    let ran = rack.run(1, &format!("{GENESIS} restart"));
    assert!(ran.status == 0 && ran.out.contains("Genesis started on pids ["), "{ran:?}");
    assert!(rack.run(1, &format!("{GENESIS} status")).out.starts_with("genesis: []"));
    assert!(rack.run(2, &format!("{CLUSTER} status")).out.contains("CVM: 10.240.0.101 Down"));
    rack.seconds(20);
    assert!(rack.run(1, &format!("{GENESIS} status")).out.starts_with("genesis: [2187, 2230]"));
    assert_eq!(rack.not_up(1), Vec::<String>::new());
}

#[test]
fn a_node_is_freed_by_its_marker_and_a_restart_of_genesis() {
    let mut rack = Rack::formed();
    assert_eq!(rack.run(2, &format!("touch .node_unconfigure && {GENESIS} restart")).status, 0);
    rack.seconds(20);
    assert!(rack.is_unconfigured(2) && !rack.is_unconfigured(1));
    assert_eq!(rack.run(2, "test -e .node_unconfigure").status, 1, "the marker is used up");
}

#[test]
fn ncli_sets_the_time_zone_and_lists_hosts_once_prism_is_up() {
    let mut rack = Rack::new();
    let zone = format!("{NCLI} cluster set-timezone 'timezone=Europe/Berlin'");
    let hosts = format!("{NCLI} host list");
    assert!([&zone, &hosts].iter().all(|command| rack.run(1, command).status == 1));
    rack.create();
    assert_eq!(rack.run(1, &zone).status, 0);
    assert_eq!(rack.get(cvm_ip(2), "v2.0/cluster").1["timezone"], "Europe/Berlin");
    let listed = rack.run(1, &hosts).out;
    assert!((1..=3).all(|n| listed.contains(&format!(": {}\n", cvm_ip(n)))), "{listed}");
    assert_eq!(rack.run(1, &zone.replace("Europe/Berlin", "somewhere")).status, 1);
    assert_eq!(rack.run(1, &format!("{NCLI} vm list")).status, 1);
}
