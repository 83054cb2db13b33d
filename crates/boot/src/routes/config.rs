//! `GET /boot/server/{mgmt_ip}?t=`: the node's configuration. Nothing is handed out unrecorded: the audit record is
//! committed first, the evidence follows when the last byte is taken.

use crate::{Refusal, counted::counted_text, query::read_query, visit::Visit};
use axum::{
    Extension,
    http::{Uri, header},
    response::{IntoResponse, Response},
};
use metalform_model::Seen;
use std::net::Ipv4Addr;

pub(super) async fn answer(Extension(visit): Extension<Visit>, uri: Uri) -> Response {
    match offer(&visit, &uri).await {
        Ok(config) => config,
        Err(refusal) => visit.refuse(refusal),
    }
}

async fn offer(visit: &Visit, uri: &Uri) -> Result<Response, Refusal> {
    let plane = &visit.plane;
    let query = read_query(uri.query());
    if query.has_more {
        return Err(Refusal::UnknownParameter);
    }
    let mgmt_ip: Ipv4Addr = visit.target.parse().map_err(|_| Refusal::BadAddress)?;
    plane.check_source(visit.source, mgmt_ip)?;
    let node = plane.node_at(mgmt_ip).await?;
    let attempt = plane.check_token(&query, &node)?;
    if !attempt.open {
        return Err(Refusal::NotInstalling);
    }
    visit.grant_recorded(&node).await?;
    let text = node.config.to_string();
    let length = text.len();
    let end = visit.clone();
    let body = counted_text(text, move || {
        end.plane.journal.record(end.evidence(&node, attempt.id, Seen::ConfigServed));
    });
    let headers = [
        (header::CONTENT_TYPE, "application/json".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    Ok((headers, body).into_response())
}
