//! A node on its way to genesis, and its restarts.

use super::*;
use crate::cvm::PrismBeforeCreate;

fn ports(rack: &Rack, ip: Ipv4Addr) -> Vec<u16> {
    rack.world.listeners().iter().filter(|listener| listener.ip == ip).map(|listener| listener.port).collect()
}

#[test]
fn the_hypervisor_comes_first_then_the_cvms_ssh_then_genesis() {
    let mut rack = Rack { world: World::new(observed(|_| {}), START), now: START };
    assert_eq!(rack.login(ahv_ip(1), "root", "nutanix/4u"), None);
    rack.world.fleet_mut().host_up(START, &host(1), &mut crate::fault::Faults::default());
    assert_eq!(rack.login(ahv_ip(1), "root", "nutanix/4u"), Some(true));
    assert_eq!(rack.login(cvm_ip(1), "nutanix", "nutanix/4u"), None);
    rack.seconds(300);
    assert_eq!(rack.login(cvm_ip(1), "nutanix", "nutanix/4u"), Some(true));
    assert_eq!(rack.run(1, &format!("{GENESIS} status")).out, "genesis: []\nfoundation: []\n");
    let ran = rack.run(1, &format!("{CLUSTER} status"));
    assert!(ran.status == 1 && ran.err.contains("Failed to reach a node where Genesis is up"), "{ran:?}");
    assert_eq!(rack.run(1, &format!("{GENESIS} restart")).status, 1);
    rack.world.place_prepared_node(rack.now, host(1));
    rack.seconds(70);
    assert_eq!(rack.run(1, &format!("{GENESIS} status")).out, "genesis: [2187, 2230]\nfoundation: []\n");
    assert!(rack.is_unconfigured(1));
    assert_eq!((ports(&rack, cvm_ip(1)), ports(&rack, ahv_ip(1))), (vec![22], vec![22]));
}

#[test]
fn how_long_each_takes_can_be_chosen() {
    let mut rack = Rack::with(1, |settings| settings.durations.genesis = Duration::from_secs(600));
    assert!(rack.run(1, &format!("{GENESIS} status")).out.starts_with("genesis: []"));
    rack.seconds(600);
    assert!(rack.is_unconfigured(1));
}

#[test]
fn before_a_create_port_9440_refuses_or_what_was_chosen() {
    let path = "/PrismGateway/services/rest/v1/cluster";
    let ask = |choice| {
        let mut rack = Rack::with(1, |settings| settings.observed.prism_before_create = choice);
        let request = request("GET", path, basic("admin", "nutanix/4u"), None);
        let probe = rack.run(1, "timeout 3 bash -c '</dev/tcp/10.240.0.101/9440' 2>/dev/null; echo 9440 $?").out;
        (rack.world.cvm_request(rack.now, cvm_ip(1), 9440, &request), ports(&rack, cvm_ip(1)), probe)
    };
    assert_eq!(ask(PrismBeforeCreate::Refused), (None, vec![22], "9440 1\n".into()));
    assert_eq!(ask(PrismBeforeCreate::Reset), (Some(Reply::Lost), vec![9440, 22], "9440 0\n".into()));
    let (Some(Reply::Answer(page)), listening, _) = ask(PrismBeforeCreate::Page) else { panic!() };
    assert_eq!((page.status, page.headers[0].1.as_str(), listening), (503, "text/html", vec![9440, 22]));
}

#[test]
fn every_node_says_who_it_is_and_no_two_say_the_same() {
    let mut rack = Rack::new();
    let configs: Vec<Value> = (1..=3)
        .map(|n| serde_json::from_str(&rack.run(n, "cat /etc/nutanix/factory_config.json").out).unwrap())
        .collect();
    for key in ["node_serial", "rackable_unit_serial", "cluster_id"] {
        assert!(configs[0][key] != configs[1][key] && configs[1][key] != configs[2][key], "{key}");
    }
    assert_eq!((&configs[0]["node_position"], configs[0]["rackable_unit_model"].is_string()), (&json!("A"), true));
    assert!(configs[0]["cluster_id"].as_u64().unwrap() > 0);
}

