//! The loop's only way to write: all of a step, or nothing, and only under a valid fence.

use crate::{
    Lease, SealedCredential, Store, StoreError,
    error::{Doing, Result, to_text},
};
use metalform_model::{
    AuditEntry, ClusterPhase, ClusterRecord, NewEvent, NodePhase, NodeRecord, Resource, Timestamp, audit_action, kind,
};

/// What one step of the loop changes.
#[derive(Debug, Clone, Default)]
pub struct Changes<'a> {
    /// The cluster's new record.
    pub cluster: Option<&'a ClusterRecord>,
    /// New records of nodes.
    pub nodes: Vec<&'a NodeRecord>,
    /// New or changed resources.
    pub resources: Vec<&'a Resource>,
    /// What is added to the timeline.
    pub events: Vec<NewEvent>,
    /// Evidence that these records have taken in.
    pub folded: Vec<i64>,
    /// New passwords. They stand with the record that says they were made, so none is used before it is written down.
    pub credentials: Vec<SealedCredential>,
    /// Lets the cluster's passwords go: with the record that says `released`, and without effect before.
    pub forget_credentials: bool,
    /// When the cluster wants to be looked at again.
    pub next_at: Option<Timestamp>,
}

impl Store {
    /// Writes a step of the loop. [`StoreError::StaleFence`]: another owner works on the cluster.
    /// [`StoreError::NodeTaken`]: a node got an address that another living node has. [`StoreError::PasswordExists`]: an
    /// account has a password already. Nothing was written then.
    pub async fn commit(&self, lease: &Lease, changes: Changes<'_>) -> Result<()> {
        let doing = "record a step";
        let id = lease.cluster_id.to_string();
        let mut tx = self.begin(doing).await?;
        let fenced = sqlx::query("UPDATE clusters SET next_at = COALESCE($1, next_at) WHERE id = $2 AND fence = $3")
            .bind(changes.next_at.map(|t| t.0))
            .bind(&id)
            .bind(lease.fence)
            .execute(&mut *tx)
            .await
            .doing(doing)?;
        if fenced.rows_affected() == 0 {
            return Err(StoreError::StaleFence);
        }
        for node in changes.nodes {
            sqlx::query(
                // An address that the plan names is taken from the first moment, before the record knows it.
                "UPDATE nodes SET record = $1, phase = $2, mgmt_ip = COALESCE($3, mgmt_ip), living = $4 \
                 WHERE cluster_id = $5 AND server_id = $6",
            )
            .bind(to_text("node", node)?)
            .bind(node.phase.as_str())
            .bind(node.mgmt_ip.map(|ip| ip.to_string()))
            .bind(i64::from(node.phase != NodePhase::Released))
            .bind(&id)
            .bind(&node.server_id)
            .execute(&mut *tx)
            .await
            .map_err(|source| taken_or_failed(doing, node, source))?;
        }
        for resource in changes.resources {
            sqlx::query(
                "INSERT INTO resources (cluster_id, server_id, slot, name, state, cloud_id, subnet, address, in_doubt, \
                 lookups_left, changed_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
                 ON CONFLICT (cluster_id, server_id, slot) DO UPDATE SET name = excluded.name, state = excluded.state, \
                 cloud_id = excluded.cloud_id, subnet = excluded.subnet, address = excluded.address, \
                 in_doubt = excluded.in_doubt, lookups_left = excluded.lookups_left, changed_at = excluded.changed_at",
            )
            .bind(&id)
            .bind(resource.server_id.as_deref().unwrap_or(""))
            .bind(to_text("slot", &resource.slot)?.trim_matches('"').to_owned())
            .bind(&resource.name)
            .bind(to_text("state", &resource.state)?.trim_matches('"').to_owned())
            .bind(&resource.cloud_id)
            .bind(&resource.subnet)
            .bind(resource.address.map(|a| a.to_string()))
            .bind(i64::from(resource.in_doubt))
            .bind(i64::from(resource.lookups_left))
            .bind(resource.changed_at.0)
            .execute(&mut *tx)
            .await
            .doing(doing)?;
        }
        if let Some(record) = changes.cluster {
            sqlx::query("UPDATE clusters SET record = $1, phase = $2, living = $3 WHERE id = $4")
                .bind(to_text("cluster", record)?)
                .bind(record.phase.as_str())
                .bind(i64::from(record.phase != ClusterPhase::Released))
                .bind(&id)
                .execute(&mut *tx)
                .await
                .doing(doing)?;
        }
        self.add_credentials(&mut tx, lease.cluster_id, &changes.credentials).await?;
        if changes.forget_credentials {
            self.forget_credentials(&mut tx, lease.cluster_id).await?;
        }
        for evidence in changes.folded {
            sqlx::query("UPDATE evidence SET folded = 1 WHERE id = $1")
                .bind(evidence)
                .execute(&mut *tx)
                .await
                .doing(doing)?;
        }
        self.append_events(&mut tx, lease.cluster_id, &changes.events).await?;
        let mut audited = None;
        for entry in changes.events.iter().filter_map(audit_entry) {
            audited = Some(self.append_audit(&mut tx, &entry).await?);
        }
        tx.commit().await.doing(doing)?;
        if let Some(seq) = audited {
            self.tell_audited(seq);
        }
        Ok(())
    }
}

/// A boot attempt is a permission: that it begins and that it ends stand in the audit, with the record itself. Made from the
/// timeline's line here, so that no step of the loop can forget it.
fn audit_entry(event: &NewEvent) -> Option<AuditEntry> {
    let action = match event.kind {
        kind::BOOT_ATTEMPT_OPENED => audit_action::ATTEMPT_OPENED,
        kind::BOOT_ATTEMPT_CLOSED => audit_action::ATTEMPT_CLOSED,
        _ => return None,
    };
    let server_id = event.server_id.as_deref().unwrap_or_default();
    Some(AuditEntry {
        at: event.at,
        who: "service".into(),
        action: action.into(),
        target: format!("{server_id} attempt {}", event.data["n"]),
        source: "service".into(),
        outcome: "ok".into(),
    })
}

/// The only thing of a node that is unique among the living and may change is its management address.
fn taken_or_failed(doing: &'static str, node: &NodeRecord, source: sqlx::Error) -> StoreError {
    match (source.as_database_error(), node.mgmt_ip) {
        (Some(error), Some(ip)) if error.is_unique_violation() => {
            StoreError::NodeTaken { what: format!("mgmt_ip {ip}") }
        }
        _ => StoreError::Database { doing, source },
    }
}
