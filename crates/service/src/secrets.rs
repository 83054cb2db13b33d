//! The secrets that the service makes for itself at first start, each a file of the data folder that only its owner may
//! read: the key that boot tokens are made from and passwords are sealed with, the operator's bearer token, and the key that
//! the audit is signed with.

use metalform_boot::TokenKey;
use metalform_store::{AuditKey, Sealer};
use rand::RngExt;
use secrecy::{ExposeSecret, SecretString};
use std::{
    io::{ErrorKind, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};
use subtle::ConstantTimeEq;
use thiserror::Error;

/// A secret file that can't be made or used.
#[derive(Debug, Error)]
pub enum SecretError {
    /// It can't be read or written.
    #[error("can't use the secret file {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Others may read it.
    #[error("the secret file {} may be read by others (mode {mode:o})", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It doesn't hold what it should.
    #[error("the secret file {} doesn't hold {what}", path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// The audit's two keys don't belong together.
    #[error("{} isn't the public key of audit.key", path.display())]
    OtherPublicKey {
        /// The public one's file.
        path: PathBuf,
    },
}

impl SecretError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            SecretError::File { .. } => "check the owner and mode of the data folder and of the file".into(),
            SecretError::Open { path, .. } => format!("chmod 600 {}", path.display()),
            SecretError::Content { .. } => {
                "restore it from a backup; a new one is made once it is removed, but open boot tokens are void then, and \
                 clusters' passwords can't be read"
                    .into()
            }
            SecretError::OtherPublicKey { .. } => {
                "restore audit.key from a backup; if it is lost, rename audit.pub (what was signed until now is checked with \
                 it) and start again: there is a new pair then"
                    .into()
            }
        }
    }
}

/// The key of the boot tokens: `secret.key` as it is.
pub(crate) fn token_key(data_dir: &Path) -> Result<TokenKey, SecretError> {
    secret_key(data_dir).map(TokenKey::new)
}

/// What seals the clusters' passwords, under a key that it derives from `secret.key` and shares with nothing else.
pub(crate) fn sealer(data_dir: &Path) -> Result<Sealer, SecretError> {
    secret_key(data_dir).map(|key| Sealer::new(&key))
}

/// What signs the audit: `audit.key`. Its public half is written beside it for whoever checks.
pub(crate) fn audit_key(data_dir: &Path) -> Result<AuditKey, SecretError> {
    let path = data_dir.join("audit.key");
    let key = AuditKey::from_seed(&key_in(path.clone())?);
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

/// `secret.key`.
fn secret_key(data_dir: &Path) -> Result<[u8; 32], SecretError> {
    key_in(data_dir.join("secret.key"))
}

/// 32 bytes, as hex in that file.
fn key_in(path: PathBuf) -> Result<[u8; 32], SecretError> {
    let text = read_or_make(&path)?;
    let bytes = hex::decode(text.expose_secret()).ok().and_then(|b| <[u8; 32]>::try_from(b).ok());
    bytes.ok_or(SecretError::Content { path, what: "64 hex digits" })
}

/// The bearer token of whoever may read the data folder: an admin, and who makes the first API token.
pub struct OperatorToken(SecretString);

impl OperatorToken {
    /// Reads `token` of the data folder, or makes it.
    pub(crate) fn load(data_dir: &Path) -> Result<OperatorToken, SecretError> {
        let path = data_dir.join("token");
        let token = read_or_make(&path)?;
        if token.expose_secret().len() < 32 {
            return Err(SecretError::Content { path, what: "a token of at least 32 characters" });
        }
        Ok(OperatorToken(token))
    }

    /// Whether this is it, in the same time whatever differs.
    pub(crate) fn matches(&self, shown: &str) -> bool {
        self.0.expose_secret().as_bytes().ct_eq(shown.as_bytes()).into()
    }
}

/// Reads a secret from a file that only its owner may read.
pub(crate) fn read(path: &Path) -> Result<SecretString, SecretError> {
    let failed = |source| SecretError::File { path: path.to_owned(), source };
    let mode = std::fs::metadata(path).map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(SecretError::Open { path: path.to_owned(), mode });
    }
    Ok(std::fs::read_to_string(path).map_err(failed)?.trim().to_owned().into())
}

/// A file is made under another name and then renamed, so that after a crash it is there in full or not at all. Its name is
/// on the disk, too, when this returns. The mode is that, whatever the process masks.
pub(crate) fn write_whole(path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    let mut half_done = path.as_os_str().to_owned();
    half_done.push(".new");
    let half_done = PathBuf::from(half_done);
    let mut file = std::fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&half_done)?;
    file.set_permissions(std::fs::Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&half_done, path)?;
    // A bare file name has an empty parent, and means the present folder.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(folder)?.sync_all()
}

/// Makes the secret where there is none: 32 random bytes, as hex.
fn read_or_make(path: &Path) -> Result<SecretString, SecretError> {
    match read(path) {
        Err(SecretError::File { source, .. }) if source.kind() == ErrorKind::NotFound => {}
        other => return other,
    }
    let mut bytes = [0u8; 32];
    rand::rng().fill(&mut bytes);
    write_whole(path, hex::encode(bytes).as_bytes(), 0o600)
        .map_err(|source| SecretError::File { path: path.to_owned(), source })?;
    read(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use metalform_model::Account;
    use uuid::Uuid;

    /// The token was computed by another implementation of HMAC: a change of it voids every boot that is under way.
    #[test]
    fn boot_tokens_are_what_they_were_though_the_same_file_seals_passwords() {
        let folder = std::env::temp_dir().join(format!("metalform-secrets-{}", Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("secret.key");
        std::fs::write(&path, hex::encode(std::array::from_fn::<u8, 32, _>(|i| i as u8))).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let token = token_key(&folder).unwrap().token(Uuid::from_u128(7));
        let sealed = sealer(&folder).unwrap().seal(Uuid::from_u128(7), Account::AhvRoot, &"x".into()).unwrap();
        let again = sealer(&folder).unwrap().open(Uuid::from_u128(7), Account::AhvRoot, &sealed).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(token.expose(), "341be31b7c6a44e40c7646c8d3484e72bf0a5707e14b952083f662650f2f5ad7");
        assert_eq!(again.expose_secret(), "x");
    }

    #[test]
    fn the_audits_key_is_private_its_public_half_is_not_and_the_two_belong_together() {
        let folder = std::env::temp_dir().join(format!("metalform-secrets-{}", Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        let mode = |name: &str| std::fs::metadata(folder.join(name)).unwrap().permissions().mode() & 0o777;
        let public = audit_key(&folder).unwrap().public();
        assert_eq!((mode("audit.key"), mode("audit.pub")), (0o600, 0o644));
        // Lost in a crash between the two.
        std::fs::remove_file(folder.join("audit.pub")).unwrap();
        assert_eq!(audit_key(&folder).unwrap().public(), public);
        assert_eq!(std::fs::read_to_string(folder.join("audit.pub")).unwrap().parse(), Ok(public));
        std::fs::remove_file(folder.join("audit.key")).unwrap();
        let error = audit_key(&folder).unwrap_err();
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(matches!(error, SecretError::OtherPublicKey { .. }), "{error:?}");
        assert!(error.hint().contains("rename audit.pub"));
    }
}
