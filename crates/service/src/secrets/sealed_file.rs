//! Secrets in files, sealed under the secret key: a copy of the file alone is worth nothing.
//!
//! A sealed file is one line of text that says what it is. It is sealed for its name below the data folder, so one file can't
//! stand in for another. A file from before they were sealed is read as it is, and sealed then: by one rename, so after a
//! crash it is one or the other.

use super::{SecretError, beside, crash_point, key::SecretKey, read, sync_folder_of, write_whole};
use metalform_store::{NamedSealError, NamedSealer};
use secrecy::{ExposeSecret, SecretString};
use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Begins a sealed file; then a version of the form, then hex digits.
const MARK: &str = "metalform-sealed:";
const VERSION: &str = "1:";

/// What the audit is signed with.
pub(super) const AUDIT_KEY: &str = "audit.key";
/// What our own authority signs with.
pub(crate) const CA_KEY: &str = "tls/ca.key";

/// Our account at an ACME authority.
pub(crate) const ACME_ACCOUNT: &str = "tls/acme-account.json";

/// Every file below the data folder that is sealed.
pub(super) const SEALED: [&str; 4] = [AUDIT_KEY, CA_KEY, ACME_ACCOUNT, SecretName::IbmApiKey.as_str()];

/// A secret that an operator gives, to be kept sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretName {
    /// The API key of IBM Cloud.
    IbmApiKey,
}

impl SecretName {
    /// All of them.
    pub const ALL: [SecretName; 1] = [SecretName::IbmApiKey];

    /// As it is written on the command line; also its file's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            SecretName::IbmApiKey => "ibm-api-key",
        }
    }

    /// Without the blanks around it, if it can be one.
    fn check(self, given: &SecretString) -> Result<SecretString, SecretError> {
        let text = given.expose_secret().trim();
        let refused = |why| Err(SecretError::Given { name: self.as_str(), why });
        if text.is_empty() {
            return refused("nothing was given");
        }
        // Of IBM Cloud's keys it is known that they are one word; a JSON file with the key in it is the usual mistake.
        match text.chars().all(|c| c.is_ascii_graphic()) && !text.starts_with('{') && text.len() <= 512 {
            true => Ok(text.into()),
            false => refused("a key is one word of at most 512 characters, not a document"),
        }
    }
}

/// Seals files and opens them. Cheap to clone, can't be printed.
#[derive(Debug, Clone)]
pub(crate) struct SealedFiles(Arc<NamedSealer>);

impl SealedFiles {
    /// Under that key.
    pub(super) fn under(key: &SecretKey) -> SealedFiles {
        SealedFiles(Arc::new(key.named_sealer()))
    }

    /// Under a key that everybody knows.
    #[cfg(test)]
    pub fn for_tests() -> SealedFiles {
        SealedFiles(Arc::new(NamedSealer::new(&[1; 32])))
    }

    /// Seals a secret into a file, mode 0600, whole or not at all. `name` is its path below the data folder.
    pub fn seal_file(&self, path: &Path, name: &str, secret: &SecretString) -> Result<(), SecretError> {
        let text = format!("{MARK}{VERSION}{}\n", hex::encode(self.0.seal(name, secret)?));
        write_whole(path, text.as_bytes(), 0o600).map_err(|source| SecretError::File { path: path.to_owned(), source })
    }

    /// Opens a sealed file; seals one that isn't yet.
    pub fn open_file(&self, path: &Path, name: &str) -> Result<SecretString, SecretError> {
        let text = read(path)?;
        match self.opened(&text, name)? {
            Some(secret) => Ok(secret),
            None => {
                self.seal_file(path, name, &text)?;
                tracing::info!(file = %path.display(), "a secret that lay there as it is, is sealed now");
                Ok(text)
            }
        }
    }

    /// `None`: it isn't sealed.
    fn opened(&self, text: &SecretString, name: &str) -> Result<Option<SecretString>, SecretError> {
        let Some(rest) = text.expose_secret().strip_prefix(MARK) else { return Ok(None) };
        let bytes = rest.strip_prefix(VERSION).and_then(|digits| hex::decode(digits).ok());
        let bytes = bytes.ok_or_else(|| NamedSealError::Unknown { name: name.to_owned() })?;
        Ok(Some(self.0.open(name, &bytes)?))
    }
}

/// How a file that should be sealed was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Sealed, and it opens.
    Sealed,
    /// It lies there as it is; the next start seals it.
    Plain,
}

