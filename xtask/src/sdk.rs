//! Two Python programs in a virtual environment below the build folder: IBM's own SDK of the VPC API, with which the tests
//! drive the simulator, and schemathesis, with which they call the service. So both are measured by what we did not write.

use crate::{
    debian,
    failure::Failure,
    repository::Repository,
    step::{run, step},
};
use std::{fs, process::Command};

/// Tools and SDK.
pub fn prepare(repository: &Repository) -> Result<(), Failure> {
    step("tools", debian::install_missing)?;
    step("sdk", || install(repository))
}

/// `target/venv` with exactly the pinned packages; nothing is done when it has them already.
pub fn install(repository: &Repository) -> Result<(), Failure> {
    let pins = repository.root().join("crates/cli/tests/sdk/requirements.txt");
    let wanted = fs::read_to_string(&pins).map_err(Failure::file("read", &pins))?;
    let venv = repository.target().join("venv");
    let installed = venv.join("installed.txt");
    if fs::read_to_string(&installed).is_ok_and(|there| there == wanted) {
        println!("    {} has it", venv.display());
        return Ok(());
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
    let mut pip = Command::new(venv.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]).arg(&pins);
    run(&mut pip).map_err(|failure| {
        Failure::new("IBM's Python SDK and schemathesis could not be installed")
            .because(failure)
            .hint("they come from pypi.org: is that reachable, or is a mirror set in pip's configuration?")
    })?;
    fs::write(&installed, wanted).map_err(Failure::file("write", &installed))
}
