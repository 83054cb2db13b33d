//! The shipped clients' transports, ending in the simulated world instead of on a socket. Here a run can also be cut off:
//! the n-th request to the world is where the process dies, before or after it has taken effect.

use super::rig::{VirtualClock, lock};
use async_trait::async_trait;
use metalform_ibm_cloud as ibm;
use metalform_model::Clock;
use metalform_nutanix as nutanix;
use metalform_simulator::{
    cloud::Face,
    cvm::{Listener, Service},
    http::{Reply, Request, Response},
    ssh::{SshAdmission, SshExec, SshReply},
    world::World,
};
use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::Notify;
use url::Url;

/// Where the process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CutOff {
    /// At this request, counted from 0.
    pub at: u64,
    /// Whether the world has carried it out by then.
    pub carried_out: bool,
}

/// Counts the requests to the world, and cuts the process off at one of them.
#[derive(Default)]
pub struct Wire {
    pub requests: Mutex<u64>,
    /// Which of them, counted from 0, change what stands behind the controller VMs.
    pub changes: Mutex<Vec<u64>>,
    pub cut_offs: Mutex<Vec<CutOff>>,
    pub died: Notify,
}

impl Wire {
    async fn pass<T>(&self, changes: bool, send: impl FnOnce() -> T) -> T {
        let here = {
            let mut requests = lock(&self.requests);
            if changes {
                lock(&self.changes).push(*requests);
            }
            *requests += 1;
            let mut cut_offs = lock(&self.cut_offs);
            let here = cut_offs.iter().position(|c| c.at < *requests);
            here.map(|place| cut_offs.remove(place))
        };
        match here {
            None => send(),
            Some(cut_off) => {
                if cut_off.carried_out {
                    drop(send());
                }
                self.died.notify_one();
                // Whoever drives the run drops everything that waits here.
                std::future::pending().await
            }
        }
    }
}

/// The way to IBM Cloud.
pub struct ToCloud {
    pub world: Arc<Mutex<World>>,
    pub clock: Arc<VirtualClock>,
    pub wire: Arc<Wire>,
}

#[async_trait]
impl ibm::Transport for ToCloud {
    async fn send(&self, request: ibm::Request) -> Result<ibm::Response, ibm::TransportError> {
        let timeout = request.timeout;
        let url = Url::parse(&request.url).expect("clients make valid URLs");
        let face = match url.host_str() {
            Some("iam.test") => Face::Iam,
            Some("vpc.test") => Face::Vpc,
            host => panic!("a request to {host:?}, which nobody configured"),
        };
        let asked = Request {
            method: request.method.as_str().to_owned(),
            path: url.path().to_owned(),
            query: url.query_pairs().map(|(k, v)| (k.into_owned(), v.into_owned())).collect(),
            headers: request.headers.clone(),
            body: request.body.clone().unwrap_or_default(),
            from: IpAddr::from(Ipv4Addr::LOCALHOST),
        };
        let reply = self.wire.pass(false, || lock(&self.world).cloud_request(self.clock.now(), face, &asked)).await;
        match in_time(reply, timeout) {
            Some(r) => Ok(ibm::Response { status: r.status, headers: r.headers, body: r.body }),
            None => Err(ibm::TransportError::unknown("the connection closed without an answer")),
        }
    }
}

fn in_time(reply: Reply, timeout: Duration) -> Option<Response> {
    match reply {
        Reply::Answer(response) => Some(response),
        Reply::After(delay, response) if delay < timeout => Some(response),
        Reply::After(..) | Reply::Lost => None,
    }
}

/// The way to the controller VMs.
pub struct ToCvms {
    pub world: Arc<Mutex<World>>,
    pub clock: Arc<VirtualClock>,
    pub wire: Arc<Wire>,
}

impl ToCvms {
    fn listener(&self, ip: Ipv4Addr, port: u16) -> Result<Listener, nutanix::TransportError> {
        let listeners = lock(&self.world).listeners();
        listeners.into_iter().find(|l| l.ip == ip && l.port == port).ok_or(nutanix::TransportError::Refused)
    }

    fn host_key(&self, ip: Ipv4Addr, port: u16) -> Result<nutanix::Fingerprint, nutanix::SshError> {
        match self.listener(ip, port) {
            Ok(listener) if listener.service == Service::Ssh => {
                let name = format!("ssh {ip} {:?}", listener.certificate);
                Ok(nutanix::Fingerprint::of_spki(name.as_bytes()))
            }
            Ok(_) => Err(nutanix::SshError::NotSsh("what came back is no SSH".into())),
            Err(_) => Err(nutanix::SshError::Refused),
        }
    }

    /// The key of whatever listens there, if the rule takes it.
    fn key(&self, peer: &nutanix::Peer) -> Result<nutanix::Fingerprint, nutanix::TransportError> {
        let listener = self.listener(peer.address, peer.port)?;
        if listener.service != Service::Https {
            return Err(nutanix::TransportError::Tls("what came back is no TLS".into()));
        }
        let seen = nutanix::Fingerprint::of_spki(format!("{:?}", listener.certificate).as_bytes());
        match &peer.pin {
            nutanix::PinRule::OneOf(expected) if !expected.contains(&seen) => {
                Err(nutanix::TransportError::PinMismatch { expected: expected.clone(), seen })
            }
            _ => Ok(seen),
        }
    }
}

