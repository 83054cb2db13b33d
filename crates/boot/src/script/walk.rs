//! The ways through a script, from its first command on.
//!
//! A `goto` to a setting is followed where the script itself has put a label there: what such settings hold is part of a
//! place, so that a part of a script which is entered from two sides goes back to each by its own way. Rejected: an edge to
//! every label that the setting ever holds, which makes loops of scripts that have none. Where a person, the network or a
//! place says the label, the jump is taken for a choice: it may lead to any label, and makes no loop.

use super::{
    commands::{Command, Ends, Line, Then},
    counter::bare_name,
};
use std::collections::{BTreeSet, HashMap};

/// More settings than this that are jumped to are not followed.
const JUMP_SETTINGS: usize = 4;
/// A script that has more places than commands by so many has a choice in every jump.
const MOST_EXTRA_PLACES: usize = 20_000;

/// What was found on all ways.
#[derive(Default)]
pub(super) struct Walk {
    /// Line and command of each place.
    pub places: Vec<(usize, usize)>,
    pub edges: Vec<Edges>,
    /// The first place, and those that a choice can lead to.
    pub entries: Vec<usize>,
    /// Lines of jumps to a setting which holds what isn't a label, with what it holds.
    pub astray: BTreeSet<(usize, String)>,
}

/// Where it goes on from a place.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Edges {
    pub well: Option<usize>,
    pub failed: Option<usize>,
}

impl Edges {
    pub fn all(self) -> impl Iterator<Item = usize> {
        self.well.into_iter().chain(self.failed)
    }
}

/// What each followed setting holds, if the script has said so.
type Held<'a> = Vec<Option<&'a str>>;

