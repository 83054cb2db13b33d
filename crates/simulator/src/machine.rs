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
mod hardware;
mod installer;
mod outbox;
mod settings;

pub use config::NodeConfig;
pub use hardware::Disk;
pub use settings::{MachineDurations, MachineSettings};

use crate::{
    cloud::PoweredOn,
    fault::{Faults, MachineFault},
    fetch::{Answer, FetchResult},
    ipxe::{Boot, Effect, Identity, Interpreter, Lease, Resume, Script},
    pace::{self, Pace},
};
use installer::Installer;
use metalform_model::Timestamp;
use outbox::{Outbox, Sent};
use std::{net::Ipv4Addr, time::Duration};
use url::Url;

const CONSOLE_LINES: usize = 400;
/// The image digests beside the kernel, in the form of `sha256sum`.
const SUMS: &str = "SHA256SUMS";
/// iPXE's limit for an answer that does not come (`http_response_timeout`, `httpcore.c`).
const SCRIPT_TIMEOUT: Duration = Duration::from_secs(30);
/// Scripts and configurations are smaller; only what is larger takes its time to load.
const SMALL_BYTES: u64 = 64 * 1024;

/// A request a machine makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    /// The machine's own address: the source of the connection.
    pub from: Ipv4Addr,
    /// `GET` or `POST`.
    pub method: &'static str,
    /// Absolute.
    pub url: String,
    /// A JSON body.
    pub body: Option<Vec<u8>>,
    /// `User-Agent`.
    pub user_agent: &'static str,
    /// Give up when no byte came for so long; wall clock.
    pub timeout: Duration,
}

impl Http {
    fn installer() -> Http {
        Http {
            from: Ipv4Addr::UNSPECIFIED,
            method: "GET",
            url: String::new(),
            body: None,
            user_agent: "metalform-simulated-installer",
            timeout: Duration::from_secs(10),
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
    /// The CVM's services are up.
    CvmUp {
        /// What the node was installed with.
        config: Box<NodeConfig>,
        /// Counts its installations.
        install: u32,
    },
    /// The CVM is gone with its host.
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
    Config,
    Report,
}

/// What is done when the time has come.
#[derive(Debug, Clone)]
enum Timer {
    AskScript,
    Resume(Resume),
    AskSums(Box<Boot>),
    StartInstaller(String),
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
    installer: Installer,
    announced: bool,
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
    installer: Option<Installer>,
    system: Option<System>,
    installs: u32,
    outbox: Outbox,
    /// The last report's number, under its boot token: it must grow even when the machine restarts in between.
    last_report: (String, u64),
    script_fetches: u64,
    console: Vec<String>,
    effects: Vec<MachineEffect>,
}

impl Machine {
    /// A machine that was never powered on. Fails if the cloud gave it no MAC address.
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
            installer: None,
            system: None,
            installs: 0,
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

    /// How often it asked for its boot script.
    pub fn script_fetches(&self) -> u64 {
        self.script_fetches
    }

    /// When it wants to be polled next.
    pub fn next_event_at(&self) -> Timestamp {
        let timer = self.timer.as_ref().map_or(Timestamp::NEVER, |(at, _)| *at);
        if self.has_network() { timer.min(self.outbox.next_at()) } else { timer }
    }

    /// What it wants now.
    pub fn take_effects(&mut self) -> Vec<MachineEffect> {
        std::mem::take(&mut self.effects)
    }

    /// Power: it boots, from the beginning.
    pub fn power_on(&mut self, now: Timestamp, on: &PoweredOn, faults: &mut Faults) {
        self.lose_memory();
        if on.boot_disk_writes != self.on.boot_disk_writes {
            self.system = None;
        }
        self.on = on.clone();
        self.print("-- power on");
        if faults.take_machine(&self.on.name, |fault| *fault == MachineFault::NeverBoots).is_some() {
            self.stick("silent after power-on");
        } else {
            self.boot(now, faults);
        }
        self.poll(now, faults);
    }

    /// Power is cut.
    pub fn power_off(&mut self) {
        self.lose_memory();
        self.print("-- power off");
        self.stage = Stage::Off;
    }

    /// Does all that is due.
    pub fn poll(&mut self, now: Timestamp, faults: &mut Faults) {
        while let Some((_, timer)) = self.timer.take_if(|(at, _)| *at <= now) {
            self.fire(now, timer, faults);
        }
        if self.has_network()
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
                Purpose::Script => self.script_fetched(now, result),
                Purpose::Ipxe => self.image_fetched(now, result, faults),
                Purpose::Sums(boot) => self.sums_fetched(now, boot, result),
                Purpose::Config => self.config_fetched(now, result),
                Purpose::Report => {}
            }
        }
        self.poll(now, faults);
    }

