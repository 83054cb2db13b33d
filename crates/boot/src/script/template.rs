//! Script templates: text with `{{name}}` places, checked when the service starts.
//!
//! `{{` can't be confused with iPXE's `${`, which passes through untouched. A template that would strand a machine is an
//! error at start, with file and line, not a surprise on a console: see [`lint`].

use super::{
    commands::join_lines,
    fault::TemplateFault,
    flow::Flow,
    lint::{LONGEST, lint, shown},
    pin::pins,
    values::{ScriptValues, ValueError},
};
use std::{
    collections::BTreeMap,
    fmt,
    io::Read,
    path::{Path, PathBuf},
};

/// Name of the template that machines boot with unless something else is said.
const FOUNDATION: &str = "foundation";

/// Its text, for whoever makes a template of their own from it.
pub const FOUNDATION_TEMPLATE: &str = include_str!("../../templates/foundation.ipxe");

const BUILTIN: [(&str, &str); 2] =
    [(FOUNDATION, FOUNDATION_TEMPLATE), ("phoenix-ce", include_str!("../../templates/phoenix-ce.ipxe"))];

/// The longest line of a rendered script: a kernel of x86 cuts its command line off at 2048 bytes, and so the token.
pub(super) const LONGEST_LINE: usize = 2000;

/// With its own blank: a script without it is to the letter what it would be without the place.
const AGENT_INIT: &str = " rdinit=/metalform/init";

/// All templates by name.
#[derive(Debug, Clone)]
pub struct Templates(BTreeMap<String, Template>);

impl Templates {
    /// The built-in ones alone: `foundation` and `phoenix-ce`.
    pub fn builtin() -> Self {
        let parse = |(name, text): (&str, &str)| {
            let template = Template::parse(Path::new(name), text).expect("a test checks the built-in templates");
            (name.to_owned(), template)
        };
        Templates(BUILTIN.map(parse).into())
    }

    /// The built-in ones, and every `NAME.ipxe` in `dir`, which may override them. Answers all faults of all files.
    pub fn load(dir: &Path) -> Result<Self, TemplateErrors> {
        let mut templates = Self::builtin();
        let mut errors = Vec::new();
        let entries =
            std::fs::read_dir(dir).map_err(|error| TemplateErrors(vec![TemplateError::unreadable(dir, error)]))?;
        let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        files.sort();
        for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "ipxe")) {
            let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            match Template::read(file) {
                Err(faults) => errors.extend(faults),
                Ok(template) => drop(templates.0.insert(name, template)),
            }
        }
        if errors.is_empty() { Ok(templates) } else { Err(TemplateErrors(errors)) }
    }

    /// Whether there is one of that name.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Their names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Whether the kernel that scripts made from it boot is given the pin of our authority, and the agent that goes by it, where
    /// there are both; `name` `None` is `foundation`.
    pub fn pins(&self, name: Option<&str>) -> bool {
        let template = self.0.get(name.unwrap_or(FOUNDATION));
        template.is_some_and(|template| template.pins)
    }

    /// The script of a node; `name` `None` is `foundation`. `None` if there is no such template.
    pub fn render(&self, name: Option<&str>, values: &ScriptValues<'_>) -> Option<Result<String, ValueError>> {
        Some(self.0.get(name.unwrap_or(FOUNDATION))?.render(values))
    }
}

/// As a template's file would be taken and rendered.
#[cfg(feature = "fuzzing")]
pub(crate) fn render_any(text: &str, values: &ScriptValues<'_>) -> Option<String> {
    Template::parse(Path::new("template"), text).ok()?.render(values).ok()
}

/// Every fault of a script or template file, none if it is good. Reads the file.
pub fn lint_file(file: &Path) -> Result<(), TemplateErrors> {
    Template::read(file).map(drop).map_err(TemplateErrors)
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
    /// The line as it is written; empty for the file as a whole.
    pub text: String,
    /// What is wrong there.
    pub fault: TemplateFault,
}

impl TemplateError {
    fn unreadable(file: &Path, error: std::io::Error) -> TemplateError {
        TemplateError { file: file.into(), line: 0, text: String::new(), fault: TemplateFault::Unreadable(error) }
    }
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

/// A checked template.
#[derive(Debug, Clone)]
struct Template {
    parts: Vec<Part>,
    /// By what it boots, see [`super::pin`].
    pins: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Part {
    Text(String),
    Place(Place),
}

/// What a place stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    ServerId,
    MgmtIp,
    BootHost,
    BootAddress,
    BootToken,
    Images,
    Netmask,
    Gateway,
    Dns,
    Squashfs,
    AgentInit,
    KernelSha256,
    InitrdSha256,
    CheckedToken,
    CaSha256,
}

impl Place {
    /// All of them, as they are written.
    pub const NAMES: [(&str, Place); 15] = [
        ("server_id", Place::ServerId),
        ("mgmt_ip", Place::MgmtIp),
        ("boot_host", Place::BootHost),
        ("boot_address", Place::BootAddress),
        ("boot_token", Place::BootToken),
        ("images", Place::Images),
        ("netmask", Place::Netmask),
        ("gateway", Place::Gateway),
        ("dns", Place::Dns),
        ("squashfs", Place::Squashfs),
        ("agent_init", Place::AgentInit),
        ("kernel_sha256", Place::KernelSha256),
        ("initrd_sha256", Place::InitrdSha256),
        ("checked_token", Place::CheckedToken),
        ("ca_sha256", Place::CaSha256),
    ];

