//! The simulated world on sockets: one [`World`] behind a lock that is never held over a wait, servers in front of it, and
//! a driver that wakes when something is due.
//!
//! Everything lives on the loopback network, where Linux lets every machine use its own source address and every CVM
//! listen on its own at the true ports. So address checks, VIPs and refused connections are real, without root. Nothing
//! survives: when the token is cancelled, listeners, connections, fetches and the folder of images are gone.

mod block;
mod control;
mod cut;
mod cvms;
mod driver;
mod fetcher;
mod folder;
mod installed;
mod plan;
mod server;
mod ssh;

pub use plan::PlanShape;

use crate::{
    fault::Fault,
    qemu::{Addresses, Emulator, QemuError, QemuSettings},
    world::{World, WorldSettings},
};
use block::Block;
use folder::Folder;
use ipnet::Ipv4Net;
use metalform_model::{Clock, Timestamp};
use server::Door;
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{net::TcpListener, sync::Notify};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The network of emulated machines: that of the VPC in the documents. It is private to a network namespace, so it is free.
const EMULATED_SUBNET: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 240, 0, 0), 24);

/// How a simulator is started.
#[derive(Debug, Clone)]
pub struct SimulatorSettings {
    /// Where IAM, VPC and control answer; a free port on loopback by default. DNS and metadata take free ports beside it.
    pub listen: SocketAddr,
    /// The machines' network. By default a free block of `prefix_len` inside 127.128.0.0/9.
    pub subnet: Option<Ipv4Net>,
    /// Size of that block: /22 holds about 300 nodes.
    pub prefix_len: u8,
    /// The world's settings; subnet and URLs in it are filled in.
    pub world: WorldSettings,
    /// Faults armed from the start.
    pub faults: Vec<Fault>,
    /// The boot plane's public URL in the configuration for `serve`.
    pub boot_url: String,
    /// Machines are emulated by QEMU, with these settings; `None`: they are simulated in this process. Sets the machines'
    /// network to 10.240.0.0/24 where none is named, and `boot_url` to the service's address in it.
    pub qemu: Option<QemuSettings>,
}

impl SimulatorSettings {
    /// The defaults, with a seed and a speed (1: real durations).
    pub fn new(seed: u64, speed: f64) -> Self {
        SimulatorSettings {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            subnet: None,
            prefix_len: 22,
            world: WorldSettings::new(seed, speed, Ipv4Net::default()),
            faults: Vec::new(),
            boot_url: "http://127.0.0.1:8080".into(),
            qemu: None,
        }
    }
}

/// Why a simulator did not start.
#[derive(Debug, thiserror::Error)]
pub enum SimulatorError {
    /// Every block is held by another simulator.
    #[error("no free /{0} is left inside 127.128.0.0/9")]
    NoFreeBlock(u8),
    /// The network asked for is in use by another simulator, or not this machine's.
    #[error("the network {subnet} can't be used for simulated machines")]
    Subnet {
        /// Which.
        subnet: Ipv4Net,
        /// Why.
        source: std::io::Error,
    },
    /// An address can't be listened on.
    #[error("can't listen on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The folder of stand-in images can't be written.
    #[error("can't write {}", path.display())]
    Folder {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// TLS can't be set up.
    #[error("TLS can't be set up")]
    Tls(#[from] rustls::Error),
    /// Machines can't be emulated.
    #[error("machines can't be emulated")]
    Qemu(#[from] QemuError),
}

impl SimulatorError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            SimulatorError::NoFreeBlock(_) => "end other simulators, or name a network with --subnet".into(),
            SimulatorError::Subnet { .. } => "name a free network inside 127.0.0.0/8, or none".into(),
            SimulatorError::Listen { .. } => "name another address with --listen, or none".into(),
            SimulatorError::Folder { .. } => "set TMPDIR to a folder that can be written".into(),
            SimulatorError::Tls(_) => "this is a defect: please report it".into(),
            SimulatorError::Qemu(error) => error.hint(),
        }
    }

    /// Whether the same start may work a little later.
    pub fn is_transient(&self) -> bool {
        matches!(self, SimulatorError::NoFreeBlock(_))
    }
}

/// The world and who must know when it changes.
pub(crate) struct Shared {
    world: Mutex<World>,
    changed: Notify,
    clock: Arc<dyn Clock>,
    /// Ends everything.
    stop: CancellationToken,
    tasks: TaskTracker,
    /// Where the listeners of CVMs on emulated machines really are; `None`: at their own addresses, in this process.
    relays: Option<installed::Relays>,
}

impl Shared {
    /// Does something with the world, now, and wakes the driver.
    fn with<T>(&self, action: impl FnOnce(&mut World, Timestamp) -> T) -> T {
        let now = self.clock.now();
        let result = action(&mut self.world.lock().unwrap_or_else(PoisonError::into_inner), now);
        self.changed.notify_one();
        result
    }

    /// Runs a task until it ends or the simulator stops.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = task => {}
            }
        });
    }
}

/// A simulator that runs until its token is cancelled, it is stopped, or dropped.
pub struct RunningSimulator {
    /// IAM's base.
    pub iam_url: String,
    /// The VPC API's base, ending in `/v1`.
    pub vpc_url: String,
    /// DNS Services' base.
    pub dns_url: String,
    /// The metadata service's base.
    pub metadata_url: String,
    /// `GET /ledger`, `GET /requests`, `GET /machines`, `GET` and `POST /faults` under it.
    pub control_url: String,
    /// The machines' network.
    pub subnet: Ipv4Net,
    /// A three-node plan for this network.
    pub plan_toml: String,
    /// `vmlinuz-foundation` and `initrd-foundation.img`: bytes that stand for the real ones.
    pub images_dir: PathBuf,
    boot_url: String,
    /// Where the boot plane listens, in the configuration for `serve`; `None`: its default.
    boot_listen: Option<SocketAddr>,
    /// The boot scripts of emulated machines, in that configuration.
    templates_dir: Option<PathBuf>,
    shared: Arc<Shared>,
    folder: Folder,
    _block: Block,
}

