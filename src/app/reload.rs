//! What changes while the server runs: on SIGHUP the settings are read anew.

use std::sync::{Arc, Mutex, PoisonError};

use tracing::{info, warn};

use crate::broker::Broker;
use crate::broker::access::Access;
use crate::config::Config;
use crate::net::descriptors;
use crate::net::limits::Limiter;
use crate::net::live::Live;
use crate::net::proxy::Proxies;
use crate::net::tls::Identity;
use crate::stomp;

/// The settings in use that may be exchanged. Clones share them.
#[derive(Clone)]
pub(super) struct InUse {
    pub(super) identity: Live<Option<Identity>>,
    pub(super) tcp_identity: Live<Option<Identity>>,
    pub(super) stomp: Live<stomp::Settings>,
    pub(super) limiter: Limiter,
    pub(super) proxies: Live<Proxies>,
}

impl InUse {
    pub(super) fn new(config: &Config, broker: &Broker) -> Self {
        let descriptors = descriptors::raise(config.server.shards.get());
        Self {
            identity: Live::new(config.server.identity.clone()),
            tcp_identity: Live::new(config.tcp.identity.clone()),
            stomp: Live::new(config.stomp.clone()),
            limiter: Limiter::new(config.limits, descriptors, Arc::clone(&broker.stats().limits)),
            proxies: Live::new(config.server.proxies.clone()),
        }
    }

    fn set(&self, config: &Config) {
        self.identity.set(config.server.identity.clone());
        self.tcp_identity.set(config.tcp.identity.clone());
        self.stomp.set(config.stomp.clone());
        self.limiter.set(config.limits);
        self.proxies.set(config.server.proxies.clone());
    }
}

/// Gives a running server other settings.
pub struct Reloader {
    last: Mutex<Config>,
    in_use: InUse,
    broker: Broker,
}

impl Reloader {
    pub(super) fn new(config: Config, in_use: InUse, broker: Broker) -> Self {
        Self { last: Mutex::new(config), in_use, broker }
    }

    /// Takes of these settings what a running server can take; connections that are open keep
    /// what they began with, but for users and rules. Says in the log what changed and waits for a restart.
    pub fn reload(&self, mut config: Config) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, later): (Vec<_>, Vec<_>) = config
            .changes_from(&last)
            .into_iter()
            .partition(|key| RELOADED.iter().any(|prefix| key.starts_with(prefix)));
        self.in_use.set(&config);
        config.auth.continue_from(&last.auth);
        self.broker.reload(Access::new(config.auth.clone()));
        info!(changed = now.join(", "), "the settings and the certificates were read anew");
        if !later.is_empty() {
            warn!(settings = later.join(", "), "these changed too, and take effect at the next start");
        }
        *last = config;
    }
}

/// How the keys begin that a running server takes.
const RELOADED: [&str; 8] = [
    "server.tls_",
    "server.trusted_proxies",
    "server.forwarded_header",
    "tcp.tls_",
    "stomp.",
    "limits.",
    "mailbox.total_bytes",
    "auth",
];
