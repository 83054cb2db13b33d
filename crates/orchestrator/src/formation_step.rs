//! Formation, one step at a time: who takes part, are they fit, no password the world knows, ask, follow, clean up, check.

use crate::{
    BeginOutcome, ClusterPasswords, ClusterSpec, Member, Network, Orchestrator, Secured,
    crash::crash_point,
    flow::Pass,
    node_step::{member_of, told_once, trouble},
};
use futures_util::future::join_all;
use metalform_model::{
    Account, AccountState, Check, ChecksBefore, CleanStep, Cleaning, ClusterAction, ClusterRecord, Driver, Failure,
    FormationAttempt, FormationJob, FormationSeen, FormationState, Intents, NewEvent, NodeRecord, Refusal, Resource,
    SecureOutcome, SecurePlace, cluster_looks, failed_checks, kind,
};
use metalform_store::{Changes, NodeState, SealError, SealedCredential, StoreError};
use secrecy::SecretString;
use serde_json::json;
use std::collections::BTreeMap;

impl Orchestrator {
    /// Looks at the forming cluster, if that is due.
    pub(crate) async fn observe_formation(
        &self,
        pass: &Pass<'_>,
        intents: Intents,
        record: &mut ClusterRecord,
        nodes: &mut [NodeState],
        vip: &Option<Resource>,
    ) -> Result<(), StoreError> {
        let looks = {
            let records: Vec<&NodeRecord> = nodes.iter().map(|n| &n.record).collect();
            cluster_looks(self.cluster_view(pass, intents, record, &records, vip), self.clock.now())
        };
        if !looks.formation || !self.has_passwords(pass, record).await? {
            return Ok(());
        }
        let members = self.members(pass, record, nodes);
        let spec = spec(pass, record);
        let Some(attempt) = record.formation.as_mut() else { return Ok(()) };
        let job = attempt.job.as_ref();
        let own = job.filter(|job| job.driver == attempt.driver);
        let mut look = self.drivers.get(attempt.driver).look(&spec, &members, own).await;
        // The trace of a create by another driver, from before the operator chose this one: only that one can read it.
        if let Some(job) = job.filter(|job| job.driver != attempt.driver) {
            let before = self.drivers.get(job.driver).look(&spec, &members, Some(job)).await;
            (look.seen.job, look.printed, look.read) = (before.seen.job, before.printed, before.read);
            look.seen.refused |= before.seen.refused;
        }
        let now = self.clock.now();
        let mut events = Vec::new();
        for (server_id, key) in &look.keys {
            if let Some(node) = nodes.iter_mut().find(|n| &n.record.server_id == server_id) {
                events.extend(node.record.fold_key(key, now));
            }
        }
        // The first one is remembered; another one was refused by whoever looked.
        for (server_id, key) in look.ssh_keys {
            if let Some(node) = nodes.iter_mut().find(|n| n.record.server_id == server_id) {
                node.record.cvm.ssh_pin.get_or_insert(key);
            }
        }
        if let Some(last) = look.printed.last() {
            let event = NewEvent::new(now, kind::FORMATION_OUTPUT, format!("create prints: {last}"));
            events.push(event.with(json!({"lines": look.printed})));
        }
        if let (Some(job), Some(read)) = (&mut attempt.job, look.read) {
            job.read = read;
        }
        let before = attempt.seen.as_ref().and_then(progress);
        attempt.looked_at = Some(now);
        attempt.refusals_in_a_row = if look.seen.refused { attempt.refusals_in_a_row + 1 } else { 0 };
        let after = progress(&look.seen);
        attempt.seen = Some(look.seen);
        if let Some(progress) = after.filter(|after| Some(after) != before.as_ref()) {
            events.push(NewEvent::new(now, kind::FORMATION_PROGRESS, progress));
        }
        let changed = nodes.iter().map(|n| &n.record).collect();
        self.record_cluster(pass, record, changed, events).await
    }

