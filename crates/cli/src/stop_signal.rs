//! Ctrl-C and a polite request to end.

use crate::error::CliError;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens from when it is made, so that a signal that comes while something starts is not lost.
pub struct StopSignal {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Option<Signal>,
}

impl StopSignal {
    /// From here on signals end nothing by themselves.
    pub fn listen() -> Result<StopSignal, CliError> {
        let on = |kind| signal(kind).map_err(CliError::Start);
        Ok(StopSignal {
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
            hang_up: None,
        })
    }

    /// The same where the end of a terminal or of an SSH session must leave nothing half done. Whoever starts it under
    /// `nohup` wants it to go on: there the signal is ignored from the start, and stays so.
    pub fn listen_for_hang_up_too() -> Result<StopSignal, CliError> {
        let mut listening = StopSignal::listen()?;
        if !is_hang_up_ignored() {
            listening.hang_up = Some(signal(SignalKind::hangup()).map_err(CliError::Start)?);
        }
        Ok(listening)
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        let hang_up = async {
            match &mut self.hang_up {
                Some(signal) => drop(signal.recv().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = hang_up => {}
        }
    }
}

/// By the mask of ignored signals, of which the lowest bit is number 1: proc_pid_status(5). Where that can't be read, it isn't.
fn is_hang_up_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}
