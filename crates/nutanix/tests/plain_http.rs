//! Plain HTTP, as Foundation speaks it, against real servers on loopback.

use metalform_nutanix::{
    FoundationClient, FoundationSettings, Method, PinRule, PlainRequest, PlainResponse, TlsTransport, Transport,
    TransportError,
};
use serde_json::json;
use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
};

/// Longer than any test takes; a test that gets here fails.
const AMPLE: Duration = Duration::from_secs(20);
/// For what must run into its limit.
const SHORT: Duration = Duration::from_millis(150);

/// What a server does with a request.
#[derive(Clone, Copy)]
enum Manner {
    Answers(&'static str),
    Hangs,
    Closes,
}

struct Server {
    port: u16,
    /// All heads that came in.
    heard: Arc<Mutex<String>>,
}

async fn serve(manner: Manner) -> Server {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = Arc::new(Mutex::new(String::new()));
    let log = heard.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(attend(stream, manner, log.clone()));
        }
    });
    Server { port, heard }
}

async fn attend(mut stream: TcpStream, manner: Manner, heard: Arc<Mutex<String>>) {
    let mut request = Vec::new();
    while !String::from_utf8_lossy(&request).contains("\r\n\r\n") {
        match stream.read_buf(&mut request).await {
            Ok(n) if n > 0 => {}
            _ => break,
        }
    }
    heard.lock().unwrap().push_str(&String::from_utf8_lossy(&request));
    match manner {
        Manner::Answers(text) => stream.write_all(text.as_bytes()).await.unwrap(),
        Manner::Hangs => std::future::pending().await,
        Manner::Closes => {}
    }
}

async fn send(port: u16, limit: Duration) -> Result<PlainResponse, TransportError> {
    let request = PlainRequest { method: Method::Post, path: "/here?a=b".into(), body: Some(json!({"a": 1})), limit };
    TlsTransport::new().send_plain(Ipv4Addr::LOCALHOST, port, request).await
}

#[tokio::test]
async fn a_plain_request_arrives_once_and_without_credentials() {
    let server = serve(Manner::Answers("HTTP/1.1 500 Oh\r\ncontent-length: 2\r\n\r\n{}")).await;
    assert_eq!(send(server.port, AMPLE).await.unwrap(), PlainResponse { status: 500, body: "{}".into() });
    let heard = server.heard.lock().unwrap().to_lowercase();
    assert_eq!(heard.matches("post /here?a=b http/1.1\r\n").count(), 1, "{heard}");
    assert!(heard.contains("\r\ncontent-type: application/json\r\n"), "{heard}");
    assert!(!heard.contains("authorization"), "{heard}");
}

#[tokio::test]
async fn a_closed_port_was_sent_nothing() {
    // Bound and never listening: nobody else can take the port meanwhile.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let error = send(socket.local_addr().unwrap().port(), AMPLE).await.unwrap_err();
    assert!(matches!(error, TransportError::Refused) && !error.may_have_been_sent(), "{error:?}");
}

#[tokio::test]
async fn a_host_that_lets_nobody_in_was_sent_nothing() {
    // Linux drops the first packet of whoever finds the queue full, as a filtered port does. This queue holds one.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let listener = socket.listen(0).unwrap();
    let port = listener.local_addr().unwrap().port();
    let _first = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    let error = send(port, SHORT).await.unwrap_err();
    assert!(matches!(error, TransportError::ConnectTimeout(_)) && !error.may_have_been_sent(), "{error:?}");
}

#[tokio::test]
async fn what_happens_once_connected_may_have_been_carried_out() {
    for manner in [Manner::Closes, Manner::Answers("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"up\":")] {
        let server = serve(manner).await;
        let error = send(server.port, AMPLE).await.unwrap_err();
        assert!(matches!(error, TransportError::Lost(_)) && error.may_have_been_sent(), "{error:?}");
        assert_eq!(server.heard.lock().unwrap().matches("POST /here").count(), 1, "sent once");
    }
    let server = serve(Manner::Hangs).await;
    let error = send(server.port, SHORT).await.unwrap_err();
    assert!(matches!(error, TransportError::ReplyTimeout(SHORT)) && error.may_have_been_sent(), "{error:?}");
}

#[tokio::test]
async fn a_redirect_into_tls_is_an_answer_and_not_followed() {
    let text = "HTTP/1.1 302 Found\r\nlocation: https://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
    let server = serve(Manner::Answers(text)).await;
    assert_eq!(send(server.port, AMPLE).await.unwrap().status, 302);
}

#[tokio::test]
async fn a_foundation_without_tls_shows_as_one_and_answers_in_plain() {
    let server = serve(Manner::Answers("HTTP/1.1 200 OK\r\ncontent-length: 14\r\n\r\nfoundation-5.6")).await;
    let settings = FoundationSettings { port: server.port, ..FoundationSettings::default() };
    let client = FoundationClient::new(Arc::new(TlsTransport::new()), settings);
    assert_eq!(client.version(Ipv4Addr::LOCALHOST).await.unwrap(), "foundation-5.6");

    // What an HTTP server says to a TLS greeting.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let settings = FoundationSettings { port: listener.local_addr().unwrap().port(), ..FoundationSettings::default() };
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n").await.unwrap();
        std::future::pending::<()>().await;
    });
    let client = FoundationClient::new(Arc::new(TlsTransport::new()), settings);
    let cluster = metalform_nutanix::FoundationCluster {
        cluster_name: "c".into(),
        cluster_external_ip: Ipv4Addr::LOCALHOST,
        dns_servers: vec![],
        ntp_servers: vec![],
        nodes: vec![],
    };
    let error = client.create_cluster(Ipv4Addr::LOCALHOST, PinRule::TrustFirst, &cluster).await.unwrap_err();
    assert!(error.speaks_no_tls() && !error.is_ambiguous(), "{error:?}");
}
