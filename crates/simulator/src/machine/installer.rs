//! The installer inside a machine: from its kernel command line over its configuration to a written disk, with reports
//! on the way.

use super::{
    Machine, MachineEffect, NodeConfig, Outbox, Purpose, Stage, System, Timer, config,
    session::{self, Session},
};
use crate::{
    fault::{Faults, MachineFault},
    fetch::{Answer, FetchResult},
    machine::Http,
};
use metalform_model::Timestamp;
use serde_json::json;
use std::{net::Ipv4Addr, time::Duration};
use url::Url;

/// What is done to the disks, and the share of the whole installation that is done before: the phases of Foundation's
/// progress callbacks, with its own estimates.
const STEPS: [(&str, f64); 8] = [
    ("Downloading AOS tarball", 2.0),
    ("Downloading hypervisor iso", 8.0),
    ("Running CVM Installer", 12.0),
    ("Running CVM Installer", 30.0),
    ("Running CVM Installer", 45.0),
    ("Running CVM Installer", 60.0),
    ("Running firmware detection", 75.0),
    ("Running firmware detection", 90.0),
];
const HALF_WAY: usize = 4;
/// Percent at which the installer itself begins, all of its files being there.
const RUNNING: f64 = 12.0;
/// What it has fetched: AOS and hypervisor.
const FILES: u32 = 2;
/// The last report before the restart gets so long, wall clock.
const LAST_WORDS: Duration = Duration::from_secs(20);
/// Until it is looked at again whether a report was taken.
const SOON: Duration = Duration::from_millis(100);
const RETRY: Duration = Duration::from_secs(5);

/// What the installer knows from its kernel command line.
#[derive(Debug, Clone)]
pub(super) struct Installer {
    config_url: Url,
    pub report_url: String,
    pub session_url: String,
    /// Where it tells that no TLS came about, in the clear.
    untrusted_url: String,
    /// SHA-256 of the certificate of the authority that the boot server's is under, where the command line pins it: then what is
    /// asked for goes over TLS, on the same port.
    pin: Option<[u8; 32]>,
    /// Once the token is exchanged.
    pub session: Option<Session>,
    node_id: String,
    token: String,
    pub reports_lost: bool,
    /// Of the software it installs.
    pub version: &'static str,
    /// What is being installed.
    config: Option<NodeConfig>,
    /// A serial console was named; otherwise the machine is silent from here on, as the real ones are.
    console: bool,
}

/// Reads `key=value` words; the last one of a name counts, words without `=` are the kernel's.
fn argument<'a>(command_line: &'a str, name: &str) -> Option<&'a str> {
    let words = command_line.split_ascii_whitespace().filter_map(|word| word.split_once('='));
    words.filter(|(key, value)| *key == name && !value.is_empty()).map(|(_, value)| value).next_back()
}

impl Installer {
    /// What the command line says, and the address it gives the machine.
    fn read(command_line: &str, knows_tls: bool) -> Result<(Installer, Option<Ipv4Addr>), String> {
        let need = |name: &str| argument(command_line, name).ok_or(format!("{name}= is missing on the command line"));
        let (node_id, config_url, token) = (need("node_id")?, need("config_url")?, need("boot_token")?);
        let mgmt_ip = need("mgmt_ip")?.parse().ok();
        let mut config_url = Url::parse(config_url)
            .ok()
            .filter(|url| url.scheme() == "http" && url.query().is_none())
            .ok_or("config_url= is no plain http URL")?;
        let mut report_url = config_url.clone();
        report_url.set_path(&format!("/boot/report/{node_id}"));
        let mut session_url = config_url.clone();
        session_url.set_path(&format!("/boot/session/{node_id}"));
        let mut untrusted_url = config_url.clone();
        untrusted_url.set_path(&format!("/boot/step/{node_id}/tls-untrusted"));
        let pin = match argument(command_line, "ca_sha256").filter(|_| knows_tls).map(hex::decode) {
            None => None,
            Some(digest) => {
                let digest: Option<[u8; 32]> = digest.ok().and_then(|digest| digest.try_into().ok());
                Some(digest.ok_or("ca_sha256= is no SHA-256")?)
            }
        };
        for url in [&mut config_url, &mut report_url, &mut session_url].into_iter().filter(|_| pin.is_some()) {
            *url = over_tls(url).ok_or("config_url= is no plain http URL")?;
        }
        for url in [&mut config_url, &mut report_url, &mut session_url, &mut untrusted_url] {
            url.query_pairs_mut().append_pair("t", token);
        }
        let console = command_line.split_ascii_whitespace().any(|word| word.starts_with("console=ttyS"));
        let (node_id, token) = (node_id.to_owned(), token.to_owned());
        let report_url = report_url.into();
        Ok((
            Installer {
                config_url,
                report_url,
                session_url: session_url.into(),
                untrusted_url: untrusted_url.into(),
                pin,
                session: None,
                node_id,
                token,
                reports_lost: false,
                version: VERSION,
                config: None,
                console,
            },
            mgmt_ip,
        ))
    }
}

