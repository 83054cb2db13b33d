//! `[boot]`: what machines talk to.

use ipnet::IpNet;
use metalform_boot::SourceCheck;
use serde::Deserialize;
use std::{net::SocketAddr, path::PathBuf};

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
