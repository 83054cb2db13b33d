//! The service's secrets at rest. One key, the `SecretKey`, comes from `secret.key` of the data folder or from where the
//! configuration says; everything else that lies there is sealed under it or made from it: the clusters' passwords, boot
//! tokens, the keys of the audit and of our own authority, the cloud's API key. Only `token` and `tls/server.pem` are as they
//! are: the first is replaced by hand, the second is made anew every few months.

mod command;
mod error;
mod key;
mod lock;
mod rotate;
mod sealed_file;
mod source;
mod start;
#[cfg(test)]
mod tests;

pub use error::{CommandFault, SecretError};
pub use rotate::{Replaced, Rotated, replace_lost_key, rotate_secret_key};
pub use sealed_file::SecretName;
pub(crate) use sealed_file::{ACME_ACCOUNT, CA_KEY, SealedFiles};
pub use source::{BadKeySource, KeySource};
pub use start::{FoundKey, Secrets, SecretsSeen, set_secret};

use metalform_store::AuditKey;
use rand::RngExt;
use secrecy::{ExposeSecret, SecretString};
use std::{
    io::{ErrorKind, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};
use subtle::ConstantTimeEq;

/// What signs the audit: `audit.key`, sealed. Its public half is written beside it for whoever checks.
fn audit_key(data_dir: &Path, files: &SealedFiles) -> Result<AuditKey, SecretError> {
    let path = data_dir.join(sealed_file::AUDIT_KEY);
    let text = match files.open_file(&path, sealed_file::AUDIT_KEY) {
        Err(error) if error.is_not_found() => {
            let text = random_hex();
            files.seal_file(&path, sealed_file::AUDIT_KEY, &text)?;
            text
        }
        other => other?,
    };
    let key = key::from_hex(&text).and_then(|seed| AuditKey::from_seed(&seed));
    let key = key.ok_or(SecretError::Content { path, what: "a key of Ed25519" })?;
    let path = data_dir.join("audit.pub");
    let failed = |source| SecretError::File { path: path.clone(), source };
    match std::fs::read_to_string(&path) {
        Ok(text) if text.parse() == Ok(key.public()) => Ok(key),
        Ok(_) => Err(SecretError::OtherPublicKey { path }),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            write_whole(&path, format!("{}\n", key.public()).as_bytes(), 0o644).map_err(failed)?;
            Ok(key)
        }
        Err(source) => Err(failed(source)),
    }
}

/// The bearer token of whoever may read the data folder: an admin, and who makes the first API token.
pub struct BootstrapToken(SecretString);

impl BootstrapToken {
    /// Reads `token` of the data folder, or makes it.
    pub(crate) fn load(data_dir: &Path) -> Result<BootstrapToken, SecretError> {
        let path = data_dir.join("token");
        let token = match read(&path) {
            Err(error) if error.is_not_found() => {
                let token = random_hex();
                let failed = |source| SecretError::File { path: path.clone(), source };
                write_whole(&path, token.expose_secret().as_bytes(), 0o600).map_err(failed)?;
                token
            }
            other => other?,
        };
        if token.expose_secret().len() < 32 {
            return Err(SecretError::Content { path, what: "a token of at least 32 characters" });
        }
        Ok(BootstrapToken(token))
    }

    /// Whether this is it, in the same time whatever differs.
    pub(crate) fn matches(&self, shown: &str) -> bool {
        self.0.expose_secret().as_bytes().ct_eq(shown.as_bytes()).into()
    }
}

/// Reads a secret from a file that only its owner may read; or from one of systemd's credentials, whose folder says who may.
pub(crate) fn read(path: &Path) -> Result<SecretString, SecretError> {
    read_beside(path, source::credentials_directory().as_deref())
}

/// Whether a file with a secret that the configuration names can be used: it is there, and its owner alone may read it.
pub fn check_secret_file(path: &Path) -> Result<(), SecretError> {
    read(path).map(drop)
}

/// Below `credentials` the group's bits are those of an access control list, which names the service's user alone
/// (systemd.exec(5), "Credentials"; acl(5): the mask shows as the group's mode).
fn read_beside(path: &Path, credentials: Option<&Path>) -> Result<SecretString, SecretError> {
    let failed = |source| SecretError::File { path: path.to_owned(), source };
    let mode = std::fs::metadata(path).map_err(failed)?.permissions().mode() & 0o777;
    let is_credential = || {
        let folder = credentials.and_then(|folder| folder.canonicalize().ok());
        folder.is_some_and(|folder| path.canonicalize().is_ok_and(|path| path.starts_with(folder)))
    };
    let open_to = if mode & 0o077 != 0 && is_credential() { 0o037 } else { 0o077 };
    if mode & open_to != 0 {
        return Err(SecretError::Open { path: path.to_owned(), mode });
    }
    Ok(std::fs::read_to_string(path).map_err(failed)?.trim().to_owned().into())
}

/// A file is made under another name and then renamed, so that after a crash it is there in full or not at all. Its name is
/// on the disk, too, when this returns. The mode is that, whatever the process masks.
pub(crate) fn write_whole(path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    let half_done = beside(path, ".new");
    let mut file = std::fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&half_done)?;
    file.set_permissions(std::fs::Permissions::from_mode(mode))?;
    crash_point()?;
    file.write_all(bytes)?;
    file.sync_all()?;
    crash_point()?;
    std::fs::rename(&half_done, path)?;
    crash_point()?;
    sync_folder_of(path)
}

/// Removes a file for good.
fn remove(path: &Path) -> std::io::Result<()> {
    std::fs::remove_file(path)?;
    sync_folder_of(path)
}

fn sync_folder_of(path: &Path) -> std::io::Result<()> {
    // A bare file name has an empty parent, and means the present folder.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(folder)?.sync_all()
}

/// `path` with more at its end.
fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// 32 random bytes.
fn random_hex() -> SecretString {
    let mut bytes = secrecy::zeroize::Zeroizing::new([0u8; 32]);
    rand::rng().fill(&mut *bytes);
    hex::encode(*bytes).into()
}

/// What somebody else than the data folder's owner wrote there, the service couldn't read.
fn check_owner(data_dir: &Path) -> Result<(), SecretError> {
    check_owner_is(data_dir, nix::unistd::geteuid().as_raw())
}

fn check_owner_is(data_dir: &Path, us: u32) -> Result<(), SecretError> {
    let owner = match std::fs::metadata(data_dir) {
        Ok(folder) => folder.uid(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(SecretError::File { path: data_dir.to_owned(), source }),
    };
    match owner == us {
        true => Ok(()),
        false => Err(SecretError::Owner { data_dir: data_dir.to_owned(), owner, us }),
    }
}

#[cfg(test)]
thread_local! {
    /// At how many more points this thread goes on, before it dies at the next. `None`: at all.
    static LIVES: std::cell::Cell<Option<u32>> = const { std::cell::Cell::new(None) };
}

/// A test may end the work here, as a power cut would. Otherwise nothing.
fn crash_point() -> std::io::Result<()> {
    #[cfg(test)]
    if let Some(lives) = LIVES.get() {
        let left = lives.checked_sub(1).ok_or_else(|| std::io::Error::other("a crash"))?;
        LIVES.set(Some(left));
    }
    Ok(())
}
