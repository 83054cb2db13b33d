//! Script templates: text with `{{name}}` places, checked when the service starts.
//!
//! `{{` can't be confused with iPXE's `${`, which passes through untouched. A template that would strand a machine is an
//! error at start, with file and line, not a surprise on a console: unknown places, downloads without a failure branch, a
//! kernel that would never see its initrd, a `goto` to nowhere.

use super::values::{ScriptValues, ValueError};
use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    path::{Path, PathBuf},
};

/// Name of the built-in template.
const FOUNDATION: &str = "foundation";

/// All templates by name.
#[derive(Debug, Clone)]
pub struct Templates(BTreeMap<String, Template>);

impl Templates {
    /// The built-in `foundation` alone.
    pub fn builtin() -> Self {
        let text = include_str!("../../templates/foundation.ipxe");
        let template =
            Template::parse(Path::new("foundation.ipxe"), text).expect("a test checks the built-in template");
        Templates(BTreeMap::from([(FOUNDATION.to_owned(), template)]))
    }

    /// The built-in one, and every `NAME.ipxe` in `dir`, which may override it. Answers all faults of all files.
    pub fn load(dir: &Path) -> Result<Self, TemplateErrors> {
        let mut templates = Self::builtin();
        let mut errors = Vec::new();
        let unreadable =
            |file: &Path, error| TemplateError { file: file.into(), line: 0, fault: TemplateFault::Unreadable(error) };
        let entries = std::fs::read_dir(dir).map_err(|error| TemplateErrors(vec![unreadable(dir, error)]))?;
        let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        files.sort();
        for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "ipxe")) {
            let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            match std::fs::read_to_string(file) {
                Err(error) => errors.push(unreadable(file, error)),
                Ok(text) => match Template::parse(file, &text) {
                    Err(faults) => errors.extend(faults),
                    Ok(template) => drop(templates.0.insert(name, template)),
                },
            }
        }
        if errors.is_empty() { Ok(templates) } else { Err(TemplateErrors(errors)) }
    }

    /// The script of a node; `name` `None` is `foundation`. `None` if there is no such template.
    pub fn render(&self, name: Option<&str>, values: &ScriptValues<'_>) -> Option<Result<String, ValueError>> {
        Some(self.0.get(name.unwrap_or(FOUNDATION))?.render(values))
    }
}

/// Everything that is wrong with a folder of templates, one a line. Permanent.
#[derive(Debug)]
pub struct TemplateErrors(pub Vec<TemplateError>);

impl std::error::Error for TemplateErrors {}

impl fmt::Display for TemplateErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, error) in self.0.iter().enumerate() {
            write!(f, "{}{error}", if n == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

/// One fault of one template.
#[derive(Debug)]
pub struct TemplateError {
    /// The file.
    pub file: PathBuf,
    /// Counted from 1; 0 for the file as a whole.
    pub line: usize,
    /// What is wrong there.
    pub fault: TemplateFault,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        write!(f, ": {} ({})", self.fault, self.fault.hint())
    }
}

/// What can be wrong with a template.
#[derive(Debug, thiserror::Error)]
pub enum TemplateFault {
    /// The file or folder can't be read as text.
    #[error("can't be read: {0}")]
    Unreadable(std::io::Error),
    /// The first line is not `#!ipxe`.
    #[error("the first line is not `#!ipxe`")]
    NoMagic,
    /// A place that no value belongs to, or one that is not closed.
    #[error("unknown place `{{{{{0}`")]
    UnknownPlace(String),
    /// The command's failure would end the script.
    #[error("`{0}` has no failure branch")]
    NoFailureBranch(String),
    /// The kernel would not see its initrd under UEFI.
    #[error("`{0}` has no `initrd=`")]
    NoInitrdArgument(String),
    /// A `goto` to a label that does not exist.
    #[error("there is no label `:{0}`")]
    UnknownLabel(String),
    /// The token would be shown on the console.
    #[error("`{0}` would show the boot token on the console")]
    TokenShown(String),
}

impl TemplateFault {
    /// What to write instead.
    pub fn hint(&self) -> &'static str {
        match self {
            TemplateFault::Unreadable(_) => "the service needs read permission, and UTF-8 text",
            TemplateFault::NoMagic => "iPXE knows a script by it",
            TemplateFault::UnknownPlace(_) => {
                "known: {{server_id}} {{mgmt_ip}} {{boot_host}} {{boot_token}} {{images}}"
            }
            TemplateFault::NoFailureBranch(_) => "end the line with `|| goto LABEL`: a failing command ends the script",
            TemplateFault::NoInitrdArgument(_) => {
                "put `initrd=FILE` on the kernel's command line; `imgargs` replaces that line as a whole"
            }
            TemplateFault::UnknownLabel(_) => "a label is a line that begins with `:`",
            TemplateFault::TokenShown(_) => "use {{boot_token}} on the `kernel` line only",
        }
    }
}

/// A checked template.
#[derive(Debug, Clone)]
struct Template(Vec<Part>);

#[derive(Debug, Clone)]
enum Part {
    Text(String),
    Place(Place),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    ServerId,
    MgmtIp,
    BootHost,
    BootToken,
    Images,
}

