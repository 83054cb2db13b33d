//! Who is let in where.

use super::{Account, Cvm, Fleet, PrismPassword};
use metalform_model::Timestamp;

impl Fleet {
    /// Prism's account on a CVM now.
    pub(super) fn prism_account(&self, now: Timestamp, cvm: &Cvm) -> Account {
        let password = self.cluster_of(cvm).map_or(&cvm.prism, |cluster| &cluster.prism);
        Account { user: self.settings.prism.user.clone(), password: password.on(&cvm.host.server_id, now).to_owned() }
    }

    /// The password with which a cluster's Prism begins, when this CVM is asked to create it.
    ///
    /// `cluster create` "will seed prism with password hash" (transcript): that of the CVM's own user, if it is not the one
    /// it was delivered with. Inferred from that line and older material; not confirmed.
    pub(super) fn first_password(&self, asked: &Cvm) -> PrismPassword {
        if !self.is_observed() {
            return asked.prism.clone();
        }
        let observed = &self.settings.observed;
        let seed = asked.system.password("nutanix").filter(|_| asked.system.has_new_password("nutanix"));
        match seed.filter(|_| observed.seeds_prism_password) {
            Some(seed) => PrismPassword::seeded(seed),
            None => PrismPassword::new(&observed.prism_password),
        }
    }

    /// Every place that would let somebody in with one of these passwords, without counting as an attempt: `prism ADDRESS
    /// USER`, `cvm ADDRESS USER` or `ahv ADDRESS USER`, on nodes that live.
    pub fn accepted_passwords(&self, now: Timestamp, candidates: &[&str]) -> Vec<String> {
        let mut places = Vec::new();
        for cvm in self.cvms.values() {
            let mut note = |kind: &str, ip, user: &str, password: &str| {
                if candidates.contains(&password) {
                    places.push(format!("{kind} {ip} {user}"));
                }
            };
            if cvm.answers() && (!self.is_observed() || self.cluster_of(cvm).is_some()) {
                let account = self.prism_account(now, cvm);
                note("prism", cvm.ip(), &account.user, &account.password);
            }
            if self.is_observed() && cvm.answers() {
                cvm.system.accounts().for_each(|(user, password)| note("cvm", cvm.ip(), user, password));
            }
            if self.is_observed() && cvm.host_is_up {
                let ip = cvm.host.config.hypervisor_ip;
                cvm.ahv.accounts().for_each(|(user, password)| note("ahv", ip, user, password));
            }
        }
        places
    }
}
