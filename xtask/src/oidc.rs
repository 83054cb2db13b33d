//! A real OpenID provider below the build folder: the npm package `oidc-provider`, with which a test logs people in.

use crate::{
    debian,
    failure::Failure,
    repository::Repository,
    step::{run, step},
};
use std::{fs, process::Command};

/// Tools and provider.
pub fn prepare(repository: &Repository) -> Result<(), Failure> {
    step("tools", debian::install_missing)?;
    step("OpenID provider", || install(repository))
}

/// `target/oidc` with exactly the locked packages; nothing is done when it has them already. No package's own script is run.
pub fn install(repository: &Repository) -> Result<(), Failure> {
    let pins = repository.root().join("crates/service/tests/oidc");
    let folder = repository.target().join("oidc");
    let read = |name: &str| {
        let path = pins.join(name);
        fs::read_to_string(&path).map_err(Failure::file("read", &path))
    };
    let files = [("package.json", read("package.json")?), ("package-lock.json", read("package-lock.json")?)];
    let wanted = files.iter().map(|(_, text)| text.as_str()).collect::<String>();
    let installed = folder.join("installed.txt");
    if fs::read_to_string(&installed).is_ok_and(|there| there == wanted) {
        println!("    {} has it", folder.display());
        return Ok(());
    }
    fs::create_dir_all(&folder).map_err(Failure::file("make", &folder))?;
    for (name, text) in files {
        let path = folder.join(name);
        fs::write(&path, text).map_err(Failure::file("write", &path))?;
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]).current_dir(&folder);
    run(&mut npm).map_err(|failure| {
        Failure::new("the npm package oidc-provider could not be installed")
            .because(failure)
            .hint("it comes from registry.npmjs.org: is that reachable, or is a mirror set in npm's configuration?")
    })?;
    fs::write(&installed, wanted).map_err(Failure::file("write", &installed))
}
