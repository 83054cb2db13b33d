//! The key that the database is sealed under: known again, and changed in one step.

use crate::rig::*;
use metalform_model::*;
use metalform_store::{
    Changes, Reseal, ResealError, Schema, SealedCredential, SealedUnder, Sealer, SecretKeyName, Store, StoreError,
    kept_token_name,
};
use secrecy::ExposeSecret;
use uuid::Uuid;

async fn with_passwords(folder: &Folder) -> (Store, Uuid) {
    let store = Store::open(folder.path()).await.unwrap();
    let id = accept(&store, "prod", ["a", "b"]).await;
    let lease = lease(&store, id).await;
    let credentials = vec![credential(id, Account::AhvRoot), credential(id, Account::PrismAdmin)];
    store.commit(&lease, Changes { credentials, ..Changes::default() }).await.unwrap();
    (store, id)
}

fn change<'a>(from: &'a Sealer, to: &'a Sealer, name: &'a SecretKeyName, audit: &'a AuditEntry) -> Reseal<'a> {
    Reseal { from, to, name, kept_boot_tokens: &[], audit }
}

async fn opens(store: &Store, id: Uuid, sealer: &Sealer) -> bool {
    let read = store.credentials(id).await.unwrap();
    assert_eq!(read.len(), 2);
    let opened = read.iter().map(|c| sealer.open(id, c.account, &c.sealed).map(|p| p.expose_secret().to_owned()));
    opened.collect::<Result<Vec<_>, _>>().is_ok_and(|all| all == [PASSWORD; 2])
}

#[tokio::test]
async fn a_folder_without_a_database_and_an_empty_one_name_no_key_and_a_look_makes_nothing() {
    let folder = Folder::new();
    assert_eq!(Store::peek_secret_key(folder.path()).await.unwrap(), SealedUnder::NoKey);
    assert!(!folder.path().exists(), "a look makes nothing");
    let store = Store::open(folder.path()).await.unwrap();
    assert_eq!(store.sealed_under().await.unwrap(), SealedUnder::NoKey);
    assert_eq!(Store::peek_secret_key(folder.path()).await.unwrap(), SealedUnder::NoKey, "beside whoever has it");
}

/// Whoever may not see it would take it for a new one.
#[tokio::test]
async fn a_database_that_cannot_be_seen_is_not_taken_for_none() {
    let folder = Folder::new();
    std::fs::write(folder.path(), "no folder").unwrap();
    for looked in
        [Store::peek_secret_key(folder.path()).await.map(drop), Store::inspect(folder.path(), false).await.map(drop)]
    {
        assert!(matches!(looked, Err(StoreError::Folder { .. })), "{looked:?}");
    }
    std::fs::remove_file(folder.path()).unwrap();
}

#[tokio::test]
async fn a_database_from_before_keys_had_names_tells_by_its_passwords() {
    let folder = Folder::new();
    let (store, _) = with_passwords(&folder).await;
    store.close().await;
    let SealedUnder::Password(sealed) = Store::peek_secret_key(folder.path()).await.unwrap() else {
        panic!("it holds passwords")
    };
    assert!(sealer().is_key_of(&sealed) && !Sealer::new(&[8; 32]).is_key_of(&sealed));
}

#[tokio::test]
async fn the_first_name_stands_until_everything_is_sealed_anew() {
    let folder = Folder::new();
    let (store, id) = with_passwords(&folder).await;
    let (old, new) = (SecretKeyName::of(&[7; 32]), SecretKeyName::of(&[8; 32]));
    store.name_secret_key(&old).await.unwrap();
    store.name_secret_key(&new).await.unwrap();
    assert_eq!(store.sealed_under().await.unwrap(), SealedUnder::Named(old));
    let (to, line) = (Sealer::new(&[8; 32]), audit_entry("secret key"));
    let attempt = Uuid::from_u128(5);
    let kept = [(attempt, b"sealed".to_vec())];
    store.reseal(Reseal { kept_boot_tokens: &kept, ..change(&sealer(), &to, &new, &line) }).await.unwrap();
    store.close().await;
    assert_eq!(Store::peek_secret_key(folder.path()).await.unwrap(), SealedUnder::Named(new.clone()));
    let store = Store::open(folder.path()).await.unwrap();
    assert!(opens(&store, id, &to).await && !opens(&store, id, &sealer()).await);
    assert_eq!(store.kept_boot_tokens().await.unwrap(), kept);
    assert_eq!(store.audit(0, 9).await.unwrap().last().unwrap().target, "secret key");
    store.reseal(change(&to, &sealer(), &new, &line)).await.unwrap();
    assert_eq!(store.kept_boot_tokens().await.unwrap(), [], "those that aren't given are forgotten");
    assert_ne!(kept_token_name(attempt), kept_token_name(id));
}

