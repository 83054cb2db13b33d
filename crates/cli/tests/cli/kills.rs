//! The service is killed: as a child process, for real, and started again on the same store. The deployment goes on by itself;
//! the simulated cloud's own ledger says that nothing was ordered twice and nothing forgotten.

#![expect(clippy::print_stderr, reason = "captured, and shown when the test fails")]

use crate::site::Site;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

const CLUSTER: &str = "my-nutanix-cluster";
const LIMIT: Duration = Duration::from_secs(120);

/// Asks for the status until the cluster is in that phase.
fn wait_for(site: &Site, phase: &str) {
    #[expect(clippy::disallowed_methods, reason = "a limit, so that a failure ends the test")]
    let start = Instant::now();
    loop {
        let now_in = self::phase(site);
        if now_in == phase {
            return;
        }
        assert!(start.elapsed() < LIMIT, "{CLUSTER} is in {now_in} and not in {phase}:\n{}", story(site));
        thread::sleep(Duration::from_millis(100));
    }
}

fn phase(site: &Site) -> String {
    let status = site.run(&["status", CLUSTER, "--json"]);
    status.document()["phase"].as_str().unwrap_or_default().to_owned()
}

fn story(site: &Site) -> String {
    site.run(&["events", CLUSTER]).stdout
}

/// The creates that took effect: a request that was accepted, or a command that was begun, whether or not its answer came.
fn creates(site: &Site) -> Vec<String> {
    let requests = site.control("requests");
    let created = |r: &&Value| {
        let (method, path) = (r["method"].as_str().unwrap(), r["path"].as_str().unwrap());
        let is_create = match r["face"].as_str().unwrap() {
            "ssh" => method == "EXEC" && path.contains("/cluster/bin/cluster") && path.contains("'create'"),
            _ => method == "POST" && path.ends_with("/v2.0/clusters"),
        };
        is_create && [Value::Null, 0.into(), 200.into()].contains(&r["status"])
    };
    requests.iter().filter(created).map(|r| r["target"].as_str().unwrap().to_owned()).collect()
}

fn check_nothing_was_done_twice(site: &Site) {
    check_nothing_was_made_twice(site);
    assert_eq!(creates(site).len(), 1, "the cluster is formed once:\n{}", story(site));
}

fn check_nothing_was_made_twice(site: &Site) {
    let mut made: BTreeMap<(String, String), usize> = BTreeMap::new();
    for entry in site.control("ledger") {
        let text = |key: &str| entry[key].as_str().unwrap().to_owned();
        *made.entry((text("kind"), text("name"))).or_default() += 1;
    }
    for ((kind, name), times) in &made {
        assert_eq!(*times, 1, "{kind} {name} was made {times} times:\n{}", story(site));
    }
    let servers = made.keys().filter(|(kind, _)| kind == "bare_metal_server").count();
    assert_eq!(servers, 3, "{made:?}");
    let vpc = |r: &&Value| r["face"] == "vpc" && r["method"] == "PUT";
    let wiped = site.control("requests").iter().filter(vpc).count();
    assert_eq!(wiped, 0, "nothing is imaged twice");
}

