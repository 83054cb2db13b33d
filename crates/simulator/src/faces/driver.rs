//! Lets the world happen: wakes when something is due or was changed by a request, opens and closes the CVMs' listeners,
//! and carries out what machines fetch.

use super::{Shared, cvms::CvmListeners, fetcher::Fetcher};
use metalform_model::Timestamp;
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use std::{sync::Arc, time::Duration};

/// No sleep is longer: a clock that jumps is noticed after it.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
const SHORTEST_SLEEP: Duration = Duration::from_micros(500);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

pub(super) struct Driver {
    shared: Arc<Shared>,
    fetcher: Arc<Fetcher>,
    listeners: CvmListeners,
}

impl Driver {
    pub fn new(shared: Arc<Shared>) -> Result<Self, rustls::Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        Ok(Driver { shared, fetcher: Arc::new(Fetcher::new(tls)), listeners: CvmListeners::new(provider) })
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
        let (fetches, listeners, next, now) = self.look();
        for fetch in fetches {
            let (shared, fetcher) = (self.shared.clone(), self.fetcher.clone());
            self.shared.spawn(async move {
                let result = fetcher.fetch(fetch.http).await;
                shared.with(|world, now| world.fetched(now, fetch.id, result));
            });
        }
        let is_done = self.listeners.become_like(&self.shared, listeners).await;
        let wait = next.since(now).clamp(SHORTEST_SLEEP, LONGEST_SLEEP);
        if is_done { wait } else { wait.min(LOOK_AGAIN) }
    }

    /// The driver's own look wakes nobody: it would wake itself.
    fn look(&self) -> (Vec<crate::world::Fetch>, Vec<crate::cvm::Listener>, Timestamp, Timestamp) {
        let now = self.shared.clock.now();
        let mut world = self.shared.world.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        (world.advance(now), world.listeners(), world.next_event_at(), now)
    }
}
