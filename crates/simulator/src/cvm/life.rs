//! The life of a CVM in the profile `observed`: its host comes up, then its own system with SSH, then genesis. A cluster's
//! services come after that, and only where there is one.
//!
//! How long each takes is a setting: a user reports about ten minutes from the host's restart until a CVM's components are
//! ready, a published module waits five, documents of another orchestrator say fifteen to twenty for the first boot.

use super::{
    CertificateName, Cvm, CvmHost, CvmProfile, Fleet, PrismPassword,
    auth::Guard,
    cluster::Target,
    system::{Place, Role, System},
};
use crate::{
    fault::{CvmFault, Faults},
    pace,
};
use metalform_model::Timestamp;
use std::time::Duration;

/// What will happen to a CVM by time alone.
#[derive(Debug, Clone)]
pub(super) struct Life {
    /// Its system comes up, with SSH.
    pub system_at: Timestamp,
    /// Genesis answers from then on.
    pub genesis_at: Timestamp,
    /// It goes down and comes up again by itself.
    pub reboot_at: Timestamp,
    /// Genesis never comes up, not after another start either: a fault, until the host starts anew.
    pub never_ready: bool,
    /// No `cluster create` finds it until its genesis was restarted: a fault.
    pub is_hidden: bool,
}

impl Default for Life {
    fn default() -> Self {
        let never = Timestamp::NEVER;
        Life { system_at: never, genesis_at: never, reboot_at: never, never_ready: false, is_hidden: false }
    }
}

impl Cvm {
    /// Whether genesis answers.
    pub fn has_genesis(&self, now: Timestamp) -> bool {
        self.answers() && now >= self.life.genesis_at
    }
}

impl Fleet {
    /// A node that is installed for the first time, or anew.
    pub(super) fn install(&mut self, now: Timestamp, host: &CvmHost, faults: &mut Faults) {
        if self.cvms.get(&host.server_id).is_some_and(|cvm| cvm.host.install == host.install) {
            return;
        }
        self.forget(&host.server_id);
        let foreign = faults.take_cvm(&host.server_name, |fault| *fault == CvmFault::AlreadyConfigured);
        let foreign = foreign.map(|_| pace::uuid(self.settings.seed, &format!("foreign {}", host.server_name)));
        let is_observed = self.settings.profile == CvmProfile::Observed;
        let cvm = Cvm {
            is_up: false,
            is_dead: false,
            prism_at: now,
            guard: Guard::default(),
            foundation_guard: Guard::default(),
            generation: 0,
            cluster: foreign.filter(|_| is_observed),
            foreign_cluster: foreign.filter(|_| !is_observed),
            prism: PrismPassword::new(&self.settings.prism.password),
            system: System::new(Role::Cvm, host, &self.settings),
            ahv: System::new(Role::Ahv, host, &self.settings),
            host_is_up: false,
            life: Life::default(),
            services_from: Timestamp::NEVER,
            services_take: Duration::ZERO,
            prism_takes: Duration::ZERO,
            host: host.clone(),
        };
        self.cvms.insert(host.server_id.clone(), cvm);
        if let Some(uuid) = foreign.filter(|_| is_observed) {
            self.clusters.insert(uuid, self.foreign(now, uuid, host));
        }
    }

    /// A node's installed system is up, and with it the hypervisor's SSH; its CVM starts.
    pub fn host_up(&mut self, now: Timestamp, host: &CvmHost, faults: &mut Faults) {
        if !self.is_observed() {
            return;
        }
        self.changes += 1;
        self.install(now, host, faults);
        let system_at = now + self.pace.about(self.settings.durations.cvm_system);
        if let Some(cvm) = self.cvms.get_mut(&host.server_id) {
            cvm.ahv.boot();
            cvm.host_is_up = true;
            cvm.life.system_at = system_at;
        }
    }

    /// The CVM is up at the latest now; its genesis starts.
    pub(super) fn start_system(&mut self, now: Timestamp, server_id: &str, never_ready: bool, prism: Duration) {
        let genesis_at = now + self.pace.about(self.settings.durations.genesis);
        let Some(cvm) = self.cvms.get_mut(server_id) else { return };
        if !cvm.host_is_up {
            cvm.ahv.boot();
            cvm.host_is_up = true;
        }
        cvm.life.never_ready = never_ready;
        cvm.prism_takes = prism;
        if !cvm.is_up {
            self.boot_cvm(server_id);
        }
        self.start_genesis(server_id, genesis_at);
    }

