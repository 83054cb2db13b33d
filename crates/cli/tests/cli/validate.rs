//! Plans that need no service to be judged.

use crate::run::{Folder, Ran, command, metalform, metalform_reads};
use serde_json::{Value, json};

const GOOD: &str = r#"[cluster]
name = "alpha"
external_ip = "10.240.0.200"
redundancy_factor = 2
dns_servers = ["8.8.8.8"]
ntp_servers = ["pool.ntp.org"]

[cloud]
vpc = "r006-vpc"
subnet = "0717-subnet"
zone = "us-south-1"
profile = "bx2d-metal-96x384"
ssh_keys = ["r006-key"]

[[nodes]]
server_id = "server-001"
[[nodes]]
server_id = "server-002"
[[nodes]]
server_id = "server-003"
"#;

fn bad() -> String {
    GOOD.replace("10.240.0.200", "10.240.0.300").replace("server-003", "server-002").replace("pool", "po ol")
}

fn validate(name: &str, text: &str, json: bool) -> Ran {
    let folder = Folder::new();
    folder.write(name, text);
    let mut args = vec!["validate", name];
    args.extend(json.then_some("--json"));
    command(&folder, &args).output().unwrap().into()
}

fn as_json(toml: &str) -> String {
    toml::from_str::<Value>(toml).unwrap().to_string()
}

#[test]
fn a_good_plan_is_called_good() {
    for ran in [validate("plan.toml", GOOD, false), validate("plan.json", &as_json(GOOD), false)] {
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{}", ran.stdout);
        assert!(ran.stdout.ends_with(": a good plan: cluster alpha, 3 nodes\n"), "{}", ran.stdout);
    }
    let ran = metalform_reads(&["validate", "-", "--json"], GOOD);
    assert_eq!(ran.document(), json!({"valid": true, "cluster": "alpha", "nodes": 3, "warnings": []}));
}

#[test]
fn every_fault_of_a_toml_plan_is_a_line_with_its_place() {
    let ran = validate("plan.toml", &bad(), false);
    assert_eq!(ran.code, 2);
    let places: Vec<&str> = ran.stdout.lines().map(|line| line.split(" = ").next().unwrap()).collect();
    assert_eq!(
        places,
        ["line 3: cluster.external_ip", "line 6: cluster.ntp_servers[0]", "line 20: nodes[2].server_id"],
        "{}",
        ran.stdout
    );
    assert_eq!(ran.stderr, "error: plan.toml has 3 errors\n  hint: mend the plan; nothing was created\n");
}

#[test]
fn every_fault_of_a_json_plan_has_its_pointer() {
    let ran = validate("plan.json", &as_json(&bad()), false);
    assert_eq!(ran.code, 2);
    let mut places: Vec<&str> = ran.stdout.lines().map(|line| line.split(": ").next().unwrap()).collect();
    places.sort_unstable();
    assert_eq!(places, ["/cluster/external_ip", "/cluster/ntp_servers/0", "/nodes/2/server_id"], "{}", ran.stdout);
}

#[test]
fn a_program_gets_one_document_with_all_faults() {
    let ran = validate("plan.toml", &bad(), true);
    assert_eq!(ran.code, 2);
    let error = &ran.document()["error"];
    assert_eq!((&error["code"], &error["message"]), (&json!("bad_plan"), &json!("plan.toml has 3 errors")));
    let fault = &error["details"]["faults"][0];
    assert_eq!(
        (&fault["code"], &fault["line"], &fault["path"], &fault["value"], &fault["severity"]),
        (&json!("bad_address"), &json!(3), &json!("cluster.external_ip"), &json!("\"10.240.0.300\""), &json!("error"))
    );
    assert_eq!(ran.stderr.lines().filter(|line| line.starts_with("  cause: line ")).count(), 3, "{}", ran.stderr);
}

#[test]
fn a_warning_is_told_and_forgiven() {
    let ran = validate("plan.toml", &GOOD.replace("dns_servers = [\"8.8.8.8\"]\n", ""), false);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert!(matches!(lines[..], [warning, _] if warning.starts_with("warning: line ")), "{}", ran.stdout);
}

#[test]
fn what_is_no_toml_at_all_says_where_it_stops_being_one() {
    let ran = validate("plan.toml", "[cluster\nname = 1\n", false);
    assert_eq!(ran.code, 2);
    assert!(ran.stdout.starts_with("line 1, column 9: "), "{}", ran.stdout);
}

#[test]
fn a_plan_that_is_not_there_is_wrong_usage() {
    let ran = metalform(&["validate", "no.toml"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
    assert_eq!(ran.stderr, "error: can't read no.toml\n  cause: No such file or directory (os error 2)\n");
}

#[test]
fn the_configurations_profiles_count() {
    let folder = Folder::new();
    folder.write("plan.toml", &GOOD.replace("bx2d-metal-96x384", "lab-metal-8x64"));
    folder.write(
        "profiles.toml",
        "[[profile]]\nname = \"lab-metal-8x64\"\nvcpu = 8\nmemory_gib = 64\nboot_gb = 480\nboot_quantity = 1\n\
         data_quantity = 4\ndata_gb = 1000\ngbit = 25\n",
    );
    let without: Ran = command(&folder, &["validate", "plan.toml"]).output().unwrap().into();
    assert!(without.stdout.contains("lab-metal-8x64") && without.code == 2, "{without:?}");
    folder.write("metalform.toml", "[profiles]\nfile = \"profiles.toml\"\n");
    let with: Ran = command(&folder, &["validate", "plan.toml"]).output().unwrap().into();
    assert_eq!(with.code, 0, "{with:?}");
}
