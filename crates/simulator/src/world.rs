//! The simulated world in one piece: the cloud, the machines it powers, and the CVMs they grow.
//!
//! A pure, synchronous state machine. Requests come in as values and are answered at once; what machines fetch goes out as
//! [`Fetch`]es, whose results come back through [`World::fetched`]; time is an argument. So the same world stands behind
//! sockets ([`crate::faces`]) and in a test that lets weeks pass in a second, and the same seed and the same answers give
//! the same run.

mod log;
mod settings;

pub use log::{Asked, LoggedRequest};
pub use settings::WorldSettings;

use crate::{
    cloud::{Cloud, Face, LedgerEntry, PlanIds, PowerEvent},
    cvm::{CvmHost, Fleet, Listener},
    fault::{Fault, Faults},
    fetch::FetchResult,
    http::{Reply, Request},
    machine::{EmulatorOrder, Http, Machine, MachineEffect, NodeConfig},
    ssh::{SshAdmission, SshExec, SshReply},
};
use log::{Log, SshAsked};
use metalform_model::Timestamp;
use std::{collections::BTreeMap, net::Ipv4Addr};

/// Something a machine fetches. Its result goes to [`World::fetched`] under the same id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// Of the fetch.
    pub id: u64,
    /// What is fetched, from which address.
    pub http: Http,
}

/// A simulated world.
#[derive(Debug)]
pub struct World {
    settings: WorldSettings,
    cloud: Cloud,
    /// By server id.
    machines: BTreeMap<String, Machine>,
    fleet: Fleet,
    /// Whose fetch it is, by our own id.
    fetching: BTreeMap<u64, (String, u64)>,
    last_fetch: u64,
    wanted: Vec<Fetch>,
    orders: Vec<EmulatorOrder>,
    log: Log,
    now: Timestamp,
}

impl World {
    /// A world with an empty cloud.
    pub fn new(settings: WorldSettings, now: Timestamp) -> Self {
        World {
            cloud: Cloud::new(settings.cloud.clone(), now),
            fleet: Fleet::new(settings.cvms.clone()),
            machines: BTreeMap::new(),
            fetching: BTreeMap::new(),
            last_fetch: 0,
            wanted: Vec::new(),
            orders: Vec::new(),
            log: Log::default(),
            now,
            settings,
        }
    }

    /// Answers a request to the cloud.
    pub fn cloud_request(&mut self, now: Timestamp, face: Face, request: &Request) -> Reply {
        self.now = now;
        let reply = self.cloud.handle(now, face, request);
        self.log.add(now, Asked::Cloud(face), request, &reply);
        self.settle(now);
        reply
    }

    /// Answers a request to a CVM or a VIP; `None` where connections are refused.
    pub fn cvm_request(&mut self, now: Timestamp, ip: Ipv4Addr, port: u16, request: &Request) -> Option<Reply> {
        self.settle(now);
        let reply = self.fleet.handle(now, ip, port, request, self.cloud.faults_mut())?;
        let asked =
            if port == self.settings.cvms.prism_port { Asked::Prism(ip, port) } else { Asked::Foundation(ip, port) };
        self.log.add(now, asked, request, &reply);
        Some(reply)
    }

    /// Logs in over SSH to a CVM or a hypervisor; `None` where connections are refused.
    pub fn ssh_login(
        &mut self,
        now: Timestamp,
        ip: Ipv4Addr,
        port: u16,
        user: &str,
        password: &str,
    ) -> Option<SshAdmission> {
        self.settle(now);
        let admission = self.fleet.ssh_login(now, ip, port, user, password, self.cloud.faults_mut())?;
        self.log.add_ssh(now, (ip, port), user, SshAsked::Login(admission));
        Some(admission)
    }

    /// Has a logged-in user's command executed; `None` where connections are refused.
    pub fn ssh_exec(
        &mut self,
        now: Timestamp,
        ip: Ipv4Addr,
        port: u16,
        user: &str,
        exec: &SshExec,
    ) -> Option<SshReply> {
        self.settle(now);
        let reply = self.fleet.ssh_exec(now, ip, port, user, exec, self.cloud.faults_mut())?;
        self.log.add_ssh(now, (ip, port), user, SshAsked::Exec(&exec.command, &reply));
        Some(reply)
    }