#[async_trait]
impl nutanix::Transport for ToCvms {
    async fn send(
        &self,
        peer: nutanix::Peer,
        request: nutanix::Request,
    ) -> Result<nutanix::Response, nutanix::TransportError> {
        let fingerprint = self.key(&peer)?;
        let limit = request.limit;
        let mut headers = Vec::new();
        if let Some(auth) = &request.auth {
            headers.push(("authorization".to_owned(), basic(auth)));
        }
        if request.body.is_some() {
            headers.push(("content-type".to_owned(), "application/json".to_owned()));
        }
        let asked = Request {
            method: match request.method {
                nutanix::Method::Get => "GET".into(),
                nutanix::Method::Post => "POST".into(),
                nutanix::Method::Put => "PUT".into(),
            },
            path: request.path.clone(),
            query: Vec::new(),
            headers,
            body: request.body.as_ref().map(|b| b.to_string().into_bytes()).unwrap_or_default(),
            from: IpAddr::from(Ipv4Addr::LOCALHOST),
        };
        let send = || lock(&self.world).cvm_request(self.clock.now(), peer.address, peer.port, &asked);
        match self.wire.pass(request.method != nutanix::Method::Get, send).await {
            None => Err(nutanix::TransportError::Refused),
            Some(reply) => match in_time(reply, limit) {
                Some(r) => Ok(nutanix::Response { status: r.status, body: r.body.into(), fingerprint }),
                None => Err(nutanix::TransportError::Lost("the connection closed without an answer".into())),
            },
        }
    }

    async fn send_plain(
        &self,
        address: Ipv4Addr,
        port: u16,
        request: nutanix::PlainRequest,
    ) -> Result<nutanix::PlainResponse, nutanix::TransportError> {
        match self.listener(address, port)?.service {
            Service::Http => {}
            Service::Https | Service::Ssh => {
                return Err(nutanix::TransportError::Lost("no HTTP in what came back".into()));
            }
        }
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let asked = Request {
            method: match request.method {
                nutanix::Method::Get => "GET".into(),
                nutanix::Method::Post => "POST".into(),
                nutanix::Method::Put => "PUT".into(),
            },
            path: path.to_owned(),
            query: url::form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
            headers: request.body.iter().map(|_| ("content-type".into(), "application/json".into())).collect(),
            body: request.body.as_ref().map(|b| b.to_string().into_bytes()).unwrap_or_default(),
            from: IpAddr::from(Ipv4Addr::LOCALHOST),
        };
        let send = || lock(&self.world).cvm_request(self.clock.now(), address, port, &asked);
        match self.wire.pass(request.method != nutanix::Method::Get, send).await {
            None => Err(nutanix::TransportError::Refused),
            Some(reply) => match in_time(reply, request.limit) {
                Some(r) => Ok(nutanix::PlainResponse { status: r.status, body: r.body.into() }),
                None => Err(nutanix::TransportError::Lost("the connection closed without an answer".into())),
            },
        }
    }

    async fn knock(
        &self,
        peer: nutanix::Peer,
        _limit: Duration,
    ) -> Result<nutanix::Fingerprint, nutanix::TransportError> {
        self.key(&peer)
    }
}

#[async_trait]
impl nutanix::Ssh for ToCvms {
    async fn greet(&self, address: Ipv4Addr, port: u16, _: Duration) -> Result<(), nutanix::SshError> {
        self.host_key(address, port).map(drop)
    }

    async fn open(&self, login: nutanix::SshLogin) -> Result<Box<dyn nutanix::SshSession>, nutanix::SshError> {
        use secrecy::ExposeSecret;
        let (address, port) = (login.address, login.port);
        let seen = self.host_key(address, port)?;
        match &login.pin {
            nutanix::PinRule::OneOf(expected) if !expected.contains(&seen) => {
                return Err(nutanix::SshError::PinMismatch { expected: expected.clone(), seen });
            }
            _ => {}
        }
        let password = login.password.expose_secret();
        let admission = lock(&self.world).ssh_login(self.clock.now(), address, port, &login.user, password);
        match admission {
            None => Err(nutanix::SshError::Refused),
            Some(SshAdmission::Denied) => Err(nutanix::SshError::Denied),
            Some(SshAdmission::Admitted) => {
                let (world, clock, wire) = (self.world.clone(), self.clock.clone(), self.wire.clone());
                Ok(Box::new(Session { to: ToCvms { world, clock, wire }, address, port, user: login.user, key: seen }))
            }
        }
    }
}

/// A login in the simulated world.
struct Session {
    to: ToCvms,
    address: Ipv4Addr,
    port: u16,
    user: String,
    key: nutanix::Fingerprint,
}

#[async_trait]
impl nutanix::SshSession for Session {
    fn fingerprint(&self) -> nutanix::Fingerprint {
        self.key
    }

    async fn exec(&self, exec: nutanix::Exec) -> Result<nutanix::ExecOutput, nutanix::SshError> {
        let asked = SshExec { command: exec.command.clone(), stdin: exec.stdin.clone(), pty: exec.pty };
        let now = self.to.clock.now();
        let run = || lock(&self.to.world).ssh_exec(now, self.address, self.port, &self.user, &asked);
        let words = ["mkdir", "chpasswd", "destroy", "restart", "set-timezone", "kill -- "];
        match self.to.wire.pass(words.iter().any(|word| exec.command.contains(word)), run).await {
            None => Err(nutanix::SshError::NotStarted("the connection is closed".into())),
            Some(SshReply::Lost) => Err(nutanix::SshError::Lost("the connection was cut".into())),
            Some(SshReply::Output { after, .. }) if after > exec.limit => {
                Err(nutanix::SshError::ReplyTimeout(exec.limit))
            }
            Some(SshReply::Output { stdout, stderr, status, .. }) => {
                Ok(nutanix::ExecOutput::new(Some(status), stdout, stderr))
            }
        }
    }
}

fn basic(auth: &nutanix::BasicAuth) -> String {
    use base64::Engine;
    use secrecy::ExposeSecret;
    let pair = format!("{}:{}", auth.user, auth.password.expose_secret());
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
}
