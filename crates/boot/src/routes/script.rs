//! `GET /boot/ipxe/{server_id}?t=`: what to boot.

use crate::{
    BootAttemptRef, BootNode, Instruction, Refusal, ScriptValues,
    query::{BootQuery, read_query},
    round::{Begun, begin},
    visit::Visit,
};
use axum::{
    Extension,
    http::{Method, Uri, header},
    response::{IntoResponse, Response},
};
use metalform_model::Seen;
use std::net::Ipv4Addr;

pub(super) async fn answer(Extension(visit): Extension<Visit>, method: Method, uri: Uri) -> Response {
    match offer(&visit, &method, &uri).await {
        Ok(script) => script,
        Err(refusal) => visit.refuse(refusal),
    }
}

/// The attempt in which a node may be told to install, and the node's address.
pub(super) fn permission(
    visit: &Visit,
    node: &BootNode,
    query: &BootQuery<'_>,
) -> Result<(BootAttemptRef, Ipv4Addr), Refusal> {
    let plane = &visit.plane;
    let mgmt_ip = node.mgmt_ip.ok_or(Refusal::NotNow)?;
    plane.check_source(visit.source, mgmt_ip)?;
    // Before the token: an installed machine must not be restarted for showing that of an earlier attempt.
    if node.instruction == Instruction::BootFromDisk {
        return Err(Refusal::Installed);
    }
    let waits = matches!(node.instruction, Instruction::NotNow { .. });
    if waits && node.attempt.is_none() {
        return Err(Refusal::NotNow);
    }
    let attempt = plane.check_token(query, node)?;
    if waits {
        return Err(Refusal::NotNow);
    }
    if !attempt.open {
        return Err(Refusal::NotInstalling);
    }
    Ok((attempt, mgmt_ip))
}

async fn offer(visit: &Visit, method: &Method, uri: &Uri) -> Result<Response, Refusal> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Err(Refusal::NoScript);
    }
    let plane = &visit.plane;
    let node = plane.node_named(&visit.target).await?;
    let (attempt, mgmt_ip) = permission(visit, &node, &read_query(uri.query()))?;
    // What it holds beside the token must not cross the network.
    if node.inline {
        return Err(Refusal::OtherUserData);
    }
    if !plane.counts_script(&node.server_id) {
        return Err(Refusal::TooManyScripts);
    }
    // Without the manifest it would be another script: one that compares nothing, starts no agent and pins nothing.
    if let Some(why) = &node.unreadable_set {
        plane.journal.record(visit.evidence(&node, attempt.id, Seen::ScriptHeld { why: why.clone() }));
        return Err(Refusal::SetUnreadable);
    }
    let (text, is_pinned) = render(visit, &node, mgmt_ip)?;
    let length = text.len();
    let body = begin(visit, method, &node, attempt, text, (Begun::Fetched, is_pinned)).await?;
    visit.grant(Some(&node));
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    Ok((headers, body).into_response())
}

/// The script, and whether it pins our authority.
fn render(visit: &Visit, node: &BootNode, mgmt_ip: Ipv4Addr) -> Result<(String, bool), Refusal> {
    let plane = &visit.plane;
    let attempt = node.attempt.ok_or(Refusal::NotInstalling)?;
    let (token, checked) = (plane.key.token(attempt.id), plane.key.checked_token(attempt.id));
    let pin = plane.ca_sha256();
    let values = ScriptValues {
        checked_token: Some(&checked),
        ..node.script_values(mgmt_ip, &plane.settings.host, &token, pin.clone())
    };
    let template = node.template.as_deref();
    match plane.settings.templates.render(template, &values) {
        Some(Ok(text)) => {
            // By what it boots, and not by what was meant.
            let is_pinned = pin.is_some() && node.has_agent && plane.settings.templates.pins(template);
            Ok((text, is_pinned))
        }
        Some(Err(error)) => {
            tracing::error!(server_id = node.server_id, %error, "no script for this node");
            Err(Refusal::NoScript)
        }
        None => {
            tracing::error!(server_id = node.server_id, template, "no script for this node: there is no such template");
            Err(Refusal::NoScript)
        }
    }
}
