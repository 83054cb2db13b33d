//! Features that decide what the binary is.

use super::metadata::{members, packages, shipped};

fn versions(name: &str) -> Vec<&'static str> {
    packages().values().filter(|package| package.name == name).map(|package| package.version.as_str()).collect()
}

/// With two providers in one binary, rustls panics at the first connection because it can't choose.
#[test]
fn rustls_has_one_crypto_provider() {
    let rustls: Vec<_> = packages().values().filter(|package| package.name == "rustls").collect();
    assert_eq!(rustls.len(), 1, "one rustls");
    let providers: Vec<&str> = rustls[0]
        .features_on
        .iter()
        .map(String::as_str)
        .filter(|feature| ["ring", "aws_lc_rs", "aws-lc-rs", "fips"].contains(feature))
        .collect();
    assert!(providers.contains(&"aws_lc_rs"), "{providers:?}");
    assert!(!providers.contains(&"ring"), "{providers:?}");
}

#[test]
fn ring_and_openssl_are_not_shipped() {
    let shipped = shipped();
    assert!(shipped.contains("aws-lc-rs"), "the walk over what is shipped finds nothing");
    for name in ["ring", "openssl", "openssl-sys", "native-tls"] {
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
