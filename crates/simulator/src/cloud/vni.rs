//! Virtual network interfaces: what holds a server's address and MAC address, and outlives the server unless it is to be
//! deleted with it.

use super::{
    Cloud, Timer,
    error::ApiError,
    fields::{Fields, Refused, refer},
    identity::{Identity, Kind, NameRule, check_name, stamp},
    page,
    subnet::Subnet,
};
use crate::http::Request;
use metalform_model::Timestamp;
use serde_json::{Value, json};

const VNI: Kind = Kind { path: "virtual_network_interfaces", crn: "virtual-network-interface", zonal: true };
pub(super) const LEDGER_KIND: &str = "virtual_network_interface";

/// Addresses of one interface (quotas.md).
const MAX_IPS: usize = 8;
/// Security groups of one interface (quotas.md).
const MAX_GROUPS: usize = 5;

pub(super) const FIELDS: &[&str] = &[
    "allow_ip_spoofing",
    "auto_delete",
    "enable_infrastructure_nat",
    "ips",
    "name",
    "primary_ip",
    "protocol_state_filtering_mode",
    "resource_group",
    "security_groups",
    "subnet",
];

/// Where an interface stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum VniState {
    /// Without a MAC address yet.
    Pending,
    Stable,
    Deleting,
}

/// A virtual network interface.
#[derive(Debug, Clone)]
pub(super) struct Vni {
    pub identity: Identity,
    pub subnet: String,
    /// Ids of reserved IPs; the first is the primary one.
    pub ips: Vec<String>,
    pub security_groups: Vec<String>,
    pub allow_ip_spoofing: bool,
    pub auto_delete: bool,
    pub enable_infrastructure_nat: bool,
    pub filtering_mode: String,
    pub mac: String,
    pub state: VniState,
    /// Ids of the server and the attachment it is the interface of.
    pub target: Option<(String, String)>,
}

impl AsRef<Identity> for Vni {
    fn as_ref(&self) -> &Identity {
        &self.identity
    }
}

/// Spoofing and NAT go together only one way (ibm-vpc 0.36, `VirtualNetworkInterfacePrototype`).
fn check_nat(nat: bool, spoofing: bool) -> Refused<()> {
    if nat || !spoofing {
        return Ok(());
    }
    Err(ApiError::invalid("enable_infrastructure_nat", "may be false only if allow_ip_spoofing is false"))
}

impl Cloud {
    pub(super) fn vni(&self, id: &str) -> &Vni {
        self.vnis.iter().find(|vni| vni.identity.id == id).expect("an attached or bound interface is never deleted")
    }

    pub(super) fn vni_mut(&mut self, id: &str) -> Option<&mut Vni> {
        self.vnis.iter_mut().find(|vni| vni.identity.id == id)
    }

    fn known_vni(&self, id: &str) -> Refused<&Vni> {
        let found = self.vnis.iter().find(|vni| vni.identity.id == id);
        found.ok_or_else(|| ApiError::not_found("virtual network interface", id))
    }

    pub(super) fn vni_subnet(&self, vni: &Vni) -> &Subnet {
        self.subnet(&vni.subnet)
    }

