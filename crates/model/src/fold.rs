//! Folding what was observed into what we know. Only the loop does this, holding the fence; each fold says what is new
//! for the timeline, so that a repeated observation says nothing.

use crate::{
    ClusterPhase, ClusterRecord, CvmAnswer, Evidence, FormationState, NewEvent, NodePhase, NodeRecord, Report,
    ReportPhase, ReportStatus, Seen, ServerSeen, Timestamp, kind,
};
use serde_json::json;

impl NodeRecord {
    /// Takes evidence of the boot plane in. Evidence of another boot attempt than the open one changes nothing.
    pub fn fold_evidence(&mut self, evidence: &Evidence) -> Vec<NewEvent> {
        if self.open_attempt().is_none_or(|a| a.id != evidence.attempt_id) {
            return Vec::new();
        }
        let at = evidence.at;
        let event = |kind, message: String| NewEvent::new(at, kind, message).of_node(&self.server_id);
        // Who shows the attempt's token for a later step has had the script, even if the record of that died with the process
        // that was about to write it.
        if !matches!(evidence.seen, Seen::ImageServed { .. }) {
            self.boot.script_at.get_or_insert(at);
        }
        match &evidence.seen {
            Seen::ScriptServed => {
                self.boot.scripts += 1;
                let n = self.boot.scripts;
                let events = vec![
                    event(kind::SCRIPT_SERVED, format!("fetched its boot script ({n}. time)"))
                        .with(json!({"source": evidence.source, "n": n})),
                ];
                events
            }
            Seen::ImageServed { file, sent, of } => {
                let whole = sent == of;
                let message = match whole {
                    true => format!("fetched {file} ({of} bytes)"),
                    false => format!("stopped fetching {file} after {sent} of {of} bytes"),
                };
                let events =
                    vec![event(kind::IMAGE_SERVED, message).with(json!({"file": file, "sent": sent, "of": of}))];
                match file.as_str() {
                    "vmlinuz-foundation" if whole => self.boot.kernel_at = Some(at),
                    "initrd-foundation.img" if whole => self.boot.initrd_at = Some(at),
                    _ => {}
                }
                events
            }
            Seen::ConfigServed => {
                let events = vec![event(kind::CONFIG_SERVED, "fetched its configuration".into())];
                self.boot.config_at.get_or_insert(at);
                events
            }
            Seen::Reported(report) => self.fold_report(report, at),
        }
    }

    fn fold_report(&mut self, report: &Report, at: Timestamp) -> Vec<NewEvent> {
        if self.boot.report.as_ref().is_some_and(|last| last.seq >= report.seq) {
            return Vec::new();
        }
        if let Some(uuid) = report.facts.get("node_uuid").and_then(|v| v.as_str()) {
            self.node_uuid = Some(uuid.to_owned());
        }
        if report.phase == ReportPhase::Installed && report.status != ReportStatus::Failed {
            self.boot.installed_at.get_or_insert(at);
        }
        let percent = report.percent.map(|p| format!(" {p:.0} %")).unwrap_or_default();
        let message = format!("reports {}{percent}: {}", report.phase.as_str(), report.message);
        let data = json!({"seq": report.seq, "report": report.phase, "status": report.status,
            "percent": report.percent, "log": report.log});
        self.boot.report = Some(report.clone());
        self.boot.reported_at = Some(at);
        vec![NewEvent::new(at, kind::NODE_REPORT, message).of_node(&self.server_id).with(data)]
    }

    /// Takes a look at the server in.
    pub fn fold_server(&mut self, seen: ServerSeen) {
        self.server = Some(seen);
    }

    /// Takes a probe of the controller VM in, with the fingerprint of the key it showed.
    pub fn fold_probe(&mut self, answer: CvmAnswer, fingerprint: Option<String>, at: Timestamp) -> Vec<NewEvent> {
        let cvm = &mut self.cvm;
        cvm.probed_at = Some(at);
        match answer {
            CvmAnswer::Unauthorized | CvmAnswer::LockedOut => {
                cvm.refusals += 1;
                cvm.refused_at = Some(at);
            }
            CvmAnswer::Ready => {
                cvm.refusals = 0;
                cvm.refused_at = None;
            }
            _ => {}
        }
        if cvm.pin.is_none() {
            cvm.pin = fingerprint;
        }
        if cvm.answer.as_ref() == Some(&answer) {
            return Vec::new();
        }
        let message = format!("controller VM: {}", answer.in_words());
        let data = json!({"answer": answer, "key": cvm.pin});
        cvm.answer = Some(answer);
        vec![NewEvent::new(at, kind::CVM_ANSWER, message).of_node(&self.server_id).with(data)]
    }