    fn fire(&mut self, now: Timestamp, timer: Timer, faults: &mut Faults) {
        match timer {
            Timer::AskScript => self.ask_script(),
            Timer::Resume(resume) => self.resume_ipxe(now, resume),
            Timer::AskSums(boot) => self.ask_sums(boot),
            Timer::StartInstaller(command_line) => self.start_installer(&command_line, faults),
            Timer::AskConfig => self.ask_config(),
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
        if self.stage == Stage::CvmUp {
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
        if !system.announced {
            self.outbox = Outbox::to(system.installer.report_url.clone(), system.installer.reports_lost);
            self.send_report(&system.installer, "installed", "ok", Some(100.0), "the installed system is up");
        }
    }

    fn stick(&mut self, why: impl Into<String>) {
        let why = why.into();
        self.print(format!("-- {why}"));
        self.timer = None;
        self.stage = Stage::Stuck(why);
    }

    // iPXE

    fn start_ipxe(&mut self, now: Timestamp, faults: &mut Faults) {
        self.stage = Stage::Ipxe;
        let mut ipxe = Interpreter::new(&self.identity, self.settings.platform);
        self.print(format!("{} initialising devices...", self.settings.platform.user_agent()));
        let dhcp = faults.take_machine(&self.on.name, |fault| matches!(fault, MachineFault::DhcpFails { .. }));
        self.dhcp_failures = match dhcp {
            Some(MachineFault::DhcpFails { times }) => times,
            _ => 0,
        };
        let user_data = self.on.user_data.trim_end();
        if Script::has_magic(&self.on.user_data) {
            let script = Script::parse(&self.on.user_data);
            let effect = script.map_or(Effect::ScriptEnded { ok: false }, |script| ipxe.start(now, script, None));
            self.ipxe = Some(ipxe);
            return self.ipxe_wants(now, effect);
        }
        if user_data.is_empty() || user_data.contains(|c: char| c.is_whitespace()) || !user_data.contains("://") {
            return self.stick("user data is neither one URL nor a script that begins with #!ipxe");
        }
        ipxe.lease(&self.lease());
        self.ipxe = Some(ipxe);
        let wait = self.pace.about(self.settings.durations.dhcp);
        self.timer = Some((now + wait, Timer::AskScript));
        if faults.take_machine(&self.on.name, |fault| *fault == MachineFault::UrlMangled).is_some() {
            self.on.user_data = user_data.replace('&', "@");
        }
    }

    fn lease(&self) -> Lease {
        Lease {
            ip: self.on.address,
            netmask: self.on.subnet.netmask(),
            gateway: self.on.gateway,
            dns: self.on.resolvers.first().copied().unwrap_or(self.on.gateway),
        }
    }

    fn script_url(&self) -> Option<Url> {
        let text = self.on.user_data.trim_end();
        let text = self.ipxe.as_ref().map_or_else(|| text.to_owned(), |ipxe| ipxe.expand(text));
        Url::parse(&text).ok().filter(|url| url.scheme() == "http")
    }

    fn ask_script(&mut self) {
        // IBM's image trusts certificates of common public CAs only; anything else is "Permission denied".
        let Some(url) = self.script_url() else {
            return self.stick("the boot script's URL is not one that iPXE can fetch here: Permission denied");
        };
        self.script_fetches += 1;
        self.print(format!("{}://{}{}...", url.scheme(), url.authority(), url.path()));
        self.get(Purpose::Script, url.into(), SCRIPT_TIMEOUT);
    }

    fn script_fetched(&mut self, now: Timestamp, result: FetchResult) {
        let (told, wait) = match result {
            FetchResult::Answered(answer) if answer.is_ok() => {
                let url = self.script_url();
                if let (Some(Ok(script)), Some(ipxe)) = (answer.body.text().map(Script::parse), &mut self.ipxe) {
                    let effect = ipxe.start(now, script, url);
                    return self.ipxe_wants(now, effect);
                }
                ("Exec format error".to_owned(), None)
            }
            FetchResult::Answered(answer) => (format!("HTTP status {}", answer.status), answer.retry_after()),
            other => (format!("{other:?}"), None),
        };
        self.print(told);
        // `Retry-After` is on the wire, so it is real time.
        let wait = wait.unwrap_or_else(|| self.pace.retry(self.settings.durations.ask_again));
        self.timer = Some((now + wait, Timer::AskScript));
    }

    fn resume_ipxe(&mut self, now: Timestamp, resume: Resume) {
        let Some(ipxe) = &mut self.ipxe else { return };
        let effect = ipxe.resume(now, resume);
        self.ipxe_wants(now, effect);
    }

    fn ipxe_wants(&mut self, now: Timestamp, effect: Effect) {
        let printed = self.ipxe.as_mut().map(Interpreter::take_console).unwrap_or_default();
        printed.into_iter().for_each(|line| self.print(line));
        let mut after = |wait: Duration, timer: Timer| self.timer = Some((now + wait, timer));
        match effect {
            Effect::Http { url, timeout } if url.starts_with("http:") => {
                self.get(Purpose::Ipxe, url, timeout.unwrap_or(Duration::from_secs(120)));
            }
            Effect::Http { .. } => after(Duration::ZERO, Timer::Resume(fetched_nothing())),
            Effect::Sleep(wait) => after(self.pace.exactly(wait), Timer::Resume(Resume::Done)),
            Effect::RetryAfter(wait) => after(wait, Timer::Resume(Resume::Done)),
            Effect::Dhcp => {
                let wait = self.pace.about(self.settings.durations.dhcp);
                let resume = match self.dhcp_failures.checked_sub(1) {
                    None => Resume::Leased(self.lease()),
                    Some(left) => {
                        self.dhcp_failures = left;
                        Resume::Failed("Configuring (net0 dhcp)... Connection timed out".into())
                    }
                };
                self.timer = Some((now + wait, Timer::Resume(resume)));
            }
            Effect::Boot(_) if self.on.secure_boot => {
                after(Duration::ZERO, Timer::Resume(Resume::Failed("Permission denied: Secure Boot".into())));
            }
            Effect::Boot(boot) => self.ask_sums(boot),
            Effect::LocalDisk if self.system.is_some() => self.boot_disk(now),
            Effect::LocalDisk => {
                let failed = Resume::Failed("Boot from SAN device 0x80 failed: Operation not supported".into());
                self.timer = Some((now, Timer::Resume(failed)));
            }
            Effect::Reboot => self.restart(now),
            Effect::PowerOff => self.power_off(),
            Effect::Hangs(why) => self.stick(why),
            Effect::ScriptEnded { ok: true } if self.system.is_some() => self.boot_disk(now),
            Effect::ScriptEnded { ok } => {
                let how = if ok { "is over" } else { "failed" };
                self.stick(format!("the boot script {how}; the firmware has nothing else to boot"));
            }
        }
    }

    fn image_fetched(&mut self, now: Timestamp, mut result: FetchResult, faults: &mut Faults) {
        let mut wait = Duration::ZERO;
        if let FetchResult::Answered(Answer { status: 200..300, body, .. }) = &mut result
            && !body.text().is_some_and(Script::has_magic)
        {
            let downloads =
                |fault: &MachineFault| matches!(fault, MachineFault::DownloadBreaks | MachineFault::WrongDigest);
            if body.len > SMALL_BYTES {
                wait = self.pace.about(self.settings.durations.download);
            }
            match faults.take_machine(&self.on.name, downloads) {
                Some(MachineFault::DownloadBreaks) => result = FetchResult::Broken("in the middle".into()),
                Some(_) => body.sha256[0] ^= 0xff,
                None => {}
            }
        }
        self.timer = Some((now + wait, Timer::Resume(Resume::Fetched(result))));
    }

    // Kernel

    fn ask_sums(&mut self, boot: Box<Boot>) {
        let url = Url::parse(&boot.kernel.url).and_then(|url| url.join(SUMS));
        match url {
            Ok(url) => self.get(Purpose::Sums(boot), url.into(), Duration::from_secs(30)),
            Err(_) => self.stick("the kernel has no URL"),
        }
    }

    /// Stands for what firmware and kernel find out by themselves when their bytes are damaged: here both are compared
    /// with what the boot server itself says about them.
    fn sums_fetched(&mut self, now: Timestamp, boot: Box<Boot>, result: FetchResult) {
        let fail = |text: String| Some((now, Timer::Resume(Resume::Failed(text))));
        let sums = match &result {
            FetchResult::Answered(answer) if answer.is_ok() => answer.body.text().unwrap_or_default(),
            FetchResult::Answered(answer) if answer.status < 500 && answer.retry_after.is_none() => {
                self.timer = fail(format!("{SUMS}: HTTP status {}", answer.status));
                return;
            }
            _ => {
                let wait = self.pace.retry(self.settings.durations.ask_again);
                self.timer = Some((now + wait, Timer::AskSums(boot)));
                return;
            }
        };
        let good = |url: &str, sha256: &[u8; 32]| {
            let file = url.split('?').next().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
            let digest = hex::encode(sha256);
            let listed = sums.lines().filter_map(|line| line.split_once(' '));
            listed.into_iter().any(|(sum, name)| sum == digest && name.trim_start_matches([' ', '*']) == file)
        };
        if !good(&boot.kernel.url, &boot.kernel.body.sha256) {
            self.timer = fail("Exec format error".into());
        } else if boot.initrds.is_empty() {
            self.stick("Kernel panic: no initrd was found (initrd= is missing on the command line)");
        } else if let Some(bad) = boot.initrds.iter().find(|image| !good(&image.url, &image.body.sha256)) {
            self.stick(format!("Kernel panic: the initrd {} is damaged", bad.name));
        } else {
            (self.stage, self.ipxe) = (Stage::Kernel, None);
            let wait = self.pace.about(self.settings.durations.kernel);
            self.timer = Some((now + wait, Timer::StartInstaller(boot.command_line.clone())));
        }
    }

    // Fetching

    fn has_network(&self) -> bool {
        matches!(self.stage, Stage::Installer | Stage::Failed(_) | Stage::HostUp | Stage::CvmUp)
    }

    fn get(&mut self, purpose: Purpose, url: String, timeout: Duration) {
        let user_agent = match purpose {
            Purpose::Config | Purpose::Report => Http::installer().user_agent,
            _ => self.settings.platform.user_agent(),
        };
        let http = Http { from: self.on.address, url, user_agent, timeout, ..Http::installer() };
        self.request(purpose, http);
    }

    fn request(&mut self, purpose: Purpose, http: Http) {
        self.last_fetch += 1;
        match purpose {
            Purpose::Report => self.report = Some(self.last_fetch),
            purpose => self.fetch = Some((self.last_fetch, purpose)),
        }
        self.effects.push(MachineEffect::Http(self.last_fetch, http));
    }

    fn report_sent(&mut self, now: Timestamp, result: &FetchResult) {
        match self.outbox.sent(now, result, &self.pace) {
            Sent::Taken if self.outbox.is_empty() && matches!(self.stage, Stage::HostUp | Stage::CvmUp) => {
                self.system.iter_mut().for_each(|system| system.announced = true);
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

/// An `https` URL: no certificate here is one of a public CA.
fn fetched_nothing() -> Resume {
    Resume::Fetched(FetchResult::Answered(Answer::new(403, &b""[..])))
}

#[cfg(test)]
mod tests;
