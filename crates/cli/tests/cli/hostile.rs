//! Requests that no client of ours sends, to the service as a process.

use crate::{
    run::{Folder, Running, command},
    site::free_port,
};
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
};

const SECRET: &str = "nobody may read this";

/// A service whose images folder lies beside files that nobody may have; where its boot plane answers.
fn start() -> (Folder, Running, String) {
    let (folder, boot) = (Folder::new(), format!("127.0.0.1:{}", free_port()));
    let key = folder.write("api.key", SECRET);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::create_dir(folder.path().join("images")).unwrap();
    for file in ["images/vmlinuz-foundation", "images/initrd-foundation.img"] {
        folder.write(file, "an image");
    }
    folder.write("images/.hidden", SECRET);
    std::os::unix::fs::symlink(&key, folder.path().join("images/link.img")).unwrap();
    let (data, images) = (folder.path().join("data"), folder.path().join("images"));
    folder.write(
        "metalform.toml",
        &format!(
            "data_dir = {data:?}\n[boot]\nlisten = {boot:?}\n[images]\ndir = {images:?}\n[ibm_cloud]\napi_key_file = {key:?}\n\
             [control]\nlisten = \"127.0.0.1:0\"\n"
        ),
    );
    let service = Running::start(&mut command(&folder, &["serve"]));
    service.said("control plane https://127.0.0.1:");
    (folder, service, boot)
}

/// All that is answered to these bytes.
fn answered(boot: &str, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(boot).unwrap();
    let mut heard = Vec::new();
    // Reset where it was refused before all was read.
    let _ = stream.write_all(request);
    let _ = stream.read_to_end(&mut heard);
    String::from_utf8_lossy(&heard).into_owned()
}

#[test]
fn no_path_leads_out_of_the_images() {
    let (folder, _service, boot) = start();
    let get =
        |path: &str| answered(&boot, format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes());
    let image = get("/pxe/images/vmlinuz-foundation");
    assert!(image.starts_with("HTTP/1.1 200") && image.ends_with("an image"), "{image}");
    let absolute = folder.path().join("api.key").display().to_string();
    let mut paths: Vec<String> = [
        "../api.key",
        "..%2fapi.key",
        "%2e%2e/api.key",
        "%2e%2e%2fapi.key",
        "%252e%252e%252fapi.key",
        "..%5capi.key",
        "..\\api.key",
        "./../api.key",
        "x/../../api.key",
        "x/..%2f..%2fapi.key",
        "..;/api.key",
        "%c0%ae%c0%ae/api.key",
        "vmlinuz-foundation/../../api.key",
        "vmlinuz-foundation%00",
        "..%00/api.key",
        "../data/token",
        "../data/metalform.db",
        "../metalform.toml",
        ".hidden",
        "manifest.json",
        "link.img",
        "",
        ".",
        "..",
        "/",
    ]
    .iter()
    .map(|path| format!("/pxe/images/{path}"))
    .collect();
    paths.push(format!("/pxe/images/{absolute}"));
    paths.push(format!("//{absolute}"));
    paths.push(format!("/pxe{absolute}"));
    paths.push("http://x/pxe/images/../api.key".to_owned());
    for path in paths {
        let answer = get(&path);
        assert!(answer.starts_with("HTTP/1.1 4"), "{path}: {answer}");
        assert!(!answer.contains(SECRET) && !answer.contains(&absolute), "{path}: {answer}");
    }
}

#[test]
fn bodies_that_are_too_large_or_packed_are_refused_and_the_service_goes_on() {
    let (_folder, _service, boot) = start();
    let mut large =
        b"POST /boot/report/nobody?t=x HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 9000000\r\n\r\n"
            .to_vec();
    large.resize(large.len() + 9_000_000, b'x');
    let answer = answered(&boot, &large);
    // Nobody of that name: refused before a byte of the body is read.
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    let packed = b"POST /boot/report/nobody?t=x HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\n\x1f\x8b";
    let answer = answered(&boot, packed);
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    let image = answered(&boot, b"GET /pxe/images/vmlinuz-foundation HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    assert!(image.starts_with("HTTP/1.1 200"), "{image}");
}
