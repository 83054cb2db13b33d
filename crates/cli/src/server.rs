//! Where the service is and how to be let in. On the service's own machine its configuration says so; elsewhere, and for
//! what the configuration lacks, the environment does.
//!
//! A token goes over plain HTTP to this machine only. On the service's own machine its own authority is trusted without a
//! word; elsewhere the operator says which, with `METALFORM_CA_FILE`.

use crate::{
    context::{Context, variable},
    error::CliError,
};
use metalform_service::{Config, ControlTls, Running, ca_file, name_to_ask_for};
use reqwest::Url;
use secrecy::SecretString;
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(200);

/// A service to talk to.
#[derive(Debug)]
pub struct Server {
    /// Its address, without a path.
    pub url: Url,
    /// Where to connect, when the URL says a name of its certificate's instead.
    pub at: Option<SocketAddr>,
    /// The bearer token.
    pub token: SecretString,
    /// Files of certificates to trust.
    pub ca_files: Vec<PathBuf>,
    /// Whether to trust the system's as well.
    pub trusts_system: bool,
}

impl Server {
    /// Looks where the module says.
    pub async fn find(context: &Context) -> Result<Server, CliError> {
        let config = context.load_config_of_client()?;
        let by_config = address_of(&config);
        let stated = states_address(context);
        let from_environment = variable("METALFORM_CA_FILE").map(PathBuf::from);
        let (address, named) = match (stated.then_some(by_config).flatten(), variable("METALFORM_SERVER"), by_config) {
            (Some(address), ..) | (None, None, Some(address)) => (address, None),
            (None, Some(url), by_config) => (by_config.unwrap_or(config.control.listen), Some(parse_url(&url)?)),
            (None, None, None) => {
                let address = config.control.listen.to_string();
                return Err(CliError::BadServer { address, why: "port 0 is another one at every start" });
            }
        };
        let is_named = named.is_some();
        let (url, at) = match named {
            Some(url) => (url, None),
            None => url_of(&config, address)?,
        };
        let file = config.data_dir.join("token");
        let token = await_token(&url, &file, is_named, context.connect_for).await?;
        let own = match &config.control.tls {
            ControlTls::SelfMade => Some(ca_file(&config.data_dir)),
            // A certificate that stands for itself, or those between it and an authority that the system doesn't know.
            ControlTls::Pair { cert, .. } if !is_named => Some(cert.clone()),
            ControlTls::Pair { .. } | ControlTls::Off => None,
        };
        let own = match own {
            // That there is a token shows that it is this machine's service.
            Some(ca) if !is_named && file.exists() => is_readable_soon(&ca, context.connect_for).await.then_some(ca),
            own => own.filter(|ca| is_readable(ca)),
        };
        // Nobody but our own authority has a word to say about the service of this configuration.
        let trusts_system = is_named || own.is_none() || config.control.tls != ControlTls::SelfMade;
        let ca_files = own.into_iter().chain(from_environment).collect();
        Ok(Server { url, at, token, ca_files, trusts_system })
    }

    /// A service that was started by this very process.
    pub fn at(running: &Running) -> Result<Server, CliError> {
        let url = parse_url(&running.control_url)?;
        let token = find_token(&url, &running.token_file, false)?;
        let ca_files: Vec<PathBuf> = running.ca_file.iter().cloned().collect();
        Ok(Server { url, at: None, token, trusts_system: ca_files.is_empty(), ca_files })
    }

    /// Whether it is this machine.
    pub fn is_local(&self) -> bool {
        is_loopback(&self.url) || self.at.is_some_and(|at| at.ip().is_loopback())
    }
}

/// A service that starts for the first time is about to write its token: that is waited for like its listener. Its
/// authority's certificate is there before.
async fn await_token(url: &Url, file: &Path, named: bool, wait_for: Duration) -> Result<SecretString, CliError> {
    let mut waited = Duration::ZERO;
    loop {
        match find_token(url, file, named) {
            Err(CliError::NoToken { source, .. }) if source.kind() == io::ErrorKind::NotFound && waited < wait_for => {
                tokio::time::sleep(BETWEEN_ATTEMPTS).await;
                waited += BETWEEN_ATTEMPTS;
            }
            found => return found,
        }
    }
}

