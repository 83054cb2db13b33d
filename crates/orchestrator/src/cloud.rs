//! What the loop asks of a cloud, in our words.

use async_trait::async_trait;
use metalform_model::{BootAttempt, InlineScript, Placement, ServerStatus, Slot};
use secrecy::SecretString;
use std::{error::Error, net::Ipv4Addr, time::Duration};
use thiserror::Error;

/// A cloud that has bare metal servers. Every call returns within a minute.
#[async_trait]
pub trait Cloud: Send + Sync {
    /// Looks a thing up by its name, in the scope in which names are unique.
    async fn find(&self, wanted: &Wanted) -> Result<Option<Found>, CallError>;
    /// Makes it. Sent once; the caller has looked the name up before.
    async fn create(&self, wanted: &Wanted) -> Result<Found, CallError>;
    /// Whether the thing of that id still exists.
    async fn exists(&self, kind: ResourceKind, subnet: &str, cloud_id: &str) -> Result<bool, CallError>;
    /// Deletes the thing of that id.
    async fn delete(&self, kind: ResourceKind, subnet: &str, cloud_id: &str) -> Result<Deletion, CallError>;
    /// What a server does, and why it failed if it did; `None`: there is no such server (any more).
    async fn server(&self, cloud_id: &str) -> Result<Option<(ServerStatus, Option<String>)>, CallError>;
    /// Powers a server off, hard. Needs it running.
    async fn stop(&self, cloud_id: &str) -> Result<(), CallError>;
    /// Wipes a stopped server's boot disk, installs the image again and starts it.
    async fn reinitialize(
        &self,
        cloud_id: &str,
        image: &str,
        ssh_keys: &[String],
        user_data: &SecretString,
    ) -> Result<(), CallError>;
}

/// What a machine is given to find its boot script by.
#[async_trait]
pub trait BootLinks: Send + Sync {
    /// What a script in user data is made of in an attempt that is opened now; `None`: user data is to be the URL of the script.
    /// It is recorded with the attempt, before anything is sent.
    async fn pin(&self) -> Result<Option<InlineScript>, LinkError>;
    /// The user data of a server in that attempt: the URL of its script, or the script. Both carry the token of the attempt: a
    /// secret. Asked once the node's addresses are recorded, and again after a crash: a server that was made meanwhile is found
    /// by its name, and what it was given isn't compared.
    async fn user_data(&self, server_id: &str, attempt: &BootAttempt) -> Result<SecretString, LinkError>;
}

/// There is no user data for a server.
#[derive(Debug, Error)]
#[error("there is no boot script for it: {message}")]
pub struct LinkError {
    /// Whether it may work later without anybody doing something.
    pub transient: bool,
    /// Why. Holds nothing of the script.
    pub message: String,
    /// What to do next.
    pub hint: String,
}

/// The kinds of things a cloud holds for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResourceKind {
    /// A reserved address.
    Address,
    /// A virtual network interface.
    Interface,
    /// A bare metal server.
    Server,
}

impl From<Slot> for ResourceKind {
    fn from(slot: Slot) -> Self {
        match slot {
            Slot::Mgmt | Slot::Ahv | Slot::Cvm | Slot::Vip => ResourceKind::Address,
            Slot::Interface => ResourceKind::Interface,
            Slot::Server => ResourceKind::Server,
        }
    }
}

/// A thing to be made.
#[derive(Debug, Clone)]
pub enum Wanted {
    /// A reserved address of a subnet.
    Address {
        /// The subnet's id.
        subnet: String,
        /// Its name.
        name: String,
        /// Which address; `None`: any free one.
        address: Option<Ipv4Addr>,
    },
    /// A virtual network interface that holds reserved addresses.
    Interface {
        /// Its name.
        name: String,
        /// The subnet's id.
        subnet: String,
        /// The id of the reserved address the machine boots from.
        primary: String,
        /// The ids of the other reserved addresses that are to reach the machine.
        others: Vec<String>,
        /// Ids; empty: the VPC's default group.
        security_groups: Vec<String>,
    },
    /// A bare metal server that boots from the network.
    Server {
        /// Its name.
        name: String,
        /// Where and of which profile.
        placement: Placement,
        /// The id of the network-boot image.
        image: String,
        /// The id of its interface.
        interface: String,
        /// What it is told to boot.
        user_data: SecretString,
    },
}

/// A thing that exists.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The cloud's id.
    pub cloud_id: String,
    /// For addresses: which.
    pub address: Option<Ipv4Addr>,
    /// For servers: the id of the interface it hangs on. It is ours if that one is.
    pub interface: Option<String>,
}

/// What became of a delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// Under way.
    Accepted,
    /// There was nothing (any more).
    Gone,
}

/// What kind of failure a call met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallErrorKind {
    /// It will fail again until a person changes something.
    Permanent,
    /// Certainly nothing happened; it may work later.
    Transient,
    /// It may have happened.
    Ambiguous,
    /// The name is taken: by us, if the answer to an earlier call was lost.
    NotUnique,
    /// Not in the present state of the thing; that may pass.
    Conflict,
}

/// A call that failed.
#[derive(Debug, Error)]
#[error("{message}")]
pub struct CallError {
    /// Which kind.
    pub kind: CallErrorKind,
    /// What failed, with what.
    pub message: String,
    /// What to do next.
    pub hint: String,
    /// Not before this time has passed, says the other side.
    pub retry_after: Option<Duration>,
    /// Why.
    #[source]
    pub source: Option<Box<dyn Error + Send + Sync>>,
}
