//! Client of a Nutanix controller VM (CVM): is it ready, form a cluster through it, how far is the cluster.
//!
//! Three drivers stand here: [`PrismClient`] (Prism's REST API on port 9440), [`FoundationClient`] (port 8000) and
//! [`CvmShell`] (SSH). They speak through a [`Transport`] or [`Ssh`], so that tests and simulated worlds need no socket;
//! [`TlsTransport`] and [`RusshTransport`] are the real ones, and the only places of this crate that touch sockets or
//! timers.
//!
//! Assumed: CVMs show self-signed certificates, so trust is a pinned public key ([`PinRule`]) and neither a name nor an
//! authority. Rejected: switching verification off, as the published clients do; and a client that remembers pins
//! itself, since what it remembers would be lost in a crash. Every call is one request: repeating, waiting and
//! remembering are the caller's, and nothing here has to survive a crash. What an error says about repeating is in
//! [`Error`].

mod cluster_command;
mod cluster_status;
mod create_failure;
mod cvm_session;
mod cvm_shell;
mod error;
mod excerpt;
mod factory_config;
mod foundation;
mod foundation_progress;
mod foundation_session;
mod genesis_status;
mod job;
pub mod password;
mod pin;
mod prism;
mod prism_hosts;
mod prism_password;
mod reach;
mod rejection;
#[cfg(test)]
mod scripted;
#[cfg(test)]
mod scripted_ssh;
mod shell_error;
mod ssh;
mod ssh_transport;
mod tls_transport;
mod transport;

pub use cluster_command::{CreateArguments, RefusedArgument};
pub use cluster_status::{ClusterServices, ClusterWord, CvmServices, ServiceRow};
pub use create_failure::{Advice, CreateEnd, CreateFailure, classify};
pub use cvm_session::CvmSession;
pub use cvm_shell::{CvmShell, CvmShellSettings, ShellAnswer, ShellProbe};
pub use error::{Error, ErrorKind, Operation};
pub use factory_config::FactoryConfig;
pub use foundation::{FoundationClient, FoundationCluster, FoundationNode, FoundationSettings};
pub use foundation_progress::{FoundationProgress, SessionState};
pub use foundation_session::{FoundationSession, ImageNode, ImageNodes, NotASession};
pub use genesis_status::GenesisStatus;
pub use job::{JobCommand, JobName, JobSeen, JobStart, JobState, NotAJobName};
pub use pin::{Fingerprint, NotAFingerprint, PinRule};
pub use prism::{ClusterView, CreateCluster, PrismClient, PrismSettings, ProbeAnswer, ProbeOutcome};
pub use prism_hosts::HostView;
pub use reach::{PortSeen, Reach};
pub use rejection::Rejection;
pub use shell_error::{ShellError, ShellErrorKind, ShellOperation};
pub use ssh::{Exec, ExecOutput, Ssh, SshError, SshLogin, SshSession};
pub use ssh_transport::RusshTransport;
pub use tls_transport::TlsTransport;
pub use transport::{
    BasicAuth, Cause, Method, Peer, PlainRequest, PlainResponse, Request, Response, Transport, TransportError,
};

use std::net::Ipv4Addr;

/// A cluster create that a CVM accepted. The cluster stands only once it is seen to.
#[derive(Debug, Clone, PartialEq)]
pub struct Created {
    /// The CVM that was asked.
    pub address: Ipv4Addr,
    /// The answer's JSON as it came; null if the answer was empty.
    pub body: serde_json::Value,
    /// The key that the CVM showed.
    pub fingerprint: Fingerprint,
}
