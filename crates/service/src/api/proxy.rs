//! Who calls, where a proxy stands in front of us. What a call counts as coming from is decided once, by whose connection it
//! came over, before anything else sees it: `X-Forwarded-For` of whoever isn't named as a proxy is never read.
//!
//! Within TLS as without: a proxy that is to be believed reads the calls that it passes on, and makes connections of its own to
//! us. One that passes its clients' TLS through can't write the header, and must not be named: they write it themselves.

use axum::{
    extract::{ConnectInfo, Request, State},
    middleware::Next,
    response::Response,
};
use ipnet::IpNet;
use metalform_boot::source_of;
use std::{net::SocketAddr, sync::Arc};

/// Has the call count as coming from whom the proxies say, if it comes from one of them.
pub(super) async fn see_through(State(proxies): State<Arc<[IpNet]>>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0);
    if let Some(peer) = peer {
        let source = source_of(peer.ip().to_canonical(), request.headers(), &proxies);
        request.extensions_mut().insert(ConnectInfo(SocketAddr::new(source, peer.port())));
    }
    next.run(request).await
}
