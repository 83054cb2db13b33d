//! Reserved IPs: every address of a subnet that is in use, IBM's own ones too. An address is in one place only.

use super::{
    Cloud,
    error::ApiError,
    fields::{Fields, Refused, refer},
    identity::{Identity, Kind, NameRule, check_name, stamp},
    page,
};
use crate::http::Request;
use metalform_model::Timestamp;
use serde_json::{Value, json};
use std::{collections::BTreeSet, net::Ipv4Addr};

const RESERVED_IP: Kind = Kind { path: "reserved_ips", crn: "reserved-ip", zonal: true };
pub(super) const LEDGER_KIND: &str = "reserved_ip";

/// A reserved IP.
#[derive(Debug, Clone)]
pub(super) struct ReservedIp {
    pub identity: Identity,
    pub subnet: String,
    pub address: Ipv4Addr,
    /// Goes with the interface it is bound to.
    pub auto_delete: bool,
    /// IBM's own.
    pub provider: bool,
    /// The virtual network interface it is bound to.
    pub vni: Option<String>,
}

impl AsRef<Identity> for ReservedIp {
    fn as_ref(&self) -> &Identity {
        &self.identity
    }
}

impl ReservedIp {
    pub fn reference(&self) -> Value {
        let Identity { href, id, name, .. } = &self.identity;
        json!({
            "address": self.address, "href": href, "id": id, "name": name, "resource_type": "subnet_reserved_ip",
        })
    }
}

impl Cloud {
    pub(super) fn ip(&self, id: &str) -> &ReservedIp {
        self.reserved_ips.iter().find(|ip| ip.identity.id == id).expect("a bound reserved IP can't be deleted")
    }

    fn ip_mut(&mut self, id: &str) -> &mut ReservedIp {
        self.reserved_ips.iter_mut().find(|ip| ip.identity.id == id).expect("the caller has just looked it up")
    }

    fn known_ip(&self, subnet: &str, id: &str) -> Refused<&ReservedIp> {
        self.known_subnet(subnet)?;
        let found = self.reserved_ips.iter().find(|ip| ip.identity.id == id && ip.subnet == subnet);
        found.ok_or_else(|| ApiError::not_found("reserved IP", id))
    }

    fn ip_json(&self, ip: &ReservedIp) -> Value {
        let mut json = ip.reference();
        json["auto_delete"] = ip.auto_delete.into();
        json["created_at"] = stamp(ip.identity.created_at).into();
        json["lifecycle_state"] = "stable".into();
        json["owner"] = if ip.provider { "provider" } else { "user" }.into();
        if let Some(vni) = &ip.vni {
            json["target"] = self.vni(vni).identity.reference("virtual_network_interface");
        }
        json
    }

    /// Reserves what IBM keeps in every subnet.
    pub(super) fn reserve_provider_addresses(&mut self, now: Timestamp, subnet: &str) {
        for (address, name) in self.subnet(subnet).provider_addresses() {
            let id = self.push_ip(now, subnet, address, name);
            self.ip_mut(&id).provider = true;
        }
    }

    fn push_ip(&mut self, now: Timestamp, subnet: &str, address: Ipv4Addr, name: &str) -> String {
        let mut identity = self.mint.identity(&RESERVED_IP, &self.settings, name, now);
        identity.href = format!("{}/reserved_ips/{}", self.subnet(subnet).identity.href, identity.id);
        identity.crn.clear();
        let id = identity.id.clone();
        let ip =
            ReservedIp { identity, subnet: subnet.into(), address, auto_delete: false, provider: false, vni: None };
        self.reserved_ips.push(ip);
        id
    }

    fn check_ip_name(&self, subnet: &str, name: &str, at: &str, except: &str) -> Refused<()> {
        check_name(at, name, NameRule::Letter, true)?;
        let taken = |ip: &ReservedIp| ip.subnet == subnet && ip.identity.name == name && ip.identity.id != except;
        if self.reserved_ips.iter().any(taken) { Err(ApiError::name_taken(name)) } else { Ok(()) }
    }

