//! The two small answers that tell a caller the event API is there.

use chrono::{DateTime, Utc};
use serde::Serialize;

/// The body of `GET /api/v1/events/health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Health {
    status: &'static str,
    timestamp: String,
}

impl Health {
    /// Up, at that time: milliseconds since the epoch as a string, as documented.
    pub fn up(now: DateTime<Utc>) -> Self {
        Self { status: "UP", timestamp: now.timestamp_millis().to_string() }
    }
}

/// The body of `GET /api/v1/events/test`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Running {
    status: &'static str,
    service: &'static str,
    version: &'static str,
}

impl Default for Running {
    fn default() -> Self {
        Self { status: "running", service: env!("CARGO_PKG_NAME"), version: env!("CARGO_PKG_VERSION") }
    }
}
