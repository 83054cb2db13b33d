//! The real transport against real TLS servers on loopback.

use metalform_nutanix::{
    BasicAuth, Fingerprint, Method, Peer, PinRule, PrismClient, PrismSettings, ProbeAnswer, Request, Response,
    TlsTransport, Transport, TransportError,
};
use rcgen::{CertificateParams, KeyPair, PublicKeyData, SerialNumber};
use rustls::{
    ServerConfig, SupportedProtocolVersion,
    pki_types::PrivateKeyDer,
    version::{TLS12, TLS13},
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
use tokio_rustls::TlsAcceptor;

/// Longer than any test takes; a test that gets here fails.
const AMPLE: Duration = Duration::from_secs(20);
/// For what must run into its limit.
const SHORT: Duration = Duration::from_millis(150);

/// What a server does with a connection.
#[derive(Clone, Copy)]
enum Manner {
    /// Reads the request and answers with these bytes.
    Answers(&'static str),
    /// Reads the request and never answers.
    HangsAfterRequest,
    /// Reads the request and closes.
    DropsAfterRequest,
    /// Accepts TCP and never says a word.
    HangsAfterAccept,
    /// Accepts TCP and closes.
    DropsAfterAccept,
    /// Says something that is not TLS.
    SpeaksPlainHttp,
}

const OK: Manner = Manner::Answers("HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{\"up\":true}");

struct Server {
    port: u16,
    /// What came in after the handshake, over all connections.
    heard: Arc<Mutex<String>>,
}

fn key_of(pair: &KeyPair) -> Fingerprint {
    Fingerprint::of_spki(&pair.subject_public_key_info())
}

/// A server with a new certificate for `pair`, with the given serial number.
async fn serve(pair: &KeyPair, serial: u64, version: &'static SupportedProtocolVersion, manner: Manner) -> Server {
    let mut params = CertificateParams::new(vec!["nutanix.invalid".into()]).unwrap();
    params.serial_number = Some(SerialNumber::from(serial));
    let certificate = params.self_signed(pair).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(pair.serialize_der()).expect("rcgen writes PKCS #8"),
        )
        .unwrap();
    serve_with(Arc::new(config), manner).await
}

async fn serve_with(config: Arc<ServerConfig>, manner: Manner) -> Server {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = Arc::new(Mutex::new(String::new()));
    let log = heard.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(attend(stream, TlsAcceptor::from(config.clone()), manner, log.clone()));
        }
    });
    Server { port, heard }
}

async fn attend(mut stream: TcpStream, acceptor: TlsAcceptor, manner: Manner, heard: Arc<Mutex<String>>) {
    match manner {
        Manner::HangsAfterAccept => return std::future::pending().await,
        Manner::DropsAfterAccept => return,
        Manner::SpeaksPlainHttp => {
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
            return std::future::pending().await;
        }
        Manner::Answers(_) | Manner::HangsAfterRequest | Manner::DropsAfterRequest => {}
    }
    let Ok(mut tls) = acceptor.accept(stream).await else { return };
    let mut request = Vec::new();
    while !String::from_utf8_lossy(&request).contains("\r\n\r\n") {
        match tls.read_buf(&mut request).await {
            Ok(n) if n > 0 => {}
            _ => break,
        }
    }
    heard.lock().unwrap().push_str(&String::from_utf8_lossy(&request));
    match manner {
        Manner::Answers(text) => {
            // A client that has read enough, or only knocked, is gone by now.
            let _ = tls.write_all(text.as_bytes()).await;
            let _ = tls.shutdown().await;
        }
        Manner::HangsAfterRequest => std::future::pending().await,
        _ => {}
    }
}

fn peer(port: u16, pin: PinRule) -> Peer {
    Peer { address: Ipv4Addr::LOCALHOST, port, pin }
}

async fn send(port: u16, pin: PinRule, limit: Duration) -> Result<Response, TransportError> {
    let request = Request {
        method: Method::Post,
        path: "/here".into(),
        auth: Some(BasicAuth { user: "admin".into(), password: "nutanix/4u".into() }),
        body: Some(json!({"a": 1})),
        limit,
    };
    TlsTransport::new().send(peer(port, pin), request).await
}

async fn knock(port: u16, pin: PinRule, limit: Duration) -> Result<Fingerprint, TransportError> {
    TlsTransport::new().knock(peer(port, pin), limit).await
}

