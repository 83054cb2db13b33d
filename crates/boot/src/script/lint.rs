//! What is wrong with a script or a template, before a machine finds out: every rule here stands for a boot that was lost
//! on a console somewhere. docs/boot.md shows each with an example.

use super::{
    commands::{Command, FETCHES, LOADS, Line, command_names},
    flow::{Flow, bare_name},
    template::Place,
};
use metalform_model::nearest;
use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, HashSet},
};

/// Longer scripts are not looked into. iPXE holds the whole text in memory, and the loops of a generated monster are
/// nobody's to check.
pub(super) const LONGEST: usize = 64 * 1024;

/// What can be wrong with a template.
#[derive(Debug, thiserror::Error)]
pub enum TemplateFault {
    /// The file or folder can't be read as text.
    #[error("can't be read: {0}")]
    Unreadable(std::io::Error),
    /// Longer than 64 KiB.
    #[error("is longer than 64 KiB")]
    TooLong,
    /// The first line is not `#!ipxe`.
    #[error("the first line is not `#!ipxe`")]
    NoMagic,
    /// A place that no value belongs to, or one that is not closed.
    #[error("unknown place `{{{{{0}`")]
    UnknownPlace(String),
    /// A place where a value would not be an argument: a command's name, a label, a setting's name.
    #[error("`{0}` can't stand here")]
    MisplacedPlace(String),
    /// iPXE has no such command.
    #[error("iPXE has no command `{name}`")]
    UnknownCommand {
        /// As it is written.
        name: String,
        /// What was probably meant.
        meant: Option<&'static str>,
    },
    /// The command knows no such option.
    #[error("`{command}` has no option `{option}`")]
    UnknownOption {
        /// The command.
        command: String,
        /// As it is written.
        option: String,
    },
    /// The command's failure would end the script.
    #[error("`{0}` has no failure branch")]
    NoFailureBranch(String),
    /// The kernel would not see its initrd under UEFI.
    #[error("`{0}` has no `initrd=`")]
    NoInitrdArgument(String),
    /// `initrd=` names an image that the script doesn't fetch.
    #[error("no image is named `{0}`, which `initrd=` asks for")]
    InitrdNotFetched(String),
    /// `imgargs` replaces what `kernel` was given, the consoles too.
    #[error("`imgargs` drops the kernel's `console=`")]
    ConsoleDropped,
    /// A `goto` to a label that does not exist.
    #[error("there is no label `:{0}`")]
    UnknownLabel(String),
    /// Two lines have the same label; iPXE takes the first one.
    #[error("the label `:{0}` stands twice")]
    DuplicateLabel(String),
    /// A loop that no counter ends.
    #[error("this loop never ends")]
    EndlessLoop,
    /// Going round, an image is fetched while that of the last round is still there.
    #[error("the image of the last round is still there when this is fetched again")]
    NoImgfree,
    /// A setting whose value is not ours stands in a URL.
    #[error("`${{{0}}}` stands in a URL as it is")]
    UnescapedSetting(String),
    /// The token would be shown on the console.
    #[error("`{0}` would show the boot token on the console")]
    TokenShown(String),
}

impl TemplateFault {
    /// What to write instead.
    pub fn hint(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            TemplateFault::Unreadable(_) => "the service needs read permission, and UTF-8 text",
            TemplateFault::TooLong => "fetch the rest with `chain`",
            TemplateFault::NoMagic => {
                "iPXE knows a script by it; nothing may stand before it, no byte order mark either"
            }
            TemplateFault::UnknownPlace(_) => {
                let known: Vec<String> = Place::NAMES.iter().map(|(name, _)| format!("{{{{{name}}}}}")).collect();
                return Cow::Owned(format!("known: {}", known.join(" ")));
            }
            TemplateFault::MisplacedPlace(_) => "a place stands for one argument, or a part of one",
            TemplateFault::UnknownCommand { meant: Some(meant), .. } => {
                return Cow::Owned(format!("did you mean `{meant}`?"));
            }
            TemplateFault::UnknownCommand { meant: None, .. } => "ipxe.org/cmd lists the commands",
            TemplateFault::UnknownOption { command, .. } => {
                return Cow::Owned(format!("it has {}", options_of(command).unwrap_or_default().join(" ")));
            }
            TemplateFault::NoFailureBranch(name) if matches!(name.as_str(), "iseq" | "isset" | "cpuid") => {
                "end the line with `||`: where the answer is no, the script would end"
            }
            TemplateFault::NoFailureBranch(_) => "end the line with `|| goto LABEL`: a failing command ends the script",
            TemplateFault::NoInitrdArgument(_) => {
                "put `initrd=FILE` on the kernel's command line; `imgargs` replaces that line as a whole"
            }
            TemplateFault::InitrdNotFetched(_) => {
                "write the image's name: the last part of its URL, or what `--name` says"
            }
            TemplateFault::ConsoleDropped => "put all arguments on the `kernel` line",
            TemplateFault::UnknownLabel(_) => "a label is a line that begins with `:`",
            TemplateFault::DuplicateLabel(_) => "rename one of them",
            TemplateFault::EndlessLoop => {
                "count the rounds: `inc tries`, then `iseq ${tries} 30 && goto give_up ||` with a label outside of the loop"
            }
            TemplateFault::NoImgfree => "write `imgfree` where the loop begins",
            TemplateFault::UnescapedSetting(_) => {
                "say how it is written: `:uristring` for texts, `:hexhyp` for addresses of network cards"
            }
            TemplateFault::TokenShown(_) => {
                "use {{boot_token}} on the `kernel` line and behind the `?` of a URL only: consoles show paths"
            }
        })
    }
}

