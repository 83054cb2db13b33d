//! Foundation on a CVM (port 8000), in two tongues.
//!
//! Here: `POST /foundation/clusters`, with TLS and basic authentication, as the product's first design states it. The
//! published clients (the Terraform provider, the Ansible collection) know no such method: they speak plain HTTP without
//! authentication, and form clusters as a part of `POST /foundation/image_nodes`, which stands in
//! [`foundation_session`](crate::FoundationSession). Where the first is not offered the error says so
//! ([`Error::is_not_offered`], [`Error::speaks_no_tls`]), and nothing was sent that could have had an effect.

use crate::{BasicAuth, Created, Error, Method, Operation, Peer, PinRule, Request, Transport, TransportError, prism};
use secrecy::SecretString;
use serde::Serialize;
use serde_json::json;
use std::{net::Ipv4Addr, sync::Arc, time::Duration};

/// How Foundation is talked to.
#[derive(Debug, Clone)]
pub struct FoundationSettings {
    /// TCP port.
    pub port: u16,
    /// User name, for `clusters` only.
    pub user: String,
    /// Password, for `clusters` only.
    pub password: SecretString,
    /// Limit of a create call.
    pub create_limit: Duration,
    /// Limit of a look: version, progress.
    pub read_limit: Duration,
}

impl Default for FoundationSettings {
    /// Port 8000, `admin` with `nutanix/4u`; create 30 s, looks 10 s.
    fn default() -> Self {
        Self {
            port: 8000,
            user: "admin".into(),
            password: "nutanix/4u".into(),
            create_limit: Duration::from_secs(30),
            read_limit: Duration::from_secs(10),
        }
    }
}

/// The cluster to be, as Foundation is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FoundationCluster {
    /// Its name.
    pub cluster_name: String,
    /// Its address, the VIP.
    pub cluster_external_ip: Ipv4Addr,
    /// Name servers.
    pub dns_servers: Vec<Ipv4Addr>,
    /// Time servers: names or addresses.
    pub ntp_servers: Vec<String>,
    /// Its members.
    pub nodes: Vec<FoundationNode>,
}

/// A member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FoundationNode {
    /// The node's UUID, as the node itself reports it.
    pub node_uuid: String,
    /// The hypervisor's address.
    pub hypervisor_ip: Ipv4Addr,
    /// The CVM's address.
    pub cvm_ip: Ipv4Addr,
    /// Position in its block: `A`, `B`, …
    pub node_position: String,
}

/// Speaks with the Foundation of any CVM.
#[derive(Clone)]
pub struct FoundationClient {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) settings: FoundationSettings,
}

impl FoundationClient {
    /// A client over `transport`.
    pub fn new(transport: Arc<dyn Transport>, settings: FoundationSettings) -> Self {
        Self { transport, settings }
    }

    /// Whether Foundation answers at `address`, in either tongue. Says nothing secret.
    pub async fn offer(&self, address: Ipv4Addr) -> Result<(), Error> {
        let peer = Peer { address, port: self.settings.port, pin: PinRule::TrustFirst };
        match self.transport.knock(peer.clone(), self.settings.read_limit).await {
            Ok(_) => Ok(()),
            Err(TransportError::Tls(_)) => self.version(address).await.map(drop),
            Err(error) => Err(Error::transport(Operation::ReadFoundationVersion, peer.place(), error)),
        }
    }

    /// Whether what answers at `address` speaks TLS, as the documented call wants it.
    pub async fn speaks_tls(&self, address: Ipv4Addr) -> bool {
        let peer = Peer { address, port: self.settings.port, pin: PinRule::TrustFirst };
        self.transport.knock(peer, self.settings.read_limit).await.is_ok()
    }

    /// Asks the CVM at `address` to form the cluster. Sent once, never repeated here.
    pub async fn create_cluster(
        &self,
        address: Ipv4Addr,
        pin: PinRule,
        cluster: &FoundationCluster,
    ) -> Result<Created, Error> {
        let peer = Peer { address, port: self.settings.port, pin };
        let request = Request {
            method: Method::Post,
            path: "/foundation/clusters".into(),
            auth: Some(BasicAuth { user: self.settings.user.clone(), password: self.settings.password.clone() }),
            body: Some(json!(cluster)),
            limit: self.settings.create_limit,
        };
        prism::create(&*self.transport, Operation::CreateThroughFoundation, peer, request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted::{CVM, KEY, Scripted};

    fn cluster() -> FoundationCluster {
        FoundationCluster {
            cluster_name: "my-nutanix-cluster".into(),
            cluster_external_ip: Ipv4Addr::new(10, 240, 0, 200),
            dns_servers: vec![Ipv4Addr::new(8, 8, 8, 8)],
            ntp_servers: vec!["pool.ntp.org".into()],
            nodes: vec![FoundationNode {
                node_uuid: "6d1b6f5e-0000-4000-8000-000000000001".into(),
                hypervisor_ip: Ipv4Addr::new(10, 240, 0, 21),
                cvm_ip: CVM,
                node_position: "A".into(),
            }],
        }
    }

    #[tokio::test]
    async fn foundation_is_asked_for_the_cluster_with_its_nodes() {
        let transport = Scripted::answering([Ok((200, r#"{"session_id":"s1"}"#))]);
        let client = FoundationClient::new(transport.clone(), FoundationSettings::default());
        let created = client.create_cluster(CVM, PinRule::TrustFirst, &cluster()).await.unwrap();
        assert_eq!(created, Created { address: CVM, body: json!({"session_id": "s1"}), fingerprint: KEY });
        assert_eq!(
            transport.asked(),
            [json!({
                "request": "POST https://10.240.0.11:8000/foundation/clusters",
                "pin": "trust_first",
                "auth": "admin:nutanix/4u",
                "limit": 30.0,
                "body": {
                    "cluster_name": "my-nutanix-cluster",
                    "cluster_external_ip": "10.240.0.200",
                    "dns_servers": ["8.8.8.8"],
                    "ntp_servers": ["pool.ntp.org"],
                    "nodes": [{
                        "node_uuid": "6d1b6f5e-0000-4000-8000-000000000001",
                        "hypervisor_ip": "10.240.0.21",
                        "cvm_ip": "10.240.0.11",
                        "node_position": "A",
                    }],
                },
            })]
        );
    }

    #[tokio::test]
    async fn foundation_answers_500_for_every_fault_and_says_which() {
        let transport = Scripted::answering([Ok((500, r#"{"error":{"message":"No such node","session_id":null}}"#))]);
        let client = FoundationClient::new(transport, FoundationSettings::default());
        let error = client.create_cluster(CVM, PinRule::TrustFirst, &cluster()).await.unwrap_err();
        assert_eq!(error.kind.to_string(), "refused with status 500: No such node");
        assert!(!error.is_ambiguous());
    }
}
