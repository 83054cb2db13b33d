//! The targets of `fuzz/`: inputs that nobody would think of, found by following which code each of them reaches.
//!
//! libFuzzer with rustc's own coverage counters, by flags that stable compilers take; `cargo fuzz` would want a nightly one, for
//! an address sanitizer that has nothing to find where no code is `unsafe`. What a run finds stays below the build folder and is
//! where the next one begins; the seeds in `fuzz/corpus` are never written to.

use crate::{
    debian,
    failure::Failure,
    repository::Repository,
    step::{output, run, step},
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// For each target, when no number is given.
const SECONDS: u64 = 60;

/// As `cargo fuzz` sets them, without the sanitizer.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
                     -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";

/// Limits of one input: whatever takes longer or more is as bad as a panic.
const LIMITS: [&str; 3] = ["-timeout=10", "-rss_limit_mb=1024", "-max_len=131072"];

/// Every target for that many seconds; stops at the first finding and says where the input is.
pub fn run_fuzz(repository: &Repository, seconds: Option<&str>) -> Result<(), Failure> {
    let seconds = match seconds.map(str::parse::<u64>) {
        None => SECONDS,
        Some(Ok(seconds)) if seconds > 0 => seconds,
        Some(_) => return Err(Failure::new("the seconds are no number above 0").hint("cargo xtask fuzz 600")),
    };
    step("tools", debian::install_compiler)?;
    let programs = step("build", || build(repository))?;
    for program in programs {
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        step(&format!("fuzz {name} for {seconds} s"), || fuzz(repository, &program, &name, seconds))?;
    }
    Ok(())
}

fn build(repository: &Repository) -> Result<Vec<PathBuf>, Failure> {
    let manifest = repository.root().join("fuzz/Cargo.toml");
    let host = output(Command::new("rustc").arg("-vV"))?;
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default().to_owned();
    // With `--target` the flags are for the targets alone, and not for build scripts.
    let mut build = repository.cargo();
    build.args(["build", "--release", "--locked", "--target", &host, "--target-dir"]).arg(repository.made("fuzz")?);
    build.arg("--manifest-path").arg(&manifest).env("RUSTFLAGS", FLAGS).env("CARGO_INCREMENTAL", "0");
    run(&mut build)?;
    let folder = repository.root().join("fuzz/targets");
    let targets = fs::read_dir(&folder).map_err(Failure::file("read", &folder))?;
    let names = targets.filter_map(Result::ok).filter_map(|file| Some(file.path().file_stem()?.to_owned()));
    let built = repository.target().join("fuzz").join(host).join("release");
    let mut programs: Vec<PathBuf> = names.map(|name| built.join(name)).collect();
    programs.sort();
    if programs.is_empty() { Err(Failure::new("there is no target in fuzz/targets")) } else { Ok(programs) }
}

fn fuzz(repository: &Repository, program: &Path, name: &str, seconds: u64) -> Result<(), Failure> {
    let found = repository.made(&format!("fuzz/corpus/{name}"))?;
    let seeds = repository.root().join("fuzz/corpus").join(name);
    let findings = repository.made(&format!("fuzz/findings/{name}"))?;
    let mut fuzz = Command::new(program);
    fuzz.arg(&found).args(Some(&seeds).filter(|seeds| seeds.is_dir()));
    fuzz.args(LIMITS).args(["-print_final_stats=1", "-verbosity=0"]).arg(format!("-max_total_time={seconds}"));
    fuzz.arg(format!("-artifact_prefix={}/", findings.display()));
    // All it says goes to standard error, with a dictionary of a hundred lines at the end: shown whole only when it failed.
    let ended =
        fuzz.output().map_err(|error| Failure::new(format!("cannot start fuzz target {name}")).because(error))?;
    let said = String::from_utf8_lossy(&ended.stderr);
    if ended.status.success() {
        said.lines().filter(|line| line.starts_with("stat::")).for_each(|line| println!("    {line}"));
        return Ok(());
    }
    println!("{said}");
    Err(Failure::new(format!("fuzz target {name} found something")).because(ended.status).hint(format!(
        "the input lies in {}; {} FILE repeats it",
        findings.display(),
        program.display()
    )))
}
