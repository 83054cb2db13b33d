//! A simulated IBM Cloud: IAM, VPC, DNS Services and the metadata service, as a pure state machine.
//!
//! Requests come in as values with the time they arrive at; what time does is carried out by [`Cloud::advance`]. Nothing
//! here waits, reads a clock or draws chance from anywhere but the seed, so a run can be repeated exactly. It is strict
//! on purpose: unknown fields, filters and states are refused, since whatever slips through here fails on servers that
//! cost money. What it does not do it answers with 501 and the operation's name.
//!
//! Behaviour follows IBM's documents, the `ibm-vpc` 0.36 SDK and what users of the API have written about it; the module
//! of each noun names its sources.

mod dns;
mod error;
mod fields;
mod iam;
mod identity;
mod image;
mod ledger;
mod metadata;
mod page;
mod power;
mod profile;
mod region;
mod reserved_ip;
mod routes;
mod server;
mod settings;
mod subnet;
#[cfg(test)]
mod tests;
mod vni;
mod vpc;

pub use ledger::LedgerEntry;
pub use power::{Drive, PowerEvent, PoweredOn};
pub use profile::LAB_PROFILE;
pub use settings::{CloudSettings, Durations};

use crate::{
    fault::{CloudFault, Fault, Faults, Occasion},
    http::{Reply, Request, Response},
};
use error::ApiError;
use identity::{ACCOUNT, Identity, Mint};
use image::Image;
use metalform_model::Timestamp;
use reserved_ip::ReservedIp;
use routes::Answer;
use serde_json::Value;
use server::{Server, Step};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, time::Duration};
use subnet::{SUBNET, Subnet};
use vni::{Vni, VniState};
use vpc::{KEY, Key, SECURITY_GROUP, SecurityGroup, VPC, Vpc};

/// Id of the account's default resource group, the only one.
const RESOURCE_GROUP: &str = "de5a17000000000000000000000000aa";

/// Which of the cloud's hosts a request was sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Face {
    /// `iam.cloud.ibm.com`.
    Iam,
    /// `{region}.iaas.cloud.ibm.com`; paths begin with `/v1`.
    Vpc,
    /// `api.dns-svcs.cloud.ibm.com`; paths begin with `/v1`.
    Dns,
    /// `169.254.169.254`.
    Metadata,
}

/// What a plan for this cloud has to name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanIds {
    /// Id of the VPC.
    pub vpc: String,
    /// Id of the subnet.
    pub subnet: String,
    /// Zone of the subnet.
    pub zone: String,
    /// Id of the SSH key.
    pub key: String,
    /// Id of the VPC's default security group.
    pub security_group: String,
    /// GUID of the DNS Services instance.
    pub dns_instance: String,
    /// Id of its zone.
    pub dns_zone: String,
    /// Name of its zone.
    pub dns_zone_name: &'static str,
}

/// What happens by time alone.
#[derive(Debug, Clone)]
enum Timer {
    Server { id: String, timer: u64, step: Step },
    InterfaceStable(String),
    InterfaceGone(String),
}

/// The simulated cloud.
#[derive(Debug)]
pub struct Cloud {
    settings: CloudSettings,
    made_at: Timestamp,
    mint: Mint,
    vpcs: Vec<Vpc>,
    subnets: Vec<Subnet>,
    security_groups: Vec<SecurityGroup>,
    keys: Vec<Key>,
    images: Vec<Image>,
    reserved_ips: Vec<ReservedIp>,
    vnis: Vec<Vni>,
    servers: Vec<Server>,
    records: Vec<dns::Record>,
    dns_instance: String,
    dns_zone: String,
    /// By time, then in the order of scheduling.
    timers: BTreeMap<(Timestamp, u64), Timer>,
    timers_made: u64,
    power_events: Vec<PowerEvent>,
    ledger: Vec<LedgerEntry>,
    faults: Faults,
}

