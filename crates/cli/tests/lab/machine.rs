//! A machine: QEMU with Debian's iPXE ROM in its network card, one NVMe disk, and the console in a file.

use super::{Process, process::last_lines};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

/// UEFI firmware and its empty variable store; the 4 MB build where there is one, newer Debians have no other.
const OVMF: [(&str, &str); 2] = [
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
];

/// What runs before iPXE.
#[derive(Debug, Clone, Copy)]
pub enum Firmware {
    Bios,
    Uefi,
}

/// A machine that is switched on.
pub struct Machine {
    console: PathBuf,
    qemu: Process,
}

impl Machine {
    /// Switches a new machine on: it tries its network card first, then its empty disk.
    pub fn switch_on(name: &str, firmware: Firmware, mac: &str, uuid: &str, tap: &str, folder: &Path) -> Machine {
        let console = folder.join(format!("{name}.console"));
        let disk = folder.join(format!("{name}.disk"));
        let file = fs::File::create(&disk).expect("the disk can be made");
        file.set_len(64 << 20).expect("the disk can be made");

        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-accel", "tcg", "-machine", "q35,graphics=off", "-m", "512", "-nodefaults", "-display", "none"]);
        qemu.args(["-monitor", "none", "-uuid", uuid]);
        qemu.arg("-serial").arg(format!("file:{}", console.display()));
        if let Firmware::Uefi = firmware {
            let there = OVMF.iter().find(|(code, _)| Path::new(code).exists());
            let (code, empty) = there.expect("`cargo xtask test` installs ovmf");
            let variables = folder.join(format!("{name}.vars"));
            fs::copy(empty, &variables).expect("the firmware's variables can be copied");
            qemu.arg("-drive").arg(format!("if=pflash,format=raw,unit=0,readonly=on,file={code}"));
            qemu.arg("-drive").arg(format!("if=pflash,format=raw,unit=1,file={}", variables.display()));
        }
        qemu.arg("-netdev").arg(format!("tap,id=net,ifname={tap},script=no,downscript=no"));
        qemu.arg("-device").arg(format!("virtio-net-pci,netdev=net,mac={mac},bootindex=1"));
        qemu.arg("-drive").arg(format!("if=none,id=disk,format=raw,file={}", disk.display()));
        qemu.args(["-device", "nvme,drive=disk,serial=lab,bootindex=2"]);
        Machine { console, qemu: Process::start(name, folder, &mut qemu) }
    }

    /// Whether the console has shown that text. A machine that has died will not show it any more.
    pub fn shows(&mut self, text: &str) -> Result<(), String> {
        let has_ended = self.qemu.has_ended();
        let console = fs::read(&self.console).unwrap_or_default();
        match String::from_utf8_lossy(&console).contains(text) {
            true => Ok(()),
            false if has_ended => panic!("QEMU has ended: {}", self.qemu.last_lines(20)),
            false => Err("not on its console".into()),
        }
    }
}

impl Drop for Machine {
    #[expect(clippy::print_stderr, reason = "for the reader of the failed test")]
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- the end of {}\n{}", self.console.display(), last_lines(&self.console, 60));
        }
    }
}
