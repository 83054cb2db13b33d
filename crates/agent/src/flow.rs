//! What the agent does, from top to bottom.
//!
//! It touches no disk before three things hold: every check of the hardware has passed, every file is here and is what
//! the manifest says, and the boot plane has, a moment ago, recorded a report of this very boot attempt. A machine that
//! was forgotten, released or started twice stops there.
//!
//! Whatever fails is told to the boot plane and on every console, once; then the machine stays as it is, so that a person
//! can look. It never restarts by itself after a failure: a machine that goes round hides why. After a crash, or a power
//! cut, it is started anew under the same boot attempt and begins at the top.

use crate::{
    arizona,
    boot_plane::{BootPlane, PlaneError},
    check::{Checked, check},
    clock::Clock,
    config::NodeConfig,
    download::{DownloadError, Downloads},
    drives::Drives,
    finding::{Code, InWords},
    http::HttpClient,
    installer::{self, InstallerError, Line},
    inventory::Inventory,
    kernel_args::KernelArgs,
    limits::Limits,
    machine::Machine,
    modules,
    network::NetworkError,
    recipe::{self, PrepareError, Workspace, phoenix},
    reporter::{Delivery, Milestone, Reporter},
    retry::until_answered,
    session::Session,
    wipe,
};
use metalform_model::{
    BootStep, Finding, ImageFile, ImageManifest, InstalledBy, Recipe, Report, ReportPhase, ReportStatus, Verdict,
    with_causes,
};
use serde_json::{Map, Value, json};
use std::{fs, path::PathBuf, process::Command, sync::Arc, time::Duration};

/// Percent of the whole at which the parts begin; the installer's own 0 to 100 is spread over its part.
const FETCHING: f64 = 5.0;
const RUNNING: f64 = 20.0;
const REBOOTING: f64 = 95.0;

/// More than this off, and certificates and logs of the installer are wrong.
const CLOCK_TOLERANCE_SECONDS: i64 = 300;

/// How a run ended. On a real machine, a restart ends everything before this is seen, and a failure stays for good.
#[derive(Debug, Clone, PartialEq)]
pub enum Ended {
    /// The node has its system, and the machine starts anew.
    Restarted,
    /// The machine stays as it is.
    Failed(Finding),
}

/// The machine, time, and patience.
#[derive(Clone)]
pub struct Site {
    /// The machine.
    pub machine: Arc<dyn Machine>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Patience.
    pub limits: Limits,
}

/// All of it.
pub fn run(site: &Site) -> Ended {
    let started = site.clock.uptime();
    let mut findings = Vec::new();
    site.say(&format!("agent {} starts", env!("CARGO_PKG_VERSION")));
    let args = match arrive(site, &mut findings) {
        Ok(args) => args,
        Err(failure) => return stay(site, None, failure, &findings),
    };
    let http = match HttpClient::new(site.clock.clone(), site.limits.clone(), args.ca_sha256) {
        Ok(http) => http,
        Err(error) => {
            let failure = Code::Internal.failed("TLS", format!("it can't be set up: {error}"));
            return stay(site, None, failure, &findings);
        }
    };
    let plane = BootPlane::new(http, &args);
    let plane = match begin_session(site, plane.clone()) {
        Ok(plane) => plane,
        Err(failure) => {
            tell_of_tls(site, &plane, &failure);
            return stay(site, None, failure, &findings);
        }
    };
    let console = site.clone();
    let told = move |text: &str| console.say(text);
    let reporter = match Reporter::start(plane.clone(), site.clock.clone(), site.limits.clone(), told) {
        Ok(reporter) => reporter,
        Err(error) => {
            let failure = Code::Internal.failed("reporter", format!("its thread can't be started: {error}"));
            return stay(site, None, failure, &findings);
        }
    };
    let mut attempt = Attempt { site, args, plane, reporter, findings };
    match attempt.install(started) {
        Ok(()) => Ended::Restarted,
        Err(failure) => {
            tell_of_tls(site, &attempt.plane, &failure);
            stay(site, Some(&attempt.reporter), failure, &attempt.findings)
        }
    }
}

