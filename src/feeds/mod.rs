//! What publishes by itself: the metrics aggregator and scheduled broadcasts.

pub mod events;