/// The places that were met so far: a command, and what the followed settings hold there.
#[derive(Default)]
struct Met<'a> {
    in_order: Vec<(usize, Held<'a>)>,
    known: HashMap<(usize, Held<'a>), usize>,
}

impl<'a> Met<'a> {
    fn place_of(&mut self, command: usize, held: &Held<'a>) -> usize {
        *self.known.entry((command, held.clone())).or_insert_with(|| {
            self.in_order.push((command, held.clone()));
            self.in_order.len() - 1
        })
    }
}

impl Walk {
    pub fn through(lines: &[Line]) -> Walk {
        let commands = || lines.iter().flat_map(|line| &line.commands);
        let mut followed: Vec<&str> = commands().filter_map(jump_setting).collect();
        followed.sort_unstable();
        followed.dedup();
        followed.truncate(JUMP_SETTINGS);
        let most = commands().count() + MOST_EXTRA_PLACES;
        // Without a setting to follow there is one place for each command at most, and so always an answer.
        Walk::following(lines, &followed, most).or_else(|| Walk::following(lines, &[], usize::MAX)).unwrap_or_default()
    }

    /// `None` if there are more places than `most`.
    fn following(lines: &[Line], followed: &[&str], most: usize) -> Option<Walk> {
        let (mut starts, mut commands) = (Vec::new(), Vec::new());
        let mut labels: HashMap<&str, usize> = HashMap::new();
        for (at, line) in lines.iter().enumerate() {
            starts.push(commands.len());
            if let Some(label) = &line.label {
                // Of two equal ones the first counts.
                labels.entry(label).or_insert(commands.len());
            }
            commands.extend((0..line.commands.len()).map(|command| (at, command)));
        }
        let mut walk = Walk::default();
        let mut met = Met::default();
        let nothing: Held<'_> = vec![None; followed.len()];
        if !commands.is_empty() {
            walk.entries.push(met.place_of(0, &nothing));
        }
        let mut has_choice = false;
        while let Some((number, held)) = met.in_order.get(walk.places.len()).cloned() {
            let (line, at) = commands[number];
            let command = &lines[line].commands[at];
            let mut edges = edges_of(lines, &starts, &labels, line, at);
            if is_computed_jump(command) {
                let label =
                    jump_setting(command).and_then(|setting| held[followed.iter().position(|f| *f == setting)?]);
                match label.map(|label| (label, labels.get(label))) {
                    Some((_, Some(to))) => edges = Edges { well: Some(*to), failed: None },
                    Some((label, None)) => drop(walk.astray.insert((lines[line].number, label.to_owned()))),
                    None if !has_choice => {
                        has_choice = true;
                        let all: BTreeSet<usize> = labels.values().copied().collect();
                        walk.entries.extend(all.into_iter().map(|to| met.place_of(to, &nothing)));
                    }
                    None => {}
                }
            }
            let then = held_after(command, followed, &held);
            let well = edges.well.map(|next| met.place_of(next, &then));
            let failed = edges.failed.map(|next| met.place_of(next, &held));
            walk.places.push((line, at));
            walk.edges.push(Edges { well, failed });
            if met.in_order.len() > most {
                return None;
            }
        }
        Some(walk)
    }
}

fn is_computed_jump(command: &Command) -> bool {
    command.name() == "goto" && command.arguments().first().is_some_and(|label| label.contains("${"))
}

/// `there` of `goto ${there}`.
fn jump_setting(command: &Command) -> Option<&str> {
    let ("goto", Some(label)) = (command.name(), command.arguments().first()) else { return None };
    label.strip_prefix("${")?.strip_suffix('}').filter(|setting| !setting.contains(['$', '{', ':']))
}

/// What the followed settings hold after a command that went well.
fn held_after<'a>(command: &'a Command, followed: &[&str], held: &Held<'a>) -> Held<'a> {
    let mut held = held.clone();
    let (setting, value) = match (command.name(), command.arguments()) {
        ("set", [setting, value]) => (setting, Some(value.as_str())),
        ("set" | "inc" | "nslookup", [setting, ..]) | ("clear" | "read" | "choose", [.., setting]) => (setting, None),
        _ => return held,
    };
    if let Some(at) = followed.iter().position(|name| *name == bare_name(setting)) {
        let is_text = !setting.contains(':') || setting.ends_with(":string");
        held[at] = value.filter(|value| is_text && !value.contains("${") && !value.contains("{{"));
    }
    held
}

/// Where a command leads to when it went well and when it failed.
fn edges_of(lines: &[Line], starts: &[usize], labels: &HashMap<&str, usize>, line: usize, command: usize) -> Edges {
    let commands = &lines[line].commands;
    let this = &commands[command];
    // A skipped command leaves the result as it is, and what joins it to the next one is looked at all the same.
    let after = |failed: bool| {
        let next = (command..commands.len()).find_map(|at| match commands[at].then {
            Then::IfFailed if failed => Some(Some(at + 1)),
            Then::IfWell if !failed => Some(Some(at + 1)),
            Then::Always => Some(Some(at + 1)),
            Then::EndOfLine => Some(None),
            Then::IfFailed | Then::IfWell => None,
        });
        match next.flatten() {
            Some(next) => Some(starts[line] + next),
            None if failed => None,
            None => starts.get(line + 1).copied(),
        }
    };
    let (well, failed) = (after(false), after(true));
    match (this.name(), this.ends()) {
        // To a label that isn't there, or that only a setting names, it can fail; it never goes on with the next line.
        ("goto", _) => {
            let to = this.arguments().first().and_then(|label| labels.get(label.as_str()).copied());
            Edges { well: to, failed: if to.is_some() { None } else { failed } }
        }
        (_, Some(Ends::Well)) => Edges { well, failed: None },
        (_, Some(Ends::NotAtAll)) => Edges { well: None, failed },
        (_, Some(Ends::Leaves)) => Edges::default(),
        (_, Some(Ends::EitherWay)) => Edges { well, failed },
        // A mistyped command is one that will do something once it is mended, nobody knows what: either way, so that what is
        // behind it is looked at now and not only then.
        (_, None) => Edges { well, failed },
    }
}
