//! A cluster: what a plan becomes.
//!
//! ```text
//!                      barrier passed        a node took the request, the VIP says UP     checks pass
//!   waiting_for_nodes ───────────────► forming ────────────────────────────────► verifying ──────────► ready
//!       ▲    │                          ▲   │                                        │
//!       │    │ too few nodes            │   │ refused by every node, or too late     │ too late
//!       │    ▼                          │   ▼                                        ▼
//!       └─ failed                 retry └─ needs_operator ◄──────────────────────────┘
//!
//!   any phase ── desired: absent ──► releasing ── every node released, the VIP too ──► released
//! ```
//!
//! [`crate::decide_cluster`] says what comes next; this file is what it decides about.

use crate::{AccountRecord, Check, Failure, FormationAttempt, FormationChoice, Plan, Timestamp, Trouble};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::Ipv4Addr, time::Duration};
use uuid::Uuid;

/// Where a cluster stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClusterPhase {
    /// The nodes are on their way.
    WaitingForNodes,
    /// A node is asked to create the cluster, or has begun to.
    Forming,
    /// The cluster says it is up; it is checked.
    Verifying,
    /// Up and checked.
    Ready,
    /// Formation can't go on without a person. The nodes stay as they are.
    NeedsOperator,
    /// What was made for it is being deleted.
    Releasing,
    /// Nothing of it is left.
    Released,
    /// Too few nodes became ready.
    Failed,
}

impl ClusterPhase {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            ClusterPhase::WaitingForNodes => "waiting_for_nodes",
            ClusterPhase::Forming => "forming",
            ClusterPhase::Verifying => "verifying",
            ClusterPhase::Ready => "ready",
            ClusterPhase::NeedsOperator => "needs_operator",
            ClusterPhase::Releasing => "releasing",
            ClusterPhase::Released => "released",
            ClusterPhase::Failed => "failed",
        }
    }

    /// How long it usually takes to leave this phase. A real three-node formation took 6 min.
    pub fn expected(self) -> Option<Duration> {
        let minutes = match self {
            ClusterPhase::WaitingForNodes => 75,
            ClusterPhase::Forming => 12,
            ClusterPhase::Verifying => 5,
            ClusterPhase::Releasing => 15,
            ClusterPhase::Ready | ClusterPhase::NeedsOperator | ClusterPhase::Released | ClusterPhase::Failed => {
                return None;
            }
        };
        Some(Duration::from_secs(60 * minutes))
    }

    /// Whether whoever watches a deployment may stop watching.
    pub fn is_settled(self) -> bool {
        matches!(
            self,
            ClusterPhase::Ready | ClusterPhase::NeedsOperator | ClusterPhase::Released | ClusterPhase::Failed
        )
    }
}

/// What we know of a cluster. Written by the loop alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterRecord {
    /// The deployment: a new life of the same name has a new one.
    pub id: Uuid,
    /// The name, unique among the living.
    pub name: String,
    /// Where it stands.
    pub phase: ClusterPhase,
    /// Since when.
    pub since: Timestamp,
    /// What is awaited, in words.
    pub reason: String,
    /// Why it stopped, in the phases `failed` and `needs_operator`.
    pub failure: Option<Failure>,
    /// When the plan was accepted.
    pub created_at: Timestamp,
    /// Whether `nodes_waiting` stands in the timeline.
    pub nodes_waiting_told: bool,
    /// The current attempt at formation, or the last one.
    pub formation: Option<FormationAttempt>,
    /// How many of the operator's retries are carried out.
    pub retries_done: u32,
    /// What is there: what the checks at the end saw.
    pub checks: Vec<Check>,
    /// Its accounts, and how far each has got to a password of its own.
    #[serde(default)]
    pub accounts: Vec<AccountRecord>,
    /// A call that keeps failing.
    pub trouble: Option<Trouble>,
}

/// What the cloud said about the plan's places when it was accepted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Site {
    /// By subnet id.
    pub subnets: BTreeMap<String, SubnetFacts>,
    /// The network-boot image that servers are ordered with.
    pub boot_image: String,
}

/// One subnet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SubnetFacts {
    /// Its addresses.
    pub cidr: ipnet::Ipv4Net,
    /// Its router: the second address of the block. The VPC API doesn't name it.
    pub gateway: Ipv4Addr,
    /// Its zone.
    pub zone: String,
    /// Its VPC.
    pub vpc: String,
    /// The VPC's name servers.
    pub dns_servers: Vec<Ipv4Addr>,
}

/// What the operator asked for since the plan was accepted. Written by request handlers, read by the loop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intents {
    /// The cluster is to be gone.
    pub absent: bool,
    /// Form it now (plans with `start = "on-command"`).
    pub form: bool,
    /// How often `retry` was asked for.
    pub retries: u32,
    /// The driver that a retry asked for, in place of the plan's.
    #[serde(default)]
    pub formation: Option<FormationChoice>,
}

impl ClusterRecord {
    /// A cluster that was just accepted.
    pub fn new(id: Uuid, plan: &Plan, now: Timestamp) -> Self {
        ClusterRecord {
            id,
            name: plan.cluster.name.clone(),
            phase: ClusterPhase::WaitingForNodes,
            since: now,
            reason: "accepted".into(),
            failure: None,
            created_at: now,
            nodes_waiting_told: false,
            formation: None,
            retries_done: 0,
            checks: Vec::new(),
            accounts: Vec::new(),
            trouble: None,
        }
    }

    /// Enters a phase.
    pub fn enter(&mut self, phase: ClusterPhase, reason: String, now: Timestamp) {
        self.phase = phase;
        self.since = now;
        self.reason = reason;
        self.trouble = None;
    }

    /// Whether it stays in its phase longer than usual.
    pub fn is_late(&self, now: Timestamp) -> bool {
        self.phase.expected().is_some_and(|usual| now.since(self.since) > usual)
    }
}
