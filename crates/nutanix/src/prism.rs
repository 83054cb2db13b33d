//! Prism on a CVM: is it ready, form a cluster through it, how far is the cluster.
//!
//! Assumed as the product's first design states it: a node is ready when `v1/cluster` answers 200, a cluster is formed by
//! `POST v2.0/clusters`, and stands when `v2.0/cluster` says `cluster_status: UP`. Nutanix's published definitions of
//! these APIs know neither that POST nor that field, and Prism is said to start only once a cluster exists. So
//! everything here is read leniently, and [`ClusterView`] brings along what the published payloads do have.
//!
//! Credentials go out only where the caller asks for it: wrong passwords lock the account.

use crate::{
    BasicAuth, Created, Error, ErrorKind, Fingerprint, Method, Operation, Peer, PinRule, Request, Response, Transport,
    TransportError,
    error::{innermost, says_locked, says_unconfigured},
    excerpt,
};
use secrecy::SecretString;
use serde::Serialize;
use serde_json::{Value, json};
use std::{net::Ipv4Addr, sync::Arc, time::Duration};

const READINESS_PATH: &str = "/PrismGateway/services/rest/v1/cluster";
const CLUSTERS_PATH: &str = "/PrismGateway/services/rest/v2.0/clusters";
const CLUSTER_PATH: &str = "/PrismGateway/services/rest/v2.0/cluster";

/// How Prism is talked to.
#[derive(Debug, Clone)]
pub struct PrismSettings {
    /// TCP port.
    pub port: u16,
    /// User name.
    pub user: String,
    /// Password.
    pub password: SecretString,
    /// Limit of a create call.
    pub create_limit: Duration,
    /// Limit of a look at the cluster.
    pub progress_limit: Duration,
    /// Limit of each call of a readiness probe; one without credentials makes two.
    pub readiness_limit: Duration,
}

impl Default for PrismSettings {
    /// Port 9440, `admin` with `admin`; create 30 s, progress 10 s, readiness 5 s.
    fn default() -> Self {
        Self {
            port: 9440,
            user: "admin".into(),
            password: "admin".into(),
            create_limit: Duration::from_secs(30),
            progress_limit: Duration::from_secs(10),
            readiness_limit: Duration::from_secs(5),
        }
    }
}

/// What a probe learned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeOutcome {
    /// How far the CVM is.
    pub answer: ProbeAnswer,
    /// The key that the CVM showed, for the caller to remember. `None` if it showed none, or none that it may show.
    pub fingerprint: Option<Fingerprint>,
}

/// How far a CVM is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeAnswer {
    /// Nothing listens on the port.
    Refused,
    /// Nobody answers, or not in TLS.
    NoAnswer {
        /// What happened instead.
        reason: String,
    },
    /// TLS stands; no answer over HTTP.
    TlsUp,
    /// HTTP answers. Asked without credentials, that is all there is to learn, whatever the status.
    HttpUp {
        /// HTTP status.
        status: u16,
    },
    /// The credentials are refused. Asking again soon, or more than twice, locks the account.
    Unauthorized,
    /// The account is locked.
    LockedOut,
    /// 200: the node is ready.
    Ready,
    /// HTTP answers, with credentials, but not 200.
    Unexpected {
        /// HTTP status.
        status: u16,
        /// The beginning of the body.
        excerpt: String,
    },
    /// The CVM shows another key than the pinned ones. Nothing was sent to it.
    PinMismatch {
        /// The pinned keys.
        expected: Vec<Fingerprint>,
        /// The key that was shown.
        seen: Fingerprint,
    },
}

/// The cluster to be, as Prism is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CreateCluster {
    /// Its name.
    pub name: String,
    /// Its address, the VIP.
    pub external_ip: Ipv4Addr,
    /// 1, 2 or 3.
    pub redundancy_factor: u8,
    /// As Nutanix names them: `AOS`.
    pub cluster_functions: Vec<String>,
    /// A name of the tz database.
    pub timezone: String,
}

