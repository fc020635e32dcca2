//! What publishes by itself: the metrics aggregator, its demo, log lines, licence
//! pools, the machine's gauges, scheduled broadcasts, and the broker's own counters.
//!
//! What lives here: where data comes from. What does not: who gets it (`broker`), and how
//! (`net`).

pub mod alerts;
pub mod demo;
pub mod events;
pub mod licenses;
pub mod logs;
pub mod metrics;
pub mod schedule;
pub mod status;
pub mod sys;
pub mod system;
