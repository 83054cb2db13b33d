//! HTTPS of the control plane, as processes and other people's clients see it.

use crate::{
    run::{Folder, Ran, Running, command},
    scripted::{Scripted, document},
    site::free_port,
};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use serde_json::json;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

/// A folder with the configuration of a service that has a cloud account and asks nothing of it, and the control plane's
/// address.
fn furnished(control: &str) -> (Folder, String) {
    let (folder, host) = (Folder::new(), format!("127.0.0.1:{}", free_port()));
    let key = folder.write("api.key", "a key\n");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let data = folder.path().join("data");
    folder.write(
        "metalform.toml",
        &format!(
            "data_dir = {data:?}\n[boot]\nlisten = \"127.0.0.1:0\"\n[ibm_cloud]\napi_key_file = {key:?}\n[control]\n\
             listen = {host:?}\n{control}\n"
        ),
    );
    (folder, host)
}

fn start(folder: &Folder) -> Running {
    let service = Running::start(&mut command(folder, &["serve"]));
    service.said("control plane https://127.0.0.1:");
    service
}

fn run(folder: &Folder, args: &[&str]) -> Ran {
    command(folder, args).output().unwrap().into()
}

fn program(name: &str, args: &[&str]) -> Output {
    let output = Command::new(name).args(args).env_remove("SSL_CERT_FILE").output();
    output.unwrap_or_else(|error| panic!("{name} is missing ({error}): `cargo xtask test` installs it"))
}

fn curl(args: &[&str]) -> (Option<i32>, String) {
    let output = program("curl", &[&["--silent", "--max-time", "30", "--noproxy", "*"], args].concat());
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

fn path(folder: &Folder, name: &str) -> String {
    folder.path().join(name).display().to_string()
}

fn mode(path: &str) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// What is shown to who connects.
fn fingerprint(host: &str) -> String {
    let shown = "openssl s_client -connect \"$0\" </dev/null 2>/dev/null | openssl x509 -noout -fingerprint -sha256";
    let output = program("sh", &["-c", shown, host]);
    assert!(output.status.success(), "{host}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..600 {
        if is_so() {
            return;
        }
        thread::sleep(Duration::from_millis(100));
    }
    panic!("{what}: not within a minute");
}

/// An operator's pair for these names, from the one year to the other.
fn write_pair(folder: &Folder, name: &str, hosts: &[&str], years: (i32, i32)) -> (String, String) {
    let mut params = CertificateParams::new(hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>()).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(years.0, 1, 1), date_time_ymd(years.1, 1, 1));
    let key = KeyPair::generate().unwrap();
    let cert = folder.write(&format!("{name}.pem"), &params.self_signed(&key).unwrap().pem());
    let key = folder.write(&format!("{name}.key"), &key.serialize_pem());
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    (cert, key)
}

#[test]
fn what_the_first_start_makes_is_its_owners_alone_but_for_what_clients_need() {
    let (folder, _) = furnished("");
    let _service = start(&folder);
    let of = |name: &str| mode(&path(&folder, &format!("data/{name}")));
    assert_eq!(of(""), 0o700);
    for name in
        ["token", "secret.key", "metalform.db", "audit.key", "audit.heads", "lock", "tls/ca.key", "tls/server.pem"]
    {
        assert_eq!(of(name), 0o600, "{name}");
    }
    assert_eq!([of("audit.pub"), of("tls/ca.pem"), of("tls")], [0o644, 0o644, 0o755]);
}

/// Whether those files are one certificate, and what boot scripts pin of it.
fn digest_of(certificate: &str) -> String {
    let shown = "openssl x509 -in \"$0\" -outform DER | sha256sum";
    let output = program("sh", &["-c", shown, certificate]);
    String::from_utf8(output.stdout).unwrap().split_whitespace().next().unwrap().to_owned()
}

