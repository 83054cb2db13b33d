//! A timeline for a person: one line an event, and at the end how long each phase took.

use crate::output::clean;
use metalform_model::{ClusterStatus, Event, NodePhase, NodeStatus, Timestamp, in_words, kind};
use std::{collections::BTreeMap, time::Duration};

/// How an event's time is shown.
#[derive(Debug, Clone, Copy)]
pub enum Times {
    /// As the clock said.
    Absolute,
    /// Since the first event.
    Since(Timestamp),
}

/// `+  12.3s  server-001   node_phase              imaging: …`
pub fn event_line(event: &Event, times: Times, name_cluster: bool) -> String {
    let at = match times {
        Times::Absolute => format!("{}Z", &event.at.to_string().get(..23).unwrap_or("never")),
        Times::Since(start) => since(start, event.at),
    };
    let cluster = name_cluster.then_some(event.cluster.as_str());
    columns(&at, cluster, event.server_id.as_deref(), &event.kind, &event.message)
}

fn since(start: Timestamp, at: Timestamp) -> String {
    format!("{:>8}", format!("+{}", in_words(at.since(start))))
}

fn columns(at: &str, cluster: Option<&str>, server_id: Option<&str>, kind: &str, message: &str) -> String {
    let cluster = cluster.map(|name| format!("{:<10}  ", clean(name))).unwrap_or_default();
    let server = clean(server_id.unwrap_or("-"));
    format!("{at}  {cluster}{server:<12}  {:<22}  {}", clean(kind), clean(message))
}

/// What a cluster waits for, in lines like those of events: one for each node that isn't ready, or one for the cluster itself
/// when they all are. `started`: the first event, as far as one was heard.
pub fn waiting_lines(status: &ClusterStatus, now: Timestamp, started: Option<Timestamp>, name_cluster: bool) -> String {
    let at = since(started.unwrap_or(status.since), now);
    let cluster = name_cluster.then_some(status.name.as_str());
    let line = |server_id: Option<&str>, phase: &str, since: Timestamp, late: bool, reason: &str| {
        let late = if late { ", which is late" } else { "" };
        let message = format!("{phase} for {}{late}: {reason}", in_words(now.since(since)));
        columns(&at, cluster, server_id, "still_waiting", &message)
    };
    let waiting = status.nodes.iter().filter(|node| node.phase != NodePhase::Ready.as_str());
    let lines: Vec<String> =
        waiting.map(|node| line(Some(&node.server_id), &node.phase, node.since, node.late, &node.reason)).collect();
    match lines.is_empty() {
        true => line(None, &status.phase, status.since, status.late, &status.reason),
        false => lines.join("\n"),
    }
}

/// What was heard of one cluster, summed up.
#[derive(Debug, Default)]
pub struct Timeline {
    /// When the first event happened.
    pub started: Option<Timestamp>,
    /// The last sequence number.
    pub last: i64,
    /// By node, `None` for the cluster itself.
    spent: BTreeMap<Option<String>, Phases>,
}

#[derive(Debug, Default)]
struct Phases {
    current: Option<(String, Timestamp)>,
    took: Vec<(String, Duration)>,
}

impl Timeline {
    /// What comes after that sequence number.
    pub fn after(last: i64) -> Timeline {
        Timeline { last, ..Timeline::default() }
    }

    /// Takes the next event in.
    pub fn take(&mut self, event: &Event) {
        self.started.get_or_insert(event.at);
        self.last = event.seq;
        if event.kind != kind::NODE_PHASE && event.kind != kind::CLUSTER_PHASE {
            return;
        }
        let phases = self.spent.entry(event.server_id.clone()).or_default();
        let before = phases.current.take();
        phases.current = event.phase.clone().map(|phase| (phase, event.at));
        // The event says what was left and after how long; an event of failure says only what was left.
        let data = &event.data;
        let from = data["from"].as_str().or_else(|| data["failure"]["in_phase"].as_str()).map(str::to_owned);
        let Some(from) = from.or_else(|| before.as_ref().map(|(phase, _)| phase.clone())) else { return };
        let heard = before.map_or(self.started, |(_, since)| Some(since)).map(|since| event.at.since(since));
        let told = data["seconds"].as_f64().and_then(|s| Duration::try_from_secs_f64(s).ok());
        let Some(took) = told.or(heard) else { return };
        match phases.took.iter_mut().find(|(phase, _)| *phase == from) {
            Some((_, sum)) => *sum += took,
            None => phases.took.push((from, took)),
        }
    }

    /// `requested 0.2s, ordered 1.1s, …`: what a node (`None`: the cluster) has been through.
    fn took(&self, server_id: Option<&str>) -> String {
        let phases = self.spent.get(&server_id.map(str::to_owned));
        let took = phases.into_iter().flat_map(|phases| &phases.took);
        took.map(|(phase, took)| format!("{phase} {}", in_words(*took))).collect::<Vec<_>>().join(", ")
    }

    /// What was built, and how long each phase took.
    pub fn summary(&self, status: &ClusterStatus) -> String {
        let took = self.started.map(|start| format!(", {} after it began", in_words(status.since.since(start))));
        let mut told = format!(
            "{}: {} ({}){}",
            clean(&status.name),
            status.phase,
            node_count(status.nodes.len()),
            took.unwrap_or_default()
        );
        let width = status.nodes.iter().map(|n| n.server_id.len()).max().unwrap_or(0).max("the cluster".len());
        for node in &status.nodes {
            let took = self.took(Some(&node.server_id));
            told += &format!("\n  {:<width$}  {:<8}  {took}", clean(&node.server_id), node.phase);
        }
        told + &format!("\n  {:<width$}  {:<8}  {}", "the cluster", status.phase, self.took(None))
    }
}

