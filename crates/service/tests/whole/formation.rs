//! Formation on controller VMs as they really are: which way is taken, what is looked at before and after, what is left of
//! the passwords that everybody knows, and how what fails is told, taken down and tried again.

use super::rig::{Rig, lock};
use axum::http::StatusCode;
use metalform_model::{Timestamp, kind};
use metalform_simulator::{
    cvm::{CvmProfile, FoundationApi},
    fault::{CvmFault, Fault, FaultEffect, Matches},
    ssh::SshExec,
};
use serde_json::json;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
const DEFAULTS: [&str; 3] = ["admin", "nutanix/4u", "Nutanix/4u"];

async fn retry(rig: &Rig, body: &str) {
    let (status, answer) = rig.call("POST", "/api/v1/clusters/c/retry", body).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
}

/// Creates that were begun on controller VMs, whatever became of them.
pub fn creates(rig: &Rig) -> usize {
    let world = lock(&rig.world);
    let count =
        |r: &&metalform_simulator::world::LoggedRequest| r.method == "EXEC" && r.path.contains("'\\''create'\\''");
    world.requests().filter(count).count()
}

fn assert_no_default_opens_anything(rig: &Rig, what: &str) {
    assert_eq!(lock(&rig.world).accepted_passwords(&DEFAULTS), [] as [String; 0], "{what}");
}

async fn kinds(rig: &Rig, wanted: &str) -> Vec<String> {
    rig.events("c").await.into_iter().filter(|e| e.kind == wanted).map(|e| e.message).collect()
}

#[tokio::test]
async fn by_auto_nodes_of_either_kind_become_a_cluster_on_which_no_default_password_is_left() {
    for (profile, driver) in [(CvmProfile::Documented, "prism"), (CvmProfile::Observed, "cvm-ssh")] {
        for nodes in [1, 3, 4] {
            let what = format!("{profile:?} {nodes}");
            let mut rig = Rig::with(nodes as u64, |settings| settings.cvms.profile = profile).await;
            rig.deploy(&rig.plan("c", nodes)).await;
            let begins_with_defaults = |rig: &Rig| !lock(&rig.world).accepted_passwords(&DEFAULTS).is_empty();
            while !begins_with_defaults(&rig) {
                assert_ne!(rig.phase("c").await, "ready", "{what}");
                rig.run_for(Duration::from_secs(60)).await;
            }
            rig.run_to("c", "ready", 4 * HOUR).await;
            assert_no_default_opens_anything(&rig, &what);
            let chosen = kinds(&rig, kind::FORMATION_DRIVER).await;
            assert!(chosen.len() == 1 && chosen[0].contains(&format!("by {driver}")), "{what}: {chosen:?}");
            assert!(chosen[0].contains("SSH: ") && chosen[0].contains("Prism: "), "{what}: says why: {chosen:?}");
            let checks = rig.state("c").await.record.checks;
            assert!(checks.iter().all(|check| check.ok) && checks.len() >= 7 + nodes, "{what}: {checks:#?}");
        }
    }
}

