//! `GET /boot/step/{server_id}/{step}?t=`: where a boot script stands. The answer is of no use to it and the record must not
//! hold it up: it is queued, as that of the script itself, and no refusal asks iPXE to come again.

use crate::{Refusal, query::read_query, visit::Visit};
use axum::{
    Extension,
    http::{Uri, header},
    response::{IntoResponse, Response},
};
use metalform_model::{BootStep, Seen};

pub(super) async fn answer(Extension(visit): Extension<Visit>, uri: Uri) -> Response {
    match take(&visit, &uri).await {
        Ok(answer) => answer,
        Err(refusal) => visit.refuse(refusal),
    }
}

async fn take(visit: &Visit, uri: &Uri) -> Result<Response, Refusal> {
    let plane = &visit.plane;
    let (server_id, step) = visit.target.split_once('/').ok_or(Refusal::BadStep)?;
    let step: BootStep = step.parse().map_err(|_| Refusal::BadStep)?;
    let node = plane.node_named(server_id).await?;
    plane.check_source(visit.source, node.mgmt_ip.ok_or(Refusal::ForeignAddress)?)?;
    let query = read_query(uri.query());
    let attempt = match step {
        // A token of its own: who has read the boot token on the network can't tell of a comparison.
        BootStep::BootChecked => {
            let (token, attempt) =
                (query.token.ok_or(Refusal::TokenMissing)?, node.attempt.ok_or(Refusal::NotInstalling)?);
            if !plane.key.is_checked_token_of(token, attempt.id) {
                return Err(Refusal::TokenWrong);
            }
            attempt
        }
        _ => plane.check_token(&query, &node)?,
    };
    if !attempt.open {
        return Err(Refusal::NotInstalling);
    }
    plane.journal.record(visit.evidence(&node, attempt.id, Seen::StepReached { step }));
    // iPXE makes an image of it, and no build was tried with one of no bytes.
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")], "ok\n")
        .into_response())
}
