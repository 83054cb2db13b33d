//! `GET /boot/attempt/{server_id}/open?t=` and `…/done`: what a script in user data asks before it does anything. `open` is to
//! it what the fetch of the script is where user data is a URL: it needs the same, counts the same, and begins a round. No
//! refusal asks iPXE to come again, because the script does so by itself, and asks the other question in between.

use super::script::permission;
use crate::{
    Instruction, Refusal,
    query::read_query,
    round::{Begun, begin},
    visit::Visit,
};
use axum::{
    Extension,
    http::{Method, Uri, header},
    response::{IntoResponse, Response},
};

pub(super) async fn answer(Extension(visit): Extension<Visit>, method: Method, uri: Uri) -> Response {
    match take(&visit, &method, &uri).await {
        Ok(answer) => answer,
        Err(refusal) => visit.refuse(refusal),
    }
}

async fn take(visit: &Visit, method: &Method, uri: &Uri) -> Result<Response, Refusal> {
    let plane = &visit.plane;
    let (server_id, question) = visit.target.split_once('/').ok_or(Refusal::UnknownPath)?;
    let node = plane.node_named(server_id).await?;
    match question {
        "done" => {
            plane.check_source(visit.source, node.mgmt_ip.ok_or(Refusal::ForeignAddress)?)?;
            // Without a token, as a fetched script is told the same without one.
            if node.instruction != Instruction::BootFromDisk {
                return Err(Refusal::NotInstalled);
            }
            visit.grant(Some(&node));
            Ok(plain("done\n".into(), 5))
        }
        "open" => {
            let (attempt, _) = permission(visit, &node, &read_query(uri.query()))?;
            if !node.inline {
                return Err(Refusal::OtherUserData);
            }
            if !plane.counts_script(&node.server_id) {
                return Err(Refusal::TooManyScripts);
            }
            let word = plane.key.open_word(attempt.id).expose().to_owned();
            let length = word.len();
            let is_pinned = plane.pins(&node);
            let body = begin(visit, method, &node, attempt, word, (Begun::Asked, is_pinned)).await?;
            visit.grant(Some(&node));
            Ok(plain(body, length))
        }
        _ => Err(Refusal::UnknownPath),
    }
}

fn plain(body: axum::body::Body, length: usize) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    (headers, body).into_response()
}
