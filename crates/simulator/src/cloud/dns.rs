//! DNS Services: the records of one private zone (ibm-cloud-networking-services `dns_svcs_v1`). No `version`, offsets for
//! pages, and a create that answers 200.

use super::{
    Cloud,
    error::ApiError,
    fields::{Fields, Refused},
    identity::stamp,
    page,
    routes::Answer,
};
use crate::http::Request;
use metalform_model::Timestamp;
use serde_json::{Value, json};
use std::net::Ipv4Addr;

const LEDGER_KIND: &str = "dns_record";

/// The zone everything is in.
pub(super) const ZONE_NAME: &str = "metalform.example";

/// A resource record.
#[derive(Debug, Clone)]
pub(super) struct Record {
    id: String,
    kind: String,
    /// With the zone appended; of a PTR the address.
    name: String,
    ttl: u64,
    rdata: Value,
    created_at: Timestamp,
    modified_at: Timestamp,
}

impl Record {
    fn json(&self) -> Value {
        json!({
            "id": self.id, "created_on": stamp(self.created_at), "modified_on": stamp(self.modified_at),
            "name": self.name, "type": self.kind, "ttl": self.ttl, "rdata": self.rdata,
        })
    }
}

/// `rdata` as each type wants it.
fn check_rdata(kind: &str, rdata: &Value) -> Refused<()> {
    let known: &[&str] = match kind {
        "A" | "AAAA" => &["ip"],
        "CNAME" => &["cname"],
        "PTR" => &["ptrdname"],
        "TXT" => &["text"],
        "MX" => &["exchange", "preference"],
        _ => return Err(ApiError::not_simulated("POST", "resource_records of this type")),
    };
    let fields = Fields::of(rdata, "rdata", known)?;
    if kind == "MX" {
        fields.require("preference")?;
        fields.number("preference")?;
    }
    fields.require(known[0])?;
    let text = fields.text(known[0])?.unwrap_or_default();
    let fits = match kind {
        "A" => text.parse::<Ipv4Addr>().is_ok(),
        "AAAA" => text.parse::<std::net::Ipv6Addr>().is_ok(),
        _ => !text.is_empty(),
    };
    if fits { Ok(()) } else { Err(ApiError::invalid(fields.path(known[0]), "is not valid for this type")) }
}

fn read_ttl(fields: &Fields<'_>, default: u64) -> Refused<u64> {
    let ttl = fields.number("ttl")?.unwrap_or(default);
    if (60..=43200).contains(&ttl) { Ok(ttl) } else { Err(ApiError::invalid("ttl", "must be 60 to 43200")) }
}

fn full_name(kind: &str, name: &str) -> String {
    if kind == "PTR" || name == ZONE_NAME || name.ends_with(&format!(".{ZONE_NAME}")) {
        name.into()
    } else {
        format!("{name}.{ZONE_NAME}")
    }
}

impl Cloud {
    pub(super) fn dns_answer(&mut self, now: Timestamp, request: &Request) -> Refused<Answer> {
        let path = request.path.clone();
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let ["v1", "instances", instance, "dnszones", rest @ ..] = parts.as_slice() else {
            return Err(ApiError::not_simulated(&request.method, &path));
        };
        if *instance != self.dns_instance {
            return Err(ApiError::not_found("DNS Services instance", instance));
        }
        if let [zone, ..] = rest
            && *zone != self.dns_zone
        {
            return Err(ApiError::not_found("DNS zone", zone));
        }
        Ok(match (request.method.as_str(), rest) {
            ("GET", []) => self.dns_page(request, "dnszones", vec![self.dns_zone_json()], &[])?.into(),
            ("GET", [_]) => self.dns_zone_json().into(),
            ("GET", [_, "resource_records"]) => self.list_records(request)?.into(),
            ("POST", [_, "resource_records"]) => {
                self.create_record(now, &super::routes::require_body(request)?)?.into()
            }
            ("GET", [_, "resource_records", id]) => self.record(id)?.json().into(),
            ("PUT", [_, "resource_records", id]) => {
                self.update_record(now, id, &super::routes::require_body(request)?)?.into()
            }
            ("DELETE", [_, "resource_records", id]) => {
                self.record(id)?;
                self.records.retain(|record| record.id != *id);
                self.record_gone(id, now);
                Answer::empty(204)
            }
            (method, _) => return Err(ApiError::not_simulated(method, &path)),
        })
    }

