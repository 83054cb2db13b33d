use super::*;
use crate::fault::builtin;

const SERVERS: &str = "/bare_metal_servers";

fn rig_with(name: &str) -> Rig {
    let mut rig = Rig::new();
    rig.cloud.add_fault(builtin(name).unwrap());
    rig
}

#[test]
fn a_rate_limited_create_says_when_to_come_again() {
    let mut rig = rig_with("rate_limited");
    let path = rig.reserved_ips();
    for _ in 0..3 {
        let Reply::Answer(response) = rig.send("POST", &path, Some(json!({}))) else { panic!() };
        assert_eq!(response.status, 429);
        assert!(response.headers.contains(&("retry-after".into(), "1".into())));
    }
    assert_eq!(rig.post(&path, json!({})).0, 201);
}

#[test]
fn a_lost_reply_has_its_effect_and_a_lost_request_has_none() {
    for (fault, effect) in [("server_reply_lost", 1), ("server_request_lost", 0)] {
        let mut rig = rig_with(fault);
        let vni = rig.vni("a", "10.240.0.11");
        let body = rig.server_body("node-1", &vni);
        assert_eq!(rig.send("POST", SERVERS, Some(body.clone())), Reply::Lost);
        assert_eq!(rig.get(&format!("{SERVERS}?name=node-1")).1["total_count"], effect);
        let (status, _) = rig.post(SERVERS, body);
        assert_eq!(status, if effect == 1 { 400 } else { 201 });
    }
}

#[test]
fn a_refused_request_does_not_use_up_a_lost_reply() {
    let mut rig = rig_with("address_reply_lost");
    let path = rig.reserved_ips();
    assert_eq!(rig.post(&path, json!({"address": "10.9.9.9"})).0, 400);
    assert_eq!(rig.send("POST", &path, Some(json!({}))), Reply::Lost);
}

#[test]
fn a_slow_answer_comes_late_and_whole() {
    let mut rig = rig_with("slow_cloud");
    let vni = rig.vni("a", "10.240.0.11");
    let body = rig.server_body("node-1", &vni);
    let Reply::After(late, response) = rig.send("POST", SERVERS, Some(body)) else { panic!() };
    assert_eq!((late, response.status), (Duration::from_secs(5), 201));
}

#[test]
fn the_api_key_can_be_refused() {
    let mut rig = rig_with("api_key_refused");
    let form = b"grant_type=urn:ibm:params:oauth:grant-type:apikey&apikey=any";
    let request = request("POST", "/identity/token", &[("content-type", "application/x-www-form-urlencoded")], form);
    let (status, json) = answer(rig.cloud.handle(START, Face::Iam, &request));
    assert_eq!((status, json["errorCode"].as_str()), (400, Some("BXNIM0415E")));
}

#[test]
fn quota_strikes_from_the_second_server_on() {
    let mut rig = rig_with("quota_exceeded");
    rig.server("node-1", "10.240.0.11");
    let vni = rig.vni("a", "10.240.0.12");
    let body = rig.server_body("node-2", &vni);
    rig.refused(400, "over_quota", "POST", SERVERS, Some(body));
}

#[test]
fn a_failed_server_says_why_and_can_be_deleted() {
    let mut rig = rig_with("server_fails");
    let (id, _) = rig.server("node-1", "10.240.0.11");
    rig.minutes(30);
    let (_, json) = rig.get(&format!("{SERVERS}/{id}"));
    assert_eq!(
        (json["status"].as_str(), json["status_reasons"][0]["code"].as_str()),
        (Some("failed"), Some("cannot_start_capacity"))
    );
    assert_eq!(rig.cloud.take_power_events(), []);
    assert_eq!(rig.delete(&format!("{SERVERS}/{id}")), 202);
}

#[test]
fn a_failed_reinitialization_can_be_tried_again() {
    let mut rig = rig_with("reinitialize_fails");
    let (id, _) = rig.server("node-1", "10.240.0.11");
    rig.minutes(12);
    rig.act(&id, "stop-hard");
    rig.minutes(1);
    let body = rig.initialization();
    let path = format!("{SERVERS}/{id}/initialization");
    assert_eq!(rig.call("PUT", &path, Some(body.clone())).0, 200);
    rig.minutes(15);
    assert_eq!(rig.status(&id), "failed");
    assert_eq!(rig.act(&id, "start"), 409);
    assert_eq!(rig.call("PUT", &path, Some(body)).0, 200);
    rig.minutes(15);
    assert_eq!(rig.status(&id), "running");
}

#[test]
fn a_server_that_never_boots_is_running_all_the_same() {
    let mut rig = rig_with("server_never_boots");
    let (id, _) = rig.server("node-1", "10.240.0.11");
    rig.minutes(45);
    assert_eq!(rig.status(&id), "running");
    assert_eq!(rig.cloud.take_power_events(), []);
    rig.act(&id, "restart");
    rig.minutes(8);
    assert!(matches!(rig.cloud.take_power_events().as_slice(), [PowerEvent::On(_)]), "the next power-on works");
}

#[test]
fn a_soft_stop_may_never_end_and_a_hard_one_does() {
    let mut rig = rig_with("soft_stop_never_ends");
    let (id, _) = rig.server("node-1", "10.240.0.11");
    rig.minutes(12);
    assert_eq!(rig.act(&id, "stop-soft"), 204);
    rig.minutes(40);
    assert_eq!(rig.status(&id), "stopping");
    assert_eq!(rig.act(&id, "stop-hard"), 204);
    rig.wait(12);
    assert_eq!(rig.status(&id), "stopped");
}

#[test]
fn a_server_may_stay_pending_and_a_deleted_one_linger() {
    let mut rig = rig_with("server_stays_pending");
    rig.cloud.add_fault(builtin("delete_lingers").unwrap());
    let (pending, _) = rig.server("node-1", "10.240.0.11");
    let (deleted, _) = rig.server("node-2", "10.240.0.12");
    rig.minutes(12);
    rig.act(&deleted, "stop-hard");
    rig.minutes(1);
    assert_eq!(rig.delete(&format!("{SERVERS}/{deleted}")), 202);
    rig.minutes(45);
    assert_eq!((rig.status(&pending), rig.status(&deleted)), ("pending".into(), "deleting".into()));
    rig.minutes(60);
    rig.token = tokens::log_in(&mut rig.cloud, rig.now);
    assert_eq!((rig.status(&pending), rig.status(&deleted)), ("pending".into(), "gone".into()));
}

#[test]
fn a_new_server_may_be_missing_from_lists_for_a_while() {
    let mut rig = rig_with("list_lag");
    let (id, _) = rig.server("node-1", "10.240.0.11");
    assert_eq!(rig.status(&id), "pending", "by id it is there");
    let totals: Vec<u64> =
        (0..4).map(|_| rig.get(&format!("{SERVERS}?name=node-1")).1["total_count"].as_u64().unwrap()).collect();
    assert_eq!(totals, [0, 0, 0, 1]);
}

#[test]
fn a_fault_can_be_aimed_at_one_server() {
    let mut rig = Rig::new();
    let mut fault = builtin("server_fails").unwrap();
    fault.matches.name = Some("node-2".into());
    rig.cloud.add_fault(fault);
    let (first, _) = rig.server("node-1", "10.240.0.11");
    let (second, _) = rig.server("node-2", "10.240.0.12");
    rig.minutes(12);
    assert_eq!((rig.status(&first), rig.status(&second)), ("running".into(), "failed".into()));
}
