//! iPXE's commands, and a script read into them.
//!
//! A script is read the way iPXE reads it: a backslash joins lines, a label stands at a line's begin, words are split on
//! whitespace before any `${…}` is expanded, `||`, `&&` and `;` count only as words of their own, and a word that begins
//! with `#` ends the line. Facts are from the iPXE sources (github.com/ipxe/ipxe, `src/core/exec.c`,
//! `src/image/script.c`, `src/hci/commands`).

/// How a command can end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    /// It can't fail in a way that a script could do something about.
    Well,
    /// It fails when the network, the server, the machine or the question says no.
    EitherWay,
    /// It doesn't come back unless it fails.
    NotAtAll,
    /// It leaves the script.
    Leaves,
}

use Ends::{EitherWay, Leaves, NotAtAll, Well};

/// Every command of any build since 1.0. Which of them a build has is found out when the script runs.
const COMMANDS: &[(&str, Ends)] = &[
    ("autoboot", EitherWay),
    ("boot", NotAtAll),
    ("certfree", EitherWay),
    ("certstat", Well),
    ("certstore", EitherWay),
    ("chain", EitherWay),
    ("choose", EitherWay),
    ("clear", Well),
    ("colour", EitherWay),
    ("config", EitherWay),
    ("console", EitherWay),
    ("cpair", EitherWay),
    ("cpuid", EitherWay),
    ("dhcp", EitherWay),
    ("digest", EitherWay),
    ("echo", Well),
    ("exit", Leaves),
    ("fcels", Well),
    ("fcstat", Well),
    ("fdt", EitherWay),
    ("form", EitherWay),
    ("gdbstub", EitherWay),
    ("goto", Well),
    ("help", Well),
    ("ibmgmt", EitherWay),
    ("ibstat", Well),
    ("ifclose", EitherWay),
    ("ifconf", EitherWay),
    ("iflinkwait", EitherWay),
    ("ifopen", EitherWay),
    ("ifstat", Well),
    ("imgargs", EitherWay),
    ("imgdecrypt", EitherWay),
    ("imgexec", EitherWay),
    ("imgextract", EitherWay),
    ("imgfetch", EitherWay),
    ("imgfree", EitherWay),
    ("imgload", EitherWay),
    ("imgmem", EitherWay),
    ("imgselect", EitherWay),
    ("imgstat", Well),
    ("imgtrust", EitherWay),
    ("imgverify", EitherWay),
    ("inc", Well),
    ("initrd", EitherWay),
    ("ipstat", Well),
    ("iseq", EitherWay),
    ("isset", EitherWay),
    ("item", EitherWay),
    ("iwlist", EitherWay),
    ("iwstat", Well),
    ("kernel", EitherWay),
    ("login", EitherWay),
    ("lotest", EitherWay),
    ("md4sum", EitherWay),
    ("md5sum", EitherWay),
    ("menu", EitherWay),
    ("module", EitherWay),
    ("neighbour", Well),
    ("nslookup", EitherWay),
    ("nstat", Well),
    ("ntp", EitherWay),
    ("param", EitherWay),
    ("params", EitherWay),
    ("pciscan", EitherWay),
    ("ping", EitherWay),
    ("poweroff", NotAtAll),
    ("present", EitherWay),
    ("profstat", Well),
    ("prompt", EitherWay),
    ("pxebs", EitherWay),
    ("read", EitherWay),
    ("reboot", NotAtAll),
    ("route", Well),
    ("sanboot", EitherWay),
    ("sanhook", EitherWay),
    ("sanunhook", EitherWay),
    ("set", Well),
    ("sha1sum", EitherWay),
    ("sha224sum", EitherWay),
    ("sha256sum", EitherWay),
    ("sha384sum", EitherWay),
    ("sha512sum", EitherWay),
    ("shell", EitherWay),
    ("shim", EitherWay),
    ("show", EitherWay),
    ("sleep", Well),
    ("startpxe", EitherWay),
    ("stoppxe", EitherWay),
    ("sync", EitherWay),
    ("time", EitherWay),
    ("usbscan", EitherWay),
    ("vcreate", EitherWay),
    ("vdestroy", EitherWay),
];

/// The names of all commands.
pub(super) fn command_names() -> Vec<&'static str> {
    COMMANDS.iter().map(|(name, _)| *name).collect()
}

/// The commands that make an image of what they fetch; the URL is their first plain word.
pub(super) const LOADS: [&str; 4] = ["kernel", "initrd", "module", "imgfetch"];
/// The other commands whose first plain word is a URL.
pub(super) const FETCHES: [&str; 5] = ["chain", "imgexec", "imgverify", "sanboot", "sanhook"];

/// The commands that compute digests of images.
pub(super) const DIGESTS: [&str; 7] =
    ["md4sum", "md5sum", "sha1sum", "sha224sum", "sha256sum", "sha384sum", "sha512sum"];

/// How many plain words a command needs at least, and what they are. `None` where none will do.
pub(super) fn fewest_arguments(command: &str) -> Option<(usize, &'static str)> {
    Some(match command {
        "goto" => (1, "label"),
        "sleep" => (1, "number of seconds"),
        "kernel" | "initrd" | "module" | "imgfetch" => (1, "URL"),
        "imgselect" | "imgargs" | "imgextract" => (1, "image"),
        "imgverify" => (2, "image and signature"),
        "set" | "clear" | "inc" | "read" | "isset" | "show" | "choose" => (1, "setting"),
        "iseq" => (2, "two values"),
        "nslookup" => (2, "setting and host"),
        "ping" => (1, "host"),
        "ntp" => (1, "server"),
        _ if DIGESTS.contains(&command) => (1, "image"),
        _ => return None,
    })
}

