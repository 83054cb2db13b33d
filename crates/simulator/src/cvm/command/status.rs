//! `cluster status`, as users of published transcripts and clients that read it saw it.

use super::log;
use crate::{
    cvm::{
        Fleet,
        cluster::Target,
        services::ServiceState,
        shell::{Cx, Stream, Task},
    },
    fault::CvmFault,
};
use metalform_model::Timestamp;
use std::fmt::Write;

pub(super) const UNCONFIGURED: &str = "Cluster is currently unconfigured. Please create the cluster.";

pub(super) fn run(task: &mut Task, cx: &mut Cx<'_>) {
    let table = table(cx.fleet, cx.now, &cx.place.server_id);
    if table.is_empty() {
        log(task, cx, "CRITICAL", UNCONFIGURED);
        task.end(1);
    } else {
        let members = members(cx);
        log(task, cx, "INFO", &format!("Executing action status on SVMs {}", members.join(",")));
        task.write(cx, Stream::Out, table.as_bytes());
        log(task, cx, "INFO", "Success!");
        task.end(0);
    }
    let Some(name) = cx.fleet.cvms.get(&cx.place.server_id).map(|cvm| cvm.host.server_name.clone()) else { return };
    if cx.faults.take_cvm(&name, |fault| *fault == CvmFault::Dead).is_some() {
        cx.fleet.kill_cvm(&cx.place.server_id);
    }
}

/// The members' addresses.
pub(super) fn members(cx: &Cx<'_>) -> Vec<String> {
    let cluster = cx.fleet.cvms.get(&cx.place.server_id).and_then(|cvm| cx.fleet.cluster_of(cvm));
    let members = cluster.into_iter().flat_map(|cluster| &cluster.members);
    members.filter_map(|id| cx.fleet.cvms.get(id)).map(|cvm| cvm.ip().to_string()).collect()
}

/// State, lockdown mode, and the services of each member; empty without a cluster.
pub(super) fn table(fleet: &Fleet, now: Timestamp, asked: &str) -> String {
    let Some(cluster) = fleet.cvms.get(asked).and_then(|cvm| fleet.cluster_of(cvm)) else { return String::new() };
    // What the cluster is to be, not what it is: the rows say that.
    let state = if cluster.target == Target::Start { "start" } else { "stop" };
    let mut text = format!("The state of the cluster: {state}\nLockdown mode: Disabled\n");
    let mut has_leader = false;
    for cvm in cluster.members.iter().filter_map(|id| fleet.cvms.get(id)) {
        let is_self = cvm.host.server_id == asked;
        let is_up = is_self || fleet.genesis_reaches(now, asked, cvm.ip()).is_some();
        let services = fleet.services(now, cvm);
        let is_leader = is_up && !has_leader && services.first().is_some_and(|zeus| zeus.state == ServiceState::Up);
        has_leader |= is_leader;
        let state = match (is_up, is_leader) {
            (false, _) => "Down",
            (true, false) => "Up",
            (true, true) => "Up, ZeusLeader",
        };
        let _ = writeln!(text, "\n\tCVM: {} {state}", cvm.ip());
        if !is_up {
            continue;
        }
        for service in services {
            let state = match service.state {
                ServiceState::Up => "UP",
                ServiceState::Down => "DOWN",
                ServiceState::Error => "ERROR",
            };
            let error = service.last_error.map(|error| format!("\t{error}")).unwrap_or_default();
            let _ = writeln!(text, "{:>36}  {state:>5}\t{:?}{error}", service.name, service.pids);
        }
    }
    text
}