    pub(crate) async fn act_on_formation(
        &self,
        pass: &Pass<'_>,
        record: &mut ClusterRecord,
        nodes: &mut [NodeState],
        action: ClusterAction,
    ) -> Result<(), StoreError> {
        if !self.has_passwords(pass, record).await? {
            return Ok(());
        }
        let now = self.clock.now();
        match action {
            ClusterAction::Prepare { members, driver, why } => {
                self.prepare(pass, record, nodes, members, driver, why).await
            }
            ClusterAction::CheckBefore => self.check_before(pass, record, nodes).await,
            ClusterAction::Secure { places } => self.secure(pass, record, nodes, places).await,
            ClusterAction::Ask => self.ask(pass, record, nodes).await,
            ClusterAction::ClearToAsk => {
                self.change_attempt(pass, record, |a| (a.state, a.before) = (FormationState::Unasked, None)).await
            }
            ClusterAction::NextEntry => {
                let error = record.formation.as_ref().map(|a| a.doubt.clone()).unwrap_or_default();
                self.next_entry(pass, record, error, false).await
            }
            ClusterAction::Adopt => {
                let event = NewEvent::new(now, kind::FORMATION_MONITORING, "a node has taken the request");
                if let Some(attempt) = &mut record.formation {
                    attempt.state = FormationState::Accepted;
                    // What is at work is followed by whoever began it.
                    attempt.driver = attempt.job.as_ref().map_or(attempt.driver, |job| job.driver);
                }
                self.record_cluster(pass, record, Vec::new(), vec![event]).await?;
                crash_point("recorded.formation");
                Ok(())
            }
            ClusterAction::Clean { why } => {
                let message = format!("a create failed ({why}): what it left is taken down before the next");
                let event = NewEvent::new(now, kind::FORMATION_CLEANED, message);
                self.change_attempt_telling(pass, record, vec![event], |a| {
                    a.state = FormationState::Cleaning;
                    a.cleaning = Some(Cleaning { why, since: now, step: None, at: now });
                })
                .await
            }
            ClusterAction::CleanStep(step) => self.clean(pass, record, nodes, step).await,
            ClusterAction::NextRound => self.next_round(pass, record).await,
            ClusterAction::Settle => self.settle_cluster(pass, record, nodes).await,
            ClusterAction::Verify => self.verify(pass, record, nodes).await,
            ClusterAction::EnsureVip | ClusterAction::RemoveVip | ClusterAction::TellNodesWaiting => Ok(()),
        }
    }

    async fn prepare(
        &self,
        pass: &Pass<'_>,
        record: &mut ClusterRecord,
        nodes: &[NodeState],
        members: Vec<String>,
        driver: Driver,
        why: String,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        // Looked at first: a node may be in a cluster already, one that somebody else imaged, or whose drives survived ours.
        let state = FormationState::LookFirst;
        let n = record.formation.as_ref().map_or(0, |a| a.n) + 1;
        let offers: BTreeMap<&String, _> =
            nodes.iter().filter_map(|n| Some((&n.record.server_id, n.record.cvm.surface?))).collect();
        let event = NewEvent::new(now, kind::FORMATION_DRIVER, format!("forms by {driver}: {why}"))
            .with(json!({"driver": driver, "offers": offers}));
        record.formation = Some(FormationAttempt::new(n, driver, members, state, now));
        self.record_cluster(pass, record, Vec::new(), vec![event]).await
    }

    async fn check_before(
        &self,
        pass: &Pass<'_>,
        record: &mut ClusterRecord,
        nodes: &[NodeState],
    ) -> Result<(), StoreError> {
        let members = self.members(pass, record, nodes);
        let spec = spec(pass, record);
        let Some(attempt) = record.formation.as_mut() else { return Ok(()) };
        let checks = self.drivers.get(attempt.driver).check(&spec, &members).await;
        let now = self.clock.now();
        let failed = failed_checks(&checks);
        let known = attempt.before.as_ref().map(|before| failed_checks(&before.checks));
        let message = match failed.is_empty() {
            true => format!("the nodes are fit to form a cluster: {} checks hold", checks.len()),
            false => format!("not fit to form a cluster yet: {}", failed.join("; ")),
        };
        let told = known.is_some_and(|known| known == failed);
        let event = NewEvent::new(now, kind::FORMATION_CHECKED, message).with(json!({"checks": checks}));
        let since = attempt.before.as_ref().map_or(now, |before| before.since);
        attempt.before = Some(ChecksBefore { checks, at: now, since });
        let events = if told { Vec::new() } else { vec![event] };
        self.record_cluster(pass, record, Vec::new(), events).await
    }

