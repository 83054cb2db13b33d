//! A site with machines that really boot: `metalform simulate --machines qemu`, and `metalform serve` in the network namespace
//! that it makes.

use crate::{namespace::join_network, process::Process};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};
use toml::{Table, Value as Toml};

const METALFORM: &str = env!("CARGO_BIN_EXE_metalform");

/// For what no machine has to boot for.
pub const SOON: Duration = Duration::from_secs(60);
/// For whatever machines do, several at once, on two busy cores.
pub const BOOT: Duration = Duration::from_secs(420);

/// Both, until dropped.
pub struct Site {
    folder: PathBuf,
    world: Value,
    config: PathBuf,
    serve: Option<Process>,
    _simulate: Process,
}

impl Site {
    /// Starts the world, with `arguments` of `simulate`, and the service. Everything they write stays in a folder of the
    /// test's name; that of the run before is removed.
    pub fn start(test: &str, arguments: &[&str]) -> Site {
        Site::configured(test, arguments, |_| {})
    }

    /// The same with a change to the service's configuration.
    pub fn configured(test: &str, arguments: &[&str], change: impl FnOnce(&mut Table)) -> Site {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("machines").join(test);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("the folder can be made");
        let (simulate, world) = start_world("simulate", &folder, arguments);
        join_network(simulate.id());

        let mut config: Table = text(&world, "config").parse().expect("the configuration is TOML");
        config.insert("data_dir".into(), folder.join("data").display().to_string().into());
        change(&mut config);
        let file = folder.join("metalform.toml");
        fs::write(&file, config.to_string()).expect("the configuration can be written");
        let mut site = Site { folder, world, config: file, serve: None, _simulate: simulate };
        site.start_service();
        site
    }

    /// `metalform serve`, again after [`Site::kill_service`].
    pub fn start_service(&mut self) {
        let mut serve = Command::new(METALFORM);
        serve.args(["serve", "--config"]).arg(&self.config);
        self.serve = Some(Process::start("serve", &self.folder, &mut serve));
    }

    /// As by `kill -9`.
    pub fn kill_service(&mut self) {
        self.serve = None;
    }

    /// A fault of the hardware of one server, from its first power-on.
    pub fn add_fault(&self, name: &str, server: &str) {
        let fault = json!({
            "name": format!("{name} of {server}"),
            "matches": {"name": server},
            "times": null,
            "effect": {"machine": {"hardware": name}},
        });
        http("POST", &format!("{}/faults", text(&self.world, "control_url")), Some(&fault));
    }

    /// Deploys a cluster of these nodes; its name is the first one's. Each node takes three addresses from `address` on, and
    /// the VIP comes before them. `change` is made to the plan.
    pub fn deploy(&self, nodes: &[&str], address: u8, change: impl FnOnce(&mut Table)) -> String {
        let mut plan: Table = text(&self.world, "plan").parse().expect("the plan is TOML");
        let name = format!("of-{}", nodes[0]);
        let ip = |n: usize| Toml::from(format!("10.240.0.{}", usize::from(address) + n));
        let cluster = plan["cluster"].as_table_mut().expect("a table");
        cluster.insert("name".into(), name.clone().into());
        cluster.insert("external_ip".into(), ip(0));
        cluster.insert("redundancy_factor".into(), if nodes.len() == 1 { 1.into() } else { 2.into() });
        let node = |(n, server_id): (usize, &&str)| {
            let keys = [("mgmt_ip", 1), ("ahv_ip", 2), ("cvm_ip", 3)].map(|(key, at)| (key.to_owned(), ip(3 * n + at)));
            Toml::from(Table::from_iter(keys.into_iter().chain([("server_id".to_owned(), Toml::from(*server_id))])))
        };
        plan.insert("nodes".into(), nodes.iter().enumerate().map(node).collect::<Vec<Toml>>().into());
        change(&mut plan);
        let file = self.folder.join(format!("{name}.toml"));
        fs::write(&file, plan.to_string()).expect("the plan can be written");
        let file = file.to_str().expect("a path of ours");
        wait_for("the plan to be accepted", SOON, || self.ask(&["deploy", file]));
        name
    }

    /// Destroys a cluster, and waits until nothing of it is left.
    pub fn destroy(&self, cluster: &str) {
        self.ask(&["destroy", cluster, "--watch"]).unwrap_or_else(|error| panic!("not destroyed: {error}"));
    }

