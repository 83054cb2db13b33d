//! What the environment may set of the configuration.

use toml::{Table, Value};

/// Every key that the environment may set.
pub(super) const KEYS: &[(&str, &[&str])] = &[
    ("", &["data_dir"]),
    ("boot", &["listen", "public_url", "allow", "trusted_proxies", "source_check", "tls", "templates_dir", "template"]),
    (
        "control",
        &["listen", "tls", "names", "public_url", "trusted_proxies", "session_idle", "session_max", "oidc", "acme"],
    ),
    ("store", &["url"]),
    ("secrets", &["key"]),
    (
        "ibm_cloud",
        &[
            "api_key_file",
            "api_key",
            "trusted_profile",
            "region",
            "user_data",
            "iam_url",
            "vpc_url",
            "dns_url",
            "metadata_url",
        ],
    ),
    ("images", &["dir"]),
    ("profiles", &["file"]),
    (
        "nutanix",
        &[
            "prism_user",
            "prism_password_file",
            "foundation_user",
            "foundation_password_file",
            "cvm_user",
            "cvm_password_file",
            "ahv_password_file",
            "prism_port",
            "foundation_port",
            "ssh_port",
            "genesis_port",
            "accept_eula",
        ],
    ),
    ("audit", &["syslog"]),
    (
        "timeouts",
        &[
            "order",
            "order_to_script",
            "node_ready",
            "formation",
            "server_poll",
            "probe",
            "probe_after_refusal",
            "formation_poll",
            "formation_settle",
            "check",
            "clean",
            "clean_step",
            "password_sync",
            "not_offered",
            "stop",
            "delete",
        ],
    ),
];

/// An environment variable is a text, except where the key wants a list (comma-separated), a table, a number, or true or
/// false.
pub(super) fn from_environment(key: &str, value: String) -> Value {
    match key {
        "allow" | "names" | "trusted_proxies" => {
            Value::Array(value.split(',').map(|v| Value::String(v.trim().to_owned())).collect())
        }
        "prism_port" | "foundation_port" | "ssh_port" | "genesis_port" => {
            value.parse().map(Value::Integer).unwrap_or(Value::String(value))
        }
        // A table as it stands in the file; anything else is a word.
        "tls" | "oidc" | "acme" => match format!("{key} = {value}").parse::<Table>() {
            Ok(mut table) if value.trim_start().starts_with('{') => table.remove(key).unwrap_or(Value::String(value)),
            _ => Value::String(value),
        },
        "accept_eula" => value.parse().map(Value::Boolean).unwrap_or(Value::String(value)),
        _ => Value::String(value),
    }
}
