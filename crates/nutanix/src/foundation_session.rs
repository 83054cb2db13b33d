//! Foundation as its published clients know it: `POST /foundation/image_nodes` begins a session, which is then asked
//! how far it is. Plain HTTP, no authentication, so it must be reachable from a provisioning network only.
//!
//! Names, types and which fields are always sent: the Terraform provider (github.com/nutanix/terraform-provider-nutanix,
//! `sdks/v3/foundation`) and the Ansible collection (github.com/nutanix/nutanix.ansible); verified in their source. With
//! `image_now: false` nothing is installed, and what is left of the session is forming the cluster. Status 500 for every
//! fault, a wrong request too, is from older material and not confirmed.
//!
//! What holds here: nothing in a request is secret, and no answer alone proves a cluster. DNS servers, time servers and
//! time zone have been dropped without a word on their way to Foundation (nutanix.ansible issue 307): compare them with
//! what the cluster says once it stands.

use crate::{
    Error, ErrorKind, FoundationClient, FoundationProgress, Method, Operation, PlainRequest, PlainResponse, excerpt,
};
use serde::Serialize;
use serde_json::{Value, json};
use std::{fmt, net::Ipv4Addr, str::FromStr};

/// The cluster to be, and the nodes it is formed of. They are imaged already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageNodes {
    /// Its name.
    pub cluster_name: String,
    /// Its address, the VIP.
    pub cluster_external_ip: Ipv4Addr,
    /// 1, 2 or 3.
    pub redundancy_factor: u8,
    /// Name servers of the CVMs.
    pub dns_servers: Vec<Ipv4Addr>,
    /// Time servers of CVMs and hypervisors: names or addresses.
    pub ntp_servers: Vec<String>,
    /// A name of the tz database.
    pub timezone: String,
    /// Netmask of CVMs and hypervisors, which share the subnet.
    pub netmask: Ipv4Addr,
    /// Gateway of both.
    pub gateway: Ipv4Addr,
    /// The members.
    pub nodes: Vec<ImageNode>,
}

/// A member. What it says must be what the node was installed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageNode {
    /// The serial number of the block it sits in; other nodes may share it.
    pub block_id: String,
    /// Position in its block: `A`, `B`, …
    pub node_position: String,
    /// The hypervisor's host name.
    pub hypervisor_hostname: String,
    /// The hypervisor's address.
    pub hypervisor_ip: Ipv4Addr,
    /// The CVM's address.
    pub cvm_ip: Ipv4Addr,
}

/// A node as it goes out. A server in a cloud has no IPMI that Foundation may use; the field is sent all the same, as
/// the Terraform provider does.
#[derive(Serialize)]
struct NodeBody<'a> {
    node_position: &'a str,
    hypervisor_hostname: &'a str,
    hypervisor_ip: Ipv4Addr,
    hypervisor: &'static str,
    cvm_ip: Ipv4Addr,
    ipmi_ip: &'static str,
    image_now: bool,
}

#[derive(Serialize)]
struct BlockBody<'a> {
    block_id: &'a str,
    nodes: Vec<NodeBody<'a>>,
}

