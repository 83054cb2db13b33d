//! Good plans: what they become, how they are written out again, and the documents made of them.

use metalform_model::{
    ChosenBy, ClusterPlan, DataDrive, DriveSelector, FormationChoice, ImageFile, ImageManifest, ImageRole,
    InstallerFiles, MONITORING_URL_ROOT, NodeNetwork, NodePlan, Place, Placement, Plan, PlanFormat, Profiles, Role,
    Start, arizona_document, node_config, plan_hash, plan_rules::check_against_subnet, read_plan,
};
use proptest::{collection::vec, option, prelude::*};
use serde_json::json;
use std::net::Ipv4Addr;

/// The first node's drives in it.
const EXAMPLE_DRIVES: &str =
    r#"data_drives = ["/dev/nvme2n1", { serial = "S5XANG0N" }, { min_gb = 3000, model = "Micron" }]"#;

/// The plan of the documentation, its ids made real.
const EXAMPLE: &str = r#"
[cluster]
name = "my-nutanix-cluster"
external_ip = "10.240.0.200"          # the VIP
redundancy_factor = 2                 # RF1: 1 node; RF2: >= 3; RF3: >= 5
cluster_functions = ["AOS"]
timezone = "UTC"
dns_servers = ["8.8.8.8"]
ntp_servers = ["pool.ntp.org"]
formation = "auto"                    # auto | prism | foundation | cvm-ssh
min_nodes = 3                         # default: what the redundancy factor needs
start = "when-ready"                  # or "on-command": wait for `metalform form`

[cloud]                               # each key may also stand in a node
vpc = "r006-4727d842-f94f-4a2d-824a-9bc9b02c523b"
subnet = "0717-7ec86020-1c6e-4889-b3f0-a15f2e50f87e"
zone = "us-south-1"
profile = "bx2d-metal-96x384"
ssh_keys = ["r006-a6b1a881-2ce8-41a3-80fc-36316a73f803"]
security_groups = []

[[nodes]]
server_id = "server-001"              # <= 40 characters
server_name = "server-001"            # default: server_id
mgmt_ip = "10.240.0.11"               # optional: taken from the subnet when absent; so ahv_ip, cvm_ip
ahv_ip = "10.240.0.51"
cvm_ip = "10.240.0.101"
role = "compute-storage"              # compute-storage | storage | compute
data_drives = ["/dev/nvme2n1", { serial = "S5XANG0N" }, { min_gb = 3000, model = "Micron" }]   # optional: from the profile
existing = false                      # true: imaged already, phase two alone

[[nodes]]
server_id = "server-002"

[[nodes]]
server_id = "server-003"
"#;

fn read(text: &str, format: PlanFormat) -> Plan {
    let checked = read_plan(text, format, &Profiles::builtin()).unwrap_or_else(|faults| panic!("{faults:#?}\n{text}"));
    checked.plan
}

fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

fn default_drives() -> Vec<DataDrive> {
    vec![DataDrive::Selector(DriveSelector { min_gb: Some(2880), ..DriveSelector::default() }); 7]
}

#[test]
fn the_documented_plan_reads_without_a_fault() {
    let checked = read_plan(EXAMPLE, PlanFormat::Toml, &Profiles::builtin()).unwrap();
    assert_eq!(checked.warnings, []);
    let placement = Placement {
        vpc: "r006-4727d842-f94f-4a2d-824a-9bc9b02c523b".into(),
        subnet: "0717-7ec86020-1c6e-4889-b3f0-a15f2e50f87e".into(),
        zone: "us-south-1".into(),
        profile: "bx2d-metal-96x384".into(),
        ssh_keys: vec!["r006-a6b1a881-2ce8-41a3-80fc-36316a73f803".into()],
        security_groups: vec![],
    };
    let node = |id: &str| NodePlan {
        server_id: id.into(),
        server_name: id.into(),
        mgmt_ip: None,
        ahv_ip: None,
        cvm_ip: None,
        role: Role::ComputeStorage,
        data_drives: default_drives(),
        data_drives_by: ChosenBy::Profile,
        node_position: "A".into(),
        existing: false,
        placement: Some(placement.clone()),
    };
    let selector = |serial: Option<&str>, model: Option<&str>, min_gb| {
        let (serial, model) = (serial.map(str::to_owned), model.map(str::to_owned));
        DataDrive::Selector(DriveSelector { serial, model, min_gb, ..DriveSelector::default() })
    };
    let expected = Plan {
        cluster: ClusterPlan {
            name: "my-nutanix-cluster".into(),
            external_ip: ip("10.240.0.200"),
            redundancy_factor: 2,
            cluster_functions: vec!["AOS".into()],
            timezone: "UTC".into(),
            dns_servers: vec![ip("8.8.8.8")],
            ntp_servers: vec!["pool.ntp.org".into()],
            formation: FormationChoice::Auto,
            min_nodes: 3,
            start: Start::WhenReady,
        },
        nodes: vec![
            NodePlan {
                mgmt_ip: Some(ip("10.240.0.11")),
                ahv_ip: Some(ip("10.240.0.51")),
                cvm_ip: Some(ip("10.240.0.101")),
                data_drives: vec![
                    DataDrive::Device("/dev/nvme2n1".into()),
                    selector(Some("S5XANG0N"), None, None),
                    selector(None, Some("Micron"), Some(3000)),
                ],
                data_drives_by: ChosenBy::Plan,
                ..node("server-001")
            },
            node("server-002"),
            node("server-003"),
        ],
    };
    assert_eq!(checked.plan, expected);
}

