//! What happened lately: one bucket for each step of time, in a ring that forgets by itself.

use super::latency::{Micros, mean_ms};

/// Buckets of equal width; a bucket is cleared when its place is needed for a later time, and
/// never read for any time but its own, so an idle gap needs no sweeping.
#[derive(Debug)]
pub(super) struct Ring {
    seconds_per_bucket: u64,
    buckets: Vec<Bucket>,
}

impl Ring {
    pub(super) fn new(seconds_per_bucket: u64, buckets: usize) -> Self {
        Self { seconds_per_bucket, buckets: vec![Bucket::default(); buckets] }
    }

    /// Counts an event in that second since the start. Returns the bucket's sum; nothing where
    /// the second is so old that its place is taken.
    pub(super) fn add(&mut self, second: u64, is_error: bool, latency: Option<Micros>) -> Option<Sum> {
        let step = second / self.seconds_per_bucket;
        let slot = self.slot(step)?;
        let bucket = self.buckets.get_mut(slot)?;
        if bucket.step > step {
            return None;
        }
        if bucket.step < step {
            *bucket = Bucket { step, sum: Sum::default() };
        }
        bucket.sum.count(is_error, latency);
        Some(bucket.sum)
    }

    /// The last `seconds`, of which the running one is the last: buckets that have not ended yet
    /// count as far as they go.
    pub(super) fn last(&self, seconds: u64, now_second: u64) -> Sum {
        let now = now_second / self.seconds_per_bucket;
        let steps = seconds / self.seconds_per_bucket;
        self.between((now + 1).saturating_sub(steps), now + 1)
    }

    /// The steps `from..to`.
    pub(super) fn between(&self, from: u64, to: u64) -> Sum {
        let mut sum = Sum::default();
        for step in from..to {
            let bucket = self.slot(step).and_then(|slot| self.buckets.get(slot));
            if let Some(bucket) = bucket.filter(|bucket| bucket.step == step) {
                sum.add(&bucket.sum);
            }
        }
        sum
    }

    fn slot(&self, step: u64) -> Option<usize> {
        usize::try_from(step.checked_rem(self.buckets.len() as u64)?).ok()
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    step: u64,
    sum: Sum,
}

/// Events, errors and latencies of some stretch of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) events: u64,
    pub(super) errors: u64,
    latencies: u64,
    latency_us: u128,
}

impl Sum {
    fn count(&mut self, is_error: bool, latency: Option<Micros>) {
        self.events += 1;
        self.errors += u64::from(is_error);
        if let Some(latency) = latency {
            self.latencies += 1;
            self.latency_us = self.latency_us.saturating_add(latency.micros().into());
        }
    }

    fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.errors += other.errors;
        self.latencies += other.latencies;
        self.latency_us = self.latency_us.saturating_add(other.latency_us);
    }

    /// Mean latency in milliseconds.
    pub(super) fn avg_latency(&self) -> f64 {
        mean_ms(self.latency_us, self.latencies)
    }

    /// Errors in percent of the events.
    pub(super) fn error_rate(&self) -> f64 {
        percent(self.errors, self.events)
    }

    /// As [`Self::error_rate`], for thresholds: 5.002 % is above 5 %.
    pub(super) fn exact_error_rate(&self) -> f64 {
        exact_percent(self.errors, self.events)
    }
}

/// `part` of `whole` in percent, to two decimals; zero of nothing.
pub(super) fn percent(part: u64, whole: u64) -> f64 {
    round2(exact_percent(part, whole))
}

/// `part` of `whole` in percent; zero of nothing.
#[expect(clippy::cast_precision_loss, reason = "a share")]
pub(super) fn exact_percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

/// `events` per second over that many seconds, to two decimals; zero over no time.
#[expect(clippy::cast_precision_loss, reason = "a rate to two decimals")]
pub(super) fn per_second(events: u64, seconds: u64) -> f64 {
    if seconds == 0 { 0.0 } else { round2(events as f64 / seconds as f64) }
}

pub(super) fn round2(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}
