//! What an emulated machine is made of: its drives as files, and everything as arguments of QEMU.

use super::{BootOrder, QemuError, programs::ovmf};
use crate::{fault::HardwareFault, ipxe::Firmware, machine::EmulatedMachine};
use std::{
    fs::{self, File},
    io::{Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

const SECTOR: usize = 512;
const PAGE: usize = 4096;

/// So many drives are the last ones.
const LATE: usize = 2;

/// A drive to be made.
#[derive(Debug, PartialEq)]
struct Drive {
    file: PathBuf,
    serial: String,
    bytes: u64,
    boot: bool,
    holds: Holds,
}

/// What a drive holds when it is new.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Holds {
    Nothing,
    /// An MBR with one Linux partition.
    Partitions,
    /// Swap space: the initrd of the lab swaps to it, as the initrd of an installed system might.
    Swap,
}

/// The drives, with what is wrong with them.
fn drives(machine: &EmulatedMachine, folder: &Path) -> Vec<Drive> {
    let has = |fault| machine.faults.contains(&fault);
    let data = machine.disks.iter().filter(|disk| !disk.boot).count();
    let mut nth_data = 0;
    let mut drives = Vec::new();
    for (n, disk) in machine.disks.iter().enumerate() {
        nth_data += usize::from(!disk.boot);
        let is_first = !disk.boot && nth_data == 1;
        let is_late = !disk.boot && nth_data + LATE > data;
        if is_late && has(HardwareFault::DiskMissing) {
            continue;
        }
        let halved = if is_late && has(HardwareFault::DiskTooSmall) { 2 } else { 1 };
        let holds = match is_first {
            true if has(HardwareFault::DiskInUse) => Holds::Swap,
            true if has(HardwareFault::DiskHasPartitions) => Holds::Partitions,
            _ => Holds::Nothing,
        };
        let bytes = disk.size_gb * 1_000_000_000 / halved / (SECTOR as u64) * SECTOR as u64;
        let file = folder.join(format!("drive-{n}.raw"));
        drives.push(Drive { file, serial: disk.serial.clone(), bytes, boot: disk.boot, holds });
    }
    drives
}

/// Makes the drives that aren't there; sparse, so they take the place of what is written to them. The boot drive is made
/// anew when the cloud has written it (`is_reinitialized`).
pub(super) fn make_drives(machine: &EmulatedMachine, folder: &Path, is_reinitialized: bool) -> Result<(), QemuError> {
    for drive in drives(machine, folder) {
        let file = &drive.file;
        if drive.boot && is_reinitialized && file.exists() {
            fs::remove_file(file).map_err(QemuError::file(file))?;
        }
        if !file.exists() {
            make(&drive).map_err(QemuError::file(file))?;
        }
    }
    Ok(())
}

/// Removes a machine's drives, and what its firmware has stored. Consoles and logs stay, for whoever asks what happened.
pub(super) fn remove_drives(folder: &Path) -> Result<(), QemuError> {
    for entry in fs::read_dir(folder).map_err(QemuError::file(folder))? {
        let path = entry.map_err(QemuError::file(folder))?.path();
        if path.extension().is_some_and(|extension| extension == "raw" || extension == "fd") {
            fs::remove_file(&path).map_err(QemuError::file(&path))?;
        }
    }
    Ok(())
}

fn make(drive: &Drive) -> std::io::Result<()> {
    let mut file = File::create(&drive.file)?;
    file.set_len(drive.bytes)?;
    match drive.holds {
        Holds::Nothing => Ok(()),
        Holds::Partitions => file.write_all(&master_boot_record(drive.bytes)),
        Holds::Swap => {
            file.seek(SeekFrom::Start(0))?;
            file.write_all(&swap_header())
        }
    }
}

/// One partition of type Linux from the first MiB on.
fn master_boot_record(bytes: u64) -> [u8; SECTOR] {
    let first = 2048_u32;
    let sectors = u32::try_from(bytes / SECTOR as u64).unwrap_or(u32::MAX) - first;
    let mut sector = [0; SECTOR];
    sector[446..454].copy_from_slice(&[0, 0xfe, 0xff, 0xff, 0x83, 0xfe, 0xff, 0xff]);
    sector[454..458].copy_from_slice(&first.to_le_bytes());
    sector[458..462].copy_from_slice(&sectors.to_le_bytes());
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

/// Version 1, 16 MiB of pages (`include/linux/swap.h`: `union swap_header`).
fn swap_header() -> [u8; PAGE] {
    let mut page = [0; PAGE];
    page[1024..1028].copy_from_slice(&1_u32.to_le_bytes());
    page[1028..1032].copy_from_slice(&4095_u32.to_le_bytes());
    page[PAGE - 10..].copy_from_slice(b"SWAPSPACE2");
    page
}

/// QEMU's arguments.
pub(super) fn arguments(
    machine: &EmulatedMachine,
    folder: &Path,
    firmware: Firmware,
    boot_order: BootOrder,
    tap: &str,
) -> Result<Vec<String>, QemuError> {
    let has = |fault| machine.faults.contains(&fault);
    let on = &machine.on;
    let (drive_place, network_place) = match boot_order {
        BootOrder::DriveFirst => (1, 2),
        BootOrder::NetworkFirst => (2, 1),
    };
    let memory = on.memory_gib * 1024 / if has(HardwareFault::LittleMemory) { 4 } else { 1 };
    let mut words: Vec<String> = Vec::new();
    let mut add = |more: &[&str]| words.extend(more.iter().map(ToString::to_string));
    add(&["-accel", "tcg", "-machine", "q35,graphics=off", "-nodefaults", "-display", "none", "-monitor", "none"]);
    // Every server has an instruction for random numbers. Without one a kernel gathers them for a second, and programs wait.
    add(&["-cpu", "qemu64,+rdrand"]);
    add(&["-m", &memory.to_string(), "-smp", &on.cores.to_string(), "-boot", "reboot-timeout=10000"]);
    add(&["-uuid", &machine.uuid.to_string(), "-name", &on.name]);
    add(&["-smbios", &format!("type=1,serial={},product={}", machine.serial, on.profile)]);
    // Added to, so that a console tells all boots of a machine.
    let console = folder.join("console.log");
    add(&["-chardev", &format!("file,id=console,path={},append=on", console.display()), "-serial", "chardev:console"]);
    if firmware == Firmware::Uefi {
        let (code, empty) = ovmf().ok_or_else(|| QemuError::Missing(super::missing_programs()))?;
        let variables = folder.join("uefi-variables.fd");
        if !variables.exists() {
            fs::copy(empty, &variables).map_err(QemuError::file(&variables))?;
        }
        add(&["-drive", &format!("if=pflash,format=raw,unit=0,readonly=on,file={code}")]);
        add(&["-drive", &format!("if=pflash,format=raw,unit=1,file={}", variables.display())]);
    }
    for (n, drive) in drives(machine, folder).iter().enumerate() {
        let boots = if drive.boot { format!(",bootindex={drive_place}") } else { String::new() };
        add(&["-drive", &format!("if=none,id=drive{n},format=raw,discard=unmap,file={}", drive.file.display())]);
        add(&["-device", &format!("nvme,drive=drive{n},serial={}{boots}", drive.serial)]);
    }
    let card = if has(HardwareFault::NicUnknown) { "rtl8139" } else { "virtio-net-pci" };
    add(&["-netdev", &format!("tap,id=net,ifname={tap},script=no,downscript=no")]);
    add(&["-device", &format!("{card},netdev=net,mac={},bootindex={network_place}", on.mac)]);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cloud, machine::Disk};

    fn machine(faults: &[HardwareFault]) -> EmulatedMachine {
        let drive = |boot, size_gb| cloud::Drive { interface: "nvme", size_gb, boot };
        let on = cloud::PoweredOn {
            server_id: "02c7-1".into(),
            name: "server-001".into(),
            profile: cloud::LAB_PROFILE.into(),
            cores: 1,
            memory_gib: 2,
            drives: vec![drive(true, 480), drive(false, 960), drive(false, 960), drive(false, 960)],
            mac: "02:00:01:00:00:01".into(),
            address: [10, 240, 0, 17].into(),
            addresses: Vec::new(),
            subnet: ipnet::Ipv4Net::default(),
            gateway: [10, 240, 0, 1].into(),
            resolvers: Vec::new(),
            user_data: String::new(),
            network_boot: true,
            boot_disk_writes: 1,
            secure_boot: false,
        };
        let disks = Disk::all(&on, "abc");
        EmulatedMachine { on, uuid: uuid::Uuid::nil(), serial: "abc".into(), disks, faults: faults.to_vec() }
    }

    fn text(machine: &EmulatedMachine, order: BootOrder) -> String {
        arguments(machine, Path::new("f"), Firmware::Bios, order, "tap1").unwrap().join(" ")
    }

    #[test]
    fn a_machine_has_the_hardware_of_its_profile() {
        assert_eq!(
            text(&machine(&[]), BootOrder::DriveFirst),
            "-accel tcg -machine q35,graphics=off -nodefaults -display none -monitor none -cpu qemu64,+rdrand -m 2048 -smp 1 \
             -boot reboot-timeout=10000 -uuid 00000000-0000-0000-0000-000000000000 -name server-001 \
             -smbios type=1,serial=abc,product=lx3d-metal-2x2 \
             -chardev file,id=console,path=f/console.log,append=on -serial chardev:console \
             -drive if=none,id=drive0,format=raw,discard=unmap,file=f/drive-0.raw \
             -device nvme,drive=drive0,serial=S0ABC,bootindex=1 \
             -drive if=none,id=drive1,format=raw,discard=unmap,file=f/drive-1.raw -device nvme,drive=drive1,serial=S1ABC \
             -drive if=none,id=drive2,format=raw,discard=unmap,file=f/drive-2.raw -device nvme,drive=drive2,serial=S2ABC \
             -drive if=none,id=drive3,format=raw,discard=unmap,file=f/drive-3.raw -device nvme,drive=drive3,serial=S3ABC \
             -netdev tap,id=net,ifname=tap1,script=no,downscript=no \
             -device virtio-net-pci,netdev=net,mac=02:00:01:00:00:01,bootindex=2"
        );
        assert!(text(&machine(&[]), BootOrder::NetworkFirst).ends_with("mac=02:00:01:00:00:01,bootindex=1"));
    }

    #[test]
    fn a_fault_changes_one_thing_about_it() {
        let of = |fault| machine(&[fault]);
        let sizes = |machine: &EmulatedMachine| -> Vec<u64> {
            drives(machine, Path::new("f")).iter().map(|drive| drive.bytes / 1_000_000_000).collect()
        };
        assert_eq!(sizes(&machine(&[])), [480, 960, 960, 960]);
        assert_eq!(sizes(&of(HardwareFault::DiskMissing)), [480, 960]);
        assert_eq!(sizes(&of(HardwareFault::DiskTooSmall)), [480, 960, 480, 480]);
        let holds = |fault| drives(&of(fault), Path::new("f")).iter().map(|drive| drive.holds).collect::<Vec<_>>();
        assert_eq!(holds(HardwareFault::DiskInUse), [Holds::Nothing, Holds::Swap, Holds::Nothing, Holds::Nothing]);
        assert_eq!(
            holds(HardwareFault::DiskHasPartitions),
            [Holds::Nothing, Holds::Partitions, Holds::Nothing, Holds::Nothing]
        );
        assert!(text(&of(HardwareFault::LittleMemory), BootOrder::DriveFirst).contains("-m 512 "));
        assert!(text(&of(HardwareFault::NicUnknown), BootOrder::DriveFirst).contains("-device rtl8139,netdev=net"));
    }

    #[test]
    fn a_partition_table_and_a_swap_header_are_what_others_take_them_for() {
        let table = master_boot_record(960_000_000_000);
        assert_eq!((table[450], &table[510..]), (0x83, &[0x55, 0xaa][..]));
        let swap = swap_header();
        assert_eq!(&swap[4086..], b"SWAPSPACE2");
    }
}
