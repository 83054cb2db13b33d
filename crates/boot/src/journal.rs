//! The way of records to the [`Recorder`]: one queue, one writer, the order kept.
//!
//! A script or an image must go out while the store is away, so their records wait in memory, 1,000 at most, and are tried
//! again until the store is back. Configurations and reports wait for theirs ([`Journal::record_now`]), in the same queue,
//! so nothing overtakes. Rejected: writing from the handler, where a hanging store would hold up a boot; a file on disk,
//! which would be a second store.
//!
//! While the store is there a full queue makes requests wait a little ([`Journal::room`]) and nothing is dropped. While it
//! is away the oldest record goes, refusals first: an unknown machine that keeps asking must not push out what a known one
//! did; once the store is back the audit is told how many are missing. A crash loses what is queued.

use crate::{Recorder, Unavailable};
use metalform_model::{AuditEntry, Evidence, Timestamp, audit_action};
use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Notify, oneshot},
    task::JoinHandle,
    time::{sleep, timeout},
};

/// Records kept in memory.
const CAPACITY: usize = 1_000;
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(5);

#[derive(Debug, Clone)]
pub(crate) enum Record {
    Evidence(Evidence),
    Audit(AuditEntry),
    /// Nothing: whoever waits for it learns that everything before it is written.
    Mark,
}

impl Record {
    /// When it was made; `None` for what says nothing.
    fn at(&self) -> Option<Timestamp> {
        match self {
            Record::Evidence(evidence) => Some(evidence.at),
            Record::Audit(entry) => Some(entry.at),
            Record::Mark => None,
        }
    }

    fn is_refusal(&self) -> bool {
        matches!(self, Record::Audit(entry) if entry.outcome.starts_with("refused"))
    }

    async fn write(&self, recorder: &dyn Recorder, deadline: Duration) -> Result<(), Unavailable> {
        let written = async {
            match self {
                Record::Evidence(evidence) => recorder.evidence(evidence.clone()).await,
                Record::Audit(entry) => recorder.audit(entry.clone()).await,
                Record::Mark => Ok(()),
            }
        };
        timeout(deadline, written).await.unwrap_or_else(|late| Err(Unavailable::new(late)))
    }
}

struct Item {
    record: Record,
    /// Somebody waits for it, and it is not tried twice: they are told that it failed and ask again themselves.
    waiter: Option<oneshot::Sender<()>>,
}

impl Item {
    /// Whoever waited for it was told that it failed.
    fn is_given_up(&self) -> bool {
        self.waiter.as_ref().is_some_and(oneshot::Sender::is_closed)
    }
}

#[derive(Default)]
struct Queue {
    items: VecDeque<Item>,
    /// The writer holds one more.
    writing: bool,
    /// What was dropped since the audit was told: how many, and when the last of them was made.
    lost: Option<(usize, Timestamp)>,
}

struct Shared {
    queue: Mutex<Queue>,
    /// Something was queued.
    queued: Notify,
    /// Somebody waits: a reason to try again at once.
    urgent: Notify,
    /// Something was written or given up.
    drained: Notify,
    /// The last write failed.
    away: AtomicBool,
    deadline: Duration,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) struct Journal {
    shared: Arc<Shared>,
    writer: JoinHandle<()>,
}

