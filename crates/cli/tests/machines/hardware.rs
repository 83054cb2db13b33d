//! Machines that aren't what their configuration says: the agent finds it, `explain` names it, and no drive is touched.

use crate::{
    namespace::{is_inside, run_inside},
    site::{BOOT, Site, text, wait_for},
};
use std::time::Duration;

const WHOLE: Duration = Duration::from_secs(1200);

/// A fault of a machine, and how it is named.
struct Case {
    fault: &'static str,
    code: &'static str,
    named: &'static str,
}

const CASES: [Case; 5] = [
    Case { fault: "disk_missing", code: "disk_missing", named: "no drive" },
    Case { fault: "disk_too_small", code: "disk_too_small", named: "at least 864 GB" },
    Case { fault: "disk_in_use", code: "disk_in_use", named: "/dev/nvme1n1" },
    Case { fault: "disk_has_partitions", code: "disk_has_partitions", named: "/dev/nvme1n1" },
    Case { fault: "little_memory", code: "memory_too_small", named: "memory" },
];

#[test]
fn faulty_hardware_is_found_before_any_drive_is_touched_and_explain_names_it() {
    if !is_inside() {
        return run_inside(
            "hardware::faulty_hardware_is_found_before_any_drive_is_touched_and_explain_names_it",
            WHOLE,
        );
    }
    let site = Site::start("hardware", &[]);
    let mut clusters = Vec::new();
    for (n, case) in CASES.iter().enumerate() {
        let server = case.fault.replace('_', "-");
        site.add_fault(case.fault, &server);
        let address = 20 + 5 * u8::try_from(n).expect("a few cases");
        // Only drives that a plan lists must be empty: those that are taken by profile may hold what an earlier try left.
        let list = |plan: &mut toml::Table| list_drives(plan, &[false; 3]);
        clusters.push((site.deploy(&[&server], address, list), server, case));
    }
    for (cluster, server, case) in &clusters {
        assert_eq!(
            site.wait_for_phase(cluster, Some(server), &["failed", "waiting_for_cvm", "ready"]),
            "failed",
            "{server}"
        );
        let said = site.explain(server);
        assert!(said.contains(case.code) && said.contains(case.named), "{server}: {said}");
        let drives = site.untouched_drives(server);
        assert!(drives.iter().all(|(_, is_untouched)| *is_untouched), "{server}: {drives:?}");
        assert!(site.console(server).contains(case.code), "{server}: the console says it, too");
    }
}

#[test]
fn a_network_card_without_a_driver_is_named_by_what_the_machine_did_and_did_not_ask_for() {
    if !is_inside() {
        return run_inside(
            "hardware::a_network_card_without_a_driver_is_named_by_what_the_machine_did_and_did_not_ask_for",
            WHOLE,
        );
    }
    let site = Site::start("nic", &[]);
    site.add_fault("nic_unknown", "no-driver");
    let cluster = site.deploy(&["no-driver"], 20, |_| {});
    wait_for("the agent to find no network card", BOOT, || {
        let console = site.console("no-driver");
        if console.contains("nic_missing") {
            Ok(())
        } else {
            Err(format!("{}", site.node(&cluster, "no-driver")["reason"]))
        }
    });
    // It can't tell anybody but its console. What it never asked for tells the rest.
    assert_eq!(text(&site.node(&cluster, "no-driver"), "phase"), "imaging");
    let said = site.explain("no-driver");
    assert!(said.contains("driver"), "{said}");
    let drives = site.untouched_drives("no-driver");
    assert!(drives.iter().all(|(_, is_untouched)| *is_untouched), "{drives:?}");
}

#[test]
fn a_drive_with_partitions_is_installed_on_when_the_plan_says_wipe() {
    if !is_inside() {
        return run_inside("hardware::a_drive_with_partitions_is_installed_on_when_the_plan_says_wipe", WHOLE);
    }
    let site = Site::start("wipe", &[]);
    site.add_fault("disk_has_partitions", "wiped");
    let cluster = site.deploy(&["wiped"], 20, |plan| list_drives(plan, &[true, false, false]));
    assert_eq!(site.wait_for_phase(&cluster, None, &["ready", "needs_operator", "failed"]), "ready");
    // Its script pinned our authority, so nothing was taken from it in the clear, from the exchange to the installed system's report.
    let console = site.console("wiped");
    assert!(console.contains(" ca_sha256="), "{console}");
}

/// What the profile's own drives are looked for by: a list is a list, even where it says what the profile says.
const LISTED_GB: i64 = 864;

/// Lists three data drives by their size in the plan of one node; whether each may be wiped.
fn list_drives(plan: &mut toml::Table, wipe: &[bool]) {
    let drive = |wipe: &bool| {
        let mut drive = toml::Table::from_iter([("min_gb".to_owned(), toml::Value::from(LISTED_GB))]);
        if *wipe {
            drive.insert("wipe".into(), true.into());
        }
        toml::Value::from(drive)
    };
    let drives: Vec<toml::Value> = wipe.iter().map(drive).collect();
    let node = plan["nodes"].as_array_mut().and_then(|nodes| nodes[0].as_table_mut()).expect("a node");
    node.insert("data_drives".into(), drives.into());
}
