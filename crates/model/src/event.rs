//! The timeline: what happened, in order, in words a person reads and under kinds a program matches.

use crate::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One line of a cluster's timeline, as it is stored, sent and streamed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Without gaps per cluster, from 1.
    pub seq: i64,
    /// When it happened, by our clock.
    pub at: Timestamp,
    /// The cluster's name.
    pub cluster: String,
    /// The node it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_id: Option<String>,
    /// A stable word of [`kind`].
    pub kind: String,
    /// The phase that was entered, where one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// One sentence.
    pub message: String,
    /// What a program may want beside the sentence.
    pub data: Value,
}

/// An event before it has its place in the timeline.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    /// See [`Event::at`].
    pub at: Timestamp,
    /// See [`Event::server_id`].
    pub server_id: Option<String>,
    /// See [`Event::kind`].
    pub kind: &'static str,
    /// See [`Event::phase`].
    pub phase: Option<&'static str>,
    /// See [`Event::message`].
    pub message: String,
    /// See [`Event::data`].
    pub data: Value,
}

impl NewEvent {
    /// An event of the cluster as a whole.
    pub fn new(at: Timestamp, kind: &'static str, message: impl Into<String>) -> Self {
        NewEvent { at, server_id: None, kind, phase: None, message: message.into(), data: Value::Null }
    }

    /// The same, about one node.
    pub fn of_node(mut self, server_id: &str) -> Self {
        self.server_id = Some(server_id.to_owned());
        self
    }

    /// The same, entering a phase.
    pub fn entering(mut self, phase: &'static str) -> Self {
        self.phase = Some(phase);
        self
    }

    /// The same, with data.
    pub fn with(mut self, data: Value) -> Self {
        self.data = data;
        self
    }
}

/// The kinds of events. The first seven are the documented flow of a deployment, in its order.
pub mod kind {
    /// The plan is accepted.
    pub const DEPLOYMENT_STARTED: &str = "deployment_started";
    /// A node's server is about to be ordered.
    pub const NODE_ORDERING: &str = "node_ordering";
    /// Every server is ordered; now the machines work.
    pub const NODES_WAITING: &str = "nodes_waiting";
    /// The barrier is passed.
    pub const NODES_READY: &str = "nodes_ready";
    /// A node is about to be asked to create the cluster.
    pub const FORMATION_STARTED: &str = "formation_started";
    /// A node has taken the request.
    pub const FORMATION_MONITORING: &str = "formation_monitoring";
    /// The cluster is up and checked.
    pub const DEPLOYMENT_COMPLETED: &str = "deployment_completed";

    /// A node entered a phase.
    pub const NODE_PHASE: &str = "node_phase";
    /// The cluster entered a phase.
    pub const CLUSTER_PHASE: &str = "cluster_phase";
    /// A cloud resource was made, or found to be made already.
    pub const RESOURCE_CREATED: &str = "resource_created";
    /// A cloud resource is gone.
    pub const RESOURCE_GONE: &str = "resource_gone";
    /// A boot attempt was opened.
    pub const BOOT_ATTEMPT_OPENED: &str = "boot_attempt_opened";
    /// A boot attempt ended: its token is worth nothing any more.
    pub const BOOT_ATTEMPT_CLOSED: &str = "boot_attempt_closed";
    /// The node fetched its script.
    pub const SCRIPT_SERVED: &str = "script_served";
    /// The node asked for its script, and there is none as long as its image set can't be read.
    pub const SCRIPT_HELD: &str = "script_held";
    /// The node fetched a file of the image set, or part of one.
    pub const IMAGE_SERVED: &str = "image_served";
    /// The node asked for a file of the image set that can't go out.
    pub const IMAGE_REFUSED: &str = "image_refused";
    /// The node's boot script told where it stands.
    pub const BOOT_STEP: &str = "boot_step";
    /// What is known of how far the node's boot can be trusted has changed.
    pub const BOOT_TRUST: &str = "boot_trust";
    /// The node exchanged its boot token for a session of its own.
    pub const SESSION_BEGUN: &str = "session_begun";
    /// The node fetched its configuration.
    pub const CONFIG_SERVED: &str = "config_served";
    /// The node reported.
    pub const NODE_REPORT: &str = "node_report";
    /// A CVM's answer changed.
    pub const CVM_ANSWER: &str = "cvm_answer";
    /// A CVM shows another key than before.
    pub const CVM_KEY_CHANGED: &str = "cvm_key_changed";
    /// The power or initialization of a server is about to be changed.
    pub const SERVER_ACTION: &str = "server_action";
    /// Something failed that is tried again.
    pub const TROUBLE: &str = "trouble";
    /// A node refused or failed the create call; the next one is asked.
    pub const FORMATION_REFUSED: &str = "formation_refused";
    /// What the forming cluster answers has changed.
    pub const FORMATION_PROGRESS: &str = "formation_progress";
    /// Which driver forms the cluster, and why.
    pub const FORMATION_DRIVER: &str = "formation_driver";
    /// The nodes were checked before create.
    pub const FORMATION_CHECKED: &str = "formation_checked";
    /// What a create printed.
    pub const FORMATION_OUTPUT: &str = "formation_output";
    /// A create failed, and what it left is taken down.
    pub const FORMATION_CLEANED: &str = "formation_cleaned";
    /// Passwords of the cluster's own are in force somewhere, or were refused.
    pub const PASSWORDS: &str = "passwords";
    /// An operator asked for something.
    pub const OPERATOR: &str = "operator";
}
