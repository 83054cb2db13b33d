//! What can be chosen about simulated CVMs.
//!
//! The `documented` profile is the product's first design: readiness, creation and progress over Prism's REST API, and
//! creation over Foundation's. Published definitions of those APIs have neither `POST v2.0/clusters` nor the field
//! `cluster_status`, and Prism starts only with a cluster. What those definitions do have (payloads, error shapes) is used
//! here too.

mod observed;

pub use observed::{ObservedSettings, PrismBeforeCreate};

use std::time::Duration;

/// Which surface a CVM has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CvmProfile {
    /// REST from the start, as the product's first design says.
    Documented,
    /// What users of current releases have seen: nothing on 9440 before a cluster exists, `cluster create` over SSH.
    Observed,
}

/// What `GET v2.0/cluster` says on a CVM without a cluster. No source: a switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BeforeCreate {
    /// 404 with an error in Prism's shape.
    NotConfigured,
    /// 200 with a cluster called `Unnamed` that is not `UP`.
    Unnamed,
}

/// What a CVM's Foundation, port 8000, has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoundationApi {
    /// As the product's first design has it: TLS, credentials, `POST /foundation/clusters`.
    Documented,
    /// As published clients use it: plain HTTP without credentials, `POST /foundation/image_nodes`.
    ImageNodes,
    /// Nothing answers.
    Absent,
}

/// User and password of a default account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// User.
    pub user: String,
    /// Password; a published default, no secret.
    pub password: String,
}

impl Account {
    fn new(user: &str, password: &str) -> Self {
        Account { user: user.into(), password: password.into() }
    }
}

/// Settings of all CVMs of a world.
#[derive(Debug, Clone)]
pub struct CvmSettings {
    /// The surface.
    pub profile: CvmProfile,
    /// Seed of ids and jitter.
    pub seed: u64,
    /// Divides the durations.
    pub speed: f64,
    /// 9440 at Nutanix.
    pub prism_port: u16,
    /// 8000 at Nutanix.
    pub foundation_port: u16,
    /// Of CVMs and hypervisors; 22 at Nutanix. Nothing answers there in the `documented` profile.
    pub ssh_port: u16,
    /// Genesis' RPC, from CVM to CVM only; 2100 at Nutanix.
    pub genesis_port: u16,
    /// Prism's account.
    pub prism: Account,
    /// Foundation's account.
    pub foundation: Account,
    /// Foundation takes name servers, time servers and time zone and does nothing with them: seen by users of its client
    /// (nutanix.ansible issue 307).
    pub foundation_drops_servers: bool,
    /// So many wrong passwords in a row lock the account for good; `None`: never. Users report lockouts on fresh nodes,
    /// with a threshold between 3 and 5.
    pub lockout_after: Option<u32>,
    /// A cluster's creation makes new keys on all members, as transcripts of `cluster create` say.
    pub new_certificate_at_create: bool,
    /// Its Foundation. `None`: [`FoundationApi::Documented`] in the `documented` profile, else nothing answers.
    pub foundation_api: Option<FoundationApi>,
    /// What an unconfigured CVM says about its cluster.
    pub before_create: BeforeCreate,
    /// `v1/utils/change_default_system_password` changes a default and nothing else, as its name says. Not confirmed.
    pub changes_only_default_password: bool,
    /// Switches of the profile `observed`.
    pub observed: ObservedSettings,
    /// How long things take at speed 1.
    pub durations: CvmDurations,
}

impl CvmSettings {
    /// What answers on Foundation's port.
    pub fn foundation_api(&self) -> FoundationApi {
        self.foundation_api.unwrap_or(match self.profile {
            CvmProfile::Documented => FoundationApi::Documented,
            CvmProfile::Observed => FoundationApi::Absent,
        })
    }
}

impl Default for CvmSettings {
    fn default() -> Self {
        CvmSettings {
            profile: CvmProfile::Documented,
            seed: 1,
            speed: 1.0,
            prism_port: 9440,
            foundation_port: 8000,
            ssh_port: 22,
            genesis_port: 2100,
            prism: Account::new("admin", "admin"),
            foundation: Account::new("admin", "nutanix/4u"),
            foundation_drops_servers: false,
            lockout_after: Some(5),
            new_certificate_at_create: true,
            foundation_api: None,
            before_create: BeforeCreate::NotConfigured,
            changes_only_default_password: true,
            observed: ObservedSettings::default(),
            durations: CvmDurations::default(),
        }
    }
}

/// Durations at speed 1.
#[derive(Debug, Clone)]
pub struct CvmDurations {
    /// From the open port until Prism answers: 503 with a page before, as users of fresh clusters see it.
    pub prism: Duration,
    /// How much longer that lasts with the fault `HtmlErrors`.
    pub html_errors: Duration,
    /// Forming a cluster: 5 min 58 s in a published transcript of three nodes.
    pub create: Duration,
    /// The VIP answers after this part of it.
    pub vip_share: f64,
    /// Until all CVMs take a new password of Prism: published automation waits 30 s.
    pub password_sync: Duration,
    /// `observed`: from the host's start until the CVM takes SSH logins.
    pub cvm_system: Duration,
    /// `observed`: from there until genesis answers.
    pub genesis: Duration,
    /// `observed`: a restart of genesis.
    pub genesis_restart: Duration,
    /// `observed`: a member's services after its restart.
    pub services: Duration,
    /// `observed`: from the first member's Prism until the VIP answers.
    pub vip: Duration,
    /// `observed`: `cluster stop`.
    pub stop: Duration,
    /// `observed`: `cluster destroy`.
    pub destroy: Duration,
}

impl Default for CvmDurations {
    fn default() -> Self {
        CvmDurations {
            prism: Duration::from_secs(20),
            html_errors: Duration::from_secs(180),
            create: Duration::from_secs(358),
            vip_share: 0.8,
            password_sync: Duration::from_secs(30),
            cvm_system: Duration::from_secs(240),
            genesis: Duration::from_secs(60),
            genesis_restart: Duration::from_secs(15),
            services: Duration::from_secs(180),
            vip: Duration::from_secs(60),
            stop: Duration::from_secs(60),
            destroy: Duration::from_secs(90),
        }
    }
}