    pub(super) fn vni_json(&self, vni: &Vni) -> Value {
        let subnet = self.vni_subnet(vni);
        let groups: Vec<Value> = self
            .security_groups
            .iter()
            .filter(|group| vni.security_groups.contains(&group.identity.id))
            .map(|group| group.reference())
            .collect();
        let mut json = json!({
            "allow_ip_spoofing": vni.allow_ip_spoofing,
            "auto_delete": vni.auto_delete,
            "created_at": stamp(vni.identity.created_at),
            "crn": vni.identity.crn,
            "enable_infrastructure_nat": vni.enable_infrastructure_nat,
            "href": vni.identity.href,
            "id": vni.identity.id,
            "ips": vni.ips.iter().map(|ip| self.ip(ip).reference()).collect::<Vec<_>>(),
            "lifecycle_state": match vni.state {
                VniState::Pending => "pending",
                VniState::Stable => "stable",
                VniState::Deleting => "deleting",
            },
            "name": vni.identity.name,
            "primary_ip": self.ip(&vni.ips[0]).reference(),
            "protocol_state_filtering_mode": vni.filtering_mode,
            "resource_group": self.resource_group(),
            "resource_type": "virtual_network_interface",
            "security_groups": groups,
            "subnet": subnet.reference(),
            "vpc": self.vpc(&subnet.vpc).reference(),
            "zone": self.zone_reference(&subnet.zone),
        });
        if vni.state != VniState::Pending {
            json["mac_address"] = vni.mac.as_str().into();
        }
        if let Some(target) = self.attachment_reference(vni) {
            json["target"] = target;
        }
        json
    }

    fn check_vni_name(&self, vpc: &str, name: &str, at: &str, except: &str) -> Refused<()> {
        check_name(at, name, NameRule::LetterOrDigit, true)?;
        let taken =
            |vni: &Vni| vni.identity.name == name && vni.identity.id != except && self.vni_subnet(vni).vpc == vpc;
        if self.vnis.iter().any(taken) {
            return Err(ApiError::new(
                400,
                "validation_unique_failed",
                "Another VNI with the requested name already exists",
            ));
        }
        Ok(())
    }

    fn read_groups(&self, fields: &Fields<'_>, vpc: &str) -> Refused<Vec<String>> {
        let at = fields.path("security_groups");
        let Some(list) = fields.list("security_groups")? else { return Ok(vec![self.vpc(vpc).default_group.clone()]) };
        if list.is_empty() || list.len() > MAX_GROUPS {
            return Err(ApiError::invalid(&at, format!("must be 1 to {MAX_GROUPS} security groups")));
        }
        let among = || self.security_groups.iter().filter(|group| group.vpc == vpc);
        list.iter()
            .map(|value| refer(value, &at, "security group", among()).map(|group| group.identity.id.clone()))
            .collect()
    }

    /// Makes an interface: on its own, or inside of a server create (`for_server`), where it goes with the server
    /// unless the body says otherwise.
    pub(super) fn make_vni(&mut self, now: Timestamp, fields: &Fields<'_>, for_server: bool) -> Refused<String> {
        self.check_resource_group(fields)?;
        let auto_delete = fields.flag("auto_delete")?.unwrap_or(for_server);
        if auto_delete && !for_server {
            return Err(ApiError::invalid(
                fields.path("auto_delete"),
                "must be false while the interface is unattached",
            ));
        }
        let allow_ip_spoofing = fields.flag("allow_ip_spoofing")?.unwrap_or(false);
        let enable_infrastructure_nat = fields.flag("enable_infrastructure_nat")?.unwrap_or(true);
        check_nat(enable_infrastructure_nat, allow_ip_spoofing)?;
        let mode = fields.choice("protocol_state_filtering_mode", &["auto", "enabled", "disabled"])?.unwrap_or("auto");

        let stated = fields.refer("subnet", "subnet", &self.subnets)?.map(|subnet| subnet.identity.id.clone());
        let no_ip = Value::Object(serde_json::Map::new());
        let primary = fields.get("primary_ip").unwrap_or(&no_ip);
        if stated.is_none() && primary.get("id").or(primary.get("href")).is_none() {
            return Err(ApiError::missing(fields.path("subnet")));
        }
        let primary = self.ip_for_vni(now, primary, &fields.path("primary_ip"), stated.as_deref())?;
        let subnet = self.ip(&primary).subnet.clone();
        let vpc = self.subnet(&subnet).vpc.clone();
        let security_groups = self.read_groups(fields, &vpc)?;
        let name = match fields.text("name")? {
            None => self.mint.words(),
            Some(name) => {
                self.check_vni_name(&vpc, name, &fields.path("name"), "")?;
                name.to_string()
            }
        };

        let identity = self.mint.identity(&VNI, &self.settings, &name, now);
        let id = identity.id.clone();
        self.bind_ip(&primary, &id);
        let mac = self.mint.mac();
        self.vnis.push(Vni {
            identity,
            subnet: subnet.clone(),
            ips: vec![primary],
            security_groups,
            allow_ip_spoofing,
            auto_delete,
            enable_infrastructure_nat,
            filtering_mode: mode.into(),
            mac,
            state: VniState::Pending,
            target: None,
        });
        let at = fields.path("ips");
        for value in fields.list("ips")?.into_iter().flatten() {
            let ip = self.ip_for_vni(now, value, &at, Some(&subnet))?;
            self.add_ip_to_vni(&id, &ip)?;
        }
        let stable = now + self.scaled(self.settings.durations.interface, 1.0);
        self.schedule(stable, Timer::InterfaceStable(id.clone()));
        self.record_made(LEDGER_KIND, &name, &id, now);
        Ok(id)
    }

