//! What can be chosen about the simulated cloud. Behaviour that IBM's documents leave open is a setting here, so a
//! finding on real servers changes a default and nothing else.

use ipnet::Ipv4Net;
use std::{net::Ipv4Addr, time::Duration};

/// Settings of a [`super::Cloud`].
#[derive(Debug, Clone)]
pub struct CloudSettings {
    /// The same seed and the same requests give the same world: ids, MAC addresses, jitter.
    pub seed: u64,
    /// Divides [`Durations`]; what is on the wire (`exp`, `created_at`, `Retry-After`) is not touched.
    pub speed: f64,
    /// Bare metal servers per account; 25 at IBM unless raised by a support case.
    pub quota: usize,
    /// The one subnet.
    pub subnet: Ipv4Net,
    /// Region name.
    pub region: String,
    /// Zone of the subnet.
    pub zone: String,
    /// Base of IAM, without a path; named as the issuer of tokens.
    pub iam_url: String,
    /// Base of the VPC API, ending in `/v1`: every `href` begins with it.
    pub vpc_url: String,
    /// Addresses of the VPC's DNS resolvers; 161.26.0.10 and .11 at IBM.
    pub resolvers: Vec<Ipv4Addr>,
    /// `stopping` is not in the API's list of statuses, yet Terraform's waiter and other clients expect it.
    pub stopping_status: bool,
    /// Whether a server may be deleted while `pending`: not documented.
    pub delete_while_pending: bool,
    /// Whether the profile of emulated machines ([`super::LAB_PROFILE`]) is offered beside IBM's.
    pub lab_profile: bool,
    /// How long things take at speed 1.
    pub durations: Durations,
}

impl Default for CloudSettings {
    fn default() -> Self {
        CloudSettings {
            seed: 1,
            speed: 1.0,
            quota: 25,
            subnet: Ipv4Net::new_assert(Ipv4Addr::new(10, 240, 0, 0), 24),
            region: "us-south".into(),
            zone: "us-south-1".into(),
            iam_url: "https://iam.cloud.ibm.com".into(),
            vpc_url: "https://us-south.iaas.cloud.ibm.com/v1".into(),
            resolvers: vec![Ipv4Addr::new(161, 26, 0, 10), Ipv4Addr::new(161, 26, 0, 11)],
            stopping_status: true,
            delete_while_pending: false,
            lab_profile: false,
            durations: Durations::default(),
        }
    }
}

/// Durations at speed 1. Sources: IBM's documents ("10 minutes or less"), a log of nutanix-vpc-orchestrator (23 min
/// 55 s from create to the first script fetch), ocs-ci (about 11 min from reinitialize to `running`).
#[derive(Debug, Clone)]
pub struct Durations {
    /// Create until `starting`.
    pub provision: Duration,
    /// `starting` until `running`: after a create, a start and a reinitialization.
    pub start: Duration,
    /// `reinitializing` until `starting`.
    pub reinitialize: Duration,
    /// `restarting` until `running`.
    pub restart: Duration,
    /// `running` until iPXE begins, at the first power-on of a server: firmware, training, self-tests.
    pub first_boot: Duration,
    /// `running` until iPXE begins, at every later power-on.
    pub boot: Duration,
    /// A soft stop the operating system obeys.
    pub soft_stop: Duration,
    /// A hard stop.
    pub hard_stop: Duration,
    /// `deleting` until 404.
    pub delete: Duration,
    /// A virtual network interface from `pending` (no MAC address yet) to `stable`.
    pub interface: Duration,
    /// A virtual network interface from `deleting` until 404.
    pub interface_delete: Duration,
}

impl Default for Durations {
    fn default() -> Self {
        let minutes = |m: u64| Duration::from_secs(60 * m);
        Durations {
            provision: minutes(8),
            start: minutes(2),
            reinitialize: minutes(9),
            restart: minutes(1),
            first_boot: minutes(14),
            boot: minutes(4),
            soft_stop: minutes(1),
            hard_stop: Duration::from_secs(10),
            delete: minutes(1),
            interface: Duration::from_secs(2),
            interface_delete: Duration::from_secs(5),
        }
    }
}