/// The same host, port and path: a URL's port changes with its scheme unless it is written out.
fn over_tls(url: &Url) -> Option<Url> {
    let port = url.port_or_known_default()?;
    let mut url: Url = format!("https{}", url.as_str().strip_prefix("http")?).parse().ok()?;
    url.set_port(Some(port)).ok()?;
    Some(url)
}

/// Not "unknown server", which has the same status.
fn is_unknown_path(answer: &Answer) -> bool {
    answer.status == 404 && !answer.body.text().is_some_and(|text| text.contains("unknown_server"))
}

/// What the stand-in image sets hold.
const VERSION: &str = "6.8.1";
const OTHER_VERSION: &str = "6.8.0";

impl Machine {
    pub(super) fn start_installer(&mut self, now: Timestamp, command_line: &str, faults: &mut Faults) {
        // What doesn't know of sessions doesn't know of TLS either.
        let (mut installer, mgmt_ip) = match Installer::read(command_line, self.settings.exchanges_token) {
            Ok(read) => read,
            // Without these there is nobody to tell: the installer's text menu waits for somebody at the console.
            Err(why) => return self.stick(format!("the installer waits at its menu: {why}")),
        };
        let lost = faults.take_machine(&self.on.name, |fault| *fault == MachineFault::ReportsLost);
        installer.reports_lost = lost.is_some();
        if faults.take_machine(&self.on.name, |fault| *fault == MachineFault::OtherVersion).is_some() {
            installer.version = OTHER_VERSION;
        }
        if faults.take_machine(&self.on.name, |fault| *fault == MachineFault::InTheMiddle).is_some() {
            // Another certificate than the script pins is another pin than that of the certificate.
            installer.pin.iter_mut().for_each(|pin| pin[0] ^= 0xff);
        }
        self.stage = Stage::Installer;
        self.outbox = Outbox::to(installer.report_url.clone(), installer.reports_lost);
        self.installer = Some(installer);
        self.installer_starts += 1;
        if mgmt_ip == Some(self.on.address) {
            if self.settings.exchanges_token {
                self.ask_session();
            } else {
                self.begin(now);
            }
        } else {
            self.tell("booting", "running", Some(0.0), "the installer has started");
            self.give_up(&format!("mgmt_ip= on the command line is not this machine's address {}", self.on.address));
        }
    }

    /// From here on it is heard.
    fn begin(&mut self, now: Timestamp) {
        self.tell("booting", "running", Some(0.0), "the installer has started");
        self.ask_config(now);
    }

    pub(super) fn ask_session(&mut self) {
        let Some(installer) = &self.installer else { return };
        let seed = session::seed(self.settings.seed, &self.on.server_id, self.installer_starts);
        let body = session::exchange(&seed);
        let http =
            Http { from: self.on.address, method: "POST", url: installer.session_url.clone(), ..Http::installer() };
        self.request(Purpose::Session, Http { body: Some(body), ..http });
    }

