//! Changing passwords on controller VMs, AHV hosts and Prism. One login a call, with the password that was decided on.
//!
//! A new password goes to `chpasswd` on standard input, never into a command line that `ps` shows; the account that we log
//! in with is changed last, so that a break in between leaves us the way in that is recorded.

use super::{CvmSshFormation, PrismFormation, is_refusal, pin_rule};
use async_trait::async_trait;
use metalform_model::{Account, AccountState, SecureOutcome, SecurePlace, ShowPassword, with_causes};
use metalform_nutanix::{CvmSession, CvmShell, ErrorKind, PinRule, ShellAnswer, ShellError, password};
use metalform_orchestrator::{Accounts, ClusterPasswords, ClusterSpec, Member, Passwords, Secured};
use secrecy::SecretString;
use std::sync::Arc;

/// Changes a cluster's passwords.
pub struct ClusterAccounts {
    /// The way into controller VMs, and the password they are born with.
    pub cvm: CvmSshFormation,
    /// The same for AHV hosts.
    pub host: CvmShell,
    /// The password they are born with.
    pub host_password: SecretString,
    /// Prism.
    pub prism: PrismFormation,
    /// Whether the operator named the password that it is born with.
    pub is_prism_password_named: bool,
}

/// What Prism is born with where it isn't seeded from its controller VMs: on CE by four public sources, elsewhere by four
/// published clients. The documented `admin` is of before AOS 5.x.
const PRISM_DEFAULTS: [&str; 2] = ["nutanix/4u", "Nutanix/4u"];

/// A place that is logged in to with SSH.
struct Shell<'a> {
    client: &'a CvmShell,
    address: std::net::Ipv4Addr,
    pin: PinRule,
    /// Whether SSH was seen there before: then it is there, whatever it answers now.
    was_there: bool,
    lead: &'a str,
    old: &'a SecretString,
    new: &'a SecretString,
    beside: Vec<(Option<Account>, &'static str, &'a SecretString)>,
    as_root: bool,
}

impl Shell<'_> {
    async fn secure(&self, show: ShowPassword) -> Secured {
        let shown = if show == ShowPassword::New { self.new } else { self.old };
        let session = match self.client.open(self.address, self.pin.clone(), shown).await {
            Ok(session) => session,
            Err(error) => return Secured { outcome: self.not_in(show, &error).await, key: None },
        };
        let key = Some(session.fingerprint().to_string());
        let outcome = self.change(&session, show).await.unwrap_or_else(|error| SecureOutcome::Failed { error });
        Secured { outcome, key }
    }

    async fn change(&self, session: &CvmSession, show: ShowPassword) -> Result<SecureOutcome, String> {
        let told = |error: ShellError| with_causes(&error);
        let mut beside = Vec::new();
        for (account, user, password) in &self.beside {
            let there = session.has_account(user).await.map_err(told)?;
            if there {
                session.change_password(user, password, self.as_root).await.map_err(told)?;
            }
            let state = if there { AccountState::Changed } else { AccountState::Absent };
            beside.extend(account.map(|account| (account, state)));
        }
        if show != ShowPassword::New {
            session.change_password(self.lead, self.new, self.as_root).await.map_err(told)?;
            // Seen to work, on a connection of its own.
            let pin = PinRule::OneOf(vec![session.fingerprint()]);
            match self.client.open(self.address, pin, self.new).await {
                Ok(_) => {}
                Err(error) => {
                    return Err(format!("the new password was set and doesn't work: {}", with_causes(&error)));
                }
            }
        }
        Ok(SecureOutcome::Works { beside })
    }

    async fn not_in(&self, show: ShowPassword, error: &ShellError) -> SecureOutcome {
        if error.is_denied() {
            return SecureOutcome::Refused { shown: show, error: with_causes(error), is_locked: false };
        }
        let answer = self.client.probe(self.address, PinRule::TrustFirst, None).await.answer;
        match answer {
            ShellAnswer::Refused if !self.was_there => {
                SecureOutcome::NotThere { why: "nothing listens for SSH".into() }
            }
            _ => SecureOutcome::NotReached { shown: show, error: with_causes(error) },
        }
    }
}

impl ClusterAccounts {
    /// Whether every member takes the new password: one that was just changed is known to all only after a while. The first
    /// refusal ends it.
    async fn prism_takes(&self, own: &ClusterPasswords, members: &[Member]) -> SecureOutcome {
        let client = self.prism.0.with_password(&own.prism_admin);
        let mut is_in_force = false;
        let mut failed = None;
        for member in members {
            match client.cluster(member.cvm_ip, pin_rule(member.pin.as_deref())).await {
                Ok(_) => is_in_force = true,
                Err(error) if is_refusal(&error) => {
                    let is_locked = matches!(*error.kind, ErrorKind::LockedOut);
                    let error = with_causes(&error);
                    return match is_in_force {
                        true => SecureOutcome::TakenInPart { error },
                        false => SecureOutcome::Refused { shown: ShowPassword::New, error, is_locked },
                    };
                }
                Err(error) => failed = Some(with_causes(&error)),
            }
        }
        match failed {
            None => SecureOutcome::Works { beside: Vec::new() },
            Some(error) => SecureOutcome::Failed { error },
        }
    }

