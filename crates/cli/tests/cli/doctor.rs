//! `doctor` before the first start, beside a running service, and where something is wrong.

use crate::{
    run::{Folder, Ran, Running, command},
    site::Site,
};
use serde_json::{Value, json};
use std::{fs, os::unix::fs::PermissionsExt, path::Path};

pub fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

pub fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// The verdicts of the checks of that name, and what they say.
fn found<'a>(document: &'a Value, name: &str) -> Vec<(&'a str, &'a str)> {
    let checks = document["checks"].as_array().unwrap().iter().filter(|check| check["name"] == name);
    checks.map(|check| (check["verdict"].as_str().unwrap(), check["message"].as_str().unwrap())).collect()
}

pub fn problems(document: &Value) -> Vec<String> {
    let bad = document["checks"].as_array().unwrap().iter().filter(|check| check["verdict"] == "problem");
    bad.map(|check| format!("{}: {}", check["name"].as_str().unwrap(), check["message"].as_str().unwrap())).collect()
}

pub fn run(folder: &Folder, args: &[&str]) -> Ran {
    command(folder, args).output().unwrap().into()
}

pub fn serve(folder: &Folder) -> Running {
    let service = Running::start(&mut command(folder, &["serve"]));
    service.said("control plane https://127.0.0.1:");
    service
}

#[test]
fn before_the_first_start_it_says_what_is_still_missing_and_makes_nothing() {
    let folder = Folder::new();
    let data = folder.path().join("data");
    folder.write("metalform.toml", &format!("data_dir = {data:?}\n[control]\nlisten = \"127.0.0.1:0\"\n"));
    let ran = command(&folder, &["doctor", "--json"]).output().unwrap().into();
    let Ran { code, .. } = ran;
    let seen = ran.document();
    assert_eq!((code, &seen["healthy"]), (1, &json!(false)));
    let told = problems(&seen);
    assert_eq!(told.len(), 2, "{told:#?}");
    assert!(told[0].starts_with("public_url: boot.public_url in the configuration: missing"), "{told:#?}");
    assert!(told[1].starts_with("cloud: there are no credentials for the cloud"), "{told:#?}");
    for (name, says) in
        [("modes", "isn't there yet"), ("secrets", "the first start makes it"), ("store", "isn't there yet")]
    {
        assert!(matches!(found(&seen, name)[..], [("ok", message)] if message.contains(says)), "{name}: {seen:#}");
    }
    assert_eq!(found(&seen, "images")[0].0, "warning");
    assert!(!data.exists(), "it changes nothing");

    folder.write("metalform.toml", "data_dri = 1");
    let ran: Ran = command(&folder, &["doctor"]).output().unwrap().into();
    assert_eq!(ran.code, 1);
    assert!(ran.stdout.starts_with("PROBLEM  configuration  the configuration can't be used: "), "{}", ran.stdout);
    assert!(ran.stdout.contains("data_dri") && ran.stderr.starts_with("error: 1 problem found"), "{ran:?}");
}

