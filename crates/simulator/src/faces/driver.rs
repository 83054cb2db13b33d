//! Lets the world happen: wakes when something is due or was changed by a request, opens and closes the CVMs' listeners,
//! and carries out what machines fetch.

use super::{Shared, cvms::CvmListeners, fetcher::Fetcher};
use crate::{cvm::Listener, machine::EmulatorOrder, world::Fetch};
use rustls::crypto::aws_lc_rs;
use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};
use tokio::sync::mpsc::UnboundedSender;

type Mark = (u64, usize);

/// What the driver found to do.
struct Look {
    fetches: Vec<Fetch>,
    orders: Vec<EmulatorOrder>,
    /// Where something should listen, if that may have changed.
    listeners: Option<(Mark, Vec<Listener>)>,
    /// How long nothing else is due.
    wait: Duration,
}

/// No sleep is longer: a clock that jumps is noticed after it.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
const SHORTEST_SLEEP: Duration = Duration::from_micros(500);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

pub(super) struct Driver {
    shared: Arc<Shared>,
    fetcher: Arc<Fetcher>,
    listeners: CvmListeners,
    /// Of the world's listeners that are open.
    opened: Option<Mark>,
    /// To whoever emulates machines.
    orders: Option<UnboundedSender<EmulatorOrder>>,
}

impl Driver {
    pub fn new(shared: Arc<Shared>, orders: Option<UnboundedSender<EmulatorOrder>>) -> Result<Self, rustls::Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        Ok(Driver {
            shared,
            fetcher: Arc::new(Fetcher::new(provider.clone())),
            listeners: CvmListeners::new(provider),
            opened: None,
            orders,
        })
    }

    pub async fn run(mut self) {
        loop {
            let wait = self.step().await;
            tokio::select! {
                () = self.shared.changed.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Does what is due and says how long nothing else will be.
    async fn step(&mut self) -> Duration {
        let Look { fetches, orders, listeners, wait } = self.look();
        for order in orders {
            // Nobody takes it any more: the simulator stops.
            let _ = self.orders.as_ref().map(|orders| orders.send(order));
        }
        for fetch in fetches {
            let (shared, fetcher) = (self.shared.clone(), self.fetcher.clone());
            self.shared.spawn(async move {
                let result = fetcher.fetch(fetch.http).await;
                shared.with(|world, now| world.fetched(now, fetch.id, result));
            });
        }
        if let Some((mark, listeners)) = listeners {
            let is_done = self.listeners.become_like(&self.shared, listeners).await;
            self.opened = is_done.then_some(mark);
        }
        if self.opened.is_some() { wait } else { wait.min(LOOK_AGAIN) }
    }

    /// The driver's own look wakes nobody: it would wake itself.
    fn look(&self) -> Look {
        let now = self.shared.clock.now();
        let mut world = self.shared.world.lock().unwrap_or_else(PoisonError::into_inner);
        let fetches = world.advance(now);
        let orders = world.take_emulator_orders();
        let mark = world.listeners_mark();
        let listeners = (self.opened != Some(mark)).then(|| (mark, world.listeners()));
        let wait = world.next_event_at().since(now).clamp(SHORTEST_SLEEP, LONGEST_SLEEP);
        Look { fetches, orders, listeners, wait }
    }
}