/// The faults of a script or template, each with its line, in the order of lines. Takes any text.
pub fn lint(text: &str) -> Vec<(usize, TemplateFault)> {
    let mut faults = Vec::new();
    if !text.strip_prefix("#!ipxe").is_some_and(|rest| rest.is_empty() || rest.starts_with(['\n', '\r', ' ', '\t'])) {
        faults.push((1, TemplateFault::NoMagic));
    }
    if text.len() > LONGEST {
        faults.push((1, TemplateFault::TooLong));
        return faults;
    }
    check_places(text, &mut faults);
    let flow = Flow::read(text);
    check_labels(&flow.lines, &mut faults);
    let script = Script::of(&flow.lines);
    for line in &flow.lines {
        for (at, command) in line.commands.iter().enumerate() {
            let mut found = Vec::new();
            check_command(&script, command, &mut found);
            if command.ends().is_some() && !has_failure_branch(line, at) {
                found.push(TemplateFault::NoFailureBranch(shown(command.name())));
            }
            faults.extend(found.into_iter().map(|fault| (line.number, fault)));
        }
    }
    faults.extend(flow.endless_loops().into_iter().map(|line| (line, TemplateFault::EndlessLoop)));
    faults.extend(flow.reloads().into_iter().map(|line| (line, TemplateFault::NoImgfree)));
    faults.sort_by_key(|(line, _)| *line);
    faults
}

/// Words of a script stand in messages: cut.
fn shown(word: &str) -> String {
    word.chars().take(40).collect()
}

/// `{{name}}` as it is written, wherever it stands.
fn check_places(text: &str, faults: &mut Vec<(usize, TemplateFault)>) {
    for (index, line) in text.lines().enumerate() {
        let mut rest = line;
        while let Some((_, after)) = rest.split_once("{{") {
            let (name, behind) = after.split_once("}}").unwrap_or((after.trim_end(), ""));
            if Place::named(name).is_none() {
                faults.push((index + 1, TemplateFault::UnknownPlace(shown(name))));
            }
            rest = behind;
        }
    }
}

fn check_labels(lines: &[Line], faults: &mut Vec<(usize, TemplateFault)>) {
    let mut labels = HashSet::new();
    for line in lines {
        let Some(label) = &line.label else { continue };
        if label.contains("{{") {
            faults.push((line.number, TemplateFault::MisplacedPlace(shown(label))));
        }
        if !labels.insert(label.as_str()) {
            faults.push((line.number, TemplateFault::DuplicateLabel(shown(label))));
        }
    }
    for line in lines {
        for command in line.commands.iter().filter(|command| command.name() == "goto") {
            let Some(label) = command.arguments().first() else { continue };
            if !label.contains("${") && !label.contains("{{") && !labels.contains(label.as_str()) {
                faults.push((line.number, TemplateFault::UnknownLabel(shown(label))));
            }
        }
    }
}

/// A failure reaches the next `||` of the line, but not across a `;`. What can't fail needs none, and neither does what
/// leaves the machine: where it fails, the script is over either way.
fn has_failure_branch(line: &Line, at: usize) -> bool {
    use super::commands::{Ends, Then};
    let command = &line.commands[at];
    if matches!(command.ends(), Some(Ends::Well | Ends::Leaves)) || matches!(command.name(), "reboot" | "poweroff") {
        return true;
    }
    line.commands[at..].iter().take_while(|command| command.then != Then::Always).any(|c| c.then == Then::IfFailed)
}