impl Cloud {
    /// A cloud with one VPC, its default security group, one subnet, one SSH key, a DNS zone, IBM's profiles and more
    /// than 1,100 stock images, and nothing ordered yet.
    pub fn new(settings: CloudSettings, now: Timestamp) -> Self {
        let mut mint = Mint::new(settings.seed);
        let vpc = mint.identity(&VPC, &settings, "metalform-vpc", now);
        let group = mint.identity(&SECURITY_GROUP, &settings, "calm-shore-group", now);
        let subnet = mint.identity(&SUBNET, &settings, "metalform-subnet", now);
        let key = mint.identity(&KEY, &settings, "metalform-key", now);
        let (group_id, vpc_id, subnet_id) = (group.id.clone(), vpc.id.clone(), subnet.id.clone());
        let images = image::stock(&mut mint, &settings, now);
        let digest = Sha256::digest(settings.seed.to_be_bytes());
        let mut cloud = Cloud {
            vpcs: vec![Vpc::new(vpc, group_id, mint.id(false), mint.id(false))],
            subnets: vec![Subnet {
                identity: subnet,
                cidr: settings.subnet.trunc(),
                zone: settings.zone.clone(),
                vpc: vpc_id.clone(),
            }],
            security_groups: vec![SecurityGroup { identity: group, vpc: vpc_id }],
            keys: vec![Key {
                identity: key,
                fingerprint: format!("SHA256:{}", &hex::encode(digest)[..43]),
                public_key: format!("ssh-ed25519 {}", hex::encode(&digest[..])),
            }],
            images,
            dns_instance: mint.uuid(),
            dns_zone: format!("{}:{}", dns::ZONE_NAME, mint.uuid()),
            settings,
            made_at: now,
            mint,
            reserved_ips: Vec::new(),
            vnis: Vec::new(),
            servers: Vec::new(),
            records: Vec::new(),
            timers: BTreeMap::new(),
            timers_made: 0,
            power_events: Vec::new(),
            ledger: Vec::new(),
            faults: Faults::default(),
        };
        cloud.reserve_provider_addresses(now, &subnet_id);
        cloud
    }

    /// What a plan for this cloud has to name.
    pub fn plan_ids(&self) -> PlanIds {
        PlanIds {
            vpc: self.vpcs[0].identity.id.clone(),
            subnet: self.subnets[0].identity.id.clone(),
            zone: self.subnets[0].zone.clone(),
            key: self.keys[0].identity.id.clone(),
            security_group: self.security_groups[0].identity.id.clone(),
            dns_instance: self.dns_instance.clone(),
            dns_zone: self.dns_zone.clone(),
            dns_zone_name: dns::ZONE_NAME,
        }
    }

    /// Arms a fault.
    pub fn add_fault(&mut self, fault: Fault) {
        self.faults.add(fault);
    }

    /// The armed faults.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// The armed faults, to be taken or removed.
    pub fn faults_mut(&mut self) -> &mut Faults {
        &mut self.faults
    }

    /// An installer has written the boot disk: the server boots from it, until it is reinitialized.
    pub fn boot_disk_overwritten(&mut self, server_id: &str) {
        if let Ok(server) = self.server_mut(server_id) {
            server.network_boot = false;
        }
    }

    /// What has happened to machines since the last call, in order.
    pub fn take_power_events(&mut self) -> Vec<PowerEvent> {
        std::mem::take(&mut self.power_events)
    }

    /// When time will do something next; nothing may come of it if a request has voided it meanwhile.
    pub fn next_event_at(&self) -> Option<Timestamp> {
        self.timers.first_key_value().map(|((at, _), _)| *at)
    }

    /// Carries out everything that is due at or before `now`, each at its own time.
    pub fn advance(&mut self, now: Timestamp) {
        while let Some(entry) = self.timers.first_entry()
            && entry.key().0 <= now
        {
            let ((at, _), timer) = entry.remove_entry();
            match timer {
                Timer::Server { id, timer, step } => self.server_step(at, &id, timer, step),
                Timer::InterfaceStable(id) => {
                    if let Some(vni) = self.vni_mut(&id).filter(|vni| vni.state == VniState::Pending) {
                        vni.state = VniState::Stable;
                    }
                }
                Timer::InterfaceGone(id) => self.remove_vni(&id, at),
            }
        }
    }

    fn schedule(&mut self, at: Timestamp, timer: Timer) {
        self.timers_made += 1;
        self.timers.insert((at, self.timers_made), timer);
    }

    /// A duration of the world, as long as it takes here.
    fn scaled(&self, duration: Duration, jitter: f64) -> Duration {
        seconds(duration.as_secs_f64() * jitter / self.settings.speed)
    }

