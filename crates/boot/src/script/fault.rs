//! What can be wrong with a template, and what to write instead.

use super::{lint::options_of, template::Place};
use std::borrow::Cow;

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
    /// A place that no value belongs to.
    #[error("unknown place `{{{{{0}`")]
    UnknownPlace(String),
    /// A place that its line doesn't close.
    #[error("the place `{{{{{0}` is not closed")]
    UnclosedPlace(String),
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
    /// A setting's value would be run, whatever it is.
    #[error("`{0}` stands where a command belongs")]
    SettingAsCommand(String),
    /// The command needs more words.
    #[error("`{command}` has no {missing}")]
    MissingArgument {
        /// The command.
        command: String,
        /// What it needs.
        missing: &'static str,
    },
    /// The option's value is missing.
    #[error("`{command}` has no value behind `{option}`")]
    MissingValue {
        /// The command.
        command: String,
        /// As it is written.
        option: String,
    },
    /// A kernel would cut the line off.
    #[error("the line is {0} bytes long, not counting its places")]
    LineTooLong(usize),
    /// The command's failure would end the script.
    #[error("`{0}` has no failure branch")]
    NoFailureBranch(String),
    /// The kernel would not see its initrd under UEFI.
    #[error("`{0}` has no `initrd=`")]
    NoInitrdArgument(String),
    /// `initrd=` names an image that the script doesn't fetch.
    #[error("no image is named `{0}`, which `initrd=` asks for")]
    InitrdNotFetched(String),
    /// An initrd that the kernel would not see under UEFI.
    #[error("no `initrd=` names the image `{0}`")]
    InitrdNotNamed(String),
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
    /// A setting whose value is not ours stands on the kernel's line.
    #[error("`${{{0}}}` stands on the kernel's line as it is")]
    SettingOnKernelLine(String),
    /// What was compared with a digest and differs would be booted.
    #[error("what differs from its digest is booted all the same")]
    DigestIgnored,
    /// `ca_sha256=` written out: it is another one after the next renewal, and nobody knows that it is there.
    #[error("the pin is written out")]
    PinWritten,
    /// `{{ca_sha256}}` on a line without `{{agent_init}}`.
    #[error("the pin stands on a line that starts no agent")]
    PinWithoutAgent,
    /// What is booted has the pin by one way and not by another.
    #[error("whether the kernel has the pin depends on the way")]
    PinDepends,
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
            TemplateFault::UnclosedPlace(_) => "write `}}` behind its name, on the same line",
            TemplateFault::MisplacedPlace(_) => "a place stands for one argument, or a part of one",
            TemplateFault::UnknownCommand { meant: Some(meant), .. } => {
                return Cow::Owned(format!("did you mean `{meant}`?"));
            }
            TemplateFault::UnknownCommand { meant: None, .. } => "ipxe.org/cmd lists the commands",
            TemplateFault::UnknownOption { command, .. } => {
                return Cow::Owned(format!("it has {}", options_of(command).unwrap_or_default().join(" ")));
            }
            TemplateFault::SettingAsCommand(_) => {
                "write the command itself; what a setting decides is an `iseq` and a `goto`"
            }
            TemplateFault::MissingArgument { .. } => "without it the command fails every time",
            TemplateFault::MissingValue { option, .. } => {
                return Cow::Owned(format!("write `{option} VALUE`, or leave the option out"));
            }
            TemplateFault::LineTooLong(_) => {
                "at most 2000: a kernel cuts its command line off at 2048 bytes, and the boot token with it"
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
            TemplateFault::InitrdNotNamed(name) => {
                return Cow::Owned(format!("put `initrd={name}` on the `kernel` line, too: UEFI may find no other"));
            }
            TemplateFault::ConsoleDropped => "put all arguments on the `kernel` line",
            TemplateFault::UnknownLabel(_) => "a label is a line that begins with `:`",
            TemplateFault::DuplicateLabel(_) => "rename one of them",
            TemplateFault::EndlessLoop => {
                "count the rounds: `set tries:int32 0` before the loop, `inc tries` once a round, then `iseq ${tries} 30 && goto give_up ||` with a label outside of the loop"
            }
            TemplateFault::NoImgfree => "write `imgfree` where the loop begins",
            TemplateFault::UnescapedSetting(_) => {
                "say how it is written: `:uristring` for texts, `:hexhyp` for addresses of network cards"
            }
            TemplateFault::SettingOnKernelLine(_) => {
                "the network can write arguments by it: say how it is written, `:uristring` for texts, `:hexhyp` for addresses"
            }
            TemplateFault::DigestIgnored => {
                "end the line with `|| goto LABEL`, where LABEL leads to `imgfree` before it leads to `boot`"
            }
            TemplateFault::PinWritten => "write `{{ca_sha256}}`, directly behind another argument",
            TemplateFault::PinWithoutAgent => {
                "write `{{agent_init}}{{ca_sha256}}`: only the agent knows what to do with it"
            }
            TemplateFault::PinDepends => {
                "write `{{agent_init}}{{ca_sha256}}` on every line that gives the kernel its arguments, or on none"
            }
            TemplateFault::TokenShown(_) => {
                "use {{boot_token}} as an argument on the `kernel` line and behind the `?` of a URL only: consoles show the rest"
            }
        })
    }
}