#[test]
fn machines_may_speak_tls_on_the_boot_planes_own_port_and_old_ones_go_on_without() {
    let (folder, _) = furnished("tls = \"off\"\n");
    let service = Running::start(&mut command(&folder, &["serve"]));
    let boot = service.said("boot plane    http://127.0.0.1:");
    let host = format!("127.0.0.1:{}", boot.split_whitespace().next().unwrap());
    let ca = path(&folder, "data/tls/ca.pem");
    let url = |scheme: &str| format!("{scheme}://{host}/healthz");
    for version in [["--tlsv1.2", "--tls-max", "1.2"], ["--tlsv1.3", "--tls-max", "1.3"]] {
        let asked = curl(&[&version[..], &["--cacert", &ca, &url("https")]].concat());
        assert_eq!(asked, (Some(0), "{\"status\":\"ok\"}".to_owned()), "{version:?}");
    }
    assert_eq!(curl(&[&url("http")]), (Some(0), "{\"status\":\"ok\"}".to_owned()));
    assert_eq!(curl(&[&url("https")]).0, Some(60), "nobody else has signed it");
    let elsewhere = ["--cacert", &ca, "--connect-to", &format!("::{host}"), "https://10.240.0.5/healthz"];
    assert_eq!(curl(&elsewhere).0, Some(60), "it is for no other address");

    // The certificate that scripts pin is shown with the server's own, which openssl trusts by it.
    let shown =
        "openssl s_client -connect \"$0\" -CAfile \"$1\" -verify_return_error -showcerts </dev/null 2>/dev/null";
    let output = program("sh", &["-c", shown, &host, &ca]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let text = String::from_utf8(output.stdout).unwrap();
    let certificates: Vec<&str> = text.split("-----BEGIN CERTIFICATE-----").skip(1).collect();
    assert_eq!(certificates.len(), 2, "{text}");
    let (second, _) = certificates[1].split_once("-----END CERTIFICATE-----").unwrap();
    let second = folder.write("second.pem", &format!("-----BEGIN CERTIFICATE-----{second}-----END CERTIFICATE-----\n"));
    assert_eq!(digest_of(&second), digest_of(&ca));
    assert_eq!(mode(&path(&folder, "data/tls/boot.pem")), 0o600);
    assert!(!fs::exists(path(&folder, "data/tls/server.pem")).unwrap(), "the control plane has none here");
    assert_eq!(service.stop("-TERM"), 0);
}

#[test]
fn without_tls_the_boot_plane_is_what_it_was() {
    let (folder, _) = furnished("");
    let file = path(&folder, "metalform.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("[boot]\n", "[boot]\ntls = \"off\"\n")).unwrap();
    let service = start(&folder);
    let boot = service.said("boot plane    http://127.0.0.1:");
    let host = format!("127.0.0.1:{}", boot.split_whitespace().next().unwrap());
    assert_eq!(curl(&[&format!("http://{host}/healthz")]).0, Some(0));
    assert_eq!(curl(&["--insecure", &format!("https://{host}/healthz")]).0, Some(35), "no TLS is spoken");
    assert!(!fs::exists(path(&folder, "data/tls/boot.pem")).unwrap());
}

