//! A data folder through starts, crashes, wrong keys and new ones.

use super::{sealed_file::AUDIT_KEY, start::old_file, *};
use crate::{Config, audit::own_line, clock::WallClock};
use futures_util::FutureExt;
use metalform_boot::TokenKey;
use metalform_model::{
    Account, BootAttempt, Clock, ClusterRecord, NewEvent, NodeRecord, PlanFormat, Profiles, Site, Timestamp, kind,
    read_plan,
};
use metalform_store::{Changes, NewCluster, SealedCredential, Sealer, Store, StoreError};
use std::{fs, time::Duration};
use uuid::Uuid;

const PASSWORD: &str = "correct-horse-battery-staple";
const API_KEY: &str = "an-api-key";
const CA: &str = "-----BEGIN PRIVATE KEY-----";
const ATTEMPT: Uuid = Uuid::from_u128(7);
const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        NOW
    }
}

/// A folder that is gone with the test.
pub(super) struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Folder {
        let path = std::env::temp_dir().join(format!("metalform-secrets-{}", Uuid::new_v4()));
        fs::create_dir(&path).unwrap();
        Folder(path)
    }

    fn config(&self, more: &str) -> Config {
        Config::parse(&format!("data_dir = {:?}\n{more}", self.0), &|_| None).unwrap()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap()
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        write_whole(&path, text.as_bytes(), 0o600).unwrap();
        path
    }

    fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.0.join(name)).unwrap().permissions().mode() & 0o777
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn hex_of(byte: u8) -> String {
    hex::encode([byte; 32])
}

/// As `serve` begins.
async fn start(config: &Config) -> Result<(Store, Secrets), SecretError> {
    let found = FoundKey::load(config).await?;
    let store = Store::open(&config.data_dir).await?;
    match found.settle(&store, &Fixed).await {
        Ok(secrets) => Ok((store, secrets)),
        Err(error) => {
            store.close().await;
            Err(error)
        }
    }
}

/// One node with an open boot attempt, and a password of its cluster.
async fn fill(store: &Store, secrets: &Secrets) {
    let text = r#"{"cluster": {"name": "c", "external_ip": "10.240.0.200", "redundancy_factor": 1},
        "cloud": {"vpc": "v", "subnet": "s", "zone": "us-south-1", "ssh_keys": ["k"]},
        "nodes": [{"server_id": "a", "mgmt_ip": "10.240.0.11", "ahv_ip": "10.240.0.51", "cvm_ip": "10.240.0.101"}]}"#;
    let plan = read_plan(text, PlanFormat::Json, &Profiles::builtin()).expect("a good plan").plan;
    let mut node = NodeRecord::new("a", false, NOW);
    // Closed by a failure: a retry may open it again, with the server that was ordered in it.
    node.attempt = Some(BootAttempt { id: ATTEMPT, n: 1, opened_at: NOW, closed_at: Some(NOW), inline: None });
    let new = NewCluster {
        plan_hash: "hash".into(),
        site: Site::default(),
        record: ClusterRecord::new(Uuid::from_u128(1), &plan, NOW),
        nodes: vec![node],
        event: NewEvent::new(NOW, kind::DEPLOYMENT_STARTED, "accepted"),
        plan,
    };
    store.accept(&new, &own_line(&WallClock, "cluster.deploy", "c", "ok")).await.unwrap();
    let (id, account) = (new.record.id, Account::AhvRoot);
    let sealed = secrets.sealer().seal(id, account, &PASSWORD.into()).unwrap();
    let credentials = vec![SealedCredential { account, user: "root".into(), sealed, created_at: NOW }];
    let lease = store.acquire(id, NOW, Duration::from_secs(60)).await.unwrap().unwrap();
    store.commit(&lease, Changes { credentials, ..Changes::default() }).await.unwrap();
}

