//! Which password is changed next, and which one is shown to do it.
//!
//! Wrong passwords lock accounts, on fresh nodes too, after three to five of them. So nobody guesses: at each place at most
//! two are refused, a minute apart, and then a person is asked.

use crate::{
    Account, AccountRecord, AccountState, ClusterAction, ClusterDecision, ClusterView, Decision, Failure,
    FormationAttempt, Timestamp,
};

/// A place where passwords are kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecurePlace {
    /// The controller VM of a node, by server id.
    Cvm(String),
    /// The AHV host of a node, by server id.
    Host(String),
    /// Prism, of the whole cluster.
    Prism,
}

impl SecurePlace {
    /// The accounts that lead at some place.
    pub(crate) const LEADS: [Account; 3] = [Account::CvmNutanix, Account::AhvRoot, Account::PrismAdmin];

    /// The account that one logs in with to change all others there. It is changed last, so what it says holds for them.
    pub fn lead(&self) -> Account {
        match self {
            SecurePlace::Cvm(_) => Account::CvmNutanix,
            SecurePlace::Host(_) => Account::AhvRoot,
            SecurePlace::Prism => Account::PrismAdmin,
        }
    }

    /// The node it belongs to.
    pub fn server_id(&self) -> Option<&str> {
        match self {
            SecurePlace::Cvm(id) | SecurePlace::Host(id) => Some(id),
            SecurePlace::Prism => None,
        }
    }

    /// What a person reads.
    pub fn in_words(&self) -> String {
        match self {
            SecurePlace::Cvm(id) => format!("the controller VM of {id}"),
            SecurePlace::Host(id) => format!("the AHV host of {id}"),
            SecurePlace::Prism => "Prism".into(),
        }
    }
}

/// Which password to log in with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShowPassword {
    /// The cluster's own.
    New,
    /// The one it was born with, as far as is known.
    Old,
    /// The other one it may have been born with.
    OtherOld,
}

/// How many refusals in a row a place may answer with.
const REFUSALS_ALLOWED: u32 = 2;

impl AccountRecord {
    /// Which password to log in with next.
    pub fn show(&self) -> ShowPassword {
        match (self.state, self.refusals) {
            (AccountState::Changed | AccountState::Set | AccountState::Absent, _) => ShowPassword::New,
            (AccountState::Changing, 0) => ShowPassword::New,
            (AccountState::Changing, _) | (AccountState::Default, 0) => ShowPassword::Old,
            (AccountState::Default, _) => ShowPassword::OtherOld,
        }
    }
}

