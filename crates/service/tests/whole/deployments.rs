//! Whole deployments, and what goes wrong in them.

use super::rig::{Rig, lock};
use axum::http::StatusCode;
use metalform_model::kind;
use metalform_simulator::fault::builtin;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn three_servers_become_a_cluster_and_go_again() {
    let mut rig = Rig::new(1).await;
    rig.deploy(&rig.plan("one", 3)).await;
    rig.run_to("one", "ready", 3 * HOUR).await;

    let flow = [
        kind::DEPLOYMENT_STARTED,
        kind::NODE_ORDERING,
        kind::NODES_WAITING,
        kind::NODES_READY,
        kind::FORMATION_STARTED,
        kind::FORMATION_MONITORING,
        kind::DEPLOYMENT_COMPLETED,
    ];
    let events = rig.events("one").await;
    let mut told: Vec<&str> = events.iter().map(|e| e.kind.as_str()).filter(|k| flow.contains(k)).collect();
    told.dedup();
    assert_eq!(told, flow, "the documented flow, in its order:\n{}", rig.story("one").await);
    let seqs: Vec<i64> = events.iter().map(|e| e.seq).collect();
    assert_eq!(seqs, (1..=events.len() as i64).collect::<Vec<_>>());
    assert_eq!(rig.requests("POST", "/v2.0/clusters"), [200]);

    let (status, _) = rig.call("DELETE", "/api/v1/clusters/one", "").await;
    assert_eq!(status, StatusCode::ACCEPTED);
    rig.run_to("one", "released", HOUR).await;
    assert_eq!(rig.alive(), []);
}

#[tokio::test]
async fn one_server_becomes_a_cluster() {
    let mut rig = Rig::new(2).await;
    rig.deploy(&rig.plan("single", 1)).await;
    rig.run_to("single", "ready", 3 * HOUR).await;
}

/// What passes by itself must not need a person, order anything twice, or leave anything behind.
#[tokio::test]
async fn a_fault_that_passes_needs_no_operator() {
    let passing = [
        "rate_limited",
        "cloud_error",
        "cloud_unavailable",
        "create_conflict",
        "token_rejected",
        "server_reply_lost",
        "vni_reply_lost",
        "address_reply_lost",
        "server_request_lost",
        "slow_cloud",
        "list_lag",
        "dhcp_fails",
        "url_mangled",
        "machine_boots_twice",
        "download_breaks",
        "wrong_digest",
        "cvm_html_errors",
        "formation_fails_once",
        "create_reply_lost",
        "vip_late",
        "delete_reply_lost",
        "delete_lingers",
    ];
    for (seed, fault) in passing.into_iter().enumerate() {
        let mut rig = Rig::new(seed as u64).await;
        let plan = rig.plan("c", 3);
        // The survey before acceptance has its own tests; here the fault is the loop's.
        rig.deploy(&plan).await;
        rig.fault(fault);
        rig.run_to("c", "ready", 4 * HOUR).await;
        check_ordered_once(&rig, fault);
        destroy(&mut rig, "c").await;
    }
}

fn check_ordered_once(rig: &Rig, what: &str) {
    for (server, times) in rig.servers_ordered() {
        assert_eq!(times, 1, "{what}: {server} was ordered {times} times");
    }
}

async fn destroy(rig: &mut Rig, name: &str) {
    let (status, answer) = rig.call("DELETE", &format!("/api/v1/clusters/{name}"), "").await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    rig.run_to(name, "released", 4 * HOUR).await;
    assert_eq!(rig.alive(), [], "{}", rig.story(name).await);
}

