//! Places for connections: so many in all, and so many of them for one client, so that none can take them all.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Those of one listener.
pub(crate) struct Places {
    all: Arc<Semaphore>,
    most_of_one: usize,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Places {
    pub(crate) fn new(all: usize, most_of_one: usize) -> Places {
        Places { all: Arc::new(Semaphore::new(all)), most_of_one, taken: Arc::default() }
    }

    /// Waits until one is free. It is for whoever comes next.
    pub(crate) async fn free(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        self.all.clone().acquire_owned().await.ok()
    }

    /// Gives it to that client; `None`: it has as many as one may have.
    pub(crate) fn take(&self, free: Option<OwnedSemaphorePermit>, client: IpAddr) -> Option<Place> {
        let network = network_of(client);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(network).or_default();
        if *count >= self.most_of_one {
            return None;
        }
        *count += 1;
        Some(Place { network, taken: Arc::clone(&self.taken), _one_of_all: free })
    }
}

/// A connection's place, free again when this is dropped.
pub(crate) struct Place {
    network: IpAddr,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
    _one_of_all: Option<OwnedSemaphorePermit>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.network) {
            *count -= 1;
            // Nobody is remembered who isn't there.
            if *count == 0 {
                taken.remove(&self.network);
            }
        }
    }
}

/// A host of IPv6 has a whole network to choose its address from: that counts as one client.
pub(crate) fn network_of(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_client_has_so_many_places_and_gets_another_when_one_is_free_again() {
        let places = Places::new(10, 2);
        let [one, other] = ["10.0.0.1", "10.0.0.2"].map(|text| text.parse::<IpAddr>().unwrap());
        let first = places.take(places.free().await, one).unwrap();
        let _second = places.take(places.free().await, "::ffff:10.0.0.1".parse().unwrap()).unwrap();
        assert!(places.take(places.free().await, one).is_none());
        assert!(places.take(places.free().await, other).is_some());
        drop(first);
        assert!(places.take(places.free().await, one).is_some());
    }

    #[tokio::test]
    async fn a_network_of_ipv6_is_one_client_and_nobody_is_remembered_who_left() {
        let places = Places::new(10, 1);
        let taken = places.take(places.free().await, "2001:db8::1".parse().unwrap()).unwrap();
        assert!(places.take(places.free().await, "2001:db8::2".parse().unwrap()).is_none());
        assert!(places.take(places.free().await, "2001:db8:0:1::1".parse().unwrap()).is_some());
        drop(taken);
        assert!(places.taken.lock().unwrap().is_empty());
        assert_eq!(places.all.available_permits(), 10);
    }
}
