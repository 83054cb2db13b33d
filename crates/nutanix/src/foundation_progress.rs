//! How far a session of Foundation is, as `GET /foundation/progress` says it.
//!
//! The published clients show what to make of it: `imaging_stopped` alone means that nothing more happens, and only with
//! 100 percent that it went well (the Ansible collection's `progress.py`); `abort_session` may be missing, and the client
//! that looks at `imaging_stopped` only where it is misses a stop (yuichi110/nutanix_japan_poc_mgmt). An idle Foundation
//! is said to answer 200 with `imaging_stopped: true`, 0 percent and no session (older material, not confirmed), which
//! must not read as the end of ours.

use crate::{FoundationSession, excerpt};
use serde_json::Value;

/// A session's progress. Fields come and go by release: what is missing or has another type says nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundationProgress {
    /// How it stands.
    pub state: SessionState,
    /// 0 to 100, of the whole.
    pub percent: Option<f64>,
    /// What Foundation says of each cluster and node: name, status, last message. One short line each, without password
    /// hashes.
    pub said: Vec<String>,
}

/// How a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionState {
    /// The answer is about no session, or about another one. Ours may be over, or was lost in a restart: only the nodes
    /// can tell.
    NotOurs,
    /// It goes on.
    Running,
    /// It ended, and says that all of it is done. Whether a cluster stands is for the nodes to say.
    Done,
    /// It ended before all was done.
    Stopped {
        /// Somebody ended it.
        aborted: bool,
    },
}

impl FoundationProgress {
    pub(crate) fn read(answer: &Value, session: &FoundationSession) -> Self {
        let percent = answer["aggregate_percent_complete"].as_f64();
        let aborted = answer["abort_session"] == true;
        let state = if answer["session_id"].as_str() != Some(&session.to_string()) {
            SessionState::NotOurs
        } else if answer["imaging_stopped"] != true {
            SessionState::Running
        } else if !aborted && percent.is_some_and(|percent| percent >= 100.0) {
            SessionState::Done
        } else {
            SessionState::Stopped { aborted }
        };
        let lines = |list: &str, name: &str| -> Vec<String> {
            let entries = answer[list].as_array().into_iter().flatten();
            entries.map(|entry| line(entry, name)).filter(|line| !line.is_empty()).collect()
        };
        let said = [lines("clusters", "cluster_name"), lines("nodes", "cvm_ip")].concat();
        Self { state, percent, said }
    }
}

fn line(entry: &Value, name: &str) -> String {
    let last = entry["messages"].as_array().and_then(|messages| messages.last());
    let words = [Some(&entry[name]), Some(&entry["status"]), last];
    let words: Vec<&str> = words.into_iter().flatten().filter_map(Value::as_str).filter(|w| !w.is_empty()).collect();
    excerpt::of_text(&words.join(": "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn state(answer: &Value) -> SessionState {
        FoundationProgress::read(answer, &"s-1".parse().unwrap()).state
    }

    #[test]
    fn only_a_stop_at_100_percent_is_the_end_that_was_hoped_for() {
        let stopped = |percent: Value| json!({"session_id": "s-1", "imaging_stopped": true, "aggregate_percent_complete": percent});
        let running = |percent: Value| json!({"session_id": "s-1", "imaging_stopped": false, "aggregate_percent_complete": percent});
        assert_eq!(state(&stopped(json!(100.0))), SessionState::Done);
        assert_eq!(state(&stopped(json!(100))), SessionState::Done);
        assert_eq!(state(&running(json!(100.0))), SessionState::Running);
        for short in [json!(99.9), json!(0), json!(null), json!("100"), json!(-1)] {
            assert_eq!(state(&stopped(short)), SessionState::Stopped { aborted: false });
        }
        assert_eq!(state(&json!({"session_id": "s-1"})), SessionState::Running, "nothing says that it stopped");
    }

    #[test]
    fn an_abort_is_seen_whether_or_not_the_release_says_so() {
        let mut answer = json!({"session_id": "s-1", "imaging_stopped": true, "aggregate_percent_complete": 40.0});
        assert_eq!(state(&answer), SessionState::Stopped { aborted: false });
        answer["abort_session"] = json!(false);
        assert_eq!(state(&answer), SessionState::Stopped { aborted: false });
        answer["abort_session"] = json!(true);
        assert_eq!(state(&answer), SessionState::Stopped { aborted: true });
        answer["aggregate_percent_complete"] = json!(100.0);
        assert_eq!(state(&answer), SessionState::Stopped { aborted: true });
        answer["imaging_stopped"] = json!(false);
        assert_eq!(state(&answer), SessionState::Running, "until it has stopped it may do more");
    }

    #[test]
    fn an_idle_foundation_has_not_finished_our_session() {
        for answer in [
            json!({"session_id": null, "imaging_stopped": true, "aggregate_percent_complete": 0.0}),
            json!({"session_id": "s-2", "imaging_stopped": true, "aggregate_percent_complete": 100.0}),
            json!({"imaging_stopped": true, "aggregate_percent_complete": 100.0}),
        ] {
            assert_eq!(state(&answer), SessionState::NotOurs, "{answer}");
        }
    }

    #[test]
    fn what_foundation_says_is_kept_in_short_lines_without_hashes() {
        let answer = json!({
            "session_id": "s-1", "imaging_stopped": false, "aggregate_percent_complete": 12.5,
            "clusters": [{"cluster_name": "prod", "status": "Creating cluster", "messages": ["old", "hash $6$a$bcd kept"]}],
            "nodes": [{"cvm_ip": "10.0.0.1", "status": "waiting\nfor CVM", "messages": []}, {"messages": null}, 7],
        });
        let progress = FoundationProgress::read(&answer, &"s-1".parse().unwrap());
        assert_eq!(progress.percent, Some(12.5));
        assert_eq!(progress.said, ["prod: Creating cluster: hash [hash hidden] kept", "10.0.0.1: waiting for CVM"]);
    }
}
