//! Folding what was observed into what we know. Only the loop does this, holding the fence; each fold says what is new
//! for the timeline, so that a repeated observation says nothing.

use crate::{
    Account, AccountRecord, AccountState, BootTrust, ClusterPhase, ClusterRecord, CvmAnswer, Driver, Evidence,
    FormationAttempt, FormationChoice, HeldScript, ImagesInIpxe, InstallerCall, NewEvent, NodePhase, NodeRecord, Offer,
    PartialImage, RefusedImage, Report, ReportPhase, ReportStatus, ScriptOrigin, SecurePlace, Seen, ServerSeen,
    SessionSeen, ShowPassword, StepSeen, Surface, Timestamp, choose_driver, driver::driver_for_all, kind,
};
use serde_json::json;
use std::time::Duration;

impl NodeRecord {
    /// Takes evidence of the boot plane in. Evidence of another boot attempt than the open one changes nothing.
    pub fn fold_evidence(&mut self, evidence: &Evidence) -> Vec<NewEvent> {
        let Some(attempt) = self.open_attempt().filter(|attempt| attempt.id == evidence.attempt_id) else {
            return Vec::new();
        };
        let origin = attempt.script_origin();
        let mut events = self.fold_seen(evidence, origin);
        // A machine that begins anew is told of once it stands somewhere; that it has a session is an event of its own.
        let stands = !matches!(
            evidence.seen,
            Seen::ScriptServed
                | Seen::PinnedScriptServed
                | Seen::AttemptAsked
                | Seen::PinnedAttemptAsked
                | Seen::ScriptHeld { .. }
                | Seen::ImageServed { .. }
                | Seen::ImageRefused { .. }
        );
        let told = self.boot.trust_told.map(|told| (told.level, told.kernel_and_initrd));
        let trust = BootTrust::of(&self.boot, origin).filter(|_| stands);
        if let Some(trust) = trust.filter(|trust| told != Some((trust.level, trust.kernel_and_initrd))) {
            self.boot.trust_told = Some(trust);
            let event = NewEvent::new(evidence.at, kind::BOOT_TRUST, format!("trust: {}", trust.level.in_words()));
            events.push(event.of_node(&self.server_id).with(json!(trust)));
        }
        events
    }

