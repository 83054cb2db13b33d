//! The binary as it is linked: it must start where there is no other file.

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    thread::{self, JoinHandle},
};

const AGENT: &str = env!("CARGO_BIN_EXE_metalform-agent");

const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const DT_NEEDED: u64 = 1;

#[test]
fn it_asks_for_no_loader_and_no_library() {
    let elf = fs::read(AGENT).unwrap();
    assert_eq!(&elf[..6], b"\x7fELF\x02\x01", "64 bits, little-endian");
    let number = |at: usize, len: usize| {
        let mut bytes = [0; 8];
        bytes[..len].copy_from_slice(&elf[at..at + len]);
        u64::from_le_bytes(bytes)
    };
    let (table, size, count) = (number(0x20, 8) as usize, number(0x36, 2) as usize, number(0x38, 2) as usize);
    assert!(count > 0);
    for header in (0..count).map(|at| table + at * size) {
        let kind = number(header, 4) as u32;
        assert_ne!(kind, PT_INTERP, "it asks for a loader: see crates/agent/build.rs");
        if kind == PT_DYNAMIC {
            let (start, len) = (number(header + 8, 8) as usize, number(header + 0x20, 8) as usize);
            let needed = (start..start + len).step_by(16).filter(|at| number(*at, 8) == DT_NEEDED).count();
            assert_eq!(needed, 0, "it asks for {needed} libraries");
        }
    }
}

#[test]
fn it_starts_in_an_empty_environment_and_says_which_it_is() {
    let output = Command::new(AGENT).arg("--version").env_clear().output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("metalform-agent {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn words_that_it_does_not_know_are_refused_with_a_hint() {
    for words in [&["install"][..], &[], &["report"], &["check", "--config"]] {
        let output = Command::new(AGENT).args(words).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(String::from_utf8(output.stderr).unwrap().contains("--help"), "{words:?}");
    }
}

fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("agent-{name}-{}", std::process::id()));
    drop(fs::remove_dir_all(&folder));
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Takes requests, answers each with the next reply, and hands out what it heard.
fn boot_plane(replies: &'static [&'static str]) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let authority = listener.local_addr().unwrap().to_string();
    let heard = thread::spawn(move || {
        let mut heard = Vec::new();
        for reply in replies {
            let (mut stream, _) = listener.accept().unwrap();
            let mut bytes = Vec::new();
            let mut buffer = [0; 4096];
            // The body is JSON of one object that ends with two braces: its facts are empty.
            while !bytes.ends_with(b"}}") {
                let read = stream.read(&mut buffer).unwrap();
                assert!(read > 0);
                bytes.extend_from_slice(&buffer[..read]);
            }
            heard.push(String::from_utf8(bytes).unwrap());
            stream.write_all(reply.as_bytes()).unwrap();
        }
        heard
    });
    (authority, heard)
}

