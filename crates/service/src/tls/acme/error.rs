//! A certificate that an ACME authority doesn't issue.

use crate::{https_client::HttpsClientError, secrets::SecretError, tls::TlsError};
use std::time::Duration;
use thiserror::Error;

/// Why there is no certificate from the authority. While the service runs each is tried again, later and later; [`AcmeError::Client`]
/// and [`AcmeError::Key`] are permanent and end a start.
#[derive(Debug, Error)]
pub enum AcmeError {
    /// The client of the authority can't be made.
    #[error("the client of the ACME authority can't be made")]
    Client(#[from] HttpsClientError),
    /// The account's key can't be kept, or not be opened; or the key of the external account can't be used.
    #[error("the key of the account at the ACME authority can't be used")]
    Key(#[from] SecretError),
    /// The key of the external account is no base64url.
    #[error("control.acme.external_account key_file holds no base64url text")]
    ExternalKey,
    /// It can't be asked, or says no.
    #[error("the ACME authority didn't {what}")]
    Asked {
        /// What it was asked to do.
        what: &'static str,
        /// What it said.
        source: instant_acme::Error,
    },
    /// It wants to be shown something else than we can.
    #[error("the ACME authority offers no tls-alpn-01 challenge for {domain}")]
    NoChallenge {
        /// For which name.
        domain: String,
    },
    /// It looked and did not find us.
    #[error("the ACME authority did not find this service behind {domain}: {why}")]
    NotFound {
        /// Behind which name.
        domain: String,
        /// In its words.
        why: String,
    },
    /// What it issued, or what we made to show it, is no good.
    #[error("the certificate can't be used")]
    Certificate(#[source] Box<TlsError>),
    /// It never came to an end.
    #[error("the ACME authority issued no certificate within {} s", .0.as_secs())]
    Late(Duration),
}

impl AcmeError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            AcmeError::Client(_) => "check [control.acme] ca_file".into(),
            AcmeError::Key(error) => error.hint(),
            AcmeError::ExternalKey => "write the key as the authority gave it, without blanks".into(),
            AcmeError::Asked { .. } => {
                "check [control.acme] directory and ca_file, and that this machine reaches the authority".into()
            }
            AcmeError::NoChallenge { .. } => {
                "take an authority that offers it; for others let a client of your own write the files of \
                 tls = { cert, key }"
                    .into()
            }
            AcmeError::NotFound { .. } => {
                "the name must lead the authority to this service, on port 443: listen there, or forward that port"
                    .into()
            }
            AcmeError::Certificate(error) => error.hint(),
            AcmeError::Late(_) => "see the authority's own status page; it is tried again".into(),
        }
    }
}
