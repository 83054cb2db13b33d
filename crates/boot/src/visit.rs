//! One request, from its admission to its audit record: who asks, for what, and how it ended.

use crate::{BootNode, BootPlane, Channel, Refusal, journal::Record};
use axum::response::Response;
use metalform_model::{AuditEntry, Evidence, Seen, audit_action};
use std::{net::IpAddr, sync::Arc};
use uuid::Uuid;

/// What a path is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Script,
    Attempt,
    Session,
    Config,
    Arizona,
    Step,
    Report,
    Progress,
    Image,
    Other,
}

const PREFIXES: [(&str, Action); 9] = [
    ("/boot/ipxe", Action::Script),
    ("/boot/attempt", Action::Attempt),
    ("/boot/session", Action::Session),
    ("/boot/server", Action::Config),
    ("/boot/arizona", Action::Arizona),
    ("/boot/step", Action::Step),
    ("/boot/report", Action::Report),
    ("/boot/progress", Action::Progress),
    ("/pxe/images", Action::Image),
];

/// A request that was looked at. Cheap to clone; a body keeps one to record its end.
#[derive(Clone)]
pub(crate) struct Visit {
    pub plane: Arc<BootPlane>,
    action: Action,
    /// What follows the route in the path: a server id, an address, a file. Not decoded: no name that exists needs it.
    pub target: String,
    pub source: IpAddr,
    pub channel: Channel,
}

impl Visit {
    pub fn new(plane: Arc<BootPlane>, path: &str, source: IpAddr, channel: Channel) -> Self {
        let (action, target) = PREFIXES
            .iter()
            .find_map(|(prefix, action)| match path.strip_prefix(prefix)? {
                "" => Some((*action, "")),
                rest => Some((*action, rest.strip_prefix('/')?)),
            })
            .unwrap_or((Action::Other, path));
        Visit { plane, action, target: target.to_owned(), source, channel }
    }

    /// Answers no, in the form the asker understands, and records it.
    pub fn refuse(&self, refusal: Refusal) -> Response {
        self.audit("anonymous", &format!("refused:{}", refusal.code()));
        match self.action {
            Action::Script => refusal.into_script(),
            Action::Step | Action::Attempt => refusal.into_final_json(),
            _ => refusal.into_json(),
        }
    }

    /// Queues the audit record of a request that was granted.
    pub fn grant(&self, node: Option<&BootNode>) {
        let who = node.map_or_else(|| "anonymous".to_owned(), name_of);
        self.audit(&who, "ok");
    }

    /// The line of a request that is granted, for whoever writes it with what it grants.
    pub fn granted(&self, node: &BootNode) -> AuditEntry {
        self.entry(&name_of(node), "ok")
    }

    /// Records it before anything is handed out.
    pub async fn grant_recorded(&self, node: &BootNode) -> Result<(), Refusal> {
        self.plane.journal.record_now(Record::Audit(self.granted(node))).await.map_err(|_| Refusal::StoreAway)
    }

    fn audit(&self, who: &str, outcome: &str) {
        tracing::debug!(who, outcome, target = self.printable_target(), source = %self.source, "boot plane request");
        self.plane.journal.record(Record::Audit(self.entry(who, outcome)));
    }

    fn entry(&self, who: &str, outcome: &str) -> AuditEntry {
        let action = match self.action {
            Action::Script => audit_action::BOOT_SCRIPT,
            Action::Attempt => audit_action::BOOT_ATTEMPT,
            Action::Session => audit_action::BOOT_SESSION,
            Action::Config => audit_action::BOOT_CONFIG,
            Action::Arizona => audit_action::BOOT_ARIZONA,
            Action::Step => audit_action::BOOT_STEP,
            Action::Report => audit_action::BOOT_REPORT,
            Action::Progress => audit_action::BOOT_PROGRESS,
            Action::Image => audit_action::BOOT_IMAGE,
            Action::Other => audit_action::BOOT_OTHER,
        };
        AuditEntry {
            at: self.plane.clock.now(),
            who: who.to_owned(),
            action: action.to_owned(),
            target: self.printable_target(),
            source: self.source.to_string(),
            outcome: outcome.to_owned(),
        }
    }

    /// The path is the asker's text: it is cut and cleaned before it stands in a record.
    fn printable_target(&self) -> String {
        let clean = |c: char| if c.is_ascii_alphanumeric() || "._:/-".contains(c) { c } else { '?' };
        self.target.chars().take(128).map(clean).collect()
    }

    /// An observation made now, on its way to the journal.
    pub fn evidence(&self, node: &BootNode, attempt: Uuid, seen: Seen) -> Record {
        Record::Evidence(self.observation(node, attempt, seen))
    }

    /// An observation made now.
    pub fn observation(&self, node: &BootNode, attempt: Uuid, seen: Seen) -> Evidence {
        Evidence {
            cluster_id: node.cluster_id,
            server_id: node.server_id.clone(),
            attempt_id: attempt,
            at: self.plane.clock.now(),
            source: self.source,
            seen,
        }
    }
}

fn name_of(node: &BootNode) -> String {
    format!("node {}", node.server_id)
}
