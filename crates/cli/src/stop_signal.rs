//! Ctrl-C and a polite request to end.

use crate::error::CliError;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens from when it is made, so that a signal that comes while something starts is not lost.
pub struct StopSignal {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignal {
    /// From here on signals end nothing by themselves.
    pub fn listen() -> Result<StopSignal, CliError> {
        let on = |kind| signal(kind).map_err(CliError::Start);
        Ok(StopSignal { interrupt: on(SignalKind::interrupt())?, terminate: on(SignalKind::terminate())? })
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
