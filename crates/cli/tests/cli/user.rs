//! Users from the command line: a password comes from standard input or from a terminal, never from an argument.

use crate::{
    run::{Folder, Ran, command},
    site::Site,
};
use serde_json::json;
use std::{
    io::Write,
    process::{Command, Stdio},
};

const PASSWORD: &str = "kupfer lampe 7";

/// A command that is given that on standard input.
fn run_with(folder: &Folder, args: &[&str], input: &str) -> Ran {
    let mut command = command(folder, args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = command.spawn().unwrap();
    // What is refused before it is read breaks the pipe.
    let _ = running.stdin.take().unwrap().write_all(input.as_bytes());
    running.wait_with_output().unwrap().into()
}

/// The same at a terminal, which `script` of util-linux makes; what the terminal showed is on standard output.
fn run_at_terminal(folder: &Folder, args: &[&str], typed: &str) -> Ran {
    let binary = env!("CARGO_BIN_EXE_metalform");
    let line = format!("{binary} {}", args.join(" "));
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &line, "/dev/null"]).current_dir(folder.path());
    script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = script.spawn().expect("script is missing: it is in Debian's bsdutils");
    running.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
    running.wait_with_output().unwrap().into()
}

fn code(site: &Site, name: &str, password: &str) -> String {
    let body = json!({"name": name, "password": password}).to_string();
    let config = site.config();
    let url = format!("https://{}/api/v1/session", config["control"]["listen"].as_str().unwrap());
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--noproxy", "*", "--output", "/dev/null", "--write-out", "%{http_code}", "--cacert"]);
    let answer = curl.arg(site.data_dir().join("tls/ca.pem")).args(["--data", &body, &url]).output();
    let answer = answer.expect("curl is missing: `cargo xtask test` installs it");
    String::from_utf8(answer.stdout).unwrap()
}

#[test]
fn a_user_is_made_gets_another_password_and_is_removed() {
    let site = Site::start();
    let made = run_with(&site.folder, &["user", "create", "ann", "--role", "operator", "--cluster", "a"], PASSWORD);
    assert_eq!((made.code, made.stdout.as_str(), made.stderr.as_str()), (0, "ann is operator of a\n", ""));
    assert_eq!(code(&site, "ann", PASSWORD), "201");
    assert_eq!(code(&site, "ann", "messing kanne 9"), "401");

    // With the line end that `echo` writes.
    let changed = run_with(&site.folder, &["user", "password", "ann"], "messing kanne 9\n");
    assert_eq!(changed.stdout, "ann has another password, and is logged out everywhere\n", "{}", changed.stderr);
    assert_eq!(code(&site, "ann", "messing kanne 9"), "201");
    let listed = site.run(&["user", "list"]).stdout;
    let row: Vec<&str> = listed.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[..3], ["ann", "operator", "a"], "{listed}");
    assert_ne!(row[3], "never");

    let again = run_with(&site.folder, &["user", "create", "ann", "--role", "viewer", "--json"], PASSWORD);
    assert_eq!((again.code, &again.document()["error"]["code"]), (1, &json!("user_name_taken")));
    let unknown = run_with(&site.folder, &["user", "password", "eve", "--json"], PASSWORD);
    assert_eq!((unknown.code, &unknown.document()["error"]["code"]), (1, &json!("unknown_user")));
    let removed = site.run(&["user", "remove", "ann", "--json"]);
    assert_eq!((removed.code, &removed.document()["name"]), (0, &json!("ann")));
    assert_eq!(code(&site, "ann", "messing kanne 9"), "401");
    let listed = site.run(&["user", "list"]);
    assert_eq!((listed.stdout.as_str(), listed.stderr.contains("no users")), ("", true));
}

#[test]
fn an_admin_sees_who_is_signed_in_and_signs_somebody_out() {
    let site = Site::start();
    let none = site.run(&["user", "sessions"]);
    assert_eq!((none.code, none.stdout.as_str()), (0, ""), "{}", none.stderr);
    assert!(none.stderr.contains("nobody is logged in"), "{}", none.stderr);
    run_with(&site.folder, &["user", "create", "ann", "--role", "operator", "--cluster", "a"], PASSWORD);
    for _ in 0..2 {
        assert_eq!(code(&site, "ann", PASSWORD), "201");
    }
    let listed = site.run(&["user", "sessions"]).stdout;
    let rows: Vec<Vec<&str>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["WHO", "ROLE", "CLUSTERS", "SINCE", "LAST", "USED", "UNTIL"], "{listed}");
    assert_eq!((rows.len(), &rows[2][..3]), (3, &["user:ann", "operator", "a"][..]), "{listed}");
    let document = site.run(&["user", "sessions", "--json"]).document();
    assert_eq!(
        (&document["sessions"][0]["who"], &document["sessions"][0]["role"]),
        (&json!("user:ann"), &json!("operator"))
    );

    let out = site.run(&["user", "sign-out", "ann"]);
    assert_eq!((out.code, out.stdout.as_str()), (0, "user:ann is signed out: 2 sessions are over\n"), "{}", out.stderr);
    let nobody = site.run(&["user", "sign-out", "oidc:ann/b (7)", "--json"]);
    assert_eq!((nobody.code, &nobody.document()["error"]["code"]), (1, &json!("not_signed_in")));
    assert_eq!(code(&site, "ann", PASSWORD), "201");
    let out = site.run(&["user", "sign-out", "user:ann", "--json"]).document();
    assert_eq!(out["sessions"].as_array().map(Vec::len), Some(1), "{out}");
}

#[test]
fn a_password_that_nobody_should_have_is_refused_with_what_to_take() {
    let site = Site::start();
    for (password, told) in [
        ("tin-can-3", "too short"),
        ("Password2026!", "tried first"),
        ("", "too short"),
        (&*"lamp ".repeat(300), "too long"),
    ] {
        let refused = run_with(&site.folder, &["user", "create", "ann", "--role", "viewer"], password);
        assert_eq!(refused.code, 2);
        assert!(refused.stderr.contains(told) && refused.stderr.contains("hint: "), "{}", refused.stderr);
        assert!(password.is_empty() || !refused.stderr.contains(password));
    }
    assert_eq!(site.run(&["user", "list"]).stdout, "");
}

#[test]
fn at_a_terminal_a_password_is_asked_for_twice() {
    let site = Site::start();
    let typed = format!("{PASSWORD}\nmessing kanne 9\n");
    let differs = run_at_terminal(&site.folder, &["user", "create", "ann", "--role", "viewer"], &typed);
    assert_eq!(differs.code, 2, "{}", differs.stdout);
    assert!(
        differs.stdout.contains("Password: ") && differs.stdout.contains("the two passwords differ"),
        "{}",
        differs.stdout
    );
    let typed = format!("{PASSWORD}\n{PASSWORD}\n");
    let made = run_at_terminal(&site.folder, &["user", "create", "ann", "--role", "viewer"], &typed);
    assert_eq!(made.code, 0, "{}", made.stdout);
    assert!(made.stdout.contains("The same again: ") && made.stdout.contains("ann is viewer"), "{}", made.stdout);
    assert_eq!(code(&site, "ann", PASSWORD), "201");
}
