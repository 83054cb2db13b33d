//! What a test or an operator may ask the simulator itself: ledger, request log, machines and faults.

use super::Shared;
use crate::{
    fault::{self, Fault},
    http::{Request, Response},
    machine::Machine,
};
use serde_json::{Value, json};

/// Answers a request under the control URL.
pub(super) fn answer(shared: &Shared, path: &str, request: &Request) -> Response {
    let ok = |body: &Value| Response::json(200, body);
    let method = request.method.as_str();
    match (method, path) {
        ("GET", "/ledger") => ok(&json!(shared.with(|world, _| world.ledger()))),
        ("GET", "/requests") => ok(&shared.with(|world, _| world.requests().map(|entry| json!(entry)).collect())),
        ("GET", "/machines") => ok(&shared.with(|world, _| world.machines().map(show).collect())),
        ("GET", "/faults") => ok(&json!(shared.with(|world, _| world.faults().list().to_vec()))),
        ("POST", "/faults") => match read_fault(&request.body) {
            Ok(fault) => {
                let body = json!(fault);
                shared.with(|world, _| world.add_fault(fault));
                Response::json(201, &body)
            }
            Err(why) => refused(400, &why),
        },
        ("DELETE", path) if path.starts_with("/faults/") => {
            let name = &path["/faults/".len()..];
            match shared.with(|world, _| world.end_fault(name)) {
                0 => refused(404, &format!("no fault called {name:?} is armed")),
                ended => ok(&json!({"name": name, "ended": ended})),
            }
        }
        (_, "/ledger" | "/requests" | "/machines" | "/faults") => refused(405, "method not allowed"),
        _ => refused(404, "known are /ledger, /requests, /machines and /faults"),
    }
}

/// A fault in full, or `{"name": …}` of a built-in one.
fn read_fault(body: &[u8]) -> Result<Fault, String> {
    let value: Value = serde_json::from_slice(body).map_err(|error| format!("the fault is no JSON: {error}"))?;
    if let (Some(name), None) = (value["name"].as_str(), value.get("effect")) {
        let known = || format!("no built-in fault is called {name:?}; known: {}", fault::builtin_names().join(", "));
        return fault::builtin(name).ok_or_else(known);
    }
    serde_json::from_value(value).map_err(|error| format!("this is no fault: {error}"))
}

fn refused(status: u16, message: &str) -> Response {
    Response::json(status, &json!({"error": {"message": message}}))
}

fn show(machine: &Machine) -> Value {
    let on = machine.powered_on();
    json!({
        "server_id": on.server_id,
        "name": on.name,
        "mac": on.mac,
        "address": on.address,
        "user_data": on.user_data,
        "stage": format!("{:?}", machine.stage()),
        "script_fetches": machine.script_fetches(),
        "console": machine.console(),
    })
}