/// A cluster as `GET v2.0/cluster` shows it. Fields come and go by release and some are null: what is missing or has
/// another type is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterView {
    /// `UP` once the cluster stands. Not in the published definition of the API.
    pub cluster_status: Option<String>,
    /// Name; `Unnamed` where none was given.
    pub name: Option<String>,
    /// UUID.
    pub uuid: Option<String>,
    /// The VIP.
    pub external_ip: Option<Ipv4Addr>,
    /// Members.
    pub num_nodes: Option<u64>,
    /// AOS version.
    pub version: Option<String>,
    /// The redundancy factor that the data has by now.
    pub current_redundancy_factor: Option<u64>,
    /// The redundancy factor that was asked for.
    pub desired_redundancy_factor: Option<u64>,
    /// Its time zone.
    pub timezone: Option<String>,
    /// Its name servers.
    pub name_servers: Option<Vec<String>>,
    /// Its time servers.
    pub ntp_servers: Option<Vec<String>>,
    /// The key that the peer showed.
    pub fingerprint: Fingerprint,
}

impl ClusterView {
    /// Whether a cluster of so many members stands. Its `cluster_status` says so, exactly, where there is one; published
    /// payloads have none, and then all members and the redundancy asked for do.
    pub fn is_up(&self, members: u64) -> bool {
        match &self.cluster_status {
            Some(status) => status == "UP",
            None => {
                self.num_nodes == Some(members)
                    && self.desired_redundancy_factor.is_some()
                    && self.current_redundancy_factor == self.desired_redundancy_factor
            }
        }
    }

    fn read(answer: &Value, fingerprint: Fingerprint) -> Self {
        let text = |key: &str| answer[key].as_str().map(String::from);
        let redundancy = &answer["cluster_redundancy_state"];
        Self {
            cluster_status: text("cluster_status"),
            name: text("name"),
            uuid: text("uuid").or_else(|| text("cluster_uuid")),
            // The definition file spells it `cluster_external_i_p_address`; payloads of AOS 5.10 spell it thus.
            external_ip: text("cluster_external_ipaddress")
                .or_else(|| text("external_ip"))
                .and_then(|ip| ip.parse().ok()),
            num_nodes: number(&answer["num_nodes"]),
            version: text("version"),
            current_redundancy_factor: number(&redundancy["current_redundancy_factor"]),
            desired_redundancy_factor: number(&redundancy["desired_redundancy_factor"]),
            timezone: text("timezone"),
            name_servers: texts(&answer["name_servers"]),
            ntp_servers: texts(&answer["ntp_servers"]),
            fingerprint,
        }
    }
}

fn texts(value: &Value) -> Option<Vec<String>> {
    value.as_array().map(|list| list.iter().filter_map(Value::as_str).map(Into::into).collect())
}

/// Prism gives some numbers as texts, and -1 for "unknown".
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// Speaks with the Prism of any CVM, or of the cluster at its VIP.
#[derive(Clone)]
pub struct PrismClient {
    transport: Arc<dyn Transport>,
    settings: PrismSettings,
}

impl PrismClient {
    /// A client over `transport`.
    pub fn new(transport: Arc<dyn Transport>, settings: PrismSettings) -> Self {
        Self { transport, settings }
    }

    /// Looks how far the CVM at `address` is. Without `authenticate` no credentials are sent, so it may be asked often;
    /// with it one request is sent, with credentials.
    pub async fn probe(&self, address: Ipv4Addr, pin: PinRule, authenticate: bool) -> ProbeOutcome {
        let peer = Peer { address, port: self.settings.port, pin };
        let request = self.get(READINESS_PATH, authenticate, self.settings.readiness_limit);
        if authenticate {
            return match self.transport.send(peer, request).await {
                Ok(answer) => ProbeOutcome { answer: judge_readiness(&answer), fingerprint: Some(answer.fingerprint) },
                Err(error) => ProbeOutcome { answer: silence(error), fingerprint: None },
            };
        }
        let fingerprint = match self.transport.knock(peer.clone(), self.settings.readiness_limit).await {
            Ok(fingerprint) => fingerprint,
            Err(error) => return ProbeOutcome { answer: silence(error), fingerprint: None },
        };
        let (answer, fingerprint) = match self.transport.send(peer, request).await {
            Ok(answer) => (ProbeAnswer::HttpUp { status: answer.status }, answer.fingerprint),
            Err(TransportError::PinMismatch { expected, seen }) => {
                return ProbeOutcome { answer: ProbeAnswer::PinMismatch { expected, seen }, fingerprint: None };
            }
            // TLS stood a moment ago, whatever broke now.
            Err(_) => (ProbeAnswer::TlsUp, fingerprint),
        };
        ProbeOutcome { answer, fingerprint: Some(fingerprint) }
    }

