//! A machine, a boot plane and a disk or two, for tests of the whole flow. Time is the real one; patience is short.

use super::{
    Tree,
    certificates::Authority,
    plane::{Plane, TOKEN},
};
use crate::{
    clock::{Clock, KernelClock},
    flow::{self, Ended, Site},
    kernel_args::KernelArgs,
    limits::Limits,
    machine::{Machine, Mount},
    network::{Attached, NetworkError},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{
    io,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

pub struct LabMachine {
    tree: Tree,
    pub console: Mutex<String>,
    pub mounts: Mutex<Vec<Mount>>,
    pub restarted: AtomicBool,
    pub stayed: AtomicBool,
    pub has_network: AtomicBool,
}

impl Machine for LabMachine {
    fn root(&self) -> &Path {
        self.tree.root()
    }

    fn mount_basics(&self) -> io::Result<()> {
        Ok(())
    }

    fn load_module(&self, file: &Path) -> io::Result<()> {
        std::fs::read(file).map(drop)
    }

    fn attach(&self, args: &KernelArgs, _: &Limits, _: &dyn Fn(&str)) -> Result<Attached, NetworkError> {
        match self.has_network.load(Ordering::SeqCst) {
            true => Ok(Attached { interface: "eth0".into(), address: args.mgmt_ip, prefix: 8 }),
            false => Err(NetworkError::NoAnswer { interfaces: "eth0".into(), rounds: 10 }),
        }
    }

    fn random(&self) -> io::Result<[u8; 32]> {
        Ok([7; 32])
    }

    fn set_host_name(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn mount(&self, mount: &Mount) -> io::Result<()> {
        self.mounts.lock().unwrap().push(mount.clone());
        Ok(())
    }

    fn console(&self, text: &str) {
        self.console.lock().unwrap().push_str(text);
    }

    fn restart(&self) -> io::Result<()> {
        self.restarted.store(true, Ordering::SeqCst);
        Ok(())
    }

    fn stay(&self, _: &str, _: &Limits) {
        self.stayed.store(true, Ordering::SeqCst);
    }
}

/// The kernel's, but for the wall clock.
#[derive(Default)]
pub struct LabClock {
    pub wall: AtomicI64,
}

impl Clock for LabClock {
    fn uptime(&self) -> Duration {
        KernelClock.uptime()
    }

    fn sleep(&self, duration: Duration) {
        KernelClock.sleep(duration);
    }

    fn wall_clock(&self) -> i64 {
        self.wall.load(Ordering::SeqCst)
    }

    fn set_wall_clock(&self, seconds: i64) -> io::Result<()> {
        self.wall.store(seconds, Ordering::SeqCst);
        Ok(())
    }
}

pub struct Lab {
    pub plane: Plane,
    pub machine: Arc<LabMachine>,
    pub clock: Arc<LabClock>,
    pub limits: Limits,
    /// What the installer's script does.
    pub script: String,
    pub installed_by: &'static str,
}

impl Lab {
    /// Everything is as it should be: a machine that Nutanix CE would take, two files, an installer that ends well.
    pub fn new(name: &str) -> Lab {
        let plane = Plane::start();
        let tree = Tree::new(name);
        tree.write(
            "proc/cmdline",
            &format!(
                "vmlinuz-foundation node_id=node-1 mgmt_ip=127.0.0.1 config_url=http://{}/boot/server/127.0.0.1 \
                 boot_token={TOKEN} quiet\n",
                plane.authority
            ),
        );
        tree.write("proc/meminfo", "MemTotal:       402653184 kB\nMemAvailable:   400000000 kB\n");
        let cpu = |core: u32| format!("processor\t: {core}\nphysical id\t: 0\ncore id\t\t: {core}\nflags\t\t: vmx\n\n");
        tree.write("proc/cpuinfo", &(0..48).map(cpu).collect::<String>());
        tree.disk("sda", "M.2 Kit", "BOOT", 960);
        for n in 0..3 {
            tree.disk(&format!("nvme{n}n1"), "Micron_7450", &format!("DATA{n}"), 3200);
        }
        tree.nic("eth0", "52:54:00:00:00:01", true);
        tree.addresses(&[("eth0", "127.0.0.1", "127.0.0.0", "255.0.0.0")]);
        let files = [("small.img", vec![7; 1000]), ("large.img", (0..2_000_000u32).map(|n| n as u8).collect())];
        plane.with(|state| {
            state.config = json!({
                "server_info": {"server_id": "node-1", "mgmt_ip": "127.0.0.1"},
                "cluster_config": {},
                "node_config": {"hypervisor": "ahv", "min_memory_gib": 346, "min_cores": 43},
                "storage_config": {
                    "boot_device": {"min_gb": 864, "max_gb": 1056}, "hypervisor_device": {"min_gb": 864, "max_gb": 1056},
                    "cvm_device": {"min_gb": 2880}, "data_devices": [{"serial": "DATA1"}, {"min_gb": 2880}],
                    "data_devices_by": "plan",
                },
                "network_config": {"interfaces": [{"name": "eth0", "ip": "127.0.0.1"}]},
            });
            state.files.extend(files.map(|(name, bytes)| (name.to_owned(), bytes)));
        });
        let machine = LabMachine {
            tree,
            console: Mutex::default(),
            mounts: Mutex::default(),
            restarted: AtomicBool::new(false),
            stayed: AtomicBool::new(false),
            has_network: AtomicBool::new(true),
        };
        let millis = Duration::from_millis;
        let limits = Limits {
            first_pause: millis(5),
            longest_pause: millis(20),
            devices: millis(50),
            settle: millis(20),
            image_stall: Duration::from_secs(20),
            confirmation: Duration::from_secs(20),
            installer: Duration::from_secs(30),
            installer_tail: millis(200),
            farewell: Duration::from_secs(20),
            between_reports: millis(20),
            ..Limits::default()
        };
        let installed_by = "agent";
        let script = "echo progress 50 half; echo \"$METALFORM_NODE_ID\" > \"$METALFORM_FILES/../ran\"".into();
        Lab { plane, machine: Arc::new(machine), clock: Arc::default(), limits, script, installed_by }
    }

    /// The boot script pins that authority.
    pub fn pin(&self, authority: &Authority) {
        let line = std::fs::read_to_string(self.tree().root().join("proc/cmdline")).unwrap();
        self.tree().write("proc/cmdline", &format!("{} ca_sha256={}\n", line.trim_end(), authority.pin()));
    }

    pub fn tree(&self) -> &Tree {
        &self.machine.tree
    }

    /// Changes the configuration at a pointer.
    pub fn configure(&self, pointer: &str, value: Value) {
        self.plane.with(|state| {
            if let Some(place) = state.config.pointer_mut(pointer) {
                *place = value;
            } else {
                let (parent, key) = pointer.rsplit_once('/').unwrap();
                state.config.pointer_mut(parent).unwrap()[key] = value;
            }
        });
    }

    /// The manifest of the files as they are, with the script as the installer.
    pub fn write_manifest(&self) {
        self.plane.with(|state| {
            state.files.remove("manifest.json");
            let file = |(name, bytes): (&String, &Vec<u8>)| {
                let sha256 = hex::encode(Sha256::digest(bytes));
                json!({"name": name, "role": "other", "size": bytes.len(), "sha256": sha256})
            };
            let files: Vec<Value> = state.files.iter().map(file).collect();
            let names: Vec<&String> = state.files.keys().collect();
            let recipe = json!({
                "kind": "command", "command": ["/bin/sh", "-c", self.script], "files": names,
                "installed_by": self.installed_by,
            });
            let manifest = json!({"format": 1, "name": "lab", "source": "a test", "recipe": recipe, "files": files});
            state.files.insert("manifest.json".into(), manifest.to_string().into_bytes());
        });
    }

    /// From power-on to restart or failure.
    pub fn boots(&self) -> Ended {
        if !self.plane.with(|state| state.files.contains_key("manifest.json")) {
            self.write_manifest();
        }
        let site = Site { machine: self.machine.clone(), clock: self.clock.clone(), limits: self.limits.clone() };
        let ended = flow::run(&site);
        let console = self.console();
        assert!(!console.contains(TOKEN), "the token is on the console: {console}");
        let told = self.plane.with(|state| format!("{:?}", state.reports));
        assert!(!told.contains(TOKEN), "the token is in a report");
        let (restarted, stayed) = (&self.machine.restarted, &self.machine.stayed);
        match &ended {
            Ended::Restarted => assert!(restarted.load(Ordering::SeqCst) && !stayed.load(Ordering::SeqCst)),
            Ended::Failed(_) => assert!(stayed.load(Ordering::SeqCst)),
        }
        ended
    }

    /// Boots, fails, and says by which code.
    pub fn fails(&self) -> String {
        match self.boots() {
            Ended::Failed(finding) => finding.code,
            Ended::Restarted => panic!("it restarted:\n{}", self.console()),
        }
    }

    /// Boots and restarts.
    pub fn installs(&self) {
        assert_eq!(self.boots(), Ended::Restarted, "{}", self.console());
    }

    pub fn console(&self) -> String {
        self.machine.console.lock().unwrap().clone()
    }

    /// Whether the installer's script was started.
    pub fn installer_ran(&self) -> bool {
        self.tree().root().join("run/metalform/ran").exists()
    }
}