    /// Changes passwords at these places, all at once. That they are about to be is recorded first, together with the new
    /// ones: whoever comes after a crash knows both that may be in force.
    async fn secure(
        &self,
        pass: &Pass<'_>,
        record: &mut ClusterRecord,
        nodes: &mut [NodeState],
        places: Vec<SecurePlace>,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        let shows: Vec<_> = places.iter().map(|place| record.account(place).show()).collect();
        for place in &places {
            if record.account(place).state == AccountState::Default {
                record.fold_secure(place, &SecureOutcome::Begun, now);
            }
        }
        match self.new_passwords(pass) {
            Ok(credentials) => {
                let changes = Changes { cluster: Some(record), credentials, ..Changes::default() };
                self.store.commit(pass.lease, changes).await?;
            }
            Err(error) => return self.stop_unreadable(pass, record, error).await,
        }
        crash_point("intent.passwords");
        let members = self.members(pass, record, nodes);
        let spec = spec(pass, record);
        let steps = places.iter().zip(shows).map(|(place, show)| self.accounts.secure(&spec, &members, place, show));
        let outcomes = join_all(steps).await;
        crash_point("answer.passwords");
        let now = self.clock.now();
        let mut events = Vec::new();
        let mut failed = Vec::new();
        for (place, Secured { outcome, key }) in places.iter().zip(outcomes) {
            events.extend(record.fold_secure(place, &outcome, now));
            if let SecureOutcome::Failed { error } | SecureOutcome::NotReached { error, .. } = &outcome {
                failed.push(format!("{}: {error}", place.in_words()));
            }
            let node = nodes.iter_mut().find(|n| Some(n.record.server_id.as_str()) == place.server_id());
            if let (SecurePlace::Host(_), Some(node), Some(key)) = (place, node, key) {
                node.record.cvm.host_pin.get_or_insert(key);
            }
        }
        let doing = "change the nodes' passwords".to_owned();
        record.trouble = (!failed.is_empty()).then(|| trouble(&record.trouble, doing, failed.join("; "), None, now));
        if let Some(again) = &record.trouble {
            events.extend(told_once(&None, again, now).filter(|_| again.failures.is_power_of_two()));
        }
        let changed = nodes.iter().map(|n| &n.record).collect();
        self.record_cluster(pass, record, changed, events).await
    }

    /// The one call that must not be made twice: recorded as "in doubt" before it is sent, so that whoever comes after a
    /// crash looks before asking.
    async fn ask(&self, pass: &Pass<'_>, record: &mut ClusterRecord, nodes: &[NodeState]) -> Result<(), StoreError> {
        let now = self.clock.now();
        let members = self.members(pass, record, nodes);
        let spec = spec(pass, record);
        let Some(attempt) = &mut record.formation else { return Ok(()) };
        let asked = attempt.members.get(attempt.entry);
        let Some(entry) = members.iter().position(|m| Some(&m.server_id) == asked) else {
            return self.next_entry(pass, record, "its controller VM has no address".into(), false).await;
        };
        let member = &members[entry];
        let driver = self.drivers.get(attempt.driver);
        let job = format!("create-{}-{}-{}-{}", pass.deployment.simple(), attempt.n, attempt.round, attempt.entry);
        attempt.state = FormationState::InDoubt;
        attempt.asked_at = Some(now);
        attempt.doubt = "asked, and nothing came back".into();
        attempt.looked_at = None;
        attempt.seen = None;
        attempt.ours = true;
        attempt.job = Some(FormationJob {
            server_id: member.server_id.clone(),
            driver: attempt.driver,
            name: job.clone(),
            session: None,
            read: 0,
        });
        let ready_at = nodes.iter().map(|n| n.record.since).max().unwrap_or(now);
        let message = format!("Initiating cluster creation through {} ({})", member.server_id, member.cvm_ip);
        let data = json!({"driver": attempt.driver, "attempt": attempt.n, "round": attempt.round,
            "members": attempt.members, "seconds_after_last_ready": now.since(ready_at).as_secs_f64()});
        let event = NewEvent::new(now, kind::FORMATION_STARTED, message).of_node(&member.server_id).with(data);
        self.record_cluster(pass, record, Vec::new(), vec![event]).await?;
        crash_point("intent.formation");
        let outcome = driver.begin(&spec, &members, entry, &job).await;
        crash_point("answer.formation");
        let now = self.clock.now();
        match outcome {
            BeginOutcome::Accepted { session } => {
                let message = "Monitoring cluster formation progress...";
                let event = NewEvent::new(now, kind::FORMATION_MONITORING, message);
                if let Some(attempt) = &mut record.formation {
                    attempt.state = FormationState::Accepted;
                    if let Some(job) = &mut attempt.job {
                        job.session = session;
                    }
                }
                self.record_cluster(pass, record, Vec::new(), vec![event]).await?;
                crash_point("recorded.formation");
                Ok(())
            }
            BeginOutcome::NotSent { error } => self.next_entry(pass, record, error, false).await,
            BeginOutcome::Refused { error } => self.next_entry(pass, record, error, true).await,
            BeginOutcome::Unknown { error } => self.change_attempt(pass, record, |attempt| attempt.doubt = error).await,
        }
    }