/// What the rules need to know of the script as a whole.
struct Script<'a> {
    /// Names of the images that become initrds; `None` if one's name isn't known before the script runs.
    initrds: Option<Vec<&'a str>>,
    has_initrd: bool,
    has_console: bool,
    /// Settings with values that are not the script's own.
    foreign: HashSet<&'a str>,
    /// Settings that hold the token.
    secret: HashSet<&'a str>,
    own: HashSet<&'a str>,
}

impl<'a> Script<'a> {
    fn of(lines: &'a [Line]) -> Script<'a> {
        let commands = || lines.iter().flat_map(|line| &line.commands);
        let initrds = || commands().filter(|command| matches!(command.name(), "initrd" | "module" | "imgfetch"));
        let mut script = Script {
            initrds: initrds().map(Command::image_name).collect(),
            has_initrd: commands().any(|command| command.name() == "initrd"),
            has_console: commands().any(|command| {
                command.name() == "kernel" && command.arguments().iter().any(|word| word.starts_with("console="))
            }),
            foreign: HashSet::new(),
            secret: HashSet::new(),
            own: HashSet::new(),
        };
        let mut sets: BTreeMap<&str, Vec<&[String]>> = BTreeMap::new();
        for command in commands() {
            match (command.name(), command.arguments()) {
                ("set", [name, value @ ..]) => sets.entry(bare_name(name)).or_default().push(value),
                ("inc", [name, ..]) | ("choose" | "nslookup", [.., name]) => drop(script.own.insert(bare_name(name))),
                ("read", [.., name]) => drop(script.foreign.insert(bare_name(name))),
                _ => {}
            }
        }
        script.own.extend(sets.keys());
        // What a value is made of, it passes on: as it is, and in any form.
        let (mut made_of, mut made_of_any_form) = (Passed::new(), Passed::new());
        for (name, values) in &sets {
            for word in values.iter().flat_map(|words| words.iter()) {
                for setting in settings_in(word) {
                    made_of_any_form.entry(bare_name(setting)).or_default().push(name);
                    if !is_in_safe_form(setting) {
                        made_of.entry(bare_name(setting)).or_default().push(name);
                    }
                }
                if script.foreign_in(word).is_some() {
                    script.foreign.insert(name);
                }
                if word.contains("{{boot_token}}") {
                    script.secret.insert(name);
                }
            }
        }
        pass_on(&mut script.foreign, &made_of);
        pass_on(&mut script.secret, &made_of_any_form);
        script
    }

    /// The first setting of a word that could bring along characters which mean something in a URL.
    fn foreign_in<'w>(&self, word: &'w str) -> Option<&'w str> {
        settings_in(word).into_iter().find(|setting| {
            if setting.contains("${") {
                return true;
            }
            if is_in_safe_form(setting) {
                return false;
            }
            let path = bare_name(setting);
            let name = path.rsplit('/').next().unwrap_or_default();
            let is_own = self.own.contains(path) && !self.foreign.contains(path);
            !is_own && !SAFE_SETTINGS.contains(&name)
        })
    }

    fn shows_token(&self, word: &str) -> bool {
        word.contains("{{boot_token}}")
            || settings_in(word).iter().any(|setting| self.secret.contains(bare_name(setting)))
    }
}

/// From a setting to those whose values are made of it.
type Passed<'a> = HashMap<&'a str, Vec<&'a str>>;

fn pass_on<'a>(marked: &mut HashSet<&'a str>, made_of: &Passed<'a>) {
    let mut left: Vec<&str> = marked.iter().copied().collect();
    while let Some(name) = left.pop() {
        for next in made_of.get(name).into_iter().flatten() {
            if marked.insert(next) {
                left.push(next);
            }
        }
    }
}

fn is_in_safe_form(setting: &str) -> bool {
    setting.split_once(':').is_some_and(|(_, form)| SAFE_FORMS.contains(&form))
}

/// Ways to write a setting that leave only letters, digits, `-`, `.` and `%`.
const SAFE_FORMS: [&str; 14] = [
    "uristring",
    "hexhyp",
    "hexraw",
    "ipv4",
    "uuid",
    "guid",
    "int8",
    "int16",
    "int32",
    "uint8",
    "uint16",
    "uint32",
    "busdevfn",
    "uint64",
];