    /// Makes a reserved IP of `address` and `name`, both optional.
    fn make_ip(&mut self, now: Timestamp, subnet: &str, fields: &Fields<'_>) -> Refused<String> {
        let cidr = self.subnet(subnet).cidr;
        let taken: BTreeSet<Ipv4Addr> =
            self.reserved_ips.iter().filter(|ip| ip.subnet == subnet).map(|ip| ip.address).collect();
        let address = match fields.text("address")? {
            None => cidr
                .hosts()
                .find(|address| !taken.contains(address))
                .ok_or_else(|| ApiError::conflict("insufficient_address", "The subnet has no available address."))?,
            Some(text) => {
                let at = fields.path("address");
                let address: Ipv4Addr = text.parse().map_err(|_| ApiError::invalid(&at, "must be an IPv4 address"))?;
                if !cidr.contains(&address) {
                    return Err(ApiError::invalid(&at, format!("{address} is not in the subnet {cidr}")));
                }
                if taken.contains(&address) {
                    return Err(ApiError::new(
                        400,
                        "validation_unique_failed",
                        format!("Provided Address ({address}) is already reserved in the subnet."),
                    ));
                }
                address
            }
        };
        let name = match fields.text("name")? {
            None => self.mint.words(),
            Some(name) => {
                self.check_ip_name(subnet, name, &fields.path("name"), "")?;
                name.into()
            }
        };
        let id = self.push_ip(now, subnet, address, &name);
        self.record_made(LEDGER_KIND, &name, &id, now);
        Ok(id)
    }

    /// The reserved IP an interface asks for: an existing one, or one to be made in `subnet`.
    pub(super) fn ip_for_vni(
        &mut self,
        now: Timestamp,
        value: &Value,
        at: &str,
        subnet: Option<&str>,
    ) -> Refused<String> {
        if value.get("id").or(value.get("href")).is_some() {
            let ip = refer(value, at, "reserved IP", &self.reserved_ips)?;
            if ip.provider || ip.vni.is_some() {
                return Err(ApiError::in_use("reserved IP", &ip.identity.id));
            }
            if subnet.is_some_and(|subnet| subnet != ip.subnet) {
                return Err(ApiError::invalid(at, "the reserved IP is in another subnet"));
            }
            return Ok(ip.identity.id.clone());
        }
        let fields = Fields::of(value, at, &["address", "name", "auto_delete"])?;
        let subnet = subnet.ok_or_else(|| ApiError::missing("subnet"))?;
        let auto_delete = fields.flag("auto_delete")?.unwrap_or(true);
        let id = self.make_ip(now, subnet, &fields)?;
        self.ip_mut(&id).auto_delete = auto_delete;
        Ok(id)
    }

    pub(super) fn bind_ip(&mut self, ip: &str, vni: &str) {
        self.ip_mut(ip).vni = Some(vni.into());
    }

    /// Takes a reserved IP off its interface; it goes for good if it is to be deleted with it.
    pub(super) fn unbind_ip(&mut self, ip: &str, at: Timestamp) {
        let found = self.ip_mut(ip);
        found.vni = None;
        if found.auto_delete {
            self.remove_ip(ip, at);
        }
    }

    fn remove_ip(&mut self, id: &str, at: Timestamp) {
        self.reserved_ips.retain(|ip| ip.identity.id != id);
        self.record_gone(id, at);
    }

    pub(super) fn create_reserved_ip(&mut self, now: Timestamp, subnet: &str, body: &Value) -> Refused<Value> {
        self.known_subnet(subnet)?;
        let fields = Fields::of(body, "", &["address", "auto_delete", "name", "target"])?;
        let target = fields
            .refer("target", "virtual network interface", &self.vnis)?
            .map(|vni| (vni.identity.id.clone(), vni.subnet.clone()));
        let auto_delete = fields.flag("auto_delete")?.unwrap_or(false);
        if auto_delete && target.is_none() {
            return Err(ApiError::invalid("auto_delete", "must be false while the reserved IP is unbound"));
        }
        let id = self.make_ip(now, subnet, &fields)?;
        self.ip_mut(&id).auto_delete = auto_delete;
        if let Some((vni, vni_subnet)) = target {
            if vni_subnet != subnet {
                return Err(ApiError::invalid("target", "the virtual network interface is in another subnet"));
            }
            self.add_ip_to_vni(&vni, &id)?;
        }
        Ok(self.ip_json(self.ip(&id)))
    }