/// A folder with everything that is ever sealed. Gives the boot token of the open attempt.
async fn furnished(folder: &Folder, config: &Config) -> String {
    let (store, secrets) = start(config).await.unwrap();
    fill(&store, &secrets).await;
    secrets.audit_key().unwrap();
    fs::create_dir_all(folder.0.join("tls")).unwrap();
    secrets.files().seal_file(&folder.0.join(CA_KEY), CA_KEY, &CA.into()).unwrap();
    let token = secrets.token_key(&store).await.unwrap().token(ATTEMPT).expose().to_owned();
    store.close().await;
    set_secret(config, SecretName::IbmApiKey, &format!("{API_KEY}\n").into()).await.unwrap();
    token
}

/// What a start shows of it.
#[derive(Debug, PartialEq)]
struct Opened {
    password: String,
    audit: String,
    ca: String,
    api_key: String,
    token: String,
}

async fn open_all(folder: &Folder, config: &Config) -> Result<Opened, SecretError> {
    let (store, secrets) = start(config).await?;
    let opened = look_at_all(folder, &store, &secrets).await;
    store.close().await;
    opened
}

async fn look_at_all(folder: &Folder, store: &Store, secrets: &Secrets) -> Result<Opened, SecretError> {
    let credentials = store.credentials(Uuid::from_u128(1)).await.unwrap();
    let open = |sealer: Sealer| sealer.open(Uuid::from_u128(1), Account::AhvRoot, &credentials[0].sealed);
    Ok(Opened {
        password: open(secrets.sealer()).unwrap().expose_secret().to_owned(),
        audit: secrets.audit_key()?.public().to_string(),
        ca: secrets.files().open_file(&folder.0.join(CA_KEY), CA_KEY)?.expose_secret().to_owned(),
        api_key: secrets.get(SecretName::IbmApiKey)?.expose_secret().to_owned(),
        token: secrets.token_key(store).await?.token(ATTEMPT).expose().to_owned(),
    })
}

/// The token was computed by another implementation of HMAC: a change of it voids every boot that is under way.
#[tokio::test]
async fn boot_tokens_are_what_they_were_though_the_same_key_seals_everything() {
    let folder = Folder::new();
    folder.write("secret.key", &hex::encode(std::array::from_fn::<u8, 32, _>(|i| i as u8)));
    let token = furnished(&folder, &folder.config("")).await;
    assert_eq!(token, "341be31b7c6a44e40c7646c8d3484e72bf0a5707e14b952083f662650f2f5ad7");
    assert_eq!(open_all(&folder, &folder.config("")).await.unwrap().token, token);
}

#[tokio::test]
async fn the_audits_key_is_private_its_public_half_is_not_and_the_two_belong_together() {
    let folder = Folder::new();
    let (_store, secrets) = start(&folder.config("")).await.unwrap();
    let public = secrets.audit_key().unwrap().public();
    assert_eq!((folder.mode("audit.key"), folder.mode("audit.pub")), (0o600, 0o644));
    // Lost in a crash between the two.
    fs::remove_file(folder.0.join("audit.pub")).unwrap();
    assert_eq!(secrets.audit_key().unwrap().public(), public);
    assert_eq!(folder.read("audit.pub").parse(), Ok(public));
    fs::remove_file(folder.0.join("audit.key")).unwrap();
    let error = secrets.audit_key().unwrap_err();
    assert!(matches!(error, SecretError::OtherPublicKey { .. }), "{error:?}");
    assert!(error.hint().contains("rename audit.pub"));
}

#[tokio::test]
async fn a_copy_of_any_one_file_but_the_key_tells_nothing() {
    let folder = Folder::new();
    furnished(&folder, &folder.config("")).await;
    for name in ["audit.key", "tls/ca.key", "ibm-api-key"] {
        let text = folder.read(name);
        assert!(text.starts_with("metalform-sealed:1:") && text.ends_with('\n'), "{name}: {text}");
        assert_eq!((folder.mode(name), text.contains("PRIVATE"), text.contains(API_KEY)), (0o600, false, false));
    }
    let all = open_all(&folder, &folder.config("")).await.unwrap();
    assert_eq!((all.password.as_str(), all.ca.as_str(), all.api_key.as_str()), (PASSWORD, CA, API_KEY));
    fs::copy(folder.0.join("ibm-api-key"), folder.0.join("tls/ca.key")).unwrap();
    let error = open_all(&folder, &folder.config("")).await.unwrap_err();
    assert!(matches!(error, SecretError::Sealed(metalform_store::NamedSealError::Changed { .. })), "{error:?}");
}