/// Settings that iPXE itself writes that way.
const SAFE_SETTINGS: [&str; 15] = [
    "ip",
    "netmask",
    "gateway",
    "dns",
    "next-server",
    "uuid",
    "errno",
    "buildarch",
    "platform",
    "unixtime",
    "mtu",
    "busloc",
    "memsize",
    "ifname",
    "scriptlet-index",
];

/// What stands in each outermost `${…}`.
fn settings_in(word: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = word;
    while let Some((_, after)) = rest.split_once("${") {
        let mut depth = 1;
        let bytes = after.as_bytes();
        let end = (0..bytes.len()).find(|at| {
            match bytes[*at] {
                b'{' if *at > 0 && bytes[*at - 1] == b'$' => depth += 1,
                b'}' => depth -= 1,
                _ => {}
            }
            depth == 0
        });
        let Some(end) = end else { return found };
        found.push(&after[..end]);
        rest = &after[end + 1..];
    }
    found
}

fn check_command(script: &Script<'_>, command: &Command, found: &mut Vec<TemplateFault>) {
    let (name, arguments) = (command.name(), command.arguments());
    if name.contains("{{") {
        found.push(TemplateFault::MisplacedPlace(shown(name)));
    } else if command.ends().is_none() {
        let meant = nearest(name, &command_names());
        found.push(TemplateFault::UnknownCommand { name: shown(name), meant });
    }
    let names_something = matches!(name, "goto" | "set" | "clear" | "inc" | "read" | "choose" | "imgfree");
    let misplaced = arguments.first().filter(|word| names_something && word.contains("{{"));
    let inside = arguments.iter().find(|word| settings_in(word).iter().any(|setting| setting.contains("{{")));
    if let Some(word) = misplaced.or(inside) {
        found.push(TemplateFault::MisplacedPlace(shown(word)));
    }
    let (options, rest) = command.options();
    if let Some(known) = options_of(name) {
        let unknown = options.iter().filter(|(option, _)| !known.contains(option));
        found.extend(
            unknown.map(|(option, _)| TemplateFault::UnknownOption { command: name.to_owned(), option: shown(option) }),
        );
    }
    if matches!(name, "kernel" | "imgargs") && script.has_initrd {
        check_initrd(script, name, arguments, found);
    }
    if name == "imgargs" && script.has_console && !arguments.iter().any(|word| word.starts_with("console=")) {
        found.push(TemplateFault::ConsoleDropped);
    }
    let fetches = LOADS.contains(&name) || FETCHES.contains(&name);
    let urls = arguments.iter().filter(|word| word.contains("://") || (fetches && rest.first() == Some(*word)));
    for url in urls {
        if let Some(setting) = script.foreign_in(url) {
            found.push(TemplateFault::UnescapedSetting(shown(setting)));
        }
    }
    let shows = match name {
        "echo" | "prompt" | "menu" | "item" | "show" | "read" => arguments.iter().any(|word| script.shows_token(word)),
        // A path is printed, a query isn't.
        _ if fetches => rest.first().is_some_and(|url| script.shows_token(url.split('?').next().unwrap_or_default())),
        _ => false,
    };
    if shows {
        found.push(TemplateFault::TokenShown(name.to_owned()));
    }
}

fn check_initrd(script: &Script<'_>, name: &str, arguments: &[String], found: &mut Vec<TemplateFault>) {
    let mut named = arguments.iter().filter_map(|word| word.strip_prefix("initrd=")).peekable();
    if named.peek().is_none() {
        found.push(TemplateFault::NoInitrdArgument(name.to_owned()));
    }
    let Some(initrds) = &script.initrds else { return };
    for wanted in named.flat_map(|names| names.split(',')) {
        if !wanted.contains("${") && !wanted.contains("{{") && !initrds.contains(&wanted) {
            found.push(TemplateFault::InitrdNotFetched(shown(wanted)));
        }
    }
}

/// The options of the commands that boot scripts are made of; `None` where they aren't looked at.
fn options_of(command: &str) -> Option<&'static [&'static str]> {
    Some(match command {
        "kernel" | "initrd" | "module" | "imgfetch" => &["--name", "-n", "--timeout", "-t", "--autofree", "-a"],
        "chain" | "imgexec" | "boot" => &["--name", "-n", "--timeout", "-t", "--autofree", "-a", "--replace", "-r"],
        "dhcp" | "ifconf" => &["--configurator", "-c", "--timeout", "-t"],
        "reboot" => &["--warm", "-w", "--setup", "-s"],
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
