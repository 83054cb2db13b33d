//! What counts the rounds of a loop, and how high it can be where it is compared.
//!
//! `iseq` asks for one number and no more: a counter that is beyond it, or steps over it, goes on for ever. So a comparison
//! ends a loop only if the counter is at most that number each time it is made. The highest value at each command is
//! found by following all ways until nothing rises any more. Rejected: following all values instead of the highest one,
//! which would also see that 1, 3, 5 meets 5; whoever reads such a script would not.

use super::{commands::Command, flow::Flow};
use std::collections::{BTreeMap, HashMap, VecDeque};

/// More counters than this are not looked at: each doubles the work, and no script needs them.
const COUNTERS: usize = 6;
/// More settings that are counted and compared than this are not followed through the script: each costs a walk.
const FOLLOWED: usize = 64;
/// A value that rises more often than this at one command is taken for the next number that something is compared with.
const EXACT_RISES: usize = 8;
/// One that rises more often than this is taken for any.
const MOST_RISES: usize = 200;
/// Higher than anything it could be compared with.
const ANY: u64 = u64::MAX;

/// Where a setting is counted. Commands are known by their places in the flow.
#[derive(Debug, Clone)]
pub(super) struct Counter {
    /// Count it up.
    pub steps: Vec<usize>,
    /// Give it a value that doesn't come from its last one.
    pub sets: Vec<usize>,
    /// Compare it with a number that it can't be beyond by then.
    pub exits: Vec<usize>,
    compared: Vec<(usize, u64)>,
    /// The highest number that its types hold.
    highest: u64,
}

impl Default for Counter {
    fn default() -> Self {
        Counter { steps: vec![], sets: vec![], exits: vec![], compared: vec![], highest: ANY }
    }
}

/// The counters of a script by their names.
pub(super) fn counters(flow: &Flow) -> BTreeMap<&str, Counter> {
    let mut counters: BTreeMap<&str, Counter> = BTreeMap::new();
    for at in flow.places() {
        let command = flow.command(at);
        if let Some((setting, change)) = change(command) {
            let counter = counters.entry(bare_name(setting)).or_default();
            counter.highest = counter.highest.min(highest_of(setting).unwrap_or(0));
            match change {
                Change::Add(0) => {}
                Change::Add(_) => counter.steps.push(at),
                Change::Become(_) => counter.sets.push(at),
            }
        }
        if let Some((setting, number)) = comparison(command) {
            counters.entry(bare_name(setting)).or_default().compared.push((at, number));
        }
    }
    counters.retain(|_, counter| !counter.steps.is_empty() && !counter.compared.is_empty());
    let mut counters: BTreeMap<&str, Counter> = counters.into_iter().take(FOLLOWED).collect();
    for (name, counter) in &mut counters {
        let at_most = highest_values(flow, name, &counter.compared);
        let is_exit = |(at, number): &&(usize, u64)| {
            *number <= counter.highest && at_most.get(at).is_some_and(|value| value <= number)
        };
        counter.exits = counter.compared.iter().filter(is_exit).map(|(at, _)| *at).collect();
    }
    counters.retain(|_, counter| !counter.exits.is_empty());
    counters.into_iter().take(COUNTERS).collect()
}

/// The highest value of a setting before each command that can be reached. Unset it counts from 0.
fn highest_values(flow: &Flow, name: &str, compared: &[(usize, u64)]) -> HashMap<usize, u64> {
    let mut steps: Vec<u64> = compared.iter().flat_map(|(_, number)| [number - 1, *number]).collect();
    steps.sort_unstable();
    let mut values: HashMap<usize, (u64, usize)> = HashMap::new();
    let mut left: VecDeque<usize> = VecDeque::new();
    let mut next: Vec<(usize, u64)> = flow.entries().iter().map(|at| (*at, 0)).collect();
    loop {
        for (at, value) in next.drain(..) {
            let (known, rises) = values.get(&at).copied().map_or((None, 0), |(known, rises)| (Some(known), rises + 1));
            if known.is_some_and(|known| known >= value) {
                continue;
            }
            let value = match rises {
                0..=EXACT_RISES => value,
                _ if rises > MOST_RISES => ANY,
                _ => steps.get(steps.partition_point(|step| *step < value)).copied().unwrap_or(ANY),
            };
            values.insert(at, (value, rises));
            left.push_back(at);
        }
        let Some(at) = left.pop_front() else { break };
        let value = values.get(&at).map_or(ANY, |(value, _)| *value);
        let (well, failed) = flow.leads_to(at);
        let (if_well, if_failed) = after(flow.command(at), name, value);
        next.extend(well.zip(if_well));
        next.extend(failed.zip(if_failed));
    }
    values.into_iter().map(|(at, (value, _))| (at, value)).collect()
}

/// The highest value behind a command that went well, and behind one that failed; `None` if it can't.
fn after(command: &Command, name: &str, value: u64) -> (Option<u64>, Option<u64>) {
    match (change(command), comparison(command)) {
        (Some((setting, Change::Add(by))), _) if bare_name(setting) == name => {
            (Some(value.saturating_add(by)), Some(value))
        }
        (Some((setting, Change::Become(new))), _) if bare_name(setting) == name => (Some(new), Some(value)),
        (_, Some((setting, number))) if bare_name(setting) == name => {
            ((value >= number).then_some(number), Some(if value == number { number - 1 } else { value }))
        }
        _ => (Some(value), Some(value)),
    }
}

/// What a command makes of a setting.
enum Change {
    Add(u64),
    Become(u64),
}

fn change(command: &Command) -> Option<(&str, Change)> {
    Some(match (command.name(), command.arguments()) {
        ("inc", [name]) => (name, Change::Add(1)),
        ("inc", [name, by]) => (name, number_in(by).map_or(Change::Become(ANY), Change::Add)),
        ("set" | "clear", [name]) => (name, Change::Become(0)),
        ("set", [name, number]) => (name, Change::Become(number_in(number).unwrap_or(ANY))),
        ("set" | "nslookup", [name, ..]) | ("clear" | "read" | "choose", [.., name]) => (name, Change::Become(ANY)),
        _ => return None,
    })
}

/// `tries` and 30 of `iseq ${tries} 30`. A setting in a form that isn't a plain number's is no comparison with a number.
fn comparison(command: &Command) -> Option<(&str, u64)> {
    let ("iseq", [a, b]) = (command.name(), command.arguments()) else { return None };
    [(a, b), (b, a)].into_iter().find_map(|(setting, number)| {
        let setting = setting.strip_prefix("${")?.strip_suffix('}').filter(|inside| !inside.contains("${"))?;
        let number = number_in(number)?;
        // An unset setting is not `0` but nothing.
        (number > 0 && number <= highest_of(setting)?).then_some((setting, number))
    })
}

/// As iPXE writes it: what is compared is text, and `030` is never written.
fn number_in(word: &str) -> Option<u64> {
    word.parse::<u32>().ok().filter(|number| number.to_string() == word).map(u64::from)
}

/// The highest number that a setting of that type holds and shows in decimal; `None` for types that show something else.
fn highest_of(setting: &str) -> Option<u64> {
    Some(match setting.split_once(':').map_or("", |(_, form)| form) {
        "int8" => 0x7f,
        "uint8" => 0xff,
        "int16" => 0x7fff,
        "uint16" => 0xffff,
        "" | "int32" => 0x7fff_ffff,
        "uint32" => 0xffff_ffff,
        _ => return None,
    })
}

/// `tries` of `tries:int32`.
pub(super) fn bare_name(setting: &str) -> &str {
    setting.split(':').next().unwrap_or_default()
}
