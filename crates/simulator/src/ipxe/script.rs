//! A script as iPXE reads it: lines, an optional label each, words split on whitespace *before* any `${…}` is expanded,
//! and commands joined by `||`, `&&` or `;`, which count only where they stand as words of their own.

use std::sync::Arc;

/// The text is no iPXE script: its first line is not `#!ipxe` followed by white space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Exec format error: the first line is not \"#!ipxe\"")]
pub struct NotAScript;

/// When the next command of a line runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// `||`
    IfFailed,
    /// `&&`
    IfOk,
    /// `;`
    Always,
    /// The line is over.
    EndOfLine,
}

/// One command with its words as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Command {
    pub words: Vec<String>,
    pub then: Then,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub label: Option<String>,
    pub commands: Vec<Command>,
}

/// A parsed script; cheap to copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    pub(super) lines: Arc<[Line]>,
}

impl Script {
    /// Reads a script. Whether its commands exist is found out when they run, as in iPXE.
    pub fn parse(text: &str) -> Result<Script, NotAScript> {
        if !Self::has_magic(text) {
            return Err(NotAScript);
        }
        let mut lines = Vec::new();
        let mut rest = text.split('\n');
        while let Some(first) = rest.next() {
            let mut line = first.strip_suffix('\r').unwrap_or(first).to_owned();
            while let Some(continued) = line.strip_suffix('\\') {
                line = continued.to_owned();
                let Some(next) = rest.next() else { break };
                line.push_str(next.strip_suffix('\r').unwrap_or(next));
            }
            lines.push(read_line(&line));
        }
        Ok(Script { lines: lines.into() })
    }

    /// Whether a text begins as a script must.
    pub fn has_magic(text: &str) -> bool {
        text.strip_prefix("#!ipxe").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_whitespace()))
    }

    /// The line of a label; the first one counts.
    pub(super) fn find_label(&self, label: &str) -> Option<usize> {
        self.lines.iter().position(|line| line.label.as_deref() == Some(label))
    }
}

fn read_line(line: &str) -> Line {
    let mut text = line.trim_start();
    let mut label = None;
    if let Some(after) = text.strip_prefix(':') {
        let end = after.find(|c: char| c.is_ascii_whitespace()).unwrap_or(after.len());
        label = Some(after[..end].to_owned());
        text = &after[end..];
    }
    let mut commands = Vec::new();
    let mut words = Vec::new();
    for word in text.split_ascii_whitespace() {
        let then = match word {
            "||" => Then::IfFailed,
            "&&" => Then::IfOk,
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
    Line { label, commands }
}
