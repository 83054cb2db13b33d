//! The comparisons under `bench/`: each folder there has a `run` that measures and says what it measured.

use crate::{
    debian,
    failure::Failure,
    repository::Repository,
    step::{run, step},
};
use std::{fs, path::PathBuf, process::Command};

/// Every `bench/*/run`, one after the other; with the release build, which is made first.
pub fn run_bench(repository: &Repository) -> Result<(), Failure> {
    let folder = repository.root().join("bench");
    let mut runs: Vec<PathBuf> = fs::read_dir(&folder)
        .map_err(Failure::file("read", &folder))?
        .filter_map(Result::ok)
        .map(|entry| entry.path().join("run"))
        .filter(|run| run.is_file())
        .collect();
    runs.sort();
    if runs.is_empty() {
        return Err(Failure::new("there is no comparison yet: no bench/*/run"));
    }
    step("tools", debian::install_missing)?;
    step("release build", || repository.run_cargo(&["build", "--release"]))?;
    for path in runs {
        let name =
            path.parent().and_then(|folder| folder.file_name()).unwrap_or_default().to_string_lossy().into_owned();
        step(&format!("bench {name}"), || {
            run(Command::new(&path).current_dir(repository.root()).env("METALFORM_TARGET", repository.target()))
        })?;
    }
    Ok(())
}
