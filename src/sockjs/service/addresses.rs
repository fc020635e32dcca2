//! [`Addresses`]: how many sessions each address has.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::address::limited_as;

/// Counts the sessions of each address, over all shards.
pub(super) struct Addresses {
    max: usize,
    sessions: Mutex<HashMap<IpAddr, usize>>,
}

/// A session's place in the count, given back when it is dropped.
pub(super) struct Seat(Option<(Arc<Addresses>, IpAddr)>);

impl Addresses {
    /// Counts up to `max` an address; zero: does not count.
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, sessions: Mutex::default() })
    }

    /// Takes a place for a session of `peer`; none if the address has all it may.
    pub(super) fn enter(self: &Arc<Self>, peer: &str) -> Option<Seat> {
        let Ok(peer) = peer.parse::<SocketAddr>() else { return Some(Seat(None)) };
        if self.max == 0 {
            return Some(Seat(None));
        }
        let address = limited_as(peer.ip());
        let mut sessions = self.lock();
        let count = sessions.entry(address).or_default();
        if *count >= self.max {
            return None;
        }
        *count += 1;
        Some(Seat(Some((Arc::clone(self), address))))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Some((addresses, address)) = self.0.take() else { return };
        let mut sessions = addresses.lock();
        if let Some(count) = sessions.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                sessions.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_as_many_sessions_as_it_may_and_no_more() {
        let addresses = Addresses::new(2);
        let first = addresses.enter("10.0.0.1:1");
        let second = addresses.enter("[::ffff:10.0.0.1]:2");
        assert!(first.is_some() && second.is_some());
        assert!(addresses.enter("10.0.0.1:3").is_none());
        assert!(addresses.enter("10.0.0.2:1").is_some());
        drop(first);
        assert!(addresses.enter("10.0.0.1:3").is_some());
        drop(second);
        assert!(addresses.lock().is_empty());
    }

    #[test]
    fn zero_is_any_number() {
        let addresses = Addresses::new(0);
        let seats: Vec<_> = (0..1000).map(|_| addresses.enter("10.0.0.1:1")).collect();
        assert!(seats.iter().all(Option::is_some));
        assert!(addresses.lock().is_empty());
    }
}
