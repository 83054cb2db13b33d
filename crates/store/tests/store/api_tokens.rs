//! API tokens: found by their id alone, once named, never gone.

use crate::rig::*;
use metalform_model::*;
use metalform_store::{Store, StoreError, TokenHash};

fn token(n: u8, name: &str, clusters: Scope) -> ApiToken {
    ApiToken {
        id: format!("{n:016x}"),
        name: name.into(),
        role: ApiRole::Operator,
        clusters,
        created_at: Timestamp(n.into()),
        created_by: "bootstrap".into(),
        expires_at: Timestamp::NEVER,
        last_used_at: None,
        revoked_at: None,
    }
}

fn hash(n: u8) -> TokenHash {
    TokenHash(format!("{n:064x}"))
}

#[tokio::test]
async fn what_was_written_down_is_found_by_its_id_after_reopening() {
    let folder = Folder::new();
    let store = Store::open(folder.path()).await.unwrap();
    let limited = token(1, "ci", Scope::Clusters(["a".to_owned(), "b".to_owned()].into()));
    let wide = ApiToken { role: ApiRole::Admin, expires_at: Timestamp(99), ..token(2, "ops", Scope::All) };
    store.add_api_token(&limited, &hash(1), &audit_entry("x")).await.unwrap();
    store.add_api_token(&wide, &hash(2), &audit_entry("x")).await.unwrap();
    store.close().await;
    let store = Store::open(folder.path()).await.unwrap();
    assert_eq!(store.api_token(&limited.id).await.unwrap(), Some((limited.clone(), hash(1))));
    assert_eq!(store.api_token(&wide.id).await.unwrap(), Some((wide.clone(), hash(2))));
    assert_eq!(store.api_token("ci").await.unwrap(), None);
    assert_eq!(store.api_tokens().await.unwrap(), [limited, wide]);
}

#[tokio::test]
async fn a_name_is_free_again_once_its_token_is_revoked() {
    let store = Store::in_memory().await.unwrap();
    store.add_api_token(&token(1, "ci", Scope::All), &hash(1), &audit_entry("x")).await.unwrap();
    let error = store.add_api_token(&token(2, "ci", Scope::All), &hash(2), &audit_entry("x")).await.unwrap_err();
    assert!(matches!(&error, StoreError::TokenNameTaken { name } if name == "ci"), "{error:?}");
    assert!(!error.is_transient());
    store.revoke_api_token(&token(1, "", Scope::All).id, Timestamp(7), &audit_entry("x")).await.unwrap();
    store.add_api_token(&token(2, "ci", Scope::All), &hash(2), &audit_entry("x")).await.unwrap();
    let revoked: Vec<Option<Timestamp>> =
        store.api_tokens().await.unwrap().into_iter().map(|token| token.revoked_at).collect();
    assert_eq!(revoked, [Some(Timestamp(7)), None]);
}

#[tokio::test]
async fn a_token_stays_revoked_since_when_it_was_and_its_last_use_never_goes_back() {
    let store = Store::in_memory().await.unwrap();
    let one = token(1, "ci", Scope::All);
    store.add_api_token(&one, &hash(1), &audit_entry("x")).await.unwrap();
    for at in [5, 9, 7] {
        store.use_api_token(&one.id, Timestamp(at)).await.unwrap();
    }
    for at in [11, 12] {
        store.revoke_api_token(&one.id, Timestamp(at), &audit_entry("x")).await.unwrap();
    }
    store.revoke_api_token("unknown", Timestamp(12), &audit_entry("x")).await.unwrap();
    let (found, _) = store.api_token(&one.id).await.unwrap().unwrap();
    assert_eq!((found.last_used_at, found.revoked_at), (Some(Timestamp(9)), Some(Timestamp(11))));
}
