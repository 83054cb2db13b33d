//! Debian's kernel for virtual machines: one image, and a folder of modules.

use super::{LabError, debian::Packages};
use std::{fs, path::PathBuf};

/// An unpacked kernel.
pub struct Kernel {
    /// `vmlinuz`.
    pub image: PathBuf,
    /// The folder `lib/modules/RELEASE`.
    pub modules: PathBuf,
}

impl Kernel {
    /// The newest, or the one that was downloaded before.
    pub fn of(packages: &Packages<'_>) -> Result<Kernel, LabError> {
        let package = packages.newest("linux-image-cloud-amd64", "linux-image-")?;
        let folder = packages.get(&package)?;
        let lacks = |what: &str| LabError::NotInPackage { package: package.clone(), what: what.into() };
        let boot = folder.join("boot");
        let names = fs::read_dir(&boot).map_err(LabError::file("read", &boot))?.filter_map(Result::ok);
        let release = names
            .filter_map(|entry| entry.file_name().to_string_lossy().strip_prefix("vmlinuz-").map(str::to_owned))
            .next()
            .ok_or_else(|| lacks("kernel"))?;
        let modules = ["lib/modules", "usr/lib/modules"].map(|place| folder.join(place).join(&release));
        let modules = modules.into_iter().find(|modules| modules.is_dir()).ok_or_else(|| lacks("modules"))?;
        Ok(Kernel { image: boot.join(format!("vmlinuz-{release}")), modules })
    }
}
