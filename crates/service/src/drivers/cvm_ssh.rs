//! Formation by `cluster create` over SSH on a controller VM: the way that current releases are known to take.
//!
//! The create is a detached job under a name of its own on the asked node, so it ends neither with our connection nor with
//! us, can't be started twice, and can be looked at by whoever comes later. What it says of its own success isn't believed:
//! the services of every controller VM are.

use super::{any_members_pin, check, checks_after, checks_before, is_refusal, pin_rule, prism::PrismFormation};
use async_trait::async_trait;
use futures_util::future::join_all;
use metalform_model::{
    Advice, Check, CleanStep, ClusterSeen, CvmAnswer, Driver, FormationJob, JobSays, MemberSays, MemberSeen, Offer,
    ShowCredentials, with_causes,
};
use metalform_nutanix::{
    ClusterServices, ClusterWord, CreateArguments, CreateEnd, CvmSession, CvmShell, JobCommand, JobName, JobSeen,
    JobState, PinRule, ProbeAnswer, ShellAnswer, ShellError, classify,
};
use metalform_orchestrator::{BeginOutcome, ClusterSpec, Formation, Look, Member, Probe};
use secrecy::SecretString;

/// Lines of a create's output that one line of the timeline carries.
const LINES: usize = 60;
/// Characters of each.
const LINE: usize = 300;

/// The driver `cvm-ssh`.
#[derive(Clone)]
pub struct CvmSshFormation {
    /// The way in.
    pub shell: CvmShell,
    /// The password that controller VMs are born with.
    pub password: SecretString,
    /// Prism, for what only a finished cluster can say.
    pub prism: PrismFormation,
}

impl CvmSshFormation {
    /// Logs in to a member.
    pub async fn open(&self, member: &Member) -> Result<CvmSession, ShellError> {
        let password = member.cvm_password.as_ref().unwrap_or(&self.password);
        self.shell.open(member.cvm_ip, pin_rule(member.ssh_pin.as_deref()), password).await
    }

    async fn open_all(&self, members: &[Member]) -> Vec<Result<CvmSession, ShellError>> {
        join_all(members.iter().map(|member| self.open(member))).await
    }

    /// What every member says of itself, and the fullest list of services among them.
    pub async fn look_by_shell(&self, members: &[Member]) -> (Look, Option<ClusterServices>) {
        let asked = members.iter().map(|member| async move {
            let session = self.open(member).await?;
            let word = session.cluster_status().await?;
            Ok::<_, ShellError>((session.fingerprint(), word))
        });
        let mut look = Look::default();
        let mut best: Option<ClusterServices> = None;
        for (member, answer) in members.iter().zip(join_all(asked).await) {
            if let Ok((key, _)) = &answer {
                look.ssh_keys.push((member.server_id.clone(), key.to_string()));
            }
            let word = answer.map(|(_, word)| word);
            let says = match word {
                Ok(ClusterWord::Unconfigured) => MemberSays::Unconfigured,
                Ok(ClusterWord::Configured(services)) => {
                    let seen = ClusterSeen {
                        members: services.member_ips(),
                        is_stopped: services.target_state.eq_ignore_ascii_case("stop"),
                        ..ClusterSeen::default()
                    };
                    if best.as_ref().is_none_or(|best| best.waiting_for().len() > services.waiting_for().len()) {
                        best = Some(services);
                    }
                    MemberSays::InCluster(seen)
                }
                Err(error) => {
                    look.seen.refused |= error.is_denied();
                    match error.other_key() {
                        Some(seen) => MemberSays::OtherKey { seen: seen.to_string() },
                        None => MemberSays::Nothing { error: with_causes(&error) },
                    }
                }
            };
            look.seen.members.push(MemberSeen { server_id: member.server_id.clone(), says });
        }
        (look, best)
    }

