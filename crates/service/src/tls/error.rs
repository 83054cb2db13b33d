//! A certificate that can't be made or used.

use super::AcmeError;
use crate::secrets::SecretError;
use metalform_model::Timestamp;
use std::path::PathBuf;
use thiserror::Error;

/// Why a plane can't have its certificate. All are permanent but [`TlsError::File`], which may be mended by
/// another try.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A private key can't be read, or others may read it.
    #[error("the private key can't be used")]
    Key(#[from] SecretError),
    /// A file can't be read or written.
    #[error("can't {doing} {}", path.display())]
    File {
        /// The verb.
        doing: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file doesn't hold what it should.
    #[error("{} holds no {what}", path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// The key is another certificate's.
    #[error("the key in {} is not that of the certificate in {}", key.display(), cert.display())]
    Mismatch {
        /// The certificate.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// The key of our own authority is gone.
    #[error("{} is there and its key {} is not", cert.display(), key.display())]
    KeyLost {
        /// The authority's certificate.
        cert: PathBuf,
        /// Where its key should be.
        key: PathBuf,
    },
    /// It held once.
    #[error("the certificate in {} expired at {not_after}", path.display())]
    Expired {
        /// Which.
        path: PathBuf,
        /// When.
        not_after: Timestamp,
    },
    /// It will hold.
    #[error("the certificate in {} is not valid before {not_before}, and now it is {now}", path.display())]
    NotYetValid {
        /// Which.
        path: PathBuf,
        /// From when.
        not_before: Timestamp,
        /// By this machine's clock.
        now: Timestamp,
    },
    /// No client would take it, whatever its name.
    #[error("the certificate in {} names no host", path.display())]
    Nameless {
        /// Which.
        path: PathBuf,
    },
    /// The TLS library refuses the pair.
    #[error("the certificate in {} with its key can't be used", path.display())]
    Unusable {
        /// The certificate.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// One of ours can't be made.
    #[error("can't make {what}")]
    Make {
        /// Which.
        what: &'static str,
        /// Why.
        source: rcgen::Error,
    },
    /// The ACME authority can't be asked, ever.
    #[error("[control.acme] can't be used")]
    Acme(#[from] AcmeError),
    /// The TLS library can't be set up.
    #[error("TLS can't be set up")]
    Setup(#[source] rustls::Error),
}

impl TlsError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            TlsError::Key(error) => match error {
                SecretError::Content { .. } | SecretError::File { .. } => {
                    "check the path, owner and mode of the file: this service must be able to read it, and nobody else"
                        .into()
                }
                _ => error.hint(),
            },
            TlsError::File { .. } => "check the path, owner and mode of the file and its folder".into(),
            TlsError::Content { .. } => {
                "write it as PEM: the server's certificate first, then those between it and its authority; the key \
                 without a passphrase"
                    .into()
            }
            TlsError::Mismatch { .. } => "name the key that the certificate was asked for with".into(),
            TlsError::KeyLost { cert, .. } => format!(
                "restore the key from a backup; or remove {} as well, and a new authority is made, whose certificate \
                 every client must be given",
                cert.display()
            ),
            TlsError::Expired { .. } => "have it renewed, and name the new files; or write tls = \"self\"".into(),
            TlsError::NotYetValid { .. } => "check this machine's clock".into(),
            TlsError::Nameless { .. } => {
                "have it issued with the names of this service as subjectAltName; a common name is not looked at".into()
            }
            TlsError::Unusable { .. } => "use an RSA (2048 bits or more), ECDSA or Ed25519 key in PEM".into(),
            TlsError::Make { .. } => {
                "check the names of [control] names; a damaged file of tls/ in the data folder can be restored from a \
                 backup"
                    .into()
            }
            TlsError::Acme(error) => error.hint(),
            TlsError::Setup(_) => "this is a fault of the program: please report it".into(),
        }
    }
}