#[tokio::test]
async fn on_first_use_any_key_is_accepted_and_told() {
    for version in [&TLS12, &TLS13] {
        let pair = KeyPair::generate().unwrap();
        let server = serve(&pair, 1, version, OK).await;
        assert_eq!(knock(server.port, PinRule::TrustFirst, AMPLE).await.unwrap(), key_of(&pair));
        let answer = send(server.port, PinRule::TrustFirst, AMPLE).await.unwrap();
        assert_eq!(
            answer,
            Response { status: 200, body: "{\"up\":true}".into(), fingerprint: key_of(&pair) },
            "{version:?}"
        );
    }
}

#[tokio::test]
async fn a_request_arrives_with_its_path_its_credentials_and_its_body() {
    let server = serve(&KeyPair::generate().unwrap(), 1, &TLS13, OK).await;
    send(server.port, PinRule::TrustFirst, AMPLE).await.unwrap();
    let heard = server.heard.lock().unwrap().to_lowercase();
    assert!(heard.starts_with("post /here http/1.1\r\n"), "{heard}");
    assert!(heard.contains("\r\nauthorization: basic ywrtaw46bnv0yw5pec80dq==\r\n"), "{heard}");
    assert!(heard.contains("\r\ncontent-type: application/json\r\n"), "{heard}");
}

#[tokio::test]
async fn a_renewed_certificate_of_the_same_key_is_accepted() {
    let pair = KeyPair::generate().unwrap();
    let pin = PinRule::OneOf(vec![key_of(&KeyPair::generate().unwrap()), key_of(&pair)]);
    for serial in [1, 2] {
        let server = serve(&pair, serial, &TLS13, OK).await;
        assert_eq!(knock(server.port, pin.clone(), AMPLE).await.unwrap(), key_of(&pair));
        assert_eq!(send(server.port, pin.clone(), AMPLE).await.unwrap().fingerprint, key_of(&pair));
    }
}

#[tokio::test]
async fn another_key_is_refused_before_anything_is_said() {
    for version in [&TLS12, &TLS13] {
        let pair = KeyPair::generate().unwrap();
        let known = key_of(&KeyPair::generate().unwrap());
        let server = serve(&pair, 1, version, OK).await;
        for outcome in [
            send(server.port, PinRule::OneOf(vec![known]), AMPLE).await.map(|_| ()),
            knock(server.port, PinRule::OneOf(vec![known]), AMPLE).await.map(|_| ()),
        ] {
            let Err(TransportError::PinMismatch { expected, seen }) = outcome else { panic!("{outcome:?}") };
            assert_eq!((expected, seen), (vec![known], key_of(&pair)));
        }
        // One request under the right pin shows that the server does listen to what it is told.
        send(server.port, PinRule::OneOf(vec![key_of(&pair)]), AMPLE).await.unwrap();
        assert_eq!(server.heard.lock().unwrap().matches("POST /here").count(), 1);
    }
}

#[tokio::test]
async fn a_peer_that_shows_a_key_it_does_not_have_is_refused() {
    for version in [&TLS12, &TLS13] {
        let (honest, thief) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let certificate = CertificateParams::new(vec![]).unwrap().self_signed(&honest).unwrap();
        let stolen_name = rustls::sign::CertifiedKey::new(
            vec![certificate.der().clone()],
            provider.key_provider.load_private_key(PrivateKeyDer::try_from(thief.serialize_der()).unwrap()).unwrap(),
        );
        let config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(stolen_name)));
        let server = serve_with(Arc::new(config), OK).await;
        let pin = PinRule::OneOf(vec![key_of(&honest)]);
        let refused = send(server.port, pin.clone(), AMPLE).await;
        assert!(matches!(refused, Err(TransportError::Tls(_))), "{version:?}: {refused:?}");
        let refused = knock(server.port, pin, AMPLE).await;
        assert!(matches!(refused, Err(TransportError::Tls(_))), "{version:?}: {refused:?}");
        assert_eq!(*server.heard.lock().unwrap(), "");
    }
}

#[tokio::test]
async fn a_closed_port_refuses() {
    // Bound and never listening: nobody else can take the port meanwhile.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let port = socket.local_addr().unwrap().port();
    let refused = send(port, PinRule::TrustFirst, AMPLE).await;
    assert!(matches!(refused, Err(TransportError::Refused)), "{refused:?}");
    let refused = knock(port, PinRule::TrustFirst, AMPLE).await;
    assert!(matches!(refused, Err(TransportError::Refused)), "{refused:?}");
}

