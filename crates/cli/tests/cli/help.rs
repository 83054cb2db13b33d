//! Wrong usage, and what there is.

use crate::run::{Folder, Ran, command, metalform};
use serde_json::json;
use std::process::Stdio;

#[test]
fn help_names_every_command_that_exists_and_no_other() {
    let ran = metalform(&["--help"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert_eq!(
        ran.stdout,
        "\
From a plan to a healthy Nutanix cluster on IBM Cloud bare metal servers.

Exit codes: 0 done, 1 failed, 2 wrong usage or bad plan, 3 a deadline passed.

Usage: metalform [OPTIONS] <COMMAND>

Commands:
  demo         See whole deployments in seconds, against a simulated IBM Cloud
  serve        Run the service
  simulate     Run a simulated IBM Cloud, with machines and CVMs
  validate     Check a plan, without a service
  deploy       Turn a plan into a cluster
  form         Form a cluster whose plan waits for the command
  status       Show how a cluster and its nodes stand, or all clusters
  events       Show a cluster's timeline
  explain      Explain where a node stands, what was heard of it, and what to do next
  script       Show the boot script of a node, its token left out; or check scripts of your own
  credentials  Show the passwords of a cluster's accounts
  retry        Give a deployment that stopped another try
  destroy      Delete a cluster and everything that was made for it
  token        Make, list and revoke API tokens
  user         Make, list and remove users, give them passwords, and sign people out
  image        Make, list and check boot images, on this machine
  audit        Look at the audit, take it elsewhere, and check that nobody changed it
  secret       Keep a secret sealed, or change the key that all are sealed under
  doctor       Check everything that the service needs, and say what to do
  completions  Print a completion script for a shell
  help         Print this message or the help of the given subcommand(s)

Options:
      --config <FILE>
          The service's configuration [default: metalform.toml in this folder, if there is one]

      --json
          Write documents for a program to standard output, one a line

  -h, --help
          Print help (see a summary with '-h')

  -V, --version
          Print version
"
    );
}

#[test]
fn without_a_command_the_help_is_an_error() {
    let ran = metalform(&[]);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
    assert!(ran.stderr.contains("Usage: metalform"), "{}", ran.stderr);
}

#[test]
fn wrong_usage_ends_with_2_and_says_what_was_wrong() {
    for (args, told) in [
        (&["deploi", "plan.toml"][..], "unrecognized subcommand 'deploi'"),
        (&["deploy"], "<PLAN>"),
        (&["deploy", "--watch", "--dry-run", "plan.toml"], "'--watch' cannot be used with '--dry-run'"),
        (&["script"], "<SERVER_ID>"),
        (&["script", "s", "--lint", "x.ipxe"], "cannot be used with"),
        (&["status", "--jsno"], "unexpected argument '--jsno'"),
        (&["demo", "--nodes", "2"], "a cluster has 1 node, or 3 to 64"),
        (&["demo", "--nodes", "0"], "a cluster has 1 node, or 3 to 64"),
        (&["demo", "--clusters", "0"], "0 is not in 1..=64"),
        (&["demo", "--speed", "0"], "not a number above 0"),
        (&["demo", "--machines", "magic"], "[possible values: virtual, qemu]"),
        (&["demo", "--firmware", "uefi"], "add `--machines qemu`"),
        (&["demo", "--machines", "qemu", "--firmware", "a=b"], "neither bios nor uefi"),
        (&["demo", "--fault", "disk_missing"], "disk_missing can't strike machines that are simulated"),
        (
            &["demo", "--machines", "qemu", "--fault", "dhcp_fails"],
            "dhcp_fails can't strike machines that are emulated",
        ),
        (&["simulate", "--boot-order", "network"], "--boot-order is of emulated machines"),
        (&["simulate", "--download-only"], "--download-only is of emulated machines"),
        (&["demo", "--cvm", "real"], "[possible values: documented, observed]"),
        (&["simulate", "--cvm", "real"], "[possible values: documented, observed]"),
        (&["simulate", "--subnet", "10.0.0.0"], "--subnet <CIDR>"),
        (&["image", "import"], "<ISO|--kernel <PATH>>"),
        (&["image", "import", "x.iso", "--kernel", "k", "--initrd", "i"], "cannot be used with"),
        (&["image", "import", "--kernel", "k"], "--initrd <PATH>"),
        (&["image", "import", "x.iso", "--file", "name"], "write NAME=PATH"),
        (&["image", "import", "x.iso", "--sha256", "12"], "not 64 hexadecimal digits"),
        (&["image", "overlay"], "<SET>"),
        (&["token", "create", "--name", "n"], "--role <ROLE>"),
        (&["token", "create", "--name", "n", "--role", "root"], "one of viewer, auditor, operator, admin"),
        (&["token", "create", "--name", "n", "--role", "viewer", "--expires", "soon"], "a time such as 90m"),
        (&["token", "revoke"], "<TOKEN>"),
        (&["audit", "list", "--limit", "1", "--last", "1"], "cannot be used with"),
        (&["audit", "list", "--since", "soon"], "neither a moment such as"),
        (&["audit", "list", "--folow"], "unexpected argument"),
        (&["audit", "verify", "--head", "12"], "write SEQ:HASH"),
        (&["audit", "verify", "--from-file", "x"], "--key <FILE>"),
        (&["secret", "set"], "<NAME>"),
        (&["secret", "set", "password"], "one of ibm-api-key"),
        (&["secret", "rotate", "--old", "vault:x"], "write file:PATH"),
        (&["secret", "rotate", "--lost", "--old", "env:KEY"], "cannot be used with"),
        (&["doctor", "--fix"], "unexpected argument"),
        (&["completions", "dos"], "[possible values: bash"),
    ] {
        let ran = metalform(args);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{args:?}");
        assert!(ran.stderr.starts_with("error: ") && ran.stderr.contains(told), "{args:?}: {}", ran.stderr);
    }
}

#[test]
fn a_wrong_fault_lists_the_ones_there_are() {
    let ran = metalform(&["demo", "--fault", "cvm_never_redy"]);
    assert_eq!(ran.code, 2);
    for told in ["'cvm_never_redy'", "cvm_never_ready", "server_reply_lost", "machine_never_boots"] {
        assert!(ran.stderr.contains(told), "{told} is missing: {}", ran.stderr);
    }
}

#[test]
fn wrong_usage_is_told_to_a_program_as_well() {
    let ran = metalform(&["status", "--json", "--fast"]);
    assert_eq!(ran.code, 2);
    let message = "unexpected argument '--fast' found";
    let details = json!({"causes": []});
    let error = json!({"code": "usage", "message": message, "hint": "see `metalform --help`", "details": details});
    assert_eq!(ran.document(), json!({"error": error}));
}

#[test]
fn the_global_flags_are_taken_after_any_command() {
    for command in [
        &["demo"][..],
        &["serve"],
        &["simulate"],
        &["validate", "p"],
        &["deploy", "p"],
        &["form", "c"],
        &["status"],
        &["events", "c"],
        &["script", "s"],
        &["explain", "s"],
        &["credentials", "c"],
        &["retry", "c"],
        &["destroy", "c"],
        &["token", "create", "--name", "n", "--role", "viewer"],
        &["token", "list"],
        &["token", "revoke", "t"],
        &["image", "import", "i"],
        &["image", "overlay", "s"],
        &["image", "list"],
        &["image", "verify"],
        &["audit", "list"],
        &["audit", "verify"],
        &["audit", "export"],
        &["secret", "set", "ibm-api-key"],
        &["secret", "rotate"],
        &["doctor"],
        &["completions", "bash"],
    ] {
        // `--help` ends it before it begins, once everything before was understood.
        let ran = metalform(&[command, &["--json", "--config", "x.toml", "--help"]].concat());
        assert_eq!(ran.code, 0, "{command:?}: {}", ran.stderr);
        let before = metalform(&[&["--json", "--config", "x.toml"], command, &["--help"]].concat());
        assert_eq!(before.stdout, ran.stdout);
    }
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = metalform(&["completions", shell]);
        assert_eq!(ran.code, 0);
        assert!(ran.stdout.contains("simulate") && ran.stdout.contains("dry-run"), "{shell}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let folder = Folder::new();
    let mut command = command(&folder, &["completions", "bash"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let ran: Ran = child.wait_with_output().unwrap().into();
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
}
