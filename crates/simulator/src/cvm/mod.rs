//! Simulated controller VMs: what answers on a node's CVM address once its installed system is up, and on a cluster's VIP
//! once one is formed.
//!
//! The request that forms a cluster lists no nodes. So a cluster takes all CVMs that are up and whose node was configured
//! for a cluster of that name: the world knows, because its machines really fetched and checked those configurations.
//!
//! What a CVM keeps over a restart (its key, its cluster) it keeps here until its node is installed anew or its server is
//! gone.
//!
//! Two surfaces are known ([`CvmProfile`]). The one that answers REST calls before a cluster exists is the product's first
//! design, which published sources do not confirm ([`CvmSettings`]). In the other, `observed`, a node has two systems that
//! take SSH logins (`system`), on which commands run in simulated time (`shell`, `process`); a cluster is created by one of
//! them (`command`), which names its nodes, and all else follows from which services of its members are up (`services`).

mod accounts;
mod auth;
mod cluster;
mod command;
mod forming;
mod foundation;
mod foundation_image_nodes;
mod life;
mod password;
mod prism;
mod process;
mod reach;
mod services;
mod settings;
mod shell;
mod system;

pub use settings::{
    Account, BeforeCreate, CvmDurations, CvmProfile, CvmSettings, FoundationApi, ObservedSettings, PrismBeforeCreate,
};

use crate::{
    fault::{CvmFault, Faults},
    http::{Reply, Request},
    machine::NodeConfig,
    pace::Pace,
};
use auth::Guard;
use cluster::Cluster;
use forming::{NewCluster, check_redundancy};
use life::Life;
use metalform_model::Timestamp;
use password::PrismPassword;
use process::{Channel, Process};
use reach::Conditions;
use shell::Files;
use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    net::Ipv4Addr,
    time::Duration,
};
use system::{Place, Role, System};
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
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CertificateName {
    /// Of the server; for the host key of its hypervisor with a suffix.
    pub server_id: String,
    /// A new installation makes a new key.
    pub install: u32,
    /// So does the creation of a cluster ("Creating certificates" in transcripts of `cluster create`).
    pub generation: u32,
}

/// What is spoken on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// HTTP over TLS.
    Https,
    /// Plain HTTP.
    Http,
    /// SSH.
    Ssh,
}

/// An address and port on which somebody answers now. Everything else refuses connections.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Listener {
    /// Of a CVM, a hypervisor, or a VIP.
    pub ip: Ipv4Addr,
    /// TCP port.
    pub port: u16,
    /// What is spoken there.
    pub service: Service,
    /// What it shows; for SSH it names the host key, which is new with each installation and generation 0 always.
    pub certificate: CertificateName,
}

/// What a connection to port 9440 finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Front {
    /// Nobody listens.
    Refused,
    /// The connection is taken and closed.
    Reset,
    /// A web server without anything behind it.
    Page,
    /// Prism.
    Prism,
}

#[derive(Debug, Clone)]
struct Cvm {
    host: CvmHost,
    /// Its services run (its system, in the profile `observed`); they do not over a restart of the host.
    is_up: bool,
    /// Connections are refused for good (a fault).
    is_dead: bool,
    /// Prism answers 503 with a page until then.
    prism_at: Timestamp,
    guard: Guard,
    foundation_guard: Guard,
    generation: u32,
    cluster: Option<Uuid>,
    /// Its drives carry somebody else's cluster (a fault, in the profile `documented`).
    foreign_cluster: Option<Uuid>,
    /// Prism's password as long as no cluster has one.
    prism: PrismPassword,
    system: System,
    ahv: System,
    host_is_up: bool,
    life: Life,
    services_from: Timestamp,
    services_take: Duration,
    prism_takes: Duration,
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
#[derive(Debug, Clone)]
pub struct Fleet {
    settings: CvmSettings,
    pace: Pace,
    /// By server id.
    cvms: BTreeMap<String, Cvm>,
    clusters: BTreeMap<Uuid, Cluster>,
    clusters_made: u64,
    foundation_sessions: foundation_image_nodes::Sessions,
    /// Counts what may have changed the listeners.
    changes: u64,
    conditions: Conditions,
    processes: BTreeMap<u32, Process>,
    last_process: u32,
    /// Of SSH requests that are not yet answered in full.
    channels: BTreeMap<u64, Channel>,
    last_exec: u64,
    /// Counts the creates that were begun over SSH.
    creates_begun: u64,
    /// What a process on a node that is gone still finds.
    no_files: Files,
}

impl Fleet {
    /// No CVM yet.
    pub fn new(settings: CvmSettings) -> Self {
        Fleet {
            pace: Pace::new(settings.seed, "cvm", settings.speed),
            settings,
            cvms: BTreeMap::new(),
            clusters: BTreeMap::new(),
            clusters_made: 0,
            foundation_sessions: foundation_image_nodes::Sessions::default(),
            changes: 0,
            conditions: Conditions::default(),
            processes: BTreeMap::new(),
            last_process: 0,
            channels: BTreeMap::new(),
            last_exec: 0,
            creates_begun: 0,
            no_files: Files::default(),
        }
    }

