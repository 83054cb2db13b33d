//! What a start would make of the certificates that the configuration names, without starting.

use super::{TlsError, acme, pair::PairFiles, reload::reminder};
use crate::{
    config::{Config, ControlTls},
    https_client::{HttpsClientError, https_client},
};
use metalform_model::Timestamp;
use std::time::Duration;
use thiserror::Error;

/// A certificate that can be used.
#[derive(Debug)]
pub struct CertificateSeen {
    /// Until when, where it is the control plane's own.
    pub until: Option<Timestamp>,
    /// What somebody should know of it.
    pub reminder: Option<&'static str>,
}

/// A certificate that can't be used. Permanent.
#[derive(Debug, Error)]
pub enum BadCertificate {
    /// The control plane's.
    #[error(transparent)]
    Own(#[from] TlsError),
    /// Those that another service is to be trusted by.
    #[error(transparent)]
    Trusted(#[from] HttpsClientError),
}

impl BadCertificate {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            BadCertificate::Own(error) => error.hint(),
            BadCertificate::Trusted(_) => "write the authorities' certificates into it, as PEM".into(),
        }
    }
}

/// Looks at each, with the key that names it. Changes nothing and asks nobody.
pub fn look_at_certificates(
    config: &Config,
    now: Timestamp,
) -> Vec<(&'static str, Result<CertificateSeen, BadCertificate>)> {
    let mut seen = Vec::new();
    if let ControlTls::Pair { cert, key } = &config.control.tls {
        let files = PairFiles { cert: cert.clone(), key: key.clone() };
        let checked = files.read().and_then(|text| files.check(&text, now));
        let found = checked.map_err(BadCertificate::from).map(|(_, facts)| CertificateSeen {
            until: Some(facts.validity.not_after),
            reminder: reminder(facts.validity, now),
        });
        seen.push(("control.tls", found));
    }
    let trusted = |file| match https_client(Some(file), Duration::from_secs(1)) {
        Ok(_) => Ok(CertificateSeen { until: None, reminder: None }),
        Err(error) => Err(error.into()),
    };
    let oidc = config.control.oidc.as_ref().and_then(|oidc| oidc.ca_file.as_deref());
    seen.extend(oidc.map(|file| ("control.oidc.ca_file", trusted(file))));
    if let Some(acme) = &config.control.acme {
        seen.extend(acme.ca_file.as_deref().map(|file| ("control.acme.ca_file", trusted(file))));
        let account = acme.external_account.as_ref().map(acme::external_key);
        if let Some(Err(error)) = account {
            seen.push(("control.acme.external_account", Err(TlsError::from(error).into())));
        }
    }
    seen
}