/// How each of the files stands that are there.
pub(super) fn look(data_dir: &Path, key: &SecretKey) -> Vec<(&'static str, Result<Found, SecretError>)> {
    let files = SealedFiles::under(key);
    let look = |name: &'static str| {
        let text = match read(&data_dir.join(name)) {
            Err(error) if error.is_not_found() => return None,
            other => other,
        };
        let found = text.and_then(|text| Ok(files.opened(&text, name)?.map_or(Found::Plain, |_| Found::Sealed)));
        Some((name, found))
    };
    SEALED.into_iter().filter_map(look).collect()
}

/// Whether each file can be sealed anew; changes nothing.
pub(super) fn check_files(data_dir: &Path, from: &SecretKey, to: Option<&SecretKey>) -> Result<(), SecretError> {
    each_file(data_dir, from, to, |_, _, _| Ok(()))
}

/// Seals each file under `to`, unless it is already. May be repeated after a crash, until the database says that `to` is the
/// key: none of the files is left under `from` then.
pub(super) fn reseal_files(data_dir: &Path, from: &SecretKey, to: &SecretKey) -> Result<(), SecretError> {
    let files = SealedFiles::under(to);
    each_file(data_dir, from, Some(to), |path, name, secret| {
        files.seal_file(path, name, secret)?;
        crash_point().map_err(|source| SecretError::File { path: path.to_owned(), source })
    })
}

fn each_file(
    data_dir: &Path,
    from: &SecretKey,
    to: Option<&SecretKey>,
    mut act: impl FnMut(&Path, &str, &SecretString) -> Result<(), SecretError>,
) -> Result<(), SecretError> {
    let (from, to) = (SealedFiles::under(from), to.map(SealedFiles::under));
    for name in SEALED {
        let path = data_dir.join(name);
        let text = match read(&path) {
            Err(error) if error.is_not_found() => continue,
            other => other?,
        };
        if to.as_ref().is_some_and(|to| matches!(to.opened(&text, name), Ok(Some(_)))) {
            continue;
        }
        let secret = from.opened(&text, name)?.unwrap_or(text);
        act(&path, name, &secret)?;
    }
    Ok(())
}

/// Keeps what an operator gives.
pub(super) fn set(
    data_dir: &Path,
    files: &SealedFiles,
    name: SecretName,
    given: &SecretString,
) -> Result<(), SecretError> {
    let secret = name.check(given)?;
    files.seal_file(&data_dir.join(name.as_str()), name.as_str(), &secret)
}

/// Gets it back.
pub(super) fn get(data_dir: &Path, files: &SealedFiles, name: SecretName) -> Result<SecretString, SecretError> {
    or_not_set(data_dir, name, files.open_file(&data_dir.join(name.as_str()), name.as_str()))
}

/// The same, and one that isn't sealed stays as it is.
pub(super) fn peek(data_dir: &Path, files: &SealedFiles, name: SecretName) -> Result<SecretString, SecretError> {
    let read = read(&data_dir.join(name.as_str()));
    let opened = read.and_then(|text| Ok(files.opened(&text, name.as_str())?.unwrap_or(text)));
    or_not_set(data_dir, name, opened)
}

fn or_not_set(
    data_dir: &Path,
    name: SecretName,
    opened: Result<SecretString, SecretError>,
) -> Result<SecretString, SecretError> {
    match opened {
        Err(error) if error.is_not_found() => {
            Err(SecretError::NotSet { name: name.as_str(), data_dir: data_dir.to_owned() })
        }
        other => other,
    }
}

/// Renames what doesn't open under that key, and says what that was. A certificate or public key goes before the private one
/// that it belongs to: after a crash between the two that one still doesn't open, and the next try finds it.
pub(super) fn put_aside_lost(data_dir: &Path, key: &SecretKey) -> Result<Vec<PathBuf>, SecretError> {
    let mut aside = Vec::new();
    for (name, found) in look(data_dir, key) {
        match found {
            Ok(_) => continue,
            Err(SecretError::Sealed(_)) => {}
            Err(other) => return Err(other),
        }
        let public = match name {
            AUDIT_KEY => Some("audit.pub"),
            CA_KEY => Some("tls/ca.pem"),
            _ => None,
        };
        for name in public.into_iter().chain([name]) {
            let path = data_dir.join(name);
            let lost = beside(&path, ".lost");
            match std::fs::rename(&path, &lost).and_then(|()| sync_folder_of(&path)).and_then(|()| crash_point()) {
                Ok(()) => aside.push(lost),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(source) => return Err(SecretError::File { path, source }),
            }
        }
    }
    Ok(aside)
}
