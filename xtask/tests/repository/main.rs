//! Rules about the repository as a whole, held by tests: what may depend on what, what may come in from outside, and that
//! the documents name things that exist.

mod arrows;
mod dependencies;
mod documents;
mod features;
mod metadata;
mod secrets;
mod words;

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The checkout.
fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().expect("xtask lies in the checkout").to_owned()
}

/// Every file of the checkout, relative to it, without what is built and what git keeps for itself.
fn files() -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).expect("a folder of the checkout").filter_map(Result::ok) {
            let path = folder.join(entry.file_name());
            let kind = entry.file_type().expect("it was just there");
            if kind.is_dir() {
                let built = path == Path::new("target") || path.ends_with(".git") || path.ends_with("__pycache__");
                if !built {
                    folders.push(path);
                }
            } else if kind.is_file() && !path.ends_with(".git") {
                // In a second work tree `.git` is a file, and says where the first one is.
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}
