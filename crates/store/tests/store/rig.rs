//! Plans, clusters and folders for tests.

use metalform_model::*;
use metalform_store::{ClusterState, Lease, NewCluster, SealedCredential, Sealer, Store};
use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::Duration,
};
use uuid::Uuid;

pub const T0: Timestamp = Timestamp::from_seconds(1_800_000_000);
pub const TTL: Duration = Duration::from_secs(300);
pub const PASSWORD: &str = "correct-horse-battery-staple";

/// A folder that goes with its value.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        Folder(std::env::temp_dir().join(format!("metalform-store-{}", Uuid::new_v4())))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

fn node_plan(server_id: &str, mgmt_ip: Option<&str>) -> NodePlan {
    NodePlan {
        server_id: server_id.into(),
        server_name: server_id.into(),
        mgmt_ip: mgmt_ip.map(|ip| ip.parse().expect("an address")),
        ahv_ip: None,
        cvm_ip: None,
        role: Role::ComputeStorage,
        data_drives: Vec::new(),
        data_drives_by: ChosenBy::Plan,
        node_position: "A".into(),
        existing: false,
        placement: None,
    }
}

/// A plan of these nodes: server id, and management address if the plan names one.
pub fn new_cluster(name: &str, nodes: &[(&str, Option<&str>)]) -> NewCluster {
    let plan = Plan {
        cluster: ClusterPlan {
            name: name.into(),
            external_ip: Ipv4Addr::new(10, 240, 0, 200),
            redundancy_factor: 2,
            cluster_functions: vec!["AOS".into()],
            timezone: "UTC".into(),
            dns_servers: Vec::new(),
            ntp_servers: Vec::new(),
            formation: FormationChoice::Auto,
            min_nodes: 3,
            start: Start::WhenReady,
        },
        nodes: nodes.iter().map(|(id, ip)| node_plan(id, *ip)).collect(),
    };
    NewCluster {
        plan_hash: format!("hash of {name}"),
        site: Site::default(),
        record: ClusterRecord::new(Uuid::new_v4(), &plan, T0),
        nodes: nodes.iter().map(|(id, _)| NodeRecord::new(id, false, T0)).collect(),
        event: NewEvent::new(T0, kind::DEPLOYMENT_STARTED, "accepted"),
        plan,
    }
}

/// A cluster of two nodes, accepted.
pub async fn accept(store: &Store, name: &str, ids: [&str; 2]) -> Uuid {
    let new = new_cluster(name, &ids.map(|id| (id, None)));
    store.accept(&new, &audit_entry("x")).await.expect("a plan that nothing speaks against");
    new.record.id
}

pub async fn lease(store: &Store, id: Uuid) -> Lease {
    store.acquire(id, T0, TTL).await.expect("the store answers").expect("nobody else has it")
}

pub async fn state(store: &Store, id: Uuid) -> ClusterState {
    store.cluster(id).await.expect("the store answers").expect("it was accepted")
}

pub fn event(message: &str) -> NewEvent {
    NewEvent::new(T0, kind::TROUBLE, message)
}

pub fn evidence(cluster_id: Uuid, server_id: &str, seen: Seen) -> Evidence {
    Evidence {
        cluster_id,
        server_id: server_id.into(),
        attempt_id: Uuid::nil(),
        at: T0,
        source: Ipv4Addr::new(10, 240, 0, 11).into(),
        seen,
    }
}

pub fn audit_entry(target: &str) -> AuditEntry {
    AuditEntry {
        at: T0,
        who: "operator".into(),
        action: "cluster.deploy".into(),
        target: target.into(),
        source: "127.0.0.1".into(),
        outcome: "ok".into(),
    }
}

pub fn resource(server_id: Option<&str>, slot: Slot, state: ResourceState) -> Resource {
    Resource {
        server_id: server_id.map(Into::into),
        slot,
        name: format!("mf-{}", slot.as_str()),
        state,
        cloud_id: (state != ResourceState::Intended).then(|| "id-1".into()),
        subnet: "0717-subnet".into(),
        address: slot.is_address().then_some(Ipv4Addr::new(10, 240, 0, 11)),
        in_doubt: state == ResourceState::Intended,
        lookups_left: 3,
        changed_at: T0,
    }
}

/// What passwords are sealed with.
pub fn sealer() -> Sealer {
    Sealer::new(&[7; 32])
}

/// A password for that account, another each time it is sealed.
pub fn credential(cluster_id: Uuid, account: Account) -> SealedCredential {
    let sealed = sealer().seal(cluster_id, account, &PASSWORD.into()).expect("it can be sealed");
    SealedCredential { account, user: account.user().into(), sealed, created_at: T0 }
}

/// Everything the store shows of a cluster.
pub type Everything = (ClusterState, Vec<Event>, Vec<(i64, Evidence)>, usize, Vec<SealedCredential>);

/// Everything the store shows of a cluster: two of these are equal exactly if nothing was written between.
pub async fn everything(store: &Store, id: Uuid) -> Everything {
    let events = store.events(id, 0, 10_000).await.expect("events");
    let evidence = store.unfolded_evidence(id, 10_000).await.expect("evidence");
    let audit = store.audit(0, 10_000).await.expect("audit").len();
    let credentials = store.credentials(id).await.expect("credentials");
    (state(store, id).await, events, evidence, audit, credentials)
}