    fn fold_seen(&mut self, evidence: &Evidence, origin: ScriptOrigin) -> Vec<NewEvent> {
        let at = evidence.at;
        let event = |kind, message: String| NewEvent::new(at, kind, message).of_node(&self.server_id);
        // Who shows the attempt's token for a later step has had the script, even if the record of that died with the process
        // that was about to write it.
        let is_before_script =
            matches!(evidence.seen, Seen::ScriptHeld { .. } | Seen::ImageServed { .. } | Seen::ImageRefused { .. });
        if !is_before_script {
            self.boot.script_at.get_or_insert(at);
        }
        match &evidence.seen {
            Seen::ScriptServed | Seen::AttemptAsked | Seen::PinnedScriptServed | Seen::PinnedAttemptAsked => {
                self.boot.scripts += 1;
                self.boot.last_script_at = Some(at);
                self.boot.held = None;
                (self.boot.images_in_ipxe, self.boot.files_compared) = (None, false);
                self.boot.is_pinned = matches!(evidence.seen, Seen::PinnedScriptServed | Seen::PinnedAttemptAsked);
                let n = self.boot.scripts;
                let message = match origin {
                    ScriptOrigin::Url => "fetched its boot script",
                    ScriptOrigin::UserData => "runs the boot script of its user data",
                };
                let mut data = json!({"source": evidence.source, "n": n});
                if origin == ScriptOrigin::UserData {
                    data["script"] = json!(origin);
                }
                vec![event(kind::SCRIPT_SERVED, format!("{message} ({n}. time)")).with(data)]
            }
            Seen::ScriptHeld { why } => {
                let is_new = self.boot.held.as_ref().is_none_or(|held| held.why != *why);
                let told = event(kind::SCRIPT_HELD, format!("asked for its boot script, and has to wait: {why}"));
                self.boot.held = Some(HeldScript { why: why.clone(), at });
                if is_new { vec![told.with(json!({"why": why}))] } else { Vec::new() }
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
                if whole {
                    self.boot.partial = self.boot.partial.take().filter(|partial| partial.file != *file);
                    self.boot.refused = self.boot.refused.take().filter(|refused| refused.file != *file);
                } else {
                    self.boot.partial = Some(PartialImage { file: file.clone(), sent: *sent, of: *of, at });
                }
                events
            }
            Seen::ImageRefused { file, code } => {
                let is_new = !self.boot.refused.as_ref().is_some_and(|last| last.file == *file && last.code == *code);
                let message = format!("asked for {file}, which can't go out [{code}]");
                let told = event(kind::IMAGE_REFUSED, message).with(json!({"file": file, "code": code}));
                self.boot.refused = Some(RefusedImage { file: file.clone(), code: code.clone(), at });
                // A machine asks again every ten seconds or so: once is enough to say.
                if is_new { vec![told] } else { Vec::new() }
            }
            Seen::StepReached { step } => {
                let told = event(kind::BOOT_STEP, step.in_words()).with(json!({"step": step}));
                self.boot.step = Some(StepSeen { step: *step, at });
                self.boot.images_in_ipxe = ImagesInIpxe::told_by(*step).or(self.boot.images_in_ipxe);
                vec![told]
            }
            Seen::SessionBegun { key, round } => {
                let session = SessionSeen { key: *key, round: *round, at };
                if self.boot.session.as_ref().is_some_and(|before| before.key == *key) {
                    return Vec::new();
                }
                let message = format!("exchanged its boot token for a session of the key {}", key.short());
                let told = event(kind::SESSION_BEGUN, message).with(json!({"key": key, "round": round}));
                self.boot.session = Some(session);
                vec![told]
            }
            Seen::ConfigServed => {
                let events = vec![event(kind::CONFIG_SERVED, "fetched its configuration".into())];
                self.boot.config_at.get_or_insert(at);
                self.boot.last_config_at = Some(at);
                events
            }
            Seen::ArizonaServed => {
                let told = event(kind::CONFIG_SERVED, "fetched its Arizona document".into());
                self.boot.config_at.get_or_insert(at);
                self.boot.last_config_at = Some(at);
                vec![told.with(json!({"document": "arizona"}))]
            }
            Seen::InstallerCalled(call) => self.fold_call(call, at),
            Seen::Reported(report) => self.fold_report(report, at),
        }
    }

    /// A callback becomes the report that follows the last one. Its number is given here and not where it was received:
    /// the loop alone knows for certain which was the last.
    fn fold_call(&mut self, call: &InstallerCall, at: Timestamp) -> Vec<NewEvent> {
        if self.boot.called.as_ref() == Some(call) {
            return Vec::new();
        }
        self.boot.called = Some(call.clone());
        let report = call.report(self.boot.report.as_ref());
        self.fold_report(&report, at)
    }

    fn fold_report(&mut self, report: &Report, at: Timestamp) -> Vec<NewEvent> {
        if self.boot.report.as_ref().is_some_and(|last| last.seq >= report.seq) {
            return Vec::new();
        }
        if let Some(uuid) = report.facts.get("node_uuid").and_then(|v| v.as_str()) {
            self.node_uuid = Some(uuid.to_owned());
        }
        let findings = report.findings();
        if !findings.is_empty() {
            self.boot.findings = findings;
        }
        // Only the agent's word, which is signed: the token crosses the network in the clear.
        self.boot.files_compared |= self.boot.session.is_some() && report.has_compared_files();
        if report.phase == ReportPhase::Installed && report.status != ReportStatus::Failed {
            self.boot.installed_at.get_or_insert(at);
        }
        let percent = report.percent.map(|p| format!(" {p:.0} %")).unwrap_or_default();
        let said = match report.log.len() {
            lines if report.message.is_empty() && lines > 0 => format!("{lines} lines of log"),
            _ => report.message.clone(),
        };
        let message = format!("reports {}{percent}: {said}", report.phase.as_str());
        let mut data = json!({"seq": report.seq, "report": report.phase, "status": report.status,
            "percent": report.percent, "log": report.log});
        if !report.facts.is_empty() {
            data["facts"] = json!(report.facts);
        }
        self.boot.report = Some(report.clone());
        self.boot.reported_at = Some(at);
        vec![NewEvent::new(at, kind::NODE_REPORT, message).of_node(&self.server_id).with(data)]
    }