    fn is_observed(&self) -> bool {
        self.settings.profile == CvmProfile::Observed
    }

    /// The services of a node's CVM come up; in the profile `observed` its system does, at the latest, and then genesis.
    pub fn start(&mut self, now: Timestamp, host: CvmHost, faults: &mut Faults) {
        self.changes += 1;
        let name = host.server_name.clone();
        self.install(now, &host, faults);
        let never = faults.take_cvm(&name, |fault| *fault == CvmFault::NeverReady).is_some();
        let html = faults.take_cvm(&name, |fault| *fault == CvmFault::HtmlErrors).is_some();
        let mut prism = self.pace.about(self.settings.durations.prism);
        if html {
            prism += self.pace.about(self.settings.durations.html_errors);
        }
        if self.is_observed() {
            return self.start_system(now, &host.server_id, never, prism);
        }
        if let Some(cvm) = self.cvms.get_mut(&host.server_id) {
            (cvm.is_up, cvm.is_dead) = (!never, false);
            cvm.prism_at = now + prism;
        }
    }

    /// The host restarts or loses power; the CVM comes back with it.
    pub fn stop(&mut self, server_id: &str) {
        self.changes += 1;
        self.foundation_sessions.lose(server_id);
        if let Some(cvm) = self.cvms.get_mut(server_id) {
            (cvm.is_up, cvm.host_is_up) = (false, false);
            cvm.life = Life::default();
        }
        for role in [Role::Cvm, Role::Ahv] {
            self.kill_processes(&Place { server_id: server_id.to_owned(), role });
        }
    }

    /// The node is installed anew or its server is gone: the CVM and what it kept are lost.
    pub fn forget(&mut self, server_id: &str) {
        self.stop(server_id);
        if let Some(cvm) = self.cvms.remove(server_id) {
            self.drop_unused_cluster(cvm.cluster);
        }
    }

    /// A cluster is gone with the last node that belongs to it.
    fn drop_unused_cluster(&mut self, cluster: Option<Uuid>) {
        if let Some(uuid) = cluster
            && !self.cvms.values().any(|cvm| cvm.cluster == Some(uuid))
        {
            self.clusters.remove(&uuid);
        }
    }

    /// What answers now.
    pub fn listeners(&self, now: Timestamp) -> Vec<Listener> {
        let mut listeners = Vec::new();
        for owner in self.cvms.values() {
            let Some((cvm, _)) = self.cvm_at(owner.ip()) else { continue };
            let mut listen = |port, service| {
                listeners.push(Listener { ip: owner.ip(), port, service, certificate: cvm.certificate() });
            };
            if !self.is_observed() || self.front(now, cvm) != Front::Refused {
                listen(self.settings.prism_port, Service::Https);
            }
            if self.has_foundation(now, cvm) {
                let is_plain = self.settings.foundation_api() == FoundationApi::ImageNodes;
                listen(self.settings.foundation_port, if is_plain { Service::Http } else { Service::Https });
            }
        }
        for cluster in self.clusters.values().filter(|cluster| self.vip_answers(now, cluster)) {
            if let (Some(ip), Some(leader)) = (cluster.vip, self.prism_leader(now, cluster)) {
                let certificate = leader.certificate();
                listeners.push(Listener { ip, port: self.settings.prism_port, service: Service::Https, certificate });
            }
        }
        if self.is_observed() {
            for (ip, place) in self.ssh_places() {
                let (port, certificate) = (self.settings.ssh_port, self.host_key(&place));
                listeners.push(Listener { ip, port, service: Service::Ssh, certificate });
            }
        }
        listeners
    }

