//! What `--machines qemu` boots: Debian's kernel for virtual machines with an initrd that ends in our agent, a stand-in
//! installer for the agent to run, and the system that this installer writes to a machine's disk.
//!
//! Everything is put together anew for every run, in a folder that is gone afterwards, from Debian packages that are
//! downloaded once into the user's cache and unpacked there, never installed: no kernel, boot loader or busybox of the
//! computer itself is touched. The boot image set is made as an operator makes one, by an import and an overlay.

mod debian;
mod initrd;
mod kernel;
mod namespace;
mod system_image;
mod template;

use crate::{error::CliError, output::Output};
use kernel::Kernel;
use metalform_simulator::{faces::SimulatorError, ipxe::Firmware, qemu, temporary_folder::TemporaryFolder};
use namespace::Namespace;
use std::{
    io,
    path::{Path, PathBuf},
    process::Command,
};

/// What the kernel of an emulated machine is told beside the rest. `no_timer_check`: it counts timer interrupts during a time
/// that it takes from the processor's counter, and on a busy computer the emulated one is late with them: "IO-APIC + timer
/// doesn't work!" is then a panic without a cause. Kernels leave that check out by themselves under KVM. `panic=10`: a kernel
/// that panics all the same starts again after ten seconds, as nobody is there to press a button. No words for metal, where
/// the check finds timers that are wired wrongly.
const KERNEL_WORDS: &str = "no_timer_check panic=10";

// In the lab's folder: what machines boot, the scripts they boot by, what all that is made from, and the machines.
const IMAGES: &str = "images";
const TEMPLATES: &str = "templates";
const BUILD: &str = "build";
const MACHINES: &str = "machines";

/// Why a lab can't be made.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A program of ours that belongs beside this one.
    #[error("{} is not there", path.display())]
    NotBuilt {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// No cache folder is known.
    #[error("there is no folder for what is downloaded: neither XDG_CACHE_HOME nor HOME is set")]
    NoCache,
    /// A package can't be had.
    #[error("Debian's package {package} can't be had")]
    Package {
        /// Its name.
        package: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A package doesn't hold what it should.
    #[error("Debian's package {package} holds no {what}")]
    NotInPackage {
        /// Its name.
        package: String,
        /// What was looked for.
        what: String,
    },
    /// A file or folder.
    #[error("can't {doing} {}", path.display())]
    File {
        /// Verb.
        doing: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A program failed.
    #[error("`{command}` failed: {said}")]
    Failed {
        /// With its arguments.
        command: String,
        /// What it said.
        said: String,
    },
    /// The image set can't be made.
    #[error("the boot images of the lab can't be made")]
    Images(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The kernel refuses a network namespace.
    #[error("this computer doesn't allow a network namespace")]
    Namespace(#[source] io::Error),
}

impl LabError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            LabError::NotBuilt { .. } => "build all programs first: cargo build --release",
            LabError::NoCache => "set XDG_CACHE_HOME to a folder that can be written",
            LabError::Package { .. } => {
                "the lab needs Debian on amd64 with its main archive in /etc/apt; as root: apt-get update"
            }
            LabError::NotInPackage { .. } => "this Debian release may keep it elsewhere: please report it",
            LabError::File { .. } => "is the disk full, is the folder writable?",
            LabError::Failed { .. } | LabError::Images(_) => "this is a defect: please report it",
            LabError::Namespace(_) => {
                "be root, or allow unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone=1)"
            }
        }
    }

    fn package(package: &str) -> impl Fn(LabError) -> LabError {
        let package = package.to_owned();
        move |source| LabError::Package { package: package.clone(), source: source.into() }
    }

    fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LabError {
        let path = path.to_owned();
        move |source| LabError::File { doing, path, source }
    }
}

/// What machines boot, put together.
#[derive(Debug)]
pub struct PreparedLab {
    folder: TemporaryFolder,
}

impl PreparedLab {
    /// Downloads what isn't in the cache, and puts everything together.
    pub fn prepare(out: &Output) -> Result<PreparedLab, CliError> {
        let missing = qemu::missing_programs();
        if !missing.is_empty() {
            return Err(CliError::Simulator(SimulatorError::Qemu(qemu::QemuError::Missing(missing))));
        }
        let folder = TemporaryFolder::create("lab").map_err(CliError::Simulator)?;
        build(out, folder.path()).map_err(CliError::Lab)?;
        Ok(PreparedLab { folder })
    }

    /// Moves this process, which may have one thread only, to where machines can be emulated.
    pub fn enter_namespace(self) -> Result<Lab, LabError> {
        Ok(Lab { namespace: Namespace::enter()?, folder: self.folder })
    }
}

/// A lab, in the network namespace that this process is in.
#[derive(Debug)]
pub struct Lab {
    folder: TemporaryFolder,
    namespace: Namespace,
}

impl Lab {
    /// What to put before a command that is to reach the machines.
    pub fn enter_command(&self) -> String {
        self.namespace.enter_command()
    }

    /// How the simulator is to emulate machines with it.
    pub fn settings(&self, firmware: &[FirmwareChoice]) -> qemu::QemuSettings {
        let [machines, images, templates] = [MACHINES, IMAGES, TEMPLATES].map(|name| self.folder.path().join(name));
        let mut settings = qemu::QemuSettings::new(machines, images, templates);
        for choice in firmware {
            match &choice.server {
                None => settings.firmware = choice.firmware,
                Some(server) => settings.firmware_of.push((server.clone(), choice.firmware)),
            }
        }
        settings
    }

    /// Keeps consoles and logs for whoever wants to know what went wrong, and answers where they are. The machines' drives
    /// are kept only `with_drives`: each holds a system of some hundred MB.
    pub fn keep_consoles(self, with_drives: bool) -> PathBuf {
        keep_consoles(self.folder, with_drives)
    }
}

fn keep_consoles(folder: TemporaryFolder, with_drives: bool) -> PathBuf {
    let machines = folder.path().join(MACHINES);
    for made in [IMAGES, TEMPLATES, BUILD] {
        // What can't be removed is in the system's temporary folder all the same.
        let _ = std::fs::remove_dir_all(folder.path().join(made));
    }
    if !with_drives && let Err(error) = qemu::remove_drives(&machines) {
        tracing::warn!(%error, cause = ?std::error::Error::source(&error), "drives of emulated machines are left");
    }
    // Not before: as long as the folder isn't kept, the next start removes what is left if this breaks off.
    folder.keep();
    machines
}

fn build(out: &Output, folder: &Path) -> Result<(), LabError> {
    let [agent, cvm] = ["metalform-agent", "metalform-simulated-cvm"].map(beside);
    let (agent, cvm) = (agent?, cvm?);
    let packages = debian::Packages::open(out)?;
    let kernel = Kernel::of(&packages)?;
    let busybox = packages.file("busybox-static", &["bin/busybox", "usr/bin/busybox"])?;
    let work = folder.join(BUILD);
    std::fs::create_dir_all(&work).map_err(LabError::file("make", &work))?;

    let system = work.join("system.img.gz");
    let root = initrd::installed_system(&work, &kernel, &busybox, &cvm)?;
    system_image::build(&packages, &work, &kernel, &root, &system)?;
    template::write(&folder.join(TEMPLATES))?;
    initrd::image_set(&folder.join(IMAGES), &work, &kernel, &busybox, &agent, &system)
}

/// A program that cargo puts beside this one.
fn beside(name: &str) -> Result<PathBuf, LabError> {
    let own = std::env::current_exe().map_err(LabError::file("find", Path::new("metalform")))?;
    let path = own.with_file_name(name);
    if path.is_file() { Ok(path) } else { Err(LabError::NotBuilt { path }) }
}

fn run(command: &mut Command) -> Result<String, LabError> {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let words: Vec<String> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
    let text = format!("{program} {}", words.join(" "));
    let output = command.stdin(std::process::Stdio::null()).output();
    let output = output.map_err(|error| LabError::Failed { command: text.clone(), said: error.to_string() })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(LabError::Failed { command: text, said: String::from_utf8_lossy(&output.stderr).trim().to_owned() })
}

/// `bios`, `uefi`, or `SERVER=uefi` for one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirmwareChoice {
    server: Option<String>,
    firmware: Firmware,
}

