//! The running iPXE: it works through scripts until it needs something from outside, says what ([`Effect`]), and goes on
//! when it is told what came of it ([`Resume`]).

use super::{
    Boot, Generation, Identity, Image, IpxeError, Lease, Platform, Script,
    options::{self, Options},
    script::Then,
    settings::Settings,
};
use crate::fetch::{Body, FetchResult};
use metalform_model::Timestamp;
use std::time::Duration;
use url::Url;

/// So many commands may run without anything that takes time. A script that goes round faster never ends in reality
/// either; here it must not take the world with it.
const COMMANDS_WITHOUT_WAITING: u32 = 10_000;
const CONSOLE_LINES: usize = 400;
const REDIRECTS: u32 = 10;
/// Memory below 4 GiB, where images go.
const IMAGE_MEMORY: u64 = 2 << 30;

/// What iPXE wants done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// GET this; then [`Resume::Fetched`].
    Http {
        /// Absolute.
        url: String,
        /// Give up when no byte came for so long.
        timeout: Option<Duration>,
    },
    /// Wait so long; then [`Resume::Done`].
    Sleep(Duration),
    /// Wait as long as a server asked for in `Retry-After`; then [`Resume::Done`].
    RetryAfter(Duration),
    /// Configure the network; then [`Resume::Leased`] or [`Resume::Failed`].
    Dhcp,
    /// Hand the machine to a kernel. [`Resume::Failed`] if it does not start.
    Boot(Box<Boot>),
    /// Hand the machine to its local disk. [`Resume::Failed`] if that does not start.
    LocalDisk,
    /// Restart the machine.
    Reboot,
    /// Switch the machine off.
    PowerOff,
    /// Nothing will ever happen again: it waits at a prompt, or turns in a circle.
    Hangs(String),
    /// The script is over and the firmware has the machine back.
    ScriptEnded {
        /// Whether it ended without an error.
        ok: bool,
    },
}

/// What came of an [`Effect`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resume {
    /// It is done.
    Done,
    /// It failed, with the text for the console.
    Failed(String),
    /// DHCP gave an address.
    Leased(Lease),
    /// An HTTP exchange ended.
    Fetched(FetchResult),
}

/// What the current command waits for.
#[derive(Debug, Clone)]
enum Pending {
    Sleep,
    Prompt,
    Dhcp,
    Fetch(Fetch),
    Parked(Fetch),
    Boot,
    LocalDisk,
}

#[derive(Debug, Clone)]
struct Fetch {
    url: Url,
    timeout: Option<Duration>,
    redirects: u32,
    image: ImageRequest,
}

#[derive(Debug, Clone)]
struct ImageRequest {
    name: String,
    args: String,
    autofree: bool,
    then: Acquired,
}

/// What becomes of an image once it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Acquired {
    Keep,
    Select,
    Execute { replace: bool },
}

#[derive(Debug, Clone)]
struct Frame {
    script: Script,
    url: Option<Url>,
    line: usize,
    command: usize,
}

enum Step {
    Done(Result<(), IpxeError>),
    Wait(Pending, Effect),
    Jump(usize),
    Call(Frame),
    Exit(Result<(), IpxeError>),
    Stop(Effect),
}

use Step::{Done, Wait};

/// One iPXE, from its first script to the end.
#[derive(Debug, Clone)]
pub struct Interpreter {
    platform: Platform,
    settings: Settings,
    images: Vec<Image>,
    frames: Vec<Frame>,
    pending: Option<Pending>,
    console: Vec<String>,
    without_waiting: u32,
}

impl Interpreter {
    /// An iPXE that has just been started, with the network not configured.
    pub fn new(identity: &Identity, platform: Platform) -> Self {
        let version = platform.user_agent().trim_start_matches("iPXE/");
        Interpreter {
            platform,
            settings: Settings::new(identity, version),
            images: Vec::new(),
            frames: Vec::new(),
            pending: None,
            console: Vec::new(),
            without_waiting: 0,
        }
    }

