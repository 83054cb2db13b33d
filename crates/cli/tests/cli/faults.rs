//! Faults of CVMs as they are observed, through `metalform demo`: each ends ready, or in a failure that says what it was.

use crate::{
    demo::{fast_demo, outcome},
    run::{Folder, Ran},
};

fn with_fault(fault: &str, args: &[&str]) -> Ran {
    let folder = Folder::new();
    let mut command = fast_demo(&folder, &[&["--fault", fault], args].concat());
    // A node that was restarted is taken for silent a little longer than the look at it takes.
    command.envs([("METALFORM_TIMEOUTS_FORMATION_SETTLE", "2s"), ("METALFORM_TIMEOUTS_CHECK", "2s")]);
    command.output().unwrap().into()
}

fn ends_ready(fault: &str, told: &[&str]) {
    let ran = with_fault(fault, &["--json"]);
    assert_eq!(ran.code, 0, "{fault}: {}", ran.stderr);
    let mut documents = ran.documents();
    assert_eq!(documents.pop().unwrap(), outcome(3), "{fault}");
    let messages: Vec<&str> = documents.iter().map(|event| event["message"].as_str().unwrap()).collect();
    for told in told {
        assert!(messages.iter().any(|message| message.contains(told)), "{told:?} isn't told: {messages:#?}");
    }
    let installed = documents.iter().filter(|e| e["kind"] == "node_phase" && e["phase"] == "waiting_for_cvm").count();
    assert_eq!(installed, 3, "no node is imaged again: {messages:#?}");
}

/// Exit code 1, and this in the first line of what is told.
fn ends_named(fault: &str, told: &[&str]) {
    let ran = with_fault(fault, &[]);
    assert_eq!(ran.code, 1, "{fault}: {}", ran.stderr);
    let error = ran.stderr.lines().next().unwrap_or_default();
    assert!(error.starts_with("error: my-nutanix-cluster: "), "{fault}: {}", ran.stderr);
    for told in told {
        assert!(error.contains(told), "{told:?} isn't told: {}", ran.stderr);
    }
}

#[test]
fn a_create_whose_connection_is_cut_goes_on_and_is_found_again() {
    ends_ready("ssh_cut", &["a node has taken the request"]);
}

#[test]
fn a_create_that_dies_with_its_cvm_is_cleaned_up_and_tried_through_the_next_node() {
    ends_ready(
        "cvm_reboots_in_create",
        &["its controller VM restarted", "creation through server-002", "every member is free again"],
    );
}

#[test]
fn a_create_that_fails_in_the_middle_is_cleaned_up_and_tried_through_the_next_node() {
    let told = ["Failed to configure Zeus mapping", "destroys the half-made cluster", "every member is free again"];
    ends_ready("zeus_mapping_fails", &told);
}

#[test]
fn a_node_that_a_create_does_not_discover_is_there_once_genesis_was_restarted() {
    ends_ready("node_undiscovered", &["Could not discover all nodes specified", "restarts genesis on all members"]);
}

#[test]
fn a_blocked_pair_is_named_and_nothing_is_created() {
    ends_named("blocked_pair", &["nothing was created", "server-001 reaches server-002? No: ", "port 2100 is silent"]);
}

#[test]
fn a_create_that_is_refused_for_good_ends_with_its_own_words() {
    ends_named("one_ssd", &["not enough boot ssds found on SVM 127.", "expected: 2, found: 1"]);
}

#[test]
fn a_fault_that_cannot_strike_is_wrong_usage_and_not_a_deployment_that_survived_it() {
    for fault in ["ssh_cut", "blocked_pair", "one_ssd", "destroy_leaves_node"] {
        let ran = with_fault(fault, &["--cvm", "documented", "--fault", "vip_late"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{fault}: {}", ran.stderr);
        let told =
            format!("error: {fault} can't strike CVMs that behave as documented\n  hint: leave out `--cvm documented`");
        assert!(ran.stderr.starts_with(&told), "{}", ran.stderr);
    }
    let ran = with_fault("one_ssd", &["--cvm", "documented", "--fault", "ssh_cut", "--json"]);
    assert_eq!((ran.code, &ran.document()["error"]["code"]), (2, &"fault_cannot_strike".into()));
    let ran = with_fault("formation_fails_once", &["--cvm", "documented", "--json"]);
    assert_eq!((ran.code, ran.documents().pop().unwrap()), (0, outcome(3)), "one that can strike: {}", ran.stderr);
}
