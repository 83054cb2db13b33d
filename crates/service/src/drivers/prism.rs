//! Formation through Prism's REST API, as the documented contract has it.

use super::{any_members_pin, check, checks_after, checks_before, is_refusal, pin_rule};
use async_trait::async_trait;
use futures_util::future::join_all;
use metalform_model::{
    Check, CleanStep, ClusterSeen, CvmAnswer, Driver, FormationJob, MemberSays, MemberSeen, Offer, ShowCredentials,
    with_causes,
};
use metalform_nutanix::{ClusterView, CreateCluster, ErrorKind, Fingerprint, PinRule, PrismClient, ProbeAnswer};
use metalform_orchestrator::{BeginOutcome, ClusterSpec, Formation, Look, Member, Probe};

/// The driver `prism`.
#[derive(Clone)]
pub struct PrismFormation(pub PrismClient);

impl PrismFormation {
    /// The client with the password that is in force on the finished cluster.
    pub fn client(&self, spec: &ClusterSpec) -> PrismClient {
        match &spec.passwords {
            Some(own) if spec.is_prism_secured => self.0.with_password(&own.prism_admin),
            Some(own) if spec.is_seeded => self.0.with_password(&own.cvm_nutanix),
            _ => self.0.clone(),
        }
    }

    /// What members and the cluster's address say of their cluster.
    pub async fn look_by_rest(&self, spec: &ClusterSpec, members: &[Member]) -> Look {
        let client = &self.client(spec);
        let ask = |m: &'_ Member| {
            let m = m.clone();
            async move {
                let answer = client.cluster(m.cvm_ip, PinRule::TrustFirst).await;
                (m, answer)
            }
        };
        let mut look = Look::default();
        let mut keys: Vec<Fingerprint> = Vec::new();
        // One first: a password that it refuses isn't shown to the others, which count together once they are a cluster.
        let Some((first, others)) = members.split_first() else { return look };
        let mut answers = vec![ask(first).await];
        look.seen.refused = answers.iter().any(|(_, answer)| answer.as_ref().err().is_some_and(is_refusal));
        if !look.seen.refused {
            answers.extend(join_all(others.iter().map(ask)).await);
        }
        for (member, answer) in answers {
            look.seen.refused |= answer.as_ref().err().is_some_and(is_refusal);
            let key = match &answer {
                Ok(view) => Some(view.fingerprint),
                Err(error) => error.fingerprint,
            };
            if let Some(key) = key {
                look.keys.push((member.server_id.clone(), key.to_string()));
                keys.push(key);
            }
            let says = match answer {
                Ok(view) => MemberSays::InCluster(seen(&view, members.len())),
                Err(error) if matches!(*error.kind, ErrorKind::NotConfigured) => MemberSays::Unconfigured,
                Err(error) => MemberSays::Nothing { error: with_causes(&error) },
            };
            look.seen.members.push(MemberSeen { server_id: member.server_id.clone(), says });
        }
        if !keys.is_empty() && !look.seen.refused {
            let vip = client.cluster(spec.external_ip, PinRule::OneOf(keys)).await;
            look.seen.vip = vip.ok().as_ref().map(|view| seen(view, members.len()));
        }
        look
    }
}

#[async_trait]
impl Formation for PrismFormation {
    fn driver(&self) -> Driver {
        Driver::Prism
    }

    async fn offer(&self, member: &Member) -> Offer {
        // Whatever key it shows: nothing secret is said, and a driver that goes on looks at the key itself.
        match self.0.probe(member.cvm_ip, PinRule::TrustFirst, false).await.answer {
            ProbeAnswer::Refused => Offer::Refused,
            ProbeAnswer::NoAnswer { .. } => Offer::Silent,
            ProbeAnswer::TlsUp | ProbeAnswer::HttpUp { status: 500.. } | ProbeAnswer::PinMismatch { .. } => {
                Offer::Starting
            }
            ProbeAnswer::HttpUp { .. }
            | ProbeAnswer::Unexpected { .. }
            | ProbeAnswer::Unauthorized
            | ProbeAnswer::LockedOut
            | ProbeAnswer::Ready => Offer::Offered,
        }
    }