    pub(super) fn add_ip_to_vni(&mut self, vni: &str, ip: &str) -> Refused<()> {
        let found = self.vni_mut(vni).ok_or_else(|| ApiError::not_found("virtual network interface", vni))?;
        if found.ips.len() >= MAX_IPS {
            return Err(ApiError::invalid("ips", format!("an interface has at most {MAX_IPS} addresses")));
        }
        found.ips.push(ip.into());
        self.bind_ip(ip, vni);
        Ok(())
    }

    /// Removes an interface for good. Its addresses go or stay as each says.
    pub(super) fn remove_vni(&mut self, id: &str, at: Timestamp) {
        let Some(index) = self.vnis.iter().position(|vni| vni.identity.id == id) else { return };
        let vni = self.vnis.remove(index);
        for ip in &vni.ips {
            self.unbind_ip(ip, at);
        }
        self.record_gone(id, at);
    }

    pub(super) fn create_vni(&mut self, now: Timestamp, body: &Value) -> Refused<Value> {
        let fields = Fields::of(body, "", FIELDS)?;
        let id = self.make_vni(now, &fields, false)?;
        Ok(self.vni_json(self.vni(&id)))
    }

    pub(super) fn list_vnis(&mut self, request: &Request) -> Refused<Value> {
        page::only_parameters(request, &["limit", "start", "resource_group.id"])?;
        let unlisted = super::count_unlisted(self.vnis.iter_mut().map(|vni| &mut vni.identity));
        let items: Vec<(u64, &Vni)> = self
            .vnis
            .iter()
            .filter(|vni| self.in_resource_group(request) && !unlisted.contains(&vni.identity.seq))
            .map(|vni| (vni.identity.seq, vni))
            .collect();
        let href = format!("{}/virtual_network_interfaces", self.settings.vpc_url);
        page::page(request, &href, "virtual_network_interfaces", &items, |vni| self.vni_json(vni))
    }

    pub(super) fn get_vni(&self, id: &str) -> Refused<Value> {
        self.known_vni(id).map(|vni| self.vni_json(vni))
    }

