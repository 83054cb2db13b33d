//! cargo-deny over all dependencies, by the rules of `deny.toml`.

use crate::{
    failure::Failure,
    repository::Repository,
    step::{output, run, step, succeeds},
};
use std::process::Command;

const VERSION: &str = "0.20.2";

/// Licences, sources and bans always; known vulnerabilities only where their list can be fetched, and it is said when not.
pub fn run_deny(repository: &Repository) -> Result<(), Failure> {
    let tools = repository.made("tools")?;
    let deny = tools.join("bin/cargo-deny");
    let version = format!("cargo-deny {VERSION}");
    if !output(Command::new(&deny).arg("--version")).is_ok_and(|there| there.trim() == version) {
        step(&format!("install {version}"), || {
            let words = ["install", "--quiet", "--locked", "cargo-deny", "--version", VERSION, "--root"];
            run(repository.cargo().args(words).arg(&tools))
        })?;
    }
    let check = |what: &[&str]| {
        let mut check = Command::new(&deny);
        check.current_dir(repository.root()).args(["--workspace", "--all-features", "check", "--hide-inclusion-graph"]);
        check.args(what);
        check
    };
    step("bans, licences, sources", || run(&mut check(&["bans", "licenses", "sources"])))?;
    let database = "https://github.com/RustSec/advisory-db";
    if succeeds(Command::new("git").args(["ls-remote", "--exit-code", database, "HEAD"])) {
        step("known vulnerabilities", || run(&mut check(&["advisories"])))
    } else {
        println!("    known vulnerabilities: NOT checked, {database} can't be reached from here");
        Ok(())
    }
}
