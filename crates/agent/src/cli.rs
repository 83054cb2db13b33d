//! The program's words: as the first process of a machine it takes none; called by hand or by an installed system it
//! checks, or reports.

use crate::{
    boot_plane::BootPlane,
    check::check,
    clock::{Clock, KernelClock},
    config::NodeConfig,
    finding::{Code, InWords},
    flow::{self, Ended, Site},
    http::{HttpClient, HttpUrl},
    inventory::Inventory,
    kernel_args::{BootToken, KernelArgs},
    limits::Limits,
    machine::Machine,
    session::Session,
    system::System,
    tls::CaPin,
};
use metalform_model::{Report, ReportPhase, ReportStatus, Verdict, with_causes};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use std::{
    fs,
    io::{Read, Write},
    net::Ipv4Addr,
    os::unix::process::CommandExt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    process::{Command, ExitCode},
    sync::Arc,
    time::Duration,
};

/// Becomes another program in another tree; used by the agent itself.
pub const IN_ROOT: &str = "in-root";

/// How long an installed system tries to send its report.
const REPORT_LIMIT: Duration = Duration::from_secs(600);

/// Longest file that is read, a configuration or where to report to: both have some kilobytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

const HELP: &str = "\
metalform-agent: installs the machine it runs on, as its boot plane says

  (as the first process of an initrd)     installs; takes everything from the kernel's command line
  metalform-agent boot                    the same, called by an initrd's own init
  metalform-agent check --config FILE     compares this machine with a node's configuration
  metalform-agent report --url-file FILE --phase PHASE [--status STATUS] [--percent N] [--message TEXT]
                         [--fact KEY=VALUE]...
                                          sends one report; FILE is METALFORM_REPORT of the installer
  metalform-agent --version
";

/// Does what the words say. `is_first` tells whether this is the machine's first process, whose words are the kernel's.
pub fn run(words: &[String], is_first: bool) -> ExitCode {
    let mut words = words.iter().map(String::as_str);
    match (is_first, words.next()) {
        (true, _) => boot(),
        // An initrd's own init calls it without more; whoever writes more wanted something else than an installation.
        (false, Some("boot")) => match words.next() {
            None => boot_by_hand(),
            Some("--help" | "-h") => ended(Ok(HELP.to_owned())),
            Some(more) => ended(Err(Wrong::usage(format!("`boot` takes nothing more, and here is `{more}`")))),
        },
        (false, Some(IN_ROOT)) => in_root(&words.collect::<Vec<_>>()),
        (false, Some("check" | "report")) if words.clone().any(|word| matches!(word, "--help" | "-h")) => {
            ended(Ok(HELP.to_owned()))
        }
        (false, Some("check")) => ended(check_by_hand(&words.collect::<Vec<_>>())),
        (false, Some("report")) => ended(report(&words.collect::<Vec<_>>())),
        (false, Some("--version" | "-V")) => ended(Ok(format!("metalform-agent {}\n", env!("CARGO_PKG_VERSION")))),
        (false, Some("--help" | "-h" | "help")) => ended(Ok(HELP.to_owned())),
        (false, Some(other)) => ended(Err(Wrong::usage(format!("`{other}` is no command")))),
        (false, None) => ended(Err(Wrong::usage("a command is missing".into()))),
    }
}

/// An initrd's own init starts it like this, and so may a person on a machine that nobody network-booted: that one is told,
/// instead of a machine that stays as it is for ever.
fn boot_by_hand() -> ExitCode {
    let command_line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    match KernelArgs::read(&command_line) {
        Ok(_) => boot(),
        Err(error) => {
            let why = "this machine was not started by a boot script of Metalform";
            ended(Err(Wrong::failed(format!("{why}: {error}\n  hint: {}", Code::KernelArguments.hint()))))
        }
    }
}

/// The first process must never end: the kernel panics when it does, and takes every word on the console with it.
fn boot() -> ExitCode {
    let machine = Arc::new(System::default());
    let site = Site { machine: machine.clone(), clock: Arc::new(KernelClock), limits: Limits::default() };
    let limits = site.limits.clone();
    let reminder = match catch_unwind(AssertUnwindSafe(|| flow::run(&site))) {
        Ok(Ended::Restarted) => "metalform: the machine restarts\n".to_owned(),
        Ok(Ended::Failed(finding)) => format!("metalform: {}\n", InWords(&finding)),
        Err(_panic) => "metalform: the agent has a fault and has stopped; report it with the lines above\n".to_owned(),
    };
    machine.console(&reminder);
    machine.stay(&reminder, &limits);
    ExitCode::FAILURE
}

/// `in-root TREE PROGRAM [ARGUMENT…]`.
fn in_root(words: &[&str]) -> ExitCode {
    let [tree, program, arguments @ ..] = words else {
        return ended(Err(Wrong::usage("in-root needs a tree and a program".into())));
    };
    let entered = rustix::process::chroot(*tree).and_then(|()| rustix::process::chdir("/"));
    let why = match entered {
        Ok(()) => Command::new(program).args(arguments).exec().to_string(),
        Err(error) => error.to_string(),
    };
    ended(Err(Wrong::failed(format!("{program} can't be started in {tree}: {why}"))))
}