#[test]
fn a_restart_keeps_files_ends_processes_and_makes_another_boot_id() {
    let mut rack = Rack::new();
    let boot_id = "cat /proc/sys/kernel/random/boot_id";
    let before = rack.run(1, boot_id).out;
    assert_eq!(rack.run(1, boot_id).out, before);
    rack.job(1, "long", "sleep 10000");
    assert!(rack.look(1, "long", 1).out.contains("\nalive\n"));
    rack.world.fleet_mut().stop("0717-1");
    assert_eq!((rack.login(cvm_ip(1), "nutanix", "nutanix/4u"), ports(&rack, ahv_ip(1))), (None, vec![]));
    rack.world.place_prepared_node(rack.now, host(1));
    let seen = rack.look(1, "long", 1);
    assert_eq!(seen.status, 0, "the job's folder is there");
    assert!(!seen.out.contains("alive") && seen.out.contains("\nstatus\n"), "{}", seen.out);
    assert_ne!(rack.run(1, boot_id).out, before);
    assert!(seen.out.starts_with(&format!("boot {} {}", before.trim(), rack.run(1, boot_id).out)), "{}", seen.out);
    assert!(rack.run(1, "id -u nutanix").status == 0);
}

#[test]
fn an_installation_makes_new_host_keys_and_empty_homes_and_the_cvms_is_not_the_hypervisors() {
    let mut rack = Rack::new();
    let key = |rack: &Rack, ip| {
        let listeners = rack.world.listeners();
        let is_ssh = |l: &&crate::cvm::Listener| l.ip == ip && l.service == Service::Ssh;
        listeners.iter().find(is_ssh).unwrap().certificate.clone()
    };
    let before = (key(&rack, cvm_ip(1)), key(&rack, ahv_ip(1)));
    assert_ne!(before.0, before.1);
    rack.run(1, "touch .here");
    rack.world.place_prepared_node(rack.now, CvmHost { install: 2, ..host(1) });
    let after = (key(&rack, cvm_ip(1)), key(&rack, ahv_ip(1)));
    assert!(before.0 != after.0 && before.1 != after.1);
    assert_eq!(rack.run(1, "test -e .here").status, 1);
}

#[test]
fn a_cvm_sees_which_ports_of_a_peer_are_open() {
    let mut rack = Rack::new();
    let question = |ip: &str| {
        let mut text = format!("ping -c 1 -W 2 {ip} >/dev/null 2>&1; echo ping $?");
        for port in [22, 2100, 9440] {
            text += &format!("; timeout 3 bash -c '</dev/tcp/{ip}/{port}' 2>/dev/null; echo {port} $?");
        }
        text
    };
    assert_eq!(rack.run(1, &question("10.240.0.102")).out, "ping 0\n22 0\n2100 0\n9440 1\n");
    assert_eq!(rack.run(1, &question("10.240.0.101")).out, "ping 0\n22 0\n2100 0\n9440 1\n", "itself");
    assert_eq!(rack.run(1, &question("10.240.0.51")).out, "ping 0\n22 0\n2100 1\n9440 1\n", "a hypervisor");
    let nobody = rack.run(1, &question("10.240.0.200"));
    assert_eq!((nobody.out.as_str(), nobody.after.as_secs()), ("ping 1\n22 124\n2100 124\n9440 124\n", 11));
    assert_eq!(rack.world.cvm_request(rack.now, cvm_ip(1), 2100, &request("POST", "/jsonrpc", None, None)), None);
}

#[test]
fn a_host_that_goes_down_takes_its_starting_cvm_along() {
    let mut rack = Rack { world: World::new(observed(|_| {}), START), now: START };
    let mut faults = crate::fault::Faults::default();
    rack.world.fleet_mut().host_up(START, &host(1), &mut faults);
    rack.world.fleet_mut().stop("0717-1");
    assert_eq!(rack.login(ahv_ip(1), "root", "nutanix/4u"), None);
    rack.seconds(600);
    assert_eq!(rack.login(cvm_ip(1), "nutanix", "nutanix/4u"), None);
}
