//! `metalform.toml`: defaults, then the file, then `METALFORM_<SECTION>_<KEY>`.

use crate::{
    audit::SyslogTarget,
    oidc::OidcConfig,
    secrets::{BadKeySource, KeySource},
    tls::{self, AcmeConfig},
};
use ipnet::IpNet;
use metalform_boot::{BootHost, SourceCheck};
use metalform_model::Timeouts;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};
use thiserror::Error;
use toml::{Table, Value};
use url::Url;

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

/// `[boot]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BootConfig {
    /// Where the boot plane listens.
    pub listen: SocketAddr,
    /// How machines reach it; from `listen` when absent.
    pub public_url: Option<String>,
    /// Networks that may talk to it; private ones and loopback when absent.
    pub allow: Option<Vec<IpNet>>,
    /// Proxies in front of it, whose `X-Forwarded-For` is believed; none by default.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether machines must ask from their own address.
    pub source_check: SourceCheck,
    /// Whether it speaks TLS, too, on the same port. `None`: unless there are `trusted_proxies`.
    pub tls: Option<BootTls>,
    /// A folder of script templates, `NAME.ipxe`.
    pub templates_dir: Option<PathBuf>,
    /// The template that machines boot with, instead of the one that their image set names.
    pub template: Option<String>,
}

/// `[boot] tls`. There is no certificate of the operator's here: what boot scripts pin is our own authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BootTls {
    /// TLS beside plain HTTP, with a certificate that we make and renew; scripts pin its authority for the agent.
    #[serde(rename = "self")]
    SelfMade,
    /// Plain HTTP alone.
    Off,
}

impl BootConfig {
    /// Whether the boot plane speaks TLS. A proxy that says in a header who asks, as a trusted one does, reads HTTP: it can't
    /// pass TLS through, so agents told to speak it would all fail. Who has proxies that can says `tls = "self"`.
    pub fn speaks_tls(&self) -> bool {
        match self.tls {
            Some(tls) => tls == BootTls::SelfMade,
            None => self.trusted_proxies.is_empty(),
        }
    }
}

/// `[control]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ControlConfig {
    /// Where the control plane listens. Only loopback without TLS.
    pub listen: SocketAddr,
    /// Whether it speaks HTTPS, and with whose certificate.
    pub tls: ControlTls,
    /// Names and addresses that people reach it by, beside those that it knows: our own certificate is for them, too.
    pub names: Vec<String>,
    /// How browsers reach it, where that isn't what `listen` and `names` say: a proxy stands in front of it.
    #[serde(deserialize_with = "url_of_text")]
    pub public_url: Option<Url>,
    /// Proxies in front of it, whose `X-Forwarded-For` is believed; none by default.
    pub trusted_proxies: Vec<IpNet>,
    /// After so long unused a session in a browser ends.
    session_idle: Option<Span>,
    /// After so long it ends however much it is used.
    session_max: Option<Span>,
    /// The OpenID provider that people may log in by.
    pub oidc: Option<OidcConfig>,
    /// The ACME authority that issues the certificate of the names by which browsers know us.
    pub acme: Option<AcmeConfig>,
}

impl ControlConfig {
    /// How long sessions in browsers last: unused, and at all.
    pub fn session_times(&self) -> (Duration, Duration) {
        let or = |given: Option<Span>, default| given.map_or(default, |span| span.0);
        (or(self.session_idle, DEFAULT_SESSION_IDLE), or(self.session_max, DEFAULT_SESSION_MAX))
    }
}

impl ControlConfig {
    /// Where browsers reach it, as far as the configuration says: `public_url`, the first of `names`, `listen`.
    pub(crate) fn origin(&self) -> Option<Url> {
        if let Some(url) = &self.public_url {
            return Some(url.clone());
        }
        let scheme = if self.tls == ControlTls::Off { "http" } else { "https" };
        let port = self.listen.port();
        let host = match self.names.first().or(self.acme.as_ref().and_then(|acme| acme.domains.first())) {
            Some(name) => Some(format!("{name}:{port}")),
            None if self.listen.ip().is_unspecified() => None,
            None => Some(self.listen.to_string()),
        };
        host.filter(|_| port != 0).and_then(|host| format!("{scheme}://{host}").parse().ok())
    }
}

