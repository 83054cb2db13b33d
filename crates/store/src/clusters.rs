//! Clusters with their nodes and resources: accepting, loading, finding, and what operators ask for.

use crate::{
    Store, StoreError,
    error::{Doing, Result, from_text, to_text},
};
use metalform_model::{
    AuditEntry, ClusterRecord, FormationChoice, Intents, NewEvent, NodeRecord, Plan, Resource, ResourceState, Site,
    Slot, Timestamp,
};
use sqlx::{FromRow, Row, sqlite::SqliteRow};
use uuid::Uuid;

/// A plan about to become a cluster.
#[derive(Debug, Clone)]
pub struct NewCluster {
    /// The operator's word.
    pub plan: Plan,
    /// Its canonical hash: decides "the same plan again".
    pub plan_hash: String,
    /// What the cloud said about its places.
    pub site: Site,
    /// The first record.
    pub record: ClusterRecord,
    /// The nodes' first records, in the plan's order.
    pub nodes: Vec<NodeRecord>,
    /// The first line of the timeline.
    pub event: NewEvent,
}

/// What became of accepting a plan.
#[derive(Debug, Clone, PartialEq)]
pub enum Accepted {
    /// A new deployment.
    New,
    /// The same plan lives already.
    Same(Uuid),
    /// Another plan lives under that name.
    Differs(Uuid),
}

/// Everything the store knows of one cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterState {
    /// What the operator declared.
    pub plan: Plan,
    /// Its canonical hash.
    pub plan_hash: String,
    /// What the cloud said about its places.
    pub site: Site,
    /// What we know of it.
    pub record: ClusterRecord,
    /// What the operator asked for since.
    pub intents: Intents,
    /// Its nodes, in the plan's order.
    pub nodes: Vec<NodeState>,
    /// Its own address in the cloud.
    pub vip: Option<Resource>,
    /// When the loop wants to look at it again.
    pub next_at: Timestamp,
}

/// One node of it.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeState {
    /// What we know of it.
    pub record: NodeRecord,
    /// What exists of it in the cloud.
    pub resources: Vec<Resource>,
}

/// What an operator may ask of a living cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperatorRequest {
    /// Let it be gone.
    Absent,
    /// Form it now.
    Form,
    /// Give what failed another try.
    Retry {
        /// The driver to form the cluster by from now on; `None`: as before.
        formation: Option<FormationChoice>,
    },
}

#[derive(FromRow)]
struct ClusterRow {
    id: String,
    plan: String,
    plan_hash: String,
    site: String,
    record: String,
    absent: i64,
    form: i64,
    retries: i64,
    formation: Option<String>,
    next_at: i64,
}

const COLUMNS: &str = "id, plan, plan_hash, site, record, absent, form, retries, formation, next_at";

impl Store {
    /// Accepts a plan, all of it or nothing: the cluster, its nodes, the first line of its timeline, and the line of the audit.
    pub async fn accept(&self, new: &NewCluster, line: &AuditEntry) -> Result<Accepted> {
        let doing = "accept a plan";
        let record = &new.record;
        let mut tx = self.begin(doing).await?;
        let living: Option<(String, String)> =
            sqlx::query_as("SELECT id, plan_hash FROM clusters WHERE name = $1 AND living = 1")
                .bind(&record.name)
                .fetch_optional(&mut *tx)
                .await
                .doing(doing)?;
        if let Some((id, hash)) = living {
            let id = parse_id(&id);
            return Ok(if hash == new.plan_hash { Accepted::Same(id) } else { Accepted::Differs(id) });
        }
        sqlx::query(
            "INSERT INTO clusters (id, name, plan, plan_hash, site, record, phase, living, next_at, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, 1, $8, $9)",
        )
        .bind(record.id.to_string())
        .bind(&record.name)
        .bind(to_text("plan", &new.plan)?)
        .bind(&new.plan_hash)
        .bind(to_text("site", &new.site)?)
        .bind(to_text("cluster", record)?)
        .bind(record.phase.as_str())
        .bind(record.created_at.0)
        .bind(record.created_at.0)
        .execute(&mut *tx)
        .await
        .doing(doing)?;
        for (place, (node, plan)) in new.nodes.iter().zip(&new.plan.nodes).enumerate() {
            let mgmt_ip = plan.mgmt_ip.map(|ip| ip.to_string());
            let taken: Option<(String,)> = sqlx::query_as(
                "SELECT server_id FROM nodes WHERE living = 1 AND (server_id = $1 OR (mgmt_ip IS NOT NULL AND mgmt_ip = $2))",
            )
            .bind(&node.server_id)
            .bind(&mgmt_ip)
            .fetch_optional(&mut *tx)
            .await
            .doing(doing)?;
            if let Some((server_id,)) = taken {
                let what = match server_id == node.server_id {
                    true => format!("server_id {server_id}"),
                    false => format!("mgmt_ip {} (of {server_id})", mgmt_ip.unwrap_or_default()),
                };
                return Err(StoreError::NodeTaken { what });
            }
            sqlx::query(
                "INSERT INTO nodes (cluster_id, server_id, place, record, phase, mgmt_ip, living) \
                 VALUES ($1, $2, $3, $4, $5, $6, 1)",
            )
            .bind(record.id.to_string())
            .bind(&node.server_id)
            .bind(place as i64)
            .bind(to_text("node", node)?)
            .bind(node.phase.as_str())
            .bind(mgmt_ip)
            .execute(&mut *tx)
            .await
            .doing(doing)?;
        }
        self.append_events(&mut tx, record.id, std::slice::from_ref(&new.event)).await?;
        self.commit_deed(tx, doing, line).await?;
        Ok(Accepted::New)
    }

