//! The product's own programs on a CVM: `cluster`, `genesis`, `ncli`.
//!
//! Command lines, messages and timing are those of published transcripts, scripts and clients; the older material some
//! messages come from is not confirmed on current releases. Each file says which.

mod create;
mod destroy;
mod flags;
mod genesis;
mod ncli;
mod order;
mod status;
mod stop;

pub(super) use create::STARTING_SHARE;

use super::shell::{Cx, Poll, Refused, Running, Stream, Task};
use create::Create;
use destroy::Destroy;
use flags::Flags;
use stop::Stop;

/// A `cluster` command that takes time.
#[derive(Debug, Clone)]
pub(super) enum Operation {
    Create(Box<Create>),
    Stop(Stop),
    Destroy(Destroy),
}

impl Operation {
    pub fn poll(&mut self, cx: &mut Cx<'_>, task: &mut Task) -> Poll {
        match self {
            Operation::Create(create) => create.poll(cx, task),
            Operation::Stop(stop) => stop.poll(cx, task),
            Operation::Destroy(destroy) => destroy.poll(cx, task),
        }
    }
}

/// Starts one of them by its full path.
pub(super) fn start(task: &mut Task, cx: &mut Cx<'_>, path: &str, arguments: &[String]) -> Result<(), Refused> {
    match path {
        "/usr/local/nutanix/cluster/bin/cluster" | "/home/nutanix/cluster/bin/cluster" => {
            return cluster(task, cx, arguments);
        }
        "/usr/local/nutanix/cluster/bin/genesis" | "/home/nutanix/cluster/bin/genesis" => {
            return genesis::start(task, cx, arguments);
        }
        "/home/nutanix/prism/cli/ncli" => ncli::run(task, cx, arguments),
        _ => {
            task.say(cx, Stream::Err, &format!("bash: {path}: No such file or directory"));
            task.end(127);
        }
    }
    Ok(())
}

fn cluster(task: &mut Task, cx: &mut Cx<'_>, arguments: &[String]) -> Result<(), Refused> {
    let flags = match Flags::parse(arguments) {
        Ok(flags) => flags,
        Err(why) => {
            task.say(cx, Stream::Err, &format!("FATAL Flags parsing error: {why}"));
            task.say(cx, Stream::Err, "Pass --helpshort or --helpfull to see help on flags.");
            task.end(1);
            return Ok(());
        }
    };
    let has_genesis = cx.fleet.cvms.get(&cx.place.server_id).is_some_and(|cvm| cvm.has_genesis(cx.now));
    if flags.verb.as_deref() == Some("create") {
        cx.fleet.creates_begun += 1;
    }
    match flags.verb.as_deref() {
        Some("create" | "status" | "stop" | "destroy") if !has_genesis => {
            log(task, cx, "CRITICAL", "Failed to reach a node where Genesis is up. Retrying...");
            task.end(1);
        }
        Some("create") => create::start(task, cx, &flags),
        Some("status") => status::run(task, cx),
        Some("stop") => stop::start(task, cx),
        Some("destroy") => destroy::start(task, cx),
        Some(verb @ ("start" | "restart_genesis" | "reset" | "upgrade" | "convert_cluster" | "foundation_upgrade")) => {
            return Err(Refused(format!("cluster {verb}")));
        }
        _ => {
            task.say(cx, Stream::Err, "USAGE: cluster [flags] create|status|start|stop|destroy");
            task.end(1);
        }
    }
    Ok(())
}

/// A line of the command's log, in the format of published transcripts.
fn log(task: &mut Task, cx: &mut Cx<'_>, level: &str, text: &str) {
    let at = cx.fleet.clock(cx.now, cx.place).to_string();
    let (date, time, millis) = (&at[..10], &at[11..19], &at[20..23]);
    let stream = if cx.fleet.settings.observed.logs_to_stdout { Stream::Out } else { Stream::Err };
    task.say(cx, stream, &format!("{date} {time},{millis}Z {level} MainThread cluster:2943 {text}"));
}

/// What is answered to a question.
pub(super) enum Answer {
    Yes,
    /// The command ends with this status.
    No(u32),
}

/// A question whose default is No, and No is no failure.
fn ask(task: &mut Task, cx: &mut Cx<'_>, question: &str) -> Answer {
    task.write(cx, Stream::Out, format!("{question} Do you want to proceed? (Y/[N]): ").as_bytes());
    let answer = task.read_line();
    task.write(cx, Stream::Out, b"\n");
    match answer.as_deref().map(str::trim) {
        Some("Y" | "y" | "yes" | "Yes") => Answer::Yes,
        None if !cx.fleet.settings.observed.closed_stdin_means_no => {
            task.say(cx, Stream::Err, "EOFError: EOF when reading a line");
            Answer::No(1)
        }
        _ => Answer::No(0),
    }
}

fn begin(task: &mut Task, operation: Operation) {
    task.wait_for(Running::Cluster(operation));
}
