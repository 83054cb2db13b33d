//! Calls that go on to their end, whoever waits for them.
//!
//! A handler runs in its connection's future, and that is dropped when the peer goes away: between what a call does and the
//! line of it, whoever has hung up would leave one without the other. So what follows the point of no return runs in a task of
//! its own, up to the head of the answer; the body, which may be a stream without end, stays with the connection. Rejected: to
//! go on with the whole connection, which a slow client could hold as long as it likes.

use std::{
    future::{Future, pending},
    panic::resume_unwind,
};
use tokio_util::task::TaskTracker;

/// Does it, also when this future is dropped. Whoever stops the service waits for `calls`.
pub(super) async fn to_its_end<T: Send + 'static>(
    calls: &TaskTracker,
    call: impl Future<Output = T> + Send + 'static,
) -> T {
    match calls.spawn(call).await {
        Ok(done) => done,
        Err(failed) if failed.is_panic() => resume_unwind(failed.into_panic()),
        // The runtime goes down, and with it whoever waits.
        Err(_) => pending().await,
    }
}
