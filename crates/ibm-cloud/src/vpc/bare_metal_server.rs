//! Bare metal servers: ordered, powered, re-imaged, deleted. Names are unique within the region.
//!
//! Only the API of today is spoken: network attachments on VNIs, not the older network interfaces. User data is sent
//! and never comes back; nor are there tags. What makes a server ours is the VNI it hangs on.
//! <https://cloud.ibm.com/docs/vpc?topic=vpc-managing-bare-metal-servers>

use super::{
    VpcClient,
    reference::{LifecycleState, NameReference, Reference, lenient_time},
    reserved_ip::ReservedIpReference,
};
use crate::{error::Error, transport::Method, word::words};
use metalform_model::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

/// A server to be. It starts by itself once it is there.
#[derive(Debug, Clone)]
pub struct BareMetalServerPrototype {
    /// Unique within the region.
    pub name: String,
    /// Profile name, such as `bx2d-metal-96x384`.
    pub profile: String,
    /// Zone name.
    pub zone: String,
    /// Id; must be the VPC of the VNI's subnet. `None`: taken from there.
    pub vpc: Option<String>,
    /// Id; `None`: the account's default group.
    pub resource_group: Option<String>,
    /// Id of the free VNI that becomes the primary interface.
    pub virtual_network_interface: String,
    /// What it boots.
    pub initialization: InitializationPrototype,
}

/// What a server is to boot.
#[derive(Debug, Clone)]
pub struct InitializationPrototype {
    /// Id of the image.
    pub image: String,
    /// Ids of SSH keys; may be empty.
    pub keys: Vec<String>,
    /// For an iPXE image the URL of a script, or the script's text from `#!ipxe` on. May carry a boot token. At most
    /// 64 KB.
    pub user_data: Option<SecretString>,
}

/// A server.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct BareMetalServer {
    /// Its id.
    pub id: String,
    /// Unique within the region.
    pub name: String,
    /// Power and provisioning. `running` means powered on, no more.
    pub status: ServerStatus,
    /// Why it is in this status; filled when something is wrong.
    #[serde(default)]
    pub status_reasons: Vec<StatusReason>,
    /// Where it stands.
    #[serde(default)]
    pub lifecycle_state: Option<LifecycleState>,
    /// `ok`, `degraded`, `faulted`, `inapplicable`.
    #[serde(default)]
    pub health_state: Option<String>,
    /// When it was ordered.
    #[serde(default, deserialize_with = "lenient_time")]
    pub created_at: Option<Timestamp>,
    /// Its profile.
    #[serde(default)]
    pub profile: Option<NameReference>,
    /// Its zone.
    #[serde(default)]
    pub zone: Option<NameReference>,
    /// Its VPC.
    #[serde(default)]
    pub vpc: Option<Reference>,
    /// Absent on servers of the older kind, without VNIs.
    #[serde(default)]
    pub primary_network_attachment: Option<NetworkAttachment>,
    /// Boot disk (a RAID pair is one) and data drives.
    #[serde(default)]
    pub disks: Vec<BareMetalServerDisk>,
}

impl BareMetalServer {
    /// Id of the VNI it hangs on: the mark of whose it is.
    pub fn virtual_network_interface(&self) -> Option<&str> {
        Some(&self.primary_network_attachment.as_ref()?.virtual_network_interface.as_ref()?.id)
    }
}

/// How a server hangs on its network.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct NetworkAttachment {
    /// Its id.
    pub id: String,
    /// Unique within the server.
    #[serde(default)]
    pub name: Option<String>,
    /// The address it boots from.
    #[serde(default)]
    pub primary_ip: Option<ReservedIpReference>,
    /// The VNI.
    #[serde(default)]
    pub virtual_network_interface: Option<Reference>,
}

/// A disk of a server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct BareMetalServerDisk {
    /// Its id.
    pub id: String,
    /// `sata`, `nvme`, `fcp`.
    #[serde(default)]
    pub interface_type: Option<String>,
    /// 10^9 bytes.
    #[serde(default)]
    pub size: Option<u64>,
}

/// Why a server is in its status.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct StatusReason {
    /// Such as `cannot_start_capacity`; open-ended.
    pub code: String,
    /// IBM's words.
    #[serde(default)]
    pub message: String,
}