#[test]
fn a_nodes_own_cloud_keys_win_over_those_of_the_cloud_table() {
    let own = "server_id = \"server-002\"\nzone = \"us-south-2\"\nprofile = \"mx2d-metal-96x768\"\nsecurity_groups = [\"r006-sg\"]\nssh_keys = [\"r006-own\"]";
    let plan = read(&EXAMPLE.replace("server_id = \"server-002\"", own), PlanFormat::Toml);
    let placements: Vec<_> = plan.nodes.iter().map(|node| node.placement.as_ref().unwrap()).collect();
    assert_eq!(placements[0], placements[2]);
    let expected = Placement {
        zone: "us-south-2".into(),
        profile: "mx2d-metal-96x768".into(),
        security_groups: vec!["r006-sg".into()],
        ssh_keys: vec!["r006-own".into()],
        ..placements[0].clone()
    };
    assert_eq!(*placements[1], expected);
}

#[test]
fn an_existing_node_needs_no_cloud() {
    let text = r#"
        [cluster]
        name = "old"
        external_ip = "10.240.0.200"
        dns_servers = ["8.8.8.8"]
        ntp_servers = ["pool.ntp.org"]
        [[nodes]]
        server_id = "a"
        existing = true
        cvm_ip = "10.240.0.101"
        [[nodes]]
        server_id = "b"
        existing = true
        cvm_ip = "10.240.0.102"
        [[nodes]]
        server_id = "c"
        existing = true
        cvm_ip = "10.240.0.103""#;
    let plan = read(text, PlanFormat::Toml);
    assert!(plan.nodes.iter().all(|node| node.existing && node.placement.is_none() && node.data_drives.is_empty()));
}

#[test]
fn the_same_plan_hashes_the_same_in_toml_and_json_and_with_defaults_written_out_or_not() {
    let plan = read(EXAMPLE, PlanFormat::Toml);
    let hash = plan_hash(&plan);
    assert_eq!(hash.len(), 64);
    let short = EXAMPLE
        .lines()
        .filter(|line| {
            ![
                "redundancy_factor",
                "cluster_functions",
                "timezone",
                "formation",
                "min_nodes",
                "start",
                "profile",
                "security_groups",
                "server_name",
                "role",
                "existing",
            ]
            .iter()
            .any(|key| line.starts_with(key))
        })
        .collect::<Vec<_>>()
        .join("\n");
    assert_eq!(plan_hash(&read(&short, PlanFormat::Toml)), hash);
    let json = serde_json::to_string(&toml::from_str::<toml::Table>(&short).unwrap()).unwrap();
    assert_eq!(plan_hash(&read(&json, PlanFormat::Json)), hash);
    assert_eq!(plan_hash(&read(&serde_json::to_string(&plan).unwrap(), PlanFormat::Json)), hash);
    assert_eq!(plan_hash(&read(&toml::to_string(&plan).unwrap(), PlanFormat::Toml)), hash);

    for (was, becomes) in
        [("10.240.0.11\"", "10.240.0.12\""), ("server-003", "server-004"), ("us-south-1", "us-south-2")]
    {
        assert_ne!(plan_hash(&read(&EXAMPLE.replace(was, becomes), PlanFormat::Toml)), hash, "{becomes}");
    }
}

