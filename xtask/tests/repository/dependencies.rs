//! What comes in from outside: under which licences, from where. `cargo xtask deny` says the same by `deny.toml`, with a
//! tool that has to be installed first; this says it in every test run.

use super::{metadata::packages, read};
use std::collections::BTreeSet;

#[test]
fn every_dependency_has_a_licence_we_accept() {
    let allowed = allowed();
    let mut refused = BTreeSet::new();
    for package in packages().values().filter(|package| !package.is_member) {
        let licence = package.license.as_deref().unwrap_or("none");
        let exception = exceptions().iter().any(|(name, extra)| *name == package.name && licence.contains(extra));
        if !exception && !is_allowed(licence, &allowed) {
            refused.insert(format!("{} {}: {licence}", package.name, package.version));
        }
    }
    assert_eq!(refused, BTreeSet::new(), "see [licenses] in deny.toml");
}

/// `fuzz/` is outside the workspace, and its lock file is nobody's who doesn't fuzz.
#[test]
fn the_lock_file_of_the_fuzz_targets_goes_with_their_manifests() {
    let words = ["metadata", "--format-version=1", "--locked", "--manifest-path=fuzz/Cargo.toml"];
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = std::process::Command::new(cargo).current_dir(super::root()).args(words).output();
    let output = output.expect("cargo runs these tests");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cp Cargo.lock fuzz/ && (cd fuzz && cargo metadata), and commit it: {said}");
}

#[test]
fn a_licence_text_is_read_as_spdx_means_it() {
    let allowed: BTreeSet<String> = ["MIT", "Apache-2.0"].map(str::to_owned).into();
    for text in ["MIT", "GPL-3.0 OR MIT", "(GPL-3.0 OR MIT) AND Apache-2.0", "MIT/GPL-3.0", "MIT AND (GPL-3.0 OR MIT)"]
    {
        assert!(is_allowed(text, &allowed), "{text}");
    }
    for text in ["none", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR Apache-2.0) AND GPL-3.0", "Apache-2.0 WITH X"] {
        assert!(!is_allowed(text, &allowed), "{text}");
    }
}

#[test]
fn every_allowed_licence_is_needed() {
    let all: String =
        packages().values().filter_map(|package| package.license.as_deref()).collect::<Vec<_>>().join(" ");
    let unused: Vec<String> = allowed().into_iter().filter(|licence| !all.contains(licence)).collect();
    assert_eq!(unused, [""; 0], "remove them from deny.toml");
}

#[test]
fn crates_come_from_the_registry_alone() {
    let deny = read("deny.toml");
    assert!(deny.contains("unknown-registry = \"deny\"") && deny.contains("unknown-git = \"deny\""));
    let elsewhere: Vec<String> = read("Cargo.lock")
        .lines()
        .filter_map(|line| line.strip_prefix("source = "))
        .filter(|source| *source != "\"registry+https://github.com/rust-lang/crates.io-index\"")
        .map(str::to_owned)
        .collect();
    assert_eq!(elsewhere, [""; 0]);
}

/// `[licenses] allow` of `deny.toml`: one list for both tools.
fn allowed() -> BTreeSet<String> {
    let deny = read("deny.toml");
    let list = deny.split_once("\nallow = [").expect("deny.toml has a list").1;
    let list = list.split_once(']').expect("the list ends").0;
    let allowed: BTreeSet<String> = list.split('"').skip(1).step_by(2).map(str::to_owned).collect();
    assert!(allowed.contains("MIT"), "the list was not found in deny.toml");
    allowed
}

/// `(package, licence that this package alone may have)`; none is needed now.
fn exceptions() -> &'static [(&'static str, &'static str)] {
    &[]
}

/// `OR` needs one side, `AND` both and binds closer; an old `/` is an `OR`. `WITH` belongs to the licence's name.
fn is_allowed(text: &str, allowed: &BTreeSet<String>) -> bool {
    let text = text.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ").replace(" WITH ", "~WITH~");
    let words: Vec<&str> = text.split_whitespace().collect();
    let (allowed, rest) = either(&words, allowed);
    allowed && rest.is_empty()
}

fn either<'a>(words: &'a [&'a str], allowed: &BTreeSet<String>) -> (bool, &'a [&'a str]) {
    let (mut yes, mut rest) = both(words, allowed);
    while let [word, more @ ..] = rest
        && *word == "OR"
    {
        let (other, after) = both(more, allowed);
        (yes, rest) = (yes | other, after);
    }
    (yes, rest)
}

fn both<'a>(words: &'a [&'a str], allowed: &BTreeSet<String>) -> (bool, &'a [&'a str]) {
    let (mut yes, mut rest) = single(words, allowed);
    while let [word, more @ ..] = rest
        && *word == "AND"
    {
        let (other, after) = single(more, allowed);
        (yes, rest) = (yes & other, after);
    }
    (yes, rest)
}

fn single<'a>(words: &'a [&'a str], allowed: &BTreeSet<String>) -> (bool, &'a [&'a str]) {
    match words {
        ["(", inside @ ..] => match either(inside, allowed) {
            (yes, [")", rest @ ..]) => (yes, rest),
            _ => (false, &[]),
        },
        [licence, rest @ ..] => (allowed.contains(&licence.replace("~WITH~", " WITH ")), rest),
        [] => (false, &[]),
    }
}
