//! The one door for developers: `cargo xtask <command>`. Continuous integration goes through it too, so what passes here
//! passes there. It needs Rust and, for the parts that use other people's programs, Debian and the right to install
//! packages. Each command is a list of named steps that stops at the first failure.

#![expect(clippy::print_stdout, reason = "a command line tool: what it prints is what it is for")]

mod agent;
mod bench;
mod debian;
mod deny;
mod failure;
mod fuzz;
mod lab;
mod nightly;
mod oidc;
mod release;
mod repository;
mod sbom;
mod sdk;
mod sshd;
mod step;
mod suite;

use failure::Failure;
use repository::Repository;
use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask <command>

  test     everything: tools, format, lints, all tests (real iPXE and IBM's own SDK included), documentation
  check    the fast part of it: format, lints, tests that need no other program
  lab      prepare what the tests run: Debian's packages for emulated machines, an SSH server
  sdk      install IBM's Python SDK and schemathesis for the tests
  oidc     install the npm package oidc-provider for the tests
  nightly  the long forms of the randomised tests, then fuzz
  fuzz     the targets under fuzz/, each for a minute, or for `fuzz SECONDS`
  deny     licences, sources and bans of all dependencies; known vulnerabilities where the network allows
  release  both programs of the last commit, what is in them, and digests; `release --twice` compares two builds
  bench    the comparisons under bench/";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["test"] => with_repository(suite::test),
        ["check"] => with_repository(suite::check),
        ["lab"] => with_repository(lab::prepare),
        ["sdk"] => with_repository(sdk::prepare),
        ["oidc"] => with_repository(oidc::prepare),
        ["nightly"] => with_repository(nightly::run_long),
        ["fuzz"] => with_repository(|repository| fuzz::run_fuzz(repository, None)),
        ["fuzz", seconds] => Repository::find().and_then(|repository| fuzz::run_fuzz(&repository, Some(seconds))),
        ["deny"] => with_repository(deny::run_deny),
        ["release"] => with_repository(release::make),
        ["release", "--twice"] => with_repository(release::compare),
        ["bench"] => with_repository(bench::run_bench),
        _ => {
            println!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            println!("\n{failure}");
            ExitCode::FAILURE
        }
    }
}

fn with_repository(command: fn(&Repository) -> Result<(), Failure>) -> Result<(), Failure> {
    command(&Repository::find()?)
}