    pub(super) fn session_fetched(&mut self, now: Timestamp, result: &FetchResult) {
        let wait = match result {
            FetchResult::Answered(answer) if answer.is_ok() => {
                let seed = session::seed(self.settings.seed, &self.on.server_id, self.installer_starts);
                self.installer.iter_mut().for_each(|installer| installer.session = Some(Session::new(&seed)));
                return self.begin(now);
            }
            // A boot server that knows no sessions.
            FetchResult::Answered(answer) if answer.status == 405 || is_unknown_path(answer) => return self.begin(now),
            FetchResult::Answered(answer) if matches!(answer.status, 408 | 429 | 500..) => answer.retry_after(),
            // Nobody would hear it: what it says counts only with a session.
            FetchResult::Answered(answer) => {
                let why = format!("the session was refused with status {}", answer.status);
                self.print(format!("installer: {why}"));
                self.timer = None;
                self.stage = Stage::Failed(why);
                return;
            }
            FetchResult::Untrusted(why) => {
                self.print(format!("installer: tls_untrusted: {why}"));
                let url = self.installer.as_ref().map(|installer| installer.untrusted_url.clone());
                self.timer = None;
                self.stage = Stage::Failed("tls_untrusted".into());
                url.into_iter().for_each(|url| self.get(Purpose::Step, url, Duration::from_secs(10)));
                return;
            }
            _ => None,
        };
        let wait = wait.unwrap_or_else(|| self.pace.retry(RETRY));
        self.timer = Some((now + wait, Timer::AskSession));
    }

    /// Whom its installer trusts, or the system that it has installed.
    pub(super) fn pin(&self) -> Option<[u8; 32]> {
        let installed = self.system.as_ref().and_then(|system| system.installer.as_ref());
        self.installer.as_ref().or(installed).and_then(|installer| installer.pin)
    }

    /// With the session's signature in place of the token, once there is a session.
    pub(super) fn sign(&mut self, http: &mut Http) {
        let installed = self.system.as_mut().and_then(|system| system.installer.as_mut());
        let session = self.installer.as_mut().or(installed).and_then(|installer| installer.session.as_mut());
        if let Some(session) = session {
            session.sign(http);
        }
    }

    /// Whether its installer signs what it asks for.
    pub(super) fn is_in_session(&self) -> bool {
        self.installer.as_ref().is_some_and(|installer| installer.session.is_some())
    }

    pub(super) fn ask_config(&mut self, now: Timestamp) {
        if self.report.is_some() && self.is_in_session() {
            self.timer = Some((now + SOON, Timer::AskConfig));
        } else if let Some(installer) = &self.installer {
            let url = installer.config_url.to_string();
            self.get(Purpose::Config, url, Duration::from_secs(10));
        }
    }

    pub(super) fn config_fetched(&mut self, now: Timestamp, result: FetchResult) {
        let wait = match result {
            FetchResult::Answered(answer) if answer.is_ok() => {
                self.tell("checking", "running", Some(1.0), "hardware is compared with the configuration");
                let wait = self.pace.about(self.settings.durations.checking);
                let text = answer.body.text().unwrap_or_default().to_owned();
                self.timer = Some((now + wait, Timer::Check(text)));
                return;
            }
            FetchResult::Answered(answer) if matches!(answer.status, 408 | 429 | 500..) => answer.retry_after(),
            FetchResult::Answered(answer) => {
                return self.give_up(&format!("the configuration was refused with status {}", answer.status));
            }
            _ => None,
        };
        let wait = wait.unwrap_or_else(|| self.pace.retry(RETRY));
        self.timer = Some((now + wait, Timer::AskConfig));
    }

    pub(super) fn check_config(&mut self, now: Timestamp, text: &str, faults: &mut Faults) {
        let Some(installer) = &self.installer else { return };
        let expected = config::Expected {
            server_id: &installer.node_id,
            mgmt_ip: self.on.address,
            profile: &self.on.profile,
            disks: &self.disks,
        };
        match config::check(text, &expected) {
            Err(problems) => self.give_up(&problems.join("; ")),
            Ok(config) => {
                self.tell("checking", "ok", Some(1.5), "hardware and configuration agree");
                // What is on the disk so far is lost from here on.
                self.system = None;
                self.installer.iter_mut().for_each(|installer| installer.config = Some(config.clone()));
                self.install_step(now, 0, faults);
            }
        }
    }

