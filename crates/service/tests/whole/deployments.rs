//! Whole deployments, and what goes wrong in them.

use super::rig::Rig;
use axum::http::StatusCode;
use metalform_model::kind;
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
