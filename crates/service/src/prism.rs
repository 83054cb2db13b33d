//! Formation through Prism's REST API, as the documented contract has it.

use async_trait::async_trait;
use futures_util::future::join_all;
use metalform_model::{Check, ClusterSeen, CvmAnswer, MemberSays, MemberSeen, ShowCredentials, with_causes};
use metalform_nutanix::{ClusterView, CreateCluster, ErrorKind, Fingerprint, PinRule, PrismClient, ProbeAnswer};
use metalform_orchestrator::{BeginOutcome, ClusterSpec, Formation, Look, Member, Probe};

/// The driver `prism`.
pub struct PrismFormation(pub PrismClient);

#[async_trait]
impl Formation for PrismFormation {
    fn driver(&self) -> &'static str {
        "prism"
    }

    async fn probe(&self, member: &Member, show: ShowCredentials) -> Probe {
        let outcome = self.0.probe(member.cvm_ip, pin_of(member), show == ShowCredentials::Yes).await;
        let answer = match outcome.answer {
            ProbeAnswer::Refused => CvmAnswer::Refused,
            ProbeAnswer::NoAnswer { .. } => CvmAnswer::Silent,
            ProbeAnswer::TlsUp => CvmAnswer::TlsUp,
            ProbeAnswer::HttpUp { status } | ProbeAnswer::Unexpected { status, .. } => CvmAnswer::HttpUp { status },
            ProbeAnswer::Unauthorized => CvmAnswer::Unauthorized,
            ProbeAnswer::LockedOut => CvmAnswer::LockedOut,
            ProbeAnswer::Ready => CvmAnswer::Ready,
            ProbeAnswer::PinMismatch { seen, .. } => CvmAnswer::OtherKey { seen: seen.to_string() },
        };
        Probe { answer, key: outcome.fingerprint.map(|f| f.to_string()) }
    }

    async fn begin(&self, spec: &ClusterSpec, members: &[Member], entry: usize) -> BeginOutcome {
        let Some(member) = members.get(entry) else {
            return BeginOutcome::NotSent { error: "no such member".into() };
        };
        let request = CreateCluster {
            name: spec.name.clone(),
            external_ip: spec.external_ip,
            redundancy_factor: spec.redundancy_factor,
            cluster_functions: spec.cluster_functions.clone(),
            timezone: spec.timezone.clone(),
        };
        let error = match self.0.create_cluster(member.cvm_ip, pin_of(member), &request).await {
            Ok(_) => return BeginOutcome::Accepted,
            Err(error) => error,
        };
        let text = with_causes(&error);
        match &*error.kind {
            _ if error.is_permanent_request_error() || error.is_not_offered() => BeginOutcome::Refused { error: text },
            ErrorKind::NotSent(_) | ErrorKind::Unauthorized | ErrorKind::LockedOut | ErrorKind::PinMismatch { .. } => {
                BeginOutcome::NotSent { error: text }
            }
            // A failure in the server's own words proves nothing either: the members are looked at before the next is asked.
            _ => BeginOutcome::Unknown { error: text },
        }
    }

    async fn look(&self, spec: &ClusterSpec, members: &[Member]) -> Look {
        let asked = members.iter().map(|m| async move { (m, self.0.cluster(m.cvm_ip, PinRule::TrustFirst).await) });
        let mut look = Look::default();
        let mut keys: Vec<Fingerprint> = Vec::new();
        for (member, answer) in join_all(asked).await {
            let key = match &answer {
                Ok(view) => Some(view.fingerprint),
                Err(error) => error.fingerprint,
            };
            if let Some(key) = key {
                look.keys.push((member.server_id.clone(), key.to_string()));
                keys.push(key);
            }
            let says = match answer {
                Ok(view) => MemberSays::InCluster(seen(&view)),
                Err(error) if matches!(*error.kind, ErrorKind::NotConfigured) => MemberSays::Unconfigured,
                Err(error) => MemberSays::Nothing { error: with_causes(&error) },
            };
            look.seen.members.push(MemberSeen { server_id: member.server_id.clone(), says });
        }
        if !keys.is_empty() {
            let vip = self.0.cluster(spec.external_ip, PinRule::OneOf(keys)).await;
            look.seen.vip = vip.ok().as_ref().map(seen);
        }
        look
    }

    async fn verify(&self, spec: &ClusterSpec, members: &[Member]) -> Vec<Check> {
        let pins: Vec<Fingerprint> = members.iter().filter_map(|m| m.pin.as_deref()?.parse().ok()).collect();
        let mut checks = Vec::new();
        let mut check = |name: &str, ok: bool, seen: String| checks.push(Check { name: name.to_owned(), ok, seen });
        match self.0.cluster(spec.external_ip, PinRule::OneOf(pins)).await {
            Ok(view) => {
                let status = view.cluster_status.clone().unwrap_or_else(|| "none".into());
                check("cluster address answers UP", view.is_up(), format!("cluster_status {status}"));
                let name = view.name.clone().unwrap_or_else(|| "none".into());
                check("name as planned", name == spec.name, name.clone());
                if let Some(n) = view.num_nodes {
                    check("node count", n == members.len() as u64, format!("{n} of {}", members.len()));
                }
                if let (Some(current), Some(desired)) = (view.current_redundancy_factor, view.desired_redundancy_factor)
                {
                    let ok = current == desired && desired == u64::from(spec.redundancy_factor);
                    check("redundancy", ok, format!("current {current}, desired {desired}"));
                }
            }
            Err(error) => check("cluster address answers UP", false, with_causes(&error)),
        }
        let probes = members.iter().map(|m| async move { (m, self.probe(m, ShowCredentials::Yes).await) });
        for (member, probe) in join_all(probes).await {
            let name = format!("{} answers", member.server_id);
            check(&name, probe.answer == CvmAnswer::Ready, probe.answer.in_words());
        }
        checks
    }
}

/// The key remembered for a member; before its first answer any is taken.
fn pin_of(member: &Member) -> PinRule {
    match member.pin.as_deref().and_then(|pin| pin.parse().ok()) {
        Some(pin) => PinRule::OneOf(vec![pin]),
        None => PinRule::TrustFirst,
    }
}

fn seen(view: &ClusterView) -> ClusterSeen {
    ClusterSeen { name: view.name.clone(), status: view.cluster_status.clone(), num_nodes: view.num_nodes }
}
