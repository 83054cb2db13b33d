//! iPXE settings ("variables"): typed values, looked up by `[scope/]name[:type]`, and the expansion of `${…}`.

use base64::Engine;
use metalform_model::Timestamp;
use std::{collections::BTreeMap, net::Ipv4Addr};
use uuid::Uuid;

/// Who the machine is, before any network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// SMBIOS UUID.
    pub uuid: Uuid,
    /// SMBIOS serial number.
    pub serial: String,
    /// SMBIOS product name.
    pub product: String,
    /// Address of the first network card.
    pub mac: [u8; 6],
}

/// What DHCP gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The machine's own address.
    pub ip: Ipv4Addr,
    /// Netmask of its subnet.
    pub netmask: Ipv4Addr,
    /// The router.
    pub gateway: Ipv4Addr,
    /// Name server.
    pub dns: Ipv4Addr,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Int(i32),
    Ip(Ipv4Addr),
    Mac([u8; 6]),
    Uuid(Uuid),
    Digest([u8; 32]),
}

impl Value {
    fn natural(&self) -> String {
        match self {
            Value::Text(text) => text.clone(),
            Value::Int(number) => number.to_string(),
            Value::Ip(ip) => ip.to_string(),
            Value::Mac(mac) => hex_with(mac, ":"),
            Value::Uuid(uuid) => uuid.to_string(),
            // Shown as the type that the digest commands give it where the script gives none.
            Value::Digest(digest) => hex::encode(digest),
        }
    }

    fn raw(&self) -> Vec<u8> {
        match self {
            Value::Text(text) => text.clone().into_bytes(),
            Value::Int(number) => number.to_be_bytes().to_vec(),
            Value::Ip(ip) => ip.octets().to_vec(),
            Value::Mac(mac) => mac.to_vec(),
            Value::Uuid(uuid) => uuid.as_bytes().to_vec(),
            Value::Digest(digest) => digest.to_vec(),
        }
    }

    /// As `${name:type}` shows it; `None` for a type that does not exist, which expands to nothing.
    fn shown_as(&self, kind: &str) -> Option<String> {
        let raw = self.raw();
        Some(match kind {
            "string" => self.natural(),
            "uristring" => percent_encode(&self.natural()),
            "ipv4" => match raw.as_slice() {
                [a, b, c, d] => Ipv4Addr::new(*a, *b, *c, *d).to_string(),
                _ => String::new(),
            },
            "hex" => hex_with(&raw, ":"),
            "hexhyp" => hex_with(&raw, "-"),
            "hexraw" => hex::encode(&raw),
            "base64" => base64::engine::general_purpose::STANDARD.encode(&raw),
            "uuid" => Uuid::from_slice(&raw).map(|u| u.to_string()).unwrap_or_default(),
            "int8" | "int16" | "int32" | "uint8" | "uint16" | "uint32" => {
                if let Value::Int(number) = self {
                    number.to_string()
                } else {
                    raw.iter().fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte)).to_string()
                }
            }
            _ => return None,
        })
    }

    /// The value as a number, for `inc`.
    fn number(&self) -> Option<i32> {
        match self {
            Value::Int(number) => Some(*number),
            other => other.natural().parse().ok(),
        }
    }
}

fn hex_with(bytes: &[u8], separator: &str) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(separator)
}

fn percent_encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}

/// All settings of one running iPXE.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    values: BTreeMap<String, Value>,
}

impl Settings {
    pub fn new(identity: &Identity, version: &str) -> Self {
        let text = |text: &str| Value::Text(text.to_owned());
        let values = [
            ("uuid", Value::Uuid(identity.uuid)),
            ("serial", text(&identity.serial)),
            ("product", text(&identity.product)),
            ("manufacturer", text("IBM Cloud (simulated)")),
            ("net0/mac", Value::Mac(identity.mac)),
            ("net0/chip", text("ionic")),
            ("version", text(version)),
            ("platform", text("efi")),
            ("buildarch", text("x86_64")),
        ];
        Settings { values: values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect() }
    }