/// When the next command of a line runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// `||`
    IfFailed,
    /// `&&`
    IfWell,
    /// `;`
    Always,
    /// The line is over.
    EndOfLine,
}

/// One command, its words as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Command {
    pub words: Vec<String>,
    pub then: Then,
}

/// One line, or several that a backslash joins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// Of the first of them, counted from 1.
    pub number: usize,
    pub label: Option<String>,
    /// At least one, which may have no words.
    pub commands: Vec<Command>,
}

impl Command {
    /// Its name; empty for what stands behind a last `||`.
    pub fn name(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// What follows the name.
    pub fn arguments(&self) -> &[String] {
        self.words.get(1..).unwrap_or_default()
    }

    /// How it can end; `None` for a name that iPXE doesn't know. A name made of settings is anything.
    pub fn ends(&self) -> Option<Ends> {
        let name = self.name();
        // Without a name nothing happens; without an argument `imgfree` frees what there is, which may be nothing.
        if name.is_empty() || (name == "imgfree" && self.words.len() == 1) {
            return Some(Well);
        }
        if name.contains("${") {
            return Some(EitherWay);
        }
        COMMANDS.iter().find(|(known, _)| *known == name).map(|(_, ends)| *ends)
    }

    /// Whether an option's value is its next word.
    pub fn takes_value(&self, option: &str) -> bool {
        match option {
            "--name" | "-n" | "--timeout" | "-t" => true,
            "--set" | "-s" => DIGESTS.contains(&self.name()),
            "--configurator" | "-c" => matches!(self.name(), "dhcp" | "ifconf"),
            _ => false,
        }
    }

    /// The options before the first plain word, each with its value, and from the first plain word on everything.
    pub fn options(&self) -> (Vec<(&str, Option<&str>)>, &[String]) {
        let mut options = Vec::new();
        let mut rest = self.arguments();
        while let Some((word, after)) = rest.split_first().filter(|(word, _)| word.starts_with('-') && word.len() > 1) {
            rest = after;
            if word == "--" {
                break;
            }
            if let Some((name, value)) = word.split_once('=') {
                options.push((name, Some(value)));
            } else if self.takes_value(word) {
                options.push((word.as_str(), rest.first().map(String::as_str)));
                rest = rest.get(1..).unwrap_or_default();
            } else {
                options.push((word.as_str(), None));
            }
        }
        (options, rest)
    }

    /// The setting that a digest goes to.
    pub fn digest_setting(&self) -> Option<&str> {
        let is_set = |name: &str| matches!(name, "--set" | "-s");
        let (options, _) = self.options();
        options.iter().find(|(name, _)| DIGESTS.contains(&self.name()) && is_set(name)).and_then(|(_, value)| *value)
    }

    /// The name of the image that it makes: `--name`, or the last part of the URL's path. `None` if it makes none, or the
    /// name isn't known before the script runs.
    pub fn image_name(&self) -> Option<&str> {
        if !LOADS.contains(&self.name()) {
            return None;
        }
        let (options, rest) = self.options();
        let named = options.iter().find(|(name, _)| matches!(*name, "--name" | "-n")).and_then(|(_, value)| *value);
        let from_url = || {
            let path = rest.first()?.split(['?', '#']).next()?;
            path.rsplit('/').next()
        };
        named.or_else(from_url).filter(|name| !name.is_empty() && !name.contains("${") && !name.contains("{{"))
    }
}

/// Reads a script. Any text can be read.
pub(super) fn read_lines(text: &str) -> Vec<Line> {
    join_lines(text).into_iter().map(|(number, line)| read_line(number, &line)).collect()
}

/// The lines with those that a backslash joins made one, each with the number of its first one, counted from 1.
pub(super) fn join_lines(text: &str) -> Vec<(usize, String)> {
    let mut joined: Vec<(usize, String)> = Vec::new();
    let mut goes_on = false;
    for (index, line) in text.lines().enumerate() {
        let (line, more) = line.strip_suffix('\\').map_or((line, false), |line| (line, true));
        match joined.last_mut().filter(|_| goes_on) {
            Some((_, begun)) => begun.push_str(line),
            None => joined.push((index + 1, line.to_owned())),
        }
        goes_on = more;
    }
    joined
}

fn read_line(number: usize, line: &str) -> Line {
    let mut text = line.trim_start();
    let mut label = None;
    if let Some(after) = text.strip_prefix(':') {
        let end = after.find(char::is_whitespace).unwrap_or(after.len());
        label = Some(after[..end].to_owned());
        text = &after[end..];
    }
    let mut commands = Vec::new();
    let mut words = Vec::new();
    for word in text.split_whitespace() {
        let then = match word {
            "||" => Then::IfFailed,
            "&&" => Then::IfWell,
            ";" => Then::Always,
            _ if word.starts_with('#') => break,
            _ => {
                words.push(word.to_owned());
                continue;
            }
        };
        commands.push(Command { words: std::mem::take(&mut words), then });
    }
    commands.push(Command { words, then: Then::EndOfLine });
    Line { number, label, commands }
}
