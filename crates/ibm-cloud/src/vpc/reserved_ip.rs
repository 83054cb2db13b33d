//! Reserved IPs: addresses of a subnet that are kept for us. Names are unique within the subnet.
//! <https://cloud.ibm.com/apidocs/vpc#create-subnet-reserved-ip>

use super::{
    VpcClient,
    reference::{LifecycleState, Reference},
};
use crate::{error::Error, transport::Method};
use serde::Deserialize;
use serde_json::{Value, json};
use std::net::Ipv4Addr;

/// A reserved IP to be. It is created unbound and so outlives whatever it is bound to later (`auto_delete: false`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReservedIpPrototype {
    /// Lower case, digits, hyphen; 1–63 characters.
    pub name: String,
    /// `None`: the cloud picks a free one.
    pub address: Option<Ipv4Addr>,
}

/// A reserved IP.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ReservedIp {
    /// Its id.
    pub id: String,
    /// Unique within the subnet.
    pub name: String,
    /// `0.0.0.0` while the cloud has not picked one.
    pub address: Ipv4Addr,
    /// Whether it goes with its target.
    #[serde(default)]
    pub auto_delete: Option<bool>,
    /// `user`, or `provider` for the addresses IBM keeps for itself.
    #[serde(default)]
    pub owner: Option<String>,
    /// Where it stands.
    #[serde(default)]
    pub lifecycle_state: Option<LifecycleState>,
    /// What it is bound to.
    #[serde(default)]
    pub target: Option<Reference>,
}

/// A reserved IP as other resources name it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ReservedIpReference {
    /// Its id.
    pub id: String,
    /// The address.
    pub address: Ipv4Addr,
    /// Its name.
    #[serde(default)]
    pub name: Option<String>,
}

impl ReservedIpPrototype {
    fn body(&self) -> Value {
        let mut body = json!({ "name": self.name, "auto_delete": false });
        if let Some(address) = self.address {
            body["address"] = json!(address);
        }
        body
    }
}

impl VpcClient {
    /// Reserves an address. Sent once.
    pub async fn create_reserved_ip(&self, subnet: &str, ip: &ReservedIpPrototype) -> Result<ReservedIp, Error> {
        let path = ["subnets", subnet, "reserved_ips"];
        self.put_or_post("create reserved IP", Method::Post, &path, ip.body()).await
    }

    /// One reserved IP.
    pub async fn get_reserved_ip(&self, subnet: &str, id: &str) -> Result<ReservedIp, Error> {
        self.get("get reserved IP", &["subnets", subnet, "reserved_ips", id]).await
    }

    /// All reserved IPs of a subnet, those of the provider included.
    pub async fn list_reserved_ips(&self, subnet: &str) -> Result<Vec<ReservedIp>, Error> {
        self.list("list reserved IPs", &["subnets", subnet, "reserved_ips"], &[]).await
    }

    /// The reserved IP of that name. The API has no such filter: all are listed.
    pub async fn find_reserved_ip(&self, subnet: &str, name: &str) -> Result<Option<ReservedIp>, Error> {
        Ok(self.list_reserved_ips(subnet).await?.into_iter().find(|ip| ip.name == name))
    }

    /// Gives an address back. `InUse` while it is some resource's primary address.
    pub async fn delete_reserved_ip(&self, subnet: &str, id: &str) -> Result<(), Error> {
        self.act("delete reserved IP", Method::Delete, &["subnets", subnet, "reserved_ips", id], None).await
    }
}
