//! Security groups. <https://cloud.ibm.com/docs/vpc?topic=vpc-using-security-groups>

use super::{VpcClient, reference::Reference};
use crate::error::Error;
use serde::Deserialize;

/// A security group.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SecurityGroup {
    /// Its id.
    pub id: String,
    /// Unique within its VPC.
    pub name: String,
    /// Its VPC.
    pub vpc: Reference,
}

impl VpcClient {
    /// One security group.
    pub async fn get_security_group(&self, id: &str) -> Result<SecurityGroup, Error> {
        self.get("get security group", &["security_groups", id]).await
    }
}
