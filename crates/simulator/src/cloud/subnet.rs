//! Subnets: made with the world, and only read. There is no gateway field; the gateway is the second address.

use super::{
    Cloud,
    error::ApiError,
    fields::Refused,
    identity::{Identity, Kind, stamp},
    page,
};
use crate::http::Request;
use ipnet::Ipv4Net;
use serde_json::{Value, json};
use std::net::Ipv4Addr;

pub(super) const SUBNET: Kind = Kind { path: "subnets", crn: "subnet", zonal: true };

/// A subnet.
#[derive(Debug, Clone)]
pub(super) struct Subnet {
    pub identity: Identity,
    pub cidr: Ipv4Net,
    pub zone: String,
    pub vpc: String,
}

impl AsRef<Identity> for Subnet {
    fn as_ref(&self) -> &Identity {
        &self.identity
    }
}

impl Subnet {
    pub fn reference(&self) -> Value {
        self.identity.reference("subnet")
    }

    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.cidr.network()).saturating_add(1))
    }

    /// Network, gateway, two for IBM, broadcast (about-network.md), each with the name it is listed under.
    pub fn provider_addresses(&self) -> Vec<(Ipv4Addr, &'static str)> {
        let nth = |n: u32| Ipv4Addr::from(u32::from(self.cidr.network()).saturating_add(n));
        let mut all = vec![
            (nth(0), "ibm-network-address"),
            (nth(1), "ibm-default-gateway"),
            (nth(2), "ibm-dns-address"),
            (nth(3), "ibm-reserved-address"),
            (self.cidr.broadcast(), "ibm-broadcast-address"),
        ];
        all.dedup_by_key(|(address, _)| *address);
        all
    }

    /// Of the whole block.
    fn address_count(&self) -> u64 {
        1 << (32 - self.cidr.prefix_len())
    }
}

impl Cloud {
    pub(super) fn subnet(&self, id: &str) -> &Subnet {
        self.subnets.iter().find(|subnet| subnet.identity.id == id).expect("subnets are never deleted")
    }

    pub(super) fn known_subnet(&self, id: &str) -> Refused<&Subnet> {
        let found = self.subnets.iter().find(|subnet| subnet.identity.id == id);
        found.ok_or_else(|| ApiError::not_found("subnet", id))
    }

    fn subnet_json(&self, subnet: &Subnet) -> Value {
        let id = &subnet.identity.id;
        let taken = self.reserved_ips.iter().filter(|ip| ip.subnet == *id).count() as u64;
        let vpc = self.vpc_json(self.vpc(&subnet.vpc));
        json!({
            "available_ipv4_address_count": subnet.address_count().saturating_sub(taken),
            "created_at": stamp(subnet.identity.created_at),
            "crn": subnet.identity.crn,
            "href": subnet.identity.href,
            "id": id,
            "ip_version": "ipv4",
            "ipv4_cidr_block": subnet.cidr.to_string(),
            "name": subnet.identity.name,
            "network_acl": vpc["default_network_acl"],
            "resource_group": self.resource_group(),
            "resource_type": "subnet",
            "routing_table": vpc["default_routing_table"],
            "status": "available",
            "total_ipv4_address_count": subnet.address_count(),
            "vpc": self.vpc(&subnet.vpc).reference(),
            "zone": self.zone_reference(&subnet.zone),
        })
    }

    pub(super) fn list_subnets(&self, request: &Request) -> Refused<Value> {
        let known = [
            "limit",
            "start",
            "resource_group.id",
            "zone.name",
            "vpc.id",
            "vpc.crn",
            "vpc.name",
            "routing_table.id",
            "routing_table.name",
        ];
        page::only_parameters(request, &known)?;
        let items: Vec<(u64, &Subnet)> = self
            .subnets
            .iter()
            .filter(|subnet| {
                self.in_resource_group(request)
                    && self.in_vpc(request, &subnet.vpc)
                    && page::filter(request, "zone.name", &subnet.zone)
            })
            .map(|subnet| (subnet.identity.seq, subnet))
            .collect();
        let href = format!("{}/subnets", self.settings.vpc_url);
        page::page(request, &href, "subnets", &items, |subnet| self.subnet_json(subnet))
    }

    pub(super) fn get_subnet(&self, id: &str) -> Refused<Value> {
        self.known_subnet(id).map(|subnet| self.subnet_json(subnet))
    }
}
