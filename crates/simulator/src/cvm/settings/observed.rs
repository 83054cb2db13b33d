//! What can be chosen in the profile `observed`. What published clients and transcripts show is code; what is inferred from
//! them, or unknown, is a switch here, so a look at real nodes changes a default and nothing else.

use std::time::Duration;

/// What port 9440 does before a cluster exists. Prism is a cluster service in transcripts, so it can't answer; what a
/// connection finds instead is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrismBeforeCreate {
    /// Connections are refused.
    Refused,
    /// Connections are taken and closed without an answer.
    Reset,
    /// A web server answers 503 with HTML.
    Page,
}

/// Switches of the profile `observed`.
#[derive(Debug, Clone)]
pub struct ObservedSettings {
    /// Unknown.
    pub prism_before_create: PrismBeforeCreate,
    /// What `POST v2.0/clusters` answers: 404 or 405. API definitions have the path with GET alone; the status is inferred.
    pub post_clusters: u16,
    /// Prism's first password. `nutanix/4u` on Community Edition (four sources), `Nutanix/4u` elsewhere (published clients).
    pub prism_password: String,
    /// A changed password of the CVM's user becomes Prism's first one. Inferred from "Will seed prism with password hash"
    /// in a transcript.
    pub seeds_prism_password: bool,
    /// Whether the CVM has an account `admin`. One blog says so.
    pub cvm_admin_exists: bool,
    /// Whether AHV has an account `admin`. Depends on its release; unknown.
    pub ahv_admin_exists: bool,
    /// Whether AHV has an account `nutanix`. Depends on its release; unknown.
    pub ahv_nutanix_exists: bool,
    /// So many wrong passwords in a row lock an SSH account; `None`: never. That there is a limit is reported by users, for
    /// Prism and with `faillock` as the cure; the number is unknown.
    pub ssh_lockout_after: Option<u32>,
    /// A question at which standard input has ended is answered with its default, No, and the command exits with 0. Else
    /// the read fails and it exits with 1. Both inferred.
    pub closed_stdin_means_no: bool,
    /// `cluster destroy` takes a piped answer. Genuine builds are said to want a terminal; not confirmed.
    pub destroy_takes_a_pipe: bool,
    /// What `cluster create` takes for one node without `--redundancy_factor`: 1 in older material, 2 in a transcript of
    /// December 2025.
    pub one_node_redundancy_factor: u64,
    /// Boot SSDs of a node. A single one is too few for one node with redundancy factor 2 (transcript).
    pub boot_ssds: u32,
    /// `--cluster_uuid` decides the cluster's UUID; else it is taken and ignored. A flag of older material.
    pub heeds_cluster_uuid: bool,
    /// `cluster` writes its log to standard output; by configuration it is standard error.
    pub logs_to_stdout: bool,
    /// Clocks further apart keep a node from being discovered. That they must agree is from older material; how much, is
    /// unknown.
    pub clock_tolerance: Duration,
}

impl Default for ObservedSettings {
    fn default() -> Self {
        ObservedSettings {
            prism_before_create: PrismBeforeCreate::Refused,
            post_clusters: 405,
            prism_password: "nutanix/4u".into(),
            seeds_prism_password: true,
            cvm_admin_exists: true,
            ahv_admin_exists: true,
            ahv_nutanix_exists: true,
            ssh_lockout_after: Some(5),
            closed_stdin_means_no: true,
            destroy_takes_a_pipe: false,
            one_node_redundancy_factor: 2,
            boot_ssds: 1,
            heeds_cluster_uuid: true,
            logs_to_stdout: false,
            clock_tolerance: Duration::from_secs(10),
        }
    }
}
