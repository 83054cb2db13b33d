//! What is wrong with a script or a template, before a machine finds out: every rule here stands for a boot that was lost
//! on a console somewhere. docs/boot.md shows each with an example.

use super::{
    commands::{Command, DIGESTS, FETCHES, LOADS, Line, command_names, fewest_arguments, join_lines},
    counter::bare_name,
    fault::TemplateFault,
    flow::Flow,
    pin::pins,
    template::{LONGEST_LINE, Part, read_parts},
};
use metalform_model::nearest;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Longer scripts are not looked into. iPXE holds the whole text in memory, and the loops of a generated monster are
/// nobody's to check.
pub(super) const LONGEST: usize = 64 * 1024;

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
    faults.extend(read_parts(text).err().unwrap_or_default());
    check_lengths(text, &mut faults);
    let flow = Flow::read(text);
    check_labels(&flow.lines, &mut faults);
    let astray = flow.astray.iter().map(|(line, label)| (*line, TemplateFault::UnknownLabel(shown(label))));
    faults.extend(astray);
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
    let after_kernel = flow.after(|command| gives_token_to_kernel(&script, command));
    let shown_by = after_kernel.into_iter().filter(|at| flow.command(*at).name() == "imgstat");
    let shown_at: BTreeSet<usize> = shown_by.map(|at| flow.line_number(at)).collect();
    faults.extend(shown_at.into_iter().map(|line| (line, TemplateFault::TokenShown("imgstat".to_owned()))));
    let compares = |command: &Command| {
        let of_digest =
            |word: &String| settings_in(word).iter().any(|setting| script.digests.contains(bare_name(setting)));
        command.name() == "iseq" && command.arguments().iter().any(|word| has_digest_place(word) || of_digest(word))
    };
    let ignored: BTreeSet<usize> = flow.boots_after_failed(compares).map(|at| flow.line_number(at)).collect();
    faults.extend(ignored.into_iter().map(|line| (line, TemplateFault::DigestIgnored)));
    faults.extend(pins(&flow).1);
    faults.extend(flow.endless_loops().into_iter().map(|line| (line, TemplateFault::EndlessLoop)));
    faults.extend(flow.reloads().into_iter().map(|line| (line, TemplateFault::NoImgfree)));
    faults.sort_by_key(|(line, _)| *line);
    faults
}

/// Words of a script stand in messages: cut.
pub(super) fn shown(word: &str) -> String {
    word.chars().take(40).collect()
}