struct Wrong {
    text: String,
    code: u8,
}

impl Wrong {
    fn usage(text: String) -> Wrong {
        Wrong { text: format!("{text}\n  hint: metalform-agent --help"), code: 2 }
    }

    fn failed(text: String) -> Wrong {
        Wrong { text, code: 1 }
    }
}

fn ended(outcome: Result<String, Wrong>) -> ExitCode {
    // When the text can't be written, there is nobody to tell.
    match outcome {
        Ok(text) => {
            drop(std::io::stdout().write_all(text.as_bytes()));
            ExitCode::SUCCESS
        }
        Err(Wrong { text, code }) => {
            drop(writeln!(std::io::stderr(), "error: {text}"));
            ExitCode::from(code)
        }
    }
}

/// `--key value` pairs, each of `known` at most once.
fn options<'a>(words: &[&'a str], known: &[&str]) -> Result<Vec<(&'a str, &'a str)>, Wrong> {
    let mut options: Vec<(&str, &str)> = Vec::new();
    for pair in words.chunks(2) {
        let [key, value] = pair else { return Err(Wrong::usage(format!("`{}` has no value", pair[0]))) };
        if !known.contains(key) {
            return Err(Wrong::usage(format!("`{key}` is no option here")));
        }
        if options.iter().any(|(earlier, _)| earlier == key) {
            return Err(Wrong::usage(format!("`{key}` stands twice")));
        }
        options.push((key, value));
    }
    Ok(options)
}

fn value<'a>(options: &[(&str, &'a str)], key: &str) -> Option<&'a str> {
    options.iter().find(|(each, _)| *each == key).map(|(_, value)| *value)
}

fn needed<'a>(options: &[(&str, &'a str)], key: &str) -> Result<&'a str, Wrong> {
    value(options, key).ok_or_else(|| Wrong::usage(format!("`{key}` is missing")))
}

/// Not to the end: a device may have none.
fn read(file: &str) -> Result<Vec<u8>, Wrong> {
    let mut bytes = Vec::new();
    let read = fs::File::open(file).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes));
    match read {
        Err(error) => Err(Wrong::failed(format!("{file} can't be read: {error}"))),
        Ok(_) if bytes.len() as u64 > MAX_FILE_BYTES => {
            Err(Wrong::failed(format!("{file} is longer than {MAX_FILE_BYTES} bytes, and no document of Metalform is")))
        }
        Ok(_) => Ok(bytes),
    }
}

fn check_by_hand(words: &[&str]) -> Result<String, Wrong> {
    let options = options(words, &["--config", "--root"])?;
    let file = needed(&options, "--config")?;
    let config: NodeConfig = serde_json::from_slice(&read(file)?)
        .map_err(|error| Wrong::failed(format!("{file} is no node's configuration: {error}")))?;
    let inventory = Inventory::read(Path::new(value(&options, "--root").unwrap_or("/")));
    let checked = check(&config, &inventory);
    let text: String = checked.findings.iter().map(|finding| format!("{}\n", InWords(finding))).collect();
    match checked.findings.iter().filter(|finding| finding.verdict == Verdict::Failed).count() {
        0 => Ok(text),
        1 => Err(Wrong::failed(format!("1 finding stops the installation\n{text}"))),
        more => Err(Wrong::failed(format!("{more} findings stop the installation\n{text}"))),
    }
}

/// What the agent leaves to the installer, and the installer to the system it installs.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReportFile {
    node_id: String,
    boot_host: String,
    boot_token: String,
    /// Of the agent's session, where it had one.
    #[serde(default)]
    session_key: Option<String>,
    /// Whose certificates are trusted, where the boot script said so.
    #[serde(default)]
    ca_sha256: Option<String>,
}

