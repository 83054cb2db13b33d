//! Everything that a whole deployment leaves behind or says, searched for secrets: log, both streams of every command,
//! answers, files. The places where they may be read are `metalform credentials`, and `metalform token create`.

use crate::site::Site;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;
use std::{fs, path::Path};

const CLUSTER: &str = "my-nutanix-cluster";

/// What was said or written, and where.
type Said = Vec<(String, Vec<u8>)>;

/// The files of the data folder that are there to hold a secret.
const SECRET_FILES: [&str; 4] = ["token", "secret.key", "server.pem", "boot.pem"];

fn files(folder: &Path, said: &mut Said) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if path.is_dir() {
            files(&path, said);
        } else if !SECRET_FILES.contains(&name.as_str()) {
            said.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
}

/// Also as it stands in an `Authorization` header, whoever logs in with it, and as bytes that somebody printed.
fn in_every_form(name: &str, secret: &str) -> Vec<(String, String)> {
    let header = |user: &str| (format!("{name} in a header of {user}"), STANDARD.encode(format!("{user}:{secret}")));
    let bytes = format!("{:?}", secret.as_bytes());
    let bytes = (format!("{name} in bytes"), bytes.trim_matches(['[', ']']).to_owned());
    vec![(name.to_owned(), secret.to_owned()), bytes, header("admin"), header("nutanix"), header("root")]
}

/// Where a secret is found: its name, the place, and what stands around it.
fn found(said: &Said, secrets: &[(String, String)]) -> Vec<String> {
    let mut found = Vec::new();
    for (place, bytes) in said {
        for (name, secret) in secrets {
            if let Some(at) = bytes.windows(secret.len()).position(|window| window == secret.as_bytes()) {
                let around = &bytes[at.saturating_sub(160)..(at + secret.len()).min(bytes.len())];
                found.push(format!("{name} is in {place}: {}", String::from_utf8_lossy(around)));
            }
        }
    }
    found
}

/// A cluster of that world is deployed, looked at in every way there is and let go, while the service logs all it can.
fn leaves_no_secret(profile: &str) {
    let world = ["--speed", "6000", "--cvm", profile];
    let site = Site::start_in(&world, &[("METALFORM_LOG", "trace")]);
    let mut said: Said = Vec::new();
    let run = |args: &[&str], said: &mut Said| {
        let ran = site.run(args);
        said.push((format!("metalform {}", args.join(" ")), format!("{}\n{}", ran.stdout, ran.stderr).into()));
        ran
    };
    let deployed = run(&["deploy", "plan.toml", "--watch", "--json"], &mut said);
    assert_eq!(deployed.code, 0, "{}", deployed.stderr);

    // The one that may.
    let shown = site.run(&["credentials", CLUSTER, "--json"]).document();
    let accounts = shown["accounts"].as_array().unwrap();
    assert_eq!(accounts.len(), 5, "{}", shown["cluster"]);
    let password = |account: &Value| {
        (account["account"].as_str().unwrap().to_owned(), account["password"].as_str().unwrap().to_owned())
    };
    let passwords: Vec<(String, String)> = accounts.iter().map(password).collect();
    let mut secrets: Vec<(String, String)> =
        passwords.iter().flat_map(|(account, password)| in_every_form(account, password)).collect();
    // As a word these stand in documents and hints; in a header they would be a login.
    for known in ["nutanix/4u", "Nutanix/4u", "admin"] {
        secrets.extend(in_every_form(known, known).into_iter().skip(2));
    }
    secrets.push(("the operator's token".into(), site.token()));
    let made = site.run(&["token", "create", "--name", "ci", "--role", "admin", "--json"]).document();
    let token = made["token"].as_str().unwrap().to_owned();
    for shown in [token.as_str(), &token[..token.len() - 1]] {
        let ran = site.run_elsewhere(shown, &["token", "list"]);
        said.push((format!("metalform token list, {}", ran.code), format!("{}\n{}", ran.stdout, ran.stderr).into()));
    }
    assert!(said.iter().any(|(place, _)| place == "metalform token list, 0"), "the token is of use");
    secrets.push(("an API token".into(), token[token.len() - 72..token.len() - 1].to_owned()));
    let api_key = site.config()["ibm_cloud"]["api_key_file"].as_str().unwrap().to_owned();
    secrets.push(("the API key".into(), fs::read_to_string(api_key).unwrap().trim().to_owned()));
    let pem = fs::read_to_string(site.data_dir().join("tls/server.pem")).unwrap();
    let (begin, key) =
        pem.split_once("-----BEGIN PRIVATE KEY-----").map(|(_, key)| ("BEGIN PRIVATE KEY", key)).unwrap();
    secrets.push(("the private key in server.pem".into(), key.split_whitespace().next().unwrap().to_owned()));
    // Our authority's, and the audit's: sealed.
    secrets.push(("a private key".into(), begin.into()));
    let secret_key = fs::read_to_string(site.data_dir().join("secret.key")).unwrap();
    secrets.push(("the secret key".into(), secret_key));
    secrets.push(("a password hash".into(), "$6$".into()));
    let machines = site.control("machines");
    assert_eq!(machines.len(), 3);
    for machine in machines {
        let (_, token) = machine["user_data"].as_str().unwrap().split_once("?t=").unwrap();
        assert_eq!(token.len(), 64, "a boot token");
        secrets.push(("a boot token".into(), token.to_owned()));
    }

    for args in [
        &["status"][..],
        &["status", CLUSTER],
        &["status", CLUSTER, "--json"],
        &["events", CLUSTER],
        &["script", "server-001"],
        &["deploy", "plan.toml", "--watch"],
        &["deploy", "plan.toml"],
        &["retry", CLUSTER],
        &["form", CLUSTER, "--json"],
        &["token", "list"],
        &["token", "list", "--json"],
        &["token", "revoke", "ci"],
    ] {
        run(args, &mut said);
    }
    let cluster = format!("/api/v1/clusters/{CLUSTER}");
    for path in [
        "/",
        "/healthz",
        "/readyz",
        "/openapi.json",
        "/metrics",
        "/api/v1/clusters",
        &cluster,
        &format!("{cluster}/events"),
        "/api/v1/nodes",
        "/api/v1/nodes/server-001",
        "/api/v1/nodes/server-001/script",
        "/api/v1/audit",
        "/api/v1/tokens",
    ] {
        said.push((format!("GET {path}"), site.api(path).into()));
    }
    files(&site.data_dir(), &mut said);
    assert!(said.iter().any(|(place, _)| place.ends_with(".db")), "the database is looked through");
    run(&["destroy", CLUSTER, "--watch"], &mut said);
    files(&site.data_dir(), &mut said);
    let log = site.service.stop_and_tell("-TERM");
    assert!(log.contains("TRACE") && log.contains(CLUSTER), "the log is none: {log:.500}");
    said.push(("the log of serve".into(), log.into()));

    // Whoever finds nothing must be able to.
    let told: Said = vec![("metalform credentials".into(), shown.to_string().into())];
    assert_eq!(found(&told, &passwords).len(), 5, "these are the passwords");
    let planted: Said = vec![("here".into(), secrets.iter().flat_map(|(_, s)| s.bytes()).collect())];
    assert_eq!(found(&planted, &secrets).len(), secrets.len());

    assert_eq!(found(&said, &secrets), [""; 0], "{profile}");
}

#[test]
fn no_secret_is_left_by_a_cluster_that_was_created_over_ssh() {
    leaves_no_secret("observed");
}

#[test]
fn no_secret_is_left_by_a_cluster_that_was_created_over_rest() {
    leaves_no_secret("documented");
}
