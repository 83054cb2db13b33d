//! Where a script can go from each of its commands, and which of its loops never end.
//!
//! A loop ends if every way round it passes both `inc X` and an `iseq ${X} N` which `X` can't be beyond by then, and nothing
//! on the way sets `X` again: see [`super::counter`]. So a way round that misses either, for every counter there is, is found by taking one of the
//! two out of the graph and looking whether a loop is left. Rejected: counting how often a label can be reached, which
//! would have to run the script.

use super::{
    commands::{Command, LOADS, Line, read_lines},
    counter::{Counter, counters},
    walk::{Edges, Walk},
};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// The commands of a script as a graph: those that can be reached. A command that is reached with different labels in the
/// settings that are jumped to has several places.
pub(super) struct Flow {
    pub lines: Vec<Line>,
    /// Line and command of each place.
    places: Vec<(usize, usize)>,
    edges: Vec<Edges>,
    /// Where it begins, and where a person's choice can lead to.
    entries: Vec<usize>,
    /// Lines of jumps to a setting which holds what isn't a label, with what it holds.
    pub astray: BTreeSet<(usize, String)>,
}

impl Flow {
    pub fn read(text: &str) -> Flow {
        let lines = read_lines(text);
        let Walk { places, edges, entries, astray } = Walk::through(&lines);
        Flow { lines, places, edges, entries, astray }
    }

    pub fn places(&self) -> std::ops::Range<usize> {
        0..self.places.len()
    }

    pub fn entries(&self) -> &[usize] {
        &self.entries
    }

    /// The places where it goes on after a command that went well, and after one that failed.
    pub fn leads_to(&self, at: usize) -> (Option<usize>, Option<usize>) {
        (self.edges[at].well, self.edges[at].failed)
    }

    pub fn command(&self, at: usize) -> &Command {
        let (line, command) = self.places[at];
        &self.lines[line].commands[command]
    }

    pub fn line_number(&self, at: usize) -> usize {
        self.lines[self.places[at].0].number
    }

    /// The loops that nothing ends: the line of each one's last jump back.
    pub fn endless_loops(&self) -> Vec<usize> {
        let mut found = BTreeSet::new();
        let counters = counters(self);
        self.look_for_loops(&self.places().collect(), &counters, &mut found);
        found.into_iter().collect()
    }

    fn look_for_loops(&self, within: &HashSet<usize>, counters: &BTreeMap<&str, Counter>, found: &mut BTreeSet<usize>) {
        for knot in self.knots(within) {
            let counter = counters.iter().find_map(|(name, counter)| {
                let inside = |all: &[usize]| all.iter().copied().filter(|at| knot.contains(at)).collect::<Vec<_>>();
                let (exits, steps) = (inside(&counter.exits), inside(&counter.steps));
                let is_set_again = counter.sets.iter().any(|at| knot.contains(at));
                (!exits.is_empty() && !steps.is_empty() && !is_set_again).then_some((*name, exits, steps))
            });
            let Some((name, exits, steps)) = counter else {
                found.extend(self.last_jump_back(&knot));
                continue;
            };
            let mut others = counters.clone();
            others.remove(name);
            for taken_out in [exits, steps] {
                let rest: HashSet<usize> = knot.iter().copied().filter(|at| !taken_out.contains(at)).collect();
                self.look_for_loops(&rest, &others, found);
            }
        }
    }

    fn last_jump_back(&self, knot: &HashSet<usize>) -> Option<usize> {
        let is_before = |next: &usize, at: &usize| self.places[*next] <= self.places[*at];
        let is_back = |at: &&usize| self.edges[**at].all().any(|next| is_before(&next, at) && knot.contains(&next));
        knot.iter().filter(is_back).map(|at| self.line_number(*at)).max()
    }