/// `1 node`, `3 nodes`.
pub fn node_count(n: usize) -> String {
    crate::error::count(n, "node")
}

/// `server-001  imaging           45 %   3m 05s  LATE  installing AOS`: how a node stands.
pub fn node_line(node: &NodeStatus, width: usize, now: Timestamp) -> String {
    let percent = node.percent.map(|p| format!("{p:.0} %")).unwrap_or_default();
    standing(&node.server_id, width, &node.phase, &percent, node.since, node.late, &node.reason, now)
}

/// The same of the cluster itself.
pub fn cluster_line(status: &ClusterStatus, width: usize, now: Timestamp) -> String {
    standing(&status.name, width, &status.phase, "", status.since, status.late, &status.reason, now)
}

#[expect(clippy::too_many_arguments, reason = "the columns of one line")]
fn standing(
    name: &str,
    width: usize,
    phase: &str,
    percent: &str,
    since: Timestamp,
    late: bool,
    reason: &str,
    now: Timestamp,
) -> String {
    let late = if late { "LATE  " } else { "" };
    let time = in_words(now.since(since));
    format!("{:<width$}  {phase:<17}  {percent:>5}  {time:>7}  {late}{}", clean(name), clean(reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn event(seq: i64, second: i64, server: Option<&str>, kind: &str, phase: Option<&str>, data: Value) -> Event {
        Event {
            seq,
            at: Timestamp::from_seconds(1_767_322_440 + second),
            cluster: "alpha".into(),
            server_id: server.map(str::to_owned),
            kind: kind.into(),
            phase: phase.map(str::to_owned),
            message: format!("message {seq}"),
            data,
        }
    }

    fn node(server_id: &str, phase: &str, percent: Option<f64>) -> NodeStatus {
        NodeStatus {
            server_id: server_id.into(),
            phase: phase.into(),
            mgmt_ip: None,
            cvm_ip: None,
            since: Timestamp::from_seconds(0),
            late: percent.is_some(),
            reason: "installing\u{1b}[31m".into(),
            failure: None,
            hint: None,
            percent,
        }
    }

    #[test]
    fn an_event_is_one_line() {
        let happened = event(3, 75, Some("server-001"), kind::NODE_PHASE, Some("imaging"), Value::Null);
        assert_eq!(
            event_line(&happened, Times::Absolute, false),
            "2026-01-02T02:55:15.000Z  server-001    node_phase              message 3"
        );
        let start = Timestamp::from_seconds(1_767_322_440);
        assert_eq!(
            event_line(&Event { server_id: None, ..happened }, Times::Since(start), true),
            " +1m 15s  alpha       -             node_phase              message 3"
        );
    }

    #[test]
    fn the_summary_says_how_long_each_phase_took() {
        let mut timeline = Timeline::default();
        for event in [
            event(1, 0, None, kind::DEPLOYMENT_STARTED, None, Value::Null),
            event(2, 2, Some("a"), kind::NODE_PHASE, Some("ordered"), json!({"from": "requested", "seconds": 1.5})),
            event(3, 9, Some("a"), kind::NODE_PHASE, Some("ready"), json!({"from": "ordered", "seconds": 7.0})),
            event(4, 5, Some("b"), kind::NODE_PHASE, Some("failed"), json!({"failure": {"in_phase": "requested"}})),
            event(5, 6, Some("b"), kind::NODE_PHASE, Some("ordered"), json!({"from": "requested", "seconds": 1.0})),
            event(6, 20, None, kind::CLUSTER_PHASE, Some("ready"), json!({"from": "verifying", "seconds": 65.0})),
        ] {
            timeline.take(&event);
        }
        let status = ClusterStatus {
            name: "alpha".into(),
            phase: "ready".into(),
            since: Timestamp::from_seconds(1_767_322_460),
            late: false,
            reason: String::new(),
            failure: None,
            hint: None,
            nodes: vec![node("a", "ready", None), node("b", "ordered", None)],
        };
        assert_eq!(
            timeline.summary(&status),
            "alpha: ready (2 nodes), 20s after it began\n  \
               a            ready     requested 1.5s, ordered 7.0s\n  \
               b            ordered   requested 6.0s\n  \
               the cluster  ready     verifying 1m 05s"
        );
    }

    #[test]
    fn a_node_line_shows_progress_time_and_lateness() {
        let now = Timestamp::from_seconds(185);
        assert_eq!(
            node_line(&node("server-001", "imaging", Some(45.2)), 12, now),
            "server-001    imaging             45 %   3m 05s  LATE  installing\\u{1b}[31m"
        );
        assert_eq!(
            node_line(&node("server-002", "ready", None), 12, now),
            "server-002    ready                      3m 05s  installing\\u{1b}[31m"
        );
    }

    #[test]
    fn what_is_waited_for_is_said_of_each_node_that_is_not_ready_and_else_of_the_cluster() {
        let mut status = ClusterStatus {
            name: "alpha".into(),
            phase: "waiting_for_nodes".into(),
            since: Timestamp::from_seconds(0),
            late: false,
            reason: "1 of 2 nodes is ready".into(),
            failure: None,
            hint: None,
            nodes: vec![node("server-001", "ready", None), node("server-002", "imaging", Some(45.2))],
        };
        let (now, started) = (Timestamp::from_seconds(185), Some(Timestamp::from_seconds(5)));
        assert_eq!(
            waiting_lines(&status, now, started, false),
            " +3m 00s  server-002    still_waiting           imaging for 3m 05s, which is late: installing\\u{1b}[31m"
        );
        status.nodes.truncate(1);
        assert_eq!(
            waiting_lines(&status, now, None, true),
            " +3m 05s  alpha       -             still_waiting           waiting_for_nodes for 3m 05s: 1 of 2 nodes is ready"
        );
    }
}
