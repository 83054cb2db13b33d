//! `GET /pxe/images/…`.

use crate::support::*;
use axum::http::Method;
use futures_util::StreamExt;
use metalform_model::Seen;
use std::{fs, io::Write, net::Ipv4Addr, os::unix::fs::symlink};

const KERNEL: &str = "/pxe/images/vmlinuz-foundation";
/// SHA-256 of `kernel` and of `initrd!`, by `sha256sum`.
const KERNEL_SHA: &str = "6923dd1bc0460082c5d55a831908c24a282860b7f1cd6c2b79cf1bc8857c639c";
const INITRD_SHA: &str = "92ed92297a249e4f6684c16c22ea15c4cb5901699b7f565460c6e25455b9f7c8";

fn served(file: &str, sent: u64, of: u64) -> Seen {
    Seen::ImageServed { file: file.to_owned(), sent, of }
}

#[tokio::test]
async fn an_image_goes_out_with_length_and_digest_and_is_evidence() {
    let world = World::new();
    let answer = world.get(KERNEL).await;
    assert_eq!((answer.status, answer.text()), (200, "kernel"));
    assert_eq!(answer.header("content-length"), Some("6"));
    assert_eq!(answer.header("etag"), Some(format!("\"{KERNEL_SHA}\"").as_str()));
    assert_eq!(answer.header("accept-ranges"), Some("bytes"));
    assert_eq!(answer.header("content-type"), Some("application/octet-stream"));
    assert_eq!(answer.header("content-encoding"), None);
    assert_eq!(world.seen().await, [served("vmlinuz-foundation", 6, 6)]);
    assert_eq!(world.audit().await, ["node server-001 | boot.image | vmlinuz-foundation | 10.240.0.11 | ok"]);
}

#[tokio::test]
async fn an_image_is_never_compressed() {
    let world = World::new();
    let answer = world.send(request(Method::GET, KERNEL, &[("accept-encoding", "gzip, br, zstd")]), NODE_IP).await;
    assert_eq!((answer.header("content-encoding"), answer.text()), (None, "kernel"));
}

#[tokio::test]
async fn the_parts_of_an_image_are_one_line_of_the_audit_and_whole_ones_one_each() {
    let world = World::new();
    for first in 0..5 {
        let range = format!("bytes={first}-{first}");
        world.send(request(Method::GET, KERNEL, &[("range", range.as_str())]), NODE_IP).await;
    }
    assert_eq!(world.audit().await, ["node server-001 | boot.image | vmlinuz-foundation | 10.240.0.11 | ok"]);
    world.send(request(Method::GET, KERNEL, &[("range", "bytes=0-1")]), Ipv4Addr::new(10, 240, 0, 99)).await;
    world.get(KERNEL).await;
    world.get(KERNEL).await;
    assert_eq!(world.audit().await.len(), 4);
}

#[tokio::test]
async fn ranges_conditions_and_heads() {
    let world = World::new();
    let etag = format!("\"{KERNEL_SHA}\"");
    for (method, headers, status, body, content_range) in [
        (Method::GET, vec![("range", "bytes=1-3")], 206, "ern", Some("bytes 1-3/6")),
        (Method::GET, vec![("range", "bytes=4-")], 206, "el", Some("bytes 4-5/6")),
        (Method::GET, vec![("range", "bytes=-1")], 206, "l", Some("bytes 5-5/6")),
        (Method::GET, vec![("range", "bytes=0-0,2-2")], 200, "kernel", None),
        (Method::GET, vec![("range", "bytes=1-3"), ("if-range", etag.as_str())], 206, "ern", Some("bytes 1-3/6")),
        (Method::GET, vec![("range", "bytes=1-3"), ("if-range", "\"old\"")], 200, "kernel", None),
        (Method::GET, vec![("if-none-match", etag.as_str())], 304, "", None),
        (Method::HEAD, vec![("if-none-match", etag.as_str())], 304, "", None),
        (Method::GET, vec![("if-none-match", "\"old\"")], 200, "kernel", None),
        (Method::HEAD, vec![], 200, "", None),
        (Method::HEAD, vec![("range", "bytes=1-3")], 200, "", None),
    ] {
        let answer = world.send(request(method.clone(), KERNEL, &headers), NODE_IP).await;
        let case = format!("{method} {headers:?}");
        assert_eq!((answer.status, answer.text()), (status, body), "{case}");
        assert_eq!(answer.header("content-range"), content_range, "{case}");
        assert_eq!(answer.header("etag"), Some(etag.as_str()), "{case}");
        let length = if method == Method::HEAD { "6".to_owned() } else { body.len().to_string() };
        if status != 304 {
            assert_eq!(answer.header("content-length"), Some(length.as_str()), "{case}");
        }
    }
    let beyond = world.send(request(Method::GET, KERNEL, &[("range", "bytes=6-")]), NODE_IP).await;
    assert_eq!((beyond.status, beyond.code().as_str()), (416, "range_beyond"));
    assert_eq!(beyond.header("content-range"), Some("bytes */6"));
}