#[tokio::test]
async fn secrets_of_a_folder_from_before_are_sealed_at_the_first_start_and_a_crash_there_loses_none() {
    let seed = hex_of(3);
    for lives in 0.. {
        let folder = Folder::new();
        let config = folder.config("");
        folder.write("secret.key", &hex_of(1));
        folder.write("audit.key", &seed);
        let (store, secrets) = start(&config).await.unwrap();
        let public = AuditKey::from_seed(&[3; 32]).unwrap().public();
        LIVES.set(Some(lives));
        let died = secrets.audit_key().is_err();
        LIVES.set(None);
        store.close().await;
        let seen = FoundKey::load(&config).await.unwrap().look();
        assert!(seen.plain.is_empty() || died, "{seen:?}");
        let (store, secrets) = start(&config).await.unwrap();
        assert_eq!(secrets.audit_key().unwrap().public(), public, "{lives}");
        assert!(folder.read("audit.key").starts_with("metalform-sealed:"));
        store.close().await;
        if !died {
            assert!(lives >= 3, "there are points to die at");
            return;
        }
    }
}

#[tokio::test]
async fn another_key_is_refused_before_anything_is_changed() {
    let folder = Folder::new();
    furnished(&folder, &folder.config("")).await;
    let (right, database) = (folder.read("secret.key"), fs::read(folder.0.join("metalform.db")).unwrap());
    folder.write("secret.key", &hex_of(9));
    let elsewhere = folder.config(&format!("[secrets]\nkey = \"command:/bin/echo {}\"", hex_of(8)));
    for config in [&folder.config(""), &elsewhere] {
        let error = start(config).await.unwrap_err();
        assert!(matches!(error, SecretError::OtherKey { .. }), "{error:?}");
        let told = format!("{error} {error:?} {}", error.hint());
        assert!(told.contains("rotate --old") && !told.contains(&hex_of(8)) && !told.contains(&hex_of(9)), "{told}");
    }
    fs::remove_file(folder.0.join("secret.key")).unwrap();
    let error = start(&folder.config("")).await.unwrap_err();
    assert!(matches!(error, SecretError::KeyLost { .. }) && !folder.0.join("secret.key").exists(), "{error:?}");
    assert_eq!(fs::read(folder.0.join("metalform.db")).unwrap(), database);
    folder.write("secret.key", &right);
    open_all(&folder, &folder.config("")).await.unwrap();
}

#[tokio::test]
async fn a_database_from_before_keys_had_names_knows_its_key_by_its_passwords() {
    let folder = Folder::new();
    furnished(&folder, &folder.config("")).await;
    let url = format!("sqlite://{}", folder.0.join("metalform.db").display());
    let mut outside = <sqlx::SqliteConnection as sqlx::Connection>::connect(&url).await.unwrap();
    sqlx::query("DELETE FROM meta WHERE name = 'secret_key'").execute(&mut outside).await.unwrap();
    <sqlx::SqliteConnection as sqlx::Connection>::close(outside).await.unwrap();
    let right = folder.read("secret.key");
    folder.write("secret.key", &hex_of(9));
    assert!(matches!(start(&folder.config("")).await, Err(SecretError::OtherKey { .. })));
    folder.write("secret.key", &right);
    open_all(&folder, &folder.config("")).await.unwrap();
    folder.write("secret.key", &hex_of(9));
    assert!(matches!(start(&folder.config("")).await, Err(SecretError::OtherKey { .. })));
}