    /// Another value whenever [`Fleet::listeners`] may be another.
    pub fn listeners_mark(&self, now: Timestamp) -> (u64, usize) {
        if !self.is_observed() {
            return (self.changes, self.clusters.values().filter(|cluster| cluster.vip_at <= now).count());
        }
        // There, listeners come and go with services: their digest says more than any counter.
        let mut hasher = DefaultHasher::new();
        self.listeners(now).hash(&mut hasher);
        (self.changes, usize::try_from(hasher.finish() >> 1).unwrap_or_default())
    }

    /// When something changes by time alone.
    pub fn next_event_at(&self, now: Timestamp) -> Timestamp {
        let vips = self.clusters.values().map(|cluster| cluster.vip_at);
        let observed = self.is_observed().then(|| self.observed_events()).into_iter().flatten();
        let next = vips.chain(observed).filter(|at| *at > now).min().unwrap_or(Timestamp::NEVER);
        self.next_process().map_or(next, |(at, _)| next.min(at))
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
        self.advance(now, faults);
        let server_id = self.answering(now, ip, port)?.host.server_id.clone();
        if port == self.settings.prism_port {
            return Some(self.handle_prism(now, &server_id, request, faults));
        }
        match self.settings.foundation_api() {
            FoundationApi::Documented => Some(self.handle_foundation(now, &server_id, request, faults)),
            FoundationApi::ImageNodes => Some(self.handle_image_nodes(now, &server_id, request, faults)),
            FoundationApi::Absent => None,
        }
    }

    fn answering(&self, now: Timestamp, ip: Ipv4Addr, port: u16) -> Option<&Cvm> {
        let is_prism = port == self.settings.prism_port;
        if !is_prism && port != self.settings.foundation_port {
            return None;
        }
        let of_vip = || {
            let has_vip = |cluster: &&Cluster| cluster.vip == Some(ip) && self.vip_answers(now, cluster);
            self.prism_leader(now, self.clusters.values().find(has_vip).filter(|_| is_prism)?)
        };
        let answers = |cvm: &&Cvm| match (is_prism, self.is_observed()) {
            (true, true) => self.front(now, cvm) != Front::Refused,
            (true, false) => true,
            (false, _) => self.has_foundation(now, cvm),
        };
        self.cvm_at(ip).map(|(cvm, _)| cvm).filter(answers).or_else(of_vip)
    }

    fn has_foundation(&self, now: Timestamp, cvm: &Cvm) -> bool {
        let is_there = self.settings.foundation_api() != FoundationApi::Absent;
        is_there && if self.is_observed() { cvm.has_genesis(now) } else { cvm.answers() }
    }

    fn cluster_of(&self, cvm: &Cvm) -> Option<&Cluster> {
        cvm.cluster.and_then(|uuid| self.clusters.get(&uuid))
    }

    /// A member that answers.
    fn leader(&self, cluster: &Cluster) -> Option<&Cvm> {
        cluster.members.iter().filter_map(|id| self.cvms.get(id)).find(|cvm| cvm.answers())
    }

    /// A member that answers for the VIP.
    fn prism_leader<'a>(&'a self, now: Timestamp, cluster: &'a Cluster) -> Option<&'a Cvm> {
        if self.is_observed() { self.prism_members(now, cluster).next() } else { self.leader(cluster) }
    }

    /// Whose an address is, in words; `None` if it is free.
    fn owner_of(&self, ip: Ipv4Addr) -> Option<String> {
        let of = |cvm: &Cvm| {
            let roles =
                [("CVM", cvm.ip()), ("hypervisor", cvm.host.config.hypervisor_ip), ("machine", cvm.host.mgmt_ip)];
            roles.iter().find(|(_, at)| *at == ip).map(|(role, _)| format!("the {role} of {}", cvm.host.server_name))
        };
        let vip = |cluster: &Cluster| (cluster.vip == Some(ip)).then(|| format!("the cluster {}", cluster.name));
        self.cvms.values().find_map(of).or_else(|| self.clusters.values().find_map(vip))
    }
}

#[cfg(test)]
mod observed_tests;
#[cfg(test)]
mod tests;