    /// Gives it an address before any script runs, as the firmware's own network boot does.
    pub fn lease(&mut self, lease: &Lease) {
        self.settings.lease(lease);
    }

    /// Expands `${…}` in a text outside of a script: the script URL in user data.
    pub fn expand(&self, text: &str) -> String {
        self.settings.expand(text)
    }

    /// Starts a script that came from `url` (for relative addresses in it).
    pub fn start(&mut self, now: Timestamp, script: Script, url: Option<Url>) -> Effect {
        self.settings.clock(now);
        self.frames.push(Frame { script, url, line: 0, command: 0 });
        self.run()
    }

    /// Goes on after an [`Effect`].
    pub fn resume(&mut self, now: Timestamp, resume: Resume) -> Effect {
        self.settings.clock(now);
        self.without_waiting = 0;
        let step = match (self.pending.take(), resume) {
            (Some(Pending::Sleep), _) => Done(Ok(())),
            (Some(Pending::Prompt), _) => Done(Err(IpxeError::new("Operation canceled", 0x0b8f_8001))),
            (Some(Pending::Dhcp), Resume::Leased(lease)) => {
                self.settings.lease(&lease);
                Done(Ok(()))
            }
            (Some(Pending::Fetch(fetch)), Resume::Fetched(result)) => self.fetched(fetch, result),
            (Some(Pending::Parked(fetch)), _) => self.fetch(fetch),
            (Some(_), Resume::Failed(text)) => Done(Err(IpxeError::new(text, 0x3c09_2003))),
            (Some(_), _) => Done(Ok(())),
            (None, _) => return Effect::ScriptEnded { ok: false },
        };
        self.apply(step).unwrap_or_else(|| self.run())
    }

    /// What stands on the console, oldest first.
    pub fn console(&self) -> &[String] {
        &self.console
    }

    /// Takes what was printed since it was last taken.
    pub fn take_console(&mut self) -> Vec<String> {
        std::mem::take(&mut self.console)
    }

    /// The registered images.
    pub fn images(&self) -> &[Image] {
        &self.images
    }

    fn print(&mut self, line: impl Into<String>) {
        self.console.push(line.into());
        if self.console.len() > CONSOLE_LINES {
            self.console.remove(0);
        }
    }

    fn run(&mut self) -> Effect {
        loop {
            let Some(frame) = self.frames.last() else { return Effect::ScriptEnded { ok: true } };
            let Some(line) = frame.script.lines.get(frame.line) else {
                match self.apply(Step::Exit(Ok(()))) {
                    Some(effect) => return effect,
                    None => continue,
                }
            };
            let words = line.commands[frame.command].words.clone();
            self.without_waiting += 1;
            if self.without_waiting > COMMANDS_WITHOUT_WAITING {
                self.print("(goes round and round)");
                return Effect::Hangs("the script goes round without ever waiting".into());
            }
            let words: Vec<String> = words.iter().map(|word| self.settings.expand(word)).collect();
            let step = self.command(&words).unwrap_or_else(|error| Done(Err(error)));
            if let Some(effect) = self.apply(step) {
                return effect;
            }
        }
    }

    /// Carries a step out; `None`: go on running.
    fn apply(&mut self, step: Step) -> Option<Effect> {
        match step {
            Done(result) => self.complete(result),
            Wait(pending, effect) => {
                self.pending = Some(pending);
                Some(effect)
            }
            Step::Jump(line) => {
                if let Some(frame) = self.frames.last_mut() {
                    (frame.line, frame.command) = (line, 0);
                }
                None
            }
            Step::Call(frame) => {
                self.frames.push(frame);
                None
            }
            Step::Exit(result) => {
                self.frames.pop();
                if self.frames.is_empty() {
                    return Some(Effect::ScriptEnded { ok: result.is_ok() });
                }
                self.complete(result)
            }
            Step::Stop(effect) => Some(effect),
        }
    }

