//! Plans that fit a simulated world, and a configuration for `serve`.

use super::RunningSimulator;
use crate::{cloud::LAB_PROFILE, world::World};
use ipnet::Ipv4Net;
use std::{fmt::Write, net::Ipv4Addr, path::Path};

/// The first addresses of a subnet belong to the provider; a few more are left to whoever wants some.
const FIRST_ADDRESS: u32 = 16;
const PROFILE: &str = "bx2d-metal-96x384";

/// What a plan should look like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanShape {
    /// Name of the cluster.
    pub cluster: String,
    /// Nodes are called `<prefix>-001` and so on.
    pub server_prefix: String,
    /// How many.
    pub nodes: u32,
    /// So many addresses of the subnet are left to earlier plans; see [`PlanShape::addresses`].
    pub offset: u32,
}

impl Default for PlanShape {
    fn default() -> Self {
        PlanShape { cluster: "my-nutanix-cluster".into(), server_prefix: "server".into(), nodes: 3, offset: 0 }
    }
}

impl PlanShape {
    /// How many addresses a plan of that many nodes takes: three a node, and the VIP.
    pub fn addresses(nodes: u32) -> u32 {
        3 * nodes + 1
    }
}

/// A plan as TOML. Addresses past the end of the subnet are left to the reader to refuse.
pub(super) fn render(world: &World, subnet: Ipv4Net, shape: &PlanShape) -> String {
    let ids = world.plan_ids();
    let profile = if world.settings().cloud.lab_profile { LAB_PROFILE } else { PROFILE };
    let address = |n: u32| Ipv4Addr::from(u32::from(subnet.network()) + FIRST_ADDRESS + shape.offset + n);
    let redundancy_factor = if shape.nodes == 1 { 1 } else { 2 };
    let mut plan = format!(
        "[cluster]\nname = \"{}\"\nexternal_ip = \"{}\"\nredundancy_factor = {redundancy_factor}\n\
         cluster_functions = [\"AOS\"]\ntimezone = \"UTC\"\ndns_servers = [\"8.8.8.8\"]\n\
         ntp_servers = [\"pool.ntp.org\"]\n\n\
         [cloud]\nvpc = \"{}\"\nsubnet = \"{}\"\nzone = \"{}\"\nprofile = \"{profile}\"\nssh_keys = [\"{}\"]\n\
         security_groups = [\"{}\"]\n",
        shape.cluster,
        address(0),
        ids.vpc,
        ids.subnet,
        ids.zone,
        ids.key,
        ids.security_group,
    );
    for node in 0..shape.nodes {
        let [mgmt, ahv, cvm] = [1, 2, 3].map(|n| address(3 * node + n));
        let name = format!("{}-{:03}", shape.server_prefix, node + 1);
        let _ = write!(
            plan,
            "\n[[nodes]]\nserver_id = \"{name}\"\nmgmt_ip = \"{mgmt}\"\nahv_ip = \"{ahv}\"\ncvm_ip = \"{cvm}\"\n"
        );
    }
    plan
}

/// A configuration as TOML.
pub(super) fn render_config(simulator: &RunningSimulator, data_dir: Option<&Path>) -> String {
    let RunningSimulator { iam_url, vpc_url, dns_url, metadata_url, boot_url, boot_listen, .. } = simulator;
    let (region, ports) = simulator.shared.with(|world, _| {
        let cvms = &world.settings().cvms;
        let ports = [
            ("ssh_port", cvms.ssh_port, 22),
            ("foundation_port", cvms.foundation_port, 8000),
            ("prism_port", cvms.prism_port, 9440),
            ("genesis_port", cvms.genesis_port, 2100),
        ];
        (world.settings().cloud.region.clone(), ports)
    });
    let data_dir = data_dir.map_or_else(String::new, |path| format!("data_dir = {path:?}\n\n"));
    let others = ports.iter().filter(|(_, port, usual)| port != usual);
    let mut nutanix: String = others.map(|(key, port, _)| format!("{key} = {port}\n")).collect();
    if !nutanix.is_empty() {
        nutanix.insert_str(0, "\n[nutanix]\n");
    }
    let templates = simulator.templates_dir.iter().map(|dir| format!("templates_dir = {dir:?}\n")).collect::<String>();
    // Emulated machines have a network of their own, and a profile that no table of IBM's has.
    let (listen, allow, profiles) = match boot_listen {
        None => (String::new(), "127.0.0.0/8".to_owned(), String::new()),
        Some(listen) => (
            format!("listen = \"{listen}\"\n{templates}"),
            simulator.subnet.to_string(),
            format!("\n[profiles]\nfile = {:?}\n", simulator.folder.profiles()),
        ),
    };
    format!(
        "{data_dir}[boot]\n{listen}public_url = \"{boot_url}\"\nallow = [\"{allow}\"]\n\n\
         [ibm_cloud]\napi_key_file = {:?}\nregion = \"{region}\"\niam_url = \"{iam_url}\"\nvpc_url = \"{vpc_url}\"\n\
         dns_url = \"{dns_url}\"\nmetadata_url = \"{metadata_url}\"\n\n\
         [images]\ndir = {:?}\n{nutanix}{profiles}",
        simulator.api_key_file(),
        simulator.images_dir,
    )
}