#[tokio::test]
async fn what_happens_before_the_request_is_told_apart_from_what_happens_after() {
    let pair = KeyPair::generate().unwrap();
    type Check = fn(&TransportError) -> bool;
    for version in [&TLS12, &TLS13] {
        for (manner, limit, expected) in [
            (Manner::HangsAfterAccept, SHORT, (|e| matches!(e, TransportError::ConnectTimeout(SHORT))) as Check),
            (Manner::DropsAfterAccept, AMPLE, |e| matches!(e, TransportError::Unreachable(_))),
            (Manner::SpeaksPlainHttp, AMPLE, |e| matches!(e, TransportError::Tls(_))),
        ] {
            let server = serve(&pair, 1, version, manner).await;
            let error = send(server.port, PinRule::TrustFirst, limit).await.unwrap_err();
            assert!(expected(&error) && !error.may_have_been_sent(), "{error:?}");
            let error = knock(server.port, PinRule::TrustFirst, limit).await.unwrap_err();
            assert!(expected(&error), "{error:?}");
        }
        let cut_off = Manner::Answers("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"up\":");
        for manner in [Manner::DropsAfterRequest, cut_off] {
            let server = serve(&pair, 1, version, manner).await;
            let error = send(server.port, PinRule::TrustFirst, AMPLE).await.unwrap_err();
            assert!(matches!(error, TransportError::Lost(_)) && error.may_have_been_sent(), "{error:?}");
            assert_eq!(server.heard.lock().unwrap().matches("POST /here").count(), 1, "sent once");
        }
    }
}

#[tokio::test]
async fn a_server_that_hangs_after_the_handshake_may_have_carried_it_out() {
    let server = serve(&KeyPair::generate().unwrap(), 1, &TLS13, Manner::HangsAfterRequest).await;
    let mut limit = SHORT;
    loop {
        let error = send(server.port, PinRule::TrustFirst, limit).await.unwrap_err();
        match error {
            TransportError::ReplyTimeout(told) if told == limit => break assert!(error.may_have_been_sent()),
            // On a busy machine the handshake takes longer than that.
            TransportError::ConnectTimeout(_) if limit < AMPLE => limit *= 2,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_not_followed() {
    let elsewhere = serve(&KeyPair::generate().unwrap(), 1, &TLS13, OK).await;
    let location = format!("https://127.0.0.1:{}/there", elsewhere.port);
    let text = format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
    let server = serve(&KeyPair::generate().unwrap(), 1, &TLS13, Manner::Answers(text.leak())).await;
    assert_eq!(send(server.port, PinRule::TrustFirst, AMPLE).await.unwrap().status, 302);
    assert_eq!(*elsewhere.heard.lock().unwrap(), "");
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let text = format!("HTTP/1.1 200 OK\r\ncontent-length: 6000000\r\n\r\n{}", "x".repeat(6_000_000));
    let server = serve(&KeyPair::generate().unwrap(), 1, &TLS13, Manner::Answers(text.leak())).await;
    assert_eq!(send(server.port, PinRule::TrustFirst, AMPLE).await.unwrap().body.len(), 4 << 20);
}

#[tokio::test]
async fn prism_is_probed_over_the_real_transport_without_credentials() {
    let pair = KeyPair::generate().unwrap();
    let manner = Manner::Answers("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n");
    let server = serve(&pair, 1, &TLS13, manner).await;
    let settings = PrismSettings { port: server.port, readiness_limit: AMPLE, ..PrismSettings::default() };
    let prism = PrismClient::new(Arc::new(TlsTransport::new()), settings);
    let outcome = prism.probe(Ipv4Addr::LOCALHOST, PinRule::TrustFirst, false).await;
    assert_eq!((outcome.answer, outcome.fingerprint), (ProbeAnswer::HttpUp { status: 401 }, Some(key_of(&pair))));
    assert!(!server.heard.lock().unwrap().to_lowercase().contains("authorization"));
    let outcome = prism.probe(Ipv4Addr::LOCALHOST, PinRule::TrustFirst, true).await;
    assert_eq!(outcome.answer, ProbeAnswer::Unauthorized);
}
