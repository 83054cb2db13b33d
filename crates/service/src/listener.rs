//! Accepts connections, so many and no more, and gives each a limit for what it must say first. `axum::serve` has neither: a
//! client that opens connections and says nothing would hold them for ever, until the process may open no more. A TLS
//! handshake is part of what must be said: it is made within the connection's place, not while others wait to be accepted.
//!
//! Where a plane speaks both, the first byte of a connection says which: so there is one port, and no rule of a firewall to
//! change. Old iPXE stays on HTTP: 1.21.1 offers nothing but suites without forward secrecy, which rustls doesn't have, and a
//! machine's firmware trusts no authority of ours.

use crate::{places::Places, tls::ACME_TLS, write_limit::WriteLimit};
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
use metalform_boot::Channel;
use std::{convert::Infallible, error::Error, io, net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::{Service, service_fn};

/// What one plane's clients may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Connections at once. A node that boots needs two; what comes above waits in the kernel's queue.
    pub connections: usize,
    /// Of these, for one address, or one /64 network of IPv6; whoever wants more is hung up on.
    pub connections_of_one: usize,
    /// From the opening of a connection to the end of the TLS handshake, where there is one; where there may be one, to the
    /// first byte.
    pub handshake: Duration,
    /// From there, or from the opening of a connection, or the end of an answer, to the end of the next request's headers. iPXE keeps
    /// connections for 10 s.
    pub headers: Duration,
    /// For a request that brings a body, from its headers to its answer. Accepting a plan asks the cloud some dozen times.
    pub body: Duration,
    /// For a client that has answers to read and doesn't; see [`WriteLimit`].
    pub unread: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 2000,
            connections_of_one: 500,
            handshake: Duration::from_secs(10),
            headers: Duration::from_secs(30),
            body: Duration::from_secs(120),
            unread: Duration::from_secs(30),
        }
    }
}

/// What a plane takes.
#[derive(Clone)]
pub(crate) enum Speaks {
    /// Plain HTTP.
    Http,
    /// HTTPS alone.
    Https(TlsAcceptor),
    /// Both.
    Either(TlsAcceptor),
}

/// After an accept that failed: the process may have no file handle left, and the next try would fail at once.
const AFTER_FAILURE: Duration = Duration::from_millis(200);