impl ImageNodes {
    /// The request. Lists of servers are texts with commas, not JSON lists.
    fn body(&self) -> Value {
        let mut blocks: Vec<BlockBody<'_>> = Vec::new();
        for node in &self.nodes {
            let body = NodeBody {
                node_position: &node.node_position,
                hypervisor_hostname: &node.hypervisor_hostname,
                hypervisor_ip: node.hypervisor_ip,
                hypervisor: "kvm",
                cvm_ip: node.cvm_ip,
                ipmi_ip: "",
                image_now: false,
            };
            match blocks.iter_mut().find(|block| block.block_id == node.block_id) {
                Some(block) => block.nodes.push(body),
                None => blocks.push(BlockBody { block_id: &node.block_id, nodes: vec![body] }),
            }
        }
        let dns = self.dns_servers.iter().map(Ipv4Addr::to_string).collect::<Vec<_>>().join(",");
        let ntp = self.ntp_servers.join(",");
        json!({
            "cvm_gateway": self.gateway,
            "cvm_netmask": self.netmask,
            "hypervisor_gateway": self.gateway,
            "hypervisor_netmask": self.netmask,
            "hypervisor_nameserver": self.dns_servers.first().map(Ipv4Addr::to_string).unwrap_or_default(),
            "hypervisor_iso": {},
            "nos_package": null,
            "skip_hypervisor": true,
            "blocks": blocks,
            "clusters": [{
                "cluster_name": self.cluster_name,
                "cluster_external_ip": self.cluster_external_ip,
                "redundancy_factor": self.redundancy_factor,
                "cluster_members": self.nodes.iter().map(|node| node.cvm_ip).collect::<Vec<_>>(),
                "cluster_init_now": true,
                "single_node_cluster": self.nodes.len() == 1,
                "cvm_dns_servers": dns,
                "cvm_ntp_servers": ntp,
                "hypervisor_ntp_servers": ntp,
                "timezone": self.timezone,
            }],
        })
    }
}

/// The name of a session of Foundation, to be remembered as text. It goes into a query, so it has only characters that
/// mean nothing there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundationSession(String);

/// A text that can't be the name of a session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a session's name has 1 to 128 letters, digits, and -._:")]
pub struct NotASession;

impl FromStr for FoundationSession {
    type Err = NotASession;
    fn from_str(text: &str) -> Result<Self, NotASession> {
        let is_plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "-._:".contains(c));
        ((1..=128).contains(&text.len()) && is_plain).then(|| Self(text.to_owned())).ok_or(NotASession)
    }
}

impl fmt::Display for FoundationSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FoundationClient {
    /// Which Foundation answers at `address`, in its own words (`foundation-5.6-…`).
    pub async fn version(&self, address: Ipv4Addr) -> Result<String, Error> {
        let operation = Operation::ReadFoundationVersion;
        let answer = self.ask(operation, address, Method::Get, "/foundation/version".into(), None).await?;
        let version = excerpt::of_body(&answer.body);
        // A page is somebody else's answer.
        if version.is_empty() || version.starts_with('<') {
            return Err(self.not_understood(operation, address, &answer, None));
        }
        Ok(version)
    }

    /// Asks the Foundation at `address` to form the cluster. Sent once, never repeated here. The session says how it
    /// goes on; it is lost when Foundation restarts, so the nodes themselves are what counts.
    pub async fn image_nodes(&self, address: Ipv4Addr, wanted: &ImageNodes) -> Result<FoundationSession, Error> {
        let operation = Operation::FormThroughImageNodes;
        let path = "/foundation/image_nodes".into();
        let answer = self.ask(operation, address, Method::Post, path, Some(wanted.body())).await?;
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let session = body["session_id"].as_str().unwrap_or_default().parse();
        session.map_err(|error: NotASession| self.not_understood(operation, address, &answer, Some(error.into())))
    }

    /// How far a session is.
    pub async fn progress(&self, address: Ipv4Addr, session: &FoundationSession) -> Result<FoundationProgress, Error> {
        let operation = Operation::ReadFoundationProgress;
        let path = format!("/foundation/progress?session_id={session}");
        let answer = self.ask(operation, address, Method::Get, path, None).await?;
        match serde_json::from_slice(&answer.body) {
            Ok(Value::Object(body)) => Ok(FoundationProgress::read(&body.into(), session)),
            Ok(_) => Err(self.not_understood(operation, address, &answer, None)),
            Err(error) => Err(self.not_understood(operation, address, &answer, Some(error.into()))),
        }
    }

    async fn ask(
        &self,
        operation: Operation,
        address: Ipv4Addr,
        method: Method,
        path: String,
        body: Option<Value>,
    ) -> Result<PlainResponse, Error> {
        let at = (address, self.settings.port);
        let limit = match method {
            Method::Get => self.settings.read_limit,
            Method::Post | Method::Put => self.settings.create_limit,
        };
        let request = PlainRequest { method, path, body, limit };
        let answer = self.transport.send_plain(address, self.settings.port, request).await;
        let answer = answer.map_err(|error| Error::transport(operation, at, error))?;
        if (200..300).contains(&answer.status) {
            return Ok(answer);
        }
        Err(Error::refused(operation, at, None, answer.status, &answer.body))
    }

