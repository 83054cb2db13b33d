//! Leases: who may work on a cluster, and the fence that makes a former owner's writes void.

use crate::{
    Store,
    error::{Doing, Result},
};
use metalform_model::Timestamp;
use std::time::Duration;
use uuid::Uuid;

/// The right to work on one cluster. Every write of the loop carries its fence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The cluster.
    pub cluster_id: Uuid,
    /// Grows with every change of owner and every restart of one.
    pub fence: i64,
}

impl Store {
    /// Takes or renews the lease on a cluster. `None`: somebody else has it, or the cluster is no more. Whoever has it
    /// loads the cluster next, and so hears everything that was asked before.
    pub async fn acquire(&self, cluster_id: Uuid, now: Timestamp, ttl: Duration) -> Result<Option<Lease>> {
        let row: Option<(i64,)> = sqlx::query_as(
            "UPDATE clusters SET fence = CASE WHEN owner = $1 THEN fence ELSE fence + 1 END, owner = $1, lease_until = $2, \
             unheard = 0 \
             WHERE id = $3 AND living = 1 AND (owner = $1 OR lease_until < $4) RETURNING fence",
        )
        .bind(&self.owner.0)
        .bind((now + ttl).0)
        .bind(cluster_id.to_string())
        .bind(now.0)
        .fetch_optional(&self.writer)
        .await
        .doing("take a lease")?;
        Ok(row.map(|(fence,)| Lease { cluster_id, fence }))
    }
}

#[cfg(test)]
mod tests;