#[test]
fn the_first_start_makes_a_service_that_other_peoples_clients_trust_by_one_file() {
    let (folder, host) = furnished("");
    let service = start(&folder);
    let [ca, ca_key, server] =
        ["ca.pem", "ca.key", "server.pem"].map(|name| path(&folder, &format!("data/tls/{name}")));
    assert_eq!([&ca, &ca_key, &server].map(|path| mode(path)), [0o644, 0o600, 0o600]);
    let url = format!("https://{host}/healthz");
    for version in [["--tlsv1.2", "--tls-max", "1.2"], ["--tlsv1.3", "--tls-max", "1.3"]] {
        let asked = curl(&[&version[..], &["--cacert", &ca, &url]].concat());
        assert_eq!(asked, (Some(0), "{\"status\":\"ok\"}".to_owned()), "{version:?}");
    }
    assert_eq!(curl(&["--tls-max", "1.1", "--cacert", &ca, &url]).0, Some(35), "an old version is not spoken");
    assert_eq!(curl(&[&url]).0, Some(60), "nobody else has signed it");
    let by_name = format!("https://localhost:{}/healthz", host.split_once(':').unwrap().1);
    assert_eq!(curl(&["--ipv4", "--cacert", &ca, &by_name]).0, Some(0));
    let verified = program("openssl", &["verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", &ca, &server]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    let (_, heard) = curl(&["--include", "--cacert", &ca, &url]);
    assert!(!heard.to_lowercase().contains("strict-transport"), "the rule would hold for all of localhost: {heard}");

    let status = run(&folder, &["status", "--json"]);
    assert_eq!((status.code, status.document()), (0, json!({"clusters": []})), "{}", status.stderr);
    let (before, shown) = (fs::read_to_string(&ca).unwrap(), fingerprint(&host));
    assert_eq!(service.stop("-TERM"), 0);

    let service = Running::start(&mut command(&folder, &["serve", "--json"]));
    let line = service.said("{\"boot_url\":");
    let first: serde_json::Value = serde_json::from_str(&format!("{{\"boot_url\":{line}")).unwrap();
    assert_eq!((&first["ca_file"], &first["control_url"]), (&json!(ca), &json!(format!("https://{host}"))));
    assert_eq!((fs::read_to_string(&ca).unwrap(), fingerprint(&host)), (before, shown), "a restart changes neither");
}

/// As after an update from a version that had no certificates: the token is there before the authority is.
#[test]
fn a_service_that_makes_its_authority_only_now_is_waited_for() {
    let (folder, _) = furnished("");
    fs::create_dir(folder.path().join("data")).unwrap();
    let token = folder.write("data/token", "0123456789abcdef0123456789abcdef");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let mut status = command(&folder, &["status", "--json", "--connect-for", "100"]);
    let status = status.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let _service = start(&folder);
    let ran: Ran = status.wait_with_output().unwrap().into();
    assert_eq!((ran.code, ran.document()), (0, json!({"clusters": []})), "{}", ran.stderr);
}

#[test]
fn a_client_elsewhere_is_told_what_to_copy_and_under_which_name_to_ask() {
    let (folder, host) = furnished("");
    let everywhere = host.replace("127.0.0.1", "0.0.0.0");
    let mut serve = command(&folder, &["serve"]);
    let service = Running::start(serve.env("METALFORM_CONTROL_LISTEN", everywhere).env("METALFORM_BOOT_TLS", "off"));
    service.said("control plane https://127.0.0.1:");
    let boot = service.said("boot plane    http://");
    let elsewhere = Folder::new();
    let ask = |url: &str, ca: Option<&str>| -> Ran {
        let mut status = command(&elsewhere, &["status", "--json"]);
        let token = fs::read_to_string(folder.path().join("data/token")).unwrap();
        status.env("METALFORM_SERVER", url).env("METALFORM_TOKEN", token);
        status.env("METALFORM_DATA_DIR", elsewhere.path()).envs(ca.map(|file| ("METALFORM_CA_FILE", file)));
        status.output().unwrap().into()
    };
    let url = format!("https://{host}");
    let refused = |ran: Ran, code: &str, hint: &str| {
        assert_eq!((ran.code, &ran.document()["error"]["code"]), (1, &json!(code)), "{}", ran.stderr);
        assert!(ran.stderr.starts_with("error: ") && ran.stderr.contains(hint), "{}", ran.stderr);
    };
    refused(ask(&url, None), "untrusted_certificate", "METALFORM_CA_FILE");
    let (other, _) = write_pair(&elsewhere, "other", &["localhost"], (2020, 2120));
    refused(ask(&url, Some(&other)), "untrusted_certificate", "tls/ca.pem");
    let copy = elsewhere.write("ca.pem", &fs::read_to_string(path(&folder, "data/tls/ca.pem")).unwrap());
    let ran = ask(&url, Some(&copy));
    assert_eq!((ran.code, ran.document()), (0, json!({"clusters": []})), "{}", ran.stderr);
    // The same machine by an address that nobody gave it.
    let by_other = url.replace("127.0.0.1", "127.0.0.2");
    refused(ask(&by_other, Some(&copy)), "certificate_of_another", "[control] names");
    let ran = ask(&format!("http://{host}"), None);
    refused(ran, "use_https", "write https:// instead of http://");

    let hangs_up = Scripted::start(|_| document(200, json!({"clusters": []})));
    for plain in [boot.as_str(), hangs_up.url.trim_start_matches("http://")] {
        refused(ask(&format!("https://{plain}"), Some(&copy)), "no_tls", "asked by http://");
    }
}

#[test]
fn a_name_that_the_operator_adds_is_one_to_ask_by() {
    let (folder, host) = furnished("names = [\"metalform.example.com\"]");
    let _service = start(&folder);
    let port = host.split_once(':').unwrap().1;
    let resolve = format!("metalform.example.com:{port}:127.0.0.1");
    let url = format!("https://metalform.example.com:{port}/healthz");
    let asked = curl(&["--resolve", &resolve, "--cacert", &path(&folder, "data/tls/ca.pem"), &url]);
    assert_eq!(asked, (Some(0), "{\"status\":\"ok\"}".to_owned()));
}

/// Clients that ask all the time, over connections that they keep and over new ones. Gives how many answers there were.
fn ask_on(
    url: String,
    address: std::net::SocketAddr,
    pems: Vec<Vec<u8>>,
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU32>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async move {
        let client = |idle: usize| {
            let roots = pems.iter().map(|pem| reqwest::Certificate::from_pem(pem).unwrap());
            let client = reqwest::Client::builder().no_proxy().tls_certs_only(roots).pool_max_idle_per_host(idle);
            client.resolve("metalform.example.com", address).timeout(Duration::from_secs(30)).build().unwrap()
        };
        let clients = [client(1), client(0)];
        while !stop.load(Ordering::Relaxed) {
            for client in &clients {
                let answer = client.get(&url).send().await.expect("no request fails");
                assert_eq!(answer.text().await.unwrap(), "{\"status\":\"ok\"}");
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
}

#[test]
fn an_operators_pair_is_swapped_while_requests_run_and_none_fails() {
    let files = Folder::new();
    let (cert, key) = write_pair(&files, "pair", &["metalform.example.com"], (2020, 2120));
    let next = [1, 2].map(|n| write_pair(&files, &format!("next-{n}"), &["metalform.example.com"], (2020, 2120)));
    let pems: Vec<Vec<u8>> = [&cert, &next[0].0, &next[1].0].map(|path| fs::read(path).unwrap()).into();
    let (folder, host) = furnished(&format!("tls = {{ cert = {cert:?}, key = {key:?} }}"));
    let service = start(&folder);
    assert!(!Path::new(&path(&folder, "data/tls/server.pem")).exists(), "ours is the boot plane's alone");

    let (stop, count) = (Arc::<AtomicBool>::default(), Arc::<AtomicU32>::default());
    let port = host.split_once(':').unwrap().1;
    let url = format!("https://metalform.example.com:{port}/healthz");
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let (url, address, pems) = (url.clone(), host.parse().unwrap(), pems.clone());
            let (stop, count) = (stop.clone(), count.clone());
            thread::spawn(move || ask_on(url, address, pems, stop, count))
        })
        .collect();
    // The command line finds its way although nobody resolves the name to here.
    let status = run(&folder, &["status"]);
    assert_eq!(status.code, 0, "{}", status.stderr);

    let first = fingerprint(&host);
    let put = |(new_cert, new_key): &(String, String)| {
        // One after the other, as tools for certificates do it: between the two they don't match.
        fs::rename(new_key, &key).unwrap();
        fs::rename(new_cert, &cert).unwrap();
    };
    put(&next[0]);
    wait_until("the new pair is found by itself", || fingerprint(&host) != first);
    let second = fingerprint(&host);
    fs::write(&cert, "no certificate any more\n").unwrap();
    service.signal("-HUP");
    service.told("no new certificate can be used; the one before is kept");
    assert_eq!(fingerprint(&host), second, "the one before is kept");
    put(&next[1]);
    service.signal("-HUP");
    wait_until("the new pair is found when asked for", || fingerprint(&host) != second);
    let answers = count.load(Ordering::Relaxed);
    wait_until("requests go on", || count.load(Ordering::Relaxed) > answers + 10);
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().expect("no request failed");
    }
    let (_, heard) = curl(&["--include", "--insecure", &format!("https://{host}/healthz")]);
    assert!(heard.to_lowercase().contains("strict-transport-security: max-age=31536000\r\n"), "{heard}");
    let log = service.stop_and_tell("-TERM");
    assert_eq!(log.matches("new connections get another certificate").count(), 2, "{log}");
}

#[test]
fn a_pair_that_can_not_be_used_keeps_the_service_from_starting() {
    let files = Folder::new();
    let hosts = ["metalform.example.com"];
    let good = write_pair(&files, "good", &hosts, (2020, 2120));
    let other = write_pair(&files, "other", &hosts, (2020, 2120));
    let expired = write_pair(&files, "expired", &hosts, (2020, 2021));
    let early = write_pair(&files, "early", &hosts, (2100, 2120));
    let open = write_pair(&files, "open", &hosts, (2020, 2120));
    fs::set_permissions(&open.1, fs::Permissions::from_mode(0o644)).unwrap();
    for (cert, key, told, hint) in [
        (&good.0, &other.1, "is not that of the certificate", "the key that the certificate was asked for with"),
        (&expired.0, &expired.1, "expired at 2021-01-01", "have it renewed"),
        (&early.0, &early.1, "is not valid before 2100-01-01", "this machine's clock"),
        (&open.0, &open.1, "may be read by others (mode 644)", "chmod 600"),
        (&good.0, &good.0, "may be read by others", "chmod 600"),
        (&files.write("absent", ""), &good.1, "holds no certificate", "PEM"),
    ] {
        let (folder, _) = furnished(&format!("tls = {{ cert = {cert:?}, key = {key:?} }}"));
        let ran = run(&folder, &["serve"]);
        assert_eq!(ran.code, 1, "{told}: {}", ran.stderr);
        assert!(ran.stderr.contains("cause: the control plane can't have its certificate\n"), "{}", ran.stderr);
        assert!(ran.stderr.contains(told) && ran.stderr.contains(hint), "{told}: {}", ran.stderr);
        assert!(!folder.path().join("data/token").exists(), "nothing was begun");
    }
}

#[test]
fn plain_http_is_an_explicit_choice_and_for_loopback_only() {
    let (folder, host) = furnished("tls = \"off\"");
    let service = Running::start(&mut command(&folder, &["serve"]));
    service.said("control plane http://127.0.0.1:");
    assert_eq!(curl(&[&format!("http://{host}/healthz")]).0, Some(0));
    assert_eq!(run(&folder, &["status"]).code, 0);
    let (folder, _) = furnished("tls = \"off\"");
    let mut serve = command(&folder, &["serve"]);
    let ran: Ran = serve.env("METALFORM_CONTROL_LISTEN", "0.0.0.0:8443").output().unwrap().into();
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("for loopback only") && ran.stderr.contains("leave `tls` out"), "{}", ran.stderr);
}
