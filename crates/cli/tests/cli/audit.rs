//! `metalform audit`, against the service that writes it.

use crate::{
    run::{Ran, Running, command},
    site::Site,
};
use serde_json::{Value, json};
use std::fs;

fn lines(ran: &Ran) -> Vec<Value> {
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    ran.documents()
}

#[test]
fn the_audit_is_listed_by_filters_exported_and_verified_with_and_without_the_service() {
    let mut site = Site::start();
    for name in ["one", "two", "three"] {
        assert_eq!(site.run(&["status", name]).code, 1);
    }
    let refused =
        lines(&site.run(&["audit", "list", "--json", "--outcome", "refused:*", "--target", "/api/v1/clusters/*"]));
    let targets: Vec<&str> = refused.iter().map(|line| line["target"].as_str().unwrap()).collect();
    assert_eq!(targets, ["/api/v1/clusters/one", "/api/v1/clusters/two", "/api/v1/clusters/three"]);
    let second =
        lines(&site.run(&["audit", "list", "--json", "--outcome", "refused:*", "--since", "1h", "--limit", "2"]));
    assert_eq!(second, refused[..2]);
    let after = second[1]["seq"].to_string();
    assert_eq!(
        lines(&site.run(&["audit", "list", "--json", "--outcome", "refused:*", "--after", &after])),
        refused[2..]
    );
    assert_eq!(lines(&site.run(&["audit", "list", "--json", "--outcome", "refused:*", "--last", "1"])), refused[2..]);
    let table = site.run(&["audit", "list", "--action", "service.*"]).stdout;
    let table: Vec<&str> = table.lines().collect();
    assert_eq!(table.len(), 2, "{table:?}");
    assert!(table[0].starts_with("    SEQ  TIME ") && table[1].contains("  service.started "), "{table:?}");

    let export = site.folder.path().join("audit.jsonl");
    let ran = site.run(&["audit", "export", "-o", "audit.jsonl"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{}", ran.stderr);
    let key = site.data_dir().join("audit.pub").display().to_string();
    let check = |site: &Site, more: &[&str]| site.run(&[&["audit", "verify", "--json"], more].concat());
    let of_file = check(&site, &["--from-file", "audit.jsonl", "--key", &key]);
    assert_eq!(of_file.code, 0, "{}", of_file.stderr);
    let told = of_file.document();
    assert_eq!((&told["whole"], &told["unsigned"], &told["first_broken"]), (&json!(true), &json!(0), &Value::Null));

    // One word of one line, and nothing else.
    let text = fs::read_to_string(&export).unwrap();
    fs::write(&export, text.replacen("clusters/two", "clusters/twi", 1)).unwrap();
    let broken = check(&site, &["--from-file", "audit.jsonl", "--key", &key]);
    assert_eq!(broken.code, 1);
    let (told, line) = (broken.document(), second[1]["seq"].as_i64().unwrap());
    assert_eq!((&told["whole"], &told["first_broken"]), (&json!(false), &json!(line)));
    assert_eq!((&told["faults"][0]["code"], &told["faults"][0]["line"]), (&json!("changed"), &json!(line)));
    let in_words = site.run(&["audit", "verify", "--from-file", "audit.jsonl", "--key", &key]);
    let error =
        format!("error: the audit isn't as it was written, from line {line} on\n  cause: line {line} was changed");
    assert!(in_words.stderr.starts_with(&error) && in_words.stderr.contains("\n  hint: "), "{}", in_words.stderr);

    // The data folder, beside the service and without it.
    let folder = check(&site, &[]);
    assert_eq!(folder.code, 0, "{}", folder.stderr);
    let known = format!("{}:{}", second[1]["seq"], second[1]["hash"].as_str().unwrap());
    assert_eq!(check(&site, &["--head", &known]).code, 0);
    let other = format!("{}:{}", second[0]["seq"], second[1]["hash"].as_str().unwrap());
    assert_eq!(check(&site, &["--head", &other]).code, 1);
    site.service.signal("-KILL");
    site.service.died();
    let ran = site.run(&["audit", "verify"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.starts_with("the audit in ") && ran.stdout.contains(" is whole: "), "{}", ran.stdout);
    let heads = site.data_dir().join("audit.heads");
    let text = fs::read_to_string(&heads).unwrap();
    let cut = text.trim_end().rfind('\n').map_or(0, |at| at + 1);
    fs::write(&heads, &text[..cut]).unwrap();
    let ran = site.run(&["audit", "verify"]);
    assert_eq!(ran.code, 1, "{}", ran.stdout);
    assert!(ran.stderr.contains("audit.heads"), "{}", ran.stderr);
}

#[test]
fn following_shows_each_line_once_and_goes_on_over_a_restart_of_the_service() {
    let mut site = Site::start();
    site.run(&["status", "one"]);
    let args = ["audit", "list", "--follow", "--json", "--target", "/api/v1/clusters/*"];
    let follower = Running::start(&mut command(&site.folder, &args));
    let said = |name: &str| {
        let line = follower.said("{\"seq\":");
        assert!(line.contains(&format!("\"target\":\"/api/v1/clusters/{name}\"")), "{line}");
    };
    said("one");
    site.run(&["status", "two"]);
    said("two");
    site.service.signal("-KILL");
    site.service.died();
    site.start_service_again(&[]);
    site.run(&["status", "three"]);
    said("three");
}