    async fn next_entry(
        &self,
        pass: &Pass<'_>,
        record: &mut ClusterRecord,
        error: String,
        permanent: bool,
    ) -> Result<(), StoreError> {
        let Some(attempt) = &mut record.formation else { return Ok(()) };
        let server_id = attempt.members.get(attempt.entry).cloned().unwrap_or_default();
        let message = format!("{server_id} didn't take the create request: {error}");
        let event = NewEvent::new(self.clock.now(), kind::FORMATION_REFUSED, message).of_node(&server_id);
        attempt.refusals.push(Refusal { server_id, error, permanent });
        attempt.entry += 1;
        attempt.state = FormationState::Unasked;
        self.record_cluster(pass, record, Vec::new(), vec![event]).await
    }

    /// A create began and failed, and its traces are gone: the next node is asked, after the checks.
    async fn next_round(&self, pass: &Pass<'_>, record: &mut ClusterRecord) -> Result<(), StoreError> {
        let now = self.clock.now();
        let Some(attempt) = &mut record.formation else { return Ok(()) };
        let why = attempt.cleaning.take().map(|cleaning| cleaning.why).unwrap_or_default();
        let server_id = attempt.members.get(attempt.entry).cloned().unwrap_or_default();
        attempt.refusals.push(Refusal { server_id: server_id.clone(), error: why, permanent: false });
        attempt.round += 1;
        attempt.entry = (attempt.entry + 1) % attempt.members.len().max(1);
        attempt.state = FormationState::Unasked;
        attempt.before = None;
        let message = "every member is free again: the next node is asked".to_owned();
        let event = NewEvent::new(now, kind::FORMATION_CLEANED, message).of_node(&server_id);
        self.record_cluster(pass, record, Vec::new(), vec![event]).await
    }

    async fn clean(
        &self,
        pass: &Pass<'_>,
        record: &mut ClusterRecord,
        nodes: &[NodeState],
        step: CleanStep,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        let members = self.members(pass, record, nodes);
        let Some(attempt) = &mut record.formation else { return Ok(()) };
        let (driver, job) = (attempt.driver, attempt.job.clone());
        if let Some(cleaning) = &mut attempt.cleaning {
            (cleaning.step, cleaning.at) = (Some(step), now);
        }
        let event = NewEvent::new(now, kind::FORMATION_CLEANED, format!("clean-up: {}", step.in_words()));
        self.record_cluster(pass, record, Vec::new(), vec![event]).await?;
        crash_point("intent.clean");
        let name = format!("clean-{}-{}", pass.deployment.simple(), now.0);
        let outcome = self.drivers.get(driver).clean(&members, job.as_ref(), step, &name).await;
        crash_point("answer.clean");
        // What came of it is seen in the members' own words; an error alone proves nothing.
        let Err(error) = outcome else { return Ok(()) };
        let event = NewEvent::new(self.clock.now(), kind::TROUBLE, format!("clean-up: {error}"));
        self.record_cluster(pass, record, Vec::new(), vec![event]).await
    }

