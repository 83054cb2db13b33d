//! Watching: what is shown, when it ends, and with what.

use crate::{
    run::{Folder, Ran, Running, command},
    scripted::{Answer, Asked, Scripted, cluster, document, event, stream},
};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};

fn run_at(service: &Scripted, args: &[&str]) -> Ran {
    let folder = Folder::new();
    folder.write("plan.toml", "[cluster]\nexternal_ip = \"10.240.0.200\"\n");
    let mut command = command(&folder, args);
    command.env("METALFORM_SERVER", &service.url).env("METALFORM_TOKEN", "t").output().unwrap().into()
}

/// A service whose cluster has these events and stands as `status` says. A stream breaks after two events.
fn service(events: Vec<Value>, status: impl Fn() -> Value + Send + 'static) -> Scripted {
    Scripted::start(move |asked| answer(asked, &events, &status))
}

fn answer(asked: &Asked, events: &[Value], status: impl Fn() -> Value) -> Answer {
    match asked.line.split_once("/events?after=") {
        Some((_, after)) => {
            let rest = events.get(after.parse::<usize>().unwrap()..).unwrap_or_default();
            match asked.streams {
                true => stream(&rest[..rest.len().min(2)]),
                false => document(200, json!({"events": rest})),
            }
        }
        None if asked.line.starts_with("POST") => document(201, cluster("waiting_for_nodes", None)),
        None => document(200, status()),
    }
}

fn flow() -> Vec<Value> {
    let mut ready = event(4, "cluster_phase");
    ready["phase"] = json!("ready");
    ready["data"] = json!({"from": "verifying", "seconds": 65.0});
    let mut imaging = event(2, "node_phase");
    imaging["server_id"] = json!("server-001");
    imaging["data"] = json!({"from": "requested", "seconds": 1.5});
    vec![event(1, "deployment_started"), imaging, event(3, "trouble"), ready, event(5, "deployment_completed")]
}

fn seqs(documents: &[Value]) -> Vec<i64> {
    documents.iter().filter_map(|document| document["seq"].as_i64()).collect()
}

