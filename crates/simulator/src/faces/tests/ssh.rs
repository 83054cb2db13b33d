//! The SSH face with a real client. What commands do is tested where the world is; here is what the wire does with them.

use super::*;
use crate::{
    cvm::{CvmHost, CvmProfile},
    machine::NodeConfig,
};
use russh::{
    ChannelMsg, Disconnect, Pty,
    client::{self, Handle, Msg},
    keys::{HashAlg, PrivateKey, PrivateKeyWithHashAlg},
};
use std::sync::OnceLock;

const USER: &str = "nutanix";
const PASSWORD: &str = "nutanix/4u";

/// Remembers the host key.
#[derive(Clone, Default)]
struct Seen(Arc<OnceLock<String>>);

impl client::Handler for Seen {
    type Error = russh::Error;

    async fn check_server_key(&mut self, shown: &russh::keys::PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        let russh::keys::PublicKeyOrCertificate::PublicKey { key, .. } = shown else { return Ok(false) };
        assert_eq!(key.algorithm().as_str(), "ssh-ed25519");
        self.0.set(key.fingerprint(HashAlg::Sha256).to_string()).unwrap();
        Ok(true)
    }
}

/// A node that was imaged long ago, and where SSH answers on it.
struct Node {
    simulator: RunningSimulator,
    host: CvmHost,
    port: u16,
}

impl Node {
    async fn up(seed: u64) -> Node {
        let mut settings = SimulatorSettings::new(seed, 6000.0);
        settings.world.cvms.profile = CvmProfile::Observed;
        let simulator = started(settings).await;
        let at = |n: u32| crate::testing::nth(simulator.subnet, n);
        let host = CvmHost {
            server_id: "0717-1".into(),
            server_name: "server-1".into(),
            node_uuid: uuid::Uuid::from_u128(1),
            mgmt_ip: at(20),
            install: 1,
            config: NodeConfig {
                cluster_name: "prod".into(),
                cluster_external_ip: at(200),
                redundancy_factor: 1,
                cvm_ips: vec![at(22)],
                hypervisor_ip: at(21),
                cvm_ip: at(22),
                cidr: simulator.subnet,
                hostname: "server-1".into(),
                node_position: "A".into(),
                dns_servers: Vec::new(),
                ntp_servers: Vec::new(),
            },
        };
        let port = simulator.with_world(|world, now| {
            world.place_prepared_node(now, host.clone());
            world.settings().cvms.ssh_port
        });
        let node = Node { simulator, host, port };
        until(async || node.key(node.cvm()).await).await;
        until(async || node.key(node.ahv()).await).await;
        node
    }

    fn cvm(&self) -> Ipv4Addr {
        self.host.config.cvm_ip
    }

    fn ahv(&self) -> Ipv4Addr {
        self.host.config.hypervisor_ip
    }

    /// A connection on which nobody is logged in, and the host key; `None` while connections are refused.
    async fn connect(&self, ip: Ipv4Addr) -> Option<(Handle<Seen>, String)> {
        let seen = Seen::default();
        let config = Arc::new(client::Config { inactivity_timeout: None, ..client::Config::default() });
        let handle = client::connect(config, (ip, self.port), seen.clone()).await.ok()?;
        Some((handle, seen.0.get()?.clone()))
    }

    async fn key(&self, ip: Ipv4Addr) -> Option<String> {
        let (handle, key) = self.connect(ip).await?;
        handle.disconnect(Disconnect::ByApplication, "", "").await.ok()?;
        Some(key)
    }

    async fn log_in(&self, ip: Ipv4Addr, user: &str, password: &str) -> Option<Handle<Seen>> {
        let (mut handle, _) = self.connect(ip).await?;
        handle.authenticate_password(user, password).await.unwrap().success().then_some(handle)
    }

    async fn session(&self) -> Handle<Seen> {
        self.log_in(self.cvm(), USER, PASSWORD).await.unwrap()
    }
}

#[derive(Debug, Default, PartialEq)]
struct Ended {
    stdout: String,
    stderr: String,
    status: Option<u32>,
    /// The server said that there is no more, and closed the channel itself.
    in_order: bool,
}

/// Reads a channel to its end.
async fn read(mut channel: russh::Channel<Msg>) -> Ended {
    let mut ended = Ended::default();
    let mut had_eof = false;
    while let Some(message) = channel.wait().await {
        match message {
            ChannelMsg::Data { data } => ended.stdout += std::str::from_utf8(&data).unwrap(),
            ChannelMsg::ExtendedData { data, ext: 1 } => ended.stderr += std::str::from_utf8(&data).unwrap(),
            ChannelMsg::ExitStatus { exit_status } => ended.status = Some(exit_status),
            ChannelMsg::Eof => had_eof = true,
            ChannelMsg::Close => ended.in_order = had_eof,
            _ => {}
        }
    }
    ended
}

