//! Real iPXE boots from the shipped binary: Debian's iPXE under QEMU, one machine with BIOS and one with UEFI, fetches the
//! script of a deployed plan, boots Debian's kernel with an initrd that takes its configuration and reports, restarts as an
//! installed machine and is sent to its disk. The cloud is simulated and only hands out the servers: its own machines never
//! boot. `cargo xtask test` prepares what is needed; see `lab/` for how it works.

mod lab;

use lab::{Firmware, Lease, Machine, Process, Segment, wait_for};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

const ROUTER: &str = "10.240.0.1";
const SERVICE: &str = "10.240.0.5";
const METALFORM: &str = env!("CARGO_BIN_EXE_metalform");

/// Of the whole test, on two busy cores.
const WHOLE: Duration = Duration::from_secs(420);
const BOOT: Duration = Duration::from_secs(300);
const SOON: Duration = Duration::from_secs(60);

#[test]
fn bios_and_uefi_machines_install_from_a_deployed_plan_and_then_boot_from_their_disks() {
    if !lab::is_inside() {
        return lab::run_inside(
            "bios_and_uefi_machines_install_from_a_deployed_plan_and_then_boot_from_their_disks",
            WHOLE,
        );
    }
    let folder = new_folder();
    let mut segment = Segment::new(&folder, &[&format!("{ROUTER}/24"), &format!("{SERVICE}/24")]);
    let (_cloud, world) = start_cloud(&folder);
    let service = Service::start(&folder, &world);
    let cluster = service.deploy(&folder, text(&world, "plan"));

    let servers = wait_for_servers(&world, 3);
    let chosen = [(&servers["server-001"], Firmware::Bios), (&servers["server-002"], Firmware::Uefi)];
    let leases = chosen.map(|(server, _)| Lease {
        mac: text(server, "mac"),
        address: text(server, "address"),
        script_url: text(server, "user_data"),
    });
    let _dhcp = segment.start_dhcp(ROUTER, &leases);
    let mut machines = chosen.map(|(server, firmware)| {
        let (name, mac) = (text(server, "name"), text(server, "mac"));
        (name, Machine::switch_on(name, firmware, mac, &uuid_of(name), &segment.new_tap(), &folder))
    });

    for (name, machine) in &mut machines {
        wait_for(&format!("the installed {name} to be sent to its disk"), BOOT, || {
            machine.shows("this server is installed and boots from its disk")
        });
        let events = service.events(&cluster, name);
        assert_eq!(story(&events), INSTALLED, "{name}: {events:#?}");
        let status = service.node_status(&cluster, name);
        assert_eq!(status["phase"], "waiting_for_cvm", "{status:#}");
    }
    // What the installer wrote on the disk says so on the console. UEFI would need more than a boot sector: there the
    // machine is left to its firmware.
    wait_for("the BIOS machine to boot from its disk", SOON, || machines[0].1.shows("lab: booted from the disk"));
    // The third server was never switched on, and is waited for.
    assert_eq!(story(&service.events(&cluster, "server-003")), [""; 0]);
}

/// What the timeline tells of one installation: each step once, each file whole.
const INSTALLED: [&str; 10] = [
    "script_served",
    "image_served vmlinuz-foundation, whole",
    "image_served initrd-foundation.img, whole",
    // Taken by Debian's iPXE of 2019, and no part of what the kernel finds as its initrd.
    "boot_step boot",
    "node_report booting",
    "config_served",
    "node_report checking",
    "node_report installing",
    "node_report rebooting",
    "node_report installed",
];

fn story(events: &[Value]) -> Vec<String> {
    let told = events.iter().filter_map(|event| {
        let (kind, data) = (text(event, "kind"), &event["data"]);
        match kind {
            "script_served" | "config_served" => Some(kind.to_owned()),
            "image_served" => {
                let whole = if data["sent"] == data["of"] { "whole" } else { "in part" };
                Some(format!("{kind} {}, {whole}", text(data, "file")))
            }
            "boot_step" => Some(format!("{kind} {}", text(data, "step"))),
            "node_report" => Some(format!("{kind} {}", text(data, "report"))),
            _ => None,
        }
    });
    told.collect()
}

