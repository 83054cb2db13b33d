//! The states of a server and what moves it from one to the next: requests and time.
//!
//! Each server has at most one thing scheduled; scheduling another voids it. The power of the machine follows the
//! status: iPXE begins a while after `running`, power is cut when a stop ends, at a restart at once.

use super::Server;
use crate::{
    cloud::{
        Cloud, Timer,
        error::ApiError,
        fields::{Fields, Refused},
        power::{PowerEvent, PoweredOn},
    },
    fault::{CloudFault, Occasion},
};
use metalform_model::Timestamp;
use serde_json::Value;
use std::time::Duration;

/// `status` of the API; `stopping` is shown in its place, and `maintenance` never happens here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cloud) enum Status {
    Pending,
    Starting,
    Running,
    Stopped,
    Restarting,
    Reinitializing,
    Deleting,
    Failed,
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Pending => "pending",
            Status::Starting => "starting",
            Status::Running => "running",
            Status::Stopped => "stopped",
            Status::Restarting => "restarting",
            Status::Reinitializing => "reinitializing",
            Status::Deleting => "deleting",
            Status::Failed => "failed",
        }
    }

    pub fn lifecycle_state(self) -> &'static str {
        match self {
            Status::Pending => "pending",
            Status::Reinitializing => "updating",
            Status::Deleting => "deleting",
            Status::Failed => "failed",
            Status::Starting | Status::Running | Status::Stopped | Status::Restarting => "stable",
        }
    }
}

/// What time does to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cloud) enum Step {
    Starting,
    Running,
    PowerOn,
    Stopped,
    Reinitialized,
    Gone,
}

impl Cloud {
    pub(super) fn schedule_server(&mut self, id: &str, from: Timestamp, duration: Duration, step: Step) {
        let Ok(server) = self.server_mut(id) else { return };
        server.timer += 1;
        let (timer, jitter) = (server.timer, server.jitter);
        let at = from + self.scaled(duration, jitter);
        self.schedule(at, Timer::Server { id: id.into(), timer, step });
    }

    /// Carries out a step that is due.
    pub(in crate::cloud) fn server_step(&mut self, at: Timestamp, id: &str, timer: u64, step: Step) {
        let durations = self.settings.durations.clone();
        let Ok(server) = self.server_mut(id) else { return };
        if server.timer != timer {
            return;
        }
        let name = server.identity.name.clone();
        match step {
            Step::Starting => {
                server.status = Status::Starting;
                self.schedule_server(id, at, durations.start, Step::Running);
            }
            Step::Running => {
                let fails = |fault: &CloudFault| matches!(fault, CloudFault::ServerFails { .. });
                if let Some(CloudFault::ServerFails { reason }) = self.faults.take_cloud(Occasion::of(&name), fails) {
                    return self.server_fails(id, &reason);
                }
                let dead = self.faults.take_cloud(Occasion::of(&name), |f| matches!(f, CloudFault::NeverBoots));
                let Ok(server) = self.server_mut(id) else { return };
                server.status = Status::Running;
                let lag = if server.booted { durations.boot } else { durations.first_boot };
                server.booted = true;
                if dead.is_none() {
                    self.schedule_server(id, at, lag, Step::PowerOn);
                }
            }
            Step::PowerOn => {
                server.powered = true;
                if let Ok(server) = self.server(id) {
                    let event = PowerEvent::On(Box::new(self.powered_on(server)));
                    self.power_events.push(event);
                }
            }
            Step::Stopped => {
                server.status = Status::Stopped;
                server.stopping = false;
                self.cut_power(id);
            }
            Step::Reinitialized => {
                let fails = |fault: &CloudFault| matches!(fault, CloudFault::ReinitializeFails);
                if self.faults.take_cloud(Occasion::of(&name), fails).is_some() {
                    return self.server_fails(id, "cannot_reinitialize");
                }
                self.server_step(at, id, timer, Step::Starting);
            }
            Step::Gone => self.remove_server(id, at),
        }
    }

    fn server_fails(&mut self, id: &str, reason: &str) {
        if let Ok(server) = self.server_mut(id) {
            server.status = Status::Failed;
            server.reason = Some(reason.into());
        }
    }

    fn cut_power(&mut self, id: &str) {
        let Ok(server) = self.server_mut(id) else { return };
        if std::mem::take(&mut server.powered) {
            self.power_events.push(PowerEvent::Off { server_id: id.into() });
        }
    }

