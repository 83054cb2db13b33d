//! Features that decide what the binary is.

use super::metadata::{members, names, packages, shipped};
use std::collections::BTreeSet;

fn versions(name: &str) -> Vec<&'static str> {
    packages().values().filter(|package| package.name == name).map(|package| package.version.as_str()).collect()
}

/// With two providers rustls panics at the first connection of whoever leaves it the choice. There are two because the agent,
/// which every machine loads into its memory, is too large with the other's. So nobody leaves it the choice: clippy forbids us
/// the constructors that do, and who else has rustls is known to name one, or to take what it is given.
#[test]
fn rustls_is_never_left_the_choice_of_its_crypto_provider() {
    let rustls: Vec<_> = packages().values().filter(|package| package.name == "rustls").collect();
    assert_eq!(rustls.len(), 1, "one rustls");
    let known = ["ring", "aws_lc_rs", "aws-lc-rs", "fips", "custom-provider", "prefer-post-quantum"];
    let providers: Vec<&str> =
        rustls[0].features_on.iter().map(String::as_str).filter(|feature| known.contains(feature)).collect();
    assert_eq!(providers, ["aws-lc-rs", "aws_lc_rs", "ring"]);
    let clippy = super::read("clippy.toml");
    for constructor in ["ClientConfig::builder", "ServerConfig::builder", "client::WebPkiServerVerifier::builder"] {
        assert!(clippy.contains(&format!("path = \"rustls::{constructor}\"")), "{constructor}");
    }
    let others: BTreeSet<&str> = depend_on("rustls").into_iter().filter(|name| !members().contains_key(name)).collect();
    // reqwest names aws-lc-rs where no default is installed, and nobody installs one; the others take a configuration, or a
    // provider, of their callers.
    assert_eq!(others, BTreeSet::from(["hyper-rustls", "reqwest", "rustls-platform-verifier", "tokio-rustls"]));
}

/// It is the agent's cryptography and nobody else's.
#[test]
fn ring_is_reached_through_rustls_alone() {
    assert_eq!(depend_on("ring"), BTreeSet::from(["rustls", "rustls-webpki"]));
    for file in super::files() {
        let name = file.to_string_lossy();
        if name.starts_with("crates/") && name.ends_with(".rs") && !name.starts_with("crates/agent/") {
            let text = super::read(&name);
            assert!(!text.contains("crypto::ring") && !text.contains("webpki::ring"), "{name}");
        }
    }
}

/// Names of the packages that shipped code of depends on that one, and that are built.
fn depend_on(name: &str) -> BTreeSet<&'static str> {
    let shipped = shipped();
    let having = packages().values().filter(|package| names(&package.normal).contains(&name));
    having.map(|package| package.name.as_str()).filter(|name| shipped.contains(*name)).collect()
}

#[test]
fn openssl_is_not_shipped() {
    let shipped = shipped();
    assert!(shipped.contains("aws-lc-rs"), "the walk over what is shipped finds nothing");
    for name in ["openssl", "openssl-sys", "native-tls"] {
        assert!(!shipped.contains(name), "{name} is built into a shipped binary: cargo tree -e normal -i {name}");
    }
}

/// Two of these would not know each other's types, and each would bring its own configuration.
#[test]
fn the_large_libraries_are_there_once() {
    for name in ["rustls", "reqwest", "tokio", "hyper", "http", "axum", "sqlx", "libsqlite3-sys"] {
        assert_eq!(versions(name).len(), 1, "{name}: {:?}", versions(name));
    }
}

/// A crash point ends the process: only tests may build it in.
#[test]
fn crash_points_are_in_no_default() {
    const FEATURE: &str = "crash-points";
    let members = members();
    let having: Vec<&str> =
        members.iter().filter(|(_, package)| package.features.contains_key(FEATURE)).map(|(name, _)| *name).collect();
    assert_eq!(having, ["metalform-cli", "metalform-orchestrator", "metalform-service"]);
    for (name, package) in members {
        for (feature, on) in &package.features {
            if feature != FEATURE {
                assert!(!on.iter().any(|each| each.ends_with(FEATURE)), "{name}: {feature} switches it on");
            }
        }
        assert!(!package.features_on.iter().any(|on| on == FEATURE), "{name} has it without being asked");
    }
}
