//! Bare metal servers: what one is and how the API shows it. Creating is [`create`], the states and their times are
//! [`lifecycle`].
//!
//! ```text
//! create ─► pending ─► starting ─► running ◄─► restarting          failed (from starting, reinitializing)
//!                         ▲           │ stop                          │
//!                         │ start     ▼                               ▼
//!                         └──────── stopped ─► reinitializing    delete ─► deleting ─► 404
//! ```
//! `running` means powered on, nothing more.

mod attachment;
mod create;
mod initialization;
mod lifecycle;

pub(super) use attachment::Attachment;
pub(super) use initialization::Initialization;
pub(super) use lifecycle::{Status, Step};

use super::{
    Cloud,
    error::ApiError,
    fields::{Fields, Refused},
    identity::{Identity, Kind, NameRule, check_name, stamp},
    page,
    power::Drive,
    profile::Profile,
};
use crate::http::Request;
use metalform_model::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;

pub(super) const SERVER: Kind = Kind { path: "bare_metal_servers", crn: "bare-metal-server", zonal: true };
pub(super) const LEDGER_KIND: &str = "bare_metal_server";

/// A bare metal server.
#[derive(Debug, Clone)]
pub(super) struct Server {
    pub identity: Identity,
    pub profile: &'static Profile,
    pub zone: String,
    pub vpc: String,
    pub initialization: Initialization,
    /// The boot disk still holds the iPXE image.
    pub network_boot: bool,
    pub boot_disk_writes: u32,
    /// The boot disk first.
    pub disks: Vec<Disk>,
    /// The primary one first.
    pub attachments: Vec<Attachment>,
    pub bandwidth: u64,
    pub secure_boot: bool,
    pub tpm_mode: String,
    pub metadata_service: (bool, String),
    pub reservation_policy: String,
    pub status: Status,
    /// `status_reasons[].code` of a `failed` one.
    pub reason: Option<String>,
    /// A stop was accepted and has not ended.
    pub stopping: bool,
    /// The machine was told to boot and has not been told to stop.
    pub powered: bool,
    /// It has been powered on before.
    pub booted: bool,
    /// Times of this server are multiplied by it.
    pub jitter: f64,
    /// Counts what was scheduled; a timer of an older number is void.
    pub timer: u64,
}

/// A disk of a server.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    pub id: String,
    pub name: String,
    pub drive: Drive,
}

impl AsRef<Identity> for Server {
    fn as_ref(&self) -> &Identity {
        &self.identity
    }
}

/// Fields of `trusted_platform_module`, `metadata_service` and `reservation_affinity`, the same in POST and PATCH.
#[derive(Default)]
struct Options {
    bandwidth: Option<u64>,
    secure_boot: Option<bool>,
    tpm_mode: Option<String>,
    metadata_service: Option<(bool, String)>,
    reservation_policy: Option<String>,
}

fn read_options(fields: &Fields<'_>, profile: &Profile) -> Refused<Options> {
    let bandwidth = fields.number("bandwidth")?;
    if bandwidth.is_some_and(|mbits| !profile.bandwidths().contains(&mbits)) {
        return Err(ApiError::invalid("bandwidth", format!("must be one of {:?}", profile.bandwidths())));
    }
    let tpm_mode = match fields.object("trusted_platform_module", &["mode"])? {
        Some(tpm) => tpm.choice("mode", &["disabled", "tpm_2"])?.map(str::to_owned),
        None => None,
    };
    let metadata_service = match fields.object("metadata_service", &["enabled", "protocol"])? {
        Some(service) => Some((
            service.flag("enabled")?.unwrap_or(false),
            service.choice("protocol", &["http", "https"])?.unwrap_or("http").to_owned(),
        )),
        None => None,
    };
    let reservation_policy = match fields.object("reservation_affinity", &["policy", "pool"])? {
        Some(affinity) => {
            if affinity.list("pool")?.is_some_and(|pool| !pool.is_empty()) {
                return Err(ApiError::no_such("reservation", "reservation_affinity.pool"));
            }
            affinity.choice("policy", &["disabled", "manual", "automatic"])?.map(str::to_owned)
        }
        None => None,
    };
    let secure_boot = fields.flag("enable_secure_boot")?;
    Ok(Options { bandwidth, secure_boot, tpm_mode, metadata_service, reservation_policy })
}

