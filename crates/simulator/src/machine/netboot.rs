//! The network boot of a machine: iPXE with its script, up to the kernel that it starts.

use super::{Machine, Purpose, Stage, Timer};
use crate::{
    fault::{Faults, MachineFault},
    fetch::{Answer, FetchResult},
    ipxe::{Boot, Effect, Interpreter, Lease, Resume, Script},
};
use metalform_model::Timestamp;
use std::time::Duration;
use url::Url;

/// The image digests beside the kernel, in the form of `sha256sum`.
const SUMS: &str = "SHA256SUMS";
/// An answer to the script's request that does not come in this time never will.
const SCRIPT_TIMEOUT: Duration = Duration::from_secs(30);
/// Scripts and configurations are smaller; only what is larger takes its time to load.
const SMALL_BYTES: u64 = 64 * 1024;

/// Name of the kernel in every image set.
const KERNEL: &str = "/vmlinuz-foundation";
/// What a script in user data asks, between the two the server's id.
const ATTEMPT: &str = "/boot/attempt/";
const OPEN: &str = "/open";
/// Digest of a kernel that somebody else has made, and that works: firmware takes it, and it starts the initrd.
const OTHER_KERNEL: [u8; 32] = [0x66; 32];

impl Machine {
    pub(super) fn start_ipxe(&mut self, now: Timestamp, faults: &mut Faults) {
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

    pub(super) fn ask_script(&mut self) {
        // IBM's image trusts certificates of common public CAs only; anything else is "Permission denied".
        let Some(url) = self.script_url() else {
            return self.stick("the boot script's URL is not one that iPXE can fetch here: Permission denied");
        };
        self.script_fetches += 1;
        self.print(format!("{}://{}{}...", url.scheme(), url.authority(), url.path()));
        self.get(Purpose::Script, url.into(), SCRIPT_TIMEOUT);
    }

    pub(super) fn script_fetched(&mut self, now: Timestamp, result: FetchResult, faults: &mut Faults) {
        let (told, wait) = match result {
            FetchResult::Answered(answer) if answer.is_ok() => {
                let url = self.script_url();
                let changed =
                    faults.take_machine(&self.on.name, |fault| *fault == MachineFault::ScriptChanged).is_some();
                let text = answer.body.text().map(|text| if changed { without_digests(text) } else { text.to_owned() });
                if let (Some(Ok(script)), Some(ipxe)) = (text.as_deref().map(Script::parse), &mut self.ipxe) {
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

    pub(super) fn resume_ipxe(&mut self, now: Timestamp, resume: Resume) {
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
                self.ipxe_asks = Url::parse(&url).map(|url| url.path().to_owned()).unwrap_or_default();
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

    pub(super) fn image_fetched(&mut self, now: Timestamp, mut result: FetchResult, faults: &mut Faults) {
        let mut wait = Duration::ZERO;
        let forged = |fault: &MachineFault| *fault == MachineFault::AttemptForged;
        if self.ipxe_asks.starts_with(ATTEMPT)
            && self.ipxe_asks.ends_with(OPEN)
            && faults.take_machine(&self.on.name, forged).is_some()
        {
            result = FetchResult::Answered(Answer::new(200, &b"yes"[..]));
        }
        if let FetchResult::Answered(Answer { status: 200..300, body, .. }) = &mut result
            && !body.text().is_some_and(Script::has_magic)
        {
            let downloads =
                |fault: &MachineFault| matches!(fault, MachineFault::DownloadBreaks | MachineFault::WrongDigest);
            let changed = |fault: &MachineFault| *fault == MachineFault::KernelChanged;
            let is_changed = self.ipxe_asks.ends_with(KERNEL) && faults.take_machine(&self.on.name, changed).is_some();
            if body.len > SMALL_BYTES {
                wait = self.pace.about(self.settings.durations.download);
            }
            match faults.take_machine(&self.on.name, downloads) {
                Some(MachineFault::DownloadBreaks) => result = FetchResult::Broken("in the middle".into()),
                Some(_) => body.sha256[0] ^= 0xff,
                None if is_changed => body.sha256 = OTHER_KERNEL,
                None => {}
            }
        }
        self.timer = Some((now + wait, Timer::Resume(Resume::Fetched(result))));
    }

    pub(super) fn ask_sums(&mut self, boot: Box<Boot>) {
        let url = Url::parse(&boot.kernel.url).and_then(|url| url.join(SUMS));
        match url {
            Ok(url) => self.get(Purpose::Sums(boot), url.into(), Duration::from_secs(30)),
            Err(_) => self.stick("the kernel has no URL"),
        }
    }

    /// Stands for what firmware and kernel find out by themselves when their bytes are damaged: here both are compared
    /// with what the boot server itself says about them.
    pub(super) fn sums_fetched(&mut self, now: Timestamp, boot: Box<Boot>, result: FetchResult) {
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
            if *sha256 == OTHER_KERNEL {
                return true;
            }
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
}

/// What somebody makes of a boot script that nothing but an accident should be found by.
fn without_digests(script: &str) -> String {
    let kept = |line: &&str| !line.starts_with("set kernel-sha256") && !line.starts_with("set initrd-sha256");
    script.lines().filter(kept).map(|line| format!("{line}\n")).collect()
}

/// An `https` URL: no certificate here is one of a public CA.
fn fetched_nothing() -> Resume {
    Resume::Fetched(FetchResult::Answered(Answer::new(403, &b""[..])))
}
