//! Simulated controller VMs: what answers on a node's CVM address once its installed system is up, and on a cluster's VIP
//! once one is formed.
//!
//! The request that forms a cluster lists no nodes. So a cluster takes all CVMs that are up and whose node was configured
//! for a cluster of that name: the world knows, because its machines really fetched and checked those configurations.
//!
//! What a CVM keeps over a restart (its key, its cluster) it keeps here until its node is installed anew or its server is
//! gone. Two surfaces are known ([`CvmProfile`]); the one that answers REST calls before a cluster exists is the product's
//! first design, which published sources do not confirm ([`CvmSettings`]).

mod auth;
mod cluster;
mod foundation;
mod prism;
mod settings;

pub use settings::{Account, BeforeCreate, CvmDurations, CvmProfile, CvmSettings};

use crate::{
    fault::{CvmFault, Faults},
    http::{Reply, Request},
    machine::NodeConfig,
    pace::Pace,
};
use auth::Guard;
use cluster::Cluster;
use metalform_model::Timestamp;
use std::{collections::BTreeMap, net::Ipv4Addr, time::Duration};
use uuid::Uuid;

/// The node a CVM runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CvmHost {
    /// Of the cloud's server.
    pub server_id: String,
    /// Its name.
    pub server_name: String,
    /// SMBIOS UUID of the machine.
    pub node_uuid: Uuid,
    /// The machine's own address.
    pub mgmt_ip: Ipv4Addr,
    /// Counts the installations of the node.
    pub install: u32,
    /// What it was installed with.
    pub config: NodeConfig,
}

/// Which key pair a listener shows. Whoever owns the sockets makes one for each name, once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CertificateName {
    /// Of the server.
    pub server_id: String,
    /// A new installation makes a new key.
    pub install: u32,
    /// So does the creation of a cluster ("Creating certificates" in transcripts of `cluster create`).
    pub generation: u32,
}

/// An address and port on which HTTPS is answered now. Everything else refuses connections.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listener {
    /// Of a CVM, or a VIP.
    pub ip: Ipv4Addr,
    /// TCP port.
    pub port: u16,
    /// What it shows.
    pub certificate: CertificateName,
}

#[derive(Debug)]
struct Cvm {
    host: CvmHost,
    /// Its services run; they do not over a restart of the host.
    is_up: bool,
    /// Connections are refused for good (a fault).
    is_dead: bool,
    /// Prism answers 503 with a page until then.
    prism_at: Timestamp,
    guard: Guard,
    foundation_guard: Guard,
    generation: u32,
    cluster: Option<Uuid>,
    /// Its drives carry somebody else's cluster (a fault).
    foreign_cluster: Option<Uuid>,
}

impl Cvm {
    fn ip(&self) -> Ipv4Addr {
        self.host.config.cvm_ip
    }

    fn answers(&self) -> bool {
        self.is_up && !self.is_dead
    }

    fn certificate(&self) -> CertificateName {
        let (server_id, install) = (self.host.server_id.clone(), self.host.install);
        CertificateName { server_id, install, generation: self.generation }
    }
}

/// All CVMs and clusters of a world.
#[derive(Debug)]
pub struct Fleet {
    settings: CvmSettings,
    pace: Pace,
    /// By server id.
    cvms: BTreeMap<String, Cvm>,
    clusters: BTreeMap<Uuid, Cluster>,
    clusters_made: u64,
    /// Counts what may have changed the listeners.
    changes: u64,
}

impl Fleet {
    /// No CVM yet.
    pub fn new(settings: CvmSettings) -> Self {
        let pace = Pace::new(settings.seed, "cvm", settings.speed);
        Fleet { settings, pace, cvms: BTreeMap::new(), clusters: BTreeMap::new(), clusters_made: 0, changes: 0 }
    }

    /// The services of a node's CVM come up.
    pub fn start(&mut self, now: Timestamp, host: CvmHost, faults: &mut Faults) {
        self.changes += 1;
        let name = host.server_name.clone();
        if self.cvms.get(&host.server_id).is_none_or(|cvm| cvm.host.install != host.install) {
            self.forget(&host.server_id);
            let foreign = faults.take_cvm(&name, |fault| *fault == CvmFault::AlreadyConfigured);
            let cvm = Cvm {
                is_up: false,
                is_dead: false,
                prism_at: now,
                guard: Guard::default(),
                foundation_guard: Guard::default(),
                generation: 0,
                cluster: None,
                foreign_cluster: foreign.map(|_| crate::pace::uuid(self.settings.seed, &format!("foreign {name}"))),
                host: host.clone(),
            };
            self.cvms.insert(host.server_id.clone(), cvm);
        }
        let never = faults.take_cvm(&name, |fault| *fault == CvmFault::NeverReady).is_some();
        let html = faults.take_cvm(&name, |fault| *fault == CvmFault::HtmlErrors).is_some();
        let mut prism = self.pace.about(self.settings.durations.prism);
        if html {
            prism += self.pace.about(self.settings.durations.html_errors);
        }
        if let Some(cvm) = self.cvms.get_mut(&host.server_id) {
            (cvm.is_up, cvm.is_dead) = (!never, false);
            cvm.prism_at = now + prism;
        }
    }

    /// The host restarts or loses power; the CVM comes back with it.
    pub fn stop(&mut self, server_id: &str) {
        self.changes += 1;
        if let Some(cvm) = self.cvms.get_mut(server_id) {
            cvm.is_up = false;
        }
    }

    /// The node is installed anew or its server is gone: the CVM and what it kept are lost.
    pub fn forget(&mut self, server_id: &str) {
        self.changes += 1;
        if let Some(cvm) = self.cvms.remove(server_id)
            && let Some(uuid) = cvm.cluster
            && !self.cvms.values().any(|other| other.cluster == Some(uuid))
        {
            self.clusters.remove(&uuid);
        }
    }