    pub(super) fn list_reserved_ips(&mut self, request: &Request, subnet: &str) -> Refused<Value> {
        let known = ["limit", "start", "sort", "target.id", "target.crn", "target.name", "target.resource_type"];
        page::only_parameters(request, &known)?;
        self.known_subnet(subnet)?;
        let unlisted = super::count_unlisted(self.reserved_ips.iter_mut().map(|ip| &mut ip.identity));
        let wanted = |ip: &&ReservedIp| {
            let target = ip.vni.as_ref().map(|vni| &self.vni(vni).identity);
            let fits = |name: &str, of: fn(&Identity) -> &str| {
                request.query(name).is_none_or(|wanted| target.is_some_and(|target| of(target) == wanted))
            };
            ip.subnet == subnet
                && !unlisted.contains(&ip.identity.seq)
                && fits("target.id", |t| &t.id)
                && fits("target.crn", |t| &t.crn)
                && fits("target.name", |t| &t.name)
                && fits("target.resource_type", |_| "virtual_network_interface")
        };
        let mut ips: Vec<&ReservedIp> = self.reserved_ips.iter().filter(wanted).collect();
        let sort = request.query("sort");
        match sort.map(|sort| sort.trim_start_matches('-')) {
            None | Some("created_at") => {}
            Some("address") => ips.sort_by_key(|ip| ip.address),
            Some("name") => ips.sort_by(|a, b| a.identity.name.cmp(&b.identity.name)),
            Some(_) => return Err(ApiError::bad_parameter("sort", "must be address, created_at or name")),
        }
        if sort.is_some_and(|sort| sort.starts_with('-')) {
            ips.reverse();
        }
        let keyed: Vec<(u64, &ReservedIp)> = match sort {
            None => ips.into_iter().map(|ip| (ip.identity.seq, ip)).collect(),
            Some(_) => (0..).zip(ips).collect(),
        };
        let href = format!("{}/reserved_ips", self.subnet(subnet).identity.href);
        page::page(request, &href, "reserved_ips", &keyed, |ip| self.ip_json(ip))
    }

    pub(super) fn get_reserved_ip(&self, subnet: &str, id: &str) -> Refused<Value> {
        self.known_ip(subnet, id).map(|ip| self.ip_json(ip))
    }

    pub(super) fn update_reserved_ip(&mut self, subnet: &str, id: &str, body: &Value) -> Refused<Value> {
        let ip = self.known_ip(subnet, id)?;
        let fields = Fields::of(body, "", &["auto_delete", "name"])?;
        if ip.provider {
            return Err(ApiError::new(403, "not_authorized", "The reserved IP belongs to the provider."));
        }
        let auto_delete = fields.flag("auto_delete")?;
        if auto_delete == Some(true) && ip.vni.is_none() {
            return Err(ApiError::invalid("auto_delete", "must be false while the reserved IP is unbound"));
        }
        let name = fields.text("name")?;
        if let Some(name) = name {
            self.check_ip_name(subnet, name, "name", id)?;
        }
        let ip = self.ip_mut(id);
        ip.auto_delete = auto_delete.unwrap_or(ip.auto_delete);
        if let Some(name) = name {
            ip.identity.name = name.into();
            self.record_renamed(id, name);
        }
        Ok(self.ip_json(self.ip(id)))
    }

    pub(super) fn delete_reserved_ip(&mut self, now: Timestamp, subnet: &str, id: &str) -> Refused<()> {
        let ip = self.known_ip(subnet, id)?;
        if ip.provider {
            return Err(ApiError::new(403, "not_authorized", "The reserved IP belongs to the provider."));
        }
        if ip.vni.is_some() {
            return Err(ApiError::in_use("reserved IP", id));
        }
        self.remove_ip(id, now);
        Ok(())
    }
}
