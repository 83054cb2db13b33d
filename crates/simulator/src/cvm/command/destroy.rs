//! `cluster destroy`: it refuses a started cluster, asks at a terminal, marks all members and waits until the marks are
//! gone, each with a restart of genesis. Older material and its confirmation by users; not seen on current releases.

use super::{Answer, Operation, ask, begin, log, status};
use crate::{
    cvm::{
        cluster::Target,
        shell::{Cx, Poll, Task},
    },
    fault::CvmFault,
};
use metalform_model::Timestamp;

/// A destroy that goes on.
#[derive(Debug, Clone)]
pub struct Destroy {
    /// Members still to go, each with its time; the next one last.
    left: Vec<(Timestamp, String)>,
    end: Timestamp,
}

pub(super) fn start(task: &mut Task, cx: &mut Cx<'_>) {
    let refuse = |task: &mut Task, cx: &mut Cx<'_>, level: &str, why: &str| {
        log(task, cx, level, why);
        task.end(1);
    };
    let cluster = cx.fleet.cvms.get(&cx.place.server_id).and_then(|cvm| cx.fleet.cluster_of(cvm));
    let Some((uuid, target)) = cluster.map(|cluster| (cluster.uuid, cluster.target)) else {
        return refuse(task, cx, "CRITICAL", status::UNCONFIGURED);
    };
    if target == Target::Start {
        return refuse(task, cx, "ERROR", "The cluster needs to be stopped first");
    }
    if !task.has_terminal() && !cx.fleet.settings.observed.destroy_takes_a_pipe {
        return refuse(task, cx, "ERROR", "This action has to be confirmed at a terminal");
    }
    if let Answer::No(status) = ask(task, cx, "This operation will completely erase all data and all metadata.") {
        return task.end(status);
    }
    let members: Vec<String> =
        cx.fleet.cvms.values().filter(|cvm| cvm.cluster == Some(uuid)).map(|cvm| cvm.host.server_id.clone()).collect();
    for id in &members {
        let ip = cx.fleet.cvms.get(id).map(|cvm| cvm.ip());
        let is_self = *id == cx.place.server_id;
        if let Some(ip) =
            ip.filter(|ip| !is_self && cx.fleet.genesis_reaches(cx.now, &cx.place.server_id, *ip).is_none())
        {
            return refuse(task, cx, "ERROR", &format!("Node {ip} is not reachable. Aborting."));
        }
    }
    log(task, cx, "INFO", "Cluster destroy is initiated");
    let takes = cx.fleet.pace.about(cx.fleet.settings.durations.destroy);
    let count = u32::try_from(members.len()).unwrap_or(1).max(1);
    let stays = |cx: &mut Cx<'_>, id: &str| {
        let name = cx.fleet.cvms.get(id).map(|cvm| cvm.host.server_name.clone()).unwrap_or_default();
        cx.faults.take_cvm(&name, |fault| *fault == CvmFault::DestroyLeavesNode).is_some()
    };
    let mut left: Vec<(Timestamp, String)> = Vec::new();
    for (nth, id) in (1..).zip(members) {
        if !stays(cx, &id) {
            left.push((cx.now + takes * nth / (count + 1), id));
        }
    }
    left.reverse();
    begin(task, Operation::Destroy(Destroy { left, end: cx.now + takes }));
}

impl Destroy {
    pub fn poll(&mut self, cx: &mut Cx<'_>, task: &mut Task) -> Poll {
        while let Some((at, id)) = self.left.pop_if(|(at, _)| *at <= cx.now) {
            let genesis = cx.fleet.pace.about(cx.fleet.settings.durations.genesis_restart);
            cx.fleet.unconfigure(&id, at + genesis);
        }
        match self.left.last() {
            Some((at, _)) => Poll::Wait(*at),
            None if cx.now < self.end => Poll::Wait(self.end),
            None => {
                log(task, cx, "INFO", "Success!");
                Poll::Ended(0)
            }
        }
    }
}
