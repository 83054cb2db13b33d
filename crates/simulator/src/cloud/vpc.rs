//! The VPC, its default security group and the SSH key: made with the world, and only read.

use super::{
    Cloud,
    error::ApiError,
    fields::Refused,
    identity::{Identity, Kind, stamp},
    page,
};
use crate::http::Request;
use serde_json::{Value, json};

pub(super) const VPC: Kind = Kind { path: "vpcs", crn: "vpc", zonal: false };
pub(super) const SECURITY_GROUP: Kind = Kind { path: "security_groups", crn: "security-group", zonal: false };
pub(super) const KEY: Kind = Kind { path: "keys", crn: "key", zonal: false };

/// A VPC.
#[derive(Debug, Clone)]
pub(super) struct Vpc {
    pub identity: Identity,
    pub default_group: String,
    network_acl: String,
    routing_table: String,
}

impl AsRef<Identity> for Vpc {
    fn as_ref(&self) -> &Identity {
        &self.identity
    }
}

impl Vpc {
    pub fn new(identity: Identity, default_group: String, network_acl: String, routing_table: String) -> Self {
        Vpc { identity, default_group, network_acl, routing_table }
    }

    pub fn reference(&self) -> Value {
        self.identity.reference("vpc")
    }
}

/// A security group. Rules are not simulated beyond IBM's default ones: everything out, the group itself in.
#[derive(Debug, Clone)]
pub(super) struct SecurityGroup {
    pub identity: Identity,
    pub vpc: String,
}

impl AsRef<Identity> for SecurityGroup {
    fn as_ref(&self) -> &Identity {
        &self.identity
    }
}

impl SecurityGroup {
    pub fn reference(&self) -> Value {
        let Identity { crn, href, id, name, .. } = &self.identity;
        json!({"crn": crn, "href": href, "id": id, "name": name})
    }
}

/// An SSH key.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub identity: Identity,
    pub fingerprint: String,
    pub public_key: String,
}

impl AsRef<Identity> for Key {
    fn as_ref(&self) -> &Identity {
        &self.identity
    }
}

impl Key {
    pub fn reference(&self) -> Value {
        let Identity { crn, href, id, name, .. } = &self.identity;
        json!({"crn": crn, "fingerprint": self.fingerprint, "href": href, "id": id, "name": name})
    }
}

impl Cloud {
    pub(super) fn vpc(&self, id: &str) -> &Vpc {
        self.vpcs.iter().find(|vpc| vpc.identity.id == id).expect("VPCs are never deleted")
    }

    pub(super) fn vpc_json(&self, vpc: &Vpc) -> Value {
        let base = &self.settings.vpc_url;
        let group = self.security_groups.iter().find(|g| g.identity.id == vpc.default_group);
        let zone = self.zone_reference(&self.settings.zone);
        let servers: Vec<Value> =
            self.settings.resolvers.iter().map(|address| json!({"address": address, "zone_affinity": zone})).collect();
        let (acl, table, id) = (&vpc.network_acl, &vpc.routing_table, &vpc.identity.id);
        json!({
            "classic_access": false,
            "created_at": stamp(vpc.identity.created_at),
            "crn": vpc.identity.crn,
            "cse_source_ips": [],
            "default_network_acl": {
                "crn": vpc.identity.crn.replace(&format!("vpc:{id}"), &format!("network-acl:{acl}")),
                "href": format!("{base}/network_acls/{acl}"), "id": acl, "name": "calm-shore-acl",
            },
            "default_routing_table": {
                "crn": vpc.identity.crn.replace(&format!("vpc:{id}"), &format!("routing-table:{table}")),
                "href": format!("{base}/vpcs/{id}/routing_tables/{table}"), "id": table, "name": "calm-shore-table",
                "resource_type": "routing_table",
            },
            "default_security_group": group.map(SecurityGroup::reference),
            "dns": {
                "enable_hub": false,
                "resolution_binding_count": 0,
                "resolver": {"configuration": "default", "servers": servers, "type": "system"},
            },
            "health_reasons": [],
            "health_state": "ok",
            "href": vpc.identity.href,
            "id": id,
            "name": vpc.identity.name,
            "public_address_ranges": [],
            "resource_group": self.resource_group(),
            "resource_type": "vpc",
            "status": "available",
        })
    }