    fn not_understood(
        &self,
        operation: Operation,
        address: Ipv4Addr,
        answer: &PlainResponse,
        cause: Option<crate::Cause>,
    ) -> Error {
        let (status, excerpt) = (answer.status, excerpt::of_body(&answer.body));
        let kind = ErrorKind::Protocol { status, excerpt, cause };
        Error::answered(operation, (address, self.settings.port), None, kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        FoundationSettings, TransportError,
        scripted::{Answer, CVM, Scripted},
    };
    use std::{sync::Arc, time::Duration};

    fn client(answers: impl IntoIterator<Item = Answer>) -> (FoundationClient, Arc<Scripted>) {
        let transport = Scripted::answering(answers);
        (FoundationClient::new(transport.clone(), FoundationSettings::default()), transport)
    }

    fn node(block: &str, n: u8) -> ImageNode {
        ImageNode {
            block_id: block.into(),
            node_position: "A".into(),
            hypervisor_hostname: format!("server-{n:03}"),
            hypervisor_ip: Ipv4Addr::new(10, 240, 0, 20 + n),
            cvm_ip: Ipv4Addr::new(10, 240, 0, 10 + n),
        }
    }

    fn wanted(nodes: Vec<ImageNode>) -> ImageNodes {
        ImageNodes {
            cluster_name: "my-nutanix-cluster".into(),
            cluster_external_ip: Ipv4Addr::new(10, 240, 0, 200),
            redundancy_factor: 2,
            dns_servers: vec![Ipv4Addr::new(8, 8, 8, 8), Ipv4Addr::new(1, 1, 1, 1)],
            ntp_servers: vec!["0.pool.ntp.org".into(), "1.pool.ntp.org".into()],
            timezone: "Europe/Berlin".into(),
            netmask: Ipv4Addr::new(255, 255, 255, 0),
            gateway: Ipv4Addr::new(10, 240, 0, 1),
            nodes,
        }
    }

    #[tokio::test]
    async fn foundation_is_asked_to_form_and_not_to_image_over_plain_http() {
        let (client, transport) = client([Ok((200, r#"{"session_id":"s-1"}"#))]);
        let nodes = vec![node("b1", 1), node("b2", 2), node("b1", 3)];
        let session = client.image_nodes(CVM, &wanted(nodes)).await.unwrap();
        assert_eq!(session.to_string(), "s-1");
        let node = |n: u8| {
            json!({
                "node_position": "A", "hypervisor_hostname": format!("server-00{n}"), "hypervisor": "kvm",
                "hypervisor_ip": format!("10.240.0.2{n}"), "cvm_ip": format!("10.240.0.1{n}"), "ipmi_ip": "",
                "image_now": false,
            })
        };
        assert_eq!(
            transport.asked(),
            [json!({
                "request": "POST http://10.240.0.11:8000/foundation/image_nodes",
                "limit": 30.0,
                "body": {
                    "cvm_gateway": "10.240.0.1",
                    "cvm_netmask": "255.255.255.0",
                    "hypervisor_gateway": "10.240.0.1",
                    "hypervisor_netmask": "255.255.255.0",
                    "hypervisor_nameserver": "8.8.8.8",
                    "hypervisor_iso": {},
                    "nos_package": null,
                    "skip_hypervisor": true,
                    "blocks": [
                        {"block_id": "b1", "nodes": [node(1), node(3)]},
                        {"block_id": "b2", "nodes": [node(2)]},
                    ],
                    "clusters": [{
                        "cluster_name": "my-nutanix-cluster",
                        "cluster_external_ip": "10.240.0.200",
                        "redundancy_factor": 2,
                        "cluster_members": ["10.240.0.11", "10.240.0.12", "10.240.0.13"],
                        "cluster_init_now": true,
                        "single_node_cluster": false,
                        "cvm_dns_servers": "8.8.8.8,1.1.1.1",
                        "cvm_ntp_servers": "0.pool.ntp.org,1.pool.ntp.org",
                        "hypervisor_ntp_servers": "0.pool.ntp.org,1.pool.ntp.org",
                        "timezone": "Europe/Berlin",
                    }],
                },
            })]
        );
    }

    #[test]
    fn one_node_alone_is_a_single_node_cluster() {
        let body = wanted(vec![node("b", 1)]).body();
        assert_eq!(body["clusters"][0]["single_node_cluster"], true);
    }

    #[tokio::test]
    async fn a_begun_session_without_a_usable_name_is_ambiguous_and_not_a_success() {
        let (client, _) = client([
            Ok((200, "{}")),
            Ok((200, r#"{"session_id":null}"#)),
            Ok((200, r#"{"session_id":"a&session_id=b"}"#)),
            Ok((200, r#"{"session_id":""}"#)),
            Ok((202, "<html>")),
        ]);
        for _ in 0..5 {
            let error = client.image_nodes(CVM, &wanted(vec![node("b", 1)])).await.unwrap_err();
            assert!(error.is_ambiguous() && !error.is_transient(), "{error:?}");
        }
    }

    #[tokio::test]
    async fn what_goes_wrong_is_told_with_what_it_means_for_asking_again() {
        const WORDS: &str = r#"{"error":{"message":"No such node","details":{},"session_id":null}}"#;
        let second = Duration::from_secs(1);
        for (answer, told, ambiguous, not_offered) in [
            (Ok((500, WORDS)), "refused with status 500: No such node", false, false),
            (Ok((502, "<html>no</html>")), "refused with status 502: <html>no</html>", true, false),
            (Ok((404, "")), "refused with status 404", false, true),
            (Ok((405, "")), "refused with status 405", false, true),
            (Err(TransportError::Refused), "the request was not sent", false, false),
            (
                Err(TransportError::ReplyTimeout(second)),
                "the answer is missing, the request may have been carried out",
                true,
                false,
            ),
        ] {
            let (client, _) = client([answer]);
            let error = client.image_nodes(CVM, &wanted(vec![node("b", 1)])).await.unwrap_err();
            assert_eq!(error.to_string(), "cannot form the cluster through Foundation at 10.240.0.11:8000");
            assert_eq!(
                (&*error.kind.to_string(), error.is_ambiguous(), error.is_not_offered()),
                (told, ambiguous, not_offered)
            );
            assert_eq!(error.fingerprint, None);
        }
    }

    #[tokio::test]
    async fn the_version_is_a_line_of_text_and_never_a_page() {
        let (client, transport) = client([
            Ok((200, "foundation-5.6-4b3f2c\n")),
            Ok((200, "<html>Prism</html>")),
            Ok((200, "")),
            Ok((404, "")),
        ]);
        assert_eq!(client.version(CVM).await.unwrap(), "foundation-5.6-4b3f2c");
        for _ in 0..3 {
            assert!(!client.version(CVM).await.unwrap_err().is_ambiguous());
        }
        assert_eq!(
            transport.asked()[0],
            json!({"request": "GET http://10.240.0.11:8000/foundation/version", "limit": 10.0, "body": null})
        );
    }

    #[tokio::test]
    async fn progress_is_asked_for_by_session() {
        let (client, transport) = client([Ok((200, r#"{"session_id":"s-1"}"#)), Ok((200, "[]")), Ok((200, "<html>"))]);
        let session = "s-1".parse().unwrap();
        assert!(client.progress(CVM, &session).await.is_ok());
        for _ in 0..2 {
            let error = client.progress(CVM, &session).await.unwrap_err();
            assert!(matches!(*error.kind, ErrorKind::Protocol { .. }) && !error.is_ambiguous(), "{error:?}");
        }
        assert_eq!(transport.asked()[0]["request"], "GET http://10.240.0.11:8000/foundation/progress?session_id=s-1");
    }
}
