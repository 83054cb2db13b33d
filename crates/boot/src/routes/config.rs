//! `GET /boot/server/{mgmt_ip}?t=`: the node's configuration; `GET /boot/arizona/{mgmt_ip}?t=`: the document of the installer
//! of Nutanix CE, which is told here where to report to, since that URL holds the token. Nothing is handed out unrecorded: the audit record is
//! committed first, the evidence follows when the last byte is taken.

use crate::{
    BootAttemptRef, BootNode, Refusal,
    counted::counted_text,
    proof::{Asked, prove},
    query::read_query,
    visit::Visit,
};
use axum::{
    Extension,
    http::{HeaderMap, Method, Uri, header},
    response::{IntoResponse, Response},
};
use metalform_model::{MONITORING_URL_ROOT, Seen, Trust};
use serde_json::json;
use std::net::Ipv4Addr;

/// How many documents the boot token alone gets in a round. An installer without our agent asks once, or a few times where
/// its network comes and goes.
const DOCUMENTS_BY_TOKEN: u32 = 10;

pub(super) async fn answer(
    Extension(visit): Extension<Visit>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let offered = admitted(&visit, &method, &uri, &headers).await;
    let answered = match offered {
        Ok((node, attempt)) => {
            let text = node.config.to_string();
            hand_out(&visit, node, attempt, text, Seen::ConfigServed).await
        }
        Err(refusal) => Err(refusal),
    };
    answered.unwrap_or_else(|refusal| visit.refuse(refusal))
}

pub(super) async fn answer_arizona(
    Extension(visit): Extension<Visit>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let answered = match admitted(&visit, &method, &uri, &headers).await {
        Ok((node, attempt)) => match arizona_of(&visit, &node, attempt) {
            Some(text) => hand_out(&visit, node, attempt, text, Seen::ArizonaServed).await,
            None if node.unreadable_set.is_some() => Err(Refusal::SetUnreadable),
            None => Err(Refusal::NoArizona),
        },
        Err(refusal) => Err(refusal),
    };
    answered.unwrap_or_else(|refusal| visit.refuse(refusal))
}

/// The installer appends `&step=…` to the URL, so it ends in a parameter of ours.
fn arizona_of(visit: &Visit, node: &BootNode, attempt: BootAttemptRef) -> Option<String> {
    let plane = &visit.plane;
    let mut document = node.arizona.clone()?;
    let token = plane.key.progress_token(attempt.id);
    let root = format!("http://{}/boot/progress/{}?t={}", plane.settings.host, node.server_id, token.expose());
    document.as_object_mut()?.insert(MONITORING_URL_ROOT.to_owned(), json!(root));
    Some(document.to_string())
}

/// The node that asks from its own address, with the token of its open attempt or the signature of its session.
async fn admitted(
    visit: &Visit,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<(BootNode, BootAttemptRef), Refusal> {
    let plane = &visit.plane;
    let query = read_query(uri.query());
    if query.has_more {
        return Err(Refusal::UnknownParameter);
    }
    let mgmt_ip: Ipv4Addr = visit.target.parse().map_err(|_| Refusal::BadAddress)?;
    plane.check_source(visit.source, mgmt_ip)?;
    let node = plane.node_at(mgmt_ip).await?;
    let asked = Asked { method, path: uri.path(), query: &query, headers, body: &[], channel: visit.channel };
    let (attempt, trust) = prove(plane, &node, &asked).await?;
    if !attempt.open {
        return Err(Refusal::NotInstalling);
    }
    if trust == Trust::Token {
        let counted = plane.sessions.count_document(attempt.id, node.round, DOCUMENTS_BY_TOKEN);
        if !plane.in_time(counted).await? {
            return Err(Refusal::TooManyDocuments { limit: DOCUMENTS_BY_TOKEN });
        }
    }
    Ok((node, attempt))
}

async fn hand_out(
    visit: &Visit,
    node: BootNode,
    attempt: BootAttemptRef,
    text: String,
    seen: Seen,
) -> Result<Response, Refusal> {
    visit.grant_recorded(&node).await?;
    let length = text.len();
    let end = visit.clone();
    let body = counted_text(text, move || {
        end.plane.journal.record(end.evidence(&node, attempt.id, seen));
    });
    let headers = [
        (header::CONTENT_TYPE, "application/json".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    Ok((headers, body).into_response())
}
