//! One simulated machine: firmware, iPXE, installer, installed system, and at the end a CVM.
//!
//! ```text
//! off ─► iPXE ─► kernel ─► installer ─► rebooting ─► host up ─► CVM up
//!         ▲ asks for its script again every 10 s          │
//!         └── reset or power-on, while the boot disk holds iPXE
//! ```
//!
//! A pure state machine: whoever drives it hands in the time and what came of its fetches, and takes its
//! [`MachineEffect`]s. It keeps its disk over power cycles and loses its memory, as a machine does. It refuses what a real
//! one could not work with: user data that is neither one URL nor a script, images whose bytes are not what `SHA256SUMS`
//! beside them says, a kernel that does not find its initrd, a configuration that makes no sense.

mod config;
mod emulated;
mod hardware;
mod installer;
mod netboot;
mod outbox;
mod session;
mod settings;

pub use config::NodeConfig;
pub use emulated::{EmulatedMachine, EmulatorOrder};
pub use hardware::Disk;
pub use settings::{MachineDurations, MachineSettings};

use crate::{
    cloud::PoweredOn,
    fault::{Faults, MachineFault},
    fetch::FetchResult,
    ipxe::{Boot, Identity, Interpreter, Resume},
    pace::{self, Pace},
};
use installer::Installer;
use metalform_model::Timestamp;
use outbox::{Outbox, Sent};
use std::{net::Ipv4Addr, time::Duration};

const CONSOLE_LINES: usize = 400;

/// A request a machine makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    /// The machine's own address: the source of the connection.
    pub from: Ipv4Addr,
    /// `GET` or `POST`.
    pub method: &'static str,
    /// Absolute.
    pub url: String,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    /// A JSON body.
    pub body: Option<Vec<u8>>,
    /// `User-Agent`.
    pub user_agent: &'static str,
    /// Give up when no byte came for so long; wall clock.
    pub timeout: Duration,
    /// For an `https` URL: SHA-256 of the certificate of the authority that is trusted. `None`: nobody is.
    pub trusts: Option<[u8; 32]>,
}

impl Http {
    fn installer() -> Http {
        Http {
            from: Ipv4Addr::UNSPECIFIED,
            method: "GET",
            url: String::new(),
            headers: Vec::new(),
            body: None,
            user_agent: "metalform-simulated-installer",
            timeout: Duration::from_secs(10),
            trusts: None,
        }
    }
}

/// What a machine wants from the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MachineEffect {
    /// Fetch; then [`Machine::fetched`] with this id.
    Http(u64, Http),
    /// The installer has written the boot disk.
    BootDiskOverwritten,
    /// The installed system is up: the hypervisor. Its CVM starts.
    HostUp {
        /// What the node was installed with.
        config: Box<NodeConfig>,
        /// Counts its installations.
        install: u32,
    },
    /// The CVM's services are up.
    CvmUp {
        /// What the node was installed with.
        config: Box<NodeConfig>,
        /// Counts its installations.
        install: u32,
    },
    /// The CVM, up or starting, is gone with its host.
    CvmDown,
}

/// How far a machine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// Without power.
    Off,
    /// Power is on; iPXE works, or waits to ask again.
    Ipxe,
    /// The kernel starts.
    Kernel,
    /// The installer works.
    Installer,
    /// It restarts.
    Rebooting,
    /// The installed system is up; its CVM starts.
    HostUp,
    /// The CVM's services are up.
    CvmUp,
    /// The installer has given up, and said so.
    Failed(String),
    /// Nothing will happen any more without a power cycle.
    Stuck(String),
}

/// What is fetched, and so what is done with the answer.
#[derive(Debug, Clone)]
enum Purpose {
    Script,
    Ipxe,
    Sums(Box<Boot>),
    Session,
    Config,
    Report,
    /// Nothing is done with the answer.
    Step,
}