#[test]
fn beside_a_running_service_everything_is_well_and_each_thing_that_is_not_is_named_with_what_to_do() {
    let site = Site::start();
    let lines = site.api("/api/v1/audit");
    let ran = site.run(&["doctor", "--thorough", "--json"]);
    let seen = ran.document();
    assert_eq!((ran.code, problems(&seen)), (0, vec![]), "{seen:#}");
    for (name, says) in [
        ("configuration", "metalform.toml"),
        ("secrets", "every sealed file opens"),
        ("store", "a service works on it"),
        ("boot.listen", "the running service answers"),
        ("control.listen", "the running service answers"),
        ("public_url", "leads to the running service"),
        ("cloud", "profiles of bare metal servers"),
    ] {
        assert!(matches!(found(&seen, name)[..], [("ok", message)] if message.contains(says)), "{name}: {seen:#}");
    }
    let count = |text: &str| text.matches("\"seq\"").count();
    assert_eq!(count(&site.api("/api/v1/audit")), count(&lines) + 1, "no line but that of the look before");

    let data = site.data_dir();
    assert_eq!(site.service.stop("-TERM"), 0);
    let (db, ca, key) = (data.join("metalform.db"), data.join("tls/ca.pem"), data.join("secret.key"));
    set_mode(&db, 0o640);
    set_mode(&ca, 0o666);
    set_mode(&key, 0o644);
    let ran = run(&site.folder, &["doctor", "--offline"]);
    assert_eq!(ran.code, 1, "{}", ran.stdout);
    for path in [&db, &ca, &key] {
        let line =
            ran.stdout.lines().find(|line| line.contains(&format!("modes          {} has mode", path.display())));
        assert!(
            line.is_some_and(|line| line.starts_with("PROBLEM") && line.contains("to do: chmod")),
            "{}",
            ran.stdout
        );
    }
    assert!(ran.stdout.contains("PROBLEM  secrets"), "a key that others may read isn't used: {}", ran.stdout);
    assert!(ran.stdout.contains("skipped  cloud          --offline"), "{}", ran.stdout);
    let mended = run(&site.folder, &["doctor", "--offline", "--fix-modes"]);
    assert_eq!(mended.code, 0, "{}", mended.stdout);
    assert_eq!([&db, &ca, &key].map(|path| mode(path)), [0o600, 0o644, 0o600]);

    let right = fs::read_to_string(&key).unwrap();
    fs::write(&key, "0".repeat(64)).unwrap();
    let seen = run(&site.folder, &["doctor", "--offline", "--json"]).document();
    assert!(matches!(found(&seen, "secrets")[..], [("problem", m)] if m.contains("isn't the one that")), "{seen:#}");
    fs::write(&key, &right).unwrap();
    let sealed = fs::read_to_string(data.join("tls/ca.key")).unwrap();
    fs::write(data.join("tls/ca.key"), sealed.replace("metalform-sealed:1:", "metalform-sealed:1:00")).unwrap();
    let seen = run(&site.folder, &["doctor", "--offline", "--json"]).document();
    assert!(matches!(found(&seen, "secrets")[..], [("problem", m)] if m.starts_with("tls/ca.key: ")), "{seen:#}");
    fs::write(data.join("tls/ca.key"), sealed).unwrap();
    serve(&site.folder);
}

#[test]
fn certificates_that_the_configuration_names_are_looked_at_as_a_start_would() {
    let folder = Folder::new();
    let data = folder.path().join("data");
    let [cert, key, ca] = ["cert.pem", "key.pem", "ca.pem"].map(|name| folder.path().join(name));
    let openssl = |subject: &str, key: &Path, cert: &Path| {
        let mut made = std::process::Command::new("openssl");
        made.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3"]);
        made.args(["-subj", "/CN=x", "-addext", subject, "-keyout"]).arg(key).arg("-out").arg(cert);
        assert!(made.output().unwrap().status.success());
        set_mode(key, 0o600);
    };
    openssl("subjectAltName=DNS:a.example.com", &key, &cert);
    let roles = "roles = { admin = [\"a\"] }";
    let oidc =
        format!("[control.oidc]\nissuer = \"https://id.example.com\"\nclient_id = \"a\"\n{roles}\nca_file = {ca:?}");
    let control = "[control]\nlisten = \"127.0.0.1:0\"\npublic_url = \"https://a.example.com\"";
    let tls = format!("tls = {{ cert = {cert:?}, key = {key:?} }}");
    folder.write("metalform.toml", &format!("data_dir = {data:?}\n{control}\n{tls}\n{oidc}\n"));
    let seen = || run(&folder, &["doctor", "--offline", "--json"]).document();
    let first = seen();
    let [("warning", own), ("problem", trusted)] = found(&first, "tls")[..] else { panic!("{first:#}") };
    assert!(own.starts_with("control.tls: the operator's certificate expires soon"), "{own}");
    assert!(trusted.starts_with("control.oidc.ca_file: the certificates in ") && trusted.contains("read"), "{trusted}");
    // The key of another one; and a file with nothing in it.
    openssl("subjectAltName=DNS:b.example.com", &key, &ca);
    let second = seen();
    let [("problem", own), ("ok", _)] = found(&second, "tls")[..] else { panic!("{second:#}") };
    assert!(own.contains("is not that of the certificate in"), "{own}");
    fs::write(&ca, "no certificate\n").unwrap();
    let third = seen();
    assert!(
        matches!(found(&third, "tls")[..], [_, ("problem", told)] if told.contains("no certificates")),
        "{third:#}"
    );
}

#[test]
fn a_data_folder_that_others_may_look_into_is_told_and_closed() {
    let site = Site::start();
    let data = site.data_dir();
    assert_eq!(mode(&data), 0o700, "as the first start makes it");
    set_mode(&data, 0o755);
    let seen = site.run(&["doctor", "--offline", "--json"]).document();
    assert!(matches!(found(&seen, "modes")[..], [("warning", told)] if told.contains("look into it")), "{seen:#}");
    site.run(&["doctor", "--offline", "--fix-modes"]);
    assert_eq!(mode(&data), 0o700);
}
