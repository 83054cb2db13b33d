//! The programs and files of Debian's packages that emulation takes. Looked for before anything is started, so that all
//! that is missing is named at once.

use std::path::{Path, PathBuf};
use tokio::process::Command;

/// UEFI firmware and its empty variable store; the 4 MB build where there is one, newer Debians have no other.
const OVMF: [(&str, &str); 2] = [
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
];

/// Something that isn't there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    /// What it is.
    pub what: &'static str,
    /// Debian's package that brings it.
    pub package: &'static str,
}

const PROGRAMS: [(&str, &str); 4] = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("dnsmasq", "dnsmasq-base"),
    ("ip", "iproute2"),
    ("setpriv", "util-linux"),
];

const FILES: [(&str, &str); 2] =
    [("/usr/lib/ipxe/qemu/pxe-virtio.rom", "ipxe-qemu"), ("/usr/lib/ipxe/qemu/efi-virtio.rom", "ipxe-qemu")];

/// Everything that is missing here.
pub fn missing_programs() -> Vec<Missing> {
    let programs = PROGRAMS.into_iter().filter(|(name, _)| find(name).is_none());
    let files = FILES.into_iter().filter(|(name, _)| !Path::new(name).exists());
    let mut missing: Vec<Missing> = programs.chain(files).map(|(what, package)| Missing { what, package }).collect();
    if ovmf().is_none() {
        missing.push(Missing { what: OVMF[1].0, package: "ovmf" });
    }
    missing
}

/// A program on the path or in the folders of system programs, which people who aren't root often don't have on theirs.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// As [`find`]; the bare name where it isn't found, so that the error of starting it names it.
pub(super) fn program(name: &str) -> PathBuf {
    find(name).unwrap_or_else(|| name.into())
}

/// A program that the kernel ends with us, however we end: after `kill -9` nobody else would, and a machine would go on
/// for ever. Tied to the thread that starts it (prctl(2), PR_SET_PDEATHSIG), which has to be one that stays.
pub(super) fn tied_to_us(name: &str) -> Command {
    let mut command = Command::new(program("setpriv"));
    command.args(["--pdeathsig", "KILL", "--"]).arg(program(name)).kill_on_drop(true);
    command
}

/// UEFI code and empty variables.
pub(super) fn ovmf() -> Option<(&'static str, &'static str)> {
    OVMF.into_iter().find(|(code, variables)| Path::new(code).exists() && Path::new(variables).exists())
}
