//! Debian's own SSH server on a free port of the loopback, with a machine behind it that has one account, `nutanix`.
//!
//! The account exists in a mount namespace alone, whose `/etc/passwd` and `/etc/shadow` are files of the test, and all
//! of its processes in a process namespace: so nothing is added to the computer, and nothing is left on it, even when
//! the test is killed. Rejected: `useradd` for the time of the test, which leaves an account with a known password
//! behind whenever the test doesn't come to its end.

use metalform_nutanix::{CvmShellSettings, Fingerprint};
use russh::keys::{Algorithm, HashAlg, PrivateKey, ssh_key::LineEnding};
use secrecy::SecretString;
use std::{
    env, fs,
    io::{BufRead, BufReader},
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

pub const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;

const PASSWORD: &str = "Geheim.4u";
/// `openssl passwd -6 -salt metalform Geheim.4u`
const HASH: &str =
    "$6$metalform$7sOscp3N5yztgOqDHiCuo0Dxf6kFNtfMTBAdiKCnneMYbFt0IsJUfuGu1iEzwVKJRbtTdkdwRklCHZolmNcMN1";

/// Longer than anything here takes on a busy computer; it only ends a test that would never end.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What stands in for a CVM's programs. `create` waits until somebody writes to `go`.
const CLUSTER: &str = r#"#!/bin/sh
for verb in "$@"; do :; done
case "$verb" in
status)
    if [ -e "$HOME/cluster" ]; then cat "$HOME/cluster"; exit 0; fi
    echo "2023-08-24 12:00:00,123Z CRITICAL MainThread cluster:2943 Cluster is currently unconfigured. Please create the cluster." >&2
    exit 1 ;;
create)
    printf '[%s]\n' "$@"
    echo 'Will seed prism with password hash $6$abc$defghi' >&2
    mkfifo "$HOME/go" && read -r _ <"$HOME/go"
    echo 'INFO MainThread cluster:3000 Success!' >&2 ;;
stop)
    read -r answer
    echo "answered $answer" ;;
destroy)
    if ! test -t 0; then echo 'no terminal' >&2; exit 1; fi
    read -r answer
    echo "answered $answer on $(tty)"
    test "$answer" = Y ;;
esac
"#;
const GENESIS: &str = "#!/bin/sh\necho \"genesis: [$$]\"\necho 'foundation: []'\n";
/// Not on every computer, and where it is, not always allowed.
const PING: &str = "#!/bin/sh\ntest \"$*\" = '-c 1 -W 2 127.0.0.1'\n";
const SUDO: &str = "#!/bin/sh\ncat >\"$HOME/told-to-$1\"\n";

/// Everything that has to be root: `$1` the test's folder, `$2` sshd, `$3` where its libraries may be. Ends when its
/// input does, and with it, being the first process of its namespace, all others.
const BEGIN: &str = r#"
set -eu
mount --bind "$1/passwd" /etc/passwd
mount --bind "$1/shadow" /etc/shadow
mount -t tmpfs tmpfs /run
mkdir /run/sshd
chown -R 4711:4711 "$1/home"
{ LD_LIBRARY_PATH="$3" "$2" -D -e -f "$1/sshd_config" </dev/null; echo 'sshd has ended' >&2; } &
cat >/dev/null
rm -rf -- "$1/home"
"#;

pub struct Server {
    pub port: u16,
    pub host_key: Fingerprint,
    folder: PathBuf,
    process: Child,
    input: Option<ChildStdin>,
    log: mpsc::Receiver<String>,
}

impl Server {
    /// Starts one, and waits until it listens.
    pub fn start() -> Server {
        Server::start_with("")
    }

    /// Starts one with this in its configuration too.
    pub fn start_with(more: &str) -> Server {
        // sshd takes no port 0. Between our finding a free one and its listening on it somebody else may take it.
        for _ in 0..10 {
            let mut server = Server::begin(more);
            let begun = server.log_until("Server listening on");
            if begun.last().is_some_and(|line| line.starts_with("Server listening on")) {
                return server;
            }
            server.end();
            assert!(
                begun.iter().any(|line| line.contains("Address already in use")),
                "sshd does not start. It needs root, or sudo without a question, and mount namespaces: {begun:#?}"
            );
        }
        panic!("no port was free ten times");
    }

    fn begin(more: &str) -> Server {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = env::temp_dir().join(format!("metalform-openssh-{}-{count}", std::process::id()));
        let host_key = lay_out(&folder);
        let port = TcpListener::bind((LOOPBACK, 0)).unwrap().local_addr().unwrap().port();
        write_configuration(&folder, port, more);
        let mut process = begin(&folder);
        let (said, log) = mpsc::channel();
        let errors = BufReader::new(process.stderr.take().unwrap());
        thread::spawn(move || errors.lines().map_while(Result::ok).try_for_each(|line| said.send(line)));
        Server { port, host_key, input: process.stdin.take(), folder, process, log }
    }

