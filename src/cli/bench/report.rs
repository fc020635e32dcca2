//! What was measured, as a table or as JSON.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::process::Usage;

/// The result of one run.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) scenario: &'static str,
    pub(super) connections: usize,
    pub(super) seconds: f64,
    pub(super) messages: u64,
    pub(super) deliveries: u64,
    pub(super) deliveries_per_second: f64,
    pub(super) megabytes_per_second: f64,
    pub(super) latency_ms: Option<Latency>,
    pub(super) lost: u64,
    pub(super) duplicated: u64,
    pub(super) reordered: u64,
    pub(super) lost_subscribers: u64,
    pub(super) broker: Option<Broker>,
    /// Of this generator itself: where it is near 1, it is the limit, not the broker.
    pub(super) client_cores: f64,
}

/// From the intended time of sending to the arrival.
#[derive(Debug, Serialize)]
pub(super) struct Latency {
    pub(super) p50: f64,
    pub(super) p95: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

/// The broker's process.
#[derive(Debug, Serialize)]
pub(super) struct Broker {
    pub(super) cores: f64,
    pub(super) cpu_us_per_delivery: Option<f64>,
    pub(super) resident_mib: f64,
    pub(super) resident_kib_per_connection: f64,
}

impl Latency {
    pub(super) fn of(histogram: &Histogram<u64>) -> Option<Self> {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1000.0;
        let max = histogram.max() as f64 / 1000.0;
        (!histogram.is_empty()).then(|| Self { p50: at(0.5), p95: at(0.95), p99: at(0.99), max })
    }
}

impl Broker {
    /// `empty` is the memory before the first connection.
    pub(super) fn new(
        before: Usage,
        after: Usage,
        empty: Usage,
        took: Duration,
        deliveries: u64,
        connections: usize,
    ) -> Self {
        let cpu = after.cpu.saturating_sub(before.cpu);
        let grown = after.resident_bytes.saturating_sub(empty.resident_bytes) as f64;
        Self {
            cores: cpu.as_secs_f64() / took.as_secs_f64(),
            cpu_us_per_delivery: (deliveries > 0).then(|| cpu.as_secs_f64() * 1e6 / deliveries as f64),
            resident_mib: after.resident_bytes as f64 / 1_048_576.0,
            resident_kib_per_connection: grown / 1024.0 / connections.max(1) as f64,
        }
    }
}

impl Report {
    pub(super) fn print(&self, json: bool) -> Result<String, serde_json::Error> {
        if json {
            return serde_json::to_string(self).map(|json| json + "\n");
        }
        let mut rows = vec![
            ("connections", self.connections.to_string()),
            ("seconds", format!("{:.1}", self.seconds)),
            ("messages", self.messages.to_string()),
            ("deliveries", self.deliveries.to_string()),
            ("deliveries/s", format!("{:.0}", self.deliveries_per_second)),
            ("MB/s", format!("{:.1}", self.megabytes_per_second)),
            ("lost, duplicated, reordered", format!("{}, {}, {}", self.lost, self.duplicated, self.reordered)),
            ("lost subscribers", self.lost_subscribers.to_string()),
        ];
        if let Some(Latency { p50, p95, p99, max }) = &self.latency_ms {
            rows.push(("latency p50, p95, p99, max", format!("{p50:.2}, {p95:.2}, {p99:.2}, {max:.2} ms")));
        }
        if let Some(broker) = &self.broker {
            rows.push(("broker's cores", format!("{:.3}", broker.cores)));
            if let Some(cpu) = broker.cpu_us_per_delivery {
                rows.push(("broker's CPU per delivery", format!("{cpu:.2} µs")));
            }
            rows.push(("broker's memory", format!("{:.1} MiB", broker.resident_mib)));
            rows.push(("grown per connection", format!("{:.2} KiB", broker.resident_kib_per_connection)));
        }
        rows.push(("this generator's cores", format!("{:.3}", self.client_cores)));
        Ok(rows.iter().map(|(name, value)| format!("{name:<28} {value}\n")).collect())
    }
}
