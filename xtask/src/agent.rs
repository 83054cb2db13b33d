//! The agent as it is shipped: static, and small enough to be loaded into every machine's memory.

use crate::{failure::Failure, repository::Repository, step::output};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// It is part of an initrd, which a machine fetches by iPXE before anything else.
const LARGEST_BYTES: u64 = 5_000_000;

/// Builds it as a release does, and looks at it.
pub fn build(repository: &Repository) -> Result<PathBuf, Failure> {
    repository.run_cargo(&["build", "--release", "--package", "metalform-agent"])?;
    let agent = repository.target().join("release/metalform-agent");
    let size = std::fs::metadata(&agent).map_err(Failure::file("read", &agent))?.len();
    if size > LARGEST_BYTES {
        return Err(Failure::new(format!("metalform-agent has {size} bytes, and may have {LARGEST_BYTES}"))
            .hint("`cargo bloat --release -p metalform-agent --crates` shows what takes the room"));
    }
    let version = output(Command::new(&agent).arg("--version").env_clear())?;
    println!("    {} has {size} bytes: {}", agent.display(), version.trim());
    refuse_a_loader(&agent)?;
    Ok(agent)
}

/// The same is tested of the test build (`crates/agent/tests/binary.rs`); here it is the file that goes out.
fn refuse_a_loader(agent: &Path) -> Result<(), Failure> {
    let bytes = std::fs::read(agent).map_err(Failure::file("read", agent))?;
    let loader = b"/lib64/ld-linux";
    match bytes.windows(loader.len()).any(|part| part == loader) {
        false => Ok(()),
        true => Err(Failure::new("metalform-agent asks for a loader: it is not static")
            .hint("see crates/agent/build.rs; apt-get install libc6-dev")),
    }
}
