//! [`Gate`]: how many checks of passwords run at once, and how many wait.
//!
//! A check costs a core some 20 ms and 19 MiB, on purpose. A flood of wrong passwords must
//! neither take all cores nor pile up, nor may one address take the places of all others.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::AuthError;
use crate::address::limited_as;

/// The bounds on checks of passwords.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many run at once, each on a core of its own. Default 1, so that what serves
    /// sessions keeps the others. Memory: 19 MiB each, with the parameters of `hash-password`.
    pub running: usize,
    /// How many may wait or run. Default 64: about one second of waiting.
    pub waiting: usize,
    /// How many of those may come from one address. Default 16.
    pub waiting_per_address: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { running: 1, waiting: 64, waiting_per_address: 16 }
    }
}

pub(super) struct Gate {
    limits: Limits,
    running: Arc<Semaphore>,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    all: usize,
    of_address: HashMap<IpAddr, usize>,
}

impl Gate {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, running: Arc::new(Semaphore::new(limits.running.max(1))), waiting: Mutex::default() }
    }

    /// Waits for a turn, in the order of the calls. The permit goes along with the work, which
    /// runs to its end even if nobody waits for it any more.
    pub(super) async fn enter(&self, peer: Option<IpAddr>) -> Result<(OwnedSemaphorePermit, Place<'_>), AuthError> {
        let place = self.place(peer)?;
        let turn = timeout(LONGEST_WAIT, Arc::clone(&self.running).acquire_owned()).await;
        match turn {
            Ok(Ok(permit)) => Ok((permit, place)),
            Ok(Err(_)) | Err(_) => Err(AuthError::Busy),
        }
    }

    fn place(&self, peer: Option<IpAddr>) -> Result<Place<'_>, AuthError> {
        let peer = peer.map(limited_as);
        let mut waiting = self.lock();
        if waiting.all >= self.limits.waiting {
            return Err(AuthError::Busy);
        }
        if let Some(peer) = peer {
            let count = waiting.of_address.entry(peer).or_default();
            if *count >= self.limits.waiting_per_address {
                return Err(AuthError::Busy);
            }
            *count += 1;
        }
        waiting.all += 1;
        drop(waiting);
        Ok(Place { gate: self, peer })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One that waits or runs.
pub(super) struct Place<'a> {
    gate: &'a Gate,
    peer: Option<IpAddr>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut waiting = self.gate.lock();
        waiting.all -= 1;
        if let Some(peer) = self.peer
            && let Some(count) = waiting.of_address.get_mut(&peer)
        {
            *count -= 1;
            if *count == 0 {
                waiting.of_address.remove(&peer);
            }
        }
    }
}

/// A client that waits longer has gone by itself.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_runs_and_the_others_wait_up_to_the_limit() {
        let gate = Gate::new(Limits { running: 1, waiting: 2, waiting_per_address: 2 });
        let first = gate.enter(None).await.unwrap();
        let mut second = std::pin::pin!(gate.enter(None));
        assert!(futures_util::poll!(second.as_mut()).is_pending());
        assert_eq!(gate.enter(None).await.err(), Some(AuthError::Busy));
        drop(first);
        let second = second.await.unwrap();
        assert!(gate.place(None).is_ok());
        drop(second);
    }

    #[tokio::test]
    async fn one_address_does_not_take_the_places_of_another() {
        let gate = Gate::new(Limits { running: 9, waiting: 9, waiting_per_address: 1 });
        let (ann, bob) = (Some(IpAddr::from([127, 0, 0, 1])), Some(IpAddr::from([127, 0, 0, 2])));
        let first = gate.enter(ann).await.unwrap();
        assert_eq!(gate.enter(ann).await.err(), Some(AuthError::Busy));
        let _second = gate.enter(bob).await.unwrap();
        drop(first);
        assert!(gate.enter(ann).await.is_ok());
        assert_eq!(gate.lock().of_address.len(), 1, "who left is forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let gate = Gate::new(Limits { running: 1, waiting: 2, waiting_per_address: 2 });
        let _first = gate.enter(None).await.unwrap();
        assert_eq!(gate.enter(None).await.err(), Some(AuthError::Busy));
        assert_eq!(gate.lock().all, 1);
    }
}
