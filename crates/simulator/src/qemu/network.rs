//! The network between machines and service: one bridge with this side's addresses, and a tap for each machine.

use super::{Addresses, QemuError, programs::program};
use ipnet::Ipv4Net;
use std::{fs, process::Stdio};
use tokio::process::Command;

pub(super) const BRIDGE: &str = "vpc0";

/// The first interface of this process's network namespace that could lead to somebody: that is up and not loopback. Those
/// that are down reach nobody, and the kernel puts some of its own into every new namespace when modules for tunnels are
/// loaded. A bridge of our own counts too: it is another simulator's, and no name proves whose.
async fn foreign_interface() -> Result<Option<String>, QemuError> {
    let list = ip(&["-oneline", "link", "show", "up"]).await?;
    Ok(first_but_loopback(&list).map(str::to_owned))
}

/// Of lines such as `3: tap1@if2: <BROADCAST,UP> …`.
fn first_but_loopback(list: &str) -> Option<&str> {
    let names = list.lines().filter_map(|line| line.split(": ").nth(1)?.split('@').next());
    names.map(str::trim).find(|name| *name != "lo")
}

/// The bridge.
#[derive(Debug)]
pub(super) struct Network {
    taps: usize,
}

impl Network {
    /// Makes the bridge.
    ///
    /// # Errors
    /// This isn't a namespace of our own, or the kernel refuses.
    pub async fn create(subnet: Ipv4Net, addresses: Addresses) -> Result<Network, QemuError> {
        if let Some(name) = foreign_interface().await? {
            return Err(QemuError::NotPrivate(name));
        }
        fs::OpenOptions::new().read(true).write(true).open("/dev/net/tun").map_err(QemuError::Tun)?;
        ip(&["link", "set", "lo", "up"]).await?;
        ip(&["link", "add", BRIDGE, "type", "bridge", "stp_state", "0", "forward_delay", "0"]).await?;
        for address in [addresses.router, addresses.service] {
            ip(&["address", "add", &format!("{address}/{}", subnet.prefix_len()), "dev", BRIDGE]).await?;
        }
        ip(&["link", "set", BRIDGE, "up"]).await?;
        Ok(Network { taps: 0 })
    }

    /// A port of the bridge for a machine.
    pub async fn new_tap(&mut self) -> Result<String, QemuError> {
        self.taps += 1;
        let tap = format!("tap{}", self.taps);
        ip(&["tuntap", "add", "dev", &tap, "mode", "tap"]).await?;
        ip(&["link", "set", &tap, "master", BRIDGE, "up"]).await?;
        Ok(tap)
    }
}

/// Asks in the namespace of this process; `/sys` would show that of whoever mounted it. Gives what it printed.
async fn ip(words: &[&str]) -> Result<String, QemuError> {
    let command = format!("ip {}", words.join(" "));
    let output = Command::new(program("ip")).args(words).stdin(Stdio::null()).output().await;
    let output = output.map_err(|source| QemuError::Start { program: "ip".into(), source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(QemuError::Failed { command, said: String::from_utf8_lossy(&output.stderr).trim().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::first_but_loopback;

    #[test]
    fn whatever_is_up_in_the_namespace_is_somebodys_but_loopback() {
        let line = |n: u32, name: &str| {
            format!("{n}: {name}: <BROADCAST,UP,LOWER_UP> mtu 1500 qdisc noqueue\\    link/ether\n")
        };
        let (lo, bridge, port) = (line(1, "lo"), line(2, "vpc0"), line(3, "tap1@if2"));
        assert_eq!(first_but_loopback(""), None);
        assert_eq!(first_but_loopback(&lo), None);
        assert_eq!(first_but_loopback(&format!("{lo}{bridge}{port}")), Some("vpc0"));
        assert_eq!(first_but_loopback(&format!("{port}{lo}")), Some("tap1"));
    }
}