#[tokio::test]
async fn a_key_from_elsewhere_is_never_made_and_no_file_of_it_is_left() {
    let folder = Folder::new();
    let missing = folder.config(&format!("[secrets]\nkey = \"file:{}\"", folder.0.join("k").display()));
    assert!(start(&missing).await.unwrap_err().is_not_found());
    for (text, told) in [("", "64 hex digits"), ("0123", "64 hex digits")] {
        folder.write("k", text);
        let error = start(&missing).await.unwrap_err();
        assert!(matches!(error, SecretError::NoKey { .. }) && error.to_string().contains(told), "{error}");
    }
    assert!(!folder.0.join("metalform.db").exists(), "nothing was begun");
    let config = folder.config(&format!("[secrets]\nkey = \"command:/bin/echo {}\"", hex_of(5)));
    furnished(&folder, &config).await;
    assert_eq!(open_all(&folder, &config).await.unwrap().api_key, API_KEY);
    assert!(!folder.0.join("secret.key").exists());
}

#[tokio::test]
async fn a_new_key_seals_everything_anew_and_open_attempts_keep_their_tokens() {
    let folder = Folder::new();
    let config = folder.config("");
    let token = furnished(&folder, &config).await;
    let (before, old) = (open_all(&folder, &config).await.unwrap(), folder.read("secret.key"));
    for _ in 0..2 {
        let rotated = rotate_secret_key(&config, None, &Fixed).await.unwrap();
        assert_eq!((rotated.kept, rotated.was_done), (1, false));
        assert_eq!(open_all(&folder, &config).await.unwrap(), before);
    }
    assert_eq!(before.token, token);
    assert!(folder.read("secret.key") != old && !old_file(&folder.0.join("secret.key")).exists());
    let (store, secrets) = start(&config).await.unwrap();
    let lines = store.audit(0, 100).await.unwrap();
    assert_eq!(lines.iter().filter(|line| line.action == "secret.rotate").count(), 2);
    let other = Uuid::from_u128(8);
    let old_key = TokenKey::new(key::from_hex(&old.into()).unwrap());
    let now = secrets.token_key(&store).await.unwrap();
    assert!(now.is_token_of(old_key.token(ATTEMPT).expose(), ATTEMPT));
    assert!(!now.is_token_of(old_key.token(other).expose(), other), "the old key makes no other token");
}

/// At each point at which something may reach the disk: the process dies there, and the next start, or the next rotation,
/// finds everything.
#[tokio::test]
async fn a_crash_at_any_point_of_a_rotation_leaves_everything_to_be_opened() {
    for again in [false, true] {
        for lives in 0.. {
            let folder = Folder::new();
            let config = folder.config("");
            furnished(&folder, &config).await;
            let before = open_all(&folder, &config).await.unwrap();
            LIVES.set(Some(lives));
            let died = rotate_secret_key(&config, None, &Fixed).await.is_err();
            LIVES.set(None);
            if again && died {
                rotate_secret_key(&config, None, &Fixed).await.unwrap();
            }
            let after = open_all(&folder, &config).await;
            assert_eq!(after.unwrap(), before, "after the point {lives}");
            assert!(!old_file(&folder.0.join("secret.key")).exists());
            if !died {
                assert!(lives > 15, "there are points to die at: {lives}");
                break;
            }
        }
    }
}

/// The next start may die as well.
#[tokio::test]
async fn a_crash_while_a_crash_is_mended_is_mended_too() {
    for first in [8, 12, 16, 19] {
        for second in 0..12 {
            let folder = Folder::new();
            let config = folder.config("");
            furnished(&folder, &config).await;
            let before = open_all(&folder, &config).await.unwrap();
            LIVES.set(Some(first));
            assert!(rotate_secret_key(&config, None, &Fixed).await.is_err());
            LIVES.set(Some(second));
            drop(open_all(&folder, &config).await);
            LIVES.set(None);
            assert_eq!(open_all(&folder, &config).await.unwrap(), before, "{first} and {second}");
        }
    }
}