    /// The current command is over: the next one of its line, the next line, or the end of the script.
    fn complete(&mut self, mut result: Result<(), IpxeError>) -> Option<Effect> {
        loop {
            // What goes well leaves `${errno}` as it is (`src/core/exec.c`), and it is written without leading zeros.
            if let Err(error) = &result {
                let (text, errno) = (error.to_string(), error.errno);
                self.settings.put("errno", super::settings::Value::Text(format!("{errno:#x}")));
                if !error.text.is_empty() {
                    self.print(text);
                }
            }
            let Some(frame) = self.frames.last_mut() else { return Some(Effect::ScriptEnded { ok: result.is_ok() }) };
            // A skipped command leaves the result as it is, and what joins it to the next one is looked at all the same:
            // `iseq a b && goto x ||` succeeds either way.
            let commands = &frame.script.lines[frame.line].commands;
            let failed = result.is_err();
            let next = (frame.command..commands.len()).find_map(|at| match commands[at].then {
                Then::IfFailed if failed => Some(Some(at + 1)),
                Then::IfOk if !failed => Some(Some(at + 1)),
                Then::Always => Some(Some(at + 1)),
                Then::EndOfLine => Some(None),
                Then::IfFailed | Then::IfOk => None,
            });
            if let Some(Some(next)) = next {
                frame.command = next;
                return None;
            }
            if result.is_ok() {
                (frame.line, frame.command) = (frame.line + 1, 0);
                return None;
            }
            self.frames.pop();
            result = Err(IpxeError::new("Could not boot image", 0x2e85_2081));
        }
    }

