//! `GET /pxe/images/{file}` and `/pxe/images/{set}/{file}`: kernel, initrd and the other files of a set.
//!
//! No token is asked for: the files hold no secret, and iPXE would have to show it in a second URL. A download from a node's
//! address is evidence about that node, with the bytes that really went out; one from elsewhere is served and recorded as
//! anonymous. iPXE takes a body without `Content-Length` that ends early for complete, so the length is always there.

use crate::{
    BootNode, Refusal,
    counted::counted,
    images::{Asked, Content, ImageFault, REQUIRED, read_range},
    visit::Visit,
};
use axum::{
    Extension,
    body::Body,
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use metalform_model::Seen;
use std::net::IpAddr;

pub(super) async fn answer(Extension(visit): Extension<Visit>, method: Method, headers: HeaderMap) -> Response {
    match offer(&visit, &method, &headers).await {
        Ok(image) => image,
        Err(refusal) => visit.refuse(refusal),
    }
}

async fn offer(visit: &Visit, method: &Method, headers: &HeaderMap) -> Result<Response, Refusal> {
    let plane = &visit.plane;
    let found = plane.images.find(&visit.target).await.map_err(|fault| match fault {
        ImageFault::Missing => Refusal::UnknownImage,
        ImageFault::NotReady => Refusal::ImageNotReady,
        ImageFault::Unreadable(error) => {
            tracing::error!(%error, file = visit.target, "an image file can't be read");
            Refusal::ImageUnreadable
        }
        ImageFault::Unverified(why) => {
            tracing::error!(why, file = visit.target, "an image file is not what its set's manifest says");
            Refusal::ImageUnverified
        }
    });
    let content = match found {
        Ok(content) => content,
        Err(refusal) => {
            record_refused(visit, &refusal).await;
            return Err(refusal);
        }
    };
    let asked = match read_range(headers, &content.etag, content.len) {
        Asked::Beyond if *method == Method::GET => return Err(Refusal::RangeBeyond { len: content.len }),
        // A range means something for GET only.
        Asked::Beyond | Asked::Part(..) if *method != Method::GET => Asked::Whole,
        asked => asked,
    };
    let node = asking_node(visit).await;
    let is_recorded = match asked {
        Asked::Part(..) => plane.recent_parts.is_first(visit.source, &visit.target, plane.clock.now()),
        Asked::Whole | Asked::Nothing | Asked::Beyond => true,
    };
    if is_recorded {
        visit.grant(node.as_ref());
    }
    Ok(respond(visit.clone(), method, node, content, asked))
}

async fn asking_node(visit: &Visit) -> Option<BootNode> {
    match visit.source {
        IpAddr::V4(address) => visit.plane.node_at(address).await.ok(),
        IpAddr::V6(_) => None,
    }
}

/// So that the node shows why it does not boot. A name that is no file of a set is the asker's text and stands in the audit
/// alone, but for the two files that every set has.
async fn record_refused(visit: &Visit, refusal: &Refusal) {
    let Some(node) = asking_node(visit).await else { return };
    let Some(attempt) = node.attempt.filter(|attempt| attempt.open) else { return };
    let file = match &node.image_set {
        Some(set) => visit.target.strip_prefix(set).and_then(|rest| rest.strip_prefix('/')).unwrap_or_default(),
        None => &visit.target,
    };
    if *refusal == Refusal::UnknownImage && !REQUIRED.contains(&file) {
        return;
    }
    let file = visit.target.rsplit('/').next().unwrap_or_default().to_owned();
    let seen = Seen::ImageRefused { file, code: refusal.code().to_owned() };
    visit.plane.journal.record(visit.evidence(&node, attempt.id, seen));
}

fn respond(visit: Visit, method: &Method, node: Option<BootNode>, content: Content, asked: Asked) -> Response {
    let whole = content.len;
    let (status, first, length) = match asked {
        Asked::Nothing => {
            return (StatusCode::NOT_MODIFIED, [(header::ETAG, content.etag)]).into_response();
        }
        Asked::Part(first, length) => (StatusCode::PARTIAL_CONTENT, first, length),
        Asked::Whole | Asked::Beyond => (StatusCode::OK, 0, whole),
    };
    let headers = [
        (header::CONTENT_TYPE, content.media_type().to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
        (header::ETAG, content.etag.clone()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        // Also what keeps a proxy from compressing: iPXE would take the compressed bytes for the file.
        (header::CACHE_CONTROL, "no-cache, no-transform".to_owned()),
    ];
    let body = match *method {
        Method::HEAD => Body::empty(),
        _ => counted(content.chunks(first, length), move |sent| record_sent(&visit, node, sent, length)),
    };
    let mut response = (status, headers, body).into_response();
    if status == StatusCode::PARTIAL_CONTENT {
        let range = format!("bytes {first}-{}/{whole}", first + length - 1);
        let range = range.try_into().expect("digits are a header value");
        response.headers_mut().insert(header::CONTENT_RANGE, range);
    }
    response
}

fn record_sent(visit: &Visit, node: Option<BootNode>, sent: u64, of: u64) {
    let Some(node) = node else { return };
    let Some(attempt) = node.attempt.filter(|attempt| attempt.open) else { return };
    let file = visit.target.rsplit('/').next().unwrap_or_default().to_owned();
    visit.plane.journal.record(visit.evidence(&node, attempt.id, Seen::ImageServed { file, sent, of }));
}
