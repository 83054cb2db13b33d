//! What a watched deployment looks like: documents for a program, lines where nobody looks at a screen, and at a terminal
//! the lines that matter above one live line a node. Lines say at least once a minute what is waited for.

use crate::{
    error::CliError,
    output::Output,
    timeline::{Times, cluster_line, event_line, node_line, waiting_lines},
};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use metalform_model::{ClusterStatus, Event, Timestamp, kind};
use std::{collections::BTreeMap, sync::Mutex, time::Duration};

/// One for all clusters that are watched together.
pub struct Display<'a> {
    out: &'a Output,
    shape: Shape,
    /// Several clusters: each line says whose it is.
    name_cluster: bool,
}

enum Shape {
    Json,
    Lines(Mutex<BTreeMap<String, Quiet>>),
    Live(Live),
}

/// Nothing is printed of a cluster for so long, and then what it waits for. Less than the minute that is promised: a cluster
/// is looked at every second or so.
const QUIET: Duration = Duration::from_secs(50);

/// Since when nothing was printed of a cluster.
#[derive(Debug, Default)]
struct Quiet {
    /// `None`: it was first seen, or something was printed, since it was last looked at.
    since: Option<Timestamp>,
}

impl Quiet {
    /// Something was printed.
    fn end(&mut self) {
        self.since = None;
    }

    /// Whether it has lasted too long, at a time that never comes before the last. Asked once, it begins anew.
    fn is_too_long(&mut self, now: Timestamp) -> bool {
        let is_too_long = now.since(*self.since.get_or_insert(now)) >= QUIET;
        if is_too_long {
            self.since = Some(now);
        }
        is_too_long
    }
}

struct Live {
    screen: MultiProgress,
    /// By cluster and place within it.
    lines: Mutex<BTreeMap<(String, usize), ProgressBar>>,
}

/// The kinds shown above the live lines; what the others say shows in those.
const TOLD_LIVE: &[&str] = &[
    kind::DEPLOYMENT_STARTED,
    kind::NODE_ORDERING,
    kind::NODES_WAITING,
    kind::NODES_READY,
    kind::FORMATION_STARTED,
    kind::FORMATION_MONITORING,
    kind::FORMATION_REFUSED,
    kind::DEPLOYMENT_COMPLETED,
    kind::TROUBLE,
    kind::CVM_KEY_CHANGED,
    kind::OPERATOR,
];

impl<'a> Display<'a> {
    /// The display that fits: what is asked for, and whether somebody looks at a screen.
    pub fn new(out: &'a Output, json: bool, clusters: usize) -> Self {
        let shape = if json {
            Shape::Json
        } else if out.is_terminal() {
            Shape::Live(Live { screen: MultiProgress::new(), lines: Mutex::default() })
        } else {
            Shape::Lines(Mutex::default())
        };
        Display { out, shape, name_cluster: clusters > 1 }
    }

    /// Shows an event.
    pub fn event(&self, event: &Event, started: Timestamp) -> Result<(), CliError> {
        let line = || event_line(event, Times::Since(started), self.name_cluster);
        match &self.shape {
            Shape::Json => self.out.json(event),
            Shape::Lines(quiet) => {
                if let Ok(mut quiet) = quiet.lock() {
                    quiet.entry(event.cluster.clone()).or_default().end();
                }
                self.out.data(&line())
            }
            Shape::Live(live) if TOLD_LIVE.contains(&event.kind.as_str()) => {
                live.screen.println(line()).map_err(CliError::Output)
            }
            Shape::Live(_) => Ok(()),
        }
    }

    /// Shows how a cluster stands: a screen is redrawn, and lines are printed after a minute without any.
    pub fn standing(&self, status: &ClusterStatus, now: Timestamp, started: Option<Timestamp>) -> Result<(), CliError> {
        let live = match &self.shape {
            Shape::Json => return Ok(()),
            Shape::Lines(quiet) => {
                let is_too_long = |quiet: &mut BTreeMap<String, Quiet>| {
                    quiet.entry(status.name.clone()).or_default().is_too_long(now)
                };
                return match quiet.lock().is_ok_and(|mut quiet| is_too_long(&mut quiet)) {
                    true => self.out.data(&waiting_lines(status, now, started, self.name_cluster)),
                    false => Ok(()),
                };
            }
            Shape::Live(live) => live,
        };
        let width = status.nodes.iter().map(|n| n.server_id.len() + 2).max().unwrap_or(0).max(status.name.len());
        let mut texts = vec![cluster_line(status, width, now)];
        texts.extend(status.nodes.iter().map(|node| format!("  {}", node_line(node, width - 2, now))));
        let Ok(mut lines) = live.lines.lock() else { return Ok(()) };
        for (place, text) in texts.into_iter().enumerate() {
            let key = (status.name.clone(), place);
            lines.entry(key).or_insert_with(|| live.screen.add(new_line())).set_message(text);
        }
        Ok(())
    }

    /// Takes the live lines away, so that what is printed next stands alone.
    pub fn close(&self) {
        if let Shape::Live(live) = &self.shape {
            // A screen that can't be cleared stays as it is.
            let _ = live.screen.clear();
        }
    }
}

fn new_line() -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
    ProgressBar::new_spinner().with_style(style)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_than_a_minute_without_a_line_is_too_long_again_and_again() {
        let mut quiet = Quiet::default();
        let mut told_at = |seconds: std::ops::Range<i64>| -> Vec<i64> {
            seconds.filter(|second| quiet.is_too_long(Timestamp::from_seconds(*second))).collect()
        };
        assert_eq!(told_at(0..200), [50, 100, 150]);
    }

    #[test]
    fn a_line_begins_the_wait_anew() {
        let mut quiet = Quiet::default();
        assert!((0..49).all(|second| !quiet.is_too_long(Timestamp::from_seconds(second))));
        quiet.end();
        assert!((49..99).all(|second| !quiet.is_too_long(Timestamp::from_seconds(second))));
        assert!(quiet.is_too_long(Timestamp::from_seconds(99)));
    }
}
