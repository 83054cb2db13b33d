//! The services of a cluster on one of its members: they start one after another, and what a CVM answers follows from
//! which of them are up.

use super::{
    Cvm, Fleet, Front,
    cluster::{Cluster, Target},
    settings::PrismBeforeCreate,
};
use metalform_model::Timestamp;
use std::time::Duration;

/// In a published transcript of 2023, in its order. Another release has others: no client may know the list.
pub(super) const SERVICES: [&str; 45] = [
    "Zeus",
    "Scavenger",
    "Xmount",
    "SysStatCollector",
    "IkatProxy",
    "IkatControlPlane",
    "SSLTerminator",
    "SecureFileSync",
    "Medusa",
    "DynamicRingChanger",
    "Pithos",
    "InsightsDB",
    "Athena",
    "Mercury",
    "Mantle",
    "VipMonitor",
    "Stargate",
    "InsightsDataTransfer",
    "Ergon",
    "GoErgon",
    "Cerebro",
    "Chronos",
    "Curator",
    "Prism",
    "Hera",
    "CIM",
    "AlertManager",
    "Arithmos",
    "Catalog",
    "Acropolis",
    "Uhura",
    "NutanixGuestTools",
    "MinervaCVM",
    "ClusterConfig",
    "APLOSEngine",
    "APLOS",
    "PlacementSolver",
    "Lazan",
    "Polaris",
    "Delphi",
    "Security",
    "Flow",
    "Anduril",
    "XTrim",
    "ClusterHealth",
];
/// What opens port 9440, what answers behind it, and when a member shows up as a host.
const PORT: usize = 6;
const PRISM: usize = 23;
const HOST: usize = 29;
/// What a fault takes down.
pub(super) const SICK: &str = "Stargate";
const FLAPPING: &str = "Acropolis";
const FLAP_PERIOD: Duration = Duration::from_secs(60);
const FLAP_DOWN: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ServiceState {
    Up,
    Down,
    Error,
}

/// A row of `cluster status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Service {
    pub name: &'static str,
    pub state: ServiceState,
    pub pids: Vec<u32>,
    pub last_error: Option<&'static str>,
}

impl Cvm {
    /// When the service at that place of the list is up, if nothing comes in between.
    fn service_at(&self, index: usize) -> Timestamp {
        let share = (index + 1) as f64 / SERVICES.len() as f64;
        self.services_from + self.services_take.mul_f64(share)
    }

    fn prism_answers_at(&self) -> Timestamp {
        self.service_at(PRISM) + self.prism_takes
    }

    /// Services are (re)started, one after another.
    pub fn start_services(&mut self, from: Timestamp, take: Duration, prism_takes: Duration) {
        (self.services_from, self.services_take, self.prism_takes) = (from, take, prism_takes);
    }

    pub fn stop_services(&mut self) {
        self.services_from = Timestamp::NEVER;
    }

    /// When port 9440, Prism behind it, or the list of hosts changes by time alone.
    pub fn service_events(&self) -> [Timestamp; 4] {
        let last = self.service_at(SERVICES.len() - 1);
        [self.service_at(PORT), self.prism_answers_at(), self.service_at(HOST), last]
    }
}

impl Fleet {
    /// The services of a cluster's member, as its genesis sees them.
    pub(super) fn services(&self, now: Timestamp, cvm: &Cvm) -> Vec<Service> {
        let cluster = self.cluster_of(cvm);
        let runs = cvm.answers() && cluster.is_some_and(|cluster| cluster.target == Target::Start);
        let is_first = cluster.is_some_and(|cluster| cluster.members.first() == Some(&cvm.host.server_id));
        SERVICES
            .iter()
            .enumerate()
            .map(|(index, name)| {
                let is_sick = *name == SICK && is_first && cluster.is_some_and(|cluster| cluster.service_down);
                let flaps = *name == FLAPPING
                    && is_first
                    && cluster.is_some_and(|cluster| self.flaps(now, cvm.service_at(index), cluster.flaps_for));
                let (state, last_error) = match runs && now >= cvm.service_at(index) {
                    false => (ServiceState::Down, None),
                    true if flaps => (ServiceState::Error, Some("service exited with status 255, restarting")),
                    true if is_sick => (ServiceState::Down, Some("failed to start")),
                    true => (ServiceState::Up, None),
                };
                let first = 5_000 + 40 * u32::try_from(index).unwrap_or_default();
                let pids = if state == ServiceState::Up { vec![first, first + 7, first + 8] } else { Vec::new() };
                Service { name, state, pids, last_error }
            })
            .collect()
    }

