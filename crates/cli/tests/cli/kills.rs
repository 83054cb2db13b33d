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
        let status = site.run(&["status", CLUSTER, "--json"]);
        let now_in = status.document()["phase"].as_str().unwrap_or_default().to_owned();
        if now_in == phase {
            return;
        }
        let late = start.elapsed() > LIMIT;
        assert!(!late, "{CLUSTER} is in {now_in} and not in {phase}: {}\n{}", status.stdout, story(site));
        thread::sleep(Duration::from_millis(100));
    }
}

fn story(site: &Site) -> String {
    site.run(&["events", CLUSTER]).stdout
}

fn check_nothing_was_done_twice(site: &Site) {
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
    let requests = site.control("requests");
    let formed = |r: &&Value| {
        r["method"] == "POST" && r["path"].as_str().unwrap().ends_with("/v2.0/clusters") && r["status"] == 200
    };
    assert_eq!(requests.iter().filter(formed).count(), 1, "the cluster is formed once:\n{}", story(site));
    let wiped = requests.iter().filter(|r| r["method"] == "PUT").count();
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
    "intent.formation",
    "answer.formation",
    "recorded.formation",
    "recorded.cluster_verifying",
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

#[cfg(feature = "crash-points")]
fn crash_at(point: &str) -> [(&'static str, &str); 1] {
    [("METALFORM_CRASH_AT", point)]
}

/// A deployment that comes past these points, in this order, and dies at each.
#[cfg(feature = "crash-points")]
fn deploy_past(points: &[&str]) -> Site {
    let (first, rest) = points.split_first().unwrap();
    let mut site = Site::start_with("600", &crash_at(first));
    assert_eq!(site.run(&["deploy", "plan.toml"]).code, 0);
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

/// The gaps between deaths, in milliseconds, come from a small generator, so that a failure can be had again.
#[test]
fn a_service_that_is_killed_at_random_moments_brings_the_deployment_to_its_end() {
    let mut seed: u64 = std::env::var("METALFORM_TEST_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(4711);
    eprintln!("METALFORM_TEST_SEED={seed}");
    let mut gap = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Duration::from_millis(50 + (seed >> 33) % 1200)
    };
    let mut site = Site::start_with("600", &[]);
    assert_eq!(site.run(&["deploy", "plan.toml"]).code, 0);
    for _ in 0..12 {
        thread::sleep(gap());
        site.service.signal("-KILL");
        site.service.died();
        site.start_service_again(&[]);
    }
    wait_for(&site, "ready");
    check_nothing_was_done_twice(&site);
    destroy(&site);
    for _ in 0..4 {
        thread::sleep(gap());
        site.service.signal("-KILL");
        site.service.died();
        site.start_service_again(&[]);
    }
    wait_for(&site, "released");
    assert_eq!(site.left(), Vec::<Value>::new(), "{}", story(&site));
}
