//! Command-line options as iPXE reads them: `--name value`, `--name=value` or the short letter, and only before the
//! first plain word; an unknown one is an error.

use super::IpxeError;
use std::time::Duration;

/// The options of the commands that take or run images.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub name: Option<String>,
    pub timeout: Option<Duration>,
    pub autofree: bool,
    pub replace: bool,
    pub set: Option<String>,
    pub other: Vec<String>,
}

/// Which options a command knows: those that take a value and those that do not.
pub(super) struct Known {
    pub valued: &'static [(&'static str, &'static str)],
    pub flags: &'static [(&'static str, &'static str)],
}

pub(super) const NONE: Known = Known { valued: &[], flags: &[] };
pub(super) const FETCH: Known =
    Known { valued: &[("--name", "-n"), ("--timeout", "-t")], flags: &[("--autofree", "-a")] };
pub(super) const DIGEST: Known = Known { valued: &[("--set", "-s")], flags: &[] };
pub(super) const EXECUTE: Known =
    Known { valued: &[("--name", "-n"), ("--timeout", "-t")], flags: &[("--autofree", "-a"), ("--replace", "-r")] };

/// Takes the options off the front of `words`.
pub(super) fn take(words: &[String], known: &Known) -> Result<(Options, Vec<String>), IpxeError> {
    let mut options = Options::default();
    let mut rest = words.iter();
    while let Some(word) = rest.as_slice().first().filter(|word| word.starts_with('-') && word.len() > 1) {
        rest.next();
        if word == "--" {
            break;
        }
        let (key, inline) = word.split_once('=').map_or((word.as_str(), None), |(k, v)| (k, Some(v.to_owned())));
        let is = |(long, short): &&(&str, &str)| key == *long || key == *short;
        if let Some((long, _)) = known.flags.iter().find(is) {
            match *long {
                "--autofree" => options.autofree = true,
                "--replace" => options.replace = true,
                other => options.other.push(other.to_owned()),
            }
        } else if let Some((long, _)) = known.valued.iter().find(is) {
            let value = inline
                .or_else(|| rest.next().cloned())
                .ok_or_else(|| IpxeError::invalid(format!("Option \"{key}\" requires an argument")))?;
            match *long {
                "--name" => options.name = Some(value),
                "--set" => options.set = Some(value),
                "--timeout" => {
                    let millis = value.parse().map_err(|_| IpxeError::invalid(format!("\"{value}\"")))?;
                    options.timeout = Some(Duration::from_millis(millis)).filter(|t| !t.is_zero());
                }
                other => options.other.push(format!("{other}={value}")),
            }
        } else {
            return Err(IpxeError::invalid(format!("Unrecognised option \"{key}\"")));
        }
    }
    Ok((options, rest.cloned().collect()))
}
