use super::*;
use crate::inventory::Nic;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::net::Ipv4Addr;

const OURS: Ipv4Addr = Ipv4Addr::new(10, 240, 0, 11);

fn disk(device: &str, serial: &str, size_gb: u64) -> Disk {
    Disk {
        device: format!("/dev/{device}"),
        model: "Micron_7450".into(),
        serial: serial.into(),
        size_bytes: size_gb * 1_000_000_000,
        ..Disk::default()
    }
}

/// A bx2d-metal-96x384 as it should be.
fn machine() -> Inventory {
    Inventory {
        memory_kib: 384 * 1024 * 1024,
        available_kib: 380 * 1024 * 1024,
        cores: 48,
        virtualization: true,
        disks: vec![
            disk("nvme0n1", "S0", 3200),
            disk("nvme1n1", "S1", 3200),
            disk("nvme2n1", "S2", 3200),
            disk("sda", "B0", 960),
        ],
        nics: vec![Nic { name: "eth0".into(), mac: "52:54:00:00:00:01".into(), link: true, addresses: vec![OURS] }],
        ..Inventory::default()
    }
}

fn document(boot: Value, cvm: Value, data: Value) -> Value {
    json!({
        "server_info": {"server_id": "node-1", "mgmt_ip": OURS},
        "node_config": {"hypervisor": "ahv", "min_memory_gib": 346, "min_cores": 43},
        "storage_config": {"boot_device": boot, "hypervisor_device": boot, "cvm_device": cvm, "data_devices": data},
        "network_config": {"interfaces": [{"name": "eth0", "ip": OURS}]},
    })
}

fn config(boot: Value, cvm: Value, data: Value) -> NodeConfig {
    serde_json::from_value(document(boot, cvm, data)).unwrap()
}

fn usual() -> NodeConfig {
    let boot = json!({"min_gb": 864, "max_gb": 1056});
    config(boot, json!({"min_gb": 2880}), json!([{"min_gb": 2880}, {"serial": "S0"}]))
}

/// Codes of all findings that aren't `ok`, each with its subject.
fn found(config: &NodeConfig, machine: &Inventory) -> Vec<(String, Verdict, String)> {
    let findings = check(config, machine).findings.into_iter().filter(|finding| finding.verdict != Verdict::Ok);
    findings.map(|finding| (finding.code, finding.verdict, finding.subject)).collect()
}

fn only(config: &NodeConfig, machine: &Inventory, code: Code, verdict: Verdict, subject: &str) {
    assert_eq!(found(config, machine), [(code.as_str().to_owned(), verdict, subject.to_owned())]);
    assert_eq!(check(config, machine).drives.is_none(), verdict == Verdict::Failed);
}

#[test]
fn a_machine_as_it_should_be_has_its_drives_chosen_and_nothing_found() {
    let checked = check(&usual(), &machine());
    assert_eq!(found(&usual(), &machine()), []);
    let drives = checked.drives.unwrap();
    let told = |drive: &str| format!("/dev/{drive}");
    assert_eq!((drives.boot, drives.hypervisor, drives.cvm), (told("sda"), told("sda"), told("nvme2n1")));
    assert_eq!(drives.data, [told("nvme1n1"), told("nvme0n1")], "in the order of the configuration");
    let chosen = checked.findings.iter().filter(|finding| finding.code == "drive_chosen").count();
    assert_eq!(chosen, 5);
}

#[test]
fn each_fault_of_a_machine_has_its_code() {
    type Change = fn(&mut Inventory);
    use Verdict::{Failed, Warning};
    let table: [(Change, Code, Verdict, &str); 17] = [
        (|m| m.memory_kib = 300 * 1024 * 1024, Code::MemoryTooSmall, Failed, "memory"),
        (|m| m.cores = 40, Code::CoresTooFew, Failed, "processor"),
        (|m| m.virtualization = false, Code::NoVirtualization, Warning, "processor"),
        (|m| m.nics.clear(), Code::NicMissing, Failed, "network"),
        (|m| m.nics[0].addresses.clear(), Code::AddressDiffers, Failed, "network"),
        (|m| m.nics[0].link = false, Code::NicNoLink, Failed, "eth0"),
        (|m| drop(m.disks.remove(0)), Code::DiskMissing, Failed, "data_devices[1]"),
        (|m| m.disks[3].size_bytes = 900, Code::DiskTooSmall, Failed, "/dev/sda"),
        (|m| m.disks[1].users.push("/dev/nvme1n1 is mounted at /mnt".into()), Code::DiskInUse, Failed, "/dev/nvme1n1"),
        (|m| m.disks[3].users.push("/dev/sda2 is part of md0".into()), Code::DiskInUse, Failed, "/dev/sda"),
        (
            |m| m.disks[2].users.push("/dev/nvme2n1 is used for swapping".into()),
            Code::DiskInUse,
            Failed,
            "/dev/nvme2n1",
        ),
        (|m| m.disks[0].read_only = true, Code::DiskReadOnly, Failed, "/dev/nvme0n1"),
        (|m| m.disks[0].contents = holds(), Code::DiskHasPartitions, Failed, "/dev/nvme0n1"),
        (|m| m.disks[1].contents = holds(), Code::DiskHasPartitions, Failed, "/dev/nvme1n1"),
        // The controller VM's, which the plan doesn't list.
        (|m| m.disks[2].contents = holds(), Code::DiskHasPartitions, Failed, "/dev/nvme2n1"),
        (|m| m.disks[1].contents = Contents::Unreadable("EIO".into()), Code::DiskUnreadable, Failed, "/dev/nvme1n1"),
        (|m| m.disks[2].contents = Contents::Unreadable("EIO".into()), Code::DiskUnreadable, Failed, "/dev/nvme2n1"),
    ];
    for (change, code, verdict, subject) in table {
        let mut machine = machine();
        change(&mut machine);
        only(&usual(), &machine, code, verdict, subject);
    }
}