    /// Every place that would let somebody in with one of these passwords, on nodes that live: `prism ADDRESS USER`,
    /// `cvm ADDRESS USER` or `ahv ADDRESS USER`. For tests: it counts as no attempt.
    pub fn accepted_passwords(&self, candidates: &[&str]) -> Vec<String> {
        self.fleet.accepted_passwords(self.now, candidates)
    }

    /// Lets everything happen that is due, and says what machines fetch next.
    pub fn advance(&mut self, now: Timestamp) -> Vec<Fetch> {
        self.settle(now);
        std::mem::take(&mut self.wanted)
    }

    /// A fetch has ended.
    pub fn fetched(&mut self, now: Timestamp, id: u64, result: FetchResult) {
        self.now = now;
        if let Some((server_id, fetch_id)) = self.fetching.remove(&id)
            && let Some(machine) = self.machines.get_mut(&server_id)
        {
            machine.fetched(now, fetch_id, result, self.cloud.faults_mut());
            self.take_effects(now, &server_id);
        }
    }

    /// What is to be done with emulated machines, in order, since the last call.
    pub fn take_emulator_orders(&mut self) -> Vec<EmulatorOrder> {
        std::mem::take(&mut self.orders)
    }

    /// The installed system of an emulated machine says, from the machine's own address, that it is up
    /// ([`Machine::system_is_up`]). Answers what its controller VM, its hypervisor and the VIP that it holds listen on.
    ///
    /// # Errors
    /// No machine has that address, or its configuration can't be.
    pub fn system_is_up(
        &mut self,
        now: Timestamp,
        from: Ipv4Addr,
        install: &str,
        config: &str,
    ) -> Result<Vec<Listener>, Vec<String>> {
        self.settle(now);
        let machine = self.machines.values_mut().find(|machine| machine.powered_on().address == from);
        let machine = machine.ok_or_else(|| vec![format!("no machine has the address {from}")])?;
        let server_id = machine.powered_on().server_id.clone();
        let said = machine.system_is_up(now, install, config);
        self.take_effects(now, &server_id);
        said?;
        let is_its = |listener: &Listener| listener.certificate.server_id.split('/').next() == Some(&server_id);
        Ok(self.listeners().into_iter().filter(is_its).collect())
    }

    /// When [`World::advance`] has something to do; nothing may come of it.
    pub fn next_event_at(&self) -> Timestamp {
        if !self.wanted.is_empty() || !self.orders.is_empty() {
            return self.now;
        }
        let cloud = self.cloud.next_event_at().unwrap_or(Timestamp::NEVER);
        let machines = self.machines.values().map(Machine::next_event_at).min().unwrap_or(Timestamp::NEVER);
        cloud.min(machines).min(self.fleet.next_event_at(self.now))
    }

    /// Where CVMs and VIPs answer now.
    pub fn listeners(&self) -> Vec<Listener> {
        self.fleet.listeners(self.now)
    }

    /// Another value whenever [`World::listeners`] may be another.
    pub fn listeners_mark(&self) -> (u64, usize) {
        self.fleet.listeners_mark(self.now)
    }

    /// Places a node that was imaged long ago: its CVM comes up, no server of the cloud is behind it.
    pub fn place_prepared_node(&mut self, now: Timestamp, host: CvmHost) {
        self.now = now;
        self.fleet.start(now, host, self.cloud.faults_mut());
    }

    /// What the cloud ever made, and whether it still exists.
    pub fn ledger(&self) -> Vec<LedgerEntry> {
        self.cloud.ledger()
    }

    /// Every request that cloud and CVMs received, without secrets, oldest first.
    pub fn requests(&self) -> impl Iterator<Item = &LoggedRequest> {
        self.log.entries()
    }

    /// Arms a fault.
    pub fn add_fault(&mut self, fault: Fault) {
        self.cloud.add_fault(fault);
    }

    /// Ends the faults of that name; answers how many there were.
    pub fn end_fault(&mut self, name: &str) -> usize {
        self.cloud.faults_mut().remove(name)
    }

    /// The armed faults.
    pub fn faults(&self) -> &Faults {
        self.cloud.faults()
    }

    /// What a plan for this world has to name.
    pub fn plan_ids(&self) -> PlanIds {
        self.cloud.plan_ids()
    }