#[test]
fn the_format_is_known_by_name_or_by_the_first_character() {
    use PlanFormat::{Json, Toml};
    for (name, text, format) in [
        (Some("plan.toml"), "{}", Toml),
        (Some("plan.JSON"), "", Json),
        (Some("plan.d/plan"), "\n {\"cluster\"", Json),
        (None, "\u{feff}{}", Json),
        (None, "# a plan\n[cluster]", Toml),
        (None, "", Toml),
    ] {
        assert_eq!(PlanFormat::detect(name, text), format, "{name:?} {text:?}");
    }
}

#[test]
fn a_byte_order_mark_is_no_fault() {
    let marked = format!("\u{feff}{EXAMPLE}");
    assert_eq!(read(&marked, PlanFormat::Toml), read(EXAMPLE, PlanFormat::Toml));
}

#[test]
fn once_the_subnet_is_known_addresses_outside_it_and_the_clouds_own_are_told_with_their_lines() {
    let text = EXAMPLE
        .replace("10.240.0.51", "10.240.1.51")
        .replace("10.240.0.101", "10.240.0.3")
        .replace("server_id = \"server-002\"", "server_id = \"server-002\"\nmgmt_ip = \"10.240.0.4\"\nahv_ip = \"10.240.0.254\"\ncvm_ip = \"10.240.0.255\"")
        .replace("10.240.0.200", "10.241.0.200");
    let checked = read_plan(&text, PlanFormat::Toml, &Profiles::builtin()).unwrap();
    let subnet = checked.plan.nodes[0].placement.as_ref().unwrap().subnet.clone();
    let faults = check_against_subnet(&checked.plan, &subnet, "10.240.0.0/24".parse().unwrap());
    assert!(faults.iter().all(|fault| fault.place == Place::Path));
    let told: Vec<_> = checked.locate(faults).into_iter().map(|f| (f.place, f.code, f.path)).collect();
    let line = |needle: &str| Place::Line(text.lines().position(|line| line.contains(needle)).unwrap() + 1);
    assert_eq!(
        told,
        [
            (line("10.241.0.200"), "outside_subnet", "cluster.external_ip".to_owned()),
            (line("10.240.1.51"), "outside_subnet", "nodes[0].ahv_ip".to_owned()),
            (line("10.240.0.3\""), "cloud_address", "nodes[0].cvm_ip".to_owned()),
            (line("10.240.0.255"), "cloud_address", "nodes[1].cvm_ip".to_owned()),
        ]
    );
    let other = check_against_subnet(&checked.plan, "0717-other", "10.0.0.0/24".parse().unwrap());
    assert_eq!(
        other.iter().map(|f| f.path.as_str()).collect::<Vec<_>>(),
        ["cluster.external_ip"],
        "nodes elsewhere are left out"
    );
}

#[test]
fn a_subnet_fault_says_which_addresses_are_free_to_choose() {
    let plan = read(&EXAMPLE.replace("10.240.0.200", "10.240.0.2"), PlanFormat::Toml);
    let subnet = &plan.nodes[0].placement.as_ref().unwrap().subnet;
    let faults = check_against_subnet(&plan, subnet, "10.240.0.0/24".parse().unwrap());
    assert_eq!(
        faults.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [format!(
            "plan: cluster.external_ip = \"10.240.0.2\": the cloud keeps the first four addresses and the last of the \
             subnet {subnet} (10.240.0.0/24); write an address from 10.240.0.4 to 10.240.0.254"
        )]
    );
}

#[test]
fn a_path_that_does_not_stand_in_the_text_has_the_place_of_what_is_above_it() {
    let checked = read_plan(EXAMPLE, PlanFormat::Toml, &Profiles::builtin()).unwrap();
    let second = EXAMPLE.lines().enumerate().filter(|(_, line)| *line == "[[nodes]]").nth(1).unwrap().0 + 1;
    assert_eq!(checked.pointer_or_line("nodes[1].cvm_ip"), Place::Line(second));
    assert_eq!(checked.pointer_or_line("nodes[1].server_id"), Place::Line(second + 1));
    assert_eq!(checked.pointer_or_line("nowhere"), Place::Line(1));
}