    fn boot_cvm(&mut self, server_id: &str) {
        self.changes += 1;
        if let Some(cvm) = self.cvms.get_mut(server_id) {
            cvm.life.system_at = Timestamp::NEVER;
            (cvm.is_up, cvm.is_dead) = (true, false);
            cvm.system.boot();
        }
    }

    /// Genesis starts, and the services of a cluster that is to run after it.
    pub(super) fn start_genesis(&mut self, server_id: &str, at: Timestamp) {
        let takes = self.pace.about(self.settings.durations.services);
        let Some(cvm) = self.cvms.get_mut(server_id) else { return };
        cvm.life.genesis_at = if cvm.life.never_ready { Timestamp::NEVER } else { at };
        cvm.life.is_hidden = false;
        let cluster = cvm.cluster.and_then(|uuid| self.clusters.get(&uuid));
        let runs = cluster.is_some_and(|cluster| cluster.target == Target::Start && cluster.up_at < Timestamp::NEVER);
        let (from, prism_takes) = (if runs { cvm.life.genesis_at } else { Timestamp::NEVER }, cvm.prism_takes);
        cvm.start_services(from, takes, prism_takes);
    }

    /// Everything that is due happens, in its order.
    pub fn advance(&mut self, now: Timestamp, faults: &mut Faults) {
        if !self.is_observed() {
            return;
        }
        self.look_at_conditions(faults);
        loop {
            let life = self.cvms.iter().map(|(id, cvm)| (cvm.life.system_at.min(cvm.life.reboot_at), id)).min();
            let process = self.next_process();
            let life = life.filter(|(at, _)| *at <= now).map(|(at, id)| (at, id.clone()));
            match (life, process.filter(|(at, _)| *at <= now)) {
                (Some((at, id)), process) if process.is_none_or(|(process_at, _)| at <= process_at) => {
                    self.live(at, &id);
                }
                (_, Some((at, key))) => self.run_process(at, key, faults),
                _ => return,
            }
        }
    }

    /// What is due in the life of a CVM.
    fn live(&mut self, at: Timestamp, server_id: &str) {
        let Some(cvm) = self.cvms.get(server_id) else { return };
        if cvm.life.reboot_at <= at {
            let down = self.pace.about(self.settings.durations.cvm_system);
            let genesis = self.pace.about(self.settings.durations.genesis);
            self.go_down(server_id);
            if let Some(cvm) = self.cvms.get_mut(server_id) {
                cvm.life.system_at = at + down;
            }
            self.start_genesis(server_id, at + down + genesis);
        } else {
            self.boot_cvm(server_id);
        }
    }

    /// A CVM goes down while its host stays up.
    fn go_down(&mut self, server_id: &str) {
        self.changes += 1;
        self.foundation_sessions.lose(server_id);
        self.kill_processes(&Place { server_id: server_id.to_owned(), role: Role::Cvm });
        if let Some(cvm) = self.cvms.get_mut(server_id) {
            cvm.is_up = false;
            cvm.life.reboot_at = Timestamp::NEVER;
        }
    }

    /// A CVM answers no more, until its host starts anew.
    pub(super) fn kill_cvm(&mut self, server_id: &str) {
        self.changes += 1;
        self.kill_processes(&Place { server_id: server_id.to_owned(), role: Role::Cvm });
        if let Some(cvm) = self.cvms.get_mut(server_id) {
            cvm.is_dead = true;
        }
    }

    /// A CVM will restart by itself.
    pub(super) fn reboot_later(&mut self, server_id: &str, at: Timestamp) {
        if let Some(cvm) = self.cvms.get_mut(server_id) {
            cvm.life.reboot_at = at;
        }
    }

    /// The times at which something changes without anybody's doing.
    pub(super) fn observed_events(&self) -> impl Iterator<Item = Timestamp> {
        let lives = self.cvms.values().flat_map(|cvm| {
            let Life { system_at, genesis_at, reboot_at, .. } = cvm.life;
            [system_at, genesis_at, reboot_at].into_iter().chain(cvm.service_events())
        });
        lives.chain(self.clusters.values().map(|cluster| self.vip_up_at(cluster)))
    }

    /// The name of an SSH host key: new with each installation, and not with a cluster.
    pub(super) fn host_key(&self, place: &Place) -> CertificateName {
        let install = self.cvms.get(&place.server_id).map_or(0, |cvm| cvm.host.install);
        let suffix = if place.role == Role::Ahv { "/hypervisor" } else { "" };
        CertificateName { server_id: format!("{}{suffix}", place.server_id), install, generation: 0 }
    }
}