fn holds() -> Contents {
    Contents::Holds("a GPT partition table".into())
}

#[test]
fn the_boot_disk_is_always_installed_on_whatever_is_on_it() {
    let mut machine = machine();
    machine.disks[3].contents = holds();
    assert_eq!(found(&usual(), &machine), []);
}

#[test]
fn a_boot_disk_that_is_known_by_a_least_size_alone_is_not_installed_on_if_it_holds_something() {
    let config = config(json!({"min_gb": 64}), json!({"min_gb": 2880}), json!([{"serial": "S1"}]));
    let mut machine = machine();
    let boots_from = check(&config, &machine).drives.expect("blank drives are as good as any").boot;
    let boot = machine.disks.iter_mut().find(|disk| disk.device == boots_from).expect("it was chosen");
    boot.contents = holds();
    only(&config, &machine, Code::DiskHasPartitions, Verdict::Failed, &boots_from);
}

#[test]
fn wipe_gives_up_what_is_on_a_drive_but_not_one_that_is_in_use() {
    let boot = json!({"min_gb": 864, "max_gb": 1056});
    let data = json!([{"serial": "S1", "wipe": true}, {"device": "/dev/nvme0n1", "wipe": true}]);
    let config = config(boot, json!({"min_gb": 2880}), data);
    let mut machine = machine();
    machine.disks[0].contents = holds();
    machine.disks[1].contents = holds();
    assert_eq!(found(&config, &machine), []);
    assert_eq!(check(&config, &machine).drives.unwrap().wipe, ["/dev/nvme1n1", "/dev/nvme0n1"]);
    machine.disks[0].users.push("/dev/nvme0n1p1 is mounted at /mnt".into());
    only(&config, &machine, Code::DiskInUse, Verdict::Failed, "/dev/nvme0n1");
}

#[test]
fn on_drives_that_the_profile_says_an_earlier_try_may_have_left_something() {
    let mut document =
        document(json!({"min_gb": 864, "max_gb": 1056}), json!({"min_gb": 2880}), json!([{"min_gb": 2880}]));
    document["storage_config"]["data_devices_by"] = json!("profile");
    let config: NodeConfig = serde_json::from_value(document).unwrap();
    let mut machine = machine();
    machine.disks[0].contents = holds();
    only(&config, &machine, Code::DiskHasPartitions, Verdict::Warning, "/dev/nvme0n1");
    assert!(check(&config, &machine).drives.unwrap().wipe.is_empty());
}

#[test]
fn a_small_machine_of_a_lab_is_warned_of_and_taken() {
    let mut small = machine();
    (small.memory_kib, small.cores) = (2 * 1024 * 1024, 2);
    small.disks = vec![disk("vda", "", 10), disk("vdb", "L1", 20), disk("vdc", "L2", 20)];
    let boot = json!({"max_gb": 15});
    let mut lab = config(boot, json!({"serial": "L2"}), json!([{"serial": "L1"}]));
    (lab.node_config.min_memory_gib, lab.node_config.min_cores) = (None, None);
    let codes: Vec<String> = found(&lab, &small).into_iter().map(|(code, ..)| code).collect();
    let expected = ["memory_low", "cores_few", "disk_below_minimum", "disk_below_minimum", "disk_below_minimum"];
    assert_eq!(codes, expected);
    assert!(check(&lab, &small).drives.is_some());
}

#[test]
fn a_drive_that_is_named_is_not_taken_by_a_selector_that_comes_before_it() {
    let config = config(json!({"min_gb": 64}), json!({"min_gb": 64}), json!(["/dev/nvme0n1", {"serial": "S1"}]));
    let drives = check(&config, &machine()).drives.unwrap();
    assert_eq!((drives.boot.as_str(), drives.cvm.as_str()), ("/dev/nvme2n1", "/dev/sda"));
    assert_eq!(drives.data, ["/dev/nvme0n1", "/dev/nvme1n1"]);
}