fn network() -> NodeNetwork {
    NodeNetwork {
        mgmt_ip: ip("10.240.0.11"),
        ahv_ip: ip("10.240.0.51"),
        cvm_ip: ip("10.240.0.101"),
        cidr: "10.240.0.0/24".parse().unwrap(),
        gateway: ip("10.240.0.1"),
        cvm_ips: vec![ip("10.240.0.101"), ip("10.240.0.102"), ip("10.240.0.103")],
        dns_servers: vec![ip("161.26.0.7"), ip("161.26.0.8")],
    }
}

#[test]
fn a_nodes_configuration_is_this_document() {
    let plan = read(EXAMPLE, PlanFormat::Toml);
    let profiles = Profiles::builtin();
    let config = node_config(&plan, &plan.nodes[0], &network(), profiles.get("bx2d-metal-96x384"));
    let expected = json!({
        "server_info": {
            "server_id": "server-001",
            "server_name": "server-001",
            "mgmt_ip": "10.240.0.11",
            "profile": "bx2d-metal-96x384",
            "zone": "us-south-1"
        },
        "cluster_config": {
            "cluster_name": "my-nutanix-cluster",
            "cluster_external_ip": "10.240.0.200",
            "redundancy_factor": 2,
            "cluster_functions": ["AOS"],
            "timezone": "UTC",
            "dns_servers": ["8.8.8.8"],
            "ntp_servers": ["pool.ntp.org"],
            "cvm_ips": ["10.240.0.101", "10.240.0.102", "10.240.0.103"]
        },
        "node_config": {
            "hypervisor": "ahv",
            "hypervisor_ip": "10.240.0.51",
            "cvm_ip": "10.240.0.101",
            "netmask": "255.255.255.0",
            "gateway": "10.240.0.1",
            "hostname": "server-001",
            "role": "compute-storage",
            "node_position": "A",
            "min_memory_gib": 346,
            "min_cores": 44
        },
        "storage_config": {
            "boot_device": { "min_gb": 864, "max_gb": 1056 },
            "hypervisor_device": { "min_gb": 864, "max_gb": 1056 },
            "cvm_device": { "min_gb": 2880 },
            "data_devices": ["/dev/nvme2n1", { "serial": "S5XANG0N" }, { "model": "Micron", "min_gb": 3000 }],
            "data_devices_by": "plan"
        },
        "network_config": {
            "cidr": "10.240.0.0/24",
            "netmask": "255.255.255.0",
            "gateway": "10.240.0.1",
            "dns_servers": ["161.26.0.7", "161.26.0.8"],
            "interfaces": [{ "name": "eth0", "ip": "10.240.0.11", "netmask": "255.255.255.0", "gateway": "10.240.0.1" }]
        }
    });
    assert_eq!(config, expected);
}

#[test]
fn without_name_servers_of_the_vpc_a_node_installs_with_the_clusters() {
    let plan = read(EXAMPLE, PlanFormat::Toml);
    let network = NodeNetwork { dns_servers: vec![], ..network() };
    let config = node_config(&plan, &plan.nodes[0], &network, None);
    assert_eq!(config["network_config"]["dns_servers"], json!(["8.8.8.8"]));
}

#[test]
fn the_controller_vm_gets_a_drive_of_its_own_where_there_is_one() {
    let plan = read(EXAMPLE, PlanFormat::Toml);
    let profiles = Profiles::builtin();
    let cvm_device = |drives: Vec<DataDrive>, profile: Option<&str>| {
        let node = NodePlan { data_drives: drives, ..plan.nodes[0].clone() };
        let profile = profile.map(|name| profiles.get(name).unwrap());
        node_config(&plan, &node, &network(), profile)["storage_config"]["cvm_device"].clone()
    };
    let listed = |count: usize| (1..=count).map(|i| DataDrive::Device(format!("/dev/nvme{i}n1"))).collect::<Vec<_>>();
    assert_eq!(cvm_device(listed(7), Some("bx2d-metal-96x384")), json!({ "min_gb": 2880 }));
    assert_eq!(cvm_device(listed(8), Some("bx2d-metal-96x384")), json!("/dev/nvme1n1"), "all are listed: shared");
    assert_eq!(cvm_device(listed(2), Some("bx2-metal-96x384")), json!("/dev/nvme1n1"), "nothing is known but the list");
    assert_eq!(cvm_device(vec![], Some("bx2-metal-96x384")), json!({ "min_gb": 864, "max_gb": 1056 }), "the boot disk");
    assert_eq!(cvm_device(vec![], Some("bx3d-metal-48x256")), json!({ "min_gb": 6912 }), "a compute node with drives");
}