/// What doesn't pass by itself stops with its name; once the world is mended, `retry` goes on, and nothing is ordered again.
#[tokio::test]
async fn a_fault_that_lasts_is_named_and_retry_goes_on_after_repair() {
    // Fault, server it strikes ("" for all), the phase it ends in, what the reason must name.
    let lasting = [
        ("forbidden", "", "failed", "not authorized"),
        ("server_fails", "c-2", "failed", "cannot_start_capacity"),
        ("server_never_boots", "c-2", "failed", "Timeout waiting for nodes to be ready. Only 2/3 ready"),
        ("machine_never_boots", "c-2", "failed", "Timeout waiting for nodes to be ready. Only 2/3 ready"),
        ("installer_hangs", "c-3", "failed", "Timeout waiting for nodes to be ready. Only 2/3 ready"),
        ("install_fails", "c-1", "failed", "the installer failed"),
        ("cvm_never_ready", "c-2", "failed", "Timeout waiting for nodes to be ready. Only 2/3 ready"),
        ("formation_hangs", "", "needs_operator", "Cluster creation timed out"),
        ("node_already_configured", "c-2", "needs_operator", "already belongs to the cluster"),
    ];
    for (seed, (fault, server, phase, named)) in lasting.into_iter().enumerate() {
        let mut rig = Rig::new(100 + seed as u64).await;
        rig.deploy(&rig.plan("c", 3)).await;
        rig.fault_of(fault, server);
        rig.run_to("c", phase, 4 * HOUR).await;
        let state = rig.state("c").await;
        let failure = state.record.failure.expect("a stopped cluster says why");
        assert!(failure.reason.contains(named), "{fault}: {} should name {named}", failure.reason);
        assert!(!failure.hint.is_empty());
        if named.starts_with("Timeout") {
            assert!(failure.is_deadline() && failure.reason.contains(server), "{fault}: {}", failure.reason);
        }
        if !matches!(fault, "formation_hangs" | "node_already_configured") {
            rig.mend(fault);
            let (status, answer) = rig.call("POST", "/api/v1/clusters/c/retry", "").await;
            assert_eq!(status, StatusCode::ACCEPTED, "{fault}: {answer}");
            let wanted = if fault == "cvm_never_ready" { "failed" } else { "ready" };
            // A CVM whose services died for good stays dead until its host is installed again.
            rig.run_to_again("c", wanted, 4 * HOUR).await;
        }
        let replaced = ["c-2"].repeat(usize::from(fault == "server_fails"));
        for (server, times) in rig.servers_ordered() {
            // A server that the cloud failed to bring up can't be reinitialized: it is deleted, then ordered anew.
            let wanted = 1 + replaced.iter().filter(|name| **name == server).count();
            assert_eq!(times, wanted, "{fault}: {server} was ordered {times} times");
        }
        destroy(&mut rig, "c").await;
    }
}

#[tokio::test]
async fn formation_is_retried_without_a_second_server_a_reinitialize_or_a_new_script_fetch() {
    let mut rig = Rig::new(7).await;
    rig.deploy(&rig.plan("c", 3)).await;
    rig.fault_of("formation_fails_once", "");
    rig.run_to("c", "needs_operator", 4 * HOUR).await;
    assert_eq!(rig.requests("POST", "/v2.0/clusters"), [500, 500, 500], "each node is asked once");
    let scripts = rig.script_fetches();
    rig.mend("formation_fails_once");
    let (status, _) = rig.call("POST", "/api/v1/clusters/c/retry", "").await;
    assert_eq!(status, StatusCode::ACCEPTED);
    rig.run_to("c", "ready", 2 * HOUR).await;
    check_ordered_once(&rig, "formation_fails_once");
    assert_eq!(rig.requests("PUT", "/initialization"), [] as [u16; 0]);
    assert_eq!(rig.script_fetches(), scripts);
}

#[tokio::test]
async fn a_node_that_is_dead_before_create_is_named_and_nothing_is_created() {
    let mut rig = Rig::new(8).await;
    rig.deploy(&rig.plan("c", 3)).await;
    rig.fault_of("cvm_dead", "c-1");
    rig.run_to("c", "needs_operator", 4 * HOUR).await;
    let failure = rig.state("c").await.record.failure.unwrap();
    assert!(failure.reason.contains("c-1") && failure.reason.contains("connection refused"), "{}", failure.reason);
    assert_eq!(rig.requests("POST", "/v2.0/clusters"), [] as [u16; 0]);
}

#[tokio::test]
async fn the_second_node_is_asked_when_the_first_is_dead() {
    let mut rig = Rig::new(8).await;
    rig.deploy(&rig.plan("c", 3)).await;
    // Ready, looked at, checked, and from then on nothing listens there.
    let mut fault = builtin("cvm_dead").unwrap();
    (fault.matches.name, fault.skip) = (Some("c-1".into()), 2);
    lock(&rig.world).add_fault(fault);
    rig.run_for(2 * HOUR).await;
    let asked: Vec<String> = rig
        .events("c")
        .await
        .into_iter()
        .filter(|e| e.kind == kind::FORMATION_STARTED)
        .filter_map(|e| e.server_id)
        .collect();
    assert_eq!(asked, ["c-1", "c-2"], "{}", rig.story("c").await);
    assert_eq!(rig.requests("POST", "/v2.0/clusters").len(), 1, "the dead node never got the request");
}

