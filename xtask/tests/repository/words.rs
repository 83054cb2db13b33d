//! Words that would tie the repository to one computer.

use super::{files, root};
use std::fs;

/// Split in two, so that this file does not hold them. Paths of somebody's computer, and of a folder beside the checkout.
const FORBIDDEN: [&str; 4] =
    [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("sha", "red/")];

/// The folder of the user `nutanix` on a CVM: a fact of the outside world, and nobody's computer.
const A_CVMS: &str = concat!("/ho", "me/nutanix");

#[test]
fn no_file_names_a_path_of_somebodys_computer() {
    let mut found = Vec::new();
    for file in files() {
        let bytes = fs::read(root().join(&file)).expect("it was just listed");
        let text = String::from_utf8_lossy(&bytes);
        for (number, line) in text.lines().enumerate() {
            let line = line.replace(A_CVMS, "");
            for word in FORBIDDEN.iter().filter(|word| line.contains(*word)) {
                found.push(format!("{}:{}: {word}", file.display(), number + 1));
            }
        }
    }
    assert_eq!(found, [""; 0]);
}

#[test]
fn the_files_are_really_looked_at() {
    let files = files();
    for name in ["Cargo.toml", "xtask/tests/repository/words.rs", ".ci/run"] {
        assert!(files.iter().any(|file| file.as_os_str() == name), "{name} is not among them");
    }
    assert!(!files.iter().any(|file| file.starts_with("target") || file.starts_with(".git/")));
}
