//! A release: both programs, what is in them, and the digests, the same bytes wherever the same commit is built with the same
//! compiler (`docs/release.md`).
//!
//! Paths are what makes builds of the same sources differ: panics, debug lines and C's `__FILE__` name them. So the checkout, Cargo's
//! folder and the build folder are given other names, in Rust and in C.

use crate::{
    failure::Failure,
    repository::Repository,
    sbom,
    step::{output, run, step},
};
use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const PROGRAMS: [&str; 2] = ["metalform", "metalform-agent"];
const SUMS: &str = "SHA256SUMS";

/// Builds the last commit, not what lies in the checkout uncommitted, into `dist` of the build folder.
pub fn make(repository: &Repository) -> Result<(), Failure> {
    let dist = repository.made("dist")?;
    build(repository, "release-build", &dist)?;
    println!("\n    {}", dist.display());
    Ok(())
}

/// Builds the last commit twice, in folders of different names, and compares every file.
pub fn compare(repository: &Repository) -> Result<(), Failure> {
    let (one, other) = (repository.made("dist")?, repository.made("dist-again")?);
    build(repository, "release-build", &one)?;
    build(repository, "another/place/to/build", &other)?;
    let read = |folder: &Path| {
        let path = folder.join(SUMS);
        fs::read_to_string(&path).map_err(Failure::file("read", &path))
    };
    let (one, other) = (read(&one)?, read(&other)?);
    if one == other {
        println!("\n    twice the same:\n{one}");
        return Ok(());
    }
    Err(Failure::new("two builds of the same commit differ")
        .because(format!("\n{one}and\n{other}"))
        .hint("`diffoscope` shows where; a path or a time got into one of them"))
}

fn build(repository: &Repository, place: &str, dist: &Path) -> Result<(), Failure> {
    let place = repository.made(place)?;
    let checkout = place.join("checkout");
    let git = |words: &[&str]| output(Command::new("git").arg("-C").arg(repository.root()).args(words));
    let commit = git(&["rev-parse", "HEAD"])?.trim().to_owned();
    let epoch = git(&["show", "--no-patch", "--format=%ct", "HEAD"])?.trim().to_owned();
    step(&format!("checkout of {commit}"), || {
        if checkout.exists() {
            fs::remove_dir_all(&checkout).map_err(Failure::file("remove", &checkout))?;
        }
        let mut clone = Command::new("git");
        run(clone.args(["clone", "--quiet", "--no-hardlinks"]).arg(repository.root()).arg(&checkout))
    })?;
    step("build", || run(&mut build_command(repository, &checkout, &place.join("target"), &epoch)?))?;
    for program in PROGRAMS {
        let built = place.join("target/release").join(program);
        fs::copy(&built, dist.join(program)).map_err(Failure::file("copy", &built))?;
    }
    step("what is in it", || sbom::write(repository, &checkout, &epoch, dist))?;
    sums(dist)
}

fn build_command(repository: &Repository, checkout: &Path, target: &Path, epoch: &str) -> Result<Command, Failure> {
    let cargo_home = match env::var_os("CARGO_HOME") {
        Some(home) => PathBuf::from(home),
        None => env::home_dir().ok_or_else(|| Failure::new("there is no home folder"))?.join(".cargo"),
    };
    let renamed = [(cargo_home.as_path(), "/cargo"), (target, "/target"), (checkout, "/metalform")];
    let rust: Vec<String> =
        renamed.iter().map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display())).collect();
    let c: Vec<String> =
        renamed.iter().map(|(from, to)| format!("-ffile-prefix-map={}={to}", from.display())).collect();
    let mut build = repository.cargo();
    build.current_dir(checkout).args(["build", "--release", "--locked", "--workspace", "--bins", "--target-dir"]);
    // Of the flags that somebody has set for all builds none is wanted in a release.
    build.arg(target).env("CARGO_ENCODED_RUSTFLAGS", rust.join("\u{1f}")).env_remove("RUSTFLAGS");
    build.env("CFLAGS", c.join(" ")).env("CARGO_INCREMENTAL", "0").env("SOURCE_DATE_EPOCH", epoch);
    Ok(build)
}

/// Of every file, as `sha256sum --check` reads it.
fn sums(dist: &Path) -> Result<(), Failure> {
    let entries = fs::read_dir(dist).map_err(Failure::file("read", dist))?;
    let mut names: Vec<OsString> = entries.filter_map(|entry| Some(entry.ok()?.file_name())).collect();
    names.retain(|name| name != SUMS);
    names.sort();
    let text = output(Command::new("sha256sum").args(names).current_dir(dist))?;
    let path = dist.join(SUMS);
    fs::write(&path, &text).map_err(Failure::file("write", &path))?;
    print!("{text}");
    Ok(())
}
