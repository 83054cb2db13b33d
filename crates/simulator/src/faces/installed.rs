//! What emulated machines get from the data centre: the script that their network card runs first, and, for an installed
//! system, what its controller VM listens on.
//!
//! The controller VM of an emulated machine is reached at the machine: a program of the installed system there
//! (`metalform-simulated-cvm`) has the addresses and the ports, and passes every connection on, byte by byte, to where the
//! world answers for that port. So it is there exactly as long as its machine runs an installed system that says so, from
//! the machine's own address. That the world answers, rather than a program on each machine, is what lets controller VMs
//! form a cluster with one another and be looked into by tests.

use super::Shared;
use crate::{
    http::{Request, Response},
    qemu::boot_file,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Mutex, PoisonError},
};
use tokio::net::TcpListener;

/// The port of the simulator's face towards emulated machines, on the router's address. A fixed one, because the installed
/// system on a machine's disk knows only its network; and free, because that network is of its own.
pub(super) const MACHINES_PORT: u16 = 41_901;

/// Where the world really listens for each address and port of a CVM.
pub(super) struct Relays {
    address: Ipv4Addr,
    ports: Mutex<BTreeMap<(Ipv4Addr, u16), u16>>,
}

impl Relays {
    pub fn at(address: Ipv4Addr) -> Relays {
        Relays { address, ports: Mutex::default() }
    }

    /// Any free port.
    pub fn place(&self) -> SocketAddr {
        SocketAddr::from((self.address, 0))
    }

    /// That is where connections to `at` lead from now on.
    pub fn opened(&self, at: (Ipv4Addr, u16), bound: &TcpListener) {
        if let Ok(local) = bound.local_addr() {
            self.ports.lock().unwrap_or_else(PoisonError::into_inner).insert(at, local.port());
        }
    }

    fn port(&self, at: (Ipv4Addr, u16)) -> Option<u16> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner).get(&at).copied()
    }
}

/// What an installed system says of itself.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct System {
    /// Another text for every installation.
    install: String,
    /// The node configuration that it was installed with, to the letter.
    config: String,
}

/// Answers an emulated machine.
pub(super) fn answer(shared: &Shared, request: &Request) -> Response {
    match (request.method.as_str(), request.path.as_str()) {
        ("GET", path) if path.starts_with("/user-data/") => {
            let server_id = &path["/user-data/".len()..];
            let user_data = shared.with(|world, _| {
                let machine = world.machines().find(|machine| machine.powered_on().server_id == server_id);
                machine.map(|machine| machine.powered_on().user_data.clone())
            });
            match user_data {
                Some(text) => Response {
                    status: 200,
                    headers: vec![("content-type".into(), "text/plain".into())],
                    body: boot_file(&text).into_bytes(),
                },
                None => refused(404, &["no such server".into()]),
            }
        }
        ("POST", "/system") => system(shared, request),
        _ => refused(404, &["known are GET /user-data/SERVER_ID and POST /system".into()]),
    }
}

fn system(shared: &Shared, request: &Request) -> Response {
    let IpAddr::V4(from) = request.from else { return refused(400, &["not from an IPv4 address".into()]) };
    let system: System = match serde_json::from_slice(&request.body) {
        Ok(system) => system,
        Err(error) => return refused(400, &[error.to_string()]),
    };
    match shared.with(|world, now| world.system_is_up(now, from, &system.install, &system.config)) {
        Err(why) => refused(409, &why),
        Ok(listeners) => {
            let relayed = listeners.into_iter().filter_map(|listener| {
                let relay = shared.relays.as_ref()?.port((listener.ip, listener.port))?;
                Some(json!({"ip": listener.ip, "port": listener.port, "relay": relay}))
            });
            Response::json(200, &json!({ "listeners": relayed.collect::<Vec<Value>>() }))
        }
    }
}

fn refused(status: u16, why: &[String]) -> Response {
    Response::json(status, &json!({"error": {"message": why.join("; ")}}))
}