    fn command(&mut self, words: &[String]) -> Result<Step, IpxeError> {
        let Some((command, args)) = words.split_first() else { return Ok(Done(Ok(()))) };
        let ok = || Ok(Done(Ok(())));
        match command.as_str() {
            "echo" => {
                let text = args.strip_prefix(&["-n".to_owned()]).unwrap_or(args).join(" ");
                self.print(text);
                ok()
            }
            "set" => {
                let (name, value) = args.split_first().ok_or_else(|| IpxeError::usage("set <setting> [value]"))?;
                self.settings.set(name, &value.join(" ")).map_err(IpxeError::invalid)?;
                ok()
            }
            "clear" => {
                self.settings.set(one(args, "clear <setting>")?, "").map_err(IpxeError::invalid)?;
                ok()
            }
            "inc" => {
                let (name, by) = match args {
                    [name] => (name, 1),
                    [name, by] => (name, by.parse().map_err(|_| IpxeError::invalid(format!("\"{by}\"")))?),
                    _ => return Err(IpxeError::usage("inc <setting> [increment]")),
                };
                self.settings.increase(name, by).map_err(IpxeError::invalid)?;
                ok()
            }
            "iseq" => match args {
                [a, b] if a == b => ok(),
                [_, _] => Err(IpxeError::silent(0x22e6_2001)),
                _ => Err(IpxeError::usage("iseq <value1> <value2>")),
            },
            "isset" => match one(args, "isset <value>")? {
                "" => Err(IpxeError::silent(0x2d0c_6139)),
                _ => ok(),
            },
            "goto" => {
                let label = one(args, "goto <label>")?;
                let found = self.frames.last().and_then(|frame| frame.script.find_label(label));
                found.map(Step::Jump).ok_or_else(|| IpxeError::no_such(format!("label {label}")))
            }
            "dhcp" | "ifconf" => self.dhcp(args),
            "ifopen" | "ifclose" | "route" | "ifstat" | "sync" => {
                let (_, devices) = options::take(args, &options::NONE)?;
                known_devices(&devices)?;
                ok()
            }
            "sleep" => {
                let text = one(args, "sleep <seconds>")?;
                let seconds = text.parse().map_err(|_| IpxeError::invalid(format!("\"{text}\"")))?;
                Ok(Wait(Pending::Sleep, Effect::Sleep(Duration::from_secs(seconds))))
            }
            "prompt" => prompt(args),
            "ntp" => {
                one(args, "ntp <server>")?;
                Ok(Wait(Pending::Sleep, Effect::Sleep(Duration::from_secs(1))))
            }
            "nslookup" => match args {
                [name, host] if host.parse::<std::net::IpAddr>().is_ok() => {
                    self.settings.set(name, host).map_err(IpxeError::invalid)?;
                    ok()
                }
                [_, host] => Err(IpxeError::new(format!("{host}: Error not found"), 0x3e18_6503)),
                _ => Err(IpxeError::usage("nslookup <setting> <name>")),
            },
            "cpuid" => {
                const KNOWN: options::Known =
                    options::Known { valued: &[], flags: &[("--ext", "-e"), ("--ecx", "-c")] };
                let (_, bits) = options::take(args, &KNOWN)?;
                let bit: u32 = one(&bits, "cpuid [--ext] <bit>")?.parse().map_err(|_| IpxeError::invalid("bit"))?;
                if bit < 32 { ok() } else { Err(IpxeError::invalid("bit")) }
            }
            "kernel" | "imgselect" => self.load(args, Acquired::Select),
            "initrd" | "imgfetch" | "module" => self.load(args, Acquired::Keep),
            "chain" | "imgexec" | "boot" => self.execute(command, args),
            "imgargs" => {
                let (name, args) = args.split_first().ok_or_else(|| IpxeError::usage("imgargs <image> [arguments]"))?;
                // Replaces the arguments that `kernel` gave, it does not add to them.
                self.find_image(name)?.args = args.join(" ");
                ok()
            }
            "imgfree" => {
                if args.is_empty() {
                    self.images.clear();
                } else {
                    let name = one(args, "imgfree [image]")?;
                    let at = self.images.iter().position(|image| image.name == *name);
                    self.images.remove(at.ok_or_else(|| IpxeError::no_such(name))?);
                }
                ok()
            }
            "imgstat" => {
                let lines: Vec<String> =
                    self.images.iter().map(|image| format!("{} : {} bytes", image.name, image.body.len)).collect();
                lines.into_iter().for_each(|line| self.print(line));
                ok()
            }
            "sha256sum" if self.platform.generation == Generation::New => self.digest(args),
            "exit" => match args {
                [] => Ok(Step::Exit(Ok(()))),
                [status] if status == "0" => Ok(Step::Exit(Ok(()))),
                [_] => Ok(Step::Exit(Err(IpxeError::new("Script exited with an error", 0x2e85_2041)))),
                _ => Err(IpxeError::usage("exit [status]")),
            },
            "reboot" => {
                const KNOWN: options::Known =
                    options::Known { valued: &[], flags: &[("--warm", "-w"), ("--setup", "-s")] };
                options::take(args, &KNOWN)?;
                Ok(Step::Stop(Effect::Reboot))
            }
            "poweroff" => Ok(Step::Stop(Effect::PowerOff)),
            "sanboot" => {
                const KNOWN: options::Known = options::Known {
                    valued: &[("--drive", "-d"), ("--filename", "-f")],
                    flags: &[("--no-describe", "-n"), ("--keep", "-k")],
                };
                match options::take(args, &KNOWN)?.1.as_slice() {
                    [] => Ok(Wait(Pending::LocalDisk, Effect::LocalDisk)),
                    [_url] => Err(IpxeError::new("Could not open SAN device: Operation not supported", 0x3c09_2003)),
                    _ => Err(IpxeError::usage("sanboot [options] [uri]")),
                }
            }
            "shell" => Ok(Step::Stop(Effect::Hangs("iPXE waits at its shell".into()))),
            unknown => Err(IpxeError::command_not_found(unknown)),
        }
    }

    /// Digests of images that are there; those of builds before 2.0 have MD5 and SHA-1 alone, if any, and no `--set`. An image
    /// that isn't there would be fetched by real iPXE.
    fn digest(&mut self, args: &[String]) -> Result<Step, IpxeError> {
        let (options, images) = options::take(args, &options::DIGEST)?;
        if images.is_empty() {
            return Err(IpxeError::usage("sha256sum [--set <setting>] <image> [<image>...]"));
        }
        for name in &images {
            let digest = self.find_image(name)?.body.sha256;
            match &options.set {
                Some(setting) => self.settings.set_digest(setting, digest).map_err(IpxeError::invalid)?,
                None => self.print(format!("{}  {name}", hex::encode(digest))),
            }
        }
        Ok(Done(Ok(())))
    }