/// A service that is updated from a version without certificates is about to make its own.
async fn is_readable_soon(file: &Path, wait_for: Duration) -> bool {
    let mut waited = Duration::ZERO;
    while !is_readable(file) && waited < wait_for {
        tokio::time::sleep(BETWEEN_ATTEMPTS).await;
        waited += BETWEEN_ATTEMPTS;
    }
    is_readable(file)
}

fn is_readable(file: &Path) -> bool {
    std::fs::File::open(file).is_ok()
}

/// The environment's token belongs to the environment's address, the file's to the configuration's; one fills in for the
/// other.
fn find_token(url: &Url, file: &Path, named: bool) -> Result<SecretString, CliError> {
    let given = || variable("METALFORM_TOKEN");
    if let Some(token) = given().filter(|_| named) {
        return Ok(token.trim().into());
    }
    match std::fs::read_to_string(file) {
        Ok(token) => Ok(token.trim().into()),
        Err(source) => given().map(|token| token.trim().into()).ok_or_else(|| CliError::NoToken {
            server: url.origin().ascii_serialization(),
            file: file.to_owned(),
            source,
        }),
    }
}

/// Whether the operator wrote down where the service listens, as opposed to leaving it to the default.
fn states_address(context: &Context) -> bool {
    let file = context.config_file().and_then(|path| std::fs::read_to_string(path).ok());
    let table = file.and_then(|text| text.parse::<toml::Table>().ok());
    let in_file = table.is_some_and(|t| t.get("control").and_then(|c| c.get("listen")).is_some());
    in_file || variable("METALFORM_CONTROL_LISTEN").is_some()
}

/// Where to connect to what listens there. `None`: the port is chosen at start.
fn address_of(config: &Config) -> Option<SocketAddr> {
    let mut address = config.control.listen;
    match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    (address.port() != 0).then_some(address)
}

/// The service of this configuration, and where to connect when that isn't what the URL says: an operator's certificate is
/// for a name, and the name may lead elsewhere from here.
fn url_of(config: &Config, address: SocketAddr) -> Result<(Url, Option<SocketAddr>), CliError> {
    let url = |scheme: &str, host: &str| parse_url(&format!("{scheme}://{host}"));
    match &config.control.tls {
        ControlTls::Off => Ok((url("http", &address.to_string())?, None)),
        ControlTls::SelfMade => Ok((url("https", &address.to_string())?, None)),
        ControlTls::Pair { cert, .. } => match name_to_ask_for(cert, address.ip()) {
            Some(name) => Ok((url("https", &format!("{name}:{}", address.port()))?, Some(address))),
            None => Ok((url("https", &address.to_string())?, None)),
        },
    }
}

fn parse_url(text: &str) -> Result<Url, CliError> {
    let bad = |why| CliError::BadServer { address: text.to_owned(), why };
    let url = Url::parse(text).map_err(|_| bad("it is no URL"))?;
    match (url.scheme(), url.path(), url.query()) {
        ("https", "/", None) => Ok(url),
        ("http", "/", None) if is_loopback(&url) => Ok(url),
        ("http", "/", None) => Err(bad("a token goes over plain HTTP to this machine only; use https")),
        ("http" | "https", ..) => Err(bad("it has a path")),
        _ => Err(bad("it begins neither with https:// nor with http://")),
    }
}

fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let ip: Option<IpAddr> = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
    host == "localhost" || ip.is_some_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_over_plain_http_to_this_machine_only() {
        for local in ["http://127.0.0.1:8443", "http://127.130.0.9:1", "http://localhost:8443/", "http://[::1]:8443"] {
            assert!(parse_url(local).is_ok(), "{local}");
        }
        for refused in ["http://10.0.0.5:8443", "http://localhost.example.com", "https://a/b", "ftp://a", "a:1", ""] {
            assert!(parse_url(refused).is_err(), "{refused}");
        }
        assert!(parse_url("https://metalform.example.com:8443").is_ok());
    }
}
