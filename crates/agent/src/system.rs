//! The real machine: Linux, by its system calls.

use crate::{
    clock::{Clock, KernelClock},
    console::Consoles,
    kernel_args::KernelArgs,
    limits::Limits,
    machine::{Machine, Mount},
    network::{self, Attached, NetworkError},
};
use rustix::{
    fs::sync,
    io::Errno,
    mount::{MountFlags, mount, mount_bind_recursive},
    rand::{GetRandomFlags, getrandom},
    system::{RebootCommand, finit_module, reboot, sethostname},
};
use std::{
    ffi::CString,
    fs::{self, File},
    io,
    path::Path,
    process::Command,
};

/// The kernel unpacks the module itself (since 5.17); it needs to be told.
const MODULE_INIT_COMPRESSED_FILE: i32 = 4;

/// This machine.
#[derive(Debug, Default)]
pub struct System {
    consoles: Consoles,
}

impl Machine for System {
    fn root(&self) -> &Path {
        Path::new("/")
    }

    fn mount_basics(&self) -> io::Result<()> {
        for (kind, at, is_there) in
            [("proc", "/proc", "/proc/self"), ("sysfs", "/sys", "/sys/class"), ("devtmpfs", "/dev", "/dev/null")]
        {
            fs::create_dir_all(at)?;
            if !Path::new(is_there).exists() {
                mount(kind, at, kind, MountFlags::NOSUID, None)?;
            }
        }
        Ok(())
    }

    fn load_module(&self, file: &Path) -> io::Result<()> {
        let is_compressed = file.extension().is_some_and(|end| ["xz", "gz", "zst"].iter().any(|each| end == *each));
        let flags = if is_compressed { MODULE_INIT_COMPRESSED_FILE } else { 0 };
        match finit_module(File::open(file)?, c"", flags) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn attach(&self, args: &KernelArgs, limits: &Limits, told: &dyn Fn(&str)) -> Result<Attached, NetworkError> {
        network::attach(self.root(), &KernelClock, args, limits, told)
    }

    /// Waits until the kernel has gathered enough: right after its start that may take a second.
    fn random(&self) -> io::Result<[u8; 32]> {
        let mut bytes = [0; 32];
        fill_randomly(&mut bytes)?;
        Ok(bytes)
    }

    fn set_host_name(&self, name: &str) -> io::Result<()> {
        Ok(sethostname(name.as_bytes())?)
    }

    fn mount(&self, plan: &Mount) -> io::Result<()> {
        match plan {
            Mount::Image { file, kind, at } => mount_image(file, kind, at),
            Mount::Memory { at, size } => {
                fs::create_dir_all(at)?;
                let options = CString::new(format!("size={size},mode=0755"))?;
                Ok(mount("tmpfs", at, "tmpfs", MountFlags::empty(), Some(options.as_c_str()))?)
            }
            Mount::Overlay { lower, upper, work, at } => {
                for folder in [upper, work, at] {
                    fs::create_dir_all(folder)?;
                }
                let options = CString::new(format!("lowerdir={lower},upperdir={upper},workdir={work}"))?;
                Ok(mount("overlay", at, "overlay", MountFlags::empty(), Some(options.as_c_str()))?)
            }
            Mount::Bind { from, at } => {
                fs::create_dir_all(at)?;
                Ok(mount_bind_recursive(from, at)?)
            }
        }
    }

    fn console(&self, text: &str) {
        self.consoles.write(self.root(), text);
    }

    fn restart(&self) -> io::Result<()> {
        // A virtio network card that is reset in the middle of its work hung the kernel for good (seen with Linux 6.1 in QEMU: a
        // soft lockup of ksoftirqd in free_old_xmit_skbs), and the machine never started again.
        network::detach(self.root());
        sync();
        Ok(reboot(RebootCommand::Restart)?)
    }

    fn stay(&self, reminder: &str, limits: &Limits) {
        // It was told a moment ago.
        loop {
            KernelClock.sleep(limits.reminder);
            self.console(reminder);
        }
    }
}

/// Fills it with what nobody can guess.
pub(crate) fn fill_randomly(bytes: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        match getrandom(&mut bytes[filled..], GetRandomFlags::empty()) {
            Ok(more) => filled += more,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Attaching a file to a loop device is a family of ioctls without a safe wrapper, so that is left to a `mount` of the
/// installer environment: Nutanix' has busybox, and so has every other that was seen.
fn mount_image(file: &str, kind: &str, at: &str) -> io::Result<()> {
    fs::create_dir_all(at)?;
    let options = ["-t", kind, "-o", "loop,ro", file, at];
    let mut last = io::Error::other("no `mount` and no `busybox` is there");
    for words in [&["/bin/busybox", "mount"][..], &["/bin/mount"], &["/usr/bin/mount"], &["/sbin/mount"]] {
        let Some((program, first)) = words.split_first().filter(|(program, _)| Path::new(program).exists()) else {
            continue;
        };
        let output = Command::new(program).args(first).args(options).output()?;
        if output.status.success() {
            return Ok(());
        }
        last = io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    Err(last)
}