impl std::str::FromStr for FirmwareChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (server, firmware) = match text.split_once('=') {
            Some((server, firmware)) => (Some(server.to_owned()), firmware),
            None => (None, text),
        };
        let firmware = match firmware {
            "bios" => Firmware::Bios,
            "uefi" => Firmware::Uefi,
            _ => return Err("neither bios nor uefi; for one machine write SERVER=uefi".into()),
        };
        Ok(FirmwareChoice { server, firmware })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// The files that are left of a lab with one machine.
    fn left(with_drives: bool) -> Vec<String> {
        let parent = TemporaryFolder::create("test").unwrap();
        let lab = TemporaryFolder::create("lab").unwrap();
        let machine = lab.path().join("machines/server-001");
        for folder in [&machine, &lab.path().join("images"), &lab.path().join("templates"), &lab.path().join("build")] {
            fs::create_dir_all(folder).unwrap();
        }
        for file in ["console.log", "qemu.log", "drive-0.raw", "drive-1.raw", "uefi-variables.fd"] {
            fs::write(machine.join(file), file).unwrap();
        }
        fs::write(lab.path().join("machines/dnsmasq.log"), "").unwrap();
        let kept = keep_consoles(lab, with_drives);
        let folder = kept.parent().unwrap();
        assert_eq!(fs::read_dir(folder).unwrap().count(), 1, "only the machines");
        assert!(kept.join("dnsmasq.log").exists());
        let mut files: Vec<String> = fs::read_dir(kept.join("server-001"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        // It is nobody's now; the test's own goes with it.
        fs::rename(folder, parent.path().join("kept")).unwrap();
        files
    }

    #[test]
    fn of_a_lab_that_failed_the_consoles_are_kept_and_the_drives_only_when_asked_for() {
        assert_eq!(left(false), ["console.log", "qemu.log"]);
        assert_eq!(left(true), ["console.log", "drive-0.raw", "drive-1.raw", "qemu.log", "uefi-variables.fd"]);
    }

    #[test]
    fn a_lab_that_failed_before_it_had_machines_is_kept_as_well() {
        let kept = keep_consoles(TemporaryFolder::create("lab").unwrap(), false);
        fs::remove_dir(kept.parent().unwrap()).unwrap();
    }
}