    /// The lines that fetch an image which is still there from the last round: from where the fetch went well a way leads
    /// back to it on which nothing frees the image.
    pub fn reloads(&self) -> Vec<usize> {
        // Without what frees everything; then, for each image that is freed by its name, without that, too.
        let kept: HashSet<usize> = self.places().filter(|at| self.freed_by(*at) != Some(None)).collect();
        let whole = self.knot_of_each(&kept);
        let fetched: HashSet<&str> = kept.iter().filter_map(|at| self.command(*at).image_name()).collect();
        let mut by_name: HashMap<&str, HashMap<usize, usize>> = HashMap::new();
        for name in kept.iter().filter_map(|at| self.freed_by(*at).flatten()) {
            if fetched.contains(name) && !by_name.contains_key(name) {
                let rest = kept.iter().copied().filter(|at| self.freed_by(*at) != Some(Some(name))).collect();
                by_name.insert(name, self.knot_of_each(&rest));
            }
        }
        let mut lines = BTreeSet::new();
        for at in kept {
            let command = self.command(at);
            let frees_itself = command.options().0.iter().any(|(name, _)| matches!(*name, "--autofree" | "-a"));
            if !LOADS.contains(&command.name()) || frees_itself {
                continue;
            }
            let knots = command.image_name().and_then(|name| by_name.get(name)).unwrap_or(&whole);
            let next = self.edges[at].well.and_then(|next| knots.get(&next));
            if next.is_some() && next == knots.get(&at) {
                lines.insert(self.line_number(at));
            }
        }
        lines.into_iter().collect()
    }

    /// The places that can be reached behind such a command that went well, as long as not all images are freed.
    pub fn after(&self, begins: impl Fn(&Command) -> bool) -> HashSet<usize> {
        let beginnings = self.places().filter(|at| begins(self.command(*at)));
        let mut left: Vec<usize> = beginnings.filter_map(|at| self.edges[at].well).collect();
        let mut reached = HashSet::new();
        while let Some(at) = left.pop() {
            if self.freed_by(at) != Some(None) && reached.insert(at) {
                left.extend(self.edges[at].all());
            }
        }
        reached
    }

    /// The places of such commands from whose failure a way leads to a `boot`, as long as not all images are freed.
    pub fn boots_after_failed(&self, compares: impl Fn(&Command) -> bool) -> impl Iterator<Item = usize> {
        self.places().filter(move |at| compares(self.command(*at)) && self.boots_from(self.edges[*at].failed))
    }

    fn boots_from(&self, start: Option<usize>) -> bool {
        let mut left: Vec<usize> = start.into_iter().collect();
        let mut reached = HashSet::new();
        while let Some(at) = left.pop() {
            if self.freed_by(at) == Some(None) || !reached.insert(at) {
                continue;
            }
            if matches!(self.command(at).name(), "boot" | "imgexec") {
                return true;
            }
            left.extend(self.edges[at].all());
        }
        false
    }

    /// What an `imgfree` frees: `Some(None)` is everything.
    fn freed_by(&self, at: usize) -> Option<Option<&str>> {
        let command = self.command(at);
        (command.name() == "imgfree").then(|| command.arguments().first().map(String::as_str))
    }

    fn knot_of_each(&self, within: &HashSet<usize>) -> HashMap<usize, usize> {
        let knots = self.knots(within).into_iter().enumerate();
        knots.flat_map(|(number, knot)| knot.into_iter().map(move |at| (at, number))).collect()
    }

    /// The strongly connected parts of a part of the graph that hold a loop.
    fn knots(&self, within: &HashSet<usize>) -> Vec<HashSet<usize>> {
        let ahead = |at: usize| self.edges[at].all().filter(|next| within.contains(next)).collect::<Vec<_>>();
        // Kosaraju's: finished last is looked at first, backwards. Without recursion, which a long script would exhaust.
        let mut all: Vec<usize> = within.iter().copied().collect();
        all.sort_unstable();
        let (mut seen, mut finished) = (HashSet::new(), Vec::new());
        for start in all {
            if !seen.insert(start) {
                continue;
            }
            let mut stack = vec![(start, ahead(start))];
            while let Some((at, left)) = stack.last_mut() {
                match left.pop() {
                    Some(next) if seen.insert(next) => {
                        let more = ahead(next);
                        stack.push((next, more));
                    }
                    Some(_) => {}
                    None => {
                        finished.push(*at);
                        stack.pop();
                    }
                }
            }
        }
        let mut behind: HashMap<usize, Vec<usize>> = HashMap::new();
        for at in within {
            for next in ahead(*at) {
                behind.entry(next).or_default().push(*at);
            }
        }
        let (mut taken, mut knots) = (HashSet::new(), Vec::new());
        for start in finished.into_iter().rev() {
            if !taken.insert(start) {
                continue;
            }
            let (mut knot, mut stack) = (HashSet::from([start]), vec![start]);
            while let Some(at) = stack.pop() {
                for before in behind.get(&at).into_iter().flatten() {
                    if taken.insert(*before) {
                        knot.insert(*before);
                        stack.push(*before);
                    }
                }
            }
            if knot.len() > 1 || self.edges[start].all().any(|next| next == start) {
                knots.push(knot);
            }
        }
        knots
    }
}
