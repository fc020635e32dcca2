//! Keys that somebody publishes at a URL: fetched when first needed, then kept.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::Instant;
use tracing::{info, warn};

use super::keys::{Algorithm, Key, Keys};
use crate::broker::auth::{AuthError, Digest, Proof};

/// Gets what is at a URL; it blocks, for a bounded time, and answers a bounded number of octets.
pub trait Fetch: Send + Sync {
    /// What is there.
    ///
    /// # Errors
    /// Why it cannot be had, for the log.
    fn fetch(&self) -> Result<Vec<u8>, String>;
}

/// Where keys are published, and how often is asked. Clones share what was fetched.
#[derive(Clone)]
pub struct Source {
    /// The URL.
    pub url: Box<str>,
    /// What the certificate there must lead to, as the settings name it.
    pub roots: Box<str>,
    /// Gets them.
    pub fetch: Arc<dyn Fetch>,
    /// After how long they are fetched anew. Default 5 min.
    pub refresh: Duration,
    /// The shortest time between two attempts, however many tokens name a key that is unknown.
    /// Default 30 s.
    pub min_interval: Duration,
    /// What is known of them.
    pub known: Arc<Known>,
}

/// The keys of a source, as far as they were fetched.
#[derive(Default)]
pub struct Known {
    keys: ArcSwap<Fetched>,
    /// When was asked last; held while somebody asks, so that only one does.
    asked: Arc<Mutex<Option<Instant>>>,
    /// Whether they could not be had the last time.
    is_away: AtomicBool,
}

#[derive(Default)]
struct Fetched {
    keys: Keys,
    at: Option<Instant>,
}

impl Source {
    /// By what a token is good that is signed with a key from here.
    pub(super) fn proof(&self) -> Proof {
        Proof::Published(Digest::of(&*self.url).mark())
    }

    /// Knows from the beginning what that one knows, if both are the same place: it may be out
    /// of reach just now.
    pub(super) fn continue_from(&mut self, before: &Self) {
        if (&self.url, &self.roots) == (&before.url, &before.roots) {
            self.known = Arc::clone(&before.known);
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({:?}, {:?})", self.refresh, self.min_interval)
    }
}

pub(super) struct Remote(pub(super) Source);

impl Remote {
    pub(super) fn proof(&self) -> Proof {
        self.0.proof()
    }

    /// The keys for such a token. Where the published ones are old, or have none for it, they
    /// are fetched before; where that fails, those that were there go on to be used, and while it
    /// goes on failing, nobody who has one of them waits for the next attempt.
    pub(super) async fn keys(&self, algorithm: Algorithm, kid: Option<&str>) -> Result<Vec<Arc<Key>>, AuthError> {
        let known = self.0.known.keys.load_full();
        let found = known.keys.of(algorithm, kid);
        if !found.is_empty() && !self.is_old(&known) {
            return Ok(found);
        }
        if !found.is_empty() && self.0.known.is_away.load(Ordering::Relaxed) {
            if let Ok(asked) = Arc::clone(&self.0.known.asked).try_lock_owned() {
                self.fetch(asked);
            }
            return Ok(found);
        }
        self.refresh().await;
        let known = self.0.known.keys.load_full();
        if known.at.is_none() { Err(AuthError::Unavailable) } else { Ok(known.keys.of(algorithm, kid)) }
    }

    fn is_old(&self, known: &Fetched) -> bool {
        known.at.is_none_or(|at| at.elapsed() >= self.0.refresh)
    }

    async fn refresh(&self) {
        let asked = Arc::clone(&self.0.known.asked).lock_owned().await;
        if let Some(fetching) = self.fetch(asked)
            && let Err(error) = fetching.await
        {
            warn!(%error, "the keys of auth.jwt.jwks_url cannot be had");
        }
    }

