//! Subnets: which addresses there are, and where. <https://cloud.ibm.com/docs/vpc?topic=vpc-about-networking-for-vpc>

use super::{
    VpcClient,
    reference::{NameReference, Reference},
};
use crate::error::Error;
use serde::Deserialize;

/// A subnet.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Subnet {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Such as `10.240.0.0/24`. The API names no gateway: it is the second address of the range.
    pub ipv4_cidr_block: String,
    /// `available`, `deleting`, `failed`, `pending`.
    #[serde(default)]
    pub status: Option<String>,
    /// Free addresses.
    #[serde(default)]
    pub available_ipv4_address_count: Option<u64>,
    /// Its VPC.
    pub vpc: Reference,
    /// Its zone. Not to be guessed from the region.
    pub zone: NameReference,
    /// The way to the internet, if there is one.
    #[serde(default)]
    pub public_gateway: Option<Reference>,
}

impl VpcClient {
    /// One subnet.
    pub async fn get_subnet(&self, id: &str) -> Result<Subnet, Error> {
        self.get("get subnet", &["subnets", id]).await
    }
}
