//! The long forms of the randomised tests: more seeds than anyone wants to wait for before a change is taken.

use crate::{
    debian,
    failure::Failure,
    fuzz,
    repository::Repository,
    step::{output, run, step},
    suite::CRASH_POINTS,
};
use std::{env, process::Command};

/// Long tests have names that begin so, wherever they are; they may be ignored in the usual run.
const NAMES: &str = "nightly_";

/// How much of it they do, in the variables they read. One that is set already wins.
const AMOUNTS: [(&str, &str); 1] = [("METALFORM_SEEDS", "5000")];

/// For each target of `fuzz/`.
const FUZZ_SECONDS: &str = "600";

/// Every test with such a name, optimized; then the fuzz targets.
pub fn run_long(repository: &Repository) -> Result<(), Failure> {
    let tests = |more: &[&str]| {
        let mut tests = repository.cargo();
        tests.args(["test", "--release", "--workspace", "--features", CRASH_POINTS, "--", "--include-ignored", NAMES]);
        tests.args(more);
        for (variable, value) in AMOUNTS.iter().filter(|(variable, _)| env::var_os(variable).is_none()) {
            tests.env(variable, value);
        }
        tests
    };
    step("tools", debian::install_missing)?;
    step("what there is", || are_there(&mut tests(&["--list"])))?;
    step("long tests", || run(&mut tests(&["--nocapture"])))?;
    fuzz::run_fuzz(repository, Some(FUZZ_SECONDS))
}

/// A filter that matches nothing would pass.
fn are_there(list: &mut Command) -> Result<(), Failure> {
    let list = output(list)?;
    let names: Vec<&str> = list.lines().filter_map(|line| line.strip_suffix(": test")).collect();
    println!("    {}", names.join("\n    "));
    if names.is_empty() { Err(Failure::new(format!("there is no test named {NAMES}…"))) } else { Ok(()) }
}
