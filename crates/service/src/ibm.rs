//! The loop's cloud, over IBM Cloud VPC.

use async_trait::async_trait;
use metalform_ibm_cloud::{
    BareMetalServer, BareMetalServerPrototype, Error, ErrorKind, InitializationPrototype, ReservedIp,
    ReservedIpPrototype, ServerStatus as VpcStatus, StopType, VirtualNetworkInterfacePrototype, VpcClient,
};
use metalform_model::ServerStatus;
use metalform_orchestrator::{CallError, CallErrorKind, Cloud, Deletion, Found, ResourceKind, Wanted};
use secrecy::SecretString;
use std::sync::Arc;

/// IBM Cloud VPC behind the loop's trait.
pub struct IbmCloud(pub Arc<VpcClient>);

#[async_trait]
impl Cloud for IbmCloud {
    async fn find(&self, wanted: &Wanted) -> Result<Option<Found>, CallError> {
        Ok(match wanted {
            Wanted::Address { subnet, name, .. } => {
                self.0.find_reserved_ip(subnet, name).await.map_err(call_error)?.map(address)
            }
            Wanted::Interface { name, .. } => {
                let found = self.0.find_virtual_network_interface(name).await.map_err(call_error)?;
                found.map(|i| Found { cloud_id: i.id, address: None, interface: None })
            }
            Wanted::Server { name, .. } => self.0.find_bare_metal_server(name).await.map_err(call_error)?.map(server),
        })
    }

    async fn create(&self, wanted: &Wanted) -> Result<Found, CallError> {
        match wanted {
            Wanted::Address { subnet, name, address: ip } => {
                let prototype = ReservedIpPrototype { name: name.clone(), address: *ip };
                self.0.create_reserved_ip(subnet, &prototype).await.map(address)
            }
            Wanted::Interface { name, subnet, primary, others, security_groups } => {
                let prototype = VirtualNetworkInterfacePrototype {
                    name: name.clone(),
                    subnet: subnet.clone(),
                    primary_ip: Some(primary.clone()),
                    ips: others.clone(),
                    security_groups: security_groups.clone(),
                    ..Default::default()
                };
                let made = self.0.create_virtual_network_interface(&prototype).await;
                made.map(|i| Found { cloud_id: i.id, address: None, interface: None })
            }
            Wanted::Server { name, placement, image, interface, user_data } => {
                let prototype = BareMetalServerPrototype {
                    name: name.clone(),
                    profile: placement.profile.clone(),
                    zone: placement.zone.clone(),
                    vpc: Some(placement.vpc.clone()),
                    resource_group: None,
                    virtual_network_interface: interface.clone(),
                    initialization: initialization(image, &placement.ssh_keys, user_data),
                };
                self.0.create_bare_metal_server(&prototype).await.map(server)
            }
        }
        .map_err(call_error)
    }

    async fn exists(&self, kind: ResourceKind, subnet: &str, cloud_id: &str) -> Result<bool, CallError> {
        let looked = match kind {
            ResourceKind::Address => self.0.get_reserved_ip(subnet, cloud_id).await.map(drop),
            ResourceKind::Interface => self.0.get_virtual_network_interface(cloud_id).await.map(drop),
            ResourceKind::Server => self.0.get_bare_metal_server(cloud_id).await.map(drop),
        };
        match looked {
            Ok(()) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(call_error(error)),
        }
    }

    async fn delete(&self, kind: ResourceKind, subnet: &str, cloud_id: &str) -> Result<Deletion, CallError> {
        let deleted = match kind {
            ResourceKind::Address => self.0.delete_reserved_ip(subnet, cloud_id).await,
            ResourceKind::Interface => self.0.delete_virtual_network_interface(cloud_id).await,
            ResourceKind::Server => self.0.delete_bare_metal_server(cloud_id).await,
        };
        match deleted {
            Ok(()) => Ok(Deletion::Accepted),
            Err(error) if error.is_not_found() => Ok(Deletion::Gone),
            Err(error) => Err(call_error(error)),
        }
    }

    async fn server(&self, cloud_id: &str) -> Result<Option<(ServerStatus, Option<String>)>, CallError> {
        match self.0.get_bare_metal_server(cloud_id).await {
            Ok(server) => {
                let reasons: Vec<String> =
                    server.status_reasons.iter().map(|r| format!("{}: {}", r.code, r.message)).collect();
                Ok(Some((status(&server.status), (!reasons.is_empty()).then(|| reasons.join("; ")))))
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(call_error(error)),
        }
    }

    async fn stop(&self, cloud_id: &str) -> Result<(), CallError> {
        self.0.stop_bare_metal_server(cloud_id, StopType::Hard).await.map_err(call_error)
    }

    async fn reinitialize(
        &self,
        cloud_id: &str,
        image: &str,
        ssh_keys: &[String],
        user_data: &SecretString,
    ) -> Result<(), CallError> {
        let prototype = initialization(image, ssh_keys, user_data);
        self.0.reinitialize_bare_metal_server(cloud_id, &prototype).await.map(drop).map_err(call_error)
    }
}

fn initialization(image: &str, keys: &[String], user_data: &SecretString) -> InitializationPrototype {
    InitializationPrototype { image: image.to_owned(), keys: keys.to_vec(), user_data: Some(user_data.clone()) }
}

fn address(ip: ReservedIp) -> Found {
    Found { cloud_id: ip.id, address: Some(ip.address), interface: None }
}

fn server(server: BareMetalServer) -> Found {
    let interface = server.virtual_network_interface().map(str::to_owned);
    Found { cloud_id: server.id, address: None, interface }
}

fn status(status: &VpcStatus) -> ServerStatus {
    match status {
        VpcStatus::Pending | VpcStatus::Starting | VpcStatus::Restarting | VpcStatus::Reinitializing => {
            ServerStatus::ComingUp
        }
        VpcStatus::Running => ServerStatus::Running,
        VpcStatus::Stopping => ServerStatus::Stopping,
        VpcStatus::Stopped => ServerStatus::Stopped,
        VpcStatus::Maintenance => ServerStatus::Maintenance,
        VpcStatus::Deleting => ServerStatus::Deleting,
        VpcStatus::Failed => ServerStatus::Failed,
        VpcStatus::Other(_) => ServerStatus::Unknown,
    }
}

/// The client's errors in the loop's words.
pub(crate) fn call_error(error: Error) -> CallError {
    let kind = match error.kind() {
        ErrorKind::NotUnique => CallErrorKind::NotUnique,
        ErrorKind::InUse | ErrorKind::Conflict => CallErrorKind::Conflict,
        ErrorKind::RateLimited | ErrorKind::Unavailable | ErrorKind::NotSent => CallErrorKind::Transient,
        ErrorKind::Ambiguous => CallErrorKind::Ambiguous,
        ErrorKind::NotFound
        | ErrorKind::Unauthorized
        | ErrorKind::Forbidden
        | ErrorKind::OverQuota
        | ErrorKind::Invalid
        | ErrorKind::Protocol => CallErrorKind::Permanent,
    };
    CallError {
        kind,
        message: error.to_string(),
        hint: error.hint().unwrap_or("see the cloud's message").to_owned(),
        retry_after: error.retry_after(),
        source: std::error::Error::source(&error).map(|s| s.to_string().into()),
    }
}
