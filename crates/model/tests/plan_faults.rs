//! Every fault a plan can have: what is written, and what is told of it, where.

use metalform_model::{Place, PlanFault, PlanFormat, Profiles, Severity, read_plan};
use std::collections::BTreeSet;

/// Line numbers of the table below count from here: `[cluster]` is line 1.
const BASE: &str = r#"[cluster]
name = "alpha"
external_ip = "10.240.0.200"
redundancy_factor = 2
dns_servers = ["8.8.8.8"]
ntp_servers = ["pool.ntp.org"]

[cloud]
vpc = "r006-vpc"
subnet = "0717-subnet"
zone = "us-south-1"
profile = "bx2d-metal-96x384"
ssh_keys = ["r006-key"]

[[nodes]]
server_id = "server-001"
mgmt_ip = "10.240.0.11"
ahv_ip = "10.240.0.51"
cvm_ip = "10.240.0.101"

[[nodes]]
server_id = "server-002"
mgmt_ip = "10.240.0.12"

[[nodes]]
server_id = "server-003"
"#;

fn faults_of(text: &str, format: PlanFormat) -> Vec<PlanFault> {
    match read_plan(text, format, &Profiles::builtin()) {
        Ok(checked) => checked.warnings,
        Err(faults) => faults,
    }
}

/// The same document as JSON; only for texts that are TOML.
fn as_json(toml: &str) -> String {
    serde_json::to_string_pretty(&toml::from_str::<toml::Table>(toml).unwrap()).unwrap()
}

/// `nodes[1].mgmt_ip` as a JSON pointer.
fn pointer(path: &str) -> String {
    let steps = path.replace('[', ".").replace([']', '"'], "");
    if steps.is_empty() { steps } else { format!("/{}", steps.replace('.', "/")) }
}

const ERROR: Severity = Severity::Error;
const WARNING: Severity = Severity::Warning;

