//! What can be chosen about simulated CVMs.
//!
//! The `documented` profile is the product's first design: readiness, creation and progress over Prism's REST API, and
//! creation over Foundation's. Published definitions of those APIs have neither `POST v2.0/clusters` nor the field
//! `cluster_status`, and Prism starts only with a cluster. What those definitions do have (payloads, error shapes) is used
//! here too.

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
    /// Prism's account.
    pub prism: Account,
    /// Foundation's account.
    pub foundation: Account,
    /// So many wrong passwords in a row lock the account for good; `None`: never. Users report lockouts on fresh nodes,
    /// with a threshold between 3 and 5.
    pub lockout_after: Option<u32>,
    /// A cluster's creation makes new keys on all members, as transcripts of `cluster create` say.
    pub new_certificate_at_create: bool,
    /// What an unconfigured CVM says about its cluster.
    pub before_create: BeforeCreate,
    /// How long things take at speed 1.
    pub durations: CvmDurations,
}

impl Default for CvmSettings {
    fn default() -> Self {
        CvmSettings {
            profile: CvmProfile::Documented,
            seed: 1,
            speed: 1.0,
            prism_port: 9440,
            foundation_port: 8000,
            prism: Account::new("admin", "admin"),
            foundation: Account::new("admin", "nutanix/4u"),
            lockout_after: Some(5),
            new_certificate_at_create: true,
            before_create: BeforeCreate::NotConfigured,
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
}

impl Default for CvmDurations {
    fn default() -> Self {
        CvmDurations {
            prism: Duration::from_secs(20),
            html_errors: Duration::from_secs(180),
            create: Duration::from_secs(358),
            vip_share: 0.8,
        }
    }
}
