//! The checks on a finished cluster, one line each, with what was seen.

use super::{check, failed_check, is_refusal, pin_rule};
use metalform_model::Check;
use metalform_nutanix::{ClusterServices, ClusterView, HostView, PinRule, PrismClient};
use metalform_orchestrator::{ClusterSpec, Member};
use std::collections::BTreeSet;

/// What Prism says, at the cluster's own address and on every member.
pub(super) async fn by_prism(prism: &PrismClient, spec: &ClusterSpec, members: &[Member], pins: PinRule) -> Vec<Check> {
    let mut lines = Vec::new();
    match prism.cluster(spec.external_ip, pins.clone()).await {
        Ok(view) => cluster_lines(&view, spec, members.len(), &mut lines),
        // Asking the others with a refused password would only lock the account.
        Err(error) if is_refusal(&error) => return vec![failed_check("cluster address answers UP", &error)],
        Err(error) => lines.push(failed_check("cluster address answers UP", &error)),
    }
    match prism.hosts(spec.external_ip, pins).await {
        Ok(hosts) => host_lines(&hosts, members.len(), &mut lines),
        Err(error) => lines.push(failed_check("hosts are normal", &error)),
    }
    for member in members {
        let name = format!("{} answers", member.server_id);
        let line = match prism.cluster(member.cvm_ip, pin_rule(member.pin.as_deref())).await {
            Ok(view) => {
                let cluster = view.name.unwrap_or_else(|| "a cluster without a name".into());
                check(name, cluster == spec.name, format!("it is in {cluster}"))
            }
            Err(error) => failed_check(name, &error),
        };
        let refused = line.refused;
        lines.push(line);
        if refused {
            break;
        }
    }
    lines
}

fn cluster_lines(view: &ClusterView, spec: &ClusterSpec, members: usize, lines: &mut Vec<Check>) {
    let status = view.cluster_status.as_ref().map_or_else(|| "it answers".into(), |s| format!("cluster_status {s}"));
    lines.push(check("cluster address answers UP", view.is_up(members as u64), status));
    let name = view.name.clone().unwrap_or_else(|| "none".into());
    lines.push(check("name as planned", name == spec.name, name.clone()));
    let nodes = view.num_nodes.map_or_else(|| "not told".into(), |n| format!("{n} of {members}"));
    lines.push(check("node count", view.num_nodes.is_none_or(|n| n == members as u64), nodes));
    if let (Some(current), Some(desired)) = (view.current_redundancy_factor, view.desired_redundancy_factor) {
        let ok = current == desired && desired == u64::from(spec.redundancy_factor);
        lines.push(check("redundancy", ok, format!("current {current}, desired {desired}")));
    }
    // Foundation's clients have dropped these without a word (nutanix.ansible issue 307): what was asked for proves nothing.
    if let Some(timezone) = &view.timezone {
        lines.push(check("time zone as planned", *timezone == spec.timezone, timezone.clone()));
    }
    let dns: Vec<String> = spec.dns_servers.iter().map(ToString::to_string).collect();
    lines.extend(same_servers("name servers as planned", &dns, view.name_servers.as_deref()));
    lines.extend(same_servers("time servers as planned", &spec.ntp_servers, view.ntp_servers.as_deref()));
}

/// In any order; more than planned is no fault. `None` where the cluster doesn't tell.
fn same_servers(name: &str, planned: &[String], told: Option<&[String]>) -> Option<Check> {
    let told = told?;
    let missing: Vec<&String> = planned.iter().filter(|server| !told.contains(server)).collect();
    let seen = if told.is_empty() { "none".into() } else { told.join(", ") };
    Some(check(name, missing.is_empty(), seen))
}

fn host_lines(hosts: &[HostView], members: usize, lines: &mut Vec<Check>) {
    lines.push(check("every node is a host", hosts.len() == members, format!("{} of {members}", hosts.len())));
    let sick: Vec<String> = hosts.iter().filter(|host| !host.is_normal()).map(HostView::in_words).collect();
    let seen = if sick.is_empty() { "all are".into() } else { sick.join("; ") };
    lines.push(check("hosts are normal", sick.is_empty(), seen));
}

/// The services of every controller VM, as `cluster status` lists them: a line says how many run, and which don't.
pub(super) fn services(services: &ClusterServices, members: &[Member]) -> Vec<Check> {
    let told: BTreeSet<_> = services.member_ips().into_iter().collect();
    let line = |member: &Member| {
        let name = format!("services of {}", member.server_id);
        let Some(cvm) = services.cvms.iter().find(|cvm| cvm.ip == member.cvm_ip) else {
            return check(name, false, "the cluster doesn't list it");
        };
        let down: Vec<&str> = cvm.services.iter().filter(|s| !s.is_up()).map(|s| s.name.as_str()).collect();
        let up = cvm.services.len() - down.len();
        let seen = match down.len() {
            0 => format!("{up} of {up} run"),
            1..=5 => format!("{up} of {} run, without {}", cvm.services.len(), down.join(", ")),
            _ => format!("{up} of {} run", cvm.services.len()),
        };
        check(name, cvm.is_up && down.is_empty() && up > 0, seen)
    };
    let mut lines: Vec<Check> = members.iter().map(line).collect();
    let strangers: Vec<String> =
        told.iter().filter(|ip| !members.iter().any(|m| m.cvm_ip == **ip)).map(ToString::to_string).collect();
    if !strangers.is_empty() {
        lines.push(check("no other members", false, strangers.join(", ")));
    }
    lines
}
