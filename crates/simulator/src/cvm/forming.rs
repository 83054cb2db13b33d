//! How nodes become a cluster, and nodes again.

use super::{
    CvmHost, Fleet, PrismPassword,
    auth::Guard,
    cluster::{Cluster, Target},
    command::STARTING_SHARE,
};
use crate::fault::{CvmFault, Faults};
use metalform_model::Timestamp;
use std::{net::Ipv4Addr, time::Duration};
use uuid::Uuid;

impl Fleet {
    /// Begins to form a cluster of these nodes. Everything has been checked.
    pub(super) fn form(
        &mut self,
        now: Timestamp,
        wanted: NewCluster,
        faults: &mut Faults,
        server_name: &str,
    ) -> &Cluster {
        let members = wanted.members.clone();
        let cluster = self.record(now, wanted, faults, server_name);
        let uuid = cluster.uuid;
        self.clusters.insert(uuid, cluster);
        for id in &members {
            self.configure(id, uuid);
        }
        self.make_certificates(&members);
        if self.is_observed() {
            // Without a transcript of its own; the share that `cluster create` needs before it starts services.
            let takes = self.pace.about(self.settings.durations.create);
            self.start_cluster(now + takes.mul_f64(1.0 - STARTING_SHARE), uuid, takes.mul_f64(STARTING_SHARE));
        }
        &self.clusters[&uuid]
    }

    /// Makes a cluster's record, of which no node knows yet.
    pub(super) fn record(
        &mut self,
        now: Timestamp,
        wanted: NewCluster,
        faults: &mut Faults,
        server_name: &str,
    ) -> Cluster {
        (self.clusters_made, self.changes) = (self.clusters_made + 1, self.changes + 1);
        let made = crate::pace::uuid(self.settings.seed, &format!("cluster {}", self.clusters_made));
        let takes = self.pace.about(self.settings.durations.create);
        let hangs = faults.take_cvm(server_name, |fault| *fault == CvmFault::FormationHangs).is_some();
        let late = match faults.take_cvm(server_name, |fault| matches!(fault, CvmFault::VipLate { .. })) {
            Some(CvmFault::VipLate { seconds }) => Some(self.pace.exactly(seconds_of(seconds))),
            _ => None,
        };
        let vip_at = late.map_or(takes.mul_f64(self.settings.durations.vip_share), |late| takes + late);
        let service_down = faults.take_cvm(server_name, |fault| *fault == CvmFault::ServiceDown).is_some();
        let flaps_for = match faults.take_cvm(server_name, |fault| matches!(fault, CvmFault::ServiceFlaps { .. })) {
            Some(CvmFault::ServiceFlaps { seconds }) => self.pace.exactly(seconds_of(seconds)),
            _ => Duration::ZERO,
        };
        let asked = self.cvms.values().find(|cvm| cvm.host.server_name == server_name);
        let prism =
            asked.map_or_else(|| PrismPassword::new(&self.settings.prism.password), |cvm| self.first_password(cvm));
        // Of a cluster over SSH these times mean nothing: there all follows from the services of its members.
        let after = |duration| if hangs || self.is_observed() { Timestamp::NEVER } else { now + duration };
        Cluster {
            uuid: wanted.uuid.unwrap_or(made),
            name: wanted.name,
            vip: wanted.vip,
            redundancy_factor: wanted.redundancy_factor,
            timezone: wanted.timezone,
            name_servers: wanted.name_servers,
            ntp_servers: wanted.ntp_servers,
            members: wanted.members,
            begun_at: now,
            up_at: after(takes),
            settled_at: after(takes.mul_f64(1.05)),
            vip_at: after(vip_at),
            service_down,
            target: Target::Start,
            never_starts: hangs,
            flaps_for,
            vip_after: late.unwrap_or_else(|| self.pace.exactly(self.settings.durations.vip)),
            prism,
        }
    }

    /// A cluster that was on the drives before we came, as its node shows it.
    pub(super) fn foreign(&self, now: Timestamp, uuid: Uuid, host: &CvmHost) -> Cluster {
        Cluster {
            uuid,
            name: "somebody-elses-cluster".into(),
            vip: None,
            redundancy_factor: 1,
            timezone: "UTC".into(),
            name_servers: Vec::new(),
            ntp_servers: Vec::new(),
            members: vec![host.server_id.clone()],
            begun_at: now,
            up_at: now,
            settled_at: now,
            vip_at: Timestamp::NEVER,
            service_down: false,
            target: Target::Start,
            never_starts: false,
            flaps_for: Duration::ZERO,
            vip_after: Duration::ZERO,
            prism: PrismPassword::new("somebody-elses-password"),
        }
    }

    /// A node takes part in a cluster, or is on its way.
    pub(super) fn configure(&mut self, server_id: &str, uuid: Uuid) {
        self.changes += 1;
        if let Some(cvm) = self.cvms.get_mut(server_id) {
            cvm.cluster = Some(uuid);
        }
    }

    /// New keys on all members, where a create makes some.
    pub(super) fn make_certificates(&mut self, members: &[String]) {
        self.changes += 1;
        for id in members {
            if let Some(cvm) = self.cvms.get_mut(id) {
                cvm.generation += u32::from(self.settings.new_certificate_at_create);
            }
        }
    }

    /// The services of all members start.
    pub(super) fn start_cluster(&mut self, from: Timestamp, uuid: Uuid, takes: Duration) {
        let Some(cluster) = self.clusters.get_mut(&uuid) else { return };
        if cluster.never_starts {
            return;
        }
        cluster.target = Target::Start;
        cluster.up_at = from + takes;
        for id in cluster.members.clone() {
            let html = self.pace.about(self.settings.durations.prism);
            if let Some(cvm) = self.cvms.get_mut(&id) {
                let prism_takes = cvm.prism_takes.max(html);
                cvm.start_services(from, takes, prism_takes);
            }
        }
    }

    /// A node leaves its cluster, and what was on it is gone. Genesis restarts for that.
    pub(super) fn unconfigure(&mut self, server_id: &str, genesis_at: Timestamp) {
        self.changes += 1;
        let Some(cvm) = self.cvms.get_mut(server_id) else { return };
        let cluster = cvm.cluster.take();
        cvm.guard = Guard::default();
        self.drop_unused_cluster(cluster);
        self.start_genesis(server_id, genesis_at);
    }
}

fn seconds_of(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

/// A cluster to be formed.
pub(super) struct NewCluster {
    pub name: String,
    /// None: a cluster without one.
    pub vip: Option<Ipv4Addr>,
    pub redundancy_factor: u64,
    pub timezone: String,
    pub name_servers: Vec<String>,
    pub ntp_servers: Vec<String>,
    /// Server ids.
    pub members: Vec<String>,
    /// Chosen by who asks for it; by default the world makes one.
    pub uuid: Option<Uuid>,
}

/// How many nodes a redundancy factor needs: "At least N nodes required to support redundancy factor". One node alone is
/// formed with factor 1.
pub(super) fn check_redundancy(factor: u64, nodes: usize) -> Result<(), String> {
    let least = match factor {
        1 if nodes == 1 => return Ok(()),
        1 => return Err(format!("Invalid redundancy factor 1 for {nodes} nodes")),
        2 => 3,
        3 => 5,
        other => return Err(format!("Invalid redundancy factor {other}")),
    };
    if nodes >= least {
        return Ok(());
    }
    Err(format!("At least {least} nodes required to support redundancy factor {factor}, {nodes} are prepared"))
}
