//! How long things may take, and how often we look.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Deadlines and intervals. The defaults are the seed's where it has one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Timeouts {
    /// From a node's acceptance until its server is ordered.
    pub order: Duration,
    /// From the order (or reinitialization) to the first fetch of the boot script. A real one was measured at 24 min.
    pub order_to_script: Duration,
    /// From the script fetch until the node's CVM is ready.
    pub node_ready: Duration,
    /// From the first create call until the cluster is up and checked.
    pub formation: Duration,
    /// Between two looks at a server in the cloud.
    pub server_poll: Duration,
    /// Between two probes of a CVM without credentials.
    pub probe: Duration,
    /// Between two probes with credentials after one was refused. Lock-outs are real.
    pub probe_after_refusal: Duration,
    /// Between two looks at a forming cluster.
    pub formation_poll: Duration,
    /// After a create request whose outcome isn't known: how long the members' word that they belong to no cluster isn't
    /// taken for final. The request may still be at work.
    pub formation_settle: Duration,
    /// How long the checks before create may go on failing. What passes by itself, such as clocks that come into step, has
    /// that long.
    pub check: Duration,
    /// How long taking down a half-made cluster may take.
    pub clean: Duration,
    /// How long a step of that may take to show before the next, or the same again.
    pub clean_step: Duration,
    /// From a change of Prism's password until every node knows it. Published clients wait 30 s.
    pub password_sync: Duration,
    /// How long a controller VM may offer other drivers than the one asked for before that is taken for final.
    pub not_offered: Duration,
    /// How long a power-off or a reinitialization may take to show before it is sent again.
    pub stop: Duration,
    /// How long an accepted deletion may take before it is sent again.
    pub delete: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        Timeouts {
            order: minutes(30),
            order_to_script: minutes(45),
            node_ready: minutes(60),
            formation: minutes(30),
            server_poll: Duration::from_secs(10),
            probe: Duration::from_secs(2),
            probe_after_refusal: minutes(1),
            formation_poll: Duration::from_secs(2),
            formation_settle: Duration::from_secs(30),
            check: minutes(3),
            clean: minutes(10),
            clean_step: minutes(2),
            password_sync: Duration::from_secs(30),
            not_offered: minutes(20),
            stop: minutes(2),
            delete: minutes(5),
        }
    }
}
