//! `ncli`, as far as a new cluster needs it: `cluster create` has no flag for the time zone, and Foundation's last check is
//! the list of hosts. It talks to Prism, so it fails while that is not up; its words then are not known.

use crate::cvm::{
    Front,
    prism::is_timezone,
    shell::{Cx, Stream, Task},
};
use std::fmt::Write;

pub(super) fn run(task: &mut Task, cx: &mut Cx<'_>, arguments: &[String]) {
    let fail = |task: &mut Task, cx: &mut Cx<'_>, why: &str| {
        task.say(cx, Stream::Out, &format!("Error: {why}"));
        task.end(1);
    };
    let id = cx.place.server_id.clone();
    let uuid =
        cx.fleet.cvms.get(&id).filter(|cvm| cx.fleet.front(cx.now, cvm) == Front::Prism).and_then(|cvm| cvm.cluster);
    let Some(uuid) = uuid else { return fail(task, cx, "Could not connect to Nutanix Gateway") };
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["cluster", "set-timezone", setting] => match setting.strip_prefix("timezone=") {
            Some(zone) if is_timezone(zone) => {
                if let Some(cluster) = cx.fleet.clusters.get_mut(&uuid) {
                    cluster.timezone = zone.to_owned();
                }
                task.say(cx, Stream::Out, "Please reboot all CVMs for the new timezone to take effect.");
                task.end(0);
            }
            _ => fail(task, cx, "Invalid timezone"),
        },
        ["host", "list"] => {
            let Some(cluster) = cx.fleet.clusters.get(&uuid) else { return task.end(1) };
            let (_, _, hosts) = cx.fleet.progress(cx.now, cluster);
            let mut text = String::new();
            for (index, cvm) in hosts.iter().enumerate() {
                let config = &cvm.host.config;
                let rows = [
                    ("Id", format!("{uuid}::{}", index + 2)),
                    ("Uuid", cvm.host.node_uuid.to_string()),
                    ("Name", config.hostname.clone()),
                    ("IPMI Address", String::new()),
                    ("Controller VM Address", config.cvm_ip.to_string()),
                    ("Hypervisor Address", config.hypervisor_ip.to_string()),
                ];
                text.push('\n');
                for (name, value) in rows {
                    let _ = writeln!(text, "    {name:<26}: {value}");
                }
            }
            task.write(cx, Stream::Out, text.as_bytes());
            task.end(0);
        }
        _ => fail(task, cx, "Invalid command"),
    }
}
