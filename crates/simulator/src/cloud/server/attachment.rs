//! Network attachments of a server, and the old-style network interfaces that mirror them with the same id and name.

use super::{Server, Status};
use crate::{
    cloud::{
        Cloud,
        error::ApiError,
        fields::{Fields, Refused, refer},
        identity::{NameRule, check_name, stamp},
        page,
        vni::{self, Vni, VniState},
    },
    http::Request,
};
use metalform_model::Timestamp;
use serde_json::{Value, json};

/// PCI attachments of one server (quotas.md).
const MAX_PCI: usize = 8;
/// Attachments of one server: the profiles' `network_attachment_count`.
const MAX_ALL: usize = 128;

/// How an attachment meets the network.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::cloud) enum Link {
    /// A physical function, untagged, that lets these VLANs pass.
    Pci { allowed_vlans: Vec<u64> },
    /// A VLAN on a PCI attachment that allows it.
    Vlan { vlan: u64, allow_to_float: bool },
}

/// A network attachment.
#[derive(Debug, Clone)]
pub(in crate::cloud) struct Attachment {
    pub id: String,
    pub name: String,
    pub vni: String,
    pub link: Link,
}

impl Cloud {
    /// Makes the primary (`primary`) or a further attachment of a server that is being created, after `earlier` ones.
    pub(super) fn make_attachment(
        &mut self,
        now: Timestamp,
        value: &Value,
        at: &str,
        earlier: &[Attachment],
        trace: &str,
    ) -> Refused<Attachment> {
        let primary = earlier.is_empty();
        let known = ["name", "virtual_network_interface", "interface_type", "allowed_vlans", "vlan", "allow_to_float"];
        let fields = Fields::of(value, at, &known)?;
        let kind = match fields.choice("interface_type", if primary { &["pci"] } else { &["pci", "vlan"] })? {
            None if !primary => return Err(ApiError::missing(fields.path("interface_type"))),
            other => other.unwrap_or("pci"),
        };
        for (field, of) in [("vlan", "vlan"), ("allow_to_float", "vlan"), ("allowed_vlans", "pci")] {
            if fields.has(field) && of != kind {
                return Err(ApiError::unknown_field(fields.path(field)));
            }
        }
        let name = match fields.text("name")? {
            None => self.mint.words(),
            Some(name) => {
                check_name(&fields.path("name"), name, NameRule::LetterOrDigit, false)?;
                if earlier.iter().any(|other| other.name == name) {
                    return Err(ApiError::name_taken(name));
                }
                name.into()
            }
        };
        let link = if kind == "pci" {
            let mut allowed_vlans = Vec::new();
            for vlan in fields.list("allowed_vlans")?.into_iter().flatten() {
                allowed_vlans.push(vlan_id(vlan, &fields.path("allowed_vlans"))?);
            }
            Link::Pci { allowed_vlans }
        } else {
            let vlan = vlan_id(fields.require("vlan")?, &fields.path("vlan"))?;
            let passes = |other: &Attachment| matches!(&other.link, Link::Pci { allowed_vlans } if allowed_vlans.contains(&vlan));
            if !earlier.iter().any(passes) {
                return Err(ApiError::invalid(fields.path("vlan"), "no PCI attachment allows this VLAN"));
            }
            Link::Vlan { vlan, allow_to_float: fields.flag("allow_to_float")?.unwrap_or(false) }
        };
        let pci = earlier.iter().filter(|other| matches!(other.link, Link::Pci { .. })).count();
        if (kind == "pci" && pci >= MAX_PCI) || earlier.len() >= MAX_ALL {
            return Err(ApiError::invalid(
                at,
                format!("a server has at most {MAX_PCI} PCI attachments, {MAX_ALL} in all"),
            ));
        }

        let vni_at = fields.path("virtual_network_interface");
        let value = fields.require("virtual_network_interface")?;
        let is_reference = ["id", "crn", "href"].iter().any(|key| value.get(key).is_some());
        let vni = if is_reference {
            let vni = refer(value, &vni_at, "virtual network interface", &self.vnis)?;
            if vni.target.is_some() || vni.state == VniState::Deleting {
                return Err(ApiError::in_use("virtual network interface", &vni.identity.id));
            }
            vni.identity.id.clone()
        } else {
            let prototype = Fields::of(value, vni_at, vni::FIELDS)?;
            self.make_vni(now, &prototype, true).map_err(|error| error.inside_server_create(trace))?
        };
        if let Link::Vlan { vlan, .. } = link {
            let subnet = &self.vni(&vni).subnet;
            let elsewhere = |other: &Attachment| {
                matches!(other.link, Link::Vlan { vlan: v, .. } if v == vlan) && self.vni(&other.vni).subnet != *subnet
            };
            if earlier.iter().any(elsewhere) {
                return Err(ApiError::invalid(fields.path("vlan"), "the VLAN is used in another subnet"));
            }
        }
        Ok(Attachment { id: self.mint.id(true), name, vni, link })
    }

