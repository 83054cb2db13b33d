//! Watching: what is shown, when it ends, and with what.

use crate::{
    run::{Folder, Ran, command},
    scripted::{Answer, Asked, Scripted, cluster, document, event, stream},
};
use serde_json::{Value, json};

fn run_at(service: &Scripted, args: &[&str]) -> Ran {
    let folder = Folder::new();
    folder.write("plan.toml", "[cluster]\nexternal_ip = \"10.240.0.200\"\n");
    let mut command = command(&folder, args);
    command.env("METALFORM_SERVER", &service.url).env("METALFORM_TOKEN", "t").output().unwrap().into()
}

/// A service whose cluster has these events and ends up in that phase. Each connection streams two events and breaks.
fn service(events: Vec<Value>, last: Value) -> Scripted {
    Scripted::start(move |asked| answer(asked, &events, &last))
}

fn answer(asked: &Asked, events: &[Value], last: &Value) -> Answer {
    match asked.line.split_once("/events?after=") {
        Some((_, after)) => {
            let rest = &events[after.parse::<usize>().unwrap()..];
            // Whoever asks for the end gets it as a list; everybody else two events at a time.
            match rest.is_empty() {
                true => document(200, json!({"events": []})),
                false => stream(&rest[..rest.len().min(2)]),
            }
        }
        None if asked.line.starts_with("POST") => document(201, cluster("waiting_for_nodes", None)),
        None => document(200, last.clone()),
    }
}
