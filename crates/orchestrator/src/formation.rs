//! What the loop asks of the nodes, in our words: are you ready, become a cluster, are you one.

use async_trait::async_trait;
use metalform_model::{Check, CvmAnswer, FormationSeen, ShowCredentials};
use std::net::Ipv4Addr;

/// A way to form a cluster. Every call returns within about half a minute; none waits for the end of formation.
#[async_trait]
pub trait Formation: Send + Sync {
    /// The name of the driver, for the timeline.
    fn driver(&self) -> &'static str;
    /// Whether a controller VM is ready. Never fails: no answer is an answer.
    async fn probe(&self, member: &Member, show: ShowCredentials) -> Probe;
    /// Asks `members[entry]` to create the cluster. Sent once.
    async fn begin(&self, spec: &ClusterSpec, members: &[Member], entry: usize) -> BeginOutcome;
    /// What the cluster's address and every member say. Keys may change while a cluster forms: members are believed
    /// whatever key they show and the keys are reported; the cluster's address must show one of them.
    async fn look(&self, spec: &ClusterSpec, members: &[Member]) -> Look;
    /// The checks at the end, one line each. No other key than the remembered ones is accepted any more.
    async fn verify(&self, spec: &ClusterSpec, members: &[Member]) -> Vec<Check>;
}

/// The cluster to be.
#[derive(Debug, Clone, PartialEq)]
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
}

/// A node as formation sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// Its id with us.
    pub server_id: String,
    /// Its controller VM.
    pub cvm_ip: Ipv4Addr,
    /// Its hypervisor.
    pub ahv_ip: Option<Ipv4Addr>,
    /// Its own id, if it reported one.
    pub node_uuid: Option<String>,
    /// Its position in its block.
    pub node_position: String,
    /// Fingerprint of the key it showed first.
    pub pin: Option<String>,
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
    Accepted,
    /// It certainly never arrived.
    NotSent {
        /// Why.
        error: String,
    },
    /// The request itself is wrong: another node would refuse it too.
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
    /// Fingerprints of the keys the members showed, by server id.
    pub keys: Vec<(String, String)>,
}