#[test]
fn a_watched_deployment_shows_every_event_once_and_ends_with_the_status() {
    let service = service(flow(), || cluster("ready", None));
    let ran = run_at(&service, &["deploy", "plan.toml", "--watch", "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let documents = ran.documents();
    assert_eq!(seqs(&documents), [1, 2, 3, 4, 5]);
    assert_eq!((documents.len(), documents[5]["phase"].as_str()), (6, Some("ready")));
}

#[test]
fn without_a_screen_every_event_is_a_line_and_the_end_says_how_long_each_phase_took() {
    let service = service(flow(), || {
        let mut status = cluster("ready", None);
        status["since"] = json!("2026-01-02T03:05:10Z");
        status
    });
    let ran = run_at(&service, &["deploy", "plan.toml", "--watch"]);
    assert_eq!(
        ran.stdout,
        "   +0.0s  -             deployment_started      message 1\n   \
            +1.0s  server-001    node_phase              message 2\n   \
            +2.0s  -             trouble                 message 3\n   \
            +3.0s  -             cluster_phase           message 4\n   \
            +4.0s  -             deployment_completed    message 5\n\
         alpha: ready (1 node), 1m 09s after it began\n  \
           server-001   imaging   requested 1.5s\n  \
           the cluster  ready     verifying 1m 05s\n"
    );
    let next =
        "next: open Prism at https://10.240.0.200:9440 as admin; `metalform credentials alpha` shows the passwords\n";
    assert_eq!(ran.stderr, next);
}

#[test]
fn a_broken_stream_goes_on_where_it_broke() {
    let looks = AtomicUsize::new(0);
    let events: Vec<Value> = (1..=5).map(|seq| event(seq, "trouble")).collect();
    // Two looks at a cluster on its way leave the time to read everything from streams.
    let service = Scripted::start(move |asked| {
        answer(asked, &events, || match looks.fetch_add(1, Ordering::Relaxed) {
            0..12 => cluster("forming", None),
            _ => cluster("released", None),
        })
    });
    let ran = run_at(&service, &["events", "alpha", "--follow", "--json"]);
    assert_eq!((ran.code, seqs(&ran.documents())), (0, vec![1, 2, 3, 4, 5]), "{}", ran.stderr);
    let asked: Vec<String> = service.asked().into_iter().filter(|a| a.streams).map(|a| a.line).collect();
    let afters: Vec<&str> = asked.iter().map(|line| line.split_once("after=").unwrap().1).collect();
    assert_eq!(afters[..4], ["0", "2", "4", "5"]);
}

#[test]
fn a_passed_deadline_ends_with_3_and_any_other_failure_with_1() {
    let reason = "Timeout waiting for nodes to be ready. Only 2/3 ready; server-003 in waiting_for_cvm: too late";
    for (phase, code, exit) in [
        ("failed", "deadline", 3),
        ("needs_operator", "deadline", 3),
        ("failed", "too_few_nodes", 1),
        ("needs_operator", "formation_refused", 1),
    ] {
        let service = service(flow(), move || cluster(phase, Some((code, reason))));
        let ran = run_at(&service, &["deploy", "plan.toml", "--watch", "--json"]);
        assert_eq!(ran.code, exit, "{phase} {code}");
        assert_eq!(ran.stderr, format!("error: alpha: {reason}\n  hint: `metalform retry alpha`\n"));
        let documents = ran.documents();
        let last = documents.last().unwrap();
        assert_eq!((last["phase"].as_str(), last["failure"].as_str()), (Some(phase), Some(code)));
    }
}

#[test]
fn a_plan_that_waits_for_the_command_is_done_when_its_nodes_are() {
    let service = service(flow(), || {
        let mut status = cluster("waiting_for_nodes", None);
        status["reason"] = json!("1/1 nodes ready; waits for `metalform form alpha`");
        status
    });
    let ran = run_at(&service, &["deploy", "plan.toml", "--watch"]);
    assert_eq!(ran.code, 0);
    assert_eq!(ran.stderr, "next: every node is ready; `metalform form alpha` forms the cluster\n");
}

#[test]
fn a_retry_is_not_taken_for_over_before_it_began() {
    let looks = AtomicUsize::new(0);
    let service = service(flow(), move || {
        let mut status = cluster("failed", Some(("deadline", "too late")));
        // The first look is before the retry, the second before the service has taken it up.
        if looks.fetch_add(1, Ordering::Relaxed) >= 2 {
            status = cluster("ready", None);
            status["since"] = json!("2126-01-02T03:09:00Z");
        }
        status
    });
    let ran = run_at(&service, &["retry", "alpha", "--watch", "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let documents = ran.documents();
    assert_eq!((documents.len(), documents[0]["phase"].as_str()), (1, Some("ready")), "what was before is not shown");
}

#[test]
fn a_watched_destroy_ends_when_nothing_is_left() {
    let looks = AtomicUsize::new(0);
    let service = Scripted::start(move |asked| {
        answer(asked, &flow(), || match looks.fetch_add(1, Ordering::Relaxed) {
            // The answer to the request itself, and a look.
            0..2 => cluster("ready", None),
            _ => cluster("released", None),
        })
    });
    let ran = run_at(&service, &["destroy", "alpha", "--watch", "--json"]);
    assert_eq!((ran.code, ran.document()["phase"].as_str()), (0, Some("released")), "{}", ran.stderr);
}

#[test]
fn a_cluster_that_is_released_meanwhile_is_an_error() {
    let service = service(flow(), || cluster("released", None));
    let ran = run_at(&service, &["deploy", "plan.toml", "--watch", "--json"]);
    assert_eq!(ran.code, 1);
    assert_eq!(ran.stderr, "error: the cluster alpha was released while it was awaited\n");
}

#[test]
fn whoever_stops_watching_is_told_that_it_goes_on() {
    let service = service(flow(), || cluster("forming", None));
    let folder = Folder::new();
    folder.write("plan.toml", "the plan\n");
    let mut command = command(&folder, &["deploy", "plan.toml", "--watch"]);
    let watching = Running::start(command.env("METALFORM_SERVER", &service.url).env("METALFORM_TOKEN", "t"));
    watching.said("   +0.0s  -             deployment_started");
    watching.signal("-INT");
    watching.said("error: stopped watching alpha; it goes on");
    watching.said("  hint: `metalform events alpha --follow`");
    assert_eq!(watching.ended(), 1);
}
