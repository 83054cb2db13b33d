//! The boot plane's paths. Every one is behind the same admission, which makes the [`Visit`] that the handlers answer with.

mod attempt;
mod config;
mod health;
mod image;
mod progress;
mod report;
#[cfg(feature = "fuzzing")]
pub(crate) use report::read_report;
mod script;
mod session;
mod step;

use crate::{BootPlane, Channel, Refusal, peer::source_of, visit::Visit};
use axum::{
    Extension, Router,
    extract::{ConnectInfo, Request, State},
    middleware::{Next, from_fn_with_state},
    response::Response,
    routing::{any, get, post},
};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

/// Everything the boot plane answers. The server around it must put the peer's address into each request
/// (`into_make_service_with_connect_info::<SocketAddr>()`); without one every request is refused. One that came over TLS it
/// marks with [`Channel::Tls`].
pub fn router(plane: Arc<BootPlane>) -> Router {
    Router::new()
        // Whatever is wrong with a request for a script, the answer is a script.
        .route("/boot/ipxe", any(script::answer))
        .route("/boot/ipxe/", any(script::answer))
        .route("/boot/ipxe/{*server_id}", any(script::answer))
        .route("/boot/attempt/{server_id}/{question}", get(attempt::answer))
        .route("/boot/session/{server_id}", post(session::answer))
        .route("/boot/server/{mgmt_ip}", get(config::answer))
        .route("/boot/arizona/{mgmt_ip}", get(config::answer_arizona))
        .route("/boot/step/{server_id}/{step}", get(step::answer))
        .route("/boot/progress/{server_id}", post(progress::answer))
        .route("/boot/report/{server_id}", post(report::answer))
        .route("/pxe/images/{*file}", get(image::answer))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .fallback(|Extension(visit): Extension<Visit>| async move { visit.refuse(Refusal::UnknownPath) })
        .method_not_allowed_fallback(
            |Extension(visit): Extension<Visit>| async move { visit.refuse(Refusal::WrongMethod) },
        )
        .layer(from_fn_with_state(plane, admit))
}

async fn admit(State(plane): State<Arc<BootPlane>>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip().to_canonical());
    let channel = request.extensions().get().copied().unwrap_or(Channel::Plain);
    // A proxy that passes TLS through can't write a header: what stands in one is its sender's own.
    let trusted = if channel == Channel::Plain { plane.settings.trusted_proxies.as_slice() } else { &[] };
    let peer = peer.map(|peer| source_of(peer, request.headers(), trusted));
    let source = peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let visit = Visit::new(plane.clone(), request.uri().path(), source, channel);
    plane.journal.room().await;
    if !peer.is_some_and(|peer| plane.allows(peer)) {
        return visit.refuse(Refusal::NetworkNotAllowed);
    }
    request.extensions_mut().insert(visit);
    next.run(request).await
}
