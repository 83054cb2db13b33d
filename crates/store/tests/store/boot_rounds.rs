//! What boot attempts are bound to.

use crate::rig::*;
use metalform_model::{Evidence, Seen, SessionKey};
use metalform_store::{Binding, Counted, Store, StoredSession};
use uuid::Uuid;

const ATTEMPT: Uuid = Uuid::nil();

fn key(byte: u8) -> SessionKey {
    SessionKey([byte; 32])
}

fn begun(cluster: Uuid, round: u32, key: SessionKey) -> Evidence {
    evidence(cluster, "a", Seen::SessionBegun { key, round })
}

/// Over TLS in every other round.
fn session(key: SessionKey, round: u32) -> StoredSession {
    StoredSession { key, round, over_tls: round.is_multiple_of(2) }
}

async fn with_cluster() -> (Store, Uuid) {
    let store = Store::in_memory().await.unwrap();
    let cluster = accept(&store, "alpha", ["a", "b"]).await;
    (store, cluster)
}

#[tokio::test]
async fn the_first_key_of_a_round_stays_and_each_is_one_piece_of_evidence() {
    let (store, cluster) = with_cluster().await;
    assert_eq!(store.boot_session(ATTEMPT).await.unwrap(), None);
    for (round, bound, expected, pieces, newest) in [
        (1, key(1), Binding::New, 1, (key(1), 1)),
        (1, key(1), Binding::Same, 1, (key(1), 1)),
        (1, key(2), Binding::Refused, 1, (key(1), 1)),
        // A straggler of an earlier round.
        (0, key(2), Binding::Refused, 1, (key(1), 1)),
        // The script was fetched again. The key that is bound is still good; another one takes its place, for good.
        (2, key(1), Binding::Same, 1, (key(1), 1)),
        (2, key(2), Binding::New, 2, (key(2), 2)),
        (2, key(1), Binding::Refused, 2, (key(2), 2)),
        (3, key(1), Binding::Refused, 2, (key(2), 2)),
        (3, key(3), Binding::New, 3, (key(3), 3)),
    ] {
        let case = format!("{bound:?} in round {round}");
        let evidence = begun(cluster, round, bound);
        assert_eq!(
            store.bind_boot_session(&evidence, session(bound, round), &audit_entry("x")).await.unwrap(),
            expected,
            "{case}"
        );
        assert_eq!(store.unfolded_evidence(cluster, 100).await.unwrap().len(), pieces, "{case}");
        assert_eq!(store.boot_session(ATTEMPT).await.unwrap(), Some(session(newest.0, newest.1)), "{case}");
    }
    assert_eq!(store.boot_session(Uuid::from_u128(9)).await.unwrap(), None, "another attempt has none");
}

#[tokio::test]
async fn a_counter_only_grows() {
    let (store, cluster) = with_cluster().await;
    store.bind_boot_session(&begun(cluster, 1, key(1)), session(key(1), 1), &audit_entry("x")).await.unwrap();
    for (counter, expected) in [
        (1, Counted::New),
        (1, Counted::Stale { last: 1 }),
        (7, Counted::New),
        (2, Counted::Stale { last: 7 }),
        (8, Counted::New),
    ] {
        assert_eq!(store.count_boot_request(ATTEMPT, key(1), counter).await.unwrap(), expected, "{counter}");
    }
    assert_eq!(store.count_boot_request(ATTEMPT, key(2), 9).await.unwrap(), Counted::Stale { last: 0 });
}

#[tokio::test]
async fn the_token_alone_fetches_so_many_documents_in_a_round() {
    let (store, cluster) = with_cluster().await;
    let mut granted = 0;
    for _ in 0..5 {
        granted += u32::from(store.count_boot_document(ATTEMPT, 1, 3).await.unwrap());
    }
    assert_eq!(granted, 3);
    assert!(store.count_boot_document(ATTEMPT, 2, 3).await.unwrap(), "another round, another three");
    // What was fetched before the exchange doesn't keep the round from having a session.
    assert_eq!(
        store.bind_boot_session(&begun(cluster, 1, key(1)), session(key(1), 1), &audit_entry("x")).await.unwrap(),
        Binding::New
    );
    assert_eq!(store.count_boot_request(ATTEMPT, key(1), 1).await.unwrap(), Counted::New);
    assert!(!store.count_boot_document(ATTEMPT, 1, 3).await.unwrap());
}