    /// Takes a look at the server in.
    pub fn fold_server(&mut self, seen: ServerSeen) {
        self.server = Some(seen);
    }

    /// Takes in what a controller VM offers. Under `auto` that chooses the driver, once.
    pub fn fold_surface(
        &mut self,
        surface: Surface,
        choice: FormationChoice,
        settle: Duration,
        at: Timestamp,
    ) -> Option<NewEvent> {
        let cvm = &mut self.cvm;
        let changed = cvm.surface != Some(surface);
        // What isn't offered may come and go (nothing listens, no answer): that is no other offer.
        if cvm.surface.is_none_or(|before| !before.offered().eq(surface.offered())) {
            cvm.surface_since = Some(at);
        }
        cvm.surface = Some(surface);
        cvm.surfaced_at = Some(at);
        let since = cvm.surface_since.unwrap_or(at);
        match choice.forced() {
            None => cvm.driver = choose_driver(&surface, at.since(since), settle),
            Some(driver) => {
                let others = surface.of(driver) == Offer::Refused && surface.offered().any(|d| d != driver);
                cvm.others_since = others.then(|| cvm.others_since.unwrap_or(at));
            }
        }
        changed.then(|| {
            let message = format!("controller VM: {}", surface.in_words());
            NewEvent::new(at, kind::CVM_ANSWER, message).of_node(&self.server_id).with(json!({"offers": surface}))
        })
    }

    /// Takes a driver's probe of the controller VM in, with the fingerprint of the key it showed.
    pub fn fold_probe(
        &mut self,
        driver: Driver,
        answer: CvmAnswer,
        fingerprint: Option<String>,
        at: Timestamp,
    ) -> Vec<NewEvent> {
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
        let pin = if driver == Driver::CvmSsh { &mut cvm.ssh_pin } else { &mut cvm.pin };
        if pin.is_none() {
            pin.clone_from(&fingerprint);
        }
        let pin = pin.clone();
        if cvm.answer.as_ref() == Some(&answer) {
            return Vec::new();
        }
        let message = format!("controller VM: {}", answer.in_words());
        let data = json!({"answer": answer, "driver": driver, "key": pin});
        cvm.answer = Some(answer);
        vec![NewEvent::new(at, kind::CVM_ANSWER, message).of_node(&self.server_id).with(data)]
    }

    /// Takes the TLS key a controller VM shows while its cluster forms: a change is expected then, and told. The keys that
    /// SSH shows are another matter: they stay.
    pub fn fold_key(&mut self, fingerprint: &str, at: Timestamp) -> Option<NewEvent> {
        if self.cvm.pin.as_deref() == Some(fingerprint) {
            return None;
        }
        let before = self.cvm.pin.replace(fingerprint.to_owned());
        // The first key of all is no change: nothing had answered TLS there before.
        before.as_ref()?;
        let message = "controller VM shows a new key, as is expected while its cluster forms".to_owned();
        let data = json!({"before": before, "key": fingerprint});
        Some(NewEvent::new(at, kind::CVM_KEY_CHANGED, message).of_node(&self.server_id).with(data))
    }

