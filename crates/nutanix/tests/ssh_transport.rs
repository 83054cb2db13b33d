//! What the SSH transport makes of peers that are no proper SSH server, and of one that goes away.

use metalform_nutanix::{PinRule, RusshTransport, Ssh, SshError, SshLogin};
use russh::{
    keys::{Algorithm, PrivateKey},
    server::{self, Auth},
};
use std::{net::Ipv4Addr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// For what is to happen; it only ends a test that would never end.
const LONG: Duration = Duration::from_secs(60);
/// For what never happens.
const SHORT: Duration = Duration::from_millis(200);

async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// A peer that says this, then listens until we go away, or goes away itself.
async fn peer(says: &'static str, stays: bool) -> u16 {
    let (listener, port) = listener().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.write_all(says.as_bytes()).await.unwrap();
            if stays {
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
        }
    });
    port
}

async fn greet(port: u16, limit: Duration) -> Result<(), SshError> {
    RusshTransport::new().greet(Ipv4Addr::LOCALHOST, port, limit).await
}

async fn open(port: u16, limit: Duration) -> SshError {
    let login = SshLogin {
        address: Ipv4Addr::LOCALHOST,
        port,
        user: "nutanix".to_owned(),
        password: "geheim".into(),
        pin: PinRule::TrustFirst,
        limit,
    };
    RusshTransport::new().open(login).await.err().expect("that is no server")
}

async fn closed_port() -> u16 {
    listener().await.1
}

#[tokio::test]
async fn a_greeting_is_enough_and_may_come_after_other_lines() {
    assert!(greet(peer("SSH-2.0-OpenSSH_9.2\r\n", true).await, LONG).await.is_ok());
    assert!(greet(peer("Nutanix Controller VM\r\nwait\nSSH-2.0-x\r\n", true).await, LONG).await.is_ok());
}

#[tokio::test]
async fn a_closed_port_refuses() {
    let port = closed_port().await;
    assert!(matches!(greet(port, LONG).await, Err(SshError::Refused)));
    assert!(matches!(open(port, LONG).await, SshError::Refused));
}

#[tokio::test]
async fn a_peer_that_says_something_else_speaks_no_ssh() {
    let port = peer("HTTP/1.1 400 Bad Request\r\n\r\n", false).await;
    assert!(matches!(greet(port, LONG).await, Err(SshError::NotSsh(_))));
}

#[tokio::test]
async fn a_peer_that_says_too_much_is_not_heard_to_the_end() {
    let (listener, port) = listener().await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
    });
    assert!(matches!(greet(port, LONG).await, Err(SshError::NotSsh(_))));
}

#[tokio::test]
async fn a_peer_that_accepts_and_closes_is_not_there_yet() {
    let port = peer("", false).await;
    assert!(matches!(greet(port, LONG).await, Err(SshError::Unreachable(_))));
    assert!(matches!(open(port, LONG).await, SshError::Unreachable(_)));
}

#[tokio::test]
async fn a_silent_peer_costs_the_limit_and_no_more() {
    let port = peer("", true).await;
    assert!(matches!(greet(port, SHORT).await, Err(SshError::ConnectTimeout(SHORT))));
    assert!(matches!(open(port, SHORT).await, SshError::ConnectTimeout(SHORT)));
}

#[tokio::test]
async fn a_peer_that_falls_silent_after_its_greeting_is_left() {
    let (listener, port) = listener().await;
    let left = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"SSH-2.0-x\r\n").await.unwrap();
        closed_by_the_other_side(stream).await
    });
    assert!(matches!(open(port, SHORT).await, SshError::ConnectTimeout(SHORT)));
    tokio::time::timeout(LONG, left).await.expect("the connection is closed, not left to a task").unwrap();
}

async fn closed_by_the_other_side(mut stream: TcpStream) {
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

/// A real server until it is told the password.
struct Goes;

impl server::Handler for Goes {
    type Error = russh::Error;

    async fn auth_password(&mut self, _user: &str, _password: &str) -> Result<Auth, russh::Error> {
        Err(russh::Error::Disconnect)
    }
}

#[tokio::test]
async fn a_server_that_goes_away_during_the_login_has_refused_nothing() {
    let (listener, port) = listener().await;
    let config = Arc::new(server::Config {
        keys: vec![PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).unwrap()],
        ..server::Config::default()
    });
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let session = server::run_stream(config, stream, Goes).await.unwrap();
        let _ = session.await;
    });
    let error = open(port, LONG).await;
    assert!(matches!(error, SshError::Unreachable(_)), "{error:?}");
}

/// A server that refuses every password and names nothing else to try.
struct Tightlipped;

impl server::Handler for Tightlipped {
    type Error = russh::Error;

    async fn auth_password(&mut self, _: &str, _: &str) -> Result<Auth, Self::Error> {
        Ok(Auth::reject())
    }
}

#[tokio::test]
async fn a_refusal_that_names_nothing_else_to_try_is_a_refusal() {
    let (listener, port) = listener().await;
    let key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).unwrap();
    let config =
        Arc::new(server::Config { keys: vec![key], auth_rejection_time: Duration::ZERO, ..Default::default() });
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(running) = server::run_stream(config.clone(), stream, Tightlipped).await {
                let _ = running.await;
            }
        }
    });
    for _ in 0..5 {
        assert!(matches!(open(port, LONG).await, SshError::Denied));
    }
}
