//! What real iPXE boots in the tests: Debian's kernel for virtual machines, and an initrd of busybox, the kernel's own
//! network modules and two scripts of ours. Both packages are unpacked below the build folder and never installed, so no
//! machine's own kernel or busybox is touched. The kernel is downloaded once; the initrd is built anew every time, which
//! takes a second and is never stale.

use crate::{
    debian,
    failure::Failure,
    repository::Repository,
    sshd,
    step::{output, run, step},
};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

/// In the order in which they must be loaded; one that a newer kernel has built in is left out.
const MODULES: [&str; 8] = [
    "failover",
    "net_failover",
    "virtio_ring",
    "virtio",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "virtio_net",
];

/// Tools, kernel and initrd, SSH server.
pub fn prepare(repository: &Repository) -> Result<(), Failure> {
    step("tools", debian::install_missing)?;
    step("lab", || build(repository))?;
    step("sshd", || sshd::unpack(repository))
}

/// `target/lab/images` with the two files of a boot image set.
pub fn build(repository: &Repository) -> Result<(), Failure> {
    let images = repository.made("lab/images")?;
    let kernel = Kernel::fetch(&repository.made("lab/kernel")?)?;
    let busybox = fetch_busybox(&repository.made("lab/busybox")?)?;
    copy(&kernel.image, &images.join("vmlinuz-foundation"))?;

    let tree = repository.target().join("lab/initrd");
    if tree.exists() {
        fs::remove_dir_all(&tree).map_err(Failure::file("empty", &tree))?;
    }
    for folder in ["bin", "modules", "proc", "sys", "dev"] {
        let folder = tree.join(folder);
        fs::create_dir_all(&folder).map_err(Failure::file("make", &folder))?;
    }
    copy(&busybox, &tree.join("bin/busybox"))?;
    let scripts = repository.root().join("crates/cli/tests/lab");
    for script in ["init", "udhcpc"] {
        let made = tree.join(script);
        copy(&scripts.join(script), &made)?;
        fs::set_permissions(&made, fs::Permissions::from_mode(0o755)).map_err(Failure::file("mark", &made))?;
    }
    kernel.copy_modules(&tree.join("modules"))?;
    let initrd = images.join("initrd-foundation.img");
    let pack = "find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0 | gzip -9n > \"$1\"";
    run(Command::new("sh").args(["-euc", pack, "sh"]).arg(&initrd).current_dir(&tree))?;
    println!("    {} boots kernel {}", images.display(), kernel.release);
    Ok(())
}

struct Kernel {
    release: String,
    image: PathBuf,
    modules: PathBuf,
}

impl Kernel {
    fn fetch(folder: &Path) -> Result<Kernel, Failure> {
        if let Some(kernel) = Kernel::in_folder(folder) {
            return Ok(kernel);
        }
        debian::refresh_when_unknown("linux-image-cloud-amd64")?;
        // The package of that name is empty and depends on the newest kernel.
        let depends = output(Command::new("apt-cache").args(["depends", "--important", "linux-image-cloud-amd64"]))?;
        let package = depends
            .lines()
            .filter_map(|line| line.trim().strip_prefix("Depends: "))
            .find(|name| name.starts_with("linux-image-"))
            .ok_or_else(|| {
                Failure::new("Debian's package linux-image-cloud-amd64 is not known here")
                    .hint("the lab needs Debian on amd64 with its main archive in /etc/apt")
            })?;
        debian::unpack(package, folder)?;
        Kernel::in_folder(folder).ok_or_else(|| Failure::new(format!("{package} holds no kernel")))
    }

    fn in_folder(folder: &Path) -> Option<Kernel> {
        let image = fs::read_dir(folder.join("boot")).ok()?.filter_map(Result::ok).find_map(|file| {
            let release = file.file_name().to_string_lossy().strip_prefix("vmlinuz-")?.to_owned();
            Some((release, file.path()))
        });
        let (release, image) = image?;
        let modules = [folder.join("lib/modules"), folder.join("usr/lib/modules")]
            .into_iter()
            .map(|modules| modules.join(&release))
            .find(|modules| modules.is_dir())?;
        Some(Kernel { release, image, modules })
    }

    fn copy_modules(&self, into: &Path) -> Result<(), Failure> {
        let built_in = fs::read_to_string(self.modules.join("modules.builtin")).unwrap_or_default();
        let mut order = String::new();
        for name in MODULES {
            let file = format!("{name}.ko");
            if built_in.lines().any(|line| line.rsplit('/').next() == Some(&file)) {
                continue;
            }
            let found = output(Command::new("find").arg(&self.modules).args(["-name", &format!("{file}*")]))?;
            let found = Path::new(found.trim());
            let made = into.join(&file);
            match found.extension().and_then(|extension| extension.to_str()) {
                Some("ko") => copy(found, &made)?,
                Some("xz") => {
                    let unpack = "xz -dc \"$1\" > \"$2\"";
                    run(Command::new("sh").args(["-euc", unpack, "sh"]).arg(found).arg(&made))?;
                }
                _ => return Err(Failure::new(format!("kernel {} has no module {name}", self.release))),
            }
            order.push_str(&file);
            order.push('\n');
        }
        let list = into.join("order");
        fs::write(&list, order).map_err(Failure::file("write", &list))
    }
}

fn fetch_busybox(folder: &Path) -> Result<PathBuf, Failure> {
    let find =
        || ["bin/busybox", "usr/bin/busybox"].map(|file| folder.join(file)).into_iter().find(|file| file.exists());
    if let Some(busybox) = find() {
        return Ok(busybox);
    }
    debian::unpack("busybox-static", folder)?;
    find().ok_or_else(|| Failure::new("busybox-static holds no busybox"))
}

fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    fs::copy(from, to).map_err(Failure::file("copy", from))?;
    Ok(())
}