    /// The documents that the command line answers.
    pub fn ask(&self, words: &[&str]) -> Result<Vec<Value>, String> {
        let mut command = Command::new(METALFORM);
        command.args(words).arg("--json").arg("--config").arg(&self.config);
        let output = command.output().map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(format!("{words:?}: {}", String::from_utf8_lossy(&output.stderr)));
        }
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        lines.lines().map(|line| serde_json::from_str(line).map_err(|error| format!("{error}: {line}"))).collect()
    }

    /// What a person reads when they ask about a node.
    pub fn explain(&self, server_id: &str) -> String {
        let mut command = Command::new(METALFORM);
        command.args(["explain", server_id, "--config"]).arg(&self.config);
        let output = command.output().expect("metalform starts");
        assert!(output.status.success(), "explain: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// One entry of `status`.
    pub fn node(&self, cluster: &str, server_id: &str) -> Value {
        let status = self.status(cluster);
        let nodes = status["nodes"].as_array().expect("a list of nodes");
        nodes.iter().find(|node| node["server_id"] == server_id).expect("the node is listed").clone()
    }

    /// `status` of a cluster.
    pub fn status(&self, cluster: &str) -> Value {
        self.ask(&["status", cluster]).unwrap_or_else(|error| panic!("no status: {error}")).remove(0)
    }

    /// The timeline of a node.
    pub fn events(&self, cluster: &str, server_id: &str) -> Vec<Value> {
        let events = self.ask(&["events", cluster]).unwrap_or_else(|error| panic!("no events: {error}"));
        events.into_iter().filter(|event| event["server_id"] == server_id).collect()
    }

    /// Waits until a node or cluster is in one of these phases, and says which; with all that was said on the way if not.
    pub fn wait_for_phase(&self, cluster: &str, server_id: Option<&str>, phases: &[&str]) -> String {
        let what = format!("{} to be {}", server_id.unwrap_or(cluster), phases.join(" or "));
        wait_for(&what, BOOT, || {
            let at = match server_id {
                Some(server_id) => self.node(cluster, server_id),
                None => self.status(cluster),
            };
            let phase = text(&at, "phase").to_owned();
            if phases.contains(&phase.as_str()) { Ok(phase) } else { Err(format!("{phase}: {}", at["reason"])) }
        })
    }

    /// What a machine has said on its serial console.
    pub fn console(&self, server: &str) -> String {
        let file = self.machine_folder(server).join("console.log");
        String::from_utf8_lossy(&fs::read(file).unwrap_or_default()).into_owned()
    }

    /// Whether nothing was ever written to the drives of a machine. A drive that never was is a sparse file.
    pub fn untouched_drives(&self, server: &str) -> Vec<(String, bool)> {
        use std::os::unix::fs::MetadataExt;
        let entries = fs::read_dir(self.machine_folder(server)).expect("the machine was made").filter_map(Result::ok);
        let drives = entries.filter(|entry| entry.path().extension().is_some_and(|end| end == "raw"));
        // One block holds what a fault wrote when the drive was made.
        let mut drives: Vec<(String, bool)> = drives
            .map(|entry| {
                let blocks = entry.metadata().expect("it was just listed").blocks();
                (entry.file_name().to_string_lossy().into_owned(), blocks <= 8)
            })
            .collect();
        drives.sort();
        drives
    }

    fn machine_folder(&self, server: &str) -> PathBuf {
        Path::new(text(&self.world, "consoles_dir")).join(server)
    }

    /// `[images] dir` of the service.
    pub fn images_dir(&self) -> &Path {
        Path::new(text(&self.world, "images_dir"))
    }
}

impl Drop for Site {
    #[expect(clippy::print_stderr, reason = "for the reader of the failed test")]
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let kept = self.folder.join("consoles");
        let _ = fs::create_dir_all(&kept);
        let machines = fs::read_dir(text(&self.world, "consoles_dir")).into_iter().flatten().filter_map(Result::ok);
        for machine in machines {
            let name = machine.file_name().to_string_lossy().into_owned();
            let Ok(bytes) = fs::read(machine.path().join("console.log")) else { continue };
            let _ = fs::write(kept.join(format!("{name}.log")), &bytes);
            let said = crate::process::last_lines_of(&String::from_utf8_lossy(&bytes), 30);
            eprintln!("--- the end of the console of {name} (all of it: {})\n{said}", kept.display());
        }
    }
}

/// `metalform simulate` in `folder`, its log by that name, and the document that is its first line.
pub fn start_world(name: &str, folder: &Path, arguments: &[&str]) -> (Process, Value) {
    let mut simulate = Command::new(METALFORM);
    simulate.args(["simulate", "--machines", "qemu", "--speed", "600"]).args(arguments);
    simulate.env("XDG_CACHE_HOME", cache()).env("TMPDIR", folder);
    let (simulate, line) = Process::start_and_read_line(name, folder, &mut simulate, SOON);
    (simulate, serde_json::from_str(&line).expect("the first line is JSON"))
}

/// Where `cargo xtask test` has put Debian's packages.
pub fn cache() -> PathBuf {
    let tmp = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let cache = tmp.parent().expect("cargo's folder for tests lies inside the build folder").join("lab-cache");
    assert!(cache.exists(), "{} is missing: `cargo xtask test` (or `cargo xtask lab`) fills it", cache.display());
    cache
}

/// Asks until there is an answer. `what` is the wait's name in the failure, with the last thing seen.
pub fn wait_for<T>(what: &str, deadline: Duration, mut look: impl FnMut() -> Result<T, String>) -> T {
    let started = now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) if started.elapsed() > deadline => panic!("after {deadline:?} still waiting for {what}: {seen}"),
            Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a real limit on real machines")]
pub fn now() -> Instant {
    Instant::now()
}

/// A text of a document.
pub fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("{key} is no text in {value}"))
}

fn http(method: &str, url: &str, body: Option<&Value>) -> Value {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let method = method.parse().expect("a method");
    runtime.block_on(async {
        let client = reqwest::Client::builder().timeout(SOON).no_proxy().build().expect("a client");
        let mut request = client.request(method, url);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.unwrap_or_else(|error| panic!("{url}: {error}"));
        let status = answer.status();
        let text = answer.text().await.unwrap_or_default();
        assert!(status.is_success(), "{url}: {status}: {text}");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{url}: {error}: {text}"))
    })
}
