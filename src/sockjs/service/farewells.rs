//! [`Farewells`]: what a service still has to say before its listeners may close.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

/// Counts the sessions whose client was between two polls when its session was closed, and the
/// shards that have not closed theirs yet; over all shards.
pub(super) struct Farewells {
    owed: watch::Sender<usize>,
    is_draining: AtomicBool,
}

impl Farewells {
    pub(super) fn new(shards: usize) -> Arc<Self> {
        Arc::new(Self { owed: watch::Sender::new(shards), is_draining: AtomicBool::new(false) })
    }

    pub(super) fn begin(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    /// One shard has closed all its sessions; resolves when nothing is owed on any, or when
    /// those who do not come were waited for long enough.
    pub(super) async fn finish(&self) {
        let mut owed = self.owed.subscribe();
        self.owed.send_modify(|owed| *owed = owed.saturating_sub(1));
        let _ = timeout(GRACE, owed.wait_for(|owed| *owed == 0)).await;
    }
}

/// A close frame that no receiver was given yet.
pub(super) struct Owed(Arc<Farewells>);

impl Owed {
    pub(super) fn new(farewells: &Arc<Farewells>) -> Self {
        farewells.owed.send_modify(|owed| *owed += 1);
        Self(Arc::clone(farewells))
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        self.0.owed.send_modify(|owed| *owed = owed.saturating_sub(1));
    }
}

/// A client that polls comes again as soon as it has the last answer.
const GRACE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_shard_waits_for_all_and_for_two_seconds_at_most() {
        let farewells = Farewells::new(2);
        let owed = Owed::new(&farewells);
        let other = Arc::clone(&farewells);
        let first = tokio::spawn(async move { other.finish().await });
        tokio::time::sleep(Duration::from_millis(1999)).await;
        assert!(!first.is_finished());
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert!(first.is_finished());
        drop(owed);
        farewells.finish().await;
        assert_eq!(*farewells.owed.borrow(), 0);
    }
}
