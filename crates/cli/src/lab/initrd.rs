//! The lab's initrds. Each is made the way an operator adds to a vendor's: a plain archive with busybox and a script, and an
//! overlay with kernel modules in their order and the program that matters.

use super::{LabError, kernel::Kernel};
use metalform_images::{
    ImageStore, Import, Overlay, Source, Unwatched,
    cpio::{CpioError, CpioWriter},
    import, overlay,
};
use metalform_model::{InstalledBy, Recipe};
use std::{
    error::Error,
    fs::{self, File},
    io::BufWriter,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// Where the stand-in installer is in the initrd.
const INSTALLER: &str = "metalform/installer";
/// The name of the installed system's image within the set.
const SYSTEM: &str = "system.img.gz";
/// The network card, and the bus it is on. The drives' driver (NVMe) is built into the kernel.
const DRIVERS: [&str; 2] = ["virtio_pci", "virtio_net"];

/// The initrd of the installed system: busybox, drivers, and the simulated controller VM.
pub fn installed_system(work: &Path, kernel: &Kernel, busybox: &Path, cvm: &Path) -> Result<PathBuf, LabError> {
    let store = ImageStore::new(work.join("system"));
    let initrd = archive(&work.join("system-base.img"), busybox, &[("init", include_str!("system.sh"))])?;
    let base = made(import(&store, &from_files("system", kernel, initrd, Vec::new()), &Unwatched))?.id;
    let files = vec![("metalform/simulated-cvm".to_owned(), cvm.to_owned())];
    let set = made(overlay(&store, &Overlay { files, ..with_drivers(base, kernel) }, &Unwatched))?.set;
    Ok(store.dir().join(set.id).join("initrd-foundation.img"))
}

/// The set that machines boot: busybox, drivers, the agent, the stand-in installer, and what that one installs. It becomes
/// the default of `dir`.
pub fn image_set(
    dir: &Path,
    work: &Path,
    kernel: &Kernel,
    busybox: &Path,
    agent: &Path,
    system: &Path,
) -> Result<(), LabError> {
    let store = ImageStore::new(dir);
    let initrd = archive(&work.join("installer-base.img"), busybox, &[(INSTALLER, include_str!("installer.sh"))])?;
    let files = vec![(SYSTEM.to_owned(), system.to_owned())];
    let base = made(import(&store, &from_files("lab-base", kernel, initrd, files), &Unwatched))?.id;
    let recipe = Recipe::Command {
        command: vec![format!("/{INSTALLER}")],
        files: vec![SYSTEM.to_owned()],
        installed_by: InstalledBy::Agent,
    };
    // In place of the link to the agent: the lab has something to do before.
    let init = work.join("init.sh");
    let executable = fs::Permissions::from_mode(0o755);
    let written = fs::write(&init, include_str!("init.sh")).and_then(|()| fs::set_permissions(&init, executable));
    written.map_err(LabError::file("write", &init))?;
    let overlaid = Overlay {
        agent: Some(agent.to_owned()),
        init: Some(init),
        recipe: Some(recipe),
        name: Some("lab".to_owned()),
        make_default: true,
        ..with_drivers(base.clone(), kernel)
    };
    made(overlay(&store, &overlaid, &Unwatched))?;
    // Nobody boots it; the folder is ours alone and nothing is served yet.
    let base = dir.join(base);
    fs::remove_dir_all(&base).map_err(LabError::file("remove", &base))
}

fn made<T, E: Error + Send + Sync + 'static>(done: Result<T, E>) -> Result<T, LabError> {
    done.map_err(|error| LabError::Images(error.into()))
}

fn from_files(name: &str, kernel: &Kernel, initrd: PathBuf, files: Vec<(String, PathBuf)>) -> Import {
    let source = Source::Files { kernel: kernel.image.clone(), initrd };
    Import { source, files, name: Some(name.to_owned()), sha256: None, make_default: false }
}

fn with_drivers(base: String, kernel: &Kernel) -> Overlay {
    Overlay {
        base,
        modules_dir: Some(kernel.modules.clone()),
        load: DRIVERS.map(str::to_owned).into(),
        ..Overlay::default()
    }
}

/// An archive of busybox and some scripts; every other program is a link that the script makes.
fn archive(to: &Path, busybox: &Path, scripts: &[(&str, &str)]) -> Result<PathBuf, LabError> {
    let write = || -> Result<(), CpioError> {
        let io = |path: &Path| {
            let path = path.display().to_string();
            move |source| CpioError::Io { path, source }
        };
        let mut archive = CpioWriter::new(BufWriter::new(File::create(to).map_err(io(to))?));
        for folder in ["bin", "metalform"] {
            archive.folder(folder, 0o755)?;
        }
        let mut program = File::open(busybox).map_err(io(busybox))?;
        let length = program.metadata().map_err(io(busybox))?.len();
        archive.file("bin/busybox", 0o755, length, &mut program)?;
        for (path, text) in scripts {
            archive.file(path, 0o755, text.len() as u64, &mut text.as_bytes())?;
        }
        archive.finish().map(drop)
    };
    made(write())?;
    Ok(to.to_owned())
}
