//! `simulate` and `serve` as two processes that know each other.

use crate::run::{Folder, Ran, Running, command};
use serde_json::Value;
use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::Command,
};

/// A simulated world, a service in it, and the folder both were started in.
pub struct Site {
    pub service: Running,
    pub simulator: Running,
    /// The first line of `simulate`.
    pub world: Value,
    pub folder: Folder,
}

impl Site {
    pub fn start() -> Site {
        Site::start_with("6000", &[])
    }

    /// A world of that speed, and a service with these variables in its environment.
    pub fn start_with(speed: &str, variables: &[(&str, &str)]) -> Site {
        Site::start_in(&["--speed", speed], variables)
    }

    /// A world that `simulate` is told so, and a service with these variables in its environment.
    pub fn start_in(world: &[&str], variables: &[(&str, &str)]) -> Site {
        let folder = Folder::new();
        let mut simulate = command(&folder, &[&["simulate"], world].concat());
        let simulator = Running::start(simulate.env("TMPDIR", folder.path()));
        let world: Value = serde_json::from_str(&format!("{{{}", simulator.said("{"))).unwrap();
        folder.write("plan.toml", world["plan"].as_str().unwrap());
        // The configuration as it is, but for the ports: several sites run side by side.
        let mut config: toml::Table = world["config"].as_str().unwrap().parse().unwrap();
        let [boot, control] = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
        let public_url = format!("http://{boot}");
        for (section, key, value) in
            [("boot", "listen", boot), ("boot", "public_url", public_url), ("control", "listen", control)]
        {
            let section = config.entry(section).or_insert_with(|| toml::Table::new().into());
            section.as_table_mut().unwrap().insert(key.into(), value.into());
        }
        folder.write("metalform.toml", &config.to_string());
        let service = start_service(&folder, variables);
        Site { service, simulator, world, folder }
    }

    /// A new process on the same store, once the one before has ended.
    pub fn start_service_again(&mut self, variables: &[(&str, &str)]) {
        self.service = start_service(&self.folder, variables);
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        command(&self.folder, args).output().unwrap().into()
    }

    /// A command of somebody elsewhere, who has the service's address, its certificate to trust, and a token of their own.
    pub fn run_elsewhere(&self, token: &str, args: &[&str]) -> Ran {
        let config = self.config();
        let address = format!("https://{}", config["control"]["listen"].as_str().unwrap());
        let elsewhere = Folder::new();
        let mut command = command(&elsewhere, args);
        command.env("METALFORM_CA_FILE", self.data_dir().join("tls/ca.pem"));
        command.env("METALFORM_SERVER", address).env("METALFORM_TOKEN", token).output().unwrap().into()
    }

    /// What the cloud ever made that still exists.
    pub fn left(&self) -> Vec<Value> {
        self.control("ledger").into_iter().filter(|entry| entry["deleted_at"].is_null()).collect()
    }

    /// What the simulator says of itself.
    pub fn control(&self, what: &str) -> Vec<Value> {
        let (host, path) = self.control_at();
        let answer = exchange(&host, &format!("GET {path}/{what}"), "");
        let list: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
        list.as_array().unwrap().clone()
    }

    /// Arms a fault that has a name.
    #[cfg(feature = "crash-points")]
    pub fn arm(&self, fault: &str) {
        let (host, path) = self.control_at();
        let answer = exchange(&host, &format!("POST {path}/faults"), &format!("{{\"name\":\"{fault}\"}}"));
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    }

    fn control_at(&self) -> (String, String) {
        let url = self.world["control_url"].as_str().unwrap().trim_start_matches("http://");
        let (host, path) = url.split_once('/').unwrap();
        (host.to_owned(), format!("/{path}"))
    }

    /// The configuration that the service was started with.
    pub fn config(&self) -> toml::Table {
        fs::read_to_string(self.folder.path().join("metalform.toml")).unwrap().parse().unwrap()
    }

    pub fn data_dir(&self) -> PathBuf {
        self.config()["data_dir"].as_str().unwrap().into()
    }

    /// The operator's token.
    pub fn token(&self) -> String {
        fs::read_to_string(self.data_dir().join("token")).unwrap().trim().to_owned()
    }

    /// An answer of the control plane in full, head and body, whatever its status; as somebody else's client has it.
    pub fn api(&self, path: &str) -> String {
        let config = self.config();
        let url = format!("https://{}{path}", config["control"]["listen"].as_str().unwrap());
        let ca = self.data_dir().join("tls/ca.pem");
        let mut curl = Command::new("curl");
        curl.args([
            "--silent",
            "--show-error",
            "--include",
            "--max-time",
            "60",
            "--noproxy",
            "*",
            "--http1.1",
            "--cacert",
        ]);
        let token = format!("authorization: Bearer {}", self.token());
        let answer = curl.arg(ca).args(["--header", &token, &url]).output();
        let answer = answer.expect("curl is missing: `cargo xtask test` installs it");
        assert!(answer.status.success(), "{url}: {}", String::from_utf8_lossy(&answer.stderr));
        String::from_utf8(answer.stdout).unwrap()
    }
}

/// One request over a connection of its own, and the whole answer.
fn exchange(host: &str, line: &str, body: &str) -> String {
    let mut connection = TcpStream::connect(host).unwrap();
    let length = body.len();
    let head = format!("{line} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {length}\r\n");
    write!(connection, "{head}\r\n{body}").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer
}

fn start_service(folder: &Folder, variables: &[(&str, &str)]) -> Running {
    let mut command = fast(command(folder, &["serve"]));
    let service = Running::start(command.envs(variables.iter().copied()));
    service.said("control plane https://127.0.0.1:");
    service
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A service that looks often.
fn fast(mut command: Command) -> Command {
    let timeouts = [
        ("PROBE", "100ms"),
        ("FORMATION_POLL", "100ms"),
        ("FORMATION_SETTLE", "2s"),
        ("CLEAN_STEP", "2s"),
        ("PASSWORD_SYNC", "1s"),
        ("PROBE_AFTER_REFUSAL", "2s"),
        ("SERVER_POLL", "200ms"),
        ("STOP", "2s"),
    ];
    command.envs(timeouts.map(|(key, value)| (format!("METALFORM_TIMEOUTS_{key}"), value)));
    command
}