    fn security_group_json(&self, group: &SecurityGroup) -> Value {
        let Identity { href, id, .. } = &group.identity;
        let rule = |n: u8, direction: &str, remote: Value| {
            let rule = format!("{}{n:02x}", &id[..id.len() - 2]);
            json!({
                "direction": direction, "href": format!("{href}/rules/{rule}"), "id": rule, "ip_version": "ipv4",
                "local": {"cidr_block": "0.0.0.0/0"}, "name": format!("default-{direction}"), "protocol": "any",
                "remote": remote, "resource_type": "security_group_rule",
            })
        };
        let targets: Vec<Value> = self
            .vnis
            .iter()
            .filter(|vni| vni.security_groups.contains(id))
            .map(|vni| vni.identity.reference("virtual_network_interface"))
            .collect();
        json!({
            "created_at": stamp(group.identity.created_at),
            "crn": group.identity.crn,
            "href": href,
            "id": id,
            "name": group.identity.name,
            "resource_group": self.resource_group(),
            "rules": [
                rule(1, "outbound", json!({"cidr_block": "0.0.0.0/0"})),
                rule(2, "inbound", group.reference()),
            ],
            "targets": targets,
            "vpc": self.vpc(&group.vpc).reference(),
        })
    }

    fn key_json(&self, key: &Key) -> Value {
        json!({
            "created_at": stamp(key.identity.created_at),
            "crn": key.identity.crn,
            "fingerprint": key.fingerprint,
            "href": key.identity.href,
            "id": key.identity.id,
            "length": 256,
            "name": key.identity.name,
            "public_key": key.public_key,
            "resource_group": self.resource_group(),
            "type": "ed25519",
        })
    }

    pub(super) fn resource_group(&self) -> Value {
        let id = super::RESOURCE_GROUP;
        let href = format!("https://resource-controller.cloud.ibm.com/v2/resource_groups/{id}");
        json!({"href": href, "id": id, "name": "Default"})
    }

    pub(super) fn in_resource_group(&self, request: &Request) -> bool {
        page::filter(request, "resource_group.id", super::RESOURCE_GROUP)
    }

    /// Whether the `vpc.id`, `vpc.crn` and `vpc.name` filters let that VPC through.
    pub(super) fn in_vpc(&self, request: &Request, vpc: &str) -> bool {
        let identity = &self.vpc(vpc).identity;
        page::filter(request, "vpc.id", &identity.id)
            && page::filter(request, "vpc.crn", &identity.crn)
            && page::filter(request, "vpc.name", &identity.name)
    }

    pub(super) fn list_vpcs(&self, request: &Request) -> Refused<Value> {
        page::only_parameters(request, &["limit", "start", "resource_group.id", "classic_access"])?;
        let items: Vec<(u64, &Vpc)> = self
            .vpcs
            .iter()
            .filter(|_| self.in_resource_group(request) && page::filter(request, "classic_access", "false"))
            .map(|vpc| (vpc.identity.seq, vpc))
            .collect();
        page::page(request, &format!("{}/vpcs", self.settings.vpc_url), "vpcs", &items, |vpc| self.vpc_json(vpc))
    }

    pub(super) fn get_vpc(&self, id: &str) -> Refused<Value> {
        let vpc = self.vpcs.iter().find(|vpc| vpc.identity.id == id).ok_or_else(|| ApiError::not_found("VPC", id))?;
        Ok(self.vpc_json(vpc))
    }

    pub(super) fn get_default_security_group(&self, vpc: &str) -> Refused<Value> {
        let vpc = self.vpcs.iter().find(|v| v.identity.id == vpc).ok_or_else(|| ApiError::not_found("VPC", vpc))?;
        self.get_security_group(&vpc.default_group)
    }

    pub(super) fn list_security_groups(&self, request: &Request) -> Refused<Value> {
        page::only_parameters(request, &["limit", "start", "resource_group.id", "vpc.id", "vpc.crn", "vpc.name"])?;
        let items: Vec<(u64, &SecurityGroup)> = self
            .security_groups
            .iter()
            .filter(|group| self.in_resource_group(request) && self.in_vpc(request, &group.vpc))
            .map(|group| (group.identity.seq, group))
            .collect();
        let href = format!("{}/security_groups", self.settings.vpc_url);
        page::page(request, &href, "security_groups", &items, |group| self.security_group_json(group))
    }

    pub(super) fn get_security_group(&self, id: &str) -> Refused<Value> {
        let found = self.security_groups.iter().find(|group| group.identity.id == id);
        found.map(|group| self.security_group_json(group)).ok_or_else(|| ApiError::not_found("security group", id))
    }

    pub(super) fn list_keys(&self, request: &Request) -> Refused<Value> {
        page::only_parameters(request, &["limit", "start", "resource_group.id"])?;
        let items: Vec<(u64, &Key)> =
            self.keys.iter().filter(|_| self.in_resource_group(request)).map(|key| (key.identity.seq, key)).collect();
        page::page(request, &format!("{}/keys", self.settings.vpc_url), "keys", &items, |key| self.key_json(key))
    }

    pub(super) fn get_key(&self, id: &str) -> Refused<Value> {
        let found = self.keys.iter().find(|key| key.identity.id == id);
        found.map(|key| self.key_json(key)).ok_or_else(|| ApiError::not_found("key", id))
    }
}