    async fn probe(&self, member: &Member, show: ShowCredentials) -> Probe {
        let outcome = self.0.probe(member.cvm_ip, pin_rule(member.pin.as_deref()), show == ShowCredentials::Yes).await;
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

    /// Over REST nothing can be asked from the controller VMs: only what is seen from here.
    async fn check(&self, spec: &ClusterSpec, members: &[Member]) -> Vec<Check> {
        let asked = members.iter().map(|m| self.0.cluster(m.cvm_ip, pin_rule(m.pin.as_deref())));
        let mut lines = Vec::new();
        for (member, answer) in members.iter().zip(join_all(asked).await) {
            let (ok, seen) = match answer {
                Ok(view) => match view.name.as_deref() {
                    _ if view.cluster_status.as_deref() == Some("UNCONFIGURED") => (true, "in no cluster".into()),
                    Some(name) => (false, format!("it is in the cluster {name}")),
                    None => (false, "it is in a cluster without a name".into()),
                },
                Err(error) if matches!(*error.kind, ErrorKind::NotConfigured) => (true, "in no cluster".into()),
                Err(error) => (false, with_causes(&error)),
            };
            lines.push(check(format!("{} answers and is in no cluster", member.server_id), ok, seen));
        }
        lines.push(checks_before::versions(members));
        let vip = self.0.probe(spec.external_ip, PinRule::TrustFirst, false).await.answer;
        let free = matches!(vip, ProbeAnswer::Refused | ProbeAnswer::NoAnswer { .. });
        let seen = if free { "nothing answers there" } else { "something answers there already" };
        lines.push(check(format!("the cluster's address {} is free", spec.external_ip), free, seen));
        let seen = "not asked: this way to form a cluster has no means to ask from the controller VMs";
        lines.push(check("every controller VM reaches every other", true, seen));
        lines
    }

    async fn begin(&self, spec: &ClusterSpec, members: &[Member], entry: usize, _: &str) -> BeginOutcome {
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
        match self.0.create_cluster(member.cvm_ip, pin_rule(member.pin.as_deref()), &request).await {
            Ok(_) => BeginOutcome::Accepted { session: None },
            Err(error) => outcome_of(&error),
        }
    }

    async fn look(&self, spec: &ClusterSpec, members: &[Member], _: Option<&FormationJob>) -> Look {
        self.look_by_rest(spec, members).await
    }

    async fn clean(&self, _: &[Member], _: Option<&FormationJob>, _: CleanStep, _: &str) -> Result<(), String> {
        Err("Prism's REST API can't take down a half-made cluster; `metalform retry CLUSTER --formation cvm-ssh` can, where SSH is open".into())
    }

    /// The create request carried the time zone already.
    async fn settle(&self, _: &ClusterSpec, _: &[Member]) -> Result<(), String> {
        Ok(())
    }

    async fn verify(&self, spec: &ClusterSpec, members: &[Member]) -> Vec<Check> {
        checks_after::by_prism(&self.client(spec), spec, members, any_members_pin(members)).await
    }
}

/// What a failed create request comes to.
pub(super) fn outcome_of(error: &metalform_nutanix::Error) -> BeginOutcome {
    let text = with_causes(error);
    match &*error.kind {
        _ if error.is_not_offered() => BeginOutcome::Refused {
            error: format!(
                "{text}: the node doesn't offer this way to form a cluster (`metalform retry CLUSTER --formation auto`)"
            ),
        },
        _ if error.is_permanent_request_error() => BeginOutcome::Refused { error: text },
        ErrorKind::NotSent(_) | ErrorKind::Unauthorized | ErrorKind::LockedOut | ErrorKind::PinMismatch { .. } => {
            BeginOutcome::NotSent { error: text }
        }
        // A failure in the server's own words proves nothing either: the members are looked at before the next is asked.
        _ => BeginOutcome::Unknown { error: text },
    }
}

/// What a cluster says of itself; one without `cluster_status` is up once all members and its redundancy are there.
pub(super) fn seen(view: &ClusterView, members: usize) -> ClusterSeen {
    let up = view.is_up(members as u64).then(|| "UP".to_owned());
    ClusterSeen {
        name: view.name.clone(),
        status: view.cluster_status.clone().or(up),
        num_nodes: view.num_nodes,
        ..ClusterSeen::default()
    }
}
