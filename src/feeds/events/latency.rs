//! Latencies of one kind of event: exact count, mean and extremes; percentiles exact or close.

use std::mem;

use hdrhistogram::Histogram;

/// A latency in microseconds, at most a hundred years.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Micros(u64);

impl Micros {
    /// Of milliseconds; negative is zero, NaN is zero, above a hundred years is that.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "float casts saturate")]
    pub fn from_ms(ms: f64) -> Self {
        Self::saturating((ms * 1000.0).round() as u64)
    }

    /// Of microseconds, a hundred years where they are more.
    pub fn saturating(us: u64) -> Self {
        Self(us.min(MAX_MICROS))
    }

    /// As a number of microseconds.
    pub fn micros(self) -> u64 {
        self.0
    }
}

/// All latencies since the start, in memory that does not grow with their number: up to 16 KB
/// while there are at most [`EXACT`] different ones, then up to 27 KB, and 47 KB where some are
/// years.
///
/// Percentiles are those of the nearest rank: samples that occurred, as long as they are kept one
/// by one; then the middles of buckets, within 0.4 %.
#[derive(Debug, Clone, Default)]
pub(super) struct Latencies {
    count: u64,
    sum_us: u128,
    min_us: u64,
    max_us: u64,
    samples: Samples,
}

impl Latencies {
    pub(super) fn record(&mut self, latency: Micros) {
        let us = latency.0;
        self.min_us = if self.count == 0 { us } else { self.min_us.min(us) };
        self.max_us = self.max_us.max(us);
        self.count += 1;
        self.sum_us += u128::from(us);
        self.samples.add(us, 1);
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
        self.samples.merge(&other.samples);
    }

    pub(super) fn summary(&self) -> LatencySummary {
        LatencySummary {
            p50: self.percentile_ms(50),
            p95: self.percentile_ms(95),
            p99: self.percentile_ms(99),
            avg: mean_ms(self.sum_us, self.count),
            min: ms(self.min_us),
            max: ms(self.max_us),
            sample_count: self.count,
        }
    }

    fn percentile_ms(&self, percent: u64) -> f64 {
        let rank = (u128::from(self.count) * u128::from(percent)).div_ceil(100);
        let us = self.samples.of_rank(u64::try_from(rank).unwrap_or(u64::MAX));
        // The middle of a bucket may lie outside of what was seen.
        ms(us.clamp(self.min_us, self.max_us.max(self.min_us)))
    }
}

#[derive(Debug, Clone)]
enum Samples {
    /// Each latency with how often it occurred, the shortest first.
    Exact(Vec<(u64, u64)>),
    Buckets(Histogram<u64>),
}

impl Default for Samples {
    fn default() -> Self {
        Self::Exact(Vec::new())
    }
}

impl Samples {
    fn add(&mut self, us: u64, times: u64) {
        if let Self::Exact(counts) = self {
            match counts.binary_search_by_key(&us, |(us, _)| *us) {
                Ok(at) => return counts[at].1 += times,
                Err(at) if counts.len() < EXACT => return counts.insert(at, (us, times)),
                Err(_) => {}
            }
        }
        if let Some(histogram) = self.buckets() {
            // Grows as needed; `saturating_record` would not grow it.
            let _ = histogram.record_n(us, times);
        }
    }

    fn merge(&mut self, other: &Self) {
        match other {
            Self::Exact(counts) => counts.iter().for_each(|(us, times)| self.add(*us, *times)),
            Self::Buckets(theirs) => {
                if let Some(mine) = self.buckets() {
                    // Both resize by themselves, so the sum always fits.
                    let _ = mine.add(theirs);
                }
            }
        }
    }

    /// Keeps them in buckets from here on.
    fn buckets(&mut self) -> Option<&mut Histogram<u64>> {
        if let Self::Exact(counts) = self {
            let mut histogram = Histogram::new(SIGNIFICANT_DIGITS).ok()?;
            for (us, times) in mem::take(counts) {
                let _ = histogram.record_n(us, times);
            }
            *self = Self::Buckets(histogram);
        }
        match self {
            Self::Exact(_) => None,
            Self::Buckets(histogram) => Some(histogram),
        }
    }

    /// The sample of that rank, counted from 1; zero where there is none.
    fn of_rank(&self, rank: u64) -> u64 {
        match self {
            Self::Exact(counts) => {
                let mut seen = 0;
                let reaches = |(_, times): &&(u64, u64)| {
                    seen += times;
                    seen >= rank
                };
                counts.iter().find(reaches).map_or(0, |(us, _)| *us)
            }
            Self::Buckets(histogram) => {
                let mut seen = 0;
                let reaches = |bucket: &hdrhistogram::iterators::IterationValue<u64>| {
                    seen += bucket.count_at_value();
                    seen >= rank
                };
                let bucket = histogram.iter_recorded().find(reaches);
                bucket.map_or(0, |bucket| histogram.median_equivalent(bucket.value_iterated_to()))
            }
        }
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

#[expect(clippy::cast_precision_loss, reason = "exact up to centuries")]
fn ms(us: u64) -> f64 {
    us as f64 / 1000.0
}

/// Different latencies that are kept one by one: what a person counts after is exact.
const EXACT: usize = 1024;
/// Three would take 190 KB.
const SIGNIFICANT_DIGITS: u8 = 2;
/// A hundred years: the age of any timestamp that is taken.
const MAX_MICROS: u64 = 100 * 365 * 86_400 * 1_000_000;

#[cfg(test)]
mod tests {
    use super::{EXACT, Latencies, Micros, Samples};

    #[test]
    fn memory_is_16_kb_for_few_latencies_27_kb_for_many_and_47_kb_where_some_are_years() {
        let mut latencies = Latencies::default();
        for us in 0..EXACT as u64 {
            latencies.record(Micros::saturating(us));
            latencies.record(Micros::saturating(us));
        }
        let Samples::Exact(counts) = &latencies.samples else { panic!("{latencies:?}") };
        assert_eq!(counts.capacity() * size_of::<(u64, u64)>(), 16_384);
        for (us, octets) in [(3_600_000_000, 26_624), (u64::MAX, 47_104)] {
            latencies.record(Micros::saturating(us));
            let Samples::Buckets(histogram) = &latencies.samples else { panic!("{latencies:?}") };
            assert_eq!(histogram.distinct_values() * size_of::<u64>(), octets);
        }
    }
}
