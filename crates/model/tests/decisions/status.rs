//! The documents that people and programs see.

use crate::rig::*;
use metalform_model::*;
use serde_json::json;

#[test]
fn a_failure_is_shown_with_its_hint_and_a_wait_with_its_reason() {
    let cluster = Cluster::of(&[NodePhase::Ready, NodePhase::Imaging]).fail_node(0, "deadline", "too late");
    let status = ClusterStatus::of(&cluster.record, &cluster.nodes, T0 + minutes(36));
    let since = T0.to_string();
    let node = |id: &str, ip: &str, phase: &str, late: bool, reason: &str| {
        json!({"server_id": id, "phase": phase, "mgmt_ip": null, "cvm_ip": ip, "since": since, "late": late,
            "reason": reason})
    };
    let mut failed = node("server-001", "10.240.0.11", "failed", false, "too late");
    failed["hint"] = json!("a hint");
    failed["failure"] = json!("deadline");
    let waiting = node("server-002", "10.240.0.12", "imaging", true, "for the test");
    let expected = json!({"name": "prod", "phase": "waiting_for_nodes", "since": since, "late": false,
        "reason": "accepted", "nodes": [failed, waiting]});
    assert_eq!(serde_json::to_value(status).unwrap(), expected);
}

#[test]
fn what_takes_longer_than_usual_is_late_and_what_waits_for_nobody_is_not() {
    for phase in NODE_PHASES {
        let node = Node::in_phase(phase);
        assert!(!node.record.is_late(T0 + seconds(60)));
        assert_eq!(node.record.is_late(T0 + minutes(1000)), phase.expected().is_some(), "{phase:?}");
    }
    for phase in CLUSTER_PHASES {
        let cluster = Cluster::forming(FormationState::Accepted).with(|c| c.record.phase = phase);
        assert_eq!(cluster.record.is_late(T0 + minutes(1000)), phase.expected().is_some(), "{phase:?}");
    }
}

#[test]
fn a_record_survives_the_store() {
    let node = Node::in_phase(NodePhase::Imaging)
        .saw(ServerStatus::Running, T0)
        .sent(PowerAction::Stop, T0)
        .showed(Seen::Reported(report(1, ReportPhase::Checking)), T0)
        .probed(CvmAnswer::OtherKey { seen: "k".into() }, T0);
    let text = serde_json::to_string(&node.record).unwrap();
    assert_eq!(serde_json::from_str::<NodeRecord>(&text).unwrap(), node.record);
    let says = [in_ours(), free(), nothing()];
    let cluster = Cluster::cleaning(Some(CleanStep::Stop)).looked(None, &says).job(failed(Advice::CleanUp));
    let text = serde_json::to_string(&cluster.record).unwrap();
    assert_eq!(serde_json::from_str::<ClusterRecord>(&text).unwrap(), cluster.record);
}