impl ClusterView<'_> {
    /// What is known of a place's lead account.
    pub(crate) fn account(&self, place: &SecurePlace) -> AccountRecord {
        self.record.account(place)
    }

    /// What is to be done about passwords before create (`true`), or before the cluster counts as ready: `None` if nothing.
    pub(crate) fn secure(&self, attempt: &FormationAttempt, before: bool, now: Timestamp) -> Option<ClusterDecision> {
        self.secure_all(places(attempt, before), now)
    }

    /// The controller VMs whose passwords were about to be changed when we died: which one is in force isn't known.
    pub(crate) fn in_doubt(&self, attempt: &FormationAttempt) -> Vec<SecurePlace> {
        let cvms = attempt.members.iter().map(|id| SecurePlace::Cvm(id.clone()));
        cvms.filter(|place| self.account(place).state == AccountState::Changing).collect()
    }

    /// What is to be done about them: `None` if there are none.
    pub(crate) fn secure_in_doubt(&self, attempt: &FormationAttempt, now: Timestamp) -> Option<ClusterDecision> {
        self.secure_all(self.in_doubt(attempt), now)
    }

    fn secure_all(&self, places: Vec<SecurePlace>, now: Timestamp) -> Option<ClusterDecision> {
        let mut due = Vec::new();
        // The earliest; that there is one at all decides, or a place that is due at the end of time would count as secured.
        let mut wait_until: Option<Timestamp> = None;
        let mut refused = None;
        for place in places {
            let record = self.account(&place);
            if matches!(record.state, AccountState::Changed | AccountState::Absent) {
                continue;
            }
            if record.is_locked || record.refusals >= REFUSALS_ALLOWED {
                return Some(Decision::NeedsOperator(self.refused(&place, &record)));
            }
            let at = match record.state {
                // What was refused is tried again, or another in its place, not before a minute has passed.
                _ if record.refusals > 0 => record.at + self.timeouts.probe_after_refusal,
                AccountState::Set => record.at + self.timeouts.password_sync,
                _ => Timestamp(0),
            };
            if at <= now {
                due.push(place);
            } else {
                wait_until = Some(wait_until.map_or(at, |earlier| earlier.min(at)));
                refused = refused.or((record.refusals > 0).then(|| place.in_words()));
            }
        }
        if !due.is_empty() {
            return Some(Decision::Do(ClusterAction::Secure { places: due }));
        }
        wait_until.map(|until| Decision::Wait {
            reason: match refused {
                Some(place) => {
                    format!("{place} refused a password; the next is shown after a while, for lock-outs are real")
                }
                None => "waits until the new passwords are known everywhere".into(),
            },
            until,
        })
    }

    fn refused(&self, place: &SecurePlace, record: &AccountRecord) -> Failure {
        let said = record.error.as_deref().unwrap_or("the password was refused");
        Failure {
            in_phase: self.record.phase.as_str().into(),
            code: if record.is_locked { Failure::LOCKED } else { "credentials_refused" }.into(),
            reason: format!("{} doesn't let us in to change its passwords: {said}", place.in_words()),
            hint: "name its present password in [nutanix] (cvm_password_file, ahv_password_file, prism_password_file), wait \
                   for a lock-out to pass, then `metalform retry`; no node is imaged again"
                .into(),
        }
    }
}

/// Controller VMs and hosts before create, where the driver can, because a cluster takes Prism's first password from its
/// controller VMs; Prism last.
fn places(attempt: &FormationAttempt, before: bool) -> Vec<SecurePlace> {
    if before && !attempt.driver.changes_passwords_first() {
        return Vec::new();
    }
    let of_nodes = attempt.members.iter().flat_map(|id| [SecurePlace::Cvm(id.clone()), SecurePlace::Host(id.clone())]);
    let mut places: Vec<SecurePlace> = of_nodes.collect();
    if !before {
        places.push(SecurePlace::Prism);
    }
    places
}

impl crate::ClusterRecord {
    /// What is known of a place's lead account.
    pub fn account(&self, place: &SecurePlace) -> AccountRecord {
        let (lead, server_id) = (place.lead(), place.server_id());
        let mut known = self.accounts.iter().find(|r| r.account == lead && r.server_id.as_deref() == server_id);
        if *place == SecurePlace::Prism {
            // Prism is born with its cluster: what is known from before the last create is of another one.
            known = known.filter(|r| self.asked_at().is_none_or(|asked| r.at >= asked));
        }
        known.cloned().unwrap_or_else(|| AccountRecord {
            account: lead,
            server_id: server_id.map(Into::into),
            state: AccountState::Default,
            refusals: 0,
            at: Timestamp(0),
            error: None,
            is_locked: false,
        })
    }

    /// Whether the passwords of the controller VMs were changed before the cluster was created, so that Prism was born with
    /// theirs. A cluster that was adopted, or whose nodes were secured only after it was made, wasn't.
    pub fn was_seeded(&self) -> bool {
        let Some(attempt) = self.formation.as_ref().filter(|attempt| attempt.ours) else { return false };
        let mut changed =
            self.accounts.iter().filter(|r| r.account == Account::CvmNutanix && r.state == AccountState::Changed);
        match attempt.asked_at {
            Some(asked) => changed.any(|r| r.at <= asked),
            // It was up once, and when it was asked for is forgotten.
            None => attempt.driver.changes_passwords_first() && changed.next().is_some(),
        }
    }

    /// When a node was last asked to create the cluster.
    fn asked_at(&self) -> Option<Timestamp> {
        self.formation.as_ref().and_then(|attempt| attempt.asked_at)
    }
}