    /// `target` of an attached interface.
    pub(in crate::cloud) fn attachment_reference(&self, vni: &Vni) -> Option<Value> {
        let (server, attachment) = vni.target.as_ref()?;
        let server = self.server(server).ok()?;
        let found = server.attachments.iter().find(|each| each.id == *attachment)?;
        Some(json!({
            "href": format!("{}/network_attachments/{}", server.identity.href, found.id), "id": found.id,
            "name": found.name, "resource_type": "bare_metal_server_network_attachment",
        }))
    }

    /// An attachment as the server shows it.
    pub(super) fn attachment_summary(&self, server: &Server, attachment: &Attachment) -> Value {
        let vni = self.vni(&attachment.vni);
        json!({
            "href": format!("{}/network_attachments/{}", server.identity.href, attachment.id),
            "id": attachment.id,
            "name": attachment.name,
            "primary_ip": self.ip(&vni.ips[0]).reference(),
            "resource_type": "bare_metal_server_network_attachment",
            "subnet": self.vni_subnet(vni).reference(),
            "virtual_network_interface": vni.identity.reference("virtual_network_interface"),
        })
    }

    /// The mirror of an attachment as the server shows it: same id, same name (vni-about.md).
    pub(super) fn mirror_summary(&self, server: &Server, attachment: &Attachment) -> Value {
        let mut json = self.attachment_summary(server, attachment);
        if let Value::Object(map) = &mut json {
            map.remove("virtual_network_interface");
        }
        json["href"] = format!("{}/network_interfaces/{}", server.identity.href, attachment.id).into();
        json["resource_type"] = "network_interface".into();
        json
    }

    fn attachment_json(&self, server: &Server, attachment: &Attachment) -> Value {
        let mut json = self.attachment_summary(server, attachment);
        let primary = server.attachments[0].id == attachment.id;
        json["created_at"] = stamp(server.identity.created_at).into();
        json["lifecycle_state"] = server.status.lifecycle_state().into();
        json["port_speed"] = server.bandwidth.into();
        json["type"] = if primary { "primary" } else { "secondary" }.into();
        match &attachment.link {
            Link::Pci { allowed_vlans } => {
                json["interface_type"] = "pci".into();
                json["allowed_vlans"] = json!(allowed_vlans);
            }
            Link::Vlan { vlan, allow_to_float } => {
                json["interface_type"] = "vlan".into();
                json["vlan"] = json!(vlan);
                json["allow_to_float"] = json!(allow_to_float);
            }
        }
        json
    }

    fn mirror_json(&self, server: &Server, attachment: &Attachment) -> Value {
        let vni = self.vni(&attachment.vni);
        let full = self.vni_json(vni);
        let mut json = self.attachment_json(server, attachment);
        if let Value::Object(map) = &mut json {
            map.remove("virtual_network_interface");
            map.remove("lifecycle_state");
            if let Some(float) = map.remove("allow_to_float") {
                map.insert("allow_interface_to_float".into(), float);
            }
        }
        json["href"] = format!("{}/network_interfaces/{}", server.identity.href, attachment.id).into();
        json["resource_type"] = "network_interface".into();
        json["allow_ip_spoofing"] = vni.allow_ip_spoofing.into();
        json["enable_infrastructure_nat"] = vni.enable_infrastructure_nat.into();
        json["floating_ips"] = json!([]);
        json["mac_address"] = vni.mac.as_str().into();
        json["security_groups"] = full["security_groups"].clone();
        json["status"] = match (server.status, vni.state) {
            (Status::Deleting, _) | (_, VniState::Deleting) => "deleting",
            (Status::Failed, _) => "failed",
            (Status::Pending, _) | (_, VniState::Pending) => "pending",
            _ => "available",
        }
        .into();
        json
    }

    /// `attachments`: the true ones; otherwise their mirrors.
    pub(in crate::cloud) fn list_attachments(&self, request: &Request, id: &str, attachments: bool) -> Refused<Value> {
        page::only_parameters(request, &["limit", "start"])?;
        let server = self.server(id)?;
        let items: Vec<(u64, &Attachment)> = (0..).zip(&server.attachments).collect();
        let name = if attachments { "network_attachments" } else { "network_interfaces" };
        page::page(request, &format!("{}/{name}", server.identity.href), name, &items, |each| match attachments {
            true => self.attachment_json(server, each),
            false => self.mirror_json(server, each),
        })
    }

    /// See [`Cloud::list_attachments`].
    pub(in crate::cloud) fn get_attachment(&self, id: &str, attachment: &str, attachments: bool) -> Refused<Value> {
        let server = self.server(id)?;
        let found = server.attachments.iter().find(|each| each.id == attachment);
        let found = found.ok_or_else(|| ApiError::not_found("network attachment", attachment))?;
        Ok(if attachments { self.attachment_json(server, found) } else { self.mirror_json(server, found) })
    }
}

fn vlan_id(value: &Value, at: &str) -> Refused<u64> {
    let id = value.as_u64().filter(|id| (1..=4094).contains(id));
    id.ok_or_else(|| ApiError::invalid(at, "must be a VLAN id of 1 to 4094"))
}
