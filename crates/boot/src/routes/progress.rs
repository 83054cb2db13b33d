//! `POST /boot/progress/{server_id}?t=…&step=…&offset=…`: the progress callbacks of the Nutanix installer. It knows nothing
//! of us but a URL, to which it appends its own parameters, so here the query holds more than `t`, and nothing is signed:
//! `t` is a token that stands in the document with that URL and nowhere else.
//!
//! The installer takes 200 for an answer and any other status for its end: it does not ask again. Only where no connection
//! comes about does it try five times. So a record that the store does not take at once stays in the queue when 503 is
//! answered: nothing is promised, and nothing lost but with the process. Asked again it does no harm: the fold knows the
//! callback by its step, offset and text.

use super::report::BODY_DEADLINE;
use crate::{Refusal, proof::prove_progress, query::read_query, visit::Visit};
use axum::{
    Extension, Json,
    body::Body,
    http::Uri,
    response::{IntoResponse, Response},
};
use futures_util::StreamExt;
use metalform_model::{InstallerCall, ReportPhase, Seen};
use serde_json::json;
use url::form_urlencoded;

/// What is read of a body.
const LONGEST_BODY: usize = 1 << 20;

pub(super) async fn answer(Extension(visit): Extension<Visit>, uri: Uri, body: Body) -> Response {
    match take(&visit, &uri, body).await {
        Ok(answer) => answer,
        Err(refusal) => visit.refuse(refusal),
    }
}

async fn take(visit: &Visit, uri: &Uri, body: Body) -> Result<Response, Refusal> {
    let plane = &visit.plane;
    let node = plane.node_named(&visit.target).await?;
    plane.check_source(visit.source, node.mgmt_ip.ok_or(Refusal::ForeignAddress)?)?;
    let attempt = prove_progress(plane, &node, &read_query(uri.query()))?;
    let call = read_call(uri.query().unwrap_or_default(), body).await?;
    if !attempt.open {
        // The attempt was closed by the installer's own last step; what it says afterwards is well meant.
        return match node.last_report {
            Some((_, ReportPhase::Installed)) => Ok(accepted(false)),
            _ => Err(Refusal::NotInstalling),
        };
    }
    let record = visit.evidence(&node, attempt.id, Seen::InstallerCalled(call));
    if plane.journal.record_now(record.clone()).await.is_err() {
        plane.journal.record(record);
        return Err(Refusal::StoreAway);
    }
    Ok(accepted(true))
}

fn accepted(recorded: bool) -> Response {
    Json(json!({ "recorded": recorded })).into_response()
}

async fn read_call(query: &str, body: Body) -> Result<InstallerCall, Refusal> {
    let bad = |reason| Refusal::BadProgress { reason };
    let value = |name: &str| {
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    };
    let step = value("step").filter(|step| !step.trim().is_empty()).ok_or(bad("step is missing"))?;
    if step.len() > InstallerCall::LONGEST_STEP || step.chars().any(char::is_control) {
        return Err(bad("step is at most 200 bytes, and printable"));
    }
    // What it counts is the installer's business; one that counts nothing is heard all the same.
    let offset = match value("offset") {
        None => 0,
        Some(offset) => offset.parse().map_err(|_| bad("offset is a number"))?,
    };
    let text = match tokio::time::timeout(BODY_DEADLINE, read_text(body)).await {
        Ok(read) => read?,
        Err(_late) => return Err(bad("its body did not arrive within 10 s")),
    };
    Ok(InstallerCall { step, offset, text })
}

/// Its beginning: a refusal for being long would be the end of a callback that says something. What follows is read all the
/// same, within bounds, so that the answer finds a peer which has sent everything.
async fn read_text(body: Body) -> Result<String, Refusal> {
    let mut chunks = body.into_data_stream();
    let (mut bytes, mut read) = (Vec::new(), 0);
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Refusal::BadProgress { reason: "the connection broke off" })?;
        read += chunk.len();
        if read > LONGEST_BODY {
            return Err(Refusal::ReportTooLarge { limit: LONGEST_BODY });
        }
        let room = InstallerCall::LONGEST_TEXT.saturating_sub(bytes.len());
        bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
    }
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    let end = (0..=InstallerCall::LONGEST_TEXT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.truncate(end);
    Ok(text)
}
