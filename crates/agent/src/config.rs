//! The node's configuration as the agent reads it. The agent uses a part of the document and hands all of it to the
//! installer unchanged, so keys that it doesn't know are passed over; in a drive they are not: a drive that is
//! understood in part would be another drive.

use metalform_model::ChosenBy;
use serde::Deserialize;
use serde_json::Value;
use std::{fmt, net::Ipv4Addr};

/// The parts the agent goes by.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct NodeConfig {
    /// Whose configuration it is.
    pub server_info: ServerInfo,
    /// What the node becomes.
    pub node_config: NodePart,
    /// The drives.
    pub storage_config: StorageConfig,
    /// The network.
    pub network_config: NetworkConfig,
}

/// Whose configuration it is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ServerInfo {
    /// The node's id.
    pub server_id: String,
    /// The machine's address.
    pub mgmt_ip: Ipv4Addr,
}

/// What the node becomes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct NodePart {
    /// `ahv`.
    pub hypervisor: String,
    /// Least memory in GiB, where the profile is known.
    #[serde(default)]
    pub min_memory_gib: Option<u64>,
    /// Fewest processor cores, where the profile is known.
    #[serde(default)]
    pub min_cores: Option<u64>,
}

/// The drives.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct StorageConfig {
    /// What the machine boots from.
    pub boot_device: WantedDrive,
    /// The hypervisor's.
    pub hypervisor_device: WantedDrive,
    /// The controller VM's.
    pub cvm_device: WantedDrive,
    /// The cluster's.
    pub data_devices: Vec<WantedDrive>,
    /// Who chose the data drives.
    #[serde(default)]
    pub data_devices_by: ChosenBy,
}

/// The network.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct NetworkConfig {
    /// The machine's interfaces; the names are those of the installed system.
    pub interfaces: Vec<WantedInterface>,
}

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct WantedInterface {
    /// Its address.
    pub ip: Ipv4Addr,
}

/// A drive by what it is: everything stated must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Value")]
pub struct WantedDrive {
    /// `/dev/nvme2n1`.
    pub device: Option<String>,
    /// Exact serial number.
    pub serial: Option<String>,
    /// Part of the model name.
    pub model: Option<String>,
    /// At least this size, in 10^9 bytes.
    pub min_gb: Option<u64>,
    /// At most this size, in 10^9 bytes.
    pub max_gb: Option<u64>,
    /// The plan says that what is on it may go.
    pub wipe: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Selector {
    device: Option<String>,
    serial: Option<String>,
    model: Option<String>,
    min_gb: Option<u64>,
    max_gb: Option<u64>,
    #[serde(default)]
    wipe: bool,
}

/// By hand, because an untagged enum says of everything wrong within it only that it is of no form it knows.
impl TryFrom<Value> for WantedDrive {
    type Error = String;

    fn try_from(drive: Value) -> Result<Self, String> {
        let is_size = |size: &Value| size.is_u64() || size.is_null();
        if let Some((key, size)) =
            ["min_gb", "max_gb"].iter().filter_map(|key| Some((key, drive.get(key)?))).find(|(_, size)| !is_size(size))
        {
            return Err(format!("{key} is {size}, and has to be a whole number of GB"));
        }
        let wanted = match drive {
            Value::String(device) => WantedDrive { device: Some(device), ..WantedDrive::default() },
            Value::Object(_) => {
                let selector =
                    serde_json::from_value(drive).map_err(|error| format!("a drive can't be read: {error}"))?;
                let Selector { device, serial, model, min_gb, max_gb, wipe } = selector;
                WantedDrive { device, serial, model, min_gb, max_gb, wipe }
            }
            other => {
                return Err(format!("a drive is a path below /dev or an object that selects one, and not {other}"));
            }
        };
        if wanted.device.as_ref().is_some_and(|device| !device.starts_with("/dev/")) {
            return Err(format!("{wanted} is no path below /dev"));
        }
        let texts = [&wanted.device, &wanted.serial, &wanted.model];
        if texts.iter().any(|text| text.as_deref() == Some("")) {
            return Err("an empty text names no drive".into());
        }
        if texts.iter().all(|text| text.is_none()) && wanted.min_gb.is_none() && wanted.max_gb.is_none() {
            return Err("an empty selector would fit any drive".into());
        }
        Ok(wanted)
    }
}

impl WantedDrive {
    /// Whether it can mean one drive only.
    pub fn is_exact(&self) -> bool {
        self.device.is_some() || self.serial.is_some()
    }
}

impl fmt::Display for WantedDrive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        parts.extend(self.device.clone());
        parts.extend(self.serial.iter().map(|serial| format!("serial number {serial}")));
        parts.extend(self.model.iter().map(|model| format!("model {model}")));
        match (self.min_gb, self.max_gb) {
            (Some(min), Some(max)) => parts.push(format!("{min} to {max} GB")),
            (Some(min), None) => parts.push(format!("at least {min} GB")),
            (None, Some(max)) => parts.push(format!("at most {max} GB")),
            (None, None) => {}
        }
        f.write_str(&parts.join(", "))
    }
}

/// The document is none, or not this node's. Permanent.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not JSON, or a part is missing or of another form.
    #[error("the node's configuration can't be read")]
    Unreadable(#[source] serde_json::Error),
    /// Another node's.
    #[error("the configuration is that of {theirs}, and this is {ours}")]
    AnotherNodes {
        /// Id and address in it.
        theirs: String,
        /// Id and address on the kernel's command line.
        ours: String,
    },
}

impl NodeConfig {
    /// Reads a document and sees that it is this node's.
    pub fn read(text: &[u8], node_id: &str, mgmt_ip: Ipv4Addr) -> Result<NodeConfig, ConfigError> {
        let config: NodeConfig = serde_json::from_slice(text).map_err(ConfigError::Unreadable)?;
        let theirs = &config.server_info;
        if theirs.server_id != node_id || theirs.mgmt_ip != mgmt_ip {
            return Err(ConfigError::AnotherNodes {
                theirs: format!("{} ({})", theirs.server_id, theirs.mgmt_ip),
                ours: format!("{node_id} ({mgmt_ip})"),
            });
        }
        Ok(config)
    }
}
