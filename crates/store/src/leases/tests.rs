//! Two owners over one database: what replicas will be, once they share one.

use crate::{Changes, Owner, Store, StoreError, rig::*};
use metalform_model::Timestamp;
use std::time::Duration;

async fn two_owners() -> (Store, Store) {
    let first = Store::in_memory().await.unwrap();
    let mut second = first.clone();
    second.owner = Owner("another".into());
    (first, second)
}

#[tokio::test]
async fn a_lease_is_taken_over_only_after_it_has_expired() {
    let (first, second) = two_owners().await;
    let id = accept(&first, "prod", ["a", "b"]).await;
    let old = lease(&first, id).await;
    for at in [T0, T0 + TTL] {
        assert_eq!(second.acquire(id, at, TTL).await.unwrap(), None);
    }
    let expired = Timestamp((T0 + TTL).0 + 1);
    let new = second.acquire(id, expired, TTL).await.unwrap().expect("it has expired");
    assert!(new.fence > old.fence);
    assert_eq!(first.acquire(id, expired, TTL).await.unwrap(), None, "now it is the other's");

    let stale = first.commit(&old, Changes { events: vec![event("late")], ..Changes::default() }).await;
    assert!(matches!(stale, Err(StoreError::StaleFence)));
    second.commit(&new, Changes { events: vec![event("now")], ..Changes::default() }).await.unwrap();
}

#[tokio::test]
async fn renewing_puts_the_end_off() {
    let (first, second) = two_owners().await;
    let id = accept(&first, "prod", ["a", "b"]).await;
    lease(&first, id).await;
    let later = T0 + Duration::from_secs(200);
    first.acquire(id, later, TTL).await.unwrap().expect("its own");
    assert_eq!(second.acquire(id, T0 + TTL + Duration::from_secs(1), TTL).await.unwrap(), None);
}

#[tokio::test]
async fn there_is_no_lease_on_what_is_gone() {
    let (first, _) = two_owners().await;
    let id = accept(&first, "prod", ["a", "b"]).await;
    let lease = lease(&first, id).await;
    let mut record = state(&first, id).await.record;
    record.enter(metalform_model::ClusterPhase::Released, "gone".into(), T0);
    first.commit(&lease, Changes { cluster: Some(&record), ..Changes::default() }).await.unwrap();
    assert_eq!(first.acquire(id, T0, TTL).await.unwrap(), None);
    // The pass that released it still has its last words.
    first.commit(&lease, Changes { next_at: Some(Timestamp::NEVER), ..Changes::default() }).await.unwrap();
}
