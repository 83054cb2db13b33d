//! Client of a Nutanix controller VM (CVM): is it ready, form a cluster through it, how far is the cluster.
//!
//! Two drivers stand here: [`PrismClient`] (Prism's REST API on port 9440) and [`FoundationClient`] (port 8000). Both
//! speak through a [`Transport`], so that tests and simulated worlds need no socket; [`TlsTransport`] is the real one,
//! and the only place of this crate that touches sockets or timers.
//!
//! Assumed: CVMs show self-signed certificates, so trust is a pinned public key ([`PinRule`]) and neither a name nor an
//! authority. Rejected: switching verification off, as the published clients do; and a client that remembers pins
//! itself, since what it remembers would be lost in a crash. Every call is one request: repeating, waiting and
//! remembering are the caller's, and nothing here has to survive a crash. What an error says about repeating is in
//! [`Error`].

mod error;
mod excerpt;
mod foundation;
mod pin;
mod prism;
mod rejection;
#[cfg(test)]
mod scripted;
mod tls_transport;
mod transport;

pub use error::{Error, ErrorKind, Operation};
pub use foundation::{FoundationClient, FoundationCluster, FoundationNode, FoundationSettings};
pub use pin::{Fingerprint, NotAFingerprint, PinRule};
pub use prism::{ClusterView, CreateCluster, PrismClient, PrismSettings, ProbeAnswer, ProbeOutcome};
pub use rejection::Rejection;
pub use tls_transport::TlsTransport;
pub use transport::{BasicAuth, Cause, Method, Peer, Request, Response, Transport, TransportError};

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
