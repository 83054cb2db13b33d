//! The firewall's rules, loaded in a network namespace around the real service; the machine, the operator and the stranger
//! are addresses of a second one.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

const RULES: &str = include_str!("../../../../packaging/nftables/metalform.nft");

/// Set in the test's second life, inside the namespaces.
const INSIDE: &str = "HARDENING_INSIDE";

/// The service's addresses, each in the network of somebody.
const OF_MACHINES: &str = "10.240.0.1";
const OF_OPERATORS: &str = "192.0.2.1";
const OF_STRANGERS: &str = "203.0.113.1";

#[test]
fn machines_reach_the_boot_plane_operators_the_control_plane_and_nobody_anything_else() {
    if std::env::var_os(INSIDE).is_none() {
        return run_inside(
            "firewall::machines_reach_the_boot_plane_operators_the_control_plane_and_nobody_anything_else",
        );
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("firewall");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    run("ip link set lo up");
    let others = Ended(Command::new("unshare").args(["--net", "sleep", "600"]).spawn().unwrap());
    let pid = others.0.id();
    // The peer can be moved as soon as the program has left our network.
    let own = fs::read_link("/proc/self/ns/net").unwrap();
    until("a second network", || fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|theirs| theirs != own));
    run(&format!("ip link add host type veth peer name other netns {pid}"));
    for network in [OF_MACHINES, OF_OPERATORS, OF_STRANGERS] {
        run(&format!("ip addr add {network}/24 dev host"));
        run(&format!("nsenter --target {pid} --net ip addr add {network}1/24 dev other"));
    }
    run("ip link set host up");
    run(&format!("nsenter --target {pid} --net ip link set other up"));

    let _service = start_service(&folder);
    let somebody_elses = TcpListener::bind("0.0.0.0:9999").unwrap();
    until("the service", || reaches(pid, OF_MACHINES, 8080) && reaches(pid, OF_OPERATORS, 8443));
    assert!(reaches(pid, OF_STRANGERS, 8080) && reaches(pid, OF_MACHINES, 9999), "without rules everything is open");

    let rules = folder.join("metalform.nft");
    fs::write(&rules, RULES).unwrap();
    run(&format!("nft --check --file {}", rules.display()));
    run(&format!("nft --file {}", rules.display()));
    // A second time, as after a change of them.
    run(&format!("nft --file {}", rules.display()));
    let open: Vec<(&str, u16)> = [OF_MACHINES, OF_OPERATORS, OF_STRANGERS]
        .into_iter()
        .flat_map(|network| [22, 80, 8080, 8443, 9999].map(|port| (network, port)))
        .filter(|(network, port)| reaches(pid, network, *port))
        .collect();
    assert_eq!(open, [(OF_MACHINES, 8080), (OF_OPERATORS, 8443)]);
    drop(somebody_elses);
}

/// Runs a test of this program again in a network that is gone with its last process; with the first of them, all go.
fn run_inside(test: &str) {
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    let mut command = Command::new("timeout");
    command.args(["--kill-after=1", "120", "unshare"]);
    command.args(if is_root { &[][..] } else { &["--user", "--map-root-user"] });
    command.args(["--net", "--pid", "--mount-proc", "--fork", "--kill-child", "--"]);
    command.arg(std::env::current_exe().unwrap()).args([test, "--exact", "--nocapture"]).env(INSIDE, "1");
    let status = command.stdin(Stdio::null()).status().expect("timeout is in Debian's package coreutils");
    assert!(
        status.success(),
        "{test} failed inside its namespaces ({status}); if it did not even begin, this computer does not allow them: be \
         root, or allow unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone=1)"
    );
}

fn start_service(folder: &Path) -> Ended {
    let write = |name: &str, text: &str| -> PathBuf {
        let file = folder.join(name);
        fs::write(&file, text).unwrap();
        file
    };
    let key = write("api-key", "none");
    run(&format!("chmod 600 {}", key.display()));
    let config = write(
        "metalform.toml",
        &format!(
            "data_dir = {data:?}\n[boot]\npublic_url = \"http://{OF_MACHINES}:8080\"\n[control]\nlisten = \
             \"0.0.0.0:8443\"\n[ibm_cloud]\napi_key_file = {key:?}\n",
            data = folder.join("data"),
        ),
    );
    let log = fs::File::create(folder.join("serve.log")).unwrap();
    let mut serve = Command::new(env!("CARGO_BIN_EXE_metalform"));
    serve.args(["serve", "--config"]).arg(config).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    Ended(serve.spawn().unwrap())
}

/// Whether somebody of that network can connect; the address that is asked decides from which one is asked.
fn reaches(pid: u32, address: &str, port: u16) -> bool {
    let connect = format!("exec 3<>/dev/tcp/{address}/{port}");
    let words = ["--target", &pid.to_string(), "--net", "timeout", "1", "bash", "-c", &connect];
    Command::new("nsenter").args(words).stderr(Stdio::null()).status().unwrap().success()
}

fn run(line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    let output = Command::new(words[0]).args(&words[1..]).output();
    let output = output.unwrap_or_else(|error| panic!("{line}: {error}"));
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

#[expect(clippy::disallowed_methods, reason = "a real limit on real programs")]
fn until(what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(60), "{what} did not come");
        thread::sleep(Duration::from_millis(50));
    }
}

/// A program that ends with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
