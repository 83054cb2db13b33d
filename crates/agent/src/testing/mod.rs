//! A made tree of `/proc`, `/sys` and `/dev`, and what else tests of this crate need.

pub mod certificates;
pub mod lab;
pub mod plane;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

/// A folder that goes with the test. Below the build folder, so that nothing is written elsewhere.
pub struct Tree(PathBuf);

impl Tree {
    /// An empty tree; `name` tells those of one process apart.
    pub fn new(name: &str) -> Tree {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/tmp");
        let folder = std::env::var_os("CARGO_TARGET_DIR").map_or(folder, |target| PathBuf::from(target).join("tmp"));
        let folder = folder.join(format!("agent-{}-{name}", std::process::id()));
        drop(fs::remove_dir_all(&folder));
        fs::create_dir_all(&folder).unwrap();
        Tree(folder)
    }

    /// Its top.
    pub fn root(&self) -> &Path {
        &self.0
    }

    /// A file with its folders.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A blank drive.
    pub fn disk(&self, name: &str, model: &str, serial: &str, size_gb: u64) {
        self.write(&format!("sys/block/{name}/size"), &format!("{}\n", size_gb * 1_000_000_000 / 512));
        self.write(&format!("sys/block/{name}/ro"), "0\n");
        self.write(&format!("sys/block/{name}/device/model"), &format!("{model}   \n"));
        self.write(&format!("sys/block/{name}/device/serial"), &format!("{serial}\n"));
        self.write(&format!("dev/{name}"), "");
        // A hole: takes no room.
        File::options()
            .write(true)
            .open(self.0.join("dev").join(name))
            .unwrap()
            .set_len(size_gb * 1_000_000_000)
            .unwrap();
    }

    /// Writes at the beginning of a drive.
    pub fn content(&self, name: &str, bytes: &[u8]) {
        use std::io::Write;
        File::options().write(true).open(self.0.join("dev").join(name)).unwrap().write_all(bytes).unwrap();
    }

    /// A network interface.
    pub fn nic(&self, name: &str, mac: &str, link: bool) {
        self.write(&format!("sys/class/net/{name}/type"), "1\n");
        self.write(&format!("sys/class/net/{name}/address"), &format!("{mac}\n"));
        self.write(&format!("sys/class/net/{name}/carrier"), if link { "1\n" } else { "0\n" });
        self.write(&format!("sys/class/net/{name}/device/vendor"), "0x1af4\n");
    }

    /// Addresses: interface, address, network, netmask.
    pub fn addresses(&self, addresses: &[(&str, &str, &str, &str)]) {
        let hex =
            |text: &str| format!("{:08X}", u32::from_le_bytes(text.parse::<std::net::Ipv4Addr>().unwrap().octets()));
        let mut trie = "Main:\n".to_owned();
        let mut routes =
            "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n".to_owned();
        for (interface, address, network, netmask) in addresses {
            trie += &format!("     |-- {address}\n        /32 host LOCAL\n");
            routes += &format!("{interface}\t{}\t00000000\t0001\t0\t0\t0\t{}\t0\t0\t0\n", hex(network), hex(netmask));
        }
        self.write("proc/net/fib_trie", &trie);
        self.write("proc/net/route", &routes);
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}
