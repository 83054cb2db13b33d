//! `POST /boot/session/{server_id}?t=` with `{"key": "…"}`: the boot token for a session of that key.
//!
//! The first key of a round wins. That is no proof of who showed it, but whoever comes second is told, and told on: a
//! machine whose token was used by another can't go on unnoticed. 2xx means committed.

use super::report::in_limits;
use crate::{
    BootAttemptRef, BootNode, BootSession, Bound, Channel, Refusal,
    query::{BootQuery, read_query},
    session::is_usable,
    visit::Visit,
};
use axum::{
    Extension, Json,
    body::Body,
    http::Uri,
    response::{IntoResponse, Response},
};
use metalform_model::{Seen, SessionKey};
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exchange {
    key: SessionKey,
}

pub(super) async fn answer(Extension(visit): Extension<Visit>, uri: Uri, body: Body) -> Response {
    match exchange(&visit, &uri, body).await {
        Ok(answer) => answer,
        Err(refusal) => visit.refuse(refusal),
    }
}

async fn exchange(visit: &Visit, uri: &Uri, body: Body) -> Result<Response, Refusal> {
    let plane = &visit.plane;
    let query = read_query(uri.query());
    if query.has_more {
        return Err(Refusal::UnknownParameter);
    }
    admitted(visit, &query).await?;
    // The record of the script that began this round may still wait for the store: without it, a machine that started
    // again would be taken for a second one. So the node is looked at again; strangers don't get as far as to wait.
    plane.journal.caught_up().await.map_err(|_| Refusal::StoreAway)?;
    let (node, attempt) = admitted(visit, &query).await?;
    let bad = |reason| Refusal::BadSession { reason };
    let body = in_limits(body, bad).await?;
    let Exchange { key } = serde_json::from_slice(&body).map_err(|error| bad(error.to_string()))?;
    if !is_usable(&key) {
        return Err(bad("that is no Ed25519 public key".to_owned()));
    }
    let evidence = visit.observation(&node, attempt.id, Seen::SessionBegun { key, round: node.round });
    let session = BootSession { key, round: node.round, over_tls: visit.channel == Channel::Tls };
    match plane.in_time(plane.sessions.bind(evidence, session, visit.granted(&node))).await? {
        // Its line came with it: a machine that hangs up now leaves no session without one.
        Bound::New => {}
        Bound::Same => visit.grant_recorded(&node).await?,
        Bound::Refused => return Err(Refusal::SessionTaken),
    }
    Ok(Json(json!({ "server_id": node.server_id, "key": key })).into_response())
}

/// The node that asks from its own address with the token of its open attempt.
async fn admitted(visit: &Visit, query: &BootQuery<'_>) -> Result<(BootNode, BootAttemptRef), Refusal> {
    let plane = &visit.plane;
    let node = plane.node_named(&visit.target).await?;
    plane.check_source(visit.source, node.mgmt_ip.ok_or(Refusal::ForeignAddress)?)?;
    let attempt = plane.check_token(query, &node)?;
    plane.check_channel(plane.is_pinned(&node), visit.channel)?;
    if attempt.open { Ok((node, attempt)) } else { Err(Refusal::NotInstalling) }
}