async fn exec(handle: &Handle<Seen>, command: &str, stdin: &[u8], terminal: Option<&[(Pty, u32)]>) -> Ended {
    let channel = handle.channel_open_session().await.unwrap();
    if let Some(modes) = terminal {
        channel.request_pty(true, "xterm", 80, 24, 0, 0, modes).await.unwrap();
    }
    channel.exec(true, command).await.unwrap();
    channel.data(stdin).await.unwrap();
    channel.eof().await.unwrap();
    read(channel).await
}

#[tokio::test]
async fn a_command_gets_its_input_and_answers_with_output_errors_and_status() {
    let node = Node::up(21).await;
    let session = node.session().await;
    let ended = exec(&session, "cat >.note; cat .note .none; exit 3", b"one\ntwo\n", None).await;
    assert_eq!((&*ended.stdout, ended.status, ended.in_order), ("one\ntwo\n", Some(3), true), "{ended:?}");
    assert!(ended.stderr.contains(".none") && ended.stderr.ends_with('\n'), "{ended:?}");
    // The same connection, and what the command before it left.
    assert_eq!(exec(&session, "cat .note", b"", None).await.stdout, "one\ntwo\n");
    let many = "x".repeat(200_000);
    assert_eq!(exec(&session, "cat", many.as_bytes(), None).await.stdout, many, "more than a window or a packet");
    let log: Value = node.simulator.with_world(|world, _| world.requests().map(|entry| json!(entry)).collect());
    let log = log.to_string();
    assert!(log.contains("cat .note") && !log.contains(PASSWORD) && !log.contains("one\\ntwo"), "{log}");
}

#[tokio::test]
async fn several_commands_go_on_at_once_on_one_connection() {
    let node = Node::up(22).await;
    let session = node.session().await;
    let first = session.channel_open_session().await.unwrap();
    first.exec(true, "cat").await.unwrap();
    assert_eq!(exec(&session, "echo second", b"", None).await.stdout, "second\n");
    first.data(&b"first"[..]).await.unwrap();
    first.eof().await.unwrap();
    assert_eq!(read(first).await.stdout, "first");
}

#[tokio::test]
async fn only_the_right_password_opens_and_nothing_else_does() {
    let node = Node::up(23).await;
    for (user, password) in [(USER, "wrong"), (USER, ""), ("nobody", PASSWORD)] {
        assert!(node.log_in(node.cvm(), user, password).await.is_none(), "{user}");
    }
    let (mut handle, _) = node.connect(node.cvm()).await.unwrap();
    let none = handle.authenticate_none(USER).await.unwrap();
    let client::AuthResult::Failure { remaining_methods, .. } = none else { panic!("{none:?}") };
    assert_eq!(remaining_methods.to_vec(), [russh::MethodKind::Password]);
    let key = PrivateKey::random(&mut rand::rng(), russh::keys::Algorithm::Ed25519).unwrap();
    let key = PrivateKeyWithHashAlg::new(Arc::new(key), None);
    assert!(!handle.authenticate_publickey(USER, key).await.unwrap().success());
    assert!(handle.authenticate_password(USER, PASSWORD).await.unwrap().success(), "after all that");
    assert!(node.log_in(node.ahv(), "root", PASSWORD).await.is_some());
    assert!(node.log_in(node.cvm(), "root", PASSWORD).await.is_none());
}

#[tokio::test]
async fn shells_subsystems_and_forwarding_are_refused() {
    let node = Node::up(24).await;
    let session = node.session().await;
    let refused = async |channel: russh::Channel<Msg>| {
        let mut channel = channel;
        matches!(channel.wait().await, Some(ChannelMsg::Failure))
    };
    let channel = session.channel_open_session().await.unwrap();
    channel.request_shell(true).await.unwrap();
    assert!(refused(channel).await);
    let channel = session.channel_open_session().await.unwrap();
    channel.request_subsystem(true, "sftp").await.unwrap();
    assert!(refused(channel).await);
    let channel = session.channel_open_session().await.unwrap();
    channel.set_env(true, "LANG", "C").await.unwrap();
    assert!(refused(channel).await);
    let forwarded = session.channel_open_direct_tcpip("127.0.0.1", 80, "127.0.0.1", 1).await;
    assert!(forwarded.is_err());
    assert!(session.tcpip_forward("127.0.0.1", 0).await.is_err());
    assert_eq!(exec(&session, "echo still here", b"", None).await.stdout, "still here\n");
}

