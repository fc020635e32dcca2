//! The payload that was made last, and what making others in between may cost.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Moment, lock};
use crate::net::clock;

/// Keeps the last payload, and makes one at a time, so that an older one never takes the place of
/// a newer one.
///
/// Who asks between the periods gets the last one as long as it is what a new one would be. What
/// is made for them takes a fifth of a core at most, however many ask: beyond [`BURST`] each costs
/// four times its own time of rest.
#[derive(Debug)]
pub(super) struct Payloads {
    /// Events counted and resets, ever.
    changes: AtomicU64,
    /// Held from the reading of the counts until their payload is kept.
    making: Mutex<()>,
    /// Up to when time is spent; never held for long.
    spent: Mutex<Instant>,
    last: Mutex<Last>,
}

/// A payload and the numbers it shows.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) body: Bytes,
    /// When rates and windows will be others without any event.
    pub(super) good_until: Moment,
}

#[derive(Debug)]
struct Last {
    made: Made,
    /// Those that are in it, at least.
    changes: u64,
}

impl Payloads {
    /// None yet.
    pub(super) fn new(now: Moment) -> Self {
        let made = Made { body: Bytes::new(), good_until: now };
        Self {
            changes: AtomicU64::new(0),
            making: Mutex::default(),
            spent: Mutex::new(now.steady),
            last: Mutex::new(Last { made, changes: 0 }),
        }
    }

    /// Says that an event was counted.
    pub(super) fn note_change(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
    }

    /// What a payload asked for now has to hold.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    /// The last, whatever has come since.
    pub(super) fn last(&self) -> Bytes {
        lock(&self.last).made.body.clone()
    }

    /// The last, if it holds so many changes and shows this second.
    pub(super) fn last_with(&self, changes: u64, now: Moment) -> Option<Bytes> {
        let last = lock(&self.last);
        let until = last.made.good_until;
        let is_good = last.changes >= changes && now.steady < until.steady && now.wall < until.wall;
        is_good.then(|| last.made.body.clone())
    }

    /// How long there is to wait until one may be made in between.
    pub(super) fn pause(&self, now: Moment) -> Duration {
        lock(&self.spent).saturating_duration_since(now.steady).saturating_sub(BURST * SHARE)
    }

    /// Makes one, after those that are being made; should `make` have none, the last stays.
    pub(super) fn make(&self, make: impl FnOnce() -> Option<Made>) -> Bytes {
        let _making = lock(&self.making);
        self.keep(make)
    }

    /// Makes one in between, unless another one that was made meanwhile will do. Who `shares` gets
    /// the last where too many were made lately.
    pub(super) fn make_in_between(&self, now: Moment, shares: bool, make: impl FnOnce() -> Option<Made>) -> Bytes {
        let changes = self.changes();
        if let Some(body) = self.last_with(changes, now) {
            return body;
        }
        let _making = lock(&self.making);
        if let Some(body) = self.last_with(changes, now) {
            return body;
        }
        if shares && !self.pause(now).is_zero() {
            return self.last();
        }
        let begun = clock::now();
        let body = self.keep(make);
        let took = clock::now().saturating_duration_since(begun);
        let mut spent = lock(&self.spent);
        *spent = now.steady.max(*spent) + took * SHARE;
        body
    }

    fn keep(&self, make: impl FnOnce() -> Option<Made>) -> Bytes {
        let changes = self.changes();
        let made = make();
        let mut last = lock(&self.last);
        if let Some(made) = made {
            *last = Last { made, changes };
        }
        last.made.body.clone()
    }
}

/// One part in so many of a core's time goes to payloads in between.
const SHARE: u32 = 5;
/// What may be made at once after a rest, in time that making takes: some hundred payloads.
const BURST: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use chrono::Utc;

    use super::*;

    #[test]
    fn no_other_payload_is_read_until_the_one_before_is_kept() {
        let now = Moment { wall: Utc::now(), steady: clock::now() };
        let payloads = Payloads::new(now);
        let is_free = || payloads.making.try_lock().is_ok();
        let made = |body: &'static str| {
            assert!(!is_free());
            Some(Made { body: body.into(), good_until: now })
        };
        assert_eq!(payloads.make(|| made("a")), "a");
        payloads.note_change();
        assert_eq!(payloads.make_in_between(now, true, || made("b")), "b");
        assert!(is_free());
        // One that cannot be made leaves the last.
        assert_eq!(payloads.make(|| None), "b");
    }
}
