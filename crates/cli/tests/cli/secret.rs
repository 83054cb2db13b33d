//! `secret`: what an operator gives is kept sealed, and the key of all is changed, also by a process that is killed.

use crate::{
    doctor::{mode, problems, run, serve, set_mode},
    run::{Folder, Ran, command},
    site::Site,
};
use serde_json::json;
use std::{fs, io::Write, path::Path, process::Stdio, thread, time::Duration};

fn config_of(folder: &Folder) -> toml::Table {
    fs::read_to_string(folder.path().join("metalform.toml")).unwrap().parse().unwrap()
}

fn reads(folder: &Folder, args: &[&str], text: &str) -> Ran {
    let mut command = command(folder, args);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    child.wait_with_output().unwrap().into()
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

/// With SIGKILL, at growing moments until one comes to its end by itself.
#[test]
fn a_rotation_that_is_killed_at_any_moment_is_ended_by_the_next_one_or_by_the_next_start() {
    let site = Site::start();
    let data = site.data_dir();
    let deployed = site.run(&["deploy", "plan.toml", "--watch"]);
    assert_eq!(deployed.code, 0, "{}", deployed.stderr);
    let passwords = site.run(&["credentials", "my-nutanix-cluster"]).stdout;
    assert_eq!(site.service.stop("-TERM"), 0);
    let mut killed = 0;
    for wait in (0..).map(|n| Duration::from_millis(4 * n)) {
        let mut rotate = command(&site.folder, &["secret", "rotate"]);
        let mut rotating = rotate.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        thread::sleep(wait);
        let ended = rotating.try_wait().unwrap();
        rotating.kill().unwrap();
        rotating.wait().unwrap();
        let seen = run(&site.folder, &["doctor", "--offline", "--json"]);
        assert_eq!(problems(&seen.document()), [""; 0], "after {wait:?}");
        if ended.is_some_and(|status| status.success()) {
            break;
        }
        killed += 1;
        assert!(killed < 500, "it never ends by itself");
    }
    assert!(killed > 0, "it was too fast to be killed");
    let service = serve(&site.folder);
    assert!(!data.join("secret.key.old").exists());
    assert_eq!(run(&site.folder, &["credentials", "my-nutanix-cluster"]).stdout, passwords);
    assert_eq!(service.stop("-TERM"), 0);
}