    fn dhcp(&mut self, args: &[String]) -> Result<Step, IpxeError> {
        const KNOWN: options::Known =
            options::Known { valued: &[("--configurator", "-c"), ("--timeout", "-t")], flags: &[] };
        let (options, devices) = options::take(args, &KNOWN)?;
        known_devices(&devices)?;
        match options.other.iter().find(|o| o.starts_with("--configurator=") && !o.ends_with("=dhcp")) {
            Some(other) => Err(IpxeError::invalid(other.clone())),
            None => Ok(Wait(Pending::Dhcp, Effect::Dhcp)),
        }
    }

    fn find_image(&mut self, name: &str) -> Result<&mut Image, IpxeError> {
        self.images.iter_mut().find(|image| image.name == name).ok_or_else(|| IpxeError::no_such(name))
    }

    /// `kernel`, `initrd` and their other names. `kernel` takes an image that is already there by its name.
    fn load(&mut self, args: &[String], then: Acquired) -> Result<Step, IpxeError> {
        let (options, rest) = options::take(args, &options::FETCH)?;
        let (what, args) =
            rest.split_first().ok_or_else(|| IpxeError::usage("kernel|initrd [options] <uri> [args]"))?;
        if then == Acquired::Select && self.find_image(what).is_ok() {
            self.images.iter_mut().for_each(|image| {
                image.selected = image.name == *what;
                if image.selected && !args.is_empty() {
                    image.args = args.join(" ");
                }
            });
            return Ok(Done(Ok(())));
        }
        self.acquire(options, what, args, then)
    }

    /// `chain` and `boot`.
    fn execute(&mut self, command: &str, args: &[String]) -> Result<Step, IpxeError> {
        let (options, rest) = options::take(args, &options::EXECUTE)?;
        let Some((what, args)) = rest.split_first() else {
            if command == "chain" {
                return Err(IpxeError::usage("chain [options] <uri> [args]"));
            }
            let selected = self.images.iter().position(|image| image.selected);
            let at = selected.ok_or_else(|| IpxeError::no_such("no image selected"))?;
            return self.start_image(at, &options);
        };
        if let Some(at) = self.images.iter().position(|image| image.name == *what) {
            if !args.is_empty() {
                self.images[at].args = args.join(" ");
            }
            return self.start_image(at, &options);
        }
        let then = Acquired::Execute { replace: options.replace };
        self.acquire(options, what, args, then)
    }