/// As long as somebody leaves a browser for; OWASP's session management cheat sheet names 15 to 30 minutes.
const DEFAULT_SESSION_IDLE: Duration = Duration::from_secs(30 * 60);
/// A working day.
const DEFAULT_SESSION_MAX: Duration = Duration::from_secs(12 * 3600);
/// Much less, and a person is logged out between two looks.
const SHORTEST_SESSION: Duration = Duration::from_secs(60);
/// Much more, and a lost machine is let in for weeks.
const LONGEST_SESSION: Duration = Duration::from_secs(30 * 24 * 3600);

/// `[control] tls`: `"self"`, `"off"` or `{ cert = "…", key = "…" }`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ControlTls {
    /// HTTPS with a certificate that we make and renew, under an authority of our own.
    #[default]
    SelfMade,
    /// Plain HTTP, on loopback only.
    Off,
    /// HTTPS with the operator's certificate: PEM files, read again when they change.
    Pair {
        /// The certificate, and those between it and its authority.
        cert: PathBuf,
        /// Its private key; the owner alone may read it.
        key: PathBuf,
    },
}

impl<'de> Deserialize<'de> for ControlTls {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;

        /// By hand, because serde's own word for a text or a table tells nobody which key of it is wrong.
        impl<'de> serde::de::Visitor<'de> for Words {
            type Value = ControlTls;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"self\", \"off\" or { cert = \"…\", key = \"…\" }")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ControlTls, E> {
                match text {
                    "self" => Ok(ControlTls::SelfMade),
                    "off" => Ok(ControlTls::Off),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
                }
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<ControlTls, A::Error> {
                #[derive(Deserialize)]
                #[serde(deny_unknown_fields)]
                struct Pair {
                    cert: PathBuf,
                    key: PathBuf,
                }
                let Pair { cert, key } = Pair::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                Ok(ControlTls::Pair { cert, key })
            }
        }

        deserializer.deserialize_any(Words)
    }
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

/// `[ibm_cloud]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IbmCloudConfig {
    /// A file with an API key; its owner alone may read it.
    pub api_key_file: Option<PathBuf>,
    /// `sealed`: the API key that `metalform secret set` keeps. Never a key itself, though somebody may write one there.
    #[serde(deserialize_with = "secret_text")]
    pub api_key: Option<SecretString>,
    /// The trusted profile to use on an instance in the cloud, by id; `default` for the one linked to it.
    pub trusted_profile: Option<String>,
    /// The region.
    pub region: String,
    /// What servers are given as user data.
    pub user_data: UserData,
    /// Another IAM.
    pub iam_url: Option<String>,
    /// Another VPC endpoint, ending in `/v1`.
    pub vpc_url: Option<String>,
    /// Another DNS Services endpoint.
    pub dns_url: Option<String>,
    /// Another metadata service.
    pub metadata_url: Option<String>,
}

/// `[ibm_cloud] user_data`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UserData {
    /// The URL of the node's boot script.
    #[default]
    Url,
    /// The boot script itself.
    Inline,
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

/// `[nutanix]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NutanixConfig {
    /// Prism user.
    pub prism_user: String,
    /// A file with its password; `admin` when absent.
    pub prism_password_file: Option<PathBuf>,
    /// Foundation user.
    pub foundation_user: String,
    /// A file with its password; `nutanix/4u` when absent.
    pub foundation_password_file: Option<PathBuf>,
    /// The user that logs in to controller VMs.
    pub cvm_user: String,
    /// A file with the password that controller VMs are born with; `nutanix/4u` when absent.
    pub cvm_password_file: Option<PathBuf>,
    /// A file with the password of `root` that AHV hosts are born with; `nutanix/4u` when absent.
    pub ahv_password_file: Option<PathBuf>,
    /// Prism port.
    pub prism_port: u16,
    /// Foundation port.
    pub foundation_port: u16,
    /// SSH port of controller VMs and AHV hosts.
    pub ssh_port: u16,
    /// Genesis port, over which controller VMs find each other.
    pub genesis_port: u16,
    /// Whether the operator accepts Nutanix' license of the Community Edition, for which its installer asks on each node.
    pub accept_eula: bool,
}

