//! From power-on to a cluster.

use crate::{
    namespace::{is_inside, run_inside},
    site::{BOOT, Site, text, wait_for},
};
use serde_json::Value;
use std::time::Duration;

const WHOLE: Duration = Duration::from_secs(900);

/// What the timeline tells of one installation: each step once, each file whole.
const INSTALLED: [&str; 9] = [
    "script_served",
    "image_served vmlinuz-foundation, whole",
    "image_served initrd-foundation.img, whole",
    // Debian's iPXE of 2019 can't compare, boots all the same, and says so. What the beacon answers is no part of what the kernel
    // finds as its initrd.
    "boot_step boot-unchecked",
    "node_report booting",
    "node_report checking",
    "node_report installing",
    "node_report rebooting",
    "node_report installed",
];

/// What the agent fetches. It reports meanwhile, so these have an order among themselves only.
const FETCHED: [&str; 3] = ["config_served", "image_served manifest.json, whole", "image_served system.img.gz, whole"];

#[test]
fn three_bios_machines_become_a_cluster_and_a_uefi_machine_installs_and_is_sent_to_its_disk() {
    if !is_inside() {
        return run_inside(
            "boots::three_bios_machines_become_a_cluster_and_a_uefi_machine_installs_and_is_sent_to_its_disk",
            WHOLE,
        );
    }
    // The network first, always: then nothing but the boot script keeps an installed machine from being installed again.
    let site = Site::start("boots", &["--boot-order", "network", "--firmware", "uefi-001=uefi"]);
    let three = ["bios-001", "bios-002", "bios-003"];
    let cluster = site.deploy(&three, 20, |_| {});
    let single = site.deploy(&["uefi-001"], 40, |_| {});

    // The system that the installer writes boots with BIOS only: a UEFI machine is left to its firmware there.
    for (cluster, server) in
        [(&cluster, "bios-001"), (&cluster, "bios-002"), (&cluster, "bios-003"), (&single, "uefi-001")]
    {
        wait_for(&format!("the installed {server} to be sent to its disk"), BOOT, || {
            let console = site.console(server);
            let is_sent = console.contains("this server is installed and boots from its disk");
            if is_sent { Ok(()) } else { Err(format!("{}", site.node(cluster, server)["reason"])) }
        });
        let (fetched, told): (Vec<String>, Vec<String>) =
            steps(&site.events(cluster, server)).into_iter().partition(|step| FETCHED.contains(&step.as_str()));
        assert_eq!(told, INSTALLED, "{server}");
        assert_eq!(fetched, FETCHED, "{server}");
    }
    assert_eq!(site.wait_for_phase(&cluster, None, &["ready", "needs_operator", "failed"]), "ready");
    for server in three {
        assert_eq!(text(&site.node(&cluster, server), "phase"), "ready");
        let console = site.console(server);
        assert!(console.contains("lab: the installed system is up"), "{server}");
        // That of the agent and that of the installed system: neither may panic because the computer is busy.
        let kernels: Vec<&str> = console.lines().filter(|line| line.contains("Kernel command line: ")).collect();
        assert!(
            kernels.len() >= 2 && kernels.iter().all(|line| line.contains(" no_timer_check panic=10")),
            "{kernels:?}"
        );
    }
    assert_eq!(text(&site.node(&single, "uefi-001"), "phase"), "waiting_for_cvm");
}

/// On Debian's iPXE of 2019, which can't compare: it is told by the status whether to go on, and by another question that the
/// machine is installed.
#[test]
fn a_script_in_user_data_runs_on_real_ipxe_and_sends_an_installed_machine_to_its_disk() {
    if !is_inside() {
        return run_inside(
            "boots::a_script_in_user_data_runs_on_real_ipxe_and_sends_an_installed_machine_to_its_disk",
            WHOLE,
        );
    }
    let arguments = ["--boot-order", "network", "--firmware", "inline-002=uefi"];
    let site = Site::configured("inline", &arguments, |config| {
        let cloud = config["ibm_cloud"].as_table_mut().expect("a table");
        cloud.insert("user_data".into(), "inline".into());
    });
    let cluster = site.deploy(&["inline-001"], 20, |_| {});
    // The system that the installer writes boots with BIOS only: a UEFI machine is left to its firmware there.
    site.deploy(&["inline-002"], 40, |_| {});
    assert_eq!(site.wait_for_phase(&cluster, None, &["ready", "needs_operator", "failed"]), "ready");
    wait_for("the installed UEFI machine to be sent to its disk", BOOT, || {
        let console = site.console("inline-002");
        if console.contains("Metalform: booting from the disk") { Ok(()) } else { Err("not yet".into()) }
    });
    let console = site.console("inline-001");
    assert!(console.contains("Metalform: booting from the disk"), "{console}");
    assert!(console.contains("lab: the installed system is up"), "{console}");
    assert!(!console.contains("this server is installed and boots from its disk"), "that is a script that is fetched");
    let events = site.events(&cluster, "inline-001");
    let (fetched, told): (Vec<String>, Vec<String>) =
        steps(&events).into_iter().partition(|step| FETCHED.contains(&step.as_str()));
    assert_eq!((told, fetched), (INSTALLED.map(str::to_owned).to_vec(), FETCHED.map(str::to_owned).to_vec()));
    let levels = events.iter().filter(|event| text(event, "kind") == "boot_trust");
    let levels: Vec<&str> = levels.map(|event| text(&event["data"], "level")).collect();
    assert_eq!(levels, ["unverified", "files_compared"]);
}

#[test]
fn a_plan_that_is_deployed_again_after_it_was_destroyed_boots_again_at_the_same_address() {
    if !is_inside() {
        return run_inside(
            "boots::a_plan_that_is_deployed_again_after_it_was_destroyed_boots_again_at_the_same_address",
            WHOLE,
        );
    }
    let site = Site::start("again", &[]);
    // The second server has a network card of its own, and so another MAC, for the address of the first.
    for life in ["first", "second"] {
        let cluster = site.deploy(&["again-001"], 20, |_| {});
        wait_for(&format!("the agent's first report of the {life} server"), BOOT, || {
            let steps = steps(&site.events(&cluster, "again-001"));
            if steps.contains(&"node_report booting".into()) { Ok(()) } else { Err(format!("{steps:?}")) }
        });
        site.destroy(&cluster);
    }
}

/// What tells an installation, in order; a phase that is reported again is left out.
fn steps(events: &[Value]) -> Vec<String> {
    let mut steps: Vec<String> = Vec::new();
    for event in events {
        let (kind, data) = (text(event, "kind"), &event["data"]);
        let step = match kind {
            "script_served" | "config_served" => kind.to_owned(),
            "image_served" => {
                let whole = if data["sent"] == data["of"] { "whole" } else { "in part" };
                format!("{kind} {}, {whole}", text(data, "file"))
            }
            "boot_step" => format!("{kind} {}", text(data, "step")),
            "node_report" => format!("{kind} {}", text(data, "report")),
            _ => continue,
        };
        let is_reported = kind == "node_report" && steps.contains(&step);
        // That an installed machine asks for its script and is told to boot from its disk isn't part of it.
        let is_installed = steps.last().is_some_and(|last| last == "node_report installed");
        if !is_reported && !is_installed {
            steps.push(step);
        }
    }
    steps
}
