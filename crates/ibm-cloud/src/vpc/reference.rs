//! Small shapes that many resources share.

use crate::word::words;
use metalform_model::Timestamp;
use serde::{Deserialize, Deserializer};

/// Another resource, by id. Ids are opaque.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Reference {
    /// Its id.
    pub id: String,
    /// Its name.
    #[serde(default)]
    pub name: Option<String>,
    /// What it is, such as `bare_metal_server_network_attachment`.
    #[serde(default)]
    pub resource_type: Option<String>,
}

/// Something known by name alone: a profile, a zone.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct NameReference {
    /// Its name.
    pub name: String,
}

words! {
    /// Where a resource stands between creation and deletion.
    LifecycleState {
        /// Being deleted.
        Deleting = "deleting",
        /// Could not be made or changed.
        Failed = "failed",
        /// Being made.
        Pending = "pending",
        /// Ready for use.
        Stable = "stable",
        /// Suspended by IBM.
        Suspended = "suspended",
        /// Being changed.
        Updating = "updating",
        /// Waiting for something else.
        Waiting = "waiting",
    }
}

/// A time that is nice to have: unreadable is absent.
pub(super) fn lenient_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(value.as_str().and_then(|text| text.parse().ok()))
}