    fn acquire(&mut self, options: Options, what: &str, args: &[String], then: Acquired) -> Result<Step, IpxeError> {
        let base = self.frames.iter().rev().find_map(|frame| frame.url.as_ref());
        let url = match base {
            Some(base) => base.join(what),
            None => Url::parse(what),
        }
        .map_err(|_| IpxeError::invalid(format!("Could not parse \"{what}\"")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(IpxeError::new(format!("{}: Operation not supported", shown(&url)), 0x3c09_2083));
        }
        let last = url.path_segments().and_then(|mut parts| parts.next_back()).unwrap_or_default().to_owned();
        let image =
            ImageRequest { name: options.name.unwrap_or(last), args: args.join(" "), autofree: options.autofree, then };
        Ok(self.fetch(Fetch { url, timeout: options.timeout, redirects: 0, image }))
    }

    fn fetch(&mut self, fetch: Fetch) -> Step {
        let effect = Effect::Http { url: fetch.url.to_string(), timeout: fetch.timeout };
        Wait(Pending::Fetch(fetch), effect)
    }

    fn fetched(&mut self, mut fetch: Fetch, result: FetchResult) -> Step {
        let place = shown(&fetch.url);
        let error = |text: &str, errno| Done(Err(IpxeError::new(format!("{place}... {text}"), errno)));
        let answer = match result {
            FetchResult::Answered(answer) => answer,
            FetchResult::Refused => return error("Connection refused", 0x3e12_3603),
            FetchResult::TimedOut => return error("Connection timed out", 0x4c0a_6035),
            // No iPXE here trusts anybody, so none asks over TLS.
            FetchResult::Broken(_) | FetchResult::Untrusted(_) => return error("Input/output error", 0x1d0c_6539),
        };
        if answer.is_ok() {
            self.print(format!("{place}... ok"));
            return self.acquired(fetch, answer.body).unwrap_or_else(|error| Done(Err(error)));
        }
        if let Some(location) = &answer.location {
            fetch.redirects += 1;
            match fetch.url.join(location) {
                Ok(url) if fetch.redirects <= REDIRECTS => fetch.url = url,
                _ => return error("Too many redirections", 0x1d0c_65b9),
            }
            return self.fetch(fetch);
        }
        match answer.retry_after() {
            Some(wait) => Wait(Pending::Parked(fetch), Effect::RetryAfter(wait)),
            None => {
                let IpxeError { text, errno } = IpxeError::status(answer.status);
                error(&text, errno)
            }
        }
    }

    fn acquired(&mut self, fetch: Fetch, body: Body) -> Result<Step, IpxeError> {
        let used: u64 = self.images.iter().map(|image| image.body.len).sum();
        if used + body.len > IMAGE_MEMORY {
            return Err(IpxeError::new(format!("{}... Not enough space", shown(&fetch.url)), 0x3104_8109));
        }
        let ImageRequest { name, args, autofree, then } = fetch.image;
        if then == Acquired::Select {
            self.images.iter_mut().for_each(|image| image.selected = false);
        }
        let selected = then == Acquired::Select;
        self.images.push(Image { name, url: fetch.url.into(), args, body, selected, autofree });
        match then {
            Acquired::Keep | Acquired::Select => Ok(Done(Ok(()))),
            Acquired::Execute { replace } => {
                let options = Options { replace, autofree, ..Options::default() };
                self.start_image(self.images.len() - 1, &options)
            }
        }
    }

    /// Runs an image: a script in here, anything else as a kernel.
    fn start_image(&mut self, at: usize, options: &Options) -> Result<Step, IpxeError> {
        let image = self.images[at].clone();
        let Some(text) = image.body.text().filter(|text| Script::has_magic(text)) else {
            let boot = Boot::new(self.platform, image, &self.images)?;
            return Ok(Wait(Pending::Boot, Effect::Boot(Box::new(boot))));
        };
        let script = Script::parse(text).map_err(|e| IpxeError::new(e.to_string(), 0x2e85_2001))?;
        // A running script is no registered image, else `boot` inside it would start it again.
        self.images.remove(at);
        let frame = Frame { script, url: Url::parse(&image.url).ok(), line: 0, command: 0 };
        if options.replace {
            self.frames.pop();
        }
        Ok(Step::Call(frame))
    }
}

/// A URL as iPXE prints it: without user, password, query and fragment.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    let _ = (url.set_username(""), url.set_password(None));
    url.into()
}

fn one<'a>(args: &'a [String], usage: &str) -> Result<&'a str, IpxeError> {
    match args {
        [only] => Ok(only),
        _ => Err(IpxeError::usage(usage)),
    }
}

fn known_devices(devices: &[String]) -> Result<(), IpxeError> {
    match devices.iter().find(|device| !matches!(device.as_str(), "net0" | "netX")) {
        None => Ok(()),
        Some(unknown) => Err(IpxeError::no_such(format!("\"{unknown}\": no such network device"))),
    }
}

/// Nobody presses a key: with a timeout it fails after that, without one it waits for ever.
fn prompt(args: &[String]) -> Result<Step, IpxeError> {
    const KNOWN: options::Known = options::Known { valued: &[("--key", "-k"), ("--timeout", "-t")], flags: &[] };
    let (options, _) = options::take(args, &KNOWN)?;
    Ok(match options.timeout {
        Some(timeout) => Wait(Pending::Prompt, Effect::Sleep(timeout)),
        None => Step::Stop(Effect::Hangs("iPXE waits at a prompt".into())),
    })
}
