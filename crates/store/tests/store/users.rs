//! Users and their sessions: what ends with what.

use crate::rig::*;
use metalform_model::*;
use metalform_store::{PasswordHash, Store, StoreError, TokenHash};
use std::time::Duration;

const IDLE: Duration = Duration::from_secs(1800);
const KEEP: u32 = 3;

fn user(name: &str) -> User {
    User {
        name: name.into(),
        role: ApiRole::Operator,
        clusters: Scope::Clusters(["a".to_owned()].into()),
        created_at: T0,
        created_by: "bootstrap".into(),
        password_set_at: T0,
        last_login_at: None,
    }
}

fn phc(text: &str) -> PasswordHash {
    PasswordHash(format!("$argon2id${text}"))
}

fn session(n: u8, user: Option<&str>, at: Timestamp) -> WebSession {
    let name = user.unwrap_or("somebody").to_owned();
    WebSession {
        id: format!("{n:016x}"),
        who: format!("user:{name}"),
        name,
        user: user.map(str::to_owned),
        single_sign_on: None,
        role: ApiRole::Operator,
        clusters: Scope::All,
        created_at: at,
        last_used_at: at,
        ends_at: at + 24 * IDLE,
    }
}

fn hash(n: u8) -> TokenHash {
    TokenHash(format!("{n:064x}"))
}

async fn begin(store: &Store, n: u8, user: Option<&str>, at: Timestamp) -> bool {
    store
        .begin_web_session(&session(n, user, at), &hash(n), Some(&phc("1")), KEEP, IDLE, &audit_entry("x"))
        .await
        .unwrap()
}

async fn there(store: &Store, ids: std::ops::Range<u8>) -> Vec<u8> {
    let mut found = Vec::new();
    for n in ids {
        found.extend(store.web_session(&hash(n)).await.unwrap().map(|_| n));
    }
    found
}

#[tokio::test]
async fn a_user_is_there_after_reopening_and_no_second_one_of_the_name() {
    let folder = Folder::new();
    let store = Store::open(folder.path()).await.unwrap();
    store.add_user(&user("ann"), &phc("1"), &audit_entry("x")).await.unwrap();
    let error = store.add_user(&user("ann"), &phc("2"), &audit_entry("x")).await.unwrap_err();
    assert!(matches!(&error, StoreError::UserNameTaken { name } if name == "ann"), "{error:?}");
    assert!(begin(&store, 1, Some("ann"), T0).await);
    store.close().await;
    let store = Store::open(folder.path()).await.unwrap();
    let seen = User { last_login_at: Some(T0), ..user("ann") };
    assert_eq!(store.user("ann").await.unwrap(), Some((seen.clone(), phc("1"))));
    assert_eq!((store.users().await.unwrap(), store.user("bob").await.unwrap()), (vec![seen], None));
    assert_eq!(store.web_session(&hash(1)).await.unwrap(), Some(session(1, Some("ann"), T0)));
    assert_eq!(store.web_session_of_id(&session(1, None, T0).id).await.unwrap(), Some(session(1, Some("ann"), T0)));
}

#[tokio::test]
async fn a_password_ends_every_session_of_its_user_and_nobody_elses() {
    let store = Store::in_memory().await.unwrap();
    for name in ["ann", "bob"] {
        store.add_user(&user(name), &phc("1"), &audit_entry("x")).await.unwrap();
    }
    for (n, name) in [(1, Some("ann")), (2, Some("ann")), (3, Some("bob")), (4, None)] {
        assert!(begin(&store, n, name, T0).await);
    }
    assert!(!store.set_password("ann", &phc("2"), Some(&phc("other")), T0, &audit_entry("x")).await.unwrap());
    assert_eq!(there(&store, 1..5).await, [1, 2, 3, 4], "a password that isn't theirs changes nothing");
    assert!(store.set_password("ann", &phc("2"), Some(&phc("1")), Timestamp(7), &audit_entry("x")).await.unwrap());
    assert_eq!(there(&store, 1..5).await, [3, 4]);
    assert_eq!(store.user("ann").await.unwrap().unwrap().0.password_set_at, Timestamp(7));
    assert!(!begin(&store, 5, Some("ann"), T0).await, "the password that was looked at is no longer theirs");
    assert!(
        store.remove_user("bob", &audit_entry("x")).await.unwrap()
            && !store.remove_user("bob", &audit_entry("x")).await.unwrap()
    );
    assert!(!begin(&store, 6, Some("bob"), T0).await);
    assert_eq!(there(&store, 1..7).await, [4]);
    assert!(!store.set_password("bob", &phc("2"), None, T0, &audit_entry("x")).await.unwrap());
}