    /// What the members and their cluster say. `by_name`: also which cluster it is, as Prism tells it. That takes a login,
    /// so it is for a look that isn't repeated.
    pub async fn look_at(&self, spec: &ClusterSpec, members: &[Member], by_name: bool) -> Look {
        let (mut look, services) = self.look_by_shell(members).await;
        let Some(services) = services else { return look };
        let configured =
            members.iter().zip(look.seen.members.clone()).filter(|(_, m)| matches!(m.says, MemberSays::InCluster(_)));
        let knocked = configured.map(|(member, _)| async move {
            (member, self.prism.0.probe(member.cvm_ip, PinRule::TrustFirst, false).await.fingerprint)
        });
        let mut keys = Vec::new();
        for (member, key) in join_all(knocked).await {
            if let Some(key) = key {
                look.keys.push((member.server_id.clone(), key.to_string()));
                keys.push(key);
            }
        }
        if by_name {
            self.tell_name(spec, members, &mut look).await;
        }
        let waiting = services.waiting_for();
        let all_members = members.iter().all(|m| services.member_ips().contains(&m.cvm_ip));
        let total: usize = services.cvms.iter().map(|cvm| cvm.services.len()).sum();
        let up: usize = services.cvms.iter().flat_map(|cvm| &cvm.services).filter(|s| s.is_up()).count();
        if !services.all_up() || !all_members {
            let first = waiting.first().map(|w| format!(": {w}")).unwrap_or_default();
            look.seen.progress = Some(format!("{up} of {total} services run{}", shortened(&first)));
            return look;
        }
        // No password: whatever the address answers but a gateway's error, Prism stands behind it.
        let vip = self.prism.0.probe(spec.external_ip, PinRule::OneOf(keys), false).await.answer;
        let stands = matches!(vip, ProbeAnswer::HttpUp { status } if status < 500);
        look.seen.progress = Some(match stands {
            true => format!("all {total} services run, and the cluster's address answers"),
            false => format!("all {total} services run; the cluster's address doesn't answer yet"),
        });
        look.seen.vip = stands.then(|| ClusterSeen {
            status: Some("UP".into()),
            num_nodes: Some(services.cvms.len() as u64),
            members: services.member_ips(),
            ..ClusterSeen::default()
        });
        look
    }

    /// Who was in a cluster before we came can only be told by its name: one login, at one member.
    async fn tell_name(&self, spec: &ClusterSpec, members: &[Member], look: &mut Look) {
        let is_in_cluster = |member: &MemberSeen| matches!(member.says, MemberSays::InCluster(_));
        let Some(first) = look.seen.members.iter().position(is_in_cluster) else { return };
        match self.prism.client(spec).cluster(members[first].cvm_ip, PinRule::TrustFirst).await {
            Ok(view) => {
                for member in &mut look.seen.members {
                    if let MemberSays::InCluster(cluster) = &mut member.says {
                        cluster.name.clone_from(&view.name);
                    }
                }
            }
            Err(error) => look.seen.refused |= is_refusal(&error),
        }
    }

    /// What became of the create that was started under this name.
    async fn look_at_job(&self, members: &[Member], job: &FormationJob, look: &mut Look) -> JobSays {
        let Some(member) = members.iter().find(|m| m.server_id == job.server_id) else {
            return JobSays::Unknown { error: format!("{} takes no part any more", job.server_id) };
        };
        let seen = async {
            let name = JobName::new(job.name.clone()).map_err(|error| error.to_string())?;
            let session = self.open(member).await.map_err(|error| with_causes(&error))?;
            let seen = session.job(&name, job.read).await.map_err(|error| with_causes(&error))?;
            let whole = match seen.state {
                JobState::Ended { .. } => session.job(&name, 0).await.map_err(|error| with_causes(&error))?.output,
                _ => String::new(),
            };
            Ok::<(JobSeen, String), String>((seen, whole))
        };
        match seen.await {
            Ok((seen, whole)) => {
                look.printed = seen.output.lines().filter(|line| !line.trim().is_empty()).map(shortened).collect();
                let from = look.printed.len().saturating_sub(LINES);
                look.printed.drain(..from);
                look.read = (seen.state != JobState::Absent).then_some(seen.next_byte);
                judge(&seen, &whole)
            }
            Err(error) => JobSays::Unknown { error: format!("{}: {error}", job.server_id) },
        }
    }

