//! How far an import or a check is: a bar at a terminal, a line for each file elsewhere, always on standard error.

use crate::output::clean;
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use metalform_images::Watch;
use std::{
    io::{self, IsTerminal, Write},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// Where nobody redraws a bar, a long file is told of again after so many bytes.
const TELL_EVERY: u64 = 1 << 30;

/// One for a whole command.
pub struct ImageProgress {
    bar: Option<ProgressBar>,
    now: Mutex<Now>,
    stopped: AtomicBool,
}

/// The file it is at.
#[derive(Default)]
struct Now {
    what: String,
    bytes: u64,
    done: u64,
}

impl ImageProgress {
    /// The one that fits: whether somebody looks at a screen.
    pub fn new() -> ImageProgress {
        let bar = io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta} {wide_msg}");
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        ImageProgress { bar, now: Mutex::default(), stopped: AtomicBool::new(false) }
    }

    /// Asks for the end.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Takes the bar away, so that what is printed next stands alone.
    pub fn close(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Watch for ImageProgress {
    fn begin(&self, what: &str, bytes: u64) {
        let what = clean(what);
        match &self.bar {
            Some(bar) => {
                bar.set_length(bytes);
                bar.set_position(0);
                bar.set_message(what);
            }
            None => {
                note(&format!("{what}, {}", HumanBytes(bytes)));
                *self.now.lock().unwrap_or_else(PoisonError::into_inner) = Now { what, bytes, done: 0 };
            }
        }
    }

    fn advance(&self, bytes: u64) {
        if let Some(bar) = &self.bar {
            return bar.inc(bytes);
        }
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let before = now.done / TELL_EVERY;
        now.done += bytes;
        if now.done / TELL_EVERY > before {
            note(&format!("{}: {} of {}", now.what, HumanBytes(now.done), HumanBytes(now.bytes)));
        }
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

/// That it can't be written is nothing anybody could be told.
fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
