//! `[control]`: what people talk to.

use super::timeouts::Span;
use crate::{oidc::OidcConfig, tls::AcmeConfig};
use ipnet::IpNet;
use serde::Deserialize;
use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};
use url::Url;

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
pub(super) const SHORTEST_SESSION: Duration = Duration::from_secs(60);

/// Much more, and a lost machine is let in for weeks.
pub(super) const LONGEST_SESSION: Duration = Duration::from_secs(30 * 24 * 3600);

fn url_of_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Url>, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(|error| serde::de::Error::custom(format!("{text:?} is no URL: {error}")))
}

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