/// `[audit]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditConfig {
    /// A syslog receiver that gets every line; none when absent.
    pub syslog: Option<SyslogTarget>,
}

/// `[timeouts]`: texts such as `45m`, `90s`, `1h 30m`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TimeoutsConfig {
    order: Option<Span>,
    order_to_script: Option<Span>,
    node_ready: Option<Span>,
    formation: Option<Span>,
    server_poll: Option<Span>,
    probe: Option<Span>,
    probe_after_refusal: Option<Span>,
    formation_poll: Option<Span>,
    formation_settle: Option<Span>,
    check: Option<Span>,
    clean: Option<Span>,
    clean_step: Option<Span>,
    password_sync: Option<Span>,
    not_offered: Option<Span>,
    stop: Option<Span>,
    delete: Option<Span>,
}

/// A duration as a text.
#[derive(Debug, Clone, Copy)]
struct Span(Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let span: Option<Duration> =
            text.parse::<jiff::SignedDuration>().ok().and_then(|d| Duration::try_from(d).ok()).filter(|d| !d.is_zero());
        span.map(Span).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is no duration such as 45m or 90s")))
    }
}

fn secret_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<SecretString>, D::Error> {
    Ok(Some(String::deserialize(deserializer)?.into()))
}

fn url_of_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Url>, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(|error| serde::de::Error::custom(format!("{text:?} is no URL: {error}")))
}

fn default_data_dir() -> PathBuf {
    PathBuf::from("/var/lib/metalform")
}

impl Default for BootConfig {
    fn default() -> Self {
        BootConfig {
            listen: SocketAddr::from(([0, 0, 0, 0], 8080)),
            public_url: None,
            allow: None,
            trusted_proxies: Vec::new(),
            source_check: SourceCheck::Strict,
            tls: None,
            templates_dir: None,
            template: None,
        }
    }
}

impl Default for ControlConfig {
    fn default() -> Self {
        ControlConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 8443)),
            tls: ControlTls::SelfMade,
            names: Vec::new(),
            public_url: None,
            trusted_proxies: Vec::new(),
            session_idle: None,
            session_max: None,
            oidc: None,
            acme: None,
        }
    }
}

impl Default for IbmCloudConfig {
    fn default() -> Self {
        IbmCloudConfig {
            api_key_file: None,
            api_key: None,
            trusted_profile: None,
            region: "us-south".into(),
            user_data: UserData::Url,
            iam_url: None,
            vpc_url: None,
            dns_url: None,
            metadata_url: None,
        }
    }
}

impl Default for NutanixConfig {
    fn default() -> Self {
        NutanixConfig {
            prism_user: "admin".into(),
            prism_password_file: None,
            foundation_user: "admin".into(),
            foundation_password_file: None,
            cvm_user: "nutanix".into(),
            cvm_password_file: None,
            ahv_password_file: None,
            prism_port: 9440,
            foundation_port: 8000,
            ssh_port: 22,
            genesis_port: 2100,
            accept_eula: false,
        }
    }
}

/// A configuration that can't be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("can't read the configuration {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no TOML, or a key is unknown or of the wrong kind.
    #[error("the configuration is wrong{}: {message}", .line.map(|line| format!(" in line {line}")).unwrap_or_default())]
    Wrong {
        /// Which line of the file, if it is of one. The line itself isn't shown: under a mistyped key may stand a secret.
        line: Option<usize>,
        /// What is wrong.
        message: String,
    },
    /// A value is refused.
    #[error("{key} in the configuration: {why}")]
    Refused {
        /// Which key.
        key: &'static str,
        /// Why.
        why: String,
        /// What to write instead.
        hint: String,
    },
}

impl ConfigError {
    fn wrong(text: &str, error: &toml::de::Error) -> ConfigError {
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.filter(|_| !text.is_empty()).map(|before| 1 + before.matches('\n').count());
        ConfigError::Wrong { line, message: error.message().trim_end().to_owned() }
    }

    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            ConfigError::Read { .. } => "name the file with --config, or leave it out for the defaults".into(),
            ConfigError::Wrong { .. } => {
                "the keys are data_dir and those of [boot] [control] [store] [secrets] [ibm_cloud] \
                                      [images] [profiles] [nutanix] [audit] [timeouts]"
                    .into()
            }
            ConfigError::Refused { hint, .. } => hint.clone(),
        }
    }
}