    /// For a while after its start it is down for a third of each minute.
    fn flaps(&self, now: Timestamp, up_at: Timestamp, flaps_for: Duration) -> bool {
        let (since, period) = (now.since(up_at), self.pace.exactly(FLAP_PERIOD));
        let into = Duration::from_micros(u64::try_from(since.as_micros() % period.as_micros().max(1)).unwrap_or(0));
        since < flaps_for && into < self.pace.exactly(FLAP_DOWN)
    }

    /// Which of a member's services are still to start; a sick one is not waited for, it goes down again later.
    pub(super) fn waiting_for(&self, now: Timestamp, cvm: &Cvm) -> Vec<&'static str> {
        let services = self.services(now, cvm);
        let is_down = |service: &&Service| service.state != ServiceState::Up && service.last_error.is_none();
        services.iter().filter(is_down).map(|service| service.name).collect()
    }

    /// What a connection to port 9440 finds.
    pub(super) fn front(&self, now: Timestamp, cvm: &Cvm) -> Front {
        let runs = |cluster: &Cluster| cluster.target == Target::Start && now >= cvm.service_at(PORT);
        match self.cluster_of(cvm) {
            _ if !cvm.answers() => Front::Refused,
            Some(cluster) if runs(cluster) => {
                if now >= cvm.prism_answers_at() {
                    Front::Prism
                } else {
                    Front::Page
                }
            }
            Some(_) => Front::Refused,
            None => match self.settings.observed.prism_before_create {
                PrismBeforeCreate::Refused => Front::Refused,
                PrismBeforeCreate::Reset => Front::Reset,
                PrismBeforeCreate::Page => Front::Page,
            },
        }
    }

    /// The members that answer on 9440, each with its Prism up.
    pub(super) fn prism_members<'a>(&'a self, now: Timestamp, cluster: &'a Cluster) -> impl Iterator<Item = &'a Cvm> {
        let members = cluster.members.iter().filter_map(|id| self.cvms.get(id));
        members.filter(move |cvm| cvm.cluster == Some(cluster.uuid) && self.front(now, cvm) == Front::Prism)
    }

    /// When the VIP begins to answer: a while after the first member's Prism.
    pub(super) fn vip_up_at(&self, cluster: &Cluster) -> Timestamp {
        let members = cluster.members.iter().filter_map(|id| self.cvms.get(id));
        let first = members.filter(|cvm| cvm.answers()).map(Cvm::prism_answers_at).min();
        first.unwrap_or(Timestamp::NEVER) + cluster.vip_after
    }

    pub(super) fn vip_answers(&self, now: Timestamp, cluster: &Cluster) -> bool {
        if self.is_observed() {
            now >= self.vip_up_at(cluster) && self.prism_members(now, cluster).next().is_some()
        } else {
            cluster.vip_at <= now && self.leader(cluster).is_some()
        }
    }

    /// How many members a cluster counts, whether its data has its redundancy, and which of them are shown as hosts.
    pub(super) fn progress(&self, now: Timestamp, cluster: &Cluster) -> (usize, bool, Vec<&Cvm>) {
        let members: Vec<&Cvm> = cluster.members.iter().filter_map(|id| self.cvms.get(id)).collect();
        let hosts: Vec<&Cvm> = members.iter().copied().filter(|cvm| now >= cvm.service_at(HOST)).collect();
        let started = members.iter().filter(|cvm| now >= cvm.service_at(SERVICES.len() - 1)).count();
        let settled_at = members.iter().map(|cvm| cvm.service_at(SERVICES.len() - 1) + cvm.services_take / 10).max();
        let all_well = members.len() == cluster.members.len() && members.iter().all(|cvm| cvm.has_genesis(now));
        let is_settled = all_well && !cluster.service_down && settled_at.is_some_and(|at| now >= at);
        (started.max(1), is_settled, hosts)
    }
}
