//! DHCP as the VPC does it: known MAC addresses only, each with its one address. Every machine's boot file is a script of
//! ours that asks for what its user data names, again and again, as IBM's iPXE image is said to do.
//!
//! dnsmasq learns of a machine while it runs and forgets one only when it is started anew. The other ways were tried with
//! Debian's 2.90: it keeps a host whose file is removed, and told to read its files again (SIGHUP), or to drop a host, it
//! crashes once it has given an address out (`free(): invalid pointer`, mended in 2.91). A new start takes some
//! milliseconds, in which a machine that asks is not answered; DHCP asks again.

use super::{Addresses, QemuError, network::BRIDGE, programs::tied_to_us};
use crate::cloud::PoweredOn;
use ipnet::Ipv4Net;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Stdio,
};
use tokio::process::Child;

/// Debian's dnsmasq; ends with this.
#[derive(Debug)]
pub(super) struct Dhcp {
    folder: PathBuf,
    subnet: Ipv4Net,
    router: Ipv4Addr,
    /// By server id.
    hosts: BTreeMap<String, Host>,
    dnsmasq: Child,
}

/// What dnsmasq knows of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Host {
    mac: String,
    address: Ipv4Addr,
    boot_file_url: String,
}

impl Host {
    /// Name of its files, and dnsmasq's tag for what is said to it alone.
    fn tag(&self) -> String {
        self.mac.replace(':', "")
    }

    /// dnsmasq refuses the second of two hosts with one address, and of two with one MAC it takes either.
    fn is_in_the_way_of(&self, other: &Host) -> bool {
        self.mac == other.mac || self.address == other.address
    }
}

impl Dhcp {
    /// Starts it for the bridge.
    pub fn start(folder: &Path, subnet: Ipv4Net, addresses: Addresses) -> Result<Dhcp, QemuError> {
        for made in ["hosts", "options", "drafts"].map(|name| folder.join("dhcp").join(name)) {
            fs::create_dir_all(&made).map_err(QemuError::file(&made))?;
        }
        let dnsmasq = dnsmasq(folder, subnet, addresses.router)?;
        Ok(Dhcp { folder: folder.to_owned(), subnet, router: addresses.router, hosts: BTreeMap::new(), dnsmasq })
    }

    /// Makes a machine known, in place of whatever had its address or MAC before.
    pub async fn add(&mut self, machine: &PoweredOn, face: SocketAddr) -> Result<(), QemuError> {
        let boot_file_url = format!("http://{face}/user-data/{}", machine.server_id);
        let host = Host { mac: machine.mac.clone(), address: machine.address, boot_file_url };
        // A file that is written again, if only with the same text, is a second host with that address.
        if self.hosts.get(&machine.server_id) == Some(&host) {
            return Ok(());
        }
        self.forget(|_, known| known.is_in_the_way_of(&host)).await?;
        let (tag, url) = (host.tag(), &host.boot_file_url);
        self.write("options", &tag, &format!("tag:{tag},option:bootfile-name,{url}\n"))?;
        self.write("hosts", &tag, &format!("{},set:{tag},{}\n", host.mac, host.address))?;
        self.hosts.insert(machine.server_id.clone(), host);
        Ok(())
    }

    /// Forgets a machine: its address is free for the next one.
    pub async fn remove(&mut self, server_id: &str) -> Result<(), QemuError> {
        self.forget(|known, _| known == server_id).await
    }

    /// Forgets machines, with the leases of all: whoever has one asks for it again in time, and gets the address that is its
    /// own in any case.
    async fn forget(&mut self, is_meant: impl Fn(&str, &Host) -> bool) -> Result<(), QemuError> {
        let meant: Vec<String> =
            self.hosts.iter().filter(|(id, host)| is_meant(id, host)).map(|(id, _)| id.clone()).collect();
        if meant.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.dnsmasq.kill().await {
            tracing::debug!(%error, "dnsmasq had ended by itself");
        }
        // Started whatever can't be removed: without it no machine would boot any more.
        let removed = meant.iter().try_for_each(|server_id| self.remove_files(server_id));
        self.dnsmasq = dnsmasq(&self.folder, self.subnet, self.router)?;
        removed
    }

    fn remove_files(&mut self, server_id: &str) -> Result<(), QemuError> {
        let Some(host) = self.hosts.get(server_id) else { return Ok(()) };
        let (tag, folder) = (host.tag(), self.folder.join("dhcp"));
        for file in [folder.join("hosts").join(&tag), folder.join("options").join(&tag), folder.join("leases")] {
            match fs::remove_file(&file) {
                // Leases are there from the first one on.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed.map_err(QemuError::file(&file))?,
            }
        }
        self.hosts.remove(server_id);
        Ok(())
    }

    /// In one step, so that it is never read half written.
    fn write(&self, folder: &str, name: &str, text: &str) -> Result<(), QemuError> {
        let dhcp = self.folder.join("dhcp");
        let (draft, made) = (dhcp.join("drafts").join(name), dhcp.join(folder).join(name));
        fs::write(&draft, text).map_err(QemuError::file(&draft))?;
        fs::rename(&draft, &made).map_err(QemuError::file(&made))
    }
}

/// Starts dnsmasq with the machines whose files are there.
fn dnsmasq(folder: &Path, subnet: Ipv4Net, router: Ipv4Addr) -> Result<Child, QemuError> {
    let log = folder.join("dnsmasq.log");
    let file = File::options().create(true).append(true).open(&log).map_err(QemuError::file(&log))?;
    let also = file.try_clone().map_err(QemuError::file(&log))?;
    let dhcp = folder.join("dhcp");
    let mut dnsmasq = tied_to_us("dnsmasq");
    // `--no-daemon` also leaves out the change of user and group, which a user namespace doesn't allow.
    dnsmasq.args(["--no-daemon", "--conf-file=/dev/null", "--no-hosts", "--no-resolv", "--port=0", "--no-ping"]);
    dnsmasq.args([&format!("--interface={BRIDGE}"), "--bind-interfaces", "--dhcp-authoritative"]);
    dnsmasq.arg(format!("--dhcp-leasefile={}", dhcp.join("leases").display()));
    dnsmasq.arg(format!("--dhcp-range={},static,{},1h", subnet.network(), subnet.netmask()));
    dnsmasq.arg(format!("--dhcp-option=option:router,{router}"));
    // iPXE's `no-pxedhcp`: it need not wait ten seconds for a ProxyDHCP that isn't there.
    dnsmasq.arg("--dhcp-option=encap:175,176,1b");
    // Files that come into these folders are read at once.
    dnsmasq.arg(format!("--dhcp-hostsdir={}", dhcp.join("hosts").display()));
    dnsmasq.arg(format!("--dhcp-optsdir={}", dhcp.join("options").display()));
    dnsmasq.stdin(Stdio::null()).stdout(file).stderr(also);
    dnsmasq.spawn().map_err(|source| QemuError::Start { program: "dnsmasq".into(), source })
}

/// What a machine's iPXE runs first.
pub(crate) fn boot_file(user_data: &str) -> String {
    if user_data.starts_with("#!ipxe") {
        return user_data.to_owned();
    }
    format!("#!ipxe\n:ask\nchain --replace {user_data} || sleep 10\ngoto ask\n")
}
