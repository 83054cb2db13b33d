//! `POST /boot/report/{server_id}`.

use crate::support::*;
use axum::http::Method;
use metalform_boot::BootAttemptRef;
use metalform_model::{Report, ReportPhase, Seen};
use serde_json::json;
use std::net::Ipv4Addr;

fn report(seq: u64, phase: ReportPhase) -> String {
    json!({"seq": seq, "phase": phase, "status": "running"}).to_string()
}

#[tokio::test]
async fn a_report_is_recorded_as_it_came() {
    let world = World::new();
    let body = json!({
        "seq": 3, "phase": "installing", "status": "running", "percent": 41.5, "message": "writing",
        "log": ["a", "b"], "facts": {"node_uuid": "u"},
    });
    let answer = world.post(&report_path(), body.to_string()).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"recorded": true, "last_seq": 3})));
    let expected: Report = serde_json::from_value(body).unwrap();
    assert_eq!(world.seen().await, [Seen::Reported(expected)]);
}

#[tokio::test]
async fn reports_follow_their_seq_and_phases_their_order() {
    use ReportPhase::*;
    for (last, open, seq, phase, status, answered) in [
        (None, true, 1, Booting, 200, "recorded"),
        (None, true, 7, Installing, 200, "recorded"),
        (Some((3, Checking)), true, 4, Checking, 200, "recorded"),
        (Some((3, Checking)), true, 9, Installing, 200, "recorded"),
        (Some((3, Checking)), true, 4, Failed, 200, "recorded"),
        (Some((3, Checking)), true, 3, Checking, 200, "repeated"),
        (Some((3, Checking)), true, 2, Installed, 200, "repeated"),
        (Some((3, Checking)), true, 1, Booting, 200, "repeated"),
        (Some((3, Rebooting)), true, 4, Installing, 409, "phase_backwards"),
        (Some((3, Failed)), true, 4, Installing, 409, "phase_backwards"),
        (Some((3, Installed)), true, 4, Rebooting, 409, "phase_backwards"),
        (Some((3, Installed)), true, 4, Booting, 409, "phase_backwards"),
        // The machine started again under the same attempt.
        (Some((3, Installing)), true, 4, Booting, 200, "recorded"),
        (Some((3, Failed)), true, 4, Booting, 200, "recorded"),
        // The attempt is over.
        (Some((3, Installed)), false, 4, Installed, 409, "not_installing"),
        (None, false, 1, Booting, 409, "not_installing"),
        // The reply to the report that ended it was lost.
        (Some((3, Installed)), false, 3, Installed, 200, "repeated"),
    ] {
        let world = World::new();
        world.change_node(|node| {
            node.last_report = last;
            node.attempt = Some(BootAttemptRef { id: ATTEMPT, open });
        });
        let answer = world.post(&report_path(), report(seq, phase)).await;
        let case = format!("{last:?} open={open} then {seq} {phase:?}");
        assert_eq!(answer.status, status, "{case}");
        match answered {
            "recorded" => assert_eq!(answer.json(), json!({"recorded": true, "last_seq": seq}), "{case}"),
            "repeated" => {
                assert_eq!(answer.json(), json!({"recorded": false, "last_seq": last.unwrap().0}), "{case}");
            }
            code => assert_eq!(answer.code(), code, "{case}"),
        }
        assert_eq!(world.seen().await.len(), usize::from(answered == "recorded"), "{case}");
        assert_eq!(world.audit().await.len(), usize::from(status != 200), "{case}");
    }
}

#[tokio::test]
async fn what_is_no_report_is_refused() {
    let good = report(1, ReportPhase::Booting);
    for (path, body, status, code) in [
        (report_path(), "".to_owned(), 400, "bad_report"),
        (report_path(), "[]".to_owned(), 400, "bad_report"),
        (report_path(), r#"{"seq":1,"phase":"booting","status":"running","extra":1}"#.to_owned(), 400, "bad_report"),
        (report_path(), r#"{"seq":1,"phase":"dreaming","status":"running"}"#.to_owned(), 400, "bad_report"),
        (report_path(), report(0, ReportPhase::Booting), 400, "bad_report"),
        (report_path(), r#"{"seq":1,"phase":"booting","status":"ok","percent":101}"#.to_owned(), 400, "bad_report"),
        (report_path(), " ".repeat(64 * 1024 + 1), 413, "report_too_large"),
        ("/boot/report/server-001".to_owned(), good.clone(), 401, "token_missing"),
        ("/boot/report/server-001?t=abc".to_owned(), good.clone(), 403, "token_wrong"),
        (format!("{}&x=1", report_path()), good.clone(), 400, "unknown_parameter"),
        (report_path().replace("server-001", "server-002"), good.clone(), 404, "unknown_server"),
        (report_path().replace("server-001", "server%20001"), good.clone(), 404, "unknown_server"),
    ] {
        let world = World::new();
        let answer = world.post(&path, body.clone()).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{path} {body:.80}");
        assert_eq!(world.seen().await, []);
        let audit = world.audit().await;
        assert_eq!(audit.len(), 1);
        assert!(audit[0].ends_with(&format!("refused:{code}")) && !audit[0].contains(&token()), "{audit:?}");
    }
}

#[tokio::test]
async fn a_report_just_within_the_limit_is_taken() {
    let world = World::new();
    let mut body = report(1, ReportPhase::Booting);
    body.push_str(&" ".repeat(64 * 1024 - body.len()));
    assert_eq!(world.post(&report_path(), body).await.status, 200);
}

#[tokio::test]
async fn a_report_from_elsewhere_or_without_an_attempt_is_refused() {
    let world = World::new();
    let from_elsewhere = request(Method::POST, &report_path(), &[]).map(|_| report(1, ReportPhase::Booting).into());
    let answer = world.send(from_elsewhere, Ipv4Addr::new(10, 240, 0, 12)).await;
    assert_eq!((answer.status, answer.code().as_str()), (403, "foreign_address"));
    world.change_node(|node| node.attempt = None);
    let answer = world.post(&report_path(), report(1, ReportPhase::Booting)).await;
    assert_eq!((answer.status, answer.code().as_str()), (409, "not_installing"));
    assert_eq!(world.seen().await, []);
}