fn destroy(site: &Site) {
    let ran = site.run(&["destroy", CLUSTER]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

/// In the order in which a deployment and its end come past them.
#[cfg(feature = "crash-points")]
const ON_THE_WAY_UP: &[&str] = &[
    "intent.mgmt",
    "answer.mgmt",
    "recorded.mgmt",
    "intent.ahv",
    "answer.ahv",
    "intent.cvm",
    "answer.cvm",
    "intent.vni",
    "answer.vni",
    "recorded.vni",
    "intent.server",
    "answer.server",
    "recorded.server",
    "recorded.node_ordered",
    "recorded.node_imaging",
    "recorded.node_waiting_for_cvm",
    "recorded.node_ready",
    "recorded.cluster_forming",
    "intent.passwords",
    "answer.passwords",
    "intent.formation",
    "answer.formation",
    "recorded.formation",
    "recorded.cluster_verifying",
    // Prism's, which exists only now.
    "intent.passwords",
    "answer.passwords",
    "recorded.cluster_ready",
];

#[cfg(feature = "crash-points")]
const ON_THE_WAY_DOWN: &[&str] = &[
    "recorded.node_releasing",
    "intent.stop",
    "answer.stop",
    "recorded.cluster_releasing",
    "intent.delete_server",
    "answer.delete_server",
    "intent.delete_vni",
    "answer.delete_vni",
    "intent.delete_mgmt",
    "answer.delete_mgmt",
    "recorded.node_released",
    "intent.delete_vip",
    "answer.delete_vip",
];

/// A run of their own: the cluster's address is reserved while the nodes still go their way.
#[cfg(feature = "crash-points")]
const BESIDE_THE_NODES: &[&str] = &["intent.vip", "answer.vip", "recorded.vip"];

/// A create that fails in the middle is cleaned up in three steps.
#[cfg(feature = "crash-points")]
const IN_THE_CLEAN_UP: &[&str] =
    &["intent.clean", "answer.clean", "intent.clean", "answer.clean", "answer.clean", "recorded.cluster_verifying"];

/// Of a cluster that is created by a REST call, which leaves no job behind that could be found again.
#[cfg(feature = "crash-points")]
const IN_A_FORMATION_OVER_REST: &[&str] = &["intent.formation", "answer.formation", "recorded.formation"];

#[cfg(feature = "crash-points")]
fn crash_at(point: &str) -> [(&'static str, &str); 1] {
    [("METALFORM_CRASH_AT", point)]
}

/// A deployment that comes past these points, in this order, and dies at each.
#[cfg(feature = "crash-points")]
fn deploy_past(points: &[&str]) -> Site {
    deploy_in(&["--speed", "600"], None, points)
}

/// The same in a world that `simulate` is told so, with a fault.
#[cfg(feature = "crash-points")]
fn deploy_in(world: &[&str], fault: Option<&str>, points: &[&str]) -> Site {
    let (first, rest) = points.split_first().unwrap();
    let mut site = Site::start_in(world, &crash_at(first));
    fault.into_iter().for_each(|fault| site.arm(fault));
    // The first point may be reached while the answer is still on its way: then a person is told just that.
    let deployed = site.run(&["deploy", "plan.toml"]);
    let is_cut_off = deployed.code == 1 && deployed.stderr.contains("the service may have taken the request");
    assert!(deployed.code == 0 || is_cut_off, "{}", deployed.stderr);
    for point in rest {
        eprintln!("waits for a death at the point before {point}");
        site.service.died();
        site.start_service_again(&crash_at(point));
    }
    site.service.died();
    site
}

#[test]
#[cfg(feature = "crash-points")]
fn a_service_that_dies_while_it_reserves_the_clusters_address_brings_the_deployment_to_its_end() {
    let mut site = deploy_past(BESIDE_THE_NODES);
    site.start_service_again(&[]);
    wait_for(&site, "ready");
    check_nothing_was_done_twice(&site);
}

#[test]
#[cfg(feature = "crash-points")]
fn a_service_that_dies_at_every_named_point_brings_the_deployment_to_its_end() {
    let mut site = deploy_past(ON_THE_WAY_UP);
    site.start_service_again(&crash_at(ON_THE_WAY_DOWN[0]));
    wait_for(&site, "ready");
    check_nothing_was_done_twice(&site);

    destroy(&site);
    for point in &ON_THE_WAY_DOWN[1..] {
        eprintln!("waits for a death at the point before {point}");
        site.service.died();
        site.start_service_again(&crash_at(point));
    }
    site.service.died();
    site.start_service_again(&[]);
    wait_for(&site, "released");
    assert_eq!(site.left(), Vec::<Value>::new(), "{}", story(&site));
}

#[test]
#[cfg(feature = "crash-points")]
fn a_service_that_dies_while_it_cleans_up_forms_the_cluster_through_the_next_node() {
    let mut site = deploy_in(&["--speed", "600"], Some("zeus_mapping_fails"), IN_THE_CLEAN_UP);
    site.start_service_again(&[]);
    wait_for(&site, "ready");
    check_nothing_was_made_twice(&site);
    let creates = creates(&site);
    assert_eq!(creates.len(), 2, "one that failed, and one: {creates:?}\n{}", story(&site));
    assert_ne!(creates[0], creates[1]);
    destroy(&site);
    wait_for(&site, "released");
    assert_eq!(site.left(), Vec::<Value>::new(), "{}", story(&site));
}

#[test]
#[cfg(feature = "crash-points")]
fn a_service_that_dies_while_it_forms_a_cluster_over_rest_forms_it_once() {
    let mut site = deploy_in(&["--speed", "600", "--cvm", "documented"], None, IN_A_FORMATION_OVER_REST);
    site.start_service_again(&[]);
    wait_for(&site, "ready");
    check_nothing_was_done_twice(&site);
}

/// A machine that starts again has had its script; the service dies and knows nothing of it, or knows it and has sent nothing.
/// Either way its agent begins another session and the installation goes on.
#[test]
#[cfg(feature = "crash-points")]
fn a_service_that_dies_as_a_machine_starts_again_goes_on_with_its_next_session() {
    for point in ["intent.round:4", "recorded.round:4"] {
        let mut site = deploy_in(&["--speed", "600"], Some("machine_boots_twice"), &[point]);
        site.start_service_again(&[]);
        wait_for(&site, "ready");
        check_nothing_was_done_twice(&site);
        let begun = story(&site).matches("for a session of the key").count();
        assert_eq!(begun, 4, "three machines, and one of them twice:\n{}", story(&site));
    }
}

/// The gaps between deaths come from a small generator, so that a failure can be had again.
struct Gaps(u64);

impl Gaps {
    fn new() -> Gaps {
        let seed = std::env::var("METALFORM_TEST_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(4711);
        eprintln!("METALFORM_TEST_SEED={seed}");
        Gaps(seed)
    }

    /// Lets the service live for 50 ms to so many, and kills it.
    fn kill(&mut self, site: &mut Site, longest: u64) {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        thread::sleep(Duration::from_millis(50 + (self.0 >> 33) % (longest - 50)));
        site.service.signal("-KILL");
        site.service.died();
        site.start_service_again(&[]);
    }
}

#[test]
fn a_service_that_is_killed_at_random_moments_brings_the_deployment_to_its_end() {
    let mut gaps = Gaps::new();
    let mut site = Site::start_with("600", &[]);
    assert_eq!(site.run(&["deploy", "plan.toml"]).code, 0);
    for _ in 0..12 {
        gaps.kill(&mut site, 1250);
    }
    wait_for(&site, "ready");
    check_nothing_was_done_twice(&site);
    destroy(&site);
    for _ in 0..4 {
        gaps.kill(&mut site, 1250);
    }
    wait_for(&site, "released");
    assert_eq!(site.left(), Vec::<Value>::new(), "{}", story(&site));
}

/// In a slower world: a create takes some seconds there, and each life of the service less than one.
#[test]
fn a_service_that_is_killed_over_and_over_in_mid_create_forms_the_cluster_once() {
    let mut gaps = Gaps::new();
    let mut site = Site::start_with("100", &[]);
    assert_eq!(site.run(&["deploy", "plan.toml"]).code, 0);
    wait_for(&site, "forming");
    let mut in_mid_create = 0;
    for _ in 0..20 {
        gaps.kill(&mut site, 800);
        in_mid_create += usize::from(phase(&site) == "forming" && !creates(&site).is_empty());
    }
    assert!(in_mid_create > 0, "no death was in mid-create:\n{}", story(&site));
    wait_for(&site, "ready");
    check_nothing_was_done_twice(&site);
    destroy(&site);
    wait_for(&site, "released");
    assert_eq!(site.left(), Vec::<Value>::new(), "{}", story(&site));
}