#[tokio::test]
async fn the_list_of_digests_is_made_from_the_files() {
    let world = World::new();
    let set = world.images.path().join("ce-2.1");
    fs::create_dir(&set).unwrap();
    fs::write(set.join("vmlinuz-foundation"), "kernel").unwrap();
    fs::write(world.images.path().join(".hidden"), "x").unwrap();
    fs::write(world.images.path().join("SHA256SUMS"), "stale").unwrap();
    let expected = format!("{INITRD_SHA}  initrd-foundation.img\n{KERNEL_SHA}  vmlinuz-foundation\n");
    assert_eq!(world.get("/pxe/images/SHA256SUMS").await.text(), expected);
    assert_eq!(world.get("/pxe/images/ce-2.1/SHA256SUMS").await.text(), format!("{KERNEL_SHA}  vmlinuz-foundation\n"));
    let part = request(Method::GET, "/pxe/images/SHA256SUMS", &[("range", "bytes=0-7")]);
    assert_eq!(world.send(part, NODE_IP).await.text(), &INITRD_SHA[..8]);
}

#[tokio::test]
async fn a_named_set_and_any_other_file_of_a_set_are_served() {
    let world = World::new();
    let set = world.images.path().join("ce-2.1");
    fs::create_dir(&set).unwrap();
    fs::write(set.join("vmlinuz-foundation"), "another kernel").unwrap();
    fs::write(world.images.path().join("squashfs.img"), "files").unwrap();
    assert_eq!(world.get("/pxe/images/ce-2.1/vmlinuz-foundation").await.text(), "another kernel");
    assert_eq!(world.get("/pxe/images/squashfs.img").await.text(), "files");
    assert_eq!(world.seen().await, [served("vmlinuz-foundation", 14, 14), served("squashfs.img", 5, 5)]);
}

#[tokio::test]
async fn nothing_but_plain_files_of_the_set_is_reached() {
    let world = World::new();
    let images = world.images.path();
    let outside = TempDir::new();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    symlink(outside.path().join("secret"), images.join("link")).unwrap();
    symlink(outside.path(), images.join("set")).unwrap();
    fs::create_dir_all(images.join("folder/deeper")).unwrap();
    fs::write(images.join("folder/deeper/file"), "x").unwrap();
    fs::write(images.join(".hidden"), "x").unwrap();
    for path in [
        "",
        "link",
        "folder",
        "folder/",
        "folder/deeper",
        "folder/deeper/file",
        "nothing",
        "nowhere/vmlinuz-foundation",
        "nowhere/SHA256SUMS",
        ".hidden",
        ".",
        "..",
        "../secret",
        "folder/../vmlinuz-foundation",
        "folder/..",
        "%2e%2e/secret",
        "..%2fsecret",
        "%2e%2e%2fsecret",
        "..%5csecret",
        "/vmlinuz-foundation",
        "//etc/passwd",
        "/etc/passwd",
        "vmlinuz-foundation%00",
        "vmlinuz-foundation/",
        "vmlinuz-foundation/x",
        "vmlinuz%2dfoundation",
    ] {
        let answer = world.get(&format!("/pxe/images/{path}")).await;
        assert_eq!(answer.status, 404, "{path}");
    }
    assert_eq!(world.seen().await, []);
}