/// What stands in [`BASE`], what is written in its place, and what is told: severity, code, line, path.
type Row = (&'static str, &'static str, &'static [(Severity, &'static str, usize, &'static str)]);

#[rustfmt::skip]
const TABLE: &[Row] = &[
    // Keys and types.
    ("name = \"alpha\"\n", "", &[(ERROR, "missing_key", 1, "cluster.name")]),
    ("external_ip = \"10.240.0.200\"\n", "vip = \"10.240.0.200\"\n", &[(ERROR, "missing_key", 1, "cluster.external_ip"), (ERROR, "unknown_key", 3, "cluster.vip")]),
    ("[cloud]", "colour = 1\n[cloud]", &[(ERROR, "unknown_key", 8, "cluster.colour")]),
    ("[cloud]", "[clout]\n[cloud]", &[(ERROR, "unknown_key", 8, "clout")]),
    ("server_id = \"server-002\"", "server_idd = \"server-002\"", &[(ERROR, "missing_key", 21, "nodes[1].server_id"), (ERROR, "unknown_key", 22, "nodes[1].server_idd")]),
    ("mgmt_ip = \"10.240.0.12\"", "timezone = \"UTC\"", &[(ERROR, "unknown_key", 23, "nodes[1].timezone")]),
    ("mgmt_ip = \"10.240.0.12\"", "\"a b\" = 1", &[(ERROR, "unknown_key", 23, "nodes[1].\"a b\"")]),
    ("redundancy_factor = 2", "redundancy_factor = \"2\"", &[(ERROR, "wrong_type", 4, "cluster.redundancy_factor")]),
    ("redundancy_factor = 2", "redundancy_factor = 2.0", &[(ERROR, "wrong_type", 4, "cluster.redundancy_factor")]),
    ("name = \"alpha\"", "name = 7", &[(ERROR, "wrong_type", 2, "cluster.name")]),
    ("dns_servers = [\"8.8.8.8\"]", "dns_servers = \"8.8.8.8\"", &[(ERROR, "wrong_type", 5, "cluster.dns_servers")]),
    ("dns_servers = [\"8.8.8.8\"]", "dns_servers = [\n  \"8.8.8.8\",\n  8\n]", &[(ERROR, "wrong_type", 7, "cluster.dns_servers[1]")]),
    ("mgmt_ip = \"10.240.0.12\"", "existing = \"false\"", &[(ERROR, "wrong_type", 23, "nodes[1].existing")]),
    ("[cloud]", "[cloud.x]\n[cloud]", &[(ERROR, "unknown_key", 8, "cloud.x")]),
    // Names and words.
    ("\"alpha\"", "\"alpha; reboot\"", &[(ERROR, "bad_name", 2, "cluster.name")]),
    ("\"alpha\"", "\"-alpha\"", &[(ERROR, "bad_name", 2, "cluster.name")]),
    ("\"alpha\"", "\"\"", &[(ERROR, "bad_name", 2, "cluster.name")]),
    ("\"alpha\"", "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"", &[(ERROR, "bad_name", 2, "cluster.name")]),
    ("\"server-002\"", "\"Server-002\"", &[(ERROR, "bad_name", 22, "nodes[1].server_id")]),
    ("\"server-002\"", "\"server-002-\"", &[(ERROR, "bad_name", 22, "nodes[1].server_id")]),
    ("\"server-002\"", "\"2server\"", &[(ERROR, "bad_name", 22, "nodes[1].server_id")]),
    ("\"server-002\"", "\"s1234567890123456789012345678901234567890\"", &[(ERROR, "bad_name", 22, "nodes[1].server_id")]),
    ("\"server-002\"", "\"ibm-server\"", &[(ERROR, "reserved_name", 22, "nodes[1].server_id")]),
    ("mgmt_ip = \"10.240.0.12\"", "server_name = \"ibm-server\"", &[(ERROR, "reserved_name", 23, "nodes[1].server_name")]),
    ("mgmt_ip = \"10.240.0.12\"", "server_name = \"a.b\"", &[(ERROR, "bad_name", 23, "nodes[1].server_name")]),
    ("redundancy_factor = 2", "formation = \"cvm_ssh\"", &[(ERROR, "unknown_word", 4, "cluster.formation")]),
    ("redundancy_factor = 2", "start = \"now\"", &[(ERROR, "unknown_word", 4, "cluster.start")]),
    ("mgmt_ip = \"10.240.0.12\"", "role = \"computer\"", &[(ERROR, "unknown_word", 23, "nodes[1].role")]),
    ("mgmt_ip = \"10.240.0.12\"", "node_position = \"a\"", &[(ERROR, "bad_node_position", 23, "nodes[1].node_position")]),
    ("redundancy_factor = 2", "timezone = \"Erope/Berlin\"", &[(ERROR, "bad_timezone", 4, "cluster.timezone")]),
    ("redundancy_factor = 2", "timezone = \"CET\"", &[(ERROR, "bad_timezone", 4, "cluster.timezone")]),
    ("redundancy_factor = 2", "timezone = \"Europe/$(id)\"", &[(ERROR, "bad_timezone", 4, "cluster.timezone")]),
    ("redundancy_factor = 2", "cluster_functions = []", &[(ERROR, "empty_list", 4, "cluster.cluster_functions")]),
    ("redundancy_factor = 2", "cluster_functions = [\"AOS\", \"aos\"]", &[(ERROR, "bad_cluster_function", 4, "cluster.cluster_functions[1]")]),
    ("redundancy_factor = 2", "cluster_functions = [\"AOS\", \"AOS\"]", &[(ERROR, "duplicate_value", 4, "cluster.cluster_functions[1]")]),
    ("\"pool.ntp.org\"", "\"pool ntp org\"", &[(ERROR, "bad_host", 6, "cluster.ntp_servers[0]")]),
    ("\"pool.ntp.org\"", "\"10.0.0.256\"", &[(ERROR, "bad_address", 6, "cluster.ntp_servers[0]")]),
    ("[\"pool.ntp.org\"]", "[]", &[(WARNING, "no_ntp_servers", 6, "cluster.ntp_servers")]),
    ("dns_servers = [\"8.8.8.8\"]\n", "", &[(WARNING, "no_dns_servers", 1, "cluster.dns_servers")]),
    // Addresses.
    ("\"10.240.0.12\"", "\"10.0.0.300\"", &[(ERROR, "bad_address", 23, "nodes[1].mgmt_ip")]),
    ("\"10.240.0.12\"", "\"10.240.0.012\"", &[(ERROR, "bad_address", 23, "nodes[1].mgmt_ip")]),
    ("\"10.240.0.12\"", "\"10.240.0.12/24\"", &[(ERROR, "bad_address", 23, "nodes[1].mgmt_ip")]),
    ("\"10.240.0.12\"", "\"fe80::1\"", &[(ERROR, "bad_address", 23, "nodes[1].mgmt_ip")]),
    ("\"10.240.0.12\"", "\"0.0.0.0\"", &[(ERROR, "unusable_address", 23, "nodes[1].mgmt_ip")]),
    ("\"10.240.0.12\"", "\"224.0.0.1\"", &[(ERROR, "unusable_address", 23, "nodes[1].mgmt_ip")]),
    ("\"10.240.0.12\"", "\"255.255.255.255\"", &[(ERROR, "unusable_address", 23, "nodes[1].mgmt_ip")]),
    ("\"10.240.0.12\"", "\"169.254.169.254\"", &[(ERROR, "unusable_address", 23, "nodes[1].mgmt_ip")]),
    ("\"10.240.0.12\"", "\"192.168.5.2\"", &[(ERROR, "reserved_address", 23, "nodes[1].mgmt_ip")]),
    ("\"10.240.0.200\"", "\"192.168.5.254\"", &[(ERROR, "reserved_address", 3, "cluster.external_ip")]),
    ("\"10.240.0.12\"", "\"127.128.0.12\"", &[]),
    ("\"10.240.0.12\"", "\"192.168.50.12\"", &[]),
    // Once each.
    ("\"10.240.0.12\"", "\"10.240.0.200\"", &[(ERROR, "duplicate_value", 23, "nodes[1].mgmt_ip")]),
    ("ahv_ip = \"10.240.0.51\"", "ahv_ip = \"10.240.0.11\"", &[(ERROR, "duplicate_value", 18, "nodes[0].ahv_ip")]),
    ("\"server-002\"", "\"server-001\"", &[(ERROR, "duplicate_value", 22, "nodes[1].server_id")]),
    ("mgmt_ip = \"10.240.0.12\"", "server_name = \"server-001\"", &[(ERROR, "duplicate_value", 23, "nodes[1].server_name")]),
    ("[\"8.8.8.8\"]", "[\"8.8.8.8\", \"8.8.8.8\"]", &[(ERROR, "duplicate_value", 5, "cluster.dns_servers[1]")]),
    ("[\"r006-key\"]", "[\"r006-key\", \"r006-key\"]", &[(ERROR, "duplicate_value", 13, "cloud.ssh_keys[1]")]),
    // The cloud's keys.
    ("vpc = \"r006-vpc\"\n", "", &[(ERROR, "missing_key", 8, "cloud.vpc")]),
    ("ssh_keys = [\"r006-key\"]\n", "", &[(ERROR, "missing_key", 8, "cloud.ssh_keys")]),
    ("ssh_keys = [\"r006-key\"]", "ssh_keys = []", &[(ERROR, "empty_list", 13, "cloud.ssh_keys")]),
    ("\"r006-vpc\"", "\"crn:v1:bluemix:public:is:us-south:a/1::vpc:r006-vpc\"", &[(ERROR, "bad_id", 9, "cloud.vpc")]),
    ("\"0717-subnet\"", "\"my subnet\"", &[(ERROR, "bad_id", 10, "cloud.subnet")]),
    ("\"us-south-1\"", "\"us-south\"", &[(ERROR, "bad_zone", 11, "cloud.zone")]),
    ("mgmt_ip = \"10.240.0.12\"", "zone = \"us south 1\"", &[(ERROR, "bad_zone", 23, "nodes[1].zone")]),
    ("mgmt_ip = \"10.240.0.12\"", "subnet = \"0717-other\"", &[(ERROR, "different_subnets", 23, "nodes[1].subnet")]),
    ("mgmt_ip = \"10.240.0.12\"", "security_groups = [1]", &[(ERROR, "wrong_type", 23, "nodes[1].security_groups[0]")]),
    ("profile = \"bx2d-metal-96x384\"", "profile = \"bx2d-metal-96x383\"", &[(ERROR, "unknown_profile", 12, "cloud.profile")]),
    ("profile = \"bx2d-metal-96x384\"", "profile = \"bx2-metal-96x384\"", &[(ERROR, "profile_without_data_drives", 12, "cloud.profile")]),
    ("mgmt_ip = \"10.240.0.12\"", "profile = \"bx2-metal-96x384\"", &[(ERROR, "profile_without_data_drives", 23, "nodes[1].profile")]),
    ("mgmt_ip = \"10.240.0.12\"", "profile = \"bx2-metal-96x384\"\ndata_drives = [\"/dev/nvme2n1\"]", &[(WARNING, "profile_without_data_drives", 23, "nodes[1].profile")]),
    ("profile = \"bx2d-metal-96x384\"\n", "", &[]),
    // Drives.
    ("mgmt_ip = \"10.240.0.12\"", "data_drives = []", &[(ERROR, "empty_list", 23, "nodes[1].data_drives")]),
    ("mgmt_ip = \"10.240.0.12\"", "data_drives = [\"nvme2n1\"]", &[(ERROR, "bad_device", 23, "nodes[1].data_drives[0]")]),
    ("mgmt_ip = \"10.240.0.12\"", "data_drives = [\"/dev/nvme1n1p1\"]", &[(ERROR, "bad_device", 23, "nodes[1].data_drives[0]")]),
    ("mgmt_ip = \"10.240.0.12\"", "data_drives = [\"/dev/nvme0\"]", &[(ERROR, "bad_device", 23, "nodes[1].data_drives[0]")]),
    ("mgmt_ip = \"10.240.0.12\"", "data_drives = [\"/dev/sda1\"]", &[(ERROR, "bad_device", 23, "nodes[1].data_drives[0]")]),
    ("mgmt_ip = \"10.240.0.12\"", "data_drives = [\"/dev/null\"]", &[(ERROR, "bad_device", 23, "nodes[1].data_drives[0]")]),
    ("mgmt_ip = \"10.240.0.12\"", "data_drives = [\"/dev/mem\"]", &[(ERROR, "bad_device", 23, "nodes[1].data_drives[0]")]),
    ("mgmt_ip = \"10.240.0.12\"", "data_drives = [\"/dev/dm0\"]", &[(ERROR, "bad_device", 23, "nodes[1].data_drives[0]")]),
    ("mgmt_ip = \"10.240.0.12\"", "data_drives = [\"/dev/loop0\"]", &[(ERROR, "bad_device", 23, "nodes[1].data_drives[0]")]),
    ("mgmt_ip = \"10.240.0.12\"", "data_drives = [\"/dev/mmcblk0p1\"]", &[(ERROR, "bad_device", 23, "nodes[1].data_drives[0]")]),
    ("mgmt_ip = \"10.240.0.12\"", "data_drives = [\"/dev/sr0\"]", &[(ERROR, "bad_device", 23, "nodes[1].data_drives[0]")]),
    ("mgmt_ip = \"10.240.0.12\"", "data_drives = [\"/dev/nvme12n1\", \"/dev/sdaa\", \"/dev/vdb\", \"/dev/mmcblk0\"]", &[]),
    ("mgmt_ip = \"10.240.0.12\"", "data_drives = [{ min_gb = 3200 }]", &[]),
    ("mgmt_ip = \"10.240.0.12\"", "data_drives = [{ min_gb = 3000 }, { model = \"x\", min_gb = 3201 }]", &[(ERROR, "drive_too_large", 23, "nodes[1].data_drives[1].min_gb")]),
    ("mgmt_ip = \"10.240.0.12\"", "profile = \"bx2-metal-96x384\"\ndata_drives = [{ min_gb = 9999 }]", &[(WARNING, "profile_without_data_drives", 23, "nodes[1].profile")]),
    ("mgmt_ip = \"10.240.0.12\"", "data_drives = [\"/dev/../etc\"]", &[(ERROR, "bad_device", 23, "nodes[1].data_drives[0]")]),
    ("mgmt_ip = \"10.240.0.12\"", "data_drives = [\"/dev/sda\", \"/dev/sda\"]", &[(ERROR, "duplicate_value", 23, "nodes[1].data_drives[1]")]),
    ("mgmt_ip = \"10.240.0.12\"", "data_drives = [{}]", &[(ERROR, "bad_selector", 23, "nodes[1].data_drives[0]")]),
    ("mgmt_ip = \"10.240.0.12\"", "data_drives = [{ serial = \"S5 X\" }]", &[(ERROR, "bad_selector", 23, "nodes[1].data_drives[0].serial")]),
    ("mgmt_ip = \"10.240.0.12\"", "data_drives = [{ model = \"x'y\" }]", &[(ERROR, "bad_selector", 23, "nodes[1].data_drives[0].model")]),
    ("mgmt_ip = \"10.240.0.12\"", "data_drives = [{ min_gb = 0 }]", &[(ERROR, "out_of_range", 23, "nodes[1].data_drives[0].min_gb")]),
    ("mgmt_ip = \"10.240.0.12\"", "data_drives = [{ size = 3 }]", &[(ERROR, "bad_selector", 23, "nodes[1].data_drives[0]"), (ERROR, "unknown_key", 23, "nodes[1].data_drives[0].size")]),
    ("mgmt_ip = \"10.240.0.12\"", "data_drives = [{ wipe = true }]", &[(ERROR, "bad_selector", 23, "nodes[1].data_drives[0]")]),
    ("mgmt_ip = \"10.240.0.12\"", "data_drives = [{ serial = \"S5\", wipe = \"yes\" }]", &[(ERROR, "wrong_type", 23, "nodes[1].data_drives[0].wipe")]),
    ("mgmt_ip = \"10.240.0.12\"", "data_drives = [{ serial = \"S5\", wipe = true }]", &[]),
    ("mgmt_ip = \"10.240.0.12\"", "data_drives = [{ min_gb = 3000, wipe = true }]", &[(WARNING, "wipes_any_drive", 23, "nodes[1].data_drives[0].wipe")]),
    ("mgmt_ip = \"10.240.0.12\"", "data_drives = [{ device = \"sda\", wipe = true }]", &[(ERROR, "bad_device", 23, "nodes[1].data_drives[0].device")]),
    ("mgmt_ip = \"10.240.0.12\"", "data_drives = [{ device = \"/dev/sda\", serial = \"S5\" }]", &[(ERROR, "bad_selector", 23, "nodes[1].data_drives[0]")]),
    ("mgmt_ip = \"10.240.0.12\"", "data_drives = [\"/dev/sda\", { device = \"/dev/sda\", wipe = true }]", &[(ERROR, "duplicate_value", 23, "nodes[1].data_drives[1]")]),
    ("mgmt_ip = \"10.240.0.12\"", "data_drives = [1]", &[(ERROR, "wrong_type", 23, "nodes[1].data_drives[0]")]),
    ("mgmt_ip = \"10.240.0.12\"", "data_drives = [\"/dev/sda\", \"/dev/sdb\", \"/dev/sdc\", \"/dev/sdd\", \"/dev/sde\", \"/dev/sdf\", \"/dev/sdg\", \"/dev/sdh\"]", &[(WARNING, "cvm_shares_a_drive", 23, "nodes[1].data_drives")]),
    ("mgmt_ip = \"10.240.0.12\"", "data_drives = [\"/dev/sda\", \"/dev/sdb\", \"/dev/sdc\", \"/dev/sdd\", \"/dev/sde\", \"/dev/sdf\", \"/dev/sdg\", \"/dev/sdh\", \"/dev/sdi\"]", &[(ERROR, "too_many_drives", 23, "nodes[1].data_drives")]),
    // Nodes and redundancy.
    ("redundancy_factor = 2", "redundancy_factor = 0", &[(ERROR, "out_of_range", 4, "cluster.redundancy_factor")]),
    ("redundancy_factor = 2", "redundancy_factor = 4", &[(ERROR, "out_of_range", 4, "cluster.redundancy_factor")]),
    ("redundancy_factor = 2", "redundancy_factor = 1", &[(ERROR, "too_many_nodes", 4, "cluster.redundancy_factor")]),
    ("redundancy_factor = 2", "redundancy_factor = 3", &[(ERROR, "too_few_nodes", 4, "cluster.redundancy_factor")]),
    ("redundancy_factor = 2\n", "", &[]),
    ("mgmt_ip = \"10.240.0.12\"", "role = \"compute\"", &[(ERROR, "too_few_nodes", 4, "cluster.redundancy_factor")]),
    ("mgmt_ip = \"10.240.0.12\"", "role = \"compute\"\ndata_drives = [\"/dev/sda\"]", &[(ERROR, "too_few_nodes", 4, "cluster.redundancy_factor"), (ERROR, "drives_on_compute_node", 24, "nodes[1].data_drives")]),
    ("mgmt_ip = \"10.240.0.12\"", "data_drives = [\"/dev/sda\"]\ndata_drives_by = \"profile\"", &[(ERROR, "drives_not_by_profile", 24, "nodes[1].data_drives_by")]),
    ("mgmt_ip = \"10.240.0.12\"", "data_drives = [\"/dev/sda\"]\ndata_drives_by = \"me\"", &[(ERROR, "unknown_word", 24, "nodes[1].data_drives_by")]),
    ("mgmt_ip = \"10.240.0.12\"", "data_drives_by = \"profile\"", &[]),
    ("mgmt_ip = \"10.240.0.12\"", "existing = true\ncvm_ip = \"10.240.0.102\"\nahv_ip = \"10.240.0.52\"\ndata_drives_by = \"profile\"", &[(ERROR, "drives_not_by_profile", 26, "nodes[1].data_drives_by")]),
    ("redundancy_factor = 2", "min_nodes = 2", &[(ERROR, "out_of_range", 4, "cluster.min_nodes")]),
    ("redundancy_factor = 2", "min_nodes = 4", &[(ERROR, "out_of_range", 4, "cluster.min_nodes")]),
    ("redundancy_factor = 2", "min_nodes = 3", &[]),
    // Existing nodes.
    ("mgmt_ip = \"10.240.0.12\"", "existing = true", &[(ERROR, "missing_key", 21, "nodes[1].cvm_ip"), (WARNING, "hypervisor_unknown", 21, "nodes[1].ahv_ip")]),
    ("mgmt_ip = \"10.240.0.12\"", "existing = true\ncvm_ip = \"10.240.0.102\"", &[(WARNING, "hypervisor_unknown", 21, "nodes[1].ahv_ip")]),
    ("mgmt_ip = \"10.240.0.12\"", "existing = true\ncvm_ip = \"10.240.0.102\"\nahv_ip = \"10.240.0.52\"", &[]),
    ("mgmt_ip = \"10.240.0.12\"", "existing = true\ncvm_ip = \"10.240.0.102\"\nahv_ip = \"10.240.0.52\"\nzone = \"us-south-1\"", &[(WARNING, "key_has_no_effect", 26, "nodes[1].zone")]),
    ("mgmt_ip = \"10.240.0.12\"", "existing = true\ncvm_ip = \"10.240.0.102\"\nahv_ip = \"10.240.0.52\"\ndata_drives = [\"/dev/sda\"]", &[(WARNING, "key_has_no_effect", 26, "nodes[1].data_drives")]),
    ("mgmt_ip = \"10.240.0.12\"", "existing = true\ncvm_ip = \"10.240.0.102\"\nahv_ip = \"10.240.0.52\"\ndata_drives = []", &[]),
];

#[test]
fn each_fault_is_told_once_with_its_code_line_and_path() {
    for (was, becomes, expected) in TABLE {
        assert_eq!(BASE.matches(was).count(), 1, "{was:?} stands once in the base plan");
        let text = BASE.replace(was, becomes);
        let told = faults_of(&text, PlanFormat::Toml);
        let found: Vec<_> = told.iter().map(|f| (f.severity, f.code, f.place.clone(), f.path.as_str())).collect();
        let expected: Vec<_> =
            expected.iter().map(|(s, code, line, path)| (*s, *code, Place::Line(*line), *path)).collect();
        assert_eq!(found, expected, "{becomes:?}: {told:#?}");
    }
}

#[test]
fn the_same_fault_in_json_has_a_pointer_to_it_or_to_what_it_is_missing_from() {
    for (was, becomes, expected) in TABLE {
        let told = faults_of(&as_json(&BASE.replace(was, becomes)), PlanFormat::Json);
        let found: BTreeSet<_> = told.iter().map(|f| (f.code, f.path.as_str())).collect();
        assert_eq!(found, expected.iter().map(|(_, code, _, path)| (*code, *path)).collect(), "{becomes:?}: {told:#?}");
        for fault in &told {
            let Place::Pointer(place) = &fault.place else { panic!("{fault:?}") };
            let whole = pointer(&fault.path);
            let above = whole.rsplit_once('/').map_or("", |(above, _)| above);
            let expected = if fault.value.is_some() || fault.code == "unknown_key" { whole.as_str() } else { place };
            assert!(place == expected && (*place == whole || place == above), "{fault:?}");
        }
    }
}

#[test]
fn every_fault_says_why_and_what_to_write_instead() {
    for (was, becomes, _) in TABLE {
        for fault in faults_of(&BASE.replace(was, becomes), PlanFormat::Toml) {
            assert!(!fault.why.is_empty() && fault.instead.len() > 10, "{fault:?}");
            let text = fault.to_string();
            assert!(text.contains("line ") && text.contains(&fault.path) && text.contains(&fault.instead), "{text}");
        }
    }
}

/// Rows whose words are worth pinning: these are what an operator reads.
#[test]
fn faults_read_like_this() {
    for (was, becomes, text) in [
        (
            "\"10.240.0.12\"",
            "\"10.0.0.300\"",
            "line 23: nodes[1].mgmt_ip = \"10.0.0.300\": not an IPv4 address; write four numbers from 0 to 255 without \
             leading zeros, such as \"10.240.0.11\"",
        ),
        (
            "server_id = \"server-002\"",
            "server_id = \"server-001\"",
            "line 22: nodes[1].server_id = \"server-001\": nodes[0].server_id has the same value; give each node its own",
        ),
        (
            "redundancy_factor = 2",
            "redundancy_factor = \"2\"",
            "line 4: cluster.redundancy_factor = \"2\": a text where a number is needed; write 2 without quotes",
        ),
        (
            "[cloud]",
            "rf = 2\n[cloud]",
            "line 8: cluster.rf: [cluster] has no such key; did you mean `redundancy_factor`?",
        ),
        (
            "mgmt_ip = \"10.240.0.12\"",
            "name = \"x\"",
            "line 23: nodes[1].name: [[nodes]] has no such key; did you mean `server_name`?",
        ),
        (
            "mgmt_ip = \"10.240.0.12\"",
            "timezone = \"UTC\"",
            "line 23: nodes[1].timezone: [[nodes]] has no such key; move it into [cluster]",
        ),
        (
            "redundancy_factor = 2",
            "timezone = \"Erope/Berlin\"",
            "line 4: cluster.timezone = \"Erope/Berlin\": not a name of the tz database; did you mean \"Europe/Berlin\"?",
        ),
        (
            "profile = \"bx2d-metal-96x384\"",
            "profile = \"bx2d-metal-96x383\"",
            "line 12: cloud.profile = \"bx2d-metal-96x383\": no server profile of this name is known; write \
             \"bx2d-metal-96x384\", or add yours to the file of server profiles",
        ),
        (
            "profile = \"bx2d-metal-96x384\"",
            "profile = \"cx2-metal-96x192\"",
            "line 12: cloud.profile = \"cx2-metal-96x192\": cx2-metal-96x192 has no data drives, and nodes that hold data \
             need some (3 nodes); write profile = \"cx2d-metal-96x192\", or list data_drives in each such node, or give it \
             the role compute",
        ),
        (
            "redundancy_factor = 2",
            "redundancy_factor = 3",
            "line 4: cluster.redundancy_factor = 3: redundancy factor 3 needs 5 nodes that hold data, and the plan has 3; \
             list 5 nodes or more, or write redundancy_factor = 2",
        ),
        (
            "mgmt_ip = \"10.240.0.12\"",
            "role = \"computer\"",
            "line 23: nodes[1].role = \"computer\": not a word of this key; did you mean \"compute\"? (\"compute-storage\", \
             \"storage\", \"compute\")",
        ),
    ] {
        let told: Vec<String> =
            faults_of(&BASE.replace(was, becomes), PlanFormat::Toml).iter().map(PlanFault::to_string).collect();
        assert_eq!(told, [text]);
    }
}

#[test]
fn all_faults_are_told_at_once_in_the_texts_order() {
    let text = r#"
[cluster]
name = "a b"
redundancy_factor = 3
start = "later"

[cloud]
zone = "nowhere"
profile = "bx2-metal-96x384"

[[nodes]]
server_id = "server-001"
mgmt_ip = "10.240.0.11"

[[nodes]]
server_id = "server-001"
mgmt_ip = "10.240.0.11"
cvm_ip = "192.168.5.3"
colour = "red"
"#;
    let told: Vec<_> =
        faults_of(text, PlanFormat::Toml).into_iter().map(|f| (f.place.to_string(), f.code, f.path)).collect();
    let told: Vec<_> = told.iter().map(|(place, code, path)| (place.as_str(), *code, path.as_str())).collect();
    assert_eq!(
        told,
        [
            ("line 2", "missing_key", "cluster.external_ip"),
            ("line 2", "no_dns_servers", "cluster.dns_servers"),
            ("line 2", "no_ntp_servers", "cluster.ntp_servers"),
            ("line 3", "bad_name", "cluster.name"),
            ("line 4", "too_few_nodes", "cluster.redundancy_factor"),
            ("line 5", "unknown_word", "cluster.start"),
            ("line 7", "missing_key", "cloud.ssh_keys"),
            ("line 7", "missing_key", "cloud.subnet"),
            ("line 7", "missing_key", "cloud.vpc"),
            ("line 8", "bad_zone", "cloud.zone"),
            ("line 9", "profile_without_data_drives", "cloud.profile"),
            ("line 16", "duplicate_value", "nodes[1].server_id"),
            ("line 17", "duplicate_value", "nodes[1].mgmt_ip"),
            ("line 18", "reserved_address", "nodes[1].cvm_ip"),
            ("line 19", "unknown_key", "nodes[1].colour"),
        ]
    );
}

#[test]
fn a_cloud_key_that_only_some_nodes_lack_is_missing_in_those() {
    let text = BASE.replace("vpc = \"r006-vpc\"\n", "").replace("mgmt_ip = \"10.240.0.12\"", "vpc = \"r006-vpc\"");
    let told: Vec<_> = faults_of(&text, PlanFormat::Toml).into_iter().map(|f| (f.code, f.path)).collect();
    assert_eq!(told, [("missing_key", "nodes[0].vpc".to_owned()), ("missing_key", "nodes[2].vpc".to_owned())]);
}

#[test]
fn documents_that_are_no_plan_at_all_are_told_apart() {
    let one = |text: &str, format| match faults_of(text, format).as_slice() {
        [fault] => (fault.code, fault.place.clone()),
        more => panic!("{more:#?}"),
    };
    use PlanFormat::{Json, Toml};
    assert_eq!(one("[cluster]\nname = \n", Toml), ("syntax", Place::Position(2, 8)));
    assert_eq!(one("[cluster]\nname = 'a'\nname = 'b'\n", Toml), ("syntax", Place::Position(3, 1)));
    assert_eq!(one("{\n  \"cluster\": {,}\n}", Json), ("syntax", Place::Position(2, 15)));
    assert_eq!(one("", Json), ("syntax", Place::Position(1, 1)));
    assert_eq!(one("{} {}", Json), ("syntax", Place::Position(1, 4)));
    assert_eq!(one("[]", Json), ("wrong_type", Place::Pointer(String::new())));
    assert_eq!(one(&" ".repeat(300 * 1024), Toml), ("too_large", Place::Path));
    let empty: Vec<_> = faults_of("", Toml).into_iter().map(|f| (f.code, f.place, f.path)).collect();
    let missing = |path: &str| ("missing_key", Place::Line(1), path.to_owned());
    assert_eq!(empty, [missing("nodes"), missing("cluster")]);
}

#[test]
fn one_pair_of_brackets_too_few_is_explained() {
    let text = BASE.split("[[nodes]]").next().unwrap().to_owned() + "[nodes]\nserver_id = \"a\"\n";
    let told = faults_of(&text, PlanFormat::Toml);
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(told[0].instead.contains("two brackets"), "{}", told[0]);
}

#[test]
fn tables_that_are_none_hide_no_other_fault() {
    let text = "cluster = 1\ncloud = 2\n[[nodes]]\nserver_id = 3\n";
    let told: Vec<_> = faults_of(text, PlanFormat::Toml).into_iter().map(|f| (f.code, f.path)).collect();
    let wrong = |path: &str| ("wrong_type", path.to_owned());
    assert_eq!(told, [wrong("cluster"), wrong("cloud"), wrong("nodes[0].server_id")]);
}

#[test]
fn a_key_that_stands_twice_in_json_is_a_fault_and_not_silently_the_last() {
    let text = as_json(BASE).replacen("\"name\": \"alpha\"", "\"name\": \"alpha\", \"name\": \"beta\"", 1);
    let told = faults_of(&text, PlanFormat::Json);
    assert_eq!(told.iter().map(|f| (f.code, f.path.as_str())).collect::<Vec<_>>(), [("duplicate_key", "cluster.name")]);
}

#[test]
fn null_in_json_means_not_there() {
    let text = as_json(BASE).replace("\"10.240.0.12\"", "null").replace("\"server-003\"", "null");
    let told: Vec<_> = faults_of(&text, PlanFormat::Json).into_iter().map(|f| (f.code, f.path)).collect();
    assert_eq!(told, [("missing_key", "nodes[2].server_id".to_owned())]);
}

fn many_nodes(count: usize) -> String {
    let head = BASE.split("[[nodes]]").next().unwrap().to_owned();
    head + &(0..count).map(|i| format!("[[nodes]]\nserver_id = \"s-{i}\"\n")).collect::<String>()
}

#[test]
fn sizes_have_limits() {
    let codes = |text: &str| faults_of(text, PlanFormat::Toml).iter().map(|f| (f.severity, f.code)).collect::<Vec<_>>();
    assert_eq!(codes(&many_nodes(32)), []);
    assert_eq!(codes(&many_nodes(64)), [(WARNING, "too_many_nodes")]);
    assert_eq!(codes(&many_nodes(65)).last(), Some(&(ERROR, "too_many_nodes")));
    let long = format!("[{}]", "\"8.8.8.8\",".repeat(100));
    assert_eq!(codes(&BASE.replace("[\"8.8.8.8\"]", &long)), [(ERROR, "list_too_long")]);
    let idle = "existing = true\nvpc = 1\nsubnet = 1\nzone = 1\nprofile = 1\nssh_keys = 1\n";
    let nodes: String =
        (0..60).map(|i| format!("[[nodes]]\nserver_id = \"s-{i}\"\ncvm_ip = \"10.1.0.{i}\"\n{idle}")).collect();
    let only_warnings = BASE.split("[[nodes]]").next().unwrap().to_owned() + &nodes;
    let checked = read_plan(&only_warnings, PlanFormat::Toml, &Profiles::builtin()).unwrap();
    let last = checked.warnings.last().unwrap();
    assert_eq!(
        (checked.warnings.len(), last.code, last.severity),
        (201, "more_faults", WARNING),
        "warnings refuse no plan"
    );
    let noise: String = (0..1000).map(|i| format!("x{i} = {i}\n")).collect();
    let told = faults_of(&noise, PlanFormat::Toml);
    assert_eq!((told.len(), told.last().unwrap().code), (201, "more_faults"));
}

#[test]
fn a_single_node_takes_redundancy_factor_one_by_itself() {
    let one = many_nodes(1).replace("redundancy_factor = 2\n", "");
    let checked = read_plan(&one, PlanFormat::Toml, &Profiles::builtin()).unwrap();
    assert_eq!((checked.plan.cluster.redundancy_factor, checked.plan.cluster.min_nodes), (1, 1));
    let told = faults_of(&one.replace("[cloud]", "formation = \"foundation\"\n[cloud]"), PlanFormat::Toml);
    assert_eq!(told.iter().map(|f| (f.severity, f.code)).collect::<Vec<_>>(), [(WARNING, "foundation_one_node")]);
    let two = faults_of(&many_nodes(2), PlanFormat::Toml);
    assert_eq!(two.iter().map(|f| f.code).collect::<Vec<_>>(), ["too_few_nodes"]);
}

#[test]
fn foundation_asks_an_existing_node_for_its_hypervisor() {
    let text = BASE
        .replace("redundancy_factor = 2", "formation = \"foundation\"")
        .replace("mgmt_ip = \"10.240.0.12\"", "existing = true\ncvm_ip = \"10.240.0.102\"");
    let told: Vec<_> = faults_of(&text, PlanFormat::Toml).into_iter().map(|f| (f.code, f.path)).collect();
    assert_eq!(told, [("missing_key", "nodes[1].ahv_ip".to_owned())]);
}

#[test]
fn a_users_profile_is_known_like_any_other() {
    let lab = "[[profile]]\nname = \"lab-metal\"\nvcpu = 8\nmemory_gib = 64\nboot_gb = 480\nboot_quantity = 1\n\
               data_quantity = 3\ndata_gb = 1000\ngbit = 25\n";
    let text = BASE.replace("bx2d-metal-96x384", "lab-metal");
    assert_eq!(faults_of(&text, PlanFormat::Toml)[0].code, "unknown_profile");
    let profiles = Profiles::builtin().with_user_file(lab).unwrap();
    let checked = read_plan(&text, PlanFormat::Toml, &profiles).unwrap();
    assert_eq!(checked.plan.nodes[0].data_drives.len(), 2);
}

/// No code without a row: a fault nobody can make is one nobody has seen.
#[test]
fn every_code_is_made_by_some_test_here() {
    let elsewhere = [
        "syntax",
        "too_large",
        "more_faults",
        "duplicate_key",
        "list_too_long",
        "foundation_one_node",
        "outside_subnet",
        "cloud_address",
    ];
    let covered: BTreeSet<&str> = TABLE
        .iter()
        .flat_map(|(_, _, expected)| expected.iter().map(|(_, code, _, _)| *code))
        .chain(elsewhere)
        .collect();
    assert_eq!(covered, PlanFault::CODES.iter().copied().collect());
}