    pub fn named(name: &str) -> Option<Place> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, place)| *place)
    }

    fn value(self, values: &ScriptValues<'_>) -> Result<String, ValueError> {
        let network = || values.network.ok_or(ValueError::NO_NETWORK);
        Ok(match self {
            Place::ServerId => values.server_id.to_owned(),
            Place::MgmtIp => values.mgmt_ip.to_string(),
            Place::BootHost => values.boot_host.to_string(),
            Place::BootAddress => values.boot_host.host().to_owned(),
            Place::BootToken => values.boot_token.expose().to_owned(),
            Place::Images => match values.image_set {
                Some(set) => format!("images/{set}"),
                None => "images".to_owned(),
            },
            Place::Netmask => network()?.netmask.to_string(),
            Place::Gateway => network()?.gateway.to_string(),
            Place::Dns => network()?.dns.ok_or(ValueError::NO_DNS)?.to_string(),
            Place::Squashfs => values.squashfs.ok_or(ValueError::NO_SQUASHFS)?.to_owned(),
            // Nothing where nothing is known: `isset` asks for it.
            Place::KernelSha256 => values.kernel_sha256.unwrap_or_default().to_owned(),
            Place::InitrdSha256 => values.initrd_sha256.unwrap_or_default().to_owned(),
            Place::CheckedToken => values.checked_token.unwrap_or(values.boot_token).expose().to_owned(),
            Place::AgentInit => match (values.has_agent, values.manifest_sha256) {
                (false, _) => String::new(),
                (true, None) => AGENT_INIT.to_owned(),
                (true, Some(digest)) => format!("{AGENT_INIT} manifest_sha256={digest}"),
            },
            // With its own blank, as the one before. Whatever else is booted would pass the word over, and go on in the clear.
            Place::CaSha256 => match &values.ca_sha256 {
                Some(digits) if values.has_agent => format!(" ca_sha256={digits}"),
                _ => String::new(),
            },
        })
    }
}

/// Text and places, in order. Both the linter and the renderer read a template by it, so that nothing which the one lets
/// pass is lost by the other. All faulty places, each with its line; a place is closed in the line that opens it.
pub(super) fn read_parts(text: &str) -> Result<Vec<Part>, Vec<(usize, TemplateFault)>> {
    let (mut parts, mut faults) = (Vec::new(), Vec::new());
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let mut rest = line;
        while let Some((before, after)) = rest.split_once("{{") {
            parts.push(Part::Text(before.to_owned()));
            let Some((name, behind)) = after.split_once("}}") else {
                faults.push((index + 1, TemplateFault::UnclosedPlace(shown(after.trim_end()))));
                rest = "";
                break;
            };
            match Place::named(name) {
                Some(place) => parts.push(Part::Place(place)),
                None => faults.push((index + 1, TemplateFault::UnknownPlace(shown(name)))),
            }
            rest = behind;
        }
        parts.push(Part::Text(rest.to_owned()));
    }
    if faults.is_empty() { Ok(parts) } else { Err(faults) }
}

/// Renders a text of our own, which a test holds to be a good template.
pub(super) fn render_text(text: &str, values: &ScriptValues<'_>) -> Result<String, ValueError> {
    Template { parts: read_parts(text).unwrap_or_default(), pins: false }.render(values)
}

impl Template {
    fn read(file: &Path) -> Result<Template, Vec<TemplateError>> {
        // Not to the end: a device may have none. Bytes first, because the limit may lie within a character.
        let mut bytes = Vec::new();
        let read = std::fs::File::open(file).and_then(|file| file.take(LONGEST as u64 + 1).read_to_end(&mut bytes));
        let unreadable = |error| vec![TemplateError::unreadable(file, error)];
        read.map_err(unreadable)?;
        if bytes.len() > LONGEST {
            let fault = TemplateFault::TooLong;
            return Err(vec![TemplateError { file: file.into(), line: 0, text: String::new(), fault }]);
        }
        let text = String::from_utf8(bytes).map_err(|error| unreadable(std::io::Error::other(error)))?;
        Template::parse(file, &text)
    }

    fn parse(file: &Path, text: &str) -> Result<Template, Vec<TemplateError>> {
        let line_text = |line: usize| text.lines().nth(line.saturating_sub(1)).unwrap_or_default().to_owned();
        let error = |(line, fault)| TemplateError { file: file.to_owned(), line, text: line_text(line), fault };
        let errors = |faults: Vec<_>| faults.into_iter().map(error).collect::<Vec<_>>();
        let faults = lint(text);
        if !faults.is_empty() {
            return Err(errors(faults));
        }
        let parts = read_parts(text).map_err(errors)?;
        let (pins, _) = pins(&Flow::read(text));
        Ok(Template { parts, pins })
    }

    fn render(&self, values: &ScriptValues<'_>) -> Result<String, ValueError> {
        values.check()?;
        let mut script = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => script.push_str(text),
                Part::Place(place) => script.push_str(&place.value(values)?),
            }
        }
        if join_lines(&script).iter().any(|(_, line)| line.len() > LONGEST_LINE) {
            return Err(ValueError::LINE_TOO_LONG);
        }
        Ok(script)
    }
}