#[tokio::test]
async fn an_unreadable_image_is_not_the_same_as_a_missing_one() {
    let world = World::new();
    let looped = world.images.path().join("looped");
    symlink(&looped, &looped).unwrap();
    let answer = world.get("/pxe/images/looped").await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "image_unreadable"));
    assert_eq!(answer.header("retry-after"), Some("10"));
    assert_eq!(world.get("/pxe/images/absent").await.code(), "unknown_image");
    let refused = Seen::ImageRefused { file: "looped".to_owned(), code: "image_unreadable".to_owned() };
    assert_eq!(world.seen().await, [refused], "the node shows it; a name of nothing stands in the audit alone");
}

#[tokio::test]
async fn a_kernel_that_is_gone_shows_on_the_node_that_asked_for_it() {
    let world = World::new();
    fs::remove_file(world.images.path().join("vmlinuz-foundation")).unwrap();
    assert_eq!(world.get(KERNEL).await.code(), "unknown_image");
    let refused = Seen::ImageRefused { file: "vmlinuz-foundation".to_owned(), code: "unknown_image".to_owned() };
    assert_eq!(world.seen().await, std::slice::from_ref(&refused));
    // Another machine, and a node that installs nothing.
    world.send(request(Method::GET, KERNEL, &[]), Ipv4Addr::new(10, 240, 0, 12)).await;
    world.change_node(|node| node.attempt = None);
    world.get(KERNEL).await;
    assert_eq!(world.seen().await, [refused]);
}

#[tokio::test]
async fn a_replaced_file_gets_a_new_digest() {
    let world = World::new();
    assert_eq!(world.get(KERNEL).await.header("etag"), Some(format!("\"{KERNEL_SHA}\"").as_str()));
    let fresh = world.images.path().join("fresh");
    fs::write(&fresh, "initrd!").unwrap();
    fs::rename(&fresh, world.images.path().join("vmlinuz-foundation")).unwrap();
    let answer = world.get(KERNEL).await;
    assert_eq!((answer.text(), answer.header("etag")), ("initrd!", Some(format!("\"{INITRD_SHA}\"").as_str())));
}

/// Longer than one read.
const LONG: usize = 1 << 20;

#[tokio::test]
async fn a_download_that_breaks_off_counts_what_was_taken() {
    let world = World::new();
    fs::write(world.images.path().join("vmlinuz-foundation"), vec![7; LONG]).unwrap();
    let mut body = world.open(request(Method::GET, KERNEL, &[]), NODE_IP).await.into_body().into_data_stream();
    let taken = body.next().await.unwrap().unwrap().len() as u64;
    drop(body);
    assert!(taken > 0 && taken < LONG as u64);
    assert_eq!(world.seen().await, [served("vmlinuz-foundation", taken, LONG as u64)]);
}

#[tokio::test]
async fn a_download_breaks_off_when_its_file_is_written_to() {
    let world = World::new();
    let file = world.images.path().join("vmlinuz-foundation");
    fs::write(&file, vec![7; LONG]).unwrap();
    let mut body = world.open(request(Method::GET, KERNEL, &[]), NODE_IP).await.into_body().into_data_stream();
    body.next().await.unwrap().unwrap();
    fs::OpenOptions::new().append(true).open(&file).unwrap().write_all(b"more").unwrap();
    let rest: Vec<_> = body.by_ref().collect().await;
    assert!(rest.last().unwrap().is_err());
    drop(body);
    let [Seen::ImageServed { sent, of, .. }] = &world.seen().await[..] else { panic!("one download") };
    assert!(sent < of);
}

#[tokio::test]
async fn a_stranger_gets_images_and_proves_nothing() {
    let world = World::new();
    let stranger = Ipv4Addr::new(10, 240, 0, 99);
    assert_eq!(world.send(request(Method::GET, KERNEL, &[]), stranger).await.text(), "kernel");
    assert_eq!(world.seen().await, []);
    assert_eq!(world.audit().await, ["anonymous | boot.image | vmlinuz-foundation | 10.240.0.99 | ok"]);
}

#[tokio::test]
async fn a_node_without_an_open_attempt_proves_nothing_by_a_download() {
    let world = World::new();
    world.change_node(|node| node.attempt.as_mut().unwrap().open = false);
    assert_eq!(world.get(KERNEL).await.status, 200);
    assert_eq!(world.seen().await, []);
}