#[tokio::test]
async fn a_terminal_shows_what_was_typed_and_errors_among_the_output() {
    let node = Node::up(25).await;
    let session = node.session().await;
    let modes = [(Pty::VINTR, 3)];
    let ended = exec(&session, "cat .none; echo done", b"Y\n", Some(&modes)).await;
    let mut lines: Vec<&str> = ended.stdout.split_terminator("\r\n").collect();
    assert_eq!(lines.remove(0), "Y");
    lines.sort_unstable();
    assert_eq!(lines, ["cat: .none: No such file or directory", "done"]);
    assert_eq!((ended.status, &*ended.stderr), (Some(0), ""));
    let raw = exec(&session, "echo done", b"Y\n", Some(&[(Pty::ECHO, 0), (Pty::ONLCR, 0)])).await;
    assert_eq!(raw.stdout, "done\n");
}

#[tokio::test]
async fn a_host_key_is_a_systems_own_and_new_when_it_is_installed_anew() {
    let node = Node::up(26).await;
    let cvm = node.key(node.cvm()).await.unwrap();
    let ahv = node.key(node.ahv()).await.unwrap();
    assert_ne!(cvm, ahv);
    assert_eq!(node.key(node.cvm()).await.unwrap(), cvm);

    let session = node.session().await;
    let again = CvmHost { install: 2, ..node.host.clone() };
    node.simulator.with_world(|world, now| world.place_prepared_node(now, again));
    until(async || session.is_closed().then_some(())).await;
    let new = until(async || node.key(node.cvm()).await.filter(|key| *key != cvm)).await;
    assert_eq!(node.key(node.cvm()).await.unwrap(), new);
    let new = until(async || node.key(node.ahv()).await.filter(|key| *key != ahv)).await;
    assert_ne!(new, ahv);
}

#[tokio::test]
async fn a_cut_connection_ends_without_a_word() {
    let node = Node::up(27).await;
    let session = node.session().await;
    until(async || {
        let status = exec(&session, "'/usr/local/nutanix/cluster/bin/genesis' status", b"", None).await.stdout;
        status.lines().any(|line| line.starts_with("genesis: [") && line != "genesis: []").then_some(())
    })
    .await;
    let cut = crate::fault::builtin("ssh_cut").unwrap();
    node.simulator.with_world(|world, _| world.add_fault(cut));
    let create =
        format!("'/usr/local/nutanix/cluster/bin/cluster' '--svm_ips={}' '--redundancy_factor=1' 'create'", node.cvm());
    let start = format!(
        "umask 077; mkdir -p .metalform && mkdir .metalform/create-1 && cat /proc/sys/kernel/random/boot_id \
         >.metalform/create-1/boot && {{ setsid nohup sh -c '{{ {}; }}; echo $? >.metalform/create-1/status' \
         >.metalform/create-1/output 2>&1 </dev/null & echo $! >.metalform/create-1/pid; }}",
        create.replace('\'', r"'\''")
    );
    let ended = exec(&session, &start, b"", None).await;
    assert_eq!(ended, Ended::default());
    until(async || session.is_closed().then_some(())).await;
    let session = node.session().await;
    let seen = exec(&session, "cat .metalform/create-1/pid", b"", None).await;
    assert!(seen.stdout.trim().parse::<u32>().is_ok(), "it took effect: {seen:?}");
}

#[tokio::test]
async fn with_the_simulator_its_connections_end() {
    let node = Node::up(28).await;
    let (session, at) = (node.session().await, (node.cvm(), node.port));
    node.simulator.stop().await;
    until(async || session.is_closed().then_some(())).await;
    assert!(TcpStream::connect(at).await.is_err());
}

#[tokio::test]
async fn a_connection_on_which_nobody_logs_in_takes_no_place_for_ever() {
    let node = Node::up(29).await;
    let mut silent = Vec::new();
    // OpenSSH drops connections beyond its `MaxStartups` too: they are closed before a word is said.
    for _ in 0..150 {
        silent.push(TcpStream::connect((node.cvm(), node.port)).await.unwrap());
    }
    let last = silent.pop().unwrap();
    let closed = async || {
        let mut byte = [0];
        matches!(last.try_read(&mut byte), Ok(0)).then_some(())
    };
    until(closed).await;
    drop(silent);
    until(async || node.log_in(node.cvm(), USER, PASSWORD).await).await;
}

#[tokio::test]
async fn where_the_usual_port_is_taken_ssh_answers_on_another_and_the_configuration_says_so() {
    let taken = std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let mut settings = SimulatorSettings::new(30, 6000.0);
    settings.world.cvms.profile = CvmProfile::Observed;
    settings.world.cvms.ssh_port = taken.local_addr().unwrap().port();
    let simulator = started(settings).await;
    let port = simulator.with_world(|world, _| world.settings().cvms.ssh_port);
    assert_ne!(port, taken.local_addr().unwrap().port());
    let config: toml::Table = simulator.config_toml(None).parse().unwrap();
    assert_eq!(config["nutanix"].as_table().unwrap().len(), 1);
    assert_eq!(config["nutanix"]["ssh_port"].as_integer(), Some(port.into()));
}
