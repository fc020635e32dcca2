//! Alerts: thresholds over what is measured, raised and cleared once each.
//!
//! What lives here: when a rule is broken and when it is kept again, and what is published of
//! that. Time is an argument.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde::Serialize;
use tracing::{info, warn};

use super::events::{Events, Moment, Rfc3339};
use super::licenses::Licenses;
use super::metrics::{moment, publish_patiently};
use super::system::{Gauges, Reading};
use crate::broker::Broker;
use crate::message::{Destination, Header, Publication};

/// Where alerts are published.
pub const DESTINATION: &str = "/topic/alerts";

/// One threshold.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Its name; unique.
    pub name: String,
    /// What is held against it.
    pub metric: Metric,
    /// Where it is broken.
    pub bound: Bound,
    /// How long it must be broken before that is an alert.
    pub lasting: Duration,
    /// How far behind the threshold a value must be for the alert to end; 0: at it.
    pub hysteresis: f64,
    /// How bad that is, for listeners: `info`, `warning` or `critical`.
    pub severity: String,
}

/// On which side of the threshold a rule is broken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    /// Above it.
    Above(f64),
    /// Below it.
    Below(f64),
}

/// What can be measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Metric {
    /// Events per second, the mean of ten seconds.
    EventRate,
    /// Percent of the events of five minutes.
    ErrorRate,
    /// Milliseconds: the 95th percentile of five minutes.
    Latency,
    /// Percent.
    Cpu,
    /// Percent.
    Memory,
    /// Percent.
    Disk,
    /// Those open now.
    Connections,
    /// Percent in use of a feature's licences, or of all.
    LicenseUtilization(Option<String>),
    /// How many of a feature's licences are left, or of all.
    LicensesAvailable(Option<String>),
}

impl Metric {
    /// The metric of that name; see the settings for the names.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "events.rate" => Self::EventRate,
            "events.error_rate" => Self::ErrorRate,
            "events.latency" => Self::Latency,
            "system.cpu" => Self::Cpu,
            "system.memory" => Self::Memory,
            "system.disk" => Self::Disk,
            "connections" => Self::Connections,
            "licenses.utilization" => Self::LicenseUtilization(None),
            "licenses.available" => Self::LicensesAvailable(None),
            other => {
                let (feature, what) = other.strip_prefix("licenses.")?.rsplit_once('.')?;
                let feature = Some(feature.to_owned()).filter(|feature| !feature.is_empty());
                match what {
                    "utilization" => Self::LicenseUtilization(Some(feature?)),
                    "available" => Self::LicensesAvailable(Some(feature?)),
                    _ => return None,
                }
            }
        })
    }

    fn is_of_machine(&self) -> bool {
        matches!(self, Self::Cpu | Self::Memory | Self::Disk)
    }
}

/// Where values come from.
pub struct Metered {
    /// The broker.
    pub broker: Broker,
    /// The event metrics, where they are enabled.
    pub events: Option<Arc<Events>>,
    /// The licence pools.
    pub licenses: Arc<Licenses>,
    /// The machine.
    pub gauges: Gauges,
}

impl Metered {
    /// `None` where there is nothing to measure.
    #[expect(clippy::cast_precision_loss, reason = "counts held against thresholds")]
    fn value(&self, metric: &Metric, machine: Option<&Reading>, now: Moment) -> Option<f64> {
        let usage = |feature: &Option<String>| match feature {
            Some(feature) => self.licenses.of(feature),
            None => Some(self.licenses.summary()).filter(|usage| usage.total > 0),
        };
        let events = || self.events.as_ref().map(|events| events.gauges(now));
        match metric {
            Metric::EventRate => events().map(|gauges| gauges.rate),
            Metric::ErrorRate => events().map(|gauges| gauges.error_rate),
            Metric::Latency => events().map(|gauges| gauges.p95_ms),
            Metric::Cpu => machine.map(|reading| reading.system.cpu.usage),
            Metric::Memory => machine.map(|reading| reading.system.memory.percentage),
            Metric::Disk => machine.map(|reading| reading.system.disk.percentage),
            Metric::Connections => Some(self.broker.stats().connections.value() as f64),
            Metric::LicenseUtilization(feature) => usage(feature).map(|usage| usage.utilization),
            Metric::LicensesAvailable(feature) => usage(feature).map(|usage| usage.available as f64),
        }
    }
}

/// The rules and what has become of them. Shared by reference between threads.
#[derive(Debug, Default)]
pub struct Alerts(Mutex<Watch>);

#[derive(Debug, Default)]
struct Watch {
    rules: Vec<Watched>,
    /// The newest last.
    recent: VecDeque<Alert>,
}

#[derive(Debug)]
struct Watched {
    rule: Rule,
    broken_since: Option<Instant>,
    raised: Option<Alert>,
}

impl Alerts {
    /// Watches over these rules.
    pub fn new(rules: Vec<Rule>) -> Self {
        let rules = rules.into_iter().map(|rule| Watched { rule, broken_since: None, raised: None }).collect();
        Self(Mutex::new(Watch { rules, recent: VecDeque::new() }))
    }

