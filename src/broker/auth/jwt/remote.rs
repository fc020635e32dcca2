//! Keys that somebody publishes at a URL: fetched when first needed, then kept.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tracing::{info, warn};

use super::keys::{Algorithm, Key, Keys};
use crate::broker::auth::AuthError;

/// Gets what is at a URL; it blocks, for a bounded time, and answers a bounded number of octets.
pub trait Fetch: Send + Sync {
    /// What is there.
    ///
    /// # Errors
    /// Why it cannot be had, for the log.
    fn fetch(&self) -> Result<Vec<u8>, String>;
}

/// Where keys are published, and how often is asked.
#[derive(Clone)]
pub struct Source {
    /// Gets them.
    pub fetch: Arc<dyn Fetch>,
    /// After how long they are fetched anew. Default 5 min.
    pub refresh: Duration,
    /// The shortest time between two attempts, however many tokens name a key that is unknown.
    /// Default 30 s.
    pub min_interval: Duration,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({:?}, {:?})", self.refresh, self.min_interval)
    }
}

pub(super) struct Remote {
    source: Source,
    keys: ArcSwap<Fetched>,
    /// When was asked last; held while somebody asks, so that only one does.
    asked: Mutex<Option<Instant>>,
}

#[derive(Default)]
struct Fetched {
    keys: Keys,
    at: Option<Instant>,
}

impl Remote {
    pub(super) fn new(source: Source) -> Self {
        Self { source, keys: ArcSwap::default(), asked: Mutex::default() }
    }

    /// The keys for such a token. Where the published ones are old, or have none for it, they
    /// are fetched before; where that fails, those that were there go on to be used.
    pub(super) async fn keys(&self, algorithm: Algorithm, kid: Option<&str>) -> Result<Vec<Arc<Key>>, AuthError> {
        let known = self.keys.load_full();
        let found = known.keys.of(algorithm, kid);
        if !found.is_empty() && !self.is_old(&known) {
            return Ok(found);
        }
        self.refresh().await;
        let known = self.keys.load_full();
        if known.at.is_none() { Err(AuthError::Unavailable) } else { Ok(known.keys.of(algorithm, kid)) }
    }

    fn is_old(&self, known: &Fetched) -> bool {
        known.at.is_none_or(|at| at.elapsed() >= self.source.refresh)
    }

    async fn refresh(&self) {
        let mut asked = self.asked.lock().await;
        if asked.is_some_and(|asked| asked.elapsed() < self.source.min_interval) {
            return;
        }
        *asked = Some(Instant::now());
        let fetch = Arc::clone(&self.source.fetch);
        let fetched = spawn_blocking(move || fetch.fetch()).await;
        let fetched = fetched.map_err(|error| error.to_string()).and_then(|fetched| fetched);
        let keys = fetched.and_then(|json| Keys::of_jwks(&json, false).map_err(|error| error.to_string()));
        match keys {
            Ok(keys) => {
                info!(?keys, "fetched the keys of auth.jwt.jwks_url");
                self.keys.store(Arc::new(Fetched { keys, at: Some(Instant::now()) }));
            }
            Err(reason) => {
                warn!(reason, "the keys of auth.jwt.jwks_url cannot be had; those that are known stay in use")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Publishes one key, which is another one with each answer; counts how often it is asked.
    #[derive(Default)]
    struct Publisher {
        asked: AtomicUsize,
        is_down: std::sync::atomic::AtomicBool,
    }

    impl Fetch for Publisher {
        fn fetch(&self) -> Result<Vec<u8>, String> {
            let n = self.asked.fetch_add(1, Ordering::SeqCst);
            if self.is_down.load(Ordering::SeqCst) {
                return Err("down".into());
            }
            let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
            Ok(format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","x":"{x}","kid":"k{n}"}}]}}"#).into())
        }
    }

    fn remote() -> (Arc<Publisher>, Remote) {
        let publisher = Arc::new(Publisher::default());
        let fetch = Arc::clone(&publisher) as Arc<dyn Fetch>;
        let (refresh, min_interval) = (Duration::from_secs(300), Duration::from_secs(30));
        (publisher, Remote::new(Source { fetch, refresh, min_interval }))
    }

    async fn count(remote: &Remote, kid: &str) -> Result<usize, AuthError> {
        remote.keys(Algorithm::EdDsa, Some(kid)).await.map(|keys| keys.len())
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_key_is_asked_for_once_in_the_interval() {
        let (publisher, remote) = remote();
        assert_eq!(count(&remote, "k0").await, Ok(1));
        for _ in 0..10 {
            assert_eq!(count(&remote, "k1").await, Ok(0));
        }
        assert_eq!(publisher.asked.load(Ordering::SeqCst), 1);
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(count(&remote, "k1").await, Ok(1));
        assert_eq!(count(&remote, "k0").await, Ok(0), "a key that is no longer published is no longer taken");
        assert_eq!(publisher.asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn keys_are_fetched_anew_and_outlive_a_publisher_that_is_down() {
        let (publisher, remote) = remote();
        assert_eq!(count(&remote, "k0").await, Ok(1));
        publisher.is_down.store(true, Ordering::SeqCst);
        tokio::time::advance(Duration::from_secs(300)).await;
        assert_eq!(count(&remote, "k0").await, Ok(1));
        assert_eq!(publisher.asked.load(Ordering::SeqCst), 2);
        assert_eq!(count(&remote, "k0").await, Ok(1));
        assert_eq!(publisher.asked.load(Ordering::SeqCst), 2, "not asked again within the interval");
    }

    #[tokio::test(start_paused = true)]
    async fn without_any_keys_nothing_can_be_checked() {
        let (publisher, remote) = remote();
        publisher.is_down.store(true, Ordering::SeqCst);
        assert_eq!(count(&remote, "k0").await, Err(AuthError::Unavailable));
    }

    #[tokio::test(start_paused = true)]
    async fn many_tokens_at_once_ask_once() {
        let (publisher, remote) = remote();
        let all = (0..20).map(|_| count(&remote, "k0"));
        for found in futures_util::future::join_all(all).await {
            assert_eq!(found, Ok(1));
        }
        assert_eq!(publisher.asked.load(Ordering::SeqCst), 1);
    }
}