#[tokio::test]
async fn a_name_that_somebody_has_already_is_refused_and_left_alone() {
    let mut rig = Rig::new(9).await;
    rig.deploy(&rig.plan("c", 1)).await;
    rig.run_to("c", "ready", 3 * HOUR).await;
    let before = rig.alive();
    let mut plan = rig.plan("d", 1);
    plan["nodes"][0]["server_name"] = "c-1".into();
    plan["nodes"][0]["mgmt_ip"] = "10.240.0.21".into();
    plan["nodes"][0]["ahv_ip"] = "10.240.0.61".into();
    plan["nodes"][0]["cvm_ip"] = "10.240.0.121".into();
    plan["cluster"]["external_ip"] = "10.240.0.201".into();
    let (status, answer) = rig.call("POST", "/api/v1/clusters", &plan.to_string()).await;
    assert_eq!((status, answer["error"]["code"].as_str()), (StatusCode::CONFLICT, Some("name_taken")), "{answer:#}");
    plan["nodes"][0]["server_name"] = "d-1".into();
    plan["cluster"]["external_ip"] = "10.240.0.200".into();
    let (status, answer) = rig.call("POST", "/api/v1/clusters", &plan.to_string()).await;
    assert_eq!((status, answer["error"]["code"].as_str()), (StatusCode::CONFLICT, Some("address_taken")), "{answer:#}");
    assert_eq!(rig.alive(), before);
}

#[tokio::test]
async fn the_same_plan_again_is_the_same_deployment_and_another_one_is_refused() {
    let rig = Rig::new(10).await;
    let mut plan = rig.plan("c", 3);
    rig.deploy(&plan).await;
    let (status, _) = rig.call("POST", "/api/v1/clusters", &plan.to_string()).await;
    assert_eq!(status, StatusCode::OK);
    plan["cluster"]["timezone"] = "Europe/Berlin".into();
    let (status, answer) = rig.call("POST", "/api/v1/clusters", &plan.to_string()).await;
    assert_eq!((status, answer["error"]["code"].as_str()), (StatusCode::CONFLICT, Some("plan_differs")));
}

#[tokio::test]
async fn missing_boot_images_are_refused_before_anything_is_ordered() {
    for (spoil, named) in [(Spoil::Remove, "initrd-foundation.img"), (Spoil::Empty, "initrd-foundation.img")] {
        let rig = Rig::new(11).await;
        match spoil {
            Spoil::Remove => std::fs::remove_file(rig.image("initrd-foundation.img")).unwrap(),
            Spoil::Empty => std::fs::write(rig.image("initrd-foundation.img"), "").unwrap(),
        }
        let (status, answer) = rig.call("POST", "/api/v1/clusters", &rig.plan("c", 3).to_string()).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains(named) && message.contains("images"), "{message}");
        assert_eq!(rig.alive(), []);
    }
}

enum Spoil {
    Remove,
    Empty,
}

#[tokio::test]
async fn destroying_a_deployment_under_way_leaves_nothing_at_any_moment() {
    for minutes in [0, 1, 5, 12, 25, 40, 55, 58, 70] {
        let mut rig = Rig::new(200 + minutes).await;
        rig.deploy(&rig.plan("c", 3)).await;
        rig.run_for(Duration::from_secs(60 * minutes)).await;
        destroy(&mut rig, "c").await;
    }
}

#[tokio::test]
async fn nodes_that_exist_already_skip_to_phase_two_and_are_never_deleted() {
    let mut rig = Rig::new(12).await;
    let mut first = rig.plan("c", 3);
    first["cluster"]["start"] = "on-command".into();
    rig.deploy(&first).await;
    rig.run_for(2 * HOUR).await;
    // The same machines, taken up by a deployment that didn't order them.
    let mut second = rig.plan("c", 3);
    second["cluster"]["external_ip"] = "10.240.0.200".into();
    for (i, node) in second["nodes"].as_array_mut().unwrap().iter_mut().enumerate() {
        *node = serde_json::json!({"server_id": format!("old-{i}"), "existing": true,
            "ahv_ip": node["ahv_ip"], "cvm_ip": node["cvm_ip"]});
    }
    second["cluster"]["name"] = "again".into();
    second.as_object_mut().unwrap().remove("cloud");
    let alive = rig.alive();
    rig.deploy(&second).await;
    rig.run_for(HOUR).await;
    let state = rig.state("again").await;
    // The nodes' own configuration names cluster "c": the documented contract forms those, so "again" finds its nodes ready
    // and goes to phase two without having ordered anything.
    assert!(state.nodes.iter().all(|n| n.record.phase.as_str() == "ready"), "{}", rig.story("again").await);
    assert!(!rig.requests("POST", "/v2.0/clusters").is_empty(), "phase two was reached");
    let (status, _) = rig.call("DELETE", "/api/v1/clusters/again", "").await;
    assert_eq!(status, StatusCode::ACCEPTED);
    rig.run_to("again", "released", HOUR).await;
    assert_eq!(rig.alive(), alive);
}