    /// Gives a failed node another try, by the operator's word. What is installed is not imaged again: it only gets
    /// another chance to answer. `has_server`: whether its server exists in the cloud. What that does to its boot attempt is
    /// returned.
    pub fn retry(&mut self, existing: bool, has_server: bool, now: Timestamp) -> Option<NewEvent> {
        if self.phase != NodePhase::Failed {
            return None;
        }
        let failed_in_cvm = self.failure.as_ref().is_some_and(|f| f.in_phase == NodePhase::WaitingForCvm.as_str());
        self.failure = None;
        let was = std::mem::take(&mut self.cvm);
        if !failed_in_cvm {
            self.cvm =
                crate::CvmProgress { pin: was.pin, ssh_pin: was.ssh_pin, host_pin: was.host_pin, ..Default::default() };
        }
        if existing || failed_in_cvm {
            // The deadline counts from the script fetch: move it, or the node would fail again at once.
            self.boot.script_at = self.boot.script_at.map(|_| now);
            self.enter(NodePhase::WaitingForCvm, "another try, by the operator's word".into(), now);
            return None;
        }
        self.server = None;
        self.sent = None;
        let mut event = None;
        if has_server {
            event = self.close_attempt(now);
            self.reimage = true;
        } else if let Some(attempt) = self.attempt.as_mut().filter(|a| a.closed_at == Some(self.since)) {
            // A create whose answer was lost may have carried this attempt's token into the server's user data: the
            // permission that ended with this failure stays the same, or a server found later would boot with a void
            // one. One that ended before is of a server that is no more.
            attempt.closed_at = None;
            let message = format!("boot attempt {} opened again", attempt.n);
            let opened = NewEvent::new(now, kind::BOOT_ATTEMPT_OPENED, message).with(json!({"n": attempt.n}));
            event = Some(opened.of_node(&self.server_id));
        }
        self.enter(NodePhase::Requested, "another try, by the operator's word".into(), now);
        event
    }

    /// Ends the open boot attempt: its token is worth nothing any more.
    pub fn close_attempt(&mut self, now: Timestamp) -> Option<NewEvent> {
        let attempt = self.attempt.as_mut().filter(|a| a.is_open())?;
        attempt.closed_at = Some(now);
        let message = format!("boot attempt {} ended", attempt.n);
        let closed = NewEvent::new(now, kind::BOOT_ATTEMPT_CLOSED, message).with(json!({"n": attempt.n}));
        Some(closed.of_node(&self.server_id))
    }
}

impl ClusterRecord {
    /// Gives the cluster another try, by the operator's word: nodes first, or formation alone. An earlier formation may
    /// have left something, so the next attempt looks before it asks. `choice`: the driver that is asked for now; `nodes`:
    /// what they have shown of theirs.
    pub fn retry(&mut self, choice: FormationChoice, nodes: &[&NodeRecord], now: Timestamp) {
        let reason = "another try, by the operator's word".to_owned();
        match self.phase {
            ClusterPhase::Failed => self.enter(ClusterPhase::WaitingForNodes, reason, now),
            ClusterPhase::NeedsOperator => {
                let was_up = self.failure.as_ref().is_some_and(|f| f.in_phase == ClusterPhase::Verifying.as_str());
                let driver = |a: &FormationAttempt| {
                    let of_members: Vec<&NodeRecord> =
                        nodes.iter().copied().filter(|n| a.members.contains(&n.server_id)).collect();
                    choice.forced().or_else(|| driver_for_all(&of_members)).unwrap_or(a.driver)
                };
                self.formation = self.formation.as_ref().map(|a| a.another(driver(a), now));
                // A cluster that was up may be in use by now. It is no half-made one, whatever its create once said: only
                // what is asked for from here on may be taken down.
                if let Some(attempt) = self.formation.as_mut().filter(|_| was_up) {
                    attempt.asked_at = None;
                }
                self.accounts.iter_mut().for_each(AccountRecord::try_again);
                self.enter(ClusterPhase::Forming, reason, now);
            }
            _ => return,
        }
        self.failure = None;
        self.checks.clear();
    }

