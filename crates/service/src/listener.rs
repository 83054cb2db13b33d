//! Accepts connections, so many and no more, and gives each a limit for what it must say first. `axum::serve` has neither: a
//! client that opens connections and says nothing would hold them for ever, until the process may open no more.

use axum::{
    Router,
    extract::ConnectInfo,
    http::{Method, StatusCode},
    response::IntoResponse,
};
use futures_util::FutureExt;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinHandle,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::{Service, service_fn};

/// What one plane's clients may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Connections at once. A node that boots needs two; what comes above waits in the kernel's queue.
    pub connections: usize,
    /// From the opening of a connection, or the end of an answer, to the end of the next request's headers. iPXE keeps
    /// connections for 10 s.
    pub headers: Duration,
    /// For a request that brings a body, from its headers to its answer. Accepting a plan asks the cloud some dozen times.
    pub body: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { connections: 2000, headers: Duration::from_secs(30), body: Duration::from_secs(120) }
    }
}

/// After an accept that failed: the process may have no file handle left, and the next try would fail at once.
const AFTER_FAILURE: Duration = Duration::from_millis(200);

/// Answers on a listener until stopped; then until every answer under way has ended.
pub(crate) fn answer(
    plane: &'static str,
    listener: TcpListener,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let connections = TaskTracker::new();
        let places = Arc::new(Semaphore::new(limits.connections));
        loop {
            let accepted = async {
                // The semaphore is never closed.
                let place = places.clone().acquire_owned().await.ok();
                (place, listener.accept().await)
            };
            let (place, accepted) = tokio::select! {
                () = stop.cancelled() => break,
                accepted = accepted => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let serving = serve_one(stream, peer, router.clone(), limits, stop.clone());
                    connections.spawn(serving.map(move |()| drop(place)));
                }
                Err(error) => {
                    tracing::warn!(plane, %error, "a connection could not be accepted");
                    tokio::time::sleep(AFTER_FAILURE).await;
                }
            }
        }
        connections.close();
        connections.wait().await;
    })
}

async fn serve_one(stream: TcpStream, peer: SocketAddr, router: Router, limits: Limits, stop: CancellationToken) {
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        let mut router = router.clone();
        async move {
            let downloads = matches!(*request.method(), Method::GET | Method::HEAD);
            let answer = router.call(request).map(|answer| answer.unwrap_or_else(|never| match never {}));
            Ok::<_, Infallible>(match downloads {
                true => answer.await,
                false => match tokio::time::timeout(limits.body, answer).await {
                    Ok(answer) => answer,
                    Err(_) => StatusCode::REQUEST_TIMEOUT.into_response(),
                },
            })
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.headers)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut connection = std::pin::pin!(connection);
    // How a connection ends is the client's business: what we owe to the record is recorded by the handlers.
    tokio::select! {
        ended = connection.as_mut() => drop(ended),
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await.ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn start(limits: Limits) -> (SocketAddr, CancellationToken, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let read = post(|body: String| async move { body });
        let router = Router::new().route("/", get(|| async { "here" })).route("/read", read);
        let stop = CancellationToken::new();
        (address, stop.clone(), answer("test plane", listener, router, limits, stop))
    }

    async fn says(stream: &mut TcpStream, text: &str) -> String {
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut heard = String::new();
        stream.read_to_string(&mut heard).await.unwrap();
        heard
    }

    const SHORT: Limits =
        Limits { connections: 1, headers: Duration::from_millis(150), body: Duration::from_millis(150) };

    #[tokio::test]
    async fn a_client_that_never_ends_its_headers_loses_its_place_to_the_next() {
        let (address, stop, ended) = start(SHORT).await;
        let mut idle = TcpStream::connect(address).await.unwrap();
        idle.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n").await.unwrap();
        let mut next = TcpStream::connect(address).await.unwrap();
        let heard = says(&mut next, "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
        assert!(heard.starts_with("HTTP/1.1 200") && heard.ends_with("here"), "{heard}");
        assert!(!says(&mut idle, "").await.contains("200"));
        stop.cancel();
        ended.await.unwrap();
    }

    #[tokio::test]
    async fn a_body_that_never_ends_is_given_up() {
        let (address, ..) = start(SHORT).await;
        let mut slow = TcpStream::connect(address).await.unwrap();
        let heard = says(&mut slow, "POST /read HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nabc").await;
        assert!(heard.starts_with("HTTP/1.1 408"), "{heard}");
    }
}
