//! The one loop. [`Orchestrator::reconcile`] takes a cluster's id and nothing else: it loads, observes, decides, records
//! what it is about to do, does it, records what came of it, and says when to look again.
//!
//! It is the only thing that changes a phase. What it calls is declared here in our own words ([`Cloud`], [`Formation`],
//! [`BootLinks`]) and implemented by whoever wires it, over real clients or over a simulated world.

mod cloud;
mod cluster_step;
mod crash;
mod flow;
mod formation;
mod formation_step;
mod node_step;
mod resource_step;

pub use cloud::{BootLinks, CallError, CallErrorKind, Cloud, Deletion, Found, LinkError, ResourceKind, Wanted};
#[doc(hidden)]
pub use crash::crash_point;
pub use flow::{Orchestrator, ReconcileError};
pub use formation::{
    Accounts, BeginOutcome, ClusterPasswords, ClusterSpec, Drivers, Formation, Look, Member, Network, Passwords, Probe,
    Secured,
};
