//! One number for one plan: equal for TOML and JSON, and whether defaults are written out or not, because it is made of
//! the checked plan and not of its text.
//!
//! Compare hashes made by the same release: a release that adds a key to [`Plan`], or another table of profiles, hashes
//! the same text to another value. So keep plans, and hash both when asked whether they are the same.

use crate::{ChosenBy, Plan};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// SHA-256, in hex, of the plan as JSON without blanks and with sorted keys. The order of nodes and of lists counts; who
/// chose the drives doesn't, so that a plan that writes its defaults out is the same plan.
pub fn plan_hash(plan: &Plan) -> String {
    let mut plan = plan.clone();
    for node in &mut plan.nodes {
        node.data_drives_by = ChosenBy::Plan;
    }
    let value = serde_json::to_value(plan).expect("a plan has text keys and whole numbers only");
    let mut text = String::new();
    write_canonical(&value, &mut text);
    hex::encode(Sha256::digest(text.as_bytes()))
}

/// `serde_json` sorts keys only as long as no crate of the build asks it to preserve their order.
fn write_canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            text.push('{');
            for (index, (key, value)) in entries.into_iter().enumerate() {
                text.push_str(if index == 0 { "" } else { "," });
                text.push_str(&Value::from(key.as_str()).to_string());
                text.push(':');
                write_canonical(value, text);
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                text.push_str(if index == 0 { "" } else { "," });
                write_canonical(item, text);
            }
            text.push(']');
        }
        scalar => text.push_str(&scalar.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_json_has_sorted_keys_and_no_blanks() {
        let value = serde_json::json!({"b": [1, {"z": null, "y": "\"\n"}], "a": true});
        let mut text = String::new();
        write_canonical(&value, &mut text);
        assert_eq!(text, r#"{"a":true,"b":[1,{"y":"\"\n","z":null}]}"#);
    }
}