words! {
    /// A server's status.
    ServerStatus {
        /// Ordered, being provisioned.
        Pending = "pending",
        /// Powering on.
        Starting = "starting",
        /// Powered on.
        Running = "running",
        /// Powering off. Not in the published list, but seen by others.
        Stopping = "stopping",
        /// Powered off.
        Stopped = "stopped",
        /// Off and on again.
        Restarting = "restarting",
        /// Its boot disk is being written anew.
        Reinitializing = "reinitializing",
        /// In IBM's hands.
        Maintenance = "maintenance",
        /// Being deleted.
        Deleting = "deleting",
        /// See the status reasons.
        Failed = "failed",
    }
}

/// How a server is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopType {
    /// The operating system is asked; it may never comply.
    Soft,
    /// Power off.
    Hard,
}

/// What a server was last initialized with. User data is never shown.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Initialization {
    /// The image.
    #[serde(default)]
    pub image: Option<Reference>,
    /// The SSH keys.
    #[serde(default)]
    pub keys: Vec<Reference>,
}

impl BareMetalServerPrototype {
    fn body(&self) -> Value {
        let mut body = json!({
            "name": self.name,
            "profile": { "name": self.profile },
            "zone": { "name": self.zone },
            "initialization": self.initialization.body(),
            "primary_network_attachment": {
                "name": "eth0",
                "virtual_network_interface": { "id": self.virtual_network_interface },
            },
        });
        if let Some(vpc) = &self.vpc {
            body["vpc"] = json!({ "id": vpc });
        }
        if let Some(group) = &self.resource_group {
            body["resource_group"] = json!({ "id": group });
        }
        body
    }
}

impl InitializationPrototype {
    /// Nested at creation, the whole body at reinitialization.
    fn body(&self) -> Value {
        let keys: Value = self.keys.iter().map(|id| json!({ "id": id })).collect();
        let mut body = json!({ "image": { "id": self.image }, "keys": keys });
        if let Some(user_data) = &self.user_data {
            body["user_data"] = json!(user_data.expose_secret());
        }
        body
    }
}

const COLLECTION: &str = "bare_metal_servers";

impl VpcClient {
    /// Orders a server. Sent once; answered with status `pending`.
    pub async fn create_bare_metal_server(&self, server: &BareMetalServerPrototype) -> Result<BareMetalServer, Error> {
        self.put_or_post("create bare metal server", Method::Post, &[COLLECTION], server.body()).await
    }

    /// One server.
    pub async fn get_bare_metal_server(&self, id: &str) -> Result<BareMetalServer, Error> {
        self.get("get bare metal server", &[COLLECTION, id]).await
    }

    /// All servers of the region.
    pub async fn list_bare_metal_servers(&self) -> Result<Vec<BareMetalServer>, Error> {
        self.list("list bare metal servers", &[COLLECTION], &[]).await
    }

    /// The server of that name.
    pub async fn find_bare_metal_server(&self, name: &str) -> Result<Option<BareMetalServer>, Error> {
        let found: Vec<BareMetalServer> = self.list("find bare metal server", &[COLLECTION], &[("name", name)]).await?;
        Ok(found.into_iter().find(|server| server.name == name))
    }

    /// Powers on a `stopped` server; `Conflict` in any other status.
    pub async fn start_bare_metal_server(&self, id: &str) -> Result<(), Error> {
        self.act("start bare metal server", Method::Post, &[COLLECTION, id, "start"], None).await
    }

    /// Powers off a `running` server. Accepted is not done: ask until `stopped`.
    pub async fn stop_bare_metal_server(&self, id: &str, how: StopType) -> Result<(), Error> {
        let how = match how {
            StopType::Soft => "soft",
            StopType::Hard => "hard",
        };
        let body = json!({ "type": how });
        self.act("stop bare metal server", Method::Post, &[COLLECTION, id, "stop"], Some(body)).await
    }

    /// What the server was last initialized with.
    pub async fn get_bare_metal_server_initialization(&self, id: &str) -> Result<Initialization, Error> {
        self.get("get initialization", &[COLLECTION, id, "initialization"]).await
    }

    /// Writes the boot disk anew; data drives keep their content. The server must be `stopped` (or `failed` with reason
    /// `cannot_reinitialize`) and starts by itself afterwards: a start in between is a `Conflict`.
    pub async fn reinitialize_bare_metal_server(
        &self,
        id: &str,
        initialization: &InitializationPrototype,
    ) -> Result<Initialization, Error> {
        let path = [COLLECTION, id, "initialization"];
        self.put_or_post("reinitialize bare metal server", Method::Put, &path, initialization.body()).await
    }

    /// Deletes a powered-off server; its VNI stays. Accepted is not done: ask until `NotFound`.
    pub async fn delete_bare_metal_server(&self, id: &str) -> Result<(), Error> {
        self.act("delete bare metal server", Method::Delete, &[COLLECTION, id], None).await
    }
}