    pub(super) fn install_step(&mut self, now: Timestamp, step: usize, faults: &mut Faults) {
        if step == HALF_WAY {
            let half_way = |fault: &MachineFault| {
                use MachineFault::{BootsTwice, InstallFails, InstallerHangs};
                matches!(fault, InstallerHangs | InstallFails | BootsTwice)
            };
            match faults.take_machine(&self.on.name, half_way) {
                Some(MachineFault::InstallerHangs) => return self.stick("the installer hangs"),
                Some(MachineFault::InstallFails) => return self.give_up("no disk for the CVM could be prepared"),
                Some(_) => return self.restart(now),
                None => {}
            }
        }
        if let Some((message, percent)) = STEPS.get(step) {
            self.tell("installing", "running", Some(*percent), message);
            let wait = self.pace.about(self.settings.durations.installing / STEPS.len() as u32);
            self.timer = Some((now + wait, Timer::InstallStep(step + 1)));
            return;
        }
        self.tell("installing", "ok", Some(95.0), "the disks are written");
        if let Some(mut installer) = self.installer.clone()
            && let Some(config) = installer.config.clone()
        {
            installer.session = installer.session.map(Session::of_installed);
            self.installs += 1;
            self.system = Some(System { config, installer: Some(installer) });
            self.effects.push(MachineEffect::BootDiskOverwritten);
            if !self.settings.network_boot_after_install {
                self.on.network_boot = false;
            }
        }
        self.tell("rebooting", "running", Some(96.0), "Rebooting node. This may take several minutes");
        self.timer = Some((now, Timer::LeaveInstaller(now + LAST_WORDS)));
    }

    /// The last report gets a little time, then the machine restarts whether it was taken or not.
    pub(super) fn leave_installer(&mut self, now: Timestamp, give_up: Timestamp) {
        if self.outbox.is_empty() || now >= give_up {
            self.restart(now);
        } else {
            self.timer = Some((now + SOON, Timer::LeaveInstaller(give_up)));
        }
    }

    fn give_up(&mut self, why: &str) {
        self.tell("failed", "failed", None, why);
        self.timer = None;
        self.stage = Stage::Failed(why.to_owned());
    }

    fn tell(&mut self, phase: &str, status: &str, percent: Option<f64>, message: &str) {
        let Some(installer) = self.installer.clone() else { return };
        if installer.console {
            self.print(format!("installer: {phase}: {message}"));
        }
        self.send_report(&installer, phase, status, percent, message);
    }

    pub(super) fn send_report(
        &mut self,
        installer: &Installer,
        phase: &str,
        status: &str,
        percent: Option<f64>,
        message: &str,
    ) {
        if self.last_report.0 != installer.token {
            self.last_report = (installer.token.clone(), 0);
        }
        self.last_report.1 += 1;
        let mut report = json!({
            "seq": self.last_report.1,
            "phase": phase,
            "status": status,
            "message": message,
            "log": [format!("{phase}: {message}")],
            "facts": {},
        });
        if let Some(percent) = percent {
            report["percent"] = json!(percent);
        }
        if matches!(phase, "booting" | "installed") {
            report["facts"] = json!({
                "node_uuid": self.identity.uuid.to_string(),
                "serial": self.identity.serial,
                "aos_version": installer.version,
                "product": self.on.profile,
                "cores": self.on.cores,
                "memory_gib": self.on.memory_gib,
                "mac": self.on.mac,
                "disks": self.disks.iter().map(|disk| disk.facts()).collect::<Vec<_>>(),
            });
        }
        // What an agent says once all files are there and as the manifest says.
        if phase == "installing" && installer.session.is_some() && percent >= Some(RUNNING) {
            report["facts"] = json!({"files_compared": FILES});
        }
        self.outbox.push(report.to_string().into_bytes());
    }
}
