//! What the database is told, and what happens when it can't.

use crate::{Changes, OperatorRequest, Store, StoreError, first_broken_audit_line, rig::*};
use metalform_model::{Account, ResourceState, Seen, Slot};
use sqlx::SqlitePool;
use std::error::Error;

async fn pragma(pool: &SqlitePool, name: &str) -> String {
    let statement = format!("PRAGMA {name}");
    let mut all: Vec<String> = Vec::new();
    let rows = sqlx::query(sqlx::AssertSqlSafe(statement)).fetch_all(pool).await.unwrap();
    for row in rows {
        use sqlx::Row;
        let number = row.try_get::<i64, _>(0).map(|n| n.to_string());
        all.push(number.or_else(|_| row.try_get::<String, _>(0)).unwrap());
    }
    all.join(",")
}

/// How many kinds of writes there are.
const WRITES: usize = 5;

/// The n-th kind of write, and how it ended.
async fn write(store: &Store, id: uuid::Uuid, n: usize) -> Result<(), StoreError> {
    let long = "x".repeat(100_000);
    match n {
        0 => {
            let lease = crate::Lease { cluster_id: id, fence: 1 };
            let node = state(store, id).await.nodes.remove(0).record;
            let server = resource(Some("a"), Slot::Server, ResourceState::Created);
            let changes = Changes {
                nodes: vec![&node],
                resources: vec![&server],
                events: vec![event("small"), event(&long)],
                credentials: vec![credential(id, Account::PrismAdmin)],
                next_at: Some(T0 + TTL),
                ..Changes::default()
            };
            store.commit(&lease, changes).await
        }
        1 => {
            let mut many = new_cluster("test", &[("x", None), ("y", None)]);
            many.event.message = long;
            store.accept(&many, &audit_entry("x")).await.map(drop)
        }
        2 => store
            .request("prod", OperatorRequest::Retry { formation: None }, event(&long), &audit_entry("x"))
            .await
            .map(drop),
        3 => store.add_evidence(&evidence(id, &long, Seen::ScriptServed)).await,
        _ => store.add_audit(&audit_entry(&long)).await,
    }
}

async fn one_cluster(folder: &Folder) -> (Store, uuid::Uuid) {
    let store = Store::open(folder.path()).await.unwrap();
    let id = accept(&store, "prod", ["a", "b"]).await;
    assert_eq!(lease(&store, id).await.fence, 1);
    (store, id)
}

/// Each write fails loudly and leaves nothing; once the cause is gone, each works.
async fn fails_whole_and_recovers(fault: &'static str, cause: &str, mend: &'static str) {
    let folder = Folder::new();
    let (store, id) = one_cluster(&folder).await;
    let before = everything(&store, id).await;
    for n in 0..WRITES {
        // Each time, since the store may have taken another connection.
        sqlx::query(fault).execute(&store.writer).await.unwrap();
        let error = write(&store, id, n).await.expect_err("it can't be written");
        assert!(matches!(error, StoreError::Database { .. }), "{n}: {error:?}");
        assert!(error.is_transient());
        let source = error.source().expect("its cause").to_string();
        assert!(source.contains(cause), "{n}: {source}");
    }
    assert_eq!(everything(&store, id).await, before);
    assert_eq!(store.cluster_named("test").await.unwrap(), None);
    assert_eq!(pragma(&store.writer, "integrity_check").await, "ok");

    sqlx::query(mend).execute(&store.writer).await.unwrap();
    for n in 0..WRITES {
        write(&store, id, n).await.unwrap();
    }
    let (_, events, evidence, audit, credentials) = everything(&store, id).await;
    let seqs: Vec<i64> = events.iter().map(|e| e.seq).collect();
    assert_eq!((seqs, evidence.len(), audit, credentials.len()), (vec![1, 2, 3, 4], 1, 4, 1));
}

#[tokio::test]
async fn what_is_committed_survives_a_power_cut() {
    let folder = Folder::new();
    let (store, _) = one_cluster(&folder).await;
    assert_eq!(pragma(&store.writer, "journal_mode").await, "wal");
    assert_eq!(pragma(&store.writer, "synchronous").await, "2", "2 is FULL");
    assert_eq!(pragma(&store.writer, "foreign_keys").await, "1");
    assert_eq!(pragma(&store.reader, "query_only").await, "0");
    let read_only = sqlx::query("DELETE FROM audit").execute(&store.reader).await.unwrap_err();
    assert!(read_only.to_string().contains("readonly"), "{read_only}");
}

#[tokio::test]
async fn a_full_disk_is_loud_leaves_nothing_half_written_and_is_got_over() {
    fails_whole_and_recovers("PRAGMA max_page_count = 1", "full", "PRAGMA max_page_count = 1000000").await;
}

#[tokio::test]
async fn a_database_that_cant_be_written_is_loud_and_is_got_over() {
    fails_whole_and_recovers("PRAGMA query_only = ON", "readonly", "PRAGMA query_only = OFF").await;
}

#[tokio::test]
async fn a_database_from_before_there_were_passwords_is_brought_up_to_date() {
    let folder = Folder::new();
    let (store, id) = one_cluster(&folder).await;
    for statement in ["DROP TABLE credentials", "DELETE FROM _sqlx_migrations WHERE version = 2"] {
        sqlx::query(statement).execute(&store.writer).await.unwrap();
    }
    store.close().await;
    let store = Store::open(folder.path()).await.unwrap();
    assert_eq!(store.credentials(id).await.unwrap(), []);
    let credentials = vec![credential(id, Account::PrismAdmin)];
    store.commit(&lease(&store, id).await, Changes { credentials, ..Changes::default() }).await.unwrap();
    assert_eq!(state(&store, id).await.record.name, "prod");
}

#[tokio::test]
async fn a_store_in_memory_outlives_the_connection_it_is_worked_through() {
    let store = Store::in_memory().await.unwrap();
    let id = accept(&store, "prod", ["a", "b"]).await;
    store.writer.acquire().await.unwrap().close().await.unwrap();
    assert_eq!(state(&store, id).await.record.name, "prod");
    let other = Store::in_memory().await.unwrap();
    assert_eq!(other.living_clusters().await.unwrap(), [], "each is a database of its own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_are_given_up_half_way_leave_the_store_whole() {
    let folder = Folder::new();
    for store in [Store::in_memory().await.unwrap(), Store::open(folder.path()).await.unwrap()] {
        let id = accept(&store, "prod", ["a", "b"]).await;
        for n in 0..40 {
            let giving_up = store.clone();
            let task = tokio::spawn(async move {
                for _ in 0..20 {
                    giving_up.add_audit(&audit_entry("x")).await.unwrap();
                    giving_up
                        .request("prod", OperatorRequest::Retry { formation: None }, event("x"), &audit_entry("asked"))
                        .await
                        .unwrap();
                }
            });
            for _ in 0..n {
                tokio::task::yield_now().await;
            }
            task.abort();
            task.await.ok();
        }
        store.add_audit(&audit_entry("last")).await.unwrap();
        let (state, events, ..) = everything(&store, id).await;
        assert_eq!(events.len(), 1 + state.intents.retries as usize, "a request and its line stand or fall together");
        let lines = store.audit(0, 10_000).await.unwrap();
        assert_eq!(lines.last().map(|l| l.target.as_str()), Some("last"));
        let asked = lines.iter().filter(|l| l.target == "asked").count();
        assert_eq!(asked, state.intents.retries as usize, "and so do they with the line of the audit");
        assert_eq!(first_broken_audit_line(None, &lines), None);
    }
}
