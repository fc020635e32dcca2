//! The payload in the shape that the existing dashboard's types declare.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use chrono::SecondsFormat;
use serde::Serialize;

use super::anomalies::Anomaly;
use super::event::Rfc3339;
use super::names::NamedRow;
use super::reading::{BySeverity, Reading};
use super::windows::{per_second, percent};

/// Names sorted; rates in events/s and percentages to two decimals, latencies in ms to three.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Dashboard {
    pub(super) summary: Summary,
    pub(super) throughput: Throughput,
    pub(super) time_windows: TimeWindows,
    pub(super) events_by_type: BTreeMap<String, TypeRow>,
    pub(super) events_by_source: BTreeMap<String, SourceRow>,
    pub(super) events_by_severity: BySeverity,
    pub(super) user_metrics: UserMetrics,
    pub(super) top_events: TopEvents,
    pub(super) error_analysis: ErrorAnalysis,
    pub(super) performance: Performance,
    pub(super) anomalies: Vec<Anomaly>,
}

impl Dashboard {
    pub(super) fn new(reading: &Reading, anomalies: Vec<Anomaly>) -> Self {
        Self {
            summary: Summary::new(reading),
            throughput: Throughput::new(reading),
            time_windows: TimeWindows {
                last_1_minute: reading.last_minute.events,
                last_5_minutes: reading.last_5_minutes.events,
                last_15_minutes: reading.last_15_minutes.events,
                last_1_hour: reading.last_hour.events,
                last_24_hours: reading.last_day.events,
            },
            events_by_type: types(reading),
            events_by_source: reading.sources.iter().map(|row| (row.name.clone(), SourceRow::new(row))).collect(),
            events_by_severity: reading.by_severity.into(),
            user_metrics: UserMetrics::new(reading),
            top_events: TopEvents::new(&reading.types),
            error_analysis: ErrorAnalysis {
                total_errors: reading.errors(),
                error_rate: reading.error_rate(),
                errors_by_type: top_errors(&reading.types, reading.errors()),
                errors_by_source: top_errors(&reading.sources, reading.errors()),
            },
            performance: Performance {
                avg_latency: reading.overall.avg,
                p50: reading.overall.p50,
                p95: reading.overall.p95,
                p99: reading.overall.p99,
                max_latency: reading.overall.max,
                min_latency: reading.overall.min,
            },
            anomalies,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Summary {
    pub(super) total_events: u64,
    pub(super) unique_sources: u64,
    pub(super) unique_event_types: u64,
    pub(super) unique_users: u64,
    pub(super) system_health: SystemHealth,
    pub(super) last_updated: String,
}

impl Summary {
    fn new(reading: &Reading) -> Self {
        Self {
            total_events: reading.total(),
            unique_sources: reading.unique_sources,
            unique_event_types: reading.unique_types,
            unique_users: reading.users.unique,
            system_health: SystemHealth::of(reading.last_5_minutes.exact_error_rate()),
            last_updated: reading.now.to_rfc3339_opts(SecondsFormat::Secs, true),
        }
    }
}

/// By the error rate of the last five minutes, so that it recovers when the system does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum SystemHealth {
    Healthy,
    Degraded,
    Critical,
}

impl SystemHealth {
    fn of(error_rate: f64) -> Self {
        if error_rate > 10.0 {
            Self::Critical
        } else if error_rate > 5.0 {
            Self::Degraded
        } else {
            Self::Healthy
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Throughput {
    pub(super) current: Current,
    pub(super) peak: Peak,
    pub(super) average: Average,
}

impl Throughput {
    fn new(reading: &Reading) -> Self {
        Self {
            current: Current {
                per_second: reading.current_rate(),
                per_minute: reading.last_minute.events,
                per_hour: reading.last_hour.events,
                per_day: reading.last_day.events,
            },
            peak: Peak { value: per_second(reading.peak, 1), timestamp: Rfc3339(reading.peak_at) },
            average: Average { last_1_hour: reading.hour_rate(), last_24_hours: reading.day_rate() },
        }
    }
}

/// The rate of the moment, and the events counted in the last minute, hour and day.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Current {
    pub(super) per_second: f64,
    pub(super) per_minute: u64,
    pub(super) per_hour: u64,
    pub(super) per_day: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Peak {
    pub(super) value: f64,
    pub(super) timestamp: Rfc3339,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Average {
    #[serde(rename = "last1Hour")]
    pub(super) last_1_hour: f64,
    #[serde(rename = "last24Hours")]
    pub(super) last_24_hours: f64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct TimeWindows {
    #[serde(rename = "last1Minute")]
    pub(super) last_1_minute: u64,
    #[serde(rename = "last5Minutes")]
    pub(super) last_5_minutes: u64,
    #[serde(rename = "last15Minutes")]
    pub(super) last_15_minutes: u64,
    #[serde(rename = "last1Hour")]
    pub(super) last_1_hour: u64,
    #[serde(rename = "last24Hours")]
    pub(super) last_24_hours: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TypeRow {
    pub(super) count: u64,
    pub(super) percentage: f64,
    pub(super) avg_latency: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SourceRow {
    pub(super) count: u64,
    pub(super) health: SourceHealth,
    pub(super) avg_latency: f64,
    pub(super) error_count: u64,
    pub(super) error_rate: f64,
}

impl SourceRow {
    fn new(row: &NamedRow) -> Self {
        Self {
            count: row.count,
            health: SourceHealth::of(row.exact_error_rate(), row.latency.avg),
            avg_latency: row.latency.avg,
            error_count: row.errors,
            error_rate: row.error_rate(),
        }
    }
}

/// By the row's own error rate and mean latency, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum SourceHealth {
    Healthy,
    Degraded,
    Down,
}

impl SourceHealth {
    fn of(error_rate: f64, avg_latency_ms: f64) -> Self {
        if error_rate > 10.0 || avg_latency_ms > 5000.0 {
            Self::Down
        } else if error_rate > 5.0 || avg_latency_ms > 1000.0 {
            Self::Degraded
        } else {
            Self::Healthy
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct UserMetrics {
    #[serde(rename = "totalUniqueUsers")]
    pub(super) total_unique_users: u64,
    #[serde(rename = "activeUsersLast1Hour")]
    pub(super) active_users_last_1_hour: u64,
    #[serde(rename = "activeUsersLast24Hours")]
    pub(super) active_users_last_24_hours: u64,
    #[serde(rename = "topActiveUsers")]
    pub(super) top_active_users: Vec<ActiveUser>,
}

impl UserMetrics {
    fn new(reading: &Reading) -> Self {
        let users = &reading.users;
        let active = |user: &super::top_users::TopUser| ActiveUser {
            user_id: user.user_id.to_string(),
            event_count: user.event_count,
        };
        Self {
            total_unique_users: users.unique,
            active_users_last_1_hour: users.last_hour,
            active_users_last_24_hours: users.last_day,
            top_active_users: users.top.iter().map(active).collect(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ActiveUser {
    pub(super) user_id: String,
    pub(super) event_count: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TopEvents {
    pub(super) most_frequent: Vec<TopEvent>,
    pub(super) fastest: Vec<TopEvent>,
    pub(super) slowest: Vec<TopEvent>,
}

impl TopEvents {
    /// Of equals the first by name; only types with a latency are fast or slow.
    fn new(types: &[NamedRow]) -> Self {
        let mut frequent: Vec<_> = types.iter().collect();
        frequent.sort_by_key(|row| Reverse(row.count));
        let mut fast: Vec<_> = types.iter().filter(|row| row.latency.sample_count > 0).collect();
        let mut slow = fast.clone();
        fast.sort_by(|a, b| a.latency.avg.total_cmp(&b.latency.avg));
        slow.sort_by(|a, b| b.latency.avg.total_cmp(&a.latency.avg));
        let first = |rows: Vec<&NamedRow>, count| rows.into_iter().take(count).map(TopEvent::new).collect();
        Self { most_frequent: first(frequent, 10), fastest: first(fast, 5), slowest: first(slow, 5) }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TopEvent {
    #[serde(rename = "type")]
    pub(super) event_type: String,
    pub(super) count: u64,
    pub(super) avg_latency: f64,
}

impl TopEvent {
    fn new(row: &NamedRow) -> Self {
        Self { event_type: row.name.clone(), count: row.count, avg_latency: row.latency.avg }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ErrorAnalysis {
    pub(super) total_errors: u64,
    pub(super) error_rate: f64,
    pub(super) errors_by_type: Vec<ErrorShare>,
    pub(super) errors_by_source: Vec<ErrorShare>,
}

/// A name's errors, in percent of all errors.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct ErrorShare {
    pub(super) name: String,
    pub(super) count: u64,
    pub(super) percentage: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Performance {
    pub(super) avg_latency: f64,
    pub(super) p50: f64,
    pub(super) p95: f64,
    pub(super) p99: f64,
    pub(super) max_latency: f64,
    pub(super) min_latency: f64,
}

fn types(reading: &Reading) -> BTreeMap<String, TypeRow> {
    let row = |row: &NamedRow| TypeRow {
        count: row.count,
        percentage: percent(row.count, reading.total()),
        avg_latency: row.latency.avg,
    };
    reading.types.iter().map(|named| (named.name.clone(), row(named))).collect()
}

fn top_errors(rows: &[NamedRow], all: u64) -> Vec<ErrorShare> {
    let mut failing: Vec<_> = rows.iter().filter(|row| row.errors > 0).collect();
    failing.sort_by_key(|row| Reverse(row.errors));
    let share =
        |row: &NamedRow| ErrorShare { name: row.name.clone(), count: row.errors, percentage: percent(row.errors, all) };
    failing.into_iter().take(10).map(share).collect()
}
