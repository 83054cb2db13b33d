//! Which of our crates may know which. Tests may know more: they put the parts together.

use super::metadata::{members, names, packages};

/// From the top to the bottom; a crate may depend on those below it only.
const ORDER: [&str; 11] = [
    "metalform-cli",
    "metalform-service",
    "metalform-orchestrator",
    "metalform-store",
    "metalform-boot",
    "metalform-images",
    "metalform-ibm-cloud",
    "metalform-nutanix",
    "metalform-simulator",
    "metalform-agent",
    "metalform-model",
];

/// What the order would allow and the purpose of the crate does not: `(crate, what it must not name)`.
const NEVER: [(&str, &[&str]); 9] = [
    ("metalform-service", &["metalform-simulator"]),
    ("metalform-orchestrator", &["axum", "hyper", "reqwest", "rustls", "sqlx", "metalform-boot"]),
    ("metalform-store", &["axum", "hyper", "reqwest", "metalform-boot", "metalform-ibm-cloud", "metalform-nutanix"]),
    ("metalform-boot", &["reqwest", "sqlx", "metalform-ibm-cloud", "metalform-nutanix"]),
    (
        "metalform-images",
        &[
            "tokio",
            "axum",
            "hyper",
            "reqwest",
            "sqlx",
            "metalform-ibm-cloud",
            "metalform-nutanix",
            "metalform-simulator",
        ],
    ),
    ("metalform-ibm-cloud", &["axum", "sqlx", "metalform-nutanix"]),
    ("metalform-nutanix", &["axum", "sqlx"]),
    ("metalform-simulator", &["sqlx", "metalform-ibm-cloud", "metalform-nutanix", "metalform-agent"]),
    ("metalform-model", &["tokio", "tokio-util", "async-trait", "futures-util", "axum", "reqwest", "sqlx", "hyper"]),
];

#[test]
fn our_crates_depend_downwards_only() {
    let mut upwards = Vec::new();
    for (name, package) in members() {
        let Some(place) = ORDER.iter().position(|each| *each == name) else { continue };
        for needed in names(&package.normal) {
            let below = ORDER.iter().position(|each| *each == needed);
            if below.is_some_and(|below| below <= place) {
                upwards.push(format!("{name} -> {needed}"));
            }
        }
    }
    assert_eq!(upwards, [""; 0]);
}

#[test]
fn every_crate_has_its_place_in_the_order() {
    let misplaced: Vec<&str> = members().into_keys().filter(|name| *name != "xtask" && !ORDER.contains(name)).collect();
    assert_eq!(misplaced, [""; 0], "give them a place in ORDER");
}

/// A mistake that client and simulator shared would never show.
#[test]
fn the_simulator_and_the_agent_know_the_model_alone() {
    for name in ["metalform-simulator", "metalform-agent"] {
        // The agent is still to come.
        let Some(package) = members().get(name).copied() else { continue };
        let of_ours = |names: Vec<&'static str>| names.into_iter().filter(|name| name.starts_with("metalform-"));
        let mut ours: Vec<&str> = of_ours(names(&package.normal)).chain(of_ours(names(&package.other))).collect();
        ours.sort_unstable();
        ours.dedup();
        assert_eq!(ours, ["metalform-model"], "{name}");
    }
}

#[test]
fn no_crate_knows_what_its_purpose_forbids() {
    let mut forbidden = Vec::new();
    for (name, never) in NEVER {
        let package = members()[name];
        for needed in names(&package.normal).into_iter().filter(|needed| never.contains(needed)) {
            forbidden.push(format!("{name} -> {needed}"));
        }
    }
    assert_eq!(forbidden, [""; 0]);
}

/// xtask is for developers: it builds in seconds, and nothing is built on it.
#[test]
fn xtask_stands_alone() {
    let xtask = members()["xtask"];
    assert_eq!(names(&xtask.normal), ["serde_json"]);
    let users: Vec<&str> = packages()
        .values()
        .filter(|package| names(&package.normal).contains(&"xtask") || names(&package.other).contains(&"xtask"))
        .map(|package| package.name.as_str())
        .collect();
    assert_eq!(users, [""; 0]);
}