    /// Members that are in a cluster and let us in.
    async fn configured(&self, members: &[Member]) -> Vec<(CvmSession, ClusterServices)> {
        let asked = members.iter().map(|member| async move {
            let session = self.open(member).await.ok()?;
            match session.cluster_status().await.ok()? {
                ClusterWord::Configured(services) => Some((session, services)),
                ClusterWord::Unconfigured => None,
            }
        });
        join_all(asked).await.into_iter().flatten().collect()
    }
}

fn shortened(line: &str) -> String {
    line.chars().take(LINE).collect()
}

fn judge(seen: &JobSeen, whole: &str) -> JobSays {
    let status = match seen.state {
        JobState::Absent => return JobSays::Absent,
        JobState::Running => return JobSays::Running,
        JobState::Died => return JobSays::Died,
        JobState::Ended { status } => u32::try_from(status).ok(),
    };
    match classify(whole, status) {
        CreateEnd::Success => JobSays::Succeeded,
        CreateEnd::Failed { line, advice, .. } => {
            let advice = match advice {
                metalform_nutanix::Advice::DontRetry => Advice::DontRetry,
                metalform_nutanix::Advice::Wait => Advice::Wait,
                metalform_nutanix::Advice::CleanUpAndRetry => Advice::CleanUp,
            };
            let line = if line.is_empty() { "it said nothing".into() } else { line };
            JobSays::Failed { line, advice }
        }
    }
}

#[async_trait]
impl Formation for CvmSshFormation {
    fn driver(&self) -> Driver {
        Driver::CvmSsh
    }

    async fn offer(&self, member: &Member) -> Offer {
        match self.shell.probe(member.cvm_ip, PinRule::TrustFirst, None).await.answer {
            ShellAnswer::Refused => Offer::Refused,
            ShellAnswer::Silent => Offer::Silent,
            ShellAnswer::SshUp => Offer::Offered,
            _ => Offer::Starting,
        }
    }

    async fn probe(&self, member: &Member, show: ShowCredentials) -> Probe {
        let password = member.cvm_password.as_ref().unwrap_or(&self.password);
        let password = (show == ShowCredentials::Yes).then_some(password);
        let outcome = self.shell.probe(member.cvm_ip, pin_rule(member.ssh_pin.as_deref()), password).await;
        let answer = match outcome.answer {
            ShellAnswer::Refused => CvmAnswer::Refused,
            ShellAnswer::Silent | ShellAnswer::NotSsh => CvmAnswer::Silent,
            ShellAnswer::SshUp => CvmAnswer::SshUp,
            ShellAnswer::Denied => CvmAnswer::Unauthorized,
            ShellAnswer::OtherKey { seen, .. } => CvmAnswer::OtherKey { seen: seen.to_string() },
            ShellAnswer::GenesisDown { .. } => CvmAnswer::Starting { what: "genesis doesn't run yet".into() },
            ShellAnswer::NotUnderstood { seen } => CvmAnswer::Starting { what: seen },
            ShellAnswer::Unconfigured | ShellAnswer::Configured(_) => CvmAnswer::Ready,
        };
        Probe { answer, key: outcome.fingerprint.map(|f| f.to_string()) }
    }

    async fn check(&self, spec: &ClusterSpec, members: &[Member]) -> Vec<Check> {
        let sessions = self.open_all(members).await;
        checks_before::by_shell(spec, members, &sessions, self.shell.settings()).await
    }

