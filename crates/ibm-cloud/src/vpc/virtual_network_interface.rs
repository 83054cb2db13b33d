//! Virtual network interfaces (VNIs): a server's place in a subnet, made before it and outliving it.
//! <https://cloud.ibm.com/docs/vpc?topic=vpc-vni-about>

use super::{
    VpcClient,
    reference::{LifecycleState, NameReference, Reference},
    reserved_ip::ReservedIpReference,
};
use crate::{
    error::{Effect, Error, Operation},
    transport::Method,
};
use serde::Deserialize;
use serde_json::{Value, json};

/// A VNI to be. It is created unattached, which demands `auto_delete: false`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VirtualNetworkInterfacePrototype {
    /// Unique within the VPC; must not begin with `ibm-`.
    pub name: String,
    /// Id of the subnet.
    pub subnet: String,
    /// Id of the reserved IP that becomes its address. `None`: the cloud picks one.
    pub primary_ip: Option<String>,
    /// Ids of further reserved IPs; eight addresses in all.
    pub ips: Vec<String>,
    /// Ids; empty: the VPC's default group. At most five.
    pub security_groups: Vec<String>,
    /// Whether frames with other source addresses pass. Default of the API: no. Needs an IAM role of its own.
    pub allow_ip_spoofing: Option<bool>,
    /// Whether the infrastructure translates floating addresses. Default of the API: yes. No demands no spoofing.
    pub enable_infrastructure_nat: Option<bool>,
}

/// A VNI.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct VirtualNetworkInterface {
    /// Its id.
    pub id: String,
    /// Unique within its VPC.
    pub name: String,
    /// Where it stands.
    #[serde(default)]
    pub lifecycle_state: Option<LifecycleState>,
    /// May be absent while pending.
    #[serde(default)]
    pub mac_address: Option<String>,
    /// Its first address.
    #[serde(default)]
    pub primary_ip: Option<ReservedIpReference>,
    /// All its addresses, the first included.
    #[serde(default)]
    pub ips: Vec<ReservedIpReference>,
    /// Its subnet.
    #[serde(default)]
    pub subnet: Option<Reference>,
    /// Its VPC.
    #[serde(default)]
    pub vpc: Option<Reference>,
    /// Its zone.
    #[serde(default)]
    pub zone: Option<NameReference>,
    /// The network attachment that holds it; `None` while it is free.
    #[serde(default)]
    pub target: Option<Reference>,
    /// Whether it goes with its target.
    #[serde(default)]
    pub auto_delete: Option<bool>,
    /// Whether frames with other source addresses pass.
    #[serde(default)]
    pub allow_ip_spoofing: Option<bool>,
}

impl VirtualNetworkInterfacePrototype {
    fn body(&self) -> Value {
        let ids = |ids: &[String]| ids.iter().map(|id| json!({ "id": id })).collect::<Value>();
        let mut body = json!({ "name": self.name, "subnet": { "id": self.subnet }, "auto_delete": false });
        if let Some(primary) = &self.primary_ip {
            body["primary_ip"] = json!({ "id": primary });
        }
        if !self.ips.is_empty() {
            body["ips"] = ids(&self.ips);
        }
        if !self.security_groups.is_empty() {
            body["security_groups"] = ids(&self.security_groups);
        }
        if let Some(allow) = self.allow_ip_spoofing {
            body["allow_ip_spoofing"] = json!(allow);
        }
        if let Some(enable) = self.enable_infrastructure_nat {
            body["enable_infrastructure_nat"] = json!(enable);
        }
        body
    }
}

const COLLECTION: &str = "virtual_network_interfaces";

impl VpcClient {
    /// Creates a VNI. Sent once.
    pub async fn create_virtual_network_interface(
        &self,
        vni: &VirtualNetworkInterfacePrototype,
    ) -> Result<VirtualNetworkInterface, Error> {
        self.put_or_post("create virtual network interface", Method::Post, &[COLLECTION], vni.body()).await
    }

    /// One VNI.
    pub async fn get_virtual_network_interface(&self, id: &str) -> Result<VirtualNetworkInterface, Error> {
        self.get("get virtual network interface", &[COLLECTION, id]).await
    }

    /// All VNIs of the region.
    pub async fn list_virtual_network_interfaces(&self) -> Result<Vec<VirtualNetworkInterface>, Error> {
        self.list("list virtual network interfaces", &[COLLECTION], &[]).await
    }

    /// The VNI of that name. The API has no such filter: all are listed. Names are unique within a VPC only, so several
    /// can bear it: then `Invalid`, for guessing would adopt a stranger's.
    pub async fn find_virtual_network_interface(&self, name: &str) -> Result<Option<VirtualNetworkInterface>, Error> {
        let mut found = self.list_virtual_network_interfaces().await?;
        found.retain(|vni| vni.name == name);
        if found.len() > 1 {
            let ids = found.iter().map(|vni| vni.id.as_str()).collect::<Vec<_>>().join(", ");
            let request = format!("GET /{COLLECTION}");
            let operation = Operation { name: "find virtual network interface", request, effect: Effect::None };
            return Err(Error::unsendable(&operation, format!("several bear the name {name}: {ids}")));
        }
        Ok(found.pop())
    }

    /// Deletes a VNI; its reserved IPs stay. `InUse` while it is attached. Accepted is not done: ask until `NotFound`.
    pub async fn delete_virtual_network_interface(&self, id: &str) -> Result<(), Error> {
        self.act("delete virtual network interface", Method::Delete, &[COLLECTION, id], None).await
    }
}