#[test]
fn without_a_drive_of_its_own_the_controller_vm_shares_the_first_that_matches() {
    let boot = json!({"max_gb": 1056});
    let all = json!(["/dev/nvme1n1", "/dev/nvme0n1", "/dev/nvme2n1"]);
    let shared = check(&config(boot.clone(), json!("/dev/nvme1n1"), all.clone()), &machine());
    assert_eq!(shared.drives.unwrap().cvm, "/dev/nvme1n1");
    let by_size = check(&config(boot, json!({"min_gb": 2880}), all), &machine());
    assert_eq!(by_size.drives.unwrap().cvm, "/dev/nvme1n1");
    let mut machine = machine();
    machine.disks.retain(|disk| disk.device == "/dev/sda");
    let alone = config(json!({"min_gb": 64}), json!({"min_gb": 64}), json!([]));
    assert_eq!(check(&alone, &machine).drives.unwrap().cvm, "/dev/sda");
}

#[test]
fn a_stick_is_never_taken_by_size_and_always_by_its_name() {
    let mut machine = machine();
    machine.disks.insert(0, Disk { removable: true, ..disk("sdb", "STICK", 1000) });
    assert_eq!(check(&usual(), &machine).drives.unwrap().boot, "/dev/sda");
    let named = config(json!({"serial": "STICK"}), json!({"min_gb": 2880}), json!([]));
    assert_eq!(check(&named, &machine).drives.unwrap().boot, "/dev/sdb");
}

#[test]
fn what_is_there_instead_of_a_missing_drive_is_listed_once() {
    let config = config(json!({"max_gb": 1056}), json!({"min_gb": 2880}), json!([{"serial": "X1"}, {"serial": "X2"}]));
    let findings = check(&config, &machine()).findings;
    let reasons: Vec<&str> = findings
        .iter()
        .filter(|finding| finding.code == "disk_missing")
        .map(|finding| finding.reason.as_str())
        .collect();
    assert_eq!(reasons.len(), 2);
    assert!(reasons[0].contains("/dev/nvme0n1 3200 GB model Micron_7450 serial S0; "), "{}", reasons[0]);
    assert!(reasons[1].ends_with("there is what is listed above"), "{}", reasons[1]);
}

#[test]
fn every_finding_that_stops_a_node_says_what_to_do() {
    let mut machine = machine();
    machine.disks.clear();
    machine.nics.clear();
    for finding in check(&usual(), &machine).findings {
        assert!(!finding.hint.is_empty() && !finding.reason.is_empty(), "{finding:?}");
    }
}

#[test]
fn a_drive_that_is_understood_in_part_is_not_understood() {
    for entry in [
        json!({}),
        json!(""),
        json!("sda"),
        json!({"wipe": true}),
        json!({"wwn": "1"}),
        json!({"serial": ""}),
        json!(7),
    ] {
        let document = document(json!({"min_gb": 1}), json!({"min_gb": 1}), json!([entry]));
        assert!(serde_json::from_value::<NodeConfig>(document).is_err(), "{entry}");
    }
}

fn any_selector() -> impl Strategy<Value = Value> {
    prop_oneof![
        (0..5u32).prop_map(|n| json!(format!("/dev/d{n}"))),
        (0..5u32).prop_map(|n| json!({"serial": format!("S{n}")})),
        (1..40u64).prop_map(|gb| json!({"min_gb": gb})),
        (1..40u64).prop_map(|gb| json!({"max_gb": gb, "wipe": true})),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_drive_has_two_owners_and_all_that_were_chosen_are_there(
        sizes in prop::collection::vec(1..40u64, 0..6),
        boot in any_selector(),
        data in prop::collection::vec(any_selector(), 0..5),
    ) {
        let mut machine = machine();
        machine.disks = sizes.iter().enumerate().map(|(n, gb)| disk(&format!("d{n}"), &format!("S{n}"), *gb)).collect();
        let checked = check(&config(boot, json!({"min_gb": 1}), Value::from(data.clone())), &machine);
        let stops = checked.findings.iter().any(|finding| finding.verdict == Verdict::Failed);
        prop_assert_eq!(stops, checked.drives.is_none());
        if let Some(drives) = checked.drives {
            prop_assert_eq!(drives.data.len(), data.len());
            let owned: BTreeSet<&String> = drives.data.iter().chain([&drives.boot]).collect();
            prop_assert_eq!(owned.len(), data.len() + 1);
            for device in drives.data.iter().chain([&drives.boot, &drives.hypervisor, &drives.cvm]) {
                prop_assert!(machine.disks.iter().any(|disk| disk.device == *device));
            }
            prop_assert!(drives.wipe.iter().all(|device| drives.data.contains(device)));
        }
    }
}