/// From the first instruction to an address: nothing can be reported yet.
fn arrive(site: &Site, findings: &mut Vec<Finding>) -> Result<KernelArgs, Finding> {
    let machine = &*site.machine;
    if let Err(error) = machine.mount_basics() {
        return Err(Code::Internal.failed("/proc, /sys, /dev", format!("they can't be mounted: {error}")));
    }
    let command_line = fs::read_to_string(machine.root().join("proc/cmdline")).unwrap_or_default();
    let args = KernelArgs::read(&command_line)
        .map_err(|error| Code::KernelArguments.failed("kernel command line", error.to_string()))?;
    site.say(&format!("this is {}, to be {}", args.node_id, args.mgmt_ip));
    if let Err(error) = machine.set_host_name(&args.node_id) {
        site.say(&format!("the host name can't be set: {error}"));
    }
    for finding in modules::load_all(machine, &|text| site.say(text)) {
        site.say(&InWords(&finding).to_string());
        findings.push(finding);
    }
    let attached = machine.attach(&args, &site.limits, &|text| site.say(text)).map_err(|error| {
        let code = match error {
            NetworkError::NoInterface => Code::NicMissing,
            NetworkError::NoLink(_) => Code::NicNoLink,
            NetworkError::AddressDiffers { .. } => Code::AddressDiffers,
            NetworkError::NoAnswer { .. } | NetworkError::Configure { .. } => Code::NetworkFailed,
        };
        code.failed("network", with_causes(&error))
    })?;
    site.say(&format!("{} has {}/{}", attached.interface, attached.address, attached.prefix));
    Ok(args)
}

/// Before anything is asked for or said: what comes after is signed with a key that exists in this machine's memory alone.
/// Nothing that fails here can be reported: the boot plane tells its operator whom it refused; and that no TLS came about, it
/// is told in the clear.
fn begin_session(site: &Site, plane: BootPlane) -> Result<BootPlane, Finding> {
    let seed = site.machine.random();
    let seed = seed.map_err(|error| Code::Internal.failed("session", format!("there is no key for it: {error}")))?;
    let session = Session::new(&seed);
    let told = |text: &str| site.say(text);
    let exchanged = until_answered(&*site.clock, &site.limits, plane.salt(), told, || plane.exchange(&session));
    match exchanged {
        Ok(true) => {
            site.say(&format!("has a session of the key {}", session.public().short()));
            Ok(plane.with_session(session))
        }
        Ok(false) => {
            site.say("the boot plane knows no sessions: goes on with the boot token");
            Ok(plane)
        }
        Err(error) => Err(code_of(&error, Code::SessionRefused).failed("session", with_causes(&error))),
    }
}

/// That no TLS came about can't be said over TLS. Once: who answers may be the one who is in between.
fn tell_of_tls(site: &Site, plane: &BootPlane, failure: &Finding) {
    let steps = [(Code::TlsUntrusted, BootStep::TlsUntrusted), (Code::TlsFailed, BootStep::TlsFailed)];
    let Some((_, step)) = steps.into_iter().find(|(code, _)| failure.code == code.as_str()) else { return };
    if let Err(error) = plane.tell(step) {
        site.say(&format!("the boot plane can't be told of it either: {}", with_causes(&error)));
    }
}

/// What a call that failed for good is found to be.
fn code_of(error: &PlaneError, otherwise: Code) -> Code {
    error.tls_failure().unwrap_or(otherwise)
}

struct Attempt<'a> {
    site: &'a Site,
    args: KernelArgs,
    plane: BootPlane,
    reporter: Reporter,
    findings: Vec<Finding>,
}