/// Answers on a listener until stopped; then until every answer under way has ended.
pub(crate) fn answer(
    plane: &'static str,
    listener: TcpListener,
    speaks: Speaks,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let connections = TaskTracker::new();
        let places = Places::new(limits.connections, limits.connections_of_one);
        loop {
            let accepted = async {
                let free = places.free().await;
                (free, listener.accept().await)
            };
            let (free, accepted) = tokio::select! {
                () = stop.cancelled() => break,
                accepted = accepted => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let Some(place) = places.take(free, peer.ip()) else {
                        tracing::debug!(plane, %peer, "has as many connections as one client may have");
                        continue;
                    };
                    let (speaks, router, stop) = (speaks.clone(), router.clone(), stop.clone());
                    let serving = async move {
                        let opened = tokio::select! {
                            () = stop.cancelled() => None,
                            opened = open(plane, stream, peer, speaks, limits) => opened,
                        };
                        match opened {
                            None => {}
                            Some(Opened::Plain(stream)) => {
                                serve_one(stream, peer, Channel::Plain, router, limits, stop).await;
                            }
                            Some(Opened::Tls(stream)) => {
                                serve_one(stream, peer, Channel::Tls, router, limits, stop).await;
                            }
                        }
                    };
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

/// The first byte of a TLS handshake record, RFC 8446 §5.1.
const TLS_HANDSHAKE: u8 = 22;

/// A connection that can be served.
enum Opened {
    Plain(WriteLimit<TcpStream>),
    Tls(Box<TlsStream<WriteLimit<TcpStream>>>),
}

/// `None` for a client that takes too long, speaks something else, or doesn't trust us. That is told only to whoever looks for
/// it: anybody can fill a log with handshakes.
async fn open(
    plane: &'static str,
    mut stream: TcpStream,
    peer: SocketAddr,
    speaks: Speaks,
    limits: Limits,
) -> Option<Opened> {
    let limited = |stream| WriteLimit::new(stream, limits.unread);
    let (tls, takes_plain) = match speaks {
        // Its headers have a limit of their own.
        Speaks::Http => return Some(Opened::Plain(limited(stream))),
        Speaks::Https(tls) => (tls, false),
        Speaks::Either(tls) => (tls, true),
    };
    let opening = async {
        let mut first = [0];
        match stream.peek(&mut first).await? {
            0 => Ok::<_, io::Error>(None),
            _ if first[0] == TLS_HANDSHAKE => {
                let mut stream = tls.accept(limited(stream)).await?;
                if stream.get_ref().1.alpn_protocol() == Some(ACME_TLS) {
                    // It has seen what it came for.
                    stream.shutdown().await?;
                    return Ok(None);
                }
                Ok(Some(Opened::Tls(stream.into())))
            }
            _ if takes_plain => Ok(Some(Opened::Plain(limited(stream)))),
            _ => {
                if first[0].is_ascii_uppercase() {
                    refuse_plain(&mut stream).await?;
                }
                Ok(None)
            }
        }
    };
    match tokio::time::timeout(limits.handshake, opening).await {
        Ok(Ok(opened)) => opened,
        Ok(Err(error)) => {
            tracing::debug!(plane, %peer, error = &error as &dyn Error, "a TLS handshake failed");
            None
        }
        Err(_) => {
            tracing::debug!(plane, %peer, "a connection said nothing, or its TLS handshake took too long");
            None
        }
    }
}

/// What somebody hears who speaks plain HTTP here, as every other refusal is written. Whatever token they sent is not
/// looked at.
async fn refuse_plain(stream: &mut TcpStream) -> io::Result<()> {
    let document = serde_json::json!({"error": {
        "code": "use_https", "message": "this port speaks HTTPS", "hint": "write https:// instead of http://", "details": {},
    }});
    let body = format!("{document}\n");
    let head = "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close";
    stream.write_all(format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).as_bytes()).await?;
    stream.shutdown().await?;
    // What is closed with bytes unread is reset, and the answer may be lost with it.
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

async fn serve_one(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: SocketAddr,
    channel: Channel,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) {
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(channel);
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
    use crate::tls;
    use axum::{
        Extension,
        routing::{get, post},
    };
    use tokio_rustls::TlsConnector;

    async fn start(limits: Limits) -> (SocketAddr, CancellationToken, JoinHandle<()>) {
        start_with(Speaks::Http, limits).await
    }

    async fn start_with(speaks: Speaks, limits: Limits) -> (SocketAddr, CancellationToken, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let read = post(|body: String| async move { body });
        let large = get(|| async { vec![0_u8; 64 << 20] });
        let over = get(|Extension(channel): Extension<Channel>| async move { format!("{channel:?}") });
        let router = Router::new()
            .route("/", get(|| async { "here" }))
            .route("/read", read)
            .route("/over", over)
            .route("/large", large);
        let stop = CancellationToken::new();
        (address, stop.clone(), answer("test plane", listener, speaks, router, limits, stop))
    }

    /// A service with a certificate, and what connects to it in confidence.
    async fn start_tls(limits: Limits) -> (SocketAddr, CancellationToken, JoinHandle<()>, TlsConnector) {
        let (acceptor, connector) = tls::testing::pair();
        let (address, stop, ended) = start_with(Speaks::Https(acceptor), limits).await;
        (address, stop, ended, connector)
    }

    /// One request over a connection of its own.
    async fn ask(address: SocketAddr, connector: &TlsConnector) -> io::Result<String> {
        ask_for("/", address, connector).await
    }

    async fn ask_for(path: &str, address: SocketAddr, connector: &TlsConnector) -> io::Result<String> {
        let stream = TcpStream::connect(address).await?;
        let mut stream = connector.connect("localhost".try_into().unwrap(), stream).await?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await?;
        let mut heard = String::new();
        stream.read_to_string(&mut heard).await?;
        Ok(heard)
    }

    async fn says(stream: &mut TcpStream, text: &str) -> String {
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut heard = String::new();
        stream.read_to_string(&mut heard).await.unwrap();
        heard
    }

    const SHORT: Limits = Limits {
        connections: 1,
        connections_of_one: 1,
        handshake: Duration::from_millis(150),
        headers: Duration::from_millis(150),
        body: Duration::from_millis(150),
        unread: Duration::from_millis(150),
    };

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

    #[tokio::test]
    async fn a_client_that_never_reads_its_answer_loses_its_place_to_the_next() {
        let (acceptor, connector) = tls::testing::pair();
        for speaks in [Speaks::Http, Speaks::Either(acceptor)] {
            let is_tls = matches!(speaks, Speaks::Either(_));
            let (address, ..) = start_with(speaks, Limits { connections: 1, ..SHORT }).await;
            let asks = b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n";
            let stream = TcpStream::connect(address).await.unwrap();
            let _deaf: Box<dyn Send> = if is_tls {
                let mut deaf = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
                deaf.write_all(asks).await.unwrap();
                deaf.flush().await.unwrap();
                Box::new(deaf)
            } else {
                let mut deaf = stream;
                deaf.write_all(asks).await.unwrap();
                Box::new(deaf)
            };
            let mut next = TcpStream::connect(address).await.unwrap();
            let asked = says(&mut next, "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
            let heard = tokio::time::timeout(Duration::from_secs(60), asked).await.expect("a place is free");
            assert!(heard.starts_with("HTTP/1.1 200") && heard.ends_with("here"), "{heard}");
        }
    }

    /// What a proxy before us takes for a body must not be a request of its own here, and the other way round. The library
    /// refuses what has two meanings or hangs up after it; this holds that it goes on to.
    #[tokio::test]
    async fn no_request_hides_in_another() {
        let (address, ..) = start(Limits { body: Duration::from_millis(300), ..Limits::default() }).await;
        let hidden = "GET /?hidden HTTP/1.1\r\nhost: x\r\n\r\n";
        let chunked = format!("0\r\n\r\n{hidden}");
        let len = chunked.len();
        for (head, body) in [
            (format!("content-length: {len}\r\ntransfer-encoding: chunked"), chunked.as_str()),
            (format!("transfer-encoding: chunked\r\ncontent-length: {len}"), &chunked),
            ("transfer-encoding: chunked\r\ncontent-length: 5".to_owned(), &chunked),
            (format!("content-length: {len}\r\ncontent-length: 0"), &chunked),
            (format!("content-length: 0, {len}"), &chunked),
            (format!("content-length: +{len}"), &chunked),
            ("content-length: 99999999999999999999999".to_owned(), &chunked),
            ("transfer-encoding: chunked, identity".to_owned(), &chunked),
            ("transfer-encoding: xchunked".to_owned(), &chunked),
            ("transfer-encoding : chunked".to_owned(), &chunked),
            ("x: y\r\n transfer-encoding: chunked".to_owned(), &chunked),
            ("transfer-encoding: chunked".to_owned(), "ffffffffffffffff1\r\n"),
            ("transfer-encoding: chunked".to_owned(), "-1\r\n"),
        ] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let heard = says(&mut stream, &format!("POST /read HTTP/1.1\r\nhost: x\r\n{head}\r\n\r\n{body}")).await;
            let answers = heard.matches("HTTP/1.1 ").count();
            assert!(answers <= 1 && !heard.ends_with("here"), "{head:?}: {heard:?}");
        }
    }

    #[tokio::test]
    async fn headers_without_end_are_refused_before_they_are_many() {
        let (address, ..) = start(Limits::default()).await;
        for line in [format!("x: {}\r\n", "y".repeat(1000)), "x: y\r\n".to_owned()] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n").await.unwrap();
            let mut sent = 0;
            while sent < 64 << 20 && stream.write_all(line.as_bytes()).await.is_ok() {
                sent += line.len();
            }
            assert!(sent < 64 << 20, "somebody still listens after {sent} bytes");
        }
    }

    #[tokio::test]
    async fn two_hundred_clients_that_connect_and_say_nothing_do_not_keep_others_out() {
        let limits = Limits { connections: 4, handshake: Duration::from_millis(20), ..Limits::default() };
        let (address, stop, ended, connector) = start_tls(limits).await;
        let mut silent = Vec::new();
        for _ in 0..200 {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let heard = tokio::time::timeout(Duration::from_secs(60), ask(address, &connector)).await.unwrap().unwrap();
        assert!(heard.starts_with("HTTP/1.1 200") && heard.ends_with("here"), "{heard}");
        // Those that came before have lost their places: the connections are closed.
        let mut byte = [0];
        assert_eq!(silent[0].read(&mut byte).await.unwrap_or(0), 0);
        stop.cancel();
        tokio::time::timeout(Duration::from_secs(60), ended).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn one_client_cannot_take_all_places() {
        let limits = Limits { connections: 20, connections_of_one: 10, ..Limits::default() };
        let (address, _stop, _ended) = start(limits).await;
        let mut greedy = Vec::new();
        for _ in 0..30 {
            greedy.push(TcpStream::connect(address).await.unwrap());
        }
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let mut other = socket.connect(address).await.unwrap();
        let asked = says(&mut other, "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let heard = tokio::time::timeout(Duration::from_secs(20), asked).await.expect("a place is free");
        assert!(heard.ends_with("here"), "{heard}");
        let mut byte = [0];
        assert_eq!(greedy[29].read(&mut byte).await.unwrap_or(0), 0, "hung up on");
    }

    #[tokio::test]
    async fn a_handshake_that_stops_half_way_loses_its_place_too() {
        let limits = Limits { connections: 1, handshake: Duration::from_millis(150), ..Limits::default() };
        let (address, _stop, _ended, connector) = start_tls(limits).await;
        let mut half = TcpStream::connect(address).await.unwrap();
        // The head of a handshake record that announces 512 bytes, and the first of them.
        half.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();
        let heard = tokio::time::timeout(Duration::from_secs(60), ask(address, &connector)).await.unwrap().unwrap();
        assert!(heard.ends_with("here"), "{heard}");
    }

    #[tokio::test]
    async fn a_stop_does_not_wait_for_handshakes() {
        let limits = Limits { handshake: Duration::from_secs(3600), ..Limits::default() };
        let (address, stop, ended, connector) = start_tls(limits).await;
        let _silent = TcpStream::connect(address).await.unwrap();
        assert!(ask(address, &connector).await.unwrap().ends_with("here"), "the silent one was accepted before");
        stop.cancel();
        tokio::time::timeout(Duration::from_secs(60), ended).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn plain_http_on_the_port_of_https_is_answered_with_what_to_write() {
        let (address, _stop, _ended, _connector) = start_tls(Limits::default()).await;
        let mut plain = TcpStream::connect(address).await.unwrap();
        let body = "x".repeat(100_000);
        let request = format!("POST /read HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let heard = says(&mut plain, &request).await;
        assert!(heard.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{heard}");
        let document: serde_json::Value = serde_json::from_str(heard.split_once("\r\n\r\n").unwrap().1).unwrap();
        assert_eq!(document["error"]["code"], "use_https");
        assert!(document["error"]["hint"].as_str().unwrap().contains("https://"));
    }

    #[tokio::test]
    async fn one_port_takes_both_and_says_over_which_a_request_came() {
        let (acceptor, connector) = tls::testing::pair();
        let (address, stop, ended) = start_with(Speaks::Either(acceptor), Limits::default()).await;
        let heard = ask_for("/over", address, &connector).await.unwrap();
        assert!(heard.starts_with("HTTP/1.1 200") && heard.ends_with("Tls"), "{heard}");
        let mut plain = TcpStream::connect(address).await.unwrap();
        let heard = says(&mut plain, "GET /over HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
        assert!(heard.starts_with("HTTP/1.1 200") && heard.ends_with("Plain"), "{heard}");
        // One byte, and then the rest.
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(b"G").await.unwrap();
        tokio::task::yield_now().await;
        let heard = says(&mut slow, "ET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
        assert!(heard.ends_with("here"), "{heard}");
        stop.cancel();
        tokio::time::timeout(Duration::from_secs(60), ended).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_port_for_both_waits_no_longer_for_a_client_that_says_nothing() {
        let limits = Limits { connections: 1, handshake: Duration::from_millis(150), ..Limits::default() };
        let (acceptor, connector) = tls::testing::pair();
        let (address, ..) = start_with(Speaks::Either(acceptor), limits).await;
        let mut silent = TcpStream::connect(address).await.unwrap();
        let heard = tokio::time::timeout(Duration::from_secs(60), ask(address, &connector)).await.unwrap().unwrap();
        assert!(heard.ends_with("here"), "{heard}");
        assert_eq!(silent.read(&mut [0]).await.unwrap_or(0), 0);
    }

    #[tokio::test]
    async fn what_is_neither_is_closed_without_a_word() {
        let (address, _stop, _ended, _connector) = start_tls(Limits::default()).await;
        let mut other = TcpStream::connect(address).await.unwrap();
        other.write_all(b"\x00\x01garbage").await.unwrap();
        let mut heard = Vec::new();
        // Closed, or reset because nobody read it.
        let _ = other.read_to_end(&mut heard).await;
        assert_eq!(heard, b"");
    }
}
