//! Formation through Foundation on a controller VM: `POST /foundation/clusters` as the documented contract has it, and
//! where that isn't offered `image_nodes` without imaging, as the published clients have it.
//!
//! Foundation forms, and what stands is seen by the other two ways: over SSH where that is open, else over Prism.

use super::{CvmSshFormation, PrismFormation, any_members_pin, checks_after, pin_rule, prism::outcome_of};
use async_trait::async_trait;
use futures_util::future::join_all;
use metalform_model::{
    Advice, Check, CleanStep, CvmAnswer, Driver, FormationJob, JobSays, Offer, ShowCredentials, with_causes,
};
use metalform_nutanix::{FoundationClient, FoundationCluster, FoundationNode, ImageNode, ImageNodes, SessionState};
use metalform_orchestrator::{BeginOutcome, ClusterSpec, Formation, Look, Member, Probe};

/// The driver `foundation`.
#[derive(Clone)]
pub struct FoundationFormation {
    /// Foundation itself.
    pub client: FoundationClient,
    /// Eyes where there is no SSH.
    pub prism: PrismFormation,
    /// Eyes, and hands for cleaning up, where there is.
    pub ssh: CvmSshFormation,
}

impl FoundationFormation {
    async fn has_shell(&self, members: &[Member]) -> bool {
        match members.first() {
            Some(member) => self.ssh.offer(member).await == Offer::Offered,
            None => false,
        }
    }

    /// The serial of the block that each node sits in, by which Foundation groups them: as the node itself says, where it can
    /// be asked; else each is taken for one.
    async fn blocks(&self, members: &[Member]) -> Vec<String> {
        let has_shell = self.has_shell(members).await;
        let ask = |member: Member| async move {
            let identity = match has_shell {
                true => self.ssh.open(&member).await.ok()?.identity().await.ok()?,
                false => return None,
            };
            identity.rackable_unit_serial.filter(|serial| !serial.is_empty())
        };
        let told = join_all(members.iter().cloned().map(ask)).await;
        members.iter().zip(told).map(|(member, serial)| serial.unwrap_or_else(|| member.server_id.clone())).collect()
    }

    async fn by_image_nodes(&self, spec: &ClusterSpec, members: &[Member], member: &Member) -> BeginOutcome {
        let mut nodes = Vec::new();
        for (each, block_id) in members.iter().zip(self.blocks(members).await) {
            let Some(hypervisor_ip) = each.ahv_ip else {
                return BeginOutcome::Refused {
                    error: format!("{} has no ahv_ip, which Foundation needs", each.server_id),
                };
            };
            nodes.push(ImageNode {
                block_id,
                node_position: each.node_position.clone(),
                hypervisor_hostname: each.server_id.clone(),
                hypervisor_ip,
                cvm_ip: each.cvm_ip,
            });
        }
        let Some(network) = spec.network else {
            return BeginOutcome::Refused {
                error: "the subnet of the nodes isn't known, which Foundation needs".into(),
            };
        };
        let wanted = ImageNodes {
            cluster_name: spec.name.clone(),
            cluster_external_ip: spec.external_ip,
            redundancy_factor: spec.redundancy_factor,
            dns_servers: spec.dns_servers.clone(),
            ntp_servers: spec.ntp_servers.clone(),
            timezone: spec.timezone.clone(),
            netmask: network.netmask,
            gateway: network.gateway,
            nodes,
        };
        match self.client.image_nodes(member.cvm_ip, &wanted).await {
            Ok(session) => BeginOutcome::Accepted { session: Some(session.to_string()) },
            Err(error) => outcome_of(&error),
        }
    }
}

#[async_trait]
impl Formation for FoundationFormation {
    fn driver(&self) -> Driver {
        Driver::Foundation
    }

    async fn offer(&self, member: &Member) -> Offer {
        self.client.offer(member.cvm_ip).await.map_or_else(
            |error| if error.is_refused_connection() { Offer::Refused } else { Offer::Silent },
            |()| Offer::Offered,
        )
    }

    /// Foundation asks for no login and says nothing of its node's state: that it answers is all there is to know.
    async fn probe(&self, member: &Member, _: ShowCredentials) -> Probe {
        let answer = match self.offer(member).await {
            Offer::Refused => CvmAnswer::Refused,
            Offer::Silent => CvmAnswer::Silent,
            Offer::Starting => CvmAnswer::TlsUp,
            Offer::Offered => CvmAnswer::Ready,
        };
        Probe { answer, key: None }
    }