impl Journal {
    /// Starts the writer; needs a runtime around it.
    pub fn start(recorder: Arc<dyn Recorder>, deadline: Duration) -> Self {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            queued: Notify::new(),
            urgent: Notify::new(),
            drained: Notify::new(),
            away: AtomicBool::new(false),
            deadline,
        });
        let writer = tokio::spawn(write_forever(shared.clone(), recorder));
        Journal { shared, writer }
    }

    /// Queues a record; never waits.
    pub fn record(&self, record: Record) {
        self.push(Item { record, waiter: None });
    }

    /// Answers `Ok` once the record is committed. After an error it may have been committed all the same.
    pub async fn record_now(&self, record: Record) -> Result<(), Unavailable> {
        let (waiter, written) = oneshot::channel();
        self.push(Item { record, waiter: Some(waiter) });
        match timeout(self.shared.deadline * 2, written).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(given_up)) => Err(Unavailable::new(given_up)),
            Err(late) => Err(Unavailable::new(late)),
        }
    }

    /// Answers `Ok` once everything that was queued before is committed.
    pub async fn caught_up(&self) -> Result<(), Unavailable> {
        self.record_now(Record::Mark).await
    }

    fn push(&self, item: Item) {
        let mut queue = self.shared.queue();
        if queue.items.len() >= CAPACITY {
            // What nobody waits for any more would not be written, and goes first.
            let least = match queue.items.iter().position(Item::is_given_up) {
                None if matches!(item.record, Record::Mark) => return,
                given_up => given_up,
            };
            let least = least.or_else(|| queue.items.iter().position(|item| item.record.is_refusal())).unwrap_or(0);
            if let Some(dropped) = queue.items.remove(least).filter(|dropped| !dropped.is_given_up()) {
                if let Some(at) = dropped.record.at() {
                    let count = queue.lost.map_or(0, |(count, _)| count);
                    queue.lost = Some((count + 1, at));
                }
                let record = dropped.record;
                tracing::warn!(?record, "the store is away and {CAPACITY} records wait: dropped the least of them");
            }
        }
        if item.waiter.is_some() {
            self.shared.urgent.notify_one();
        }
        queue.items.push_back(item);
        drop(queue);
        self.shared.queued.notify_one();
    }

    /// Waits, not longer than the deadline, until the queue is no more than half full. Does not wait while the store is away.
    pub async fn room(&self) {
        let roomy = |shared: &Shared| shared.away.load(Ordering::Relaxed) || shared.queue().items.len() <= CAPACITY / 2;
        self.wait_until(self.shared.deadline, roomy).await;
    }

    /// Waits until everything queued is written, `limit` at most. Answers how many records are left.
    pub async fn flush(&self, limit: Duration) -> usize {
        self.wait_until(limit, |shared| Self::waiting(shared) == 0).await;
        Self::waiting(&self.shared)
    }

    async fn wait_until(&self, limit: Duration, holds: impl Fn(&Shared) -> bool) {
        let waited = async {
            loop {
                let drained = self.shared.drained.notified();
                if holds(&self.shared) {
                    return;
                }
                drained.await;
            }
        };
        // Late is no error here: the callers look at the state themselves.
        let _ = timeout(limit, waited).await;
    }

    fn waiting(shared: &Shared) -> usize {
        let queue = shared.queue();
        queue.items.len() + usize::from(queue.writing)
    }

    /// How many records wait, and whether the last write failed.
    pub fn state(&self) -> (usize, bool) {
        (Self::waiting(&self.shared), self.shared.away.load(Ordering::Relaxed))
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.writer.abort();
    }
}

async fn write_forever(shared: Arc<Shared>, recorder: Arc<dyn Recorder>) {
    loop {
        let next = {
            let mut queue = shared.queue();
            let next = queue.items.pop_front();
            queue.writing = next.is_some();
            next
        };
        let Some(item) = next else {
            shared.queued.notified().await;
            continue;
        };
        write(&shared, recorder.as_ref(), item).await;
        let lost = match shared.away.load(Ordering::Relaxed) {
            true => None,
            false => shared.queue().lost.take(),
        };
        if let Some((count, at)) = lost {
            write(&shared, recorder.as_ref(), Item { record: lost_line(count, at), waiter: None }).await;
        }
        shared.queue().writing = false;
        shared.drained.notify_waiters();
    }
}

/// That something is missing must not be missing, too.
fn lost_line(count: usize, at: Timestamp) -> Record {
    Record::Audit(AuditEntry {
        at,
        who: "service".to_owned(),
        action: audit_action::RECORDS_LOST.to_owned(),
        target: count.to_string(),
        source: "service".to_owned(),
        outcome: "failed:store_away".to_owned(),
    })
}