    /// Takes the key a controller VM shows while its cluster forms: a change is expected then, and told.
    pub fn fold_key(&mut self, fingerprint: &str, at: Timestamp) -> Option<NewEvent> {
        if self.cvm.pin.as_deref() == Some(fingerprint) {
            return None;
        }
        let before = self.cvm.pin.replace(fingerprint.to_owned());
        let message = "controller VM shows a new key, as is expected while its cluster forms".to_owned();
        let data = json!({"before": before, "key": fingerprint});
        Some(NewEvent::new(at, kind::CVM_KEY_CHANGED, message).of_node(&self.server_id).with(data))
    }

    /// Gives a failed node another try, by the operator's word. What is installed is not imaged again: it only gets
    /// another chance to answer. `has_server`: whether its server exists in the cloud.
    pub fn retry(&mut self, existing: bool, has_server: bool, now: Timestamp) {
        if self.phase != NodePhase::Failed {
            return;
        }
        let failed_in_cvm = self.failure.as_ref().is_some_and(|f| f.in_phase == NodePhase::WaitingForCvm.as_str());
        self.failure = None;
        self.cvm = crate::CvmProgress { pin: self.cvm.pin.take().filter(|_| !failed_in_cvm), ..Default::default() };
        if existing || failed_in_cvm {
            // The deadline counts from the script fetch: move it, or the node would fail again at once.
            self.boot.script_at = self.boot.script_at.map(|_| now);
            self.enter(NodePhase::WaitingForCvm, "another try, by the operator's word".into(), now);
            return;
        }
        self.server = None;
        self.sent = None;
        if has_server {
            self.close_attempt(now);
            self.reimage = true;
        } else if let Some(attempt) = self.attempt.as_mut().filter(|a| a.closed_at == Some(self.since)) {
            // A create whose answer was lost may have carried this attempt's token into the server's user data: the
            // permission that ended with this failure stays the same, or a server found later would boot with a void
            // one. One that ended before is of a server that is no more.
            attempt.closed_at = None;
        }
        self.enter(NodePhase::Requested, "another try, by the operator's word".into(), now);
    }

    /// Ends the open boot attempt: its token is worth nothing any more.
    pub fn close_attempt(&mut self, now: Timestamp) -> Option<NewEvent> {
        let attempt = self.attempt.as_mut().filter(|a| a.is_open())?;
        attempt.closed_at = Some(now);
        let message = format!("boot attempt {} ended", attempt.n);
        Some(NewEvent::new(now, kind::BOOT_ATTEMPT_CLOSED, message).of_node(&self.server_id))
    }
}

impl ClusterRecord {
    /// Gives the cluster another try, by the operator's word: nodes first, or formation alone. An earlier formation may
    /// have left something, so the next attempt looks before it asks.
    pub fn retry(&mut self, now: Timestamp) {
        let reason = "another try, by the operator's word".to_owned();
        match self.phase {
            ClusterPhase::Failed => self.enter(ClusterPhase::WaitingForNodes, reason, now),
            ClusterPhase::NeedsOperator => {
                if let Some(attempt) = &mut self.formation {
                    *attempt = crate::FormationAttempt {
                        n: attempt.n + 1,
                        entry: 0,
                        state: FormationState::LookFirst,
                        doubt: String::new(),
                        asked_at: None,
                        started_at: now,
                        looked_at: None,
                        seen: None,
                        refusals: Vec::new(),
                        driver: attempt.driver.clone(),
                        members: attempt.members.clone(),
                    };
                }
                self.enter(ClusterPhase::Forming, reason, now);
            }
            _ => return,
        }
        self.failure = None;
        self.checks.clear();
    }
}
