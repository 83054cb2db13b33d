//! What is in each program: a CycloneDX document of all crates that are linked into it, with versions, sources, licences and digests.

use crate::{
    failure::Failure,
    repository::Repository,
    step::{output, run, step},
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// By the people who keep the format: <https://github.com/CycloneDX/cyclonedx-rust-cargo>.
const VERSION: &str = "0.5.9";

/// Package and program.
const PROGRAMS: [(&str, &str); 2] = [("cli", "metalform"), ("agent", "metalform-agent")];

/// One document a program, below `folder`. `checkout` is a clean one: the tool writes beside each `Cargo.toml`, and takes the time
/// of the document from `epoch`, so that the same commit gives the same bytes.
pub fn write(repository: &Repository, checkout: &Path, epoch: &str, folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let tools = repository.made("tools")?;
    let tool = tools.join("bin/cargo-cyclonedx");
    let version = format!("cargo-cyclonedx-cyclonedx {VERSION}");
    let is_there = || output(Command::new(&tool).args(["cyclonedx", "--version"])).is_ok_and(|is| is.trim() == version);
    if !is_there() {
        step(&format!("install cargo-cyclonedx {VERSION}"), || {
            let words =
                ["install", "--quiet", "--locked", "--force", "cargo-cyclonedx", "--version", VERSION, "--root"];
            run(repository.cargo().args(words).arg(&tools))
        })?;
    }
    let mut describe = Command::new(&tool);
    describe.args(["cyclonedx", "--quiet", "--format", "json", "--spec-version", "1.5", "--describe", "binaries"]);
    describe.arg("--manifest-path").arg(checkout.join("Cargo.toml")).env("SOURCE_DATE_EPOCH", epoch);
    run(describe.current_dir(checkout))?;
    let place = |(package, program): (&str, &str)| {
        let made = checkout.join("crates").join(package).join(format!("{program}_bin.cdx.json"));
        let kept = folder.join(format!("{program}.cdx.json"));
        let text = fs::read_to_string(&made).map_err(Failure::file("read", &made))?;
        // Our own crates are named by where they lie.
        let text = text.replace(&checkout.display().to_string(), "/metalform");
        fs::write(&kept, text).map_err(Failure::file("write", &kept))?;
        Ok(kept)
    };
    PROGRAMS.into_iter().map(place).collect()
}
