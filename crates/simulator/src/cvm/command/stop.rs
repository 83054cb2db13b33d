//! `cluster stop`. It asks, and takes a piped answer; what is touched and when is inferred.

use super::{Answer, Operation, ask, begin, log, status};
use crate::cvm::{
    cluster::Target,
    shell::{Cx, Poll, Stream, Task},
};
use metalform_model::Timestamp;
use uuid::Uuid;

/// A stop that goes on.
#[derive(Debug, Clone)]
pub struct Stop {
    uuid: Uuid,
    at: Timestamp,
}

pub(super) fn start(task: &mut Task, cx: &mut Cx<'_>) {
    let Some(uuid) = cx.fleet.cvms.get(&cx.place.server_id).and_then(|cvm| cvm.cluster) else {
        log(task, cx, "CRITICAL", status::UNCONFIGURED);
        return task.end(1);
    };
    if let Answer::No(status) = ask(task, cx, "This operation will stop the cluster.") {
        return task.end(status);
    }
    let text = format!("Executing action stop on SVMs {}", status::members(cx).join(","));
    log(task, cx, "INFO", &text);
    let at = cx.now + cx.fleet.pace.about(cx.fleet.settings.durations.stop);
    begin(task, Operation::Stop(Stop { uuid, at }));
}

impl Stop {
    pub fn poll(&mut self, cx: &mut Cx<'_>, task: &mut Task) -> Poll {
        if cx.now < self.at {
            return Poll::Wait(self.at);
        }
        if let Some(cluster) = cx.fleet.clusters.get_mut(&self.uuid) {
            cluster.target = Target::Stop;
            cx.fleet.changes += 1;
            cx.fleet.cvms.values_mut().filter(|cvm| cvm.cluster == Some(self.uuid)).for_each(|cvm| cvm.stop_services());
        }
        let table = status::table(cx.fleet, cx.now, &cx.place.server_id);
        task.write(cx, Stream::Out, table.as_bytes());
        log(task, cx, "INFO", "Success!");
        Poll::Ended(0)
    }
}
