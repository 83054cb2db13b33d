//! Waiting as an argument, so that a test or a simulated world needs no real time.

use async_trait::async_trait;
use std::time::Duration;

/// Waits between the tries of a read.
#[async_trait]
pub trait Pause: Send + Sync {
    /// Returns after `duration`.
    async fn pause(&self, duration: Duration);
}

/// Waits on the runtime's timer.
#[derive(Debug, Clone, Copy, Default)]
pub struct TokioPause;

#[async_trait]
impl Pause for TokioPause {
    async fn pause(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