#[tokio::test]
async fn the_report_at_the_end_says_what_was_seen_of_everything() {
    let mut rig = Rig::observed(2).await;
    rig.deploy(&rig.plan("c", 3)).await;
    rig.run_to("c", "ready", 4 * HOUR).await;
    let lines: Vec<String> =
        rig.state("c").await.record.checks.iter().map(|check| format!("{}: {}", check.name, check.seen)).collect();
    assert_eq!(
        lines,
        [
            "services of c-1: 45 of 45 run",
            "services of c-2: 45 of 45 run",
            "services of c-3: 45 of 45 run",
            "cluster address answers UP: it answers",
            "name as planned: c",
            "node count: 3 of 3",
            "redundancy: current 2, desired 2",
            "time zone as planned: UTC",
            "name servers as planned: 161.26.0.10",
            "time servers as planned: time.adn.networklayer.com",
            "every node is a host: 3 of 3",
            "hosts are normal: all are",
            "c-1 answers: it is in c",
            "c-2 answers: it is in c",
            "c-3 answers: it is in c",
            "passwords of the controller VM of c-1: the cluster's own",
            "passwords of the AHV host of c-1: the cluster's own",
            "passwords of the controller VM of c-2: the cluster's own",
            "passwords of the AHV host of c-2: the cluster's own",
            "passwords of the controller VM of c-3: the cluster's own",
            "passwords of the AHV host of c-3: the cluster's own",
            "passwords of Prism: the cluster's own",
        ]
    );
    let checked = rig.events("c").await.into_iter().find(|e| e.kind == kind::FORMATION_CHECKED).unwrap();
    let before: Vec<String> =
        checked.data["checks"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap().into()).collect();
    assert_eq!(
        before,
        [
            "c-1 answers and is in no cluster",
            "c-2 answers and is in no cluster",
            "c-3 answers and is in no cluster",
            "versions are equal",
            "clocks are in step",
            "every address is a machine of its own",
            "the cluster's address 10.240.0.200 is free",
            "every controller VM reaches every other",
        ]
    );
}

#[tokio::test]
async fn a_blocked_pair_is_named_nothing_is_created_and_after_repair_the_cluster_stands_without_imaging() {
    let mut rig = Rig::observed(3).await;
    rig.deploy(&rig.plan("c", 3)).await;
    rig.fault("blocked_pair");
    rig.run_to("c", "needs_operator", 4 * HOUR).await;
    let failure = rig.state("c").await.record.failure.unwrap();
    assert_eq!(failure.code, "not_fit_to_form");
    for pair in ["c-1 reaches c-2? No: ping isn't answered, port 22 is silent", "c-2 reaches c-1? No: ping isn't"] {
        assert!(failure.reason.contains(pair), "{}", failure.reason);
    }
    assert!(!failure.reason.contains("c-3"), "the third is well: {}", failure.reason);
    assert_eq!(creates(&rig), 0);
    let scripts = rig.script_fetches();
    rig.mend("blocked_pair");
    retry(&rig, "").await;
    rig.run_to("c", "ready", HOUR).await;
    assert_eq!(rig.script_fetches(), scripts, "no node was imaged again");
    assert_eq!(creates(&rig), 1);
}

#[tokio::test]
async fn what_makes_nodes_unfit_is_named_before_anything_is_created() {
    for (fault, named) in [
        ("clock_skew", "clocks are in step? No: c-1 is 5m 00s ahead of the others"),
        ("duplicate_address", "c-1 and c-2 show the "),
        ("vip_taken", "the cluster's address 10.240.0.200 is free? No: something answers there, asked from c-1"),
        ("other_version", "versions are equal? No: 6.8.0: "),
        ("node_already_configured", "already belongs to a cluster of itself alone"),
    ] {
        let mut rig = Rig::observed(4).await;
        rig.deploy(&rig.plan("c", 3)).await;
        rig.fault(fault);
        rig.run_to("c", "needs_operator", 4 * HOUR).await;
        let failure = rig.state("c").await.record.failure.unwrap();
        assert!(failure.reason.contains(named), "{fault}: {}", failure.reason);
        assert_eq!(creates(&rig), 0, "{fault}");
    }
}

