//! The plans of a demo: the simulated world's own plan, for as many nodes and clusters as are asked for.
//!
//! The world's plan is kept word for word as far as it goes. What is added has no addresses of its own: the cloud
//! chooses them. Only a cluster's own address must be written; the further ones stand at the subnet's end, where the
//! cloud's choice comes last.

use crate::error::CliError;
use ipnet::Ipv4Net;
use metalform_model::PlanFormat;
use crate::plan_text::PlanText;
use std::net::Ipv4Addr;
use toml::{Table, Value};

/// One plan for each cluster, as texts.
pub fn demo_plans(world_plan: &str, subnet: Ipv4Net, clusters: usize, nodes: usize) -> Result<Vec<PlanText>, CliError> {
    let base: Table = world_plan.parse().map_err(CliError::SimulatorPlan)?;
    Ok((0..clusters).map(|place| plan(&base, subnet, clusters, place, nodes)).collect())
}

fn plan(base: &Table, subnet: Ipv4Net, clusters: usize, place: usize, nodes: usize) -> PlanText {
    let mut plan = base.clone();
    let mut name = String::new();
    if let Some(Value::Table(cluster)) = plan.get_mut("cluster") {
        name = cluster.get("name").and_then(Value::as_str).unwrap_or("demo").to_owned();
        if clusters > 1 {
            name = format!("{name}-{}", place + 1);
            cluster.insert("name".into(), name.clone().into());
        }
        if place > 0 {
            cluster.insert("external_ip".into(), further_address(subnet, place).to_string().into());
        }
        cluster.insert("redundancy_factor".into(), Value::Integer(if nodes == 1 { 1 } else { 2 }));
        cluster.insert("min_nodes".into(), Value::Integer(nodes as i64));
    }
    let given = match plan.remove("nodes") {
        Some(Value::Array(given)) if place == 0 => given,
        _ => Vec::new(),
    };
    let more = (given.len()..nodes).map(|n| {
        let server_id = format!("server-{:03}", place * nodes + n + 1);
        Value::Table(Table::from_iter([("server_id".to_owned(), server_id.into())]))
    });
    plan.insert("nodes".into(), Value::Array(given.iter().cloned().chain(more).take(nodes).collect()));
    PlanText { name: format!("the plan of {name}"), text: plan.to_string(), format: PlanFormat::Toml }
}

/// The last address of a subnet is its broadcast address, which belongs to nobody.
fn further_address(subnet: Ipv4Net, place: usize) -> Ipv4Addr {
    let back = u32::try_from(place).unwrap_or(u32::MAX);
    Ipv4Addr::from_bits(subnet.broadcast().to_bits().saturating_sub(back))
}

#[cfg(test)]
mod tests {
    use super::*;
    use metalform_model::{Plan, Profiles, read_plan};

    const WORLD_PLAN: &str = r#"
[cluster]
name = "demo"
external_ip = "127.128.1.200"
redundancy_factor = 2
dns_servers = ["127.128.1.2"]
ntp_servers = ["pool.ntp.org"]
[cloud]
vpc = "r006-vpc"
subnet = "0717-subnet"
zone = "us-south-1"
ssh_keys = ["r006-key"]
[[nodes]]
server_id = "server-001"
mgmt_ip = "127.128.1.11"
[[nodes]]
server_id = "server-002"
[[nodes]]
server_id = "server-003"
"#;

    fn plans(clusters: usize, nodes: usize) -> Vec<Plan> {
        let texts = demo_plans(WORLD_PLAN, "127.128.1.0/24".parse().unwrap(), clusters, nodes).unwrap();
        let read = |text: PlanText| read_plan(&text.text, text.format, &Profiles::builtin()).unwrap().plan;
        texts.into_iter().map(read).collect()
    }

    #[test]
    fn three_nodes_are_the_worlds_own_plan() {
        let own = read_plan(WORLD_PLAN, PlanFormat::Toml, &Profiles::builtin()).unwrap().plan;
        assert_eq!(plans(1, 3), [own]);
    }

    #[test]
    fn every_size_is_a_good_plan_and_no_two_clusters_share_anything() {
        for (clusters, nodes) in [(1, 1), (1, 5), (2, 1), (3, 4)] {
            let plans = plans(clusters, nodes);
            let mut ids: Vec<String> = plans.iter().flat_map(|p| &p.nodes).map(|n| n.server_id.clone()).collect();
            let mut names: Vec<String> = plans.iter().map(|p| p.cluster.name.clone()).collect();
            let mut addresses: Vec<Ipv4Addr> = plans.iter().map(|p| p.cluster.external_ip).collect();
            ids.sort();
            ids.dedup();
            names.dedup();
            addresses.dedup();
            assert_eq!((ids.len(), names.len(), addresses.len()), (clusters * nodes, clusters, clusters));
            assert!(plans.iter().all(|p| p.cluster.min_nodes == nodes));
        }
    }
}