    fn check_if_match(&self, request: &Request, vni: &Vni) -> Refused<()> {
        match request.header("if-match") {
            Some(etag) if etag != super::etag(&self.vni_json(vni)) => {
                Err(ApiError::new(412, "precondition_failed", "If-Match does not match the interface's ETag."))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn update_vni(&mut self, request: &Request, id: &str, body: &Value) -> Refused<Value> {
        let vni = self.known_vni(id)?;
        self.check_if_match(request, vni)?;
        let known =
            ["allow_ip_spoofing", "auto_delete", "enable_infrastructure_nat", "name", "protocol_state_filtering_mode"];
        let fields = Fields::of(body, "", &known)?;
        if vni.state == VniState::Deleting {
            return Err(ApiError::wrong_status());
        }
        let spoofing = fields.flag("allow_ip_spoofing")?.unwrap_or(vni.allow_ip_spoofing);
        let nat = fields.flag("enable_infrastructure_nat")?.unwrap_or(vni.enable_infrastructure_nat);
        check_nat(nat, spoofing)?;
        let auto_delete = fields.flag("auto_delete")?.unwrap_or(vni.auto_delete);
        if auto_delete && vni.target.is_none() {
            return Err(ApiError::invalid("auto_delete", "must be false while the interface is unattached"));
        }
        let mode = fields.choice("protocol_state_filtering_mode", &["auto", "enabled", "disabled"])?;
        let name = fields.text("name")?;
        if let Some(name) = name {
            self.check_vni_name(&self.vni_subnet(vni).vpc, name, "name", id)?;
            self.record_renamed(id, name);
        }
        if let Some(vni) = self.vni_mut(id) {
            vni.allow_ip_spoofing = spoofing;
            vni.enable_infrastructure_nat = nat;
            vni.auto_delete = auto_delete;
            if let Some(mode) = mode {
                vni.filtering_mode = mode.into();
            }
            if let Some(name) = name {
                vni.identity.name = name.into();
            }
        }
        self.get_vni(id)
    }

    pub(super) fn delete_vni(&mut self, now: Timestamp, request: &Request, id: &str) -> Refused<Value> {
        let vni = self.known_vni(id)?;
        self.check_if_match(request, vni)?;
        if vni.target.is_some() {
            return Err(ApiError::in_use("virtual network interface", id));
        }
        if vni.state == VniState::Deleting {
            return Err(ApiError::wrong_status());
        }
        if let Some(vni) = self.vni_mut(id) {
            vni.state = VniState::Deleting;
        }
        let gone = now + self.scaled(self.settings.durations.interface_delete, 1.0);
        self.schedule(gone, Timer::InterfaceGone(id.into()));
        self.get_vni(id)
    }

    pub(super) fn list_vni_ips(&self, request: &Request, id: &str) -> Refused<Value> {
        page::only_parameters(request, &["limit", "start"])?;
        let vni = self.known_vni(id)?;
        let items: Vec<(u64, &String)> = (0..).zip(&vni.ips).collect();
        page::page(request, &format!("{}/ips", vni.identity.href), "ips", &items, |ip| self.ip(ip).reference())
    }

    pub(super) fn get_vni_ip(&self, id: &str, ip: &str) -> Refused<Value> {
        let vni = self.known_vni(id)?;
        match vni.ips.iter().any(|each| each == ip) {
            true => Ok(self.ip(ip).reference()),
            false => Err(ApiError::not_found("reserved IP", ip)),
        }
    }

    /// Binds one more address; one that is bound here already stays so.
    pub(super) fn add_vni_ip(&mut self, now: Timestamp, id: &str, ip: &str) -> Refused<Value> {
        let vni = self.known_vni(id)?;
        if !vni.ips.iter().any(|each| each == ip) {
            if !self.reserved_ips.iter().any(|each| each.identity.id == ip) {
                return Err(ApiError::not_found("reserved IP", ip));
            }
            let subnet = vni.subnet.clone();
            let ip = self.ip_for_vni(now, &json!({"id": ip}), "id", Some(&subnet))?;
            self.add_ip_to_vni(id, &ip)?;
        }
        self.get_vni_ip(id, ip)
    }

    pub(super) fn remove_vni_ip(&mut self, now: Timestamp, id: &str, ip: &str) -> Refused<()> {
        let vni = self.known_vni(id)?;
        match vni.ips.iter().position(|each| each == ip) {
            None => return Err(ApiError::not_found("reserved IP", ip)),
            Some(0) => return Err(ApiError::in_use("reserved IP", ip)),
            Some(_) => {}
        }
        if let Some(vni) = self.vni_mut(id) {
            vni.ips.retain(|each| each != ip);
        }
        self.unbind_ip(ip, now);
        Ok(())
    }
}