#[tokio::test]
async fn a_driver_forced_on_nodes_that_lack_it_fails_by_name_and_the_nodes_are_good_for_another() {
    for (profile, forced) in
        [(CvmProfile::Documented, "cvm-ssh"), (CvmProfile::Observed, "prism"), (CvmProfile::Observed, "foundation")]
    {
        let what = format!("{forced} on {profile:?}");
        let mut rig = Rig::with(5, |settings| settings.cvms.profile = profile).await;
        let mut plan = rig.plan("c", 3);
        plan["cluster"]["formation"] = json!(forced);
        rig.deploy(&plan).await;
        rig.run_to("c", "failed", 5 * HOUR).await;
        let state = rig.state("c").await;
        let failure = state.nodes[0].record.failure.clone().unwrap();
        assert_eq!(failure.code, "formation_not_offered", "{what}: {}", failure.reason);
        assert!(failure.reason.contains(&format!("doesn't offer {forced}")), "{what}: {}", failure.reason);
        assert!(failure.hint.contains("--formation auto"), "{what}: {}", failure.hint);
        let scripts = rig.script_fetches();
        retry(&rig, r#"{"formation":"auto"}"#).await;
        rig.run_to("c", "ready", 3 * HOUR).await;
        assert_eq!(rig.script_fetches(), scripts, "{what}: no node was imaged again");
        assert_no_default_opens_anything(&rig, &what);
    }
}

#[tokio::test]
async fn foundation_forms_by_its_documented_call_and_by_image_nodes_where_that_is_all_there_is() {
    for (profile, api) in [(CvmProfile::Documented, None), (CvmProfile::Observed, Some(FoundationApi::ImageNodes))] {
        let mut rig = Rig::with(6, |settings| {
            (settings.cvms.profile, settings.cvms.foundation_api) = (profile, api);
        })
        .await;
        let mut plan = rig.plan("c", 3);
        plan["cluster"]["formation"] = json!("foundation");
        rig.deploy(&plan).await;
        rig.run_to("c", "ready", 5 * HOUR).await;
        assert_no_default_opens_anything(&rig, &format!("{profile:?}"));
        assert_eq!(rig.state("c").await.record.formation.unwrap().driver.as_str(), "foundation");
    }
}

/// What `cluster create` is known to say when it fails, and what each line means: don't retry, wait, clean up and retry.
#[tokio::test]
async fn every_known_failure_of_a_create_ends_ready_or_by_name() {
    let says = |line: &str, partial: bool| {
        let effect = FaultEffect::Cvm(CvmFault::CreateSays { line: line.into(), partial });
        Fault { name: "says".into(), matches: Matches::default(), skip: 0, times: Some(1), effect }
    };
    // The line, whether it leaves something half done, and what becomes of the cluster.
    let table = [
        (
            "Could not discover all nodes specified. Please verify that the SVMs from which you wish to create the cluster are not already part of another cluster. Undiscovered ips : {ip}",
            false,
            "ready",
        ),
        ("SVM {ip} is already configured", true, "ready"),
        ("Node {ip} is not reachable. Aborting.", false, "ready"),
        ("Invalid redundancy factor", false, "needs_operator"),
        ("At least 5 nodes required to support redundancy factor 3", false, "needs_operator"),
        ("Cannot create one node backup cluster as not enough boot ssds", false, "needs_operator"),
        ("Provide unique IPs", false, "needs_operator"),
        ("Invalid IPv4 addresses", false, "needs_operator"),
        ("Failed to configure iptables on SVM {ip}", true, "ready"),
        ("Failed to configure Zeus mapping on SVM {ip}", true, "ready"),
        ("Cluster initialization on {ip} failed", true, "ready"),
        ("Operation failed", true, "ready"),
        ("Operation failed", false, "ready"),
    ];
    for (line, partial, wanted) in table {
        let mut rig = Rig::observed(7).await;
        rig.deploy(&rig.plan("c", 3)).await;
        lock(&rig.world).add_fault(says(line, partial));
        rig.run_to("c", wanted, 5 * HOUR).await;
        let story = rig.story("c").await;
        let said = line.split('{').next().unwrap().trim();
        assert!(story.contains(said), "{line} is told:\n{story}");
        match wanted {
            "ready" => {
                assert_eq!(creates(&rig), 2, "{line}: the second create stands");
                assert_no_default_opens_anything(&rig, line);
            }
            _ => {
                let failure = rig.state("c").await.record.failure.unwrap();
                assert_eq!(failure.code, "formation_refused", "{line}: {}", failure.reason);
                assert_eq!(creates(&rig), 1, "{line}: not tried again");
                // Once the world is mended a retry forms the cluster on the same installations.
                let scripts = rig.script_fetches();
                retry(&rig, "").await;
                rig.run_to("c", "ready", 2 * HOUR).await;
                assert_eq!(rig.script_fetches(), scripts, "{line}");
            }
        }
    }
}

#[tokio::test]
async fn a_create_that_fails_every_time_stops_after_three_with_what_each_said() {
    let mut rig = Rig::observed(8).await;
    rig.deploy(&rig.plan("c", 3)).await;
    rig.fault_of("zeus_mapping_fails", "");
    rig.run_to("c", "needs_operator", 5 * HOUR).await;
    let failure = rig.state("c").await.record.failure.unwrap();
    assert_eq!(failure.code, "formation_failed", "{}", failure.reason);
    assert_eq!(failure.reason.matches("Zeus mapping").count(), 3, "{}", failure.reason);
    assert_eq!(creates(&rig), 3);
    rig.mend("zeus_mapping_fails");
    retry(&rig, "").await;
    rig.run_to("c", "ready", 2 * HOUR).await;
}

#[tokio::test]
async fn whatever_strikes_in_the_middle_of_a_create_one_cluster_is_formed() {
    for (fault, wanted) in [
        ("ssh_cut", 1),
        ("create_reply_lost", 1),
        ("cvm_reboots_in_create", 2),
        ("node_undiscovered", 2),
        ("destroy_leaves_node", 1),
        ("vip_late", 1),
        ("service_flaps", 1),
        ("cvm_html_errors", 1),
    ] {
        let mut rig = Rig::observed(9).await;
        rig.deploy(&rig.plan("c", 3)).await;
        rig.fault(fault);
        rig.run_to("c", "ready", 6 * HOUR).await;
        assert_eq!(creates(&rig), wanted, "{fault}:\n{}", rig.story("c").await);
        assert_no_default_opens_anything(&rig, fault);
        let (status, _) = rig.call("DELETE", "/api/v1/clusters/c", "").await;
        assert_eq!(status, StatusCode::ACCEPTED);
        rig.run_to("c", "released", 4 * HOUR).await;
        assert_eq!(rig.alive(), [], "{fault}");
    }
}

#[tokio::test]
async fn a_destroy_that_leaves_a_node_behind_is_finished_on_that_node() {
    let mut rig = Rig::observed(10).await;
    rig.deploy(&rig.plan("c", 3)).await;
    rig.fault("zeus_mapping_fails");
    rig.fault("destroy_leaves_node");
    rig.run_to("c", "ready", 6 * HOUR).await;
    assert!(rig.story("c").await.contains("has the members that are left forget it"), "{}", rig.story("c").await);
    assert_eq!(creates(&rig), 2);
}

#[tokio::test]
async fn a_create_that_never_ends_has_a_deadline_and_a_retry_takes_it_down_and_forms_the_cluster() {
    let mut rig = Rig::observed(11).await;
    rig.deploy(&rig.plan("c", 3)).await;
    rig.fault("zeus_never_ready");
    rig.run_to("c", "needs_operator", 6 * HOUR).await;
    assert!(rig.state("c").await.record.failure.unwrap().is_deadline());
    let scripts = rig.script_fetches();
    rig.mend("zeus_never_ready");
    retry(&rig, "").await;
    rig.run_to("c", "ready", 2 * HOUR).await;
    assert_eq!((creates(&rig), rig.script_fetches()), (2, scripts));
}

#[tokio::test]
async fn a_controller_vm_that_dies_during_the_checks_is_named_and_nothing_is_created() {
    let mut rig = Rig::observed(17).await;
    rig.deploy(&rig.plan("c", 3)).await;
    // Ready, looked at, asked for its cluster, and from then on nothing listens there.
    let mut fault = metalform_simulator::fault::builtin("cvm_dead").unwrap();
    (fault.matches.name, fault.skip) = (Some("c-2".into()), 2);
    lock(&rig.world).add_fault(fault);
    rig.run_to("c", "needs_operator", 6 * HOUR).await;
    let failure = rig.state("c").await.record.failure.unwrap();
    assert!(failure.code == "not_fit_to_form" && failure.reason.contains("c-2"), "{}", failure.reason);
    assert_eq!(creates(&rig), 0);
}

#[tokio::test]
async fn a_cluster_with_a_service_down_is_up_in_part_only_and_says_which() {
    let mut rig = Rig::observed(12).await;
    rig.deploy(&rig.plan("c", 3)).await;
    rig.fault("service_down");
    rig.run_to("c", "needs_operator", 6 * HOUR).await;
    let failure = rig.state("c").await.record.failure.unwrap();
    assert!(
        failure.is_deadline() && failure.reason.contains("up in part only: 134 of 135 services run"),
        "{}",
        failure.reason
    );
}

#[tokio::test]
async fn somebody_elses_cluster_is_never_taken_down() {
    let mut rig = Rig::observed(13).await;
    rig.deploy(&rig.plan("c", 3)).await;
    rig.fault_of("node_already_configured", "c-2");
    rig.run_to("c", "needs_operator", 4 * HOUR).await;
    assert_eq!(rig.state("c").await.record.failure.unwrap().code, "member_of_another_cluster");
    retry(&rig, "").await;
    rig.run_for(2 * HOUR).await;
    assert_eq!(rig.phase("c").await, "needs_operator");
    let world = lock(&rig.world);
    let touched = |r: &&metalform_simulator::world::LoggedRequest| {
        r.method == "EXEC"
            && ["stop", "destroy", "node_unconfigure", "restart"].iter().any(|word| r.path.contains(word))
    };
    assert_eq!(world.requests().filter(touched).count(), 0);
}

/// Logins on controller VMs so far: when, and whether they were refused.
fn logins(rig: &Rig, cvm: &str) -> Vec<(Timestamp, bool)> {
    let world = lock(&rig.world);
    let of_cvm = |r: &&metalform_simulator::world::LoggedRequest| {
        r.method == "LOGIN" && r.target.as_deref().is_some_and(|target| target.starts_with(cvm))
    };
    world.requests().filter(of_cvm).map(|r| (r.at, r.status == Some(401))).collect()
}

#[tokio::test]
async fn an_account_that_refuses_us_is_asked_twice_a_minute_apart_and_then_a_person_is() {
    let mut rig = Rig::observed(14).await;
    rig.deploy(&rig.plan("c", 1)).await;
    let cvm = "10.240.0.101".parse().unwrap();
    let ssh_is_up = |rig: &Rig| lock(&rig.world).listeners().iter().any(|l| l.ip == cvm && l.port == 22);
    let end = metalform_model::Clock::now(&*rig.clock) + 3 * HOUR;
    while !ssh_is_up(&rig) {
        assert!(metalform_model::Clock::now(&*rig.clock) < end, "{}", rig.story("c").await);
        rig.run_for(Duration::from_secs(1)).await;
    }
    // Somebody was there before us.
    let exec = SshExec { command: "sudo chpasswd".into(), stdin: b"nutanix:Somebody.was-1st\n".to_vec(), pty: false };
    let now = metalform_model::Clock::now(&*rig.clock);
    lock(&rig.world).ssh_exec(now, cvm, 22, "nutanix", &exec).unwrap();
    rig.run_to("c", "failed", 3 * HOUR).await;
    let failure = rig.state("c").await.nodes[0].record.failure.clone().unwrap();
    assert_eq!(failure.code, "credentials_refused");
    assert!(failure.hint.contains("cvm_password_file"), "{}", failure.hint);
    let refused: Vec<Timestamp> = logins(&rig, "10.240.0.101").into_iter().filter(|l| l.1).map(|l| l.0).collect();
    assert_eq!(refused.len(), 2);
    assert!(refused[1].since(refused[0]) >= Duration::from_secs(60), "{refused:?}");
}

/// Everything that a whole run leaves behind, and the one answer that may hold passwords.
#[tokio::test]
async fn no_password_and_no_hash_is_in_timeline_database_or_any_answer_but_the_one_that_is_asked_for_them() {
    for profile in [CvmProfile::Documented, CvmProfile::Observed] {
        let mut rig = Rig::with(15, |settings| settings.cvms.profile = profile).await;
        rig.deploy(&rig.plan("c", 3)).await;
        rig.run_to("c", "ready", 4 * HOUR).await;
        let (status, answer) = rig.call("GET", "/api/v1/clusters/c/credentials", "").await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let accounts = answer["accounts"].as_array().unwrap();
        let passwords: Vec<&str> = accounts.iter().map(|account| account["password"].as_str().unwrap()).collect();
        assert_eq!(passwords.len(), 5);
        assert!(accounts.iter().any(|account| account["state"] == "changed"), "{profile:?}");
        let opened = lock(&rig.world).accepted_passwords(&passwords);
        assert!(opened.iter().any(|place| place.starts_with("prism")), "they work: {opened:?}");
        let mut said = rig.story("c").await;
        for path in ["clusters", "clusters/c", "clusters/c/events", "nodes", "nodes/c-1", "nodes/c-1/script", "audit"] {
            said.push_str(&rig.text(&format!("/api/v1/{path}")).await);
        }
        said.push_str(&String::from_utf8_lossy(&rig.database()));
        let log = lock(&rig.world).requests().map(|r| format!("{r:?}")).collect::<String>();
        said.push_str(&log);
        assert!(said.contains("c-1") && (profile == CvmProfile::Documented || said.contains("password hash")));
        for secret in passwords.iter().chain(&["$6$"]) {
            let at = said.find(secret);
            assert_eq!(at, None, "{profile:?}: {}", at.map_or("", |at| &said[at.saturating_sub(100)..at]));
        }
    }
}

#[tokio::test]
async fn nodes_that_were_there_before_us_keep_the_passwords_we_gave_them_and_so_do_we() {
    let mut rig = Rig::observed(18).await;
    let mut plan = rig.plan("c", 3);
    plan["cluster"]["start"] = json!("on-command");
    rig.deploy(&plan).await;
    let all_ready =
        |state: &metalform_store::ClusterState| state.nodes.iter().all(|n| n.record.phase.as_str() == "ready");
    while !all_ready(&rig.state("c").await) {
        rig.run_for(Duration::from_secs(60)).await;
    }
    // Whoever imaged them is gone.
    rig.lose_the_store().await;
    let node = |i: usize| {
        json!({"server_id": format!("old-{i}"), "existing": true, "ahv_ip": format!("10.240.0.{}", 50 + i),
            "cvm_ip": format!("10.240.0.{}", 100 + i)})
    };
    plan["cluster"]["start"] = json!("when-ready");
    plan["nodes"] = (1..=3).map(node).collect();
    plan.as_object_mut().unwrap().remove("cloud");
    rig.deploy(&plan).await;
    rig.run_to("c", "ready", 2 * HOUR).await;
    assert_no_default_opens_anything(&rig, "existing nodes");
    let (status, before) = rig.call("GET", "/api/v1/clusters/c/credentials", "").await;
    assert_eq!(status, StatusCode::OK, "{before}");
    let (status, _) = rig.call("DELETE", "/api/v1/clusters/c", "").await;
    assert_eq!(status, StatusCode::ACCEPTED);
    rig.run_to("c", "released", HOUR).await;
    let (status, after) = rig.call("GET", "/api/v1/clusters/c/credentials", "").await;
    assert_eq!(status, StatusCode::OK, "the cluster goes on without us, and somebody must get in: {after}");
    assert_eq!(after["accounts"][0]["password"], before["accounts"][0]["password"]);
}
