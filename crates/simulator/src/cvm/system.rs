//! The two systems of a node that take SSH logins: its CVM and its hypervisor. Files and accounts stay over a restart,
//! processes do not, and each start has another boot id.

use super::{
    CvmHost, Fleet,
    auth::Guard,
    settings::CvmSettings,
    shell::{Cx, Files},
};
use crate::pace;
use metalform_model::Timestamp;
use serde_json::json;
use std::collections::BTreeMap;
use uuid::Uuid;

const NUTANIX_4U: &str = "nutanix/4u";
// In two parts: no file here may name a folder of somebody's computer, and this looks like one.
pub(super) const HOME: &str = "/home/nutanix";

/// Which of a node's two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    Cvm,
    Ahv,
}

/// One system of one node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub server_id: String,
    pub role: Role,
}

#[derive(Debug, Clone)]
struct OsAccount {
    uid: u32,
    password: String,
    guard: Guard,
}

/// An operating system as an SSH client sees it.
#[derive(Debug, Clone)]
pub(super) struct System {
    seed: u64,
    name: String,
    accounts: BTreeMap<&'static str, OsAccount>,
    files: Files,
    boots: u32,
    factory_config: String,
}

impl System {
    /// As it is after the installation.
    pub fn new(role: Role, host: &CvmHost, settings: &CvmSettings) -> Self {
        // Defaults: `nutanix/4u` for the CVM's nutanix and AHV's root (vendor documentation and published scripts),
        // `Nutanix/4u` for the CVM's admin (one blog); whether AHV has admin and nutanix depends on its release.
        let observed = &settings.observed;
        let known: [(&'static str, u32, &str, bool); 3] = match role {
            Role::Cvm => [
                ("nutanix", 1000, NUTANIX_4U, true),
                ("admin", 1001, "Nutanix/4u", observed.cvm_admin_exists),
                ("root", 0, "", false),
            ],
            Role::Ahv => [
                ("root", 0, NUTANIX_4U, true),
                ("admin", 1000, NUTANIX_4U, observed.ahv_admin_exists),
                ("nutanix", 1001, NUTANIX_4U, observed.ahv_nutanix_exists),
            ],
        };
        let account = |uid, password: &str| OsAccount { uid, password: password.into(), guard: Guard::default() };
        let accounts = known.into_iter().filter(|(.., exists)| *exists);
        let serial = hex::encode_upper(&pace::digest(settings.seed, &format!("serial {}", host.server_id))[..6]);
        // Its keys: read by Foundation over SSH after imaging, as older public material has it.
        let factory_config = json!({
            "node_serial": serial,
            "rackable_unit_serial": format!("B{}", &serial[..8]),
            "node_position": host.config.node_position,
            "cluster_id": u32::from_str_radix(&serial[..6], 16).unwrap_or(1).max(1),
            "rackable_unit_model": "CommunityEdition",
        });
        System {
            seed: settings.seed,
            name: format!("{role:?} {} {}", host.server_id, host.install),
            accounts: accounts.map(|(name, uid, password, _)| (name, account(uid, password))).collect(),
            files: Files::with_folders(&[HOME, concat!("/home", "/admin"), "/root", "/tmp"]),
            boots: 0,
            factory_config: factory_config.to_string(),
        }
    }

    /// A start.
    pub fn boot(&mut self) {
        self.boots += 1;
    }

    pub fn boot_id(&self) -> Uuid {
        pace::uuid(self.seed, &format!("boot {} of {}", self.boots, self.name))
    }

    pub fn node_serial(&self) -> String {
        let config: serde_json::Value = serde_json::from_str(&self.factory_config).unwrap_or_default();
        config["node_serial"].as_str().unwrap_or_default().to_owned()
    }

    pub fn uid(&self, user: &str) -> Option<u32> {
        self.accounts.get(user).map(|account| account.uid)
    }

    pub fn files_mut(&mut self) -> &mut Files {
        &mut self.files
    }

    pub fn password(&self, user: &str) -> Option<&str> {
        self.accounts.get(user).map(|account| account.password.as_str())
    }

    /// `false`: there is no such account.
    pub fn set_password(&mut self, user: &str, password: &str) -> bool {
        let account = self.accounts.get_mut(user);
        account.map(|account| account.password = password.to_owned()).is_some()
    }

    /// A login; wrong passwords are counted, for each account of each system.
    pub fn admits(&mut self, user: &str, password: &str, lockout_after: Option<u32>) -> bool {
        let Some(account) = self.accounts.get_mut(user) else { return false };
        account.guard.judge(account.password == password, lockout_after).is_ok()
    }

    /// Accounts and passwords.
    pub fn accounts(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.accounts.iter().map(|(name, account)| (*name, account.password.as_str()))
    }

    /// Whether the CVM's password is not the one it was delivered with.
    pub fn has_new_password(&self, user: &str) -> bool {
        self.password(user).is_some_and(|password| password != NUTANIX_4U)
    }
}

impl Fleet {
    pub(super) fn system(&self, place: &Place) -> Option<&System> {
        let cvm = self.cvms.get(&place.server_id)?;
        Some(match place.role {
            Role::Cvm => &cvm.system,
            Role::Ahv => &cvm.ahv,
        })
    }

    pub(super) fn system_mut(&mut self, place: &Place) -> Option<&mut System> {
        let cvm = self.cvms.get_mut(&place.server_id)?;
        Some(match place.role {
            Role::Cvm => &mut cvm.system,
            Role::Ahv => &mut cvm.ahv,
        })
    }

    /// What a system's clock says.
    pub(super) fn clock(&self, now: Timestamp, place: &Place) -> Timestamp {
        let skew = match place.role {
            Role::Cvm => self.conditions.skew.get(&place.server_id).copied().unwrap_or(0.0),
            Role::Ahv => 0.0,
        };
        #[expect(clippy::cast_possible_truncation, reason = "a skew in microseconds is far from the limits")]
        let micros = (skew * 1e6) as i64;
        Timestamp(now.0.saturating_add(micros))
    }
}

impl Cx<'_> {
    /// The files of the system; of none, if its node is gone, which then is no place for a process either.
    pub(super) fn files(&mut self) -> &mut Files {
        let place = self.place.clone();
        self.fleet.files_mut(&place)
    }

    /// Reads a file, or what looks like one.
    pub(super) fn read(&mut self, path: &str) -> Result<Vec<u8>, &'static str> {
        if path == "/dev/null" {
            return Ok(Vec::new());
        }
        let place = self.place.clone();
        if let Some(system) = self.fleet.system(&place) {
            match (path, place.role) {
                ("/proc/sys/kernel/random/boot_id", _) => return Ok(format!("{}\n", system.boot_id()).into_bytes()),
                ("/etc/nutanix/factory_config.json", Role::Cvm) => {
                    return Ok(format!("{}\n", system.factory_config).into_bytes());
                }
                _ => {}
            }
        }
        self.files().read(path).map(<[u8]>::to_vec)
    }

    /// The user's home.
    pub(super) fn home(&self) -> String {
        home(self.user)
    }
}

pub(super) fn home(user: &str) -> String {
    if user == "root" { "/root".into() } else { format!(concat!("/home", "/{}"), user) }
}