    /// Its settings.
    pub fn settings(&self) -> &WorldSettings {
        &self.settings
    }

    /// The machines that were ever powered on and still belong to us, by server id.
    pub fn machines(&self) -> impl Iterator<Item = &Machine> {
        self.machines.values()
    }

    /// The machine behind the server of that name.
    pub fn machine(&self, server_name: &str) -> Option<&Machine> {
        self.machines.values().find(|machine| machine.powered_on().name == server_name)
    }

    /// How often the machine behind the server of that name asked for its boot script.
    pub fn script_fetches(&self, server_name: &str) -> u64 {
        self.machine(server_name).map_or(0, Machine::script_fetches)
    }

    #[cfg(test)]
    pub(crate) fn fleet_mut(&mut self) -> &mut Fleet {
        &mut self.fleet
    }

    /// Carries out all that is due at `now`.
    fn settle(&mut self, now: Timestamp) {
        self.now = now;
        self.cloud.advance(now);
        for event in self.cloud.take_power_events() {
            self.power(now, event);
        }
        let due: Vec<String> = self
            .machines
            .iter()
            .filter(|(_, machine)| machine.next_event_at() <= now)
            .map(|(server_id, _)| server_id.clone())
            .collect();
        for server_id in due {
            if let Some(machine) = self.machines.get_mut(&server_id) {
                machine.poll(now, self.cloud.faults_mut());
            }
            self.take_effects(now, &server_id);
        }
        self.fleet.advance(now, self.cloud.faults_mut());
    }

    fn power(&mut self, now: Timestamp, event: PowerEvent) {
        let server_id = match event {
            PowerEvent::On(on) => {
                let new = || Machine::new(self.settings.machines.clone(), &on);
                let machine = self.machines.entry(on.server_id.clone()).or_insert_with(new);
                if self.settings.machines.emulated {
                    let machine = machine.power_on_emulated(&on, self.cloud.faults_mut());
                    self.orders.extend(machine.map(|machine| EmulatorOrder::On(Box::new(machine))));
                } else {
                    machine.power_on(now, &on, self.cloud.faults_mut());
                }
                on.server_id
            }
            PowerEvent::Off { server_id } => {
                if let Some(machine) = self.machines.get_mut(&server_id) {
                    machine.power_off();
                }
                if self.settings.machines.emulated {
                    self.orders.push(EmulatorOrder::Off { server_id: server_id.clone() });
                }
                server_id
            }
            PowerEvent::Gone { server_id } => {
                self.machines.remove(&server_id);
                self.fleet.forget(&server_id);
                if self.settings.machines.emulated {
                    self.orders.push(EmulatorOrder::Gone { server_id });
                }
                return;
            }
        };
        self.take_effects(now, &server_id);
    }

    fn host(&self, server_id: &str, config: NodeConfig, install: u32) -> CvmHost {
        let machine = &self.machines[server_id];
        CvmHost {
            server_id: server_id.to_owned(),
            server_name: machine.powered_on().name.clone(),
            node_uuid: machine.uuid(),
            mgmt_ip: machine.powered_on().address,
            install,
            config,
        }
    }

    fn take_effects(&mut self, now: Timestamp, server_id: &str) {
        let Some(machine) = self.machines.get_mut(server_id) else { return };
        for effect in machine.take_effects() {
            match effect {
                MachineEffect::Http(fetch_id, http) => {
                    self.last_fetch += 1;
                    self.fetching.insert(self.last_fetch, (server_id.to_owned(), fetch_id));
                    self.wanted.push(Fetch { id: self.last_fetch, http });
                }
                MachineEffect::BootDiskOverwritten => {
                    self.cloud.boot_disk_overwritten(server_id);
                    self.fleet.forget(server_id);
                }
                MachineEffect::HostUp { config, install } => {
                    let host = self.host(server_id, *config, install);
                    self.fleet.host_up(now, &host, self.cloud.faults_mut());
                }
                MachineEffect::CvmUp { config, install } => {
                    let host = self.host(server_id, *config, install);
                    self.fleet.start(now, host, self.cloud.faults_mut());
                }
                MachineEffect::CvmDown => self.fleet.stop(server_id),
            }
            if !self.machines.contains_key(server_id) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