    /// One cluster, living or not.
    pub async fn cluster(&self, id: Uuid) -> Result<Option<ClusterState>> {
        let sql = format!("SELECT {COLUMNS} FROM clusters WHERE id = $1");
        let row: Option<ClusterRow> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(id.to_string())
            .fetch_optional(&self.reader)
            .await
            .doing("load a cluster")?;
        match row {
            Some(row) => Ok(Some(self.complete(row).await?)),
            None => Ok(None),
        }
    }

    /// The living cluster of that name, or the last one that had it.
    pub async fn cluster_named(&self, name: &str) -> Result<Option<ClusterState>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM clusters WHERE name = $1 ORDER BY living DESC, created_at DESC, id DESC LIMIT 1"
        );
        let row: Option<ClusterRow> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(name)
            .fetch_optional(&self.reader)
            .await
            .doing("find a cluster")?;
        match row {
            Some(row) => Ok(Some(self.complete(row).await?)),
            None => Ok(None),
        }
    }

    /// Every living cluster, oldest first.
    pub async fn living_clusters(&self) -> Result<Vec<ClusterState>> {
        let sql = format!("SELECT {COLUMNS} FROM clusters WHERE living = 1 ORDER BY created_at, id");
        let rows: Vec<ClusterRow> =
            sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_all(&self.reader).await.doing("list clusters")?;
        let mut all = Vec::with_capacity(rows.len());
        for row in rows {
            all.push(self.complete(row).await?);
        }
        Ok(all)
    }

    /// When each living cluster wants to be looked at: at once, if there is evidence or an operator's word that no pass
    /// has taken in. A wake is only a shortcut to this; one that is lost delays and loses nothing.
    pub async fn schedule(&self) -> Result<Vec<(Uuid, Timestamp)>> {
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "SELECT id, CASE WHEN unheard = 1 OR EXISTS (SELECT 1 FROM evidence WHERE cluster_id = clusters.id AND folded = 0) \
             THEN 0 ELSE next_at END FROM clusters WHERE living = 1",
        )
        .fetch_all(&self.reader)
        .await
        .doing("read the schedule")?;
        Ok(rows.into_iter().map(|(id, at)| (parse_id(&id), Timestamp(at))).collect())
    }

    /// The cluster that the living node of that server id belongs to.
    pub async fn cluster_of_node(&self, server_id: &str) -> Result<Option<ClusterState>> {
        let row: Option<(String,)> = sqlx::query_as(
            "SELECT cluster_id FROM nodes WHERE server_id = $1 ORDER BY living DESC, cluster_id DESC LIMIT 1",
        )
        .bind(server_id)
        .fetch_optional(&self.reader)
        .await
        .doing("find a node")?;
        match row {
            Some((id,)) => self.cluster(parse_id(&id)).await,
            None => Ok(None),
        }
    }

    /// The cluster that the living node of that management address belongs to.
    pub async fn cluster_of_address(&self, mgmt_ip: std::net::Ipv4Addr) -> Result<Option<ClusterState>> {
        let row: Option<(String,)> = sqlx::query_as("SELECT cluster_id FROM nodes WHERE mgmt_ip = $1 AND living = 1")
            .bind(mgmt_ip.to_string())
            .fetch_optional(&self.reader)
            .await
            .doing("find a node")?;
        match row {
            Some((id,)) => self.cluster(parse_id(&id)).await,
            None => Ok(None),
        }
    }

    /// Records what an operator asks for, with its lines in the timeline and in the audit. Returns the cluster's id, to be woken.
    pub async fn request(
        &self,
        name: &str,
        request: OperatorRequest,
        event: NewEvent,
        line: &AuditEntry,
    ) -> Result<Uuid> {
        let doing = "record a request";
        let statement = match request {
            OperatorRequest::Absent => {
                "UPDATE clusters SET absent = 1, unheard = 1 WHERE name = $1 AND living = 1 RETURNING id"
            }
            OperatorRequest::Form => {
                "UPDATE clusters SET form = 1, unheard = 1 WHERE name = $1 AND living = 1 RETURNING id"
            }
            OperatorRequest::Retry { .. } => {
                "UPDATE clusters SET retries = retries + 1, formation = COALESCE($2, formation), unheard = 1 \
                 WHERE name = $1 AND living = 1 RETURNING id"
            }
        };
        let formation = match request {
            OperatorRequest::Retry { formation: Some(choice) } => Some(to_text("formation", &choice)?),
            _ => None,
        };
        let mut tx = self.begin(doing).await?;
        let mut query = sqlx::query_as(statement).bind(name);
        if matches!(request, OperatorRequest::Retry { .. }) {
            query = query.bind(formation.map(|word| word.trim_matches('"').to_owned()));
        }
        let row: Option<(String,)> = query.fetch_optional(&mut *tx).await.doing(doing)?;
        let Some((id,)) = row else { return Err(StoreError::NoCluster { name: name.to_owned() }) };
        let id = parse_id(&id);
        self.append_events(&mut tx, id, &[event]).await?;
        self.commit_deed(tx, doing, line).await?;
        Ok(id)
    }

    async fn complete(&self, row: ClusterRow) -> Result<ClusterState> {
        let doing = "load a cluster";
        let nodes: Vec<(String,)> = sqlx::query_as("SELECT record FROM nodes WHERE cluster_id = $1 ORDER BY place")
            .bind(&row.id)
            .fetch_all(&self.reader)
            .await
            .doing(doing)?;
        let resources: Vec<SqliteRow> = sqlx::query(
            "SELECT server_id, slot, name, state, cloud_id, subnet, address, in_doubt, lookups_left, changed_at \
             FROM resources WHERE cluster_id = $1 ORDER BY server_id, slot",
        )
        .bind(&row.id)
        .fetch_all(&self.reader)
        .await
        .doing(doing)?;
        let resources = resources.iter().map(read_resource).collect::<Result<Vec<_>>>()?;
        let nodes = nodes
            .iter()
            .map(|(text,)| {
                let record: NodeRecord = from_text("node", text)?;
                let own = |r: &&Resource| r.server_id.as_deref() == Some(&record.server_id);
                let resources = resources.iter().filter(own).cloned().collect();
                Ok(NodeState { record, resources })
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(ClusterState {
            plan: from_text("plan", &row.plan)?,
            plan_hash: row.plan_hash,
            site: from_text("site", &row.site)?,
            record: from_text("cluster", &row.record)?,
            intents: Intents {
                absent: row.absent != 0,
                form: row.form != 0,
                retries: row.retries as u32,
                formation: row.formation.map(|word| from_text("formation", &format!("{word:?}"))).transpose()?,
            },
            nodes,
            vip: resources.into_iter().find(|r| r.slot == Slot::Vip),
            next_at: Timestamp(row.next_at),
        })
    }
}

fn read_resource(row: &SqliteRow) -> Result<Resource> {
    let doing = "read a resource";
    let text = |column: &str| row.try_get::<Option<String>, _>(column).doing(doing);
    let number = |column: &str| row.try_get::<i64, _>(column).doing(doing);
    let server_id = text("server_id")?.filter(|s| !s.is_empty());
    let state: ResourceState = from_text("resource state", &format!("{:?}", text("state")?.unwrap_or_default()))?;
    let slot: Slot = from_text("resource slot", &format!("{:?}", text("slot")?.unwrap_or_default()))?;
    Ok(Resource {
        server_id,
        slot,
        name: text("name")?.unwrap_or_default(),
        state,
        cloud_id: text("cloud_id")?,
        subnet: text("subnet")?.unwrap_or_default(),
        address: text("address")?.and_then(|a| a.parse().ok()),
        in_doubt: number("in_doubt")? != 0,
        lookups_left: u8::try_from(number("lookups_left")?).unwrap_or(u8::MAX),
        changed_at: Timestamp(number("changed_at")?),
    })
}

/// Ids in the database were written by us as UUIDs; the nil UUID, which no row has, stands for a broken one.
pub(crate) fn parse_id(text: &str) -> Uuid {
    Uuid::parse_str(text).unwrap_or_default()
}
