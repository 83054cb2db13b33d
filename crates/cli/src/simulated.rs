//! TEMPORARY seam until the simulator's faces are there.
use crate::error::CliError;
use metalform_simulator::fault::Fault;
use std::net::SocketAddr;
use tokio_util::sync::CancellationToken;

pub struct Wish {
    pub listen: Option<SocketAddr>,
    pub subnet: Option<ipnet::Ipv4Net>,
    pub speed: f64,
    pub seed: u64,
    pub quota: Option<usize>,
    pub faults: Vec<Fault>,
}

pub struct World {
    pub first_line: serde_json::Value,
    pub plan: String,
    pub config: String,
    pub subnet: ipnet::Ipv4Net,
}

pub async fn start(_: Wish, _: CancellationToken) -> Result<World, CliError> {
    Err(CliError::Interrupted)
}

impl World {
    pub async fn finished(self) {}
}
