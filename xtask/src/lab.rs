//! What emulated machines boot in the tests: Debian's packages, unpacked below the build folder and never installed, so no
//! machine's own kernel or busybox is touched. `metalform` downloads them as it does for anybody; here only the folder is
//! named. The tests run in network namespaces, where nothing can be downloaded.

use crate::{
    debian,
    failure::Failure,
    repository::Repository,
    sshd,
    step::{run, step},
    suite::CRASH_POINTS,
};
use std::process::Command;

/// Tools, what machines boot, SSH server.
pub fn prepare(repository: &Repository) -> Result<(), Failure> {
    step("tools", debian::install_missing)?;
    step("programs", || build_programs(repository))?;
    step("lab", || download(repository))?;
    step("sshd", || sshd::unpack(repository))
}

/// All programs: the tests of one start the others.
pub fn build_programs(repository: &Repository) -> Result<(), Failure> {
    repository.run_cargo(&["build", "--workspace", "--bins", "--features", CRASH_POINTS])
}

/// `target/lab-cache`; nothing is done when it is filled.
pub fn download(repository: &Repository) -> Result<(), Failure> {
    let cache = repository.made("lab-cache")?;
    debian::refresh_when_unknown("linux-image-cloud-amd64")?;
    let mut download = Command::new(repository.target().join("debug/metalform"));
    download.args(["simulate", "--machines", "qemu", "--download-only"]).env("XDG_CACHE_HOME", &cache);
    run(&mut download)?;
    println!("    {}", cache.display());
    Ok(())
}
