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
    /// In `connect` alone.
    pub(super) connections_per_second: Option<f64>,
    pub(super) messages: u64,
    pub(super) deliveries: u64,
    pub(super) deliveries_per_second: f64,
    pub(super) megabytes_per_second: f64,
    /// As the sockets had them, with frames' heads.
    pub(super) octets_per_delivery: Option<f64>,
    /// Of deliveries; in `connect`, of connections.
    pub(super) latency_ms: Option<Latency>,
    pub(super) lost: u64,
    pub(super) duplicated: u64,
    pub(super) reordered: u64,
    pub(super) lost_subscribers: u64,
    pub(super) broker: Option<Broker>,
    /// In `idle` with `--broadcast` alone.
    pub(super) kib_per_connection_after_broadcast: Option<f64>,
    pub(super) client: Client,
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
    /// The same number is CPU seconds for a million deliveries. In `connect`, for a connection.
    pub(super) cpu_us_per_delivery: Option<f64>,
    /// Its deliveries included.
    pub(super) cpu_us_per_message: Option<f64>,
    pub(super) resident_mib: f64,
    /// The most since the process began.
    pub(super) peak_mib: f64,
    pub(super) resident_kib_per_connection: f64,
}

/// This generator itself: where its cores are near 1, it is the limit, not the broker.
#[derive(Debug, Serialize)]
pub(super) struct Client {
    pub(super) cores: f64,
    pub(super) cpu_us_per_delivery: Option<f64>,
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
        (messages, deliveries): (u64, u64),
        connections: usize,
    ) -> Self {
        let cpu = after.cpu.saturating_sub(before.cpu);
        let grown = after.resident_bytes.saturating_sub(empty.resident_bytes) as f64;
        Self {
            cores: cpu.as_secs_f64() / took.as_secs_f64(),
            cpu_us_per_delivery: each(cpu, deliveries),
            cpu_us_per_message: each(cpu, messages),
            resident_mib: after.resident_bytes as f64 / 1_048_576.0,
            peak_mib: after.peak_bytes as f64 / 1_048_576.0,
            resident_kib_per_connection: grown / 1024.0 / connections.max(1) as f64,
        }
    }
}

impl Client {
    pub(super) fn new(before: Option<Usage>, after: Option<Usage>, took: Duration, deliveries: u64) -> Self {
        let cpu = after.zip(before).map(|(after, before)| after.cpu.saturating_sub(before.cpu)).unwrap_or_default();
        Self { cores: cpu.as_secs_f64() / took.as_secs_f64(), cpu_us_per_delivery: each(cpu, deliveries) }
    }
}

fn each(cpu: Duration, count: u64) -> Option<f64> {
    (count > 0).then(|| cpu.as_secs_f64() * 1e6 / count as f64)
}

impl Report {
    /// One of a run without messages.
    pub(super) fn quiet(scenario: &'static str, connections: usize, took: Duration) -> Self {
        Self {
            scenario,
            connections,
            seconds: took.as_secs_f64(),
            connections_per_second: None,
            messages: 0,
            deliveries: 0,
            deliveries_per_second: 0.0,
            megabytes_per_second: 0.0,
            octets_per_delivery: None,
            latency_ms: None,
            lost: 0,
            duplicated: 0,
            reordered: 0,
            lost_subscribers: 0,
            broker: None,
            kib_per_connection_after_broadcast: None,
            client: Client { cores: 0.0, cpu_us_per_delivery: None },
        }
    }

    pub(super) fn print(&self, json: bool) -> Result<String, serde_json::Error> {
        if json {
            return serde_json::to_string(self).map(|json| json + "\n");
        }
        let mut rows = vec![
            ("connections", self.connections.to_string()),
            ("seconds", format!("{:.1}", self.seconds)),
            ("lost subscribers", self.lost_subscribers.to_string()),
        ];
        if let Some(rate) = self.connections_per_second {
            rows.push(("connections/s", format!("{rate:.0}")));
        }
        if self.messages > 0 {
            rows.extend([
                ("messages", self.messages.to_string()),
                ("deliveries", self.deliveries.to_string()),
                ("lost, duplicated, reordered", format!("{}, {}, {}", self.lost, self.duplicated, self.reordered)),
            ]);
        }
        if self.deliveries_per_second > 0.0 {
            rows.push(("deliveries/s", format!("{:.0}", self.deliveries_per_second)));
            rows.push(("MB/s", format!("{:.1}", self.megabytes_per_second)));
            if let Some(octets) = self.octets_per_delivery {
                rows.push(("octets on the wire each", format!("{octets:.0}")));
            }
        }
        if let Some(Latency { p50, p95, p99, max }) = &self.latency_ms {
            rows.push(("latency p50, p95, p99, max", format!("{p50:.2}, {p95:.2}, {p99:.2}, {max:.2} ms")));
        }
        let what = if self.connections_per_second.is_some() { "connection" } else { "delivery" };
        let cost = |cores: f64, cpu: Option<f64>| {
            let each = cpu.map_or_else(String::new, |us| format!("; {us:.2} µs a {what}, {us:.2} s a million"));
            format!("{cores:.3} cores{each}")
        };
        if let Some(broker) = &self.broker {
            rows.push(("broker's CPU", cost(broker.cores, broker.cpu_us_per_delivery)));
            if let Some(us) = broker.cpu_us_per_message {
                rows.push(("broker's CPU per message", format!("{us:.2} µs, deliveries included")));
            }
            rows.push(("broker's memory", format!("{:.1} MiB, {:.1} at most", broker.resident_mib, broker.peak_mib)));
            rows.push(("grown per connection", format!("{:.2} KiB", broker.resident_kib_per_connection)));
        }
        if let Some(after) = self.kib_per_connection_after_broadcast {
            rows.push(("after the broadcast", format!("{after:.2} KiB")));
        }
        rows.push(("this generator's own CPU", cost(self.client.cores, self.client.cpu_us_per_delivery)));
        Ok(rows.iter().map(|(name, value)| format!("{name:<28} {value}\n")).collect())
    }
}
