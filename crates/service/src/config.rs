//! `metalform.toml`: defaults, then the file, then `METALFORM_<SECTION>_<KEY>`.

mod boot;
mod control;
mod environment;
mod error;
mod ibm_cloud;
mod nutanix;
#[cfg(test)]
mod tests;
mod timeouts;

pub use boot::BootConfig;
pub use control::{ControlConfig, ControlTls};
pub use error::ConfigError;
pub use ibm_cloud::{IbmCloudConfig, UserData};
pub use nutanix::NutanixConfig;
pub use timeouts::TimeoutsConfig;

use crate::{
    audit::SyslogTarget,
    oidc::OidcConfig,
    secrets::{BadKeySource, KeySource},
    tls,
};
use control::{LONGEST_SESSION, SHORTEST_SESSION};
use environment::{KEYS, from_environment};
use metalform_boot::BootHost;
use metalform_model::Timeouts;
use secrecy::ExposeSecret;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// Everything `metalform serve` can be told.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where state and secrets are kept.
    #[serde(default = "default_data_dir")]
    pub data_dir: PathBuf,
    /// What machines talk to.
    #[serde(default)]
    pub boot: BootConfig,
    /// What people talk to.
    #[serde(default)]
    pub control: ControlConfig,
    /// Where state is kept, if not in `data_dir`.
    #[serde(default)]
    pub store: StoreConfig,
    /// Where the key is that secrets are sealed under.
    #[serde(default)]
    pub secrets: SecretsConfig,
    /// The cloud account.
    #[serde(default)]
    pub ibm_cloud: IbmCloudConfig,
    /// The boot images.
    #[serde(default)]
    pub images: ImagesConfig,
    /// Server profiles beside the built-in table.
    #[serde(default)]
    pub profiles: ProfilesConfig,
    /// The controller VMs.
    #[serde(default)]
    pub nutanix: NutanixConfig,
    /// Where the audit goes beside the data folder.
    #[serde(default)]
    pub audit: AuditConfig,
    /// How long things may take.
    #[serde(default)]
    pub timeouts: TimeoutsConfig,
}

/// `[store]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// Another database than the one in `data_dir`. None is supported yet.
    pub url: Option<String>,
}

/// `[secrets]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SecretsConfig {
    #[serde(deserialize_with = "KeySource::deserialize")]
    key: Option<Result<KeySource, BadKeySource>>,
}

impl SecretsConfig {
    /// Where the secret key is; `None`: in `secret.key` of the data folder, and made there at the first start.
    pub fn source(&self) -> Option<&KeySource> {
        self.key.as_ref().and_then(|key| key.as_ref().ok())
    }
}

/// `[images]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImagesConfig {
    /// The default image set; `images` in `data_dir` when absent.
    pub dir: Option<PathBuf>,
}

/// `[profiles]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProfilesConfig {
    /// A file in the form of the built-in table; its profiles are added, or replace those of the same name.
    pub file: Option<PathBuf>,
}

/// `[audit]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditConfig {
    /// A syslog receiver that gets every line; none when absent.
    pub syslog: Option<SyslogTarget>,
}

fn default_data_dir() -> PathBuf {
    PathBuf::from("/var/lib/metalform")
}

