//! `metalform script --lint`: what the service would say of a template at start, without a service.

use crate::run::{Folder, Ran, command};
use serde_json::json;

fn lint(folder: &Folder, args: &[&str]) -> Ran {
    command(folder, &[&["script", "--lint"], args].concat()).output().unwrap().into()
}

const BAD: &str = "#!ipxe\n:again\nimgfech http://10.0.0.1/x ||\nboot\ngoto again\n";

#[test]
fn good_scripts_are_good() {
    let folder = Folder::new();
    folder.write("good.ipxe", "#!ipxe\necho {{server_id}}\nchain http://{{boot_host}}/x || exit 1\n");
    folder.write("too.ipxe", "#!ipxe\n");
    let ran = lint(&folder, &["good.ipxe", "too.ipxe"]);
    let told = "good.ipxe: a good script\ntoo.ipxe: a good script\n";
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, told, ""));
    let ran = lint(&folder, &["good.ipxe", "--json"]);
    assert_eq!((ran.code, ran.document()), (0, json!({"valid": true, "files": ["good.ipxe"]})));
}

#[test]
fn every_fault_of_every_script_is_told_with_its_line_and_what_to_write() {
    let folder = Folder::new();
    folder.write("bad.ipxe", BAD);
    folder.write("good.ipxe", "#!ipxe\n");
    let ran = lint(&folder, &["bad.ipxe", "good.ipxe", "missing.ipxe"]);
    assert_eq!(ran.code, 2);
    assert_eq!(
        ran.stdout,
        "\
good.ipxe: a good script
bad.ipxe:3: iPXE has no command `imgfech`
    imgfech http://10.0.0.1/x ||
  hint: did you mean `imgfetch`?
bad.ipxe:4: `boot` has no failure branch
    boot
  hint: end the line with `|| goto LABEL`: a failing command ends the script
missing.ipxe: can't be read: No such file or directory (os error 2)
  hint: the service needs read permission, and UTF-8 text
"
    );
    let told = "error: 3 errors in 3 scripts\n  hint: a service that finds them in its templates doesn't start\n";
    assert_eq!(ran.stderr, told);

    let ran = lint(&folder, &["bad.ipxe", "--json"]);
    let error = &ran.document()["error"];
    assert_eq!(
        (ran.code, &error["code"], &error["message"]),
        (2, &json!("bad_script"), &json!("2 errors in 1 script"))
    );
    assert_eq!(
        error["details"]["faults"][0],
        json!({"file": "bad.ipxe", "line": 3, "text": "imgfech http://10.0.0.1/x ||",
            "fault": "iPXE has no command `imgfech`", "hint": "did you mean `imgfetch`?"})
    );
}

#[test]
fn what_has_no_end_is_too_long_and_a_long_line_is_not_printed_whole() {
    let folder = Folder::new();
    let ran = lint(&folder, &["/dev/zero"]);
    assert_eq!((ran.code, ran.stdout.lines().next()), (2, Some("/dev/zero: is longer than 64 KiB")), "{}", ran.stderr);
    folder.write("long.ipxe", &format!("#!ipxe\nimgfech {}\n", "é".repeat(30_000)));
    let ran = lint(&folder, &["long.ipxe"]);
    let told = format!("    imgfech {}… (30008 characters)\n", "é".repeat(192));
    assert!(ran.code == 2 && ran.stdout.contains(&told) && ran.stdout.len() < 3000, "{}", ran.stdout);
}
