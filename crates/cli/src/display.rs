//! What a watched deployment looks like: documents for a program, lines where nobody looks at a screen, and at a terminal
//! the lines that matter above one live line a node.

use crate::{
    error::CliError,
    output::Output,
    timeline::{Times, cluster_line, event_line, node_line},
};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use metalform_model::{ClusterStatus, Event, Timestamp, kind};
use std::{collections::BTreeMap, sync::Mutex};

/// One for all clusters that are watched together.
pub struct Display<'a> {
    out: &'a Output,
    shape: Shape,
    /// Several clusters: each line says whose it is.
    name_cluster: bool,
}

enum Shape {
    Json,
    Lines,
    Live(Live),
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
            Shape::Lines
        };
        Display { out, shape, name_cluster: clusters > 1 }
    }

    /// Shows an event.
    pub fn event(&self, event: &Event, started: Timestamp) -> Result<(), CliError> {
        let line = || event_line(event, Times::Since(started), self.name_cluster);
        match &self.shape {
            Shape::Json => self.out.json(event),
            Shape::Lines => self.out.data(&line()),
            Shape::Live(live) if TOLD_LIVE.contains(&event.kind.as_str()) => {
                live.screen.println(line()).map_err(CliError::Output)
            }
            Shape::Live(_) => Ok(()),
        }
    }

    /// Shows how a cluster stands; only a screen is redrawn for it.
    pub fn standing(&self, status: &ClusterStatus, now: Timestamp) {
        let Shape::Live(live) = &self.shape else { return };
        let width = status.nodes.iter().map(|n| n.server_id.len() + 2).max().unwrap_or(0).max(status.name.len());
        let mut texts = vec![cluster_line(status, width, now)];
        texts.extend(status.nodes.iter().map(|node| format!("  {}", node_line(node, width - 2, now))));
        let Ok(mut lines) = live.lines.lock() else { return };
        for (place, text) in texts.into_iter().enumerate() {
            let key = (status.name.clone(), place);
            lines.entry(key).or_insert_with(|| live.screen.add(new_line())).set_message(text);
        }
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
