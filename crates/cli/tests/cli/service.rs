//! `simulate` and `serve` as two processes, and every other command against them.

use crate::{
    run::{Folder, Ran, Running, command},
    site::Site,
};
use serde_json::{Value, json};
use std::fs;

#[test]
fn a_cluster_through_its_whole_life() {
    let site = Site::start();

    let dry = site.run(&["deploy", "plan.toml", "--dry-run", "--json"]);
    assert_eq!((dry.code, &dry.document()["accepted"]), (0, &json!(false)), "{}", dry.stderr);
    assert_eq!(site.left(), Vec::<Value>::new(), "a dry run creates nothing");

    let deployed = site.run(&["deploy", "plan.toml", "--watch", "--json"]);
    assert_eq!(deployed.code, 0, "{}", deployed.stderr);
    let documents = deployed.documents();
    let status = documents.last().unwrap();
    assert_eq!((&status["name"], &status["phase"]), (&json!("my-nutanix-cluster"), &json!("ready")));
    assert_eq!(status["nodes"].as_array().unwrap().len(), 3);

    let again = site.run(&["deploy", "plan.toml"]);
    assert!(again.stdout.starts_with("my-nutanix-cluster: this plan is deployed already, ready"), "{again:?}");
    let watched_again = site.run(&["deploy", "plan.toml", "--watch", "--json"]);
    assert_eq!(watched_again.documents().len(), documents.len(), "the same timeline again");

    let plan = site.world["plan"].as_str().unwrap();
    site.folder.write("other.toml", &plan.replace("\"UTC\"", "\"Europe/Berlin\""));
    let other = site.run(&["deploy", "other.toml", "--json"]);
    assert_eq!((other.code, &other.document()["error"]["code"]), (1, &json!("plan_differs")), "{}", other.stderr);

    let events = site.run(&["events", "my-nutanix-cluster", "--json"]);
    assert_eq!(events.documents(), documents[..documents.len() - 1]);

    let script = site.run(&["script", "server-001"]);
    assert!(script.stdout.starts_with("#!ipxe\n") && script.stdout.contains("boot_token=hidden"), "{script:?}");

    let explained = site.run(&["explain", "server-001"]);
    for told in [
        "server-001 of my-nutanix-cluster: ready for ",
        "  its boot script has everything and starts the kernel; its iPXE can't compare files\n",
        "  CVM    it is ready\n",
        "\n  [as_expected] nothing unusual: ",
    ] {
        assert!(explained.stdout.contains(told), "{told} in {explained:?}");
    }

    for (args, code) in [
        (["explain", "nobody"], "unknown_node"),
        (["retry", "my-nutanix-cluster"], "nothing_to_retry"),
        (["form", "my-nutanix-cluster"], "not_awaited"),
        (["status", "nobody"], "unknown_cluster"),
        (["script", "nobody"], "unknown_node"),
        (["credentials", "nobody"], "unknown_cluster"),
    ] {
        let refused = site.run(&[&args[..], &["--json"]].concat());
        assert_eq!((refused.code, &refused.document()["error"]["code"]), (1, &json!(code)), "{args:?}");
    }

    let destroyed = site.run(&["destroy", "my-nutanix-cluster", "--watch", "--json"]);
    assert_eq!(destroyed.code, 0, "{}", destroyed.stderr);
    assert_eq!(destroyed.documents().last().unwrap()["phase"], "released");
    assert_eq!(site.left(), Vec::<Value>::new(), "nothing is left in the cloud");
    let followed = site.run(&["events", "my-nutanix-cluster", "--follow", "--json"]);
    assert_eq!(followed.documents().last().unwrap()["phase"], "released", "it ends by itself");

    assert_eq!(site.service.stop("-TERM"), 0);
    assert_eq!(site.simulator.stop("-INT"), 0);
    let left = fs::read_dir(site.folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(left.filter(|name| name.to_string_lossy().starts_with("metalform-")).count(), 0);
}

#[test]
fn a_plan_that_waits_for_the_command_is_formed_by_it() {
    let site = Site::start();
    let plan = site.world["plan"].as_str().unwrap();
    site.folder.write("plan.toml", &plan.replace("timezone", "start = \"on-command\"\ntimezone"));
    let deployed = site.run(&["deploy", "plan.toml", "--watch"]);
    assert_eq!(deployed.code, 0, "{}", deployed.stderr);
    let next = "next: every node is ready; `metalform form my-nutanix-cluster` forms the cluster\n";
    assert_eq!(deployed.stderr, next);
    let formed = site.run(&["form", "my-nutanix-cluster"]);
    assert_eq!(formed.stdout, "my-nutanix-cluster: is formed once its nodes are ready\n");
}

#[test]
fn every_bad_plan_is_refused_by_the_service_too_and_nothing_is_created() {
    let site = Site::start();
    site.folder.write("bad.toml", &site.world["plan"].as_str().unwrap().replace("server-003", "server-002"));
    let here = site.run(&["validate", "bad.toml", "--json"]);
    let there = site.run(&["deploy", "bad.toml", "--json"]);
    assert_eq!((here.code, there.code), (2, 2));
    let faults = |ran: &Ran| ran.document()["error"]["details"]["faults"].clone();
    assert_eq!(faults(&here), faults(&there));
    assert_eq!(site.left(), Vec::<Value>::new());
}

#[test]
fn the_simulators_first_line_says_everything() {
    let folder = Folder::new();
    let simulator = Running::start(command(&folder, &["simulate", "--seed", "7"]).env("TMPDIR", folder.path()));
    let line: Value = serde_json::from_str(&format!("{{{}", simulator.said("{"))).unwrap();
    let mut keys: Vec<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    let wanted = ["config", "control_url", "dns_url", "iam_url", "images_dir", "metadata_url", "plan", "vpc_url"];
    assert_eq!(keys, wanted);
    assert!(line["vpc_url"].as_str().unwrap().ends_with("/v1"));
    assert!(fs::exists(format!("{}/vmlinuz-foundation", line["images_dir"].as_str().unwrap())).unwrap());
    folder.write("plan.toml", line["plan"].as_str().unwrap());
    let valid: Ran = command(&folder, &["validate", "plan.toml"]).output().unwrap().into();
    assert_eq!(valid.stdout, "plan.toml: a good plan: cluster my-nutanix-cluster, 3 nodes\n");
}

#[test]
fn what_a_killed_simulator_leaves_behind_the_next_one_removes_and_nothing_else() {
    let temporary = Folder::new();
    let start = || {
        let mut simulate = command(&temporary, &["simulate"]);
        let simulator = Running::start(simulate.env("TMPDIR", temporary.path()));
        simulator.said("{");
        simulator
    };
    let folders = || {
        let entries = fs::read_dir(temporary.path()).unwrap().map(|entry| entry.unwrap().path());
        entries.collect::<std::collections::BTreeSet<_>>()
    };
    // Of somebody else, by the same name.
    fs::create_dir(temporary.path().join("metalform-simulator-1-0")).unwrap();
    let others = folders();
    let living = start();
    let with_living = folders();
    let mut killed = start();
    killed.signal("-KILL");
    killed.died();
    let left: Vec<_> = folders().difference(&with_living).cloned().collect();
    assert_eq!(left.len(), 2, "its own folder and that of the simulated world: {left:?}");

    let next = start();
    assert!(left.iter().all(|folder| !folder.exists()), "{left:?}");
    assert!(with_living.is_subset(&folders()), "what another uses is gone: {with_living:?}");
    assert_eq!((next.stop("-TERM"), living.stop("-TERM")), (0, 0));
    assert_eq!(folders(), others);
}

#[test]
fn a_template_that_is_not_there_keeps_the_service_from_starting() {
    let folder = Folder::new();
    let config = format!(
        "data_dir = {:?}\n[boot]\nlisten = \"127.0.0.1:0\"\ntemplate = \"phoenix\"\n[control]\nlisten = \"127.0.0.1:0\"\n",
        folder.path().join("data")
    );
    folder.write("metalform.toml", &config);
    let ran: Ran = command(&folder, &["serve"]).output().unwrap().into();
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("boot.template in the configuration: there is no template \"phoenix\""),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("hint: known: foundation, phoenix-ce\n"), "{}", ran.stderr);
}