async fn write(shared: &Shared, recorder: &dyn Recorder, item: Item) {
    let mut pause = FIRST_RETRY;
    loop {
        if item.is_given_up() {
            return;
        }
        let written = item.record.write(recorder, shared.deadline).await;
        let was_away = shared.away.swap(written.is_err(), Ordering::Relaxed);
        match written {
            Ok(()) => {
                if let Some(waiter) = item.waiter {
                    // The waiter may have run out of time; the record is good all the same.
                    let _ = waiter.send(());
                }
                return;
            }
            Err(error) => {
                if !was_away {
                    tracing::warn!(%error, "records of the boot plane wait in memory");
                }
                if item.waiter.is_some() {
                    return;
                }
                shared.drained.notify_waiters();
                tokio::select! {
                    () = sleep(pause) => {}
                    () = shared.urgent.notified() => {}
                }
                pause = (pause * 2).min(LONGEST_RETRY);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_trait::async_trait;

    /// Refuses until it is told to take, and keeps what it took.
    #[derive(Default)]
    struct Shelf {
        takes: AtomicBool,
        taken: Mutex<Vec<AuditEntry>>,
    }

    #[async_trait]
    impl Recorder for Shelf {
        async fn evidence(&self, _: Evidence) -> Result<(), Unavailable> {
            Ok(())
        }

        async fn audit(&self, entry: AuditEntry) -> Result<(), Unavailable> {
            if !self.takes.load(Ordering::Relaxed) {
                return Err(Unavailable(None));
            }
            self.taken.lock().unwrap().push(entry);
            Ok(())
        }
    }

    fn record(target: usize, outcome: &str) -> Record {
        Record::Audit(AuditEntry {
            at: Timestamp(0),
            who: String::new(),
            action: String::new(),
            target: target.to_string(),
            source: String::new(),
            outcome: outcome.to_owned(),
        })
    }

    #[tokio::test]
    async fn a_full_queue_keeps_the_order_and_drops_refusals_first() {
        let shelf = Arc::new(Shelf::default());
        let journal = Journal::start(shelf.clone(), Duration::from_secs(1));
        journal.record(record(0, "ok"));
        // The writer has taken the first one and found the store away.
        journal.wait_until(Duration::from_secs(5), |shared| shared.away.load(Ordering::Relaxed)).await;
        for target in 1..=CAPACITY {
            journal.record(record(target, if target % 10 == 5 { "refused:unknown_server" } else { "ok" }));
        }
        for target in 1..=150 {
            journal.record(record(CAPACITY + target, "ok"));
        }
        assert_eq!(journal.state(), (CAPACITY + 1, true));
        shelf.takes.store(true, Ordering::Relaxed);
        assert_eq!(journal.flush(Duration::from_secs(10)).await, 0);

        let (lost, taken): (Vec<AuditEntry>, Vec<AuditEntry>) =
            shelf.taken.lock().unwrap().drain(..).partition(|entry| entry.action == audit_action::RECORDS_LOST);
        assert_eq!(lost.iter().map(|entry| entry.target.as_str()).collect::<Vec<_>>(), ["150"], "it is told once");
        let taken: Vec<usize> = taken.iter().map(|entry| entry.target.parse().unwrap()).collect();
        // 100 refusals went, then the 50 oldest of the rest; the one in the writer's hands stays.
        let kept = (1..=CAPACITY).filter(|target| target % 10 != 5).skip(50);
        let expected: Vec<usize> = std::iter::once(0).chain(kept).chain(CAPACITY + 1..=CAPACITY + 150).collect();
        assert_eq!(taken, expected);
    }

    #[tokio::test]
    async fn no_record_makes_room_for_somebody_who_only_waits() {
        let shelf = Arc::new(Shelf::default());
        let journal = Journal::start(shelf.clone(), Duration::from_millis(1));
        journal.record(record(0, "ok"));
        journal.wait_until(Duration::from_secs(5), |shared| shared.away.load(Ordering::Relaxed)).await;
        for target in 1..CAPACITY {
            journal.record(record(target, "ok"));
        }
        for _ in 0..20 {
            assert!(journal.caught_up().await.is_err(), "the store is away");
        }
        // And who has given up waiting goes before any record does.
        journal.record(record(CAPACITY, "ok"));
        shelf.takes.store(true, Ordering::Relaxed);
        assert_eq!(journal.flush(Duration::from_secs(10)).await, 0);
        let taken: Vec<usize> = shelf.taken.lock().unwrap().iter().map(|entry| entry.target.parse().unwrap()).collect();
        assert_eq!(taken, (0..=CAPACITY).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_record_that_somebody_waits_for_is_not_written_after_they_were_refused() {
        let shelf = Arc::new(Shelf::default());
        let journal = Journal::start(shelf.clone(), Duration::from_millis(20));
        journal.record(record(1, "ok"));
        assert!(journal.record_now(record(2, "ok")).await.is_err());
        shelf.takes.store(true, Ordering::Relaxed);
        journal.record_now(record(3, "ok")).await.unwrap();
        let taken: Vec<String> = shelf.taken.lock().unwrap().iter().map(|entry| entry.target.clone()).collect();
        assert_eq!(taken, ["1", "3"]);
    }
}
