//! The secret key from the moment that it is read until everything works with it.
//!
//! It is compared with what the database says of it before the database is opened to be written to: with another key nothing
//! is changed, not even the schema. Once the store is ours, a change of the key that a crash cut short is brought to its end,
//! and a new data folder gets its key.

use super::{
    KeySource, SealedFiles, SecretError, SecretName, audit_key, beside, check_owner,
    key::SecretKey,
    lock::ChangeLock,
    remove, rotate,
    sealed_file::{self, Found},
    write_whole,
};
use crate::{Config, clock::WallClock};
use metalform_boot::{KeptTokens, TokenKey};
use metalform_model::Clock;
use metalform_store::{AuditKey, NamedSealer, SealedUnder, Sealer, Store, kept_token_name};
use secrecy::{ExposeSecret, SecretString};
use std::{
    fmt,
    path::{Path, PathBuf},
};

/// Ends the name of the key before, while a change of the key is under way.
const OLD: &str = ".old";

/// Where the key comes from, the default resolved.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub source: KeySource,
    /// Nobody said where it is: then it is ours to make.
    pub is_default: bool,
}

impl Source {
    pub fn of(config: &Config) -> Source {
        match config.secrets.source() {
            Some(source) => Source { source: source.clone(), is_default: false },
            None => Source { source: KeySource::File(config.data_dir.join("secret.key")), is_default: true },
        }
    }

    /// The key's file, where it is in one.
    pub fn file(&self) -> Option<&Path> {
        match &self.source {
            KeySource::File(path) => Some(path),
            _ => None,
        }
    }
}

/// The file of the key before.
pub(super) fn old_file(path: &Path) -> PathBuf {
    beside(path, OLD)
}

/// How a key stands to a database.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    /// It is the one, and the database says so.
    Right,
    /// It is the one as far as anybody can tell, and the database doesn't name it yet.
    Unnamed,
    /// The database is still under the key before: a change was cut short.
    HalfChanged,
    /// It is another one.
    Wrong,
}

fn standing(under: &SealedUnder, current: &SecretKey, old: Option<&SecretKey>) -> Standing {
    match under {
        SealedUnder::NoKey => Standing::Unnamed,
        SealedUnder::Named(_) if current.is_key_of(under) => Standing::Right,
        SealedUnder::Password(_) if current.is_key_of(under) => Standing::Unnamed,
        _ if old.is_some_and(|old| old.is_key_of(under)) => Standing::HalfChanged,
        _ => Standing::Wrong,
    }
}

/// The key as it was found, before the store is opened.
pub struct FoundKey {
    data_dir: PathBuf,
    source: Source,
    /// `None`: it is to be made.
    current: Option<SecretKey>,
    old: Option<SecretKey>,
    under: SealedUnder,
}

impl FoundKey {
    /// Gets the key, and compares it with the database. Changes nothing.
    pub async fn load(config: &Config) -> Result<FoundKey, SecretError> {
        let found = FoundKey::read(config).await?;
        found.check(&found.under)?;
        Ok(found)
    }

    /// Gets the key, whatever the database says.
    async fn read(config: &Config) -> Result<FoundKey, SecretError> {
        let (source, data_dir) = (Source::of(config), config.data_dir.clone());
        let under = Store::peek_secret_key(&data_dir).await?;
        let current = match source.source.fetch().await {
            Err(error) if source.is_default && error.is_not_found() => None,
            other => Some(other?),
        };
        let old = match source.file().map(|path| KeySource::File(old_file(path))) {
            None => None,
            Some(file) => match file.fetch().await {
                Err(error) if error.is_not_found() => None,
                other => Some(other?),
            },
        };
        Ok(FoundKey { data_dir, source, current, old, under })
    }

    fn check(&self, under: &SealedUnder) -> Result<Standing, SecretError> {
        let data_dir = || self.data_dir.clone();
        match &self.current {
            None if *under == SealedUnder::NoKey => Ok(Standing::Unnamed),
            None => {
                let path = self.source.file().unwrap_or(Path::new("secret.key")).to_owned();
                Err(SecretError::KeyLost { path, data_dir: data_dir() })
            }
            Some(current) => match standing(under, current, self.old.as_ref()) {
                Standing::Wrong => {
                    Err(SecretError::OtherKey { from: self.source.source.clone(), data_dir: data_dir() })
                }
                other => Ok(other),
            },
        }
    }

    /// The key that a data folder begins anew with whose own is lost: the one that is there now, or a new one. With the key
    /// that is the right one nothing is lost.
    pub(super) async fn in_place_of_lost(config: &Config, store: &Store) -> Result<SecretKey, SecretError> {
        let found = FoundKey::read(config).await?;
        match found.check(&store.sealed_under().await?) {
            Ok(_) => Err(SecretError::NotLost { from: found.source.source, data_dir: found.data_dir }),
            Err(SecretError::KeyLost { .. } | SecretError::OtherKey { .. }) => match found.current {
                Some(key) => Ok(key),
                None => make(&found.source),
            },
            Err(other) => Err(other),
        }
    }

    /// Brings everything in order, once nobody else works on the folder.
    pub async fn settle(self, store: &Store, clock: &dyn Clock) -> Result<Secrets, SecretError> {
        // Asked again: another process may have changed the key until it gave the folder up.
        let standing = self.check(&store.sealed_under().await?)?;
        let FoundKey { data_dir, source, current, old, .. } = self;
        let key = match current {
            Some(key) => key,
            None => make(&source)?,
        };
        match (standing, &old) {
            (Standing::HalfChanged, Some(old)) => {
                tracing::warn!("a change of the secret key was cut short; it is brought to its end now");
                rotate::change(store, &data_dir, old, &key, clock).await?;
            }
            (Standing::Right, Some(_)) => store.forget_overwritten().await?,
            (Standing::Unnamed, _) => store.name_secret_key(&key.name()).await?,
            _ => {}
        }
        if let Some(path) = source.file().filter(|_| old.is_some()).map(old_file) {
            remove(&path).map_err(|source| SecretError::File { path: path.clone(), source })?;
            tracing::info!(file = %path.display(), "the secret key before isn't needed any more, and is removed");
        }
        Ok(Secrets { key, data_dir })
    }
}

