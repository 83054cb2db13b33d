//! The long forms of the randomised tests: more seeds than anyone wants to wait for before a change is taken.

use crate::{failure::Failure, repository::Repository, step::run, step::step};

/// A set of tests whose names start with `nightly_`, and the variable that says how much of it to do.
struct Long {
    package: &'static str,
    variable: &'static str,
    value: &'static str,
}

/// The one list of them.
const LONG: [Long; 1] = [Long { package: "metalform-orchestrator", variable: "METALFORM_SEEDS", value: "20000" }];

/// A variable that is set already wins over the list.
pub fn run_long(repository: &Repository) -> Result<(), Failure> {
    for long in &LONG {
        step(&format!("{} with {}={}", long.package, long.variable, long.value), || {
            let mut tests = repository.cargo();
            tests.args(["test", "--release", "--package", long.package, "--", "--include-ignored", "nightly_"]);
            if std::env::var_os(long.variable).is_none() {
                tests.env(long.variable, long.value);
            }
            run(&mut tests)
        })?;
    }
    Ok(())
}