impl Attempt<'_> {
    fn install(&mut self, started: Duration) -> Result<(), Finding> {
        self.report_booting(started);
        let (document, config) = self.fetch_config()?;

        self.milestone(
            ReportPhase::Checking,
            ReportStatus::Running,
            3.0,
            "compares the hardware with the configuration",
        );
        let drives = self.check_hardware(&config)?;

        let manifest = self.fetch_manifest()?;
        let (files, installed_by) = recipe::needs(&manifest)
            .map_err(|error| Code::ManifestInvalid.failed("manifest.json", error.to_string()))?;
        let workspace = self.make_workspace(&files)?;
        self.milestone(ReportPhase::Installing, ReportStatus::Running, FETCHING, "fetches the installer's files");
        self.fetch_files(&files, &workspace)?;
        let command = self.prepare(&manifest, &workspace, &document, &drives)?;

        // From here on disks are written.
        let compared: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
        self.confirm_attempt(&compared)?;
        self.look_again(&config, &drives)?;
        self.clear_drives(&drives)?;
        self.run_installer(command)?;

        self.finish(installed_by)
    }

    fn report_booting(&self, started: Duration) {
        let inventory = Inventory::read(self.site.machine.root());
        let mut facts = inventory.facts();
        let millis = |duration: Duration| Value::from(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
        facts.insert("agent_version".into(), env!("CARGO_PKG_VERSION").into());
        facts.insert("agent_start_ms".into(), millis(started));
        facts.insert("first_report_ms".into(), millis(self.site.clock.uptime()));
        if !self.findings.is_empty() {
            facts.insert(Report::FINDINGS.into(), json!(self.findings));
        }
        self.reporter.milestone(Milestone {
            phase: ReportPhase::Booting,
            status: ReportStatus::Running,
            percent: Some(1.0),
            message: "the agent runs and has its address".into(),
            facts,
        });
    }

    fn fetch_config(&mut self) -> Result<(Vec<u8>, NodeConfig), Finding> {
        self.say("fetches the configuration");
        let (document, date) = self.answer(|plane| plane.config()).map_err(|error| {
            let otherwise = if error.is_transient() { Code::BootPlaneAway } else { Code::ConfigRefused };
            code_of(&error, otherwise).failed("configuration", with_causes(&error))
        })?;
        if let Some(date) = date {
            self.mend_clock(date);
        }
        let config = NodeConfig::read(&document, &self.args.node_id, self.args.mgmt_ip)
            .map_err(|error| Code::ConfigInvalid.failed("configuration", with_causes(&error)))?;
        Ok((document, config))
    }

    fn mend_clock(&mut self, theirs: i64) {
        let ours = self.site.clock.wall_clock();
        let off = theirs.saturating_sub(ours);
        if off.abs() <= CLOCK_TOLERANCE_SECONDS {
            return;
        }
        let direction = if off > 0 { "behind" } else { "ahead of" };
        let was = format!("it was {} s {direction} the boot plane's", off.abs());
        let reason = match self.site.clock.set_wall_clock(theirs) {
            Ok(()) => format!("{was}, and is set by it now"),
            Err(error) => format!("{was}, and can't be set: {error}"),
        };
        self.find(Code::ClockWasWrong.warning("clock", reason));
    }

    /// Drives and their drivers take their time: what is missing is looked for until they have had it.
    fn check_hardware(&mut self, config: &NodeConfig) -> Result<Drives, Finding> {
        let limits = &self.site.limits;
        let started = self.site.clock.uptime();
        let (mut seen, mut since) = (Vec::new(), started);
        let Checked { findings, drives } = loop {
            let inventory = Inventory::read(self.site.machine.root());
            let checked = check(config, &inventory);
            let now = self.site.clock.uptime();
            let names: Vec<String> = inventory.disks.into_iter().map(|disk| disk.device).collect();
            if names != seen {
                (seen, since) = (names, now);
            }
            let is_settled = now.saturating_sub(since) >= limits.settle && !checked.misses_a_drive();
            if is_settled || now.saturating_sub(started) >= limits.devices {
                break checked;
            }
            self.site.clock.sleep(Duration::from_millis(500).min(limits.settle).min(limits.devices));
        };
        for finding in findings {
            self.find(finding);
        }
        let failures: Vec<&Finding> = self.findings.iter().filter(|each| each.verdict == Verdict::Failed).collect();
        match (drives, failures.split_first()) {
            (Some(drives), None) => {
                self.checked(ReportStatus::Ok, "the hardware is as it should be");
                Ok(drives)
            }
            (_, Some((first, rest))) => {
                let more = if rest.is_empty() { String::new() } else { format!(" (and {} more)", rest.len()) };
                let failure = Finding { reason: format!("{}{more}", first.reason), ..(*first).clone() };
                self.checked(ReportStatus::Failed, &failure.reason);
                Err(failure)
            }
            (None, None) => Err(Code::Internal.failed("checks", "they chose no drives and found no fault")),
        }
    }

    fn checked(&self, status: ReportStatus, message: &str) {
        self.reporter.milestone(Milestone {
            phase: ReportPhase::Checking,
            status,
            percent: Some(4.0),
            message: message.into(),
            facts: Map::from_iter([(Report::FINDINGS.to_owned(), json!(self.findings))]),
        });
    }

    fn fetch_manifest(&self) -> Result<ImageManifest, Finding> {
        self.answer(|plane| plane.manifest()).map_err(|error| {
            let otherwise = match error {
                PlaneError::OtherManifest { .. } => Code::ImageDigestWrong,
                PlaneError::Unreadable { .. } | PlaneError::AnotherFormat { .. } => Code::ManifestInvalid,
                PlaneError::Http { .. } | PlaneError::Refused { .. } | PlaneError::Stale { .. } => {
                    Code::ImageUnavailable
                }
            };
            code_of(&error, otherwise).failed("manifest.json", with_causes(&error))
        })
    }

    fn make_workspace(&self, files: &[&ImageFile]) -> Result<Workspace, Finding> {
        let needed = files.iter().map(|file| file.size).sum::<u64>() / 1024;
        let available = Inventory::read(self.site.machine.root()).available_kib;
        if needed > available / 10 * 9 {
            let (needed, available) = (needed / 1024, available / 1024);
            let reason = format!("the installer's files have {needed} MiB, and {available} MiB of memory are free");
            return Err(Code::NoRoomForImages.failed("memory", reason));
        }
        Workspace::make(&*self.site.machine)
            .map_err(|error| Code::Internal.failed("/run/metalform", format!("it can't be made: {error}")))
    }

    fn fetch_files(&self, files: &[&ImageFile], workspace: &Workspace) -> Result<(), Finding> {
        let total = files.iter().map(|file| file.size).sum::<u64>().max(1) as f64;
        let mut done = 0;
        for file in files {
            self.say(&format!("fetches {} ({} MiB)", file.name, file.size / (1024 * 1024)));
            let progress = |bytes: u64| {
                let percent = FETCHING + (RUNNING - FETCHING) * (done + bytes) as f64 / total;
                self.reporter.progress(Some(percent.min(RUNNING)), format!("fetches {}", file.name));
            };
            let downloads = Downloads {
                plane: &self.plane,
                clock: &*self.site.clock,
                limits: &self.site.limits,
                told: &|text| self.say(text),
                progress: &progress,
                stopped: &|| self.reporter.attempt_ended(),
            };
            downloads.fetch(file, &workspace.files()).map_err(|error| {
                let code = match error {
                    DownloadError::Unavailable { .. } => Code::ImageUnavailable,
                    DownloadError::Wrong { .. } => Code::ImageDigestWrong,
                    DownloadError::Write { .. } => Code::NoRoomForImages,
                    DownloadError::Stopped(_) => Code::AttemptEnded,
                };
                code.failed(&file.name, with_causes(&error))
            })?;
            done += file.size;
        }
        Ok(())
    }

    fn prepare(
        &self,
        manifest: &ImageManifest,
        workspace: &Workspace,
        document: &[u8],
        drives: &Drives,
    ) -> Result<Command, Finding> {
        let written = |name: &str, bytes: &[u8]| {
            workspace
                .write(name, bytes)
                .map_err(|error| Code::NoRoomForImages.failed(name, format!("it can't be written: {error}")))
        };
        let [config_name, disks_name, report_name] = recipe::DOCUMENTS;
        let config = written(config_name, document)?;
        let disks = written(disks_name, json!(drives).to_string().as_bytes())?;
        let mut report = json!({
            "node_id": self.args.node_id,
            "boot_host": self.args.config_url.authority(),
            "boot_token": self.args.boot_token.expose(),
        });
        if let Some(pin) = &self.args.ca_sha256 {
            report["ca_sha256"] = json!(pin.to_string());
        }
        if let Some(session) = self.plane.session() {
            report["session_key"] = json!(session.secret_text());
        }
        let report = written(report_name, report.to_string().as_bytes())?;
        let agent = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/proc/self/exe"));
        let mut command = match &manifest.recipe {
            Some(Recipe::Command { command, .. }) => {
                let mut command = recipe::plain(command);
                command.env("METALFORM_FILES", workspace.files()).env("METALFORM_AGENT", agent);
                command
            }
            Some(Recipe::PhoenixCe { command }) => {
                let name = recipe::needs(manifest).ok().and_then(|(files, _)| Some(files.first()?.name.clone()));
                let squashfs = workspace.files().join(name.unwrap_or_default());
                let fetch = |_: &BootPlane| {
                    self.answer(|plane| plane.arizona()).map(|document| arizona::with_drives(document, drives))
                };
                phoenix::prepare(&*self.site.machine, &self.plane, &squashfs, workspace, command, fetch).map_err(
                    |error| {
                        let code = match &error {
                            PrepareError::Arizona(error) => code_of(error, Code::InstallerFailed),
                            PrepareError::Mount { .. } | PrepareError::Place { .. } => Code::InstallerFailed,
                        };
                        code.failed("installer", with_causes(&error))
                    },
                )?
            }
            None => return Err(Code::ManifestInvalid.failed("manifest.json", "it has no recipe")),
        };
        command
            .env("METALFORM_NODE_ID", &self.args.node_id)
            .env("METALFORM_CONFIG", config)
            .env("METALFORM_DISKS", disks)
            .env("METALFORM_REPORT", report);
        Ok(command)
    }

    /// The gate before the disks. A report that is only accepted isn't enough: it must have been recorded as new, which
    /// the boot plane does for an open boot attempt alone.
    fn confirm_attempt(&self, compared: &[&str]) -> Result<(), Finding> {
        let message = "starts the installer";
        self.say(message);
        self.reporter.milestone(Milestone {
            phase: ReportPhase::Installing,
            status: ReportStatus::Running,
            percent: Some(RUNNING),
            message: message.into(),
            facts: Map::from_iter([(Report::FILES_COMPARED.to_owned(), compared.into())]),
        });
        match self.reporter.wait(self.site.limits.confirmation) {
            Delivery::Taken => Ok(()),
            Delivery::AttemptEnded(why) => Err(Code::AttemptEnded.failed("boot attempt", why)),
            Delivery::LeftOut(why) => Err(Code::Internal.failed("report", why)),
            Delivery::TimedOut(why) => {
                let minutes = self.site.limits.confirmation.as_secs() / 60;
                let reason = format!("it didn't confirm this boot attempt within {minutes} min: {why}");
                Err(Code::BootPlaneAway.failed("boot plane", reason))
            }
        }
    }

    /// Images took minutes to come, and a drive may have come, gone or been mounted since: the checks hold now, for the same
    /// drives, or nothing is written.
    fn look_again(&self, config: &NodeConfig, before: &Drives) -> Result<(), Finding> {
        let Checked { findings, drives } = check(config, &Inventory::read(self.site.machine.root()));
        if let Some(failure) = findings.into_iter().find(|finding| finding.verdict == Verdict::Failed) {
            return Err(failure);
        }
        if drives.as_ref() == Some(before) {
            return Ok(());
        }
        let told = |drives: &Drives| {
            let one = |(device, serial, bytes): &(String, String, u64)| {
                format!("{device} ({} GB, serial {serial:?})", bytes / 1_000_000_000)
            };
            drives.known.iter().map(one).collect::<Vec<_>>().join(", ")
        };
        let now = drives.as_ref().map(told).unwrap_or_default();
        let reason = format!("the checks chose {}, and would choose {now} now", told(before));
        Err(Code::DrivesChanged.failed("drives", reason))
    }

    fn clear_drives(&self, drives: &Drives) -> Result<(), Finding> {
        for device in &drives.wipe {
            self.say(&format!("takes old partitions and file systems off {device}, as the plan says"));
            wipe::clear(self.site.machine.root(), device)
                .map_err(|error| Code::WipeFailed.failed(device, format!("it can't be cleared: {error}")))?;
        }
        Ok(())
    }

    fn run_installer(&self, command: Command) -> Result<(), Finding> {
        let heard = |line: Line| match line {
            Line::Progress(percent, text) => {
                let percent = RUNNING + (REBOOTING - RUNNING) * percent / 100.0;
                self.reporter.progress(Some(percent), self.without_secrets(&text));
            }
            Line::Log(line) => self.say(&line),
        };
        let stopped = || self.reporter.attempt_ended();
        installer::run(command, &*self.site.clock, &self.site.limits, heard, stopped).map_err(|error| {
            let code = match error {
                InstallerError::Start { .. } | InstallerError::Failed { .. } => Code::InstallerFailed,
                InstallerError::Timeout { .. } => Code::InstallerTimeout,
                InstallerError::Stopped(_) => Code::AttemptEnded,
            };
            code.failed("installer", self.without_secrets(&with_causes(&error)))
        })
    }

    /// The disks are written: an unreachable boot plane can't undo that, so the machine restarts after a while all the same.
    fn finish(&self, installed_by: InstalledBy) -> Result<(), Finding> {
        self.milestone(ReportPhase::Rebooting, ReportStatus::Running, REBOOTING, "installed; the machine starts anew");
        if installed_by == InstalledBy::Agent {
            self.milestone(ReportPhase::Installed, ReportStatus::Ok, 100.0, "the node is installed");
        }
        match self.reporter.wait(self.site.limits.farewell) {
            Delivery::Taken => {}
            Delivery::AttemptEnded(why) => return Err(Code::AttemptEnded.failed("boot attempt", why)),
            Delivery::LeftOut(why) | Delivery::TimedOut(why) => {
                self.say(&format!("the last reports weren't taken: {why}"));
            }
        }
        self.say("restarts");
        let restarted = self.site.machine.restart();
        restarted.map_err(|error| Code::Internal.failed("restart", format!("the machine can't be restarted: {error}")))
    }

    fn answer<T>(&self, call: impl Fn(&BootPlane) -> Result<T, PlaneError>) -> Result<T, PlaneError> {
        let told = |text: &str| self.say(text);
        until_answered(&*self.site.clock, &self.site.limits, self.plane.salt(), told, || call(&self.plane))
    }

    fn milestone(&self, phase: ReportPhase, status: ReportStatus, percent: f64, message: &str) {
        self.say(message);
        let (percent, message) = (Some(percent), message.to_owned());
        self.reporter.milestone(Milestone { phase, status, percent, message, facts: Map::new() });
    }

    fn without_secrets(&self, text: &str) -> String {
        let text = text.replace(self.args.boot_token.expose(), "…");
        match self.plane.session() {
            Some(session) => text.replace(&session.secret_text(), "…"),
            None => text,
        }
    }

    fn find(&mut self, finding: Finding) {
        self.say(&InWords(&finding).to_string());
        self.findings.push(finding);
    }

    /// On the console, and with the next report. Installers print the kernel's command line, and the token is on it; or the
    /// document that they are to leave to the system, with both secrets.
    fn say(&self, text: &str) {
        let text = &self.without_secrets(text);
        self.site.say(text);
        for line in text.lines() {
            self.reporter.log(line);
        }
    }
}