#[tokio::test]
async fn of_one_persons_sessions_the_newest_stay() {
    let store = Store::in_memory().await.unwrap();
    store.add_user(&user("ann"), &phc("1"), &audit_entry("x")).await.unwrap();
    for n in 1..=5 {
        assert!(begin(&store, n, Some("ann"), T0 + Duration::from_secs(n.into())).await);
    }
    begin(&store, 6, None, T0).await;
    assert_eq!(there(&store, 1..7).await, [3, 4, 5, 6]);
    for n in 7..=9 {
        begin(&store, n, None, T0).await;
    }
    let left = there(&store, 6..10).await;
    assert_eq!((left.len(), left.contains(&9)), (3, true), "of one moment the last stays: {left:?}");
}

#[tokio::test]
async fn the_sessions_that_are_chosen_end_together_with_the_lines_that_say_so() {
    let store = Store::in_memory().await.unwrap();
    store.add_user(&user("ann"), &phc("1"), &audit_entry("x")).await.unwrap();
    let single_sign_on = Some(SingleSignOn { subject: "7".into(), provider: "p".into() });
    let olga = WebSession { who: "oidc:olga (7)".into(), single_sign_on, ..session(2, None, T0) };
    assert!(begin(&store, 1, Some("ann"), T0).await && begin(&store, 3, None, T0).await);
    assert!(store.begin_web_session(&olga, &hash(2), None, KEEP, IDLE, &audit_entry("x")).await.unwrap());
    let listed = store.web_sessions().await.unwrap();
    let [of_olga, of_ann, _] = &listed[..] else { panic!("{listed:?}") };
    assert_eq!((of_olga, of_ann), (&olga, &session(1, Some("ann"), T0)));

    let is_olga = |all: Vec<WebSession>| all.into_iter().filter(|one| one.is_of("7")).collect::<Vec<_>>();
    let ended = store.end_web_sessions(is_olga, |ended| vec![audit_entry(&ended[0].who)]).await.unwrap();
    assert_eq!(ended, [olga]);
    assert_eq!(there(&store, 1..4).await, [1, 3]);
    assert_eq!(store.audit(0, 10).await.unwrap().pop().unwrap().target, "oidc:olga (7)");
}

#[tokio::test]
async fn of_one_subject_the_newest_sessions_stay_whatever_the_provider_calls_it() {
    let store = Store::in_memory().await.unwrap();
    let keep = u8::try_from(KEEP).unwrap();
    for n in 1..=keep + 2 {
        let single_sign_on = Some(SingleSignOn { subject: "7".into(), provider: "p".into() });
        let at = T0 + Duration::from_secs(n.into());
        let olga = WebSession { who: format!("oidc:olga{n} (7)"), single_sign_on, ..session(n, None, at) };
        assert!(store.begin_web_session(&olga, &hash(n), None, KEEP, IDLE, &audit_entry("x")).await.unwrap());
    }
    assert_eq!(there(&store, 1..keep + 3).await, (3..=keep + 2).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_is_over_is_swept_out_when_somebody_logs_in_and_use_never_goes_back() {
    let store = Store::in_memory().await.unwrap();
    let at = |seconds| T0 + Duration::from_secs(seconds);
    for n in 1..=2 {
        begin(&store, n, None, T0).await;
    }
    for seconds in [900, 1000, 10] {
        store.use_web_session(&session(2, None, T0).id, at(seconds)).await.unwrap();
    }
    assert_eq!(store.web_session(&hash(2)).await.unwrap().unwrap().last_used_at, at(1000));
    begin(&store, 3, None, at(1800)).await;
    assert_eq!(there(&store, 1..4).await, [2, 3]);
    store.end_web_session(&session(3, None, T0).id).await.unwrap();
    store.end_web_session("unknown").await.unwrap();
    assert_eq!(there(&store, 1..4).await, [2]);
}

#[tokio::test]
async fn a_hash_is_written_anew_only_over_the_same_password() {
    let store = Store::in_memory().await.unwrap();
    store.add_user(&user("ann"), &phc("1"), &audit_entry("x")).await.unwrap();
    assert!(store.rehash_password("ann", &phc("1"), &phc("1 stronger")).await.unwrap());
    assert!(!store.rehash_password("ann", &phc("1"), &phc("2")).await.unwrap());
    assert_eq!(store.user("ann").await.unwrap().unwrap().1, phc("1 stronger"));
    assert_eq!(format!("{:?}", phc("1")), "PasswordHash(hidden)");
}
