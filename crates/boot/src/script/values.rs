//! The values that scripts are made of, each with its character set.

use crate::{BootToken, images::is_plain_name};
use std::{fmt, net::Ipv4Addr, str::FromStr};

/// What goes into a template.
#[derive(Debug, Clone)]
pub struct ScriptValues<'a> {
    /// `{{server_id}}`: 1 to 40 of `[A-Za-z0-9._-]`, the first one a letter or digit.
    pub server_id: &'a str,
    /// `{{mgmt_ip}}`.
    pub mgmt_ip: Ipv4Addr,
    /// `{{boot_host}}`.
    pub boot_host: &'a BootHost,
    /// `{{boot_token}}`.
    pub boot_token: &'a BootToken,
    /// `{{images}}` is `images` for the default set and `images/NAME` for a named one; a name is 1 to 64 of
    /// `[A-Za-z0-9._-]`, the first one a letter or digit.
    pub image_set: Option<&'a str>,
    /// `{{netmask}}`, `{{gateway}}` and `{{dns}}`; templates that have them need it.
    pub network: Option<ScriptNetwork>,
    /// `{{squashfs}}`: the set's file of that role, 1 to 128 of `[A-Za-z0-9._+-]`; a template that has it needs it.
    pub squashfs: Option<&'a str>,
    /// `{{agent_init}}` is ` rdinit=/metalform/init`, which starts the agent in place of the initrd's own `init`, if the
    /// set holds it; else nothing.
    pub has_agent: bool,
    /// Behind that, ` manifest_sha256=` and this, 64 of `[0-9a-f]`, if the agent is to take no other manifest.
    pub manifest_sha256: Option<&'a str>,
    /// `{{kernel_sha256}}`: of the set's manifest, 64 of `[0-9a-f]`; nothing without one.
    pub kernel_sha256: Option<&'a str>,
    /// `{{initrd_sha256}}`: likewise.
    pub initrd_sha256: Option<&'a str>,
    /// `{{checked_token}}`: what the step `boot-checked` is shown with; the boot token, which won't do there, if `None`.
    pub checked_token: Option<&'a BootToken>,
    /// `{{ca_sha256}}` is ` ca_sha256=` and this, the SHA-256 of our authority's certificate as 64 hex digits in lower case, if
    /// the set holds the agent and the boot plane speaks TLS; else nothing.
    pub ca_sha256: Option<String>,
}

/// The network that a node installs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScriptNetwork {
    /// Of the node's subnet.
    pub netmask: Ipv4Addr,
    /// Of the node's subnet.
    pub gateway: Ipv4Addr,
    /// The first name server.
    pub dns: Option<Ipv4Addr>,
}

/// A value that can't stand in a script. Permanent: the value has to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value} can't stand in a boot script: it must be {allowed}")]
pub struct ValueError {
    /// The placeholder's name.
    pub value: &'static str,
    /// What it may be.
    pub allowed: &'static str,
}

impl ValueError {
    pub(super) const NO_NETWORK: ValueError =
        ValueError { value: "netmask", allowed: "known, which needs the node's subnet" };
    pub(super) const NO_DNS: ValueError = ValueError { value: "dns", allowed: "the address of a name server" };
    pub(super) const NO_SQUASHFS: ValueError =
        ValueError { value: "squashfs", allowed: "a file of that role in the image set's manifest" };
    pub(super) const NO_DIGEST: ValueError = ValueError { value: "open_sha256", allowed: "64 of 0-9 a-f" };
    pub(super) const LINE_TOO_LONG: ValueError = ValueError {
        value: "the kernel's command line",
        allowed: "at most 2000 bytes: a shorter [boot] public_url helps, or fewer arguments in the template",
    };
}

impl<'a> ScriptValues<'a> {
    /// What every script needs; the rest is left out.
    pub fn new(server_id: &'a str, mgmt_ip: Ipv4Addr, boot_host: &'a BootHost, boot_token: &'a BootToken) -> Self {
        ScriptValues {
            server_id,
            mgmt_ip,
            boot_host,
            boot_token,
            image_set: None,
            network: None,
            squashfs: None,
            has_agent: false,
            manifest_sha256: None,
            kernel_sha256: None,
            initrd_sha256: None,
            checked_token: None,
            ca_sha256: None,
        }
    }

