//! A named step with its time, and the ways to run another program in one.

use crate::failure::Failure;
use std::{
    ffi::OsStr,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

/// Says the step's name, does it, says how long it took.
pub fn step<T>(name: &str, work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    println!("==> {name}");
    let started = now();
    let outcome = work();
    let seconds = started.elapsed().as_secs_f64();
    println!("    {name}: {} after {seconds:.1} s", if outcome.is_ok() { "done" } else { "FAILED" });
    outcome
}

/// Runs a program with our own output.
pub fn run(command: &mut Command) -> Result<(), Failure> {
    let status = command.status().map_err(|error| cannot_start(command).because(error))?;
    if status.success() { Ok(()) } else { Err(Failure::new(format!("`{}` failed", text(command))).because(status)) }
}

/// Runs a program and returns what it wrote; its errors are shown only when it fails.
pub fn output(command: &mut Command) -> Result<String, Failure> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| cannot_start(command).because(error))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Failure::new(format!("`{}` failed", text(command))).because(format!("{}: {said}", output.status)))
}

/// Whether it starts and succeeds; what it says is thrown away.
pub fn succeeds(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

fn cannot_start(command: &Command) -> Failure {
    Failure::new(format!("cannot start `{}`", text(command)))
}

/// As a person would write it: the program's name without its folder.
fn text(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    std::iter::once(program).chain(command.get_args()).map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

#[expect(clippy::disallowed_methods, reason = "a stopwatch for people; nothing is decided by it")]
fn now() -> Instant {
    Instant::now()
}
