//! `GET /healthz` and `GET /readyz`.

use crate::{Refusal, visit::Visit};
use axum::{
    Extension, Json,
    response::{IntoResponse, Response},
};
use serde_json::json;

/// The process answers.
pub(super) async fn alive() -> Response {
    Json(json!({ "status": "ok" })).into_response()
}

/// Machines can be booted: the default image set is good. A store that is away is told and is no reason to be taken out of
/// service: scripts and images go on from memory. Not audited: it is asked for all the time.
pub(super) async fn ready(Extension(visit): Extension<Visit>) -> Response {
    let (queued, away) = visit.plane.journal.state();
    match visit.plane.image_set().await {
        Ok(_) => {
            let store = if away { "away" } else { "ok" };
            Json(json!({ "status": "ready", "store": store, "queued_records": queued })).into_response()
        }
        Err(error) => Refusal::NotReady { reason: error.to_string() }.into_json(),
    }
}
