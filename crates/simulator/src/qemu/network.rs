//! The network between machines and service: one bridge with this side's addresses, and a tap for each machine.

use super::{Addresses, QemuError, programs::program};
use ipnet::Ipv4Net;
use std::{fs, process::Stdio};
use tokio::process::Command;

pub(super) const BRIDGE: &str = "vpc0";

/// The first interface of this process's network namespace that is neither loopback nor ours; `None` where it is private.
/// Read from the process, not from `/sys`, which shows the namespace of whoever mounted it.
fn foreign_interface() -> Option<String> {
    let list = fs::read_to_string("/proc/self/net/dev").unwrap_or_default();
    let names = list.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim());
    names.map(str::to_owned).find(|name| name != "lo" && name != BRIDGE && !name.starts_with("tap"))
}

/// Whether this process is in a network namespace where nobody else is to be reached.
pub fn is_private() -> bool {
    foreign_interface().is_none()
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
        if let Some(name) = foreign_interface() {
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

async fn ip(words: &[&str]) -> Result<(), QemuError> {
    let command = format!("ip {}", words.join(" "));
    let output = Command::new(program("ip")).args(words).stdin(Stdio::null()).output().await;
    let output = output.map_err(|source| QemuError::Start { program: "ip".into(), source })?;
    if output.status.success() {
        return Ok(());
    }
    Err(QemuError::Failed { command, said: String::from_utf8_lossy(&output.stderr).trim().to_owned() })
}
