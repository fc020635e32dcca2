//! Latencies of one kind of event: exact count, mean and extremes, percentiles within 1 %.

use hdrhistogram::Histogram;

/// A latency in microseconds, at most an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Micros(u64);

impl Micros {
    /// Of milliseconds; negative is zero, NaN is zero, above an hour is an hour.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "float casts saturate")]
    pub fn from_ms(ms: f64) -> Self {
        Self::saturating((ms * 1000.0).round() as u64)
    }

    /// Of microseconds, an hour where they are more.
    pub fn saturating(us: u64) -> Self {
        Self(us.min(MAX_MICROS))
    }

    /// As a number of microseconds.
    pub fn micros(self) -> u64 {
        self.0
    }
}

/// All latencies since the start, in memory that does not grow with their number: up to 27 KB.
#[derive(Debug, Clone, Default)]
pub(super) struct Latencies {
    count: u64,
    sum_us: u128,
    min_us: u64,
    max_us: u64,
    // Made by the first sample: most memory of a row, and many event types never state a latency.
    histogram: Option<Histogram<u64>>,
}

impl Latencies {
    pub(super) fn record(&mut self, latency: Micros) {
        let us = latency.0;
        self.min_us = if self.count == 0 { us } else { self.min_us.min(us) };
        self.max_us = self.max_us.max(us);
        self.count += 1;
        self.sum_us += u128::from(us);
        if self.histogram.is_none() {
            self.histogram = Histogram::new(SIGNIFICANT_DIGITS).ok();
        }
        if let Some(histogram) = &mut self.histogram {
            // Grows as needed, up to an hour; `saturating_record` would not grow it.
            let _ = histogram.record(us);
        }
    }

    /// Adds all that the other holds.
    pub(super) fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        self.min_us = if self.count == 0 { other.min_us } else { self.min_us.min(other.min_us) };
        self.max_us = self.max_us.max(other.max_us);
        self.count += other.count;
        self.sum_us += other.sum_us;
        match (&mut self.histogram, &other.histogram) {
            // Both resize by themselves, so the sum always fits.
            (Some(mine), Some(theirs)) => drop(mine.add(theirs)),
            (mine @ None, theirs) => mine.clone_from(theirs),
            (Some(_), None) => {}
        }
    }

    pub(super) fn summary(&self) -> LatencySummary {
        LatencySummary {
            p50: self.quantile_ms(0.50),
            p95: self.quantile_ms(0.95),
            p99: self.quantile_ms(0.99),
            avg: mean_ms(self.sum_us, self.count),
            min: ms(self.min_us),
            max: ms(self.max_us),
            sample_count: self.count,
        }
    }

    fn quantile_ms(&self, quantile: f64) -> f64 {
        let us = self.histogram.as_ref().map_or(0, |histogram| histogram.value_at_quantile(quantile));
        // A bucket's upper edge may lie outside of what was seen.
        ms(us.clamp(self.min_us, self.max_us.max(self.min_us)))
    }
}

/// Milliseconds, rounded to microseconds; all zero without samples.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct LatencySummary {
    pub(super) p50: f64,
    pub(super) p95: f64,
    pub(super) p99: f64,
    pub(super) avg: f64,
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) sample_count: u64,
}

/// Mean in milliseconds to three decimals; zero of nothing.
#[expect(clippy::cast_precision_loss, reason = "a mean to three decimals")]
pub(super) fn mean_ms(sum_us: u128, count: u64) -> f64 {
    if count == 0 { 0.0 } else { (sum_us as f64 / count as f64).round() / 1000.0 }
}

#[expect(clippy::cast_precision_loss, reason = "at most an hour")]
fn ms(us: u64) -> f64 {
    us as f64 / 1000.0
}

/// Percentiles within 1 %, in at most 27 KB each (3 digits would take 190 KB).
const SIGNIFICANT_DIGITS: u8 = 2;
const MAX_MICROS: u64 = 3_600_000_000;

#[cfg(test)]
mod tests {
    use super::{Latencies, Micros};

    #[test]
    fn memory_is_27_kb_at_most() {
        let mut latencies = Latencies::default();
        for us in [0, 1, 100_000, u64::MAX] {
            latencies.record(Micros::saturating(us));
        }
        let counters = latencies.histogram.unwrap().distinct_values();
        assert_eq!(counters * size_of::<u64>(), 26_624);
    }
}