/// Every key that the environment may set.
const KEYS: &[(&str, &[&str])] = &[
    ("", &["data_dir"]),
    ("boot", &["listen", "public_url", "allow", "trusted_proxies", "source_check", "tls", "templates_dir", "template"]),
    (
        "control",
        &["listen", "tls", "names", "public_url", "trusted_proxies", "session_idle", "session_max", "oidc", "acme"],
    ),
    ("store", &["url"]),
    ("secrets", &["key"]),
    (
        "ibm_cloud",
        &[
            "api_key_file",
            "api_key",
            "trusted_profile",
            "region",
            "user_data",
            "iam_url",
            "vpc_url",
            "dns_url",
            "metadata_url",
        ],
    ),
    ("images", &["dir"]),
    ("profiles", &["file"]),
    (
        "nutanix",
        &[
            "prism_user",
            "prism_password_file",
            "foundation_user",
            "foundation_password_file",
            "cvm_user",
            "cvm_password_file",
            "ahv_password_file",
            "prism_port",
            "foundation_port",
            "ssh_port",
            "genesis_port",
            "accept_eula",
        ],
    ),
    ("audit", &["syslog"]),
    (
        "timeouts",
        &[
            "order",
            "order_to_script",
            "node_ready",
            "formation",
            "server_poll",
            "probe",
            "probe_after_refusal",
            "formation_poll",
            "formation_settle",
            "check",
            "clean",
            "clean_step",
            "password_sync",
            "not_offered",
            "stop",
            "delete",
        ],
    ),
];

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
        let (given, default) = (&self.timeouts, Timeouts::default());
        let or = |given: Option<Span>, default| given.map_or(default, |span| span.0);
        Timeouts {
            order: or(given.order, default.order),
            order_to_script: or(given.order_to_script, default.order_to_script),
            node_ready: or(given.node_ready, default.node_ready),
            formation: or(given.formation, default.formation),
            server_poll: or(given.server_poll, default.server_poll),
            probe: or(given.probe, default.probe),
            probe_after_refusal: or(given.probe_after_refusal, default.probe_after_refusal),
            formation_poll: or(given.formation_poll, default.formation_poll),
            formation_settle: or(given.formation_settle, default.formation_settle),
            check: or(given.check, default.check),
            clean: or(given.clean, default.clean),
            clean_step: or(given.clean_step, default.clean_step),
            password_sync: or(given.password_sync, default.password_sync),
            not_offered: or(given.not_offered, default.not_offered),
            stop: or(given.stop, default.stop),
            delete: or(given.delete, default.delete),
        }
    }
}

/// Whether that is plain HTTP to another machine.
fn sends_in_the_clear(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else { return false };
    let host = rest.split(['/', ':', '?']).next().unwrap_or_default();
    host != "localhost" && !host.parse::<std::net::Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
}

/// An environment variable is a text, except where the key wants a list (comma-separated), a table, a number, or true or
/// false.
fn from_environment(key: &str, value: String) -> Value {
    match key {
        "allow" | "names" | "trusted_proxies" => {
            Value::Array(value.split(',').map(|v| Value::String(v.trim().to_owned())).collect())
        }
        "prism_port" | "foundation_port" | "ssh_port" | "genesis_port" => {
            value.parse().map(Value::Integer).unwrap_or(Value::String(value))
        }
        // A table as it stands in the file; anything else is a word.
        "tls" | "oidc" | "acme" => match format!("{key} = {value}").parse::<Table>() {
            Ok(mut table) if value.trim_start().starts_with('{') => table.remove(key).unwrap_or(Value::String(value)),
            _ => Value::String(value),
        },
        "accept_eula" => value.parse().map(Value::Boolean).unwrap_or(Value::String(value)),
        _ => Value::String(value),
    }
}

#[cfg(test)]
mod tests;
