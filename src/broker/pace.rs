//! How often those who listen want a gauge: who samples does so at the pace of the fastest.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// The intervals at which listeners want the system's gauges.
#[derive(Debug, Default)]
pub struct Paces {
    wanted: Mutex<BTreeMap<Duration, usize>>,
    changed: Notify,
}

/// One listener's interval, wanted until it is dropped.
#[derive(Debug)]
pub struct Wanted {
    paces: Arc<Paces>,
    interval: Duration,
}

impl Paces {
    /// Notes a listener.
    pub fn want(self: &Arc<Self>, interval: Duration) -> Wanted {
        let before = self.fastest();
        *self.lock().entry(interval).or_default() += 1;
        self.tell(before);
        Wanted { paces: Arc::clone(self), interval }
    }

    /// The shortest interval that is wanted; `None` while nobody listens.
    pub fn fastest(&self) -> Option<Duration> {
        self.lock().keys().next().copied()
    }

    /// Resolves when [`Paces::fastest`] changed, since the last call or before the next.
    ///
    /// # Cancel safety
    /// Nothing is lost; for one waiter at a time.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    fn tell(&self, before: Option<Duration>) {
        if self.fastest() != before {
            self.changed.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Duration, usize>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Wanted {
    fn drop(&mut self) {
        let before = self.paces.fastest();
        let mut wanted = self.paces.lock();
        if let Some(count) = wanted.get_mut(&self.interval) {
            *count -= 1;
            if *count == 0 {
                wanted.remove(&self.interval);
            }
        }
        drop(wanted);
        self.paces.tell(before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_fastest_listener_counts_and_its_coming_and_going_is_told() {
        let paces = Arc::new(Paces::default());
        assert_eq!(paces.fastest(), None);
        let slow = paces.want(Duration::from_secs(5));
        paces.changed().await;
        let fast = paces.want(Duration::from_secs(1));
        let other = paces.want(Duration::from_secs(1));
        paces.changed().await;
        drop(fast);
        assert_eq!(paces.fastest(), Some(Duration::from_secs(1)));
        drop(other);
        paces.changed().await;
        assert_eq!(paces.fastest(), Some(Duration::from_secs(5)));
        drop(slow);
        paces.changed().await;
        assert_eq!(paces.fastest(), None);
    }
}