    /// Asks the CVM at `address` to form the cluster. Sent once, never repeated here.
    pub async fn create_cluster(
        &self,
        address: Ipv4Addr,
        pin: PinRule,
        cluster: &CreateCluster,
    ) -> Result<Created, Error> {
        let peer = Peer { address, port: self.settings.port, pin };
        let request = Request {
            method: Method::Post,
            path: CLUSTERS_PATH.into(),
            auth: Some(self.auth()),
            body: Some(json!(cluster)),
            limit: self.settings.create_limit,
        };
        create(&*self.transport, Operation::CreateThroughPrism, peer, request).await
    }

    /// Reads the cluster that the CVM or VIP at `address` belongs to.
    ///
    /// A CVM without a cluster is [`ErrorKind::NotConfigured`]. Pages and gateway errors while Prism starts are
    /// [`ErrorKind::NotYet`]. Both are transient, as is a refused connection.
    pub async fn cluster(&self, address: Ipv4Addr, pin: PinRule) -> Result<ClusterView, Error> {
        let (json, fingerprint) = self.read(Operation::ReadCluster, CLUSTER_PATH, address, pin).await?;
        Ok(ClusterView::read(&json, fingerprint))
    }

    /// The same client with another password.
    pub fn with_password(&self, password: &SecretString) -> Self {
        let settings = PrismSettings { password: password.clone(), ..self.settings.clone() };
        Self { transport: self.transport.clone(), settings }
    }

    /// A GET with credentials whose answer is a JSON object; errors as [`PrismClient::cluster`] tells them.
    pub(crate) async fn read(
        &self,
        operation: Operation,
        path: &str,
        address: Ipv4Addr,
        pin: PinRule,
    ) -> Result<(Value, Fingerprint), Error> {
        let peer = Peer { address, port: self.settings.port, pin };
        let request = self.get(path, true, self.settings.progress_limit);
        let answer = self
            .transport
            .send(peer.clone(), request)
            .await
            .map_err(|error| Error::transport(operation, peer.place(), error))?;
        let json: Option<Value> = serde_json::from_slice(&answer.body).ok().filter(Value::is_object);
        let kind = match (answer.status, json) {
            (200..300, Some(json)) => return Ok((json, answer.fingerprint)),
            (401, _) => return Err(refused(operation, &peer, &answer)),
            (404, _) => ErrorKind::NotConfigured,
            (400.., _) if says_unconfigured(&answer.body) => ErrorKind::NotConfigured,
            (200..400 | 500.., None) if !says_locked(&answer.body) => {
                ErrorKind::NotYet { status: answer.status, excerpt: excerpt::of_body(&answer.body) }
            }
            _ => return Err(refused(operation, &peer, &answer)),
        };
        Err(Error::answered(operation, peer.place(), Some(answer.fingerprint), kind))
    }

    /// A POST or PUT with credentials; its answer as it comes.
    pub(crate) async fn write(
        &self,
        operation: Operation,
        method: Method,
        path: &str,
        address: Ipv4Addr,
        pin: PinRule,
        body: Value,
    ) -> Result<Response, Error> {
        let peer = Peer { address, port: self.settings.port, pin };
        let limit = self.settings.progress_limit;
        let auth = Some(self.auth());
        let request = Request { method, path: path.into(), auth, body: Some(body), limit };
        let answer = self.transport.send(peer.clone(), request).await;
        let answer = answer.map_err(|error| Error::transport(operation, peer.place(), error))?;
        match answer.status {
            200..300 => Ok(answer),
            _ => Err(refused(operation, &peer, &answer)),
        }
    }

    /// The port it calls.
    pub(crate) fn port(&self) -> u16 {
        self.settings.port
    }

    /// The password it shows.
    pub(crate) fn password(&self) -> &SecretString {
        &self.settings.password
    }

    fn get(&self, path: &str, authenticate: bool, limit: Duration) -> Request {
        Request { method: Method::Get, path: path.into(), auth: authenticate.then(|| self.auth()), body: None, limit }
    }

    fn auth(&self) -> BasicAuth {
        BasicAuth { user: self.settings.user.clone(), password: self.settings.password.clone() }
    }
}

/// Sends a create, once, and reads the answer. Any 2xx is an acceptance; one that can't be read is ambiguous.
pub(crate) async fn create(
    transport: &dyn Transport,
    operation: Operation,
    peer: Peer,
    request: Request,
) -> Result<Created, Error> {
    let answer = transport
        .send(peer.clone(), request)
        .await
        .map_err(|error| Error::transport(operation, peer.place(), error))?;
    if !(200..300).contains(&answer.status) {
        return Err(refused(operation, &peer, &answer));
    }
    let body = match serde_json::from_slice(&answer.body) {
        Ok(body) => body,
        Err(_) if answer.body.is_empty() => Value::Null,
        Err(error) => {
            let (status, excerpt) = (answer.status, excerpt::of_body(&answer.body));
            let kind = ErrorKind::Protocol { status, excerpt, cause: Some(error.into()) };
            return Err(Error::answered(operation, peer.place(), Some(answer.fingerprint), kind));
        }
    };
    Ok(Created { address: peer.address, body, fingerprint: answer.fingerprint })
}