    async fn settle_cluster(
        &self,
        pass: &Pass<'_>,
        record: &mut ClusterRecord,
        nodes: &[NodeState],
    ) -> Result<(), StoreError> {
        let members = self.members(pass, record, nodes);
        let spec = spec(pass, record);
        let Some(attempt) = &record.formation else { return Ok(()) };
        let outcome = self.drivers.get(attempt.driver).settle(&spec, &members).await;
        let now = self.clock.now();
        match outcome {
            Ok(()) => {
                record.trouble = None;
                self.change_attempt(pass, record, |attempt| attempt.settled = true).await
            }
            Err(error) => {
                let again = trouble(&record.trouble, "settle the finished cluster".into(), error, None, now);
                let event = told_once(&record.trouble, &again, now);
                record.trouble = Some(again);
                self.record_cluster(pass, record, Vec::new(), event.into_iter().collect()).await
            }
        }
    }

    async fn verify(&self, pass: &Pass<'_>, record: &mut ClusterRecord, nodes: &[NodeState]) -> Result<(), StoreError> {
        let members = self.members(pass, record, nodes);
        let spec = spec(pass, record);
        let Some(driver) = record.formation.as_ref().map(|attempt| attempt.driver) else { return Ok(()) };
        record.checks = self.drivers.get(driver).verify(&spec, &members).await;
        record.checks.extend(passwords_lines(record));
        let refused = record.checks.iter().any(|check| check.refused);
        let Some(attempt) = &mut record.formation else { return Ok(()) };
        attempt.refusals_in_a_row = if refused { attempt.refusals_in_a_row + 1 } else { 0 };
        let pause = refused.then_some(self.timeouts.probe_after_refusal);
        let failed = failed_checks(&record.checks);
        let now = self.clock.now();
        record.trouble = (!failed.is_empty())
            .then(|| trouble(&record.trouble, "pass the checks at the end".into(), failed.join("; "), pause, now));
        self.record_cluster(pass, record, Vec::new(), Vec::new()).await
    }

    async fn change_attempt(
        &self,
        pass: &Pass<'_>,
        record: &mut ClusterRecord,
        change: impl FnOnce(&mut FormationAttempt),
    ) -> Result<(), StoreError> {
        self.change_attempt_telling(pass, record, Vec::new(), change).await
    }

    async fn change_attempt_telling(
        &self,
        pass: &Pass<'_>,
        record: &mut ClusterRecord,
        events: Vec<NewEvent>,
        change: impl FnOnce(&mut FormationAttempt),
    ) -> Result<(), StoreError> {
        if let Some(attempt) = &mut record.formation {
            change(attempt);
        }
        self.record_cluster(pass, record, Vec::new(), events).await
    }

    fn members(&self, pass: &Pass<'_>, record: &ClusterRecord, nodes: &[NodeState]) -> Vec<Member> {
        let Some(attempt) = &record.formation else { return Vec::new() };
        let find = |id: &String| {
            let (node, plan) = nodes.iter().zip(&pass.plan.nodes).find(|(n, _)| &n.record.server_id == id)?;
            let mut member = member_of(plan, node)?;
            let place = SecurePlace::Cvm(id.clone());
            let is_changed = record.account(&place).state == AccountState::Changed;
            member.cvm_password = pass.passwords.get().filter(|_| is_changed).map(|p| p.cvm_nutanix.clone());
            Some(member)
        };
        attempt.members.iter().filter_map(find).collect()
    }

    /// Reads the cluster's own passwords, if there are any yet. `false`: they can't be read, and the cluster was stopped.
    async fn has_passwords(&self, pass: &Pass<'_>, record: &mut ClusterRecord) -> Result<bool, StoreError> {
        if pass.passwords.get().is_some() {
            return Ok(true);
        }
        let sealed = self.store.credentials(pass.deployment).await?;
        if sealed.is_empty() {
            return Ok(true);
        }
        let open = |credential: &SealedCredential| {
            let password = self.sealer.open(pass.deployment, credential.account, &credential.sealed)?;
            Ok((credential.account, password))
        };
        match sealed.iter().map(open).collect::<Result<BTreeMap<_, _>, SealError>>() {
            Ok(known) => {
                if let Some(passwords) = passwords_of(known) {
                    // Another step of the same pass can't have set others: they are read from the same rows.
                    pass.passwords.set(passwords).ok();
                }
                Ok(true)
            }
            Err(error) => self.stop_unreadable(pass, record, error).await.map(|()| false),
        }
    }

