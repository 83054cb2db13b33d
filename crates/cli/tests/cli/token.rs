//! Tokens from the command line: made, used from elsewhere, listed, revoked.

use crate::site::Site;
use serde_json::json;

#[test]
fn a_token_lets_its_owner_do_what_its_role_says_until_it_is_revoked() {
    let site = Site::start();
    let make = |role: &str, more: &[&str]| {
        let made = site.run(&[&["token", "create", "--name", role, "--role", role], more].concat());
        assert_eq!(made.code, 0, "{}", made.stderr);
        assert!(made.stderr.contains("shown this once") && !made.stderr.contains("mf_"), "{}", made.stderr);
        made.stdout.trim().to_owned()
    };
    let (viewer, operator) = (make("viewer", &["--expires", "12h"]), make("operator", &["--cluster", "other"]));
    assert!(viewer.starts_with("mf_") && viewer.len() == 92, "{viewer}");
    assert_eq!(site.run(&["deploy", "plan.toml"]).code, 0);

    let seen = site.run_elsewhere(&viewer, &["status", "--json"]);
    assert_eq!((seen.code, &seen.document()["clusters"][0]["name"]), (0, &json!("my-nutanix-cluster")));
    let seen = site.run_elsewhere(&operator, &["status", "--json"]);
    assert_eq!((seen.code, &seen.document()["clusters"]), (0, &json!([])), "it is for another cluster");
    let refused = site.run_elsewhere(&viewer, &["destroy", "my-nutanix-cluster"]);
    assert_eq!(
        (refused.code, refused.stderr.as_str()),
        (
            1,
            "error: the role viewer doesn't allow this call\n  hint: it takes the role operator or admin; an admin makes \
             tokens\n"
        )
    );
    let refused = site.run_elsewhere(&operator, &["destroy", "my-nutanix-cluster", "--json"]);
    assert_eq!((refused.code, &refused.document()["error"]["code"]), (1, &json!("unknown_cluster")));

    let again = site.run(&["token", "create", "--name", "viewer", "--role", "admin", "--json"]);
    assert_eq!((again.code, &again.document()["error"]["code"]), (1, &json!("token_name_taken")));
    let listed = site.run(&["token", "list"]).stdout;
    let lines: Vec<Vec<&str>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines.len(), 3, "{listed}");
    assert_eq!(lines[1][1..5], ["viewer", "viewer", "all", "active"]);
    assert_eq!(lines[2][1..5], ["operator", "operator", "other", "active"]);

    let revoked = site.run(&["token", "revoke", "viewer"]);
    assert!(revoked.stdout.starts_with("viewer (") && revoked.stdout.ends_with(") is revoked\n"), "{revoked:?}");
    let refused = site.run_elsewhere(&viewer, &["status", "--json"]);
    assert_eq!((refused.code, &refused.document()["error"]["code"]), (1, &json!("token_wrong")));
    let id = lines[2][0];
    let by_id = site.run(&["token", "revoke", id, "--json"]);
    assert_eq!((by_id.code, &by_id.document()["id"]), (0, &json!(id)));
    let unknown = site.run(&["token", "revoke", "nobody", "--json"]);
    assert_eq!((unknown.code, &unknown.document()["error"]["code"]), (1, &json!("unknown_token")));

    let listed = site.run(&["token", "list"]);
    assert_eq!((listed.stdout.as_str(), listed.stderr.contains("no tokens")), ("", true), "{listed:?}");
    let all = site.run(&["token", "list", "--all", "--json"]).document();
    assert_eq!(all["tokens"].as_array().unwrap().len(), 2, "{all}");
    assert!(all["tokens"].as_array().unwrap().iter().all(|token| token["revoked_at"].is_string()), "{all}");
}
