//! The payload in the public API's documented shape.

use std::collections::BTreeMap;

use serde::Serialize;

use super::event::Rfc3339;
use super::latency::LatencySummary;
use super::names::NamedRow;
use super::reading::{BySeverity, Reading, Trend};
use super::windows::{Sum, per_second};

/// Names sorted; rates in events/s and percentages to two decimals, latencies in ms to three.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Documented {
    pub(super) summary: Summary,
    pub(super) events_by_type: BTreeMap<String, u64>,
    pub(super) events_by_source: BTreeMap<String, u64>,
    pub(super) events_by_severity: BySeverity,
    pub(super) latency_metrics: LatencyMetrics,
    pub(super) error_metrics: ErrorMetrics,
    pub(super) throughput: Throughput,
    pub(super) time_windows: TimeWindows,
    pub(super) top_users: Vec<TopUser>,
}

impl From<&Reading> for Documented {
    fn from(reading: &Reading) -> Self {
        Self {
            summary: Summary::new(reading),
            events_by_type: counts(&reading.types, |row| row.count),
            events_by_source: counts(&reading.sources, |row| row.count),
            events_by_severity: reading.by_severity.into(),
            latency_metrics: LatencyMetrics {
                overall: reading.overall.into(),
                by_type: percentiles(&reading.types),
                by_source: percentiles(&reading.sources),
            },
            error_metrics: ErrorMetrics {
                total_errors: reading.errors(),
                error_rate: reading.error_rate(),
                errors_by_type: counts(&reading.types, |row| row.errors),
                errors_by_source: counts(&reading.sources, |row| row.errors),
            },
            throughput: Throughput {
                current: reading.current_rate(),
                peak: per_second(reading.peak, 1),
                avg: reading.average_rate(),
                peak_timestamp: Rfc3339(reading.peak_at),
                trend: reading.trend(),
            },
            time_windows: TimeWindows {
                last_5_minutes: reading.last_5_minutes.into(),
                last_15_minutes: reading.last_15_minutes.into(),
                last_1_hour: reading.last_hour.into(),
            },
            top_users: reading.users.top.iter().map(TopUser::from).collect(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Summary {
    pub(super) total_events: u64,
    pub(super) events_per_second: f64,
    pub(super) avg_latency: f64,
    pub(super) error_rate: f64,
    pub(super) unique_users: u64,
    pub(super) unique_sources: u64,
    pub(super) unique_event_types: u64,
}

impl Summary {
    fn new(reading: &Reading) -> Self {
        Self {
            total_events: reading.total(),
            events_per_second: reading.current_rate(),
            avg_latency: reading.overall.avg,
            error_rate: reading.error_rate(),
            unique_users: reading.users.unique,
            unique_sources: reading.unique_sources,
            unique_event_types: reading.unique_types,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LatencyMetrics {
    pub(super) overall: Overall,
    pub(super) by_type: BTreeMap<String, Percentiles>,
    pub(super) by_source: BTreeMap<String, Percentiles>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Overall {
    pub(super) p50: f64,
    pub(super) p95: f64,
    pub(super) p99: f64,
    pub(super) avg: f64,
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) sample_count: u64,
}

impl From<LatencySummary> for Overall {
    fn from(summary: LatencySummary) -> Self {
        let LatencySummary { p50, p95, p99, avg, min, max, sample_count } = summary;
        Self { p50, p95, p99, avg, min, max, sample_count }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Percentiles {
    pub(super) p50: f64,
    pub(super) p95: f64,
    pub(super) p99: f64,
    pub(super) avg: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ErrorMetrics {
    pub(super) total_errors: u64,
    pub(super) error_rate: f64,
    pub(super) errors_by_type: BTreeMap<String, u64>,
    pub(super) errors_by_source: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Throughput {
    pub(super) current: f64,
    pub(super) peak: f64,
    pub(super) avg: f64,
    pub(super) peak_timestamp: Rfc3339,
    pub(super) trend: Trend,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct TimeWindows {
    #[serde(rename = "last5Minutes")]
    pub(super) last_5_minutes: Window,
    #[serde(rename = "last15Minutes")]
    pub(super) last_15_minutes: Window,
    #[serde(rename = "last1Hour")]
    pub(super) last_1_hour: Window,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Window {
    pub(super) events: u64,
    pub(super) avg_latency: f64,
    pub(super) error_rate: f64,
}

impl From<Sum> for Window {
    fn from(sum: Sum) -> Self {
        Self { events: sum.events, avg_latency: sum.avg_latency(), error_rate: sum.error_rate() }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TopUser {
    pub(super) user_id: String,
    pub(super) event_count: u64,
    pub(super) last_seen: Rfc3339,
}

impl From<&super::top_users::TopUser> for TopUser {
    fn from(user: &super::top_users::TopUser) -> Self {
        Self { user_id: user.user_id.to_string(), event_count: user.event_count, last_seen: Rfc3339(user.last_seen) }
    }
}

/// Names whose count is not zero.
fn counts(rows: &[NamedRow], count: impl Fn(&NamedRow) -> u64) -> BTreeMap<String, u64> {
    rows.iter().filter(|row| count(row) > 0).map(|row| (row.name.clone(), count(row))).collect()
}

/// Every name, so that a page may look up each name it found among the counts; zeros where no
/// event of the name had a latency.
fn percentiles(rows: &[NamedRow]) -> BTreeMap<String, Percentiles> {
    let percentiles = |LatencySummary { p50, p95, p99, avg, .. }| Percentiles { p50, p95, p99, avg };
    rows.iter().map(|row| (row.name.clone(), percentiles(row.latency))).collect()
}
