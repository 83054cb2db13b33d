//! Whole deployments: the shipped service against the simulated world, as `metalform demo` wires them.

use crate::run::{Folder, Ran, Running, command};
use serde_json::{Value, json};
use std::{fs, process::Command};

/// A fast world, looked at often. What it leaves in the temporary folder can be seen.
pub fn fast_demo(folder: &Folder, args: &[&str]) -> Command {
    let speed: &[&str] = if args.contains(&"--speed") { &[] } else { &["--speed", "6000"] };
    let mut command = command(folder, &[&["demo"], speed, args].concat());
    let timeouts = [("PROBE", "100ms"), ("FORMATION_POLL", "100ms"), ("SERVER_POLL", "1s")];
    command.envs(timeouts.map(|(key, value)| (format!("METALFORM_TIMEOUTS_{key}"), value)));
    command.env("TMPDIR", folder.path());
    command
}

fn run(args: &[&str]) -> Ran {
    let folder = Folder::new();
    let ran: Ran = fast_demo(&folder, args).output().unwrap().into();
    assert!(is_empty(&folder), "something is left behind");
    ran
}

fn is_empty(folder: &Folder) -> bool {
    fs::read_dir(folder.path()).unwrap().next().is_none()
}

/// The last line of a demo that went well.
pub fn outcome(nodes: usize) -> Value {
    let nodes: Vec<Value> =
        (1..=nodes).map(|n| json!({"server_id": format!("server-{n:03}"), "phase": "ready"})).collect();
    json!({"clusters": [{"name": "my-nutanix-cluster", "phase": "ready", "nodes": nodes}]})
}

/// The documented flow of a deployment.
const FLOW: [&str; 7] = [
    "deployment_started",
    "node_ordering",
    "nodes_waiting",
    "nodes_ready",
    "formation_started",
    "formation_monitoring",
    "deployment_completed",
];

#[test]
fn three_nodes_become_a_cluster_in_the_documented_order() {
    let ran = run(&["--nodes", "3", "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let mut documents = ran.documents();
    assert_eq!(documents.pop().unwrap(), outcome(3));
    assert!(ran.stdout.trim_end().ends_with("}]}]}"));
    let seqs: Vec<i64> = documents.iter().map(|event| event["seq"].as_i64().unwrap()).collect();
    assert_eq!(seqs, (1..=documents.len() as i64).collect::<Vec<_>>(), "every event once, in order");
    let kinds = documents.iter().map(|event| event["kind"].as_str().unwrap());
    let mut flow: Vec<&str> = kinds.filter(|kind| FLOW.contains(kind)).collect();
    flow.dedup();
    assert_eq!(flow, FLOW);
}

#[test]
fn a_person_reads_the_flow_and_what_came_of_it() {
    let ran = run(&[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    for told in FLOW.into_iter().chain([
        "Starting Nutanix cluster deployment",
        "\nmy-nutanix-cluster: ready (3 nodes), ",
        "\n  server-002   ready     requested ",
        "\n  the cluster  ready     waiting_for_nodes ",
        "at speed 6000",
    ]) {
        assert!(ran.stdout.contains(told), "{told} is missing:\n{}", ran.stdout);
    }
    assert!(ran.stderr.starts_with("next: `metalform demo --keep`"), "{}", ran.stderr);
}

#[test]
fn one_node_is_a_cluster_too() {
    let ran = run(&["--nodes", "1", "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(ran.documents().pop().unwrap(), outcome(1));
}

#[test]
fn several_clusters_come_about_side_by_side() {
    let ran = run(&["--clusters", "3", "--nodes", "1", "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let last = ran.documents().pop().unwrap();
    let names: Vec<&str> = last["clusters"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["my-nutanix-cluster-1", "my-nutanix-cluster-2", "my-nutanix-cluster-3"]);
    assert!(last["clusters"].as_array().unwrap().iter().all(|cluster| cluster["phase"] == "ready"));
}

#[test]
fn a_node_that_never_is_ready_ends_in_a_deadline_that_says_which_and_why() {
    let folder = Folder::new();
    let mut command = fast_demo(&folder, &["--json", "--fault", "cvm_never_ready"]);
    let ran: Ran = command.env("METALFORM_TIMEOUTS_NODE_READY", "10s").output().unwrap().into();
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    let told = "error: my-nutanix-cluster: Timeout waiting for nodes to be ready. Only 2/3 ready; server-00";
    assert!(ran.stderr.starts_with(told) && ran.stderr.contains(" in waiting_for_cvm: "), "{}", ran.stderr);
    let last = ran.documents().pop().unwrap();
    assert_eq!(last["clusters"][0]["phase"], "failed");
    assert!(is_empty(&folder), "something is left behind");
}

#[test]
fn a_failure_that_is_no_deadline_ends_with_1() {
    let ran = run(&["--nodes", "1", "--fault", "install_fails"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.starts_with("error: my-nutanix-cluster: Only 0/1 nodes became ready; "), "{}", ran.stderr);
    assert!(ran.stdout.contains("\nmy-nutanix-cluster: failed (1 node)"), "{}", ran.stdout);
}

#[test]
fn lost_replies_change_nothing_but_the_timeline() {
    let ran = run(&["--json", "--fault", "server_reply_lost", "--fault", "create_reply_lost"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(ran.documents().pop().unwrap(), outcome(3));
}

#[test]
fn what_is_kept_can_be_looked_at_until_it_is_told_to_stop() {
    let folder = Folder::new();
    let kept = Running::start(&mut fast_demo(&folder, &["--nodes", "1", "--keep"]));
    kept.said("kept until Ctrl-C: https://127.0.0.1:");
    let config = kept.said("next: metalform status --config ");
    let status: Ran = command(&folder, &["status", "--json", "--config", &config]).output().unwrap().into();
    assert_eq!(status.document()["clusters"][0]["phase"], "ready", "{}", status.stderr);
    assert_eq!(kept.stop("-INT"), 0);
    assert!(is_empty(&folder), "something is left behind");
}

#[test]
fn ctrl_c_ends_a_demo_in_the_middle_and_leaves_nothing() {
    let folder = Folder::new();
    let running = Running::start(&mut fast_demo(&folder, &["--speed", "1"]));
    running.said("   +0.0s  -             deployment_started");
    assert_eq!(running.stop("-INT"), 1);
    assert!(is_empty(&folder), "something is left behind");
}
