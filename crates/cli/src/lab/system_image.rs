//! The disk of an installed machine: a boot loader (syslinux), a kernel and an initrd, in one partition that begins after
//! the first MiB. What a node was installed with is written behind it by the installer.

use super::{KERNEL_WORDS, LabError, debian::Packages, kernel::Kernel, run};
use std::{
    fs::{self, File},
    io::{Seek, SeekFrom, Write},
    path::Path,
    process::Command,
};

const MIB: u64 = 1 << 20;
/// Of the partition and the MiB before it. The stand-in installer knows this number too.
const IMAGE_MIB: u64 = 32;
const SECTORS_PER_MIB: u32 = 2048;

/// What syslinux boots.
fn boot_menu() -> String {
    format!(
        "DEFAULT system\nPROMPT 0\nSERIAL 0 115200\nLABEL system\n  LINUX vmlinuz\n  INITRD initrd.img\n  \
         APPEND console=ttyS0,115200 {KERNEL_WORDS}\n"
    )
}

/// Writes `system`, compressed.
pub fn build(
    packages: &Packages<'_>,
    work: &Path,
    kernel: &Kernel,
    root: &Path,
    system: &Path,
) -> Result<(), LabError> {
    let tools = packages.get("mtools")?.join("usr/bin");
    let syslinux = packages.file("syslinux", &["usr/bin/syslinux"])?;
    let first_sector = packages.file("syslinux-common", &["usr/lib/syslinux/mbr/mbr.bin"])?;
    let raw = work.join("system.img");
    let failed = || LabError::file("write", &raw);
    let mut file = File::create(&raw).map_err(failed())?;
    file.set_len(IMAGE_MIB * MIB).map_err(failed())?;

    // syslinux calls mtools by name.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(tools.clone()).chain(std::env::split_paths(&path)));
    let path = path.unwrap_or_else(|_| tools.clone().into());
    let tool = |name: &str| {
        let mut command = Command::new(tools.join(name));
        command.env("PATH", &path).env("MTOOLS_SKIP_CHECK", "1").arg("-i").arg(format!("{}@@1M", raw.display()));
        command
    };
    let sectors = (u32::try_from(IMAGE_MIB).unwrap_or_default() - 1) * SECTORS_PER_MIB;
    let hidden = SECTORS_PER_MIB.to_string();
    run(tool("mformat").args(["-T", &sectors.to_string(), "-h", "16", "-s", "63", "-H", &hidden, "::"]))?;
    let menu = work.join("syslinux.cfg");
    fs::write(&menu, boot_menu()).map_err(LabError::file("write", &menu))?;
    for (from, to) in [(kernel.image.as_path(), "::vmlinuz"), (root, "::initrd.img"), (&menu, "::syslinux.cfg")] {
        run(tool("mcopy").arg(from).arg(to))?;
    }
    run(Command::new(syslinux).env("PATH", &path).args(["-i", "-t", &MIB.to_string()]).arg(&raw))?;

    let code = fs::read(&first_sector).map_err(LabError::file("read", &first_sector))?;
    let mut entry = [0x80, 0xfe, 0xff, 0xff, 0x0e, 0xfe, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0];
    entry[8..12].copy_from_slice(&SECTORS_PER_MIB.to_le_bytes());
    entry[12..16].copy_from_slice(&sectors.to_le_bytes());
    for (at, bytes) in [(0, code.as_slice()), (446, &entry), (510, &[0x55, 0xaa])] {
        file.seek(SeekFrom::Start(at)).and_then(|_| file.write_all(bytes)).map_err(failed())?;
    }
    drop(file);
    let packed = run(Command::new("gzip").args(["--fast", "--keep", "--no-name", "--force"]).arg(&raw));
    packed.and_then(|_| fs::rename(work.join("system.img.gz"), system).map_err(LabError::file("make", system)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_installed_system_starts_without_the_timer_check_and_again_after_a_panic() {
        let menu = boot_menu();
        let words: Vec<&str> = menu.lines().last().unwrap().split_whitespace().collect();
        assert_eq!(words, ["APPEND", "console=ttyS0,115200", "no_timer_check", "panic=10"]);
    }
}
