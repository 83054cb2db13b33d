//! Packages of Debian's, downloaded into the user's cache and unpacked there. A package that is there stays as it is; a
//! folder without its mark is of a download that broke off, and is made anew.

use super::{LabError, run};
use crate::output::Output;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const MARK: &str = "complete";

/// The cache.
pub struct Packages<'a> {
    folder: PathBuf,
    out: &'a Output,
}

impl<'a> Packages<'a> {
    /// `metalform/lab` in the user's cache.
    pub fn open(out: &'a Output) -> Result<Packages<'a>, LabError> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
        Ok(Packages { folder: cache.ok_or(LabError::NoCache)?.join("metalform/lab"), out })
    }

    /// The unpacked package's folder.
    pub fn get(&self, package: &str) -> Result<PathBuf, LabError> {
        let folder = self.folder.join(package);
        if !folder.join(MARK).exists() {
            self.out.note(&format!("downloading Debian's {package} into {}", self.folder.display()));
            if folder.exists() {
                fs::remove_dir_all(&folder).map_err(LabError::file("empty", &folder))?;
            }
            fs::create_dir_all(&folder).map_err(LabError::file("make", &folder))?;
            unpack(package, &folder)
                .map_err(|error| LabError::Package { package: package.into(), source: error.into() })?;
            let mark = folder.join(MARK);
            fs::write(&mark, "").map_err(LabError::file("write", &mark))?;
        }
        Ok(folder)
    }

    /// The first of `places` that is in the package.
    pub fn file(&self, package: &str, places: &[&str]) -> Result<PathBuf, LabError> {
        let folder = self.get(package)?;
        places.iter().map(|place| folder.join(place)).find(|file| file.exists()).ok_or_else(|| LabError::NotInPackage {
            package: package.into(),
            what: places.first().copied().unwrap_or_default().into(),
        })
    }

    /// The package that an empty one of that name stands for, as `linux-image-cloud-amd64` does for the newest kernel. One
    /// that is in the cache is taken as it is: nobody waits for a newer one.
    pub fn newest(&self, package: &str, prefix: &str) -> Result<String, LabError> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().filter_map(Result::ok);
        let there = entries.filter(|entry| entry.path().join(MARK).exists());
        let names = there.map(|entry| entry.file_name().to_string_lossy().into_owned());
        if let Some(name) = names.filter(|name| name.starts_with(prefix)).max() {
            return Ok(name);
        }
        let failed = |error: LabError| LabError::Package { package: package.into(), source: error.into() };
        let ask = || run(Command::new("apt-cache").args(["depends", "--important", package]));
        let depends = ask().or_else(|_| refresh().and_then(|()| ask())).map_err(failed)?;
        let found = depends.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
        let found = found.map(str::to_owned).find(|name| name.starts_with(prefix));
        found.ok_or_else(|| LabError::NotInPackage { package: package.into(), what: prefix.into() })
    }
}

/// As whoever we are: apt's own user often can't write here, and would only complain.
fn unpack(package: &str, folder: &Path) -> Result<(), LabError> {
    let words = ["download", "-qq", "-o", "APT::Sandbox::User=root", package];
    let download = || run(Command::new("apt-get").args(words).current_dir(folder));
    // Lists that are too old name a version that the archive has no longer.
    if download().is_err() {
        refresh()?;
        download()?;
    }
    let entries = fs::read_dir(folder).map_err(LabError::file("read", folder))?.filter_map(Result::ok);
    let file = entries.map(|entry| entry.path()).find(|path| path.extension().is_some_and(|end| end == "deb"));
    let file = file.ok_or_else(|| LabError::NotInPackage { package: package.into(), what: "archive".into() })?;
    run(Command::new("dpkg-deb").arg("-x").arg(&file).arg(folder))?;
    fs::remove_file(&file).map_err(LabError::file("remove", &file))
}

/// Needs root; for anybody else old lists are what there is.
fn refresh() -> Result<(), LabError> {
    run(Command::new("apt-get").args(["update", "-qq"])).map(drop)
}
