//! What holds after the process is gone: what was committed is there, and nobody else worked on it meanwhile.

use crate::rig::*;
use metalform_model::*;
use metalform_store::{Changes, OperatorRequest, Store, StoreError};

#[tokio::test]
async fn what_was_committed_is_there_after_reopening() {
    let folder = Folder::new();
    let store = Store::open(folder.path()).await.unwrap();
    let id = accept(&store, "prod", ["a", "b"]).await;
    let lease = lease(&store, id).await;
    let server = resource(Some("a"), Slot::Server, ResourceState::Created);
    let changes = Changes {
        resources: vec![&server],
        events: vec![event("x")],
        credentials: vec![credential(id, Account::AhvRoot)],
        ..Changes::default()
    };
    store.commit(&lease, changes).await.unwrap();
    store.add_evidence(&evidence(id, "a", Seen::ScriptServed)).await.unwrap();
    store.add_audit(&audit_entry("prod")).await.unwrap();
    store.request("prod", OperatorRequest::Form, event("form"), &audit_entry("x")).await.unwrap();
    let mut before = everything(&store, id).await;
    store.close().await;

    let store = Store::open(folder.path()).await.unwrap();
    before.0.next_at = Timestamp(0);
    assert_eq!(everything(&store, id).await, before);
    store.add_audit(&audit_entry("test")).await.unwrap();
    let audit = store.audit(0, 9).await.unwrap();
    assert!(audit[1].follows(Some(&audit[0])));
}

#[tokio::test]
async fn a_restart_makes_every_living_cluster_due_since_a_pass_may_have_died() {
    let folder = Folder::new();
    let store = Store::open(folder.path()).await.unwrap();
    let id = accept(&store, "prod", ["a", "b"]).await;
    let lease = lease(&store, id).await;
    store.commit(&lease, Changes { next_at: Some(Timestamp::NEVER), ..Changes::default() }).await.unwrap();
    assert_eq!(store.schedule().await.unwrap(), [(id, Timestamp::NEVER)]);
    store.close().await;
    let store = Store::open(folder.path()).await.unwrap();
    assert_eq!(store.schedule().await.unwrap(), [(id, Timestamp(0))]);
}

#[tokio::test]
async fn a_restart_resumes_its_own_leases_at_once_and_voids_what_it_had_under_way() {
    let folder = Folder::new();
    let store = Store::open(folder.path()).await.unwrap();
    let id = accept(&store, "prod", ["a", "b"]).await;
    let old = lease(&store, id).await;
    assert_eq!(lease(&store, id).await, old, "renewing keeps the fence");
    store.close().await;

    let store = Store::open(folder.path()).await.unwrap();
    let stale = store.commit(&old, Changes { events: vec![event("late")], ..Changes::default() }).await;
    assert!(matches!(stale, Err(StoreError::StaleFence)), "even before the lease is taken again");
    let new = lease(&store, id).await;
    assert!(new.fence > old.fence);
    store.commit(&new, Changes { events: vec![event("now")], ..Changes::default() }).await.unwrap();
    let stale = store.commit(&old, Changes { events: vec![event("late")], ..Changes::default() }).await;
    assert!(matches!(stale, Err(StoreError::StaleFence)));
    let messages: Vec<String> = store.events(id, 1, 9).await.unwrap().into_iter().map(|e| e.message).collect();
    assert_eq!(messages, ["now"]);
}

#[tokio::test]
async fn a_folder_belongs_to_one_process() {
    let folder = Folder::new();
    let store = Store::open(folder.path()).await.unwrap();
    let second = Store::open(folder.path()).await.unwrap_err();
    let expected = format!("the data folder {} is in use by another process", folder.path().display());
    assert_eq!(second.to_string(), expected);
    store.check().await.expect("the first goes on undisturbed");
    store.close().await;
    Store::open(folder.path()).await.expect("free again");
}

#[tokio::test]
async fn a_folder_that_cant_be_made_is_named() {
    let folder = Folder::new();
    std::fs::write(folder.path(), "a file").unwrap();
    let error = Store::open(&folder.path().join("data")).await.unwrap_err();
    std::fs::remove_file(folder.path()).unwrap();
    assert!(matches!(error, StoreError::Folder { .. }), "{error:?}");
    assert!(error.to_string().contains(&folder.path().display().to_string()));
}

#[tokio::test]
async fn a_database_of_something_else_is_refused_and_left_alone() {
    let folder = Folder::new();
    std::fs::create_dir_all(folder.path()).unwrap();
    let file = folder.path().join("metalform.db");
    let garbage = "no database at all, ".repeat(500);
    std::fs::write(&file, &garbage).unwrap();
    Store::open(folder.path()).await.unwrap_err();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), garbage);
}
