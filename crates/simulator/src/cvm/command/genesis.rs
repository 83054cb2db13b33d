//! `genesis status` and `genesis restart`. The first one's lines are those that published pipelines read; a node that stays
//! configured is freed by the file `.node_unconfigure` and a restart (vendor's workshop documentation).

use crate::cvm::{
    services::ServiceState,
    shell::{Cx, Refused, Running, Stream, Task},
    system::HOME,
};
use std::fmt::Write;

pub(super) fn start(task: &mut Task, cx: &mut Cx<'_>, arguments: &[String]) -> Result<(), Refused> {
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["status"] => status(task, cx),
        ["restart"] => restart(task, cx),
        _ => return Err(Refused(format!("genesis {}", arguments.join(" ")))),
    }
    Ok(())
}

fn status(task: &mut Task, cx: &mut Cx<'_>) {
    let Some(cvm) = cx.fleet.cvms.get(&cx.place.server_id) else { return task.end(1) };
    let pids = |is_up: bool, first: u32| if is_up { vec![first, first + 43] } else { Vec::new() };
    let mut text = format!("genesis: {:?}\n", pids(cvm.has_genesis(cx.now), 2187));
    let _ = writeln!(text, "foundation: {:?}", pids(cx.fleet.has_foundation(cx.now, cvm), 9120));
    if cvm.cluster.is_some() {
        for service in cx.fleet.services(cx.now, cvm) {
            let pids = if service.state == ServiceState::Up { service.pids } else { Vec::new() };
            let _ = writeln!(text, "{}: {pids:?}", service.name.to_lowercase());
        }
    }
    task.write(cx, Stream::Out, text.as_bytes());
    task.end(0);
}

fn restart(task: &mut Task, cx: &mut Cx<'_>) {
    let id = cx.place.server_id.clone();
    if !cx.fleet.cvms.get(&id).is_some_and(|cvm| cvm.has_genesis(cx.now)) {
        task.say(cx, Stream::Err, "Genesis is not running");
        return task.end(1);
    }
    let until = cx.now + cx.fleet.pace.about(cx.fleet.settings.durations.genesis_restart);
    let marker = format!("{HOME}/.node_unconfigure");
    if cx.files().remove(&marker, false).is_ok() {
        cx.fleet.unconfigure(&id, until);
    } else if let Some(cvm) = cx.fleet.cvms.get_mut(&id) {
        // Services of a cluster go on meanwhile.
        (cvm.life.genesis_at, cvm.life.is_hidden) = (until, false);
    }
    task.say(cx, Stream::Out, "Stopping Genesis pids [2187, 2230]");
    task.say(cx, Stream::Out, "Genesis started on pids [12187, 12230]");
    task.wait_for(Running::Until(until, 0));
}
