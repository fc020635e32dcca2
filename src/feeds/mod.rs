//! What publishes by itself: the metrics aggregator, its demo, and scheduled broadcasts.
//!
//! What lives here: where data comes from. What does not: who gets it (`broker`), and how
//! (`net`).

pub mod demo;
pub mod events;
pub mod metrics;
pub mod schedule;
