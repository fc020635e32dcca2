//! The machine's gauges: CPU, memory and disk, with licences and connections, to `/topic/system`.
//!
//! The only file naming sysinfo. Nothing is sampled while nobody listens.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::Utc;
use serde::Serialize;
use sysinfo::{CpuRefreshKind, DiskRefreshKind, Disks, MINIMUM_CPU_UPDATE_INTERVAL, MemoryRefreshKind, System};
use tokio::task::spawn_blocking;
use tracing::{error, warn};

use super::events::Rfc3339;
use super::licenses::{Licenses, Usage};
use super::metrics::publish_patiently;
use crate::broker::Broker;
use crate::message::{Destination, Publication};
use crate::net::clock;

/// Where the gauges are published.
pub const DESTINATION: &str = "/topic/system";

/// Samples the machine, on request. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Gauges {
    broker: Broker,
    licenses: Arc<Licenses>,
    sampler: Arc<Mutex<Sampler>>,
}

/// All gauges at one moment: octets and percent.
#[derive(Debug, Clone, Serialize)]
pub struct Reading {
    #[serde(rename = "type")]
    kind: &'static str,
    timestamp: Rfc3339,
    /// The machine.
    pub system: Machine,
    /// All licence pools together.
    pub licenses: Usage,
    connections: Connections,
}

/// What the machine has and what of it is used.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Machine {
    /// The processor.
    pub cpu: Cpu,
    /// Main memory.
    pub memory: Space,
    /// The file system of [`Gauges::new`]'s path.
    pub disk: Space,
}

/// The processor.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Cpu {
    /// Percent of all cores since the sample before, to two decimals.
    pub usage: f64,
    /// Logical cores.
    pub cores: usize,
}

/// Room, in octets.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Space {
    /// All there is.
    pub total: u64,
    /// What is taken.
    pub used: u64,
    /// What can be taken.
    pub available: u64,
    /// What is taken, in percent to two decimals; zero where there is none.
    pub percentage: f64,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Connections {
    active: u64,
    total: u64,
}

impl Gauges {
    /// Prepares sampling; `disk` is a path on the file system to be watched.
    pub fn new(broker: Broker, licenses: Arc<Licenses>, disk: PathBuf) -> Self {
        Self { broker, licenses, sampler: Arc::new(Mutex::new(Sampler::new(disk))) }
    }

    /// Samples now, or answers the last sample where it is younger than 200 ms; off the calling
    /// thread, because a file system may keep one waiting. `None` where that went wrong.
    pub async fn read(&self) -> Option<Reading> {
        let sampler = Arc::clone(&self.sampler);
        let sampled = spawn_blocking(move || sampler.lock().unwrap_or_else(PoisonError::into_inner).sample()).await;
        let system = sampled.inspect_err(|error| error!(%error, "the machine's gauges cannot be read")).ok()?;
        let stats = self.broker.stats();
        let connections = Connections { active: stats.connections.value(), total: stats.connections_total.value() };
        let timestamp = Rfc3339(Utc::now());
        Some(Reading { kind: "metrics", timestamp, system, licenses: self.licenses.summary(), connections })
    }

    /// Publishes a reading each `interval` while somebody listens, and more often where a stream's
    /// client wants that; never ends.
    pub async fn publish_periodically(self, interval: Duration) {
        let Ok(destination) = Destination::parse(DESTINATION) else { return };
        let paces = self.broker.paces();
        let mut last: Option<tokio::time::Instant> = None;
        loop {
            if self.broker.interest().of(&destination).is_empty() {
                tokio::time::sleep(LOOK).await;
                last = None;
                continue;
            }
            if let Some(last) = last {
                let fastest = paces.fastest().map_or(interval, |fastest| fastest.min(interval));
                tokio::select! {
                    () = tokio::time::sleep_until(last + fastest) => {}
                    () = paces.changed() => continue,
                }
            }
            last = Some(tokio::time::Instant::now());
            let Some(reading) = self.read().await else { continue };
            let body = serde_json::to_vec(&reading).unwrap_or_default().into();
            let headers = vec![("content-type".into(), "application/json".into())];
            publish_patiently(&self.broker, Publication { destination: destination.clone(), headers, body }).await;
        }
    }
}

struct Sampler {
    system: System,
    disks: Disks,
    disk: PathBuf,
    last: Option<(Instant, Machine)>,
}

impl Sampler {
    fn new(disk: PathBuf) -> Self {
        Self { system: System::new(), disks: Disks::new(), disk, last: None }
    }

    fn sample(&mut self) -> Machine {
        let cpu = CpuRefreshKind::nothing().with_cpu_usage();
        match self.last {
            Some((at, machine)) if clock::now() - at < MINIMUM_CPU_UPDATE_INTERVAL => return machine,
            // What the processor did is the difference of two looks.
            Some((at, _)) if clock::now() - at < STALE => {}
            Some(_) | None => {
                self.system.refresh_cpu_specifics(cpu);
                std::thread::sleep(MINIMUM_CPU_UPDATE_INTERVAL);
            }
        }
        self.system.refresh_cpu_specifics(cpu);
        self.system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        let cpu = Cpu { usage: round2(f64::from(self.system.global_cpu_usage())), cores: self.system.cpus().len() };
        let total = self.system.total_memory();
        let memory = Space::of(total, self.system.available_memory());
        let machine = Machine { cpu, memory, disk: self.disk() };
        self.last = Some((clock::now(), machine));
        machine
    }

    fn disk(&mut self) -> Space {
        let kind = DiskRefreshKind::nothing().with_storage();
        if self.disks.list().is_empty() {
            self.disks = Disks::new_with_refreshed_list_specifics(kind);
        }
        let depth = |disk: &sysinfo::Disk| disk.mount_point().components().count();
        let around = self.disks.list_mut().iter_mut().filter(|disk| self.disk.starts_with(disk.mount_point()));
        let Some(disk) = around.max_by_key(|disk| depth(disk)) else {
            warn!(path = %self.disk.display(), "no file system is known there");
            return Space::of(0, 0);
        };
        disk.refresh_specifics(kind);
        Space::of(disk.total_space(), disk.available_space())
    }
}

impl Space {
    #[expect(clippy::cast_precision_loss, reason = "a share to two decimals")]
    fn of(total: u64, available: u64) -> Self {
        let used = total.saturating_sub(available);
        let percentage = if total == 0 { 0.0 } else { round2(used as f64 * 100.0 / total as f64) };
        Self { total, used, available, percentage }
    }
}

fn round2(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

/// How soon somebody new is seen.
const LOOK: Duration = Duration::from_millis(100);
/// A look so old that a mean since then says nothing of now.
const STALE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_available_is_used() {
        assert_eq!(Space::of(300, 100), Space { total: 300, used: 200, available: 100, percentage: 66.67 });
        assert_eq!(Space::of(0, 0).percentage, 0.0);
    }

    #[test]
    fn this_machine_has_a_processor_memory_and_a_disk() {
        let mut sampler = Sampler::new("/".into());
        let Machine { cpu, memory, disk } = sampler.sample();
        assert!(cpu.cores > 0 && (0.0..=100.0).contains(&cpu.usage), "{cpu:?}");
        assert!(memory.used > 0 && memory.used < memory.total && memory.percentage < 100.0, "{memory:?}");
        assert!(disk.total > 0 && disk.used <= disk.total, "{disk:?}");
    }
}