    /// What answers now.
    pub fn listeners(&self, now: Timestamp) -> Vec<Listener> {
        let ports = [self.settings.prism_port, self.settings.foundation_port];
        let own = self
            .cvms
            .values()
            .filter(|cvm| cvm.answers())
            .flat_map(|cvm| ports.map(|port| Listener { ip: cvm.ip(), port, certificate: cvm.certificate() }));
        let vips = self.clusters.values().filter(|cluster| cluster.vip_at <= now).filter_map(|cluster| {
            let leader = self.leader(cluster)?;
            Some(Listener { ip: cluster.vip, port: ports[0], certificate: leader.certificate() })
        });
        own.chain(vips).collect()
    }

    /// Another value whenever [`Fleet::listeners`] may be another.
    pub fn listeners_mark(&self, now: Timestamp) -> (u64, usize) {
        (self.changes, self.clusters.values().filter(|cluster| cluster.vip_at <= now).count())
    }

    /// When something changes by time alone.
    pub fn next_event_at(&self, now: Timestamp) -> Timestamp {
        self.clusters.values().map(|cluster| cluster.vip_at).filter(|at| *at > now).min().unwrap_or(Timestamp::NEVER)
    }

    /// Answers a request to an address and port; `None` if connections there are refused.
    pub fn handle(
        &mut self,
        now: Timestamp,
        ip: Ipv4Addr,
        port: u16,
        request: &Request,
        faults: &mut Faults,
    ) -> Option<Reply> {
        let server_id = self.answering(now, ip, port)?.host.server_id.clone();
        Some(if port == self.settings.prism_port {
            self.handle_prism(now, &server_id, request, faults)
        } else {
            self.handle_foundation(now, &server_id, request, faults)
        })
    }

    fn answering(&self, now: Timestamp, ip: Ipv4Addr, port: u16) -> Option<&Cvm> {
        let is_prism = port == self.settings.prism_port;
        if !is_prism && port != self.settings.foundation_port {
            return None;
        }
        let of_vip = || {
            let cluster = self.clusters.values().find(|c| is_prism && c.vip == ip && c.vip_at <= now)?;
            self.leader(cluster)
        };
        self.cvms.values().find(|cvm| cvm.answers() && cvm.ip() == ip).or_else(of_vip)
    }

    /// A member that answers for the VIP.
    fn leader(&self, cluster: &Cluster) -> Option<&Cvm> {
        cluster.members.iter().filter_map(|id| self.cvms.get(id)).find(|cvm| cvm.answers())
    }

    /// Whose an address is, in words; `None` if it is free.
    fn owner_of(&self, ip: Ipv4Addr) -> Option<String> {
        let of = |cvm: &Cvm| {
            let roles =
                [("CVM", cvm.ip()), ("hypervisor", cvm.host.config.hypervisor_ip), ("machine", cvm.host.mgmt_ip)];
            roles.iter().find(|(_, at)| *at == ip).map(|(role, _)| format!("the {role} of {}", cvm.host.server_name))
        };
        let vip = |cluster: &Cluster| (cluster.vip == ip).then(|| format!("the cluster {}", cluster.name));
        self.cvms.values().find_map(of).or_else(|| self.clusters.values().find_map(vip))
    }

    /// Begins to form a cluster of these nodes. Everything has been checked.
    fn form(&mut self, now: Timestamp, wanted: NewCluster, faults: &mut Faults, server_name: &str) -> &Cluster {
        (self.clusters_made, self.changes) = (self.clusters_made + 1, self.changes + 1);
        let uuid = crate::pace::uuid(self.settings.seed, &format!("cluster {}", self.clusters_made));
        let takes = self.pace.about(self.settings.durations.create);
        let hangs = faults.take_cvm(server_name, |fault| *fault == CvmFault::FormationHangs).is_some();
        let late = match faults.take_cvm(server_name, |fault| matches!(fault, CvmFault::VipLate { .. })) {
            Some(CvmFault::VipLate { seconds }) => {
                takes + self.pace.exactly(Duration::try_from_secs_f64(seconds).unwrap_or_default())
            }
            _ => takes.mul_f64(self.settings.durations.vip_share),
        };
        let service_down = faults.take_cvm(server_name, |fault| *fault == CvmFault::ServiceDown).is_some();
        for id in &wanted.members {
            if let Some(cvm) = self.cvms.get_mut(id) {
                cvm.cluster = Some(uuid);
                cvm.generation += u32::from(self.settings.new_certificate_at_create);
            }
        }
        let cluster = Cluster {
            uuid,
            name: wanted.name,
            vip: wanted.vip,
            redundancy_factor: wanted.redundancy_factor,
            timezone: wanted.timezone,
            name_servers: wanted.name_servers,
            ntp_servers: wanted.ntp_servers,
            members: wanted.members,
            begun_at: now,
            up_at: if hangs { Timestamp::NEVER } else { now + takes },
            settled_at: if hangs { Timestamp::NEVER } else { now + takes.mul_f64(1.05) },
            vip_at: if hangs { Timestamp::NEVER } else { now + late },
            service_down,
        };
        self.clusters.entry(uuid).or_insert(cluster)
    }
}

/// A cluster to be formed.
struct NewCluster {
    name: String,
    vip: Ipv4Addr,
    redundancy_factor: u64,
    timezone: String,
    name_servers: Vec<String>,
    ntp_servers: Vec<String>,
    members: Vec<String>,
}

/// How many nodes a redundancy factor needs: "At least N nodes required to support redundancy factor". One node alone is
/// formed with factor 1.
fn check_redundancy(factor: u64, nodes: usize) -> Result<(), String> {
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

#[cfg(test)]
mod tests;