    fn end(&mut self) {
        drop(self.input.take());
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }

    /// What the server has logged, up to and with the first line that holds this text; to its end if none does.
    pub fn log_until(&self, text: &str) -> Vec<String> {
        let mut lines = Vec::new();
        while let Ok(line) = self.log.recv_timeout(PATIENCE) {
            let found = line.contains(text) || line == "sshd has ended";
            lines.push(line);
            if found {
                break;
            }
        }
        lines
    }

    pub fn password(&self) -> SecretString {
        PASSWORD.into()
    }

    /// Settings that name the stand-ins.
    pub fn settings(&self) -> CvmShellSettings {
        let program = |name: &str| self.folder.join("bin").join(name).to_str().unwrap().to_owned();
        CvmShellSettings {
            port: self.port,
            cluster: program("cluster"),
            genesis: program("genesis"),
            connect_limit: PATIENCE,
            exec_limit: PATIENCE,
            slow_exec_limit: PATIENCE,
            ..CvmShellSettings::default()
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

fn lay_out(folder: &Path) -> Fingerprint {
    for part in ["home", "bin"] {
        fs::create_dir_all(folder.join(part)).unwrap();
    }
    for (name, text) in [("cluster", CLUSTER), ("genesis", GENESIS), ("ping", PING), ("sudo", SUDO)] {
        let file = folder.join("bin").join(name);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let home = folder.join("home");
    let accounts = format!(
        "root:x:0:0::/:/bin/sh\nsshd:x:101:65534::/run/sshd:/usr/sbin/nologin\nnutanix:x:4711:4711::{}:/bin/bash\n",
        home.display()
    );
    fs::write(folder.join("passwd"), accounts).unwrap();
    fs::write(folder.join("shadow"), format!("root:*:19000::::::\nsshd:*:19000::::::\nnutanix:{HASH}:19000::::::\n"))
        .unwrap();
    let key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).unwrap();
    let file = folder.join("host_key");
    fs::write(&file, key.to_openssh(LineEnding::LF).unwrap().as_bytes()).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let shown = key.public_key().fingerprint(HashAlg::Sha256);
    Fingerprint(shown.as_bytes().try_into().expect("SHA-256 has 32 bytes"))
}

fn write_configuration(folder: &Path, port: u16, more: &str) {
    let at = folder.display();
    let mut configuration = format!(
        "Port {port}\nListenAddress {LOOPBACK}\nHostKey {at}/host_key\nPidFile none\nLogLevel VERBOSE\n\
         UsePAM no\nStrictModes no\nUseDNS no\nPasswordAuthentication yes\nPubkeyAuthentication no\n\
         KbdInteractiveAuthentication no\nAllowUsers nutanix\nSetEnv PATH={at}/bin:/usr/bin:/bin\n{more}\n"
    );
    // From 9.8 on the server is several programs.
    for (keyword, program) in [("SshdSessionPath", "sshd-session"), ("SshdAuthPath", "sshd-auth")] {
        let program = unpacked().join("usr/lib/openssh").join(program);
        if program.exists() {
            configuration += &format!("{keyword} {}\n", program.display());
        }
    }
    fs::write(folder.join("sshd_config"), configuration).unwrap();
}

fn begin(folder: &Path) -> Child {
    let sshd = unpacked().join("usr/sbin/sshd");
    assert!(sshd.exists(), "{} is missing: `cargo xtask test` (or `cargo xtask lab`) makes it", sshd.display());
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    let mut command = Command::new(if is_root { "env" } else { "sudo" });
    if !is_root {
        command.args(["-n", "env"]);
    }
    command
        .args(["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["sh", "-c", BEGIN, "sh"])
        .arg(folder)
        .arg(sshd)
        .arg(libraries())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command.spawn().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"))
}

/// Where `cargo xtask lab` puts Debian's package.
fn unpacked() -> PathBuf {
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    tmp.parent().expect("cargo's folder for tests lies inside the build folder").join("lab/openssh")
}

fn libraries() -> PathBuf {
    let folders = fs::read_dir(unpacked().join("usr/lib")).into_iter().flatten().filter_map(Result::ok);
    let mut libraries = folders.map(|folder| folder.path()).filter(|f| f.to_string_lossy().ends_with("-linux-gnu"));
    libraries.next().unwrap_or_default()
}
