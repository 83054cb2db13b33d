//! DHCP as the VPC does it: known MAC addresses only, each with its one address. Every machine's boot file is a script of
//! ours that asks for what its user data names, again and again, as IBM's iPXE image is said to do.

use super::{Addresses, QemuError, network::BRIDGE, programs::tied_to_us};
use crate::cloud::PoweredOn;
use ipnet::Ipv4Net;
use std::{
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
};
use tokio::process::Child;

/// Debian's dnsmasq; ends with this.
#[derive(Debug)]
pub(super) struct Dhcp {
    hosts: PathBuf,
    options: PathBuf,
    drafts: PathBuf,
    _dnsmasq: Child,
}

impl Dhcp {
    /// Starts it for the bridge.
    pub fn start(folder: &Path, subnet: Ipv4Net, addresses: Addresses) -> Result<Dhcp, QemuError> {
        let [hosts, options, drafts] = ["hosts", "options", "drafts"].map(|name| folder.join("dhcp").join(name));
        for made in [&hosts, &options, &drafts] {
            fs::create_dir_all(made).map_err(QemuError::file(made))?;
        }
        let log = folder.join("dnsmasq.log");
        let file = File::create(&log).map_err(QemuError::file(&log))?;
        let also = file.try_clone().map_err(QemuError::file(&log))?;
        let mut dnsmasq = tied_to_us("dnsmasq");
        // `--no-daemon` also leaves out the change of user and group, which a user namespace doesn't allow.
        dnsmasq.args(["--no-daemon", "--conf-file=/dev/null", "--no-hosts", "--no-resolv", "--port=0", "--no-ping"]);
        dnsmasq.args([&format!("--interface={BRIDGE}"), "--bind-interfaces", "--dhcp-authoritative"]);
        dnsmasq.arg(format!("--dhcp-leasefile={}", folder.join("dhcp/leases").display()));
        dnsmasq.arg(format!("--dhcp-range={},static,{},1h", subnet.network(), subnet.netmask()));
        dnsmasq.arg(format!("--dhcp-option=option:router,{}", addresses.router));
        // iPXE's `no-pxedhcp`: it need not wait ten seconds for a ProxyDHCP that isn't there.
        dnsmasq.arg("--dhcp-option=encap:175,176,1b");
        // Files that come into these folders are read at once.
        dnsmasq.arg(format!("--dhcp-hostsdir={}", hosts.display()));
        dnsmasq.arg(format!("--dhcp-optsdir={}", options.display()));
        dnsmasq.stdin(Stdio::null()).stdout(file).stderr(also);
        let started = dnsmasq.spawn().map_err(|source| QemuError::Start { program: "dnsmasq".into(), source })?;
        Ok(Dhcp { hosts, options, drafts, _dnsmasq: started })
    }

    /// Makes a machine known. It stays known: an address that DHCP gave out is this MAC's for the whole life of the world.
    pub fn add(&self, machine: &PoweredOn, face: SocketAddr) -> Result<(), QemuError> {
        let tag = machine.mac.replace(':', "");
        let url = format!("http://{face}/user-data/{}", machine.server_id);
        self.write(&self.options, &tag, &format!("tag:{tag},option:bootfile-name,{url}\n"))?;
        self.write(&self.hosts, &tag, &format!("{},set:{tag},{}\n", machine.mac, machine.address))
    }

    /// In one step, so that it is never read half written.
    fn write(&self, folder: &Path, name: &str, text: &str) -> Result<(), QemuError> {
        let (draft, made) = (self.drafts.join(name), folder.join(name));
        fs::write(&draft, text).map_err(QemuError::file(&draft))?;
        fs::rename(&draft, &made).map_err(QemuError::file(&made))
    }
}

/// What a machine's iPXE runs first.
pub(crate) fn boot_file(user_data: &str) -> String {
    if user_data.starts_with("#!ipxe") {
        return user_data.to_owned();
    }
    format!("#!ipxe\n:ask\nchain --replace {user_data} || sleep 10\ngoto ask\n")
}