#[tokio::test]
async fn a_key_from_elsewhere_is_changed_by_naming_the_old_one_and_a_crash_costs_the_same_command_again() {
    for lives in 0.. {
        let folder = Folder::new();
        furnished(&folder, &folder.config("")).await;
        let before = open_all(&folder, &folder.config("")).await.unwrap();
        let config = folder.config(&format!("[secrets]\nkey = \"command:/bin/echo {}\"", hex_of(8)));
        let old = KeySource::File(folder.0.join("secret.key"));
        LIVES.set(Some(lives));
        let died = rotate_secret_key(&config, Some(&old), &Fixed).await.is_err();
        LIVES.set(None);
        let again = rotate_secret_key(&config, Some(&old), &Fixed).await.unwrap();
        assert!(died || again.was_done);
        fs::remove_file(folder.0.join("secret.key")).unwrap();
        assert_eq!(open_all(&folder, &config).await.unwrap(), before, "after the point {lives}");
        if !died {
            assert!(lives > 10, "{lives}");
            return;
        }
    }
}

#[tokio::test]
async fn a_rotation_that_cannot_be_is_refused_and_nothing_is_begun() {
    let folder = Folder::new();
    let config = folder.config("");
    furnished(&folder, &config).await;
    let key = folder.read("secret.key");
    let external = folder.config(&format!("[secrets]\nkey = \"command:/bin/echo {}\"", hex_of(8)));
    let wrong = KeySource::Command { program: "/bin/echo".into(), args: vec![hex_of(4)] };
    let same = KeySource::Command { program: "/bin/echo".into(), args: vec![hex_of(8)] };
    for (config, old, told) in [
        (&config, Some(&wrong), "isn't the one that"),
        (&external, Some(&wrong), "isn't the one that"),
        (&external, Some(&same), "the same secret key"),
    ] {
        let error = rotate_secret_key(config, old, &Fixed).await;
        // Under the key that it has, the folder is where the rotation would bring it.
        if let Err(error) = error {
            assert!(error.to_string().contains(told) && !error.hint().is_empty(), "{error}");
        } else {
            assert!(error.unwrap().was_done);
        }
    }
    let error = rotate_secret_key(&external, None, &Fixed).await.unwrap_err();
    assert!(matches!(error, SecretError::NotOurs { .. }) && error.hint().contains("--old"), "{error:?}");
    let running = Store::open(&folder.0).await.unwrap();
    let error = rotate_secret_key(&config, None, &Fixed).await.unwrap_err();
    assert!(matches!(error, SecretError::Store(StoreError::InUse { .. })), "{error:?}");
    assert!(error.hint().contains("stop"));
    running.close().await;
    let sealed = folder.read("audit.key");
    folder.write("audit.key", &sealed.replace(&sealed[60..62], "zz"));
    assert!(rotate_secret_key(&config, None, &Fixed).await.is_err());
    folder.write("audit.key", &sealed);
    assert_eq!(folder.read("secret.key"), key);
    assert!(!old_file(&folder.0.join("secret.key")).exists());
    open_all(&folder, &config).await.unwrap();
}

/// Whoever lost the key can go on: what was sealed is put aside, and a crash on the way costs the same command again.
#[tokio::test]
async fn a_key_that_is_lost_is_given_up_by_a_word_of_its_own_and_never_by_mistake() {
    for lives in 0.. {
        let folder = Folder::new();
        let config = folder.config("");
        assert!(matches!(replace_lost_key(&config, &Fixed).await, Err(SecretError::NotLost { .. })));
        furnished(&folder, &config).await;
        let not_lost = replace_lost_key(&config, &Fixed).await.unwrap_err();
        assert!(matches!(not_lost, SecretError::NotLost { .. }) && not_lost.hint().contains("without --lost"));
        fs::write(folder.0.join("tls/ca.pem"), "a certificate").unwrap();
        fs::remove_file(folder.0.join("secret.key")).unwrap();
        LIVES.set(Some(lives));
        let died = replace_lost_key(&config, &Fixed).await.is_err();
        LIVES.set(None);
        if died {
            replace_lost_key(&config, &Fixed).await.unwrap();
        }
        for name in ["audit.key.lost", "audit.pub.lost", "tls/ca.key.lost", "tls/ca.pem.lost", "ibm-api-key.lost"] {
            assert!(folder.0.join(name).exists(), "{lives}: {name}");
        }
        let (store, secrets) = start(&config).await.unwrap();
        secrets.audit_key().unwrap();
        assert!(matches!(secrets.get(SecretName::IbmApiKey), Err(SecretError::NotSet { .. })));
        let sealed = &store.credentials(Uuid::from_u128(1)).await.unwrap()[0].sealed;
        let error = secrets.sealer().open(Uuid::from_u128(1), Account::AhvRoot, sealed).unwrap_err();
        assert!(matches!(error, metalform_store::SealError::OtherKey { .. }), "{error:?}");
        store.close().await;
        assert_eq!(rotate_secret_key(&config, None, &Fixed).await.unwrap().kept, 1, "and it holds nothing up");
        if !died {
            assert!(lives > 5, "{lives}");
            return;
        }
    }
}

