//! What a CVM says it is: `/etc/nutanix/factory_config.json`, written by the installer from the node's configuration.
//!
//! Names of its fields from old vendor material (unconfirmed on current releases), so all are optional and what else
//! there is is ignored.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// The identity of a node. Numbers are told as text too.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct FactoryConfig {
    /// Serial of the node; two nodes with the same one collide in discovery.
    #[serde(default, deserialize_with = "word")]
    pub node_serial: Option<String>,
    /// Serial of its block.
    #[serde(default, deserialize_with = "word")]
    pub rackable_unit_serial: Option<String>,
    /// Its place in the block, `A` and so on.
    #[serde(default, deserialize_with = "word")]
    pub node_position: Option<String>,
    /// A number given by the installer, not that of the cluster to come.
    #[serde(default, deserialize_with = "word")]
    pub cluster_id: Option<String>,
    /// Model of the block.
    #[serde(default, deserialize_with = "word")]
    pub rackable_unit_model: Option<String>,
}

fn word<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) if !text.is_empty() => Some(text),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_read_whatever_else_stands_there() {
        let text = r#"{"node_serial":"S1","rackable_unit_serial":"B1","node_position":"A","cluster_id":2342,
            "rackable_unit_model":null,"rackable_unit_model_name":"CommunityEdition"}"#;
        let read: FactoryConfig = serde_json::from_str(text).unwrap();
        let word = |text: &str| Some(text.to_owned());
        assert_eq!(
            read,
            FactoryConfig {
                node_serial: word("S1"),
                rackable_unit_serial: word("B1"),
                node_position: word("A"),
                cluster_id: word("2342"),
                rackable_unit_model: None,
            }
        );
    }
}
