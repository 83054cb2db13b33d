//! `POST /boot/report/{server_id}?t=`: what a node says about its installation. 2xx means committed.

use crate::{
    BootNode, Refusal,
    proof::{Asked, prove},
    query::read_query,
    visit::Visit,
};
use axum::{
    Extension, Json,
    body::Body,
    http::{HeaderMap, Method, Uri},
    response::{IntoResponse, Response},
};
use futures_util::StreamExt;
use metalform_model::{Report, ReportPhase, Seen};
use serde_json::json;
use std::time::Duration;

const LONGEST_REPORT: usize = 64 * 1024;
/// For the whole body.
pub(super) const BODY_DEADLINE: Duration = Duration::from_secs(10);

pub(super) async fn answer(
    Extension(visit): Extension<Visit>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Response {
    match take(&visit, &method, &uri, &headers, body).await {
        Ok(answer) => answer,
        Err(refusal) => visit.refuse(refusal),
    }
}

async fn take(visit: &Visit, method: &Method, uri: &Uri, headers: &HeaderMap, body: Body) -> Result<Response, Refusal> {
    let plane = &visit.plane;
    let query = read_query(uri.query());
    if query.has_more {
        return Err(Refusal::UnknownParameter);
    }
    let node = plane.node_named(&visit.target).await?;
    plane.check_source(visit.source, node.mgmt_ip.ok_or(Refusal::ForeignAddress)?)?;
    let body = in_limits(body, |reason| Refusal::BadReport { reason }).await;
    let text = body.as_deref().unwrap_or_default();
    let asked = Asked { method, path: uri.path(), query: &query, headers, body: text, channel: visit.channel };
    let (attempt, _) = prove(plane, &node, &asked).await?;
    let report = read_report(&body?)?;
    // Before the attempt is looked at: the reply to the report that closed it may have been lost.
    if let Some((last_seq, _)) = node.last_report
        && report.seq <= last_seq
    {
        return Ok(accepted(false, last_seq));
    }
    if !attempt.open {
        return Err(Refusal::NotInstalling);
    }
    if report.seq > node.last_report.map_or(0, |(last_seq, _)| last_seq).saturating_add(MOST_MISSED) {
        return Err(Refusal::BadReport { reason: format!("seq is more than {MOST_MISSED} ahead of the last one") });
    }
    check_order(&node, report.phase)?;
    let seq = report.seq;
    let record = visit.evidence(&node, attempt.id, Seen::Reported(report));
    plane.journal.record_now(record).await.map_err(|_| Refusal::StoreAway)?;
    Ok(accepted(true, seq))
}

/// Reports that may have been lost on their way. A number without a limit could be so high that none comes after it.
const MOST_MISSED: u64 = 1 << 20;

/// `last_seq` lets a machine that started again go on counting.
fn accepted(recorded: bool, last_seq: u64) -> Response {
    Json(json!({ "recorded": recorded, "last_seq": last_seq })).into_response()
}

/// Phases follow their order. A machine may start again under the same attempt, so `booting` follows everything but
/// `installed`, which ends the attempt.
fn check_order(node: &BootNode, phase: ReportPhase) -> Result<(), Refusal> {
    match node.last_report {
        Some((_, last)) if phase < last && (phase != ReportPhase::Booting || last == ReportPhase::Installed) => {
            Err(Refusal::PhaseBackwards { phase, last })
        }
        _ => Ok(()),
    }
}

pub(crate) fn read_report(bytes: &[u8]) -> Result<Report, Refusal> {
    let bad = |reason: String| Refusal::BadReport { reason };
    let report: Report = serde_json::from_slice(bytes).map_err(|error| bad(error.to_string()))?;
    if report.seq == 0 {
        return Err(bad("seq counts from 1".to_owned()));
    }
    if report.percent.is_some_and(|percent| !(0.0..=100.0).contains(&percent)) {
        return Err(bad("percent is 0 to 100".to_owned()));
    }
    Ok(report)
}

/// All of a body that is short and comes in time; `bad` makes the refusal where it breaks off.
pub(super) async fn in_limits(body: Body, bad: impl Fn(String) -> Refusal) -> Result<Vec<u8>, Refusal> {
    let read = async {
        let mut chunks = body.into_data_stream();
        let mut bytes = Vec::new();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_| bad("the connection broke off".to_owned()))?;
            if bytes.len() + chunk.len() > LONGEST_REPORT {
                return Err(Refusal::ReportTooLarge { limit: LONGEST_REPORT });
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    };
    match tokio::time::timeout(BODY_DEADLINE, read).await {
        Ok(read) => read,
        Err(_late) => Err(bad("it did not arrive within 10 s".to_owned())),
    }
}
