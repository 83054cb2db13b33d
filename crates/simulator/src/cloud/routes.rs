//! The operations of the VPC API, each on a line: method, path, success status.

use super::{Cloud, error::ApiError, fields::Refused, page};
use crate::http::Request;
use metalform_model::Timestamp;
use serde_json::Value;

/// A successful answer.
pub(super) struct Answer {
    pub status: u16,
    pub body: Option<Value>,
    /// Whether the client may name it in `If-Match`.
    pub etag: bool,
}

impl Answer {
    pub fn empty(status: u16) -> Self {
        Answer { status, body: None, etag: false }
    }

    pub fn with(status: u16, body: Value) -> Self {
        Answer { status, body: Some(body), etag: false }
    }

    pub fn tagged(self) -> Self {
        Answer { etag: true, ..self }
    }
}

impl From<Value> for Answer {
    fn from(body: Value) -> Self {
        Answer::with(200, body)
    }
}

impl Cloud {
    pub(super) fn vpc_answer(&mut self, now: Timestamp, request: &Request, trace: &str) -> Refused<Answer> {
        let version = request.query("version").ok_or_else(|| ApiError::missing_parameter("version"))?;
        if !is_date(version) {
            return Err(ApiError::bad_parameter("version", "must be YYYY-MM-DD"));
        }
        match request.query("generation") {
            None => return Err(ApiError::missing_parameter("generation")),
            Some("2") => {}
            Some(_) => return Err(ApiError::bad_parameter("generation", "must be 2")),
        }
        let path = request.path.clone();
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let (method, parts) = match parts.as_slice() {
            ["v1", rest @ ..] => (request.method.as_str(), rest),
            _ => return Err(ApiError::not_simulated(&request.method, &path)),
        };
        // Paged collections check their own filters; nothing else has any.
        let unpaged = ["initialization", "disks", "default_security_group", "regions", "zones"];
        let is_item = parts.len().is_multiple_of(2) && parts.first() != Some(&"bare_metal_server");
        if method != "GET" || is_item || parts.last().is_some_and(|last| unpaged.contains(last)) {
            page::only_parameters(request, &[])?;
        }
        let body = || require_body(request);
        Ok(match (method, parts) {
            ("GET", ["bare_metal_server", "profiles"]) => self.list_profiles(request)?.into(),
            ("GET", ["bare_metal_server", "profiles", name]) => self.get_profile(name)?.into(),

            ("GET", ["bare_metal_servers"]) => self.list_servers(request)?.into(),
            ("POST", ["bare_metal_servers"]) => Answer::with(201, self.create_server(now, &body()?, trace)?),
            ("GET", ["bare_metal_servers", id]) => self.get_server(id)?.into(),
            ("PATCH", ["bare_metal_servers", id]) => self.update_server(id, &body()?)?.into(),
            ("DELETE", ["bare_metal_servers", id]) => self.delete_server(now, id).map(|()| Answer::empty(202))?,
            ("POST", ["bare_metal_servers", id, "start"]) => {
                no_body(request)?;
                self.start_server(now, id).map(|()| Answer::empty(204))?
            }
            ("POST", ["bare_metal_servers", id, "restart"]) => {
                no_body(request)?;
                self.restart_server(now, id).map(|()| Answer::empty(204))?
            }
            ("POST", ["bare_metal_servers", id, "stop"]) => {
                self.stop_server(now, id, &body()?).map(|()| Answer::empty(204))?
            }
            ("GET", ["bare_metal_servers", id, "initialization"]) => self.get_initialization(id)?.into(),
            ("PUT", ["bare_metal_servers", id, "initialization"]) => {
                self.reinitialize_server(now, id, &body()?)?.into()
            }
            ("POST", ["bare_metal_servers", id, "console_access_token"]) => {
                self.console_token(now, id, &body()?)?.into()
            }
            ("GET", ["bare_metal_servers", id, "disks"]) => self.list_disks(id)?.into(),
            ("GET", ["bare_metal_servers", id, "disks", disk]) => self.get_disk(id, disk)?.into(),
            ("GET", ["bare_metal_servers", id, "network_attachments"]) => {
                self.list_attachments(request, id, true)?.into()
            }
            ("GET", ["bare_metal_servers", id, "network_attachments", each]) => {
                self.get_attachment(id, each, true)?.into()
            }
            ("GET", ["bare_metal_servers", id, "network_interfaces"]) => {
                self.list_attachments(request, id, false)?.into()
            }
            ("GET", ["bare_metal_servers", id, "network_interfaces", each]) => {
                self.get_attachment(id, each, false)?.into()
            }

            ("GET", ["virtual_network_interfaces"]) => self.list_vnis(request)?.into(),
            ("POST", ["virtual_network_interfaces"]) => Answer::with(201, self.create_vni(now, &body()?)?).tagged(),
            ("GET", ["virtual_network_interfaces", id]) => Answer::from(self.get_vni(id)?).tagged(),
            ("PATCH", ["virtual_network_interfaces", id]) => {
                Answer::from(self.update_vni(request, id, &body()?)?).tagged()
            }
            ("DELETE", ["virtual_network_interfaces", id]) => Answer::with(202, self.delete_vni(now, request, id)?),
            ("GET", ["virtual_network_interfaces", id, "ips"]) => self.list_vni_ips(request, id)?.into(),
            ("GET", ["virtual_network_interfaces", id, "ips", ip]) => self.get_vni_ip(id, ip)?.into(),
            ("PUT", ["virtual_network_interfaces", id, "ips", ip]) => self.add_vni_ip(now, id, ip)?.into(),
            ("DELETE", ["virtual_network_interfaces", id, "ips", ip]) => {
                self.remove_vni_ip(now, id, ip).map(|()| Answer::empty(204))?
            }

            ("GET", ["subnets"]) => self.list_subnets(request)?.into(),
            ("GET", ["subnets", id]) => self.get_subnet(id)?.into(),
            ("GET", ["subnets", subnet, "reserved_ips"]) => self.list_reserved_ips(request, subnet)?.into(),
            ("POST", ["subnets", subnet, "reserved_ips"]) => {
                Answer::with(201, self.create_reserved_ip(now, subnet, &body()?)?)
            }
            ("GET", ["subnets", subnet, "reserved_ips", id]) => self.get_reserved_ip(subnet, id)?.into(),
            ("PATCH", ["subnets", subnet, "reserved_ips", id]) => self.update_reserved_ip(subnet, id, &body()?)?.into(),
            ("DELETE", ["subnets", subnet, "reserved_ips", id]) => {
                self.delete_reserved_ip(now, subnet, id).map(|()| Answer::empty(204))?
            }

            ("GET", ["vpcs"]) => self.list_vpcs(request)?.into(),
            ("GET", ["vpcs", id]) => self.get_vpc(id)?.into(),
            ("GET", ["vpcs", id, "default_security_group"]) => self.get_default_security_group(id)?.into(),
            ("GET", ["security_groups"]) => self.list_security_groups(request)?.into(),
            ("GET", ["security_groups", id]) => self.get_security_group(id)?.into(),
            ("GET", ["keys"]) => self.list_keys(request)?.into(),
            ("GET", ["keys", id]) => self.get_key(id)?.into(),
            ("GET", ["images"]) => self.list_images(request)?.into(),
            ("GET", ["images", id]) => self.get_image(id)?.into(),
            ("GET", ["regions"]) => self.list_regions().into(),
            ("GET", ["regions", region]) => self.get_region(region)?.into(),
            ("GET", ["regions", region, "zones"]) => self.list_zones(region)?.into(),
            ("GET", ["regions", region, "zones", zone]) => self.get_zone(region, zone)?.into(),
            (method, _) => return Err(ApiError::not_simulated(method, &path)),
        })
    }
}

/// `YYYY-MM-DD`. A date in the future is accepted: how the real API takes one is not documented.
pub(super) fn is_date(text: &str) -> bool {
    text.len() == 10 && format!("{text}T00:00:00Z").parse::<Timestamp>().is_ok()
}

pub(super) fn parse_body(request: &Request) -> Refused<Option<Value>> {
    if request.body.is_empty() {
        return Ok(None);
    }
    let parsed = serde_json::from_slice(&request.body);
    parsed.map(Some).map_err(|error| ApiError::new(400, "invalid_request", format!("The body is not JSON: {error}.")))
}

pub(super) fn require_body(request: &Request) -> Refused<Value> {
    parse_body(request)?.ok_or_else(|| ApiError::new(400, "missing_value", "A body is required."))
}

pub(super) fn no_body(request: &Request) -> Refused<()> {
    match parse_body(request)? {
        None => Ok(()),
        Some(_) => Err(ApiError::new(400, "invalid_request", "This operation takes no body.")),
    }
}