impl Place {
    fn named(name: &str) -> Option<Place> {
        Some(match name {
            "server_id" => Place::ServerId,
            "mgmt_ip" => Place::MgmtIp,
            "boot_host" => Place::BootHost,
            "boot_token" => Place::BootToken,
            "images" => Place::Images,
            _ => return None,
        })
    }
}

impl Template {
    fn parse(file: &Path, text: &str) -> Result<Template, Vec<TemplateError>> {
        let mut faults = lint(text);
        let mut parts = Vec::new();
        for (number, line) in text.split_inclusive('\n').enumerate() {
            let mut rest = line;
            while let Some((before, after)) = rest.split_once("{{") {
                let (name, behind) = after.split_once("}}").unwrap_or((after.trim_end(), ""));
                match Place::named(name) {
                    Some(place) => parts.extend([Part::Text(before.to_owned()), Part::Place(place)]),
                    None => faults.push((number + 1, TemplateFault::UnknownPlace(name.chars().take(40).collect()))),
                }
                rest = behind;
            }
            parts.push(Part::Text(rest.to_owned()));
        }
        if faults.is_empty() {
            return Ok(Template(parts));
        }
        faults.sort_by_key(|(line, _)| *line);
        Err(faults.into_iter().map(|(line, fault)| TemplateError { file: file.to_owned(), line, fault }).collect())
    }

    fn render(&self, values: &ScriptValues<'_>) -> Result<String, ValueError> {
        values.check()?;
        let mut script = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => script.push_str(text),
                Part::Place(Place::ServerId) => script.push_str(values.server_id),
                Part::Place(Place::MgmtIp) => script.push_str(&values.mgmt_ip.to_string()),
                Part::Place(Place::BootHost) => script.push_str(&values.boot_host.to_string()),
                Part::Place(Place::BootToken) => script.push_str(values.boot_token.expose()),
                Part::Place(Place::Images) => {
                    script.push_str("images");
                    if let Some(set) = values.image_set {
                        script.push('/');
                        script.push_str(set);
                    }
                }
            }
        }
        Ok(script)
    }
}

/// The faults of a script's commands, each with its line. Reads a script the way iPXE does: words split on whitespace,
/// `||`, `&&` and `;` only as words of their own, `#` at a word's begin starts a comment, a backslash joins lines.
pub(crate) fn lint(text: &str) -> Vec<(usize, TemplateFault)> {
    let mut faults = Vec::new();
    if text.lines().next().is_none_or(|line| line.trim_end() != "#!ipxe") {
        faults.push((1, TemplateFault::NoMagic));
    }
    let lines = joined_lines(text);
    let labels: HashSet<&str> = lines.iter().filter_map(|(_, line)| line.trim().strip_prefix(':')).collect();
    let commands: Vec<(usize, Vec<Command<'_>>)> =
        lines.iter().map(|(number, line)| (*number, read_commands(line))).collect();
    let has_initrd = commands.iter().flat_map(|(_, line)| line).any(|command| command.words.first() == Some(&"initrd"));
    for (number, command) in commands.iter().flat_map(|(number, line)| line.iter().map(|command| (*number, command))) {
        let Some((&name, arguments)) = command.words.split_first() else { continue };
        if matches!(name, "kernel" | "initrd" | "boot") && !command.has_failure_branch {
            faults.push((number, TemplateFault::NoFailureBranch(name.to_owned())));
        }
        let has_argument = arguments.iter().any(|argument| argument.starts_with("initrd="));
        if matches!(name, "kernel" | "imgargs") && has_initrd && !has_argument {
            faults.push((number, TemplateFault::NoInitrdArgument(name.to_owned())));
        }
        if let ("goto", Some(label)) = (name, arguments.first())
            && !label.contains("${")
            && !labels.contains(label)
        {
            faults.push((number, TemplateFault::UnknownLabel((*label).to_owned())));
        }
        if matches!(name, "echo" | "prompt") && arguments.iter().any(|argument| argument.contains("{{boot_token}}")) {
            faults.push((number, TemplateFault::TokenShown(name.to_owned())));
        }
    }
    faults
}

struct Command<'a> {
    words: Vec<&'a str>,
    /// A `||` follows on the same line, so a failure reaches it.
    has_failure_branch: bool,
}

fn joined_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut goes_on = false;
    for (index, line) in text.lines().enumerate() {
        let (line, more) = line.strip_suffix('\\').map_or((line, false), |line| (line, true));
        match lines.last_mut().filter(|_| goes_on) {
            Some((_, begun)) => begun.push_str(line),
            None => lines.push((index + 1, line.to_owned())),
        }
        goes_on = more;
    }
    lines
}

fn read_commands(line: &str) -> Vec<Command<'_>> {
    let words: Vec<&str> = line.split_whitespace().take_while(|word| !word.starts_with('#')).collect();
    let mut commands = Vec::new();
    let mut begin = 0;
    for end in 0..=words.len() {
        if end == words.len() || matches!(words[end], "||" | "&&" | ";") {
            let reached = words[end..].iter().take_while(|word| **word != ";").any(|word| *word == "||");
            commands.push(Command { words: words[begin..end].to_vec(), has_failure_branch: reached });
            begin = end + 1;
        }
    }
    commands
}