/// What is done when the time has come.
#[derive(Debug, Clone)]
enum Timer {
    AskScript,
    Resume(Resume),
    AskSums(Box<Boot>),
    StartInstaller(String),
    AskSession,
    AskConfig,
    Check(String),
    InstallStep(usize),
    LeaveInstaller(Timestamp),
    Restart,
    HostUp,
    CvmUp,
}

/// What the installer left on the boot disk.
#[derive(Debug, Clone)]
struct System {
    config: NodeConfig,
    /// Who is to report it as installed; `None`: that was done.
    installer: Option<Installer>,
}

/// A machine.
#[derive(Debug)]
pub struct Machine {
    settings: MachineSettings,
    on: PoweredOn,
    disks: Vec<Disk>,
    identity: Identity,
    pace: Pace,
    stage: Stage,
    timer: Option<(Timestamp, Timer)>,
    fetch: Option<(u64, Purpose)>,
    report: Option<u64>,
    last_fetch: u64,
    ipxe: Option<Interpreter>,
    dhcp_failures: u32,
    /// The path of what iPXE fetches.
    ipxe_asks: String,
    installer: Option<Installer>,
    system: Option<System>,
    installs: u32,
    /// Counts the starts of its installer: each makes a key of its own.
    installer_starts: u64,
    /// How the latest installation of an emulated machine calls itself.
    install: Option<String>,
    /// An emulated machine's installed system is down if it says nothing until then.
    silent_at: Option<Timestamp>,
    outbox: Outbox,
    /// The last report's number, under its boot token: it must grow even when the machine restarts in between.
    last_report: (String, u64),
    script_fetches: u64,
    console: Vec<String>,
    effects: Vec<MachineEffect>,
}

impl Machine {
    /// A machine that was never powered on.
    pub fn new(settings: MachineSettings, on: &PoweredOn) -> Machine {
        let uuid = pace::uuid(settings.seed, &on.server_id);
        let serial = uuid.simple().to_string()[..10].to_owned();
        let mut mac = [0; 6];
        for (byte, text) in mac.iter_mut().zip(on.mac.split(':')) {
            *byte = u8::from_str_radix(text, 16).unwrap_or(0);
        }
        Machine {
            pace: Pace::new(settings.seed, &on.server_id, settings.speed),
            disks: Disk::all(on, &serial),
            identity: Identity { uuid, serial, product: on.profile.clone(), mac },
            settings,
            on: on.clone(),
            stage: Stage::Off,
            timer: None,
            fetch: None,
            report: None,
            last_fetch: 0,
            ipxe: None,
            dhcp_failures: 0,
            ipxe_asks: String::new(),
            installer: None,
            system: None,
            installs: 0,
            installer_starts: 0,
            install: None,
            silent_at: None,
            outbox: Outbox::default(),
            last_report: Default::default(),
            script_fetches: 0,
            console: Vec::new(),
            effects: Vec::new(),
        }
    }

    /// What it booted with last.
    pub fn powered_on(&self) -> &PoweredOn {
        &self.on
    }

    /// Its SMBIOS UUID, which it reports as `node_uuid`.
    pub fn uuid(&self) -> uuid::Uuid {
        self.identity.uuid
    }

    /// How far it is.
    pub fn stage(&self) -> &Stage {
        &self.stage
    }

    /// The newest lines of its serial console.
    pub fn console(&self) -> &[String] {
        &self.console
    }

    /// How often a system was installed on its disks.
    pub fn installs(&self) -> u32 {
        self.installs
    }

    /// How often it asked for its boot script.
    pub fn script_fetches(&self) -> u64 {
        self.script_fetches
    }

    /// When it wants to be polled next.
    pub fn next_event_at(&self) -> Timestamp {
        let timer = self.timer.as_ref().map_or(Timestamp::NEVER, |(at, _)| *at);
        let timer = self.silent_at.map_or(timer, |at| timer.min(at));
        if self.may_report() { timer.min(self.outbox.next_at()) } else { timer }
    }