fn report(words: &[&str]) -> Result<String, Wrong> {
    let (facts, words) = facts(words)?;
    let options = options(&words, &["--url-file", "--phase", "--status", "--percent", "--message"])?;
    let file = needed(&options, "--url-file")?;
    let phase: ReportPhase = word("--phase", needed(&options, "--phase")?)?;
    let usual = match phase {
        ReportPhase::Installed => "ok",
        ReportPhase::Failed => "failed",
        _ => "running",
    };
    let status: ReportStatus = word("--status", value(&options, "--status").unwrap_or(usual))?;
    let percent = match value(&options, "--percent") {
        Some(text) => {
            let percent = text.parse().ok().filter(|percent| (0.0..=100.0).contains(percent));
            Some(percent.ok_or_else(|| Wrong::usage(format!("--percent {text} is no number from 0 to 100")))?)
        }
        None => None,
    };
    let message = value(&options, "--message").unwrap_or_default().to_owned();
    // The token is in that file: an error never shows more than where it is wrong.
    let unreadable = |what: &str| Wrong::failed(format!("{file} can't be used: {what}"));
    let ReportFile { node_id, boot_host, boot_token, session_key, ca_sha256 } = serde_json::from_slice(&read(file)?)
        .map_err(|_| unreadable("it is no document with node_id, boot_host and boot_token"))?;
    let boot: HttpUrl = format!("http://{boot_host}/").parse().map_err(|_| unreadable("boot_host is no address"))?;
    let token = BootToken::new(&boot_token).ok_or_else(|| unreadable("boot_token is none"))?;
    let pin = ca_sha256.map(|text| text.parse::<CaPin>()).transpose().map_err(|()| unreadable("ca_sha256 is none"))?;

    let clock: Arc<dyn Clock> = Arc::new(KernelClock);
    let limits = Limits::default();
    let http = HttpClient::new(clock.clone(), limits.clone(), pin)
        .map_err(|error| Wrong::failed(format!("TLS can't be set up: {error}")))?;
    let plane = BootPlane::for_reports(http, node_id, boot, token, pin);
    let plane = match session_key {
        None => plane,
        Some(text) => {
            let session = Session::of_installed(&text).ok_or_else(|| unreadable("session_key is none"))?;
            plane.with_session(session)
        }
    };
    let mut report = Report { seq: 1, phase, status, percent, message, log: vec![], facts };
    let started = clock.uptime();
    let mut failures = 0;
    loop {
        match plane.report(&report) {
            Ok(reply) if reply.recorded => return Ok(format!("{} is reported\n", phase.as_str())),
            // The agent has counted before: it goes on after that.
            Ok(reply) => report.seq = reply.last_seq.max(report.seq).saturating_add(1),
            // Who answers in the service's name may go again: this is the one word that the system is up.
            Err(error)
                if (error.is_transient() || error.tls_failure().is_some())
                    && clock.uptime().saturating_sub(started) < REPORT_LIMIT =>
            {
                failures += 1;
                clock.sleep(limits.pause(failures, error.retry_after(), plane.salt()));
            }
            Err(error) => return Err(Wrong::failed(format!("{}\n  hint: {}", with_causes(&error), error.hint()))),
        }
    }
}

/// Takes every `--fact KEY=VALUE` out of the words. The service goes by `aos_version` and `node_uuid`, and keeps the others.
fn facts<'a>(words: &[&'a str]) -> Result<(Map<String, Value>, Vec<&'a str>), Wrong> {
    let (mut facts, mut others) = (Map::new(), Vec::new());
    for pair in words.chunks(2) {
        match pair {
            ["--fact", fact] => {
                let (key, value) = fact
                    .split_once('=')
                    .filter(|(key, _)| !key.is_empty())
                    .ok_or_else(|| Wrong::usage(format!("--fact {fact} is no KEY=VALUE")))?;
                facts.insert(key.to_owned(), Value::from(value));
            }
            other => others.extend(other),
        }
    }
    Ok((facts, others))
}

fn word<T: DeserializeOwned>(key: &str, text: &str) -> Result<T, Wrong> {
    serde_json::from_value(Value::from(text)).map_err(|_| Wrong::usage(format!("{key} {text} is no such word")))
}

impl BootPlane {
    /// For reports alone.
    fn for_reports(
        http: HttpClient,
        node_id: String,
        boot: HttpUrl,
        token: BootToken,
        pin: Option<CaPin>,
    ) -> BootPlane {
        let args = crate::kernel_args::KernelArgs {
            node_id,
            mgmt_ip: Ipv4Addr::UNSPECIFIED,
            images_url: boot.clone(),
            config_url: boot,
            boot_token: token,
            manifest_sha256: None,
            ca_sha256: pin,
            network: crate::kernel_args::NetworkSource::Dhcp,
        };
        BootPlane::new(http, &args)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_have_values_and_stand_once() {
        let known = ["--config", "--root"];
        assert_eq!(options(&["--config", "a"], &known).ok(), Some(vec![("--config", "a")]));
        for (words, why) in [
            (&["--config"][..], "has no value"),
            (&["--other", "a"], "no option here"),
            (&["--config", "a", "--config", "b"], "stands twice"),
        ] {
            assert!(options(words, &known).err().is_some_and(|wrong| wrong.text.contains(why) && wrong.code == 2));
        }
    }

    #[test]
    fn facts_may_stand_anywhere_and_often() {
        let words = ["--fact", "aos_version=6.8", "--phase", "installed", "--fact", "a=b=c"];
        let (facts, others) = facts(&words).ok().unwrap();
        assert_eq!(others, ["--phase", "installed"]);
        assert_eq!(Value::from(facts), serde_json::json!({"aos_version": "6.8", "a": "b=c"}));
        assert!(super::facts(&["--fact", "alone"]).is_err());
    }

    #[test]
    fn words_of_a_report_are_those_of_the_contract() {
        assert!(word::<ReportPhase>("--phase", "installed").is_ok());
        assert!(word::<ReportPhase>("--phase", "done").is_err());
    }
}
