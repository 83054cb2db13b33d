//! Every request that cloud and CVMs received: what a test looks at to see what a client really sent. Without secrets:
//! no header is kept, tokens in URLs and passwords in bodies are blanked, form bodies (IAM's API key) are left out.

use crate::{
    cloud::Face,
    http::{Reply, Request, Response},
    ssh::{SshAdmission, SshReply},
};
use metalform_model::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv4Addr},
};

/// The newest so many are kept.
const KEPT: usize = 100_000;
const BLANK: &str = "***";
const SECRET_KEYS: [&str; 8] =
    ["t", "token", "apikey", "api_key", "access_token", "password", "oldPassword", "newPassword"];
/// What a token follows inside of a longer text: user data holds the boot script's URL.
const SECRET_MARKS: [&str; 4] = ["?t=", "&t=", "boot_token=", "set proof "];

/// Who was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// One of the cloud's hosts.
    Cloud(Face),
    /// Prism at an address and port.
    Prism(Ipv4Addr, u16),
    /// Foundation at an address and port.
    Foundation(Ipv4Addr, u16),
    /// The SSH server at an address and port.
    Ssh(Ipv4Addr, u16),
}

/// What was asked over SSH. Neither a password nor a standard input is in it.
pub(super) enum SshAsked<'a> {
    Login(SshAdmission),
    Exec(&'a str, &'a SshReply),
}

/// A request that was received.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LoggedRequest {
    /// When.
    pub at: Timestamp,
    /// `iam`, `vpc`, `dns`, `metadata`, `prism`, `foundation` or `ssh`.
    pub face: &'static str,
    /// The CVM or VIP that was asked, with the port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Who asked.
    pub from: IpAddr,
    /// Upper case; of SSH `LOGIN` or `EXEC`.
    pub method: String,
    /// Without the query; of SSH the user, or the command.
    pub path: String,
    /// Without secrets.
    pub query: Map<String, Value>,
    /// A JSON body without secrets; `null` for anything else.
    pub body: Value,
    /// `null`: the reply was lost. Of SSH 200 or 401 for a login, the exit status for a command.
    pub status: Option<u16>,
}

#[derive(Debug, Default)]
pub(super) struct Log(VecDeque<LoggedRequest>);

impl Log {
    pub fn entries(&self) -> impl Iterator<Item = &LoggedRequest> {
        self.0.iter()
    }

    pub fn add(&mut self, at: Timestamp, asked: Asked, request: &Request, reply: &Reply) {
        let (face, target) = match asked {
            Asked::Cloud(Face::Iam) => ("iam", None),
            Asked::Cloud(Face::Vpc) => ("vpc", None),
            Asked::Cloud(Face::Dns) => ("dns", None),
            Asked::Cloud(Face::Metadata) => ("metadata", None),
            Asked::Prism(ip, port) => ("prism", Some((ip, port))),
            Asked::Foundation(ip, port) => ("foundation", Some((ip, port))),
            Asked::Ssh(ip, port) => ("ssh", Some((ip, port))),
        };
        let query = request.query.iter().map(|(key, value)| (key.clone(), blanked(key, value.as_str().into())));
        let body = serde_json::from_slice(&request.body).unwrap_or_default();
        self.0.push_back(LoggedRequest {
            at,
            face,
            target: target.map(|(ip, port)| format!("{ip}:{port}")),
            from: request.from,
            method: request.method.clone(),
            path: request.path.clone(),
            query: query.collect(),
            body: blanked("", body),
            status: match reply {
                Reply::Answer(response) | Reply::After(_, response) => Some(response.status),
                Reply::Lost => None,
            },
        });
        if self.0.len() > KEPT {
            self.0.pop_front();
        }
    }

    /// Notes a login or a command.
    pub fn add_ssh(&mut self, at: Timestamp, (ip, port): (Ipv4Addr, u16), user: &str, asked: SshAsked<'_>) {
        let reply = |status| Reply::Answer(Response::empty(status));
        let (method, path, reply) = match asked {
            SshAsked::Login(SshAdmission::Admitted) => ("LOGIN", user, reply(200)),
            SshAsked::Login(SshAdmission::Denied) => ("LOGIN", user, reply(401)),
            SshAsked::Exec(command, SshReply::Lost) => ("EXEC", command, Reply::Lost),
            SshAsked::Exec(command, SshReply::Output { status, .. }) => {
                ("EXEC", command, reply(u16::try_from(*status).unwrap_or(u16::MAX)))
            }
        };
        let request = Request {
            method: method.into(),
            path: path.into(),
            query: vec![("user".into(), user.into())],
            headers: Vec::new(),
            body: Vec::new(),
            from: Ipv4Addr::UNSPECIFIED.into(),
        };
        self.add(at, Asked::Ssh(ip, port), &request, &reply);
    }
}

fn blanked(key: &str, value: Value) -> Value {
    match value {
        Value::String(_) if SECRET_KEYS.contains(&key) => BLANK.into(),
        Value::String(text) => blanked_text(text).into(),
        Value::Array(items) => items.into_iter().map(|item| blanked("", item)).collect(),
        Value::Object(map) => Value::Object(
            map.into_iter()
                .map(|(key, value)| {
                    let value = blanked(&key, value);
                    (key, value)
                })
                .collect(),
        ),
        other => other,
    }
}

fn blanked_text(mut text: String) -> String {
    for mark in SECRET_MARKS {
        let mut from = 0;
        while let Some(found) = text[from..].find(mark) {
            let start = from + found + mark.len();
            let end = text[start..].find(|c: char| c == '&' || c.is_whitespace()).map_or(text.len(), |at| start + at);
            text.replace_range(start..end, BLANK);
            from = start;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn no_secret_stays_in_the_log() {
        let body = json!({
            "name": "n",
            "initialization": {"user_data": "http://h/boot/ipxe/s?t=abc", "keys": [{"id": "k"}]},
            "script": "kernel http://h/k?a=1&t=abc boot_token=abc x=y\nset proof abc\n",
            "newPassword": "abc",
            "api_key": "abc",
        });
        assert_eq!(
            blanked("", body),
            json!({
                "name": "n",
                "initialization": {"user_data": "http://h/boot/ipxe/s?t=***", "keys": [{"id": "k"}]},
                "script": "kernel http://h/k?a=1&t=*** boot_token=*** x=y\nset proof ***\n",
                "newPassword": "***",
                "api_key": "***",
            })
        );
    }
}
