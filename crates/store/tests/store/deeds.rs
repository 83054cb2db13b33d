//! What people do stands or falls together with its line in the audit.

use crate::rig::*;
use metalform_model::*;
use metalform_store::{OperatorRequest, PasswordHash, Store, StoreError, StoredSession, TokenHash};
use sqlx::{Connection, SqliteConnection};
use std::{collections::BTreeMap, time::Duration};
use uuid::Uuid;

const HOUR: Duration = Duration::from_secs(3600);

fn token(n: u8) -> ApiToken {
    ApiToken {
        id: format!("{n:016x}"),
        name: format!("token-{n}"),
        role: ApiRole::Viewer,
        clusters: Scope::All,
        created_at: T0,
        created_by: "bootstrap".into(),
        expires_at: Timestamp::NEVER,
        last_used_at: None,
        revoked_at: None,
    }
}

fn user(name: &str) -> User {
    User {
        name: name.into(),
        role: ApiRole::Viewer,
        clusters: Scope::All,
        created_at: T0,
        created_by: "bootstrap".into(),
        password_set_at: T0,
        last_login_at: None,
    }
}

fn phc(text: &str) -> PasswordHash {
    PasswordHash(format!("$argon2id${text}"))
}

fn session(n: u8) -> WebSession {
    WebSession {
        id: format!("{n:016x}"),
        who: "user:ann".into(),
        single_sign_on: None,
        name: "ann".into(),
        user: Some("ann".into()),
        role: ApiRole::Viewer,
        clusters: Scope::All,
        created_at: T0,
        last_used_at: T0,
        ends_at: T0 + HOUR,
    }
}

fn hash(n: u8) -> TokenHash {
    TokenHash(format!("{n:064x}"))
}

const DEEDS: [&str; 10] = [
    "accept",
    "request",
    "add user",
    "set password",
    "remove user",
    "add token",
    "revoke token",
    "log in",
    "log out",
    "bind",
];

/// Does it, with a line that names it.
async fn do_it(store: &Store, cluster: Uuid, deed: &str) -> Result<(), StoreError> {
    let line = audit_entry(deed);
    match deed {
        "accept" => store.accept(&new_cluster("other", &[("x", None)]), &line).await.map(drop),
        "request" => store.request("prod", OperatorRequest::Absent, event("asked"), &line).await.map(drop),
        "add user" => store.add_user(&user("new"), &phc("1"), &line).await,
        "set password" => store.set_password("ann", &phc("2"), None, T0, &line).await.map(drop),
        "remove user" => store.remove_user("bob", &line).await.map(drop),
        "add token" => store.add_api_token(&token(2), &hash(2), &line).await,
        "revoke token" => store.revoke_api_token(&token(1).id, T0, &line).await,
        "log in" => store.begin_web_session(&session(2), &hash(2), Some(&phc("1")), 9, HOUR, &line).await.map(drop),
        "log out" => store.log_out(&session(1).id, &line).await,
        "bind" => {
            let begun = Seen::SessionBegun { key: SessionKey([7; 32]), round: 1 };
            let bound = StoredSession { key: SessionKey([7; 32]), round: 1, over_tls: false };
            store.bind_boot_session(&evidence(cluster, "a", begun), bound, &line).await.map(drop)
        }
        other => panic!("{other} is no deed"),
    }
}

/// Everything that one of them changes.
async fn all_there_is(store: &Store, cluster: Uuid) -> impl PartialEq + std::fmt::Debug + use<> {
    let mut sessions = Vec::new();
    for n in 1..3 {
        sessions.push(store.web_session(&hash(n)).await.unwrap());
    }
    let mut users = Vec::new();
    for name in ["ann", "bob", "new"] {
        users.push(store.user(name).await.unwrap());
    }
    let clusters = (everything(store, cluster).await, store.cluster_named("other").await.unwrap());
    (clusters, users, sessions, store.api_tokens().await.unwrap(), store.boot_session(Uuid::nil()).await.unwrap())
}

async fn furnished(folder: &Folder) -> (Store, Uuid) {
    let store = Store::open(folder.path()).await.unwrap();
    let cluster = accept(&store, "prod", ["a", "b"]).await;
    let line = audit_entry("before");
    for name in ["ann", "bob"] {
        store.add_user(&user(name), &phc("1"), &line).await.unwrap();
    }
    store.add_api_token(&token(1), &hash(1), &line).await.unwrap();
    assert!(store.begin_web_session(&session(1), &hash(1), Some(&phc("1")), 9, HOUR, &line).await.unwrap());
    (store, cluster)
}

async fn change_outside(folder: &Folder, statement: &'static str) {
    let url = format!("sqlite://{}", folder.path().join("metalform.db").display());
    let mut outside = SqliteConnection::connect(&url).await.unwrap();
    sqlx::query(statement).execute(&mut outside).await.unwrap();
    outside.close().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_recorded_is_not_done_and_what_is_done_has_one_line() {
    let folder = Folder::new();
    let (store, cluster) = furnished(&folder).await;
    let before = all_there_is(&store, cluster).await;
    change_outside(&folder, "CREATE TRIGGER refused BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'not now'); END")
        .await;
    for deed in DEEDS {
        let error = do_it(&store, cluster, deed).await.expect_err(deed);
        assert!(matches!(error, StoreError::Database { .. }) && error.is_transient(), "{deed}: {error:?}");
    }
    assert_eq!(all_there_is(&store, cluster).await, before);

    change_outside(&folder, "DROP TRIGGER refused").await;
    let mut last = before;
    // A login ends with the password that it was made by.
    for deed in ["log in"].into_iter().chain(DEEDS.into_iter().filter(|deed| *deed != "log in")) {
        do_it(&store, cluster, deed).await.unwrap();
        let now = all_there_is(&store, cluster).await;
        assert_ne!(now, last, "{deed}");
        last = now;
    }
    let mut told: BTreeMap<String, usize> = BTreeMap::new();
    for line in store.audit(0, 1000).await.unwrap().into_iter().filter(|line| DEEDS.contains(&line.target.as_str())) {
        *told.entry(line.target).or_default() += 1;
    }
    assert_eq!(told, DEEDS.map(|deed| (deed.to_owned(), 1)).into());
}

#[tokio::test]
async fn what_changes_nothing_leaves_no_line() {
    let folder = Folder::new();
    let (store, _) = furnished(&folder).await;
    let lines = store.audit(0, 1000).await.unwrap();
    let line = audit_entry("x");
    let again = new_cluster("prod", &[("a", None), ("b", None)]);
    store.accept(&again, &line).await.unwrap();
    store.request("nobody", OperatorRequest::Form, event("x"), &line).await.unwrap_err();
    store.add_user(&user("ann"), &phc("1"), &line).await.unwrap_err();
    store.add_api_token(&token(1), &hash(1), &line).await.unwrap_err();
    assert!(!store.remove_user("nobody", &line).await.unwrap());
    assert!(!store.set_password("ann", &phc("2"), Some(&phc("another")), T0, &line).await.unwrap());
    assert!(!store.begin_web_session(&session(2), &hash(2), Some(&phc("another")), 9, HOUR, &line).await.unwrap());
    assert_eq!(store.audit(0, 1000).await.unwrap(), lines);
}