/// Starts a simulated world: when this returns, every URL answers.
pub async fn start(
    settings: SimulatorSettings,
    clock: Arc<dyn Clock>,
    shutdown: CancellationToken,
) -> Result<RunningSimulator, SimulatorError> {
    let (mut emulator, mut templates_dir) = (None, None);
    let (mut subnet, mut boot_url, mut boot_listen) = (settings.subnet, settings.boot_url, None);
    if let Some(qemu) = settings.qemu {
        let network = subnet.unwrap_or(EMULATED_SUBNET).trunc();
        let listen = SocketAddr::from((Addresses::of(network).service, 80));
        (subnet, boot_url, boot_listen) = (Some(network), format!("http://{}", listen.ip()), Some(listen));
        let images_dir = qemu.images_dir.clone();
        templates_dir = Some(qemu.templates_dir.clone());
        emulator = Some((Emulator::start(qemu, network).await?, images_dir));
    }
    let block = Block::claim(subnet, settings.prefix_len)?;
    let folder = Folder::create(settings.world.cloud.seed)?;
    let beside = SocketAddr::new(settings.listen.ip(), 0);
    let (main, main_at) = listen(settings.listen).await?;
    let (dns, dns_at) = listen(beside).await?;
    let (metadata, metadata_at) = listen(beside).await?;

    let mut world = settings.world;
    // All ports that a driver looks at, those where nothing answers in this profile too: a server of this computer's own
    // that listens on all addresses would be taken for a service of the CVMs, and be shown their passwords.
    let cvms = &mut world.cvms;
    for port in [&mut cvms.ssh_port, &mut cvms.prism_port, &mut cvms.foundation_port] {
        let address = SocketAddr::from((block.subnet.network(), *port));
        *port = block.port_like(*port).map_err(|source| SimulatorError::Listen { address, source })?;
    }
    world.machines.emulated = emulator.is_some();
    world.cloud.lab_profile = emulator.is_some();
    world.cloud.subnet = block.subnet;
    world.cloud.iam_url = format!("http://{main_at}");
    world.cloud.vpc_url = format!("http://{main_at}/v1");
    let now = clock.now();
    let mut world = World::new(world, now);
    settings.faults.into_iter().for_each(|fault| world.add_fault(fault));
    let plan_toml = plan::render(&world, block.subnet, &PlanShape::default());

    let shared = Arc::new(Shared {
        world: Mutex::new(world),
        changed: Notify::new(),
        clock,
        stop: shutdown.child_token(),
        tasks: TaskTracker::new(),
        relays: emulator.is_some().then(|| installed::Relays::at(Addresses::of(block.subnet).router)),
    });
    for (listener, door) in [(main, Door::Main), (dns, Door::Dns), (metadata, Door::Metadata)] {
        shared.spawn(server::accept(shared.clone(), listener, door, None));
    }
    let mut images_dir = folder.images();
    let mut orders = None;
    if let Some((mut emulator, images)) = emulator {
        let (face, face_at) =
            listen(SocketAddr::from((Addresses::of(block.subnet).router, installed::MACHINES_PORT))).await?;
        shared.spawn(server::accept(shared.clone(), face, Door::Machines, None));
        emulator.set_face(face_at);
        images_dir = images;
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        orders = Some(sender);
        shared.spawn(async move {
            while let Some(order) = receiver.recv().await {
                emulator.carry_out(order).await;
            }
        });
    }
    let driver = driver::Driver::new(shared.clone(), orders)?;
    shared.spawn(driver.run());
    Ok(RunningSimulator {
        iam_url: format!("http://{main_at}"),
        vpc_url: format!("http://{main_at}/v1"),
        dns_url: format!("http://{dns_at}/v1"),
        metadata_url: format!("http://{metadata_at}"),
        control_url: format!("http://{main_at}/control"),
        subnet: block.subnet,
        plan_toml,
        images_dir,
        boot_url,
        boot_listen,
        templates_dir,
        shared,
        folder,
        _block: block,
    })
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), SimulatorError> {
    let wrong = |source| SimulatorError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(wrong)?;
    let at = listener.local_addr().map_err(wrong)?;
    Ok((listener, at))
}

impl RunningSimulator {
    /// A plan of another shape for this network.
    pub fn plan(&self, shape: &PlanShape) -> String {
        self.shared.with(|world, _| plan::render(world, self.subnet, shape))
    }

    /// A configuration with which `serve` works in this world: the whole file, except for what it has defaults for.
    pub fn config_toml(&self, data_dir: Option<&Path>) -> String {
        plan::render_config(self, data_dir)
    }

    /// The file with an API key that IAM takes.
    pub fn api_key_file(&self) -> PathBuf {
        self.folder.api_key()
    }

    /// Looks into the world, or changes it. Not for long: everything else waits.
    pub fn with_world<T>(&self, action: impl FnOnce(&mut World, Timestamp) -> T) -> T {
        self.shared.with(action)
    }

    /// Ends when the simulator has stopped and nothing is bound any more.
    pub async fn stopped(&self) {
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    /// Stops everything; when this returns, nothing is bound any more.
    pub async fn stop(self) {
        self.shared.stop.cancel();
        self.stopped().await;
    }
}

impl Drop for RunningSimulator {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

#[cfg(test)]
mod tests;