    async fn secure_prism(
        &self,
        spec: &ClusterSpec,
        own: &ClusterPasswords,
        members: &[Member],
        show: ShowPassword,
    ) -> SecureOutcome {
        // Nodes that speak SSH are of a release on which the documented default is long gone: none of the two attempts is
        // spent on it.
        let is_current = !self.is_prism_password_named && members.iter().any(|m| m.ssh_pin.is_some());
        let with = |default: &str| self.prism.0.with_password(&default.into());
        let old = match show {
            ShowPassword::New => return self.prism_takes(own, members).await,
            ShowPassword::Old if spec.is_seeded => self.prism.0.with_password(&own.cvm_nutanix),
            ShowPassword::Old if is_current => with(PRISM_DEFAULTS[0]),
            ShowPassword::Old => self.prism.0.clone(),
            ShowPassword::OtherOld if is_current => with(PRISM_DEFAULTS[1]),
            ShowPassword::OtherOld => with(PRISM_DEFAULTS[0]),
        };
        let is_default = !spec.is_seeded || show == ShowPassword::OtherOld;
        let mut failed = String::from("no member to ask");
        for member in members {
            let pin = pin_rule(member.pin.as_deref());
            let outcome = old.change_password(member.cvm_ip, pin, is_default, &own.prism_admin).await;
            match outcome {
                Ok(()) => return SecureOutcome::Taken,
                Err(error) => match &*error.kind {
                    _ if is_refusal(&error) => {
                        let is_locked = matches!(*error.kind, ErrorKind::LockedOut);
                        return SecureOutcome::Refused { shown: show, error: with_causes(&error), is_locked };
                    }
                    // It never arrived, so another member may be asked. Anything else may have had its effect.
                    ErrorKind::NotSent(_) => failed = with_causes(&error),
                    _ => return SecureOutcome::Failed { error: with_causes(&error) },
                },
            }
        }
        SecureOutcome::NotReached { shown: show, error: failed }
    }
}

#[async_trait]
impl Accounts for ClusterAccounts {
    async fn secure(&self, spec: &ClusterSpec, members: &[Member], place: &SecurePlace, show: ShowPassword) -> Secured {
        let not_there = |why: &str| Secured { outcome: SecureOutcome::NotThere { why: why.into() }, key: None };
        let Some(own) = &spec.passwords else { return not_there("it has no passwords of its own yet") };
        let member = members.iter().find(|m| Some(m.server_id.as_str()) == place.server_id());
        match (place, member) {
            (SecurePlace::Prism, _) => {
                Secured { outcome: self.secure_prism(spec, own, members, show).await, key: None }
            }
            (SecurePlace::Cvm(_), Some(member)) => {
                let shell = Shell {
                    client: &self.cvm.shell,
                    address: member.cvm_ip,
                    pin: pin_rule(member.ssh_pin.as_deref()),
                    was_there: member.ssh_pin.is_some(),
                    lead: &self.cvm.shell.settings().user,
                    old: &self.cvm.password,
                    new: &own.cvm_nutanix,
                    // The user that some releases have beside, with a default that everybody knows. Whether Prism keeps it in
                    // step with its own isn't published; the same password serves either way.
                    beside: vec![(None, "admin", &own.prism_admin)],
                    as_root: false,
                };
                shell.secure(show).await
            }
            (SecurePlace::Host(_), Some(member)) => {
                let Some(address) = member.ahv_ip else { return not_there("its address isn't known") };
                let shell = Shell {
                    client: &self.host,
                    address,
                    pin: pin_rule(member.host_pin.as_deref()),
                    was_there: member.host_pin.is_some() || member.ssh_pin.is_some(),
                    lead: "root",
                    old: &self.host_password,
                    new: &own.ahv_root,
                    beside: vec![
                        (Some(Account::AhvAdmin), "admin", &own.ahv_admin),
                        (Some(Account::AhvNutanix), "nutanix", &own.ahv_nutanix),
                    ],
                    as_root: true,
                };
                shell.secure(show).await
            }
            (SecurePlace::Cvm(_) | SecurePlace::Host(_), None) => not_there("the node takes no part any more"),
        }
    }
}

/// New passwords from the system's randomness.
pub struct RandomPasswords;

impl Passwords for RandomPasswords {
    fn generate(&self) -> SecretString {
        password::generate(&mut rand::rng())
    }
}

impl RandomPasswords {
    /// Behind the loop's trait.
    pub fn shared() -> Arc<dyn Passwords> {
        Arc::new(RandomPasswords)
    }
}