fn refused(operation: Operation, peer: &Peer, answer: &Response) -> Error {
    Error::refused(operation, peer.place(), Some(answer.fingerprint), answer.status, &answer.body)
}

fn judge_readiness(answer: &Response) -> ProbeAnswer {
    match answer.status {
        200 => ProbeAnswer::Ready,
        400.. if says_locked(&answer.body) => ProbeAnswer::LockedOut,
        401 => ProbeAnswer::Unauthorized,
        status => ProbeAnswer::Unexpected { status, excerpt: excerpt::of_body(&answer.body) },
    }
}

fn silence(error: TransportError) -> ProbeAnswer {
    match error {
        TransportError::Refused => ProbeAnswer::Refused,
        TransportError::PinMismatch { expected, seen } => ProbeAnswer::PinMismatch { expected, seen },
        TransportError::Lost(_) | TransportError::ReplyTimeout(_) => ProbeAnswer::TlsUp,
        TransportError::Unreachable(_) | TransportError::ConnectTimeout(_) | TransportError::Tls(_) => {
            ProbeAnswer::NoAnswer { reason: innermost(&error) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted::{Answer, CVM, KEY, Scripted};
    use std::sync::Arc;

    const OTHER_KEY: Fingerprint = Fingerprint([0xcd; 32]);

    fn client(answers: impl IntoIterator<Item = Answer>) -> (PrismClient, Arc<Scripted>) {
        let transport = Scripted::answering(answers);
        (PrismClient::new(transport.clone(), PrismSettings::default()), transport)
    }

    fn mismatch() -> TransportError {
        TransportError::PinMismatch { expected: vec![KEY], seen: OTHER_KEY }
    }

    fn plan() -> CreateCluster {
        CreateCluster {
            name: "my-nutanix-cluster".into(),
            external_ip: Ipv4Addr::new(10, 240, 0, 200),
            redundancy_factor: 2,
            cluster_functions: vec!["AOS".into()],
            timezone: "UTC".into(),
        }
    }

    #[tokio::test]
    async fn prism_is_asked_for_the_cluster_exactly_so() {
        let (prism, transport) = client([Ok((200, r#"{"id":"7"}"#))]);
        let created = prism.create_cluster(CVM, PinRule::OneOf(vec![KEY]), &plan()).await.unwrap();
        assert_eq!(created, Created { address: CVM, body: json!({"id": "7"}), fingerprint: KEY });
        assert_eq!(
            transport.asked(),
            [json!({
                "request": "POST https://10.240.0.11:9440/PrismGateway/services/rest/v2.0/clusters",
                "pin": {"one_of": [KEY]},
                "auth": "admin:admin",
                "limit": 30.0,
                "body": {
                    "name": "my-nutanix-cluster",
                    "external_ip": "10.240.0.200",
                    "redundancy_factor": 2,
                    "cluster_functions": ["AOS"],
                    "timezone": "UTC",
                },
            })]
        );
    }

    #[tokio::test]
    async fn a_create_is_sent_once_whatever_happens() {
        for answer in [Err(TransportError::Lost("reset".into())), Ok((503, "")), Ok((401, ""))] {
            let (prism, transport) = client([answer]);
            prism.create_cluster(CVM, PinRule::TrustFirst, &plan()).await.unwrap_err();
            assert_eq!(transport.asked().len(), 1);
        }
    }

    #[tokio::test]
    async fn an_accepted_create_with_an_unreadable_answer_is_ambiguous() {
        let (prism, _) = client([Ok((200, "<html>")), Ok((202, ""))]);
        let error = prism.create_cluster(CVM, PinRule::TrustFirst, &plan()).await.unwrap_err();
        assert_eq!(error.kind.to_string(), "an answer that is not understood (status 200): <html>");
        assert!(error.is_ambiguous() && !error.is_transient());
        let created = prism.create_cluster(CVM, PinRule::TrustFirst, &plan()).await.unwrap();
        assert_eq!(created.body, Value::Null);
    }

    #[tokio::test]
    async fn a_probe_without_credentials_knocks_and_then_asks() {
        let (prism, transport) = client([Ok((0, "")), Ok((401, ""))]);
        let outcome = prism.probe(CVM, PinRule::TrustFirst, false).await;
        assert_eq!(outcome, ProbeOutcome { answer: ProbeAnswer::HttpUp { status: 401 }, fingerprint: Some(KEY) });
        assert_eq!(
            transport.asked(),
            [
                json!({"knock": "10.240.0.11:9440", "pin": "trust_first", "limit": 5.0}),
                json!({
                    "request": "GET https://10.240.0.11:9440/PrismGateway/services/rest/v1/cluster",
                    "pin": "trust_first",
                    "auth": null,
                    "body": null,
                    "limit": 5.0,
                }),
            ]
        );
    }

    #[tokio::test]
    async fn a_probe_with_credentials_asks_once() {
        let (prism, transport) = client([Ok((200, "{}"))]);
        let outcome = prism.probe(CVM, PinRule::OneOf(vec![KEY]), true).await;
        assert_eq!(outcome, ProbeOutcome { answer: ProbeAnswer::Ready, fingerprint: Some(KEY) });
        assert_eq!(
            transport.asked(),
            [json!({
                "request": "GET https://10.240.0.11:9440/PrismGateway/services/rest/v1/cluster",
                "pin": {"one_of": [KEY]},
                "auth": "admin:admin",
                "body": null,
                "limit": 5.0,
            })]
        );
    }

    #[tokio::test]
    async fn a_probe_tells_how_far_the_cvm_is() {
        let second = Duration::from_secs(1);
        let unexpected = |status, excerpt: &str| ProbeAnswer::Unexpected { status, excerpt: excerpt.into() };
        let no_answer = |reason: &str| ProbeAnswer::NoAnswer { reason: reason.into() };
        let other_key = || ProbeAnswer::PinMismatch { expected: vec![KEY], seen: OTHER_KEY };
        let with: Vec<(Answer, ProbeAnswer, bool)> = vec![
            (Ok((401, "")), ProbeAnswer::Unauthorized, true),
            (Ok((401, "<b>Account Locked</b>")), ProbeAnswer::LockedOut, true),
            (Ok((503, "<html>\nStarting")), unexpected(503, "<html> Starting"), true),
            (Ok((302, "")), unexpected(302, ""), true),
            (Err(TransportError::Refused), ProbeAnswer::Refused, false),
            (Err(TransportError::Unreachable("no route".into())), no_answer("no route"), false),
            (Err(TransportError::ConnectTimeout(second)), no_answer("no connection within 1s"), false),
            (Err(TransportError::Tls("not TLS".into())), no_answer("not TLS"), false),
            (Err(TransportError::ReplyTimeout(second)), ProbeAnswer::TlsUp, false),
            (Err(TransportError::Lost("reset".into())), ProbeAnswer::TlsUp, false),
            (Err(mismatch()), other_key(), false),
        ];
        for (answer, expected, key_is_known) in with {
            let (prism, _) = client([answer]);
            let outcome = prism.probe(CVM, PinRule::TrustFirst, true).await;
            assert_eq!(outcome, ProbeOutcome { answer: expected, fingerprint: key_is_known.then_some(KEY) });
        }
        let without: Vec<(Vec<Answer>, ProbeAnswer, bool)> = vec![
            (vec![Err(TransportError::Refused)], ProbeAnswer::Refused, false),
            (vec![Err(mismatch())], other_key(), false),
            (vec![Ok((0, "")), Ok((200, "{}"))], ProbeAnswer::HttpUp { status: 200 }, true),
            (vec![Ok((0, "")), Ok((503, "<html>"))], ProbeAnswer::HttpUp { status: 503 }, true),
            (vec![Ok((0, "")), Err(TransportError::ReplyTimeout(second))], ProbeAnswer::TlsUp, true),
            (vec![Ok((0, "")), Err(TransportError::Refused)], ProbeAnswer::TlsUp, true),
            (vec![Ok((0, "")), Err(mismatch())], other_key(), false),
        ];
        for (answers, expected, key_is_known) in without {
            let (prism, _) = client(answers);
            let outcome = prism.probe(CVM, PinRule::TrustFirst, false).await;
            assert_eq!(outcome, ProbeOutcome { answer: expected, fingerprint: key_is_known.then_some(KEY) });
        }
    }

    #[tokio::test]
    async fn progress_is_read_from_the_cluster() {
        let (prism, transport) = client([Ok((
            200,
            r#"{"cluster_status":"UP","name":"c1","uuid":"u1","cluster_external_ipaddress":"10.240.0.200","num_nodes":3,
                "version":"6.8","cluster_redundancy_state":{"current_redundancy_factor":1,"desired_redundancy_factor":2}}"#,
        ))]);
        let view = prism.cluster(Ipv4Addr::new(10, 240, 0, 200), PinRule::OneOf(vec![KEY, OTHER_KEY])).await.unwrap();
        assert!(view.is_up(3));
        assert_eq!(
            view,
            ClusterView {
                cluster_status: Some("UP".into()),
                name: Some("c1".into()),
                uuid: Some("u1".into()),
                external_ip: Some(Ipv4Addr::new(10, 240, 0, 200)),
                num_nodes: Some(3),
                version: Some("6.8".into()),
                current_redundancy_factor: Some(1),
                desired_redundancy_factor: Some(2),
                timezone: None,
                name_servers: None,
                ntp_servers: None,
                fingerprint: KEY,
            }
        );
        assert_eq!(
            transport.asked(),
            [json!({
                "request": "GET https://10.240.0.200:9440/PrismGateway/services/rest/v2.0/cluster",
                "pin": {"one_of": [KEY, OTHER_KEY]},
                "auth": "admin:admin",
                "body": null,
                "limit": 10.0,
            })]
        );
    }

    #[tokio::test]
    async fn a_cluster_with_nulls_strange_types_and_nothing_at_all_is_read_without_failing() {
        let (prism, _) = client([
            Ok((200, r#"{"cluster_status":null,"num_nodes":"3","cluster_external_ipaddress":"","cluster_uuid":"u2"}"#)),
            Ok((200, r#"{"cluster_status":["UP"],"num_nodes":-1,"name":7,"cluster_redundancy_state":"x"}"#)),
            Ok((200, "{}")),
        ]);
        let empty = ClusterView::read(&json!({}), KEY);
        let first = prism.cluster(CVM, PinRule::TrustFirst).await.unwrap();
        assert_eq!(first, ClusterView { num_nodes: Some(3), uuid: Some("u2".into()), ..empty.clone() });
        assert!(!first.is_up(3));
        assert_eq!(prism.cluster(CVM, PinRule::TrustFirst).await.unwrap(), empty);
        assert_eq!(prism.cluster(CVM, PinRule::TrustFirst).await.unwrap(), empty);
    }

    #[tokio::test]
    async fn what_stands_in_the_way_of_progress_is_told_apart() {
        for (answer, kind, transient) in [
            (Ok((404, "<html>Not Found</html>")), "the CVM belongs to no cluster", true),
            (Ok((500, r#"{"message":"Cluster is currently unconfigured"}"#)), "the CVM belongs to no cluster", true),
            (Ok((200, "<html>wait</html>")), "Prism is not up yet (status 200): <html>wait</html>", true),
            (Ok((503, "<html>wait</html>")), "Prism is not up yet (status 503): <html>wait</html>", true),
            (Ok((302, "")), "Prism is not up yet (status 302): ", true),
            (Ok((500, r#"{"message":"odd"}"#)), "refused with status 500: odd", true),
            (Ok((403, "<html>no</html>")), "refused with status 403: <html>no</html>", true),
            (Ok((401, "<html>no</html>")), "user name or password refused", false),
            (Ok((401, "Account Locked")), "the account is locked", false),
            (Ok((500, "Account Locked")), "the account is locked", false),
            (Err(TransportError::Refused), "the request was not sent", true),
            (Err(mismatch()), &*format!("the peer shows the key {OTHER_KEY}, which is not the pinned one"), false),
        ] {
            let answered = answer.is_ok();
            let (prism, _) = client([answer]);
            let error = prism.cluster(CVM, PinRule::TrustFirst).await.unwrap_err();
            assert_eq!((&*error.kind.to_string(), error.is_transient()), (kind, transient));
            assert_eq!(error.fingerprint, answered.then_some(KEY));
        }
    }

    #[test]
    fn no_password_is_ever_shown() {
        let settings = PrismSettings { password: "s3cret!".into(), ..PrismSettings::default() };
        let client = PrismClient::new(Scripted::answering([]), settings.clone());
        let shown = format!("{settings:?} {:?}", client.get(CLUSTER_PATH, true, Duration::ZERO));
        assert!(shown.contains("admin") && !shown.contains("s3cret!"), "{shown}");
    }
}
