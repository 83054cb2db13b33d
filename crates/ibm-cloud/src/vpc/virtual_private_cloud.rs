//! Virtual private clouds. <https://cloud.ibm.com/docs/vpc?topic=vpc-about-vpc>

use super::{VpcClient, reference::Reference};
use crate::error::Error;
use serde::Deserialize;
use serde_json::Value;
use std::net::Ipv4Addr;

/// A VPC.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Vpc {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `available`, `deleting`, `failed`, `pending`.
    #[serde(default)]
    pub status: Option<String>,
    /// What interfaces get that name no group.
    #[serde(default)]
    pub default_security_group: Option<Reference>,
    #[serde(default)]
    dns: Value,
}

impl Vpc {
    /// The name servers its machines are given by DHCP (`dns.resolver.servers[].address`).
    pub fn dns_servers(&self) -> Vec<Ipv4Addr> {
        let servers = self.dns.pointer("/resolver/servers").and_then(Value::as_array);
        servers.into_iter().flatten().filter_map(|server| server.get("address")?.as_str()?.parse().ok()).collect()
    }
}

impl VpcClient {
    /// One VPC.
    pub async fn get_vpc(&self, id: &str) -> Result<Vpc, Error> {
        self.get("get VPC", &["vpcs", id]).await
    }
}