    /// How many are raised.
    pub fn active(&self) -> usize {
        self.lock().rules.iter().filter(|watched| watched.raised.is_some()).count()
    }

    /// The body of `GET /api/v1/alerts`: those that are raised, and the last hundred changes,
    /// newest first.
    pub fn report(&self) -> impl Serialize + use<> {
        let watch = self.lock();
        Report {
            active: watch.rules.iter().filter_map(|watched| watched.raised.clone()).collect(),
            recent: watch.recent.iter().rev().cloned().collect(),
        }
    }

    /// Measures and publishes what changed, each second while there are rules.
    pub async fn watch(self: Arc<Self>, metered: Metered) {
        let metrics: Vec<Metric> = self.lock().rules.iter().map(|watched| watched.rule.metric.clone()).collect();
        let Ok(destination) = Destination::parse(DESTINATION) else { return };
        if metrics.is_empty() {
            return;
        }
        loop {
            tokio::time::sleep(STEP).await;
            let machine = match metrics.iter().any(Metric::is_of_machine) {
                true => metered.gauges.read().await,
                false => None,
            };
            let now = moment();
            let values: Vec<_> = metrics.iter().map(|metric| metered.value(metric, machine.as_ref(), now)).collect();
            for alert in self.observe(&values, now) {
                publish_patiently(&metered.broker, alert.publication(&destination)).await;
            }
        }
    }

    /// Holds the values against their rules; answers what changed.
    fn observe(&self, values: &[Option<f64>], now: Moment) -> Vec<Alert> {
        let mut watch = self.lock();
        let mut changed = Vec::new();
        for (watched, value) in watch.rules.iter_mut().zip(values) {
            // Where there is nothing to measure, nothing is known to have changed.
            let Some(value) = value else { continue };
            changed.extend(watched.observe(*value, now));
        }
        for alert in &changed {
            if watch.recent.len() == RECENT {
                watch.recent.pop_front();
            }
            watch.recent.push_back(alert.clone());
        }
        changed
    }

    fn lock(&self) -> MutexGuard<'_, Watch> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    fn observe(&mut self, value: f64, now: Moment) -> Option<Alert> {
        let Rule { bound, hysteresis, .. } = self.rule;
        let (is_broken, is_kept) = match bound {
            Bound::Above(threshold) => (value > threshold, value <= threshold - hysteresis),
            Bound::Below(threshold) => (value < threshold, value >= threshold + hysteresis),
        };
        if !is_broken {
            self.broken_since = None;
        }
        if self.raised.is_some() {
            let raised = self.raised.take_if(|_| is_kept)?;
            info!(alert = self.rule.name, value, "cleared");
            return Some(self.alert("cleared", value, raised.metadata.since.0, now.wall));
        }
        let since = if is_broken { *self.broken_since.get_or_insert(now.steady) } else { return None };
        let broken_for = now.steady.saturating_duration_since(since);
        if broken_for < self.rule.lasting {
            return None;
        }
        warn!(alert = self.rule.name, value, "raised");
        let began = now.wall - chrono::TimeDelta::from_std(broken_for).unwrap_or_default();
        let alert = self.alert("raised", value, began, now.wall);
        self.raised = Some(alert.clone());
        Some(alert)
    }

    fn alert(&self, state: &'static str, value: f64, since: DateTime<Utc>, now: DateTime<Utc>) -> Alert {
        let Rule { name, bound, severity, .. } = &self.rule;
        let (side, threshold) = match *bound {
            Bound::Above(threshold) => ("above", threshold),
            Bound::Below(threshold) => ("below", threshold),
        };
        let message = match state {
            "raised" => format!("{name}: {value} is {side} {threshold}"),
            _ => format!("{name}: {value} is no longer {side} {threshold}"),
        };
        let metadata = Metadata { name: name.clone(), state, value, threshold, since: Rfc3339(since) };
        let severity = severity.clone();
        Alert { kind: "alert", timestamp: Rfc3339(now), severity, message, source: SOURCE, metadata }
    }
}

/// A rule that was broken, or is kept again.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Alert {
    #[serde(rename = "type")]
    kind: &'static str,
    timestamp: Rfc3339,
    severity: String,
    message: String,
    source: &'static str,
    metadata: Metadata,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Metadata {
    name: String,
    /// `raised` or `cleared`.
    state: &'static str,
    value: f64,
    threshold: f64,
    /// When the rule was broken first.
    since: Rfc3339,
}

impl Alert {
    fn publication(&self, destination: &Destination) -> Publication {
        let headers: Vec<Header> = vec![
            ("content-type".into(), "application/json".into()),
            ("severity".into(), self.severity.as_str().into()),
            ("source".into(), self.source.into()),
            ("state".into(), self.metadata.state.into()),
        ];
        let body = serde_json::to_vec(self).unwrap_or_default().into();
        Publication { destination: destination.clone(), headers, body }
    }
}