    async fn check(&self, spec: &ClusterSpec, members: &[Member]) -> Vec<Check> {
        match self.has_shell(members).await {
            true => self.ssh.check(spec, members).await,
            false => self.prism.check(spec, members).await,
        }
    }

    async fn begin(&self, spec: &ClusterSpec, members: &[Member], entry: usize, _: &str) -> BeginOutcome {
        let Some(member) = members.get(entry) else {
            return BeginOutcome::NotSent { error: "no such member".into() };
        };
        let node = |m: &Member| {
            let (Some(node_uuid), Some(hypervisor_ip)) = (m.node_uuid.clone(), m.ahv_ip) else { return None };
            Some(FoundationNode { node_uuid, hypervisor_ip, cvm_ip: m.cvm_ip, node_position: m.node_position.clone() })
        };
        let nodes: Option<Vec<FoundationNode>> = members.iter().map(node).collect();
        let Some(nodes) = nodes else {
            // The documented call names nodes by their own ids; the other one doesn't.
            let silent = members.iter().filter(|m| m.node_uuid.is_none() || m.ahv_ip.is_none());
            let who: Vec<&str> = silent.map(|m| m.server_id.as_str()).collect();
            return match self.client.speaks_tls(member.cvm_ip).await {
                true => BeginOutcome::Refused {
                    error: format!(
                        "Foundation is told every node's id and hypervisor, and {} never reported them",
                        who.join(", ")
                    ),
                },
                false => self.by_image_nodes(spec, members, member).await,
            };
        };
        let cluster = FoundationCluster {
            cluster_name: spec.name.clone(),
            cluster_external_ip: spec.external_ip,
            dns_servers: spec.dns_servers.clone(),
            ntp_servers: spec.ntp_servers.clone(),
            nodes,
        };
        match self.client.create_cluster(member.cvm_ip, pin_rule(member.pin.as_deref()), &cluster).await {
            Ok(_) => BeginOutcome::Accepted { session: None },
            Err(error) if error.is_not_offered() || error.speaks_no_tls() => {
                self.by_image_nodes(spec, members, member).await
            }
            Err(error) => outcome_of(&error),
        }
    }

    async fn look(&self, spec: &ClusterSpec, members: &[Member], job: Option<&FormationJob>) -> Look {
        let mut look = match self.has_shell(members).await {
            true => self.ssh.look_at(spec, members, job.is_none()).await,
            false => self.prism.look_by_rest(spec, members).await,
        };
        let asked = job.and_then(|job| members.iter().find(|m| m.server_id == job.server_id));
        let session = job.and_then(|job| job.session.as_deref()?.parse().ok());
        let (Some(member), Some(session)) = (asked, session) else { return look };
        let progress = match self.client.progress(member.cvm_ip, &session).await {
            Ok(progress) => progress,
            Err(error) => {
                look.seen.job = Some(JobSays::Unknown { error: with_causes(&error) });
                return look;
            }
        };
        let said = progress.said.join("; ");
        if let Some(percent) = progress.percent.filter(|_| look.seen.vip.is_none()) {
            look.seen.progress = Some(format!("Foundation: {percent:.0} %: {said}"));
        }
        look.seen.job = Some(match progress.state {
            SessionState::Running => JobSays::Running,
            SessionState::Done => JobSays::Succeeded,
            SessionState::Stopped { .. } => JobSays::Failed { line: said, advice: Advice::CleanUp },
            // Another session, or none: a restart of the controller VM has ended ours, or lost its memory of it.
            SessionState::NotOurs => JobSays::Died,
        });
        look
    }

    async fn clean(
        &self,
        members: &[Member],
        job: Option<&FormationJob>,
        step: CleanStep,
        name: &str,
    ) -> Result<(), String> {
        match (self.has_shell(members).await, step) {
            // A session of Foundation in a controller VM can't be aborted; it ends by itself.
            (true, CleanStep::EndJob) => Ok(()),
            (true, step) => self.ssh.clean(members, job, step, name).await,
            (false, step) => self.prism.clean(members, job, step, name).await,
        }
    }

    /// The request carried the time zone, and may have dropped it.
    async fn settle(&self, spec: &ClusterSpec, members: &[Member]) -> Result<(), String> {
        match self.has_shell(members).await {
            true => self.ssh.settle(spec, members).await,
            false => Ok(()),
        }
    }

    async fn verify(&self, spec: &ClusterSpec, members: &[Member]) -> Vec<Check> {
        match self.has_shell(members).await {
            true => self.ssh.verify(spec, members).await,
            false => checks_after::by_prism(&self.prism.client(spec), spec, members, any_members_pin(members)).await,
        }
    }
}
