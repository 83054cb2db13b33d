//! What the loop asks of the nodes, in our words: what do you offer, are you ready, are you fit, become a cluster, are you
//! one, forget what went wrong.

use async_trait::async_trait;
use metalform_model::{
    Check, CleanStep, CvmAnswer, Driver, FormationJob, FormationSeen, Offer, SecureOutcome, SecurePlace,
    ShowCredentials, ShowPassword,
};
use secrecy::SecretString;
use std::{net::Ipv4Addr, sync::Arc};

/// A way to form a cluster. No call waits for the end of formation: each returns within about half a minute, and a step of
/// cleaning up within three.
#[async_trait]
pub trait Formation: Send + Sync {
    /// Which one it is.
    fn driver(&self) -> Driver;
    /// Whether a controller VM offers it. Says nothing secret. Never fails: no answer is an answer.
    async fn offer(&self, member: &Member) -> Offer;
    /// Whether a controller VM is ready. Never fails either.
    async fn probe(&self, member: &Member, show: ShowCredentials) -> Probe;
    /// Whether the nodes are fit to form the cluster, one line for each thing that was looked at. Changes nothing.
    async fn check(&self, spec: &ClusterSpec, members: &[Member]) -> Vec<Check>;
    /// Asks `members[entry]` to create the cluster. Sent once. `job`: under which name to leave a trace on the node, for
    /// drivers that do.
    async fn begin(&self, spec: &ClusterSpec, members: &[Member], entry: usize, job: &str) -> BeginOutcome;
    /// What the cluster's address and every member say, and what became of the create that left this trace. TLS keys may
    /// change while a cluster forms: members are believed whatever key they show and the keys are reported; the cluster's
    /// address must show one of them.
    async fn look(&self, spec: &ClusterSpec, members: &[Member], job: Option<&FormationJob>) -> Look;
    /// One step of taking down a half-made cluster that is known to be ours, under a name that was never used before on
    /// these nodes. An error may mean that it was done.
    async fn clean(
        &self,
        members: &[Member],
        job: Option<&FormationJob>,
        step: CleanStep,
        name: &str,
    ) -> Result<(), String>;
    /// Sets what can only be set on a finished cluster. May be repeated.
    async fn settle(&self, spec: &ClusterSpec, members: &[Member]) -> Result<(), String>;
    /// The checks at the end, one line each. No other key than the remembered ones is accepted any more.
    async fn verify(&self, spec: &ClusterSpec, members: &[Member]) -> Vec<Check>;
}

/// Changes passwords. What is to be shown was decided before; nobody guesses here.
#[async_trait]
pub trait Accounts: Send + Sync {
    /// Makes one step towards the cluster's own passwords at a place: logs in once, with the password named, and does what
    /// is left to do there. Also tells the key of a host that was seen for the first time.
    async fn secure(&self, spec: &ClusterSpec, members: &[Member], place: &SecurePlace, show: ShowPassword) -> Secured;
}

/// What came of [`Accounts::secure`].
#[derive(Debug, Clone, PartialEq)]
pub struct Secured {
    /// In the record's words.
    pub outcome: SecureOutcome,
    /// Fingerprint of the SSH host key that was shown.
    pub key: Option<String>,
}

/// Makes new passwords.
pub trait Passwords: Send + Sync {
    /// One that every account takes. Different each time.
    fn generate(&self) -> SecretString;
}

/// All ways to form a cluster.
#[derive(Clone)]
pub struct Drivers(pub [Arc<dyn Formation>; 3]);

impl Drivers {
    /// The one of that name. All three are always there: the array is filled by whoever wires the loop.
    pub fn get(&self, driver: Driver) -> &dyn Formation {
        self.0.iter().find(|formation| formation.driver() == driver).unwrap_or(&self.0[0]).as_ref()
    }
}

/// The cluster to be.
#[derive(Debug, Clone)]
pub struct ClusterSpec {
    /// Its name.
    pub name: String,
    /// Its own address.
    pub external_ip: Ipv4Addr,
    /// 1 to 3.
    pub redundancy_factor: u8,
    /// As Nutanix names them.
    pub cluster_functions: Vec<String>,
    /// A name of the tz database.
    pub timezone: String,
    /// Name servers.
    pub dns_servers: Vec<Ipv4Addr>,
    /// Time servers.
    pub ntp_servers: Vec<String>,
    /// The network of its nodes, where we ordered them there.
    pub network: Option<Network>,
    /// Its own passwords, once they are made.
    pub passwords: Option<ClusterPasswords>,
    /// Whether Prism was born with the controller VMs' new password.
    pub is_seeded: bool,
    /// Whether Prism's own password is in force.
    pub is_prism_secured: bool,
}

/// A network's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// As four bytes.
    pub netmask: Ipv4Addr,
    /// The router.
    pub gateway: Ipv4Addr,
}

/// A cluster's own passwords.
#[derive(Debug, Clone)]
pub struct ClusterPasswords {
    /// Of Prism's `admin`, and of `admin` on the controller VMs.
    pub prism_admin: SecretString,
    /// Of `nutanix` on the controller VMs.
    pub cvm_nutanix: SecretString,
    /// Of `root` on the AHV hosts.
    pub ahv_root: SecretString,
    /// Of `admin` there.
    pub ahv_admin: SecretString,
    /// Of `nutanix` there.
    pub ahv_nutanix: SecretString,
}

/// A node as formation sees it.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its id with us.
    pub server_id: String,
    /// Its controller VM.
    pub cvm_ip: Ipv4Addr,
    /// Its hypervisor.
    pub ahv_ip: Option<Ipv4Addr>,
    /// Its own id, if it reported one.
    pub node_uuid: Option<String>,
    /// The version of its software, if it reported one.
    pub version: Option<String>,
    /// Its position in its block.
    pub node_position: String,
    /// Fingerprint of the TLS key it showed first.
    pub pin: Option<String>,
    /// Fingerprint of the SSH host key its controller VM showed first.
    pub ssh_pin: Option<String>,
    /// Fingerprint of the SSH host key its hypervisor showed first.
    pub host_pin: Option<String>,
    /// The password of `nutanix` on its controller VM, if it has one of its own by now.
    pub cvm_password: Option<SecretString>,
}

/// A probe's outcome.
#[derive(Debug, Clone, PartialEq)]
pub struct Probe {
    /// What it answered.
    pub answer: CvmAnswer,
    /// Fingerprint of the key it showed, if it came to that.
    pub key: Option<String>,
}

/// What became of the create request.
#[derive(Debug, Clone, PartialEq)]
pub enum BeginOutcome {
    /// The node has taken it.
    Accepted {
        /// The session under which it works on it, for drivers that have such.
        session: Option<String>,
    },
    /// It certainly never arrived.
    NotSent {
        /// Why.
        error: String,
    },
    /// The request itself is wrong, or this way isn't offered: another node would refuse it too.
    Refused {
        /// What the node said.
        error: String,
    },
    /// The node failed, or its answer was lost: it may have been taken.
    Unknown {
        /// What came back.
        error: String,
    },
}

/// A look at a forming cluster.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Look {
    /// What was said.
    pub seen: FormationSeen,
    /// Fingerprints of the TLS keys the members showed, by server id.
    pub keys: Vec<(String, String)>,
    /// Fingerprints of the SSH host keys the members showed, by server id.
    pub ssh_keys: Vec<(String, String)>,
    /// What the create has printed since the last look, line by line, for the timeline.
    pub printed: Vec<String>,
    /// How many bytes of its output that makes in all.
    pub read: Option<u64>,
}
