//! The network between machines and service: one bridge, a tap for each machine, and DHCP as the VPC does it, which
//! answers known MAC addresses only, each with its one address.

use super::{Process, wait_for};
use std::{
    fs::OpenOptions,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

const BRIDGE: &str = "vpc0";

/// What DHCP knows about a machine.
pub struct Lease<'a> {
    /// Of its network card.
    pub mac: &'a str,
    /// Its only address.
    pub address: &'a str,
    /// Given as the boot file's name: where iPXE finds its script.
    pub script_url: &'a str,
}

/// A /24 with a router and the service.
pub struct Segment {
    folder: PathBuf,
    taps: usize,
}

impl Segment {
    /// Only inside a network namespace of the test's own. `addresses` are this side's, with their prefix length.
    pub fn new(folder: &Path, addresses: &[&str]) -> Segment {
        OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/net/tun")
            .expect("/dev/net/tun can be opened: it makes the machines' network cards");
        ip(&["link", "set", "lo", "up"]);
        ip(&["link", "add", BRIDGE, "type", "bridge", "stp_state", "0", "forward_delay", "0"]);
        for address in addresses {
            ip(&["address", "add", address, "dev", BRIDGE]);
        }
        ip(&["link", "set", BRIDGE, "up"]);
        Segment { folder: folder.to_owned(), taps: 0 }
    }

    /// A port of the bridge for a machine.
    pub fn new_tap(&mut self) -> String {
        self.taps += 1;
        let tap = format!("tap{}", self.taps);
        ip(&["tuntap", "add", "dev", &tap, "mode", "tap"]);
        ip(&["link", "set", &tap, "master", BRIDGE, "up"]);
        tap
    }

    /// DHCP for these machines, until dropped.
    pub fn start_dhcp(&self, router: &str, leases: &[Lease<'_>]) -> Process {
        let mut dnsmasq = Command::new(program("dnsmasq"));
        // `--no-daemon` also leaves out the change of user and group, which a user namespace doesn't allow.
        dnsmasq.args(["--no-daemon", "--conf-file=/dev/null", "--no-hosts", "--no-resolv", "--port=0"]);
        dnsmasq.args(["--no-ping"]);
        dnsmasq.args([&format!("--interface={BRIDGE}"), "--bind-interfaces", "--dhcp-authoritative"]);
        dnsmasq.arg(format!("--dhcp-leasefile={}", self.folder.join("leases").display()));
        let network = router.rsplit_once('.').expect("an IPv4 address").0;
        dnsmasq.arg(format!("--dhcp-range={network}.0,static,255.255.255.0,1h"));
        dnsmasq.arg(format!("--dhcp-option=option:router,{router}"));
        // iPXE's `no-pxedhcp`: it need not wait ten seconds for a ProxyDHCP that isn't there.
        dnsmasq.arg("--dhcp-option=encap:175,176,1b");
        for (n, lease) in leases.iter().enumerate() {
            dnsmasq.arg(format!("--dhcp-host={},{},set:m{n}", lease.mac, lease.address));
            dnsmasq.arg(format!("--dhcp-boot=tag:m{n},{}", lease.script_url));
        }
        let dnsmasq = Process::start("dnsmasq", &self.folder, &mut dnsmasq);
        wait_for("DHCP to start", Duration::from_secs(10), || {
            let said = dnsmasq.last_lines(3);
            if said.contains("static leases only") { Ok(()) } else { Err(said) }
        });
        dnsmasq
    }
}

fn ip(words: &[&str]) {
    let output = Command::new(program("ip")).args(words).output().expect("`cargo xtask test` installs iproute2");
    assert!(output.status.success(), "ip {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr));
}

/// Where Debian keeps system programs, for people who don't have that folder on their path.
fn program(name: &str) -> PathBuf {
    let sbin = Path::new("/usr/sbin").join(name);
    if sbin.exists() { sbin } else { PathBuf::from(name) }
}
