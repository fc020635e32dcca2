//! What the server says of itself to load balancers and dashboards.

use super::events::{Moment, Rfc3339};
use crate::broker::Broker;
use crate::net::clock;
use chrono::Utc;
use serde::Serialize;

/// Since when the server runs, and what it is made of.
#[derive(Debug, Clone)]
pub struct About {
    started: Moment,
    shards: usize,
}

impl About {
    /// A server that starts at that time.
    pub fn new(started: Moment, shards: usize) -> Self {
        Self { started, shards }
    }

    /// The body of `GET /api/health`; `uptime` in seconds.
    pub fn health(&self, broker: &Broker, alerts: usize) -> impl Serialize + use<> {
        Health {
            status: "healthy",
            timestamp: Rfc3339(Utc::now()),
            service: NAME,
            version: VERSION,
            uptime: self.uptime(),
            active_connections: broker.stats().connections.value(),
            active_alerts: alerts,
        }
    }

    /// The body of `GET /api/status`.
    pub fn status(&self, broker: &Broker) -> impl Serialize + use<> {
        let stats = broker.stats();
        Status {
            status: "running",
            active_connections: stats.connections.value(),
            total_connections: stats.connections_total.value(),
            messages: Messages { received: stats.published.value(), delivered: stats.delivered.value() },
            uptime: self.uptime(),
            last_update: Rfc3339(Utc::now()),
        }
    }

    /// The body of `GET /api/server-info`; `websocket` is where STOMP is spoken.
    pub fn server_info(&self, websocket: &str) -> impl Serialize + use<> {
        ServerInfo {
            name: NAME,
            version: VERSION,
            started_at: Rfc3339(self.started.wall),
            uptime: self.uptime(),
            shards: self.shards,
            protocols: ["v12.stomp", "v11.stomp", "v10.stomp", "sockjs"],
            endpoints: Endpoints {
                stomp: websocket.to_owned(),
                logs: "/api/v1/logs",
                licenses: "/api/v1/licenses",
                metrics: "/api/metrics",
                health: "/api/health",
                status: "/api/status",
            },
        }
    }

    fn uptime(&self) -> u64 {
        clock::now().saturating_duration_since(self.started.steady).as_secs()
    }
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
    timestamp: Rfc3339,
    service: &'static str,
    version: &'static str,
    uptime: u64,
    active_connections: u64,
    active_alerts: usize,
}

#[derive(Serialize)]
struct Status {
    status: &'static str,
    active_connections: u64,
    total_connections: u64,
    messages: Messages,
    uptime: u64,
    last_update: Rfc3339,
}

#[derive(Serialize)]
struct Messages {
    received: u64,
    delivered: u64,
}

#[derive(Serialize)]
struct ServerInfo {
    name: &'static str,
    version: &'static str,
    started_at: Rfc3339,
    uptime: u64,
    shards: usize,
    protocols: [&'static str; 4],
    endpoints: Endpoints,
}

#[derive(Serialize)]
struct Endpoints {
    stomp: String,
    logs: &'static str,
    licenses: &'static str,
    metrics: &'static str,
    health: &'static str,
    status: &'static str,
}

const NAME: &str = env!("CARGO_PKG_NAME");
const VERSION: &str = env!("CARGO_PKG_VERSION");
