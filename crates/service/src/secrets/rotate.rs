//! Another secret key, while the service is stopped.
//!
//! In the order in which it is done, where the key is in a file:
//! 1. everything that is sealed opens, or nothing is begun;
//! 2. the key is copied to `….old`;
//! 3. the new key replaces it;
//! 4. each sealed file is sealed anew;
//! 5. one transaction seals the passwords anew, keeps the open attempts' boot tokens, and names the new key;
//! 6. what the database's files still hold of before is overwritten;
//! 7. `….old` is removed.
//!
//! Until 5 is done the database names the old key, which is in `….old` or still in its place; so the next start, or the next
//! `rotate`, finds both and goes on at 4. After it everything is under the new key, and only 6 and 7 are left.
//!
//! A key that comes from elsewhere isn't ours to write: the operator has put the new one there and says where the old one is.
//! The same command again ends what a crash cut short.
//!
//! Rejected: rotation while the service runs, which would have two keys in force in one process for a thing that is done in a
//! second, a few times a year.

use super::{
    KeySource, SecretError, check_owner, crash_point,
    key::SecretKey,
    lock::ChangeLock,
    remove,
    sealed_file::{check_files, put_aside_lost, reseal_files},
    start::{FoundKey, Source, old_file, token_key},
    write_whole,
};
use crate::{Config, audit};
use metalform_model::{Clock, audit_action};
use metalform_store::{Reseal, SealedUnder, SecretKeyName, Store, kept_token_name};
use secrecy::ExposeSecret;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// What came of it.
#[derive(Debug)]
pub struct Rotated {
    /// Where the key comes from.
    pub from: KeySource,
    /// The new key's name, as the audit has it.
    pub name: SecretKeyName,
    /// Open boot attempts, whose tokens stay good.
    pub kept: usize,
    /// Whether all had been done before.
    pub was_done: bool,
}

/// Changes the key. `old`: where the one before is, if the new one lies already where the configuration says.
pub async fn rotate_secret_key(
    config: &Config,
    old: Option<&KeySource>,
    clock: &dyn Clock,
) -> Result<Rotated, SecretError> {
    check_owner(&config.data_dir)?;
    let _alone = ChangeLock::take(&config.data_dir).await?;
    match old {
        None => rotate_file(config, clock).await,
        Some(old) => rotate_elsewhere(config, old, clock).await,
    }
}

async fn rotate_file(config: &Config, clock: &dyn Clock) -> Result<Rotated, SecretError> {
    let source = Source::of(config);
    let Some(path) = source.file() else { return Err(SecretError::NotOurs { from: source.source }) };
    let found = FoundKey::load(config).await?;
    let store = Store::open(&config.data_dir).await?;
    let done = async {
        found.settle(&store, clock).await?;
        let old = source.source.fetch().await?;
        store.check_passwords(&old.sealer()).await?;
        check_files(&config.data_dir, &old, None)?;
        let (new, text) = SecretKey::random().ok_or_else(|| SecretError::NoKey { from: source.source.clone() })?;
        let old_path = old_file(path);
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| SecretError::File { path, source }
        };
        write_whole(&old_path, old.to_hex().expose_secret().as_bytes(), 0o600).map_err(failed(&old_path))?;
        write_whole(path, text.expose_secret().as_bytes(), 0o600).map_err(failed(path))?;
        let kept = change(&store, &config.data_dir, &old, &new, clock).await?;
        remove(&old_path).map_err(failed(&old_path))?;
        Ok(Rotated { from: source.source.clone(), name: new.name(), kept, was_done: false })
    };
    let done = done.await;
    store.close().await;
    done
}

