//! The other people's programs that the tests run, all from Debian. What is missing is installed; where that isn't
//! possible, everything missing is named at once with the way to get it.

use crate::{
    failure::Failure,
    step::{run, succeeds},
};
use std::{path::Path, process::Command};

/// How a tool shows that it is there.
enum Probe {
    /// A program found on the path or in the folders of system programs.
    Program(&'static str),
    /// Any of these files.
    AnyFile(&'static [&'static str]),
    /// `python3 -c` with this succeeds.
    Python(&'static str),
}

struct Tool {
    package: &'static str,
    probe: Probe,
    used_for: &'static str,
}

/// UEFI firmware for QEMU and its empty variable store: the 4 MB build where there is one, newer Debians have no other.
pub const OVMF: [(&str, &str); 2] = [
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
];

const TOOLS: [Tool; 21] = [
    Tool {
        package: "qemu-system-x86",
        probe: Probe::Program("qemu-system-x86_64"),
        used_for: "machines that boot from us",
    },
    Tool {
        package: "ipxe-qemu",
        probe: Probe::AnyFile(&["/usr/lib/ipxe/qemu/efi-virtio.rom", "/usr/lib/ipxe/qemu/pxe-virtio.rom"]),
        used_for: "real iPXE in those machines",
    },
    Tool { package: "ovmf", probe: Probe::AnyFile(&[OVMF[0].0, OVMF[1].0]), used_for: "UEFI in those machines" },
    Tool { package: "dnsmasq-base", probe: Probe::Program("dnsmasq"), used_for: "the DHCP of their network" },
    Tool { package: "iproute2", probe: Probe::Program("ip"), used_for: "their network" },
    Tool { package: "util-linux", probe: Probe::Program("unshare"), used_for: "a network namespace of their own" },
    Tool { package: "procps", probe: Probe::Program("kill"), used_for: "signals to the binary under test" },
    Tool {
        package: "cpio",
        probe: Probe::Program("cpio"),
        used_for: "their initrd, and reading the archives that we write",
    },
    Tool { package: "xorriso", probe: Probe::Program("xorriso"), used_for: "installer images to import" },
    Tool { package: "libarchive-tools", probe: Probe::Program("bsdtar"), used_for: "a second reader of those images" },
    Tool { package: "zstd", probe: Probe::Program("zstd"), used_for: "kernel modules as some distributions pack them" },
    Tool { package: "xz-utils", probe: Probe::Program("xz"), used_for: "kernel modules of their initrd" },
    Tool { package: "nftables", probe: Probe::Program("nft"), used_for: "trying the firewall's rules" },
    Tool { package: "systemd", probe: Probe::Program("systemd-analyze"), used_for: "looking at the service's unit" },
    Tool {
        package: "python3-venv",
        probe: Probe::Python("import venv, ensurepip"),
        used_for: "IBM's own SDK, driven against the simulator",
    },
    Tool {
        package: "ca-certificates",
        probe: Probe::AnyFile(&["/etc/ssl/certs/ca-certificates.crt"]),
        used_for: "downloading that SDK from pypi.org",
    },
    Tool { package: "curl", probe: Probe::Program("curl"), used_for: "another client of the control plane" },
    Tool { package: "nodejs", probe: Probe::Program("node"), used_for: "a real OpenID provider" },
    Tool { package: "npm", probe: Probe::Program("npm"), used_for: "downloading that provider from npmjs.org" },
    Tool { package: "pebble", probe: Probe::Program("pebble"), used_for: "a real ACME authority" },
    Tool { package: "openssl", probe: Probe::Program("openssl"), used_for: "another reader of its certificates" },
];

/// What libFuzzer is built with; nothing else needs it.
const COMPILER: [Tool; 1] =
    [Tool { package: "g++", probe: Probe::Program("c++"), used_for: "building libFuzzer, which is C++" }];

/// Sees to it that every tool is there.
pub fn install_missing() -> Result<(), Failure> {
    install_missing_of(&TOOLS)
}

/// Sees to it that there is a compiler for C++.
pub fn install_compiler() -> Result<(), Failure> {
    install_missing_of(&COMPILER)
}

fn install_missing_of(tools: &[Tool]) -> Result<(), Failure> {
    let missing: Vec<&Tool> = tools.iter().filter(|tool| !tool.is_there()).collect();
    if missing.is_empty() {
        println!("    all {} are there", tools.len());
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
    println!("    installing {}", packages.join(" "));
    if let Err(failure) = install(&packages) {
        let lines: Vec<String> =
            missing.iter().map(|tool| format!("\n    {:<18}{}", tool.package, tool.used_for)).collect();
        return Err(Failure::new(format!(
            "these Debian packages are missing and could not be installed:{}",
            lines.concat()
        ))
        .because(failure)
        .hint(format!("as root: apt-get update && apt-get install --no-install-recommends {}", packages.join(" "))));
    }
    match missing.iter().find(|tool| !tool.is_there()) {
        None => Ok(()),
        Some(tool) => {
            Err(Failure::new(format!("package {} is installed, yet what it should bring is not found", tool.package))
                .hint("this Debian release may keep it elsewhere: see TOOLS in xtask/src/debian.rs"))
        }
    }
}

/// Reads Debian's package lists when this machine has none that name the package.
pub fn refresh_when_unknown(package: &str) -> Result<(), Failure> {
    if succeeds(Command::new("apt-cache").args(["show", "--quiet", package])) { Ok(()) } else { refresh() }
}

/// Downloads a package into a folder and unpacks it there, without installing it.
pub fn unpack(package: &str, folder: &Path) -> Result<(), Failure> {
    println!("    downloading {package}");
    refresh_when_unknown(package)?;
    // As whoever we are: apt's own user often can't write here, and would only complain.
    let words = ["download", "-qq", "-o", "APT::Sandbox::User=root", package];
    let download = || run(Command::new("apt-get").args(words).current_dir(folder));
    // Lists that are too old name a version that the archive has no longer.
    if download().is_err() {
        refresh()?;
        download()?;
    }
    let prefix = format!("{package}_");
    let files = std::fs::read_dir(folder).map_err(Failure::file("read", folder))?;
    let file = files
        .filter_map(Result::ok)
        .find(|file| {
            let name = file.file_name().to_string_lossy().into_owned();
            name.starts_with(&prefix) && name.ends_with(".deb")
        })
        .ok_or_else(|| Failure::new(format!("apt-get download left no {package} in {}", folder.display())))?;
    run(Command::new("dpkg-deb").arg("-x").arg(file.path()).arg(folder))
}

impl Tool {
    fn is_there(&self) -> bool {
        match &self.probe {
            Probe::Program(name) => find_program(name),
            Probe::AnyFile(files) => files.iter().any(|file| Path::new(file).exists()),
            Probe::Python(text) => succeeds(Command::new("python3").args(["-c", text])),
        }
    }
}

/// People who aren't root often have no system programs on their path.
fn find_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]).any(|folder| folder.join(name).is_file())
}

fn refresh() -> Result<(), Failure> {
    run(&mut as_root(&["apt-get", "update", "-qq"]))
}

/// A test must not cost anybody a package, so the first try removes none. Where that does not work out, as when a package
/// of another release is in the way, apt decides, and it is seen what it does.
fn install(packages: &[&str]) -> Result<(), Failure> {
    refresh()?;
    let install = |how: &[&str]| {
        let mut words = vec!["apt-get", "install", "-y", "--no-install-recommends"];
        words.extend(how);
        words.extend(packages);
        as_root(&words)
    };
    if succeeds(&mut install(&["--no-remove"])) {
        return Ok(());
    }
    println!("    that failed; again, and now apt may replace packages that are in the way");
    run(&mut install(&[]))
}

/// As we are when we are root; by `sudo` without a question otherwise.
fn as_root(words: &[&str]) -> Command {
    let mut command = Command::new(if is_root() { "env" } else { "sudo" });
    if !is_root() {
        command.args(["-n", "env"]);
    }
    command.arg("DEBIAN_FRONTEND=noninteractive").args(words);
    command
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n")
}