    /// Makes the cluster's passwords, if it has none yet: what is to be written down before they are used.
    fn new_passwords(&self, pass: &Pass<'_>) -> Result<Vec<SealedCredential>, SealError> {
        if pass.passwords.get().is_some() {
            return Ok(Vec::new());
        }
        let known: BTreeMap<Account, SecretString> =
            Account::ALL.into_iter().map(|account| (account, self.passwords.generate())).collect();
        let created_at = self.clock.now();
        let seal = |(account, password): (&Account, &SecretString)| {
            let sealed = self.sealer.seal(pass.deployment, *account, password)?;
            Ok(SealedCredential { account: *account, user: account.user().into(), sealed, created_at })
        };
        let sealed = known.iter().map(seal).collect::<Result<Vec<_>, SealError>>()?;
        if let Some(passwords) = passwords_of(known) {
            pass.passwords.set(passwords).ok();
        }
        Ok(sealed)
    }

    async fn stop_unreadable(
        &self,
        pass: &Pass<'_>,
        record: &mut ClusterRecord,
        error: SealError,
    ) -> Result<(), StoreError> {
        let failure = Failure {
            in_phase: record.phase.as_str().into(),
            code: "passwords_unreadable".into(),
            hint: format!("{}; then `metalform retry`", error.hint()),
            reason: metalform_model::with_causes(&error),
        };
        self.stop_cluster(pass, record, failure, self.clock.now()).await
    }
}

/// What has become of the passwords, for the report: where there was nothing to change, it says how that was seen.
fn passwords_lines(record: &ClusterRecord) -> Vec<Check> {
    let members = record.formation.iter().flat_map(|attempt| &attempt.members);
    let of_nodes = members.flat_map(|id| [SecurePlace::Cvm(id.clone()), SecurePlace::Host(id.clone())]);
    let places = of_nodes.chain([SecurePlace::Prism]);
    let line = |place: SecurePlace| {
        let account = record.account(&place);
        let (ok, seen) = match account.state {
            AccountState::Changed => (true, "the cluster's own".to_owned()),
            AccountState::Absent => (true, format!("nothing changed: {}", account.error.unwrap_or_default())),
            AccountState::Default | AccountState::Changing | AccountState::Set => {
                (false, account.state.as_str().into())
            }
        };
        Check { name: format!("passwords of {}", place.in_words()), ok, seen, refused: false }
    };
    places.map(line).collect()
}

fn passwords_of(mut known: BTreeMap<Account, SecretString>) -> Option<ClusterPasswords> {
    Some(ClusterPasswords {
        prism_admin: known.remove(&Account::PrismAdmin)?,
        cvm_nutanix: known.remove(&Account::CvmNutanix)?,
        ahv_root: known.remove(&Account::AhvRoot)?,
        ahv_admin: known.remove(&Account::AhvAdmin)?,
        ahv_nutanix: known.remove(&Account::AhvNutanix)?,
    })
}

fn progress(seen: &FormationSeen) -> Option<String> {
    let status = seen.vip.as_ref().map(|c| c.status.clone().unwrap_or_else(|| "no status".into()));
    seen.progress.clone().or_else(|| status.map(|status| format!("Cluster status: {status}")))
}

fn spec(pass: &Pass<'_>, record: &ClusterRecord) -> ClusterSpec {
    let cluster = &pass.plan.cluster;
    ClusterSpec {
        name: cluster.name.clone(),
        external_ip: cluster.external_ip,
        redundancy_factor: cluster.redundancy_factor,
        cluster_functions: cluster.cluster_functions.clone(),
        timezone: cluster.timezone.clone(),
        dns_servers: cluster.dns_servers.clone(),
        ntp_servers: cluster.ntp_servers.clone(),
        network: pass.site.subnets.values().next().map(|s| Network { netmask: s.cidr.netmask(), gateway: s.gateway }),
        passwords: pass.passwords.get().cloned(),
        is_seeded: record.was_seeded(),
        is_prism_secured: matches!(
            record.account(&SecurePlace::Prism).state,
            AccountState::Set | AccountState::Changed
        ),
    }
}