    /// Answers a request that arrives at `now`.
    pub fn handle(&mut self, now: Timestamp, face: Face, request: &Request) -> Reply {
        self.advance(now);
        let trace = request.header("x-request-id").map_or_else(|| self.mint.uuid(), str::to_owned);
        let name = self.name_in(request);
        let occasion = Occasion { method: &request.method, path: &request.path, name: &name };
        let before = |f: &CloudFault| matches!(f, CloudFault::Status { .. } | CloudFault::RequestLost);
        let response = match self.faults.take_cloud(occasion, before) {
            Some(CloudFault::Status { status, code, message, retry_after }) => {
                refusal(&ApiError { retry_after, ..ApiError::new(status, &code, message) }, &trace)
            }
            Some(_) => return Reply::Lost,
            None => self.respond(now, face, request, &trace),
        };
        let done = (200..300).contains(&response.status);
        if done && request.method == "POST" {
            self.hide_from_lists(occasion, &response);
        }
        let response = with_ids(response, &trace);
        let after = |f: &CloudFault| matches!(f, CloudFault::ReplyLost | CloudFault::Slow { .. });
        match self.faults.take_cloud(occasion, |fault| done && after(fault)) {
            Some(CloudFault::Slow { seconds: late }) => Reply::After(seconds(late), response),
            Some(_) => Reply::Lost,
            None => Reply::Answer(response),
        }
    }

    fn respond(&mut self, now: Timestamp, face: Face, request: &Request, trace: &str) -> Response {
        if face == Face::Iam {
            return self.handle_iam(now, request);
        }
        if face == Face::Metadata {
            return self.handle_metadata(now, request, trace);
        }
        if !self.authenticated(now, request) {
            return refusal(&ApiError::unauthenticated(), trace);
        }
        let (mark, entries) = (self.mint.last_seq(), self.ledger.len());
        let answer = match face {
            Face::Dns => self.dns_answer(now, request),
            _ => self.vpc_answer(now, request, trace),
        };
        match answer {
            Ok(Answer { status, body: None, .. }) => Response::empty(status),
            Ok(Answer { status, body: Some(body), etag: tagged }) => {
                let mut response = Response::json(status, &body);
                if tagged {
                    response.headers.push(("etag".into(), etag(&body)));
                }
                response
            }
            Err(error) => {
                self.undo(mark, entries);
                refusal(&error, trace)
            }
        }
    }

    /// Takes back what a refused request has made on its way.
    fn undo(&mut self, mark: u64, entries: usize) {
        self.ledger.truncate(entries);
        self.servers.retain(|server| server.identity.seq <= mark);
        self.reserved_ips.retain(|ip| ip.identity.seq <= mark);
        self.vnis.retain(|vni| vni.identity.seq <= mark);
        let vnis = &mut self.vnis;
        for ip in &mut self.reserved_ips {
            if ip.vni.as_ref().is_some_and(|id| vnis.iter().all(|vni| vni.identity.id != *id)) {
                ip.vni = None;
            }
        }
    }

    /// A name for faults to match: that in the body, else that of the server in the path.
    fn name_in(&self, request: &Request) -> String {
        let body: Option<Value> = serde_json::from_slice(&request.body).ok();
        if let Some(name) = body.as_ref().and_then(|body| body["name"].as_str()) {
            return name.into();
        }
        let mut parts = request.path.split('/').skip_while(|part| *part != "bare_metal_servers").skip(1);
        parts.next().and_then(|id| self.server_name(id)).unwrap_or_default().into()
    }

    fn hide_from_lists(&mut self, occasion: Occasion<'_>, response: &Response) {
        let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        let Some(id) = body["id"].as_str() else { return };
        let lag = |f: &CloudFault| matches!(f, CloudFault::ListLag { .. });
        let Some(CloudFault::ListLag { calls }) = self.faults.take_cloud(occasion, lag) else { return };
        let identities = self
            .servers
            .iter_mut()
            .map(|server| &mut server.identity)
            .chain(self.vnis.iter_mut().map(|vni| &mut vni.identity))
            .chain(self.reserved_ips.iter_mut().map(|ip| &mut ip.identity));
        for identity in identities.filter(|identity| identity.id == id) {
            identity.unlisted = calls;
        }
    }
}

fn refusal(error: &ApiError, trace: &str) -> Response {
    let mut response = Response::json(error.status, &error.body(trace));
    if let Some(seconds) = error.retry_after {
        response.headers.push(("retry-after".into(), seconds.to_string()));
    }
    response
}

fn with_ids(mut response: Response, trace: &str) -> Response {
    response.headers.push(("x-request-id".into(), trace.into()));
    response.headers.push(("x-correlation-id".into(), trace.into()));
    response
}

/// A body's tag for `If-Match`.
fn etag(body: &Value) -> String {
    format!("W/\"{}\"", &hex::encode(Sha256::digest(body.to_string()))[..32])
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

/// Counts one list call for what is not to be listed yet; answers which those are.
fn count_unlisted<'a>(all: impl Iterator<Item = &'a mut Identity>) -> Vec<u64> {
    let mut hidden = Vec::new();
    for identity in all.filter(|identity| identity.unlisted > 0) {
        identity.unlisted -= 1;
        hidden.push(identity.seq);
    }
    hidden
}
