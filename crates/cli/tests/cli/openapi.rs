//! schemathesis, a property-based tester of HTTP APIs that we did not write, against the running service: it calls what
//! `/openapi.json` describes, with what that allows and with what it doesn't, and looks for answers that it doesn't describe.
//! `cargo xtask test` installs it, pinned, below the build folder.
//!
//! Left out are the two checks of calls without a token: whoever makes many of those is locked out, which they don't know
//! of. What is answered then is tested with the service, for every route and role.

use crate::site::Site;
use std::{path::Path, process::Command};

/// The document says of a plan only that it is one: most of what it allows is refused, and rightly. Of the audit it can't say
/// that `limit` and `last` exclude each other, and of a password not which are tried first.
const MORE_THAN_THEIR_SCHEMA: &str = r#"
[[operations]]
include-name = "POST /api/v1/clusters"
[operations.checks]
positive_data_acceptance.enabled = false

[[operations]]
include-name = "GET /api/v1/audit"
[operations.checks]
positive_data_acceptance.enabled = false

[[operations]]
include-name = "POST /api/v1/users"
[operations.checks]
positive_data_acceptance.enabled = false

[[operations]]
include-name = "POST /api/v1/users/{name}/password"
[operations.checks]
positive_data_acceptance.enabled = false
"#;

/// What is there, so that more is reached than "there is none of that name".
const WHAT_IS_THERE: &str = r#"
[parameters]
"path.name" = "my-nutanix-cluster"
"path.server_id" = "server-001"
"#;

fn call_everything(site: &Site, parameters: &str, seed: &str) {
    let schemathesis = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("venv").join("bin/schemathesis");
    assert!(
        schemathesis.exists(),
        "schemathesis is missing ({}): `cargo xtask test` (or `cargo xtask sdk`) installs it",
        schemathesis.display()
    );
    let settings = site.folder.write("schemathesis.toml", &format!("{parameters}{MORE_THAN_THEIR_SCHEMA}"));
    let config = site.config();
    let document = format!("https://{}/openapi.json", config["control"]["listen"].as_str().unwrap());
    let header = format!("Authorization: Bearer {}", site.token());
    let mut command = Command::new(&schemathesis);
    // Each example is one of many calls; the time they take is that of as many writes to the disk.
    command
        .args(["--config-file", &settings, "run", &document, "--header", &header, "--max-examples", "25"])
        .args(["--seed", seed, "--request-timeout", "30", "--exclude-checks", "ignored_auth,missing_required_header"])
        .args(["--suppress-health-check", "all", "--no-color", "--workers", "1"])
        .arg("--tls-verify")
        .arg(site.data_dir().join("tls/ca.pem"))
        .env("NO_PROXY", "127.0.0.1")
        .current_dir(site.folder.path());
    let ran = command.output().unwrap_or_else(|error| panic!("{} does not start: {error}", schemathesis.display()));
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{}\n{said}\n{}", ran.status, String::from_utf8_lossy(&ran.stderr));
    // `Operations:       29 selected / 29 total`; the document's own route is left out by schemathesis itself.
    let counts = said.lines().find_map(|line| line.trim().strip_prefix("Operations:"));
    let counts: Vec<usize> = counts.unwrap_or_default().split(' ').filter_map(|word| word.parse().ok()).collect();
    assert!(
        matches!(counts[..], [selected, all] if selected == all && all >= 29),
        "not every operation is called:\n{said}"
    );
}

#[test]
fn nothing_is_answered_that_the_openapi_document_does_not_describe() {
    let site = Site::start();
    call_everything(&site, "", "1");
    let deployed = site.run(&["deploy", "plan.toml", "--watch", "--json"]);
    assert_eq!(deployed.code, 0, "{}", deployed.stderr);
    call_everything(&site, WHAT_IS_THERE, "2");
}
