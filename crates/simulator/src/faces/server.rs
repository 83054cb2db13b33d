//! The HTTP servers in front of the world: they turn requests into values and replies into bytes, late or not at all
//! where the world says so.

use super::{Shared, control, installed};
use crate::{
    cloud::Face,
    http::{Reply, Request, Response},
};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

const BODY_LIMIT: usize = 1 << 20;
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// Between two requests of a connection, and for the head of each.
const HEADER_LIMIT: Duration = Duration::from_secs(60);

/// Through which door a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    /// IAM, VPC and control, by path.
    Main,
    Dns,
    Metadata,
    /// What emulated machines ask the data centre.
    Machines,
    /// A CVM or VIP.
    Cvm(Ipv4Addr, u16),
}

/// What TLS shows right now; replaced when a CVM gets a new key.
pub(super) type Tls = Arc<Mutex<Arc<rustls::ServerConfig>>>;

/// Accepts connections for ever.
pub(super) async fn accept(shared: Arc<Shared>, listener: TcpListener, door: Door, tls: Option<Tls>) {
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, ?door, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let (for_task, tls) = (shared.clone(), tls.clone());
        shared.spawn(async move {
            let Some(tls) = tls else { return serve(for_task, stream, peer, door).await };
            let config = tls.lock().unwrap_or_else(PoisonError::into_inner).clone();
            match tokio::time::timeout(HANDSHAKE_LIMIT, TlsAcceptor::from(config).accept(stream)).await {
                Ok(Ok(stream)) => serve(for_task, stream, peer, door).await,
                Ok(Err(error)) => tracing::debug!(%error, ?door, "a TLS handshake failed"),
                Err(_) => tracing::debug!(?door, "a TLS handshake took too long"),
            }
        });
    }
}

async fn serve<S>(shared: Arc<Shared>, stream: S, peer: SocketAddr, door: Door)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let shared = shared.clone();
        async move {
            let response = match read(request, peer).await {
                Ok(request) => answer(&shared, door, &request).await?,
                Err(response) => response,
            };
            write(response)
        }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    let connection = builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_LIMIT)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::trace!(%error, ?door, "a connection ended");
    }
}

/// The reply as it goes out; an error closes the connection without one.
async fn answer(shared: &Shared, door: Door, request: &Request) -> io::Result<Response> {
    let reply = match (door, request.path.strip_prefix("/control")) {
        (Door::Main, Some(path)) => Reply::Answer(control::answer(shared, path, request)),
        (Door::Main, None) => {
            let face = if request.path.starts_with("/identity/") { Face::Iam } else { Face::Vpc };
            shared.with(|world, now| world.cloud_request(now, face, request))
        }
        (Door::Machines, _) => Reply::Answer(installed::answer(shared, request)),
        (Door::Dns, _) => shared.with(|world, now| world.cloud_request(now, Face::Dns, request)),
        (Door::Metadata, _) => shared.with(|world, now| world.cloud_request(now, Face::Metadata, request)),
        // A connection that was open when the CVM went away gets no answer either.
        (Door::Cvm(ip, port), _) => {
            shared.with(|world, now| world.cvm_request(now, ip, port, request)).unwrap_or(Reply::Lost)
        }
    };
    match reply {
        Reply::Answer(response) => Ok(response),
        Reply::After(wait, response) => {
            tokio::time::sleep(wait).await;
            Ok(response)
        }
        Reply::Lost => Err(io::ErrorKind::ConnectionAborted.into()),
    }
}

async fn read(request: hyper::Request<Incoming>, peer: SocketAddr) -> Result<Request, Response> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, BODY_LIMIT).collect().await.map_err(|_| Response::empty(413))?.to_bytes();
    let headers = head.headers.iter();
    Ok(Request {
        method: head.method.as_str().into(),
        path: percent_decoded(head.uri.path()),
        query: url::form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes()).into_owned().collect(),
        headers: headers.map(|(k, v)| (k.as_str().into(), String::from_utf8_lossy(v.as_bytes()).into())).collect(),
        body: body.into(),
        from: peer.ip(),
    })
}

/// A path's `%xx`, without the `+` of forms.
fn percent_decoded(path: &str) -> String {
    let kept = path.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
    url::form_urlencoded::parse(kept.as_bytes()).map(|(key, _)| key.into_owned()).next().unwrap_or_default()
}

fn write(response: Response) -> io::Result<hyper::Response<Full<Bytes>>> {
    let mut builder = hyper::Response::builder().status(response.status);
    for (name, value) in &response.headers {
        builder = builder.header(name, value);
    }
    builder.body(Full::new(response.body.into())).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::percent_decoded;

    #[test]
    fn a_path_is_decoded_and_nothing_else_in_it_changes() {
        assert_eq!(percent_decoded("/v1/a%20b/c+d&e=f%2Fg"), "/v1/a b/c+d&e=f/g");
        assert_eq!(percent_decoded("/"), "/");
    }
}
