//! The same over a real connection.

use crate::support::*;
use metalform_model::Seen;
use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    time::timeout,
};

/// As iPXE asks; answers head and body.
async fn fetch(address: SocketAddr, path: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: iPXE/1.21.1\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    (String::from_utf8(answer[..end].to_vec()).unwrap(), answer[end + 4..].to_vec())
}

#[tokio::test]
async fn a_machine_boots_over_a_real_connection() {
    let world = World::new();
    world.change_node(|node| node.mgmt_ip = Some(Ipv4Addr::LOCALHOST));
    let kernel: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    std::fs::write(world.images.path().join("vmlinuz-foundation"), &kernel).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = world.router.clone().into_make_service_with_connect_info::<SocketAddr>();
    let server = tokio::spawn(async move { axum::serve(listener, service).await });

    let (head, script) = fetch(address, &script_path()).await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains(&format!("content-length: {}", script.len())), "{head}");
    assert!(!head.contains("transfer-encoding"), "{head}");
    assert!(String::from_utf8(script).unwrap().contains("\nkernel "));

    let (head, body) = fetch(address, "/pxe/images/vmlinuz-foundation").await;
    assert!(head.contains("content-length: 3000000"), "{head}");
    assert!(!head.contains("transfer-encoding"), "{head}");
    assert!(body == kernel);

    let (head, refusal) = fetch(address, "/boot/ipxe/server-002").await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(refusal.starts_with(b"#!ipxe\n"));

    let file = "vmlinuz-foundation".to_owned();
    // The end of a body is seen by the server a moment after its last byte is seen here.
    let seen = timeout(Duration::from_secs(10), async {
        loop {
            let seen = world.seen().await;
            if seen.len() == 2 {
                return seen;
            }
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(seen.await.unwrap(), [Seen::ScriptServed, Seen::ImageServed { file, sent: 3_000_000, of: 3_000_000 }]);
    server.abort();
}

/// One request from that loopback address, as it is; the whole answer.
async fn ask(address: SocketAddr, from: [u8; 4], request: &str) -> String {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(Duration::from_secs(10), stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

/// The address is that of the connection, which nobody on the other side can choose.
#[tokio::test]
async fn over_a_real_connection_neither_token_nor_header_makes_up_for_the_address() {
    let world = World::new();
    world.change_node(|node| node.mgmt_ip = Some(Ipv4Addr::LOCALHOST));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = world.router.clone().into_make_service_with_connect_info::<SocketAddr>();
    let server = tokio::spawn(async move { axum::serve(listener, service).await });

    let (node, stranger) = ([127, 0, 0, 1], [127, 0, 0, 2]);
    let body = format!("{{\"key\":\"{}\"}}", "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
    let post = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    let t = token();
    for (method, path, headers, body) in [
        ("GET", format!("/boot/ipxe/server-001?t={t}"), "", ""),
        ("GET", format!("/boot/server/127.0.0.1?t={t}"), "", ""),
        ("GET", format!("/boot/server/127.0.0.1?t={t}"), "X-Forwarded-For: 127.0.0.1\r\n", ""),
        ("GET", format!("/boot/arizona/127.0.0.1?t={t}"), "", ""),
        ("POST", format!("/boot/session/server-001?t={t}"), post.as_str(), body.as_str()),
    ] {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}Connection: close\r\n\r\n{body}");
        let before = world.audit().await.len();
        let answer = ask(address, stranger, &request).await;
        assert!(answer.contains("foreign_address") && !answer.contains(&t), "{path}: {answer}");
        assert!(!answer.contains("server_info") && !answer.contains("vmlinuz"), "{path}: {answer}");
        assert_eq!(world.seen().await, [], "{path}");
        let audit = world.audit().await;
        assert_eq!(audit.len(), before + 1, "{path}");
        assert!(audit[before].ends_with("| 127.0.0.2 | refused:foreign_address"), "{audit:?}");
    }
    let own =
        format!("POST /boot/session/server-001?t={t} HTTP/1.1\r\nHost: x\r\n{post}Connection: close\r\n\r\n{body}");
    assert!(ask(address, node, &own).await.starts_with("HTTP/1.1 200 OK\r\n"));
    server.abort();
}