    fn dns_zone_json(&self) -> Value {
        json!({
            "id": self.dns_zone, "created_on": stamp(self.made_at), "modified_on": stamp(self.made_at),
            "instance_id": self.dns_instance, "name": ZONE_NAME, "description": "", "state": "active", "label": "",
        })
    }

    fn dns_page(&self, request: &Request, name: &str, all: Vec<Value>, filters: &[&str]) -> Refused<Value> {
        let known: Vec<&str> = ["offset", "limit"].iter().chain(filters).copied().collect();
        page::only_parameters(request, &known)?;
        let number = |name: &str, default: usize| match request.query(name) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| ApiError::bad_parameter(name, "must be a number")),
        };
        let (offset, limit) = (number("offset", 0)?, number("limit", 200)?.clamp(1, 200));
        let total = all.len();
        let items: Vec<Value> = all.into_iter().skip(offset).take(limit).collect();
        let link = |offset: usize| json!({"href": format!("{}?offset={offset}&limit={limit}", request.path)});
        let mut body = json!({
            "offset": offset, "limit": limit, "count": items.len(), "total_count": total,
            "first": link(0), "last": link(total.saturating_sub(1) / limit * limit),
        });
        if offset + limit < total {
            body["next"] = link(offset + limit);
        }
        if offset > 0 {
            body["previous"] = link(offset.saturating_sub(limit));
        }
        body[name] = items.into();
        Ok(body)
    }

    fn record(&self, id: &str) -> Refused<&Record> {
        self.records.iter().find(|record| record.id == id).ok_or_else(|| ApiError::not_found("resource record", id))
    }

    fn list_records(&self, request: &Request) -> Refused<Value> {
        let all = self
            .records
            .iter()
            .filter(|record| page::filter(request, "type", &record.kind) && page::filter(request, "name", &record.name))
            .map(Record::json)
            .collect();
        self.dns_page(request, "resource_records", all, &["type", "name"])
    }

    fn create_record(&mut self, now: Timestamp, body: &Value) -> Refused<Value> {
        let fields = Fields::of(body, "", &["type", "name", "rdata", "ttl"])?;
        for field in ["type", "name", "rdata"] {
            fields.require(field)?;
        }
        let kind = fields.text("type")?.unwrap_or_default();
        let rdata = fields.require("rdata")?;
        check_rdata(kind, rdata)?;
        let name = full_name(kind, fields.text("name")?.unwrap_or_default());
        let ttl = read_ttl(&fields, 900)?;
        let mut uuid = None;
        if kind == "PTR" {
            let of_address = |record: &&Record| record.kind == "A" && record.rdata["ip"] == name.as_str();
            let host = self.records.iter().find(of_address).ok_or_else(|| {
                ApiError::new(400, "invalid_value", format!("An A record of {name} must exist before its PTR record."))
            })?;
            uuid = host.id.split_once(':').map(|(_, uuid)| uuid.to_owned());
        }
        let same =
            |record: &Record| record.kind == kind && record.name == name && (kind == "PTR" || record.rdata == *rdata);
        if self.records.iter().any(same) {
            return Err(ApiError::conflict("already_exists", "The resource record exists already."));
        }
        let uuid = uuid.unwrap_or_else(|| self.mint.uuid());
        let record = Record {
            id: format!("{kind}:{uuid}"),
            kind: kind.into(),
            name: name.clone(),
            ttl,
            rdata: rdata.clone(),
            created_at: now,
            modified_at: now,
        };
        let json = record.json();
        self.record_made(LEDGER_KIND, &name, &record.id, now);
        self.records.push(record);
        Ok(json)
    }

    fn update_record(&mut self, now: Timestamp, id: &str, body: &Value) -> Refused<Value> {
        let old = self.record(id)?;
        let fields = Fields::of(body, "", &["name", "rdata", "ttl"])?;
        let ttl = read_ttl(&fields, old.ttl)?;
        let rdata = fields.get("rdata").unwrap_or(&old.rdata).clone();
        check_rdata(&old.kind, &rdata)?;
        let name = fields.text("name")?.map_or_else(|| old.name.clone(), |name| full_name(&old.kind, name));
        self.record_renamed(id, &name);
        let found = self.records.iter_mut().find(|record| record.id == id);
        let record = found.ok_or_else(|| ApiError::not_found("resource record", id))?;
        *record = Record { ttl, rdata, name, modified_at: now, ..record.clone() };
        Ok(record.json())
    }
}
