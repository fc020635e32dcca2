//! What is out of the ordinary right now.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::event::Rfc3339;
use super::reading::Reading;
use super::windows::round2;

/// Remembers since when each anomaly has been seen, from snapshot to snapshot.
#[derive(Debug, Default)]
pub(super) struct Anomalies {
    since: BTreeMap<Kind, DateTime<Utc>>,
}

impl Anomalies {
    /// The anomalies of that moment: error rate and p95 of the last five minutes, and the last
    /// minute against the mean minute of the last five (of those since the start where they are
    /// fewer, so that a start is no spike).
    pub(super) fn detect(&mut self, reading: &Reading) -> Vec<Anomaly> {
        let found = [error_rate(reading), high_latency(reading), traffic_spike(reading)];
        let found: Vec<_> = found.into_iter().flatten().collect();
        self.since.retain(|kind, _| found.iter().any(|anomaly| anomaly.kind == *kind));
        let dated = |mut anomaly: Anomaly| {
            anomaly.detected_at = Rfc3339(*self.since.entry(anomaly.kind).or_insert(reading.now));
            anomaly
        };
        found.into_iter().map(dated).collect()
    }
}

/// One of them, with the value that is out of bounds and the bound.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Anomaly {
    pub(super) severity: Grade,
    #[serde(rename = "type")]
    pub(super) kind: Kind,
    pub(super) message: String,
    pub(super) threshold: f64,
    pub(super) current_value: f64,
    /// The first snapshot in a row that showed it.
    pub(super) detected_at: Rfc3339,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    HighErrorRate,
    HighLatency,
    TrafficSpike,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Grade {
    Warning,
    Critical,
}

fn error_rate(reading: &Reading) -> Option<Anomaly> {
    let rate = reading.last_5_minutes.error_rate();
    let (severity, threshold) = grade(reading.last_5_minutes.exact_error_rate(), 5.0, 10.0)?;
    let message = format!("{rate} % of the events of the last 5 minutes are errors (above {threshold} %)");
    Some(anomaly(severity, Kind::HighErrorRate, message, threshold, rate, reading))
}

fn high_latency(reading: &Reading) -> Option<Anomaly> {
    let p95 = reading.recent_latency.p95;
    let (severity, threshold) = grade(p95, 1000.0, 5000.0)?;
    let message = format!("The 95th percentile of latency is {p95} ms (above {threshold} ms)");
    Some(anomaly(severity, Kind::HighLatency, message, threshold, p95, reading))
}

#[expect(clippy::cast_precision_loss, reason = "counts of some minutes")]
fn traffic_spike(reading: &Reading) -> Option<Anomaly> {
    let minutes = reading.second.clamp(60, 300) as f64 / 60.0;
    let last = reading.last_minute.events as f64;
    let bound = 3.0 * reading.last_5_minutes.events as f64 / minutes;
    if last <= bound {
        return None;
    }
    let threshold = round2(bound);
    let message = format!("{last} events in the last minute, above 3 times the mean of 5 minutes ({threshold})");
    Some(anomaly(Grade::Warning, Kind::TrafficSpike, message, threshold, last, reading))
}

fn grade(value: f64, warning: f64, critical: f64) -> Option<(Grade, f64)> {
    if value > critical {
        Some((Grade::Critical, critical))
    } else if value > warning {
        Some((Grade::Warning, warning))
    } else {
        None
    }
}

fn anomaly(severity: Grade, kind: Kind, message: String, threshold: f64, current: f64, reading: &Reading) -> Anomaly {
    Anomaly { severity, kind, message, threshold, current_value: current, detected_at: Rfc3339(reading.now) }
}
