//! Runs the loop: every living cluster when it is due, or sooner when something wakes it. Decides nothing.
//!
//! A cluster is never worked on twice at once. A wake during a pass means another pass right after it. After a restart
//! the schedule in the store is all that is needed.

use futures_util::FutureExt;
use metalform_model::{Clock, Timestamp};
use metalform_orchestrator::Orchestrator;
use std::{collections::HashMap, panic::AssertUnwindSafe, sync::Arc, time::Duration};
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Wakes the loop for a cluster. Cheap to clone; a wake after the loop has stopped is nothing.
#[derive(Debug, Clone)]
pub struct Wake(mpsc::UnboundedSender<Uuid>);

impl Wake {
    /// Look at this cluster now.
    pub fn wake(&self, cluster_id: Uuid) {
        // Fails only when the loop has stopped; the schedule in the store brings the cluster back after the next start.
        self.0.send(cluster_id).ok();
    }
}

/// The receiving side of [`Wake`].
pub struct Wakes(mpsc::UnboundedReceiver<Uuid>);

impl Wakes {
    /// Everything woken so far, without waiting: for a loop that is run by hand.
    pub fn take(&mut self) -> Vec<Uuid> {
        std::iter::from_fn(|| self.0.try_recv().ok()).collect()
    }
}

/// A wake and its receiving side.
pub(crate) fn wakes() -> (Wake, Wakes) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Wake(sender), Wakes(receiver))
}

/// How long to wait after a pass that failed: the store is away or the disk is full.
const AFTER_FAILURE: Duration = Duration::from_secs(2);

/// The schedule is read again this often, for clusters that nobody woke us for.
const REREAD: Duration = Duration::from_secs(30);

#[derive(Default)]
struct Turn {
    due: Timestamp,
    running: bool,
    woken: bool,
}

/// Runs until stopped; then waits for the passes under way, each of which is short.
pub(crate) async fn run(
    orchestrator: Arc<Orchestrator>,
    clock: Arc<dyn Clock>,
    mut wakes: Wakes,
    stop: CancellationToken,
) {
    let mut turns: HashMap<Uuid, Turn> = HashMap::new();
    let mut passes: JoinSet<(Uuid, Timestamp)> = JoinSet::new();
    let mut reread_at = Timestamp(0);
    loop {
        let now = clock.now();
        if reread_at <= now {
            match orchestrator.store.schedule().await {
                Ok(schedule) => {
                    // Whoever should have woken us may have died between recording and waking. One that is new to us is due
                    // at once.
                    for (id, due) in schedule {
                        turns.entry(id).and_modify(|turn| turn.due = turn.due.min(due)).or_default();
                    }
                }
                Err(error) => tracing::error!(%error, "can't read the schedule; tried again"),
            }
            reread_at = now + REREAD;
        }
        for (id, turn) in turns.iter_mut().filter(|(_, t)| !t.running && t.due <= now) {
            turn.running = true;
            turn.woken = false;
            let (id, orchestrator, clock) = (*id, orchestrator.clone(), clock.clone());
            passes.spawn(async move { (id, pass(&orchestrator, clock.as_ref(), id).await) });
        }
        let next = turns.values().filter(|t| !t.running).map(|t| t.due).min().unwrap_or(Timestamp::NEVER);
        let nap = next.min(reread_at).since(clock.now());
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(nap) => {}
            Some(id) = wakes.0.recv() => {
                let turn = turns.entry(id).or_default();
                turn.due = Timestamp(0);
                turn.woken = true;
            }
            Some(done) = passes.join_next(), if !passes.is_empty() => {
                // A pass can't panic past its own guard; a cancelled one only happens at the end.
                let Ok((id, next_at)) = done else { continue };
                match next_at {
                    Timestamp::NEVER if !turns.get(&id).is_some_and(|t| t.woken) => {
                        turns.insert(id, Turn { due: Timestamp::NEVER, ..Turn::default() });
                    }
                    due => {
                        let turn = turns.entry(id).or_default();
                        turn.running = false;
                        turn.due = if turn.woken { Timestamp(0) } else { due };
                    }
                }
            }
        }
    }
    while passes.join_next().await.is_some() {}
}

async fn pass(orchestrator: &Orchestrator, clock: &dyn Clock, id: Uuid) -> Timestamp {
    match AssertUnwindSafe(orchestrator.reconcile(id)).catch_unwind().await {
        Ok(Ok(next_at)) => next_at,
        Ok(Err(error)) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            tracing::error!(%error, cause, cluster = %id, "a pass ended early; what it recorded stands; tried again");
            clock.now() + AFTER_FAILURE
        }
        Err(_) => {
            tracing::error!(cluster = %id, "a pass panicked: a mistake in Metalform; tried again in a minute");
            clock.now() + Duration::from_secs(60)
        }
    }
}
