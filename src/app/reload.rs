//! What changes while the server runs: on SIGHUP the settings are read anew.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::{error, info, warn};

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
    /// Where it listens, whatever the settings say since.
    bound: Vec<SocketAddr>,
}

impl Reloader {
    pub(super) fn new(config: Config, in_use: InUse, broker: Broker, bound: Vec<SocketAddr>) -> Self {
        Self { last: Mutex::new(config), in_use, broker, bound }
    }

    /// Takes of these settings what a running server can take; connections that are open keep
    /// what they began with, but for users and rules. Says in the log what changed and waits for a restart.
    pub fn reload(&self, mut config: Config) {
        if config.auth.is_open()
            && !config.server.allow_open
            && let Some(address) = self.bound.iter().find(|address| !address.ip().to_canonical().is_loopback())
        {
            error!(%address, "the settings are not taken: nobody would have to log in, and this server listens there \
                until its next start; set server.allow_open to let everyone in");
            return;
        }
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

#[cfg(test)]
mod tests {
    use crate::app::App;
    use crate::broker::auth::Attempt;
    use crate::config::Config;

    #[tokio::test]
    async fn settings_that_would_open_a_server_to_all_where_it_listens_are_not_taken() {
        let config = |text: &str| Config::from_toml(&format!("tcp.listen = \"\"\nserver.shards = 1\n{text}")).unwrap();
        let users = "auth.tokens = [{ name = \"ann\", token = \"t\" }]";
        let public = "server.listen = \"0.0.0.0:0\"";
        let local = "server.listen = \"127.0.0.1:0\"";
        for (began, reloaded, is_taken) in [
            (format!("{public}\n{users}"), local.to_owned(), false),
            (format!("{public}\n{users}"), format!("{public}\nserver.allow_open = true"), true),
            (format!("{local}\n{users}"), local.to_owned(), true),
        ] {
            let app = App::bind(config(&began), false).unwrap();
            app.reloader().reload(config(&reloaded));
            assert_eq!(app.broker.authenticate(Attempt::default()).await.is_ok(), is_taken, "{began}: {reloaded}");
        }
    }
}