#[derive(Serialize)]
struct Report {
    active: Vec<Alert>,
    recent: Vec<Alert>,
}

const SOURCE: &str = "stompbox";
const STEP: Duration = Duration::from_secs(1);
const RECENT: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_is_raised_once_after_its_time_and_cleared_once_behind_its_hysteresis() {
        let alerts = Alerts::new(vec![rule(Bound::Above(90.0), 10, 5.0)]);
        let at = clock();
        let states = |values: &[(u64, f64)]| -> Vec<_> {
            let seen = values.iter().flat_map(|(s, value)| alerts.observe(&[Some(*value)], at(*s)));
            seen.map(|alert| (alert.metadata.state, alert.message)).collect()
        };
        assert_eq!(states(&[(0, 90.0), (1, 91.0), (10, 95.0)]), []);
        assert_eq!(states(&[(11, 92.0), (12, 99.0)]), [("raised", "cpu: 92 is above 90".to_owned())]);
        assert_eq!(states(&[(13, 90.0), (14, 85.1), (15, 95.0)]), []);
        assert_eq!(alerts.active(), 1);
        assert_eq!(states(&[(16, 85.0), (17, 80.0)]), [("cleared", "cpu: 85 is no longer above 90".to_owned())]);
        assert_eq!(alerts.active(), 0);
        // The time begins anew where the rule was kept in between.
        assert_eq!(states(&[(20, 91.0), (25, 90.0), (26, 91.0), (35, 91.0)]), []);
        assert_eq!(states(&[(36, 91.0)]).len(), 1);
    }

    #[test]
    fn below_is_the_other_side_and_nothing_measured_changes_nothing() {
        let alerts = Alerts::new(vec![rule(Bound::Below(5.0), 0, 2.0)]);
        let at = clock();
        let state = |value, s| alerts.observe(&[value], at(s)).first().map(|alert| alert.metadata.state);
        assert_eq!((state(None, 0), state(Some(5.0), 1)), (None, None));
        assert_eq!(state(Some(4.9), 2), Some("raised"));
        assert_eq!((state(None, 3), state(Some(6.9), 4)), (None, None));
        assert_eq!(state(Some(7.0), 5), Some("cleared"));
    }

    #[test]
    fn an_alert_is_the_documented_object_and_the_report_has_what_is_active_and_what_was() {
        let alerts = Alerts::new(vec![rule(Bound::Above(90.0), 2, 0.0)]);
        let at = clock();
        alerts.observe(&[Some(91.5)], at(0));
        let raised = alerts.observe(&[Some(93.5)], at(2)).remove(0);
        let object = serde_json::json!({"type": "alert", "timestamp": "2026-01-12T14:00:02.000Z", "severity": "critical",
            "message": "cpu: 93.5 is above 90", "source": "stompbox", "metadata": {"name": "cpu", "state": "raised",
            "value": 93.5, "threshold": 90.0, "since": "2026-01-12T14:00:00.000Z"}});
        let publication = raised.publication(&Destination::parse(DESTINATION).unwrap());
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&publication.body).unwrap(), object);
        assert_eq!((publication.header("severity"), publication.header("state")), (Some("critical"), Some("raised")));
        let report = || serde_json::to_value(alerts.report()).unwrap();
        assert_eq!(report()["active"], serde_json::json!([object]));
        for s in 3..RECENT as u64 + 10 {
            alerts.observe(&[Some(if s % 2 == 0 { 91.0 } else { 0.0 })], at(s));
            alerts.observe(&[Some(if s % 2 == 0 { 91.0 } else { 0.0 })], at(s + 5));
        }
        assert!(report()["recent"].as_array().is_some_and(|recent| recent.len() <= RECENT));
    }

    #[test]
    fn metrics_have_their_names() {
        let feature = Some("cad.pro".to_owned());
        assert_eq!(Metric::parse("licenses.cad.pro.available"), Some(Metric::LicensesAvailable(feature)));
        assert_eq!(Metric::parse("licenses.utilization"), Some(Metric::LicenseUtilization(None)));
        assert_eq!(Metric::parse("system.cpu"), Some(Metric::Cpu));
        for name in ["", "cpu", "licenses", "licenses..available", "licenses.cad.total"] {
            assert_eq!(Metric::parse(name), None, "{name}");
        }
    }

    fn rule(bound: Bound, seconds: u64, hysteresis: f64) -> Rule {
        let lasting = Duration::from_secs(seconds);
        Rule { name: "cpu".into(), metric: Metric::Cpu, bound, lasting, hysteresis, severity: "critical".into() }
    }

    fn clock() -> impl Fn(u64) -> Moment {
        let (wall, steady) = ("2026-01-12T14:00:00Z".parse::<DateTime<Utc>>().unwrap(), crate::net::clock::now());
        move |s| Moment { wall: wall + Duration::from_secs(s), steady: steady + Duration::from_secs(s) }
    }
}
