//! `[control.oidc]`: the OpenID provider that people may log in by.

use metalform_model::ApiRole;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};
use url::Url;

/// What is told of the provider.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcConfig {
    /// Its issuer, to the letter.
    pub issuer: String,
    /// As whom it knows us.
    pub client_id: String,
    /// A file with our secret there; without it we are a public client.
    #[serde(default)]
    pub client_secret_file: Option<PathBuf>,
    /// What is asked for beside `openid`.
    #[serde(default = "default_scopes")]
    pub scopes: Vec<String>,
    /// The claim of the ID token that says which groups somebody is in; dots lead into objects.
    #[serde(default = "default_role_claim")]
    pub role_claim: String,
    /// Which groups have which role.
    pub roles: BTreeMap<ApiRole, Vec<String>>,
    /// A PEM file with the authorities of its certificate, in place of the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Origins beside the issuer's that its endpoints may have.
    #[serde(default)]
    pub origins: Vec<String>,
}

impl OidcConfig {
    /// A digest of what gives somebody a role: whose word counts, for which client, and what of it makes which role. A session is
    /// good under the configuration that it began under, and no other.
    pub(crate) fn digest(&self) -> String {
        let roles: Vec<_> = self.roles.iter().map(|(role, groups)| (role, BTreeSet::from_iter(groups))).collect();
        let text = json!([self.issuer, self.client_id, self.role_claim, roles]).to_string();
        hex::encode(Sha256::digest(text))
    }
}

fn default_scopes() -> Vec<String> {
    ["profile", "email"].map(str::to_owned).into()
}

fn default_role_claim() -> String {
    "groups".into()
}

impl OidcConfig {
    /// What is wrong with it, as key, fault and what to write.
    pub(crate) fn fault(&self) -> Option<(&'static str, &'static str, &'static str)> {
        let is_ok = |url: &str| Url::parse(url).is_ok_and(|url| is_confidential(&url) && url.query().is_none());
        if !is_ok(&self.issuer) {
            let hint = "write it as the provider does, https://…; plain HTTP is for loopback only";
            return Some(("control.oidc.issuer", "it is no https:// URL", hint));
        }
        if self.client_id.is_empty() {
            return Some(("control.oidc.client_id", "it is empty", "write the id that the provider gave this client"));
        }
        if self.roles.values().all(Vec::is_empty) {
            let hint = "write which groups have which role: roles = { admin = [\"metalform-admins\"] }";
            return Some(("control.oidc.roles", "nobody would have a role", hint));
        }
        if self.role_claim.is_empty() {
            return Some(("control.oidc.role_claim", "it is empty", "leave it out for `groups`"));
        }
        if self.origins.iter().any(|origin| !is_ok(origin)) {
            return Some(("control.oidc.origins", "one is no https:// URL", "write https://HOST or https://HOST:PORT"));
        }
        None
    }
}

/// Whether what is sent there is read by nobody else.
pub(crate) fn is_confidential(url: &Url) -> bool {
    let is_loopback = match url.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    };
    url.scheme() == "https" || (url.scheme() == "http" && is_loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_is_reached_in_confidence_and_somebody_has_a_role() {
        let config = |text: &str| -> OidcConfig {
            let base = "client_id = \"a\"\nissuer = \"https://id.example.com/realm\"\nroles = { admin = [\"x\"] }\n";
            let mut table: toml::Table = base.parse().unwrap();
            table.extend(text.parse::<toml::Table>().unwrap());
            table.try_into().unwrap()
        };
        assert_eq!(config("").fault(), None);
        assert_eq!(config("issuer = \"http://127.0.0.1:3000\"").fault(), None);
        let defaults = config("");
        assert_eq!((defaults.role_claim.as_str(), defaults.scopes), ("groups", vec!["profile".into(), "email".into()]));
        for (text, key) in [
            ("issuer = \"http://id.example.com\"", "control.oidc.issuer"),
            ("issuer = \"http://localhost.example.com\"", "control.oidc.issuer"),
            ("issuer = \"id.example.com\"", "control.oidc.issuer"),
            ("client_id = \"\"", "control.oidc.client_id"),
            ("roles = {}", "control.oidc.roles"),
            ("roles = { viewer = [] }", "control.oidc.roles"),
            ("role_claim = \"\"", "control.oidc.role_claim"),
            ("origins = [\"http://id.example.com\"]", "control.oidc.origins"),
        ] {
            assert_eq!(config(text).fault().map(|(key, ..)| key), Some(key), "{text}");
        }
    }

    #[test]
    fn the_digest_tells_configurations_apart_that_give_other_roles_and_no_others() {
        let digest = |text: &str| {
            let base =
                "client_id = \"a\"\nissuer = \"https://id\"\nroles = { admin = [\"x\", \"y\"], viewer = [\"z\"] }\n";
            let mut table: toml::Table = base.parse().unwrap();
            table.extend(text.parse::<toml::Table>().unwrap());
            table.try_into::<OidcConfig>().unwrap().digest()
        };
        for same in [
            "client_secret_file = \"/s\"",
            "ca_file = \"/c\"",
            "roles = { viewer = [\"z\"], admin = [\"y\", \"x\", \"y\"] }",
        ] {
            assert_eq!(digest(same), digest(""), "{same}");
        }
        for other in [
            "client_id = \"b\"",
            "issuer = \"https://id/\"",
            "role_claim = \"roles\"",
            "roles = { admin = [\"x\"], viewer = [\"y\", \"z\"] }",
            "roles = { operator = [\"x\", \"y\"], viewer = [\"z\"] }",
        ] {
            assert_ne!(digest(other), digest(""), "{other}");
        }
    }
}