/// The key before may have leaked, and the passwords are the same.
#[tokio::test]
async fn of_what_was_sealed_under_the_key_before_nothing_is_left_in_the_files() {
    let folder = Folder::new();
    let (store, id) = with_passwords(&folder).await;
    let old: Vec<Vec<u8>> = sqlx::query_as("SELECT sealed FROM credentials")
        .fetch_all(&raw(&folder).await)
        .await
        .unwrap()
        .into_iter()
        .map(|(sealed,): (Vec<u8>,)| sealed)
        .collect();
    let left = || {
        let files = ["metalform.db", "metalform.db-wal"].map(|name| std::fs::read(folder.path().join(name)));
        let bytes: Vec<u8> = files.into_iter().filter_map(Result::ok).flatten().collect();
        old.iter().filter(|sealed| bytes.windows(sealed.len()).any(|window| window == **sealed)).count()
    };
    assert_eq!(left(), 2);
    let (to, name, line) = (Sealer::new(&[8; 32]), SecretKeyName::of(&[8; 32]), audit_entry("secret key"));
    store.reseal(change(&sealer(), &to, &name, &line)).await.unwrap();
    assert_eq!(left(), 2, "in the log");
    store.forget_overwritten().await.unwrap();
    assert_eq!(left(), 0);
    assert!(opens(&store, id, &to).await);
}

#[tokio::test]
async fn one_password_that_does_not_open_leaves_all_as_they_were() {
    let folder = Folder::new();
    let (store, id) = with_passwords(&folder).await;
    let other = accept(&store, "other", ["c", "d"]).await;
    let lease = lease(&store, other).await;
    // Sealed for another cluster, as if somebody had moved the row; and one whose key is gone for good.
    let moved = sealer().seal(id, Account::AhvRoot, &PASSWORD.into()).unwrap();
    let lost = Sealer::new(&[9; 32]).seal(other, Account::AhvAdmin, &PASSWORD.into()).unwrap();
    let credentials = vec![
        SealedCredential { sealed: moved, ..credential(other, Account::AhvRoot) },
        SealedCredential { sealed: lost.clone(), ..credential(other, Account::AhvAdmin) },
    ];
    store.commit(&lease, Changes { credentials, ..Changes::default() }).await.unwrap();
    let lines = store.audit(0, 9).await.unwrap();
    let (to, name, line) = (Sealer::new(&[8; 32]), SecretKeyName::of(&[8; 32]), audit_entry("secret key"));
    for error in [
        store.check_passwords(&sealer()).await.unwrap_err(),
        store.reseal(change(&sealer(), &to, &name, &line)).await.unwrap_err(),
    ] {
        assert!(matches!(&error, ResealError::Password { cluster_id, .. } if *cluster_id == other.to_string()));
        assert!(error.hint().contains("backup") && !error.is_transient());
    }
    assert!(opens(&store, id, &sealer()).await);
    assert!(matches!(store.sealed_under().await.unwrap(), SealedUnder::Password(_)));
    assert_eq!(store.audit(0, 9).await.unwrap(), lines);
    sqlx::query("DELETE FROM credentials WHERE cluster_id = $1 AND account = 'ahv_root'")
        .bind(other.to_string())
        .execute(&raw(&folder).await)
        .await
        .unwrap();
    store.reseal(change(&sealer(), &to, &name, &line)).await.unwrap();
    assert!(opens(&store, id, &to).await, "one that was lost before holds nothing up");
    assert_eq!(store.credentials(other).await.unwrap()[0].sealed, lost);
}

#[tokio::test]
async fn a_look_tells_whether_somebody_has_it_how_old_its_schema_is_and_whether_it_is_whole() {
    let folder = Folder::new();
    let look = async |thorough| Store::inspect(folder.path(), thorough).await.unwrap();
    let nothing = look(false).await;
    assert_eq!((nothing.in_use, nothing.schema), (false, None));
    let (store, _) = with_passwords(&folder).await;
    let running = look(true).await;
    assert_eq!((running.in_use, running.schema, running.damage), (true, Some(Schema::Current), vec![]));
    sqlx::query("DELETE FROM _sqlx_migrations WHERE version > 6").execute(&raw(&folder).await).await.unwrap();
    store.close().await;
    let old = look(false).await;
    assert!(!old.in_use && matches!(old.schema, Some(Schema::Behind(1..))), "{old:?}");
    sqlx::query("UPDATE _sqlx_migrations SET checksum = x'00' WHERE version = 1")
        .execute(&raw(&folder).await)
        .await
        .unwrap();
    assert_eq!(look(false).await.schema, Some(Schema::Foreign));
}

async fn raw(folder: &Folder) -> sqlx::SqlitePool {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(folder.path().join("metalform.db"));
    sqlx::SqlitePool::connect_with(options).await.unwrap()
}