    /// Asks, unless somebody did just now.
    fn fetch(&self, mut asked: OwnedMutexGuard<Option<Instant>>) -> Option<JoinHandle<()>> {
        if asked.is_some_and(|asked| asked.elapsed() < self.0.min_interval) {
            return None;
        }
        let now = Instant::now();
        *asked = Some(now);
        let Source { fetch, known, .. } = self.0.clone();
        // The client for whose token is asked may go away meanwhile; the keys are for all.
        Some(spawn_blocking(move || {
            known.fetch(&*fetch, now);
            drop(asked);
        }))
    }
}

impl Known {
    fn fetch(&self, fetch: &dyn Fetch, now: Instant) {
        let keys = fetch.fetch().and_then(|json| Keys::of_jwks(&json, false).map_err(|error| error.to_string()));
        self.is_away.store(keys.is_err(), Ordering::Relaxed);
        match keys {
            Ok(keys) => {
                info!(?keys, "fetched the keys of auth.jwt.jwks_url");
                self.keys.store(Arc::new(Fetched { keys, at: Some(now) }));
            }
            Err(reason) => {
                warn!(reason, "the keys of auth.jwt.jwks_url cannot be had; those that are known stay in use")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::Poll;

    use super::*;

    /// Publishes one key, which is another one with each answer; counts how often it is asked.
    #[derive(Default)]
    struct Publisher {
        asked: AtomicUsize,
        is_down: AtomicBool,
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
        let (url, roots, known) = ("https://id.example/keys".into(), "".into(), Arc::default());
        (publisher, Remote(Source { url, roots, fetch, refresh, min_interval, known }))
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
    async fn while_a_publisher_is_away_a_key_that_is_known_waits_for_no_attempt() {
        let (publisher, remote) = remote();
        assert_eq!(count(&remote, "k0").await, Ok(1));
        publisher.is_down.store(true, Ordering::SeqCst);
        tokio::time::advance(Duration::from_secs(300)).await;
        assert_eq!(count(&remote, "k0").await, Ok(1));
        tokio::time::advance(Duration::from_secs(30)).await;
        publisher.is_down.store(false, Ordering::SeqCst);
        assert_eq!(futures_util::poll!(std::pin::pin!(count(&remote, "k0"))), Poll::Ready(Ok(1)));
        // Whoever comes when it has answered goes by its answer, the third.
        drop(remote.0.known.asked.lock().await);
        assert_eq!((count(&remote, "k2").await, count(&remote, "k0").await), (Ok(1), Ok(0)));
        assert_eq!(publisher.asked.load(Ordering::SeqCst), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn without_any_keys_nothing_can_be_checked() {
        let (publisher, remote) = remote();
        publisher.is_down.store(true, Ordering::SeqCst);
        assert_eq!(count(&remote, "k0").await, Err(AuthError::Unavailable));
    }

    #[tokio::test(start_paused = true)]
    async fn keys_that_a_client_asked_for_who_went_away_are_there_for_the_others() {
        let (publisher, remote) = remote();
        let mut goes_away = Box::pin(count(&remote, "k0"));
        assert!(futures_util::poll!(goes_away.as_mut()).is_pending());
        drop(goes_away);
        assert_eq!(count(&remote, "k0").await, Ok(1));
        assert_eq!(publisher.asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn keys_that_are_known_stay_known_when_the_settings_are_read_anew_with_the_same_place() {
        let (publisher, before) = remote();
        assert_eq!(count(&before, "k0").await, Ok(1));
        publisher.is_down.store(true, Ordering::SeqCst);
        for (url, roots, found) in [
            ("https://id.example/keys", "", Ok(1)),
            ("https://other.example/keys", "", Err(AuthError::Unavailable)),
            ("https://id.example/keys", "roots.pem", Err(AuthError::Unavailable)),
        ] {
            let (url, roots, known) = (url.into(), roots.into(), Arc::default());
            let mut source = Source { url, roots, known, ..before.0.clone() };
            source.continue_from(&before.0);
            assert_eq!(count(&Remote(source), "k0").await, found);
        }
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