    /// Holds every rule above.
    pub(super) fn check(&self) -> Result<(), ValueError> {
        let refuse = |value, allowed| Err(ValueError { value, allowed });
        if !is_server_id(self.server_id) {
            return refuse("server_id", "1 to 40 of A-Z a-z 0-9 . _ - and begin with a letter or digit");
        }
        if !is_token(self.boot_token.expose()) {
            return refuse("boot_token", "1 to 64 of a-z 0-9");
        }
        if self.checked_token.is_some_and(|token| !is_token(token.expose())) {
            return refuse("checked_token", "1 to 64 of a-z 0-9");
        }
        for (name, digest) in [
            ("kernel_sha256", self.kernel_sha256),
            ("initrd_sha256", self.initrd_sha256),
            ("manifest_sha256", self.manifest_sha256),
        ] {
            if digest.is_some_and(|digest| !is_sha256(digest)) {
                return refuse(name, "64 of 0-9 a-f");
            }
        }
        if self.image_set.is_some_and(|set| !is_image_set_name(set)) {
            return refuse("image_set", "1 to 64 of A-Z a-z 0-9 . _ - and begin with a letter or digit");
        }
        if self.ca_sha256.as_ref().is_some_and(|digits| !is_sha256(digits)) {
            return refuse("ca_sha256", "64 of 0-9 a-f");
        }
        if self.squashfs.is_some_and(|file| !is_plain_name(file)) {
            return refuse("squashfs", "1 to 128 of A-Z a-z 0-9 . _ + - and begin with a letter, a digit or _");
        }
        Ok(())
    }
}

fn is_name(text: &str, longest: usize) -> bool {
    text.len() <= longest
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

pub(crate) fn is_server_id(text: &str) -> bool {
    is_name(text, 40)
}

pub(crate) fn is_image_set_name(text: &str) -> bool {
    is_name(text, 64)
}

pub(super) fn is_token(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

pub(super) fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Where machines reach the boot plane: `HOST` or `HOST:PORT`, the host an IPv4 address or a DNS name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootHost(String);

/// Not an address machines could use. Permanent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no boot host")]
pub struct BootHostError(String);

impl BootHostError {
    /// What to write instead.
    pub fn hint(&self) -> &'static str {
        "write `http://HOST` or `http://HOST:PORT`, with an IPv4 address or a DNS name and no path"
    }
}

impl FromStr for BootHost {
    type Err = BootHostError;

    /// Takes `[boot] public_url`, or the host and port alone. A port 80 is left out, as in the seed's URLs.
    fn from_str(text: &str) -> Result<Self, BootHostError> {
        let refused = || BootHostError(text.chars().take(80).collect());
        let bare = text.strip_prefix("http://").unwrap_or(text);
        let bare = bare.strip_suffix('/').unwrap_or(bare);
        let (host, port) = match bare.split_once(':') {
            Some((host, port)) => {
                let digits = port.bytes().all(|b| b.is_ascii_digit());
                let port = port.parse::<u16>().ok().filter(|port| digits && *port != 0).ok_or_else(refused)?;
                (host, port)
            }
            None => (bare, 80),
        };
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if host.len() > 253 || !host.split('.').all(label) {
            return Err(refused());
        }
        let host = host.to_ascii_lowercase();
        Ok(BootHost(if port == 80 { host } else { format!("{host}:{port}") }))
    }
}

impl BootHost {
    /// The host without its port.
    pub fn host(&self) -> &str {
        self.0.split(':').next().unwrap_or_default()
    }
}

impl fmt::Display for BootHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The URL that goes into a server's user data. It holds the token: a secret.
pub fn script_url(host: &BootHost, server_id: &str, token: &BootToken) -> Result<secrecy::SecretString, ValueError> {
    ScriptValues::new(server_id, Ipv4Addr::UNSPECIFIED, host, token).check()?;
    Ok(format!("http://{host}/boot/ipxe/{server_id}?t={}", token.expose()).into())
}
