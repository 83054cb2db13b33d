//! Packages of Debian's, downloaded into the user's cache and unpacked there. A package that is there stays as it is and is
//! read without a lock. A folder without its mark is of a download that broke off, and is made anew; under the cache's lock,
//! because it may as well be of a download that another run is at. The kernel lets go of that lock with its owner.

use super::{LabError, run};
use crate::output::Output;
use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const MARK: &str = "complete";
/// Whoever fills the cache holds a lock on it.
const LOCK: &str = "lock";

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
        self.get_by(package, unpack)
    }

    fn get_by(
        &self,
        package: &str,
        unpack: impl FnOnce(&str, &Path) -> Result<(), LabError>,
    ) -> Result<PathBuf, LabError> {
        let folder = self.folder.join(package);
        let mark = folder.join(MARK);
        if mark.exists() {
            return Ok(folder);
        }
        let _lock = self.lock()?;
        // Whom we waited for may have downloaded it.
        if mark.exists() {
            return Ok(folder);
        }
        self.out.note(&format!("downloading Debian's {package} into {}", self.folder.display()));
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(LabError::file("empty", &folder))?;
        }
        fs::create_dir_all(&folder).map_err(LabError::file("make", &folder))?;
        unpack(package, &folder).map_err(LabError::package(package))?;
        fs::write(&mark, "").map_err(LabError::file("write", &mark))?;
        Ok(folder)
    }

    /// Held until it is dropped.
    fn lock(&self) -> Result<File, LabError> {
        fs::create_dir_all(&self.folder).map_err(LabError::file("make", &self.folder))?;
        let path = self.folder.join(LOCK);
        let file = File::options().create(true).append(true).open(&path).map_err(LabError::file("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                self.out.note(&format!("waiting for another run that downloads into {}", self.folder.display()));
                file.lock().map_err(LabError::file("lock", &path))?;
            }
            Err(TryLockError::Error(error)) => return Err(LabError::file("lock", &path)(error)),
        }
        Ok(file)
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
        let failed = LabError::package(package);
        let mut newest: Option<String> = None;
        for name in names.filter(|name| name.starts_with(prefix)) {
            let is_newer = match &newest {
                None => true,
                Some(other) => is_newer(&name[prefix.len()..], &other[prefix.len()..]).map_err(&failed)?,
            };
            if is_newer {
                newest = Some(name);
            }
        }
        if let Some(name) = newest {
            return Ok(name);
        }
        // Where lists have to be fetched first, two would be in each other's way.
        let _lock = self.lock()?;
        let ask = || run(Command::new("apt-cache").args(["depends", "--important", package]));
        let depends = ask().or_else(|_| refresh().and_then(|()| ask())).map_err(&failed)?;
        let found = depends.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
        let found = found.map(str::to_owned).find(|name| name.starts_with(prefix));
        found.ok_or_else(|| LabError::NotInPackage { package: package.into(), what: prefix.into() })
    }
}

/// In Debian's order of versions (deb-version(7)), in which 6.1.0-49 is newer than 6.1.0-9. By dpkg, which is wherever
/// apt-get is. Rejected: the crates that know this order, for one comparison: debversion brings three libraries for it, and
/// deb-version has had one release.
fn is_newer(version: &str, other: &str) -> Result<bool, LabError> {
    let words = ["--compare-versions", version, "gt", other];
    let output = Command::new("dpkg").args(words).stdin(Stdio::null()).output();
    let failed = |said: String| LabError::Failed { command: format!("dpkg {}", words.join(" ")), said };
    let output = output.map_err(|error| failed(error.to_string()))?;
    match output.status.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        _ => Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
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

#[cfg(test)]
mod tests {
    use super::*;
    use metalform_simulator::temporary_folder::TemporaryFolder;
    use std::{
        sync::atomic::{AtomicU32, Ordering},
        thread,
    };

    fn folder() -> TemporaryFolder {
        TemporaryFolder::create("test").unwrap()
    }

    fn in_cache<T>(folder: &TemporaryFolder, use_it: impl FnOnce(&Packages<'_>) -> T) -> T {
        let out = Output::default();
        use_it(&Packages { folder: folder.path().join("cache"), out: &out })
    }

    fn fill(folder: &Path) -> Result<(), LabError> {
        fs::write(folder.join("program"), "whole").map_err(LabError::file("write", folder))
    }

    #[test]
    fn of_two_runs_that_want_a_package_one_downloads_it_and_both_have_it_whole() {
        let (folder, downloads) = (folder(), AtomicU32::new(0));
        let get = |meanwhile: &dyn Fn()| {
            let unpack = |_: &str, package: &Path| {
                downloads.fetch_add(1, Ordering::Relaxed);
                meanwhile();
                fill(package)
            };
            let got = in_cache(&folder, |packages| packages.get_by("busybox-static", unpack)).unwrap();
            assert_eq!(fs::read_to_string(got.join("program")).unwrap(), "whole");
        };
        thread::scope(|scope| {
            get(&|| {
                // A second one, at the worst time.
                scope.spawn(|| get(&|| {}));
                let lock = File::open(folder.path().join("cache").join(LOCK)).unwrap();
                assert!(matches!(lock.try_lock(), Err(TryLockError::WouldBlock)));
            });
        });
        assert_eq!(downloads.into_inner(), 1);
    }

    #[test]
    fn a_download_that_broke_off_is_made_anew_and_one_that_is_whole_is_read_without_a_lock() {
        let folder = folder();
        in_cache(&folder, |packages| {
            let broken = packages.get_by("mtools", |_, package| {
                fill(package)?;
                Err(LabError::NoCache)
            });
            assert_eq!(broken.unwrap_err().to_string(), "Debian's package mtools can't be had");
            let got = packages.get_by("mtools", |_, package| {
                assert!(!package.join("program").exists());
                Ok(())
            });
            let _lock = packages.lock().unwrap();
            assert_eq!(got.unwrap(), packages.get_by("mtools", |_, _| panic!("it is there")).unwrap());
        });
    }

    #[test]
    fn the_newest_kernel_is_the_one_that_debian_takes_for_newest() {
        let folder = folder();
        in_cache(&folder, |packages| {
            for version in ["6.1.0-9", "6.1.0-49", "6.1.0-10", "5.10.0-56"] {
                packages.get_by(&format!("linux-image-{version}-cloud-amd64"), |_, _| Ok(())).unwrap();
            }
            fs::create_dir(packages.folder.join("linux-image-6.12.0-1-cloud-amd64")).unwrap();
            let newest = packages.newest("linux-image-cloud-amd64", "linux-image-").unwrap();
            assert_eq!(newest, "linux-image-6.1.0-49-cloud-amd64");
        });
    }

    #[test]
    fn what_dpkg_refuses_to_compare_is_said() {
        let error = is_newer("6.1:x y", "6.1").unwrap_err().to_string();
        assert!(error.starts_with("`dpkg --compare-versions 6.1:x y gt 6.1` failed: dpkg: "), "{error}");
    }
}