    /// What it wants now.
    pub fn take_effects(&mut self) -> Vec<MachineEffect> {
        std::mem::take(&mut self.effects)
    }

    /// Power: it boots, from the beginning.
    pub fn power_on(&mut self, now: Timestamp, on: &PoweredOn, faults: &mut Faults) {
        if self.take_power(on, faults) {
            self.boot(now, faults);
        }
        self.poll(now, faults);
    }

    /// What power does to any machine, simulated or emulated; `false`: it stays silent.
    fn take_power(&mut self, on: &PoweredOn, faults: &mut Faults) -> bool {
        self.lose_memory();
        self.silent_at = None;
        if on.boot_disk_writes != self.on.boot_disk_writes {
            self.system = None;
        }
        self.on = on.clone();
        self.print("-- power on");
        let is_silent = faults.take_machine(&self.on.name, |fault| *fault == MachineFault::NeverBoots).is_some();
        if is_silent {
            self.stick("silent after power-on");
        }
        !is_silent
    }

    /// Power is cut.
    pub fn power_off(&mut self) {
        self.lose_memory();
        self.silent_at = None;
        self.print("-- power off");
        self.stage = Stage::Off;
    }

    /// Does all that is due.
    pub fn poll(&mut self, now: Timestamp, faults: &mut Faults) {
        self.notice_silence(now);
        while let Some((_, timer)) = self.timer.take_if(|(at, _)| *at <= now) {
            self.fire(now, timer, faults);
        }
        if self.may_report()
            && let Some((purpose, http)) = self.outbox.send(now, self.on.address)
        {
            self.request(purpose, http);
        }
    }

    /// An answer arrived for the fetch of that id. One that nobody waits for any more is dropped.
    pub fn fetched(&mut self, now: Timestamp, fetch_id: u64, result: FetchResult, faults: &mut Faults) {
        if self.report == Some(fetch_id) {
            self.report = None;
            self.report_sent(now, &result);
        } else if let Some((_, purpose)) = self.fetch.take_if(|(id, _)| *id == fetch_id) {
            match purpose {
                Purpose::Script => self.script_fetched(now, result, faults),
                Purpose::Ipxe => self.image_fetched(now, result, faults),
                Purpose::Sums(boot) => self.sums_fetched(now, boot, result),
                Purpose::Session => self.session_fetched(now, &result),
                Purpose::Config => self.config_fetched(now, result),
                Purpose::Report | Purpose::Step => {}
            }
        }
        self.poll(now, faults);
    }

    fn fire(&mut self, now: Timestamp, timer: Timer, faults: &mut Faults) {
        match timer {
            Timer::AskScript => self.ask_script(),
            Timer::Resume(resume) => self.resume_ipxe(now, resume),
            Timer::AskSums(boot) => self.ask_sums(boot),
            Timer::StartInstaller(command_line) => self.start_installer(now, &command_line, faults),
            Timer::AskSession => self.ask_session(),
            Timer::AskConfig => self.ask_config(now),
            Timer::Check(text) => self.check_config(now, &text, faults),
            Timer::InstallStep(step) => self.install_step(now, step, faults),
            Timer::LeaveInstaller(give_up) => self.leave_installer(now, give_up),
            Timer::Restart => self.boot(now, faults),
            Timer::HostUp => self.host_up(now),
            Timer::CvmUp => {
                self.stage = Stage::CvmUp;
                let up = self.system.iter().map(|system| MachineEffect::CvmUp {
                    config: Box::new(system.config.clone()),
                    install: self.installs,
                });
                self.effects.extend(up);
            }
        }
    }

    // Power and boot order

    fn lose_memory(&mut self) {
        if matches!(self.stage, Stage::HostUp | Stage::CvmUp) {
            self.effects.push(MachineEffect::CvmDown);
        }
        (self.timer, self.fetch, self.report, self.ipxe, self.installer) = (None, None, None, None, None);
        self.outbox.forget();
    }

