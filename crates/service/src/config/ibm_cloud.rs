//! `[ibm_cloud]`: the cloud account.

use secrecy::SecretString;
use serde::Deserialize;
use std::path::PathBuf;

/// `[ibm_cloud]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IbmCloudConfig {
    /// A file with an API key; its owner alone may read it.
    pub api_key_file: Option<PathBuf>,
    /// `sealed`: the API key that `metalform secret set` keeps. Never a key itself, though somebody may write one there.
    #[serde(deserialize_with = "secret_text")]
    pub api_key: Option<SecretString>,
    /// The trusted profile to use on an instance in the cloud, by id; `default` for the one linked to it.
    pub trusted_profile: Option<String>,
    /// The region.
    pub region: String,
    /// What servers are given as user data.
    pub user_data: UserData,
    /// Another IAM.
    pub iam_url: Option<String>,
    /// Another VPC endpoint, ending in `/v1`.
    pub vpc_url: Option<String>,
    /// Another DNS Services endpoint.
    pub dns_url: Option<String>,
    /// Another metadata service.
    pub metadata_url: Option<String>,
}

impl Default for IbmCloudConfig {
    fn default() -> Self {
        IbmCloudConfig {
            api_key_file: None,
            api_key: None,
            trusted_profile: None,
            region: "us-south".into(),
            user_data: UserData::Url,
            iam_url: None,
            vpc_url: None,
            dns_url: None,
            metadata_url: None,
        }
    }
}

fn secret_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<SecretString>, D::Error> {
    Ok(Some(String::deserialize(deserializer)?.into()))
}

/// `[ibm_cloud] user_data`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UserData {
    /// The URL of the node's boot script.
    #[default]
    Url,
    /// The boot script itself.
    Inline,
}
