//! `doctor` before the first start, beside a running service, and where something is wrong; `secret` on the same folder.

use crate::{
    run::{Folder, Ran, Running, command},
    site::Site,
};
use serde_json::{Value, json};
use std::{fs, io::Write, os::unix::fs::PermissionsExt, path::Path, process::Stdio};

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// The verdicts of the checks of that name, and what they say.
fn found<'a>(document: &'a Value, name: &str) -> Vec<(&'a str, &'a str)> {
    let checks = document["checks"].as_array().unwrap().iter().filter(|check| check["name"] == name);
    checks.map(|check| (check["verdict"].as_str().unwrap(), check["message"].as_str().unwrap())).collect()
}

fn problems(document: &Value) -> Vec<String> {
    let bad = document["checks"].as_array().unwrap().iter().filter(|check| check["verdict"] == "problem");
    bad.map(|check| format!("{}: {}", check["name"].as_str().unwrap(), check["message"].as_str().unwrap())).collect()
}

fn run(folder: &Folder, args: &[&str]) -> Ran {
    command(folder, args).output().unwrap().into()
}

fn config_of(folder: &Folder) -> toml::Table {
    fs::read_to_string(folder.path().join("metalform.toml")).unwrap().parse().unwrap()
}

fn serve(folder: &Folder) -> Running {
    let service = Running::start(&mut command(folder, &["serve"]));
    service.said("control plane https://127.0.0.1:");
    service
}

fn reads(folder: &Folder, args: &[&str], text: &str) -> Ran {
    let mut command = command(folder, args);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    child.wait_with_output().unwrap().into()
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
fn the_clouds_key_is_kept_sealed_and_the_key_of_all_is_changed_while_nobody_has_the_folder() {
    let site = Site::start();
    let data = site.data_dir();
    let mut config = site.config();
    let cloud = config["ibm_cloud"].as_table_mut().unwrap();
    let api_key = fs::read_to_string(cloud.remove("api_key_file").unwrap().as_str().unwrap()).unwrap();
    cloud.insert("api_key".into(), "sealed".into());
    site.folder.write("metalform.toml", &config.to_string());
    let unset = site.run(&["doctor", "--json"]);
    assert!(problems(&unset.document())[0].contains("no ibm-api-key is stored"), "{}", unset.stdout);
    let set = reads(&site.folder, &["secret", "set", "ibm-api-key"], &api_key);
    assert_eq!((set.code, set.stdout.starts_with("ibm-api-key: kept in ")), (0, true), "{set:?}");
    assert!(!format!("{set:?}").contains(api_key.trim()));
    assert_eq!(mode(&data.join("ibm-api-key")), 0o600);
    assert!(!fs::read_to_string(data.join("ibm-api-key")).unwrap().contains(api_key.trim()));
    let nothing = reads(&site.folder, &["secret", "set", "ibm-api-key", "--json"], "");
    assert_eq!((nothing.code, &nothing.document()["error"]["code"]), (1, &json!("secret")), "{nothing:?}");

    let running = site.run(&["secret", "rotate"]);
    assert_eq!(running.code, 1);
    assert!(running.stderr.contains("in use by another process"), "{}", running.stderr);
    assert_eq!(site.service.stop("-TERM"), 0);
    let before = fs::read_to_string(data.join("secret.key")).unwrap();
    let rotated = run(&site.folder, &["secret", "rotate", "--json"]);
    assert_eq!((rotated.code, &rotated.document()["was_done"]), (0, &json!(false)), "{rotated:?}");
    let after = fs::read_to_string(data.join("secret.key")).unwrap();
    assert_ne!(before, after);
    assert!(!data.join("secret.key.old").exists() && !format!("{rotated:?}").contains(&after));

    // From the file to elsewhere: the new key lies there, and the old one is named.
    let key = site.folder.write("key", &"7".repeat(64));
    set_mode(Path::new(&key), 0o600);
    let mut config = config_of(&site.folder);
    config.insert(
        "secrets".into(),
        toml::Table::from_iter([("key".to_owned(), format!("command:/bin/cat {key}").into())]).into(),
    );
    site.folder.write("metalform.toml", &config.to_string());
    let refused = run(&site.folder, &["serve"]);
    assert_eq!(refused.code, 1);
    assert!(
        refused.stderr.contains("isn't the one that") && refused.stderr.contains("rotate --old"),
        "{}",
        refused.stderr
    );
    let old = format!("file:{}", data.join("secret.key").display());
    let rotated = run(&site.folder, &["secret", "rotate", "--old", &old]);
    assert_eq!(rotated.code, 0, "{}", rotated.stderr);
    fs::remove_file(data.join("secret.key")).unwrap();
    let _service = serve(&site.folder);
    let well = run(&site.folder, &["doctor", "--json"]);
    assert_eq!(problems(&well.document()), [""; 0], "{}", well.stdout);
    let verified = run(&site.folder, &["audit", "verify"]);
    assert_eq!(verified.code, 0, "the audit goes on under the same key: {}", verified.stderr);
}