impl Site {
    fn say(&self, text: &str) {
        self.machine.console(&format!("metalform: {text}\n"));
    }
}

fn stay(site: &Site, reporter: Option<&Reporter>, failure: Finding, findings: &[Finding]) -> Ended {
    let told = crate::farewell::failed(&failure, findings);
    site.machine.console(&told);
    if let Some(reporter) = reporter {
        let facts = [(Report::FAILURE.to_owned(), json!(failure)), (Report::FINDINGS.to_owned(), json!(findings))];
        reporter.milestone(Milestone {
            phase: ReportPhase::Failed,
            status: ReportStatus::Failed,
            percent: None,
            message: format!("{}: {}", failure.subject, failure.reason),
            facts: Map::from_iter(facts),
        });
        let taken = match reporter.wait(site.limits.farewell) {
            Delivery::Taken => "the boot plane knows of it".to_owned(),
            Delivery::AttemptEnded(why) => format!("the boot plane wants to hear no more of this boot attempt: {why}"),
            Delivery::LeftOut(why) => format!("the boot plane can't read that: {why}"),
            Delivery::TimedOut(why) => format!("the boot plane couldn't be told yet, and that goes on: {why}"),
        };
        site.say(&taken);
    }
    site.machine.stay(&told, &site.limits);
    Ended::Failed(failure)
}

#[cfg(test)]
mod tests;
