//! Who can be reached from where: what one system finds when it knocks at an address, with the conditions that faults put
//! on the network.

use super::{
    Cvm, Fleet, Front,
    system::{Place, Role},
};
use crate::fault::{CvmFault, FaultEffect, Faults, Matches};
use metalform_model::Timestamp;
use std::{collections::BTreeMap, net::Ipv4Addr};

/// What becomes of a TCP connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    Open,
    /// The system is there, and nobody listens on that port.
    Refused,
    /// Nothing comes back.
    Silent,
}

/// What holds as long as a fault is armed.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Conditions {
    /// Two CVMs whose packets to each other are dropped. Server ids.
    blocked: Option<(String, String)>,
    /// How far clocks are off, in seconds.
    pub skew: BTreeMap<String, f64>,
    /// Something else has the addresses that clusters are to have.
    vip_taken: bool,
    /// At the address of the first, the second CVM answers.
    duplicate: Option<(String, String)>,
}

/// Who has an address.
enum Who<'a> {
    Cvm(&'a Cvm),
    Ahv,
    Vip,
}

impl Conditions {
    pub fn is_blocked(&self, one: &str, other: &str) -> bool {
        self.blocked.as_ref().is_some_and(|(a, b)| (a == one && b == other) || (a == other && b == one))
    }
}

impl Fleet {
    /// Looks which standing faults are armed.
    pub(super) fn look_at_conditions(&mut self, faults: &mut Faults) {
        if faults.list().is_empty() && self.conditions == Conditions::default() {
            return;
        }
        let conditions = Conditions {
            blocked: self
                .standing(faults, |fault| (*fault == CvmFault::BlockedPair).then_some(()))
                .map(|(a, b, ())| (a, b)),
            skew: self
                .standing(faults, |fault| match fault {
                    CvmFault::ClockSkew { seconds } => Some(*seconds),
                    _ => None,
                })
                .map(|(id, _, seconds)| (id, seconds))
                .into_iter()
                .collect(),
            vip_taken: faults
                .standing(|_, effect| (*effect == FaultEffect::Cvm(CvmFault::VipTaken)).then_some(()))
                .is_some(),
            duplicate: self
                .standing(faults, |fault| (*fault == CvmFault::DuplicateAddress).then_some(()))
                .map(|(a, b, ())| (a, b)),
        };
        if conditions != self.conditions {
            (self.conditions, self.changes) = (conditions, self.changes + 1);
        }
    }

    /// A standing fault, and the CVM it concerns with another one: the first by name that matches, and the first other.
    fn standing<T>(&self, faults: &mut Faults, wanted: impl Fn(&CvmFault) -> Option<T>) -> Option<(String, String, T)> {
        let mut named: Vec<(&str, &str)> =
            self.cvms.values().map(|cvm| (cvm.host.server_name.as_str(), cvm.host.server_id.as_str())).collect();
        named.sort_unstable();
        let concerned = |matches: &Matches| {
            let of_name = |name: &str| matches.name.as_deref().is_none_or(|wanted| name.contains(wanted));
            let first = named.iter().position(|(name, _)| of_name(name))?;
            let other = named.iter().enumerate().find(|(at, _)| *at != first)?.1;
            Some((named[first].1.to_owned(), other.1.to_owned()))
        };
        let pick = |matches: &Matches, effect: &FaultEffect| match effect {
            FaultEffect::Cvm(fault) => {
                let (one, other) = concerned(matches)?;
                wanted(fault).map(|value| (one, other, value))
            }
            _ => None,
        };
        faults.standing(pick)
    }

    /// The CVM that answers at a CVM's address, and whether it is the one whose address it is.
    pub(super) fn cvm_at(&self, ip: Ipv4Addr) -> Option<(&Cvm, bool)> {
        let owner = self.cvms.values().find(|cvm| cvm.ip() == ip)?;
        let usurper = match &self.conditions.duplicate {
            Some((victim, other)) if *victim == owner.host.server_id => self.cvms.get(other),
            _ => None,
        };
        match usurper.filter(|cvm| cvm.answers()) {
            Some(usurper) => Some((usurper, false)),
            None => Some((owner, true)).filter(|(owner, _)| owner.answers()),
        }
    }

    fn who(&self, now: Timestamp, ip: Ipv4Addr) -> Option<Who<'_>> {
        if let Some((cvm, _)) = self.cvm_at(ip) {
            return Some(Who::Cvm(cvm));
        }
        if self.conditions.vip_taken && self.cvms.values().any(|cvm| cvm.host.config.cluster_external_ip == ip) {
            return Some(Who::Ahv);
        }
        let is_host = |cvm: &&Cvm| cvm.host_is_up && (cvm.host.config.hypervisor_ip == ip || cvm.host.mgmt_ip == ip);
        if self.cvms.values().any(|cvm| is_host(&cvm)) {
            return Some(Who::Ahv);
        }
        self.clusters
            .values()
            .any(|cluster| cluster.vip == Some(ip) && self.vip_answers(now, cluster))
            .then_some(Who::Vip)
    }

    fn is_cut_off(&self, from: &Place, to: &Who<'_>) -> bool {
        matches!(to, Who::Cvm(cvm) if from.role == Role::Cvm
            && self.conditions.is_blocked(&from.server_id, &cvm.host.server_id))
    }

    pub(super) fn pings(&self, now: Timestamp, from: &Place, ip: Ipv4Addr) -> bool {
        ip == Ipv4Addr::LOCALHOST || self.who(now, ip).is_some_and(|who| !self.is_cut_off(from, &who))
    }

    pub(super) fn reach(&self, now: Timestamp, from: &Place, ip: Ipv4Addr, port: u16) -> Reach {
        let who = match (ip == Ipv4Addr::LOCALHOST, from.role, self.cvms.get(&from.server_id)) {
            (true, Role::Cvm, Some(cvm)) => Some(Who::Cvm(cvm)),
            (true, Role::Ahv, _) => Some(Who::Ahv),
            _ => self.who(now, ip),
        };
        let Some(who) = who.filter(|who| !self.is_cut_off(from, who)) else { return Reach::Silent };
        let (settings, from_cvm) = (&self.settings, from.role == Role::Cvm);
        let is_open = match who {
            Who::Cvm(cvm) => {
                port == settings.ssh_port
                    || (port == settings.genesis_port && from_cvm && cvm.has_genesis(now))
                    || (port == settings.prism_port && self.front(now, cvm) != Front::Refused)
                    || (port == settings.foundation_port && self.has_foundation(now, cvm))
            }
            Who::Ahv => port == settings.ssh_port,
            Who::Vip => port == settings.ssh_port || port == settings.prism_port,
        };
        if is_open { Reach::Open } else { Reach::Refused }
    }

    /// What a `cluster create` asks of a member before it uses it: it is up, its genesis answers, and nothing is in between.
    pub(super) fn genesis_reaches(&self, now: Timestamp, from: &str, ip: Ipv4Addr) -> Option<&Cvm> {
        let (cvm, is_owner) = self.cvm_at(ip)?;
        let is_well = is_owner && cvm.has_genesis(now) && !self.conditions.is_blocked(from, &cvm.host.server_id);
        is_well.then_some(cvm)
    }
}