    async fn begin(&self, spec: &ClusterSpec, members: &[Member], entry: usize, job: &str) -> BeginOutcome {
        let Some(member) = members.get(entry) else {
            return BeginOutcome::NotSent { error: "no such member".into() };
        };
        // The node that is asked comes first; a cluster doesn't care for the order of the others.
        let mut svm_ips = vec![member.cvm_ip];
        svm_ips.extend(members.iter().map(|m| m.cvm_ip).filter(|ip| *ip != member.cvm_ip));
        let arguments = CreateArguments {
            name: spec.name.clone(),
            svm_ips,
            external_ip: spec.external_ip,
            redundancy_factor: spec.redundancy_factor,
            dns_servers: spec.dns_servers.clone(),
            ntp_servers: spec.ntp_servers.clone(),
        };
        let (arguments, name) = match (arguments.arguments(), JobName::new(job)) {
            (Ok(arguments), Ok(name)) => (arguments, name),
            (Err(error), _) => return BeginOutcome::Refused { error: with_causes(&error) },
            (_, Err(error)) => return BeginOutcome::Refused { error: with_causes(&error) },
        };
        let session = match self.open(member).await {
            Ok(session) => session,
            Err(error) => return BeginOutcome::NotSent { error: with_causes(&error) },
        };
        match session.start_job(&name, &JobCommand::Cluster(arguments)).await {
            // A job of this name that is there already is this one: no other is ever called so.
            Ok(_) => BeginOutcome::Accepted { session: None },
            Err(error) if error.is_ambiguous() => BeginOutcome::Unknown { error: with_causes(&error) },
            Err(error) => BeginOutcome::NotSent { error: with_causes(&error) },
        }
    }

    async fn look(&self, spec: &ClusterSpec, members: &[Member], job: Option<&FormationJob>) -> Look {
        let mut look = self.look_at(spec, members, job.is_none()).await;
        // A password that was refused isn't shown again at once.
        if let Some(job) = job.filter(|_| !look.seen.refused) {
            look.seen.job = Some(self.look_at_job(members, job, &mut look).await);
        }
        look
    }

    async fn clean(
        &self,
        members: &[Member],
        job: Option<&FormationJob>,
        step: CleanStep,
        name: &str,
    ) -> Result<(), String> {
        let told = |error: ShellError| with_causes(&error);
        match step {
            CleanStep::EndJob => {
                let Some(job) = job else { return Ok(()) };
                let member = members
                    .iter()
                    .find(|m| m.server_id == job.server_id)
                    .ok_or("the asked node takes no part any more")?;
                let name = JobName::new(job.name.clone()).map_err(|error| error.to_string())?;
                self.open(member).await.map_err(told)?.end_job(&name).await.map_err(told)
            }
            CleanStep::Stop => {
                let name = JobName::new(name).map_err(|error| error.to_string())?;
                let configured = self.configured(members).await;
                let (session, _) = configured.first().ok_or("no member is in a cluster any more")?;
                session.start_job(&name, &JobCommand::StopCluster).await.map(drop).map_err(told)
            }
            CleanStep::Destroy => {
                let configured = self.configured(members).await;
                let (session, _) = configured.first().ok_or("no member is in a cluster any more")?;
                session.destroy().await.map(drop).map_err(told)
            }
            CleanStep::Unconfigure => {
                let configured = self.configured(members).await;
                let asked = configured.iter().map(|(session, _)| session.restart_genesis(true));
                join_all(asked).await.into_iter().collect::<Result<(), _>>().map_err(told)
            }
            CleanStep::RestartGenesis => {
                let asked =
                    members.iter().map(|member| async move { self.open(member).await?.restart_genesis(false).await });
                join_all(asked).await.into_iter().collect::<Result<(), _>>().map_err(told)
            }
        }
    }

    /// `cluster create` has no flag for the time zone.
    async fn settle(&self, spec: &ClusterSpec, members: &[Member]) -> Result<(), String> {
        let mut said = Vec::new();
        for member in members {
            let set = async { self.open(member).await?.set_timezone(&spec.timezone).await };
            match set.await {
                Ok(()) => return Ok(()),
                Err(error) => said.push(format!("{}: {}", member.server_id, with_causes(&error))),
            }
        }
        Err(format!("the time zone can't be set; {}", said.join("; ")))
    }

    async fn verify(&self, spec: &ClusterSpec, members: &[Member]) -> Vec<Check> {
        let (_, services) = self.look_by_shell(members).await;
        let mut lines = match services {
            Some(services) => checks_after::services(&services, members),
            None => vec![check("services run", false, "no controller VM lists the services of its cluster")],
        };
        lines.extend(checks_after::by_prism(&self.prism.client(spec), spec, members, any_members_pin(members)).await);
        lines
    }
}
