//! The accept loop's one step, and what every accepted socket is given.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::clock;

/// What an accepted socket needs to know from the settings.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How long octets may stay unacknowledged before the peer is taken for gone; zero: as
    /// long as the system pleases, which is a quarter of an hour on Linux.
    pub dead_peer_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { dead_peer_timeout: Duration::from_secs(60) }
    }
}

/// A listening socket with what its connections are given.
#[derive(Debug)]
pub(super) struct Acceptor {
    listener: TcpListener,
    settings: Settings,
    last_warning: Cell<Option<Instant>>,
}

impl Acceptor {
    pub(super) fn new(listener: TcpListener, settings: Settings) -> Self {
        Self { listener, settings, last_warning: Cell::new(None) }
    }

    /// The next connection; `None` after `shutdown`.
    pub(super) async fn accept(&self, shutdown: &CancellationToken) -> Option<(TcpStream, SocketAddr)> {
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = shutdown.cancelled() => return None,
            };
            match accepted {
                Ok((stream, peer)) => {
                    self.prepare(&stream, peer);
                    return Some((stream, peer));
                }
                // One client's trouble, which must not hold up the others.
                Err(error) if is_of_one_client(error.kind()) => {
                    debug!(%error, "a connection broke before it was accepted");
                }
                Err(error) => {
                    self.warn(&error);
                    // Out of descriptors, most likely: the next try would fail at once, for ever.
                    tokio::select! {
                        () = tokio::time::sleep(BACK_OFF) => {}
                        () = shutdown.cancelled() => return None,
                    }
                }
            }
        }
    }

    fn prepare(&self, stream: &TcpStream, peer: SocketAddr) {
        let socket = SockRef::from(stream);
        // So that a client whose heart-beats are off does not leave a dead socket.
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 4).with_retries(4);
        let limit = Some(self.settings.dead_peer_timeout).filter(|limit| !limit.is_zero());
        let set = [
            ("TCP_NODELAY", stream.set_nodelay(true)),
            ("SO_KEEPALIVE", socket.set_tcp_keepalive(&keepalive)),
            ("TCP_USER_TIMEOUT", limit.map_or(Ok(()), |limit| socket.set_tcp_user_timeout(Some(limit)))),
        ];
        for (option, set) in set {
            if let Err(error) = set {
                debug!(%peer, %error, option, "the socket does not take this option");
            }
        }
    }

    /// Says so at once the first time, and at most every [`QUIET`] after that.
    fn warn(&self, error: &io::Error) {
        let now = clock::now();
        if self.last_warning.get().is_none_or(|last| now.duration_since(last) >= QUIET) {
            self.last_warning.set(Some(now));
            warn!(%error, "cannot accept connections; those that are open go on");
        }
    }
}

fn is_of_one_client(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

const BACK_OFF: Duration = Duration::from_millis(100);

const QUIET: Duration = Duration::from_secs(10);

const KEEPALIVE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_accepted_socket_notices_a_peer_that_vanished() {
        let settings = Settings { dead_peer_timeout: Duration::from_secs(7) };
        for (settings, expected) in [(settings, 7), (Settings { dead_peer_timeout: Duration::ZERO }, 0)] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let acceptor = Acceptor::new(listener, settings);
            let _client = TcpStream::connect(address).await.unwrap();
            let (socket, _) = acceptor.accept(&CancellationToken::new()).await.unwrap();
            let socket = SockRef::from(&socket);
            assert_eq!(socket.tcp_user_timeout().unwrap().unwrap_or_default(), Duration::from_secs(expected));
            assert!(socket.keepalive().unwrap() && socket.tcp_nodelay().unwrap());
        }
    }
}