fn make(source: &Source) -> Result<SecretKey, SecretError> {
    let no_key = || SecretError::NoKey { from: source.source.clone() };
    let (key, text) = SecretKey::random().ok_or_else(no_key)?;
    let path = source.file().ok_or_else(no_key)?;
    let failed = |error| SecretError::File { path: path.to_owned(), source: error };
    write_whole(path, text.expose_secret().as_bytes(), 0o600).map_err(failed)?;
    Ok(key)
}

/// Shows where the key comes from, and nothing of it.
impl fmt::Debug for FoundKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FoundKey({})", self.source.source)
    }
}

/// What a look at the secrets shows.
#[derive(Debug)]
pub struct SecretsSeen {
    /// Where the key comes from.
    pub source: KeySource,
    /// Whether it isn't there yet, and the first start makes it.
    pub to_be_made: bool,
    /// Whether a change of the key was cut short, which the next start brings to its end.
    pub half_changed: bool,
    /// Files that aren't sealed, which the next start does.
    pub plain: Vec<&'static str>,
    /// Files that don't open.
    pub broken: Vec<(&'static str, SecretError)>,
}

impl FoundKey {
    /// Looks at everything that is sealed in files. Changes nothing.
    pub fn look(&self) -> SecretsSeen {
        let half_changed = self.old.is_some();
        let of_old = self.old.iter().flat_map(|key| sealed_file::look(&self.data_dir, key));
        let under_old: Vec<_> = of_old.filter_map(|(name, found)| found.is_ok().then_some(name)).collect();
        let (mut plain, mut broken) = (Vec::new(), Vec::new());
        for (name, found) in self.current.iter().flat_map(|key| sealed_file::look(&self.data_dir, key)) {
            match found {
                Ok(Found::Sealed) => {}
                Ok(Found::Plain) => plain.push(name),
                // Still under the key before: the change of it that was cut short will see to that.
                Err(_) if under_old.contains(&name) => {}
                Err(error) => broken.push((name, error)),
            }
        }
        let to_be_made = self.current.is_none();
        SecretsSeen { source: self.source.source.clone(), to_be_made, half_changed, plain, broken }
    }

    /// A secret that an operator gave, without sealing or making anything.
    pub(crate) fn get(&self, name: SecretName) -> Result<SecretString, SecretError> {
        match &self.current {
            Some(key) => sealed_file::peek(&self.data_dir, &SealedFiles::under(key), name),
            None => Err(SecretError::NotSet { name: name.as_str(), data_dir: self.data_dir.clone() }),
        }
    }

    async fn set(self, name: SecretName, given: &SecretString) -> Result<(), SecretError> {
        let data_dir = self.data_dir.clone();
        let files = match (&self.current, &self.old) {
            (Some(key), None) => SealedFiles::under(key),
            _ => {
                let store = Store::open(&data_dir).await?;
                let settled = self.settle(&store, &WallClock).await;
                store.close().await;
                settled?.files()
            }
        };
        sealed_file::set(&data_dir, &files, name, given)
    }
}

/// Keeps a secret that an operator gives, sealed. Works beside a running service, which uses it from its next start on, and not
/// beside a change of the key. Where there is no key yet, it is made as the first start would.
pub async fn set_secret(config: &Config, name: SecretName, given: &SecretString) -> Result<(), SecretError> {
    check_owner(&config.data_dir)?;
    let _alone = ChangeLock::take(&config.data_dir).await?;
    FoundKey::load(config).await?.set(name, given).await
}

/// Everything that is made from the secret key or sealed under it.
pub struct Secrets {
    key: SecretKey,
    data_dir: PathBuf,
}

impl Secrets {
    /// Both halves of a start at once, for whoever has the store open already.
    pub async fn open(config: &Config, store: &Store, clock: &dyn Clock) -> Result<Secrets, SecretError> {
        FoundKey::load(config).await?.settle(store, clock).await
    }

    /// What seals the clusters' passwords.
    pub(crate) fn sealer(&self) -> Sealer {
        self.key.sealer()
    }

    /// What boot tokens are made from, with those that an earlier key gave out.
    pub(crate) async fn token_key(&self, store: &Store) -> Result<TokenKey, SecretError> {
        token_key(&self.key, store).await
    }

    /// What signs the audit.
    pub(crate) fn audit_key(&self) -> Result<AuditKey, SecretError> {
        audit_key(&self.data_dir, &self.files())
    }

    /// What seals files.
    pub(crate) fn files(&self) -> SealedFiles {
        SealedFiles::under(&self.key)
    }

    /// A secret that an operator gave.
    pub(crate) fn get(&self, name: SecretName) -> Result<SecretString, SecretError> {
        sealed_file::get(&self.data_dir, &self.files(), name)
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(..)")
    }
}

pub(super) async fn token_key(key: &SecretKey, store: &Store) -> Result<TokenKey, SecretError> {
    let sealer: NamedSealer = key.named_sealer();
    let mut kept = Vec::new();
    for (attempt, sealed) in store.kept_boot_tokens().await? {
        let text = sealer.open(&kept_token_name(attempt), &sealed)?;
        kept.push((attempt, KeptTokens::from_text(&text).ok_or(SecretError::KeptTokens)?));
    }
    Ok(key.token_key().keeping(kept))
}
