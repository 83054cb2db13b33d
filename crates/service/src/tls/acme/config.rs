//! `[control.acme]`: the authority that issues the certificate of the names by which browsers know the control plane.

use crate::{oidc::is_confidential, tls::is_host};
use serde::Deserialize;
use std::{net::IpAddr, path::PathBuf};
use url::Url;

/// Let's Encrypt, <https://letsencrypt.org/docs/acme-protocol-updates/>.
const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// What is told of the authority.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcmeConfig {
    /// The DNS names to have a certificate for.
    pub domains: Vec<String>,
    /// Whether the operator accepts the authority's terms of service.
    #[serde(default)]
    pub accept_terms: bool,
    /// The authority's directory.
    #[serde(default = "lets_encrypt")]
    pub directory: String,
    /// Whom it may write to: `mailto:…`.
    #[serde(default)]
    pub contact: Option<String>,
    /// A PEM file with the authorities of its own HTTPS, in place of the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// The account that we have there already, for authorities that want one.
    #[serde(default)]
    pub external_account: Option<ExternalAccount>,
}

/// RFC 8555 §7.3.4.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExternalAccount {
    /// As the authority calls it.
    pub key_id: String,
    /// A file with its key, as base64url; its owner alone may read it.
    pub key_file: PathBuf,
}

fn lets_encrypt() -> String {
    LETS_ENCRYPT.into()
}

impl AcmeConfig {
    /// What is wrong with it, as key, fault and what to write.
    pub(crate) fn fault(&self) -> Option<(&'static str, String, &'static str)> {
        let is_name = |name: &&String| is_host(name) && name.parse::<IpAddr>().is_err() && !name.contains('*');
        let names = "write DNS names such as metalform.example.com, without scheme or port";
        if self.domains.is_empty() {
            return Some(("control.acme.domains", "there are none".into(), names));
        }
        if let Some(other) = self.domains.iter().find(|name| !is_name(name)) {
            return Some(("control.acme.domains", format!("{other:?} is no DNS name of one host"), names));
        }
        if !self.accept_terms {
            let hint = "read the authority's terms of service and write accept_terms = true";
            return Some(("control.acme.accept_terms", "it isn't true".into(), hint));
        }
        if !Url::parse(&self.directory).is_ok_and(|url| url.scheme() == "https" && is_confidential(&url)) {
            let hint = "write the URL of the authority's directory, or leave it out for Let's Encrypt";
            return Some(("control.acme.directory", "it is no https:// URL".into(), hint));
        }
        if self.contact.as_ref().is_some_and(|contact| !contact.starts_with("mailto:") || !contact.contains('@')) {
            let hint = "write mailto:NAME@HOST, or leave it out";
            return Some(("control.acme.contact", "it is no mailto: URL".into(), hint));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_asked_for_names_in_confidence_by_somebody_who_accepts_its_terms() {
        let config = |text: &str| -> AcmeConfig {
            let mut table: toml::Table = "domains = [\"a.example.com\"]\naccept_terms = true".parse().unwrap();
            table.extend(text.parse::<toml::Table>().unwrap());
            table.try_into().unwrap()
        };
        assert_eq!(config("").fault(), None);
        assert_eq!(config("").directory, LETS_ENCRYPT);
        assert_eq!(config("contact = \"mailto:ops@example.com\"").fault(), None);
        for (text, key) in [
            ("domains = []", "control.acme.domains"),
            ("domains = [\"10.0.0.1\"]", "control.acme.domains"),
            ("domains = [\"*.example.com\"]", "control.acme.domains"),
            ("domains = [\"https://a.example.com\"]", "control.acme.domains"),
            ("accept_terms = false", "control.acme.accept_terms"),
            ("directory = \"http://acme.example.com/dir\"", "control.acme.directory"),
            ("directory = \"http://127.0.0.1/dir\"", "control.acme.directory"),
            ("contact = \"ops@example.com\"", "control.acme.contact"),
        ] {
            assert_eq!(config(text).fault().map(|(key, ..)| key), Some(key), "{text}");
        }
    }
}