    /// Interfaces that are not to be deleted with the server stay, unattached, with their addresses.
    fn remove_server(&mut self, id: &str, at: Timestamp) {
        let Some(index) = self.servers.iter().position(|server| server.identity.id == id) else { return };
        let server = self.servers.remove(index);
        for attachment in &server.attachments {
            let Some(vni) = self.vni_mut(&attachment.vni) else { continue };
            vni.target = None;
            if vni.auto_delete {
                self.remove_vni(&attachment.vni, at);
            }
        }
        self.record_gone(id, at);
        self.power_events.push(PowerEvent::Gone { server_id: id.into() });
    }

    fn powered_on(&self, server: &Server) -> PoweredOn {
        let vni = self.vni(&server.attachments[0].vni);
        let subnet = self.vni_subnet(vni);
        let addresses: Vec<_> = vni.ips.iter().map(|ip| self.ip(ip).address).collect();
        PoweredOn {
            server_id: server.identity.id.clone(),
            name: server.identity.name.clone(),
            profile: server.profile.name.into(),
            cores: server.profile.cores(),
            memory_gib: server.profile.memory_gib,
            drives: server.disks.iter().map(|disk| disk.drive.clone()).collect(),
            mac: vni.mac.clone(),
            address: addresses[0],
            addresses,
            subnet: subnet.cidr,
            gateway: subnet.gateway(),
            resolvers: self.settings.resolvers.clone(),
            user_data: server.initialization.user_data.clone().unwrap_or_default(),
            network_boot: server.network_boot,
            boot_disk_writes: server.boot_disk_writes,
            secure_boot: server.secure_boot,
        }
    }

    pub(in crate::cloud) fn start_server(&mut self, now: Timestamp, id: &str) -> Refused<()> {
        let server = self.server_mut(id)?;
        if server.status != Status::Stopped {
            return Err(ApiError::conflict(
                "invalid_state",
                "Failed to start the bare metal server because the server is not in the STOPPED status.",
            ));
        }
        server.status = Status::Starting;
        let duration = self.settings.durations.start;
        self.schedule_server(id, now, duration, Step::Running);
        Ok(())
    }

    pub(in crate::cloud) fn restart_server(&mut self, now: Timestamp, id: &str) -> Refused<()> {
        let server = self.server_mut(id)?;
        if server.status != Status::Running || server.stopping {
            return Err(ApiError::wrong_status());
        }
        server.status = Status::Restarting;
        self.cut_power(id);
        let duration = self.settings.durations.restart;
        self.schedule_server(id, now, duration, Step::Running);
        Ok(())
    }

    /// A hard stop may follow a soft one that takes too long.
    pub(in crate::cloud) fn stop_server(&mut self, now: Timestamp, id: &str, body: &Value) -> Refused<()> {
        let name = self.server(id)?.identity.name.clone();
        let fields = Fields::of(body, "", &["type"])?;
        fields.require("type")?;
        let hard = fields.choice("type", &["soft", "hard"])? == Some("hard");
        let server = self.server_mut(id)?;
        if server.status != Status::Running || (server.stopping && !hard) {
            return Err(ApiError::wrong_status());
        }
        server.stopping = true;
        let ignored = |fault: &CloudFault| matches!(fault, CloudFault::SoftStopNeverEnds);
        if !hard && self.faults.take_cloud(Occasion::of(&name), ignored).is_some() {
            return Ok(());
        }
        let durations = &self.settings.durations;
        let duration = if hard { durations.hard_stop } else { durations.soft_stop };
        self.schedule_server(id, now, duration, Step::Stopped);
        Ok(())
    }

    /// A server must be powered off before. Whether a `pending` one can be deleted is not documented, hence a setting.
    pub(in crate::cloud) fn delete_server(&mut self, now: Timestamp, id: &str) -> Refused<()> {
        let pending_may = self.settings.delete_while_pending;
        let server = self.server_mut(id)?;
        match server.status {
            Status::Stopped | Status::Failed => {}
            Status::Pending if pending_may => {}
            _ => return Err(ApiError::wrong_status()),
        }
        server.status = Status::Deleting;
        let name = server.identity.name.clone();
        let lingers = |fault: &CloudFault| matches!(fault, CloudFault::DeleteLingers { .. });
        let duration = match self.faults.take_cloud(Occasion::of(&name), lingers) {
            Some(CloudFault::DeleteLingers { seconds }) => super::super::seconds(seconds),
            _ => self.settings.durations.delete,
        };
        self.schedule_server(id, now, duration, Step::Gone);
        Ok(())
    }
}
