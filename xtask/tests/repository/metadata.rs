//! `cargo metadata`, as far as these tests need it.

use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
    sync::OnceLock,
};

/// A package of the graph.
pub struct Package {
    pub name: String,
    pub version: String,
    pub license: Option<String>,
    /// One of ours.
    pub is_member: bool,
    /// Features that are switched on somewhere in the workspace, and what each feature switches on.
    pub features_on: Vec<String>,
    pub features: BTreeMap<String, Vec<String>>,
    /// Ids of packages the shipped code is built from.
    pub normal: Vec<String>,
    /// The same for tests and build scripts.
    pub other: Vec<String>,
}

/// All packages by id, for Linux on x86-64.
pub fn packages() -> &'static BTreeMap<String, Package> {
    static PACKAGES: OnceLock<BTreeMap<String, Package>> = OnceLock::new();
    PACKAGES.get_or_init(load)
}

/// Our own, by name.
pub fn members() -> BTreeMap<&'static str, &'static Package> {
    packages().values().filter(|package| package.is_member).map(|package| (package.name.as_str(), package)).collect()
}

/// Names of packages, for these ids.
pub fn names(ids: &[String]) -> Vec<&'static str> {
    ids.iter().map(|id| packages()[id].name.as_str()).collect()
}

/// Names of all packages that the shipped binaries are built from, without tests and build scripts. From `cargo tree`:
/// `cargo metadata` also lists optional packages that nothing switches on.
pub fn shipped() -> BTreeSet<String> {
    let words =
        ["tree", "--workspace", "--exclude=xtask", "--edges=normal", "--prefix=none", "--format={p}", "--locked"];
    let names = cargo(&words);
    names.lines().filter_map(|line| line.split(' ').next()).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn cargo(words: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).current_dir(super::root()).args(words).output().expect("cargo runs these tests");
    assert!(output.status.success(), "cargo {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo writes UTF-8")
}

fn load() -> BTreeMap<String, Package> {
    let words = ["metadata", "--format-version=1", "--locked", "--filter-platform=x86_64-unknown-linux-gnu"];
    let metadata: Value = serde_json::from_str(&cargo(&words)).expect("cargo metadata is JSON");
    let members: Vec<&str> = texts(&metadata["workspace_members"]);
    let nodes: BTreeMap<&str, &Value> =
        array(&metadata["resolve"]["nodes"]).map(|node| (text(&node["id"]), node)).collect();
    array(&metadata["packages"])
        .filter_map(|package| {
            let id = text(&package["id"]);
            let node = nodes.get(id)?;
            let of_kind = |normal: bool| {
                array(&node["deps"])
                    .filter(|dep| array(&dep["dep_kinds"]).any(|kind| kind["kind"].is_null() == normal))
                    .map(|dep| text(&dep["pkg"]).to_owned())
                    .collect()
            };
            let features = package["features"].as_object().expect("an object").iter();
            let owned = |texts: Vec<&str>| texts.into_iter().map(str::to_owned).collect();
            let read = Package {
                name: text(&package["name"]).to_owned(),
                version: text(&package["version"]).to_owned(),
                license: package["license"].as_str().map(str::to_owned),
                is_member: members.contains(&id),
                features_on: owned(texts(&node["features"])),
                features: features.map(|(name, on)| (name.clone(), owned(texts(on)))).collect(),
                normal: of_kind(true),
                other: of_kind(false),
            };
            Some((id.to_owned(), read))
        })
        .collect()
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().expect("an array").iter()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

fn texts(value: &Value) -> Vec<&str> {
    array(value).map(text).collect()
}