/// A simulated cloud for the segment's addresses, whose own machines stay silent.
fn start_cloud(folder: &Path) -> (Process, Value) {
    let mut simulate = Command::new(METALFORM);
    simulate.args(["simulate", "--subnet", "10.240.0.0/24", "--listen", "127.0.0.1:0", "--speed", "600"]);
    simulate.env("TMPDIR", folder);
    let (cloud, line) = Process::start_and_read_line("simulate", folder, &mut simulate, SOON);
    let world: Value = serde_json::from_str(&line).expect("the first line is JSON");
    let fault = json!({"name": "machine_never_boots", "times": null, "effect": {"machine": "never_boots"}});
    http("POST", &format!("{}/faults", text(&world, "control_url")), Some(&fault));
    (cloud, world)
}

/// All servers of the plan, by name, once the cloud has switched them on.
fn wait_for_servers(world: &Value, count: usize) -> BTreeMap<String, Value> {
    let url = format!("{}/machines", text(world, "control_url"));
    wait_for("the cloud to switch the servers on", SOON, || {
        let machines = http("GET", &url, None);
        let machines: BTreeMap<String, Value> = machines
            .as_array()
            .into_iter()
            .flatten()
            .map(|machine| (text(machine, "name").to_owned(), machine.clone()))
            .collect();
        if machines.len() == count { Ok(machines) } else { Err(format!("{machines:?}")) }
    })
}

/// `metalform serve` in the segment.
struct Service {
    config: PathBuf,
    _serve: Process,
}

impl Service {
    fn start(folder: &Path, world: &Value) -> Service {
        let mut config: toml::Table = text(world, "config").parse().expect("the configuration is TOML");
        config.insert("data_dir".into(), folder.join("data").display().to_string().into());
        let mut set = |section: &str, key: &str, value: toml::Value| {
            let section = config.entry(section).or_insert_with(|| toml::Table::new().into());
            section.as_table_mut().expect("a section").insert(key.into(), value);
        };
        set("boot", "listen", format!("{SERVICE}:8080").into());
        set("boot", "public_url", format!("http://{SERVICE}:8080").into());
        set("boot", "allow", vec!["10.240.0.0/24"].into());
        set("boot", "source_check", "strict".into());
        set("images", "dir", lab::images().display().to_string().into());
        let file = folder.join("metalform.toml");
        fs::write(&file, config.to_string()).expect("the configuration can be written");
        let serve = Process::start("serve", folder, Command::new(METALFORM).args(["serve", "--config"]).arg(&file));
        Service { config: file, _serve: serve }
    }

    /// Answers the cluster's name.
    fn deploy(&self, folder: &Path, plan: &str) -> String {
        let file = folder.join("plan.toml");
        fs::write(&file, plan).expect("the plan can be written");
        let deployed =
            wait_for("the plan to be accepted", SOON, || self.ask(&["deploy", file.to_str().expect("a path of ours")]));
        text(&deployed[0], "name").to_owned()
    }

    fn events(&self, cluster: &str, server_id: &str) -> Vec<Value> {
        let events = self.ask(&["events", cluster]).unwrap_or_else(|error| panic!("no events: {error}"));
        events.into_iter().filter(|event| event["server_id"] == server_id).collect()
    }

    fn node_status(&self, cluster: &str, server_id: &str) -> Value {
        let status = self.ask(&["status", cluster]).unwrap_or_else(|error| panic!("no status: {error}"));
        let nodes = status[0]["nodes"].as_array().expect("a list of nodes");
        nodes.iter().find(|node| node["server_id"] == server_id).expect("the node is listed").clone()
    }

    /// The documents that the command line answers.
    fn ask(&self, words: &[&str]) -> Result<Vec<Value>, String> {
        let mut command = Command::new(METALFORM);
        command.args(words).arg("--json").arg("--config").arg(&self.config);
        let output = command.output().map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(format!("{words:?}: {}", String::from_utf8_lossy(&output.stderr)));
        }
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        lines.lines().map(|line| serde_json::from_str(line).map_err(|error| format!("{error}: {line}"))).collect()
    }
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

/// One for each machine, so that reports can be told apart.
fn uuid_of(name: &str) -> String {
    format!("4d657461-6c66-4f72-8d00-000000000{}", &name[name.len() - 3..])
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("{key} is no text in {value}"))
}

/// Kept after the test, for its consoles and logs; that of the run before is removed.
fn new_folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("real_ipxe");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("the folder can be made");
    folder
}