#[test]
fn an_installed_system_reports_with_the_document_that_the_installer_left() {
    let (authority, heard) = boot_plane(&[
        "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nRetry-After: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 31\r\n\r\n{\"recorded\":false,\"last_seq\":8}",
        "HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n{\"recorded\":true,\"last_seq\":9}",
    ]);
    let file = scratch("report").join("report.json");
    let document = format!(r#"{{"node_id":"server-001","boot_host":"{authority}","boot_token":"s3cr3t"}}"#);
    fs::write(&file, document).unwrap();
    let output = Command::new(AGENT)
        .args(["report", "--phase", "installed", "--message", "up", "--url-file"])
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "installed is reported\n");
    assert!(output.stderr.is_empty());
    let heard = heard.join().unwrap();
    assert!(heard[0].starts_with("POST /boot/report/server-001?t=s3cr3t HTTP/1.1\r\n"), "{}", heard[0]);
    let numbers: Vec<bool> =
        [1, 1, 9].iter().zip(&heard).map(|(n, body)| body.contains(&format!("\"seq\":{n},"))).collect();
    assert_eq!(numbers, [true; 3], "{heard:?}");
    assert!(heard[2].contains(r#""phase":"installed","status":"ok","message":"up""#), "{}", heard[2]);
}

#[test]
fn an_installed_system_signs_with_the_key_of_the_agents_session() {
    let (authority, heard) = boot_plane(&[
        "HTTP/1.1 409 Conflict\r\nContent-Length: 86\r\n\r\n\
         {\"error\":{\"code\":\"signature_stale\",\"message\":\"old\",\"details\":{\"last\":99999999999}}}   ",
        "HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n{\"recorded\":true,\"last_seq\":1}",
    ]);
    let file = scratch("session").join("report.json");
    let secret = "07".repeat(32);
    let document = format!(
        r#"{{"node_id":"server-001","boot_host":"{authority}","boot_token":"s3cr3t","session_key":"{secret}"}}"#
    );
    fs::write(&file, document).unwrap();
    let output =
        Command::new(AGENT).args(["report", "--phase", "installed", "--url-file"]).arg(&file).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "installed is reported\n", "{output:?}");
    let heard = heard.join().unwrap();
    for (heard, number) in heard.iter().zip(["4294967297", "100000000000"]) {
        assert!(heard.starts_with("POST /boot/report/server-001 HTTP/1.1\r\n"), "{heard}");
        assert!(heard.contains(&format!("metalform-signature: v1 {number} ")), "{heard}");
        assert!(!heard.contains("s3cr3t") && !heard.contains(&secret), "{heard}");
    }
}

#[test]
fn a_report_that_is_refused_says_why_and_never_shows_the_token() {
    let (authority, heard) = boot_plane(&["HTTP/1.1 403 No\r\nContent-Length: 50\r\n\r\n\
         {\"error\":{\"code\":\"token_wrong\",\"message\":\"wrong\"}}"]);
    let file = scratch("refused").join("report.json");
    fs::write(&file, format!(r#"{{"node_id":"n","boot_host":"{authority}","boot_token":"s3cr3t"}}"#)).unwrap();
    let output =
        Command::new(AGENT).args(["report", "--phase", "installed", "--url-file"]).arg(&file).output().unwrap();
    heard.join().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(error.contains("403 token_wrong") && error.contains("hint:") && !error.contains("s3cr3t"), "{error}");
}

#[test]
fn a_document_that_is_none_is_named_and_its_token_not_shown() {
    let file = scratch("broken").join("report.json");
    for text in ["", "{\"boot_token\":\"s3cr3t\"}", r#"{"node_id":"n","boot_host":"a.example","boot_token":"s3cr3t"}"#]
    {
        fs::write(&file, text).unwrap();
        let output =
            Command::new(AGENT).args(["report", "--phase", "installed", "--url-file"]).arg(&file).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(error.contains("report.json") && !error.contains("s3cr3t"), "{error}");
    }
}

#[test]
fn a_machine_is_checked_by_hand_against_a_configuration() {
    let folder = scratch("check");
    let config = |data: &str| {
        format!(
            r#"{{"server_info":{{"server_id":"n","mgmt_ip":"127.0.0.1"}},"node_config":{{"hypervisor":"ahv"}},
            "storage_config":{{"boot_device":{{"min_gb":1}},"hypervisor_device":{{"min_gb":1}},"cvm_device":{{"min_gb":1}},
            "data_devices":{data}}},"network_config":{{"interfaces":[]}}}}"#
        )
    };
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("root/sys/block/sda/size", "4000000");
    write("root/dev/sda", "");
    write("root/sys/class/net/eth0/type", "1");
    write("root/sys/class/net/eth0/device/vendor", "x");
    for (data, code, told) in [
        ("[]", 0, "boot_device: 2 GB"),
        (r#"["/dev/sdb"]"#, 1, "[disk_missing]"),
        (r#"[{"min_gb":-1}]"#, 1, "min_gb is -1, and has to be a whole number of GB"),
        (r#"[{"max_gb":"1"}]"#, 1, "max_gb is \"1\", and has to be a whole number of GB"),
        (r#"[{"size":1}]"#, 1, "a drive can't be read: unknown field `size`"),
        ("[7]", 1, "a drive is a path below /dev or an object that selects one, and not 7"),
    ] {
        write("config.json", &config(data));
        let output = Command::new(AGENT)
            .args(["check", "--config"])
            .arg(folder.join("config.json"))
            .arg("--root")
            .arg(folder.join("root"))
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains(told), "{text}");
    }
}

#[test]
fn a_configuration_without_an_end_is_too_long() {
    let output = Command::new(AGENT).args(["check", "--config", "/dev/zero"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("/dev/zero is longer than 1048576 bytes"), "{told}");
}

/// It would install the machine it was asked on.
#[test]
fn help_on_booting_is_no_boot() {
    let output = Command::new(AGENT).args(["boot", "--help"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stdout).contains("metalform-agent boot"));
    let output = Command::new(AGENT).args(["boot", "now"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("`boot` takes nothing more"));
}
