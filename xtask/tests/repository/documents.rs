//! Documents that name things which don't exist mislead more than none.

use super::{files, read, root};
use std::path::Path;

/// Words in backticks that look like paths and are none of the checkout's: media types, and files of a running service.
const NOT_OURS: [&str; 4] = ["text/", "application/", "data_dir/", "target/"];

#[test]
fn architecture_md_names_only_paths_that_exist() {
    let text = read("ARCHITECTURE.md");
    let named = named_paths(&text);
    assert!(named.len() >= 5, "a map of the code names its folders: {named:?}");
    let missing: Vec<&str> = named.into_iter().filter(|path| !exists(path)).collect();
    assert_eq!(missing, [""; 0]);
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut broken = Vec::new();
    for file in files().into_iter().filter(|file| file.extension().is_some_and(|extension| extension == "md")) {
        let folder = file.parent().unwrap_or(Path::new(""));
        for link in links(&read(&file.display().to_string())) {
            let path = link.split('#').next().unwrap_or_default();
            if !path.is_empty() && !root().join(folder).join(path).exists() {
                broken.push(format!("{}: {link}", file.display()));
            }
        }
    }
    assert_eq!(broken, [""; 0]);
}

#[test]
fn paths_and_links_are_found_in_a_document() {
    let text = "`crates/model` and `flow.rs`, not `POST /v1/x`, `/api/v1/nodes`, `http://a/b` or `text/plain`;\n\
                [here](docs/a.md#b), [there](https://example.com), `xtask/`, `a::b`";
    assert_eq!(named_paths(text), ["crates/model", "flow.rs", "xtask/"]);
    assert_eq!(links(text), ["docs/a.md#b"]);
    assert!(exists("xtask/") && exists("documents.rs") && !exists("crates/none") && !exists("none.rs"));
}

/// What stands in backticks and has the form of a path below the checkout, or of a file's name.
fn named_paths(text: &str) -> Vec<&str> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    text.split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| !word.is_empty() && word.chars().all(is_word) && !word.starts_with('/'))
        .filter(|word| word.contains('/') || [".rs", ".md", ".toml", ".sql"].iter().any(|end| word.ends_with(end)))
        .filter(|word| !NOT_OURS.iter().any(|start| word.starts_with(start)))
        .collect()
}

/// A file, or a folder with a file in it: an empty one is not in anybody's clone. From the root; a bare file name may be
/// anywhere.
fn exists(path: &str) -> bool {
    let anywhere = !path.contains('/');
    files().iter().any(|file| file.starts_with(path) || (anywhere && file.file_name().is_some_and(|name| name == path)))
}

/// Where links lead that stay inside the checkout.
fn links(text: &str) -> Vec<&str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(link, _)| link)
        .filter(|link| !link.contains("://") && !link.starts_with("mailto:"))
        .collect()
}

/// `docs/security.md` says which test holds what it promises.
#[test]
fn security_md_names_only_tests_that_exist() {
    let text = read("docs/security.md");
    let (list, _) = text.split_once("\n## Who could do harm").expect("a list, and then what else there is");
    let rows = list.lines().filter(|line| line.starts_with("| ") && line.ends_with("` |"));
    let named: Vec<&str> = rows.filter_map(|row| row.rsplit('`').nth(1)).collect();
    assert!(named.len() >= 12, "one for each point of the design's list: {named:?}");
    let sources: String = files()
        .iter()
        .filter(|file| file.extension().is_some_and(|extension| extension == "rs"))
        .map(|file| read(&file.display().to_string()))
        .collect();
    let missing: Vec<&str> = named.into_iter().filter(|name| !sources.contains(&format!("fn {name}("))).collect();
    assert_eq!(missing, [""; 0]);
}
