//! Bare metal server profiles: which machines there are, and in which zones.
//! <https://cloud.ibm.com/docs/vpc?topic=vpc-bare-metal-servers-profile>

use super::{VpcClient, reference::NameReference};
use crate::error::Error;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A profile.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct BareMetalServerProfile {
    /// Such as `bx2d-metal-96x384`.
    pub name: String,
    /// Such as `balanced`.
    #[serde(default)]
    pub family: Option<String>,
    /// GiB.
    #[serde(default, deserialize_with = "number")]
    pub memory: Option<u64>,
    /// Physical cores.
    #[serde(default, deserialize_with = "number")]
    pub cpu_core_count: Option<u64>,
    /// Kinds of disk; the boot disk is one of them.
    #[serde(default)]
    pub disks: Vec<ProfileDisk>,
    /// Where it can be had; `None` if the cloud does not say.
    #[serde(default)]
    pub zones: Option<Vec<NameReference>>,
}

/// One kind of disk of a profile.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ProfileDisk {
    /// How many.
    #[serde(default, deserialize_with = "number")]
    pub quantity: Option<u64>,
    /// 10^9 bytes each.
    #[serde(default, deserialize_with = "number")]
    pub size: Option<u64>,
}

impl BareMetalServerProfile {
    /// Whether it can be had in that zone; `None` if the cloud does not say.
    pub fn is_offered_in(&self, zone: &str) -> Option<bool> {
        self.zones.as_ref().map(|zones| zones.iter().any(|z| z.name == zone))
    }
}

/// Numbers of a profile are objects: `{"type":"fixed","value":8}`, `{"type":"enum","default":8,…}`; others say none.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(value.get("value").or_else(|| value.get("default")).unwrap_or(&value).as_u64())
}

impl VpcClient {
    /// All profiles of the region. (The path has `server` in the singular.)
    pub async fn list_bare_metal_server_profiles(&self) -> Result<Vec<BareMetalServerProfile>, Error> {
        self.list("list bare metal server profiles", &["bare_metal_server", "profiles"], &[]).await
    }

    /// One profile.
    pub async fn get_bare_metal_server_profile(&self, name: &str) -> Result<BareMetalServerProfile, Error> {
        self.get("get bare metal server profile", &["bare_metal_server", "profiles", name]).await
    }
}
