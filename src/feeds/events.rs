//! The event metrics: events in, one aggregated payload out each period.

/// What the aggregator needs to know from the settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The shape of the payload.
    pub profile: Profile,
    /// Distinct event types counted by name; more go to `other`.
    pub event_types: usize,
    /// Distinct sources counted by name; more go to `other`.
    pub sources: usize,
    /// Distinct users followed by name.
    pub users: usize,
    /// Events kept for the queries.
    pub recent_events: usize,
    /// Octets of the events kept for the queries.
    pub recent_bytes: usize,
}

/// The shape of the metrics payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// The public API's documented shape.
    Documented,
    /// The shape that the existing dashboard's types declare.
    Dashboard,
}
