//! Where the checkout and its build folder are.

use crate::{
    failure::Failure,
    step::{output, run},
};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// The checkout this program was built from.
pub struct Repository {
    root: PathBuf,
    target: PathBuf,
}

impl Repository {
    pub fn find() -> Result<Repository, Failure> {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let root = root.parent().map(Path::to_path_buf).ok_or_else(|| Failure::new("xtask has no folder above it"))?;
        let metadata = output(cargo(&root).args(["metadata", "--no-deps", "--format-version=1"]))?;
        let metadata: serde_json::Value = serde_json::from_str(&metadata)
            .map_err(|error| Failure::new("cargo metadata gave no JSON").because(error))?;
        let target = metadata["target_directory"].as_str().ok_or_else(|| Failure::new("no target folder"))?;
        Ok(Repository { target: PathBuf::from(target), root })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Cargo's build folder, wherever `CARGO_TARGET_DIR` put it.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// A folder below the build folder, made if it isn't there.
    pub fn made(&self, name: &str) -> Result<PathBuf, Failure> {
        let folder = self.target.join(name);
        std::fs::create_dir_all(&folder).map_err(Failure::file("make", &folder))?;
        Ok(folder)
    }

    pub fn cargo(&self) -> Command {
        cargo(&self.root)
    }

    pub fn run_cargo(&self, words: &[&str]) -> Result<(), Failure> {
        run(self.cargo().args(words))
    }
}

/// Without what `cargo run` told us about ourselves: build scripts that watch such a variable would run again.
fn cargo(root: &Path) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") || name == "LD_LIBRARY_PATH" {
            cargo.env_remove(name.as_ref());
        }
    }
    cargo.current_dir(root);
    cargo
}
