//! Machines that are emulated outside: what the world orders of them, and what it makes of an installed system's word.

use super::*;
use crate::{fault::HardwareFault, fault::builtin, machine::EmulatedMachine};

impl Scene {
    fn emulated() -> Self {
        let mut scene = Scene::with(CvmProfile::Observed);
        let subnet = scene.boot.subnet;
        let mut settings = WorldSettings::new(7, 1.0, subnet);
        settings.cvms.profile = CvmProfile::Observed;
        settings.machines.emulated = true;
        scene.world = World::new(settings, START);
        scene
    }

    /// Lets time pass until the world orders something.
    fn next_orders(&mut self) -> Vec<EmulatorOrder> {
        for _ in 0..1000 {
            assert_eq!(self.world.advance(self.now), [], "an emulated machine fetches for itself");
            let orders = self.world.take_emulator_orders();
            if !orders.is_empty() {
                return orders;
            }
            self.now = self.world.next_event_at().max(self.now + Duration::from_millis(1));
        }
        panic!("nothing is ordered");
    }

    fn powered_on(&mut self) -> EmulatedMachine {
        let mut orders = self.next_orders();
        let Some(EmulatorOrder::On(machine)) = orders.pop() else { panic!("{orders:?}") };
        *machine
    }

    fn system_is_up(&mut self, install: &str) -> Result<Vec<(Ipv4Addr, u16)>, Vec<String>> {
        let node = self.boot.nodes[0].clone();
        let config = self.boot.config(&node).to_string();
        let listeners = self.world.system_is_up(self.now, node.mgmt_ip, install, &config)?;
        Ok(listeners.into_iter().map(|listener| (listener.ip, listener.port)).collect())
    }
}

#[test]
fn a_powered_on_machine_is_ordered_from_the_emulator_with_what_the_cloud_says_of_it() {
    let mut scene = Scene::emulated();
    let node = scene.boot.nodes[0].clone();
    let server_id = scene.order(&node);
    let machine = scene.powered_on();
    assert_eq!((machine.on.server_id.as_str(), machine.on.address), (server_id.as_str(), node.mgmt_ip));
    assert_eq!((machine.disks.len(), machine.on.boot_disk_writes), (9, 1));
    assert_eq!(scene.world.machine(&node.server_id).map(Machine::uuid), Some(machine.uuid));
    let stop = format!("/bare_metal_servers/{server_id}/stop");
    assert_eq!(scene.cloud("POST", &stop, Some(&json!({"type": "hard"}))).0, 204);
    assert_eq!(scene.next_orders(), [EmulatorOrder::Off { server_id: server_id.clone() }]);
}

#[test]
fn an_installed_system_that_speaks_up_grows_a_controller_vm_and_loses_it_when_it_falls_silent() {
    let mut scene = Scene::emulated();
    let node = scene.boot.nodes[0].clone();
    scene.order(&node);
    scene.powered_on();
    assert_eq!(scene.system_is_up("first").map(|_| ()), Ok(()));
    // The hypervisor takes logins first, the controller VM when it has started.
    let mut listening = Vec::new();
    for _ in 0..600 {
        scene.now = scene.now + Duration::from_secs(5);
        listening = scene.system_is_up("first").unwrap();
        if listening.iter().any(|(ip, _)| *ip == node.cvm_ip) {
            break;
        }
    }
    assert!(listening.contains(&(node.cvm_ip, 22)) && listening.contains(&(node.ahv_ip, 22)), "{listening:?}");

    scene.now = scene.now + Duration::from_secs(16);
    scene.world.advance(scene.now);
    assert_eq!(scene.world.listeners(), [], "nobody has heard of it for 16 s");
    assert_eq!(scene.world.machine(&node.server_id).map(Machine::stage), Some(&Stage::Rebooting));
    assert_eq!(scene.system_is_up("first").map(|_| ()), Ok(()), "it comes back as the same installation");
}

#[test]
fn a_system_at_nobodys_address_or_with_another_machines_configuration_is_refused() {
    let mut scene = Scene::emulated();
    let node = scene.boot.nodes[0].clone();
    let config = scene.boot.config(&node).to_string();
    let nobody = scene.world.system_is_up(scene.now, node.mgmt_ip, "x", &config);
    assert_eq!(nobody.unwrap_err(), ["no machine has the address 10.240.0.11"]);
    scene.order(&node);
    scene.powered_on();
    let other = scene.boot.config(&scene.boot.nodes[1].clone()).to_string();
    let refused = scene.world.system_is_up(scene.now, node.mgmt_ip, "x", &other).unwrap_err();
    assert!(refused[0].starts_with("server_info.mgmt_ip is \"10.240.0.12\""), "{refused:?}");
}

#[test]
fn hardware_faults_come_with_the_machine_at_every_power_on_and_a_silent_one_is_never_ordered() {
    let mut scene = Scene::emulated();
    for name in ["disk_missing", "little_memory"] {
        scene.world.add_fault(builtin(name).unwrap());
    }
    let node = scene.boot.nodes[0].clone();
    scene.order(&node);
    assert_eq!(scene.powered_on().faults, [HardwareFault::DiskMissing, HardwareFault::LittleMemory]);

    let mut scene = Scene::emulated();
    scene.world.add_fault(builtin("machine_never_boots").unwrap());
    let node = scene.boot.nodes[0].clone();
    scene.order(&node);
    for _ in 0..40 {
        scene.world.advance(scene.now);
        scene.now = scene.world.next_event_at().min(scene.now + Duration::from_secs(3600));
    }
    assert_eq!(scene.world.take_emulator_orders(), []);
    assert!(matches!(scene.world.machine(&node.server_id).map(Machine::stage), Some(Stage::Stuck(_))));
}