    pub fn lease(&mut self, lease: &Lease) {
        for (name, ip) in [("ip", lease.ip), ("netmask", lease.netmask), ("gateway", lease.gateway), ("dns", lease.dns)]
        {
            self.values.insert(format!("net0/{name}"), Value::Ip(ip));
        }
    }

    pub fn clock(&mut self, now: Timestamp) {
        self.put("unixtime", Value::Text(now.seconds().to_string()));
    }

    pub fn put(&mut self, name: &str, value: Value) {
        self.values.insert(canonical(name), value);
    }

    /// `set name[:type] value`. An empty value removes the setting. `Err` says what is wrong with it.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let (name, kind) = split_type(name);
        if name.is_empty() {
            return Err("no setting name".into());
        }
        let name = canonical(name);
        if value.is_empty() {
            self.values.remove(&name);
            return Ok(());
        }
        let value = match kind {
            None | Some("string" | "uristring") => Value::Text(value.to_owned()),
            Some("int8" | "int16" | "int32" | "uint8" | "uint16" | "uint32") => {
                Value::Int(value.parse().map_err(|_| format!("\"{value}\" is no number"))?)
            }
            Some("ipv4") => Value::Ip(value.parse().map_err(|_| format!("\"{value}\" is no address"))?),
            Some(other) => return Err(format!("unknown setting type \"{other}\"")),
        };
        self.values.insert(name, value);
        Ok(())
    }

    /// What `sha256sum --set name[:type]` stores: the bytes of the digest. `Err` says what is wrong with the setting.
    pub fn set_digest(&mut self, name: &str, digest: [u8; 32]) -> Result<(), String> {
        let (name, kind) = split_type(name);
        if name.is_empty() {
            return Err("no setting name".into());
        }
        if let Some(kind) = kind.filter(|kind| Value::Digest(digest).shown_as(kind).is_none()) {
            return Err(format!("unknown setting type \"{kind}\""));
        }
        self.values.insert(canonical(name), Value::Digest(digest));
        Ok(())
    }

    /// `inc name [by]`. An absent setting counts as 0.
    pub fn increase(&mut self, name: &str, by: i32) -> Result<(), String> {
        let (name, _) = split_type(name);
        let name = canonical(name);
        let old = match self.values.get(&name) {
            None => 0,
            Some(value) => value.number().ok_or(format!("\"{}\" is no number", value.natural()))?,
        };
        self.values.insert(name, Value::Int(old.wrapping_add(by)));
        Ok(())
    }

    pub fn get(&self, reference: &str) -> String {
        let (name, kind) = split_type(reference);
        let name = canonical(name);
        let value = self.values.get(&name).or_else(|| self.values.get(&format!("net0/{name}")));
        value.and_then(|v| kind.map_or_else(|| Some(v.natural()), |kind| v.shown_as(kind))).unwrap_or_default()
    }

    /// Expands every `${…}`, innermost first, again and again until none is left, as iPXE does; bounded, because a
    /// setting may name itself.
    pub fn expand(&self, word: &str) -> String {
        let mut text = word.to_owned();
        for _ in 0..64 {
            let Some((start, end)) = innermost(&text) else { break };
            let value = self.get(&text[start + 2..end]);
            text.replace_range(start..=end, &value);
        }
        text
    }
}

fn innermost(text: &str) -> Option<(usize, usize)> {
    let first = text.find("${")?;
    let end = first + text[first..].find('}')?;
    Some((text[..end].rfind("${")?, end))
}

fn split_type(reference: &str) -> (&str, Option<&str>) {
    reference.split_once(':').map_or((reference, None), |(name, kind)| (name, Some(kind)))
}

/// `netX` is the device opened last, and there is one.
fn canonical(name: &str) -> String {
    name.strip_prefix("netX/").map_or_else(|| name.to_owned(), |rest| format!("net0/{rest}"))
}
