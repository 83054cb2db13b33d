//! Client of IBM Cloud IAM and VPC, as far as network-booted bare metal servers need them. It knows nothing of what the
//! servers are for.
//!
//! - [`Iam`] turns an API key or a trusted profile into bearer tokens and keeps them fresh.
//! - [`VpcClient`] has one method per call of the VPC API; a file per noun holds what is sent and what comes back.
//! - [`Error`] says what kind of failure it was, above all whether the request may have been carried out.
//!
//! The VPC API has no idempotency key, only unique names. So a call that creates or changes something is sent once
//! and never repeated here: its caller looks the name up, before and after. The one exception is a 401, which certainly
//! did nothing. Reads are retried a few times.
//!
//! Sockets, time and waiting are arguments ([`Transport`], [`metalform_model::Clock`], [`Pause`]): a test or a simulated
//! cloud stands in for all three. The generated SDKs were rejected: there is none for Rust, and they retry a POST.
//!
//! Nothing is kept on disk; after a crash the token is fetched anew.

mod error;
mod http_transport;
mod iam;
mod pause;
mod token;
mod transport;
mod vpc;
mod word;

pub use error::{Error, ErrorKind};
pub use http_transport::HttpTransport;
pub use iam::{Credentials, IAM_URL, Iam, METADATA_URL, TrustedProfile};
pub use pause::{Pause, TokioPause};
pub use token::Token;
pub use transport::{Method, Request, Response, Transport, TransportError};
pub use vpc::{
    API_VERSION, VpcClient,
    bare_metal_server::{
        BareMetalServer, BareMetalServerDisk, BareMetalServerPrototype, Initialization, InitializationPrototype,
        NetworkAttachment, ServerStatus, StatusReason, StopType,
    },
    image::{Image, ImageStatus},
    key::Key,
    profile::{BareMetalServerProfile, ProfileDisk},
    reference::{LifecycleState, NameReference, Reference},
    reserved_ip::{ReservedIp, ReservedIpPrototype, ReservedIpReference},
    security_group::SecurityGroup,
    subnet::Subnet,
    virtual_network_interface::{VirtualNetworkInterface, VirtualNetworkInterfacePrototype},
    virtual_private_cloud::Vpc,
    vpc_url,
};
