//! Where people and machines reach the service.

use super::check::Check;
use crate::{client::Client, context::Context, server::Server};
use metalform_service::Config;
use std::{
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
    time::Duration,
};

const LIMIT: Duration = Duration::from_secs(5);

/// Both listeners. `running`: a service works on this configuration's data folder.
pub async fn check_listeners(context: &Context, config: &Config, running: bool) -> Vec<Check> {
    let mut checks = Vec::new();
    for (name, address) in [("boot.listen", config.boot.listen), ("control.listen", config.control.listen)] {
        checks.push(match bind(address) {
            _ if address.port() == 0 => Check::ok(name, format!("{address}: the port is chosen at each start")),
            Err(error) if error.kind() == ErrorKind::AddrInUse && running => {
                match answers(context, name, address).await {
                    Ok(()) => Check::ok(name, format!("the running service answers at {address}")),
                    Err(why) => Check::problem(
                        name,
                        format!("{address} is taken, and what answers there isn't the running service: {why}"),
                        "see who listens: `ss -ltnp`; a changed configuration needs a restart",
                    ),
                }
            }
            Err(error) => refused(name, address, &error),
            Ok(()) if running => Check::warning(
                name,
                format!("{address} is free, though a service works on the data folder"),
                "it listens elsewhere: restart it, if the configuration was changed since",
            ),
            Ok(()) => Check::ok(name, format!("{address} is free")),
        });
    }
    checks
}

fn bind(address: SocketAddr) -> std::io::Result<()> {
    TcpListener::bind(address).map(drop)
}

fn refused(name: &'static str, address: SocketAddr, error: &std::io::Error) -> Check {
    let hint = match error.kind() {
        ErrorKind::AddrInUse => "see who listens: `ss -ltnp`; or choose another address with `listen`",
        ErrorKind::AddrNotAvailable => "this machine has no such address: mend `listen`",
        ErrorKind::PermissionDenied => {
            "a port below 1024 needs CAP_NET_BIND_SERVICE, which packaging/systemd/metalform.service gives; this user lacks it"
        }
        _ => "choose another address with `listen`",
    };
    let message = format!("can't listen on {address}: {error}");
    match error.kind() {
        // The unit may well have what this shell doesn't.
        ErrorKind::PermissionDenied => Check::warning(name, message, hint),
        _ => Check::problem(name, message, hint),
    }
}

async fn answers(context: &Context, name: &str, address: SocketAddr) -> Result<(), String> {
    if name == "boot.listen" {
        return boot_plane_answers(&local(address).to_string()).await;
    }
    let server = Server::find(context).await.map_err(|error| error.to_string())?;
    let client = Client::new(&server, Duration::ZERO).map_err(|error| error.to_string())?;
    client.is_alive().await.map_err(|error| error.to_string())
}

/// What listens on every address is on loopback, too.
fn local(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

async fn boot_plane_answers(host: &str) -> Result<(), String> {
    let http = reqwest::Client::builder().no_proxy().timeout(LIMIT).redirect(reqwest::redirect::Policy::none()).build();
    let http = http.map_err(|error| error.to_string())?;
    let response = http.get(format!("http://{host}/healthz")).send().await.map_err(|_| "no answer".to_owned())?;
    let status = response.status();
    let document: serde_json::Value = response.json().await.unwrap_or_default();
    match status.is_success() && document["status"] == "ok" {
        true => Ok(()),
        false => Err(format!("HTTP {status}")),
    }
}

/// How machines reach the boot plane, as far as that can be told from here.
pub async fn check_public_url(config: &Config, running: bool) -> Check {
    const NAME: &str = "public_url";
    if config.boot.public_url.is_none() && config.boot.listen.port() == 0 {
        return Check::ok(NAME, "that of the listener, whose port is chosen at each start");
    }
    let host = match config.boot_host() {
        Ok(host) => host.to_string(),
        Err(error) => return Check::problem(NAME, error.to_string(), error.hint()),
    };
    let with_port = if host.contains(':') { host.clone() } else { format!("{host}:80") };
    let found = tokio::time::timeout(LIMIT, tokio::net::lookup_host(&with_port)).await;
    let addresses: Vec<SocketAddr> = match found {
        Ok(Ok(found)) => found.collect(),
        Ok(Err(_)) | Err(_) => Vec::new(),
    };
    let Some(address) = addresses.first().copied() else {
        return Check::problem(
            NAME,
            format!("{host} has no address here"),
            "write an address, or a name that machines know",
        );
    };
    if running && let Err(why) = boot_plane_answers(&host).await {
        let message = format!("the service runs, and http://{host} doesn't lead to it from here: {why}");
        return Check::warning(NAME, message, "try it from the provisioning network; see address, port and firewall");
    }
    let listen = config.boot.listen;
    match UdpSocket::bind((address.ip(), 0)).is_ok() {
        _ if running => Check::ok(NAME, format!("http://{host} leads to the running service")),
        true if address.port() != listen.port() => {
            let message = format!("http://{host} is this machine, and the boot plane listens on {listen}");
            Check::warning(
                NAME,
                message,
                "write the port of `listen` into public_url, unless something in front changes it",
            )
        }
        true if !listen.ip().is_unspecified() && listen.ip() != address.ip() => {
            let message = format!("http://{host} is another address of this machine than {listen}");
            Check::warning(
                NAME,
                message,
                "write the address of `listen` into public_url, unless something in front changes it",
            )
        }
        true => Check::ok(NAME, format!("http://{host} is this machine")),
        false => {
            let message = format!("http://{host} is no address of this machine");
            Check::warning(
                NAME,
                message,
                format!("whatever has it must lead to {listen}; [boot] trusted_proxies names it"),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::check::Verdict;

    fn config(text: &str) -> Config {
        Config::parse(text, &|_| None).unwrap()
    }

    #[tokio::test]
    async fn a_public_url_that_cannot_be_right_is_told() {
        for (boot, verdict, told) in [
            ("listen = \"0.0.0.0:8080\"", Verdict::Problem, "missing"),
            ("listen = \"127.0.0.1:8080\"", Verdict::Ok, "is this machine"),
            ("listen = \"127.0.0.1:0\"", Verdict::Ok, "chosen at each start"),
            (
                "listen = \"0.0.0.0:8080\"\npublic_url = \"http://127.0.0.1\"",
                Verdict::Warning,
                "listens on 0.0.0.0:8080",
            ),
            ("listen = \"127.0.0.1:80\"\npublic_url = \"http://127.0.0.2\"", Verdict::Warning, "another address"),
            (
                "listen = \"0.0.0.0:80\"\npublic_url = \"http://203.0.113.7\"",
                Verdict::Warning,
                "no address of this machine",
            ),
            (
                "listen = \"0.0.0.0:80\"\npublic_url = \"http://no.such.host.invalid\"",
                Verdict::Problem,
                "has no address",
            ),
        ] {
            let check = check_public_url(&config(&format!("[boot]\n{boot}")), false).await;
            assert_eq!(check.verdict, verdict, "{boot}: {check:?}");
            assert!(check.message.contains(told), "{boot}: {check:?}");
        }
    }
}