impl Config {
    /// Reads the file (`metalform.toml` of the present folder when `path` is `None` and there is one), then the
    /// environment.
    pub fn load(path: Option<&Path>, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, ConfigError> {
        let default = Path::new("metalform.toml");
        let text = match path {
            None if !default.exists() => String::new(),
            _ => {
                let path = path.unwrap_or(default);
                std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?
            }
        };
        Config::parse(&text, env)
    }

    /// The same, from a text.
    pub fn parse(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, ConfigError> {
        // Read as it is first: so a mistake in the file is shown with its line.
        let wrong = |error: toml::de::Error| ConfigError::wrong(text, &error);
        toml::from_str::<Config>(text).map_err(wrong)?;
        let mut table: Table = toml::from_str(text).map_err(wrong)?;
        for (section, keys) in KEYS {
            for key in *keys {
                let name = match section.is_empty() {
                    true => format!("METALFORM_{}", key.to_uppercase()),
                    false => format!("METALFORM_{}_{}", section.to_uppercase(), key.to_uppercase()),
                };
                let Some(value) = env(&name) else { continue };
                let value = from_environment(key, value);
                match section.is_empty() {
                    true => {
                        table.insert((*key).to_owned(), value);
                    }
                    false => {
                        let section = table.entry(*section).or_insert_with(|| Value::Table(Table::new()));
                        if let Value::Table(section) = section {
                            section.insert((*key).to_owned(), value);
                        }
                    }
                }
            }
        }
        let config = Value::Table(table).try_into();
        let config: Config = config.map_err(|error: toml::de::Error| ConfigError::wrong("", &error))?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let refused =
            |key, why: &str, hint: &str| Err(ConfigError::Refused { key, why: why.to_owned(), hint: hint.to_owned() });
        if self.control.tls == ControlTls::Off && !self.control.listen.ip().is_loopback() {
            return refused(
                "control.listen",
                "plain HTTP is for loopback only: a bearer token would cross the network in the clear",
                "leave `tls` out, or listen on 127.0.0.1 and reach it through an SSH tunnel",
            );
        }
        if let Some(name) = self.control.names.iter().find(|name| !tls::is_host(name)) {
            let why = format!("{name:?} is neither a DNS name nor an IP address");
            return refused("control.names", &why, "write names such as metalform.example.com, without scheme or port");
        }
        if self.control.tls != ControlTls::SelfMade && !self.control.names.is_empty() {
            let why = "they have no effect: only a certificate of our own is made for them";
            return refused("control.names", why, "leave them out, or write tls = \"self\"");
        }
        if let Some(acme) = &self.control.acme {
            if self.control.tls != ControlTls::SelfMade {
                let why = "it has no effect: that certificate stands beside one of our own";
                return refused("control.acme", why, "leave it out, or write tls = \"self\"");
            }
            if let Some((key, why, hint)) = acme.fault() {
                return refused(key, &why, hint);
            }
        }
        if let Some(url) = &self.control.public_url
            && (!["https", "http"].contains(&url.scheme()) || url.path() != "/" || url.query().is_some())
        {
            let hint = "write https://HOST or https://HOST:PORT, as people's browsers show it";
            return refused("control.public_url", "it isn't the origin of a page", hint);
        }
        if self.control.public_url.as_ref().is_some_and(|url| sends_in_the_clear(url.as_str())) {
            let why = "passwords and sessions would cross the network in the clear";
            return refused("control.public_url", why, "write https://…; plain HTTP is for loopback only");
        }
        let proxies = [
            ("boot.trusted_proxies", &self.boot.trusted_proxies),
            ("control.trusted_proxies", &self.control.trusted_proxies),
        ];
        if let Some((key, _)) = proxies.into_iter().find(|(_, named)| named.iter().any(|net| net.prefix_len() == 0)) {
            let why = "it names every address: each client could say whose address it has";
            return refused(key, why, "name the proxies alone, such as 10.240.0.9/32");
        }
        let (idle, longest) = self.control.session_times();
        if !(SHORTEST_SESSION..=LONGEST_SESSION).contains(&idle) {
            return refused("control.session_idle", "not between a minute and 30 days", "write 30m or leave it out");
        }
        if !(idle..=LONGEST_SESSION).contains(&longest) {
            let why = "not between session_idle and 30 days";
            return refused("control.session_max", why, "write 12h or leave it out");
        }
        if let Some((key, why, hint)) = self.control.oidc.as_ref().and_then(OidcConfig::fault) {
            return refused(key, why, hint);
        }
        if self.control.oidc.is_some() && self.control.origin().is_none() {
            let why = "missing, and the provider has to be told where to send browsers";
            return refused("control.public_url", why, "write https://HOST:PORT, as people's browsers show it");
        }
        if self.store.url.is_some() {
            return refused("store.url", "this version keeps its state in data_dir only", "leave it out");
        }
        for (key, url) in
            [("ibm_cloud.iam_url", &self.ibm_cloud.iam_url), ("ibm_cloud.vpc_url", &self.ibm_cloud.vpc_url)]
        {
            if url.as_deref().is_some_and(sends_in_the_clear) {
                let why = "the API key or its tokens would cross the network in the clear";
                return refused(key, why, "write https://…; plain HTTP is for loopback only");
            }
        }
        if let Some(Err(error)) = &self.secrets.key {
            return refused("secrets.key", &error.to_string(), error.hint());
        }
        // Not shown, whatever it is.
        if self.ibm_cloud.api_key.as_ref().is_some_and(|word| word.expose_secret() != "sealed") {
            let why = "a key has no place in a configuration; the one word to write is \"sealed\"";
            let hint = "keep the key with `metalform secret set ibm-api-key`, or in a file of mode 0600 that api_key_file names";
            return refused("ibm_cloud.api_key", why, hint);
        }
        if self.ibm_cloud.api_key_file.is_some() && self.ibm_cloud.api_key.is_some() {
            return refused("ibm_cloud", "both api_key and api_key_file are given", "keep one of them");
        }
        let has_key = self.ibm_cloud.api_key_file.is_some() || self.ibm_cloud.api_key.is_some();
        if has_key && self.ibm_cloud.trusted_profile.is_some() {
            return refused("ibm_cloud", "both an API key and a trusted profile are given", "keep one of them");
        }
        Ok(())
    }

    /// How machines reach the boot plane. Asked by whoever serves them: a configuration that only says where the control
    /// plane is needs none.
    pub fn boot_host(&self) -> Result<BootHost, ConfigError> {
        let listen = self.boot.listen;
        let text = match &self.boot.public_url {
            Some(url) => url.clone(),
            None if listen.ip().is_unspecified() => {
                return Err(ConfigError::Refused {
                    key: "boot.public_url",
                    why: format!("missing, and machines can't reach {listen}"),
                    hint: "write the address that the provisioning network reaches this machine at: \
                           public_url = \"http://10.240.0.5:8080\""
                        .into(),
                });
            }
            None => listen.to_string(),
        };
        text.parse().map_err(|error: metalform_boot::BootHostError| ConfigError::Refused {
            key: "boot.public_url",
            why: error.to_string(),
            hint: error.hint().into(),
        })
    }

    /// Every file outside of the data folder that holds a secret, with the key that names it.
    pub fn secret_files(&self) -> Vec<(&'static str, &Path)> {
        let nutanix = &self.nutanix;
        let oidc_secret = self.control.oidc.as_ref().map_or(&None, |oidc| &oidc.client_secret_file);
        let acme = self.control.acme.as_ref().and_then(|acme| acme.external_account.as_ref());
        let mut files = vec![
            ("ibm_cloud.api_key_file", &self.ibm_cloud.api_key_file),
            ("nutanix.cvm_password_file", &nutanix.cvm_password_file),
            ("nutanix.ahv_password_file", &nutanix.ahv_password_file),
            ("nutanix.prism_password_file", &nutanix.prism_password_file),
            ("nutanix.foundation_password_file", &nutanix.foundation_password_file),
            ("control.oidc.client_secret_file", oidc_secret),
        ]
        .into_iter()
        .filter_map(|(key, path)| Some((key, path.as_deref()?)))
        .collect::<Vec<_>>();
        files.extend(acme.map(|account| ("control.acme.external_account.key_file", account.key_file.as_path())));
        if let ControlTls::Pair { key, .. } = &self.control.tls {
            files.push(("control.tls", key));
        }
        files
    }

    /// Where the default image set is.
    pub fn images_dir(&self) -> PathBuf {
        self.images.dir.clone().unwrap_or_else(|| self.data_dir.join("images"))
    }

    /// The deadlines and intervals.
    pub fn timeouts(&self) -> Timeouts {
        self.timeouts.or_default()
    }
}

/// Whether that is plain HTTP to another machine.
fn sends_in_the_clear(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else { return false };
    let host = rest.split(['/', ':', '?']).next().unwrap_or_default();
    host != "localhost" && !host.parse::<std::net::Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
}