impl Cloud {
    fn server(&self, id: &str) -> Refused<&Server> {
        let found = self.servers.iter().find(|server| server.identity.id == id);
        found.ok_or_else(|| ApiError::not_found("bare metal server", id))
    }

    pub(super) fn server_mut(&mut self, id: &str) -> Refused<&mut Server> {
        let found = self.servers.iter_mut().find(|server| server.identity.id == id);
        found.ok_or_else(|| ApiError::not_found("bare metal server", id))
    }

    pub(super) fn server_name(&self, id: &str) -> Option<&str> {
        self.server(id).ok().map(|server| server.identity.name.as_str())
    }

    fn check_server_name(&self, name: &str, except: &str) -> Refused<()> {
        check_name("name", name, NameRule::Letter, false)?;
        let taken = |server: &Server| server.identity.name == name && server.identity.id != except;
        if self.servers.iter().any(taken) { Err(ApiError::name_taken(name)) } else { Ok(()) }
    }

    fn disk_json(&self, server: &Server, disk: &Disk) -> Value {
        let mut json = json!({
            "created_at": stamp(server.identity.created_at),
            "href": format!("{}/disks/{}", server.identity.href, disk.id),
            "id": disk.id,
            "interface_type": disk.drive.interface,
            "name": disk.name,
            "resource_type": "bare_metal_server_disk",
            "size": disk.drive.size_gb,
        });
        if disk.drive.boot {
            json["allowed_use"] = json!({"api_version": "2025-07-01", "bare_metal_server": "true"});
        }
        json
    }

    /// The answer of create, get and list; `user_data` and the rest of the initialization are never in it.
    fn server_json(&self, server: &Server) -> Value {
        let boot = self.disk_json(server, &server.disks[0]);
        let attachments: Vec<Value> = server.attachments.iter().map(|a| self.attachment_summary(server, a)).collect();
        let interfaces: Vec<Value> = server.attachments.iter().map(|a| self.mirror_summary(server, a)).collect();
        let reasons: Vec<Value> = server
            .reason
            .iter()
            .map(|code| json!({"code": code, "message": format!("The server failed: {code}.")}))
            .collect();
        let mut json = json!({
            "bandwidth": server.bandwidth,
            "boot_target": {
                "href": boot["href"], "id": boot["id"], "name": boot["name"],
                "resource_type": "bare_metal_server_disk",
            },
            "cpu": {
                "architecture": "amd64", "core_count": server.profile.cores(),
                "socket_count": server.profile.sockets(), "threads_per_core": 2,
            },
            "created_at": stamp(server.identity.created_at),
            "crn": server.identity.crn,
            "disks": server.disks.iter().map(|disk| self.disk_json(server, disk)).collect::<Vec<_>>(),
            "enable_secure_boot": server.secure_boot,
            "firmware": {"update": "none"},
            "health_reasons": [],
            "health_state": "ok",
            "href": server.identity.href,
            "id": server.identity.id,
            "lifecycle_reasons": [],
            "lifecycle_state": server.status.lifecycle_state(),
            "memory": server.profile.memory_gib,
            "metadata_service": {"enabled": server.metadata_service.0, "protocol": server.metadata_service.1},
            "name": server.identity.name,
            "network_attachments": attachments,
            "network_interfaces": interfaces,
            "profile": {
                "href": self.profile_href(server.profile), "name": server.profile.name,
                "resource_type": "bare_metal_server_profile",
            },
        });
        json["primary_network_attachment"] = attachments[0].clone();
        json["primary_network_interface"] = interfaces[0].clone();
        json["reservation_affinity"] = json!({"policy": server.reservation_policy, "pool": []});
        json["resource_group"] = self.resource_group();
        json["resource_type"] = "bare_metal_server".into();
        json["status"] = self.shown_status(server).into();
        json["status_reasons"] = reasons.into();
        json["trusted_platform_module"] = json!({
            "enabled": server.tpm_mode != "disabled", "mode": server.tpm_mode,
            "supported_modes": ["disabled", "tpm_2"],
        });
        json["vpc"] = self.vpc(&server.vpc).reference();
        json["zone"] = self.zone_reference(&server.zone);
        json
    }