    fn boot(&mut self, now: Timestamp, faults: &mut Faults) {
        if self.on.network_boot && (self.system.is_none() || self.settings.network_boot_after_install) {
            self.start_ipxe(now, faults);
        } else {
            self.boot_disk(now);
        }
    }

    fn boot_disk(&mut self, now: Timestamp) {
        (self.ipxe, self.fetch) = (None, None);
        if self.system.is_none() {
            return self.stick("no bootable device");
        }
        self.print("-- booting from the local disk");
        self.stage = Stage::Rebooting;
        let wait = self.pace.about(self.settings.durations.reboot / 3);
        self.timer = Some((now + wait, Timer::HostUp));
    }

    /// A reset from inside: everything in memory is lost, and the machine comes up after its firmware.
    fn restart(&mut self, now: Timestamp) {
        self.lose_memory();
        self.print("-- restart");
        self.stage = Stage::Rebooting;
        let wait = self.pace.about(self.settings.durations.reboot * 2 / 3);
        self.timer = Some((now + wait, Timer::Restart));
    }

    fn host_up(&mut self, now: Timestamp) {
        let Some(system) = self.system.clone() else { return self.stick("no bootable device") };
        self.stage = Stage::HostUp;
        self.print(format!("{} login:", system.config.hostname));
        let wait = self.pace.about(self.settings.durations.cvm);
        self.timer = Some((now + wait, Timer::CvmUp));
        let config = Box::new(system.config.clone());
        self.effects.push(MachineEffect::HostUp { config, install: self.installs });
        if let Some(installer) = &system.installer {
            self.outbox = Outbox::to(installer.report_url.clone(), installer.reports_lost);
            self.send_report(installer, "installed", "ok", Some(100.0), "the installed system is up");
        }
    }

    fn stick(&mut self, why: impl Into<String>) {
        let why = why.into();
        self.print(format!("-- {why}"));
        self.timer = None;
        self.stage = Stage::Stuck(why);
    }

    // Fetching

    fn has_network(&self) -> bool {
        matches!(self.stage, Stage::Installer | Stage::Failed(_) | Stage::HostUp | Stage::CvmUp)
    }

    /// In a session one request is under way at a time: of two, the later number might arrive first.
    fn may_report(&self) -> bool {
        let asks = matches!(self.fetch, Some((_, Purpose::Config)));
        self.has_network() && !(asks && self.is_in_session())
    }

    fn get(&mut self, purpose: Purpose, url: String, timeout: Duration) {
        let user_agent = match purpose {
            Purpose::Config | Purpose::Report | Purpose::Step => Http::installer().user_agent,
            _ => self.settings.platform.user_agent(),
        };
        let http = Http { from: self.on.address, url, user_agent, timeout, ..Http::installer() };
        self.request(purpose, http);
    }

    fn request(&mut self, purpose: Purpose, mut http: Http) {
        self.last_fetch += 1;
        http.trusts = self.pin().filter(|_| http.url.starts_with("https:"));
        if matches!(purpose, Purpose::Config | Purpose::Report) {
            self.sign(&mut http);
        }
        match purpose {
            Purpose::Report => self.report = Some(self.last_fetch),
            purpose => self.fetch = Some((self.last_fetch, purpose)),
        }
        self.effects.push(MachineEffect::Http(self.last_fetch, http));
    }

    fn report_sent(&mut self, now: Timestamp, result: &FetchResult) {
        match self.outbox.sent(now, result, &self.pace) {
            Sent::Taken if self.outbox.is_empty() && matches!(self.stage, Stage::HostUp | Stage::CvmUp) => {
                self.system.iter_mut().for_each(|system| system.installer = None);
            }
            Sent::Refused(status) => self.print(format!("a report was refused with status {status}")),
            Sent::Taken | Sent::Again => {}
        }
    }

    fn print(&mut self, line: impl Into<String>) {
        self.console.push(line.into());
        if self.console.len() > CONSOLE_LINES {
            self.console.remove(0);
        }
    }
}

#[cfg(test)]
mod tests;