#[tokio::test]
async fn a_look_at_the_clouds_key_seals_nothing() {
    let folder = Folder::new();
    let config = folder.config("");
    furnished(&folder, &config).await;
    folder.write("ibm-api-key", "laid there by hand");
    let found = FoundKey::load(&config).await.unwrap();
    assert_eq!(found.get(SecretName::IbmApiKey).unwrap().expose_secret(), "laid there by hand");
    assert_eq!((found.look().plain, folder.read("ibm-api-key").as_str()), (vec!["ibm-api-key"], "laid there by hand"));
    assert_eq!(open_all(&folder, &config).await.unwrap().api_key, "laid there by hand");
    assert!(folder.read("ibm-api-key").starts_with("metalform-sealed:"));
}

#[tokio::test]
async fn a_clouds_key_is_kept_sealed_before_the_first_start_and_a_document_is_none() {
    let folder = Folder::new();
    let config = folder.config("");
    let set = async |text: &str| set_secret(&config, SecretName::IbmApiKey, &text.to_owned().into()).await;
    for wrong in ["", " \n", "{\"apikey\": \"secret-in-it\"}", "two words", &"x".repeat(600)] {
        let error = set(wrong).await.unwrap_err();
        assert!(
            matches!(error, SecretError::Given { .. }) && !format!("{error} {error:?}").contains("secret-in"),
            "{error:?}"
        );
    }
    let unset = FoundKey::load(&config).await.unwrap().get(SecretName::IbmApiKey).unwrap_err();
    assert!(unset.hint().contains("metalform secret set ibm-api-key"));
    set(" first\n").await.unwrap();
    let running = start(&config).await.unwrap();
    set("second").await.unwrap();
    assert_eq!(running.1.get(SecretName::IbmApiKey).unwrap().expose_secret(), "second");
}

#[test]
fn whoever_is_not_the_folders_owner_writes_no_secret_into_it() {
    let folder = Folder::new();
    check_owner(&folder.0).unwrap();
    let us = nix::unistd::geteuid().as_raw();
    let error = check_owner_is(&folder.0, us + 1).unwrap_err();
    assert!(matches!(error, SecretError::Owner { owner, .. } if owner == us), "{error:?}");
    assert!(error.hint().contains("runuser -u"), "{}", error.hint());
    check_owner_is(&folder.0.join("none yet"), us + 1).unwrap();
}

#[test]
fn nothing_that_holds_a_secret_can_be_printed() {
    let key = key::SecretKey::from_hex(&hex_of(1).into()).unwrap();
    let files = SealedFiles::for_tests();
    assert_eq!(format!("{key:?} {files:?}"), "SecretKey(..) SealedFiles(NamedSealer(..))");
    assert_eq!(AUDIT_KEY, "audit.key");
}

#[tokio::test]
async fn a_secret_is_set_before_a_change_of_the_key_or_after_it_and_never_within() {
    let folder = Folder::new();
    let config = folder.config("");
    furnished(&folder, &config).await;
    let given: SecretString = "another-key".into();
    let alone = super::lock::ChangeLock::take(&folder.0).await.unwrap();
    let mut setting = Box::pin(set_secret(&config, SecretName::IbmApiKey, &given));
    assert!(setting.as_mut().now_or_never().is_none(), "it waits");
    drop(alone);
    setting.await.unwrap();
    rotate_secret_key(&config, None, &WallClock).await.unwrap();
    assert_eq!(open_all(&folder, &config).await.unwrap().api_key, "another-key");
}