#[test]
fn what_may_go_from_a_drive_is_said_in_the_plan_and_reaches_the_node() {
    let profiles = Profiles::builtin();
    let with = |drives: &str| {
        let drives = format!("data_drives = {drives}  ");
        read(&EXAMPLE.replacen(EXAMPLE_DRIVES, &drives, 1), PlanFormat::Toml)
    };
    let listed = r#"[{ serial = "S5XANG0N", wipe = true }, { device = "/dev/nvme2n1", wipe = true }, "/dev/nvme3n1"]"#;
    let plan = with(listed);
    let document = node_config(&plan, &plan.nodes[0], &network(), profiles.get("bx2d-metal-96x384"));
    let wiped = json!([
        { "serial": "S5XANG0N", "wipe": true },
        { "device": "/dev/nvme2n1", "wipe": true },
        "/dev/nvme3n1"
    ]);
    assert_eq!(document["storage_config"]["data_devices"], wiped);

    let plain = with(r#"["/dev/nvme2n1"]"#);
    let in_a_table = with(r#"[{ device = "/dev/nvme2n1", wipe = false }]"#);
    assert_eq!(plan_hash(&plain), plan_hash(&in_a_table), "a path is a path");
    assert_ne!(plan_hash(&plain), plan_hash(&with(r#"[{ device = "/dev/nvme2n1", wipe = true }]"#)));
    assert!(!serde_json::to_string(&plain).unwrap().contains("wipe"), "plans of before hash as they did");
}

#[test]
fn the_document_says_who_chose_the_drives_and_a_list_that_is_just_the_profiles_is_a_list_all_the_same() {
    let profile = Profiles::builtin().get("bx2d-metal-96x384").cloned();
    let by = |plan: &Plan| {
        let document = node_config(plan, &plan.nodes[1], &network(), profile.as_ref());
        document["storage_config"]["data_devices_by"].clone()
    };
    let with = |key: &str| EXAMPLE.replace("\"server-002\"", &format!("\"server-002\"\n{key}"));
    let drives = serde_json::to_value(default_drives()).unwrap();
    let drives = toml::Value::try_from(drives).unwrap().to_string();
    let left_out = read(EXAMPLE, PlanFormat::Toml);
    let listed = read(&with(&format!("data_drives = {drives}")), PlanFormat::Toml);
    let written_out = read(&with(&format!("data_drives = {drives}\ndata_drives_by = \"profile\"")), PlanFormat::Toml);
    assert_eq!((by(&left_out), by(&listed), by(&written_out)), (json!("profile"), json!("plan"), json!("profile")));
    assert_eq!(left_out, written_out);
    assert_eq!(plan_hash(&left_out), plan_hash(&listed), "the same plan of the same cluster");
}

fn manifest() -> ImageManifest {
    let file = |name: &str, role, md5: Option<&str>| ImageFile {
        name: name.into(),
        role,
        size: 1,
        sha256: "0".repeat(64),
        md5: md5.map(str::to_owned),
    };
    ImageManifest {
        format: 1,
        name: "ce".into(),
        source: "an ISO".into(),
        template: Some("phoenix-ce".into()),
        recipe: None,
        files: vec![
            file("AHV.iso", ImageRole::HypervisorIso, None),
            file("nutanix_installer.tar.gz", ImageRole::Installer, Some("d41d8cd98f00b204e9800998ecf8427e")),
        ],
    }
}

fn arizona(drives: Vec<DataDrive>, manifest: &ImageManifest, eula_accepted: bool) -> serde_json::Value {
    let plan = read(EXAMPLE, PlanFormat::Toml);
    let node = NodePlan { data_drives: drives, ..plan.nodes[0].clone() };
    let files = InstallerFiles { manifest, images_url: "http://10.240.0.5:8080/pxe/images", eula_accepted };
    arizona_document(&plan, &node, &network(), Profiles::builtin().get("bx2d-metal-96x384"), files)
}

#[test]
fn the_installer_of_the_community_edition_gets_this_document() {
    let drives = vec![DataDrive::Device("/dev/nvme2n1".into()), DataDrive::Device("/dev/nvme3n1".into())];
    let expected = json!({
        "hyp_type": "kvm",
        "hyp_install_type": "clean",
        "svm_install_type": "clean",
        "hypervisor_iso_url": { "url": "http://10.240.0.5:8080/pxe/images/AHV.iso", "md5sum": "" },
        "svm_installer_url": {
            "url": "http://10.240.0.5:8080/pxe/images/nutanix_installer.tar.gz",
            "md5sum": "d41d8cd98f00b204e9800998ecf8427e"
        },
        "host_ip": "10.240.0.51",
        "host_subnet_mask": "255.255.255.0",
        "default_gw": "10.240.0.1",
        "dns_ip": "161.26.0.7",
        "svm_ip": "10.240.0.101",
        "svm_subnet_mask": "255.255.255.0",
        "svm_default_gw": "10.240.0.1",
        "block_id": "server-001",
        "node_serial": "server-001",
        "node_position": "A",
        "cluster_id": 921173525,
        "model": "CommunityEdition",
        "hypervisor_hostname": "server-001",
        "ce_cvm_data_disks": ["nvme2n1", "nvme3n1"],
        "ce_eula_accepted": true,
        "ce_eula_viewed": true,
        "create_1node_cluster": false
    });
    assert_eq!(arizona(drives, &manifest(), true), expected);
}

#[test]
fn an_arizona_document_names_only_disks_and_files_that_are_known() {
    let selector = DataDrive::Selector(DriveSelector { min_gb: Some(3000), ..DriveSelector::default() });
    let mixed = vec![DataDrive::Device("/dev/nvme2n1".into()), selector];
    let document = arizona(mixed, &ImageManifest { files: vec![], ..manifest() }, false);
    for absent in
        ["ce_hyp_boot_disk", "ce_cvm_boot_disks", "ce_cvm_data_disks", "svm_installer_url", MONITORING_URL_ROOT]
    {
        assert_eq!(document.get(absent), None, "{absent}");
    }
    assert_eq!((&document["ce_eula_accepted"], &document["ce_eula_viewed"]), (&json!(false), &json!(false)));
    let all = (1..=8).map(|i| DataDrive::Device(format!("/dev/nvme{i}n1"))).collect();
    assert_eq!(arizona(all, &manifest(), false)["ce_cvm_boot_disks"], json!(["nvme1n1"]));
}

fn address() -> impl Strategy<Value = u32> {
    0x0af0_0004_u32..0x0aff_ffff
}

fn drive() -> impl Strategy<Value = DataDrive> {
    let selector = (
        option::of("[A-Z0-9]{8,12}"),
        option::of("[A-Za-z][A-Za-z0-9 ]{0,10}[A-Za-z0-9]"),
        option::of(1_u64..9_000),
        any::<bool>(),
    );
    let path = || "nvme[0-9]{1,3}n1".prop_map(|name| format!("/dev/{name}"));
    prop_oneof![
        path().prop_map(DataDrive::Device),
        path().prop_map(|device| {
            DataDrive::Selector(DriveSelector { device: Some(device), wipe: true, ..DriveSelector::default() })
        }),
        selector
            .prop_filter("a selector says something", |(serial, model, min_gb, _)| {
                serial.is_some() || model.is_some() || min_gb.is_some()
            })
            .prop_map(|(serial, model, min_gb, wipe)| {
                DataDrive::Selector(DriveSelector { device: None, serial, model, min_gb, wipe })
            }),
    ]
}

/// A plan as a person might write it, with any of its defaults left out.
fn plan_document() -> impl Strategy<Value = serde_json::Value> {
    let node = (
        option::of(any::<()>()),
        option::of(any::<()>()),
        prop_oneof![Just("compute-storage"), Just("storage")],
        option::of(vec(drive(), 1..5)),
        prop::bool::weighted(0.2),
        option::of("[A-D]"),
        option::of(prop_oneof![Just("bx3d-metal-48x256"), Just("bx2d-metal-96x384"), Just("mx3de-metal-48x512")]),
        prop::collection::hash_set(address(), 3),
    );
    let cluster = (
        "[A-Za-z0-9][A-Za-z0-9_.-]{0,20}",
        option::of(1_u64..4),
        prop_oneof![Just("auto"), Just("prism"), Just("cvm-ssh")],
        prop_oneof![Just("UTC"), Just("Europe/Berlin"), Just("America/Argentina/Buenos_Aires")],
        option::of(Just("on-command")),
    );
    (cluster, vec(node, 1..8)).prop_map(|((name, rf, formation, timezone, start), nodes)| {
        let nodes: Vec<_> = nodes
            .into_iter()
            .enumerate()
            .map(|(index, (name, mgmt, role, drives, existing, position, profile, addresses))| {
                let mut addresses = addresses.into_iter().map(Ipv4Addr::from);
                let mut node = json!({ "server_id": format!("node-{index}"), "role": role, "existing": existing });
                let cvm = addresses.next();
                for (key, value) in [
                    ("server_name", name.map(|()| json!(format!("name-{index}")))),
                    ("mgmt_ip", mgmt.map(|()| json!(addresses.next()))),
                    ("cvm_ip", (existing || index % 2 == 0).then(|| json!(cvm))),
                    ("data_drives", drives.map(|drives| json!(drives))),
                    ("node_position", position.map(|position| json!(position))),
                    ("profile", profile.map(|profile| json!(profile))),
                ] {
                    if let Some(value) = value {
                        node[key] = value;
                    }
                }
                node
            })
            .collect();
        let mut document = json!({
            "cluster": { "name": name, "external_ip": "10.240.0.1", "formation": formation, "timezone": timezone },
            "cloud": { "vpc": "r006-v", "subnet": "0717-s", "zone": "us-south-1", "ssh_keys": ["r006-k"] },
            "nodes": nodes,
        });
        if let Some(rf) = rf {
            document["cluster"]["redundancy_factor"] = json!(rf);
        }
        if let Some(start) = start {
            document["cluster"]["start"] = json!(start);
        }
        document
    })
}

/// The example with a piece cut out or put in somewhere.
fn damaged_example() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "\\PC{0,3}",
        Just("[".to_owned()),
        Just("]]".to_owned()),
        Just("{".to_owned()),
        Just("\"".to_owned()),
        Just("null".to_owned()),
        Just("\n".to_owned()),
        Just("=".to_owned()),
        Just("9".repeat(50)),
        Just("1979-05-27".to_owned()),
        Just("1e9".to_owned()),
    ];
    (any::<prop::sample::Index>(), 0_usize..40, piece, any::<bool>()).prop_map(|(at, cut, piece, json)| {
        let text = match json {
            true => serde_json::to_string_pretty(&toml::from_str::<toml::Table>(EXAMPLE).unwrap()).unwrap(),
            false => EXAMPLE.to_owned(),
        };
        let at = at.index(text.len());
        let end = (at + cut).min(text.len());
        format!("{}{piece}{}", &text[..at], &text[end..])
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn an_accepted_plan_written_out_reads_back_equal(document in plan_document()) {
        let text = document.to_string();
        match read_plan(&text, PlanFormat::Json, &Profiles::builtin()) {
            Ok(checked) => {
                let plan = checked.plan;
                prop_assert_eq!(&read(&serde_json::to_string(&plan).unwrap(), PlanFormat::Json), &plan);
                prop_assert_eq!(&read(&toml::to_string(&plan).unwrap(), PlanFormat::Toml), &plan);
                prop_assert_eq!(&serde_json::from_value::<Plan>(serde_json::to_value(&plan).unwrap()).unwrap(), &plan);
            }
            Err(faults) => {
                let by_chance = ["too_few_nodes", "too_many_nodes", "duplicate_value", "too_many_drives", "drive_too_large"];
                let errors: Vec<_> = faults.iter().filter(|f| f.is_error()).collect();
                prop_assert!(errors.iter().all(|fault| by_chance.contains(&fault.code)), "{:#?}", errors);
            }
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic_and_every_refusal_has_an_error(text in "\\PC{0,200}") {
        for format in [PlanFormat::Toml, PlanFormat::Json] {
            if let Err(faults) = read_plan(&text, format, &Profiles::builtin()) {
                prop_assert!(faults.iter().any(metalform_model::PlanFault::is_error));
            }
        }
    }

    #[test]
    fn a_damaged_plan_is_read_the_same_or_refused_with_places(text in damaged_example()) {
        let format = PlanFormat::detect(None, &text);
        match read_plan(&text, format, &Profiles::builtin()) {
            Ok(checked) => prop_assert_eq!(&read(&serde_json::to_string(&checked.plan).unwrap(), PlanFormat::Json), &checked.plan),
            Err(faults) => {
                prop_assert!(faults.iter().any(metalform_model::PlanFault::is_error));
                prop_assert!(faults.iter().all(|fault| fault.place != Place::Path), "{:#?}", faults);
            }
        }
    }
}
