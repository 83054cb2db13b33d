//! SSH keys. <https://cloud.ibm.com/docs/vpc?topic=vpc-ssh-keys>

use super::VpcClient;
use crate::error::Error;
use serde::Deserialize;

/// An SSH key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Key {
    /// Its id.
    pub id: String,
    /// Unique within the region.
    pub name: String,
    /// `SHA256:…`
    #[serde(default)]
    pub fingerprint: Option<String>,
}

impl VpcClient {
    /// One key.
    pub async fn get_key(&self, id: &str) -> Result<Key, Error> {
        self.get("get key", &["keys", id]).await
    }
}