/// What places stand for may be nothing, so it doesn't count here; a rendered script is measured once more.
fn check_lengths(text: &str, faults: &mut Vec<(usize, TemplateFault)>) {
    for (number, line) in join_lines(text) {
        let bytes_of = |part: &Part| if let Part::Text(text) = part { text.len() } else { 0 };
        let bytes: usize = read_parts(&line).iter().flatten().map(bytes_of).sum();
        if bytes > LONGEST_LINE {
            faults.push((number, TemplateFault::LineTooLong(bytes)));
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
    /// Names of the images that can become initrds; `None` if one's name isn't known before the script runs.
    initrds: Option<Vec<&'a str>>,
    has_initrd: bool,
    /// What `initrd=` names, wherever; `None` if it does nowhere, or if one's name isn't known before the script runs.
    named: Option<HashSet<&'a str>>,
    has_console: bool,
    /// Settings with values that are not the script's own, and can bring along what means something in a URL.
    foreign: HashSet<&'a str>,
    /// The same for the kernel's line, where a blank means something and `:` doesn't.
    foreign_on_line: HashSet<&'a str>,
    /// Settings that hold the token.
    secret: HashSet<&'a str>,
    own: HashSet<&'a str>,
    /// Settings that hold digests: computed, or to compare with.
    digests: HashSet<&'a str>,
}

fn has_digest_place(word: &str) -> bool {
    word.contains("{{kernel_sha256}}") || word.contains("{{initrd_sha256}}")
}

fn has_token_place(word: &str) -> bool {
    word.contains("{{boot_token}}") || word.contains("{{checked_token}}")
}

impl<'a> Script<'a> {
    fn of(lines: &'a [Line]) -> Script<'a> {
        let commands = || lines.iter().flat_map(|line| &line.commands);
        // What `imgextract` and `imgdecrypt` make has names, too.
        let makes_image = |name: &str| matches!(name, "initrd" | "module" | "imgfetch" | "imgextract" | "imgdecrypt");
        let initrds = || commands().filter(|command| makes_image(command.name()));
        let for_kernel = || commands().filter(|command| matches!(command.name(), "kernel" | "imgargs"));
        let named: HashSet<&str> = for_kernel().flat_map(initrds_named_by).collect();
        let is_known = !named.is_empty() && !named.iter().any(|name| name.contains("${") || name.contains("{{"));
        let mut script = Script {
            initrds: initrds().map(Command::image_name).collect(),
            has_initrd: commands().any(|command| command.name() == "initrd"),
            named: (is_known && !named.contains(ALL_INITRDS)).then_some(named),
            has_console: commands().any(|command| {
                command.name() == "kernel" && command.arguments().iter().any(|word| word.starts_with("console="))
            }),
            foreign: HashSet::new(),
            foreign_on_line: HashSet::new(),
            secret: HashSet::new(),
            own: HashSet::new(),
            digests: HashSet::new(),
        };
        let mut sets: BTreeMap<&str, Vec<&String>> = BTreeMap::new();
        let mut read = HashSet::new();
        for command in commands() {
            script.digests.extend(command.digest_setting().map(bare_name));
            match (command.name(), command.arguments()) {
                ("set", [name, value @ ..]) => sets.entry(bare_name(name)).or_default().extend(value),
                ("inc" | "nslookup", [name, ..]) | ("choose", [.., name]) => drop(script.own.insert(bare_name(name))),
                ("read", [.., name]) => drop(read.insert(bare_name(name))),
                _ => {}
            }
        }
        let is_digest = |words: &Vec<&String>| words.iter().any(|word| has_digest_place(word));
        script.own.extend(sets.keys());
        script.own.extend(&script.digests);
        script.digests.extend(sets.iter().filter(|(_, words)| is_digest(words)).map(|(name, _)| *name));
        script.foreign = script.not_our_own(&sets, &read, is_safe_in_url);
        script.foreign_on_line = script.not_our_own(&sets, &read, is_safe_on_line);
        let words = || sets.iter().flat_map(|(name, words)| words.iter().map(move |word| (*name, *word)));
        let with_token = words().filter(|(_, word)| has_token_place(word));
        script.secret = with_token.map(|(name, _)| name).collect();
        let mut made_of = Passed::new();
        for (name, word) in words() {
            settings_in(word).into_iter().for_each(|setting| made_of.entry(bare_name(setting)).or_default().push(name));
        }
        pass_on(&mut script.secret, &made_of);
        script
    }

    /// The settings that were read from somewhere, and those that are made of such.
    fn not_our_own(
        &self,
        sets: &BTreeMap<&'a str, Vec<&'a String>>,
        read: &HashSet<&'a str>,
        is_safe: fn(&str) -> bool,
    ) -> HashSet<&'a str> {
        let (mut foreign, mut made_of) = (read.clone(), Passed::new());
        for (name, word) in sets.iter().flat_map(|(name, words)| words.iter().map(move |word| (*name, *word))) {
            if self.first_foreign(word, &foreign, is_safe).is_some() {
                foreign.insert(name);
            }
            for setting in settings_in(word).into_iter().filter(|setting| !is_safe(setting)) {
                made_of.entry(bare_name(setting)).or_default().push(name);
            }
        }
        pass_on(&mut foreign, &made_of);
        foreign
    }

    /// The first setting of a word that could bring along characters which mean something where it stands.
    fn first_foreign<'w>(&self, word: &'w str, foreign: &HashSet<&str>, is_safe: fn(&str) -> bool) -> Option<&'w str> {
        settings_in(word).into_iter().find(|setting| {
            let path = bare_name(setting);
            let is_own = self.own.contains(path) && !foreign.contains(path);
            setting.contains("${") || !(is_own || is_safe(setting))
        })
    }

    fn foreign_in<'w>(&self, url: &'w str) -> Option<&'w str> {
        self.first_foreign(url, &self.foreign, is_safe_in_url)
    }

    fn shows_token(&self, word: &str) -> bool {
        has_token_place(word) || settings_in(word).iter().any(|setting| self.secret.contains(bare_name(setting)))
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

fn is_safe_in_url(setting: &str) -> bool {
    let (path, form) = setting.split_once(':').unwrap_or((setting, ""));
    SAFE_FORMS.contains(&form) || SAFE_SETTINGS.contains(&path.rsplit('/').next().unwrap_or_default())
}

/// Addresses of network cards with their colons are one word.
fn is_safe_on_line(setting: &str) -> bool {
    let (path, form) = setting.split_once(':').unwrap_or((setting, ""));
    is_safe_in_url(setting) || form == "hex" || (form.is_empty() && path.rsplit('/').next() == Some("mac"))
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
    } else if name.contains("${") {
        found.push(TemplateFault::SettingAsCommand(shown(name)));
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
    let value_missing = options.iter().filter(|(option, value)| command.takes_value(option) && value.is_none());
    found.extend(
        value_missing
            .map(|(option, _)| TemplateFault::MissingValue { command: name.to_owned(), option: shown(option) }),
    );
    if let Some((fewest, missing)) = fewest_arguments(name)
        && rest.len() < fewest
    {
        found.push(TemplateFault::MissingArgument { command: name.to_owned(), missing });
    }
    check_initrds(script, command, found);
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
    if matches!(name, "kernel" | "imgargs") {
        let words = rest.iter().skip(1).filter(|word| !word.contains("://"));
        let foreign = |word| script.first_foreign(word, &script.foreign_on_line, is_safe_on_line);
        found
            .extend(words.filter_map(|word| foreign(word)).map(|word| TemplateFault::SettingOnKernelLine(shown(word))));
    }
    if shows_token(script, command) {
        found.push(TemplateFault::TokenShown(name.to_owned()));
    }
}

/// Whether the token stands where a console could show it: everywhere but in a setting, in the query of what is fetched,
/// and among a kernel's arguments.
fn shows_token(script: &Script<'_>, command: &Command) -> bool {
    let (name, arguments) = (command.name(), command.arguments());
    let (_, rest) = command.options();
    let options = &arguments[..arguments.len() - rest.len()];
    let has_token = |words: &[String]| words.iter().any(|word| script.shows_token(word));
    let has_token_outside_of_query = |url: &String| {
        let (url, fragment) = url.split_once('#').unwrap_or((url, ""));
        script.shows_token(url.split('?').next().unwrap_or_default()) || script.shows_token(fragment)
    };
    match name {
        "set" | "clear" | "iseq" | "isset" => false,
        "show" | "read" => has_token(arguments) || arguments.iter().any(|word| script.secret.contains(bare_name(word))),
        "kernel" => has_token(options) || rest.first().is_some_and(has_token_outside_of_query),
        "imgargs" => has_token(options) || rest.first().is_some_and(|image| script.shows_token(image)),
        _ if LOADS.contains(&name) || FETCHES.contains(&name) => {
            has_token(options)
                || rest.first().is_some_and(has_token_outside_of_query)
                || has_token(rest.get(1..).unwrap_or_default())
        }
        // It has a fault already.
        _ if command.ends().is_none() => false,
        _ => has_token(arguments),
    }
}

/// `imgstat` shows the arguments of images.
fn gives_token_to_kernel(script: &Script<'_>, command: &Command) -> bool {
    let (_, rest) = command.options();
    matches!(command.name(), "kernel" | "imgargs") && rest.iter().skip(1).any(|word| script.shows_token(word))
}

/// The name of a file under UEFI that is all initrds in one.
const ALL_INITRDS: &str = "initrd.magic";

fn initrds_named_by(command: &Command) -> impl Iterator<Item = &str> {
    let words = command.arguments().iter().filter_map(|word| word.strip_prefix("initrd="));
    words.map(without_own_blanks).flat_map(|names| names.split(','))
}

/// These places begin with a blank of their own.
fn without_own_blanks(mut names: &str) -> &str {
    while let Some(before) = ["{{agent_init}}", "{{ca_sha256}}"].iter().find_map(|place| names.strip_suffix(place)) {
        names = before;
    }
    names
}

fn check_initrds(script: &Script<'_>, command: &Command, found: &mut Vec<TemplateFault>) {
    match command.name() {
        name @ ("kernel" | "imgargs") => {
            if script.has_initrd && initrds_named_by(command).next().is_none() {
                found.push(TemplateFault::NoInitrdArgument(name.to_owned()));
            }
            let Some(initrds) = &script.initrds else { return };
            let is_known = |wanted: &&str| !wanted.contains("${") && !wanted.contains("{{");
            let is_there = |wanted: &&str| initrds.contains(wanted) || (*wanted == ALL_INITRDS && script.has_initrd);
            let missing = initrds_named_by(command).filter(is_known).filter(|wanted| !is_there(wanted));
            found.extend(missing.map(|wanted| TemplateFault::InitrdNotFetched(shown(wanted))));
        }
        "initrd" => {
            let (Some(named), Some(name)) = (&script.named, command.image_name()) else { return };
            if !named.contains(name) {
                found.push(TemplateFault::InitrdNotNamed(shown(name)));
            }
        }
        _ => {}
    }
}

/// The options of the commands that boot scripts are made of; `None` where they aren't looked at.
pub(super) fn options_of(command: &str) -> Option<&'static [&'static str]> {
    Some(match command {
        "kernel" | "initrd" | "module" | "imgfetch" => &["--name", "-n", "--timeout", "-t", "--autofree", "-a"],
        "chain" | "imgexec" | "boot" => &["--name", "-n", "--timeout", "-t", "--autofree", "-a", "--replace", "-r"],
        "dhcp" | "ifconf" => &["--configurator", "-c", "--timeout", "-t"],
        _ if DIGESTS.contains(&command) => &["--set", "-s"],
        "reboot" => &["--warm", "-w", "--setup", "-s"],
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