    fn shown_status(&self, server: &Server) -> &'static str {
        if server.stopping && self.settings.stopping_status { "stopping" } else { server.status.as_str() }
    }

    pub(super) fn list_servers(&mut self, request: &Request) -> Refused<Value> {
        let known = [
            "limit",
            "start",
            "resource_group.id",
            "name",
            "reservation.id",
            "reservation.crn",
            "reservation.name",
            "vpc.id",
            "vpc.crn",
            "vpc.name",
        ];
        page::only_parameters(request, &known)?;
        let unlisted = super::count_unlisted(self.servers.iter_mut().map(|server| &mut server.identity));
        let unreserved = !request.query.iter().any(|(key, _)| key.starts_with("reservation."));
        let items: Vec<(u64, &Server)> = self
            .servers
            .iter()
            .filter(|server| {
                unreserved
                    && self.in_resource_group(request)
                    && self.in_vpc(request, &server.vpc)
                    && request.query("name").is_none_or(|name| name == server.identity.name)
                    && !unlisted.contains(&server.identity.seq)
            })
            .map(|server| (server.identity.seq, server))
            .collect();
        let href = format!("{}/bare_metal_servers", self.settings.vpc_url);
        page::page(request, &href, "bare_metal_servers", &items, |server| self.server_json(server))
    }

    pub(super) fn get_server(&self, id: &str) -> Refused<Value> {
        self.server(id).map(|server| self.server_json(server))
    }

    pub(super) fn update_server(&mut self, id: &str, body: &Value) -> Refused<Value> {
        let server = self.server(id)?;
        let known = [
            "name",
            "bandwidth",
            "enable_secure_boot",
            "trusted_platform_module",
            "metadata_service",
            "reservation_affinity",
        ];
        let fields = Fields::of(body, "", &known)?;
        let options = read_options(&fields, server.profile)?;
        if server.status == Status::Deleting {
            return Err(ApiError::wrong_status());
        }
        if (options.secure_boot.is_some() || options.tpm_mode.is_some()) && server.status != Status::Stopped {
            return Err(ApiError::wrong_status());
        }
        let name = fields.text("name")?;
        if let Some(name) = name {
            self.check_server_name(name, id)?;
            self.record_renamed(id, name);
        }
        let server = self.server_mut(id)?;
        if let Some(name) = name {
            server.identity.name = name.into();
        }
        server.take_options(options);
        self.get_server(id)
    }

    pub(super) fn list_disks(&self, id: &str) -> Refused<Value> {
        let server = self.server(id)?;
        let disks: Vec<Value> = server.disks.iter().map(|disk| self.disk_json(server, disk)).collect();
        Ok(json!({"disks": disks}))
    }

    pub(super) fn get_disk(&self, id: &str, disk: &str) -> Refused<Value> {
        let server = self.server(id)?;
        let found = server.disks.iter().find(|each| each.id == disk);
        found.map(|disk| self.disk_json(server, disk)).ok_or_else(|| ApiError::not_found("disk", disk))
    }

    /// A console token: three minutes, single use.
    pub(super) fn console_token(&mut self, now: Timestamp, id: &str, body: &Value) -> Refused<Value> {
        let server = self.server(id)?;
        let fields = Fields::of(body, "", &["console_type", "force"])?;
        fields.require("console_type")?;
        let console = fields.choice("console_type", &["serial", "vnc"])?;
        let force = fields.flag("force")?.unwrap_or(false);
        if !matches!(server.status, Status::Stopped | Status::Starting | Status::Running) {
            return Err(ApiError::wrong_status());
        }
        let base = self.settings.vpc_url.replacen("http", "ws", 1);
        let token = self.mint.token();
        Ok(json!({
            "access_token": token,
            "console_type": console,
            "created_at": stamp(now),
            "expires_at": stamp(now + Duration::from_secs(180)),
            "force": force,
            "href": format!("{base}/bare_metal_servers/{id}/console?access_token={token}"),
        }))
    }
}

impl Server {
    fn take_options(&mut self, options: Options) {
        self.bandwidth = options.bandwidth.unwrap_or(self.bandwidth);
        self.secure_boot = options.secure_boot.unwrap_or(self.secure_boot);
        if let Some(mode) = options.tpm_mode {
            self.tpm_mode = mode;
        }
        if let Some(service) = options.metadata_service {
            self.metadata_service = service;
        }
        if let Some(policy) = options.reservation_policy {
            self.reservation_policy = policy;
        }
    }
}