async fn rotate_elsewhere(config: &Config, old: &KeySource, clock: &dyn Clock) -> Result<Rotated, SecretError> {
    let source = Source::of(config).source;
    let (new, old_key) = (source.fetch().await?, old.fetch().await?);
    if new.name() == old_key.name() {
        return Err(SecretError::SameKey { new: source, old: old.clone() });
    }
    let data_dir = &config.data_dir;
    let decide = |under: &SealedUnder| match under {
        under if new.is_key_of(under) => Ok(true),
        under if *under == SealedUnder::NoKey || old_key.is_key_of(under) => Ok(false),
        _ => Err(SecretError::OtherKey { from: old.clone(), data_dir: data_dir.clone() }),
    };
    decide(&Store::peek_secret_key(data_dir).await?)?;
    let store = Store::open(data_dir).await?;
    let done = async {
        if decide(&store.sealed_under().await?)? {
            store.forget_overwritten().await?;
            return Ok(Rotated { from: source.clone(), name: new.name(), kept: 0, was_done: true });
        }
        store.check_passwords(&old_key.sealer()).await?;
        check_files(data_dir, &old_key, Some(&new))?;
        let kept = change(&store, data_dir, &old_key, &new, clock).await?;
        Ok(Rotated { from: source.clone(), name: new.name(), kept, was_done: false })
    };
    let done = done.await;
    store.close().await;
    done
}

/// What it costs to begin anew.
#[derive(Debug)]
pub struct Replaced {
    /// Where the key comes from.
    pub from: KeySource,
    /// The new key's name, as the audit has it.
    pub name: SecretKeyName,
    /// What was renamed because nobody can open it any more, and what belongs to it.
    pub put_aside: Vec<PathBuf>,
}

/// Gives up what was sealed under a key that is lost, so that the service can go on: with the key that is there now, or a new
/// one. The passwords stay in the database, unreadable. May be repeated after a crash.
pub async fn replace_lost_key(config: &Config, clock: &dyn Clock) -> Result<Replaced, SecretError> {
    check_owner(&config.data_dir)?;
    let _alone = ChangeLock::take(&config.data_dir).await?;
    if Store::peek_secret_key(&config.data_dir).await? == SealedUnder::NoKey {
        return Err(SecretError::NotLost { from: Source::of(config).source, data_dir: config.data_dir.clone() });
    }
    let store = Store::open(&config.data_dir).await?;
    let done = async {
        let key = FoundKey::in_place_of_lost(config, &store).await?;
        let put_aside = put_aside_lost(&config.data_dir, &key)?;
        let (name, sealer) = (key.name(), key.sealer());
        let target = format!("key {name} in place of one that is lost, with all that was sealed under it");
        let audit = audit::own_line(clock, audit_action::SECRET_ROTATE, &target, "ok");
        let change = Reseal { from: &sealer, to: &sealer, name: &name, kept_boot_tokens: &[], audit: &audit };
        store.reseal(change).await?;
        Ok(Replaced { from: Source::of(config).source, name, put_aside })
    };
    let done = done.await;
    store.close().await;
    done
}

/// From one key to the other: the files, then the database. Says how many attempts keep their boot tokens.
pub(super) async fn change(
    store: &Store,
    data_dir: &Path,
    from: &SecretKey,
    to: &SecretKey,
    clock: &dyn Clock,
) -> Result<usize, SecretError> {
    reseal_files(data_dir, from, to)?;
    let tokens = token_key(from, store).await?;
    let sealer = to.named_sealer();
    let mut kept: Vec<(Uuid, Vec<u8>)> = Vec::new();
    for state in store.living_clusters().await? {
        // One that was closed may be opened again by a retry, and its server holds the tokens already.
        let records = state.nodes.iter().map(|node| &node.record).filter(|record| record.boot.installed_at.is_none());
        for attempt in records.filter_map(|record| record.attempt.as_ref()) {
            let text = tokens.tokens_to_keep(attempt.id).to_text();
            kept.push((attempt.id, sealer.seal(&kept_token_name(attempt.id), &text)?));
        }
    }
    let name = to.name();
    let target = format!("key {name}, {} boot attempts keep their tokens", kept.len());
    let audit = audit::own_line(clock, audit_action::SECRET_ROTATE, &target, "ok");
    let (opens, seals) = (from.sealer(), to.sealer());
    let change = Reseal { from: &opens, to: &seals, name: &name, kept_boot_tokens: &kept, audit: &audit };
    let crashed = |source| SecretError::File { path: data_dir.to_owned(), source };
    crash_point().map_err(crashed)?;
    store.reseal(change).await?;
    crash_point().map_err(crashed)?;
    store.forget_overwritten().await?;
    Ok(kept.len())
}
