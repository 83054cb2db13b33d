//! Passwords: written down once, with the record that says so, and kept until the cluster is gone.

use crate::rig::*;
use metalform_model::*;
use metalform_store::{Changes, Lease, SealedCredential, Store, StoreError};
use uuid::Uuid;

async fn one_cluster() -> (Store, Uuid, Lease) {
    let store = Store::in_memory().await.unwrap();
    let id = accept(&store, "prod", ["a", "b"]).await;
    let lease = lease(&store, id).await;
    (store, id, lease)
}

fn of(credentials: Vec<SealedCredential>) -> Changes<'static> {
    Changes { credentials, ..Changes::default() }
}

#[tokio::test]
async fn what_is_read_back_opens_for_its_own_account_and_cluster_alone() {
    use secrecy::ExposeSecret;
    let (store, id, lease) = one_cluster().await;
    assert_eq!(store.credentials(id).await.unwrap(), []);
    let mut written = Account::ALL.map(|account| credential(id, account)).to_vec();
    written.reverse();
    store.commit(&lease, of(written.clone())).await.unwrap();
    written.reverse();
    let read = store.credentials(id).await.unwrap();
    assert_eq!(read, written, "in the order of the accounts");
    for credential in &read {
        let password = sealer().open(id, credential.account, &credential.sealed).unwrap();
        assert_eq!(password.expose_secret(), PASSWORD);
    }
    let other = accept(&store, "test", ["c", "d"]).await;
    assert_eq!(store.credentials(other).await.unwrap(), []);
    assert!(sealer().open(other, read[0].account, &read[0].sealed).is_err());
}

#[tokio::test]
async fn a_second_password_for_an_account_is_refused_with_all_of_its_step() {
    let (store, id, lease) = one_cluster().await;
    store.commit(&lease, of(vec![credential(id, Account::AhvRoot)])).await.unwrap();
    let before = everything(&store, id).await;
    let mut record = before.0.record.clone();
    record.enter(ClusterPhase::Verifying, "x".into(), T0);
    // One that is new goes before it: it is not written either.
    let again = vec![credential(id, Account::PrismAdmin), credential(id, Account::AhvRoot)];
    let changes =
        Changes { cluster: Some(&record), events: vec![event("x")], credentials: again, ..Changes::default() };
    let error = store.commit(&lease, changes).await.unwrap_err();
    assert!(matches!(error, StoreError::PasswordExists { account: Account::AhvRoot }), "{error:?}");
    assert!(!error.is_transient());
    assert_eq!(everything(&store, id).await, before);
    store.commit(&lease, of(vec![credential(id, Account::PrismAdmin)])).await.expect("an account that had none");
}

#[tokio::test]
async fn the_commit_that_releases_the_cluster_forgets_its_passwords_and_no_others() {
    let (store, id, lease) = one_cluster().await;
    let other = accept(&store, "test", ["c", "d"]).await;
    let others = store.acquire(other, T0, TTL).await.unwrap().unwrap();
    store.commit(&lease, of(vec![credential(id, Account::PrismAdmin)])).await.unwrap();
    store.commit(&others, of(vec![credential(other, Account::PrismAdmin)])).await.unwrap();

    let mut record = state(&store, id).await.record;
    for phase in [ClusterPhase::Ready, ClusterPhase::Releasing] {
        record.enter(phase, "x".into(), T0);
        let early = Changes { cluster: Some(&record), forget_credentials: true, ..Changes::default() };
        store.commit(&lease, early).await.unwrap();
        assert_eq!(store.credentials(id).await.unwrap().len(), 1, "somebody may have to log in to it still");
    }
    record.enter(ClusterPhase::Released, "gone".into(), T0);
    let last = Changes { cluster: Some(&record), forget_credentials: true, ..Changes::default() };
    store.commit(&lease, last).await.unwrap();
    assert_eq!(store.credentials(id).await.unwrap(), []);
    assert_eq!(store.credentials(other).await.unwrap().len(), 1);
}

#[tokio::test]
async fn no_file_of_the_database_holds_a_password() {
    let folder = Folder::new();
    let store = Store::open(folder.path()).await.unwrap();
    let id = accept(&store, "prod", ["a", "b"]).await;
    let credentials = vec![credential(id, Account::PrismAdmin)];
    assert!(!format!("{credentials:?}").contains(PASSWORD));
    store.commit(&lease(&store, id).await, of(credentials)).await.unwrap();
    let read = |name| std::fs::read(folder.path().join(name)).unwrap_or_default();
    let files = ["metalform.db", "metalform.db-wal", "metalform.db-shm"].map(read).concat();
    let holds = |text: &str| files.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(holds("prism_admin"), "the row is in there");
    assert!(!holds(PASSWORD));
}