    /// Takes in what became of changing passwords at a place. Everything else there is changed with the account that leads,
    /// so it is told for all of them.
    pub fn fold_secure(&mut self, place: &SecurePlace, outcome: &SecureOutcome, at: Timestamp) -> Option<NewEvent> {
        let mut lead = self.account(place);
        let before = lead.state;
        lead.at = at;
        lead.error = None;
        match outcome {
            SecureOutcome::Begun => lead.state = AccountState::Changing,
            SecureOutcome::Taken => (lead.state, lead.refusals) = (AccountState::Set, 0),
            // Who comes after a crash can't know since when it is in force, and so whether it is known everywhere.
            SecureOutcome::Works { .. } if *place == SecurePlace::Prism && before == AccountState::Changing => {
                (lead.state, lead.refusals) = (AccountState::Set, 0);
            }
            SecureOutcome::Works { beside } => {
                (lead.state, lead.refusals) = (AccountState::Changed, 0);
                for (account, state) in beside {
                    self.set_account(AccountRecord { account: *account, state: *state, ..lead.clone() });
                }
            }
            SecureOutcome::TakenInPart { error } => {
                lead.state = AccountState::Set;
                lead.refusals += 1;
                lead.error = Some(error.clone());
            }
            SecureOutcome::NotThere { why } => {
                (lead.state, lead.error) = (AccountState::Absent, Some(why.clone()));
            }
            SecureOutcome::Refused { shown, error, is_locked } => {
                // Who wasn't let in with the old one has changed nothing: the one it was born with is still in force. Not so
                // if an earlier change was in doubt: then ours was refused before, and may be in force all the same (it was
                // locked, or not known everywhere yet).
                let in_doubt = *shown == ShowPassword::New || (*shown == ShowPassword::Old && lead.refusals > 0);
                if !in_doubt {
                    lead.state = AccountState::Default;
                }
                lead.refusals += 1;
                lead.error = Some(error.clone());
                lead.is_locked = *is_locked;
            }
            // Nothing was said to anybody, so what is in force is as it was before.
            SecureOutcome::NotReached { shown, error } => {
                if *shown != ShowPassword::New && lead.refusals == 0 {
                    lead.state = AccountState::Default;
                }
                lead.error = Some(error.clone());
            }
            SecureOutcome::Failed { error } => lead.error = Some(error.clone()),
        }
        let after = lead.clone();
        self.set_account(lead);
        if after.state == before && !matches!(outcome, SecureOutcome::Refused { .. }) {
            return None;
        }
        let message = match (after.state, &after.error) {
            (AccountState::Changed, _) => format!("{} has passwords of its own", place.in_words()),
            (AccountState::Set, _) => format!("{} took a new password", place.in_words()),
            (AccountState::Absent, error) => {
                format!("{} has no passwords to change: {}", place.in_words(), error.as_deref().unwrap_or_default())
            }
            (_, Some(error)) => format!("{} refused a password: {error}", place.in_words()),
            (AccountState::Changing | AccountState::Default, None) => return None,
        };
        let event = NewEvent::new(at, kind::PASSWORDS, message).with(json!({"state": after.state}));
        Some(match place.server_id() {
            Some(id) => event.of_node(id),
            None => event,
        })
    }

    fn set_account(&mut self, record: AccountRecord) {
        let same = |r: &&mut AccountRecord| r.account == record.account && r.server_id == record.server_id;
        match self.accounts.iter_mut().find(same) {
            Some(known) => *known = record,
            None => self.accounts.push(record),
        }
    }
}

impl AccountRecord {
    /// A person has looked: what was refused may be tried again, and what wasn't there may be by now.
    fn try_again(&mut self) {
        let was_refused = std::mem::take(&mut self.refusals) > 0;
        self.is_locked = false;
        self.state = match self.state {
            // It was taken and then refused: whether it is in force is in doubt.
            AccountState::Set if was_refused => AccountState::Changing,
            AccountState::Absent if SecurePlace::LEADS.contains(&self.account) => AccountState::Default,
            state => state,
        };
    }
}

/// What became of changing the passwords at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecureOutcome {
    /// About to be changed.
    Begun,
    /// The change was taken; it isn't known everywhere yet.
    Taken,
    /// Ours works in one part of the place, and is refused in another, which counts as a refusal.
    TakenInPart {
        /// By whom.
        error: String,
    },
    /// Ours were seen to work.
    Works {
        /// What became of the other accounts there.
        beside: Vec<(Account, AccountState)>,
    },
    /// Nothing to log in to.
    NotThere {
        /// How that was seen.
        why: String,
    },
    /// The password shown was refused.
    Refused {
        /// Which one that was.
        shown: ShowPassword,
        /// In which words.
        error: String,
        /// Whether it says that the account is locked.
        is_locked: bool,
    },
    /// No login came about: nothing was changed.
    NotReached {
        /// Which one would have been shown.
        shown: ShowPassword,
        /// Why not.
        error: String,
    },
    /// Something else failed, and may work later.
    Failed {
        /// What.
        error: String,
    },
}
