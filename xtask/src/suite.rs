//! The two suites: all, and the fast part.

use crate::{agent, debian, failure::Failure, lab, oidc, repository::Repository, sdk, sshd, step::run, step::step};

/// Everything that must pass before a change is taken.
pub fn test(repository: &Repository) -> Result<(), Failure> {
    step("tools", debian::install_missing)?;
    step("agent", || agent::build(repository).map(drop))?;
    step("programs", || lab::build_programs(repository))?;
    step("lab", || lab::download(repository))?;
    step("sshd", || sshd::unpack(repository))?;
    step("sdk", || sdk::install(repository))?;
    step("OpenID provider", || oidc::install(repository))?;
    format_and_lints(repository)?;
    step("repository checks", || repository.run_cargo(&["test", "--package", "xtask"]))?;
    step("tests", || repository.run_cargo(&["test", "--workspace", "--exclude", "xtask", "--features", CRASH_POINTS]))?;
    step("documentation", || {
        let mut doc = repository.cargo();
        run(doc.args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
    })
}

/// What a developer runs between two edits: no other program is needed, and nothing is installed.
pub fn check(repository: &Repository) -> Result<(), Failure> {
    format_and_lints(repository)?;
    step("repository checks", || repository.run_cargo(&["test", "--package", "xtask"]))?;
    step("unit tests", || {
        let words = ["test", "--workspace", "--exclude", "xtask", "--lib", "--bins", "--features", CRASH_POINTS];
        repository.run_cargo(&words)
    })
}

/// Named points at which a test ends the process; no release binary has them.
pub const CRASH_POINTS: &str = "metalform-cli/crash-points";

/// What only the targets of `fuzz/` call. Nothing else builds it, so without this a change could break it unseen.
const FUZZING: &str = "metalform-service/fuzzing";

fn format_and_lints(repository: &Repository) -> Result<(), Failure> {
    step("format", || repository.run_cargo(&["fmt", "--all", "--check"]))?;
    step("lints", || {
        let features = format!("{CRASH_POINTS},{FUZZING}");
        let words = ["clippy", "--workspace", "--all-targets", "--features", &features, "--", "-D", "warnings"];
        repository.run_cargo(&words)
    })
}
