//! The controller VM and the hypervisor of an emulated machine, as far as the network sees them: runs in the installed
//! system inside the machine, has their addresses, listens on their ports while they should be open, and passes every
//! connection on to the simulated world outside (`faces/installed.rs` there says why).
//!
//! Linked statically like the agent, and with nothing but the standard library and JSON: it runs on a system that has a
//! kernel and busybox.
//!
//! usage: `metalform-simulated-cvm URL INSTALL CONFIG INTERFACE PREFIX`: the data centre's URL without a path, a text that
//! is another one for every installation, the file of the node configuration, and where addresses are put.

use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    process::{Command, ExitCode},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, Ordering},
    },
    thread,
    time::Duration,
};

/// Between two words to the data centre, which takes a system for dead that is silent for 15 s.
const PAUSE: Duration = Duration::from_millis(500);
/// For one exchange with the data centre.
const LIMIT: Duration = Duration::from_secs(5);
/// So many exchanges that fail in a row close everything.
const PATIENCE: u32 = 10;
/// Between two looks for a new connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

#[expect(clippy::print_stderr, reason = "a program of the simulated machine: its console is its log")]
fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [url, install, config, interface, prefix] = words.as_slice() else {
        eprintln!("usage: metalform-simulated-cvm URL INSTALL CONFIG INTERFACE PREFIX");
        return ExitCode::from(2);
    };
    let Some(data_centre) = url.strip_prefix("http://").and_then(|address| address.parse::<SocketAddr>().ok()) else {
        eprintln!("error: {url} is not http://ADDRESS:PORT");
        return ExitCode::from(2);
    };
    let config = match std::fs::read_to_string(config) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("error: can't read {config}: {error}");
            return ExitCode::FAILURE;
        }
    };
    let body = json!({"install": install, "config": config}).to_string();
    let mut ports =
        Ports { interface, prefix, relay: data_centre.ip(), open: BTreeMap::new(), addresses: BTreeSet::new() };
    let mut failures = 0;
    loop {
        match say(data_centre, &body) {
            Ok(wanted) => {
                failures = 0;
                ports.become_like(&wanted);
            }
            Err(error) => {
                failures += 1;
                eprintln!("simulated-cvm: the data centre does not take our word: {error}");
                if failures == PATIENCE {
                    ports.become_like(&BTreeMap::new());
                }
            }
        }
        thread::sleep(PAUSE);
    }
}

/// What should be open, and where connections to it are passed on.
type Wanted = BTreeMap<(Ipv4Addr, u16), u16>;

/// One exchange.
fn say(data_centre: SocketAddr, body: &str) -> Result<Wanted, Box<dyn Error>> {
    let mut stream = TcpStream::connect_timeout(&data_centre, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    write!(
        stream,
        "POST /system HTTP/1.1\r\nHost: {data_centre}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.take(1 << 20).read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no HTTP answer")?;
    let document: Value = serde_json::from_str(body)?;
    if !head.starts_with("HTTP/1.1 200") {
        return Err(document["error"]["message"].as_str().unwrap_or("refused").to_owned().into());
    }
    let read = |listener: &Value| {
        let number = |key: &str| u16::try_from(listener[key].as_u64()?).ok();
        let ip: Ipv4Addr = listener["ip"].as_str()?.parse().ok()?;
        Some(((ip, number("port")?), number("relay")?))
    };
    Ok(document["listeners"].as_array().into_iter().flatten().filter_map(read).collect())
}

struct Open {
    relay: Arc<AtomicU16>,
    is_closed: Arc<AtomicBool>,
}

struct Ports<'a> {
    interface: &'a str,
    prefix: &'a str,
    relay: std::net::IpAddr,
    open: BTreeMap<(Ipv4Addr, u16), Open>,
    addresses: BTreeSet<Ipv4Addr>,
}

impl Ports<'_> {
    /// Opens and closes until it is as wanted; what fails now is tried again at the next word.
    #[expect(clippy::print_stderr, reason = "a program of the simulated machine: its console is its log")]
    fn become_like(&mut self, wanted: &Wanted) {
        self.open.retain(|at, open| {
            open.is_closed.store(!wanted.contains_key(at), Ordering::Relaxed);
            wanted.contains_key(at)
        });
        let addresses: BTreeSet<Ipv4Addr> = wanted.keys().map(|(ip, _)| *ip).collect();
        for gone in self.addresses.difference(&addresses) {
            self.ip("del", *gone);
        }
        for new in addresses.difference(&self.addresses) {
            self.ip("add", *new);
            // Neighbours may know another machine under it: a VIP moves.
            let announced =
                Command::new("arping").args(["-U", "-c", "1", "-I", self.interface, &new.to_string()]).output();
            if let Err(error) = announced {
                eprintln!("simulated-cvm: {new} is not announced: {error}");
            }
        }
        self.addresses = addresses;
        for (at, relay) in wanted {
            match self.open.get(at) {
                Some(open) => open.relay.store(*relay, Ordering::Relaxed),
                None => match listen(*at, self.relay, *relay) {
                    Ok(open) => drop(self.open.insert(*at, open)),
                    Err(error) => eprintln!("simulated-cvm: can't listen on {}:{}: {error}", at.0, at.1),
                },
            }
        }
    }

    #[expect(clippy::print_stderr, reason = "a program of the simulated machine: its console is its log")]
    fn ip(&self, verb: &str, address: Ipv4Addr) {
        let address = format!("{address}/{}", self.prefix);
        let done = Command::new("ip").args(["address", verb, &address, "dev", self.interface]).output();
        match done {
            Ok(output) if output.status.success() => {}
            Ok(output) => {
                eprintln!("simulated-cvm: {verb} {address}: {}", String::from_utf8_lossy(&output.stderr).trim())
            }
            Err(error) => eprintln!("simulated-cvm: {verb} {address}: {error}"),
        }
    }
}

/// Listens until it is closed; a thread for every connection and direction.
fn listen(at: (Ipv4Addr, u16), relay_ip: std::net::IpAddr, relay: u16) -> io::Result<Open> {
    let listener = TcpListener::bind(at)?;
    listener.set_nonblocking(true)?;
    let open = Open { relay: Arc::new(AtomicU16::new(relay)), is_closed: Arc::default() };
    let (relay, is_closed) = (open.relay.clone(), open.is_closed.clone());
    thread::spawn(move || {
        while !is_closed.load(Ordering::Relaxed) {
            match listener.accept() {
                Ok((stream, _)) => {
                    let to = SocketAddr::new(relay_ip, relay.load(Ordering::Relaxed));
                    thread::spawn(move || pass_on(&stream, to));
                }
                Err(_) => thread::sleep(ACCEPT_PAUSE),
            }
        }
    });
    Ok(open)
}

/// Ends when either side does.
fn pass_on(client: &TcpStream, to: SocketAddr) {
    let Ok(world) = TcpStream::connect_timeout(&to, LIMIT) else { return };
    let _ = client.set_nonblocking(false);
    let _ = (client.set_nodelay(true), world.set_nodelay(true));
    let copy = |mut from: &TcpStream, mut into: &TcpStream| {
        let _ = io::copy(&mut from, &mut into);
        let _ = into.shutdown(Shutdown::Write);
    };
    thread::scope(|scope| {
        scope.spawn(|| copy(client, &world));
        copy(&world, client);
        let _ = client.shutdown(Shutdown::Both);
    });
}
